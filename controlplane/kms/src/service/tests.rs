//! The service over providers that tests can slow down, break and count. Time is paused: what waits costs nothing, and
//! happens exactly when it should.

mod failure;
mod health;
mod keeping;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use sealgate_aead::Secret;
use tokio::sync::Semaphore;

use super::*;
use crate::events::{KeyEvent, KeyOperation, KeySource};
use crate::health::Standing;
use crate::provider::ProviderFuture;
use crate::stats::locked;

/// How a scripted provider behaves from now on.
#[derive(Clone)]
enum Mode {
    Well,
    Fail(KeyError),
    Slow(Duration),
    Hang,
    Panic,
}

/// Wraps by adding one to each byte; every call takes a permit first.
struct Scripted {
    permits: Semaphore,
    mode: Mutex<Mode>,
    /// What generating does, where that is something else.
    generating: Mutex<Option<Mode>>,
    made: AtomicUsize,
    generates: AtomicUsize,
    unwraps: AtomicUsize,
    /// Unwraps of what was just made, and what was made and not unwrapped yet.
    verifies: AtomicUsize,
    unopened: Mutex<Vec<Vec<u8>>>,
    /// What unwrapping does to a key: nothing, normally.
    garbles: AtomicBool,
    /// Calls running now, and the most there ever were.
    running: AtomicUsize,
    most: AtomicUsize,
    wrapped_len: usize,
}

impl Scripted {
    fn new() -> Arc<Self> {
        Self::wrapping(33)
    }

    fn wrapping(wrapped_len: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
            mode: Mutex::new(Mode::Well),
            generating: Mutex::new(None),
            made: AtomicUsize::new(0),
            generates: AtomicUsize::new(0),
            unwraps: AtomicUsize::new(0),
            verifies: AtomicUsize::new(0),
            unopened: Mutex::default(),
            garbles: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            wrapped_len,
        })
    }

    fn set(&self, mode: Mode) {
        *locked(&self.mode) = mode;
    }

    fn set_generating(&self, mode: Mode) {
        *locked(&self.generating) = Some(mode);
    }

    /// Lets no call go on until [`Self::go_on`].
    fn hold(&self) {
        self.permits.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn go_on(&self) {
        self.permits.add_permits(100_000);
    }

    /// Generates and unwraps that were asked for, without those of what was just made.
    fn asked(&self) -> (usize, usize) {
        (self.generates.load(SeqCst), self.unwraps.load(SeqCst))
    }

    fn forget(&self) {
        self.generates.store(0, SeqCst);
        self.unwraps.store(0, SeqCst);
        self.verifies.store(0, SeqCst);
    }

    async fn call(&self, mode: Mode) -> Result<(), KeyError> {
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(running, SeqCst);
        let outcome = async {
            let permit = self.permits.acquire().await;
            match mode {
                Mode::Well => {}
                Mode::Fail(e) => return Err(e),
                Mode::Slow(time) => tokio::time::sleep(time).await,
                Mode::Hang => std::future::pending().await,
                Mode::Panic => panic!("scripted"),
            }
            drop(permit);
            Ok(())
        };
        let outcome = outcome.await;
        self.running.fetch_sub(1, SeqCst);
        outcome
    }
}

impl Provider for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(async {
            self.generates.fetch_add(1, SeqCst);
            let mode = locked(&self.generating).clone();
            let mode = mode.unwrap_or_else(|| locked(&self.mode).clone());
            self.call(mode).await?;
            let n = self.made.fetch_add(1, SeqCst) as u8;
            let wrapped = vec![n.wrapping_add(1); self.wrapped_len];
            locked(&self.unopened).push(wrapped.clone());
            Ok(GeneratedKek {
                kek: Secret::new([n; 32]),
                wrapped,
                version: "v1".into(),
            })
        })
    }

    fn unwrap<'a>(&'a self, _: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        Box::pin(async move {
            let unopened = locked(&self.unopened).iter().position(|w| w == wrapped);
            match unopened {
                Some(n) => {
                    locked(&self.unopened).remove(n);
                    self.verifies.fetch_add(1, SeqCst);
                }
                None => {
                    self.unwraps.fetch_add(1, SeqCst);
                }
            }
            let mode = locked(&self.mode).clone();
            self.call(mode).await?;
            let garbled = u8::from(self.garbles.load(SeqCst));
            Ok(Secret::new([wrapped[0].wrapping_sub(1) ^ garbled; 32]))
        })
    }

    fn rewrap<'a>(
        &'a self,
        _version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        Box::pin(async move {
            let mode = locked(&self.mode).clone();
            self.call(mode).await?;
            Ok(RewrappedKek {
                wrapped: wrapped.to_vec(),
                version: "v2".to_owned(),
            })
        })
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async {
            let mode = locked(&self.mode).clone();
            self.call(mode).await?;
            Ok(Some("v2".to_owned()))
        })
    }
}

