//! One question to one key: over its endpoints, with retries, back-off, hedges and breakers, until an answer or the
//! deadline.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealgate_aead::Secret;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::breaker::{Breaker, Change, Evidence, Ticket};
use super::pace::{Budget, Dice};
use super::{Endpoint, WRAPPED_MAX};
use crate::error::KeyError;
use crate::events::{KeyEvent, KeyEvents, KeyOperation, KeySource};
use crate::policy::KeyPolicy;
use crate::provider::{GeneratedKek, Provider, RewrappedKek};
use crate::stats::{KeyStats, PlaceStats, locked, outcome};

/// The longest that an endpoint is left alone because it said so, whatever it said.
const LONGEST_THROTTLE: Duration = Duration::from_secs(30);

/// What a key is asked.
pub(super) enum Question {
    Generate,
    Unwrap { version: String, wrapped: Vec<u8> },
    Canary { version: String, wrapped: Vec<u8> },
    Verify { version: String, wrapped: Vec<u8> },
    Rewrap { version: String, wrapped: Vec<u8> },
    Newest,
}

/// What it answers.
pub(super) enum Found {
    Generated(GeneratedKek),
    Unwrapped(Secret<32>),
    Rewrapped(RewrappedKek),
    Newest(Option<String>),
}

/// How long and how often a question is asked.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) deadline: Duration,
    pub(super) retries: u32,
}

/// One key as it is asked: its endpoints and what is known of them.
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) policy: KeyPolicy,
    pub(super) stats: Arc<KeyStats>,
    pub(super) dice: Dice,
    places: Vec<Place>,
    budget: Mutex<Budget>,
    events: Option<Arc<dyn KeyEvents>>,
}

struct Place {
    label: String,
    provider: Arc<dyn Provider>,
    breaker: Mutex<Breaker>,
    /// It asked to be left alone until then.
    throttled_until: Mutex<Option<Instant>>,
    slots: Semaphore,
    stats: Arc<PlaceStats>,
}

/// Why a round over the endpoints brought nothing.
struct Fruitless {
    error: KeyError,
    /// No endpoint was asked, since all breakers are open: another round would not be either.
    closed_off: bool,
}

impl Question {
    pub(super) fn operation(&self) -> KeyOperation {
        match self {
            Self::Generate => KeyOperation::Generate,
            Self::Unwrap { .. } => KeyOperation::Unwrap,
            Self::Canary { .. } => KeyOperation::Canary,
            Self::Verify { .. } => KeyOperation::Verify,
            Self::Rewrap { .. } => KeyOperation::Rewrap,
            Self::Newest => KeyOperation::Version,
        }
    }

    /// Reads may be asked twice at the same time; a second new KEK would be waste.
    fn hedged(&self) -> bool {
        matches!(
            self,
            Self::Unwrap { .. } | Self::Canary { .. } | Self::Verify { .. }
        )
    }

    fn named(&self) -> (Option<&str>, &[u8]) {
        match self {
            Self::Unwrap { version, wrapped }
            | Self::Canary { version, wrapped }
            | Self::Verify { version, wrapped }
            | Self::Rewrap { version, wrapped } => (Some(version), wrapped),
            Self::Generate | Self::Newest => (None, &[]),
        }
    }

    async fn put(&self, provider: &dyn Provider) -> Result<Found, KeyError> {
        match self {
            Self::Generate => provider
                .generate()
                .await
                .and_then(fits)
                .map(Found::Generated),
            Self::Unwrap { version, wrapped }
            | Self::Canary { version, wrapped }
            | Self::Verify { version, wrapped } => provider
                .unwrap(version, wrapped)
                .await
                .map(Found::Unwrapped),
            Self::Rewrap { version, wrapped } => {
                let made = provider.rewrap(version, wrapped).await?;
                has_room(&made.wrapped)?;
                Ok(Found::Rewrapped(made))
            }
            Self::Newest => provider.newest_version().await.map(Found::Newest),
        }
    }
}

