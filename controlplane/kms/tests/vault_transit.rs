//! The `vault` provider against a real OpenBao, and against small servers that answer what a healthy one never does.

mod conformance;
mod openbao;

#[path = "vault_transit/answers.rs"]
mod answers;
#[path = "vault_transit/logins.rs"]
mod logins;
#[path = "vault_transit/sessions.rs"]
mod sessions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use conformance::{Subject, conforms};
use openbao::{Bao, Storage};
use sealgate_config::SecretString;
use sealgate_kms::vault::{SecretSource, TlsFiles, VaultAuth as Auth, VaultConfig, VaultProvider};
use sealgate_kms::{KeyError, Provider};
use serde_json::json;
use tokio::runtime::Handle;

fn given(secret: &str) -> SecretSource {
    SecretSource::Given(SecretString::new(secret))
}

fn token(token: &str) -> Auth {
    Auth::Token(given(token))
}

fn approle((role_id, secret_id): (String, String)) -> Auth {
    Auth::AppRole {
        mount: "approle".into(),
        role_id,
        secret_id: Some(given(&secret_id)),
    }
}

fn config(endpoint: &str, key: &str, auth: Auth) -> VaultConfig {
    VaultConfig {
        endpoints: vec![endpoint.to_owned()],
        mount: "transit".into(),
        key: key.to_owned(),
        namespace: None,
        tls: TlsFiles::default(),
        auth: Arc::new(auth),
    }
}

/// The provider of a key at its only server.
fn open(name: &str, config: VaultConfig) -> Arc<dyn Provider> {
    let mut providers = VaultProvider::open(name, config, &Handle::current()).expect("a provider");
    assert_eq!(providers.len(), 1);
    let (label, provider) = providers.remove(0);
    assert!(label.starts_with("127.0.0.1:"), "{label}");
    Arc::new(provider)
}

/// Makes a KEK and opens it.
async fn round_trip(provider: &dyn Provider) -> Result<(), KeyError> {
    let made = provider.generate().await?;
    let opened = provider.unwrap(&made.version, &made.wrapped).await?;
    assert!(opened == made.kek);
    Ok(())
}

