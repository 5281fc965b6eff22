use std::ops::Range;

use crate::ParseError;

/// The most bytes of a trailer section, its final CRLF included. The trailers of S3 uploads travel
/// inside aws-chunked, not here; this only has to let an odd client pass.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;

/// Hexadecimal digits of a chunk size: as many as a `u64` has, leading zeros included.
const MAX_SIZE_DIGITS: u8 = 16;

/// What one step of decoding did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// Bytes of input taken.
    pub consumed: usize,
    /// Bytes of payload written to the output.
    pub produced: usize,
    /// The body is complete: input past `consumed` belongs to the next message.
    pub done: bool,
}

/// A run of payload within the input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Bytes of input taken, the payload included.
    pub consumed: usize,
    /// Where in the input the payload is; may be empty.
    pub payload: Range<usize>,
    /// The body is complete: input past `consumed` belongs to the next message.
    pub done: bool,
}

/// Decodes a chunked body (RFC 9112 section 7.1) from fragments of any size. Trailer fields are
/// checked and dropped.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Size { value: u64, digits: u8 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

const NEXT_CHUNK: State = State::Size {
    value: 0,
    digits: 0,
};

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the beginning of a body.
    pub const fn new() -> Self {
        ChunkedDecoder {
            state: NEXT_CHUNK,
            trailer_bytes: 0,
        }
    }

    /// Decodes into `out` until input or room runs out, or the body is complete. It always takes
    /// all of `input` unless `out` is full or the body ended.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<Decoded, ParseError> {
        let mut consumed = 0;
        let mut produced = 0;
        loop {
            let piece = self.next_piece(&input[consumed..], out.len() - produced)?;
            let payload = &input[consumed..][piece.payload.clone()];
            out[produced..][..payload.len()].copy_from_slice(payload);
            produced += payload.len();
            consumed += piece.consumed;
            if piece.done || payload.is_empty() || consumed == input.len() {
                return Ok(Decoded {
                    consumed,
                    produced,
                    done: piece.done,
                });
            }
        }
    }

    /// Finds the next run of payload, at most `room` bytes, without copying it. An empty run means
    /// that the body is complete, that `room` is 0 in the middle of a chunk, or that all input was
    /// taken.
    pub fn next_piece(&mut self, input: &[u8], room: usize) -> Result<Piece, ParseError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let run = left.min(room.min(input.len() - at) as u64) as usize;
                let payload = at..at + run;
                self.state = match left - run as u64 {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                return Ok(Piece {
                    consumed: payload.end,
                    payload,
                    done: false,
                });
            }
            self.step(input[at])?;
            at += 1;
        }
        Ok(Piece {
            consumed: at,
            payload: at..at,
            done: self.is_done(),
        })
    }

    /// Whether the last chunk and the trailer section were seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// One byte of framing.
    fn step(&mut self, b: u8) -> Result<(), ParseError> {
        self.state = match (self.state, b) {
            (State::Size { value, digits }, b) => size_byte(value, digits, b)?,
            (State::SizeLf { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => NEXT_CHUNK,
            (State::SizeLf { .. } | State::DataCr | State::DataLf, _) => {
                return Err(ParseError::Chunk);
            }
            (trailer, b) => self.trailer_byte(trailer, b)?,
        };
        Ok(())
    }

    fn trailer_byte(&mut self, state: State, b: u8) -> Result<State, ParseError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(ParseError::TrailerTooLarge);
        }
        match (state, b) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, b) if is_token(b) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=0x7e | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(ParseError::Trailer),
        }
    }
}

fn size_byte(value: u64, digits: u8, b: u8) -> Result<State, ParseError> {
    let digit = match b {
        b'0'..=b'9' => b - b'0',
        b'a'..=b'f' => b - b'a' + 10,
        b'A'..=b'F' => b - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeLf { value }),
        b';' | b' ' | b'\t' if digits > 0 => return Err(ParseError::ChunkExtension),
        _ => return Err(ParseError::Chunk),
    };
    if digits == MAX_SIZE_DIGITS {
        return Err(ParseError::Chunk);
    }
    Ok(State::Size {
        value: value << 4 | u64::from(digit),
        digits: digits + 1,
    })
}

/// `tchar` of RFC 9110 section 5.6.2.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(b, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
