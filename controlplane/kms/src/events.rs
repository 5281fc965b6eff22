//! What the service tells of the use of keys, for an audit log.

use std::time::Duration;

/// Is told of every use of a key. The service calls it on the control plane's runtime, between two of its steps, so an
/// implementation must not wait: it hands the event on (a bounded queue) and counts what it could not.
pub trait KeyEvents: Send + Sync + 'static {
    /// One use, after its outcome is known. The event borrows: what outlives the call is copied.
    fn record(&self, event: &KeyEvent<'_>);
}

/// One use of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyEvent<'a> {
    /// The key's name in the configuration.
    pub key: &'a str,
    /// The version that wraps the KEK; `None` when it is not known, as after a failed `Generate`.
    pub version: Option<&'a str>,
    /// The wrapped KEK, which names it (no secret: it stands in objects' metadata); empty when it is not known.
    pub wrapped: &'a [u8],
    /// What was done.
    pub operation: KeyOperation,
    /// Who answered.
    pub source: KeySource<'a>,
    /// `ok`, or [`crate::KeyError::kind`].
    pub outcome: &'static str,
    /// How long the answer took; zero from the cache.
    pub duration: Duration,
}

/// What was done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyOperation {
    /// A new KEK was made: an epoch of a core.
    Generate,
    /// A KEK was unwrapped, for reading.
    Unwrap,
    /// A KEK was wrapped with the newest version.
    Rewrap,
    /// The health check unwrapped its canary.
    Canary,
    /// A KEK was unwrapped right after it was wrapped, before anything is sealed under that wrap.
    Verify,
    /// The newest version was asked for.
    Version,
}

impl KeyOperation {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Generate,
        Self::Unwrap,
        Self::Rewrap,
        Self::Canary,
        Self::Verify,
        Self::Version,
    ];

    /// A short fixed name for logs and metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Unwrap => "unwrap",
            Self::Rewrap => "rewrap",
            Self::Canary => "canary",
            Self::Verify => "verify",
            Self::Version => "version",
        }
    }
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource<'a> {
    /// A provider: one attempt, at one endpoint.
    Provider {
        /// [`crate::Provider::kind`].
        kind: &'static str,
        /// [`crate::Endpoint::label`].
        endpoint: &'a str,
    },
    /// The service's cache: a core took up a KEK that was unwrapped earlier.
    Cache,
    /// The cache, past the KEK's time, because the provider cannot be reached and `offline_grace` allows it.
    OfflineGrace,
}
