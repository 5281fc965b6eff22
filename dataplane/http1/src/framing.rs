use http::{HeaderMap, HeaderValue, Version, header};

use crate::ParseError;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body is chunked (RFC 9112 section 7.1).
    Chunked,
    /// The body ends when the connection does. Responses only.
    UntilClose,
}

/// `Transfer-Encoding` and `Content-Length` of one message, checked against each other.
pub(crate) fn declared(headers: &HeaderMap, version: Version) -> Result<Framing, ParseError> {
    let length = content_length(headers)?;
    let Some(chunked) = transfer_encoding(headers)? else {
        return Ok(length.map_or(Framing::None, Framing::Length));
    };
    if length.is_some() {
        return Err(ParseError::LengthAndEncoding);
    }
    if version != Version::HTTP_11 {
        return Err(ParseError::TransferEncoding);
    }
    Ok(chunked)
}

fn transfer_encoding(headers: &HeaderMap) -> Result<Option<Framing>, ParseError> {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ParseError::TransferEncoding);
    }
    if value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(Some(Framing::Chunked));
    }
    let is_chunked = |token: &&[u8]| token.eq_ignore_ascii_case(b"chunked");
    let chunked = tokens(value).filter(is_chunked).count();
    let last = tokens(value).last();
    match last {
        // Without `chunked` at its end the length of a request is not known: 400, not 501.
        Some(last) if chunked == 1 && is_chunked(&last) && tokens(value).count() > 1 => {
            Err(ParseError::UnknownTransferCoding)
        }
        Some(_) if chunked == 0 => Err(ParseError::UnknownTransferCoding),
        _ => Err(ParseError::TransferEncoding),
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ParseError> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ParseError::RepeatedContentLength);
    }
    decimal(value.as_bytes())
        .map(Some)
        .ok_or(ParseError::ContentLength)
}

/// `1*DIGIT` and nothing else: no sign, no list, no white space, no overflow.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// True when the connection outlives this message. HTTP/1.0 persistence was never specified well
/// enough to be relied on (RFC 9112 appendix C.2.2), so such a connection is always closed.
pub(crate) fn keep_alive(headers: &HeaderMap, version: Version) -> bool {
    version == Version::HTTP_11
        && !headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(tokens)
            .any(|token| token.eq_ignore_ascii_case(b"close"))
}

/// The elements of a comma-separated list, without white space around them.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_takes_digits_alone() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [
            &b""[..],
            b"+5",
            b"-5",
            b"5 ",
            b" 5",
            b"5,5",
            b"0x5",
            b"5.0",
            b"1_0",
            b"18446744073709551616",
            b"99999999999999999999999",
        ] {
            assert_eq!(decimal(bad), None, "{}", bad.escape_ascii());
        }
    }
}