/// Waits until a provider works, and says what it said last where it does not.
async fn recovers(provider: &dyn Provider, within: Duration) {
    let start = Instant::now();
    while let Err(e) = round_trip(provider).await {
        assert!(start.elapsed() < within, "not after {within:?}: {e}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The error of a call that must not succeed.
fn error<T>(outcome: Result<T, KeyError>) -> KeyError {
    match outcome {
        Ok(_) => panic!("succeeded"),
        Err(e) => e,
    }
}

/// That an error is of a kind and says these words.
fn says(error: &KeyError, kind: &str, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transit_conforms_with_each_cipher() {
    let bao = Arc::new(Bao::start(Storage::Memory).await);
    for (key, options) in [
        ("sealgate", json!({})),
        ("chacha", json!({"type": "chacha20-poly1305"})),
        ("xchacha", json!({"type": "xchacha20-poly1305"})),
        ("convergent", json!({"convergent_encryption": true})),
    ] {
        let other = format!("{key}-other");
        bao.make_key(key, options.clone()).await;
        bao.make_key(&other, options).await;
        let role = bao.approle("1h", "24h").await;
        let provider =
            |name: &str, key: &str| open(name, config(&bao.endpoint, key, approle(role.clone())));
        let rotated = (Arc::clone(&bao), key.to_owned());
        conforms(Subject {
            main: provider("main", key),
            other_name: provider("backup", key),
            other_key: provider("main", &other),
            rotate: Some(Box::new(move || {
                Box::pin(async move { rotated.0.rotate(&rotated.1).await })
            })),
        })
        .await;
    }
}

/// A policy may forbid to read the key: then the newest version is the last one that an answer named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transit_conforms_without_permission_to_read_keys() {
    let bao = Arc::new(Bao::start(Storage::Memory).await);
    bao.make_key("other", json!({})).await;
    bao.make_key("loose", json!({"derived": false})).await;
    let policy = openbao::POLICY.replace(
        "path \"transit/keys/*\"    { capabilities = [\"read\"] }",
        "",
    );
    assert!(!policy.contains("keys"));
    bao.ok("PUT", "sys/policies/acl/blind", json!({"policy": policy}))
        .await;
    let blind = bao.token(json!({"policies": ["blind"]})).await;
    let provider = |name: &str, key: &str| open(name, config(&bao.endpoint, key, token(&blind)));
    let main = provider("main", "sealgate");
    assert_eq!(
        main.newest_version().await,
        Ok(None),
        "nothing was seen yet"
    );
    let rotated = Arc::clone(&bao);
    conforms(Subject {
        main: Arc::clone(&main),
        other_name: provider("backup", "sealgate"),
        other_key: provider("main", "other"),
        rotate: Some(Box::new(move || {
            Box::pin(async move { rotated.rotate("sealgate").await })
        })),
    })
    .await;
    assert_eq!(main.newest_version().await, Ok(Some("2".into())));
    // A key that binds nothing is found out all the same.
    let loose = provider("main", "loose");
    says(
        &error(loose.generate().await),
        "denied",
        &["not derived", "derived=true"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_used_are_refused_with_the_command_that_makes_another() {
    let bao = Bao::start(Storage::Memory).await;
    bao.make_key("plain", json!({"derived": false})).await;
    bao.make_key("small", json!({"type": "aes128-gcm96"})).await;
    bao.make_key("rsa", json!({"type": "rsa-2048", "derived": false}))
        .await;
    let open = |key: &str| open("main", config(&bao.endpoint, key, token(&bao.root)));
    for (key, words) in [
        (
            "plain",
            [
                "not derived",
                "`bao write -f transit/keys/plain-kek type=aes256-gcm96 derived=true`",
            ],
        ),
        (
            "small",
            [
                "of type aes128-gcm96",
                "set key = \"small-kek\" in [keys.main]",
            ],
        ),
        (
            "rsa",
            ["of type rsa-2048", "aes256-gcm96, chacha20-poly1305"],
        ),
        (
            "missing",
            [
                "no Transit key missing",
                "`bao write -f transit/keys/missing type=aes256-gcm96 derived=true`",
            ],
        ),
    ] {
        says(&error(open(key).generate().await), "denied", &words);
    }
    // Once it is there, nothing has to be restarted.
    let provider = open("late");
    assert!(provider.generate().await.is_err());
    bao.make_key("late", json!({})).await;
    round_trip(provider.as_ref())
        .await
        .expect("the key is there");
    // Another mount.
    let mut elsewhere = config(&bao.endpoint, "sealgate", token(&bao.root));
    elsewhere.mount = "nowhere".into();
    let provider = self::open("main", elsewhere);
    says(
        &error(provider.generate().await),
        "denied",
        &[
            "nothing mounted at nowhere/",
            "`bao secrets enable -path=nowhere transit`",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_may_not_decrypt_are_said_and_rewrapped_ones_open() {
    let bao = Bao::start(Storage::Memory).await;
    let provider = open("main", config(&bao.endpoint, "sealgate", token(&bao.root)));
    let old = provider.generate().await.expect("a KEK");
    assert_eq!((old.version.as_str(), old.wrapped.len()), ("1", 61));
    bao.rotate("sealgate").await;
    assert_eq!(provider.newest_version().await, Ok(Some("2".into())));
    let new = provider
        .rewrap("1", &old.wrapped)
        .await
        .expect("a rewrapped KEK");
    assert_eq!(new.version, "2");
    bao.ok(
        "POST",
        "transit/keys/sealgate/config",
        json!({"min_decryption_version": 2}),
    )
    .await;
    for outcome in [
        provider.unwrap("1", &old.wrapped).await.map(|_| ()),
        provider.rewrap("1", &old.wrapped).await.map(|_| ()),
    ] {
        let words = ["bao write transit/keys/sealgate/config min_decryption_version=N"];
        says(&error(outcome), "denied", &words);
    }
    assert!(provider.unwrap("2", &new.wrapped).await.expect("opens") == old.kek);
    bao.ok(
        "POST",
        "transit/keys/sealgate/config",
        json!({"min_decryption_version": 1}),
    )
    .await;
    assert!(
        provider
            .unwrap("1", &old.wrapped)
            .await
            .expect("opens again")
            == old.kek
    );
    // Under another version's name it does not open; a version that Transit would take for another is not sent at all.
    says(
        &error(provider.unwrap("2", &old.wrapped).await),
        "invalid",
        &["changed"],
    );
    says(
        &error(provider.unwrap("3", &old.wrapped).await),
        "behind",
        &["does not know this version", "standby that lags"],
    );
    let before = bao.audited("transit/decrypt");
    for version in ["0", "01", "+1", "v1", "", "4294967296"] {
        says(
            &error(provider.unwrap(version, &old.wrapped).await),
            "invalid",
            &["version"],
        );
    }
    assert_eq!(bao.audited("transit/decrypt"), before);
    // Deleted and made again: the name is the same, the key is not.
    bao.ok(
        "POST",
        "transit/keys/sealgate/config",
        json!({"deletion_allowed": true}),
    )
    .await;
    bao.ok("DELETE", "transit/keys/sealgate", json!({})).await;
    says(
        &error(provider.unwrap("1", &old.wrapped).await),
        "denied",
        &["no Transit key sealgate"],
    );
    bao.make_key("sealgate", json!({})).await;
    says(
        &error(provider.unwrap("1", &old.wrapped).await),
        "invalid",
        &["deleted and made again"],
    );
}

/// The wrap opens with any client of Transit that knows the context: what docs/kms/vault.md tells for a disaster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrap_opens_by_hand_as_documented() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let bao = Bao::start(Storage::Memory).await;
    let provider = open("main", config(&bao.endpoint, "sealgate", token(&bao.root)));
    let made = provider.generate().await.expect("a KEK");
    // printf 'sealgate/kek/v1\0main' | sha256sum | xxd -r -p | base64
    let context = "x9CmNxmRiQU/1LfDm1huKmFhwEejxrMiYA47ldxSs+c=";
    let ciphertext = format!(
        "vault:v{}:{}",
        made.version,
        STANDARD.encode(&made.wrapped[1..])
    );
    let body = json!({"ciphertext": ciphertext, "context": context});
    let opened = bao.ok("POST", "transit/decrypt/sealgate", body).await;
    let plaintext = opened["data"]["plaintext"].as_str().expect("a plaintext");
    assert_eq!(
        STANDARD.decode(plaintext).expect("base64"),
        made.kek.expose()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_holds_its_own_keys_and_logins() {
    let bao = Bao::start(Storage::Memory).await;
    bao.ok("POST", "sys/namespaces/eu", json!({})).await;
    let inside = async |method: &str, path: &str, body| {
        let (status, answer) = bao.call(method, path, body, &bao.root, "eu").await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    };
    inside("POST", "sys/mounts/transit", json!({"type": "transit"})).await;
    inside(
        "PUT",
        "sys/policies/acl/sealgate",
        json!({"policy": openbao::POLICY}),
    )
    .await;
    inside("POST", "sys/auth/approle", json!({"type": "approle"})).await;
    inside(
        "POST",
        "auth/approle/role/gw",
        json!({"token_policies": "sealgate"}),
    )
    .await;
    let role = inside("GET", "auth/approle/role/gw/role-id", json!(null)).await;
    let secret = inside("POST", "auth/approle/role/gw/secret-id", json!({})).await;
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let credentials = (
        text(&role["data"]["role_id"]),
        text(&secret["data"]["secret_id"]),
    );
    let within = |namespace: Option<&str>| {
        let mut config = config(&bao.endpoint, "sealgate", approle(credentials.clone()));
        config.namespace = namespace.map(str::to_owned);
        open("main", config)
    };
    let provider = within(Some("eu"));
    says(
        &error(provider.generate().await),
        "denied",
        &["`bao write -namespace=eu -f transit/keys/sealgate"],
    );
    inside(
        "POST",
        "transit/keys/sealgate",
        json!({"type": "aes256-gcm96", "derived": true}),
    )
    .await;
    round_trip(provider.as_ref())
        .await
        .expect("in its namespace");
    // The root namespace has no such login.
    says(
        &error(within(None).generate().await),
        "denied",
        &["auth/approle/login"],
    );
}
