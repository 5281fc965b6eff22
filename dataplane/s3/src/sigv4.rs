//! AWS Signature Version 4 (S3 API Reference, "Authenticating Requests"): verification of clients' requests and signing
//! of ours.

mod authorization;
mod canonical;
mod chunk;
mod keys;
pub mod sign;
pub mod verify;

pub use authorization::{Authorization, Credential};
pub use chunk::ChunkVerifier;
pub use keys::{SecretKey, SigningKey, SigningKeyCache};
pub use sign::{PayloadHash, Signer};
pub use verify::{MAX_SKEW, Verified, anonymous, verify};

use http::{HeaderMap, HeaderValue};

use crate::encoding;
use crate::error::{ErrorCode, S3Error};

/// Name of the header with the payload's hash or how it is streamed.
pub const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// Payload that the signature does not cover.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// SHA-256 of nothing, in hexadecimal.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What the signature says of the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// Nothing: `UNSIGNED-PAYLOAD`, or a presigned URL.
    Unsigned,
    /// Its SHA-256, which must be compared (see [`crate::checksum::BodyChecks`]).
    Sha256([u8; 32]),
    /// `aws-chunked` with a signature per chunk: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER]`.
    StreamingSigned {
        /// Whether signed trailers follow.
        trailer: bool,
    },
    /// `aws-chunked` without signatures: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    StreamingUnsignedTrailer,
}

impl Payload {
    /// Reads the value of `x-amz-content-sha256`.
    pub fn parse(value: &HeaderValue) -> Result<Self, S3Error> {
        match value.as_bytes() {
            b"UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::StreamingSigned { trailer: false }),
            b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::StreamingSigned { trailer: true }),
            b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::StreamingUnsignedTrailer),
            v if v.starts_with(b"STREAMING-AWS4-ECDSA") => Err(S3Error::with_message(
                ErrorCode::NotImplemented,
                "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not implemented.",
            )),
            v => encoding::hex32(v).map(Self::Sha256).ok_or_else(|| {
                S3Error::invalid_argument(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                     STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 \
                     value.",
                    CONTENT_SHA256,
                    String::from_utf8_lossy(v),
                )
            }),
        }
    }

    /// Reads the header, if it is there.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        headers.get(CONTENT_SHA256).map(Self::parse).transpose()
    }

    /// Whether the body is framed as `aws-chunked`.
    pub fn is_streaming(&self) -> bool {
        matches!(
            self,
            Self::StreamingSigned { .. } | Self::StreamingUnsignedTrailer
        )
    }
}

#[cfg(test)]
mod tests;
