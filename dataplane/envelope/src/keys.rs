//! The keys of an object, and what is derived from them.

use sealgate_aead::{Aes256Gcm, Secret, hkdf_expand_sha512};

/// Names an object for ever, wherever it is copied: 16 random bytes, chosen when its DEK is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId(pub [u8; 16]);

/// A key-encryption key: wraps the DEKs of many objects. Kept expanded; wiped on drop.
pub struct Kek(pub(crate) Aes256Gcm);

impl Kek {
    /// Expands the 32 bytes that the key service unwrapped.
    pub fn new(key: &Secret<32>) -> Self {
        Self(Aes256Gcm::new(key))
    }
}

/// A data-encryption key: 32 uniformly random bytes, one per object (per upload, for multipart). Everything
/// in the object is sealed under keys derived from it. Wiped on drop; not to be compared:
///
/// ```compile_fail,E0369
/// use sealgate_envelope::Dek;
/// let same = |one: Dek, other: Dek| one == other;
/// ```
pub struct Dek(Secret<32>);

/// Purposes of keys derived from a DEK. The labels are part of the format.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Trailer,
    Metadata,
    UploadId,
    PartTag,
}

impl Purpose {
    /// ASCII, with a zero byte that ends it.
    pub(crate) const fn label(self) -> &'static [u8] {
        match self {
            Self::Trailer => b"sealgate/v1 trailer\0",
            Self::Metadata => b"sealgate/v1 metadata\0",
            Self::UploadId => b"sealgate/v1 upload id\0",
            Self::PartTag => b"sealgate/v1 part tag\0",
        }
    }
}

impl Dek {
    /// Takes the key; it must come from a cryptographic random generator.
    pub fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The key of one purpose for one object: HKDF-Expand-SHA-512(DEK, label ‖ 0x00 ‖ object id).
    pub(crate) fn derive(&self, purpose: Purpose, object: &ObjectId) -> Secret<32> {
        let filled = Secret::fill_with(|key| {
            hkdf_expand_sha512(self.expose(), &[purpose.label(), &object.0], key);
            Ok::<(), std::convert::Infallible>(())
        });
        match filled {
            Ok(key) => key,
        }
    }

    pub(crate) fn cipher(&self, purpose: Purpose, object: &ObjectId) -> Aes256Gcm {
        Aes256Gcm::new(&self.derive(purpose, object))
    }
}
