//! `Range` and `If-Range` (RFC 9110 §14.2, §13.1.5) as S3 treats them: one range, or the whole object.

use std::ops::Range;

use http::HeaderValue;

use crate::error::{ErrorCode, S3Error};
use crate::time;

/// One range of bytes, not yet applied to a length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ByteRange {
    /// `bytes=first-last`, both included.
    Bounded(u64, u64),
    /// `bytes=first-`.
    From(u64),
    /// `bytes=-n`: the last n bytes.
    Suffix(u64),
}

/// The range lies outside the object: `416`, with `Content-Range: bytes */len`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsatisfiable {
    /// Length of the object, bytes.
    pub len: u64,
}

impl ByteRange {
    /// Reads a `Range` header. Several ranges, other units and anything malformed give `None`: S3 then answers with
    /// the whole object, as RFC 9110 allows.
    pub fn parse(value: &HeaderValue) -> Option<ByteRange> {
        let text = value.to_str().ok()?.trim();
        let (unit, set) = text.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.split_once('-')?;
        match (first.is_empty(), last.is_empty()) {
            (true, _) => Some(Self::Suffix(decimal(last)?)),
            (false, true) => Some(Self::From(decimal(first)?)),
            (false, false) => {
                let (first, last) = (decimal(first)?, decimal(last)?);
                (first <= last).then_some(Self::Bounded(first, last))
            }
        }
    }

    /// The bytes it means of an object of `len` bytes; never empty.
    pub fn resolve(self, len: u64) -> Result<Range<u64>, Unsatisfiable> {
        let range = match self {
            Self::Bounded(first, last) => first..last.saturating_add(1).min(len),
            Self::From(first) => first..len,
            Self::Suffix(n) => len.saturating_sub(n)..len,
        };
        if range.start < range.end {
            Ok(range)
        } else {
            Err(Unsatisfiable { len })
        }
    }

    /// As a `Range` header's value.
    pub fn to_header(self) -> HeaderValue {
        let text = match self {
            Self::Bounded(first, last) => format!("bytes={first}-{last}"),
            Self::From(first) => format!("bytes={first}-"),
            Self::Suffix(n) => format!("bytes=-{n}"),
        };
        HeaderValue::try_from(text).expect("digits and punctuation are a legal header value")
    }
}

/// Digits only, no sign; saturates, because a number past `u64` is past every object too.
fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// `Content-Range` of a `206`: `bytes 0-9/100`. `range` must not be empty.
pub fn content_range(range: &Range<u64>, len: u64) -> String {
    debug_assert!(range.start < range.end && range.end <= len);
    format!(
        "bytes {}-{}/{len}",
        range.start,
        range.end.saturating_sub(1)
    )
}

/// Reads a store's `Content-Range: bytes a-b/len`; the length may be `*`.
pub fn parse_content_range(value: &HeaderValue) -> Option<(Range<u64>, Option<u64>)> {
    let text = value.to_str().ok()?.trim().strip_prefix("bytes ")?;
    let (range, len) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (decimal(first)?, decimal(last)?);
    let len = if len == "*" {
        None
    } else {
        Some(decimal(len)?)
    };
    let end = last.checked_add(1)?;
    (first <= last && len.is_none_or(|l| last < l)).then_some((first..end, len))
}

impl Unsatisfiable {
    /// `Content-Range` of the `416`.
    pub fn content_range(self) -> String {
        format!("bytes */{}", self.len)
    }

    /// The error document of the `416`; `requested` is the header as it came.
    pub fn to_error(self, requested: &HeaderValue) -> S3Error {
        S3Error::new(ErrorCode::InvalidRange)
            .detail(
                "RangeRequested",
                String::from_utf8_lossy(requested.as_bytes()),
            )
            .detail("ActualObjectSize", self.len.to_string())
    }
}

/// Whether the `Range` of a request with this `If-Range` still applies; otherwise the whole object is the answer.
/// Only a strong ETag or the exact modification time matches (RFC 9110 §13.1.5).
pub fn if_range_holds(if_range: &HeaderValue, etag: &str, last_modified: i64) -> bool {
    let Ok(text) = if_range.to_str() else {
        return false;
    };
    let text = text.trim();
    if let Some(tag) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return tag == etag;
    }
    if text.starts_with("W/") {
        return false;
    }
    time::parse_http_date(text).map_or(text == etag, |t| t == last_modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<ByteRange> {
        ByteRange::parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn s3_traps_9_ranges() {
        assert_eq!(parse("bytes=0-"), Some(ByteRange::From(0)));
        assert_eq!(parse("bytes=5-9"), Some(ByteRange::Bounded(5, 9)));
        assert_eq!(parse("Bytes=-5"), Some(ByteRange::Suffix(5)));
        assert_eq!(
            parse("bytes=0-99999999999999999999999"),
            Some(ByteRange::Bounded(0, u64::MAX))
        );
        for whole in [
            "bytes=0-1,3-4",
            "bytes=9-5",
            "bytes=",
            "bytes=-",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=a-b",
            "0-1",
            // Blanks are no part of a range, and S3 takes none.
            "bytes= -1",
            "bytes =0-1",
            "bytes=0 -1",
        ] {
            assert_eq!(parse(whole), None, "{whole}");
        }
    }

    #[test]
    fn ranges_resolve_against_a_length() {
        assert_eq!(ByteRange::Bounded(5, 9).resolve(7), Ok(5..7));
        assert_eq!(ByteRange::Bounded(0, u64::MAX).resolve(7), Ok(0..7));
        assert_eq!(ByteRange::From(0).resolve(7), Ok(0..7));
        assert_eq!(ByteRange::Suffix(100).resolve(7), Ok(0..7));
        assert_eq!(ByteRange::Suffix(2).resolve(7), Ok(5..7));
        for r in [
            ByteRange::From(7),
            ByteRange::Bounded(7, 9),
            ByteRange::Suffix(0),
        ] {
            assert_eq!(r.resolve(7), Err(Unsatisfiable { len: 7 }));
        }
        for r in [
            ByteRange::From(0),
            ByteRange::Bounded(0, 0),
            ByteRange::Suffix(5),
        ] {
            assert_eq!(r.resolve(0), Err(Unsatisfiable { len: 0 }));
        }
        assert_eq!(Unsatisfiable { len: 7 }.content_range(), "bytes */7");
        assert_eq!(content_range(&(5..7), 7), "bytes 5-6/7");
    }

    #[test]
    fn content_range_round_trips() {
        let v = HeaderValue::try_from(content_range(&(5..7), 9)).unwrap();
        assert_eq!(parse_content_range(&v), Some((5..7, Some(9))));
        assert_eq!(
            parse_content_range(&HeaderValue::from_static("bytes 0-0/*")),
            Some((0..1, None))
        );
        for bad in [
            "bytes 5-4/9",
            "bytes 0-9/9",
            "bytes */9",
            "0-1/2",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(
                parse_content_range(&HeaderValue::from_static(bad)),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn if_range() {
        let holds =
            |v: &'static str| if_range_holds(&HeaderValue::from_static(v), "abc-0", 784_111_777);
        assert!(holds("\"abc-0\""));
        assert!(holds("abc-0"));
        assert!(holds("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!holds("W/\"abc-0\""));
        assert!(!holds("\"abc-1\""));
        assert!(!holds("Sun, 06 Nov 1994 08:49:36 GMT"));
    }
}
