//! What uploads carry and downloads are compared with: one mebibyte of pattern over and over, and its hashes, which
//! are computed once for each length.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use sealgate_s3::checksum::{Algorithm, Checksum, Hasher};

use crate::units::{MIB, fill_pattern};

/// Plaintext of a signed chunk of `aws-chunked`, as most SDKs send it.
pub(crate) const SIGNED_CHUNK: usize = 64 << 10;

/// The content of every object that a load sends.
pub(crate) struct Content {
    block: Vec<u8>,
    /// The block as one chunk of `aws-chunked` without a signature, which is how botocore sends.
    framed: Vec<u8>,
    /// SHA-256 of the block's chunks.
    chunks: Vec<[u8; 32]>,
    known: Mutex<HashMap<(Algorithm, u64), Checksum>>,
}

impl Content {
    /// It is the same for all.
    pub(crate) fn get() -> &'static Content {
        static CONTENT: OnceLock<Content> = OnceLock::new();
        CONTENT.get_or_init(|| {
            let mut block = vec![0; MIB];
            fill_pattern(1, 0, &mut block);
            let mut framed = format!("{MIB:x}\r\n").into_bytes();
            framed.extend_from_slice(&block);
            framed.extend_from_slice(b"\r\n");
            Content {
                chunks: block.chunks(SIGNED_CHUNK).map(sha256).collect(),
                block,
                framed,
                known: Mutex::default(),
            }
        })
    }

    /// The mebibyte.
    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }

    /// The mebibyte as a chunk.
    pub(crate) fn framed(&self) -> &[u8] {
        &self.framed
    }

    /// SHA-256 of the block's chunk `index`, cut to `len` bytes.
    pub(crate) fn chunk_hash(&self, index: usize, len: usize) -> [u8; 32] {
        if len == SIGNED_CHUNK {
            return self.chunks[index];
        }
        sha256(&self.block[index * SIGNED_CHUNK..][..len])
    }

    /// A checksum of the first `len` bytes of endless content.
    pub(crate) fn checksum(&self, algorithm: Algorithm, len: u64) -> Checksum {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let mut hasher = Hasher::new(algorithm);
            let mut left = len;
            while left > 0 {
                let n = left.min(MIB as u64);
                hasher.update(&self.block[..n as usize]);
                left -= n;
            }
            hasher.finish()
        };
        *known.entry((algorithm, len)).or_insert_with(make)
    }

    /// Whether `piece` is what stands at `offset` of endless content.
    pub(crate) fn matches(&self, offset: u64, mut piece: &[u8]) -> bool {
        let mut at = (offset % MIB as u64) as usize;
        while !piece.is_empty() {
            let n = piece.len().min(MIB - at);
            if piece[..n] != self.block[at..at + n] {
                return false;
            }
            piece = &piece[n..];
            at = 0;
        }
        true
    }
}

/// SHA-256 of bytes in memory.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(hasher.finish().as_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_repeats_and_is_compared_at_any_place() {
        let content = Content::get();
        let piece = [&content.block()[MIB - 5..], &content.block()[..7]].concat();
        assert!(content.matches(3 * MIB as u64 - 5, &piece));
        assert!(!content.matches(3 * MIB as u64 - 4, &piece));
    }

    #[test]
    fn hashes_are_of_the_content() {
        let content = Content::get();
        assert_eq!(
            content.checksum(Algorithm::Sha256, 100).as_bytes(),
            sha256(&content.block()[..100])
        );
        assert_eq!(
            content.chunk_hash(2, 10),
            sha256(&content.block()[2 * SIGNED_CHUNK..][..10])
        );
        assert_eq!(content.chunk_hash(2, SIGNED_CHUNK), content.chunks[2]);
    }
}
