//! The three forms of `aws-chunked` bodies (S3-TRAPS 1, 2), decoded without I/O.
//!
//! | `x-amz-content-sha256` | chunks | trailers |
//! |---|---|---|
//! | `STREAMING-AWS4-HMAC-SHA256-PAYLOAD` | signed | none |
//! | `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER` | signed | signed |
//! | `STREAMING-UNSIGNED-PAYLOAD-TRAILER` | plain | plain |
//!
//! Payload is handed out as it arrives, before the signature of its chunk can be checked: **nothing may be committed
//! before [`Decoded::done`]**, which comes only after every chunk, the length and the trailers were verified.
//!
//! Payload need not be moved: [`AwsChunked::expected`] guesses what comes next, so that payload can be received where it
//! is to be, and [`AwsChunked::in_place`] takes note of it.

use aws_lc_rs::digest;
use http::HeaderMap;

use self::outlook::{At, Chunk, Outlook};
use crate::checksum;
use crate::encoding;
use crate::error::{ErrorCode, S3Error};
use crate::sigv4::{ChunkVerifier, Payload, Verified};

mod outlook;

pub use self::outlook::Expected;

/// Header with the length of the payload without framing.
pub const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// Longest chunk header line, bytes: 16 digits, `;chunk-signature=` and 64 digits are 97.
const MAX_CHUNK_HEADER: usize = 128;
/// Longest trailer line, bytes: a SHA-256 trailer has 67, a signature 89.
const MAX_TRAILER_LINE: usize = 256;
/// Most trailer lines, empty ones included.
const MAX_TRAILER_LINES: usize = 8;
/// Most digits of a chunk's size.
const MAX_SIZE_DIGITS: usize = 16;

/// Room for what follows the payload, bytes: the last chunk, a checksum and its signature are 260.
const TRAILER_ROOM: usize = 320;

const SIGNATURE: &[u8] = b"chunk-signature=";
const TRAILER_SIGNATURE: &[u8] = b"x-amz-trailer-signature";

/// What one step did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Decoded {
    /// Bytes of the input that were used.
    pub consumed: usize,
    /// Bytes of payload that were written.
    pub produced: usize,
    /// Everything was received and verified.
    pub done: bool,
}

#[derive(Debug)]
enum State {
    /// In a chunk's header line.
    Header,
    /// In a chunk's payload.
    Data { left: u64 },
    /// At the line break after a chunk's payload; whether its CR was seen.
    DataEnd { cr: bool },
    /// In the lines after the last chunk.
    Trailer,
    /// All verified; one more line break, which some clients send, may follow: bytes of it that were seen.
    Done { extra: u8 },
    /// Refused; nothing will be accepted any more.
    Failed,
}

/// A decoder of one body.
pub struct AwsChunked {
    state: State,
    line: Vec<u8>,
    verifier: Option<ChunkVerifier>,
    signed_trailer: bool,
    /// Hash of the current chunk, when chunks are signed.
    hash: digest::Context,
    /// Signature of the current chunk.
    signature: [u8; 32],
    /// Payload bytes that the client declared and that no chunk's header has told of yet.
    left: u64,
    /// The chunk that is being received, or was received last.
    last: Option<Chunk>,
    /// Whether it was as long as the one before it; true while there was none.
    steady: bool,
    announced: Vec<String>,
    trailers: Vec<(String, String)>,
    trailer_lines: usize,
    trailer_verified: bool,
}

/// Reads `x-amz-decoded-content-length`; `MissingContentLength` without it, or where it is no number.
pub fn decoded_length(headers: &HeaderMap) -> Result<u64, S3Error> {
    let value = headers
        .get(DECODED_LENGTH)
        .ok_or_else(|| S3Error::new(ErrorCode::MissingContentLength))?;
    let text = value.to_str().unwrap_or("").trim();
    // `FromStr` would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let length = text.parse().ok().filter(|_| digits);
    length.ok_or_else(|| S3Error::new(ErrorCode::MissingContentLength))
}

fn broken(what: &'static str) -> S3Error {
    S3Error::with_message(ErrorCode::InvalidRequest, what)
}

fn incomplete() -> S3Error {
    S3Error::new(ErrorCode::IncompleteBody)
}

fn bad_trailer() -> S3Error {
    S3Error::new(ErrorCode::MalformedTrailerError)
}