impl Caller {
    pub(super) fn new(
        name: &str,
        endpoints: &[Endpoint],
        policy: &KeyPolicy,
        stats: Arc<KeyStats>,
        events: Option<Arc<dyn KeyEvents>>,
    ) -> Self {
        let place = |endpoint: &Endpoint| {
            let provider = Arc::clone(&endpoint.provider);
            let stats = stats.place(provider.kind(), &endpoint.label);
            stats.breaker.store(0, Relaxed);
            Place {
                label: endpoint.label.clone(),
                breaker: Mutex::new(Breaker::new(
                    policy.breaker_failures,
                    policy.breaker_open_for,
                )),
                throttled_until: Mutex::new(None),
                slots: Semaphore::new(policy.concurrency.max(1)),
                provider,
                stats,
            }
        };
        Self {
            name: name.to_owned(),
            policy: policy.clone(),
            places: endpoints.iter().map(place).collect(),
            budget: Mutex::new(Budget::new(Instant::now())),
            dice: Dice::new(),
            stats,
            events,
        }
    }

    /// As long and as often as the policy says.
    pub(super) fn patience(&self) -> Patience {
        Patience {
            deadline: self.policy.deadline,
            retries: self.policy.retries,
        }
    }

    /// Where something else answers already, should this not: one round.
    pub(super) fn impatience(&self) -> Patience {
        Patience {
            deadline: self.policy.deadline.min(self.policy.attempt_timeout * 2),
            retries: 0,
        }
    }

    /// A new KEK, which the provider has opened again: what may wrap need not be allowed to unwrap, and nothing is
    /// sealed that could not be read. What opens it is what a read would be answered by: any endpoint.
    pub(super) async fn new_kek(self: Arc<Self>) -> Result<Found, KeyError> {
        let end = Instant::now() + self.policy.deadline;
        let found = Arc::clone(&self).ask(Question::Generate, self.patience());
        let Found::Generated(made) = found.await? else {
            return Err(super::broken());
        };
        self.opens(&made.version, &made.wrapped, &made.kek, end)
            .await
            .map_err(not_opened)?;
        Ok(Found::Generated(made))
    }

    /// A KEK under the newest version, opened again and compared: its objects' only wrap is about to be replaced.
    pub(super) async fn rewrapped(
        self: Arc<Self>,
        version: String,
        wrapped: Vec<u8>,
    ) -> Result<Found, KeyError> {
        let end = Instant::now() + self.policy.deadline;
        let (old_version, old_wrap) = (version.clone(), wrapped.clone());
        let question = Question::Rewrap { version, wrapped };
        let found = Arc::clone(&self).ask(question, self.patience());
        let Found::Rewrapped(made) = found.await? else {
            return Err(super::broken());
        };
        let question = Question::Verify {
            version: old_version,
            wrapped: old_wrap,
        };
        let patience = Patience {
            deadline: end.saturating_duration_since(Instant::now()),
            ..self.patience()
        };
        let Found::Unwrapped(kek) = Arc::clone(&self).ask(question, patience).await? else {
            return Err(super::broken());
        };
        self.opens(&made.version, &made.wrapped, &kek, end)
            .await
            .map_err(not_opened)?;
        Ok(Found::Rewrapped(made))
    }

    /// Whether a wrap that was just made opens to the KEK that was wrapped.
    async fn opens(
        self: &Arc<Self>,
        version: &str,
        wrapped: &[u8],
        kek: &Secret<32>,
        end: Instant,
    ) -> Result<(), KeyError> {
        let question = Question::Verify {
            version: version.to_owned(),
            wrapped: wrapped.to_vec(),
        };
        let patience = Patience {
            deadline: end.saturating_duration_since(Instant::now()),
            ..self.patience()
        };
        match Arc::clone(self).ask(question, patience).await? {
            Found::Unwrapped(opened) if opened.same_as(kek) => Ok(()),
            Found::Unwrapped(_) => Err(another_kek()),
            _ => Err(super::broken()),
        }
    }

