use bytes::Bytes;
use http::{HeaderMap, Method, Version, header};

use crate::names::{field_table, header_map};
use crate::scan::HeadScan;
use crate::{Framing, Limits, ParseError, framing};

/// The head of a request, as received but for an absolute target (see
/// [`target`](RequestHead::target)).
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method; any token.
    pub method: Method,
    /// Path and query as received, not decoded, beginning with `/`; or `*` for `OPTIONS`. Of an
    /// absolute target (`http://host/path`), the part after the authority, which is checked to
    /// equal `Host`.
    pub target: Bytes,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Header fields in order of arrival. All values share one copy of the head.
    pub headers: HeaderMap,
    /// Where the body ends. Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for [`CONTINUE`](crate::CONTINUE) before it sends the body.
    pub expect_continue: bool,
}

/// Parses request heads that arrive in fragments, in linear time.
///
/// Feed it the same growing buffer until it returns a head, then take the head's bytes off the
/// buffer; it is then ready for the next one.
#[derive(Debug, Default)]
pub struct RequestParser {
    scan: HeadScan,
}

impl RequestParser {
    /// A parser at the beginning of a head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the head at the start of `buf`: `None` when more bytes are needed, else the head
    /// and how many bytes it took. `buf` must begin with the bytes of the calls before that
    /// returned `None`.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<Option<(RequestHead, usize)>, ParseError> {
        let first_line = Some(limits.request_line_bytes);
        let Some(found) = self.scan.find(buf, limits, first_line)? else {
            return Ok(None);
        };
        self.scan.restart(0);
        let head = Bytes::copy_from_slice(&buf[found.start..found.end]);
        Ok(Some((request_head(&head)?, found.end)))
    }
}

/// Parses the request head at the start of `buf`, if it is complete: the head, and how many bytes
/// it took. `None` means that more bytes are needed; to ask again for each fragment, use
/// [`RequestParser`], which does not look at the same bytes twice.
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, ParseError> {
    RequestParser::new().parse(buf, limits)
}

fn request_head(head: &Bytes) -> Result<RequestHead, ParseError> {
    let mut table = field_table();
    let mut request = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(
        &mut request,
        head,
        &mut table,
    ) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(ParseError::RequestLine),
        Err(httparse::Error::Version) => return Err(version_error(head)),
        Err(e) => return Err(e.into()),
    }
    let (Some(method), Some(path), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(ParseError::RequestLine);
    };
    let version = match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| ParseError::RequestLine)?;
    let headers = header_map(head, request.headers)?;
    let host = host(&headers, version)?;
    let target = target(&method, path.as_bytes(), host)?;
    let framing = framing::declared(&headers, version)?;
    Ok(RequestHead {
        target: head.slice_ref(target),
        expect_continue: expect_continue(&headers, version)?,
        keep_alive: framing::keep_alive(&headers, version),
        method,
        version,
        headers,
        framing,
    })
}

/// A request line that ends in some other HTTP version is 505; anything else in that place, such
/// as the rest of a target with a space in it, is 400.
fn version_error(head: &[u8]) -> ParseError {
    let line = head.split(|&b| b == b'\r').next().unwrap_or(head);
    let mut words = line.split(|&b| b == b' ').skip(2);
    match (
        words.next().and_then(|w| w.strip_prefix(b"HTTP/")),
        words.next(),
    ) {
        (Some([major, b'.', minor]), None) if major.is_ascii_digit() && minor.is_ascii_digit() => {
            ParseError::Version
        }
        _ => ParseError::RequestLine,
    }
}

/// RFC 9112 section 3.2: exactly one in HTTP/1.1, at most one before. Only what a registered name
/// or an address and a port are made of is let through, so that nobody reads it in two ways.
fn host(headers: &HeaderMap, version: Version) -> Result<Option<&[u8]>, ParseError> {
    let mut values = headers.get_all(header::HOST).iter();
    let first = values.next().map(|v| v.as_bytes());
    if values.next().is_some() {
        return Err(ParseError::Host);
    }
    match first {
        None if version == Version::HTTP_10 => Ok(None),
        Some(host) if !host.is_empty() && host.iter().all(|&b| is_host_byte(b)) => Ok(Some(host)),
        _ => Err(ParseError::Host),
    }
}

/// `uri-host [":" port]` of RFC 3986: unreserved, sub-delims but the comma, percent, IP literals.
const fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
        || matches!(
            b,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
}

/// Origin form and `*` are taken as they are; absolute form must agree with `Host`, then loses
/// its authority (RFC 9112 section 3.2.2 wants it accepted).
fn target<'a>(
    method: &Method,
    target: &'a [u8],
    host: Option<&[u8]>,
) -> Result<&'a [u8], ParseError> {
    if *method == Method::CONNECT {
        return Err(ParseError::Connect);
    }
    match target.first() {
        Some(b'/') => return Ok(target),
        Some(b'*') if target.len() == 1 && *method == Method::OPTIONS => return Ok(target),
        _ => {}
    }
    let rest = strip_prefix_ignore_case(target, b"http://")
        .or_else(|| strip_prefix_ignore_case(target, b"https://"))
        .ok_or(ParseError::Target)?;
    let slash = memchr::memchr(b'/', rest).ok_or(ParseError::Target)?;
    let (authority, path) = rest.split_at(slash);
    match host {
        Some(host) if host.eq_ignore_ascii_case(authority) => Ok(path),
        None if !authority.is_empty() && authority.iter().all(|&b| is_host_byte(b)) => Ok(path),
        _ => Err(ParseError::Host),
    }
}

fn strip_prefix_ignore_case<'a>(s: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = s.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// RFC 9110 section 10.1.1: an HTTP/1.0 client's expectation is ignored. One with an empty body is
/// not: botocore waits for its `100` too, and takes the answer to its next request for it otherwise.
fn expect_continue(headers: &HeaderMap, version: Version) -> Result<bool, ParseError> {
    let mut values = headers.get_all(header::EXPECT).iter();
    let Some(value) = values.next() else {
        return Ok(false);
    };
    if version == Version::HTTP_10 {
        return Ok(false);
    }
    if values.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Err(ParseError::Expectation);
    }
    Ok(true)
}
