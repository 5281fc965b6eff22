//! The control plane's end of the key channel: one task that owns the keys, the cache and all calls in flight.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use sealgate_aead::Secret;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

use crate::cache::Cache;
use crate::client::{Ask, KeyClient, KeyRequest, Reply, WakeUp};
use crate::epoch::{EpochBounds, KekEpoch, UnwrappedKek};
use crate::error::KeyError;
use crate::events::KeyEvents;
use crate::policy::KeyPolicy;
use crate::provider::{GeneratedKek, Provider, RewrappedKek};

/// Longest wrapped KEK, bytes. The envelope is one metadata value of 600 characters, of which a wrapped KEK may take
/// half; AWS KMS makes about 185 bytes of 32, Vault Transit about 90.
pub const WRAPPED_MAX: usize = 256;

/// One place where a key can be asked for.
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

    fn first(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.endpoints[0].provider)
    }
}

/// All configured keys by name.
pub type Keys = BTreeMap<String, NamedKey>;

/// The health of one key.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// Its configured name.
    pub name: String,
    /// The provider's kind.
    pub provider: &'static str,
    /// What keeps it from being used, if anything.
    pub trouble: Option<KeyError>,
}

/// The service's bounds.
#[derive(Clone, Copy, Debug)]
pub struct ServiceLimits {
    /// Requests that may wait in the channel; one more is [`KeyError::Busy`]. 1024 is every connection of a busy core
    /// asking at once after a restart.
    pub queue: usize,
    /// Provider calls at a time; further requests wait in the channel.
    pub calls: usize,
    /// Requests that may wait for calls in flight; one more is [`KeyError::Busy`].
    pub waiters: usize,
    /// Time a provider may take for one call.
    pub deadline: Duration,
    /// Unwrapped KEKs kept. 4096 is about half a year of one KEK an hour.
    pub cached: usize,
    /// Time an unwrapped KEK is kept here.
    pub cache_ttl: Duration,
    /// Time a core may keep an unwrapped KEK before it asks again, [`UnwrappedKek::keep`].
    pub core_ttl: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            queue: 1024,
            calls: 64,
            waiters: 4096,
            deadline: Duration::from_secs(10),
            cached: 4096,
            cache_ttl: Duration::from_secs(3600),
            core_ttl: Duration::from_secs(600),
        }
    }
}

/// Names an unwrapped KEK: the same bytes under another name or version are another question to the provider.
#[derive(Clone, PartialEq, Eq, Hash)]
struct KekId {
    name: String,
    version: String,
    wrapped: Vec<u8>,
}

/// A call in flight and who waits for it.
enum Call {
    Generate {
        name: String,
        bounds: EpochBounds,
        reply: Reply<Arc<KekEpoch>>,
    },
    Unwrap(KekId),
    Rewrap(Reply<RewrappedKek>),
    Newest(Reply<Option<String>>),
    Status(Reply<Vec<KeyStatus>>),
}

/// What a call came to.
enum Answer {
    Generated(Result<GeneratedKek, KeyError>),
    Unwrapped(Result<Secret<32>, KeyError>),
    Rewrapped(Result<RewrappedKek, KeyError>),
    Newest(Result<Option<String>, KeyError>),
    Status(Vec<KeyStatus>),
}

