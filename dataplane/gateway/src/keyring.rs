//! One core's unwrapped key-encryption keys: what the byte path needs without asking the control plane.

mod writer;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sealgate_envelope::{Kek, WrappedKek};
use sealgate_kms::{KeyClient, KeyError};

pub(crate) use writer::Epoch;
use writer::{Fresh, Writer};

/// Most unwrapped KEKs one core keeps for reading.
const MAX_OPENED: usize = 4096;

struct Opened {
    kek: Rc<Kek>,
    /// It is asked for again then: a revoked key takes effect.
    until: Instant,
}

/// See the module.
pub struct Keyring {
    client: KeyClient,
    writers: RefCell<HashMap<String, Writer>>,
    opened: RefCell<HashMap<Vec<u8>, Opened>>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

impl Keyring {
    /// An empty ring that asks `client` for what it lacks.
    #[must_use]
    pub fn new(client: KeyClient) -> Self {
        Self {
            client,
            writers: RefCell::default(),
            opened: RefCell::default(),
            hits: Cell::new(0),
            misses: Cell::new(0),
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

    /// Wipes KEKs whose time is over. They are not used any more anyway; this is for memory, and called now and then.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut opened = self.opened.borrow_mut();
        opened.retain(|_, opened| opened.until > now);
        let mut writers = self.writers.borrow_mut();
        writers.values_mut().for_each(|writer| writer.sweep(now));
    }

    /// The KEK to wrap a new object of `bytes` with. A new one is asked for ahead of its need; while none can be had,
    /// the old one serves up to its bounds, and past its age, though no other bound, as long as the key's grace allows.
    ///
    /// # Errors
    ///
    /// The KMS's, when a new epoch is needed and cannot be had: nothing is ever written with an exhausted one.
    pub async fn for_writing(&self, key_name: &str, bytes: u64) -> Result<Rc<Epoch>, KeyError> {
        // Whoever waits for the same new KEK may use it up first; then this request gets one of its own.
        for _ in 0..2 {
            let (flight, fresh) = {
                let mut writers = self.writers.borrow_mut();
                if !writers.contains_key(key_name) {
                    writers.insert(key_name.to_owned(), Writer::default());
                }
                let Some(writer) = writers.get_mut(key_name) else {
                    break;
                };
                let now = Instant::now();
                let fresh = writer.take_up(now);
                if let Some(epoch) = writer.admit(bytes, now) {
                    writer.prefetch(now, || self.client.generate(key_name));
                    drop(writers);
                    self.remember_own(fresh.as_ref());
                    self.hits.set(self.hits.get() + 1);
                    return Ok(epoch);
                }
                if !writer.shares() {
                    break;
                }
                (writer.flight(now, || self.client.generate(key_name)), fresh)
            };
            self.remember_own(fresh.as_ref());
            self.misses.set(self.misses.get() + 1);
            // What it brings is taken up at the top of the loop, by whoever wakes first.
            if let Err(error) = flight.await {
                let mut writers = self.writers.borrow_mut();
                let now = Instant::now();
                let epoch = writers.get_mut(key_name).and_then(|writer| {
                    writer.take_up(now);
                    writer.admit(bytes, now)
                });
                return epoch.ok_or(error);
            }
        }
        self.misses.set(self.misses.get() + 1);
        let asked = Instant::now();
        let made = self.client.generate(key_name).await;
        let mut writers = self.writers.borrow_mut();
        let writer = writers.entry(key_name.to_owned()).or_default();
        let now = Instant::now();
        match made {
            Ok(made) => {
                let fresh = Fresh::new(&made, asked);
                fresh.epoch.admit(bytes, now);
                writer.install(&fresh);
                self.remember_own(Some(&fresh));
                Ok(fresh.epoch)
            }
            Err(error) => {
                writer.failed(&error, now);
                writer.admit(bytes, now).ok_or(error)
            }
        }
    }

    /// What this core wrote it reads back without asking.
    fn remember_own(&self, fresh: Option<&Fresh>) {
        if let Some(fresh) = fresh {
            let (epoch, keep) = (&fresh.epoch, fresh.keep);
            self.remember(&epoch.wrapped, Rc::clone(&epoch.kek), keep);
        }
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
            .await;
        let unwrapped = unwrapped.inspect_err(|e| {
            if !e.retryable() {
                self.opened.borrow_mut().remove(&wrapped.wrapped[..]);
            }
        })?;
        let kek = Rc::new(Kek::new(&unwrapped.kek));
        self.remember(&wrapped.wrapped, Rc::clone(&kek), unwrapped.keep);
        Ok(kek)
    }

    /// Forgets the KEKs for writing: after a change of keys, nothing new may be wrapped by one that is gone.
    pub(crate) fn end_epochs(&self) {
        self.writers.borrow_mut().clear();
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

#[cfg(test)]
mod tests;
