//! Readiness from a canary.

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn watched() -> KeyPolicy {
    KeyPolicy {
        health_interval: seconds(30),
        ..policy()
    }
}

/// Names of the standings of reading and writing.
fn standing(client: &KeyClient) -> (&'static str, &'static str) {
    let health = client.health();
    (health[0].reading().name(), health[0].writing().name())
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_at_the_start_is_waited_for() {
    let provider = Scripted::new();
    provider.set(Mode::Hang);
    let keys = Keys::from([("main".to_owned(), key(&[&provider], &watched()))]);
    let client = KeyService::start(keys, &Handle::current());
    assert_eq!(standing(&client), ("unchecked", "unchecked"));
    tokio::time::sleep(seconds(20)).await;
    assert_eq!(standing(&client), ("down", "down"));
    provider.set(Mode::Well);
    tokio::time::sleep(seconds(12)).await;
    assert_eq!(standing(&client), ("ready", "ready"));
}

#[tokio::test(start_paused = true)]
async fn asking_for_health_asks_no_provider() {
    let provider = Scripted::new();
    let client = start(&[&provider], &watched()).await;
    for _ in 0..10_000 {
        assert_eq!(standing(&client), ("ready", "ready"));
    }
    settle().await;
    assert_eq!(provider.asked(), (0, 0));
    tokio::time::sleep(seconds(601)).await;
    let (generates, unwraps) = provider.asked();
    assert!(
        (20..=23).contains(&unwraps),
        "one check each 30 s: {unwraps}"
    );
    assert!(
        (1..=2).contains(&generates),
        "and a new KEK now and then: {generates}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_degrades_and_then_ends_what_is_kept() {
    let provider = Scripted::new();
    let mut policy = watched();
    (policy.cache_ttl, policy.grace_reads) = (seconds(600), seconds(300));
    let client = start(&[&provider], &policy).await;
    client.unwrap("main", "v1", &[9; 33]).await.expect("read");
    let epoch = client.generate("main").await.expect("made");
    provider.set(Mode::Fail(unavailable()));
    tokio::time::sleep(seconds(400)).await;
    assert_eq!(standing(&client), ("degraded", "degraded"));
    drop(epoch);
    assert_eq!(standing(&client), ("degraded", "down"), "no core can write");
    tokio::time::sleep(seconds(501)).await;
    assert_eq!(standing(&client), ("down", "down"));
    provider.set(Mode::Well);
    tokio::time::sleep(seconds(30)).await;
    assert_eq!(standing(&client), ("ready", "ready"));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_is_noticed_and_what_is_kept_of_it_asked_for_anew() {
    let provider = Scripted::new();
    let client = start(&[&provider], &watched()).await;
    client.unwrap("main", "v1", &[9; 33]).await.expect("read");
    provider.set(Mode::Fail(denied()));
    tokio::time::sleep(seconds(31)).await;
    assert_eq!(standing(&client).0, "down");
    let refused = client.unwrap("main", "v1", &[9; 33]).await;
    assert_eq!(error(refused), denied(), "not from the cache, an hour long");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_ends_what_cores_write_with() {
    let provider = Scripted::new();
    let client = start(&[&provider], &watched()).await;
    let epochs = [
        client.generate("main").await.expect("made"),
        client.generate("main").await.expect("made"),
    ];
    provider.set(Mode::Fail(unavailable()));
    tokio::time::sleep(seconds(60)).await;
    assert!(!epochs.iter().any(|e| e.lease.ended()), "no refusal");
    assert_eq!(standing(&client).0, "degraded");
    provider.set(Mode::Fail(denied()));
    tokio::time::sleep(seconds(11)).await;
    assert!(epochs.iter().all(|e| e.lease.ended()));
    assert_eq!(
        (standing(&client).0, report(&client).kek_age),
        ("down", None)
    );
    provider.set(Mode::Well);
    tokio::time::sleep(seconds(11)).await;
    let next = client.generate("main").await.expect("made");
    assert!(!next.lease.ended() && epochs[0].lease.ended());
}

#[tokio::test(start_paused = true)]
async fn what_one_core_is_refused_ends_the_writing_of_all() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    let epoch = client.generate("main").await.expect("made");
    provider.set_generating(Mode::Fail(unavailable()));
    error(client.generate("main").await);
    assert!(!epoch.lease.ended());
    provider.set_generating(Mode::Fail(denied()));
    tokio::time::sleep(policy().breaker_open_for).await;
    error(client.generate("main").await);
    assert!(epoch.lease.ended());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_only_wrap_is_ready_for_nothing() {
    let provider = Scripted::new();
    provider.set_generating(Mode::Well);
    provider.set(Mode::Fail(denied()));
    let client = start(&[&provider], &watched()).await;
    assert_eq!(standing(&client), ("down", "down"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_only_unwrap_is_ready_for_reading() {
    let provider = Scripted::new();
    provider.set_generating(Mode::Fail(denied()));
    let client = start(&[&provider], &watched()).await;
    assert_eq!(standing(&client), ("ready", "down"));
    // From now on what was read stands for the canary.
    client.unwrap("main", "v1", &[9; 33]).await.expect("read");
    provider.set(Mode::Fail(unavailable()));
    tokio::time::sleep(seconds(40)).await;
    assert_eq!(standing(&client), ("degraded", "down"));
}

#[tokio::test(start_paused = true)]
async fn a_key_kept_for_old_objects_need_not_write() {
    let provider = Scripted::new();
    provider.set_generating(Mode::Fail(denied()));
    let mut key = key(&[&provider], &watched());
    key.writes = false;
    let client = start_keys(Keys::from([("main".to_owned(), key)]), &[]).await;
    assert_eq!(standing(&client), ("ready", "ready"));
}

#[tokio::test(start_paused = true)]
async fn a_core_that_gets_a_kek_is_as_good_as_a_check() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set_generating(Mode::Fail(denied()));
    error(client.generate("main").await);
    assert_eq!(standing(&client), ("ready", "down"));
    provider.set_generating(Mode::Well);
    tokio::time::sleep(policy().negative_ttl).await;
    client.generate("main").await.expect("made");
    assert_eq!(standing(&client), ("ready", "ready"));
}
