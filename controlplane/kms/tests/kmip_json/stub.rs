//! A KMIP server that answers as Cosmian KMS 5.28.0 does: with the answers recorded from it in tests/data/cosmian, and
//! with real cryptography in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use sealgate_aead::{Aes256Gcm, Secret};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../data/cosmian/", $name, ".json"))
    };
}

struct Object {
    key: [u8; 32],
    next: Option<String>,
    previous: Option<String>,
}

/// What happens instead of an answer.
#[derive(Clone)]
pub(crate) enum Fault {
    /// An HTTP status, more header lines, and a body.
    Http(u16, &'static str, String),
    /// The connection ends without an answer.
    Hang,
}

#[derive(Default)]
pub(crate) struct State {
    objects: HashMap<String, Object>,
    fault: Option<Fault>,
    token: Option<String>,
    requests: usize,
}

/// A running stub.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stub = Self {
            state: Arc::default(),
            url,
        };
        let serving = stub.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let stub = serving.clone();
                tokio::spawn(async move { stub.serve(connection).await });
            }
        });
        stub
    }

    pub(crate) fn create(&self, uid: &str) {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("random bytes");
        let object = Object {
            key,
            next: None,
            previous: None,
        };
        self.with(|state| state.objects.insert(uid.to_owned(), object));
    }

    /// ReKey, as the server's owner does it.
    pub(crate) fn rekey(&self, old: &str, new: &str) {
        self.create(new);
        self.link(old, new);
    }

    pub(crate) fn link(&self, old: &str, new: &str) {
        self.with(|state| {
            state.objects.get_mut(old).expect("the old key").next = Some(new.to_owned());
            state.objects.get_mut(new).expect("the new key").previous = Some(old.to_owned());
        });
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.with(|state| state.fault = fault);
    }

    pub(crate) fn want_token(&self, token: &str) {
        self.with(|state| state.token = Some(token.to_owned()));
    }

    pub(crate) fn requests(&self) -> usize {
        self.with(|state| state.requests)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().expect("no test panics with it"))
    }

    async fn serve(&self, mut connection: TcpStream) -> Option<()> {
        loop {
            let (head, body) = read(&mut connection).await?;
            let (fault, token) = self.with(|state| {
                state.requests += 1;
                (state.fault.clone(), state.token.clone())
            });
            let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n"));
            let (status, more, text) = match fault {
                Some(Fault::Hang) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return None;
                }
                Some(Fault::Http(status, more, text)) => (status, more, text),
                None if bearer.is_some_and(|bearer| !head.contains(&bearer)) => {
                    (401, "", "Unauthorized".to_owned())
                }
                None if head.starts_with("POST /kmip/2_1 HTTP/1.1\r\n") => {
                    (200, "", self.answer(&body))
                }
                None => (404, "", "Not Found".to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status} x\r\n{more}content-length: {}\r\n\r\n{text}",
                text.len()
            );
            connection.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn answer(&self, body: &[u8]) -> String {
        let message: Value = serde_json::from_slice(body).expect("requests are JSON");
        assert_eq!(message["tag"], "RequestMessage");
        let item = field(&message, "BatchItem").expect("a batch item");
        let payload = field(item, "RequestPayload").expect("a payload");
        let uid = text(payload, "UniqueIdentifier");
        let parameters = field(payload, "CryptographicParameters");
        let mode = parameters.map(|parameters| text(parameters, "BlockCipherMode"));
        let operation = text(item, "Operation");
        self.with(|state| {
            let Some(object) = state.objects.get(uid) else {
                return recorded!("decrypt_unknown").replace("{{uid}}", uid);
            };
            let template = match (operation, mode) {
                ("GetAttributes", _) => {
                    let template = match (&object.next, &object.previous) {
                        (Some(_), _) => recorded!("attributes_replaced").to_owned(),
                        (None, Some(_)) => recorded!("attributes_replacing").to_owned(),
                        (None, None) => recorded!("attributes").to_owned(),
                    };
                    // The recorded key in the middle of a line has both links, in this order.
                    let both = match (&object.next, &object.previous) {
                        (Some(_), Some(_)) => template.replace(
                            r#"{"tag":"NeverExtractable""#,
                            r#"{"tag":"Link","value":[{"tag":"LinkType","type":"Enumeration","value":"ReplacedObjectLink"},{"tag":"LinkedObjectIdentifier","type":"TextString","value":"{{previous}}"}]},{"tag":"NeverExtractable""#,
                        ),
                        _ => template,
                    };
                    both.replace("{{next}}", object.next.as_deref().unwrap_or_default())
                        .replace("{{previous}}", object.previous.as_deref().unwrap_or_default())
                }
                ("Encrypt", _) if object.next.is_some() => recorded!("encrypt_deactivated").to_owned(),
                ("Encrypt", Some("GCM")) => gcm_seal(object, payload),
                ("Decrypt", Some("GCM")) => gcm_open(object, payload),
                ("Encrypt", Some("AESKeyWrapPadding")) => {
                    let mut out = [0; 128];
                    let wrapped = kek(object).wrap_with_padding(&bytes(payload, "Data"), &mut out);
                    recorded!("encrypt_kwp").replace("{{data}}", &hex(wrapped.expect("wraps")))
                }
                ("Decrypt", Some("AESKeyWrapPadding")) => {
                    let mut out = [0; 128];
                    match kek(object).unwrap_with_padding(&bytes(payload, "Data"), &mut out) {
                        Ok(plain) => recorded!("decrypt").replace("{{data}}", &hex(plain)),
                        Err(_) => recorded!("decrypt_kwp_forged").to_owned(),
                    }
                }
                other => panic!("not asked of a server here: {other:?}"),
            };
            template.replace("{{uid}}", uid)
        })
    }
}

