//! The other ways to log in, and TLS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

use super::openbao::{Request, Stub, Tls, plain_client};
use super::*;

/// A certificate authority and what it signs, as files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    dir: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        let file = dir.join(format!("{name}.pem"));
        std::fs::write(&file, own.pem()).expect("writes");
        Self {
            issuer: Issuer::new(params, key),
            file,
            dir: dir.to_owned(),
        }
    }

    /// A certificate for a name or an address.
    fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = (
            self.dir.join(format!("{name}.crt")),
            self.dir.join(format!("{name}.key")),
        );
        std::fs::write(&files.0, certificate.pem()).expect("writes");
        std::fs::write(&files.1, key.serialize_pem()).expect("writes");
        files
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_the_configured_authority_and_logs_in_with_a_certificate() {
    let dir = tempfile::tempdir().expect("a folder");
    let servers = Authority::new(dir.path(), "servers");
    let clients = Authority::new(dir.path(), "clients");
    let (cert, key) = servers.certificate("127.0.0.1");
    let me = clients.certificate("gateway");
    let stranger = clients.certificate("stranger");
    let files = (servers.file.clone(), clients.file.clone());
    let tls = Tls {
        cert: &cert,
        key: &key,
        client_ca: Some(&files.1),
    };
    let home = tempfile::tempdir().expect("a folder");
    let bao = Bao::start_with(Storage::Memory, home, Some(tls)).await;
    bao.ok("POST", "sys/auth/cert", json!({"type": "cert"}))
        .await;
    let authority = std::fs::read_to_string(&files.1).expect("reads");
    let role = json!({"certificate": authority, "allowed_common_names": "gateway", "token_policies": "sealgate"});
    bao.ok("POST", "auth/cert/certs/gw", role).await;

    let with = |ca: Option<&PathBuf>, client: Option<&(PathBuf, PathBuf)>, auth: Auth| {
        let mut config = config(&bao.tls_endpoint, "sealgate", auth);
        config.tls = TlsFiles {
            ca: ca.cloned(),
            client: client.cloned(),
        };
        open("main", config)
    };
    let by_cert = |role: Option<&str>| Auth::Cert {
        mount: "cert".into(),
        role: role.map(str::to_owned),
    };
    for role in [None, Some("gw")] {
        let provider = with(Some(&files.0), Some(&me), by_cert(role));
        round_trip(provider.as_ref())
            .await
            .expect("logs in with its certificate");
    }
    // mTLS with another method.
    let provider = with(Some(&files.0), Some(&me), token(&bao.root));
    round_trip(provider.as_ref())
        .await
        .expect("a token over mutual TLS");
    // A certificate that no role trusts.
    let provider = with(Some(&files.0), Some(&stranger), by_cert(None));
    says(
        &error(provider.generate().await),
        "denied",
        &["auth/cert/login", "client_cert"],
    );
    // None at all, and a server of another authority.
    let provider = with(Some(&files.0), None, token(&bao.root));
    says(&error(provider.generate().await), "unavailable", &[]);
    for ca in [None, Some(&files.1)] {
        let provider = with(ca, Some(&me), token(&bao.root));
        says(
            &error(provider.generate().await),
            "unavailable",
            &["certificate"],
        );
    }
    // Files that are no certificates are said at the start.
    let broken = |ca: &Path, client: Option<(PathBuf, PathBuf)>| {
        let mut config = config(&bao.tls_endpoint, "sealgate", token("t"));
        config.tls = TlsFiles {
            ca: Some(ca.to_owned()),
            client,
        };
        match VaultProvider::open("main", config, &Handle::current()) {
            Ok(_) => panic!("accepted"),
            Err(e) => e,
        }
    };
    assert!(broken(&me.1, None).contains("gateway.key cannot be used"));
    assert!(broken(Path::new("/no/such"), None).contains("/no/such cannot be used"));
    let mixed = (me.0.clone(), stranger.1.clone());
    assert!(broken(&files.0, Some(mixed)).contains("stranger.key cannot be used"));
}

