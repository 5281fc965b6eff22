//! The admin address: health, readiness, metrics. Plain HTTP/1.1, GET only, one request per connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealgate_kms::{KeyHealth, Standing};
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
    /// Whether requests can be served, from what is known already.
    fn ready(&self, mode: Mode) -> Readiness;
}

/// What has to work for a probe to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
    Both,
}

/// The answer to a probe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) body: String,
}

/// What the health of keys means for a probe: `read`, `write`, and a line for each key that is not simply ready. A key
/// whose provider is away is no reason to take a gateway out of service while what is in memory serves on: no other
/// gateway could do better.
pub(crate) fn readiness(keys: &[KeyHealth], mode: Mode) -> Readiness {
    let all = |ways: Vec<Standing>| {
        let worst = ["unchecked", "down", "degraded", "ready"];
        let mut found = worst
            .into_iter()
            .filter(|w| ways.iter().any(|s| s.name() == *w));
        (
            found.next().unwrap_or("ready"),
            ways.iter().all(Standing::serves),
        )
    };
    let (read, reads) = all(keys.iter().map(KeyHealth::reading).collect());
    let (write, writes) = all(keys.iter().map(KeyHealth::writing).collect());
    let ready = match mode {
        Mode::Read => reads,
        Mode::Write => writes,
        Mode::Both => reads && writes,
    };
    let first = if ready { "ready" } else { "not ready" };
    let mut body = format!("{first}\nread: {read}\nwrite: {write}\n");
    for key in keys {
        for (way, standing) in [("read", key.reading()), ("write", key.writing())] {
            match &standing {
                Standing::Ready => {}
                Standing::Degraded(why) | Standing::Down(why) => {
                    let (name, how) = (&key.name, standing.name());
                    body.push_str(&format!("key {name}: {way} {how}: {why}\n"));
                }
                Standing::Unchecked => {
                    body.push_str(&format!("key {}: {way} not checked yet\n", key.name));
                }
            }
        }
    }
    Readiness { ready, body }
}

/// `mode=read` or `mode=write` in a query.
fn mode(target: &[u8]) -> Option<Mode> {
    let query = target.splitn(2, |b| *b == b'?').nth(1).unwrap_or_default();
    match query {
        b"" => Some(Mode::Both),
        b"mode=read" => Some(Mode::Read),
        b"mode=write" => Some(Mode::Write),
        _ => None,
    }
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
        (b"GET" | b"HEAD", b"/readyz") => match mode(target).map(|mode| answers.ready(mode)) {
            Some(Readiness { ready: true, body }) => ("200 OK", TEXT, body),
            Some(Readiness { body, .. }) => ("503 Service Unavailable", TEXT, body),
            None => (
                "400 Bad Request",
                TEXT,
                "Accepted: /readyz, /readyz?mode=read, /readyz?mode=write.\n".to_owned(),
            ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_says_what_it_wants() {
        for (target, expected) in [
            ("/readyz", Some(Mode::Both)),
            ("/readyz?mode=read", Some(Mode::Read)),
            ("/readyz?mode=write", Some(Mode::Write)),
            ("/readyz?mode=wirte", None),
        ] {
            assert_eq!(mode(target.as_bytes()), expected, "{target}");
        }
    }

    #[test]
    fn without_keys_there_is_nothing_to_wait_for() {
        let found = readiness(&[], Mode::Both);
        assert_eq!(
            (found.ready, found.body.as_str()),
            (true, "ready\nread: ready\nwrite: ready\n")
        );
    }
}
