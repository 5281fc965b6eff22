//! Transit's requests and answers, and the stored form of a wrap.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sealgate_aead::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::KeyError;

/// The format byte of a wrap.
const FORMAT: u8 = 1;
/// What Transit makes of 32 bytes: nonce of 12 (XChaCha20: 24), ciphertext, tag.
const BODY_LENS: [usize; 2] = [60, 72];

/// Base64 of the context that binds wraps to a key's configured name.
pub(super) fn context(name: &str) -> String {
    let mut bytes = b"sealgate/kek/v1\0".to_vec();
    bytes.extend_from_slice(name.as_bytes());
    STANDARD.encode(digest(&SHA256, &bytes))
}

/// A request body that is wiped when it has been sent.
pub(super) fn wiped(body: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(body)
}

/// `{"plaintext": …, "context": …}`
pub(super) fn encrypt_body(plaintext: &[u8; 32], context: &str) -> Bytes {
    let mut encoded = Zeroizing::new([0; 44]);
    // 44 characters are what 32 bytes become.
    let _ = STANDARD.encode_slice(plaintext, encoded.as_mut_slice());
    let mut body = Zeroizing::new(Vec::with_capacity(128 + context.len()));
    body.extend_from_slice(b"{\"plaintext\":\"");
    body.extend_from_slice(encoded.as_slice());
    body.extend_from_slice(b"\",\"context\":\"");
    body.extend_from_slice(context.as_bytes());
    body.extend_from_slice(b"\"}");
    wiped(body)
}

/// `{"ciphertext": …, "context": …}`; both are of base64's and our own characters.
pub(super) fn ciphertext_body(ciphertext: &str, context: &str) -> Bytes {
    format!("{{\"ciphertext\":\"{ciphertext}\",\"context\":\"{context}\"}}").into()
}

/// Transit's own form of a stored wrap.
pub(super) fn ciphertext(version: &str, wrapped: &[u8]) -> Result<String, KeyError> {
    let Some(number) = version_number(version) else {
        return Err(KeyError::Invalid(format!(
            "{version:?} is not the version of a Transit key"
        )));
    };
    match wrapped.split_first() {
        Some((&FORMAT, body)) if BODY_LENS.contains(&body.len()) => {
            Ok(format!("vault:v{number}:{}", STANDARD.encode(body)))
        }
        _ => Err(KeyError::Invalid(format!(
            "{} bytes that begin with {:?} are not a KEK that Transit wrapped",
            wrapped.len(),
            wrapped.first(),
        ))),
    }
}

/// A version as Transit counts and as we write it: from 1, in decimal, without leading zeros. Transit takes `v0` for
/// `v1`, which would give a wrap two names.
fn version_number(text: &str) -> Option<u32> {
    let number = text.parse::<u32>().ok().filter(|n| *n > 0)?;
    (number.to_string() == text).then_some(number)
}

/// The version and the stored form of the wrap in the answer of encrypt or rewrap.
pub(super) fn read_wrap(answer: &[u8]) -> Result<(u32, Vec<u8>), &'static str> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        ciphertext: &'a str,
    }
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    let read: Answer<'_> = serde_json::from_slice(answer).map_err(|_| "no data.ciphertext")?;
    let ciphertext = read.data.ciphertext;
    let rest = ciphertext.strip_prefix("vault:v").ok_or("another prefix")?;
    let (version, body) = rest.split_once(':').ok_or("another prefix")?;
    let number = version_number(version).ok_or("another version")?;
    // This engine refuses what is not canonical.
    let body = STANDARD.decode(body).map_err(|_| "not base64")?;
    if !BODY_LENS.contains(&body.len()) {
        return Err("a ciphertext of another length: the key's type is not an AEAD cipher");
    }
    let mut wrapped = vec![FORMAT];
    wrapped.extend_from_slice(&body);
    Ok((number, wrapped))
}

/// The KEK in the answer of decrypt.
pub(super) fn read_plaintext(answer: &[u8]) -> Result<Secret<32>, &'static str> {
    // Borrowed, so that the answer's own buffer, which is wiped, is the only copy.
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        plaintext: &'a str,
    }
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    let read: Answer<'_> = serde_json::from_slice(answer).map_err(|_| "no data.plaintext")?;
    let mut bytes = Zeroizing::new([0; 48]);
    let length = STANDARD
        .decode_slice(read.data.plaintext, bytes.as_mut_slice())
        .map_err(|_| "not the base64 of 32 bytes")?;
    Secret::from_slice(&bytes[..length]).ok_or("not 32 bytes")
}

/// What Transit says of a key.
#[derive(Debug, Deserialize)]
pub(super) struct KeyInfo {
    /// `aes256-gcm96`, …
    #[serde(rename = "type")]
    pub(super) cipher: String,
    #[serde(default)]
    pub(super) derived: bool,
    pub(super) latest_version: u32,
    /// OpenBao: deleted for now, and can be restored.
    #[serde(default)]
    pub(super) soft_deleted: bool,
}

impl KeyInfo {
    pub(super) fn read(answer: &[u8]) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Answer {
            data: KeyInfo,
        }
        let read: Result<Answer, _> = serde_json::from_slice(answer);
        read.map(|answer| answer.data)
            .map_err(|_| "no description of a key")
    }
}
