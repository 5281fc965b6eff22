//! `aws-chunked` bodies with signed chunks (S3 API Reference, "Signature Calculations for the Authorization Header:
//! Transferring Payload in Multiple Chunks").
//!
//! The length of the framed body is declared before the first byte, and depends on where the chunks are cut. So they
//! are cut every [`CHUNK`] bytes, whatever sizes the blocks have.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest;
use sealgate_s3::checksum::{Algorithm, Checksum, Hasher};
use sealgate_s3::sigv4::ChunkVerifier;
use sealgate_uring::{Block, Spans, Transport};

use crate::s3::link::Link;

/// Payload bytes of a chunk, all but the last: what S3 recommends at least, and little to hold back.
const CHUNK: usize = 64 << 10;

/// Stands between a chunk's size and its signature.
const SIGNATURE: &[u8] = b";chunk-signature=";

/// The trailer with the signature of those before it.
const TRAILER_SIGNATURE: &[u8] = b"x-amz-trailer-signature:";

/// Bytes of a body of `len` payload bytes with its framing, and with the trailer that has a checksum; `None` when they
/// cannot be counted.
pub(super) fn framed_len(len: u64, sum: Option<Algorithm>) -> Option<u64> {
    let chunk = CHUNK as u64;
    let rest = match len % chunk {
        0 => 0,
        rest => framed_chunk(rest),
    };
    let signature = TRAILER_SIGNATURE.len() as u64 + 64 + 2;
    (len / chunk)
        .checked_mul(framed_chunk(chunk))?
        .checked_add(rest)?
        .checked_add(framed_chunk(0))?
        .checked_add(sum.map_or(0, |sum| trailer_len(sum) + signature))
}

/// Bytes of one chunk of `len` payload bytes: size, signature, payload, two line ends.
const fn framed_chunk(len: u64) -> u64 {
    digits(len) + SIGNATURE.len() as u64 + 64 + 2 + len + 2
}

/// Hexadecimal digits of `len`.
pub(super) const fn digits(len: u64) -> u64 {
    match len {
        0 => 1,
        len => (u64::BITS - len.leading_zeros()).div_ceil(4) as u64,
    }
}

/// Bytes of the line with a checksum.
pub(super) const fn trailer_len(sum: Algorithm) -> u64 {
    (sum.header().len() + 1 + sum.value_len().div_ceil(3) * 4 + 2) as u64
}

/// Appends the line with a checksum.
pub(super) fn push_trailer(sum: &Checksum, end: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(sum.algorithm().header().as_bytes());
    out.push(b':');
    out.extend_from_slice(sum.to_base64().as_bytes());
    out.extend_from_slice(end);
}

/// Cuts one body into signed chunks.
pub(super) struct Chunks {
    signer: ChunkVerifier,
    /// The checksum of the payload so far, if it is to follow as a trailer.
    sum: Option<Hasher>,
    summed: Option<Checksum>,
    /// Payload bytes that are in no finished chunk yet.
    left: u64,
    /// The beginning of the next chunk, when a block ended within it.
    carry: Vec<u8>,
}

impl Chunks {
    pub(super) fn new(signer: ChunkVerifier, sum: Option<Algorithm>, len: u64) -> Self {
        Self {
            signer,
            sum: sum.map(Hasher::new),
            summed: None,
            left: len,
            carry: Vec::new(),
        }
    }

    /// The checksum, once all is sent.
    pub(super) fn summed(&self) -> Option<Checksum> {
        self.summed
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
        if let Some(sum) = &mut self.sum {
            rest.ranges().for_each(|r| sum.update(&block[r]));
        }
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
            if let Some(sum) = self.sum.take() {
                let sum = sum.finish();
                self.trailer(&mut link.output, &sum);
                self.summed = Some(sum);
            }
            link.output.extend_from_slice(b"\r\n");
        }
        (link.flush(within).await, block)
    }

    /// Appends the line before the payload of a chunk of `len` bytes.
    fn head(&mut self, out: &mut Vec<u8>, len: usize, sha256: &[u8]) {
        self.left -= len as u64;
        out.extend_from_slice(format!("{len:x}").as_bytes());
        out.extend_from_slice(SIGNATURE);
        push_hex(&self.signer.sign_chunk(sha256), out);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the trailers: the checksum, and the signature of its line, whose end is one byte there.
    fn trailer(&mut self, out: &mut Vec<u8>, sum: &Checksum) {
        let mut canonical = Vec::with_capacity(64);
        push_trailer(sum, b"\n", &mut canonical);
        push_trailer(sum, b"\r\n", out);
        out.extend_from_slice(TRAILER_SIGNATURE);
        let sha256 = hash([&canonical[..]].into_iter());
        push_hex(&self.signer.sign_trailer(&sha256), out);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
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
        assert_eq!(framed_len(66_560, None), Some(66_824));
        assert_eq!(framed_len(0, None), Some(86));
        assert_eq!(framed_len(1, None), Some(86 + 87));
        assert_eq!(framed_len(65_536, None), Some(65_536 + 90 + 86));
        assert_eq!(framed_len(u64::MAX, None), None);
        // And the one with trailing headers, but that its Content-Length there is another: 66,946 with line ends of two
        // bytes throughout.
        let sum = Some(Algorithm::Crc32c);
        let trailer = "x-amz-checksum-crc32c:sOO8/Q==\r\n".len() as u64;
        let signature = "x-amz-trailer-signature:".len() as u64 + 64 + 2;
        assert_eq!(framed_len(66_560, sum), Some(66_824 + trailer + signature));
    }
}
