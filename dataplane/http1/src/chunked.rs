//! The chunked transfer coding (RFC 9112 §7.1), strictly.

use crate::error::ParseError;

/// Most hexadecimal digits of a chunk's length: 2^60 bytes are more than any body.
const MAX_DIGITS: u8 = 15;
/// Most bytes of trailers, which are passed over.
const MAX_TRAILER: usize = 8 << 10;

/// Takes the chunked coding off a body, in whatever pieces its bytes come.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes left of the chunk, or its length while that is read.
    left: u64,
    digits: u8,
    trailer: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Size,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a line after the last chunk.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// What one call has moved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Decoded {
    /// Bytes of the input that were used.
    pub consumed: usize,
    /// Bytes of the output that were written.
    pub produced: usize,
    /// The body has ended.
    pub done: bool,
}

impl ChunkedDecoder {
    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves body bytes from `input` to `out`, as far as both reach.
    ///
    /// # Errors
    ///
    /// Anything but plain chunks: extensions, bare line feeds, lengths that are no hexadecimal number or too large.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<Decoded, ParseError> {
        let mut at = 0;
        let mut produced = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let n = (input.len() - at)
                    .min(out.len() - produced)
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                if n == 0 {
                    break;
                }
                out[produced..produced + n].copy_from_slice(&input[at..at + n]);
                at += n;
                produced += n;
                self.left -= n as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(input[at])?;
            at += 1;
        }
        Ok(Decoded { consumed: at, produced, done: self.state == State::Done })
    }

    fn step(&mut self, byte: u8) -> Result<State, ParseError> {
        Ok(match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') => return Err(ParseError::bad("a chunk has an extension")),
            (State::Size, _) => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    b'a'..=b'f' => byte - b'a' + 10,
                    b'A'..=b'F' => byte - b'A' + 10,
                    _ => return Err(ParseError::bad("a chunk's length is no hexadecimal number")),
                };
                if self.digits == MAX_DIGITS {
                    return Err(ParseError::bad("a chunk's length is too large"));
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Done,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, b) if b != b'\n' => {
                self.trailer += 1;
                if self.trailer > MAX_TRAILER {
                    return Err(ParseError::bad("the trailers are too large"));
                }
                State::Trailer
            }
            _ => return Err(ParseError::bad("a chunk's line does not end as it must")),
        })
    }
}
