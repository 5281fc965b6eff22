//! The AWS KMS provider against answers that moto does not give, from a stub.

mod kms_stub;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use kms_stub::{Act, KEY_ARN, KEY_ID, MATERIAL, Stub, generated};
use rustls::pki_types::PrivateKeyDer;
use sealgate_config::{AwsKey, AwsKms, AwsRegion};
use sealgate_kms::aws::{AwsProvider, context_value};
use sealgate_kms::{KeyError, Provider, WRAPPED_MAX};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

fn config(url: &str) -> AwsKms {
    AwsKms {
        key: AwsKey::parse(KEY_ID).expect("a key id"),
        previous: Vec::new(),
        regions: vec![AwsRegion {
            name: "eu-west-1".into(),
            endpoint: Some(url.into()),
        }],
        profile: None,
        ca_file: None,
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(3),
    }
}

fn open(config: &AwsKms) -> AwsProvider {
    let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
    let credentials = SharedCredentialsProvider::new(credentials);
    let opened = AwsProvider::open_as("main", config, Some(&credentials));
    opened.expect("a provider").remove(0).1
}

async fn stub() -> (Stub, AwsProvider) {
    let stub = Stub::start(None).await;
    let provider = open(&config(&format!("http://{}", stub.authority)));
    (stub, provider)
}

/// All three operations' errors; each asked exactly once.
async fn errors(stub: &Stub, provider: &AwsProvider) -> [KeyError; 3] {
    stub.calls();
    let errors = [
        provider.generate().await.map(drop),
        provider.unwrap(KEY_ID, &[8; 184]).await.map(drop),
        provider.rewrap(KEY_ID, &[8; 184]).await.map(drop),
    ];
    let operations: Vec<_> = stub
        .calls()
        .into_iter()
        .map(|call| call.operation)
        .collect();
    assert_eq!(operations, ["GenerateDataKey", "Decrypt", "ReEncrypt"]);
    errors.map(|outcome| outcome.expect_err("an error"))
}

#[tokio::test]
async fn requests_are_as_documented() {
    let (stub, provider) = stub().await;
    let made = provider.generate().await.expect("a KEK");
    assert_eq!(made.kek.expose(), &[7; 32]);
    assert_eq!(made.version, format!("{KEY_ID}/{}", &MATERIAL[..12]));
    assert!(made.wrapped.len() == 184 && made.wrapped.len() <= WRAPPED_MAX);
    let opened = provider.unwrap(&made.version, &made.wrapped).await;
    assert_eq!(opened.expect("open").expose(), &[7; 32]);
    let again = provider.rewrap(&made.version, &made.wrapped).await;
    assert_eq!(again.expect("rewrapped").version, made.version);
    assert_eq!(provider.newest_version().await, Ok(Some(made.version)));

    let context = json!({ "sealgate-key": context_value("main") });
    let [generate, decrypt, re_encrypt, newest] = stub.calls().try_into().expect("four calls");
    assert_eq!(generate.access_key, "AKIDTEST");
    assert_eq!(
        generate.body,
        json!({"KeyId": KEY_ID, "KeySpec": "AES_256", "EncryptionContext": context})
    );
    assert_eq!(newest.body, generate.body);
    let blob = decrypt.body["CiphertextBlob"].clone();
    assert_eq!(
        decrypt.body,
        json!({"KeyId": KEY_ID, "CiphertextBlob": blob, "EncryptionContext": context})
    );
    assert_eq!(
        re_encrypt.body,
        json!({
            "SourceKeyId": KEY_ID, "DestinationKeyId": KEY_ID, "CiphertextBlob": blob,
            "SourceEncryptionContext": context, "DestinationEncryptionContext": context,
        })
    );
}

