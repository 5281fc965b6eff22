//! The service over a provider that tests can slow down, break and count.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Semaphore;

use super::*;
use crate::provider::{ProviderFuture, RewrappedKek};

/// Wraps by adding one to each byte; every call takes a permit first.
struct Scripted {
    permits: Semaphore,
    calls: AtomicUsize,
    fail_with: Mutex<Option<KeyError>>,
    wrapped_len: usize,
    panics: bool,
}

impl Scripted {
    fn new() -> Self {
        Self {
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
            calls: AtomicUsize::new(0),
            fail_with: Mutex::new(None),
            wrapped_len: 33,
            panics: false,
        }
    }

    fn stuck() -> Self {
        Self {
            permits: Semaphore::new(0),
            ..Self::new()
        }
    }

    async fn call(&self) -> Result<usize, KeyError> {
        let _permit = self.permits.acquire().await;
        assert!(!self.panics, "scripted");
        match &*self.fail_with.lock().expect("unpoisoned") {
            Some(e) => Err(e.clone()),
            None => Ok(self.calls.fetch_add(1, SeqCst)),
        }
    }
}

impl Provider for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(async {
            let n = self.call().await?;
            Ok(GeneratedKek {
                kek: Secret::new([n as u8; 32]),
                wrapped: vec![n as u8 + 1; self.wrapped_len],
                version: "v1".into(),
            })
        })
    }

    fn unwrap<'a>(&'a self, _: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        Box::pin(async {
            self.call().await?;
            Ok(Secret::new([wrapped[0].wrapping_sub(1); 32]))
        })
    }

    fn rewrap<'a>(
        &'a self,
        _version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        Box::pin(async move {
            self.call().await?;
            Ok(RewrappedKek {
                wrapped: wrapped.to_vec(),
                version: "1".to_owned(),
            })
        })
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async { Ok(Some("1".to_owned())) })
    }
}

fn keys(provider: &Arc<Scripted>) -> Keys {
    let key = NamedKey::at("local", Arc::clone(provider) as Arc<dyn Provider>);
    Keys::from([("main".to_owned(), key)])
}

fn start(provider: &Arc<Scripted>, limits: ServiceLimits) -> KeyClient {
    KeyService::start_with(keys(provider), limits, None, &Handle::current())
}

fn error<T>(outcome: Result<T, KeyError>) -> KeyError {
    match outcome {
        Ok(_) => panic!("expected an error"),
        Err(e) => e,
    }
}

/// Lets the service's task run until it has nothing to do.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_new_kek_is_the_askers_alone_and_readable_without_a_call() {
    let provider = Arc::new(Scripted::new());
    let client = start(&provider, ServiceLimits::default());
    let (one, two) = (client.generate("main"), client.generate("main"));
    let (one, two) = (one.await.expect("one"), two.await.expect("two"));
    assert!(
        one.kek != two.kek && one.wrapped != two.wrapped,
        "each ask makes a KEK of its own"
    );
    assert_eq!(
        (one.key_name.as_str(), one.key_version.as_str()),
        ("main", "v1")
    );
    assert_eq!(one.bounds, EpochBounds::DEFAULT);
    let read = client
        .unwrap("main", "v1", &one.wrapped)
        .await
        .expect("reads");
    assert!(read.kek == one.kek);
    assert_eq!(provider.calls.load(SeqCst), 2, "the read was a cache hit");
}

#[tokio::test]
async fn concurrent_unwraps_of_the_same_bytes_are_one_call() {
    let provider = Arc::new(Scripted::stuck());
    let client = start(&provider, ServiceLimits::default());
    let asked: Vec<_> = (0..100)
        .map(|n| client.unwrap("main", "v1", &[9 + n % 2; 33]))
        .collect();
    settle().await;
    provider.permits.add_permits(1000);
    for (n, answer) in asked.into_iter().enumerate() {
        let kek = answer.await.expect("unwraps");
        assert_eq!(kek.kek.expose(), &[8 + n as u8 % 2; 32]);
    }
    assert_eq!(provider.calls.load(SeqCst), 2);
}

#[tokio::test]
async fn another_name_or_version_is_another_question() {
    let provider = Arc::new(Scripted::new());
    let mut two = keys(&provider);
    two.extend(
        keys(&provider)
            .into_values()
            .map(|key| ("other".to_owned(), key)),
    );
    let client = KeyService::start(two, &Handle::current());
    for (name, version) in [("main", "v1"), ("main", "v2"), ("other", "v1")] {
        client
            .unwrap(name, version, &[5; 33])
            .await
            .expect("unwraps");
    }
    assert_eq!(provider.calls.load(SeqCst), 3);
}

#[tokio::test]
async fn failures_reach_every_waiter_and_are_not_kept() {
    let provider = Arc::new(Scripted::stuck());
    let denied = KeyError::Denied("disabled".into());
    *provider.fail_with.lock().expect("unpoisoned") = Some(denied.clone());
    let client = start(&provider, ServiceLimits::default());
    let asked = [(); 3].map(|()| client.unwrap("main", "v1", &[5; 33]));
    settle().await;
    provider.permits.add_permits(100);
    for answer in asked {
        assert_eq!(error(answer.await), denied);
    }
    *provider.fail_with.lock().expect("unpoisoned") = None;
    assert!(client.unwrap("main", "v1", &[5; 33]).await.is_ok());
}