    /// Asks until there is an answer, a refusal, or no more patience.
    pub(super) async fn ask(
        self: Arc<Self>,
        question: Question,
        patience: Patience,
    ) -> Result<Found, KeyError> {
        let question = Arc::new(question);
        let end = Instant::now() + patience.deadline;
        locked(&self.budget).deposit(Instant::now());
        let mut retry = 0;
        loop {
            let Fruitless { error, closed_off } = match self.round(&question, end).await {
                Ok(found) => return Ok(found),
                Err(fruitless) => fruitless,
            };
            if !error.retryable() || closed_off || retry >= patience.retries {
                return Err(error);
            }
            let mut pause = self.dice.pause(retry);
            if let KeyError::Throttled { retry_after, .. } = &error {
                // Not before it said; and not all at once then.
                pause = pause.max(*retry_after + self.dice.up_to(*retry_after / 4));
            }
            let now = Instant::now();
            if now + pause >= end {
                return Err(error);
            }
            if !locked(&self.budget).withdraw(now) {
                self.stats.retries_withheld.fetch_add(1, Relaxed);
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            self.stats.retries.fetch_add(1, Relaxed);
            retry += 1;
        }
    }

    /// Asks the endpoints in their order, each when the one before has failed or, for reads, takes long.
    async fn round(
        self: &Arc<Self>,
        question: &Arc<Question>,
        end: Instant,
    ) -> Result<Found, Fruitless> {
        let (sender, mut answers) = mpsc::channel(self.places.len());
        let mut round = Round {
            caller: self,
            question,
            sender,
            end,
            next: 0,
            asked: 0,
            flying: 0,
            worst: None,
        };
        round.ask_next();
        let mut hedging = question.hedged();
        let mut hedge_at = Instant::now() + self.policy.hedge_after;
        loop {
            if round.flying == 0 {
                return Err(round.fruitless());
            }
            tokio::select! {
                Some(answer) = answers.recv() => {
                    round.flying -= 1;
                    match answer {
                        Ok(found) => return Ok(found),
                        Err(e) => round.note(e),
                    }
                    round.ask_next();
                }
                () = tokio::time::sleep_until(hedge_at), if hedging && round.next < self.places.len() => {
                    if locked(&self.budget).withdraw(Instant::now()) {
                        if round.ask_next() {
                            self.stats.hedges.fetch_add(1, Relaxed);
                        }
                    } else {
                        self.stats.retries_withheld.fetch_add(1, Relaxed);
                        hedging = false;
                    }
                    hedge_at += self.policy.hedge_after;
                }
                () = tokio::time::sleep_until(end) => {
                    round.note(late(self.policy.deadline));
                    return Err(round.fruitless());
                }
            }
        }
    }

    /// One attempt at one endpoint. It runs to its end though nobody waits any more: its breaker learns from it.
    async fn attempt(
        self: Arc<Self>,
        place: usize,
        question: Arc<Question>,
        ticket: Ticket,
        answer: mpsc::Sender<Result<Found, KeyError>>,
        end: Instant,
    ) {
        let mut attempt = Attempt {
            caller: &self,
            place: &self.places[place],
            ticket: Some(ticket),
            flying: false,
            answer,
        };
        let slots = &attempt.place.slots;
        let slot = tokio::select! {
            slot = slots.acquire() => slot.ok(),
            () = attempt.answer.closed() => None,
            () = tokio::time::sleep_until(end) => None,
        };
        if slot.is_none() {
            let full = KeyError::Unavailable {
                reason: format!(
                    "{} calls run at a time, and none ended in time",
                    self.policy.concurrency
                ),
                retry_after: Duration::from_secs(1),
            };
            return attempt.finish(Err(full), Evidence::None);
        }
        let began = Instant::now();
        let place = attempt.place;
        attempt.flying = true;
        place.stats.in_flight.fetch_add(1, Relaxed);
        let limit = self.policy.attempt_timeout;
        let call = question.put(&*place.provider);
        let mut found = tokio::time::timeout(limit, call)
            .await
            .unwrap_or_else(|_| Err(late(limit)));
        if let Err(e) = &mut found {
            e.at(&place.label, self.places.len());
        }
        self.tell(&question, place, &found, began.elapsed());
        let evidence = match &found {
            Err(KeyError::Behind { .. }) => Evidence::Well,
            Err(e) if e.retryable() => Evidence::Ill,
            _ => Evidence::Well,
        };
        attempt.finish(found, evidence);
    }

    /// Counts an attempt, and tells the audit log of it.
    fn tell(
        &self,
        question: &Question,
        place: &Place,
        found: &Result<Found, KeyError>,
        took: Duration,
    ) {
        let operation = question.operation();
        place.stats.count(operation, outcome(found), took);
        let Some(events) = &self.events else { return };
        let (version, wrapped) = match found {
            Ok(Found::Generated(made)) => (Some(made.version.as_str()), made.wrapped.as_slice()),
            _ => question.named(),
        };
        events.record(&KeyEvent {
            key: &self.name,
            version,
            wrapped,
            operation,
            source: KeySource::Provider {
                kind: place.provider.kind(),
                endpoint: &place.label,
            },
            outcome: outcome(found),
            duration: took,
        });
    }

    /// Tells the audit log of an unwrap that the cache answered.
    pub(super) fn tell_cached(&self, version: &str, wrapped: &[u8], source: KeySource<'_>) {
        if let Some(events) = &self.events {
            events.record(&KeyEvent {
                key: &self.name,
                version: Some(version),
                wrapped,
                operation: KeyOperation::Unwrap,
                source,
                outcome: "ok",
                duration: Duration::ZERO,
            });
        }
    }
}

/// A round over the endpoints under way.
struct Round<'a> {
    caller: &'a Arc<Caller>,
    question: &'a Arc<Question>,
    sender: mpsc::Sender<Result<Found, KeyError>>,
    end: Instant,
    /// The next endpoint to ask.
    next: usize,
    asked: usize,
    flying: usize,
    worst: Option<KeyError>,
}

