//! What a key provider has to do.

use std::future::Future;
use std::pin::Pin;

use sealgate_aead::Secret;

use crate::error::KeyError;

/// What a provider's call returns: boxed, so that providers can be chosen at run time.
pub type ProviderFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// A new KEK and its wrapping.
pub struct GeneratedKek {
    /// The key, from the provider or from the system's random generator.
    pub kek: Secret<32>,
    /// The wrapped key: at most [`crate::WRAPPED_MAX`] bytes, or the envelope has no room for it.
    pub wrapped: Vec<u8>,
    /// Version of the key that wrapped it.
    pub version: String,
}

/// The same KEK under another version of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrappedKek {
    /// The wrapped key, with the bounds of [`GeneratedKek::wrapped`].
    pub wrapped: Vec<u8>,
    /// Version of the key that wraps it now.
    pub version: String,
}

/// One named key at one provider. Calls run on the control plane's tokio runtime and may wait; the service adds the
/// deadline, the cache, single flight and the bound on concurrent calls.
pub trait Provider: Send + Sync + 'static {
    /// What kind of provider this is, for logs and metrics: `file`, `aws-kms`, …
    fn kind(&self) -> &'static str;

    /// Makes a new KEK and wraps it with the newest version of the key.
    fn generate(&self) -> ProviderFuture<'_, GeneratedKek>;

    /// Unwraps a KEK that [`Provider::generate`] made, with this version of the key.
    fn unwrap<'a>(&'a self, version: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>>;

    /// Wraps the same KEK with the newest version of the key. A provider that can do so without showing the KEK does.
    fn rewrap<'a>(
        &'a self,
        version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek>;

    /// The version that [`Provider::generate`] wraps with now; `None` where the provider keeps that to itself.
    fn newest_version(&self) -> ProviderFuture<'_, Option<String>>;
}
