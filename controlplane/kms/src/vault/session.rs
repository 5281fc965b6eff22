//! One server's session: a task that logs in, renews, and logs in anew, so that calls find a token ready.
//!
//! All logins are this task's, one at a time: however many calls meet a dead token, one login follows. Calls that are
//! dropped at their deadline do not disturb it. It ends when the session is dropped, and then revokes its token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::auth::Login;
use super::errors;
use super::http::Http;
use super::lease::{self, Lease};
use crate::error::KeyError;

/// Calls that may wait for the task to judge their refusal.
const QUEUE: usize = 64;
/// Between two logins, also when every token dies at once.
const LOGIN_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait between attempts while the server is down. Callers that come meanwhile hasten it.
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// The same while the server refuses the login: it may lock the role out after a few.
const REFUSED_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Between two warnings about the same lack.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// How often a token file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// For how long a token that was found alive is not doubted again.
const TRUST: Duration = Duration::from_secs(2);

/// The callers' end.
pub(super) struct Session {
    state: watch::Receiver<State>,
    commands: mpsc::Sender<Command>,
}

/// What the task has to offer.
#[derive(Clone)]
enum State {
    Starting,
    Ready(Arc<Lease>),
    Failed(KeyError, Instant),
}

enum Command {
    /// A call was refused with this token.
    Refused {
        generation: u64,
        reply: oneshot::Sender<Result<Verdict, KeyError>>,
    },
    /// Somebody waits: try again if it is not too early.
    Hasten,
}

/// Why a call was refused.
pub(super) enum Verdict {
    /// The token is good: the refusal is about what it may do.
    TokenLives,
    /// There is another token.
    TokenReplaced,
}

impl Session {
    /// Logs in and keeps at it until this is dropped. `name` is the key's, for the log.
    pub(super) fn start(name: &str, http: Arc<Http>, login: Login, runtime: &Handle) -> Self {
        let (publish, state) = watch::channel(State::Starting);
        let (commands, inbox) = mpsc::channel(QUEUE);
        let keeper = Keeper {
            name: name.to_owned(),
            http,
            login,
            publish,
            held: None,
            generation: 0,
            failures: 0,
            next: Instant::now(),
            last_attempt: None,
            refused: false,
            warned: None,
            file: None,
            next_look: Instant::now(),
        };
        runtime.spawn(keeper.run(inbox));
        Self { state, commands }
    }

