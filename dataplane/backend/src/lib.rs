//! What is behind the gateway: a real S3 store ([`s3`]) or a directory ([`fs`]).
//!
//! [`Store`] is one or the other, with the same operations for both. A store knows nothing of encryption: what it is
//! given and what it gives back is ciphertext, and nothing that it says is trusted above.
#![forbid(unsafe_code)]

pub mod fs;
pub mod s3;
mod store;
pub mod types;

pub use store::{Body, Store, Upload};
