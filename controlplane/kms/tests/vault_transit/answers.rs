//! What no healthy server answers: small servers do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::openbao::{Answer, Stub};
use super::*;

const LOOKUP: &str = r#"{"data": {"ttl": 3600, "renewable": true}}"#;

/// A server that accepts every token and answers `answer` to all of Transit.
async fn answering(answer: Answer) -> Stub {
    Stub::start(move |request| {
        let answer = match request.path.as_str() {
            "/v1/auth/token/lookup-self" => (200, vec![], LOOKUP.to_owned()),
            _ => answer.clone(),
        };
        async move { answer }
    })
    .await
}

fn at(stub: &Stub) -> Arc<dyn Provider> {
    open(
        "main",
        config(&stub.endpoint, "sealgate", token("the-token")),
    )
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let errors = |text: &str| format!("{{\"errors\": [{text:?}]}}");
    let html = || "<html>no backend</html>".to_owned();
    let retry = |seconds: &str| vec![("retry-after", seconds.to_owned())];
    let cases: Vec<(Answer, &str, &[&str])> = vec![
        (
            (429, retry("7"), errors("rate limit quota exceeded")),
            "throttled",
            &["429", "try again in 7 s"],
        ),
        (
            (429, vec![], html()),
            "throttled",
            &["429", "try again in 1 s"],
        ),
        (
            (412, vec![], errors("required index state not present")),
            "unavailable",
            &["412"],
        ),
        ((472, vec![], errors("")), "unavailable", &["472"]),
        ((473, vec![], errors("")), "unavailable", &["473"]),
        (
            (500, vec![], errors("internal error")),
            "unavailable",
            &["500 internal error"],
        ),
        ((502, vec![], html()), "unavailable", &["502"]),
        (
            (503, vec![], errors("Vault is sealed")),
            "unavailable",
            &["is sealed"],
        ),
        (
            (503, retry("9"), html()),
            "unavailable",
            &["503", "try again in 9 s"],
        ),
        (
            (
                307,
                vec![("location", "https://leader:8200/v1/x".into())],
                String::new(),
            ),
            "unavailable",
            &[
                "redirects to https://leader:8200/v1/x",
                "standby",
                "not followed",
            ],
        ),
        // Not OpenBao's own refusals: what is between may be broken, and nobody should take its word for the key's end.
        (
            (403, vec![], html()),
            "unavailable",
            &["something else is at this address"],
        ),
        (
            (404, vec![], html()),
            "unavailable",
            &["something else is at this address"],
        ),
        (
            (400, vec![], html()),
            "unavailable",
            &["something else is at this address"],
        ),
        // Its own.
        (
            (400, vec![], errors("cipher: message authentication failed")),
            "invalid",
            &["changed"],
        ),
        (
            (
                400,
                vec![],
                errors("invalid ciphertext: could not decode base64"),
            ),
            "invalid",
            &["could not decode"],
        ),
        (
            (
                400,
                vec![],
                errors("ciphertext or signature version is disallowed by policy (too old)"),
            ),
            "denied",
            &["min_decryption_version"],
        ),
        (
            (400, vec![], errors("encryption key not found")),
            "denied",
            &["no Transit key"],
        ),
        (
            (404, vec![], r#"{"errors": []}"#.into()),
            "denied",
            &["no Transit key"],
        ),
        (
            (
                403,
                vec![],
                errors("1 error occurred:\n\t* permission denied\n\n"),
            ),
            "denied",
            &["forbids transit/decrypt/sealgate"],
        ),
        (
            (405, vec![], errors("unsupported operation")),
            "denied",
            &["405", "unsupported operation"],
        ),
        // Nonsense with status 200: another attempt may meet a better server.
        (
            (200, vec![], html()),
            "unavailable",
            &["cannot be understood"],
        ),
        (
            (200, vec![], r#"{"data": {"plaintext": "AAAA"}}"#.into()),
            "unavailable",
            &["not 32 bytes"],
        ),
        (
            (200, vec![], r#"{"data": {"plaintext": "!"}}"#.into()),
            "unavailable",
            &["base64"],
        ),
        (
            (200, vec![], "x".repeat(300 * 1024)),
            "unavailable",
            &["longer than"],
        ),
        (
            (204, vec![], String::new()),
            "unavailable",
            &["cannot be understood"],
        ),
    ];
    let wrapped = [&[1][..], &[0; 60]].concat();
    for (answer, kind, words) in cases {
        let (status, body) = (answer.0, answer.2.chars().take(60).collect::<String>());
        let stub = answering(answer).await;
        let refused = error(at(&stub).unwrap("1", &wrapped).await);
        let text = refused.to_string();
        assert_eq!(refused.kind(), kind, "{status} {body}: {text}");
        for word in words {
            assert!(
                text.contains(word),
                "{status} {body}: {word:?} is not in {text:?}"
            );
        }
        assert!(
            !text.contains("the-token") && !text.contains('\n'),
            "{text}"
        );
    }
}

/// A wrap that another prefix, encoding or length makes ambiguous is not taken.
#[tokio::test]
async fn only_canonical_wraps_are_taken() {
    // 60 bytes: no padding, no spare bits.
    let good = "A".repeat(80);
    for ciphertext in [
        format!("vault:v0:{good}"),
        format!("vault:v01:{good}"),
        format!("vault:v1{good}"),
        format!("bao:v1:{good}"),
        format!("vault:v1:{good}=="),
        format!("vault:v1:{good} "),
        format!("vault:v1:{}", good.replace("AAAA", "AA-_")),
        format!("vault:v1:{}", &good[1..]),
        format!("vault:v1:{}AB==", &good[4..]),
        format!("vault:v1:{}", "A".repeat(84)),
        format!("vault:v4294967296:{good}"),
    ] {
        let wrap = format!("{{\"data\": {{\"ciphertext\": {ciphertext:?}}}}}");
        let stub = answering((200, vec![], wrap)).await;
        let outcome = at(&stub).rewrap("1", &[&[1][..], &[0; 60]].concat()).await;
        assert!(outcome.is_err(), "{ciphertext}");
    }
    let stub = answering((
        200,
        vec![],
        format!("{{\"data\": {{\"ciphertext\": \"vault:v9:{good}\"}}}}"),
    ))
    .await;
    let wrap = at(&stub)
        .rewrap("1", &[&[1][..], &[0; 60]].concat())
        .await
        .expect("a good one");
    assert_eq!(
        (wrap.version.as_str(), wrap.wrapped),
        ("9", [&[1][..], &[0; 60]].concat())
    );
}

#[tokio::test]
async fn wraps_of_another_form_are_refused_without_a_call() {
    let stub = answering((500, vec![], String::new())).await;
    let provider = at(&stub);
    for wrapped in [
        vec![],
        vec![1],
        vec![1; 60],
        vec![1; 62],
        vec![2; 61],
        [&[0][..], &[1; 60]].concat(),
    ] {
        says(
            &error(provider.unwrap("1", &wrapped).await),
            "invalid",
            &["not a KEK that Transit wrapped"],
        );
    }
}

/// Neither token nor key follow a redirect, wherever it leads.
#[tokio::test]
async fn redirects_are_not_followed() {
    let met = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&met);
    let target = Stub::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { (200, vec![], LOOKUP.to_owned()) }
    })
    .await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/v1/transit/decrypt/sealgate", target.endpoint);
        let stub = answering((status, vec![("location", location)], String::new())).await;
        let refused = error(at(&stub).unwrap("1", &[&[1][..], &[0; 60]].concat()).await);
        says(&refused, "unavailable", &["redirects"]);
    }
    assert_eq!(met.load(Ordering::Relaxed), 0);
}