/// The default policy without health checks after the first.
fn policy() -> KeyPolicy {
    KeyPolicy {
        health_interval: Duration::from_secs(1 << 30),
        ..KeyPolicy::default()
    }
}

fn key(providers: &[&Arc<Scripted>], policy: &KeyPolicy) -> NamedKey {
    let endpoints = providers.iter().enumerate().map(|(n, provider)| Endpoint {
        label: format!("place{n}"),
        provider: Arc::clone(provider) as Arc<dyn Provider>,
    });
    NamedKey {
        endpoints: endpoints.collect(),
        bounds: EpochBounds::DEFAULT,
        policy: policy.clone(),
        writes: true,
    }
}

/// A service with the key `main`, after its first health check.
async fn start(providers: &[&Arc<Scripted>], policy: &KeyPolicy) -> KeyClient {
    let keys = Keys::from([("main".to_owned(), key(providers, policy))]);
    start_keys(keys, providers).await
}

async fn start_keys(keys: Keys, providers: &[&Arc<Scripted>]) -> KeyClient {
    let client = KeyService::start(keys, &Handle::current());
    checked(&client).await;
    providers.iter().for_each(|provider| provider.forget());
    client
}

/// Waits for the first health check.
async fn checked(client: &KeyClient) {
    while (client.health().iter()).any(|key| key.reading() == Standing::Unchecked) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn error<T>(outcome: Result<T, KeyError>) -> KeyError {
    match outcome {
        Ok(_) => panic!("expected an error"),
        Err(e) => e,
    }
}

fn denied() -> KeyError {
    KeyError::Denied("disabled".into())
}

fn unavailable() -> KeyError {
    KeyError::Unavailable {
        reason: "down".into(),
        retry_after: Duration::from_secs(3),
    }
}

fn behind() -> KeyError {
    KeyError::Behind {
        reason: "too new".into(),
        retry_after: Duration::from_secs(2),
    }
}

fn throttled(seconds: u64) -> KeyError {
    KeyError::Throttled {
        reason: "slow down".into(),
        retry_after: Duration::from_secs(seconds),
    }
}

/// Lets the service's task run until it has nothing to do.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn report(client: &KeyClient) -> crate::KeyReport {
    client.report().remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_new_kek_is_the_askers_alone_and_readable_without_a_call() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
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
    assert!(*read.kek == one.kek);
    assert_eq!(provider.asked(), (2, 0), "the read was a cache hit");
}

