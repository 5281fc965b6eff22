//! The control plane's end of the key channel: one task that owns the keys, their caches and all calls in flight.

mod breaker;
mod call;
mod canary;
mod pace;
mod slot;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::client::{Ask, KeyClient, KeyRequest, Reply, WakeUp};
use crate::epoch::{EpochBounds, KekEpoch, UnwrappedKek};
use crate::error::KeyError;
use crate::events::KeyEvents;
use crate::policy::KeyPolicy;
use crate::provider::{GeneratedKek, Provider, RewrappedKek};
use crate::stats::Registry;
use call::{Caller, Found, Question};
use canary::Checked;
use slot::{KekId, Known, Slot};
pub use status::KeyStatus;

/// Longest wrapped KEK, bytes. The envelope is one metadata value of 600 characters, of which a wrapped KEK may take
/// half; AWS KMS makes about 185 bytes of 32, Vault Transit about 90.
pub const WRAPPED_MAX: usize = 256;

/// How often caches are swept of what is too old.
const SWEEP: Duration = Duration::from_secs(15);

/// One place where a key can be asked for.
#[derive(Clone)]
pub struct Endpoint {
    /// What metrics and logs call it: a host or a region, never a secret or a key id. `local` where there is no other.
    pub label: String,
    /// The key at this place.
    pub provider: Arc<dyn Provider>,
}

/// One configured key.
pub struct NamedKey {
    /// Where it is, in the order of preference; at least one. All hold the same key: what one wraps, each unwraps.
    pub endpoints: Vec<Endpoint>,
    /// What each KEK made with it may be used for.
    pub bounds: EpochBounds,
    /// How failures are met, and what is kept for how long.
    pub policy: KeyPolicy,
    /// Whether new objects are sealed with it; otherwise it is kept to read old ones.
    pub writes: bool,
}

impl NamedKey {
    /// A key at one place, with the default bounds and policy.
    #[must_use]
    pub fn at(label: &str, provider: Arc<dyn Provider>) -> Self {
        Self {
            endpoints: vec![Endpoint {
                label: label.to_owned(),
                provider,
            }],
            bounds: EpochBounds::DEFAULT,
            policy: KeyPolicy::default(),
            writes: true,
        }
    }
}

/// All configured keys by name.
pub type Keys = BTreeMap<String, NamedKey>;

/// The service's bounds.
#[derive(Clone, Copy, Debug)]
pub struct ServiceLimits {
    /// Requests that may wait in the channel; one more is [`KeyError::Busy`]. 1024 is every connection of a busy core
    /// asking at once after a restart.
    pub queue: usize,
    /// Requests that may wait for calls in flight, for each key; one more is [`KeyError::Busy`]. Keys do not share it:
    /// one whose provider hangs does not keep others waiting.
    pub waiters: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            queue: 1024,
            waiters: 4096,
        }
    }
}

/// A call in flight and who waits for it. Waiters of an unwrap are in [`KeyService::waiting`].
enum Call {
    Generate {
        name: String,
        reply: Reply<Arc<KekEpoch>>,
    },
    Unwrap(FlightId),
    Rewrap(String, Reply<RewrappedKek>),
    Newest(String, Reply<Option<String>>),
    Check(String),
    Status(Reply<Vec<KeyStatus>>),
}

/// What a call came to.
enum Answer {
    Found(Result<Found, KeyError>),
    Checked(Checked),
    Status(Vec<KeyStatus>),
}

/// An unwrap in flight: key and KEK.
type FlightId = (String, KekId);

/// Answers key requests until the last [`KeyClient`] is gone.
pub struct KeyService {
    slots: BTreeMap<String, Slot>,
    endpoints: BTreeMap<String, Vec<Endpoint>>,
    limits: ServiceLimits,
    events: Option<Arc<dyn KeyEvents>>,
    registry: Arc<Registry>,
    requests: Receiver<KeyRequest>,
    wake: Arc<Notify>,
    running: JoinSet<Answer>,
    calls: HashMap<Id, Call>,
    /// Who waits for an unwrap; nobody, for one that refreshes the cache.
    waiting: HashMap<FlightId, Vec<Reply<Arc<UnwrappedKek>>>>,
    next_sweep: Instant,
}

