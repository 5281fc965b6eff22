//! The KEK that new objects are wrapped with, and the next one.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use sealgate_envelope::Kek;
use sealgate_kms::{EpochBounds, EpochLease, KekEpoch, KeyError};

/// Epochs of fewer objects than this are not shared among waiting requests: each gets its own.
const SHARED_FROM: u64 = 64;
/// How soon after a failure a new KEK is asked for again, at least and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The KEK that new objects are wrapped with, until one of its bounds is met.
pub struct Epoch {
    /// The key itself.
    pub kek: Rc<Kek>,
    /// The same, wrapped by the KMS, for the envelope.
    pub wrapped: Vec<u8>,
    /// Name of the KMS key that wrapped it.
    pub key_name: String,
    /// Version of the KMS key that wrapped it.
    pub key_version: String,
    bounds: EpochBounds,
    grace: Duration,
    lease: EpochLease,
    born: Instant,
    objects: Cell<u64>,
    bytes: Cell<u64>,
}

impl Epoch {
    /// `asked` is when it was asked for: its age counts from there.
    fn new(epoch: &KekEpoch, asked: Instant) -> Self {
        Self {
            kek: Rc::new(Kek::new(&epoch.kek)),
            wrapped: epoch.wrapped.clone(),
            key_name: epoch.key_name.clone(),
            key_version: epoch.key_version.clone(),
            bounds: epoch.bounds,
            grace: epoch.grace,
            lease: epoch.lease.clone(),
            born: asked,
            objects: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// Counts an object of `bytes` in; false when that would exceed a bound.
    pub(super) fn admit(&self, bytes: u64, now: Instant) -> bool {
        !self.lease.ended() && self.age(now) < self.bounds.max_age && self.count(bytes)
    }

    /// The same past the KEK's age, within the grace.
    fn admit_by_grace(&self, bytes: u64, now: Instant) -> bool {
        let fits = !self.lease.ended()
            && self.age(now) < self.bounds.max_age + self.grace
            && self.count(bytes);
        if fits {
            self.lease.used_offline();
        }
        fits
    }

    #[cfg(test)]
    pub(super) fn born(&self) -> Instant {
        self.born
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    fn count(&self, bytes: u64) -> bool {
        let objects = self.objects.get() + 1;
        let total = self.bytes.get().saturating_add(bytes);
        let fits = objects <= self.bounds.max_objects
            && (total <= self.bounds.max_bytes || self.objects.get() == 0);
        if fits {
            self.objects.set(objects);
            self.bytes.set(total);
        }
        fits
    }

    /// Whether so much of it is used up that the next one should be had: four fifths of some bound, a little less or
    /// more on each core, lest all ask at once.
    fn is_due(&self, now: Instant) -> bool {
        let spread = f64::from(self.wrapped.last().copied().unwrap_or(0)) / 255.0;
        let part = 0.75 + 0.1 * spread;
        self.age(now) >= self.bounds.max_age.mul_f64(part)
            || self.objects.get() as f64 >= self.bounds.max_objects as f64 * part
            || self.bytes.get() as f64 >= self.bounds.max_bytes as f64 * part
    }
}

/// An epoch as it came from the service.
#[derive(Clone)]
pub(super) struct Fresh {
    pub(super) epoch: Rc<Epoch>,
    /// How long its KEK may be kept for reading.
    pub(super) keep: Duration,
}

impl Fresh {
    pub(super) fn new(epoch: &KekEpoch, asked: Instant) -> Self {
        Self {
            epoch: Rc::new(Epoch::new(epoch, asked)),
            keep: epoch.keep,
        }
    }
}

/// A new KEK on its way; any number may wait for it.
pub(super) type Flight = Shared<LocalBoxFuture<'static, Result<Fresh, KeyError>>>;

/// One key's current and next KEK. Knows no clock: callers say what time it is.
#[derive(Default)]
pub(super) struct Writer {
    current: Option<Rc<Epoch>>,
    next: Option<Flight>,
    failing: Option<Failing>,
}

/// No new KEK could be had.
struct Failing {
    /// When that may be tried again.
    until: Instant,
    /// The KMS did not answer; what it refuses has no grace.
    graced: bool,
}

impl Writer {
    /// Takes up the next KEK if it has come.
    pub(super) fn take_up(&mut self, now: Instant) -> Option<Fresh> {
        match self.next.clone()?.now_or_never()? {
            Ok(fresh) => {
                self.next = None;
                self.install(&fresh);
                Some(fresh)
            }
            Err(error) => {
                self.next = None;
                self.failed(&error, now);
                None
            }
        }
    }

    /// Notes that no new KEK can be had. When that is a refusal, the old one is not written with either: what it seals
    /// might never be read again.
    pub(super) fn failed(&mut self, error: &KeyError, now: Instant) {
        let pause = error.retry_after().unwrap_or(RETRY.1);
        self.failing = Some(Failing {
            until: now + pause.clamp(RETRY.0, RETRY.1),
            graced: error.retryable(),
        });
        if !error.retryable() {
            self.current = None;
        }
    }

    pub(super) fn install(&mut self, fresh: &Fresh) {
        self.current = Some(Rc::clone(&fresh.epoch));
        self.failing = None;
    }

    /// The current KEK, if it may seal `bytes` more.
    pub(super) fn admit(&mut self, bytes: u64, now: Instant) -> Option<Rc<Epoch>> {
        let epoch = self.current.as_ref()?;
        let graced = self.failing.as_ref().is_some_and(|failing| failing.graced);
        let fits = epoch.admit(bytes, now) || (graced && epoch.admit_by_grace(bytes, now));
        fits.then(|| Rc::clone(epoch))
    }

    /// Asks for the next KEK if it is time; the answer is taken up later.
    pub(super) fn prefetch<F>(&mut self, now: Instant, generate: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Arc<KekEpoch>, KeyError>> + 'static,
    {
        let due = self.shares() && self.current.as_ref().is_some_and(|epoch| epoch.is_due(now));
        let pausing = self
            .failing
            .as_ref()
            .is_some_and(|failing| now < failing.until);
        if due && self.next.is_none() && !pausing {
            drop(self.flight(now, generate));
        }
    }

    /// The next KEK, asked for now if that has not been done.
    pub(super) fn flight<F>(&mut self, now: Instant, generate: impl FnOnce() -> F) -> Flight
    where
        F: Future<Output = Result<Arc<KekEpoch>, KeyError>> + 'static,
    {
        let next = self.next.get_or_insert_with(|| {
            let asked = generate();
            let fresh = async move { asked.await.map(|epoch| Fresh::new(&epoch, now)) };
            fresh.boxed_local().shared()
        });
        next.clone()
    }

    /// Whether a KEK is for many objects, so that waiting requests share the next one.
    pub(super) fn shares(&self) -> bool {
        let bounds = self.current.as_ref().map(|epoch| epoch.bounds);
        bounds.is_none_or(|bounds| bounds.max_objects >= SHARED_FROM)
    }

    /// Lets go of a KEK that can never be used again.
    pub(super) fn sweep(&mut self, now: Instant) {
        let useful = |epoch: &Rc<Epoch>| {
            !epoch.lease.ended() && epoch.age(now) < epoch.bounds.max_age + epoch.grace
        };
        self.current = self.current.take().filter(useful);
    }
}
