//! The canonical request and the string to sign.

use aws_lc_rs::digest;
use http::HeaderValue;

use crate::encoding::{self, BadEscape};
use crate::time;

/// Appends the canonical query: names and values decoded once and encoded once, sorted by their encoded form. The
/// parameter `skip` is left out.
pub(super) fn push_query(
    raw: &[u8],
    skip: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), BadEscape> {
    if raw.is_empty() {
        return Ok(());
    }
    let mut pairs = Vec::new();
    for pair in raw.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[..0]),
        };
        let (mut n, mut v) = (
            Vec::with_capacity(name.len()),
            Vec::with_capacity(value.len()),
        );
        encoding::recode_query(name, &mut n)?;
        if skip == Some(&n[..]) {
            continue;
        }
        encoding::recode_query(value, &mut v)?;
        pairs.push((n, v));
    }
    pairs.sort_unstable();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
    Ok(())
}

/// Appends one canonical header line: values trimmed, runs of spaces collapsed, repeated headers joined by a comma.
pub(super) fn push_header<'v>(
    name: &str,
    values: impl Iterator<Item = &'v HeaderValue>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_value(value.as_bytes(), out);
    }
    out.push(b'\n');
}

fn push_value(value: &[u8], out: &mut Vec<u8>) {
    let mut words = value
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|w| !w.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

/// Appends the string to sign for the canonical request that begins at `from`.
pub(super) fn push_string_to_sign(
    out: &mut Vec<u8>,
    from: usize,
    unix_seconds: i64,
    date: &[u8; 8],
    region: &[u8],
) {
    let hash = digest::digest(&digest::SHA256, &out[from..]);
    out.extend_from_slice(b"AWS4-HMAC-SHA256\n");
    push_scope(out, unix_seconds, date, region);
    encoding::push_hex(hash.as_ref(), out);
}

/// Appends time and scope, a line each.
pub(super) fn push_scope(out: &mut Vec<u8>, unix_seconds: i64, date: &[u8; 8], region: &[u8]) {
    out.extend_from_slice(&time::amz_date(unix_seconds));
    out.push(b'\n');
    out.extend_from_slice(date);
    out.push(b'/');
    out.extend_from_slice(region);
    out.extend_from_slice(b"/s3/aws4_request\n");
}
