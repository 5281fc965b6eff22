//! Which stored bytes hold a range of the plaintext.
//!
//! A range of plaintext lies in a run of whole chunks of one stream (single PUT), or in one run in each of
//! the parts it touches. Whole chunks are read and opened; `skip` and `take` say which of their plaintext
//! was asked for.

use std::ops::Range;

use crate::law::{CHUNK, SLOT, STREAM_HEADER, stream_len};
use crate::trailer::{Part, Trailer};

/// A run of consecutive chunks of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRun {
    /// The number of its first chunk, from 0.
    pub first: u64,
    /// How many chunks it has, at least one.
    pub count: u64,
    /// The bytes of its chunks and tags, counted from the beginning of the stream (the header is bytes 0 to
    /// 55, so this never begins before 56).
    pub cipher: Range<u64>,
    /// Plaintext bytes at the front of the first chunk that were not asked for.
    pub skip: u64,
    /// Plaintext bytes that were asked for.
    pub take: u64,
    /// Whether the run's last chunk is the last of the stream, and so shorter than the others.
    pub ends_stream: bool,
}

/// The chunks of a stream of `plain_len` plaintext bytes that hold `range`; `None` when the range is empty
/// or reaches beyond the stream.
pub fn chunk_run(plain_len: u64, range: Range<u64>) -> Option<ChunkRun> {
    if range.is_empty() || range.end > plain_len {
        return None;
    }
    let chunk = CHUNK as u64;
    let first = range.start / chunk;
    // A range up to the end includes the last chunk even when that is empty: it proves that the stream ends there, and
    // the next part of a multipart object follows it without a gap.
    let last = if range.end == plain_len {
        plain_len
    } else {
        range.end - 1
    } / chunk;
    let ends_stream = last == plain_len / chunk;
    let end = if ends_stream {
        stream_len(plain_len)
    } else {
        slot_start(last + 1)
    };
    Some(ChunkRun {
        first,
        count: last - first + 1,
        cipher: slot_start(first)..end,
        skip: range.start - first * chunk,
        take: range.end - range.start,
        ends_stream,
    })
}

/// Where chunk `index` begins, counted from the beginning of its stream.
pub const fn slot_start(index: u64) -> u64 {
    STREAM_HEADER as u64 + index * SLOT as u64
}

/// What a range takes from one part of a multipart object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The part.
    pub part: Part,
    /// Its chunks.
    pub run: ChunkRun,
}

impl Piece {
    /// Whether the stream's header directly precedes the run, so that both are read together. When it does
    /// not (only ever in the first piece of a range), the header is read by a request of its own.
    pub const fn includes_header(&self) -> bool {
        self.run.first == 0
    }

    /// The stored bytes of this piece, counted from the beginning of the object: its chunks, and the header
    /// when it is [included](Self::includes_header). The pieces of a range lie one after the other without
    /// a gap, so that one request reads them all.
    pub const fn object_range(&self) -> Range<u64> {
        let start = if self.includes_header() {
            0
        } else {
            self.run.cipher.start
        };
        self.part.stream_start + start..self.part.stream_start + self.run.cipher.end
    }

    /// The stored bytes of the stream's header, counted from the beginning of the object.
    pub const fn header_range(&self) -> Range<u64> {
        self.part.stream_start..self.part.stream_start + STREAM_HEADER as u64
    }
}

impl Trailer {
    /// The pieces of a multipart object that hold `range`, in order; none when the range is empty or reaches
    /// beyond the object. Parts without a byte are passed over.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let range = if range.end <= self.plain_len().0 {
            range
        } else {
            0..0
        };
        let (start, end) = (range.start, range.end);
        self.parts_from(start)
            .take_while(move |part| part.plain_start < end)
            .filter_map(move |part| {
                let from = start.max(part.plain_start) - part.plain_start;
                let to = (end - part.plain_start).min(part.len);
                chunk_run(part.len, from..to).map(|run| Piece { part, run })
            })
    }
}
