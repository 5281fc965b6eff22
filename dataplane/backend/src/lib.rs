//! What is behind the gateway: a real S3 store ([`s3`]) or a directory ([`fs`]).
#![forbid(unsafe_code)]

pub mod types;
