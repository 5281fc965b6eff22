//! HTTP/1.1 framing (RFC 9112) without I/O, in both roles: heads in and out, bodies' boundaries, chunked coding.
//!
//! Parsing is by `httparse`; what `httparse` leaves to its caller, above all everything that lets two parties disagree
//! about where a message ends (request smuggling, S3-TRAPS 20 and 21), is refused here. Framing is never relayed:
//! what is read is understood, and what is sent is framed anew.
#![forbid(unsafe_code)]

mod chunked;
mod encode;
mod error;
mod head;

pub use chunked::{ChunkedDecoder, Decoded};
pub use encode::{CONTINUE, LAST_CHUNK, encode_chunk_head, encode_request_head, encode_response_head};
pub use error::ParseError;
pub use head::{Framing, Limits, RequestHead, ResponseHead, parse_request, parse_response};
