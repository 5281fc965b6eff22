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
//! * [`Secret`] keeps its bytes in key memory (the module `arena`): locked pages, in no core dump, wiped on drop. It has
//!   no `Debug` and no `Clone`, and compares in constant time. [`memory`] says how much of it the kernel refused to lock.
//! * ring does not wipe its key schedule: here it lives in key memory as well.
//! * AWS-LC keeps the expanded key in one block of the ordinary heap and wipes it when it is freed (`OPENSSL_free`
//!   cleanses every block it gives back); it is not locked.
//! * What key expansion leaves on the stack is scrubbed after it.
//! * [`WipingHeap`] wipes blocks that threads of the control plane free, whoever forgot to.
//! * [`forbid_dumps`] closes the process to debuggers and core dumps.
//!
//! `tests/wiping.rs` searches the memory of the process for all of these; docs/security/secrets.md lists every secret.
//! `unsafe` is in the modules `arena`, `heap` and `process` only.

#![deny(unsafe_code)]

mod arena;
mod choice;
mod cipher;
mod heap;
mod kdf;
mod process;
mod secret;

pub use arena::{KeyMemory, memory};
pub use choice::{Library, Measurement, measure, pin, selected};
pub use cipher::{Aes256Gcm, Forged, KEY_LEN, NONCE_LEN, TAG_LEN};
pub use heap::{WipingHeap, wipe_on_this_thread};
pub use kdf::{Mac, hkdf_expand_sha512, hkdf_extract_sha512, hmac_sha512};
pub use process::{DumpsForbidden, forbid_dumps};
pub use secret::Secret;