impl AwsChunked {
    /// A decoder for a request whose payload [`Payload::is_streaming`]. `decoded_len` is the payload's length, see
    /// [`decoded_length`].
    pub fn new(
        verified: &Verified,
        headers: &HeaderMap,
        decoded_len: u64,
    ) -> Result<Self, S3Error> {
        let (signed, trailer) = match verified.payload {
            Payload::StreamingSigned { trailer } => (true, trailer),
            Payload::StreamingUnsignedTrailer => (false, true),
            Payload::Unsigned | Payload::Sha256(_) => {
                return Err(broken("The body is not aws-chunked."));
            }
        };
        if signed && verified.chunk_signer.is_none() {
            return Err(broken("Signed chunks need a signed request."));
        }
        let announced = if trailer {
            checksum::announced_trailers(headers)?
        } else {
            Vec::new()
        };
        Ok(Self {
            state: State::Header,
            line: Vec::with_capacity(MAX_CHUNK_HEADER),
            verifier: verified.chunk_signer.clone().filter(|_| signed),
            signed_trailer: signed && trailer,
            hash: digest::Context::new(&digest::SHA256),
            signature: [0; 32],
            left: decoded_len,
            last: None,
            steady: true,
            announced,
            trailers: Vec::new(),
            trailer_lines: 0,
            trailer_verified: false,
        })
    }

    /// Decodes as much of `input` into `out` as there is and fits. With an empty `out` it still works through framing.
    ///
    /// Errors: `SignatureDoesNotMatch`, `IncompleteBody` when the chunks do not add up to the declared length,
    /// `MalformedTrailerError`, `InvalidRequest` for broken framing. After an error the decoder refuses all input.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<Decoded, S3Error> {
        let result = self.run(input, out);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Notes that the next bytes have come, all of them payload of the chunk that is being received, and are where they
    /// are to be: [`Self::decode`] without the copy. No more than [`Self::payload_left`].
    ///
    /// Errors: `SignatureDoesNotMatch`, as [`Self::decode`].
    pub fn in_place(&mut self, payload: &[u8]) -> Result<(), S3Error> {
        let result = match &self.state {
            State::Data { left } if *left >= payload.len() as u64 => self.take_payload(payload),
            _ => Err(broken("The body was refused.")),
        };
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Payload bytes still to come of the chunk that is being received; 0 in framing.
    pub fn payload_left(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Payload bytes of the chunk that is being received, or was received last.
    pub fn chunk_len(&self) -> Option<u64> {
        self.last.map(|chunk| chunk.size)
    }

    /// What comes next if the client goes on as it did, as far as that can be told. Only a guess: every byte still goes
    /// through [`Self::decode`] or [`Self::in_place`].
    pub fn expected(&self) -> impl Iterator<Item = Expected> + use<> {
        Outlook {
            at: match self.state {
                State::Data { left } => At::Payload(left),
                State::DataEnd { cr } => At::Framing(cr.into()),
                State::Header => Outlook::in_header(self.line.len()),
                State::Trailer | State::Done { .. } | State::Failed => At::End,
            },
            left: self.left,
            last: self.last,
            steady: self.steady,
        }
    }

    /// Whether everything was received and verified.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    /// The trailers, names in lower case; complete once done.
    pub fn trailers(&self) -> &[(String, String)] {
        &self.trailers
    }

    fn run(&mut self, input: &[u8], out: &mut [u8]) -> Result<Decoded, S3Error> {
        let (mut consumed, mut produced) = (0, 0);
        while let Some(rest) = input.get(consumed..).filter(|r| !r.is_empty()) {
            match &mut self.state {
                State::Header => {
                    let (n, complete) = take_line(&mut self.line, rest, MAX_CHUNK_HEADER)?;
                    consumed += n;
                    if complete {
                        self.chunk_header()?;
                    }
                }
                State::Data { left } => {
                    let room = out.len() - produced;
                    let n = rest
                        .len()
                        .min(room)
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    if n == 0 {
                        break;
                    }
                    out[produced..produced + n].copy_from_slice(&rest[..n]);
                    consumed += n;
                    produced += n;
                    self.take_payload(&rest[..n])?;
                }
                State::DataEnd { cr } => {
                    match (rest[0], *cr) {
                        (b'\r', false) => *cr = true,
                        (b'\n', true) => self.state = State::Header,
                        _ => return Err(broken("A chunk does not end with a line break.")),
                    }
                    consumed += 1;
                }
                State::Trailer => {
                    let (n, complete) = take_line(&mut self.line, rest, MAX_TRAILER_LINE)
                        .map_err(|_| bad_trailer())?;
                    consumed += n;
                    if complete {
                        self.trailer_line()?;
                    }
                }
                State::Done { extra } => {
                    match (rest[0], *extra) {
                        (b'\r', 0) | (b'\n', 1) => *extra += 1,
                        _ => return Err(broken("There are bytes after the last chunk.")),
                    }
                    consumed += 1;
                }
                State::Failed => return Err(broken("The body was refused.")),
            }
        }
        Ok(Decoded {
            consumed,
            produced,
            done: self.is_done(),
        })
    }

    /// Payload of the current chunk, no more than is left of it.
    fn take_payload(&mut self, payload: &[u8]) -> Result<(), S3Error> {
        if self.verifier.is_some() {
            self.hash.update(payload);
        }
        if let State::Data { left } = &mut self.state {
            *left -= payload.len() as u64;
            if *left == 0 {
                self.verify_chunk()?;
                self.state = State::DataEnd { cr: false };
            }
        }
        Ok(())
    }

    /// `size[;chunk-signature=…]\r\n`.
    fn chunk_header(&mut self) -> Result<(), S3Error> {
        const FORM: &str = "A chunk header is malformed.";
        let line = self.line.strip_suffix(b"\r").ok_or_else(|| broken(FORM))?;
        let (digits, extension) = match line.iter().position(|b| *b == b';') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        if digits.is_empty() || digits.len() > MAX_SIZE_DIGITS {
            return Err(broken(FORM));
        }
        let mut size = 0u64;
        for d in digits {
            size = size << 4 | u64::from(encoding::hex_value(*d).ok_or_else(|| broken(FORM))?);
        }
        match (&self.verifier, extension) {
            (Some(_), Some(extension)) => {
                let signature = extension.strip_prefix(SIGNATURE).and_then(encoding::hex32);
                self.signature = signature.ok_or_else(|| broken(FORM))?;
            }
            (None, None) => {}
            (Some(_), None) => return Err(broken("A chunk has no signature.")),
            (None, Some(_)) => return Err(broken("A chunk of an unsigned body has an extension.")),
        }
        let chunk = Chunk::new(size, &self.line);
        self.line.clear();
        self.left = self.left.checked_sub(size).ok_or_else(incomplete)?;
        if size > 0 {
            let before = self.last.replace(chunk);
            self.steady = before.is_none_or(|before| before.size == size);
            self.state = State::Data { left: size };
            return Ok(());
        }
        self.verify_chunk()?;
        if self.left > 0 {
            return Err(incomplete());
        }
        self.state = State::Trailer;
        Ok(())
    }

    fn verify_chunk(&mut self) -> Result<(), S3Error> {
        let Some(verifier) = &mut self.verifier else {
            return Ok(());
        };
        let hash =
            std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256)).finish();
        if verifier.verify_chunk(hash.as_ref(), &self.signature) {
            Ok(())
        } else {
            Err(S3Error::new(ErrorCode::SignatureDoesNotMatch))
        }
    }

