//! The `file` provider: KEKs wrapped under a key ring that is a file on this machine.
//!
//! # The wrapped KEK
//!
//! 69 bytes, the same for ever under this format byte:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | `0x01`, the format |
//! | 1–8 | key check: HKDF-Expand-SHA-512(ring key, `sealgate/kek-check/v1`), 8 bytes |
//! | 9–20 | nonce, random |
//! | 21–52 | the KEK under AES-256-GCM with the ring key |
//! | 53–68 | tag |
//!
//! Additional data: ASCII `sealgate/kek/v1` ‖ 0x00 ‖ key name ‖ 0x00 ‖ key version in decimal. Neither name nor version
//! can hold a zero byte, so the encoding is unambiguous. The key check only tells a wrong key file from a damaged
//! envelope in error messages; opening does not rest on it.

mod ring;
mod wrap;

use std::path::Path;

use sealgate_aead::Secret;

pub use ring::{KeyRing, KeyRingError, KeyRingProblem};
pub(crate) use ring::{NoKey, decode_key};
pub use wrap::WRAPPED_LEN;
pub(crate) use wrap::additional_data;

use crate::error::KeyError;
use crate::provider::{GeneratedKek, Provider, ProviderFuture, RewrappedKek};

/// One named key whose versions are a [`KeyRing`] in memory.
pub struct FileProvider {
    kind: &'static str,
    name: String,
    ring: KeyRing,
}

impl FileProvider {
    /// Loads the key ring at `path` for the key called `name` in the configuration.
    ///
    /// # Errors
    /// [`KeyRingError`] when the file is missing, readable by others or malformed.
    pub fn open(name: &str, path: &Path) -> Result<Self, KeyRingError> {
        Ok(Self::new(name, KeyRing::load(path)?))
    }

    /// A provider over a ring that is already loaded.
    #[must_use]
    pub fn new(name: &str, ring: KeyRing) -> Self {
        Self::of_kind("file", name, ring)
    }

    pub(crate) fn of_kind(kind: &'static str, name: &str, ring: KeyRing) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            ring,
        }
    }

    fn generate_now(&self) -> Result<GeneratedKek, KeyError> {
        let kek = random_secret()?;
        let RewrappedKek { wrapped, version } = self.wrap_now(&kek)?;
        Ok(GeneratedKek {
            kek,
            wrapped,
            version,
        })
    }

    fn wrap_now(&self, kek: &Secret<32>) -> Result<RewrappedKek, KeyError> {
        let mut nonce = [0; sealgate_aead::NONCE_LEN];
        fill_random(&mut nonce)?;
        let (version, key) = self.ring.current();
        Ok(RewrappedKek {
            wrapped: wrap::wrap(key, &self.name, version, nonce, kek),
            version: version.to_string(),
        })
    }

    fn unwrap_now(&self, version: &str, wrapped: &[u8]) -> Result<Secret<32>, KeyError> {
        let key = version
            .parse::<u32>()
            .ok()
            .filter(|number| number.to_string() == version)
            .and_then(|number| Some((number, self.ring.version(number)?)));
        let Some((number, key)) = key else {
            return Err(KeyError::Denied(format!(
                "this object's key-encryption key was wrapped by key {:?} version {version:?}, which is not in the key \
                 ring {} (it holds {})",
                self.name,
                self.ring.path().display(),
                self.ring.describe_versions(),
            )));
        };
        wrap::unwrap(key, &self.name, number, wrapped).map_err(|e| match e {
            wrap::Refusal::OtherKey { theirs, ours } => KeyError::Denied(format!(
                "this object's key-encryption key was wrapped by another key: key {:?} version {number} in the key ring \
                 {} has the check value {ours}, the object needs {theirs}; configure the key ring that sealed it",
                self.name,
                self.ring.path().display(),
            )),
            wrap::Refusal::Forged => KeyError::Invalid(format!(
                "the key-encryption key in this object's envelope does not open under key {:?} version {number}: it \
                 was changed, or sealed under another key name",
                self.name,
            )),
            wrap::Refusal::Format(what) => KeyError::Invalid(what),
        })
    }
}

impl Provider for FileProvider {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(async { self.generate_now() })
    }

    fn unwrap<'a>(&'a self, version: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        Box::pin(async move { self.unwrap_now(version, wrapped) })
    }

    fn rewrap<'a>(
        &'a self,
        version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        Box::pin(async move { self.wrap_now(&self.unwrap_now(version, wrapped)?) })
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async { Ok(Some(self.ring.current().0.to_string())) })
    }
}

/// 32 bytes from the system's random generator.
pub(crate) fn random_secret() -> Result<Secret<32>, KeyError> {
    Secret::fill_with(|bytes| fill_random(bytes))
}

pub(crate) fn fill_random(out: &mut [u8]) -> Result<(), KeyError> {
    aws_lc_rs::rand::fill(out).map_err(|_| KeyError::Unavailable {
        reason: "the system's random generator failed".into(),
        retry_after: std::time::Duration::from_secs(1),
    })
}

#[cfg(test)]
mod tests;
