//! What comes next in an `aws-chunked` body, if the client goes on as it did. SDKs send chunks of one size, so that a
//! receiver can have several of them put in place at once; where the guess is wrong it has bytes to move.

use super::{MAX_CHUNK_HEADER, TRAILER_ROOM};

/// The line break after a chunk's payload, bytes.
const LINE_BREAK: usize = 2;

/// Framing, and the payload behind it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Expected {
    /// Bytes of framing; where no payload is expected behind it, as many as are worth reading.
    pub framing: usize,
    /// Bytes of payload, up to the chunk's end.
    pub payload: u64,
}

/// What a chunk's header was like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Chunk {
    /// Payload bytes.
    pub(super) size: u64,
    /// Bytes of its line, LF included, beside the digits that the size takes.
    beside: usize,
}

impl Chunk {
    /// `line` is the header without its LF.
    pub(super) fn new(size: u64, line: &[u8]) -> Self {
        Self {
            size,
            beside: (line.len() + 1).saturating_sub(digits(size)),
        }
    }
}

/// Where a decoder is.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// That many payload bytes before a chunk's end.
    Payload(u64),
    /// In a line break, or the header line behind it: that many bytes of both have been seen.
    Framing(usize),
    /// In what follows the payload.
    End,
}

/// The guesses, in order; nothing after the first one without payload.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    pub(super) at: At,
    /// Payload that no header has told of yet.
    pub(super) left: u64,
    /// The last chunk.
    pub(super) last: Option<Chunk>,
    /// Whether the next one is expected to be as long.
    pub(super) steady: bool,
}

impl Outlook {
    /// For a decoder in a header line of which it has `seen` so much.
    pub(super) fn in_header(seen: usize) -> At {
        At::Framing(LINE_BREAK + seen)
    }

    fn framing(&self, seen: usize) -> Expected {
        let next = match self.steady {
            true => self.last.map_or(0, |last| last.size.min(self.left)),
            false => 0,
        };
        let whole = match self.last {
            Some(_) if self.left == 0 => TRAILER_ROOM,
            Some(last) => {
                LINE_BREAK + digits(if next > 0 { next } else { last.size }) + last.beside
            }
            None => LINE_BREAK + MAX_CHUNK_HEADER,
        };
        match whole.checked_sub(seen) {
            Some(framing) if framing > 0 => Expected {
                framing,
                payload: next,
            },
            // A line that is longer than the last one was.
            _ => Expected {
                framing: MAX_CHUNK_HEADER,
                payload: 0,
            },
        }
    }
}

impl Iterator for Outlook {
    type Item = Expected;

    fn next(&mut self) -> Option<Expected> {
        let expected = match self.at {
            At::Payload(payload) => Expected {
                framing: 0,
                payload,
            },
            At::Framing(seen) => {
                let expected = self.framing(seen);
                self.left -= expected.payload;
                expected
            }
            At::End => return None,
        };
        self.at = match expected.payload {
            0 => At::End,
            _ => At::Framing(0),
        };
        Some(expected)
    }
}

/// How many hexadecimal digits `size` takes.
fn digits(size: u64) -> usize {
    size.checked_ilog2().map_or(1, |log| log as usize / 4 + 1)
}
