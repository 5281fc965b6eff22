//! What the service keeps of one key: its KEKs, its refusals, its health.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::call::Caller;
use super::canary::{Canary, Checked, Schedule, pause};
use crate::cache::{Ages, Cache, Lookup};
use crate::epoch::{EpochBounds, UnwrappedKek};
use crate::error::KeyError;
use crate::events::KeySource;
use crate::health::KeyHealth;
use crate::policy::KeyPolicy;
use crate::stats::{Eviction, locked};

/// Remembered failures of one key: objects that nobody can open are few, and hardly worth memory.
const REFUSALS: usize = 1024;
/// How long a core keeps a KEK that was handed out by grace: it should soon learn that the provider is back.
const GRACE_KEEP: Duration = Duration::from_secs(5);
/// The warning that KEKs are used by grace comes once in so long.
const GRACE_WARNING: Duration = Duration::from_secs(60);
/// Warnings of failed unwraps come once in so long; the counters have them all.
const FAILURE_WARNING: Duration = Duration::from_secs(1);

/// Names an unwrapped KEK of a key: the same bytes under another version are another question to the provider.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct KekId {
    pub(super) version: String,
    pub(super) wrapped: Vec<u8>,
}

type Kek = Arc<sealgate_aead::Secret<32>>;

/// What can be said of an unwrap without asking the provider.
pub(super) enum Known {
    /// The KEK.
    Yes(Arc<UnwrappedKek>),
    /// The KEK, which should be had anew meanwhile.
    Refresh(Arc<UnwrappedKek>),
    /// A KEK past its time, for the case that the provider is away.
    Perhaps,
    /// A failure that is remembered.
    No(KeyError),
    Nothing,
}

/// See the module.
pub(super) struct Slot {
    pub(super) caller: Arc<Caller>,
    pub(super) bounds: EpochBounds,
    pub(super) writes: bool,
    pub(super) schedule: Schedule,
    /// Requests that wait for calls of this key.
    pub(super) waiting: usize,
    cache: Cache<KekId, Kek>,
    refusals: Cache<KekId, KeyError>,
    no_new_kek: Option<(KeyError, Instant)>,
    health: KeyHealth,
    grace_warned: Option<Instant>,
    failure_warned: Option<Instant>,
}

fn ages(policy: &KeyPolicy) -> Ages {
    Ages {
        capacity: policy.cache_max,
        // The grace is for KEKs that nobody happened to need for a while, too.
        idle: policy.cache_idle_ttl + policy.grace_reads,
        grace: policy.grace_reads,
    }
}

impl Slot {
    pub(super) fn new(caller: Arc<Caller>, bounds: EpochBounds, writes: bool) -> Self {
        let refusals = Ages {
            capacity: REFUSALS,
            idle: Duration::from_secs(3600),
            grace: Duration::ZERO,
        };
        let slot = Self {
            bounds,
            writes,
            schedule: Schedule::new(Instant::now()),
            waiting: 0,
            cache: Cache::new(ages(&caller.policy)),
            refusals: Cache::new(refusals),
            no_new_kek: None,
            health: KeyHealth::unchecked(&caller.name, writes),
            grace_warned: None,
            failure_warned: None,
            caller,
        };
        slot.publish();
        slot
    }

    /// Takes over what a reload leaves as it is: KEKs stay what they are, health is what it was until the next check.
    pub(super) fn inherit(&mut self, old: Self) {
        self.cache = old.cache;
        self.cache.set_ages(ages(&self.caller.policy));
        self.schedule.canary = old.schedule.canary;
        self.waiting = old.waiting;
        self.health = KeyHealth {
            writes: self.writes,
            ..old.health
        };
        self.publish();
    }

    fn policy(&self) -> &KeyPolicy {
        &self.caller.policy
    }

