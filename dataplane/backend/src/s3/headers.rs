//! Reading and writing single headers.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealgate_s3::time::parse_http_date;

use crate::types::{BackendError, ObjectInfo};

/// Sets a header whose value is known to be printable.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The ETag without its quotes; without the mark of a weak one, which a proxy on the way may have added.
pub(crate) fn etag(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, &header::ETAG)?.trim();
    let bare = value.strip_prefix("W/").unwrap_or(value).trim_matches('"');
    (!bare.is_empty()).then(|| bare.to_owned())
}

/// `Content-Range: bytes first-last/total` as (first, one past last, total).
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let value = text(headers, &header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    let (range, total) = value.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total: u64 = total.parse().ok()?;
    (first <= last && last < total).then_some((first, last + 1, total))
}

/// What a store says of an object whose whole length is `len`.
pub(crate) fn object_info(mut headers: HeaderMap, len: u64) -> Result<ObjectInfo, BackendError> {
    drop_chunked(&mut headers);
    let etag = etag(&headers)
        .ok_or_else(|| BackendError::Protocol("the store's answer has no ETag".into()))?;
    let last_modified = text(&headers, &header::LAST_MODIFIED)
        .and_then(parse_http_date)
        .map_or(0, |seconds| seconds * 1000);
    Ok(ObjectInfo {
        len,
        etag,
        last_modified,
        headers,
    })
}

/// Takes `aws-chunked` off `Content-Encoding`: SeaweedFS keeps what only says how a body was sent (S3-TRAPS 1).
fn drop_chunked(headers: &mut HeaderMap) {
    let Some(value) = text(headers, &header::CONTENT_ENCODING) else {
        return;
    };
    let is_chunked = |token: &&str| token.trim().eq_ignore_ascii_case("aws-chunked");
    if !value.split(',').any(|token| is_chunked(&token)) {
        return;
    }
    let rest: Vec<&str> = value
        .split(',')
        .filter(|token| !is_chunked(token))
        .map(str::trim)
        .collect();
    let rest = rest.join(", ");
    headers.remove(header::CONTENT_ENCODING);
    if !rest.is_empty() {
        set(headers, header::CONTENT_ENCODING, &rest);
    }
}

/// The headers of an answer that concern the client: versions, expirations; never framing or checksums, which
/// speak of the ciphertext (S3-TRAPS 5).
pub(crate) fn answer_headers(headers: &HeaderMap) -> HeaderMap {
    const KEPT: [&str; 7] = [
        "x-amz-version-id",
        "x-amz-delete-marker",
        "x-amz-expiration",
        "x-amz-copy-source-version-id",
        "x-amz-request-charged",
        "x-amz-abort-date",
        "x-amz-abort-rule-id",
    ];
    KEPT.iter()
        .filter_map(|&name| Some((HeaderName::from_static(name), headers.get(name)?.clone())))
        .collect()
}

/// The headers of a forwarded answer that concern the client: what the document is and all of S3's own, but for ids of
/// the store's requests and for checksums of a document that the client's connection frames anew.
pub(crate) fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(4);
    for (name, value) in headers {
        let concerns = match name.as_str() {
            "content-type" | "etag" | "last-modified" | "location" => true,
            "x-amz-request-id" | "x-amz-id-2" => false,
            other => other.starts_with("x-amz-") && !other.starts_with("x-amz-checksum-"),
        };
        if concerns {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The same of an error: a delete marker says in headers that it is one, and what may be done with it.
pub(crate) fn error_headers(status: StatusCode, headers: &HeaderMap) -> HeaderMap {
    let mut kept = answer_headers(headers);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        for name in [header::ALLOW, header::LAST_MODIFIED] {
            if let Some(value) = headers.get(&name) {
                kept.insert(name, value.clone());
            }
        }
    }
    kept
}
