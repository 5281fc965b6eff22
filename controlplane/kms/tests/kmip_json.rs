//! The KMIP provider in JSON, against a server that answers as Cosmian KMS does. tests/kmip_cosmian.rs runs the same on
//! the real one.

mod conformance;
mod kmip_json {
    pub(crate) mod stub;
}

use std::sync::Arc;
use std::time::Duration;

use conformance::{Subject, conforms};
use kmip_json::stub::{Fault, Stub};
use sealgate_kms::kmip::{KmipConfig, KmipEndpoint, KmipProvider, KmipVersion, KmipWrap, TlsFiles};
use sealgate_kms::{KeyError, Provider};
use zeroize::Zeroizing;

fn config(stub: &Stub, uid: &str) -> KmipConfig {
    KmipConfig {
        endpoint: KmipEndpoint::Json {
            url: stub.url.clone(),
        },
        version: KmipVersion { major: 2, minor: 1 },
        uid: uid.to_owned(),
        old_uids: Vec::new(),
        wrap: KmipWrap::AesGcm,
        token: None,
        tls: TlsFiles::default(),
    }
}

fn provider(name: &str, config: KmipConfig) -> Arc<dyn Provider> {
    Arc::new(KmipProvider::new(name, config).unwrap_or_else(|e| panic!("{e}")))
}

async fn conforms_with(wrap: KmipWrap) {
    let stub = Stub::start().await;
    stub.create("first");
    stub.create("other");
    let with = |uid: &str| KmipConfig {
        wrap,
        ..config(&stub, uid)
    };
    let rekeyed = stub.clone();
    conforms(Subject {
        main: provider("main", with("first")),
        other_name: provider("backup", with("first")),
        other_key: provider("main", with("other")),
        rotate: Some(Box::new(move || {
            rekeyed.rekey("first", "second");
            rekeyed.rekey("second", "third");
            Box::pin(async {})
        })),
    })
    .await;
    let fresh = provider("main", with("first"));
    assert_eq!(
        fresh.newest_version().await.expect("a version").as_deref(),
        Some("third")
    );
    assert_eq!(fresh.kind(), "kmip");
}

#[tokio::test]
async fn conforms_with_gcm() {
    conforms_with(KmipWrap::AesGcm).await;
}

#[tokio::test]
async fn conforms_with_key_wrap() {
    conforms_with(KmipWrap::AesKeyWrapPadding).await;
}

fn said<T>(outcome: Result<T, KeyError>) -> (KeyError, String) {
    match outcome {
        Ok(_) => panic!("it went well"),
        Err(e) => (e.clone(), e.to_string()),
    }
}

#[tokio::test]
async fn old_versions_are_found_from_the_newest_and_from_the_oldest() {
    let stub = Stub::start().await;
    stub.create("one");
    let mut made = Vec::new();
    for (old, new) in [("one", "two"), ("two", "three"), ("three", "four")] {
        made.push(
            provider("main", config(&stub, "one"))
                .generate()
                .await
                .expect("generates"),
        );
        stub.rekey(old, new);
    }
    let versions: Vec<_> = made.iter().map(|kek| kek.version.as_str()).collect();
    assert_eq!(versions, ["one", "two", "three"]);
    for uid in ["one", "two", "four"] {
        for kek in &made {
            // One provider for each: nothing is known of the others yet.
            let provider = provider("main", config(&stub, uid));
            let opened = provider.unwrap(&kek.version, &kek.wrapped).await;
            assert!(opened.unwrap_or_else(|e| panic!("{uid} {}: {e}", kek.version)) == kek.kek);
        }
    }

    // A key that is not of the line is not even asked, and the line is walked once.
    stub.create("stranger");
    let provider = provider("main", config(&stub, "four"));
    let (error, text) = said(provider.unwrap("stranger", &made[0].wrapped).await);
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("old_uids"),
        "{text}"
    );
    let before = stub.requests();
    said(provider.unwrap("stranger", &made[0].wrapped).await);
    assert_eq!(
        stub.requests() - before,
        1,
        "only whether the newest was replaced"
    );

    let named = KmipConfig {
        old_uids: vec!["stranger".to_owned()],
        ..config(&stub, "four")
    };
    let (error, text) = said(
        self::provider("main", named)
            .unwrap("stranger", &made[0].wrapped)
            .await,
    );
    assert!(matches!(error, KeyError::Invalid(_)), "{text}");
}

