//! The KMIP provider on a real Cosmian KMS server. docs/kms/kmip.md says how to build one and what its last run said.

mod conformance;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use conformance::{Subject, conforms};
use sealgate_kms::kmip::{KmipConfig, KmipEndpoint, KmipProvider, KmipVersion, KmipWrap, TlsFiles};
use sealgate_kms::{KeyError, Provider};
use serde_json::{Value, json};

/// A server, stopped with the test.
struct Server {
    process: Child,
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    async fn start() -> Self {
        let program = std::env::var_os("SEALGATE_COSMIAN_KMS")
            .expect("SEALGATE_COSMIAN_KMS names the server's binary");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = Command::new(program)
            .args(["--database-type", "sqlite", "--sqlite-path"])
            .arg(folder.path().join("db"))
            .args(["--hostname", "127.0.0.1", "--port", &port.to_string()])
            .env("HOME", folder.path())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .build();
        let server = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            client: client.expect("a client"),
            _folder: folder,
        };
        for _ in 0..100 {
            if let Ok(answer) = server
                .client
                .get(format!("{}/version", server.url))
                .send()
                .await
            {
                tell(&format!(
                    "Cosmian KMS {}",
                    answer.text().await.expect("a version")
                ));
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server did not answer within 10 s");
    }

    async fn post(&self, request: Value) -> Value {
        let url = format!("{}/kmip/2_1", self.url);
        let post = self
            .client
            .post(url)
            .header("content-type", "application/json");
        let answer = post
            .body(request.to_string())
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a text");
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn create(&self) -> String {
        let attributes = json!([
            {"tag": "CryptographicAlgorithm", "type": "Enumeration", "value": "AES"},
            {"tag": "CryptographicLength", "type": "Integer", "value": 256},
            {"tag": "CryptographicUsageMask", "type": "Integer", "value": 12},
            {"tag": "KeyFormatType", "type": "Enumeration", "value": "TransparentSymmetricKey"},
            {"tag": "ObjectType", "type": "Enumeration", "value": "SymmetricKey"},
            {"tag": "ActivationDate", "type": "DateTime", "value": "2020-01-01T00:00:00Z"}]);
        let answer = self.post(json!({"tag": "Create", "type": "Structure", "value": [
            {"tag": "ObjectType", "type": "Enumeration", "value": "SymmetricKey"},
            {"tag": "Attributes", "type": "Structure", "value": attributes}]}));
        uid(&answer.await)
    }

    async fn on_key(&self, operation: &str, uid: &str) -> Value {
        let mut value =
            vec![json!({"tag": "UniqueIdentifier", "type": "TextString", "value": uid})];
        if operation == "Revoke" {
            value.push(
                json!({"tag": "RevocationReason", "type": "Structure", "value": [
                {"tag": "RevocationReasonCode", "type": "Enumeration", "value": "KeyCompromise"}]}),
            );
        }
        self.post(json!({"tag": operation, "type": "Structure", "value": value}))
            .await
    }

    fn provider(&self, name: &str, uid: &str, wrap: KmipWrap) -> Arc<dyn Provider> {
        let config = KmipConfig {
            endpoint: KmipEndpoint::Json {
                url: self.url.clone(),
            },
            version: KmipVersion { major: 2, minor: 1 },
            uid: uid.to_owned(),
            old_uids: Vec::new(),
            wrap,
            token: None,
            tls: TlsFiles::default(),
        };
        Arc::new(KmipProvider::new(name, config).unwrap_or_else(|e| panic!("{e}")))
    }
}

/// For the record of the run.
fn tell(what: &str) {
    writeln!(std::io::stdout(), "{what}").expect("stdout");
}

fn uid(answer: &Value) -> String {
    let items = answer["value"].as_array().expect("items");
    let found = items.iter().find(|item| item["tag"] == "UniqueIdentifier");
    found.expect("an identifier")["value"]
        .as_str()
        .expect("text")
        .to_owned()
}

#[tokio::test]
#[ignore = "the server takes half an hour to build: run it as docs/kms/kmip.md says, with SEALGATE_COSMIAN_KMS"]
async fn a_cosmian_kms_conforms() {
    let server = Arc::new(Server::start().await);
    for wrap in [KmipWrap::AesGcm, KmipWrap::AesKeyWrapPadding] {
        let (main, other) = (server.create().await, server.create().await);
        let (first, owner) = (main.clone(), Arc::clone(&server));
        conforms(Subject {
            main: server.provider("main", &main, wrap),
            other_name: server.provider("backup", &main, wrap),
            other_key: server.provider("main", &other, wrap),
            rotate: Some(Box::new(move || {
                Box::pin(async move {
                    let second = uid(&owner.on_key("ReKey", &first).await);
                    owner.on_key("ReKey", &second).await;
                })
            })),
        })
        .await;
    }
    stop(&server);
}

#[tokio::test]
#[ignore = "the server takes half an hour to build: run it as docs/kms/kmip.md says, with SEALGATE_COSMIAN_KMS"]
async fn a_cosmian_kms_rekeys_revokes_and_goes() {
    let server = Arc::new(Server::start().await);
    let one = server.create().await;
    let provider = server.provider("main", &one, KmipWrap::AesGcm);
    let old = provider.generate().await.expect("generates");
    assert_eq!(old.version, one);
    let two = uid(&server.on_key("ReKey", &one).await);
    let three = uid(&server.on_key("ReKey", &two).await);
    assert_eq!(
        provider.newest_version().await.expect("a version"),
        Some(three.clone())
    );
    // From the newest backwards, with two hops.
    let opened = server
        .provider("main", &three, KmipWrap::AesGcm)
        .unwrap(&one, &old.wrapped)
        .await;
    assert!(opened.expect("opens") == old.kek);

    server.on_key("Revoke", &three).await;
    let refused = provider
        .generate()
        .await
        .err()
        .expect("a revoked key seals nothing");
    assert!(matches!(refused, KeyError::Denied(_)), "{refused}");
    tell(&format!("revoked: {refused}"));
    let missing = server
        .provider("main", "no-such-key", KmipWrap::AesGcm)
        .generate()
        .await;
    let missing = missing.err().expect("refused");
    assert!(matches!(missing, KeyError::Denied(_)), "{missing}");
    tell(&format!("missing: {missing}"));

    stop(&server);
    let gone = provider
        .unwrap(&one, &old.wrapped)
        .await
        .err()
        .expect("nobody is there");
    assert!(matches!(gone, KeyError::Unavailable { .. }), "{gone}");
    tell(&format!("gone: {gone}"));
}

/// Ends the server before its test does.
fn stop(server: &Server) {
    let pid = server.process.id().to_string();
    let ended = Command::new("kill").args(["-9", &pid]).status();
    assert!(ended.expect("kill").success());
    for _ in 0..100 {
        let stat = std::fs::read_to_string(Path::new("/proc").join(&pid).join("stat"));
        if stat.map_or(true, |stat| stat.contains(") Z")) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the server did not end");
}
