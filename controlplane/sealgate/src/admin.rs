//! The admin address: health, readiness, metrics. Plain HTTP/1.1, GET only, one request per connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 64;
/// Longest request head, bytes.
const MAX_HEAD: usize = 8 << 10;
/// How long one connection may take in all.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What the address answers with.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Prometheus text.
    fn metrics(&self) -> String;
    /// `Ok` when requests can be served, else why not.
    fn ready(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// Binds the address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen on {address} (admin): {e}"))
}

/// Serves until the process ends.
pub(crate) async fn serve<A: Answers>(listener: TcpListener, answers: Arc<A>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(TIME_LIMIT, answer(stream, &*answers)).await;
                    drop(slot);
                });
            }
            // Out of descriptors, most likely: others will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer<A: Answers>(mut stream: TcpStream, answers: &A) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/healthz") => ("200 OK", TEXT, "ok\n".to_owned()),
        (b"GET" | b"HEAD", b"/readyz") => match answers.ready().await {
            Ok(()) => ("200 OK", TEXT, "ready\n".to_owned()),
            Err(why) => ("503 Service Unavailable", TEXT, format!("{why}\n")),
        },
        (b"GET" | b"HEAD", b"/metrics") => (
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            answers.metrics(),
        ),
        (b"GET" | b"HEAD", _) => (
            "404 Not Found",
            TEXT,
            "Here are /healthz, /readyz and /metrics.\n".to_owned(),
        ),
        _ => ("405 Method Not Allowed", TEXT, "GET only.\n".to_owned()),
    };
    let mut out = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    if method != b"HEAD" {
        out.push_str(&body);
    }
    stream.write_all(out.as_bytes()).await?;
    stream.shutdown().await
}