#[tokio::test(start_paused = true)]
async fn concurrent_unwraps_of_the_same_bytes_are_one_call() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.hold();
    let asked: Vec<_> = (0..100)
        .map(|n| client.unwrap("main", "v1", &[9 + n % 2; 33]))
        .collect();
    settle().await;
    provider.go_on();
    for (n, answer) in asked.into_iter().enumerate() {
        let kek = answer.await.expect("unwraps");
        assert_eq!(kek.kek.expose(), &[8 + n as u8 % 2; 32]);
    }
    assert_eq!(provider.asked(), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn another_name_or_version_is_another_question() {
    let provider = Scripted::new();
    let names = ["main", "other"].map(|name| (name.to_owned(), key(&[&provider], &policy())));
    let client = start_keys(Keys::from(names), &[&provider]).await;
    for (name, version) in [("main", "v1"), ("main", "v2"), ("other", "v1")] {
        client
            .unwrap(name, version, &[5; 33])
            .await
            .expect("unwraps");
    }
    assert_eq!(provider.asked(), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_refused_by_name() {
    let client = start(&[&Scripted::new()], &policy()).await;
    let expected = KeyError::UnknownKey {
        name: "gone".into(),
    };
    assert_eq!(error(client.generate("gone").await), expected);
    assert_eq!(error(client.unwrap("gone", "v1", b"x").await), expected);
    assert_eq!(error(client.rewrap("gone", "v1", b"x").await), expected);
    assert_eq!(error(client.newest_version("gone").await), expected);
}

#[tokio::test(start_paused = true)]
async fn rewraps_and_versions_come_from_the_provider() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    let made = client.rewrap("main", "v1", &[5; 33]).await.expect("made");
    assert_eq!((made.version.as_str(), made.wrapped), ("v2", vec![5; 33]));
    let newest = client.newest_version("main").await.expect("told");
    assert_eq!(newest.as_deref(), Some("v2"));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_busy_at_once_and_recovers() {
    let provider = Scripted::new();
    let keys = Keys::from([("main".to_owned(), key(&[&provider], &policy()))]);
    let limits = ServiceLimits {
        queue: 4,
        waiters: 3,
    };
    let client = KeyService::start_with(keys, limits, None, &Handle::current());
    checked(&client).await;
    provider.hold();
    // The service does not run while these are asked.
    let queued = [(); 4].map(|()| client.generate("main"));
    assert_eq!(error(client.generate("main").await), KeyError::Busy);
    settle().await;
    provider.go_on();
    let mut answers = Vec::new();
    for answer in queued {
        answers.push(answer.await.map(drop));
    }
    let busy = answers.pop().expect("four answers");
    assert_eq!(busy, Err(KeyError::Busy), "more than may wait for a key");
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert!(client.generate("main").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiters_of_one_call_are_bounded() {
    let provider = Scripted::new();
    let keys = Keys::from([("main".to_owned(), key(&[&provider], &policy()))]);
    let limits = ServiceLimits {
        waiters: 3,
        ..ServiceLimits::default()
    };
    let client = KeyService::start_with(keys, limits, None, &Handle::current());
    checked(&client).await;
    provider.hold();
    let waiting = [(); 3].map(|()| client.unwrap("main", "v1", &[5; 33]));
    settle().await;
    let one_more = client.unwrap("main", "v1", &[5; 33]).await;
    assert_eq!(error(one_more), KeyError::Busy);
    provider.go_on();
    for answer in waiting {
        assert!(answer.await.is_ok());
    }
    assert!(client.unwrap("main", "v1", &[6; 33]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_hangs_does_not_keep_others_waiting() {
    let (well, stuck) = (Scripted::new(), Scripted::new());
    let keys = Keys::from([
        ("stuck".to_owned(), key(&[&stuck], &policy())),
        ("well".to_owned(), key(&[&well], &policy())),
    ]);
    let client = start_keys(keys, &[&well, &stuck]).await;
    stuck.set(Mode::Hang);
    let hanging: Vec<_> = (0..500)
        .map(|n: usize| client.unwrap("stuck", "v1", &n.to_be_bytes()))
        .collect();
    let began = Instant::now();
    assert!(client.generate("well").await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(stuck.most.load(SeqCst), policy().concurrency);
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_provider_is_an_answer() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Panic);
    assert!(error(client.generate("main").await).retryable());
    assert!(error(client.unwrap("main", "v1", &[5; 33]).await).retryable());
    let status = client.status().await.expect("answers");
    assert!(status[0].trouble.as_ref().is_some_and(KeyError::retryable));
    assert_eq!(report(&client).endpoints[0].in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_key_without_room_in_the_envelope_is_refused() {
    let provider = Scripted::wrapping(WRAPPED_MAX + 1);
    let client = start(&[&provider], &policy()).await;
    let refused = error(client.generate("main").await);
    assert!(matches!(refused, KeyError::Invalid(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn replaced_keys_count_from_the_next_request_on() {
    let (old, new) = (Scripted::new(), Scripted::new());
    let client = start(&[&old], &policy()).await;
    let epoch = client.generate("main").await.expect("generates");
    let keys = Keys::from([("main".to_owned(), key(&[&new], &policy()))]);
    client.replace(keys).await.expect("replaces");
    client
        .unwrap("main", "v1", &epoch.wrapped)
        .await
        .expect("still cached");
    settle().await;
    new.forget();
    client.generate("main").await.expect("generates");
    assert_eq!((old.asked(), new.asked()), ((1, 0), (1, 0)));
    client.replace(Keys::new()).await.expect("replaces");
    let gone = error(client.unwrap("main", "v1", &epoch.wrapped).await);
    assert!(
        matches!(gone, KeyError::UnknownKey { .. }),
        "a key that was taken away is not served from the cache: {gone}"
    );
    assert!(client.health().is_empty());
}

#[tokio::test(start_paused = true)]
async fn status_tells_which_key_and_endpoint_is_ill() {
    let (well, ill) = (Scripted::new(), Scripted::new());
    ill.set(Mode::Fail(denied()));
    let keys = Keys::from([
        ("archive".to_owned(), key(&[&ill], &policy())),
        ("main".to_owned(), key(&[&ill, &well], &policy())),
    ]);
    let client = start_keys(keys, &[]).await;
    let status = client.status().await.expect("answers");
    let told: Vec<_> = status
        .iter()
        .map(|s| (s.name.as_str(), s.trouble.is_some()))
        .collect();
    assert_eq!(told, [("archive", true), ("main", false)]);
    let places = [
        ("place0".to_owned(), Some(denied())),
        ("place1".to_owned(), None),
    ];
    assert_eq!(status[1].endpoints, places);
}

#[tokio::test(start_paused = true)]
async fn the_service_ends_with_its_last_client() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    client.clone().generate("main").await.expect("generates");
    drop(client);
    settle().await;
    assert_eq!(
        Arc::strong_count(&provider),
        1,
        "the service still holds it"
    );
}

/// Keeps what it is told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl KeyEvents for Heard {
    fn record(&self, event: &KeyEvent<'_>) {
        let source = match event.source {
            KeySource::Provider { kind, endpoint } => format!("{kind} {endpoint}"),
            KeySource::Cache => "cache".to_owned(),
            KeySource::OfflineGrace => "grace".to_owned(),
        };
        let version = event.version.unwrap_or("-");
        locked(&self.0).push(format!(
            "{} {} {version} {} {source} {}",
            event.operation.name(),
            event.key,
            event.wrapped.len(),
            event.outcome
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn every_use_of_a_key_is_told() {
    let provider = Scripted::new();
    let heard = Arc::new(Heard::default());
    let mut key = key(&[&provider], &policy());
    key.policy.retries = 0;
    let client = KeyService::start_with(
        Keys::from([("main".to_owned(), key)]),
        ServiceLimits::default(),
        Some(Arc::clone(&heard) as Arc<dyn KeyEvents>),
        &Handle::current(),
    );
    checked(&client).await;
    let epoch = client.generate("main").await.expect("made");
    client
        .unwrap("main", "v1", &epoch.wrapped)
        .await
        .expect("cached");
    client
        .unwrap("main", "v1", &[9; 33])
        .await
        .expect("unwrapped");
    client
        .rewrap("main", "v1", &[9; 33])
        .await
        .expect("rewrapped");
    provider.set(Mode::Fail(denied()));
    error(client.unwrap("main", "v0", &[8; 33]).await);
    let heard = std::mem::take(&mut *locked(&heard.0));
    assert_eq!(
        heard,
        [
            "generate main v1 33 scripted place0 ok",
            "canary main v1 33 scripted place0 ok",
            "generate main v1 33 scripted place0 ok",
            "verify main v1 33 scripted place0 ok",
            "unwrap main v1 33 cache ok",
            "unwrap main v1 33 scripted place0 ok",
            "rewrap main v1 33 scripted place0 ok",
            "verify main v1 33 scripted place0 ok",
            "verify main v2 33 scripted place0 ok",
            "unwrap main v0 33 scripted place0 denied",
        ]
    );
    assert_eq!(KeyOperation::ALL.map(|op| op as usize), [0, 1, 2, 3, 4, 5]);
}

/// The cores have no tokio: their futures are polled by another runtime.
#[test]
fn answers_cross_to_threads_without_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let keys = Keys::from([("main".to_owned(), key(&[&Scripted::new()], &policy()))]);
    let client = runtime.block_on(async { KeyService::start(keys, &Handle::current()) });
    let asked = client.generate("main");
    let core = std::thread::spawn(move || block_on_without_tokio(asked).map(|e| e.wrapped.len()));
    let ended = async {
        while !core.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    runtime.block_on(ended);
    assert_eq!(core.join().expect("ends"), Ok(33));
}

/// Polls by parking the thread.
fn block_on_without_tokio<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        let mut context = std::task::Context::from_waker(&waker);
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