#[tokio::test]
async fn links_in_a_circle_end() {
    let stub = Stub::start().await;
    stub.create("one");
    stub.rekey("one", "two");
    stub.link("two", "one");
    let (error, text) = said(provider("main", config(&stub, "one")).generate().await);
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("circle"),
        "{text}"
    );
}

#[tokio::test]
async fn faults_have_their_class() {
    let stub = Stub::start().await;
    stub.create("one");
    let provider = provider("main", config(&stub, "one"));
    let kek = provider.generate().await.expect("generates");
    let http = |status, more, text: &str| Some(Fault::Http(status, more, text.to_owned()));
    let general = include_str!("data/cosmian/decrypt_forged.json")
        .replace("Cryptographic_Failure", "General_Failure");
    type Check = fn(&KeyError) -> bool;
    let unavailable: Check = |e| matches!(e, KeyError::Unavailable { .. });
    let denied: Check = |e| matches!(e, KeyError::Denied(_));
    let cases: Vec<(Option<Fault>, Check, &str)> = vec![
        (http(503, "", "down"), unavailable, "HTTP 503: down"),
        (http(500, "", ""), unavailable, "HTTP 500"),
        (
            http(429, "retry-after: 7\r\n", ""),
            |e| matches!(e, KeyError::Throttled { .. }),
            "HTTP 429",
        ),
        (http(401, "", "no"), denied, "see `token`"),
        (
            http(422, "", "Permission_Denied: not\nyours"),
            denied,
            "HTTP 422: Permission_Denied: not yours",
        ),
        (
            http(302, "location: http://127.0.0.1:1/\r\n", ""),
            denied,
            "HTTP 302",
        ),
        (http(200, "", "<html>"), unavailable, "not KMIP in JSON"),
        (
            http(200, "", "{\"tag\":\"EncryptResponse\",\"value\":[]}"),
            unavailable,
            "not a ResponseMessage",
        ),
        (
            http(200, "", &" ".repeat(70_000)),
            unavailable,
            "longer than 64 KiB",
        ),
        (http(200, "", &general), unavailable, "GeneralFailure"),
        (Some(Fault::Hang), unavailable, "cannot be reached"),
    ];
    for (fault, class, expected) in cases {
        stub.fail(fault);
        for outcome in [
            provider
                .unwrap(&kek.version, &kek.wrapped)
                .await
                .map(|_| ()),
            provider.generate().await.map(|_| ()),
        ] {
            let (error, text) = said(outcome);
            assert!(
                class(&error) && text.contains(expected),
                "{expected}: {text}"
            );
            if let KeyError::Throttled { retry_after, .. } = error {
                assert_eq!(retry_after, Duration::from_secs(7));
            }
        }
    }
    stub.fail(None);
    assert!(
        provider
            .unwrap(&kek.version, &kek.wrapped)
            .await
            .expect("opens")
            == kek.kek
    );

    let (error, text) = said(
        self::provider("main", config(&stub, "gone"))
            .generate()
            .await,
    );
    assert!(denied(&error) && text.contains("ItemNotFound"), "{text}");
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let stub = Stub::start().await;
    stub.create("one");
    stub.want_token("the-right-token");
    let with = |token: &str| KmipConfig {
        token: Some(Zeroizing::new(token.to_owned())),
        ..config(&stub, "one")
    };
    provider("main", with("the-right-token"))
        .generate()
        .await
        .expect("generates");
    let (error, text) = said(provider("main", with("another-token")).generate().await);
    assert!(
        matches!(error, KeyError::Denied(_)) && !text.contains("another-token"),
        "{text}"
    );
    let refused = KmipProvider::new("main", with("line\nend"))
        .err()
        .expect("refused");
    assert!(
        refused.contains("token") && !refused.contains("line"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    for endpoint in [
        KmipEndpoint::Json {
            url: format!("https://127.0.0.1:{port}"),
        },
        KmipEndpoint::Binary {
            host: "127.0.0.1".to_owned(),
            port,
        },
    ] {
        let stub = Stub {
            state: Arc::default(),
            url: String::new(),
        };
        let config = KmipConfig {
            endpoint,
            ..config(&stub, "one")
        };
        let (error, text) = said(provider("main", config).generate().await);
        assert!(error.retryable() && text.contains("refused"), "{text}");
    }
}
