//! The audit log: a JSON line for each use of a key, written by a thread of its own (docs/audit-log.md).
//!
//! Recording never waits. Whatever could not be recorded is counted, and the next thing that the writer writes says how
//! many; every line has a number, so that a line taken out later shows as well.

mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use time::OffsetDateTime;

pub use writer::{AuditFile, AuditOutput, AuditStdout, AuditWriter};

/// Events that may wait for the writer. With names of ordinary length these are about 8 MiB.
const QUEUE: usize = 16_384;

/// What was done with which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditKind {
    /// A KEK was made: an epoch of a core.
    KekGenerate,
    /// A KEK was unwrapped.
    KekUnwrap,
    /// A KEK was wrapped anew with the newest version of its key.
    KekRewrap,
    /// The health check unwrapped its canary.
    KekCanary,
    /// A KEK was unwrapped right after it was wrapped.
    KekVerify,
    /// An object's DEK was wrapped for storing.
    DekWrap,
    /// An object's DEK was unwrapped from its envelope.
    DekUnwrap,
}

impl AuditKind {
    /// The name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KekGenerate => "kek_generate",
            Self::KekUnwrap => "kek_unwrap",
            Self::KekRewrap => "kek_rewrap",
            Self::KekCanary => "kek_canary",
            Self::KekVerify => "kek_verify",
            Self::DekWrap => "dek_wrap",
            Self::DekUnwrap => "dek_unwrap",
        }
    }
}

/// One use of a key. It holds names, never a key.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// What was done.
    pub kind: AuditKind,
    /// `ok`, or a short fixed name of what went wrong.
    pub outcome: &'static str,
    /// The key's name in the configuration.
    pub key: String,
    /// Its version; empty when it is not known.
    pub key_version: String,
    /// The wrapped KEK; the log has the beginning of its SHA-256.
    pub wrapped_kek: Vec<u8>,
    /// For whom, where it was for a request.
    pub request: Option<AuditRequest>,
    /// Who answered, where a key service was asked.
    pub answer: Option<AuditAnswer>,
}

/// The request that a key was used for.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    /// Its id, as the client and the access log see it.
    pub id: String,
    /// Who sent it.
    pub access_key: String,
    /// S3 operation.
    pub operation: &'static str,
    /// Bucket of the object that the DEK is of: of a copy's source, when that was unwrapped.
    pub bucket: String,
    /// Its key.
    pub object: String,
}

/// Who did something with a KEK.
#[derive(Clone, Debug)]
pub struct AuditAnswer {
    /// The provider's kind, `cache` or `offline_grace`.
    pub source: &'static str,
    /// The provider's endpoint; empty for the caches.
    pub endpoint: String,
    /// How long it took.
    pub duration: Duration,
}

/// What happens to a use of a key that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It goes on; the record is lost, counted and told of.
    Drop,
    /// The request is refused.
    Fail,
}

/// The queue is full, and the log is one that must have everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditFull;

impl fmt::Display for AuditFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the audit log cannot keep up")
    }
}

impl std::error::Error for AuditFull {}

/// What the log tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Events written.
    pub written: u64,
    /// Events lost.
    pub lost: u64,
    /// The last attempt to write failed.
    pub failing: bool,
}

#[derive(Debug, Default)]
struct State {
    written: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
    reopen: AtomicBool,
    closing: AtomicBool,
}

type Queued = (OffsetDateTime, AuditEvent);

/// The recording end. Cheap to clone, one per core.
#[derive(Clone, Debug)]
pub struct AuditLog {
    events: Option<Sender<Queued>>,
    overflow: Overflow,
    state: Arc<State>,
}

/// A log and its writer.
#[must_use]
pub fn audit_log<O: AuditOutput>(overflow: Overflow, output: O) -> (AuditLog, AuditWriter<O>) {
    with_queue(QUEUE, overflow, output)
}

fn with_queue<O: AuditOutput>(
    queue: usize,
    overflow: Overflow,
    output: O,
) -> (AuditLog, AuditWriter<O>) {
    let (sender, receiver): (_, Receiver<Queued>) = bounded(queue);
    let state = Arc::new(State::default());
    let log = AuditLog {
        events: Some(sender),
        overflow,
        state: Arc::clone(&state),
    };
    (log, AuditWriter::new(receiver, state, output))
}

impl AuditLog {
    /// A log that keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self {
            events: None,
            overflow: Overflow::Drop,
            state: Arc::default(),
        }
    }

    /// Whether anything is kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.events.is_some()
    }

    /// Hands an event to the writer; makes none when the log is off.
    ///
    /// # Errors
    /// [`AuditFull`] when it is lost and the log is one that must have everything. Whoever used the key must then let
    /// go of what it opened.
    #[inline]
    pub fn record(&self, event: impl FnOnce() -> AuditEvent) -> Result<(), AuditFull> {
        let Some(events) = &self.events else {
            return Ok(());
        };
        let lost = match events.try_send((OffsetDateTime::now_utc(), event())) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => &self.state.lost,
        };
        lost.fetch_add(1, Ordering::Relaxed);
        match self.overflow {
            Overflow::Drop => Ok(()),
            Overflow::Fail => Err(AuditFull),
        }
    }

    /// Has the writer open its file anew, before it writes anything more: after a rotation.
    pub fn reopen(&self) {
        self.state.reopen.store(true, Ordering::Release);
    }

    /// Tells the writer that the process ends: it then no longer waits for an output that cannot be written.
    pub fn close(&self) {
        self.state.closing.store(true, Ordering::Release);
    }

    /// What became of the events so far.
    #[must_use]
    pub fn counts(&self) -> AuditCounts {
        AuditCounts {
            written: self.state.written.load(Ordering::Relaxed),
            lost: self.state.lost.load(Ordering::Relaxed),
            failing: self.state.failing.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
