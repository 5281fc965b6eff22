//! What is kept, for how long, and what of it serves on through an outage.

use super::*;

const KEK: [u8; 33] = [77; 33];

async fn read(client: &KeyClient) -> Result<Duration, KeyError> {
    client.unwrap("main", "v1", &KEK).await.map(|kek| {
        assert_eq!(kek.kek.expose(), &[76; 32]);
        kek.keep
    })
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn with_grace(reads: u64) -> KeyPolicy {
    KeyPolicy {
        cache_ttl: seconds(100),
        core_ttl: seconds(10),
        grace_reads: seconds(reads),
        ..policy()
    }
}

#[tokio::test(start_paused = true)]
async fn a_kek_is_asked_for_once_in_its_time() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(0)).await;
    let began = Instant::now();
    while began.elapsed() < seconds(79 * 9 / 10) {
        assert_eq!(read(&client).await, Ok(seconds(10)));
        tokio::time::sleep(seconds(1)).await;
    }
    assert_eq!(provider.asked().1, 1);
    assert_eq!(report(&client).misses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_kek_in_use_is_had_anew_before_its_time_is_over() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(0)).await;
    read(&client).await.expect("read");
    provider.set(Mode::Slow(seconds(1)));
    // At 95 s at the latest it is due; no read ever waits.
    for _ in 0..200 {
        tokio::time::sleep(seconds(1)).await;
        let began = Instant::now();
        read(&client).await.expect("read");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    let report = report(&client);
    assert!((2..=3).contains(&report.refreshes), "{}", report.refreshes);
    assert_eq!(provider.asked().1 as u64, 1 + report.refreshes);
}

#[tokio::test(start_paused = true)]
async fn a_core_never_keeps_a_kek_longer_than_the_service_may() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(0)).await;
    let began = Instant::now();
    read(&client).await.expect("read");
    provider.set(Mode::Fail(unavailable()));
    while let Ok(keep) = read(&client).await {
        assert!(began.elapsed() + keep <= seconds(100));
        tokio::time::sleep(seconds(1)).await;
    }
    assert!(began.elapsed() >= seconds(89));
}

#[tokio::test(start_paused = true)]
async fn without_grace_an_outage_ends_reads_with_their_time() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(0)).await;
    read(&client).await.expect("read");
    provider.set(Mode::Fail(unavailable()));
    tokio::time::sleep(seconds(100)).await;
    let refused = error(client.unwrap("main", "v1", &KEK).await);
    assert!(refused.retryable() && refused.retry_after().is_some());
    assert_eq!(report(&client).offline_reads, 0);
}

#[tokio::test(start_paused = true)]
async fn with_grace_reads_go_on_quickly_and_end_with_it() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(1000)).await;
    read(&client).await.expect("read");
    provider.set(Mode::Hang);
    tokio::time::sleep(seconds(100)).await;
    let (mut longest, began) = (Duration::ZERO, Instant::now());
    while began.elapsed() < seconds(900) {
        let asked = Instant::now();
        let keep = read(&client).await.expect("by grace");
        assert!(keep <= seconds(5), "a core comes back soon");
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert!(longest <= policy().attempt_timeout, "{longest:?}");
    assert!(report(&client).offline_reads > 100);
    tokio::time::sleep(seconds(100)).await;
    assert!(read(&client).await.is_err(), "the grace is over");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_grace_at_once() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(1000)).await;
    read(&client).await.expect("read");
    provider.set(Mode::Fail(unavailable()));
    tokio::time::sleep(seconds(101)).await;
    read(&client).await.expect("by grace");
    provider.set(Mode::Fail(denied()));
    // The failure before is remembered for a moment.
    tokio::time::sleep(policy().breaker_open_for + seconds(1)).await;
    assert_eq!(read(&client).await, Err(denied()));
    provider.set(Mode::Fail(unavailable()));
    tokio::time::sleep(seconds(11)).await;
    assert!(read(&client).await.is_err(), "it is forgotten for good");
    let refused = report(&client).evictions[3];
    assert_eq!(refused, ("refused", 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_forgets_the_kek_before_its_time() {
    let provider = Scripted::new();
    let client = start(&[&provider], &with_grace(1000)).await;
    read(&client).await.expect("read");
    provider.set(Mode::Fail(denied()));
    tokio::time::sleep(seconds(85)).await;
    read(&client)
        .await
        .expect("still its time; asks in the background");
    settle().await;
    assert_eq!(read(&client).await, Err(denied()));
}

#[tokio::test(start_paused = true)]
async fn keks_that_nobody_uses_are_wiped() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.cache_idle_ttl = seconds(60);
    let client = start(&[&provider], &policy).await;
    let kek = client
        .unwrap("main", "v1", &KEK)
        .await
        .expect("read")
        .kek
        .clone();
    assert_eq!(Arc::strong_count(&kek), 2);
    tokio::time::sleep(seconds(60) + SWEEP).await;
    settle().await;
    assert_eq!(Arc::strong_count(&kek), 1, "the cache has let go of it");
    assert_eq!(report(&client).evictions[2], ("idle", 1));
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.cache_max = 10;
    let client = start(&[&provider], &policy).await;
    for n in 0..30 {
        client.unwrap("main", "v1", &[n; 33]).await.expect("read");
    }
    assert_eq!(
        (report(&client).cached, report(&client).evictions[0]),
        (10, ("full", 20))
    );
    provider.forget();
    for n in 20..30 {
        client.unwrap("main", "v1", &[n; 33]).await.expect("read");
    }
    assert_eq!(provider.asked().1, 0);
}

#[tokio::test(start_paused = true)]
async fn an_epoch_tells_its_grace_and_is_watched_while_it_is_used() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.grace_writes = seconds(600);
    let client = start(&[&provider], &policy).await;
    assert_eq!(report(&client).kek_age, None);
    let epoch = client.generate("main").await.expect("made");
    assert_eq!(epoch.grace, seconds(600));
    assert_eq!(epoch.keep, policy.core_ttl);
    let lease = epoch.lease.clone();
    drop(epoch);
    tokio::time::sleep(seconds(1000)).await;
    let seen = report(&client);
    assert_eq!(seen.kek_age, Some(seconds(1000)));
    assert_eq!(seen.kek_expiry, Some(seconds(3600 + 600 - 1000)));
    lease.used_offline();
    drop(lease);
    let seen = report(&client);
    assert_eq!((seen.kek_age, seen.offline_writes), (None, 1));
}
