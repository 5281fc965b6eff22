//! The health of a key: a canary, unwrapped now and then, tells whether reads work; making one tells whether writes do.

use std::sync::Arc;
use std::time::Duration;

use sealgate_aead::Secret;
use tokio::time::Instant;

use super::broken;
use super::call::{Caller, Found, Question, another_kek, not_opened};
use crate::error::KeyError;

/// Checks of reading that go by before making a KEK is tried again, when no core asks for one meanwhile.
const CHECKS_PER_GENERATE: u32 = 10;

/// A wrapped KEK that nothing is sealed with.
pub(super) struct Canary {
    pub(super) version: String,
    pub(super) wrapped: Vec<u8>,
    /// What it has to unwrap to; not known of a KEK that a read brought.
    kek: Option<Secret<32>>,
}

/// What one check came to.
pub(super) struct Checked {
    pub(super) read: Result<(), KeyError>,
    /// `None` when making a KEK was not tried.
    pub(super) write: Option<Result<(), KeyError>>,
    pub(super) canary: Option<Canary>,
    /// The canary was refused: whatever was unwrapped earlier may be refused as well now.
    pub(super) refused: bool,
}

/// When and with what the next check runs.
pub(super) struct Schedule {
    pub(super) canary: Option<Canary>,
    pub(super) next: Instant,
    pub(super) running: bool,
    /// Checks until making a KEK is tried.
    until_generate: u32,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            canary: None,
            next: now,
            running: false,
            until_generate: 0,
        }
    }

    /// Whether this check should make a KEK as well; counts the check.
    pub(super) fn wants_generate(&mut self, writes: bool, write_is_well: bool) -> bool {
        if !writes {
            return self.canary.is_none();
        }
        let due = !write_is_well || self.canary.is_none() || self.until_generate == 0;
        self.until_generate = match due {
            true => CHECKS_PER_GENERATE,
            false => self.until_generate - 1,
        };
        due
    }

    /// A core has just been given a KEK: that is as good as a check.
    pub(super) fn generated(&mut self) {
        self.until_generate = CHECKS_PER_GENERATE;
    }
}

impl Canary {
    /// A KEK that a read brought, for a key that does not let us make one.
    pub(super) fn borrowed(version: &str, wrapped: &[u8]) -> Self {
        Self {
            version: version.to_owned(),
            wrapped: wrapped.to_vec(),
            kek: None,
        }
    }
}

/// Runs one check.
pub(super) async fn check(
    caller: Arc<Caller>,
    mut canary: Option<Canary>,
    generate: bool,
) -> Checked {
    let (mut write, mut fresh) = (None, None);
    if generate {
        let (made, outcome) = make(&caller).await;
        (write, fresh) = (Some(outcome), made);
    }
    // The old canary first: it stands for the objects that are there.
    let mut read = match &canary {
        Some(known) => sing(&caller, known).await,
        None => match &fresh {
            Some((_, opened)) => opened.clone(),
            // Nothing to unwrap, and nothing wrong if only making is not allowed: a key that is kept for old objects.
            None => match &write {
                Some(Err(e)) if e.retryable() => Err(e.clone()),
                _ => Ok(()),
            },
        },
    };
    let refused = read.as_ref().is_err_and(|e| !e.retryable());
    if refused && canary.is_some() {
        // An old version may have been given up on purpose; the key is well if it opens what it makes today.
        if fresh.is_none() {
            fresh = make(&caller).await.0;
        }
        if let Some((_, opened)) = &fresh {
            read = opened.clone();
        }
    }
    if let Some((made, Ok(()))) = fresh
        && read.is_ok()
    {
        canary = Some(made);
    }
    Checked {
        read,
        write,
        canary,
        refused,
    }
}

/// A canary, and what came of unwrapping it.
type Tried = (Canary, Result<(), KeyError>);

/// Makes a canary, and tells whether a core could be given a KEK: whether one can be made, and opened again.
async fn make(caller: &Arc<Caller>) -> (Option<Tried>, Result<(), KeyError>) {
    let asked = Arc::clone(caller).ask(Question::Generate, caller.patience());
    let made = match asked.await {
        Ok(Found::Generated(made)) => made,
        Ok(_) => return (None, Err(broken())),
        Err(e) => return (None, Err(e)),
    };
    let made = Canary {
        version: made.version,
        wrapped: made.wrapped,
        kek: Some(made.kek),
    };
    let opened = sing(caller, &made).await;
    let outcome = opened.clone().map_err(not_opened);
    (Some((made, opened)), outcome)
}

async fn sing(caller: &Arc<Caller>, canary: &Canary) -> Result<(), KeyError> {
    let question = Question::Canary {
        version: canary.version.clone(),
        wrapped: canary.wrapped.clone(),
    };
    let found = Arc::clone(caller).ask(question, caller.patience()).await?;
    match (found, &canary.kek) {
        (Found::Unwrapped(kek), Some(expected)) if !kek.same_as(expected) => Err(another_kek()),
        (Found::Unwrapped(_), _) => Ok(()),
        _ => Err(broken()),
    }
}

/// When to check again: soon while it is ill, for requests wait for it to be well.
pub(super) fn pause(caller: &Caller, well: bool) -> Duration {
    let policy = &caller.policy;
    let whole = match well {
        true => policy.health_interval,
        false => policy
            .health_interval
            .min(policy.breaker_open_for + Duration::from_millis(100)),
    };
    caller.dice.shortened(whole)
}
