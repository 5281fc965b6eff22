use std::fmt;

use http::StatusCode;

/// Why a message was refused. The connection it came on cannot be used any more: where the next
/// message would begin is unknown. Answer [`status`](ParseError::status) (when it was a request)
/// and close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ParseError {
    /// The request line is longer than [`Limits::request_line_bytes`](crate::Limits).
    RequestLineTooLong,
    /// The head is longer than [`Limits::head_bytes`](crate::Limits).
    HeadTooLarge,
    /// More header fields than [`Limits::headers`](crate::Limits).
    TooManyHeaders,
    /// A line that ends in LF without CR, or a CR without LF (RFC 9112 section 2.2).
    BareLineFeed,
    /// A header line that begins with white space: obsolete folding, or a disguised header
    /// (RFC 9112 sections 2.2 and 5.2).
    ObsoleteFolding,
    /// The request line is not `method SP target SP version` (RFC 9112 section 3).
    RequestLine,
    /// The status line is not `version SP code SP reason` (RFC 9112 section 4).
    StatusLine,
    /// The request target is in none of the forms a server accepts (RFC 9112 section 3.2).
    Target,
    /// `CONNECT`: this is not a forward proxy.
    Connect,
    /// Another version than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A field name that is not a token, or white space between the name and the colon
    /// (RFC 9112 section 5.1).
    HeaderName,
    /// A control character in a field value.
    HeaderValue,
    /// No `Host` in HTTP/1.1, more than one, a malformed one, or one that contradicts an
    /// absolute target (RFC 9112 section 3.2).
    Host,
    /// `Content-Length` that is not one plain decimal number (RFC 9112 section 6.2).
    ContentLength,
    /// More than one `Content-Length`, equal or not.
    RepeatedContentLength,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.1).
    LengthAndEncoding,
    /// `Transfer-Encoding` that is repeated, does not end in `chunked`, has it twice, or came in
    /// HTTP/1.0 or with a status that has no body (RFC 9112 section 6.1).
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation,
    /// A chunk-size line that is not 1 to 16 hexadecimal digits, or chunk data that is not
    /// followed by CRLF (RFC 9112 section 7.1).
    Chunk,
    /// A chunk extension. Nobody needs them, and parsers disagree about them.
    ChunkExtension,
    /// A trailer section that is malformed.
    Trailer,
    /// A trailer section longer than [`MAX_TRAILER_BYTES`](crate::MAX_TRAILER_BYTES).
    TrailerTooLarge,
    /// Status 101, or a status that is not three digits from 1xx to 5xx.
    Status,
    /// More interim responses than [`MAX_INTERIM_RESPONSES`](crate::MAX_INTERIM_RESPONSES).
    TooManyInterimResponses,
}

impl ParseError {
    /// The status to answer a request with. A response that is refused is a fault of its sender:
    /// the caller answers its own client 502 or the like.
    pub const fn status(self) -> StatusCode {
        match self {
            ParseError::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            ParseError::HeadTooLarge | ParseError::TooManyHeaders | ParseError::TrailerTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            ParseError::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            ParseError::UnknownTransferCoding | ParseError::Connect => StatusCode::NOT_IMPLEMENTED,
            ParseError::Expectation => StatusCode::EXPECTATION_FAILED,
            ParseError::StatusLine | ParseError::Status | ParseError::TooManyInterimResponses => {
                StatusCode::BAD_GATEWAY
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// What is wrong, in words that hold nothing of the message itself.
    pub const fn reason(self) -> &'static str {
        match self {
            ParseError::RequestLineTooLong => "the request line is too long",
            ParseError::HeadTooLarge => "the message head is too large",
            ParseError::TooManyHeaders => "too many header fields",
            ParseError::BareLineFeed => "a line does not end in CRLF",
            ParseError::ObsoleteFolding => "a header line begins with white space",
            ParseError::RequestLine => "malformed request line",
            ParseError::StatusLine => "malformed status line",
            ParseError::Target => "malformed request target",
            ParseError::Connect => "CONNECT is not supported",
            ParseError::Version => "the HTTP version is not supported",
            ParseError::HeaderName => "malformed header field name",
            ParseError::HeaderValue => "malformed header field value",
            ParseError::Host => "exactly one valid Host header is required",
            ParseError::ContentLength => "malformed Content-Length",
            ParseError::RepeatedContentLength => "more than one Content-Length",
            ParseError::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            ParseError::TransferEncoding => "Transfer-Encoding must be chunked, once",
            ParseError::UnknownTransferCoding => "the transfer coding is not supported",
            ParseError::Expectation => "the expectation is not supported",
            ParseError::Chunk => "malformed chunk",
            ParseError::ChunkExtension => "chunk extensions are not accepted",
            ParseError::Trailer => "malformed trailer section",
            ParseError::TrailerTooLarge => "the trailer section is too large",
            ParseError::Status => "the status code is not acceptable",
            ParseError::TooManyInterimResponses => "too many interim responses",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ParseError {}

impl From<httparse::Error> for ParseError {
    fn from(e: httparse::Error) -> Self {
        match e {
            httparse::Error::HeaderName => ParseError::HeaderName,
            httparse::Error::HeaderValue => ParseError::HeaderValue,
            httparse::Error::NewLine => ParseError::BareLineFeed,
            httparse::Error::Status => ParseError::StatusLine,
            httparse::Error::Token => ParseError::RequestLine,
            httparse::Error::TooManyHeaders => ParseError::TooManyHeaders,
            httparse::Error::Version => ParseError::Version,
        }
    }
}
