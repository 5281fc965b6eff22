//! Bucket names.

use std::fmt;

use crate::error::{ErrorCode, S3Error};

/// Shortest bucket name, bytes (S3 User Guide, "Bucket naming rules").
pub const MIN_LEN: usize = 3;
/// Longest name of a new bucket, bytes.
pub const MAX_LEN: usize = 63;
/// Longest name of a bucket made before those rules, bytes.
pub const MAX_LEGACY_LEN: usize = 255;

/// A bucket's name: letters, digits, `.`, `-` and `_`, beginning with a letter or digit, so it is safe as a file name
/// and as a path segment. Names that S3 once allowed are accepted; see [`Bucket::check_new`].
#[derive(Clone, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct Bucket(String);

impl Bucket {
    /// Accepts any name that an existing bucket may have; `InvalidBucketName` otherwise.
    pub fn new(name: impl Into<String>) -> Result<Self, S3Error> {
        let name = name.into();
        let b = name.as_bytes();
        let legal = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let sound = (MIN_LEN..=MAX_LEGACY_LEN).contains(&b.len())
            && b.iter().all(legal)
            && b[0].is_ascii_alphanumeric()
            && !name.contains("..");
        if sound {
            Ok(Self(name))
        } else {
            Err(invalid(&name))
        }
    }

    /// The rules for new buckets: 3 to 63 lower-case letters, digits, dots and hyphens, no IP address, no reserved
    /// prefix or suffix.
    pub fn check_new(&self) -> Result<(), S3Error> {
        let name = self.0.as_str();
        let b = name.as_bytes();
        let end = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let legal = |c: &u8| end(*c) || matches!(c, b'.' | b'-');
        let ip = name.split('.').count() == 4
            && name
                .split('.')
                .all(|p| !p.is_empty() && p.bytes().all(|c| c.is_ascii_digit()));
        let reserved = ["xn--", "sthree-", "amzn-s3-demo-"]
            .iter()
            .any(|p| name.starts_with(p))
            || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
                .iter()
                .any(|s| name.ends_with(s));
        let sound = b.len() <= MAX_LEN
            && b.iter().all(legal)
            && end(b[0])
            && end(b[b.len() - 1])
            && !name.contains(".-")
            && !name.contains("-.")
            && !ip
            && !reserved;
        if sound { Ok(()) } else { Err(invalid(name)) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

fn invalid(name: &str) -> S3Error {
    S3Error::new(ErrorCode::InvalidBucketName).detail("BucketName", name)
}

impl AsRef<str> for Bucket {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for Bucket {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "abc",
            "my-bucket.example",
            "0ab",
            &"a".repeat(63),
            "a.b.c.d",
            "1.2.3",
        ] {
            assert!(Bucket::new(good).unwrap().check_new().is_ok(), "{good}");
        }
        for legacy in [
            "Abc",
            "a_b",
            &"a".repeat(64),
            "1.2.3.4",
            "a.-b",
            "abc-",
            "xn--abc",
            "abc-s3alias",
        ] {
            assert_eq!(
                Bucket::new(legacy).unwrap().check_new().unwrap_err().code,
                ErrorCode::InvalidBucketName,
                "{legacy}"
            );
        }
        for bad in [
            "",
            "ab",
            ".ab",
            "a/b",
            "a..b",
            "-abc",
            "_abc",
            "a b",
            "ü-bucket",
            &"a".repeat(256),
            "...",
        ] {
            assert!(Bucket::new(bad).is_err(), "{bad}");
        }
    }
}
