//! Heads as they are sent.

use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode};

use crate::head::Framing;

/// Asks for the body of a request that waits with it.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a request's head. `headers` hold `Host` and the body's framing.
pub fn encode_request_head(out: &mut Vec<u8>, method: &Method, target: &[u8], headers: &HeaderMap) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    encode_fields(out, headers, &[]);
    out.extend_from_slice(b"\r\n");
}

/// Appends a response's head. Framing, `Connection` and `Date` are written from the arguments; should `headers` hold
/// them, those are passed over. `date` is an IMF-fixdate (RFC 9110 §5.6.7).
pub fn encode_response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    keep_alive: bool,
    date: &[u8],
) {
    const OURS: [HeaderName; 4] =
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::DATE];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
    encode_fields(out, headers, &OURS);
    match framing {
        Framing::Length(n) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line in front of a chunk of `len` bytes; the chunk is followed by CR LF.
pub fn encode_chunk_head(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(format!("{len:x}\r\n").as_bytes());
}

fn encode_fields(out: &mut Vec<u8>, headers: &HeaderMap, except: &[HeaderName]) {
    for (name, value) in headers {
        if except.contains(name) {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