    /// A token that can be used now; waits for the first login.
    pub(super) async fn current(&self) -> Result<Arc<Lease>, KeyError> {
        let mut state = self.state.clone();
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Ready(lease) if !lease.expired(Instant::now()) => return Ok(lease),
                State::Failed(error, at) => {
                    if at.elapsed() >= LOGIN_INTERVAL {
                        let _ = self.commands.try_send(Command::Hasten);
                    }
                    return Err(error);
                }
                State::Starting | State::Ready(_) => {}
            }
            if state.changed().await.is_err() {
                return Err(ended());
            }
        }
    }

    /// Asks why a call with the token of this generation was refused.
    pub(super) async fn refused(&self, generation: u64) -> Result<Verdict, KeyError> {
        let (reply, verdict) = oneshot::channel();
        let command = Command::Refused { generation, reply };
        if self.commands.send(command).await.is_err() {
            return Err(ended());
        }
        verdict.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Only at the end of the process, or after a bug.
fn ended() -> KeyError {
    KeyError::Unavailable {
        reason: "the session with the key service has ended".into(),
        retry_after: Duration::from_secs(1),
    }
}

/// The token in use.
struct Held {
    lease: Arc<Lease>,
    /// Its life when it was new.
    first_ttl: Option<Duration>,
    /// When it was last found alive after a refusal.
    trusted: Option<Instant>,
    /// Renewing gives no more time: the next token has to come from a login.
    at_its_end: bool,
}

struct Keeper {
    name: String,
    http: Arc<Http>,
    login: Login,
    publish: watch::Sender<State>,
    held: Option<Held>,
    generation: u64,
    /// Attempts that failed since the last success.
    failures: u32,
    /// When to renew, or to try again.
    next: Instant,
    last_attempt: Option<Instant>,
    /// The last attempt was refused for good: hastening would only lock the role out.
    refused: bool,
    /// When the log was last told that there is no token.
    warned: Option<Instant>,
    /// The token file when it was last read.
    file: Option<Stamp>,
    /// When to look at it again.
    next_look: Instant,
}

/// Changes when a file does.
type Stamp = (SystemTime, u64, u64);

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        self.acquire().await;
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => break,
                    Some(Command::Hasten) => {
                        let rested = self.last_attempt.is_none_or(|at| at.elapsed() >= LOGIN_INTERVAL);
                        let sensible = !self.refused || Instant::now() >= self.next;
                        if !self.usable() && rested && sensible {
                            self.acquire().await;
                        }
                    }
                    Some(Command::Refused { generation, reply }) => {
                        let verdict = self.judge(generation).await;
                        // A caller that was dropped wants no answer.
                        let _ = reply.send(verdict);
                    }
                },
                () = tokio::time::sleep_until(self.wake().into()) => self.look_after().await,
            }
        }
        self.leave().await;
    }

    fn usable(&self) -> bool {
        let now = Instant::now();
        self.held.as_ref().is_some_and(|h| !h.lease.expired(now))
    }

    /// When there is something to do next.
    fn wake(&self) -> Instant {
        let mut wake = self.next;
        if self.login.token_file().is_some() {
            wake = wake.min(self.next_look);
        }
        if let Some(expires) = self.held.as_ref().and_then(|held| held.lease.expires) {
            wake = wake.min(expires);
        }
        wake
    }

    async fn look_after(&mut self) {
        if let Some(path) = self.login.token_file()
            && Instant::now() >= self.next_look
        {
            self.next_look = Instant::now() + FILE_INTERVAL;
            let found = stamp(path).await;
            if found.is_some() && found != self.file {
                return self.acquire().await;
            }
        }
        if !self.usable() {
            if self.held.take().is_some() {
                // Calls wait for the login that follows, and learn how it ends.
                self.publish.send_replace(State::Starting);
                self.next = Instant::now();
            }
            if Instant::now() >= self.next {
                self.acquire().await;
            }
            return;
        }
        if Instant::now() < self.next {
            return;
        }
        match &self.held {
            Some(held) if held.lease.grant.renewable && !held.at_its_end => self.renew().await,
            _ if self.login.logs_in() => self.acquire().await,
            _ => self.next = far(),
        }
    }

    /// Logs in, or reads the given token; publishes how it went.
    async fn acquire(&mut self) {
        if let Some(last) = self.last_attempt {
            tokio::time::sleep_until((last + LOGIN_INTERVAL).into()).await;
        }
        if let Some(path) = self.login.token_file() {
            self.file = stamp(path).await;
        }
        let asked = Instant::now();
        let outcome = self.login.log_in(&self.http).await;
        self.last_attempt = Some(Instant::now());
        match outcome {
            Ok(grant) => {
                self.generation += 1;
                (self.failures, self.refused) = (0, false);
                if self.warned.take().is_some() {
                    let (key, server) = (self.name.as_str(), self.http.label());
                    tracing::info!(key, server, "the key service gives tokens again");
                }
                self.at_a_token(grant, asked, None, false);
            }
            Err(error) => {
                self.fail(&error);
                let usable = self.usable();
                if self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
                    self.warned = Some(Instant::now());
                    let (key, server) = (self.name.as_str(), self.http.label());
                    let message = match usable {
                        true => "no new token for the key service; the old one still lives",
                        false => "no token for the key service",
                    };
                    tracing::warn!(key, server, %error, "{message}");
                }
                if !usable {
                    self.publish
                        .send_replace(State::Failed(error, Instant::now()));
                }
            }
        }
    }

    /// Takes a new or prolonged token into use, whose life began no earlier than it was asked for.
    fn at_a_token(
        &mut self,
        grant: lease::Grant,
        asked: Instant,
        first_ttl: Option<Duration>,
        at_its_end: bool,
    ) {
        let ttl = grant.ttl;
        let lease = Arc::new(Lease::new(grant, self.generation, asked));
        self.next = match ttl {
            // At two thirds, at most a tenth earlier: replicas that started together drift apart.
            Some(ttl) => asked + (ttl * 2 / 3).mul_f64(1.0 - 0.1 * fraction()),
            None => far(),
        };
        self.held = Some(Held {
            lease: Arc::clone(&lease),
            first_ttl: first_ttl.or(ttl),
            trusted: None,
            at_its_end,
        });
        self.publish.send_replace(State::Ready(lease));
    }

    fn fail(&mut self, error: &KeyError) {
        self.failures = self.failures.saturating_add(1);
        self.refused = !error.retryable();
        let most = match error.retryable() {
            true => BACKOFF_MAX,
            false => REFUSED_BACKOFF_MAX,
        };
        let wait = LOGIN_INTERVAL * 2_u32.pow(self.failures.min(7) - 1);
        let wait = wait.min(most).mul_f64(1.0 - 0.5 * fraction());
        self.next = Instant::now() + wait.max(error.retry_after().unwrap_or_default().min(most));
    }

    async fn renew(&mut self) {
        let Some(held) = &self.held else { return };
        let (lease, first_ttl) = (Arc::clone(&held.lease), held.first_ttl);
        let body = Bytes::from_static(b"{}");
        let asked = Instant::now();
        let sent = self
            .http
            .send("auth/token/renew-self", Some(lease.token()), Some(body));
        match sent.await {
            Ok(answer) => {
                let (ttl, renewable) = match lease::read_renewal(&answer) {
                    // A life without an end is only granted to those that had it from the start.
                    Ok((ttl, renewable)) if ttl.is_some() || first_ttl.is_none() => {
                        (ttl, renewable)
                    }
                    _ => return self.replace().await,
                };
                self.failures = 0;
                // Less than was granted at first: the token nears its greatest age.
                let at_its_end = match (ttl, first_ttl) {
                    (Some(ttl), Some(first)) => ttl * 2 <= first,
                    _ => false,
                };
                let grant = lease::Grant {
                    token: lease.token().clone(),
                    ttl,
                    renewable,
                };
                if at_its_end && !self.login.logs_in() {
                    tracing::warn!(
                        key = self.name,
                        server = self.http.label(),
                        seconds = ttl.map(|ttl| ttl.as_secs()),
                        "the token for the key service cannot be renewed any further: replace it"
                    );
                }
                self.at_a_token(grant, asked, first_ttl, at_its_end);
            }
            Err(failure) => match errors::passing(self.http.label(), &failure) {
                // The token lives on; there is a third of its life for further attempts.
                Some(error) => self.fail(&error),
                None => self.replace().await,
            },
        }
    }

    /// Renewing does not help this token.
    async fn replace(&mut self) {
        if self.login.logs_in() {
            return self.acquire().await;
        }
        tracing::warn!(
            key = self.name,
            server = self.http.label(),
            "the token for the key service cannot be renewed: replace it before it ends"
        );
        self.next = far();
    }

    /// Finds out whether a refused call had a dead token; if so, gets another.
    async fn judge(&mut self, generation: u64) -> Result<Verdict, KeyError> {
        let Some(held) = &mut self.held else {
            return Ok(Verdict::TokenReplaced);
        };
        if held.lease.generation() != generation {
            return Ok(Verdict::TokenReplaced);
        }
        if held.trusted.is_some_and(|at| at.elapsed() < TRUST) {
            return Ok(Verdict::TokenLives);
        }
        let token = held.lease.token();
        match self
            .http
            .send("auth/token/lookup-self", Some(token), None)
            .await
        {
            Ok(_) => {
                held.trusted = Some(Instant::now());
                return Ok(Verdict::TokenLives);
            }
            Err(failure) => {
                if let Some(passing) = errors::passing(self.http.label(), &failure) {
                    return Err(passing);
                }
            }
        }
        // Dead, or not even allowed to ask.
        if !self.login.logs_in() {
            return self.look_for_another().await;
        }
        self.held = None;
        self.publish.send_replace(State::Starting);
        self.acquire().await;
        // A new one is not doubted for a while, so that a role whose policy forbids everything does not log in for
        // each call.
        if let Some(held) = &mut self.held {
            held.trusted = Some(Instant::now());
        }
        Ok(Verdict::TokenReplaced)
    }

    /// The same where tokens are given: only a changed file has another.
    async fn look_for_another(&mut self) -> Result<Verdict, KeyError> {
        let place = match self.login.token_file() {
            Some(path) => {
                let now = stamp(path).await;
                if now.is_some() && now != self.file {
                    self.acquire().await;
                    return Ok(Verdict::TokenReplaced);
                }
                path.display().to_string()
            }
            None => format!("[keys.{}]", self.name),
        };
        Err(KeyError::Denied(format!(
            "{} does not accept the token: it has ended, was revoked, or its policy forbids everything; put another \
             into {place}",
            self.http.label()
        )))
    }

    /// Revokes a token that nobody will use again. One that somebody gave stays.
    async fn leave(&mut self) {
        if let Some(held) = self.held.take()
            && self.login.logs_in()
        {
            let body = Bytes::from_static(b"{}");
            let token = held.lease.token();
            // If it fails, the token ends by itself.
            let _ = self
                .http
                .send("auth/token/revoke-self", Some(token), Some(body))
                .await;
        }
    }
}

/// A time that does not come.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365)
}

/// From 0 to 1, at random.
fn fraction() -> f64 {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter; that is all it is for.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

async fn stamp(path: &PathBuf) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let found = tokio::fs::metadata(path).await.ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}