impl Round<'_> {
    /// Asks the next endpoint that may be asked; false when there is none.
    fn ask_next(&mut self) -> bool {
        let now = Instant::now();
        while let Some(place) = self.caller.places.get(self.next) {
            let index = self.next;
            self.next += 1;
            match place.admit(now) {
                Ok(ticket) => {
                    if index > 0 && self.flying == 0 {
                        self.caller.stats.fallbacks.fetch_add(1, Relaxed);
                    }
                    self.flying += 1;
                    self.asked += 1;
                    tokio::spawn(Arc::clone(self.caller).attempt(
                        index,
                        Arc::clone(self.question),
                        ticket,
                        self.sender.clone(),
                        self.end,
                    ));
                    return true;
                }
                Err(e) => self.note(e),
            }
        }
        false
    }

    /// Keeps the error that says most: a refusal is the key owner's word, whatever the others are up to.
    fn note(&mut self, error: KeyError) {
        let weight = |e: &KeyError| match e {
            KeyError::Denied(_) => 6,
            KeyError::Invalid(_) => 5,
            KeyError::UnknownKey { .. } => 4,
            KeyError::Throttled { .. } => 3,
            KeyError::Behind { .. } => 2,
            KeyError::Unavailable { .. } => 1,
            KeyError::Busy => 0,
        };
        if self
            .worst
            .as_ref()
            .is_none_or(|worst| weight(&error) > weight(worst))
        {
            self.worst = Some(error);
        }
    }

    fn fruitless(self) -> Fruitless {
        let error = self.worst.unwrap_or_else(super::broken);
        let throttled = matches!(error, KeyError::Throttled { .. });
        Fruitless {
            closed_off: self.asked == 0 && !throttled,
            error,
        }
    }
}

