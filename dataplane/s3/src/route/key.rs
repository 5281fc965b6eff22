//! Object keys.

use std::fmt;

use bytes::Bytes;

use crate::encoding;
use crate::error::{ErrorCode, S3Error};

/// Longest key, bytes (S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_KEY_LEN: usize = 1024;

/// An object's key as the client meant it: percent-decoded once, otherwise byte for byte as received. Empty segments,
/// dots, trailing slashes and control characters are kept. Always 1 to 1,024 bytes of UTF-8.
#[derive(Clone, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct RawKey(Bytes);

impl RawKey {
    /// Checks length (`KeyTooLongError`) and encoding (`InvalidURI`).
    pub fn new(key: Bytes) -> Result<Self, S3Error> {
        check(&key)?;
        Ok(Self(key))
    }

    /// Copies a key out of a larger buffer.
    pub fn copy_from(key: &[u8]) -> Result<Self, S3Error> {
        check(key)?;
        Ok(Self(Bytes::copy_from_slice(key)))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        // The constructors let nothing else in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes, shared.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// In canonical URI encoding.
    pub fn encoded(&self) -> String {
        encoding::encode_listing(&self.0)
    }
}

fn check(key: &[u8]) -> Result<(), S3Error> {
    if key.len() > MAX_KEY_LEN {
        return Err(S3Error::new(ErrorCode::KeyTooLongError)
            .detail("Size", key.len().to_string())
            .detail("MaxSizeAllowed", MAX_KEY_LEN.to_string()));
    }
    if key.is_empty() || std::str::from_utf8(key).is_err() {
        return Err(S3Error::new(ErrorCode::InvalidURI));
    }
    Ok(())
}

impl AsRef<[u8]> for RawKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoded())
    }
}