fn kek(object: &Object) -> AesKek {
    AesKek::new(&AES_256, &object.key).expect("an AES-256 key")
}

fn gcm_seal(object: &Object, payload: &Value) -> String {
    let mut data = bytes(payload, "Data");
    let nonce = bytes(payload, "IVCounterNonce")
        .try_into()
        .expect("12 bytes");
    let aad = bytes(payload, "AuthenticatedEncryptionAdditionalData");
    let tag = Aes256Gcm::new(&Secret::new(object.key)).seal(nonce, &aad, &mut data);
    recorded!("encrypt")
        .replace("{{data}}", &hex(&data))
        .replace("{{tag}}", &hex(&tag))
}

fn gcm_open(object: &Object, payload: &Value) -> String {
    let mut data = bytes(payload, "Data");
    let nonce = bytes(payload, "IVCounterNonce")
        .try_into()
        .expect("12 bytes");
    let aad = bytes(payload, "AuthenticatedEncryptionAdditionalData");
    let tag = bytes(payload, "AuthenticatedEncryptionTag")
        .try_into()
        .expect("16 bytes");
    match Aes256Gcm::new(&Secret::new(object.key)).open(nonce, &aad, &mut data, &tag) {
        Ok(()) => recorded!("decrypt").replace("{{data}}", &hex(&data)),
        Err(_) => recorded!("decrypt_forged").to_owned(),
    }
}

fn field<'v>(item: &'v Value, tag: &str) -> Option<&'v Value> {
    let items = item["value"].as_array()?;
    items.iter().find(|item| item["tag"] == tag)
}

fn text<'v>(item: &'v Value, tag: &str) -> &'v str {
    let found = field(item, tag).and_then(|item| item["value"].as_str());
    found.unwrap_or_else(|| panic!("no {tag}"))
}

fn bytes(item: &Value, tag: &str) -> Vec<u8> {
    let digits = text(item, tag);
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Head and body of a request.
async fn read(connection: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 2].to_vec()).ok()?;
            let length = head
                .split("content-length: ")
                .nth(1)?
                .split("\r\n")
                .next()?;
            let body = end + 4;
            if bytes.len() >= body + length.parse::<usize>().ok()? {
                return Some((head, bytes[body..].to_vec()));
            }
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