/// Codes and statuses as the pages of the operations and of the common errors give them:
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors>,
/// <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>. Messages are those that KMS is seen to send.
#[tokio::test]
async fn each_error_has_its_kind_and_remedy() {
    let (stub, provider) = stub().await;
    let cases: &[(u16, &str, &str, &str, &str)] = &[
        (
            400,
            "AccessDeniedException",
            "User: arn:aws:sts::111122223333:assumed-role/gw/i is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "denied",
            "IAM policy",
        ),
        (
            400,
            "DisabledException",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is disabled.",
            "denied",
            "enable-key",
        ),
        (
            400,
            "KMSInvalidStateException",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is pending deletion.",
            "denied",
            "cancel-key-deletion",
        ),
        (
            400,
            "KMSInvalidStateException",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is pending import.",
            "denied",
            "describe-key",
        ),
        (
            400,
            "KMSInvalidStateException",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab is unavailable.",
            "unavailable",
            "unavailable",
        ),
        (
            400,
            "NotFoundException",
            "Alias arn:aws:kms:eu-west-1:111122223333:alias/a is not found.",
            "denied",
            "correct key_id",
        ),
        (
            400,
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
            "denied",
            "previous_key_ids",
        ),
        (400, "InvalidGrantTokenException", "", "denied", "grant"),
        (
            400,
            "InvalidKeyUsageException",
            "",
            "denied",
            "SYMMETRIC_DEFAULT",
        ),
        (
            400,
            "ValidationException",
            "1 validation error detected",
            "denied",
            "check key_id",
        ),
        (400, "InvalidCiphertextException", "", "invalid", "changed"),
        (
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            "denied",
            "credentials",
        ),
        (
            400,
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
            "denied",
            "secret access key",
        ),
        (
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            "unavailable",
            "expired",
        ),
        (
            400,
            "ThrottlingException",
            "Rate exceeded",
            "throttled",
            "Rate exceeded",
        ),
        (
            400,
            "LimitExceededException",
            "",
            "throttled",
            "LimitExceeded",
        ),
        (
            400,
            "RequestLimitExceeded",
            "",
            "throttled",
            "RequestLimitExceeded",
        ),
        (
            500,
            "KMSInternalException",
            "",
            "unavailable",
            "KMSInternal",
        ),
        (
            500,
            "KeyUnavailableException",
            "",
            "unavailable",
            "KeyUnavailable",
        ),
        (
            503,
            "DependencyTimeoutException",
            "",
            "unavailable",
            "DependencyTimeout",
        ),
        (500, "InternalFailure", "", "unavailable", "InternalFailure"),
        (
            503,
            "ServiceUnavailable",
            "",
            "unavailable",
            "ServiceUnavailable",
        ),
        (
            400,
            "SomethingNewException",
            "",
            "unavailable",
            "SomethingNewException",
        ),
    ];
    for (status, code, text, kind, words) in cases {
        stub.act(Act::Error(*status, code, text));
        for error in errors(&stub, &provider).await {
            let said = error.to_string();
            assert_eq!(error.kind(), *kind, "{code}: {said}");
            assert!(said.contains(words) && said.contains(code), "{said}");
            assert!(
                said.contains("\"main\"") && said.contains("2d4a5d2e-0000"),
                "{said}"
            );
            assert!(!said.contains("arn:") && !said.contains(KEY_ID), "{said}");
        }
    }
}

