use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{MAX_HEADERS, ParseError, spare_headers};

/// Space on the stack for httparse's table of fields.
pub(crate) type FieldTable<'a> = [MaybeUninit<httparse::Header<'a>>; MAX_HEADERS];

pub(crate) const fn field_table<'a>() -> FieldTable<'a> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// Turns httparse's fields into a map whose values share `head`.
pub(crate) fn header_map(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
) -> Result<HeaderMap, ParseError> {
    let mut map = spare_headers();
    for field in fields {
        let name = match interned(field.name.as_bytes()) {
            Some(name) => name.clone(),
            None => {
                HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ParseError::HeaderName)?
            }
        };
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| ParseError::HeaderValue)?;
        map.append(name, value);
    }
    Ok(map)
}

/// The names that S3 clients and stores send on every message and that `http` does not know:
/// cloning a static name costs no allocation.
fn interned(name: &[u8]) -> Option<&'static HeaderName> {
    // Every one of them has "amz-" at the start or after "x-"; the rest need not be compared.
    if !matches!(name.first(), Some(b'x' | b'X' | b'a' | b'A')) {
        return None;
    }
    NAMES
        .iter()
        .find(|(text, _)| text.as_bytes().eq_ignore_ascii_case(name))
        .map(|(_, name)| name)
}

macro_rules! names {
    ($($text:literal),* $(,)?) => {
        [$(($text, HeaderName::from_static($text))),*]
    };
}

/// Most frequent first.
static NAMES: [(&str, HeaderName); 33] = names![
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-meta-sealgate",
    "x-amz-meta-sealgate-m",
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-security-token",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "x-amz-user-agent",
    "x-amz-checksum-mode",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-checksum-algorithm",
    "x-amz-copy-source",
    "x-amz-metadata-directive",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-acl",
    "x-amz-tagging",
    "x-amz-version-id",
    "x-amz-mp-parts-count",
    "x-amz-bucket-region",
    "x-amz-expected-bucket-owner",
    "x-amz-meta-mtime",
    "x-amz-bucket-owner",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interned_names_are_what_they_stand_for() {
        for (text, name) in &NAMES {
            assert_eq!(name.as_str(), *text);
            assert_eq!(interned(text.to_ascii_uppercase().as_bytes()), Some(name));
        }
        assert_eq!(interned(b"x-amz-meta-anything"), None);
        assert_eq!(interned(b"host"), None);
    }
}
