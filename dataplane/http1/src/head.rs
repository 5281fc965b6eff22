//! Heads of requests and responses.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use memchr::{memchr, memchr_iter, memmem};

use crate::error::ParseError;

/// Most header lines that any limit allows: the parser's table is on the stack.
const MAX_HEADERS: usize = 128;

/// Bounds on a head.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the whole head. S3 allows 8 KiB of headers; a presigned target with an encoded 1,024-byte key and a
    /// session token adds as much again.
    pub head_bytes: usize,
    /// Bytes of the first line.
    pub request_line_bytes: usize,
    /// Header lines, at most 128.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 32 << 10, request_line_bytes: 16 << 10, headers: 100 }
    }
}

/// Where a message's body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// Where the connection does; responses only.
    UntilClose,
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Request target, as received.
    pub target: Bytes,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Header fields, values as received.
    pub headers: HeaderMap,
    /// The body's end.
    pub framing: Framing,
    /// Whether the client would send another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub expect_continue: bool,
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Status.
    pub status: StatusCode,
    /// Header fields, values as received.
    pub headers: HeaderMap,
    /// The body's end.
    pub framing: Framing,
    /// Whether the server takes another request on this connection.
    pub keep_alive: bool,
}

/// Parses a request's head at the start of `buf`: the head and its length in bytes, or `None` when more is needed.
///
/// # Errors
///
/// Whatever is not strictly RFC 9112, or beyond `limits`; see [`ParseError`].
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, ParseError> {
    // RFC 9112 §2.2: an empty line before a request line is ignored.
    let skipped = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    let buf = &buf[skipped..];
    let Some(end) = head_end(buf, limits, true)? else { return Ok(None) };
    let raw = &buf[..end];
    check_lines(raw)?;
    let mut table = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut table[..limits.headers.min(MAX_HEADERS)]);
    match parsed.parse(raw) {
        Ok(httparse::Status::Complete(n)) if n == end => {}
        Ok(_) => return Err(ParseError::bad("the head is cut")),
        Err(e) => return Err(refused(e)),
    }
    let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(ParseError::bad("the request line is incomplete"));
    };
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| ParseError::bad("the method is no token"))?;
    let shared = Bytes::copy_from_slice(raw);
    let target = shared.slice_ref(&shared[offset(raw, path.as_bytes())..][..path.len()]);
    let headers = collect(raw, &shared, parsed.headers)?;
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    check_host(&headers, version)?;
    let framing = match framing(&headers, version)? {
        Some(framing) => framing,
        None => Framing::None,
    };
    let expect_continue = expects_continue(&headers, version)? && framing != Framing::Length(0);
    let head = RequestHead {
        keep_alive: keeps_alive(&headers, version),
        method,
        target,
        version,
        headers,
        framing,
        expect_continue: expect_continue && framing != Framing::None,
    };
    Ok(Some((head, end + skipped)))
}

/// Parses a response's head at the start of `buf`, passing over interim (1xx) ones: the head and the length in bytes
/// of all that was passed, or `None` when more is needed. `request_method` decides whether there is a body.
///
/// # Errors
///
/// Whatever is not RFC 9112, or beyond `limits`.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    request_method: &Method,
) -> Result<Option<(ResponseHead, usize)>, ParseError> {
    let mut start = 0;
    loop {
        let rest = &buf[start..];
        let Some(end) = head_end(rest, limits, false)? else { return Ok(None) };
        let raw = &rest[..end];
        check_lines(raw)?;
        let mut table = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut table[..limits.headers.min(MAX_HEADERS)]);
        match parsed.parse(raw) {
            Ok(httparse::Status::Complete(n)) if n == end => {}
            Ok(_) => return Err(ParseError::bad("the head is cut")),
            Err(e) => return Err(refused(e)),
        }
        let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(ParseError::bad("the status line is incomplete"));
        };
        let status =
            StatusCode::from_u16(code).map_err(|_| ParseError::bad("the status is no status"))?;
        start += end;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ParseError::bad("the server switches protocols unasked"));
        }
        if status.is_informational() {
            continue;
        }
        let shared = Bytes::copy_from_slice(raw);
        let headers = collect(raw, &shared, parsed.headers)?;
        let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let declared = framing(&headers, version)?;
        let bodiless = *request_method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = match declared {
            _ if bodiless => Framing::None,
            Some(framing) => framing,
            None => Framing::UntilClose,
        };
        let keep_alive = keeps_alive(&headers, version) && framing != Framing::UntilClose;
        return Ok(Some((ResponseHead { status, headers, framing, keep_alive }, start)));
    }
}

