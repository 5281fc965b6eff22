//! Signatures of the chunks and trailers of `aws-chunked` (S3 API Reference, "Signature Calculations for the
//! Authorization Header: Transferring Payload in Multiple Chunks").

use subtle::ConstantTimeEq;

use super::EMPTY_SHA256;
use super::canonical::push_scope;
use super::keys::SigningKey;
use crate::encoding::push_hex;

/// Checks each signature against the one before it; the first against the request's own.
#[derive(Clone)]
pub struct ChunkVerifier {
    key: SigningKey,
    /// Time and scope, a line each.
    scope: Vec<u8>,
    previous: [u8; 32],
    scratch: Vec<u8>,
}

impl ChunkVerifier {
    pub(super) fn new(
        key: SigningKey,
        time: i64,
        date: &[u8; 8],
        region: &[u8],
        seed: [u8; 32],
    ) -> Self {
        let mut scope = Vec::with_capacity(64);
        push_scope(&mut scope, time, date, region);
        Self {
            key,
            scope,
            previous: seed,
            scratch: Vec::with_capacity(320),
        }
    }

    /// The signature that a chunk whose payload hashes to `sha256` must have; the next one builds on it.
    pub fn sign_chunk(&mut self, sha256: &[u8]) -> [u8; 32] {
        self.advance(
            b"AWS4-HMAC-SHA256-PAYLOAD\n",
            Some(EMPTY_SHA256.as_bytes()),
            sha256,
        )
    }

    /// The signature that the trailers must have: `sha256` is that of their canonical lines.
    pub fn sign_trailer(&mut self, sha256: &[u8]) -> [u8; 32] {
        self.advance(b"AWS4-HMAC-SHA256-TRAILER\n", None, sha256)
    }

    fn advance(&mut self, algorithm: &[u8], headers: Option<&[u8]>, sha256: &[u8]) -> [u8; 32] {
        let out = &mut self.scratch;
        out.clear();
        out.extend_from_slice(algorithm);
        out.extend_from_slice(&self.scope);
        push_hex(&self.previous, out);
        out.push(b'\n');
        if let Some(headers) = headers {
            out.extend_from_slice(headers);
            out.push(b'\n');
        }
        push_hex(sha256, out);
        self.previous = self.key.sign(out);
        self.previous
    }

    /// Whether a chunk's signature is right; in constant time.
    pub fn verify_chunk(&mut self, sha256: &[u8], signature: &[u8; 32]) -> bool {
        self.sign_chunk(sha256).ct_eq(signature).into()
    }

    /// Whether the trailers' signature is right; in constant time.
    pub fn verify_trailer(&mut self, sha256: &[u8], signature: &[u8; 32]) -> bool {
        self.sign_trailer(sha256).ct_eq(signature).into()
    }
}

impl std::fmt::Debug for ChunkVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkVerifier")
    }
}
