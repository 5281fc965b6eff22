//! Tokens and for how long they live.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

/// What a login, a lookup or a renewal grants.
pub(super) struct Grant {
    /// The token as a header: marked sensitive, and wiped when the last use of it ends.
    pub(super) token: HeaderValue,
    /// Its life from now on; `None` for one that never ends.
    pub(super) ttl: Option<Duration>,
    pub(super) renewable: bool,
}

/// A token in use.
pub(super) struct Lease {
    pub(super) grant: Grant,
    /// Counts the tokens of a session.
    pub(super) generation: u64,
    /// When it must no longer be used.
    pub(super) expires: Option<Instant>,
}

impl Lease {
    pub(super) fn new(grant: Grant, generation: u64, now: Instant) -> Self {
        // A little early: a call takes time, and clocks differ.
        let expires = grant
            .ttl
            .map(|ttl| now + ttl - (ttl / 10).min(Duration::from_secs(5)));
        Self {
            grant,
            generation,
            expires,
        }
    }

    pub(super) fn token(&self) -> &HeaderValue {
        &self.grant.token
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| now >= at)
    }
}

/// A token as a header value.
pub(super) fn header(token: &str) -> Option<HeaderValue> {
    let owned = Zeroizing::new(token.as_bytes().to_vec());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(owned)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Deserialize)]
struct AuthAnswer<'a> {
    #[serde(borrow)]
    auth: Option<AuthData<'a>>,
}

#[derive(Deserialize)]
struct AuthData<'a> {
    #[serde(borrow, default)]
    client_token: &'a str,
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// The grant in the answer of a login.
pub(super) fn read_login(answer: &[u8]) -> Result<Grant, &'static str> {
    let read: AuthAnswer<'_> = serde_json::from_slice(answer).map_err(|_| "no auth in it")?;
    let auth = read.auth.ok_or("no auth in it")?;
    if auth.client_token.is_empty() {
        return Err("no token in it: does the method ask for a second factor?");
    }
    Ok(Grant {
        token: header(auth.client_token).ok_or("a token that is no header")?,
        ttl: seconds(auth.lease_duration),
        renewable: auth.renewable,
    })
}

/// Life and renewability in the answer of a renewal.
pub(super) fn read_renewal(answer: &[u8]) -> Result<(Option<Duration>, bool), &'static str> {
    let read: AuthAnswer<'_> = serde_json::from_slice(answer).map_err(|_| "no auth in it")?;
    let auth = read.auth.ok_or("no auth in it")?;
    Ok((seconds(auth.lease_duration), auth.renewable))
}

/// Life and renewability in the answer of lookup-self.
pub(super) fn read_lookup(answer: &[u8]) -> Result<(Option<Duration>, bool), &'static str> {
    #[derive(Deserialize)]
    struct Data {
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    let read: Answer = serde_json::from_slice(answer).map_err(|_| "no data.ttl in it")?;
    Ok((seconds(read.data.ttl), read.data.renewable))
}

/// 0 stands for ever: root tokens have it.
fn seconds(count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(count.min(10 * 366 * 86_400)))
}