/// What is sent: the token and the namespace, and nothing that a proxy variable or a cookie could add.
#[tokio::test]
async fn requests_carry_token_namespace_and_context() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let stub = Stub::start(move |request| {
        let line = format!(
            "{} {} {:?} {:?} {:?} {}",
            request.method,
            request.path,
            request.header("x-vault-token"),
            request.header("x-vault-namespace"),
            request.header("x-vault-request"),
            String::from_utf8_lossy(&request.body),
        );
        into.lock().expect("a lock").push(line);
        async { (200, vec![], LOOKUP.to_owned()) }
    })
    .await;
    let mut config = config(&stub.endpoint, "k", token("s.1"));
    config.namespace = Some("a/b".into());
    config.mount = "m/t".into();
    let _ = open("main", config)
        .unwrap("7", &[&[1][..], &[0; 60]].concat())
        .await;
    let zeros = "A".repeat(80);
    let context = "x9CmNxmRiQU/1LfDm1huKmFhwEejxrMiYA47ldxSs+c=";
    let headers = "Some(\"s.1\") Some(\"a/b\") Some(\"true\")";
    let seen = seen.lock().expect("a lock");
    assert_eq!(
        seen[0],
        format!("GET /v1/auth/token/lookup-self {headers} ")
    );
    let body = format!("{{\"ciphertext\":\"vault:v7:{zeros}\",\"context\":\"{context}\"}}");
    assert_eq!(seen[1], format!("POST /v1/m/t/decrypt/k {headers} {body}"));
}

/// A server that hangs costs one login attempt at a time, and calls that are dropped at their deadline disturb nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_are_rare_while_the_server_refuses_or_fails() {
    for (status, kind, most) in [(400, "denied", 4), (503, "unavailable", 7)] {
        let logins = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&logins);
        let stub = Stub::start(move |request| {
            assert_eq!(request.path, "/v1/auth/approle/login");
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                (
                    status,
                    vec![],
                    r#"{"errors": ["invalid role or secret ID"]}"#.to_owned(),
                )
            }
        })
        .await;
        let role = ("role".to_owned(), "sssh".to_owned());
        let provider = open("main", config(&stub.endpoint, "k", approle(role)));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            let refused = error(provider.generate().await);
            assert_eq!(refused.kind(), kind, "{refused}");
            assert!(!refused.to_string().contains("sssh"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let logins = logins.load(Ordering::Relaxed);
        assert!(
            (2..=most).contains(&logins),
            "{status}: {logins} logins in 5 s"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_dropped_leave_the_session_whole() {
    let bao = Bao::start(Storage::Memory).await;
    let role = bao.approle("2s", "4s").await;
    let provider = open("main", config(&bao.endpoint, "sealgate", approle(role)));
    let end = Instant::now() + Duration::from_secs(6);
    let (mut done, mut dropped) = (0, 0);
    let mut wait = 0;
    while Instant::now() < end {
        wait = (wait + 37) % 4000;
        match tokio::time::timeout(Duration::from_micros(wait), round_trip(provider.as_ref())).await
        {
            Ok(outcome) => {
                outcome.expect("a good answer");
                done += 1;
            }
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 20, "{done} done, {dropped} dropped");
    round_trip(provider.as_ref())
        .await
        .expect("the session is whole");
    assert!(bao.audited("auth/approle/login") <= 6);
}
