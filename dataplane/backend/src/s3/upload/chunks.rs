//! `aws-chunked` bodies with signed chunks (S3 API Reference, "Signature Calculations for the Authorization Header:
//! Transferring Payload in Multiple Chunks").
//!
//! The length of the framed body is declared before the first byte, and depends on where the chunks are cut. So they
//! are cut every [`CHUNK`] bytes, whatever sizes the blocks have.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest;
use sealgate_s3::sigv4::ChunkVerifier;
use sealgate_uring::{Block, Spans, Transport};

use crate::s3::link::Link;

/// Payload bytes of a chunk, all but the last: what S3 recommends at least, and little to hold back.
const CHUNK: usize = 64 << 10;

/// Stands between a chunk's size and its signature.
const SIGNATURE: &[u8] = b";chunk-signature=";

/// Bytes of a body of `len` payload bytes with its framing; `None` when they cannot be counted.
pub(super) fn framed_len(len: u64) -> Option<u64> {
    let chunk = CHUNK as u64;
    let rest = match len % chunk {
        0 => 0,
        rest => framed_chunk(rest),
    };
    (len / chunk)
        .checked_mul(framed_chunk(chunk))?
        .checked_add(rest)?
        .checked_add(framed_chunk(0))
}

/// Bytes of one chunk of `len` payload bytes: size, signature, payload, two line ends.
const fn framed_chunk(len: u64) -> u64 {
    let digits = if len == 0 {
        1
    } else {
        (u64::BITS - len.leading_zeros()).div_ceil(4)
    };
    digits as u64 + SIGNATURE.len() as u64 + 64 + 2 + len + 2
}

/// Cuts one body into signed chunks.
pub(super) struct Chunks {
    signer: ChunkVerifier,
    /// Payload bytes that are in no finished chunk yet.
    left: u64,
    /// The beginning of the next chunk, when a block ended within it.
    carry: Vec<u8>,
}

impl Chunks {
    pub(super) fn new(signer: ChunkVerifier, len: u64) -> Self {
        Self {
            signer,
            left: len,
            carry: Vec::new(),
        }
    }

    /// Sends all chunks that `spans` of `block` complete; after the last payload byte also the end of the body.
    pub(super) async fn write<T: Transport>(
        &mut self,
        link: &mut Link<T>,
        block: Block,
        spans: Spans,
        within: Duration,
    ) -> (io::Result<()>, Block) {
        let (mut block, mut rest) = (block, spans);
        while !rest.is_empty() {
            let chunk = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
            let piece = Spans {
                to: rest.to.min(rest.from + (chunk - self.carry.len())),
                ..rest
            };
            rest.from = piece.to;
            if piece.len() == chunk {
                let sha256 = hash(piece.ranges().map(|r| &block[r]));
                self.head(&mut link.output, chunk, &sha256);
                let (sent, back) = link.write(block, piece, within).await;
                block = back;
                if sent.is_err() {
                    return (sent, block);
                }
                link.output.extend_from_slice(b"\r\n");
                continue;
            }
            piece
                .ranges()
                .for_each(|r| self.carry.extend_from_slice(&block[r]));
            if self.carry.len() == chunk {
                let carry = std::mem::take(&mut self.carry);
                self.head(&mut link.output, chunk, &hash([&carry[..]].into_iter()));
                link.output.extend_from_slice(&carry);
                link.output.extend_from_slice(b"\r\n");
                self.carry = carry;
                self.carry.clear();
            }
        }
        if self.left == 0 {
            self.head(&mut link.output, 0, &hash(std::iter::empty()));
            link.output.extend_from_slice(b"\r\n");
        }
        (link.flush(within).await, block)
    }

    /// Appends the line before the payload of a chunk of `len` bytes.
    fn head(&mut self, out: &mut Vec<u8>, len: usize, sha256: &[u8]) {
        self.left -= len as u64;
        out.extend_from_slice(format!("{len:x}").as_bytes());
        out.extend_from_slice(SIGNATURE);
        for byte in self.signer.sign_chunk(sha256) {
            out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
        }
        out.extend_from_slice(b"\r\n");
    }
}

const fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[nibble as usize]
}

/// SHA-256 of all pieces in order.
pub(super) fn hash<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    pieces.for_each(|piece| context.update(piece));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framed_length_is_the_one_of_the_reference() {
        // The example of the S3 API Reference: 66,560 bytes in chunks of 64 KiB make 66,824.
        assert_eq!(framed_len(66_560), Some(66_824));
        assert_eq!(framed_len(0), Some(86));
        assert_eq!(framed_len(1), Some(86 + 87));
        assert_eq!(framed_len(65_536), Some(65_536 + 90 + 86));
        assert_eq!(framed_len(u64::MAX), None);
    }
}
