//! The ring over a real key service, and the writer over a clock of the test's own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::future::join_all;
use proptest::prelude::*;
use sealgate_aead::Secret;
use sealgate_kms::{
    EpochBounds, EpochLease, GeneratedKek, KekEpoch, KeyService, Keys, NamedKey, Provider,
    ProviderFuture, RewrappedKek,
};

use super::*;

/// Wraps by adding one to each byte; refuses while there is an error to refuse with.
#[derive(Default)]
struct Scripted {
    made: AtomicUsize,
    trouble: Mutex<Option<KeyError>>,
}

impl Scripted {
    fn trouble(&self) -> Result<(), KeyError> {
        self.trouble
            .lock()
            .expect("unpoisoned")
            .clone()
            .map_or(Ok(()), Err)
    }
}

impl Provider for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(async {
            self.trouble()?;
            let n = self.made.fetch_add(1, SeqCst) as u8;
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(GeneratedKek {
                kek: Secret::new([n; 32]),
                wrapped: vec![n.wrapping_add(1); 40],
                version: "1".into(),
            })
        })
    }

    fn unwrap<'a>(&'a self, _: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        Box::pin(async {
            self.trouble()?;
            Ok(Secret::new([wrapped[0].wrapping_sub(1); 32]))
        })
    }

    fn rewrap<'a>(&'a self, _: &'a str, _: &'a [u8]) -> ProviderFuture<'a, RewrappedKek> {
        Box::pin(async { Err(KeyError::Busy) })
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }
}

struct Ring {
    runtime: tokio::runtime::Runtime,
    provider: Arc<Scripted>,
    ring: Keyring,
    first: usize,
}

/// A ring, after the service's first health check.
fn ring(set: impl FnOnce(&mut NamedKey)) -> Ring {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let provider = Arc::<Scripted>::default();
    let mut key = NamedKey::at("local", Arc::clone(&provider) as Arc<dyn Provider>);
    (key.policy.negative_ttl, key.policy.error_ttl) = (Duration::ZERO, Duration::ZERO);
    key.policy.retries = 0;
    set(&mut key);
    let client = KeyService::start(Keys::from([("main".to_owned(), key)]), runtime.handle());
    while client.health()[0].reading() == sealgate_kms::Standing::Unchecked {
        std::thread::sleep(Duration::from_millis(1));
    }
    let first = provider.made.load(SeqCst);
    Ring {
        runtime,
        provider,
        ring: Keyring::new(client),
        first,
    }
}

impl Ring {
    fn write(&self, bytes: u64) -> Result<Rc<Epoch>, KeyError> {
        self.runtime.block_on(self.ring.for_writing("main", bytes))
    }

    fn write_many(&self, n: usize) -> Vec<Rc<Epoch>> {
        let all = join_all((0..n).map(|_| self.ring.for_writing("main", 1)));
        let all = self.runtime.block_on(all);
        all.into_iter().map(|one| one.expect("an epoch")).collect()
    }

    fn made(&self) -> usize {
        self.provider.made.load(SeqCst) - self.first
    }

    fn fail(&self, trouble: Option<KeyError>) {
        *self.provider.trouble.lock().expect("unpoisoned") = trouble;
    }
}

fn unavailable() -> KeyError {
    KeyError::Unavailable {
        reason: "down".into(),
        retry_after: Duration::from_millis(1),
    }
}

#[test]
fn requests_that_wait_share_one_new_kek() {
    let ring = ring(|_| {});
    let epochs = ring.write_many(64);
    assert_eq!(ring.made(), 1);
    assert!(epochs.iter().all(|epoch| Rc::ptr_eq(epoch, &epochs[0])));
}

#[test]
fn an_epoch_of_one_object_is_one_requests_alone() {
    let ring = ring(|key| key.bounds.max_objects = 1);
    let epochs = ring.write_many(32);
    let wraps: HashSet<_> = epochs.iter().map(|epoch| epoch.wrapped.clone()).collect();
    assert_eq!(wraps.len(), 32);
}

#[test]
fn what_was_written_is_read_without_asking() {
    let ring = ring(|_| {});
    let epoch = ring.write(1).expect("an epoch");
    ring.fail(Some(KeyError::Denied("disabled".into())));
    let envelope = WrappedKek {
        name: epoch.key_name.clone(),
        version: epoch.key_version.clone(),
        wrapped: epoch.wrapped.clone(),
    };
    let read = ring.runtime.block_on(ring.ring.for_reading(&envelope));
    assert!(read.is_ok_and(|kek| Rc::ptr_eq(&kek, &epoch.kek)));
}

