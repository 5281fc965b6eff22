//! Connections to the store: a pool per core, one exchange at a time on each, retries (S3-TRAPS 18, 19).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, StatusCode};
use sealgate_http1::{Limits, parse_response, reuse_headers};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::sigv4::sign::{PayloadHash, Signer};
use sealgate_uring::{Connector, Transport, sleep};

use super::distance::Distance;
use super::inbound::Inbound;
use super::link::{HEAD_READ, Link};
use crate::types::BackendError;

/// Most idle connections kept by one core; more are closed when they come back.
const MAX_IDLE: usize = 256;
/// Attempts at one exchange in all, the first included.
pub(crate) const MAX_ATTEMPTS: u32 = 4;
/// First pause between attempts; doubled each time, plus up to as much jitter.
const BACK_OFF: Duration = Duration::from_millis(40);
/// A connection used so recently is taken for open without asking the system, where a mistake only costs a repetition:
/// no store ends idle connections that soon.
const SURELY_OPEN: Duration = Duration::from_millis(500);
/// Longest that an answer is waited for once the request could not be sent to its end: it came before, or is on its
/// way, or never will.
const EARLY_ANSWER: Duration = Duration::from_secs(5);

/// How long the store may take.
#[derive(Clone, Copy, Debug)]
pub struct StoreTimeouts {
    /// From the last byte of a request to the head of its answer.
    pub response: Duration,
    /// The same for operations that may move much data inside the store (Complete, Copy).
    pub long_response: Duration,
    /// One block, at most 1 MiB, in either direction: the minimum rate.
    pub block: Duration,
    /// A connection unused for longer is not used again. Below the store's own limit (S3-TRAPS 19).
    pub idle: Duration,
}

impl Default for StoreTimeouts {
    fn default() -> Self {
        Self {
            response: Duration::from_secs(60),
            long_response: Duration::from_secs(600),
            block: Duration::from_secs(60),
            idle: Duration::from_secs(8),
        }
    }
}

/// Counts of one core's traffic with its store.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Connections opened.
    pub connects: Cell<u64>,
    /// Exchanges tried again.
    pub retries: Cell<u64>,
    /// Bodies resumed in the middle.
    pub resumes: Cell<u64>,
    /// Ranges of objects that are read at the same time as others of theirs, now.
    pub parallel_reads: Cell<u64>,
    /// Such ranges so far.
    pub parallel_ranges: Cell<u64>,
    /// Parts of objects that are written at the same time as others of theirs, now.
    pub parallel_writes: Cell<u64>,
    /// Such parts so far.
    pub parallel_parts: Cell<u64>,
}

pub(crate) struct Wire<C: Connector> {
    connector: C,
    /// Oldest first.
    idle: RefCell<VecDeque<Idle<C::Conn>>>,
    pub(crate) timeouts: StoreTimeouts,
    pub(crate) counters: StoreCounters,
    pub(crate) distance: Distance,
}

struct Idle<T> {
    link: Link<T>,
    since: Instant,
}

/// A request without a streamed body.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) host: String,
    /// Canonically encoded path.
    pub(crate) path: Vec<u8>,
    /// Canonically encoded query without `?`; may be empty.
    pub(crate) query: Vec<u8>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// What the signature says of the body, when that is not its hash.
    pub(crate) payload: Option<PayloadHash>,
    pub(crate) repeat: Repeat,
    /// May take [`StoreTimeouts::long_response`].
    pub(crate) long: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        reuse_headers(std::mem::take(&mut self.headers));
    }
}

impl Call {
    /// Adds what must hold for a write.
    pub(crate) fn write_conditions(&mut self, conditions: &Conditions) {
        conditions.to_headers(&mut self.headers);
        if !conditions.is_empty() {
            self.repeat = Repeat::IfNotDone;
        }
    }
}

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Repeat {
    /// Whatever became of it: doing it twice is doing it once.
    Always,
    /// Only when the store has not done it: it was not reached, it had closed the connection (S3-TRAPS 19), or it says
    /// that it is too busy. A write with conditions is such a one: had it been done, its repetition would fail them.
    IfNotDone,
}