impl KeyService {
    /// Starts the service on a tokio runtime.
    #[must_use]
    pub fn start(keys: Keys, handle: &Handle) -> KeyClient {
        Self::start_with(keys, ServiceLimits::default(), None, handle)
    }

    /// Starts the service with other bounds, and somebody who is told of every use of a key.
    #[must_use]
    pub fn start_with(
        keys: Keys,
        limits: ServiceLimits,
        events: Option<Arc<dyn KeyEvents>>,
        handle: &Handle,
    ) -> KeyClient {
        let (sender, requests) = crossbeam_channel::bounded(limits.queue);
        let wake = Arc::new(Notify::new());
        let registry = Arc::<Registry>::default();
        let mut service = Self {
            slots: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            limits,
            events,
            registry: Arc::clone(&registry),
            requests,
            wake: Arc::clone(&wake),
            running: JoinSet::new(),
            calls: HashMap::new(),
            waiting: HashMap::new(),
            next_sweep: Instant::now() + SWEEP,
        };
        service.replace(keys);
        handle.spawn(service.run());
        KeyClient {
            requests: sender,
            wake: WakeUp(wake),
            registry,
        }
    }

    async fn run(mut self) {
        loop {
            loop {
                match self.requests.try_recv() {
                    Ok(KeyRequest(ask)) => self.take(ask),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let next = self.start_checks();
            tokio::select! {
                Some(done) = self.running.join_next_with_id() => self.finish(done),
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(next) => self.sweep(),
            }
        }
    }

    /// Starts the health checks that are due; when to look again.
    fn start_checks(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = self.next_sweep;
        for (name, slot) in &mut self.slots {
            if slot.schedule.running {
                continue;
            }
            if slot.schedule.next > now {
                next = next.min(slot.schedule.next);
                continue;
            }
            slot.schedule.running = true;
            let generate = slot
                .schedule
                .wants_generate(slot.writes, slot.writes_well());
            // Another may have to make do with none while this is away: a borrowed one comes with the next read.
            let check = canary::check(
                Arc::clone(&slot.caller),
                slot.schedule.canary.take(),
                generate,
            );
            let task = self.running.spawn(async { Answer::Checked(check.await) });
            self.calls.insert(task.id(), Call::Check(name.clone()));
        }
        next
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        self.slots.values_mut().for_each(Slot::sweep);
    }

    /// Answers a request from what is here, or starts the call that will.
    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Generate { name, reply } => self.take_generate(name, reply),
            Ask::Unwrap {
                name,
                version,
                wrapped,
                reply,
            } => self.take_unwrap(name, KekId { version, wrapped }, reply),
            Ask::Rewrap {
                name,
                version,
                wrapped,
                reply,
            } => {
                let ask = |caller: Arc<Caller>| caller.rewrapped(version, wrapped);
                self.take_call(name, reply, Call::Rewrap, ask);
            }
            Ask::Newest { name, reply } => {
                let ask = |caller: Arc<Caller>| {
                    let patience = caller.patience();
                    caller.ask(Question::Newest, patience)
                };
                self.take_call(name, reply, Call::Newest, ask);
            }
            Ask::Status { reply } => {
                let task = status::ask_all(&self.endpoints, &self.slots);
                let task = self.running.spawn(async { Answer::Status(task.await) });
                self.calls.insert(task.id(), Call::Status(reply));
            }
            Ask::Replace { keys, reply } => {
                self.replace(keys);
                answer(reply, Ok(()));
            }
        }
    }