/// Answers key requests until the last [`KeyClient`] is gone.
pub struct KeyService {
    keys: Keys,
    limits: ServiceLimits,
    requests: Receiver<KeyRequest>,
    wake: Arc<Notify>,
    cache: Cache<KekId, UnwrappedKek>,
    running: JoinSet<Answer>,
    calls: HashMap<Id, Call>,
    waiting: HashMap<KekId, Vec<Reply<Arc<UnwrappedKek>>>>,
    waiters: usize,
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
        let _ = events;
        let (sender, requests) = crossbeam_channel::bounded(limits.queue);
        let wake = Arc::new(Notify::new());
        let service = Self {
            keys,
            limits,
            requests,
            wake: Arc::clone(&wake),
            cache: Cache::new(limits.cached, limits.cache_ttl),
            running: JoinSet::new(),
            calls: HashMap::new(),
            waiting: HashMap::new(),
            waiters: 0,
        };
        handle.spawn(service.run());
        KeyClient {
            requests: sender,
            wake: WakeUp(wake),
        }
    }

    async fn run(mut self) {
        loop {
            while self.running.len() < self.limits.calls {
                match self.requests.try_recv() {
                    Ok(KeyRequest(ask)) => self.take(ask),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            tokio::select! {
                Some(done) = self.running.join_next_with_id() => self.finish(done),
                () = self.wake.notified() => {}
            }
        }
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
            } => {
                let id = KekId {
                    name,
                    version,
                    wrapped,
                };
                self.take_unwrap(id, reply);
            }
            Ask::Rewrap {
                name,
                version,
                wrapped,
                reply,
            } => {
                let Some(key) = self.keys.get(&name) else {
                    return answer(reply, Err(KeyError::UnknownKey { name }));
                };
                let (provider, deadline) = (key.first(), self.limits.deadline);
                let task = self.running.spawn(async move {
                    Answer::Rewrapped(within(deadline, provider.rewrap(&version, &wrapped)).await)
                });
                self.calls.insert(task.id(), Call::Rewrap(reply));
            }
            Ask::Newest { name, reply } => {
                let Some(key) = self.keys.get(&name) else {
                    return answer(reply, Err(KeyError::UnknownKey { name }));
                };
                let (provider, deadline) = (key.first(), self.limits.deadline);
                let task = self.running.spawn(async move {
                    Answer::Newest(within(deadline, provider.newest_version()).await)
                });
                self.calls.insert(task.id(), Call::Newest(reply));
            }
            Ask::Status { reply } => {
                let task = check_all(&self.keys, self.limits.deadline);
                let task = self.running.spawn(async { Answer::Status(task.await) });
                self.calls.insert(task.id(), Call::Status(reply));
            }
            Ask::Replace { keys, reply } => {
                self.cache.retain(|id| keys.contains_key(&id.name));
                self.keys = keys;
                answer(reply, Ok(()));
            }
        }
    }

    fn take_generate(&mut self, name: String, reply: Reply<Arc<KekEpoch>>) {
        let Some(key) = self.keys.get(&name) else {
            return answer(reply, Err(KeyError::UnknownKey { name }));
        };
        let (provider, bounds) = (key.first(), key.bounds);
        let deadline = self.limits.deadline;
        let task = self.running.spawn(async move {
            Answer::Generated(within(deadline, provider.generate()).await.and_then(fits))
        });
        let call = Call::Generate {
            name,
            bounds,
            reply,
        };
        self.calls.insert(task.id(), call);
    }

    fn take_unwrap(&mut self, id: KekId, reply: Reply<Arc<UnwrappedKek>>) {
        let Some(key) = self.keys.get(&id.name) else {
            return answer(reply, Err(KeyError::UnknownKey { name: id.name }));
        };
        if let Some(kek) = self.cache.get(&id, Instant::now()) {
            return answer(reply, Ok(kek));
        }
        if self.waiters >= self.limits.waiters {
            return answer(reply, Err(KeyError::Busy));
        }
        self.waiters += 1;
        if let Some(waiting) = self.waiting.get_mut(&id) {
            return waiting.push(reply);
        }
        self.waiting.insert(id.clone(), vec![reply]);
        let provider = key.first();
        let (deadline, asked) = (self.limits.deadline, id.clone());
        let task = self.running.spawn(async move {
            let call = provider.unwrap(&asked.version, &asked.wrapped);
            Answer::Unwrapped(within(deadline, call).await)
        });
        self.calls.insert(task.id(), Call::Unwrap(id));
    }

    /// Hands a call's outcome to all who wait for it.
    fn finish(&mut self, done: Result<(Id, Answer), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, answer)) => (id, Ok(answer)),
            Err(e) => (e.id(), Err(broken())),
        };
        match (self.calls.remove(&id), outcome) {
            (
                Some(Call::Generate {
                    name,
                    bounds,
                    reply,
                }),
                outcome,
            ) => {
                let generated = match outcome {
                    Ok(Answer::Generated(generated)) => generated,
                    Ok(_) => Err(broken()),
                    Err(e) => Err(e),
                };
                answer(reply, generated.map(|g| self.epoch(name, bounds, g)));
            }
            (Some(Call::Unwrap(id)), outcome) => {
                let unwrapped = match outcome {
                    Ok(Answer::Unwrapped(unwrapped)) => unwrapped,
                    Ok(_) => Err(broken()),
                    Err(e) => Err(e),
                };
                self.unwrapped(id, unwrapped);
            }
            (Some(Call::Rewrap(reply)), outcome) => answer(
                reply,
                outcome.and_then(|a| match a {
                    Answer::Rewrapped(rewrapped) => rewrapped,
                    _ => Err(broken()),
                }),
            ),
            (Some(Call::Newest(reply)), outcome) => answer(
                reply,
                outcome.and_then(|a| match a {
                    Answer::Newest(version) => version,
                    _ => Err(broken()),
                }),
            ),
            (Some(Call::Status(reply)), outcome) => answer(
                reply,
                outcome.and_then(|a| match a {
                    Answer::Status(all) => Ok(all),
                    _ => Err(broken()),
                }),
            ),
            (None, _) => {}
        }
    }

    /// A new epoch. Its KEK goes to the cache as well: what was just written is often read next, by any core.
    fn epoch(&mut self, name: String, bounds: EpochBounds, made: GeneratedKek) -> Arc<KekEpoch> {
        let id = KekId {
            name: name.clone(),
            version: made.version.clone(),
            wrapped: made.wrapped.clone(),
        };
        let readable = UnwrappedKek {
            kek: made.kek.duplicate(),
            keep: self.limits.core_ttl,
        };
        self.cache.insert(id, Arc::new(readable), Instant::now());
        Arc::new(KekEpoch {
            kek: made.kek,
            wrapped: made.wrapped,
            key_name: name,
            key_version: made.version,
            bounds,
        })
    }

    fn unwrapped(&mut self, id: KekId, outcome: Result<Secret<32>, KeyError>) {
        let waiting = self.waiting.remove(&id).unwrap_or_default();
        self.waiters -= waiting.len();
        let outcome = outcome.map(|kek| {
            let keep = self.limits.core_ttl;
            Arc::new(UnwrappedKek { kek, keep })
        });
        match &outcome {
            // A key may have been taken out of the configuration while the call ran.
            Ok(kek) if self.keys.contains_key(&id.name) => {
                self.cache.insert(id, Arc::clone(kek), Instant::now());
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(key = %id.name, version = %id.version, kind = error.kind(), %error, "cannot unwrap a key")
            }
        }
        for reply in waiting {
            answer(reply, outcome.clone());
        }
    }
}

