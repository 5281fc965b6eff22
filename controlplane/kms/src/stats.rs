//! What the service counts, and what readiness reads: written by the service, read by anybody at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::epoch::{EpochBounds, EpochLease};
use crate::error::KeyError;
use crate::events::KeyOperation;
use crate::health::KeyHealth;

/// Upper bounds of the latency buckets, microseconds: powers of four from 64 µs to 67 s.
pub const LATENCY_BOUNDS: [u64; 11] = [
    64,
    256,
    1024,
    4096,
    16_384,
    65_536,
    262_144,
    1 << 20,
    1 << 22,
    1 << 24,
    1 << 26,
];

/// Outcomes of a call, in the order of their counters: `ok`, then [`KeyError::kind`].
pub(crate) const OUTCOMES: [&str; 8] = [
    "ok",
    "unknown_key",
    "denied",
    "unavailable",
    "behind",
    "throttled",
    "invalid",
    "busy",
];

/// Those of them that no provider gives.
const NO_PROVIDERS: [&str; 2] = ["unknown_key", "busy"];

/// Locks; what a panicking thread left behind is still a number.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a KEK left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Others were used more recently.
    Full,
    /// Its time was over.
    Expired,
    /// Nobody used it.
    Idle,
    /// Its provider refuses to unwrap it, or its key is no longer configured.
    Refused,
}

/// Names of [`Eviction`], in its order.
pub(crate) const EVICTIONS: [&str; 4] = ["full", "expired", "idle", "refused"];

/// One endpoint's counters.
#[derive(Default)]
pub(crate) struct PlaceStats {
    calls: [[AtomicU64; OUTCOMES.len()]; KeyOperation::ALL.len()],
    buckets: [AtomicU64; LATENCY_BOUNDS.len()],
    micros: AtomicU64,
    pub(crate) breaker: AtomicU8,
    pub(crate) breaker_opened: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

impl PlaceStats {
    /// Counts a call that has ended.
    pub(crate) fn count(&self, operation: KeyOperation, outcome: &str, took: Duration) {
        let outcome = OUTCOMES.iter().position(|o| *o == outcome).unwrap_or(0);
        self.calls[operation as usize][outcome].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
        if let Some(bucket) = LATENCY_BOUNDS.iter().position(|bound| micros <= *bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
    }
}

/// One key's counters.
#[derive(Default)]
pub(crate) struct KeyStats {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) refused_from_cache: AtomicU64,
    pub(crate) evicted: [AtomicU64; EVICTIONS.len()],
    pub(crate) cached: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) retries_withheld: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) fallbacks: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) offline_reads: AtomicU64,
    pub(crate) offline_writes: AtomicU64,
    places: Mutex<BTreeMap<(&'static str, String), Arc<PlaceStats>>>,
    leases: Mutex<Vec<Weak<crate::epoch::Lease>>>,
    pub(crate) health: Mutex<Option<KeyHealth>>,
}

impl KeyStats {
    pub(crate) fn place(&self, provider: &'static str, label: &str) -> Arc<PlaceStats> {
        let mut places = locked(&self.places);
        Arc::clone(places.entry((provider, label.to_owned())).or_default())
    }

    pub(crate) fn evicted(&self, why: Eviction) {
        self.evicted[why as usize].fetch_add(1, Relaxed);
    }

    /// Watches an epoch for as long as a core writes with it.
    pub(crate) fn lease(self: &Arc<Self>, bounds: EpochBounds, grace: Duration) -> EpochLease {
        let lease = EpochLease::new(Arc::clone(self), bounds.max_age, grace);
        let mut leases = locked(&self.leases);
        leases.retain(|lease| lease.strong_count() > 0);
        leases.push(Arc::downgrade(lease.inner()));
        lease
    }

    /// When the writers' KEKs began, and until when they may be used at most, the grace included.
    fn epochs(&self) -> Vec<(Instant, Instant)> {
        let leases = locked(&self.leases);
        leases
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|lease| !lease.ended())
            .map(|lease| lease.span())
            .collect()
    }

    /// Lets no core write with a KEK that it has now; each finds out when it wants to seal next.
    pub(crate) fn end_epochs(&self) {
        let leases = locked(&self.leases);
        leases
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|lease| lease.end());
    }

    /// Whether some core can still write without a new KEK.
    pub(crate) fn writers_until(&self) -> Option<Instant> {
        self.epochs().into_iter().map(|(_, until)| until).max()
    }
}

/// All keys' counters. Those of a key that is no longer configured stay: counters never fall.
#[derive(Default)]
pub(crate) struct Registry {
    keys: Mutex<BTreeMap<String, Arc<KeyStats>>>,
}

impl Registry {
    pub(crate) fn key(&self, name: &str) -> Arc<KeyStats> {
        let mut keys = locked(&self.keys);
        Arc::clone(keys.entry(name.to_owned()).or_default())
    }

    pub(crate) fn health(&self) -> Vec<KeyHealth> {
        let keys = locked(&self.keys);
        let health = keys.values().filter_map(|key| {
            let mut health = locked(&key.health).clone()?;
            health.writers_until = key.writers_until();
            Some(health)
        });
        health.collect()
    }

