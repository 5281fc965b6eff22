//! The data plane's end of the key channel.

use std::future::Future;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};
use futures_channel::oneshot;
use tokio::sync::Notify;

use crate::epoch::{KekEpoch, UnwrappedKek};
use crate::error::KeyError;
use crate::health::KeyHealth;
use crate::provider::RewrappedKek;
use crate::service::{KeyStatus, Keys};
use crate::stats::{KeyReport, Registry};

/// One request as it crosses to the control plane.
pub struct KeyRequest(pub(crate) Ask);

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, KeyError>>;

/// What is asked.
pub(crate) enum Ask {
    /// A new KEK of a named key.
    Generate {
        name: String,
        reply: Reply<Arc<KekEpoch>>,
    },
    /// An object's KEK.
    Unwrap {
        name: String,
        version: String,
        wrapped: Vec<u8>,
        reply: Reply<Arc<UnwrappedKek>>,
    },
    /// An object's KEK under the newest version of its key.
    Rewrap {
        name: String,
        version: String,
        wrapped: Vec<u8>,
        reply: Reply<RewrappedKek>,
    },
    /// The version that new KEKs are wrapped with.
    Newest {
        name: String,
        reply: Reply<Option<String>>,
    },
    /// The state of every key.
    Status { reply: Reply<Vec<KeyStatus>> },
    /// Other keys from now on (a reloaded configuration).
    Replace { keys: Keys, reply: Reply<()> },
}

/// Asks the key service. Cheap to clone, one per core; its futures run on any runtime.
#[derive(Clone)]
pub struct KeyClient {
    // Dropped before `wake`, whose drop lets the service see that nobody can ask any more.
    pub(crate) requests: Sender<KeyRequest>,
    pub(crate) wake: WakeUp,
    pub(crate) registry: Arc<Registry>,
}

/// Wakes the service's task from any thread, also when the last client goes.
#[derive(Clone)]
pub(crate) struct WakeUp(pub(crate) Arc<Notify>);

impl Drop for WakeUp {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl KeyClient {
    /// A new KEK of the named key, wrapped and bounded: the caller's alone, shared with no other core.
    ///
    /// # Errors
    /// See [`KeyError`]; [`KeyError::Busy`] at once when the queue is full.
    pub fn generate(
        &self,
        key_name: &str,
    ) -> impl Future<Output = Result<Arc<KekEpoch>, KeyError>> + Send + use<> + 'static {
        let name = key_name.to_owned();
        self.ask(|reply| Ask::Generate { name, reply })
    }

    /// The KEK that `wrapped` holds, from the service's cache or the provider.
    ///
    /// # Errors
    /// See [`KeyError`]; [`KeyError::Busy`] at once when the queue is full.
    pub fn unwrap(
        &self,
        key_name: &str,
        key_version: &str,
        wrapped: &[u8],
    ) -> impl Future<Output = Result<Arc<UnwrappedKek>, KeyError>> + Send + use<> + 'static {
        let (name, version, wrapped) = (
            key_name.to_owned(),
            key_version.to_owned(),
            wrapped.to_vec(),
        );
        self.ask(|reply| Ask::Unwrap {
            name,
            version,
            wrapped,
            reply,
        })
    }

    /// The KEK that `wrapped` holds, wrapped with the newest version of the same key. Never answered from a cache.
    ///
    /// # Errors
    /// See [`KeyError`]; [`KeyError::Busy`] at once when the queue is full.
    pub fn rewrap(
        &self,
        key_name: &str,
        key_version: &str,
        wrapped: &[u8],
    ) -> impl Future<Output = Result<RewrappedKek, KeyError>> + Send + use<> + 'static {
        let (name, version, wrapped) = (
            key_name.to_owned(),
            key_version.to_owned(),
            wrapped.to_vec(),
        );
        self.ask(|reply| Ask::Rewrap {
            name,
            version,
            wrapped,
            reply,
        })
    }

    /// The version of the key that new KEKs are wrapped with; `None` where its provider keeps that to itself.
    ///
    /// # Errors
    /// See [`KeyError`]; [`KeyError::Busy`] at once when the queue is full.
    pub fn newest_version(
        &self,
        key_name: &str,
    ) -> impl Future<Output = Result<Option<String>, KeyError>> + Send + use<> + 'static {
        let name = key_name.to_owned();
        self.ask(|reply| Ask::Newest { name, reply })
    }

    /// What the last check found of every configured key, in the order of their names. Asks nobody: for readiness.
    #[must_use]
    pub fn health(&self) -> Vec<KeyHealth> {
        self.registry.health()
    }

    /// The numbers of every key that was ever configured. Asks nobody: for metrics.
    #[must_use]
    pub fn report(&self) -> Vec<KeyReport> {
        self.registry.report()
    }

    /// The state of every configured key, in the order of their names. Asks every endpoint now.
    ///
    /// # Errors
    /// [`KeyError::Busy`] or [`KeyError::Unavailable`] when the service does not answer.
    pub fn status(
        &self,
    ) -> impl Future<Output = Result<Vec<KeyStatus>, KeyError>> + Send + use<> + 'static {
        self.ask(|reply| Ask::Status { reply })
    }

    /// Swaps the configured keys; cached KEKs of keys that stay are kept.
    ///
    /// # Errors
    /// [`KeyError::Busy`] or [`KeyError::Unavailable`] when the service does not answer.
    pub fn replace(
        &self,
        keys: Keys,
    ) -> impl Future<Output = Result<(), KeyError>> + Send + use<> + 'static {
        self.ask(|reply| Ask::Replace { keys, reply })
    }

    /// Queues a request now and waits for its answer later.
    fn ask<T: Send + 'static, F: FnOnce(Reply<T>) -> Ask>(
        &self,
        ask: F,
    ) -> impl Future<Output = Result<T, KeyError>> + Send + use<T, F> {
        let (reply, answer) = oneshot::channel();
        let queued = match self.requests.try_send(KeyRequest(ask(reply))) {
            Ok(()) => {
                // A stored permit, so a service that is just about to sleep wakes all the same.
                self.wake.0.notify_one();
                Ok(answer)
            }
            Err(TrySendError::Full(_)) => Err(KeyError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(stopped()),
        };
        async move { queued?.await.unwrap_or_else(|_| Err(stopped())) }
    }
}

/// The service is gone: the process is ending.
pub(crate) fn stopped() -> KeyError {
    KeyError::Unavailable {
        reason: "the key service has stopped".into(),
        retry_after: std::time::Duration::from_secs(5),
    }
}