/// OpenBao's own `kubernetes` method; the API server that reviews tokens is a small one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubernetes_service_account_logs_in() {
    let jwt = service_account_token();
    let expected = jwt.clone();
    let reviewer = Stub::start(move |request| {
        assert_eq!(request.path, "/apis/authentication.k8s.io/v1/tokenreviews");
        assert_eq!(request.header("authorization"), Some("Bearer the-reviewer"));
        let asked: Value = serde_json::from_slice(&request.body).expect("JSON");
        let known = asked["spec"]["token"] == expected.as_str();
        let user = json!({
            "username": "system:serviceaccount:storage:sealgate",
            "uid": "c0ffee",
            "groups": ["system:serviceaccounts"],
        });
        let status = match known {
            true => json!({"authenticated": true, "user": user, "audiences": asked["spec"]["audiences"]}),
            false => json!({"authenticated": false}),
        };
        let answer = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
        async move { (201, vec![("content-type", "application/json".to_owned())], answer.to_string()) }
    })
    .await;
    let bao = Bao::start(Storage::Memory).await;
    let authority = Authority::new(bao.dir.path(), "cluster");
    bao.ok("POST", "sys/auth/k8s", json!({"type": "kubernetes"}))
        .await;
    let method = json!({
        "kubernetes_host": reviewer.endpoint,
        "token_reviewer_jwt": "the-reviewer",
        "disable_local_ca_jwt": true,
        // It wants one, although its API server speaks plain HTTP here.
        "kubernetes_ca_cert": std::fs::read_to_string(&authority.file).expect("reads"),
    });
    bao.ok("POST", "auth/k8s/config", method).await;
    let role = json!({
        "bound_service_account_names": "sealgate",
        "bound_service_account_namespaces": "storage",
        "token_policies": "sealgate",
        "token_ttl": "2s",
        "token_max_ttl": "4s",
    });
    bao.ok("POST", "auth/k8s/role/gw", role).await;
    let jwt_file = bao.dir.path().join("jwt");
    std::fs::write(&jwt_file, format!("{jwt}\n")).expect("writes");
    let auth = |role: &str| Auth::Kubernetes {
        mount: "k8s".into(),
        role: role.into(),
        jwt_file: jwt_file.clone(),
    };
    let provider = open("main", config(&bao.endpoint, "sealgate", auth("gw")));
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        round_trip(provider.as_ref())
            .await
            .expect("logs in, again and again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(bao.audited("auth/k8s/login") >= 2);
    let provider = open("main", config(&bao.endpoint, "sealgate", auth("nobody")));
    says(
        &error(provider.generate().await),
        "denied",
        &["auth/k8s/login", "service accounts"],
    );
    // The kubelet replaces the file; it is read at each login.
    std::fs::write(&jwt_file, service_account_token() + "x").expect("writes");
    let provider = open("main", config(&bao.endpoint, "sealgate", auth("gw")));
    assert!(provider.generate().await.is_err());
    std::fs::write(&jwt_file, jwt).expect("writes");
    recovers(provider.as_ref(), Duration::from_secs(10)).await;
}

/// In form a JWT of a service account; only the API server could check its signature.
fn service_account_token() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:storage:sealgate",
        "aud": ["https://kubernetes.default.svc"],
        "iat": 1_700_000_000,
        "nbf": 1_700_000_000,
        "exp": 4_102_444_800_u64,
        "kubernetes.io": {"namespace": "storage", "serviceaccount": {"name": "sealgate", "uid": "c0ffee"}},
    });
    let signature = URL_SAFE_NO_PAD.encode([7; 256]);
    format!(
        "{}.{}.{signature}",
        part(json!({"alg": "RS256", "kid": "k"})),
        part(claims)
    )
}

const AWS_ID: &str = "AKIDEXAMPLE";
const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// OpenBao has no `aws` method built in (Vault has): a server before it does what the method does, with STS's part, the
/// check of the signature, done here.
#[test]
fn an_aws_identity_logs_in() {
    // The SDK looks for credentials in the environment, which only a process of its own can have.
    if std::env::var("AWS_ACCESS_KEY_ID").as_deref() != Ok(AWS_ID) {
        let program = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(program)
            .args(["logins::an_aws_identity_logs_in", "--exact", "--nocapture"])
            .env("AWS_ACCESS_KEY_ID", AWS_ID)
            .env("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
            .env("AWS_SESSION_TOKEN", "the-session-token")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .status();
        assert!(status.expect("it runs").success());
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let bao = Arc::new(Bao::start(Storage::Memory).await);
        let behind = Arc::clone(&bao);
        let stub = Stub::start(move |request| {
            let bao = Arc::clone(&behind);
            async move { aws_method(request, &bao).await }
        })
        .await;
        for (role, region, server_id, outcome) in [
            ("gw", None, Some("bao.example.net"), Ok(())),
            ("gw", Some("eu-west-1"), Some("bao.example.net"), Ok(())),
            (
                "other",
                None,
                Some("bao.example.net"),
                Err("auth/aws/login"),
            ),
            ("gw", None, Some("elsewhere"), Err("server id")),
            ("gw", None, None, Err("server id")),
        ] {
            let auth = Auth::Aws {
                mount: "aws".into(),
                role: role.into(),
                server_id: server_id.map(str::to_owned),
                region: region.map(str::to_owned),
            };
            let provider = open("main", config(&stub.endpoint, "sealgate", auth));
            match outcome {
                Ok(()) => round_trip(provider.as_ref()).await.expect("logs in"),
                Err(word) => says(&error(provider.generate().await), "denied", &[word]),
            }
        }
    });
}

