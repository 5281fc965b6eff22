//! What can go wrong, by who is at fault.

use std::fmt;

use crate::law::PlainLen;

/// Sealed data is not what was sealed: changed, cut, moved to another place, or opened with another key.
/// It says no more on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tampered;

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sealed data failed authentication")
    }
}

impl std::error::Error for Tampered {}

impl From<sealgate_aead::Forged> for Tampered {
    fn from(_: sealgate_aead::Forged) -> Self {
        Tampered
    }
}

/// A value does not fit the place that the format gives it. The one who chose the value is at fault: the
/// client for its metadata, the operator for key names, the provider for a wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What is too long, for a message: "the envelope", "the key name" …
    pub what: &'static str,
    /// Its length, in characters or bytes as `limit`.
    pub len: usize,
    /// The most that fits.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} takes {} characters; at most {} fit",
            self.what, self.len, self.limit
        )
    }
}

impl std::error::Error for TooLong {}

/// Bytes that are not an encoding of this format's version 1. Nothing secret has been touched yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The text is not URL-safe base64 without padding, or longer than such a value may be.
    NotBase64,
    /// It ends before its last field.
    Cut,
    /// Bytes follow the last field.
    TrailingBytes,
    /// A version that this program does not know.
    UnknownVersion(u8),
    /// A field has a value that version 1 does not define.
    UnknownValue {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A name is not UTF-8.
    NotText,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBase64 => f.write_str("not URL-safe base64"),
            Self::Cut => f.write_str("cut short"),
            Self::TrailingBytes => f.write_str("bytes follow the last field"),
            Self::UnknownVersion(version) => write!(f, "unknown format version {version}"),
            Self::UnknownValue { field, value } => {
                write!(f, "{field} {value} is not defined in version 1")
            }
            Self::NotText => f.write_str("a name is not UTF-8"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Parts that cannot be one object: the rules are S3's, and the size law rests on them. The client is at
/// fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// There is no part.
    NoParts,
    /// A part number is outside 1..=10000, or not greater than the one before it.
    PartOrder {
        /// The number.
        number: u64,
    },
    /// A part that is not the last has less than 5 MiB (`EntityTooSmall`).
    PartTooSmall {
        /// Its number.
        number: u16,
        /// Its plaintext length.
        len: u64,
    },
    /// A part has more than 5 GiB, or the object more than 10,000 such parts hold (`EntityTooLarge`).
    TooLarge {
        /// The plaintext length.
        len: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoParts => f.write_str("an object has at least one part"),
            Self::PartOrder { number } => {
                write!(
                    f,
                    "part number {number} is out of order, or outside 1 to 10000"
                )
            }
            Self::PartTooSmall { number, len } => {
                write!(
                    f,
                    "part {number} has {len} bytes; only the last part may have less than 5 MiB"
                )
            }
            Self::TooLarge { len } => write!(f, "{} is more than the format holds", PlainLen(*len)),
        }
    }
}

impl std::error::Error for LayoutError {}
