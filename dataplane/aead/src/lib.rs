//! AES-256-GCM by the faster library of this machine, HKDF-SHA-512, and types for secrets.
//!
//! Two libraries implement AES-256-GCM here: AWS-LC and ring. They compute the same bytes, but which of
//! them is faster depends on the CPU (on machines whose AES units are 256 bits wide, ring is twice as
//! fast; on 512 bits, AWS-LC wins). [`selected`] measures both once per process, for about a
//! millisecond, and every [`Aes256Gcm`] made afterwards uses the winner. [`pin`] overrides the measure.
//! Everything else (HKDF, HMAC) is AWS-LC.
//!
//! # Secrets in memory
//!
//! * [`Secret`] keeps its bytes on the heap and wipes them on drop; it has no `Debug` and no `Clone`, and
//!   compares in constant time.
//! * AWS-LC keeps the expanded key in one heap block and wipes it when it is freed (`OPENSSL_free`
//!   cleanses every block it gives back).
//! * ring does not wipe its key schedule, so this crate boxes it and wipes the box: the module `wipe`, the
//!   only `unsafe` code here.
//!
//! `tests/wiping.rs` searches the memory of the process for all three.
//!
//! Copies that the compiler leaves in registers or on the stack while a key is being expanded are beyond
//! the reach of a library, and are not wiped.

#![deny(unsafe_code)]

mod choice;
mod cipher;
mod kdf;
mod secret;
mod wipe;

pub use choice::{Library, Measurement, measure, pin, selected};
pub use cipher::{Aes256Gcm, Forged, KEY_LEN, NONCE_LEN, TAG_LEN};
pub use kdf::{Mac, hkdf_expand_sha512, hkdf_extract_sha512, hmac_sha512};
pub use secret::Secret;