    /// What is known of a KEK.
    pub(super) fn look_up(&mut self, id: &KekId) -> Known {
        let now = Instant::now();
        let stats = Arc::clone(&self.caller.stats);
        let found = self.cache.get(id, now);
        if matches!(found, Lookup::Miss) {
            stats.misses.fetch_add(1, Relaxed);
        } else {
            stats.hits.fetch_add(1, Relaxed);
        }
        let failed = match self.refusals.get(id, now) {
            Lookup::Fresh(e, _) | Lookup::Due(e, _) => Some(e),
            _ => None,
        };
        match (found, failed) {
            (Lookup::Fresh(kek, left), _) | (Lookup::Due(kek, left), Some(_)) => {
                self.caller
                    .tell_cached(&id.version, &id.wrapped, KeySource::Cache);
                Known::Yes(self.handed(kek, left))
            }
            (Lookup::Due(kek, left), None) => {
                self.caller
                    .tell_cached(&id.version, &id.wrapped, KeySource::Cache);
                Known::Refresh(self.handed(kek, left))
            }
            (Lookup::Stale(..), Some(_)) => match self.by_grace(id) {
                Some(kek) => Known::Yes(kek),
                None => Known::Nothing,
            },
            (Lookup::Stale(..), None) => Known::Perhaps,
            (Lookup::Miss, Some(e)) => {
                stats.refused_from_cache.fetch_add(1, Relaxed);
                Known::No(e)
            }
            (Lookup::Miss, None) => Known::Nothing,
        }
    }

    fn handed(&self, kek: Kek, left: Duration) -> Arc<UnwrappedKek> {
        // A core's copy ends with this one: a revoked key is not read with for longer than `cache_ttl` in all.
        let keep = self.policy().core_ttl.min(left);
        Arc::new(UnwrappedKek { kek, keep })
    }

    /// A KEK past its time, while the provider cannot be reached.
    pub(super) fn by_grace(&mut self, id: &KekId) -> Option<Arc<UnwrappedKek>> {
        let now = Instant::now();
        let Lookup::Stale(kek, left) = self.cache.get(id, now) else {
            return None;
        };
        self.caller.stats.offline_reads.fetch_add(1, Relaxed);
        self.caller
            .tell_cached(&id.version, &id.wrapped, KeySource::OfflineGrace);
        if once_in(&mut self.grace_warned, GRACE_WARNING, now) {
            tracing::warn!(
                key = %self.caller.name, seconds_left = left.as_secs(),
                "the key provider cannot be reached: cached keys are used past their time (offline_grace)"
            );
        }
        let keep = GRACE_KEEP.min(left);
        Some(Arc::new(UnwrappedKek { kek, keep }))
    }

    /// Keeps a KEK that was just unwrapped or made.
    pub(super) fn keep(&mut self, id: KekId, kek: Kek) -> Arc<UnwrappedKek> {
        let now = Instant::now();
        let ttl = self.caller.dice.shortened(self.policy().cache_ttl);
        if self.schedule.canary.is_none() {
            self.schedule.canary = Some(Canary::borrowed(&id.version, &id.wrapped));
        }
        self.refusals.remove(&id);
        for _ in 0..self.cache.insert(id, Arc::clone(&kek), now, ttl) {
            self.caller.stats.evicted(Eviction::Full);
        }
        self.count();
        self.handed(kek, ttl)
    }

    /// Notes that a KEK could not be unwrapped; one that is refused is forgotten at once.
    pub(super) fn failed(&mut self, id: KekId, error: &KeyError) {
        let now = Instant::now();
        if once_in(&mut self.failure_warned, FAILURE_WARNING, now) {
            let (kind, key) = (error.kind(), &self.caller.name);
            tracing::warn!(%key, version = %id.version, kind, %error, "cannot unwrap a key");
        }
        if !error.retryable() && self.cache.remove(&id) {
            self.caller.stats.evicted(Eviction::Refused);
            self.count();
        }
        let ttl = self.memory_of(error);
        self.refusals.insert(id, error.clone(), now, ttl);
    }