#[tokio::test]
async fn an_unknown_key_is_refused_by_name() {
    let client = start(&Arc::new(Scripted::new()), ServiceLimits::default());
    let expected = KeyError::UnknownKey {
        name: "gone".into(),
    };
    assert_eq!(error(client.generate("gone").await), expected);
    assert_eq!(error(client.unwrap("gone", "v1", b"x").await), expected);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_given_up_after_the_deadline() {
    let client = start(&Arc::new(Scripted::stuck()), ServiceLimits::default());
    let refused = error(client.generate("main").await);
    assert!(
        refused.retryable() && refused.to_string().contains("no answer within 10 s"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_full_queue_is_busy_at_once_and_recovers() {
    let provider = Arc::new(Scripted::stuck());
    let limits = ServiceLimits {
        queue: 4,
        calls: 2,
        ..ServiceLimits::default()
    };
    let client = start(&provider, limits);
    let running = [(); 2].map(|()| client.generate("main"));
    settle().await;
    let queued = [(); 4].map(|()| client.generate("main"));
    settle().await;
    assert_eq!(error(client.generate("main").await), KeyError::Busy);
    provider.permits.add_permits(1000);
    for answer in running.into_iter().chain(queued) {
        assert!(answer.await.is_ok());
    }
    assert!(client.generate("main").await.is_ok());
}

#[tokio::test]
async fn waiters_of_one_call_are_bounded() {
    let provider = Arc::new(Scripted::stuck());
    let limits = ServiceLimits {
        waiters: 3,
        ..ServiceLimits::default()
    };
    let client = start(&provider, limits);
    let waiting = [(); 3].map(|()| client.unwrap("main", "v1", &[5; 33]));
    settle().await;
    assert_eq!(
        error(client.unwrap("main", "v1", &[5; 33]).await),
        KeyError::Busy
    );
    provider.permits.add_permits(1000);
    for answer in waiting {
        assert!(answer.await.is_ok());
    }
    assert!(client.unwrap("main", "v1", &[6; 33]).await.is_ok());
}

#[tokio::test]
async fn a_panic_in_a_provider_is_an_answer() {
    let provider = Arc::new(Scripted {
        panics: true,
        ..Scripted::new()
    });
    let client = start(&provider, ServiceLimits::default());
    assert!(error(client.generate("main").await).retryable());
    assert!(error(client.unwrap("main", "v1", &[5; 33]).await).retryable());
    assert!(error(client.status().await).retryable());
}

#[tokio::test]
async fn a_wrapped_key_without_room_in_the_envelope_is_refused() {
    let provider = Arc::new(Scripted {
        wrapped_len: WRAPPED_MAX + 1,
        ..Scripted::new()
    });
    let refused = error(
        start(&provider, ServiceLimits::default())
            .generate("main")
            .await,
    );
    assert!(matches!(refused, KeyError::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn replaced_keys_count_from_the_next_request_on() {
    let (old, new) = (Arc::new(Scripted::new()), Arc::new(Scripted::new()));
    let client = start(&old, ServiceLimits::default());
    let epoch = client.generate("main").await.expect("generates");
    client.replace(keys(&new)).await.expect("replaces");
    client
        .unwrap("main", "v1", &epoch.wrapped)
        .await
        .expect("still cached");
    client.generate("main").await.expect("generates");
    assert_eq!((old.calls.load(SeqCst), new.calls.load(SeqCst)), (1, 1));
    client.replace(Keys::new()).await.expect("replaces");
    let gone = error(client.unwrap("main", "v1", &epoch.wrapped).await);
    assert!(
        matches!(gone, KeyError::UnknownKey { .. }),
        "a key that was taken away is not served from the cache: {gone}"
    );
}

#[tokio::test]
async fn status_tells_which_key_is_ill() {
    let (well, ill) = (Arc::new(Scripted::new()), Arc::new(Scripted::new()));
    *ill.fail_with.lock().expect("unpoisoned") = Some(KeyError::Denied("disabled".into()));
    let mut both = keys(&well);
    both.extend(
        keys(&ill)
            .into_values()
            .map(|key| ("archive".to_owned(), key)),
    );
    let status = KeyService::start(both, &Handle::current())
        .status()
        .await
        .expect("answers");
    let told: Vec<_> = status
        .iter()
        .map(|s| (s.name.as_str(), s.trouble.is_some()))
        .collect();
    assert_eq!(told, [("archive", true), ("main", false)]);
}

#[tokio::test]
async fn the_service_ends_with_its_last_client() {
    let provider = Arc::new(Scripted::new());
    let client = start(&provider, ServiceLimits::default());
    client.clone().generate("main").await.expect("generates");
    drop(client);
    settle().await;
    assert_eq!(
        Arc::strong_count(&provider),
        1,
        "the service still holds it"
    );
}

/// The data plane's threads have no tokio: the answer must wake any waker on any thread.
#[test]
fn answers_cross_to_threads_without_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let provider = Arc::new(Scripted::new());
    let client = KeyService::start(keys(&provider), runtime.handle());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    block_on(client.generate("main")).expect("generates");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(provider.calls.load(SeqCst), 200);
}

/// The smallest executor: parks the thread between polls.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(answer) => return answer,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
