//! Time-outs, retries, breakers, hedges, fall-back.

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A question that the cache has no answer to.
async fn unwrap(client: &KeyClient, n: u16) -> Result<(), KeyError> {
    let mut wrapped = [200; 33];
    wrapped[1..3].copy_from_slice(&n.to_be_bytes());
    client.unwrap("main", "v1", &wrapped).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_given_up_after_the_deadline() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Hang);
    let began = Instant::now();
    let refused = error(unwrap(&client, 1).await);
    assert!(
        refused.retryable() && refused.to_string().contains("no answer within "),
        "{refused}"
    );
    assert!(
        began.elapsed() <= policy().deadline,
        "{:?}",
        began.elapsed()
    );
    assert!(
        provider.asked().1 >= 3,
        "an attempt that hangs is tried again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_not_seen() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Fail(unavailable()));
    let asked = client.unwrap("main", "v1", &[7; 33]);
    settle().await;
    assert_eq!(provider.asked().1, 1);
    provider.set(Mode::Well);
    assert!(asked.await.is_ok());
    assert_eq!((provider.asked().1, report(&client).retries), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn retries_are_as_many_as_configured_and_refusals_have_none() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.breaker_failures = 1000;
    let client = start(&[&provider], &policy).await;
    provider.set(Mode::Fail(unavailable()));
    assert_eq!(error(unwrap(&client, 1).await), unavailable());
    assert_eq!(provider.asked().1, 4);
    provider.forget();
    for refusal in [denied(), KeyError::Invalid("cut".into())] {
        provider.set(Mode::Fail(refusal.clone()));
        let n = 2 + provider.asked().1 as u16;
        assert_eq!(error(unwrap(&client, n).await), refusal);
    }
    assert_eq!(provider.asked().1, 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_made_worse_by_retries() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.breaker_failures = 1_000_000;
    let client = start(&[&provider], &policy).await;
    provider.set(Mode::Fail(unavailable()));
    let asked: Vec<_> = (0..1000)
        .map(|n| {
            let client = client.clone();
            async move { unwrap(&client, n).await }
        })
        .collect();
    let began = Instant::now();
    let mut all = JoinSet::new();
    asked.into_iter().for_each(|one| {
        all.spawn(one);
    });
    assert!(all.join_all().await.into_iter().all(|one| one.is_err()));
    let passed = began.elapsed().as_secs() as usize;
    let calls = provider.asked().1;
    assert!(
        (1000..=1000 + 20 + 200 + passed + 1).contains(&calls),
        "{calls}"
    );
    let report = report(&client);
    assert_eq!(report.retries as usize, calls - 1000);
    assert!(report.retries_withheld > 0);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_fails_fast_and_closes_by_one_probe() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.retries = 0;
    let client = start(&[&provider], &policy).await;
    provider.set(Mode::Hang);
    for n in 0..5 {
        error(unwrap(&client, n).await);
    }
    assert_eq!(provider.asked().1, 5);
    let began = Instant::now();
    let refused = error(unwrap(&client, 6).await);
    assert_eq!(began.elapsed(), Duration::ZERO, "no call was made");
    assert!(
        refused
            .retry_after()
            .is_some_and(|after| after <= policy.breaker_open_for)
    );
    assert_eq!(provider.asked().1, 5);
    assert_eq!(
        (
            report(&client).endpoints[0].breaker,
            report(&client).endpoints[0].breaker_opened
        ),
        (2, 1)
    );
    tokio::time::sleep(policy.breaker_open_for).await;
    provider.set(Mode::Slow(seconds(1)));
    let probe = client.unwrap("main", "v1", &[90; 33]);
    settle().await;
    assert!(unwrap(&client, 7).await.is_err(), "one probe at a time");
    assert!(probe.await.is_ok());
    assert!(unwrap(&client, 8).await.is_ok());
    assert_eq!(report(&client).endpoints[0].breaker, 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_open_a_breaker() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Fail(denied()));
    for n in 0..50 {
        assert_eq!(error(unwrap(&client, n).await), denied());
    }
    provider.set(Mode::Well);
    assert!(unwrap(&client, 100).await.is_ok());
    assert_eq!(report(&client).endpoints[0].breaker_opened, 0);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_peace_gets_it() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Fail(throttled(4)));
    let began = Instant::now();
    let first = client.unwrap("main", "v1", &[50; 33]);
    settle().await;
    provider.set(Mode::Well);
    let second = client.unwrap("main", "v1", &[51; 33]);
    assert!(first.await.is_ok() && second.await.is_ok());
    assert!(began.elapsed() >= seconds(4), "{:?}", began.elapsed());
    assert!(began.elapsed() <= seconds(5), "{:?}", began.elapsed());
    assert_eq!(provider.asked().1, 3, "nothing was asked meanwhile");
}

#[tokio::test(start_paused = true)]
async fn peace_that_lasts_longer_than_the_deadline_is_an_answer_at_once() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Fail(throttled(20)));
    let began = Instant::now();
    assert_eq!(error(unwrap(&client, 1).await), throttled(20));
    let again = error(unwrap(&client, 2).await);
    assert_eq!(again.retry_after(), Some(seconds(20)));
    assert_eq!((began.elapsed(), provider.asked().1), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_asked_in_their_order() {
    let places = [Scripted::new(), Scripted::new(), Scripted::new()];
    let [a, b, c] = &places;
    let client = start(&[a, b, c], &policy()).await;
    assert!(client.generate("main").await.is_ok() && unwrap(&client, 0).await.is_ok());
    assert_eq!([a.asked(), b.asked(), c.asked()], [(1, 1), (0, 0), (0, 0)]);
    a.set(Mode::Fail(unavailable()));
    assert!(client.generate("main").await.is_ok() && unwrap(&client, 1).await.is_ok());
    assert_eq!([b.asked(), c.asked()], [(1, 1), (0, 0)]);
    b.set(Mode::Fail(throttled(1)));
    assert!(client.generate("main").await.is_ok() && unwrap(&client, 2).await.is_ok());
    assert_eq!(c.asked(), (1, 1));
    assert!(report(&client).fallbacks >= 4);
    // Once its breaker is open, the first is not asked at all.
    for n in 10..20 {
        assert!(unwrap(&client, n).await.is_ok());
    }
    a.forget();
    assert!(unwrap(&client, 30).await.is_ok());
    assert_eq!(a.asked(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_unwrap_is_hedged_and_a_new_kek_is_not() {
    let (slow, quick) = (Scripted::new(), Scripted::new());
    let client = start(&[&slow, &quick], &policy()).await;
    slow.set(Mode::Slow(seconds(1)));
    let began = Instant::now();
    assert!(unwrap(&client, 1).await.is_ok());
    assert_eq!(began.elapsed(), policy().hedge_after);
    assert_eq!(
        (slow.asked().1, quick.asked().1, report(&client).hedges),
        (1, 1, 1)
    );
    let began = Instant::now();
    assert!(client.generate("main").await.is_ok());
    let took = seconds(1) + policy().hedge_after;
    assert_eq!(
        (began.elapsed(), quick.asked().0),
        (took, 0),
        "opened again by a hedge"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_win_over_an_answer() {
    let (slow, refusing) = (Scripted::new(), Scripted::new());
    let client = start(&[&slow, &refusing], &policy()).await;
    slow.set(Mode::Slow(seconds(1)));
    refusing.set(Mode::Fail(denied()));
    assert!(
        unwrap(&client, 1).await.is_ok(),
        "the hedge was refused first"
    );
    // And in order: one refuses, the next opens.
    slow.set(Mode::Well);
    let client = start(&[&refusing, &slow], &policy()).await;
    assert!(unwrap(&client, 2).await.is_ok());
    // Against a failure it does win: what is refused is not kept alive by an outage elsewhere.
    slow.set(Mode::Fail(unavailable()));
    let refused = error(unwrap(&client, 3).await);
    assert!(
        matches!(&refused, KeyError::Denied(why) if why.starts_with("place0: ")),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_frozen_first_endpoint_costs_the_hedge_time_only_until_its_breaker_opens() {
    let (frozen, well) = (Scripted::new(), Scripted::new());
    let client = start(&[&frozen, &well], &policy()).await;
    frozen.set(Mode::Hang);
    for n in 0..5 {
        let began = Instant::now();
        assert!(unwrap(&client, n).await.is_ok());
        assert_eq!(began.elapsed(), policy().hedge_after);
    }
    tokio::time::sleep(policy().attempt_timeout).await;
    let began = Instant::now();
    assert!(unwrap(&client, 10).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn calls_at_one_endpoint_are_bounded_and_none_is_lost() {
    let provider = Scripted::new();
    let mut policy = policy();
    policy.concurrency = 4;
    let client = start(&[&provider], &policy).await;
    provider.set(Mode::Slow(Duration::from_millis(100)));
    let mut all = JoinSet::new();
    for n in 0..100 {
        let client = client.clone();
        all.spawn(async move { unwrap(&client, n).await });
    }
    assert!(all.join_all().await.into_iter().all(|one| one.is_ok()));
    assert_eq!(provider.most.load(SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn waiters_of_one_flight_share_its_failure_and_it_is_remembered_for_a_while() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.set(Mode::Fail(denied()));
    provider.hold();
    let asked = [(); 64].map(|()| client.unwrap("main", "v1", &[5; 33]));
    settle().await;
    provider.go_on();
    for answer in asked {
        assert_eq!(error(answer.await), denied());
    }
    assert_eq!(provider.asked().1, 1);
    // A flood of reads of an object that cannot be opened is not passed on.
    for _ in 0..1000 {
        assert_eq!(error(client.unwrap("main", "v1", &[5; 33]).await), denied());
    }
    assert_eq!(
        (provider.asked().1, report(&client).refused_from_cache),
        (1, 1000)
    );
    provider.set(Mode::Well);
    tokio::time::sleep(policy().negative_ttl).await;
    assert!(client.unwrap("main", "v1", &[5; 33]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn new_keks_that_are_refused_are_not_asked_for_again_at_once() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    for (mode, pause) in [
        (denied(), policy().negative_ttl),
        (unavailable(), policy().error_ttl),
    ] {
        provider.set(Mode::Fail(mode.clone()));
        assert_eq!(error(client.generate("main").await), mode);
        provider.forget();
        for _ in 0..100 {
            assert_eq!(error(client.generate("main").await), mode);
        }
        assert_eq!(provider.asked(), (0, 0));
        provider.set(Mode::Well);
        tokio::time::sleep(pause).await;
        assert!(client.generate("main").await.is_ok());
    }
}

/// What wraps and does not unwrap.
fn one_way(provider: &Arc<Scripted>, trouble: KeyError) {
    provider.set_generating(Mode::Well);
    provider.set(Mode::Fail(trouble));
}

#[tokio::test(start_paused = true)]
async fn a_kek_that_does_not_unwrap_is_not_sealed_with() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    one_way(&provider, denied());
    let count = |outcome| {
        let calls = report(&client).endpoints.remove(0).calls;
        let mut verify = calls.into_iter().filter(|call| call.0 == "verify");
        verify.find(|call| call.1 == outcome).map(|call| call.2)
    };
    assert_eq!((count("denied"), count("busy")), (Some(0), None));
    let refused = error(client.generate("main").await);
    assert_eq!(
        count("denied"),
        Some(1),
        "it rises from zero: alarms see it"
    );
    let KeyError::Denied(why) = &refused else {
        panic!("{refused}")
    };
    assert!(why.contains("does not unwrap again: disabled"), "{why}");
    let health = client.health();
    assert_eq!(health[0].writing(), Standing::Down(refused.clone()));
    // It is remembered as any refusal is, and over as soon as it is mended.
    provider.forget();
    assert_eq!(error(client.generate("main").await), refused);
    assert_eq!(provider.asked(), (0, 0));
    provider.set(Mode::Well);
    tokio::time::sleep(policy().negative_ttl).await;
    assert!(client.generate("main").await.is_ok());
    assert_eq!(provider.verifies.load(SeqCst), 1, "one call for each KEK");
}

#[tokio::test(start_paused = true)]
async fn a_kek_that_unwraps_to_another_is_not_sealed_with() {
    let provider = Scripted::new();
    let client = start(&[&provider], &policy()).await;
    provider.garbles.store(true, SeqCst);
    let refused = error(client.generate("main").await);
    assert!(
        matches!(&refused, KeyError::Invalid(why) if why.contains("unwraps to another key")),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_kek_may_be_opened_again_at_another_endpoint_within_the_same_deadline() {
    let (lame, well) = (Scripted::new(), Scripted::new());
    let client = start(&[&lame, &well], &policy()).await;
    for trouble in [unavailable(), behind()] {
        one_way(&lame, trouble);
        client.generate("main").await.expect("opened by the second");
    }
    assert_eq!((lame.asked().0, well.asked()), (2, (0, 2)));
    for both in [&lame, &well] {
        both.set_generating(Mode::Slow(Duration::from_millis(1500)));
        both.set(Mode::Hang);
    }
    let began = Instant::now();
    let refused = error(client.generate("main").await);
    assert!(refused.retryable(), "{refused}");
    assert!(began.elapsed() <= policy().deadline);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_is_passed_over_and_not_given_up() {
    let (lagging, leading) = (Scripted::new(), Scripted::new());
    let client = start(&[&lagging, &leading], &policy()).await;
    lagging.set(Mode::Fail(behind()));
    for n in 0..20 {
        assert!(unwrap(&client, n).await.is_ok());
    }
    assert_eq!(lagging.asked().1, 20, "it answers: no breaker opens");
    // Alone it is asked again soon, and its answer is not remembered as a refusal is.
    let mut policy = policy();
    policy.retries = 0;
    let client = start(&[&lagging], &policy).await;
    let refused = error(unwrap(&client, 50).await);
    assert_eq!((refused.kind(), refused.retryable()), ("behind", true));
    lagging.set(Mode::Well);
    tokio::time::sleep(policy.error_ttl).await;
    assert!(unwrap(&client, 50).await.is_ok());
}