    fn memory_of(&self, error: &KeyError) -> Duration {
        match error.retryable() {
            true => self.policy().error_ttl,
            false => self.policy().negative_ttl,
        }
    }

    /// The failure that keeps new KEKs from being made, while it is remembered.
    pub(super) fn no_new_kek(&self) -> Option<KeyError> {
        let (error, until) = self.no_new_kek.as_ref()?;
        (Instant::now() < *until).then(|| {
            self.caller.stats.refused_from_cache.fetch_add(1, Relaxed);
            error.clone()
        })
    }

    /// Notes what an attempt at making a KEK came to.
    pub(super) fn generated(&mut self, outcome: Result<(), KeyError>) {
        self.no_new_kek = match &outcome {
            Ok(()) => {
                self.schedule.generated();
                None
            }
            Err(e) => Some((e.clone(), Instant::now() + self.memory_of(e))),
        };
        // What is refused to one core is refused to all: none goes on with what it has.
        if outcome.as_ref().is_err_and(|e| !e.retryable()) {
            self.caller.stats.end_epochs();
        }
        // A busy moment says nothing of the key.
        if outcome != Err(KeyError::Busy) {
            self.health.write = Some(outcome);
        }
        self.publish();
    }

    /// Notes what a check came to.
    pub(super) fn checked(&mut self, checked: Checked) {
        let key = &self.caller.name;
        let was_ill = matches!(self.health.read, Some(Err(_)));
        match &checked.read {
            Err(error) if !was_ill => {
                tracing::warn!(%key, kind = error.kind(), %error, "the key fails its health check");
            }
            Ok(()) if was_ill => tracing::info!(%key, "the key passes its health check again"),
            _ => {}
        }
        let could_not_write = matches!(self.health.write, Some(Err(_)));
        match &checked.write {
            // What keeps reads from working has been said.
            Some(Err(error)) if self.writes && !could_not_write && checked.read.is_ok() => {
                tracing::warn!(%key, kind = error.kind(), %error, "the key's health check gets no new key to seal with");
            }
            Some(Ok(())) if could_not_write => {
                tracing::info!(%key, "the key can be sealed with again");
            }
            _ => {}
        }
        if checked.refused {
            self.cache.expire_all(Instant::now());
            self.caller.stats.end_epochs();
        }
        let well = checked.read.is_ok() && !matches!(checked.write, Some(Err(_)));
        if checked.canary.is_some() {
            self.schedule.canary = checked.canary;
        }
        self.schedule.running = false;
        self.schedule.next = Instant::now() + pause(&self.caller, well);
        self.health.read = Some(checked.read);
        match checked.write {
            Some(outcome) if self.writes => self.generated(outcome),
            _ => self.publish(),
        }
    }

    pub(super) fn writes_well(&self) -> bool {
        self.health.write == Some(Ok(()))
    }

    /// Wipes what is too old or long unused.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        let stats = &self.caller.stats;
        self.cache.sweep(now, |why| stats.evicted(why));
        self.refusals.sweep(now, |_| {});
        self.count();
        self.publish();
    }

    /// Shows readiness and metrics what there is.
    fn publish(&self) {
        let mut health = self.health.clone();
        health.readers_until = self.cache.until();
        *locked(&self.caller.stats.health) = Some(health);
    }

    fn count(&self) {
        let cached = self.cache.len() as u64;
        self.caller.stats.cached.store(cached, Relaxed);
    }

    /// The key is no longer configured.
    pub(super) fn retire(self) {
        let stats = &self.caller.stats;
        for _ in 0..self.cache.len() {
            stats.evicted(Eviction::Refused);
        }
        stats.cached.store(0, Relaxed);
        *locked(&stats.health) = None;
    }
}

/// Whether `pause` has passed since this last said yes.
fn once_in(last: &mut Option<Instant>, pause: Duration, now: Instant) -> bool {
    let yes = last.is_none_or(|at| now >= at + pause);
    if yes {
        *last = Some(now);
    }
    yes
}