/// The length of the head in front of `buf`, its last empty line included; `None` when it is not all there.
fn head_end(buf: &[u8], limits: &Limits, request: bool) -> Result<Option<usize>, ParseError> {
    let window = &buf[..buf.len().min(limits.head_bytes)];
    if let Some(at) = memmem::find(window, b"\r\n\r\n") {
        let line = memchr(b'\n', window).unwrap_or(at);
        if request && line > limits.request_line_bytes {
            return Err(ParseError::with(StatusCode::URI_TOO_LONG, "the request line is too long"));
        }
        return Ok(Some(at + 4));
    }
    // A bare LF can never become part of a head: say so at once rather than wait for more.
    check_lines(window.strip_suffix(b"\r").unwrap_or(window))?;
    if buf.len() >= limits.head_bytes {
        return Err(ParseError::with(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the head is too large",
        ));
    }
    if request && memchr(b'\n', window).is_none() && window.len() > limits.request_line_bytes {
        return Err(ParseError::with(StatusCode::URI_TOO_LONG, "the request line is too long"));
    }
    Ok(None)
}

/// Refuses bare line feeds, bare carriage returns and folded lines: parties differ in what they make of them.
fn check_lines(raw: &[u8]) -> Result<(), ParseError> {
    for at in memchr_iter(b'\n', raw) {
        if at == 0 || raw[at - 1] != b'\r' {
            return Err(ParseError::bad("a line ends without a carriage return"));
        }
        if matches!(raw.get(at + 1), Some(b' ' | b'\t')) {
            return Err(ParseError::bad("a header line is folded"));
        }
    }
    for at in memchr_iter(b'\r', raw) {
        if at + 1 < raw.len() && raw[at + 1] != b'\n' {
            return Err(ParseError::bad("a carriage return stands alone"));
        }
    }
    Ok(())
}

fn refused(e: httparse::Error) -> ParseError {
    match e {
        httparse::Error::HeaderName => ParseError::bad("a header name is no token"),
        httparse::Error::HeaderValue => ParseError::bad("a header value holds a control character"),
        httparse::Error::TooManyHeaders => ParseError::with(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "there are too many header lines",
        ),
        httparse::Error::Version => {
            ParseError::with(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "the version is not HTTP/1.1")
        }
        httparse::Error::Status => ParseError::bad("the status line is malformed"),
        httparse::Error::NewLine => ParseError::bad("a line ends in the wrong place"),
        httparse::Error::Token => ParseError::bad("the first line is malformed"),
    }
}

fn offset(outer: &[u8], inner: &[u8]) -> usize {
    inner.as_ptr().addr() - outer.as_ptr().addr()
}

/// Header values share `shared`, a copy of the head: no allocation for each.
fn collect(
    raw: &[u8],
    shared: &Bytes,
    parsed: &[httparse::Header<'_>],
) -> Result<HeaderMap, ParseError> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| ParseError::bad("a header name is no token"))?;
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            let at = offset(raw, field.value);
            HeaderValue::from_maybe_shared(shared.slice(at..at + field.value.len()))
                .map_err(|_| ParseError::bad("a header value holds a control character"))?
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9112 §3.2: exactly one Host in HTTP/1.1.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), ParseError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(ParseError::bad("there is more than one Host")),
        (None, _) if version == Version::HTTP_11 => Err(ParseError::bad("there is no Host")),
        _ => Ok(()),
    }
}

/// RFC 9112 §6: `Transfer-Encoding` or `Content-Length`, never both, never either twice.
fn framing(headers: &HeaderMap, version: Version) -> Result<Option<Framing>, ParseError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || lengths.next().is_some() {
            return Err(ParseError::bad("the body's length is declared more than once"));
        }
        if version == Version::HTTP_10 {
            return Err(ParseError::bad("Transfer-Encoding in HTTP/1.0"));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(ParseError::with(
                StatusCode::NOT_IMPLEMENTED,
                "a transfer coding other than chunked",
            ));
        }
        return Ok(Some(Framing::Chunked));
    }
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(ParseError::bad("the body's length is declared more than once"));
    }
    // Digits only: `+5`, `5, 5`, `0x5` and white space mean different things to different parties.
    let digits = length.as_bytes();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ParseError::bad("Content-Length is no number"));
    }
    let n = digits.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    Ok(Some(Framing::Length(n)))
}

fn keeps_alive(headers: &HeaderMap, version: Version) -> bool {
    let has = |token: &[u8]| {
        headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|b| *b == b',')
                .any(|t| t.trim_ascii().eq_ignore_ascii_case(token))
        })
    };
    if version == Version::HTTP_11 { !has(b"close") } else { has(b"keep-alive") && !has(b"close") }
}

/// RFC 9110 §10.1.1: `100-continue` is the only expectation there is.
fn expects_continue(headers: &HeaderMap, version: Version) -> Result<bool, ParseError> {
    match headers.get(header::EXPECT) {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Ok(version == Version::HTTP_11)
        }
        Some(_) => Err(ParseError::with(
            StatusCode::EXPECTATION_FAILED,
            "an expectation other than 100-continue",
        )),
    }
}