    /// Takes other keys over; those that stay keep what was unwrapped.
    fn replace(&mut self, keys: Keys) {
        let mut old = std::mem::take(&mut self.slots);
        self.endpoints.clear();
        for (name, key) in keys {
            let stats = self.registry.key(&name);
            let caller = Caller::new(
                &name,
                &key.endpoints,
                &key.policy,
                stats,
                self.events.clone(),
            );
            let mut slot = Slot::new(Arc::new(caller), key.bounds, key.writes);
            if let Some(old) = old.remove(&name) {
                slot.inherit(old);
            }
            self.endpoints.insert(name.clone(), key.endpoints);
            self.slots.insert(name, slot);
        }
        old.into_values().for_each(Slot::retire);
    }

    /// The key, if it is configured and not too many wait for it.
    fn slot<T>(&mut self, name: &str, reply: Reply<T>) -> Option<(&mut Slot, Reply<T>)> {
        let Some(slot) = self.slots.get_mut(name) else {
            let name = name.to_owned();
            answer(reply, Err(KeyError::UnknownKey { name }));
            return None;
        };
        if slot.waiting >= self.limits.waiters {
            answer(reply, Err(KeyError::Busy));
            return None;
        }
        Some((slot, reply))
    }

    fn take_generate(&mut self, name: String, reply: Reply<Arc<KekEpoch>>) {
        if let Some(error) = self.slots.get(&name).and_then(Slot::no_new_kek) {
            return answer(reply, Err(error));
        }
        let call = |name, reply| Call::Generate { name, reply };
        self.take_call(name, reply, call, Caller::new_kek);
    }

    /// Starts a call whose answer is for one alone.
    fn take_call<T, F>(
        &mut self,
        name: String,
        reply: Reply<T>,
        call: impl FnOnce(String, Reply<T>) -> Call,
        ask: impl FnOnce(Arc<Caller>) -> F,
    ) where
        F: Future<Output = Result<Found, KeyError>> + Send + 'static,
    {
        let Some((slot, reply)) = self.slot(&name, reply) else {
            return;
        };
        slot.waiting += 1;
        let asked = ask(Arc::clone(&slot.caller));
        let task = self.running.spawn(async { Answer::Found(asked.await) });
        self.calls.insert(task.id(), call(name, reply));
    }

    fn take_unwrap(&mut self, name: String, id: KekId, reply: Reply<Arc<UnwrappedKek>>) {
        let Some((slot, reply)) = self.slot(&name, reply) else {
            return;
        };
        let caller = Arc::clone(&slot.caller);
        let (reply, patience) = match slot.look_up(&id) {
            Known::Yes(kek) => return answer(reply, Ok(kek)),
            Known::No(error) => return answer(reply, Err(error)),
            Known::Refresh(kek) => {
                answer(reply, Ok(kek));
                (None, caller.patience())
            }
            Known::Perhaps => (Some(reply), caller.impatience()),
            Known::Nothing => (Some(reply), caller.patience()),
        };
        slot.waiting += usize::from(reply.is_some());
        let flight = (name, id);
        if let Some(waiting) = self.waiting.get_mut(&flight) {
            return waiting.extend(reply);
        }
        if reply.is_none() {
            caller.stats.refreshes.fetch_add(1, Relaxed);
        }
        let question = Question::Unwrap {
            version: flight.1.version.clone(),
            wrapped: flight.1.wrapped.clone(),
        };
        self.waiting
            .insert(flight.clone(), reply.into_iter().collect());
        let asked = caller.ask(question, patience);
        let task = self.running.spawn(async { Answer::Found(asked.await) });
        self.calls.insert(task.id(), Call::Unwrap(flight));
    }

