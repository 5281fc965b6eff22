//! One server's JSON API: bounded answers, no redirects, no proxies, no attempts of its own.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, LOCATION};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::web;

/// Longest answer, bytes. A key with hundreds of versions takes about 10 KiB.
const ANSWER_MAX: usize = 256 * 1024;
/// Longest text of an error that is passed on, characters.
const TEXT_MAX: usize = 300;
/// A whole call. The key service has its own deadline; this one is for logins and renewals.
const CALL: Duration = Duration::from_secs(10);

/// One server.
pub(super) struct Http {
    client: reqwest::Client,
    base: String,
    namespace: Option<HeaderValue>,
}

/// A call that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not get an answer.
    Unreachable(String),
    /// The server refused.
    Status {
        /// HTTP status.
        status: u16,
        /// What it said; empty when it said nothing.
        text: String,
        /// The answer has the form of OpenBao's and Vault's errors, so that it is not some proxy's.
        genuine: bool,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
}

impl Failure {
    /// The token is dead, or its policy does not allow this.
    pub(super) fn is_forbidden(&self) -> bool {
        match self {
            Self::Status {
                status,
                genuine,
                text,
                ..
            } => *genuine && (*status == 403 || (*status == 400 && text == "missing client token")),
            Self::Unreachable(_) => false,
        }
    }

    /// The ciphertext does not belong to the key and the context.
    pub(super) fn is_forged(&self) -> bool {
        matches!(self, Self::Status { status: 400, genuine: true, text, .. }
            if text.contains("message authentication failed"))
    }
}

impl Http {
    pub(super) fn new(
        endpoint: &str,
        namespace: Option<&str>,
        tls: &rustls::ClientConfig,
    ) -> Result<Self, String> {
        let client = web::client(tls)
            .timeout(CALL)
            .pool_max_idle_per_host(16)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .user_agent(concat!("sealgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| format!("the HTTP client cannot be set up: {}", web::chain(&e)))?;
        let namespace = namespace
            .map(|name| HeaderValue::from_str(name).map_err(|e| format!("namespace: {e}")))
            .transpose()?;
        Ok(Self {
            client,
            base: endpoint.trim_end_matches('/').to_owned(),
            namespace,
        })
    }

    /// `host[:port]`
    pub(super) fn label(&self) -> &str {
        self.base.split_once("://").map_or(&self.base, |(_, at)| at)
    }

    /// GET without a body, POST with one. The answer's body when the status is 2xx.
    pub(super) async fn send(
        &self,
        path: &str,
        token: Option<&HeaderValue>,
        body: Option<Bytes>,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let url = format!("{}/v1/{path}", self.base);
        let mut request = match body {
            Some(body) => self
                .client
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body),
            None => self.client.get(url),
        }
        // Agents can be told to refuse requests without it, which protects them from forged cross-site ones.
        .header("x-vault-request", "true");
        if let Some(token) = token {
            request = request.header("x-vault-token", token.clone());
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.clone());
        }
        let unreachable = |e: reqwest::Error| {
            Failure::Unreachable(tidy(&web::explained(web::chain(&e.without_url()))))
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let mut answer = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > ANSWER_MAX {
                let what = format!("its answer is longer than {ANSWER_MAX} bytes");
                return Err(Failure::Unreachable(what));
            }
            append(&mut answer, &chunk);
        }
        if response.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(&response, &answer))
    }
}

/// Appends without leaving copies behind where the buffer has to grow.
fn append(buffer: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if buffer.capacity() - buffer.len() < more.len() {
        let room = (buffer.len() + more.len()).next_power_of_two();
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(more);
}

fn refusal(response: &reqwest::Response, answer: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let read: Result<Errors, _> = serde_json::from_slice(answer);
    let header = |name| response.headers().get(name)?.to_str().ok();
    let mut text = match &read {
        Ok(read) => tidy(&read.errors.join("; ")),
        Err(_) => String::new(),
    };
    if response.status().is_redirection() {
        text = format!("to {}", tidy(header(LOCATION).unwrap_or("nowhere")));
    }
    Failure::Status {
        status: response.status().as_u16(),
        text,
        genuine: read.is_ok(),
        retry_after: web::retry_after(response.headers()),
    }
}

/// One line of bounded length.
fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(TEXT_MAX).collect()
}