/// Replies; nobody may be waiting any more.
fn answer<T>(reply: Reply<T>, outcome: Result<T, KeyError>) {
    let _ = reply.send(outcome);
}

/// Runs a provider's call under the deadline.
async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, KeyError>>,
) -> Result<T, KeyError> {
    let late = || KeyError::Unavailable {
        reason: format!("no answer within {} s", deadline.as_secs_f32()),
        retry_after: deadline,
    };
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Refuses a wrapped KEK for which the envelope has no room, before anything is sealed under it.
fn fits(made: GeneratedKek) -> Result<GeneratedKek, KeyError> {
    if made.wrapped.len() <= WRAPPED_MAX {
        return Ok(made);
    }
    Err(KeyError::Invalid(format!(
        "the provider made {} bytes of wrapped key, the envelope has room for {WRAPPED_MAX}",
        made.wrapped.len()
    )))
}

/// A provider's task ended without an answer.
fn broken() -> KeyError {
    KeyError::Unavailable {
        reason: "the provider broke off (a fault in Sealgate: see the log)".into(),
        retry_after: Duration::from_secs(5),
    }
}

/// Whether a key wraps and unwraps.
async fn canary(provider: &dyn Provider) -> Result<(), KeyError> {
    let made = provider.generate().await?;
    provider
        .unwrap(&made.version, &made.wrapped)
        .await
        .map(drop)
}

/// Asks every provider for its health at the same time.
fn check_all(
    keys: &Keys,
    deadline: Duration,
) -> impl Future<Output = Vec<KeyStatus>> + Send + use<> {
    let asked: Vec<_> = keys
        .iter()
        .map(|(name, key)| (name.clone(), key.first()))
        .collect();
    async move {
        let mut calls = JoinSet::new();
        for (name, provider) in asked {
            calls.spawn(async move {
                let trouble = within(deadline, canary(&*provider)).await.err();
                KeyStatus {
                    name,
                    provider: provider.kind(),
                    trouble,
                }
            });
        }
        let mut all = calls.join_all().await;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[cfg(test)]
mod tests;
