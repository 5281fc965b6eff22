//! The gateway itself: S3 requests in, sealed objects out, and back.
//!
//! One [`Core`] per thread holds all that its connections need; [`serve`] runs one connection. The byte path is in
//! `seal` (writes) and `open` (reads), the operations are in `ops`, one file each.
#![forbid(unsafe_code)]

mod ahead;
mod audit;
mod auth;
mod body;
mod checksums;
mod client;
mod connection;
mod core;
mod cors;
mod failure;
mod keyring;
mod marker;
mod object;
mod open;
mod ops;
mod parts;
mod pass;
mod reply;
mod request;
pub mod rewrap;
mod seal;
mod slow;
pub mod snapshot;
mod source;
mod standing;
pub mod treatment;
mod uploads;

pub use crate::core::{Core, CoreParts, Random};
pub use connection::serve;
pub use keyring::Keyring;
