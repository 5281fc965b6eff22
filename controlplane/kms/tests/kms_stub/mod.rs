//! A small server that speaks as AWS KMS does, for what moto does not do.
//!
//! AWS JSON 1.1 over HTTP/1.1: `POST /`, the operation in `X-Amz-Target: TrentService.…`, errors as a body with
//! `__type` and `message` beside `x-amzn-RequestId`
//! (<https://docs.aws.amazon.com/kms/latest/APIReference/kms-api-reference.pdf>,
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>). Every request has to be signed for the service
//! `kms` and the region; signatures themselves are not checked, which moto does not either.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the stub does with a call.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers as KMS does: `GenerateDataKey` and `Decrypt` with a key of sevens.
    Serve,
    /// A success with this body.
    Answer(Value),
    /// One of KMS's errors.
    Error(u16, &'static str, &'static str),
    /// These bytes in place of an answer, then the connection's end.
    Raw(&'static [u8]),
    /// No answer.
    Hang,
    /// A reset connection.
    Reset,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `Decrypt`, …
    pub(crate) operation: String,
    /// `X-Amz-Date`.
    pub(crate) date: String,
    /// Access key of the signature.
    pub(crate) access_key: String,
    /// The request itself.
    pub(crate) body: Value,
}

/// A running stub.
pub(crate) struct Stub {
    /// `host:port`.
    pub(crate) authority: String,
    act: Arc<Mutex<Act>>,
    calls: Arc<Mutex<Vec<Call>>>,
    /// What is added to the clock in `Date`.
    skew: Arc<Mutex<time::Duration>>,
}

pub(crate) const KEY_ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const KEY_ARN: &str =
    "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

impl Stub {
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stub = Self {
            authority: listener.local_addr().expect("an address").to_string(),
            act: Arc::new(Mutex::new(Act::Serve)),
            calls: Arc::default(),
            skew: Arc::new(Mutex::new(time::Duration::ZERO)),
        };
        let (act, calls, skew) = (stub.act.clone(), stub.calls.clone(), stub.skew.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = (act.clone(), calls.clone(), skew.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => {
                            connection(socket, shared, |socket| {
                                // The kernel sends a reset when a socket with this set is closed.
                                socket.set_zero_linger().expect("linger");
                            })
                            .await
                        }
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                connection(socket, shared, |_| ()).await;
                            }
                        }
                    }
                });
            }
        });
        stub
    }

    /// What is done from now on.
    pub(crate) fn act(&self, act: Act) {
        *self.act.lock().expect("unpoisoned") = act;
    }

    /// Sets the stub's clock ahead.
    pub(crate) fn set_clock_ahead(&self, by: time::Duration) {
        *self.skew.lock().expect("unpoisoned") = by;
    }

    /// The calls since the last time.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().expect("unpoisoned"))
    }
}

type Shared = (
    Arc<Mutex<Act>>,
    Arc<Mutex<Vec<Call>>>,
    Arc<Mutex<time::Duration>>,
);

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: S,
    (act, calls, skew): Shared,
    reset: impl Fn(&S),
) {
    while let Some((head, body)) = request(&mut socket).await {
        let call = understood(&head, &body);
        calls.lock().expect("unpoisoned").push(call.clone());
        let act = act.lock().expect("unpoisoned").clone();
        let skew = *skew.lock().expect("unpoisoned");
        let (status, answer) = match act {
            Act::Serve => (200, serve(&call)),
            Act::Answer(body) => (200, body),
            Act::Error(status, code, text) => (status, json!({"__type": code, "message": text})),
            Act::Raw(bytes) => {
                let _ = socket.write_all(bytes).await;
                let _ = socket.shutdown().await;
                return;
            }
            Act::Hang => return tokio::time::sleep(Duration::from_secs(60)).await,
            Act::Reset => return reset(&socket),
        };
        let answer = answer.to_string();
        let date = (time::OffsetDateTime::now_utc() + skew)
            .format(&time::macros::format_description!(
                "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
            ))
            .expect("a date");
        let text = format!(
            "HTTP/1.1 {status} X\r\nx-amzn-RequestId: 2d4a5d2e-0000-4000-8000-000000000001\r\nDate: {date}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if socket.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request's head and body.
async fn request<S: AsyncRead + Unpin>(socket: &mut S) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head of ASCII");
    let length: usize = header(&head, "content-length").parse().expect("a length");
    while bytes.len() < end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes[end..].to_vec()))
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let found = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    found.unwrap_or_else(|| panic!("no {name} in {head}"))
}

/// Checks what every request of KMS's API has.
fn understood(head: &str, body: &[u8]) -> Call {
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "content-type"), "application/x-amz-json-1.1");
    let signature = header(head, "authorization");
    let rest = signature
        .strip_prefix("AWS4-HMAC-SHA256 Credential=")
        .expect("SigV4");
    let (credential, rest) = rest.split_once(',').expect("a credential");
    let parts: Vec<_> = credential.split('/').collect();
    let date = header(head, "x-amz-date");
    assert_eq!(parts[1..], [&date[..8], "eu-west-1", "kms", "aws4_request"]);
    for signed in ["host", "x-amz-date", "x-amz-target", "content-type"] {
        assert!(rest.contains(signed), "{signed} is not signed: {rest}");
    }
    let (_, digits) = rest.split_once("Signature=").expect("a signature");
    assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let target = header(head, "x-amz-target");
    Call {
        operation: target
            .strip_prefix("TrentService.")
            .expect("a KMS operation")
            .to_owned(),
        date: date.to_owned(),
        access_key: parts[0].to_owned(),
        body: serde_json::from_slice(body).expect("JSON"),
    }
}

fn serve(call: &Call) -> Value {
    match call.operation.as_str() {
        "GenerateDataKey" => generated(&[7; 32], KEY_ARN, Some(MATERIAL)),
        "Decrypt" => json!({"KeyId": KEY_ARN, "Plaintext": BASE64.encode([7; 32])}),
        "ReEncrypt" => json!({
            "KeyId": KEY_ARN, "SourceKeyId": KEY_ARN, "CiphertextBlob": BASE64.encode([9; 184]),
            "DestinationKeyMaterialId": MATERIAL,
        }),
        other => panic!("{other} is not used"),
    }
}

pub(crate) const MATERIAL: &str =
    "123456789012abcd1234abcd1234abcd1234abcd1234abcd1234abcd1234abcd";

/// An answer to `GenerateDataKey`. AWS's wrapped keys of 32 bytes have 184.
pub(crate) fn generated(plaintext: &[u8], arn: &str, material: Option<&str>) -> Value {
    let mut answer = json!({
        "CiphertextBlob": BASE64.encode([8; 184]), "Plaintext": BASE64.encode(plaintext), "KeyId": arn,
    });
    if let Some(material) = material {
        answer["KeyMaterialId"] = material.into();
    }
    answer
}
