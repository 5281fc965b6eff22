use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};

use crate::names::{field_table, header_map};
use crate::scan::HeadScan;
use crate::{Framing, Limits, ParseError, framing};

/// Interim (1xx) responses let pass before a final one. A server that sends more is not answering.
pub const MAX_INTERIM_RESPONSES: usize = 8;

/// The head of a final response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 200 to 599.
    pub status: StatusCode,
    /// Header fields in order of arrival. All values share one copy of the head.
    pub headers: HeaderMap,
    /// Where the body ends. Of a response to HEAD, of 204 and 304 [`Framing::None`], whatever
    /// `Content-Length` they carry (RFC 9112 section 6.3).
    pub framing: Framing,
    /// Whether another request may be sent on this connection.
    pub keep_alive: bool,
}

/// Parses response heads that arrive in fragments, in linear time. See
/// [`RequestParser`](crate::RequestParser) for how to feed it.
#[derive(Debug, Default)]
pub struct ResponseParser {
    scan: HeadScan,
    interim: usize,
}

impl ResponseParser {
    /// A parser at the beginning of a head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the head at the start of `buf`, and past any 1xx heads before it: `None` when more
    /// bytes are needed, else the head and how many bytes were taken, interim heads included.
    /// `buf` must begin with the bytes of the calls before that returned `None`.
    /// `request_method` is that of the request this answers.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        request_method: &Method,
    ) -> Result<Option<(ResponseHead, usize)>, ParseError> {
        while let Some(found) = self.scan.find(buf, limits, None)? {
            let head = Bytes::copy_from_slice(&buf[found.start..found.end]);
            self.scan.restart(found.end);
            if let Some(head) = final_head(&head, request_method)? {
                *self = Self::new();
                return Ok(Some((head, found.end)));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM_RESPONSES {
                return Err(ParseError::TooManyInterimResponses);
            }
        }
        Ok(None)
    }
}

/// Parses the response head at the start of `buf`, if it is complete, skipping interim responses:
/// the head, and how many bytes were taken. To ask again for each fragment, use
/// [`ResponseParser`].
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    request_method: &Method,
) -> Result<Option<(ResponseHead, usize)>, ParseError> {
    ResponseParser::new().parse(buf, limits, request_method)
}

/// The head, or `None` when it is an interim one.
fn final_head(head: &Bytes, request_method: &Method) -> Result<Option<ResponseHead>, ParseError> {
    let mut table = field_table();
    let mut response = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        head,
        &mut table,
    ) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) | Err(httparse::Error::Token) => return Err(ParseError::StatusLine),
        Err(e) => return Err(e.into()),
    }
    let (Some(code), Some(minor)) = (response.code, response.version) else {
        return Err(ParseError::StatusLine);
    };
    let status = match code {
        // Nobody asked for another protocol; bytes that follow would not be HTTP.
        101 => return Err(ParseError::Status),
        100..200 => return Ok(None),
        200..600 => StatusCode::from_u16(code).map_err(|_| ParseError::Status)?,
        _ => return Err(ParseError::Status),
    };
    let version = match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let headers = header_map(head, response.headers)?;
    let framing = body_framing(&headers, version, status, request_method)?;
    Ok(Some(ResponseHead {
        keep_alive: framing != Framing::UntilClose && framing::keep_alive(&headers, version),
        status,
        headers,
        framing,
    }))
}

/// RFC 9112 section 6.3, rules 1 to 8, with the lenient branches closed.
fn body_framing(
    headers: &HeaderMap,
    version: Version,
    status: StatusCode,
    request_method: &Method,
) -> Result<Framing, ParseError> {
    let declared = framing::declared(headers, version)?;
    if status == StatusCode::NO_CONTENT && declared == Framing::Chunked {
        return Err(ParseError::TransferEncoding);
    }
    if *request_method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Ok(Framing::None);
    }
    Ok(match declared {
        Framing::None => Framing::UntilClose,
        framing => framing,
    })
}