#[test]
fn the_next_kek_comes_before_it_is_needed_and_an_outage_waits_for_the_bound() {
    let ring = ring(|key| key.bounds.max_objects = 100);
    for _ in 0..86 {
        ring.write(1).expect("an epoch");
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(ring.made(), 2, "the next one is asked for ahead");
    ring.fail(Some(unavailable()));
    // It is taken up as soon as it is there; three quarters of it need nothing more, and then it serves to its end.
    let mut written = 0;
    while ring.write(1).is_ok() {
        written += 1;
        assert!(written <= 114);
    }
    assert_eq!(written, 100);
    let refused = ring.write(1).map(drop);
    assert!(refused.is_err_and(|e| e.retry_after().is_some()));
    ring.fail(None);
    std::thread::sleep(Duration::from_millis(10));
    assert!(ring.write(1).is_ok(), "it recovers");
}

#[test]
fn a_key_that_is_refused_is_not_written_with_once_the_health_check_knows() {
    let ring = ring(|key| {
        key.policy.health_interval = Duration::from_millis(20);
        key.policy.breaker_failures = 1000;
    });
    let epoch = ring.write(1).expect("an epoch");
    ring.fail(Some(unavailable()));
    std::thread::sleep(Duration::from_millis(100));
    assert!(ring.write(1).is_ok_and(|same| Rc::ptr_eq(&same, &epoch)));
    ring.fail(Some(KeyError::Denied("disabled".into())));
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Ok(same) = ring.write(1) {
        assert!(Rc::ptr_eq(&same, &epoch) && Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(Rc::strong_count(&epoch), 1, "the writer has let go of it");
    ring.fail(None);
    while ring.write(1).is_err() {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn kept_keys_are_wiped_when_their_time_is_over() {
    let ring = ring(|key| {
        key.policy.core_ttl = Duration::from_millis(20);
        key.bounds.max_age = Duration::from_millis(30);
    });
    let epoch = ring.write(1).expect("an epoch");
    std::thread::sleep(Duration::from_millis(40));
    ring.ring.sweep();
    assert_eq!(Rc::strong_count(&epoch), 1);
    assert_eq!(Rc::strong_count(&epoch.kek), 1);
}

fn epoch(bounds: EpochBounds, grace: Duration) -> Arc<KekEpoch> {
    Arc::new(KekEpoch {
        kek: Secret::new([1; 32]),
        wrapped: vec![0; 40],
        key_name: "main".into(),
        key_version: "1".into(),
        bounds,
        grace,
        keep: Duration::from_secs(600),
        lease: EpochLease::unwatched(),
    })
}

const HOUR: Duration = Duration::from_secs(3600);

/// A writer with an hour-old-at-most epoch, ten minutes of grace, and the moment it began.
fn writer(bounds: EpochBounds) -> (Writer, Instant) {
    let mut writer = Writer::default();
    let born = Instant::now();
    writer.install(&Fresh::new(&epoch(bounds, HOUR / 6), born));
    (writer, born)
}

#[test]
fn grace_is_for_an_outage_alone() {
    let bounds = EpochBounds {
        max_age: HOUR,
        ..EpochBounds::DEFAULT
    };
    let (mut writer, born) = writer(bounds);
    let late = born + HOUR;
    assert!(writer.admit(1, late - HOUR / 60).is_some());
    assert!(writer.admit(1, late).is_none(), "not without having asked");
    writer.failed(&unavailable(), late);
    assert!(writer.admit(1, late).is_some());
    assert!(writer.admit(1, late + HOUR / 7).is_some());
    assert!(writer.admit(1, late + HOUR / 6).is_none(), "it ends");
    writer.failed(&KeyError::Denied("disabled".into()), late);
    assert!(
        writer.admit(1, born).is_none(),
        "a refusal ends all writing at once"
    );
}

#[test]
fn grace_exceeds_the_age_and_no_other_bound() {
    let bounds = EpochBounds {
        max_age: HOUR,
        max_objects: 100,
        max_bytes: 1000,
    };
    let (mut writer, born) = writer(bounds);
    let late = born + HOUR;
    writer.failed(&unavailable(), late);
    assert!(writer.admit(990, late).is_some());
    assert!(writer.admit(11, late).is_none());
    for _ in 1..100 {
        assert!(writer.admit(0, late).is_some());
    }
    assert!(writer.admit(0, late).is_none());
}

#[test]
fn failed_prefetches_are_not_repeated_with_every_object() {
    let (mut writer, born) = writer(EpochBounds::DEFAULT);
    let (due, mut asked) = (born + HOUR * 9 / 10, 0);
    for millis in 0..10_000 {
        let now = due + Duration::from_millis(millis);
        writer.take_up(now);
        assert!(writer.admit(1, now).is_some());
        writer.prefetch(now, || {
            asked += 1;
            std::future::ready(Err(unavailable()))
        });
    }
    assert_eq!(asked, 20);
}

proptest! {
    /// Whatever happens to new KEKs: none seals more objects, more bytes or for longer than its bounds and grace allow.
    #[test]
    fn nothing_is_written_with_an_exhausted_kek(
        steps in prop::collection::vec((0u8..8, 0u64..400, 0u64..600), 1..400),
    ) {
        let bounds = EpochBounds { max_age: HOUR, max_objects: 100, max_bytes: 5000 };
        let mut writer = Writer::default();
        let mut now = Instant::now();
        let mut used: Vec<(Rc<Epoch>, u64, u64)> = Vec::new();
        for (step, bytes, seconds) in steps {
            now += Duration::from_secs(seconds);
            writer.take_up(now);
            if let Some(epoch) = writer.admit(bytes, now) {
                if !used.iter().any(|(known, ..)| Rc::ptr_eq(known, &epoch)) {
                    used.push((Rc::clone(&epoch), 0, 0));
                }
                let counted = used.iter_mut().find(|(known, ..)| Rc::ptr_eq(known, &epoch));
                let (_, objects, total) = counted.expect("just put in");
                *objects += 1;
                *total += bytes;
                prop_assert!(*objects <= 100);
                prop_assert!(*total <= 5000 || *objects == 1);
                prop_assert!(now.saturating_duration_since(epoch.born()) < HOUR + HOUR / 6);
            }
            let outcome = match step {
                0..=3 => Err(unavailable()),
                4 => Err(KeyError::Denied("no".into())),
                _ => Ok(epoch(bounds, HOUR / 6)),
            };
            drop(writer.flight(now, || std::future::ready(outcome)));
        }
    }
}
