//! `x-amz-copy-source`.

use http::{HeaderMap, HeaderValue};

use crate::bucket::Bucket;
use crate::encoding;
use crate::error::{ErrorCode, S3Error};
use crate::range::ByteRange;
use crate::route::RawKey;

/// Name of the header.
pub const HEADER: &str = "x-amz-copy-source";
/// Name of the header that limits an `UploadPartCopy` to a range.
pub const RANGE_HEADER: &str = "x-amz-copy-source-range";

/// Where a copy takes its bytes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopySource {
    /// Source bucket.
    pub bucket: Bucket,
    /// Source key.
    pub key: RawKey,
    /// Version, when one was named.
    pub version_id: Option<String>,
}

const VERSION: &[u8] = b"?versionId=";

impl CopySource {
    /// Reads the header: `[/]bucket/key[?versionId=id]`, URL-encoded. A `+` is a plus, as in a path. `None` when the
    /// request has none.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        headers.get(HEADER).map(Self::parse).transpose()
    }

    /// Reads the header's value.
    pub fn parse(value: &HeaderValue) -> Result<Self, S3Error> {
        let refuse = || {
            S3Error::invalid_argument(
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                HEADER,
                String::from_utf8_lossy(value.as_bytes()),
            )
        };
        let raw = value.as_bytes().trim_ascii();
        // Only a literal `?` separates: the key's own are encoded.
        let (path, version) = match memchr::memmem::rfind(raw, VERSION) {
            Some(at) => (&raw[..at], Some(&raw[at + VERSION.len()..])),
            None => (raw, None),
        };
        let path = encoding::decode(path, false).map_err(|_| refuse())?;
        let path = path.strip_prefix(b"/").unwrap_or(&path);
        if path.starts_with(b"arn:") {
            return Err(S3Error::with_message(
                ErrorCode::NotImplemented,
                "Access points as a copy source are not implemented.",
            ));
        }
        let slash = path.iter().position(|b| *b == b'/').ok_or_else(refuse)?;
        let bucket = std::str::from_utf8(&path[..slash]).map_err(|_| refuse())?;
        if path.len() == slash + 1 {
            return Err(refuse());
        }
        let version_id = match version {
            None => None,
            Some(v) => {
                let v = encoding::decode(v, false)
                    .map_err(|_| refuse())?
                    .into_owned();
                let v = String::from_utf8(v).ok().filter(|v| !v.is_empty());
                Some(v.ok_or_else(|| {
                    S3Error::invalid_argument(
                        "Version id cannot be the empty string",
                        "versionId",
                        "",
                    )
                })?)
            }
        };
        Ok(Self {
            bucket: Bucket::new(bucket)?,
            key: RawKey::copy_from(&path[slash + 1..])?,
            version_id,
        })
    }

    /// The header's value for a store.
    pub fn to_header(&self) -> HeaderValue {
        let version = self.version_id.as_deref();
        header_value(self.bucket.as_str(), self.key.as_ref(), version)
    }
}

/// The header's value for a store: `bucket/key[?versionId=id]`, without a slash before it, as policies' conditions on
/// `s3:x-amz-copy-source` name it. `bucket` is a legal name.
///
/// # Panics
///
/// When `bucket` holds what no bucket's name does.
pub fn header_value(bucket: &str, key: &[u8], version_id: Option<&str>) -> HeaderValue {
    let mut out = Vec::with_capacity(key.len() + 80);
    out.extend_from_slice(bucket.as_bytes());
    out.push(b'/');
    encoding::encode_key(key, &mut out);
    if let Some(version) = version_id {
        out.extend_from_slice(VERSION);
        encoding::encode_query(version.as_bytes(), &mut out);
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(out))
        .expect("percent encoding is a legal header value")
}

/// Reads `x-amz-copy-source-range`, which unlike `Range` must be one bounded range: `bytes=first-last`.
pub fn copy_source_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, S3Error> {
    let Some(value) = headers.get(RANGE_HEADER) else {
        return Ok(None);
    };
    match ByteRange::parse(value) {
        Some(ByteRange::Bounded(first, last)) => Ok(Some((first, last))),
        _ => Err(S3Error::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
            RANGE_HEADER,
            String::from_utf8_lossy(value.as_bytes()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(v: &'static str) -> Result<CopySource, S3Error> {
        CopySource::parse(&HeaderValue::from_bytes(v.as_bytes()).unwrap())
    }

    #[test]
    fn s3_traps_13_copy_sources() {
        for (v, bucket, key, version) in [
            ("bucket/key", "bucket", "key", None),
            (
                "/bucket/a%20b+c%3FversionId%3Dx",
                "bucket",
                "a b+c?versionId=x",
                None,
            ),
            ("bucket/k?versionId=abc%2F1", "bucket", "k", Some("abc/1")),
            ("bucket%2Fk/x", "bucket", "k/x", None),
            ("bucket//x", "bucket", "/x", None),
            ("bucket/\u{fc}", "bucket", "\u{fc}", None),
        ] {
            let s = parse(v).unwrap();
            assert_eq!(
                (s.bucket.as_str(), s.key.as_ref()),
                (bucket, key.as_bytes()),
                "{v}"
            );
            assert_eq!(s.version_id.as_deref(), version, "{v}");
            assert!(s.to_header().as_bytes().starts_with(b"bucket/"), "{v}");
            assert_eq!(CopySource::parse(&s.to_header()).unwrap(), s);
        }
        for bad in [
            "",
            "/",
            "bucket",
            "bucket/",
            "bucket/%",
            "bucket/k?versionId=",
            "arn:aws:s3:::x/y",
            "b/%ff",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
