//! One core's unwrapped key-encryption keys: what the byte path needs without asking the control plane.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sealgate_envelope::{Kek, WrappedKek};
use sealgate_kms::{EpochBounds, KekEpoch, KeyClient, KeyError};

/// Most unwrapped KEKs one core keeps for reading.
const MAX_OPENED: usize = 4096;
/// How long a KEK that this core wrote with is used for reading before it is asked for again.
const OWN_TTL: Duration = Duration::from_secs(3600);

/// The KEK that new objects are wrapped with, until one of its bounds is met.
pub struct Epoch {
    /// The key itself.
    pub kek: Kek,
    /// The same, wrapped by the KMS, for the envelope.
    pub wrapped: Vec<u8>,
    /// Name of the KMS key that wrapped it.
    pub key_name: String,
    /// Version of the KMS key that wrapped it.
    pub key_version: String,
    bounds: EpochBounds,
    born: Instant,
    objects: Cell<u64>,
    bytes: Cell<u64>,
}

impl Epoch {
    fn new(epoch: &KekEpoch) -> Self {
        Self {
            kek: Kek::new(&epoch.kek),
            wrapped: epoch.wrapped.clone(),
            key_name: epoch.key_name.clone(),
            key_version: epoch.key_version.clone(),
            bounds: epoch.bounds,
            born: Instant::now(),
            objects: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// Counts an object of `bytes` in; false when that would exceed a bound.
    fn admit(&self, bytes: u64) -> bool {
        let objects = self.objects.get() + 1;
        let total = self.bytes.get().saturating_add(bytes);
        let fits = objects <= self.bounds.max_objects
            && (total <= self.bounds.max_bytes || self.objects.get() == 0)
            && self.born.elapsed() < self.bounds.max_age;
        if fits {
            self.objects.set(objects);
            self.bytes.set(total);
        }
        fits
    }
}

struct Opened {
    kek: Rc<Kek>,
    /// It is asked for again then: a revoked key takes effect.
    until: Instant,
}

/// See the module.
pub struct Keyring {
    client: KeyClient,
    current: RefCell<HashMap<String, Rc<Epoch>>>,
    opened: RefCell<HashMap<Vec<u8>, Opened>>,
    hits: Cell<u64>,
    misses: Cell<u64>,
    /// Of the configuration whose keys `current` was made with.
    generation: Cell<u64>,
}

impl Keyring {
    /// An empty ring that asks `client` for what it lacks.
    #[must_use]
    pub fn new(client: KeyClient) -> Self {
        Self {
            client,
            current: RefCell::default(),
            opened: RefCell::default(),
            hits: Cell::new(0),
            misses: Cell::new(0),
            generation: Cell::new(0),
        }
    }

    /// Takes notice of a configuration that may have newer versions of keys: what is written from now on is wrapped
    /// with them.
    pub fn renew(&self, generation: u64) {
        if self.generation.replace(generation) != generation {
            self.current.borrow_mut().clear();
        }
    }

    /// Where it asks.
    pub(crate) fn client(&self) -> &KeyClient {
        &self.client
    }

    /// Cache hits and misses so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits.get(), self.misses.get())
    }

    /// The KEK to wrap a new object of `bytes` with.
    ///
    /// # Errors
    ///
    /// The KMS's, when a new epoch is needed and cannot be had: nothing is ever written with an exhausted one.
    pub async fn for_writing(&self, key_name: &str, bytes: u64) -> Result<Rc<Epoch>, KeyError> {
        if let Some(epoch) = self.current.borrow().get(key_name)
            && epoch.admit(bytes)
        {
            self.hits.set(self.hits.get() + 1);
            return Ok(Rc::clone(epoch));
        }
        self.misses.set(self.misses.get() + 1);
        let generated = self.client.generate(key_name).await?;
        let epoch = Rc::new(Epoch::new(&generated));
        epoch.admit(bytes);
        // What this core wrote it reads back without asking.
        self.remember(&epoch.wrapped, Rc::new(Kek::new(&generated.kek)), OWN_TTL);
        self.current
            .borrow_mut()
            .insert(key_name.to_owned(), Rc::clone(&epoch));
        Ok(epoch)
    }

    /// The KEK that an object's envelope is wrapped with.
    ///
    /// # Errors
    ///
    /// The KMS's.
    pub async fn for_reading(&self, wrapped: &WrappedKek) -> Result<Rc<Kek>, KeyError> {
        if let Some(opened) = self.opened.borrow().get(&wrapped.wrapped[..])
            && opened.until > Instant::now()
        {
            self.hits.set(self.hits.get() + 1);
            return Ok(Rc::clone(&opened.kek));
        }
        self.misses.set(self.misses.get() + 1);
        let unwrapped = self
            .client
            .unwrap(&wrapped.name, &wrapped.version, &wrapped.wrapped)
            .await?;
        let kek = Rc::new(Kek::new(&unwrapped.kek));
        self.remember(&wrapped.wrapped, Rc::clone(&kek), unwrapped.keep);
        Ok(kek)
    }

    /// Forgets the KEKs for writing: after a change of keys, nothing new may be wrapped by one that is gone.
    pub(crate) fn end_epochs(&self) {
        self.current.borrow_mut().clear();
    }

    /// Forgets the KEKs for reading whose time is over, so that they do not stay in memory unused.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.opened
            .borrow_mut()
            .retain(|_, opened| opened.until > now);
    }

    fn remember(&self, wrapped: &[u8], kek: Rc<Kek>, keep: Duration) {
        let mut opened = self.opened.borrow_mut();
        if opened.len() >= MAX_OPENED {
            let oldest = opened
                .iter()
                .min_by_key(|(_, o)| o.until)
                .map(|(w, _)| w.clone());
            if let Some(oldest) = oldest {
                opened.remove(&oldest);
            }
        }
        opened.insert(
            wrapped.to_vec(),
            Opened {
                kek,
                until: Instant::now() + keep,
            },
        );
    }
}
