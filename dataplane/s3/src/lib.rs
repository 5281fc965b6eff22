//! The S3 protocol without I/O: what a request asks for, whether its signature holds, what its body must hash to,
//! and how answers and errors are spelled.
//!
//! Nothing here reads a socket or a clock: bytes and the time of day come in as arguments. Both sides of the gateway
//! use it: the client's (routing, verification, decoding of `aws-chunked`, answers) and the store's (signing, parsing
//! of the store's documents).

#![forbid(unsafe_code)]

pub mod aws_chunked;
pub mod bucket;
pub mod checksum;
pub mod conditions;
pub mod copy_source;
pub mod cors;
pub mod encoding;
pub mod error;
pub mod form;
pub mod headers;
pub mod post;
pub mod range;
pub mod redact;
pub mod route;
pub mod sigv2;
pub mod sigv4;
pub mod time;
pub mod xml;