impl Repeat {
    /// Whether an answer with this status asks for a repetition that is safe.
    pub(crate) fn after_status(self, status: StatusCode) -> bool {
        match self {
            Self::Always => is_transient(status),
            Self::IfNotDone => {
                matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                )
            }
        }
    }

    /// Whether a repetition is safe after no answer came.
    pub(crate) fn after_break(self, broken: &Broken) -> bool {
        match broken {
            Broken::Stale | Broken::Connect(_) => true,
            Broken::Sent(_) => self == Self::Always,
            Broken::Protocol(_) => false,
        }
    }
}

/// Why an attempt gave no response.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection was a kept one and closed without a byte of an answer.
    Stale,
    /// Nothing of the request was sent.
    Connect(io::Error),
    /// The request may have reached the store.
    Sent(io::Error),
    Protocol(String),
}

impl Broken {
    pub(crate) fn into_error(self) -> BackendError {
        match self {
            Self::Stale => unavailable("the store closed the connection"),
            Self::Connect(e) => unavailable(format!("cannot connect to the store: {e}")),
            Self::Sent(e) => broke(&e),
            Self::Protocol(what) => BackendError::Protocol(what),
        }
    }
}

pub(crate) fn broke(e: &io::Error) -> BackendError {
    unavailable(format!("the connection to the store broke: {e}"))
}

pub(crate) fn unavailable(reason: impl Into<String>) -> BackendError {
    BackendError::Unavailable {
        reason: reason.into(),
        retry_after: Duration::from_secs(1),
    }
}

impl<C: Connector> Wire<C> {
    pub(crate) fn new(connector: C, timeouts: StoreTimeouts, far: Duration) -> Self {
        Self {
            connector,
            idle: RefCell::default(),
            timeouts,
            counters: StoreCounters::default(),
            distance: Distance::new(far),
        }
    }

    /// A kept connection that is quiet and young enough, or a new one.
    pub(crate) async fn link(&self) -> Result<Link<C::Conn>, Broken> {
        self.link_unused_for(Duration::ZERO).await
    }

    /// A kept connection; one that rested no longer than `trusted` may turn out to be closed.
    async fn link_unused_for(&self, trusted: Duration) -> Result<Link<C::Conn>, Broken> {
        loop {
            // LIFO: the most recently used connection is the least likely to have been closed.
            let Some(idle) = self.idle.borrow_mut().pop_back() else {
                break;
            };
            let rested = idle.since.elapsed();
            if rested > self.timeouts.idle {
                self.idle.borrow_mut().clear();
                break;
            }
            if rested < trusted || idle.link.conn.is_quiet() {
                return Ok(idle.link);
            }
        }
        self.fresh_link().await
    }

    pub(crate) async fn fresh_link(&self) -> Result<Link<C::Conn>, Broken> {
        let conn = self.connector.connect().await.map_err(Broken::Connect)?;
        self.counters.connects.set(self.counters.connects.get() + 1);
        Ok(Link::new(conn))
    }

    pub(crate) fn keep(&self, mut link: Link<C::Conn>) {
        let mut idle = self.idle.borrow_mut();
        // After a burst, what stays unused must not hold descriptors that the store has long closed.
        while idle
            .front()
            .is_some_and(|i| i.since.elapsed() > self.timeouts.idle)
        {
            idle.pop_front();
        }
        if idle.len() < MAX_IDLE && link.pos == link.input.len() {
            link.input.clear();
            link.input.shrink_to(HEAD_READ);
            link.output.clear();
            link.output.shrink_to(HEAD_READ);
            link.pos = 0;
            link.reused = true;
            link.conn.watch().clear();
            idle.push_back(Idle {
                link,
                since: Instant::now(),
            });
        }
    }

    /// Sends a request and reads its answer's head; tries again where that is safe.
    pub(crate) async fn call(
        &self,
        signer: &RefCell<Signer>,
        call: &mut Call,
    ) -> Result<Inbound<C::Conn>, BackendError> {
        let mut attempt = 1;
        let mut fresh = false;
        loop {
            let broken = match self.attempt(signer, call, fresh).await {
                Ok(inbound)
                    if attempt < MAX_ATTEMPTS && call.repeat.after_status(inbound.head.status) =>
                {
                    self.discard(inbound).await;
                    None
                }
                Ok(inbound) => return Ok(inbound),
                Err(Broken::Stale) if !fresh => {
                    // Not an attempt: the store closed an idle connection (S3-TRAPS 19).
                    fresh = true;
                    continue;
                }
                Err(broken) => Some(broken),
            };
            if let Some(broken) = broken
                && (attempt >= MAX_ATTEMPTS || !call.repeat.after_break(&broken))
            {
                return Err(broken.into_error());
            }
            self.back_off(attempt).await;
            attempt += 1;
        }
    }

