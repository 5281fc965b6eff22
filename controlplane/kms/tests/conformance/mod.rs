//! What every key provider has to hold to, whatever is behind it. Each provider's tests run it on real keys.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sealgate_aead::Secret;
use sealgate_kms::{GeneratedKek, KeyError, Provider, WRAPPED_MAX};

/// Makes the key's owner add a version, as an operator would.
pub(crate) type Rotate = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// A provider under test.
pub(crate) struct Subject {
    /// The key, configured as `main`.
    pub(crate) main: Arc<dyn Provider>,
    /// The same key at the same provider, configured under another name: KEKs of `main` must not open with it.
    pub(crate) other_name: Arc<dyn Provider>,
    /// Another key.
    pub(crate) other_key: Arc<dyn Provider>,
    /// Adds a version to the key of `main`; `None` where that takes a new configuration.
    pub(crate) rotate: Option<Rotate>,
}

/// Runs everything; says what does not hold by panicking.
pub(crate) async fn conforms(subject: Subject) {
    let provider = subject.main.as_ref();
    makes_distinct_keys_that_open(provider).await;
    refuses_other_names_and_keys(&subject).await;
    refuses_changed_bytes(provider).await;
    rewraps_the_same_key(provider).await;
    serves_many_at_once(&subject.main).await;
    if let Some(rotate) = subject.rotate {
        survives_rotation(provider, rotate).await;
    }
}

async fn made(provider: &dyn Provider) -> GeneratedKek {
    let made = provider.generate().await;
    made.unwrap_or_else(|e| panic!("{}: generate: {e}", provider.kind()))
}

async fn opened(provider: &dyn Provider, version: &str, wrapped: &[u8]) -> Secret<32> {
    let kek = provider.unwrap(version, wrapped).await;
    kek.unwrap_or_else(|e| panic!("{}: unwrap {version:?}: {e}", provider.kind()))
}

/// The refusal of something that can never open: definite, so that nobody retries, and without key bytes.
fn refused(outcome: Result<Secret<32>, KeyError>, what: &str) -> KeyError {
    match outcome {
        Ok(_) => panic!("{what} was opened"),
        Err(e) => {
            assert!(!e.retryable(), "{what}: {e}");
            e
        }
    }
}

async fn makes_distinct_keys_that_open(provider: &dyn Provider) {
    let (mut keks, mut wraps) = (HashSet::new(), HashSet::new());
    for _ in 0..8 {
        let one = made(provider).await;
        assert!(!one.wrapped.is_empty() && one.wrapped.len() <= WRAPPED_MAX);
        assert!(!one.version.is_empty() && one.version.len() <= 128);
        assert!(!one.kek.same_as(&Secret::new([0; 32])));
        assert!(
            opened(provider, &one.version, &one.wrapped)
                .await
                .same_as(&one.kek)
        );
        if let Some(newest) = provider.newest_version().await.expect("newest_version") {
            assert_eq!(newest, one.version);
        }
        keks.insert(*one.kek.expose());
        wraps.insert(one.wrapped);
    }
    assert_eq!((keks.len(), wraps.len()), (8, 8));
}

async fn refuses_other_names_and_keys(subject: &Subject) {
    let one = made(subject.main.as_ref()).await;
    for (other, what) in [
        (&subject.other_name, "a KEK of another name"),
        (&subject.other_key, "a KEK of another key"),
    ] {
        refused(other.unwrap(&one.version, &one.wrapped).await, what);
    }
}

async fn refuses_changed_bytes(provider: &dyn Provider) {
    let one = made(provider).await;
    let len = one.wrapped.len();
    refused(provider.unwrap(&one.version, &[]).await, "nothing");
    for cut in [1, len / 2, len - 1] {
        let outcome = provider.unwrap(&one.version, &one.wrapped[..cut]).await;
        refused(outcome, &format!("{cut} of {len} bytes"));
    }
    let mut longer = one.wrapped.clone();
    longer.push(0);
    refused(
        provider.unwrap(&one.version, &longer).await,
        "a longer wrap",
    );
    // A sample over the whole length: providers may be slow. A version byte inside the wrap may lead to a refusal of
    // another kind; it never leads to a key.
    for at in (0..len).step_by((len / 24).max(1)) {
        let mut changed = one.wrapped.clone();
        changed[at] ^= 1 << (at % 8);
        let outcome = provider.unwrap(&one.version, &changed).await;
        refused(outcome, &format!("a wrap with byte {at} changed"));
    }
    assert!(
        opened(provider, &one.version, &one.wrapped)
            .await
            .same_as(&one.kek)
    );
    for version in ["", "no such version", "999999"] {
        // A provider whose wraps carry their version may ignore ours; it must not find another key.
        if let Ok(kek) = provider.unwrap(version, &one.wrapped).await {
            assert!(kek.same_as(&one.kek), "version {version:?}");
        }
    }
}

async fn rewraps_the_same_key(provider: &dyn Provider) {
    let one = made(provider).await;
    let again = provider.rewrap(&one.version, &one.wrapped).await;
    let again = again.unwrap_or_else(|e| panic!("{}: rewrap: {e}", provider.kind()));
    assert!(again.wrapped.len() <= WRAPPED_MAX);
    assert!(
        opened(provider, &again.version, &again.wrapped)
            .await
            .same_as(&one.kek)
    );
    assert!(
        opened(provider, &one.version, &one.wrapped)
            .await
            .same_as(&one.kek)
    );
    let forged = provider.rewrap(&one.version, &one.wrapped[1..]).await;
    assert!(
        forged.is_err_and(|e| !e.retryable()),
        "a cut wrap was rewrapped"
    );
}

async fn serves_many_at_once(provider: &Arc<dyn Provider>) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let provider = Arc::clone(provider);
        calls.spawn(async move {
            let one = made(provider.as_ref()).await;
            opened(provider.as_ref(), &one.version, &one.wrapped)
                .await
                .same_as(&one.kek)
        });
    }
    assert!(calls.join_all().await.into_iter().all(|same| same));
}

async fn survives_rotation(provider: &dyn Provider, rotate: Rotate) {
    let old = made(provider).await;
    rotate().await;
    let new = made(provider).await;
    assert!(
        opened(provider, &old.version, &old.wrapped)
            .await
            .same_as(&old.kek)
    );
    assert!(
        opened(provider, &new.version, &new.wrapped)
            .await
            .same_as(&new.kek)
    );
    let again = provider.rewrap(&old.version, &old.wrapped).await;
    let again = again.unwrap_or_else(|e| panic!("{}: rewrap: {e}", provider.kind()));
    assert_eq!(again.version, new.version);
    assert!(
        opened(provider, &again.version, &again.wrapped)
            .await
            .same_as(&old.kek)
    );
}
