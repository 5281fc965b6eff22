//! Ways to a server: JSON over HTTPS, and the binary encoding over TLS.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::message::{Item, shortened};
use super::{json, ttlv};
use crate::error::KeyError;
use crate::web::{self, explained};

/// Idle connections kept to one server.
const IDLE_MAX: usize = 8;
/// An idle connection is used again for so long; servers close theirs after a minute or more.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// One server.
pub(super) enum Transport {
    Https(Https),
    Tls(Tls),
}

impl Transport {
    /// One request, one answer, one attempt.
    pub(super) async fn exchange(&self, request: &Item) -> Result<Item, KeyError> {
        match self {
            Self::Https(https) => https.exchange(request).await,
            Self::Tls(tls) => tls.exchange(request).await,
        }
    }
}

fn unavailable(reason: String) -> KeyError {
    KeyError::Unavailable {
        reason,
        retry_after: Duration::from_secs(1),
    }
}

fn malformed(why: &str) -> KeyError {
    unavailable(format!("the KMIP server's answer is malformed: {why}"))
}

/// KMIP in JSON, posted to `/kmip/2_1`.
pub(super) struct Https {
    client: reqwest::Client,
    url: String,
    token: Option<HeaderValue>,
}

impl Https {
    pub(super) fn new(
        base: &str,
        tls: &rustls::ClientConfig,
        token: Option<&str>,
    ) -> Result<Self, String> {
        let client = web::client(tls)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_FOR)
            .build()
            .map_err(|e| format!("the HTTP client cannot be set up: {}", web::chain(&e)))?;
        let token = match token {
            None => None,
            Some(token) => {
                let text = Zeroizing::new(format!("Bearer {token}"));
                let mut value = HeaderValue::from_str(&text).map_err(|_| {
                    "the token has characters that no HTTP header can hold".to_owned()
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let url = format!("{}/kmip/2_1", base.trim_end_matches('/'));
        Ok(Self { client, url, token })
    }

    async fn exchange(&self, request: &Item) -> Result<Item, KeyError> {
        let body = Bytes::from_owner(json::encode(request));
        let mut post = self.client.post(&self.url).body(body);
        post = post.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            post = post.header(AUTHORIZATION, token.clone());
        }
        let mut answer = post
            .send()
            .await
            .map_err(|e| unavailable(unreachable(&e)))?;
        let status = answer.status();
        let retry_after = web::retry_after(answer.headers());
        let mut text = Zeroizing::new(Vec::with_capacity(ttlv::MESSAGE_MAX));
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|e| unavailable(unreachable(&e)))?
        {
            if text.len() + chunk.len() > ttlv::MESSAGE_MAX {
                return Err(malformed("it is longer than 64 KiB"));
            }
            text.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return json::decode(&text).map_err(malformed);
        }
        Err(refused(status, &text, retry_after))
    }
}

/// What an HTTP status other than success means. Cosmian KMS answers requests that it cannot read with 422 and a text.
fn refused(status: StatusCode, text: &[u8], retry_after: Option<Duration>) -> KeyError {
    let said = shortened(&String::from_utf8_lossy(text));
    let reason = format!("the KMIP server answers HTTP {}: {said}", status.as_u16());
    match status.as_u16() {
        429 => KeyError::Throttled {
            reason,
            retry_after: retry_after.unwrap_or(Duration::from_secs(5)),
        },
        408 | 500.. => KeyError::Unavailable {
            reason,
            retry_after: retry_after.unwrap_or(Duration::from_secs(1)),
        },
        401 | 403 => KeyError::Denied(format!("{reason} (see `token` and `client_cert`)")),
        _ => KeyError::Denied(reason),
    }
}

fn unreachable(error: &reqwest::Error) -> String {
    explained(format!(
        "the KMIP server cannot be reached: {}",
        web::chain(error)
    ))
}

/// KMIP's binary encoding over TLS.
pub(super) struct Tls {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
    idle: Mutex<Vec<(TlsStream<TcpStream>, Instant)>>,
}

impl Tls {
    pub(super) fn new(host: &str, port: u16, tls: rustls::ClientConfig) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is neither a host name nor an address"))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            name,
            connector: TlsConnector::from(Arc::new(tls)),
            idle: Mutex::default(),
        })
    }

    async fn exchange(&self, request: &Item) -> Result<Item, KeyError> {
        let request = ttlv::encode(request);
        if let Some(mut stream) = self.pooled() {
            match talk(&mut stream, &request).await {
                // The server closed it while it was idle: that says nothing of the server.
                Err(Trouble::Closed(_)) => {}
                other => return self.finish(stream, other),
            }
        }
        let connecting = tokio::time::timeout(web::CONNECT, self.connect()).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut stream = connected.map_err(|e| {
            unavailable(explained(format!("the KMIP server cannot be reached: {e}")))
        })?;
        let done = talk(&mut stream, &request).await;
        self.finish(stream, done)
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), tcp).await
    }

    fn pooled(&self) -> Option<TlsStream<TcpStream>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_FOR);
        idle.pop().map(|(stream, _)| stream)
    }

    /// A connection is used again only after a whole answer: a caller that went away takes it along.
    fn finish(
        &self,
        stream: TlsStream<TcpStream>,
        done: Result<Zeroizing<Vec<u8>>, Trouble>,
    ) -> Result<Item, KeyError> {
        let bytes = done.map_err(|trouble| match trouble {
            Trouble::Closed(e) | Trouble::Broken(e) => unavailable(explained(format!(
                "the KMIP server ended the connection: {e}"
            ))),
            Trouble::Malformed(why) => malformed(why),
        })?;
        let answer = ttlv::decode(&bytes).map_err(malformed)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((stream, Instant::now()));
        }
        Ok(answer)
    }
}

enum Trouble {
    /// Before the first byte of an answer.
    Closed(io::Error),
    /// In the middle of an answer.
    Broken(io::Error),
    Malformed(&'static str),
}

async fn talk(
    stream: &mut TlsStream<TcpStream>,
    request: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    stream.write_all(request).await.map_err(Trouble::Closed)?;
    stream.flush().await.map_err(Trouble::Closed)?;
    let mut header = [0; ttlv::HEADER_LEN];
    let read = stream.read(&mut header).await.map_err(Trouble::Closed)?;
    if read == 0 {
        return Err(Trouble::Closed(io::ErrorKind::UnexpectedEof.into()));
    }
    let rest = stream.read_exact(&mut header[read..]).await;
    rest.map_err(Trouble::Broken)?;
    let len = ttlv::body_len(&header).map_err(Trouble::Malformed)?;
    let mut bytes = Zeroizing::new(vec![0; ttlv::HEADER_LEN + len]);
    bytes[..ttlv::HEADER_LEN].copy_from_slice(&header);
    let body = stream.read_exact(&mut bytes[ttlv::HEADER_LEN..]).await;
    body.map_err(Trouble::Broken)?;
    Ok(bytes)
}