    pub(crate) fn report(&self) -> Vec<KeyReport> {
        let keys = locked(&self.keys);
        keys.iter()
            .map(|(name, key)| KeyReport::new(name, key))
            .collect()
    }
}

/// One key's numbers, for metrics.
#[derive(Clone, Debug, Default)]
pub struct KeyReport {
    /// Its configured name.
    pub key: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// Unwraps answered from the service's cache.
    pub hits: u64,
    /// Unwraps that the cache could not answer.
    pub misses: u64,
    /// Questions answered with a failure that is remembered.
    pub refused_from_cache: u64,
    /// KEKs that left the cache, by reason.
    pub evictions: Vec<(&'static str, u64)>,
    /// KEKs in the cache.
    pub cached: u64,
    /// Questions asked again after a failure.
    pub retries: u64,
    /// Retries and hedges that the budget did not allow.
    pub retries_withheld: u64,
    /// Unwraps sent to a further endpoint because the first took long.
    pub hedges: u64,
    /// Questions sent to a further endpoint because the one before failed or is left alone.
    pub fallbacks: u64,
    /// KEKs unwrapped again ahead of their time.
    pub refreshes: u64,
    /// Unwraps answered from KEKs past their time, the provider being away.
    pub offline_reads: u64,
    /// Objects sealed under KEKs past their age, the provider being away.
    pub offline_writes: u64,
    /// Age of the oldest KEK that a core writes with.
    pub kek_age: Option<Duration>,
    /// Time until the first core's KEK can no longer be written with, unless it gets a new one.
    pub kek_expiry: Option<Duration>,
    /// Its health; `None` when it is no longer configured.
    pub health: Option<KeyHealth>,
}

/// One endpoint's numbers.
#[derive(Clone, Debug, Default)]
pub struct EndpointReport {
    /// The provider's kind.
    pub provider: &'static str,
    /// The endpoint's label.
    pub label: String,
    /// Calls by operation and outcome (`ok`, or [`KeyError::kind`]), zeros included.
    pub calls: Vec<(&'static str, &'static str, u64)>,
    /// Calls by duration: as many as took at most each of [`LATENCY_BOUNDS`] and more than the one before.
    pub buckets: [u64; LATENCY_BOUNDS.len()],
    /// Sum of all durations, microseconds.
    pub micros: u64,
    /// 0 closed, 1 half-open, 2 open.
    pub breaker: u8,
    /// How often the breaker has opened.
    pub breaker_opened: u64,
    /// Calls running now.
    pub in_flight: u64,
}

impl KeyReport {
    fn new(name: &str, key: &Arc<KeyStats>) -> Self {
        let load = |cell: &AtomicU64| cell.load(Relaxed);
        let now = Instant::now();
        let epochs = key.epochs();
        let mut health = locked(&key.health).clone();
        if let Some(health) = &mut health {
            health.writers_until = key.writers_until();
        }
        let ends = epochs.iter().map(|(_, until)| *until).min();
        Self {
            key: name.to_owned(),
            endpoints: locked(&key.places)
                .iter()
                .map(|((provider, label), place)| EndpointReport::new(provider, label, place))
                .collect(),
            hits: load(&key.hits),
            misses: load(&key.misses),
            refused_from_cache: load(&key.refused_from_cache),
            evictions: EVICTIONS
                .into_iter()
                .zip(key.evicted.iter().map(load))
                .collect(),
            cached: load(&key.cached),
            retries: load(&key.retries),
            retries_withheld: load(&key.retries_withheld),
            hedges: load(&key.hedges),
            fallbacks: load(&key.fallbacks),
            refreshes: load(&key.refreshes),
            offline_reads: load(&key.offline_reads),
            offline_writes: load(&key.offline_writes),
            kek_age: epochs
                .iter()
                .map(|(born, _)| now.saturating_duration_since(*born))
                .max(),
            kek_expiry: ends.map(|until| until.saturating_duration_since(now)),
            health,
        }
    }
}

impl EndpointReport {
    fn new(provider: &'static str, label: &str, place: &PlaceStats) -> Self {
        let mut calls = Vec::new();
        for (operation, by_outcome) in KeyOperation::ALL.iter().zip(&place.calls) {
            for (outcome, count) in OUTCOMES.iter().zip(by_outcome) {
                // From the start: the increase of a counter that is born with its first refusal would not be seen.
                match count.load(Relaxed) {
                    0 if NO_PROVIDERS.contains(outcome) => {}
                    n => calls.push((operation.name(), *outcome, n)),
                }
            }
        }
        Self {
            provider,
            label: label.to_owned(),
            calls,
            buckets: std::array::from_fn(|n| place.buckets[n].load(Relaxed)),
            micros: place.micros.load(Relaxed),
            breaker: place.breaker.load(Relaxed),
            breaker_opened: place.breaker_opened.load(Relaxed),
            in_flight: place.in_flight.load(Relaxed),
        }
    }
}

/// The name of an outcome.
pub(crate) fn outcome<T>(result: &Result<T, KeyError>) -> &'static str {
    result.as_ref().map_or_else(KeyError::kind, |_| "ok")
}