    /// `name:value`, ended by LF with or without CR before it: AWS's own example and SDKs after it send a bare LF,
    /// then an empty line. An empty line ends the trailers, but not before their signature.
    fn trailer_line(&mut self) -> Result<(), S3Error> {
        self.trailer_lines += 1;
        if self.trailer_lines > MAX_TRAILER_LINES {
            return Err(bad_trailer());
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if line.is_empty() {
            self.line.clear();
            if self.signed_trailer && !self.trailer_verified {
                return Ok(());
            }
            if self.trailers.len() != self.announced.len() {
                return Err(bad_trailer());
            }
            self.state = State::Done { extra: 0 };
            return Ok(());
        }
        let colon = line
            .iter()
            .position(|b| *b == b':')
            .ok_or_else(bad_trailer)?;
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if self.trailer_verified {
            return Err(bad_trailer());
        }
        if self.signed_trailer && name.eq_ignore_ascii_case(TRAILER_SIGNATURE) {
            let signature = encoding::hex32(value).ok_or_else(bad_trailer)?;
            let canonical: String = self
                .trailers
                .iter()
                .map(|(n, v)| format!("{n}:{v}\n"))
                .collect();
            let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
            let right = self
                .verifier
                .as_mut()
                .is_some_and(|v| v.verify_trailer(hash.as_ref(), &signature));
            if !right {
                return Err(S3Error::new(ErrorCode::SignatureDoesNotMatch));
            }
            self.trailer_verified = true;
        } else {
            let text = |b: &[u8]| String::from_utf8(b.to_vec()).map_err(|_| bad_trailer());
            let (name, value) = (text(name)?.to_ascii_lowercase(), text(value)?);
            if !self.announced.contains(&name) || self.trailers.iter().any(|(n, _)| *n == name) {
                return Err(bad_trailer());
            }
            self.trailers.push((name, value));
        }
        self.line.clear();
        Ok(())
    }
}

impl std::fmt::Debug for AwsChunked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsChunked")
            .field("state", &self.state)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Collects a line without its LF: (bytes used, whether it is complete).
fn take_line(line: &mut Vec<u8>, input: &[u8], limit: usize) -> Result<(usize, bool), S3Error> {
    let end = memchr::memchr(b'\n', input);
    let part = &input[..end.unwrap_or(input.len())];
    if line.len() + part.len() > limit {
        return Err(broken("A line of the chunked body is too long."));
    }
    line.extend_from_slice(part);
    Ok((part.len() + usize::from(end.is_some()), end.is_some()))
}

#[cfg(test)]
mod tests;
