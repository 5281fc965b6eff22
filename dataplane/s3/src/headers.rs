//! Rules for single headers: user metadata, and `aws-chunked` in `Content-Encoding`.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{ErrorCode, S3Error};

/// Prefix of user metadata.
pub const META_PREFIX: &str = "x-amz-meta-";
/// Most user metadata, bytes of names and values together (S3 User Guide, "User-defined object metadata").
pub const MAX_METADATA: usize = 2048;

/// A `Content-Encoding` without the token `aws-chunked`, which describes the transfer and not the object; the other
/// codings are kept in order. `None` when nothing is left (S3-TRAPS 1).
pub fn strip_aws_chunked(value: &HeaderValue) -> Option<HeaderValue> {
    let tokens = || {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|t| !t.is_empty())
    };
    let ours = |t: &[u8]| t.eq_ignore_ascii_case(b"aws-chunked");
    if !tokens().any(ours) {
        return Some(value.clone());
    }
    let kept: Vec<&[u8]> = tokens().filter(|t| !ours(t)).collect();
    HeaderValue::from_bytes(&kept.join(&b", "[..]))
        .ok()
        .filter(|v| !v.is_empty())
}

/// The client's metadata: names without the prefix, in lower case; values as bytes, trimmed, repeated headers joined
/// by a comma as S3 does. Values need not be ASCII.
pub fn user_metadata(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for name in headers.keys() {
        let Some(short) = name
            .as_str()
            .strip_prefix(META_PREFIX)
            .filter(|n| !n.is_empty())
        else {
            continue;
        };
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(|v| v.as_bytes().trim_ascii())
            .collect();
        out.push((short.to_owned(), values.join(&b","[..])));
    }
    out
}

/// Refuses more than `limit` bytes of metadata with `MetadataTooLarge`.
pub fn check_metadata_size(pairs: &[(String, Vec<u8>)], limit: usize) -> Result<(), S3Error> {
    let size: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size <= limit {
        return Ok(());
    }
    Err(S3Error::new(ErrorCode::MetadataTooLarge)
        .detail("Size", size.to_string())
        .detail("MaxSizeAllowed", limit.to_string()))
}

/// A metadata header from its short name and value; `None` when either is not legal in HTTP.
pub fn metadata_header(short: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(format!("{META_PREFIX}{short}")).ok()?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_traps_1_aws_chunked_leaves_content_encoding() {
        for (before, after) in [
            ("aws-chunked", None),
            ("aws-chunked,", None),
            ("gzip, aws-chunked", Some("gzip")),
            ("AWS-Chunked,gzip,br", Some("gzip, br")),
            ("gzip,  br", Some("gzip,  br")),
            ("not-aws-chunked", Some("not-aws-chunked")),
        ] {
            let left = strip_aws_chunked(&HeaderValue::from_static(before));
            assert_eq!(
                left.as_ref().map(|v| v.to_str().unwrap()),
                after,
                "{before:?}"
            );
        }
    }

    #[test]
    fn metadata() {
        let mut h = HeaderMap::new();
        h.append("x-amz-meta-a", HeaderValue::from_static("1"));
        h.append("x-amz-meta-a", HeaderValue::from_static(" 2 "));
        h.append(
            "X-Amz-Meta-B",
            HeaderValue::from_bytes("ü".as_bytes()).unwrap(),
        );
        h.append("x-amz-meta-", HeaderValue::from_static("no name"));
        h.append("x-amz-acl", HeaderValue::from_static("private"));
        let mut m = user_metadata(&h);
        m.sort();
        assert_eq!(
            m,
            [
                ("a".to_owned(), b"1,2".to_vec()),
                ("b".to_owned(), "ü".into())
            ]
        );
        assert!(check_metadata_size(&m, 7).is_ok());
        assert_eq!(
            check_metadata_size(&m, 6).unwrap_err().code,
            ErrorCode::MetadataTooLarge
        );
        assert_eq!(
            metadata_header("b", "ü".as_bytes()).unwrap().0,
            "x-amz-meta-b"
        );
        assert!(metadata_header("b c", b"").is_none() && metadata_header("b", b"\n").is_none());
    }
}