#[tokio::test]
async fn what_is_not_kms_is_unavailable() {
    let (stub, provider) = stub().await;
    for act in [
        Act::Raw(b"HTTP/1.1 503 X\r\nContent-Length: 6\r\n\r\n<html>"),
        Act::Raw(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"),
        Act::Raw(b"HTTP/1.1 403 X\r\nContent-Length: 6\r\n\r\n<html>"),
        Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
        Act::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{\"KeyId\":"),
        Act::Raw(b"\x00\x01garbage\r\n\r\n"),
        Act::Raw(b""),
        Act::Reset,
    ] {
        stub.act(act);
        for error in errors(&stub, &provider).await {
            assert_eq!(error.kind(), "unavailable", "{error}");
        }
    }
    stub.act(Act::Raw(b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n"));
    for error in errors(&stub, &provider).await {
        assert_eq!(error.kind(), "throttled", "{error}");
    }
    // And it serves again as soon as KMS does.
    stub.act(Act::Serve);
    provider.generate().await.expect("a KEK");
}

#[tokio::test]
async fn time_outs_hold() {
    let stub = Stub::start(None).await;
    let mut config = config(&format!("http://{}", stub.authority));
    config.read_timeout = Duration::from_millis(300);
    let provider = open(&config);
    stub.act(Act::Hang);
    let started = Instant::now();
    for error in errors(&stub, &provider).await {
        assert_eq!(error.kind(), "unavailable", "{error}");
        assert!(error.to_string().contains("no answer in time"), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));

    // Nobody listens.
    config.regions[0].endpoint = Some("http://127.0.0.1:1".into());
    let error = open(&config)
        .generate()
        .await
        .map(drop)
        .expect_err("nobody");
    assert_eq!(error.kind(), "unavailable", "{error}");
    assert!(error.to_string().contains("no connection"), "{error}");
}

/// Credentials that take a second.
#[derive(Clone, Debug, Default)]
struct Slow(Arc<AtomicUsize>);

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.0.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Credentials::new("AKIDSLOW", "secret", None, None, "test"))
        })
    }
}

/// Calls that are given up early do not begin the search for credentials again and again.
#[tokio::test]
async fn slow_credentials_are_awaited_over_several_calls() {
    let stub = Stub::start(None).await;
    let config = config(&format!("http://{}", stub.authority));
    let slow = Slow::default();
    let source = SharedCredentialsProvider::new(slow.clone());
    let opened = AwsProvider::open_as("main", &config, Some(&source));
    let provider = opened.expect("a provider").remove(0).1;
    let mut given_up = 0;
    while tokio::time::timeout(Duration::from_millis(200), provider.generate())
        .await
        .is_err()
    {
        given_up += 1;
        assert!(given_up < 20, "it is never done");
    }
    assert!(given_up >= 3);
    assert_eq!(slow.0.load(SeqCst), 1);
    assert_eq!(stub.calls().remove(0).access_key, "AKIDSLOW");
}

#[tokio::test]
async fn answers_are_checked() {
    let (stub, provider) = stub().await;
    for plaintext in [&[7_u8; 16][..], &[7; 33], &[]] {
        stub.act(Act::Answer(generated(plaintext, KEY_ARN, None)));
        for outcome in [
            provider.generate().await.map(drop),
            provider.unwrap(KEY_ID, &[8; 184]).await.map(drop),
        ] {
            let error = outcome.expect_err("another length");
            assert!(matches!(error, KeyError::Invalid(_)), "{error}");
            let words = format!("{} bytes instead of 32", plaintext.len());
            assert!(error.to_string().contains(&words), "{error}");
        }
    }
    stub.act(Act::Answer(generated(&[7; 32], "arn:aws:kms:x", None)));
    assert!(matches!(
        provider.generate().await.map(drop),
        Err(KeyError::Invalid(_))
    ));
    stub.act(Act::Answer(json!({})));
    for error in errors(&stub, &provider).await {
        assert!(matches!(error, KeyError::Invalid(_)), "{error}");
    }
    // What resembles KMS but does not look at KeyId.
    let other = KEY_ARN.replace("1234abcd-", "aaaaaaaa-");
    stub.act(Act::Answer(generated(&[7; 32], &other, None)));
    let opened = provider.unwrap(KEY_ID, &[8; 184]).await.map(drop);
    assert!(matches!(opened, Err(KeyError::Invalid(_))));
    let again = provider.rewrap(KEY_ID, &[8; 184]).await.map(drop);
    assert!(matches!(again, Err(KeyError::Invalid(_))));
    // Without, or with an odd, id of the material, the version is the key's id alone.
    for material in [None, Some("short"), Some("not hexadecimal digits")] {
        stub.act(Act::Answer(generated(&[7; 32], KEY_ARN, material)));
        assert_eq!(provider.generate().await.expect("a KEK").version, KEY_ID);
    }
    // A multi-Region key's version is the same in all its regions.
    let mrk = "mrk-1234abcd12ab34cd56ef1234567890ab";
    let arn = format!("arn:aws:kms:eu-west-1:111122223333:key/{mrk}");
    stub.act(Act::Answer(generated(&[7; 32], &arn, Some(MATERIAL))));
    assert_eq!(provider.generate().await.expect("a KEK").version, mrk);
}