/// The method's login; everything else goes to OpenBao.
async fn aws_method(request: Request, bao: &Bao) -> openbao::Answer {
    if request.path == "/v1/auth/aws/login" {
        return match aws_login(&request.body) {
            Ok(()) => {
                let token = bao
                    .token(json!({"policies": ["sealgate"], "ttl": "1h"}))
                    .await;
                let auth =
                    json!({"client_token": token, "lease_duration": 3600, "renewable": true});
                (200, vec![], json!({"auth": auth}).to_string())
            }
            Err(why) => (400, vec![], json!({"errors": [why]}).to_string()),
        };
    }
    let url = format!("{}{}", bao.endpoint, request.path);
    let method = request.method.parse().expect("a method");
    let token = request.header("x-vault-token").expect("a token").to_owned();
    let sent = plain_client()
        .request(method, url)
        .header("x-vault-token", token);
    let answer = sent.body(request.body).send().await.expect("an answer");
    (
        answer.status().as_u16(),
        vec![],
        answer.text().await.expect("a body"),
    )
}

/// What Vault checks of the request, and then STS of the signature.
fn aws_login(body: &[u8]) -> Result<(), String> {
    let login: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let decoded = |name: &str| {
        let text = login[name].as_str().unwrap_or_default();
        let bytes = STANDARD.decode(text).map_err(|e| format!("{name}: {e}"))?;
        String::from_utf8(bytes).map_err(|e| format!("{name}: {e}"))
    };
    if login["role"] != "gw" || login["iam_http_request_method"] != "POST" {
        return Err("no such role".into());
    }
    let (url, form) = (decoded("iam_request_url")?, decoded("iam_request_body")?);
    if form != "Action=GetCallerIdentity&Version=2011-06-15" {
        return Err(format!("another question: {form}"));
    }
    let headers: BTreeMap<String, Vec<String>> =
        serde_json::from_str(&decoded("iam_request_headers")?).map_err(|e| e.to_string())?;
    let header = |name: &str| {
        let found = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.and_then(|(_, values)| values.first()).cloned()
    };
    let wanted = |name: &str| header(name).ok_or_else(|| format!("no {name}"));
    if headers.get("X-Vault-Aws-Iam-Server-Id") != Some(&vec!["bao.example.net".to_owned()]) {
        return Err("another server id".into());
    }
    // Authorization: AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/sts/aws4_request, SignedHeaders=…, Signature=…
    let authorization = wanted("authorization")?;
    let field = |name: &str| {
        let rest = authorization.split_once(&format!("{name}="));
        let value = rest.map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default());
        value
            .map(str::to_owned)
            .ok_or_else(|| format!("no {name} in {authorization}"))
    };
    let scope = field("Credential")?;
    let (id, scope) = scope.split_once('/').ok_or("no scope")?;
    let [date, region, "sts", "aws4_request"] = *scope.split('/').collect::<Vec<_>>() else {
        return Err(format!("scope {scope}"));
    };
    let host = match region {
        "us-east-1" => "sts.amazonaws.com".to_owned(),
        _ => format!("sts.{region}.amazonaws.com"),
    };
    if id != AWS_ID || wanted("host")? != host || url != format!("https://{host}/") {
        return Err(format!("{id} at {url}"));
    }
    let signed = field("SignedHeaders")?;
    for name in [
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-vault-aws-iam-server-id",
    ] {
        if !signed.split(';').any(|n| n == name) {
            return Err(format!("{name} is not signed"));
        }
    }
    let mut lines = String::new();
    for name in signed.split(';') {
        lines.push_str(&format!("{name}:{}\n", wanted(name)?.trim()));
    }
    let hash = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let canonical = format!("POST\n/\n\n{lines}\n{signed}\n{}", hash(&form));
    let time = wanted("x-amz-date")?;
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&canonical));
    let mac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let mut key = format!("AWS4{AWS_SECRET}").into_bytes();
    for part in [date, region, "sts", "aws4_request"] {
        key = mac(&key, part);
    }
    match hex(&mac(&key, &to_sign)) == field("Signature")? {
        true if time.starts_with(date) => Ok(()),
        _ => Err("the signature does not fit".into()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