impl Place {
    /// Lets a call through, or says why not.
    fn admit(&self, now: Instant) -> Result<Ticket, KeyError> {
        if let Some(until) = *locked(&self.throttled_until)
            && until > now
        {
            return Err(KeyError::Throttled {
                reason: format!("{} asked to be left alone", self.label),
                retry_after: until - now,
            });
        }
        let mut breaker = locked(&self.breaker);
        let admitted = breaker.admit(now);
        self.stats.breaker.store(breaker.level(), Relaxed);
        admitted.map_err(|left| KeyError::Unavailable {
            reason: format!("{} has failed and is left alone for now", self.label),
            retry_after: left,
        })
    }
}

/// An attempt that has to report, whatever becomes of it.
struct Attempt<'a> {
    caller: &'a Caller,
    place: &'a Place,
    ticket: Option<Ticket>,
    /// It is counted among the calls in flight.
    flying: bool,
    answer: mpsc::Sender<Result<Found, KeyError>>,
}

impl Attempt<'_> {
    fn finish(mut self, found: Result<Found, KeyError>, evidence: Evidence) {
        if let Err(KeyError::Throttled { retry_after, .. }) = &found {
            let until = Instant::now() + (*retry_after).min(LONGEST_THROTTLE);
            *locked(&self.place.throttled_until) = Some(until);
        }
        self.report(evidence);
        // Nobody may be waiting any more; there is room for one answer of each endpoint.
        let _ = self.answer.try_send(found);
    }

    fn report(&mut self, evidence: Evidence) {
        if std::mem::take(&mut self.flying) {
            self.place.stats.in_flight.fetch_sub(1, Relaxed);
        }
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut breaker = locked(&self.place.breaker);
        let change = breaker.report(ticket, evidence, Instant::now());
        self.place.stats.breaker.store(breaker.level(), Relaxed);
        drop(breaker);
        let (key, endpoint) = (&self.caller.name, &self.place.label);
        match change {
            Some(Change::Opened) => {
                self.place.stats.breaker_opened.fetch_add(1, Relaxed);
                tracing::warn!(%key, %endpoint, "the key provider keeps failing: it is left alone for a while");
            }
            Some(Change::Closed) => {
                tracing::info!(%key, %endpoint, "the key provider answers again");
            }
            None => {}
        }
    }
}

impl Drop for Attempt<'_> {
    /// Only a panic in a provider leaves a ticket here.
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.report(Evidence::Ill);
            let _ = self.answer.try_send(Err(super::broken()));
        }
    }
}

/// No answer in time.
pub(super) fn late(limit: Duration) -> KeyError {
    KeyError::Unavailable {
        reason: format!("no answer within {} s", limit.as_secs_f32()),
        retry_after: limit,
    }
}

/// What was wrapped does not open again.
pub(super) fn not_opened(error: KeyError) -> KeyError {
    error.during("it wrapped a new key, which is not used since it does not unwrap again")
}

/// What is wrapped is not what it opens to.
pub(super) fn another_kek() -> KeyError {
    KeyError::Invalid("it unwraps to another key than it wrapped".to_owned())
}

/// Refuses a wrapped KEK for which the envelope has no room, before anything is sealed under it.
fn fits(made: GeneratedKek) -> Result<GeneratedKek, KeyError> {
    has_room(&made.wrapped).map(|()| made)
}

fn has_room(wrapped: &[u8]) -> Result<(), KeyError> {
    if wrapped.len() <= WRAPPED_MAX {
        return Ok(());
    }
    Err(KeyError::Invalid(format!(
        "the provider made {} bytes of wrapped key, the envelope has room for {WRAPPED_MAX}",
        wrapped.len()
    )))
}