    /// Hands a call's outcome to all who wait for it.
    fn finish(&mut self, done: Result<(Id, Answer), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, answer)) => (id, Ok(answer)),
            Err(e) => (e.id(), Err(broken())),
        };
        let found = |outcome| match outcome {
            Ok(Answer::Found(found)) => found,
            Ok(_) => Err(broken()),
            Err(e) => Err(e),
        };
        match self.calls.remove(&id) {
            Some(Call::Generate { name, reply }) => {
                self.waited(&name, 1);
                let made = found(outcome).and_then(|found| match found {
                    Found::Generated(made) => Ok(made),
                    _ => Err(broken()),
                });
                answer(reply, self.generated(name, made));
            }
            Some(Call::Unwrap(flight)) => self.unwrapped(flight, found(outcome)),
            Some(Call::Rewrap(name, reply)) => {
                self.waited(&name, 1);
                let made = found(outcome).and_then(|found| match found {
                    Found::Rewrapped(made) => Ok(made),
                    _ => Err(broken()),
                });
                answer(reply, made);
            }
            Some(Call::Newest(name, reply)) => {
                self.waited(&name, 1);
                let version = found(outcome).and_then(|found| match found {
                    Found::Newest(version) => Ok(version),
                    _ => Err(broken()),
                });
                answer(reply, version);
            }
            Some(Call::Check(name)) => {
                let checked = match outcome {
                    Ok(Answer::Checked(checked)) => checked,
                    _ => Checked {
                        read: Err(broken()),
                        write: None,
                        canary: None,
                        refused: false,
                    },
                };
                if let Some(slot) = self.slots.get_mut(&name) {
                    slot.checked(checked);
                }
            }
            Some(Call::Status(reply)) => answer(
                reply,
                match outcome {
                    Ok(Answer::Status(all)) => Ok(all),
                    _ => Err(broken()),
                },
            ),
            None => {}
        }
    }

    /// So many no longer wait for a key.
    fn waited(&mut self, name: &str, number: usize) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.waiting = slot.waiting.saturating_sub(number);
        }
    }

    /// A new epoch. Its KEK goes to the cache as well: what was just written is often read next, by any core.
    fn generated(
        &mut self,
        name: String,
        made: Result<GeneratedKek, KeyError>,
    ) -> Result<Arc<KekEpoch>, KeyError> {
        let Some(slot) = self.slots.get_mut(&name) else {
            return Err(KeyError::UnknownKey { name });
        };
        slot.generated(made.as_ref().map(drop).map_err(KeyError::clone));
        let made = made?;
        let id = KekId {
            version: made.version.clone(),
            wrapped: made.wrapped.clone(),
        };
        let readable = slot.keep(id, Arc::new(made.kek.duplicate()));
        let (bounds, grace) = (slot.bounds, slot.caller.policy.grace_writes);
        Ok(Arc::new(KekEpoch {
            kek: made.kek,
            wrapped: made.wrapped,
            key_name: name,
            key_version: made.version,
            bounds,
            grace,
            keep: readable.keep,
            lease: slot.caller.stats.lease(bounds, grace),
        }))
    }

    fn unwrapped(&mut self, flight: FlightId, outcome: Result<Found, KeyError>) {
        let waiting = self.waiting.remove(&flight).unwrap_or_default();
        self.waited(&flight.0, waiting.len());
        let (name, id) = flight;
        let kek = outcome.and_then(|found| match found {
            Found::Unwrapped(kek) => Ok(Arc::new(kek)),
            _ => Err(broken()),
        });
        let answered = match (self.slots.get_mut(&name), kek) {
            (Some(slot), Ok(kek)) => Ok(slot.keep(id, kek)),
            (Some(slot), Err(error)) => {
                slot.failed(id.clone(), &error);
                match error.retryable() && !waiting.is_empty() {
                    true => slot.by_grace(&id).ok_or(error),
                    false => Err(error),
                }
            }
            // The key was taken out of the configuration while the call ran.
            (None, _) => Err(KeyError::UnknownKey { name }),
        };
        for reply in waiting {
            answer(reply, answered.clone());
        }
    }
}

/// Replies; nobody may be waiting any more.
fn answer<T>(reply: Reply<T>, outcome: Result<T, KeyError>) {
    let _ = reply.send(outcome);
}

/// A provider's task ended without an answer.
fn broken() -> KeyError {
    KeyError::Unavailable {
        reason: "the provider broke off (a fault in Sealgate: see the log)".into(),
        retry_after: Duration::from_secs(5),
    }
}

#[cfg(test)]
mod tests;
