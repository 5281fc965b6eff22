//! HTTP/1.1 message syntax (RFC 9112) for both roles, without I/O.
//!
//! The caller owns the socket and the bytes: it reads into a buffer, asks [`parse_request`] or
//! [`parse_response`] whether a head is complete, takes the body as [`Framing`] says (through
//! [`ChunkedDecoder`] when chunked), and writes heads made by [`encode_request_head`] and
//! [`encode_response_head`]. Client framing is never relayed: a message that could be read in two
//! ways is refused (see [`ParseError`]), and every message that goes out is framed anew.
//!
//! Heads that arrive in fragments are parsed with [`RequestParser`] or [`ResponseParser`], which
//! remember how far they looked, so that a peer who sends one byte at a time costs linear work.
#![forbid(unsafe_code)]

mod chunked;
mod date;
mod encode;
mod error;
mod framing;
mod names;
mod request;
mod response;
mod scan;
mod spare;

pub use chunked::{ChunkedDecoder, Decoded, MAX_TRAILER_BYTES, Piece};
pub use date::{HttpDate, IMF_FIXDATE_LEN};
pub use encode::{
    CHUNK_END, CONTINUE, LAST_CHUNK, encode_chunk_head, encode_request_head, encode_response_head,
};
pub use error::ParseError;
pub use framing::Framing;
pub use request::{RequestHead, RequestParser, parse_request};
pub use response::{MAX_INTERIM_RESPONSES, ResponseHead, ResponseParser, parse_response};
pub use spare::{reuse_headers, spare_headers};

/// The most header fields of one head that any [`Limits`] may allow; it sizes a table on the stack.
pub const MAX_HEADERS: usize = 128;

/// Bounds on a message head. A head beyond them is refused before it is stored anywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the whole head, from the request or status line to the empty line.
    pub head_bytes: usize,
    /// Bytes of the request line without its CRLF. RFC 9112 section 3 recommends 8000 at least.
    pub request_line_bytes: usize,
    /// Header fields; capped at [`MAX_HEADERS`].
    pub headers: usize,
}

impl Limits {
    /// 32 KiB of head: a 1,024-byte key percent-encoded to 3 KiB, a session token of 12 KiB
    /// presigned in the query, 8 KiB of headers as AWS allows, and room for proxies' additions.
    pub const DEFAULT: Limits = Limits {
        head_bytes: 32 * 1024,
        request_line_bytes: 20 * 1024,
        headers: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
