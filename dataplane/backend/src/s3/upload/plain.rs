//! `aws-chunked` bodies without signatures, for the checksum that follows as a trailer
//! (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`).
//!
//! The line before a chunk says nothing but its length: so chunks go out as their bytes come, and none are held back.

use std::io;
use std::time::Duration;

use sealgate_s3::checksum::{Algorithm, Checksum, Hasher};
use sealgate_uring::{Block, Spans, Transport};

use super::chunks::{digits, push_trailer, trailer_len};
use crate::s3::link::Link;

/// Payload bytes of a chunk, all but the last. Stores hold a chunk in memory and refuse longer ones (MinIO above
/// 16 MiB); each one is a write more.
const CHUNK: u64 = 1 << 20;

/// Bytes of a body of `len` payload bytes with its framing; `None` when they cannot be counted.
pub(super) fn framed_len(len: u64, sum: Algorithm) -> Option<u64> {
    let framed = |len: u64| digits(len) + 2 + len + 2;
    let rest = match len % CHUNK {
        0 => 0,
        rest => framed(rest),
    };
    (len / CHUNK)
        .checked_mul(framed(CHUNK))?
        .checked_add(rest)?
        .checked_add(digits(0) + 2 + trailer_len(sum) + 2)
}

/// Cuts one body into chunks.
pub(super) struct Plain {
    sum: Option<Hasher>,
    summed: Option<Checksum>,
    /// Payload bytes that have not come yet.
    left: u64,
    /// Those of them that belong to the chunk that is begun.
    open: u64,
}

impl Plain {
    pub(super) fn new(sum: Algorithm, len: u64) -> Self {
        Self {
            sum: Some(Hasher::new(sum)),
            summed: None,
            left: len,
            open: 0,
        }
    }

    /// The checksum, once all is sent.
    pub(super) fn summed(&self) -> Option<Checksum> {
        self.summed
    }

    /// Sends `spans` of `block`; after the last payload byte also the end of the body.
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
            if self.open == 0 {
                self.open = self.left.min(CHUNK);
                let line = format!("{:x}\r\n", self.open);
                link.output.extend_from_slice(line.as_bytes());
            }
            let n = usize::try_from(self.open)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let piece = Spans {
                to: rest.from + n,
                ..rest
            };
            rest.from = piece.to;
            self.open -= n as u64;
            self.left -= n as u64;
            let (sent, back) = link.write(block, piece, within).await;
            block = back;
            if sent.is_err() {
                return (sent, block);
            }
            if self.open == 0 {
                link.output.extend_from_slice(b"\r\n");
            }
        }
        if self.left > 0 {
            return (Ok(()), block);
        }
        if let Some(sum) = self.sum.take() {
            link.output.extend_from_slice(b"0\r\n");
            let sum = sum.finish();
            push_trailer(&sum, b"\r\n", &mut link.output);
            self.summed = Some(sum);
            link.output.extend_from_slice(b"\r\n");
        }
        (link.flush(within).await, block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framed_length_is_what_is_sent() {
        let end = "0\r\nx-amz-checksum-crc64nvme:AAAAAAAAAAA=\r\n\r\n".len() as u64;
        let len = |n| framed_len(n, Algorithm::Crc64Nvme);
        assert_eq!(len(0), Some(end));
        assert_eq!(len(7), Some("7\r\n1234567\r\n".len() as u64 + end));
        assert_eq!(len(CHUNK), Some(CHUNK + 6 + 4 + end));
        assert_eq!(len(CHUNK + 16), Some(CHUNK + 6 + 4 + 16 + 2 + 4 + end));
        assert_eq!(len(u64::MAX), None);
        let end = "0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n".len() as u64;
        assert_eq!(framed_len(0, Algorithm::Crc32c), Some(end));
    }
}