/// A version comes from an envelope, which anybody may have written who can write to the store.
#[tokio::test]
async fn a_version_cannot_choose_a_foreign_key() {
    let stub = Stub::start(None).await;
    let mut config = config(&format!("http://{}", stub.authority));
    config.key = AwsKey::parse("alias/main").expect("an alias");
    let provider = open(&config);
    let foreign = KEY_ARN.replace("111122223333", "999999999999");
    for version in [foreign.as_str(), "alias/other", "", "/", "../x"] {
        let refused = provider.unwrap(version, &[8; 184]).await.map(drop);
        assert!(matches!(refused, Err(KeyError::Invalid(_))), "{version}");
    }
    assert_eq!(stub.calls().len(), 0);
    // Nor can it choose another account than an alias's own.
    config.key = AwsKey::parse("arn:aws:kms:eu-west-1:111122223333:alias/main").expect("an alias");
    let version = format!("{KEY_ID}/0123456789ab");
    open(&config)
        .unwrap(&version, &[8; 184])
        .await
        .expect("open");
    assert_eq!(stub.calls()[0].body["KeyId"], KEY_ARN);
}

/// KMS refuses signatures that are more than five minutes off. The refusal tells the time, so the next call succeeds.
#[tokio::test]
async fn a_wrong_clock_is_named_and_learnt_from() {
    let (stub, provider) = stub().await;
    stub.set_clock_ahead(time::Duration::hours(1));
    stub.act(Act::Error(
        400,
        "InvalidSignatureException",
        "Signature expired: 20250101T000000Z is now earlier than 20250101T005500Z (20250101T010000Z - 5 min.)",
    ));
    let error = provider.generate().await.map(drop).expect_err("refused");
    assert_eq!(error.kind(), "unavailable", "{error}");
    assert!(error.to_string().contains("clock"), "{error}");
    stub.act(Act::Serve);
    provider.generate().await.expect("a KEK");
    let dates: Vec<_> = stub.calls().into_iter().map(|call| call.date).collect();
    let parse = |text: &str| {
        let format =
            time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        time::PrimitiveDateTime::parse(text, &format).expect("a date")
    };
    let between = parse(&dates[1]) - parse(&dates[0]);
    assert!((between.whole_minutes() - 60).abs() <= 1, "{dates:?}");
}

#[tokio::test]
async fn tls_trusts_the_ca_file_and_nothing_else() {
    let issued =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .expect("a server");
    let stub = Stub::start(Some(TlsAcceptor::from(Arc::new(server)))).await;
    let (_, port) = stub.authority.split_once(':').expect("a port");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, issued.cert.pem()).expect("written");

    let mut config = config(&format!("https://localhost:{port}"));
    config.ca_file = Some(path.clone());
    open(&config).generate().await.expect("a KEK");
    stub.calls();

    let other =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&path, other.cert.pem()).expect("written");
    let error = open(&config)
        .generate()
        .await
        .map(drop)
        .expect_err("another CA");
    assert_eq!(error.kind(), "unavailable");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(stub.calls().len(), 0);

    for (text, words) in [
        ("", "no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "CA certificate",
        ),
        ("-----BEGIN CERTIFICATE-----\n", "not PEM"),
    ] {
        std::fs::write(&path, text).expect("written");
        let said = AwsProvider::open("main", &config)
            .map(drop)
            .expect_err("refused");
        assert!(said.contains("ca.pem") && said.contains(words), "{said}");
    }
    config.ca_file = Some(dir.path().join("none.pem"));
    assert!(AwsProvider::open("main", &config).is_err());
}
