//! KEKs as the data plane holds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sealgate_aead::Secret;
use tokio::time::Instant;

use crate::stats::KeyStats;

/// How long and for how much one KEK may seal: whichever bound is met first ends the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochBounds {
    /// Age.
    pub max_age: Duration,
    /// Objects whose DEK it wraps. 1 is one provider call per object.
    pub max_objects: u64,
    /// Plaintext bytes of those objects.
    pub max_bytes: u64,
}

impl EpochBounds {
    /// One hour, 2^20 objects, 2^44 bytes (docs/format.md, keys). 2^20 random 96-bit nonces under one KEK collide with
    /// a probability below 2^-57.
    pub const DEFAULT: Self = Self {
        max_age: Duration::from_secs(3600),
        max_objects: 1 << 20,
        max_bytes: 1 << 44,
    };

    /// The loosest bounds a configuration may ask for: NIST SP 800-38D, 8.3, allows 2^32 random nonces per key; a day
    /// and 2^50 bytes keep the damage of one lost KEK small.
    pub const LOOSEST: Self = Self {
        max_age: Duration::from_secs(24 * 3600),
        max_objects: 1 << 32,
        max_bytes: 1 << 50,
    };
}

impl Default for EpochBounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A fresh KEK with what an envelope needs to find it again. Neither `Clone` nor `Debug`; wiped on drop.
pub struct KekEpoch {
    /// The key itself.
    pub kek: Secret<32>,
    /// The same key, wrapped by the provider: opaque bytes for the envelope.
    pub wrapped: Vec<u8>,
    /// Name of the provider key, as configured.
    pub key_name: String,
    /// Its version, as the provider calls it.
    pub key_version: String,
    /// What this KEK may be used for.
    pub bounds: EpochBounds,
    /// How long it may be used past its age, and no other bound, while no new one can be had.
    pub grace: Duration,
    /// How long a core may keep it for reading before it has to ask again.
    pub keep: Duration,
    /// Kept by whoever writes with this KEK for as long as it does.
    pub lease: EpochLease,
}

/// Tells the service that a core still writes with an epoch's KEK, and when it does so by grace; and the core that its
/// provider has refused the key since.
#[derive(Clone)]
pub struct EpochLease(Arc<Lease>);

pub(crate) struct Lease {
    stats: Arc<KeyStats>,
    born: Instant,
    until: Instant,
    ended: AtomicBool,
}

impl EpochLease {
    pub(crate) fn new(stats: Arc<KeyStats>, max_age: Duration, grace: Duration) -> Self {
        let born = Instant::now();
        Self(Arc::new(Lease {
            stats,
            born,
            until: born + max_age + grace,
            ended: AtomicBool::new(false),
        }))
    }

    /// A lease that no service watches: for tests of those who write.
    #[must_use]
    pub fn unwatched() -> Self {
        Self::new(Arc::default(), Duration::ZERO, Duration::ZERO)
    }

    /// Whether the provider refuses the key: nothing more is sealed with the KEK. A plain load, for each object.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.0.ended()
    }

    pub(crate) fn inner(&self) -> &Arc<Lease> {
        &self.0
    }

    /// Counts an object that was sealed past the KEK's age.
    pub fn used_offline(&self) {
        self.0.stats.offline_writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Lease {
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn span(&self) -> (Instant, Instant) {
        (self.born, self.until)
    }
}

/// A KEK that was unwrapped for reading. Wiped when its last holder is gone.
pub struct UnwrappedKek {
    /// The key itself; the service's cache holds the same.
    pub kek: Arc<Secret<32>>,
    /// How long a core may keep it before it has to ask again.
    pub keep: Duration,
}
