//! Tokens: their life, their death, and outages of the server.

use super::*;

/// Leases of 2 s that end for good after 4 s, under calls without a pause: nobody meets a dead token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_leases_are_renewed_and_replaced_without_an_error() {
    let bao = Bao::start(Storage::Memory).await;
    let role = bao.approle("2s", "4s").await;
    let provider = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let made = provider.generate().await.expect("a KEK");
    let end = Instant::now() + Duration::from_secs(13);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (provider, version, wrapped) = (
            Arc::clone(&provider),
            made.version.clone(),
            made.wrapped.clone(),
        );
        callers.spawn(async move {
            let (mut calls, mut slow) = (0, 0);
            while Instant::now() < end {
                match provider.unwrap(&version, &wrapped).await {
                    Ok(_) => calls += 1,
                    // A machine that stands still for 10 s: no fault of a token.
                    Err(e) if e.to_string().contains("timed out") => slow += 1,
                    Err(e) => panic!("after {calls} calls: {e}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (calls, slow)
        });
    }
    let counts = callers.join_all().await;
    let (calls, slow) = counts
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(slow <= 4, "{slow} calls timed out");
    let (logins, renewals) = (
        bao.audited("auth/approle/login"),
        bao.audited("auth/token/renew-self"),
    );
    assert!(calls > 200, "{calls}");
    assert!((3..=9).contains(&logins), "{logins} logins");
    assert!(renewals >= 3, "{renewals} renewals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_replaced_by_one_login_however_many_calls_meet_it() {
    let bao = Bao::start(Storage::Memory).await;
    let role = bao.approle("1h", "24h").await;
    let provider = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let made = provider.generate().await.expect("a KEK");
    assert_eq!(bao.audited("auth/approle/login"), 1);
    for round in 1..=3 {
        let accessors = bao.ok("LIST", "auth/token/accessors", json!(null)).await;
        for accessor in accessors["data"]["keys"].as_array().expect("a list") {
            let body = json!({"accessor": accessor});
            let token = bao
                .ok("POST", "auth/token/lookup-accessor", body.clone())
                .await;
            if token["data"]["path"] == "auth/approle/login" {
                bao.ok("POST", "auth/token/revoke-accessor", body).await;
            }
        }
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let (provider, version, wrapped) = (
                Arc::clone(&provider),
                made.version.clone(),
                made.wrapped.clone(),
            );
            calls.spawn(async move { provider.unwrap(&version, &wrapped).await.map(|_| ()) });
        }
        for outcome in calls.join_all().await {
            outcome.expect("a new token");
        }
        assert_eq!(bao.audited("auth/approle/login"), 1 + round);
        // A token that was just made is not doubted for a while.
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
}

/// A refusal that is about the policy is no reason to log in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_forbids_is_denied_without_new_logins() {
    let bao = Bao::start(Storage::Memory).await;
    let role = bao.approle("1h", "24h").await;
    let provider = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let made = provider.generate().await.expect("a KEK");
    let policy = openbao::POLICY.replace("transit/decrypt/*", "transit/elsewhere/*");
    bao.ok(
        "PUT",
        "sys/policies/acl/sealgate",
        json!({"policy": policy}),
    )
    .await;
    for _ in 0..40 {
        let refused = error(provider.unwrap(&made.version, &made.wrapped).await);
        says(
            &refused,
            "denied",
            &[
                "forbids transit/decrypt/sealgate",
                "capabilities = [\"update\"]",
            ],
        );
    }
    assert_eq!(bao.audited("auth/approle/login"), 1);
    assert!(bao.audited("auth/token/lookup-self") <= 3);
    // Given back, nothing has to be restarted.
    bao.ok(
        "PUT",
        "sys/policies/acl/sealgate",
        json!({"policy": openbao::POLICY}),
    )
    .await;
    recovers(provider.as_ref(), Duration::from_secs(5)).await;
    // A role whose policy forbids everything, the question about itself included, logs in again, but not for each call.
    bao.ok(
        "POST",
        "auth/approle/role/gw",
        json!({"token_policies": "none", "token_no_default_policy": true}),
    )
    .await;
    let role = (
        text(
            &bao.ok("GET", "auth/approle/role/gw/role-id", json!(null))
                .await["data"]["role_id"],
        ),
        text(
            &bao.ok("POST", "auth/approle/role/gw/secret-id", json!({}))
                .await["data"]["secret_id"],
        ),
    );
    let provider = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let (before, start) = (bao.audited("auth/approle/login"), Instant::now());
    while start.elapsed() < Duration::from_secs(3) {
        says(
            &error(provider.unwrap("1", &made.wrapped).await),
            "denied",
            &[],
        );
    }
    let logins = bao.audited("auth/approle/login") - before;
    assert!(logins <= 4, "{logins} logins in 3 s");
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_token_file_is_taken_over() {
    let bao = Bao::start(Storage::Memory).await;
    let file = bao.dir.path().join("token");
    let policies = json!({"policies": ["sealgate"], "ttl": "1h"});
    let first = bao.token(policies.clone()).await;
    std::fs::write(&file, format!("{first}\n")).expect("writes");
    let auth = Auth::Token(SecretSource::File(file.clone()));
    let provider = open("main", config(&bao.endpoint, "sealgate", auth));
    round_trip(provider.as_ref())
        .await
        .expect("the first token");
    bao.ok("POST", "auth/token/revoke", json!({"token": first}))
        .await;
    let refused = error(provider.generate().await);
    says(
        &refused,
        "denied",
        &["does not accept the token", "put another into", "/token"],
    );
    assert!(!refused.to_string().contains(&first));
    // Replaced as agents do it: a new file under the old name. The next call looks.
    let second = bao.token(policies).await;
    std::fs::write(file.with_extension("new"), second).expect("writes");
    std::fs::rename(file.with_extension("new"), &file).expect("renames");
    round_trip(provider.as_ref())
        .await
        .expect("the second token, at once");
    // And without a call: the file is watched.
    let lookups = bao.audited("auth/token/lookup-self");
    let third = bao.token(json!({"policies": ["sealgate"]})).await;
    std::fs::write(&file, third).expect("writes");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(bao.audited("auth/token/lookup-self") > lookups);
    // A file that is missing at the start is waited for.
    let late = bao.dir.path().join("late");
    let auth = Auth::Token(SecretSource::File(late.clone()));
    let provider = open("main", config(&bao.endpoint, "sealgate", auth));
    says(
        &error(provider.generate().await),
        "denied",
        &["/late cannot be read"],
    );
    std::fs::write(&late, &bao.root).expect("writes");
    recovers(provider.as_ref(), Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_tokens_are_renewed_where_they_can_be() {
    let bao = Bao::start(Storage::Memory).await;
    let of = |token_text: String| {
        open(
            "main",
            config(&bao.endpoint, "sealgate", token(&token_text)),
        )
    };
    let root = of(bao.root.clone());
    let periodic = of(bao
        .token(json!({"policies": ["sealgate"], "period": "2s"}))
        .await);
    let ending = of(bao
        .token(json!({"policies": ["sealgate"], "ttl": "3s", "explicit_max_ttl": "3s"}))
        .await);
    let batch = of(bao
        .token(json!({"policies": ["sealgate"], "type": "batch", "ttl": "1h"}))
        .await);
    for provider in [&root, &periodic, &ending, &batch] {
        round_trip(provider.as_ref()).await.expect("a good token");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    for provider in [&root, &periodic, &batch] {
        round_trip(provider.as_ref())
            .await
            .expect("a token that lives on");
    }
    assert!(bao.audited("auth/token/renew-self") >= 3);
    let refused = error(ending.generate().await);
    says(
        &refused,
        "denied",
        &["does not accept the token", "[keys.main]"],
    );
}

/// Tokens that the gateway got itself are revoked when the configuration no longer needs them; given ones stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_tokens_are_revoked_at_the_end() {
    let bao = Bao::start(Storage::Memory).await;
    let role = bao.approle("1h", "24h").await;
    let own = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let theirs = bao.token(json!({"policies": ["sealgate"]})).await;
    let given = open("main", config(&bao.endpoint, "sealgate", token(&theirs)));
    for provider in [own, given] {
        round_trip(provider.as_ref()).await.expect("works");
    }
    let start = Instant::now();
    while bao.audited("auth/token/revoke-self") == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "no token was revoked"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bao.audited("auth/token/revoke-self"), 1);
    bao.ok("POST", "auth/token/lookup", json!({"token": theirs}))
        .await;
}

/// Sealed, killed, restarted, unsealed: definite answers meanwhile, and recovery without a restart of the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_sealed_or_restarted_is_unavailable_and_recovers() {
    let mut bao = Bao::start(Storage::Raft).await;
    let role = bao.approle("1h", "24h").await;
    let provider = open(
        "main",
        config(&bao.endpoint, "sealgate", approle(role.clone())),
    );
    let made = provider.generate().await.expect("a KEK");
    let unwrap = async || provider.unwrap(&made.version, &made.wrapped).await;
    bao.seal().await;
    says(
        &error(unwrap().await),
        "unavailable",
        &["is sealed", "bao operator unseal"],
    );
    // A gateway that starts now cannot even log in.
    let newcomer = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    says(
        &error(newcomer.generate().await),
        "unavailable",
        &["is sealed"],
    );
    bao.unseal().await;
    assert!(unwrap().await.expect("unsealed") == made.kek);
    recovers(newcomer.as_ref(), Duration::from_secs(10)).await;
    bao.kill();
    let down = error(unwrap().await);
    says(&down, "unavailable", &["127.0.0.1:"]);
    assert!(down.retryable() && down.retry_after().is_some());
    bao.launch().await;
    says(&error(unwrap().await), "unavailable", &["is sealed"]);
    bao.unseal().await;
    // Tokens survive a restart: no new login was needed.
    let logins = bao.audited("auth/approle/login");
    assert!(unwrap().await.expect("restarted") == made.kek);
    assert_eq!(bao.audited("auth/approle/login"), logins);
    recovers(newcomer.as_ref(), Duration::from_secs(10)).await;
}

/// A token that ends during an outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_while_the_server_is_down_is_replaced_after() {
    let mut bao = Bao::start(Storage::Raft).await;
    let role = bao.approle("2s", "10s").await;
    let provider = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let made = provider.generate().await.expect("a KEK");
    bao.kill();
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let refused = error(provider.unwrap(&made.version, &made.wrapped).await);
        assert_eq!(refused.kind(), "unavailable", "{refused}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bao.launch().await;
    bao.unseal().await;
    recovers(provider.as_ref(), Duration::from_secs(5)).await;
    assert!(
        provider
            .unwrap(&made.version, &made.wrapped)
            .await
            .expect("opens")
            == made.kek
    );
}

/// Three nodes, a provider at each: standbys forward to the leader, and when that dies, the others go on by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_cluster_serves_and_outlives_its_leader() {
    let mut leader = Bao::start(Storage::Raft).await;
    let nodes = [Bao::join(&leader).await, Bao::join(&leader).await];
    let role = leader.approle("1h", "24h").await;
    let mut config = config(&leader.endpoint, "sealgate", approle(role));
    config
        .endpoints
        .extend(nodes.iter().map(|node| node.endpoint.clone()));
    let providers = VaultProvider::open("main", config, &Handle::current()).expect("providers");
    let labels: Vec<_> = providers.iter().map(|(label, _)| label.clone()).collect();
    assert_eq!(labels.len(), 3);
    let made = providers[0].1.generate().await.expect("a KEK");
    for (label, provider) in &providers {
        recovers(provider, Duration::from_secs(10)).await;
        let opened = provider.unwrap(&made.version, &made.wrapped).await;
        assert!(opened.unwrap_or_else(|e| panic!("{label}: {e}")) == made.kek);
    }
    // New nodes vote after a while.
    let start = Instant::now();
    loop {
        let answer = leader
            .ok("GET", "sys/storage/raft/configuration", json!(null))
            .await;
        let servers = answer["data"]["config"]["servers"]
            .as_array()
            .expect("a list");
        if servers
            .iter()
            .filter(|server| server["voter"] == true)
            .count()
            == 3
        {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{servers:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    leader.kill();
    says(&error(providers[0].1.generate().await), "unavailable", &[]);
    for (_, provider) in &providers[1..] {
        let start = Instant::now();
        // Until a new leader is there, the outcome is an outage, never a refusal.
        loop {
            match provider.unwrap(&made.version, &made.wrapped).await {
                Ok(opened) => break assert!(opened == made.kek),
                Err(e) => {
                    assert!(e.retryable(), "{e}");
                    assert!(
                        start.elapsed() < Duration::from_secs(60),
                        "no new leader: {e}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