    pub(crate) async fn back_off(&self, attempt: u32) {
        self.counters.retries.set(self.counters.retries.get() + 1);
        let base = BACK_OFF * (1 << attempt.saturating_sub(1).min(6));
        sleep(base + jitter(base)).await;
    }

    async fn attempt(
        &self,
        signer: &RefCell<Signer>,
        call: &mut Call,
        fresh: bool,
    ) -> Result<Inbound<C::Conn>, Broken> {
        let mut link = if fresh {
            self.fresh_link().await?
        } else {
            self.link_unused_for(SURELY_OPEN).await?
        };
        let payload = match call.payload {
            Some(payload) => payload,
            None if call.body.is_empty() => PayloadHash::Empty,
            None => PayloadHash::of(&call.body),
        };
        signer.borrow_mut().sign(
            &call.method,
            &call.host,
            &call.path,
            &call.query,
            &mut call.headers,
            payload,
            unix_seconds(),
        );
        link.put_head(call);
        link.output.extend_from_slice(&call.body);
        // From before it is sent: on a busy machine the end of that may be noticed after the answer has come.
        let asked = Instant::now();
        let sent = link.flush(self.timeouts.block).await;
        let wait = if call.long {
            self.timeouts.long_response
        } else {
            self.timeouts.response
        };
        let answer = self.answer(link, &call.method, sent, wait).await;
        if answer.is_ok() && !call.long {
            self.distance.answered(asked.elapsed());
        }
        answer
    }

    /// The answer to a request that has been sent, or whose sending failed: a store may answer and close before it
    /// has read everything, so an answer is looked for either way. Such a connection is not kept.
    pub(crate) async fn answer(
        &self,
        link: Link<C::Conn>,
        method: &Method,
        sent: io::Result<()>,
        wait: Duration,
    ) -> Result<Inbound<C::Conn>, Broken> {
        let Err(e) = sent else {
            return self.read_head(link, method, wait).await;
        };
        match self.read_head(link, method, wait.min(EARLY_ANSWER)).await {
            Ok(mut inbound) => {
                inbound.head.keep_alive = false;
                Ok(inbound)
            }
            Err(Broken::Stale) => Err(Broken::Stale),
            Err(_) => Err(Broken::Sent(e)),
        }
    }

    /// Reads a response's head from a link.
    async fn read_head(
        &self,
        mut link: Link<C::Conn>,
        method: &Method,
        wait: Duration,
    ) -> Result<Inbound<C::Conn>, Broken> {
        let limits = Limits::default();
        link.conn.watch().deadline_in(wait);
        loop {
            match parse_response(&link.input[link.pos..], &limits, method) {
                Ok(Some((head, consumed))) => {
                    link.pos += consumed;
                    link.conn.watch().clear();
                    return Ok(Inbound::new(head, link));
                }
                Ok(None) => {}
                Err(e) => return Err(Broken::Protocol(format!("the store's response head: {e}"))),
            }
            let had_bytes = link.pos < link.input.len();
            let mut input = std::mem::take(&mut link.input);
            input.reserve(HEAD_READ);
            let (got, input) = link.conn.read_buf(input).await;
            link.input = input;
            match got {
                Ok(0) | Err(_) if link.reused && !had_bytes && !link.conn.watch().expired() => {
                    return Err(Broken::Stale);
                }
                Ok(0) => return Err(Broken::Sent(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) => return Err(Broken::Sent(e)),
            }
        }
    }
}

/// Answers that say "try again".
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Up to `most`, from the clock's low bits: it only has to differ between cores and moments.
fn jitter(most: Duration) -> Duration {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos());
    most.mul_f64(f64::from(nanos % 1000) / 1000.0)
}
