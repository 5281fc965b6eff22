use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{Framing, HttpDate};

/// The interim response that a client with `Expect: 100-continue` waits for.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Ends a chunked body, without trailer fields.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Goes after the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends a request head: request line, `Host` first, then the other headers as they stand.
///
/// The headers say how the body is framed: `Content-Length` or `Transfer-Encoding` must be among
/// them when there is one. `target` is written as given (origin form, percent-encoded by whoever
/// signed it), except that a byte which could end the request line early is percent-encoded.
pub fn encode_request_head(out: &mut Vec<u8>, method: &Method, target: &[u8], headers: &HeaderMap) {
    out.reserve(64 + target.len() + headers.len() * 48);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    encode_target(out, target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = headers.get(header::HOST) {
        field(out, b"host", host.as_bytes());
    }
    for (name, value) in headers {
        if name != header::HOST {
            header_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a response head: status line, `Date`, framing, `Connection: close` when the connection
/// ends, then the headers.
///
/// `framing` is the one source of `Content-Length` and `Transfer-Encoding`: those in `headers` are
/// not written, nor are `Connection`, `Keep-Alive` and `Date`. The exception is
/// [`Framing::None`], for an answer to HEAD and for 304, which keep the caller's
/// `Content-Length`: the length a GET would have; 204 never has one (RFC 9110 section 8.6). An
/// answer with an empty body that is none of these has [`Framing::Length`] 0.
/// [`Framing::UntilClose`] implies `Connection: close`, and is what an HTTP/1.0 client gets
/// in place of [`Framing::Chunked`].
pub fn encode_response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    keep_alive: bool,
    date: &HttpDate,
) {
    out.reserve(128 + headers.len() * 48);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    field(out, b"date", date.as_bytes());
    match framing {
        Framing::Length(n) => {
            let mut digits = itoa::Buffer::new();
            field(out, b"content-length", digits.format(n).as_bytes());
        }
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    if !keep_alive || framing == Framing::UntilClose {
        field(out, b"connection", b"close");
    }
    let keep_length = framing == Framing::None && status != StatusCode::NO_CONTENT;
    for (name, value) in headers {
        if !is_framing(name) || (keep_length && *name == header::CONTENT_LENGTH) {
            header_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the size line of a chunk of `len` bytes; its data and [`CHUNK_END`] follow. Nothing for
/// an empty chunk, which would end the body: write neither data nor end after it.
pub fn encode_chunk_head(out: &mut Vec<u8>, len: u64) {
    if len == 0 {
        return;
    }
    let digits = (u64::BITS - len.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        let nibble = (len >> (digit * 4)) as usize & 0xf;
        out.push(b"0123456789abcdef"[nibble]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Headers of one hop, which the encoder alone writes.
fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH
        || *name == header::TRANSFER_ENCODING
        || *name == header::CONNECTION
        || *name == header::DATE
        || name.as_str() == "keep-alive"
}

fn header_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    field(out, name.as_str().as_bytes(), value.as_bytes());
}

/// `HeaderValue` holds no CR or LF by construction, so a value cannot begin another field.
fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn encode_target(out: &mut Vec<u8>, target: &[u8]) {
    if target.iter().all(u8::is_ascii_graphic) {
        out.extend_from_slice(target);
        return;
    }
    for &b in target {
        if b.is_ascii_graphic() {
            out.push(b);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}
