//! The bytes of a KEK wrapped under a key ring; the layout is in the parent module's documentation.

use sealgate_aead::{Aes256Gcm, NONCE_LEN, Secret, TAG_LEN, hkdf_expand_sha512};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const CHECK_LEN: usize = 8;
const KEK_LEN: usize = 32;
const NONCE_AT: usize = 1 + CHECK_LEN;
const KEK_AT: usize = NONCE_AT + NONCE_LEN;
const TAG_AT: usize = KEK_AT + KEK_LEN;

/// Length of a wrapped KEK, bytes.
pub const WRAPPED_LEN: usize = TAG_AT + TAG_LEN;

/// Why a wrapped KEK does not open.
pub(super) enum Refusal {
    /// Of another format or length.
    Format(String),
    /// Its key check is another key's; both in hexadecimal.
    OtherKey { theirs: String, ours: String },
    /// Right key, wrong tag.
    Forged,
}

/// Wraps a KEK. The nonce must be random and new.
pub(super) fn wrap(
    key: &Secret<32>,
    name: &str,
    version: u32,
    nonce: [u8; NONCE_LEN],
    kek: &Secret<32>,
) -> Vec<u8> {
    let mut sealed = Zeroizing::new(*kek.expose());
    let tag = Aes256Gcm::new(key).seal(nonce, &additional_data(name, version), &mut *sealed);
    let mut wrapped = Vec::with_capacity(WRAPPED_LEN);
    wrapped.push(FORMAT);
    wrapped.extend_from_slice(&check(key));
    wrapped.extend_from_slice(&nonce);
    wrapped.extend_from_slice(&*sealed);
    wrapped.extend_from_slice(&tag);
    wrapped
}

/// Opens what [`wrap`] made with the same key, name and version.
pub(super) fn unwrap(
    key: &Secret<32>,
    name: &str,
    version: u32,
    wrapped: &[u8],
) -> Result<Secret<32>, Refusal> {
    if wrapped.first().is_some_and(|format| *format != FORMAT) {
        return Err(Refusal::Format(format!(
            "format {} of a key wrapped by a key file is not known here, only {FORMAT}",
            wrapped[0]
        )));
    }
    let Ok(wrapped) = <&[u8; WRAPPED_LEN]>::try_from(wrapped) else {
        return Err(Refusal::Format(format!(
            "it has {} bytes, a key wrapped by a key file has {WRAPPED_LEN}",
            wrapped.len()
        )));
    };
    // Not a secret: it only says which key is meant.
    let (theirs, ours) = (&wrapped[1..NONCE_AT], check(key));
    if theirs != ours {
        return Err(Refusal::OtherKey {
            theirs: hex(theirs),
            ours: hex(&ours),
        });
    }
    let nonce: [u8; NONCE_LEN] = copy(&wrapped[NONCE_AT..KEK_AT]);
    let tag: [u8; TAG_LEN] = copy(&wrapped[TAG_AT..]);
    let mut kek = Zeroizing::new(copy::<KEK_LEN>(&wrapped[KEK_AT..TAG_AT]));
    Aes256Gcm::new(key)
        .open(nonce, &additional_data(name, version), &mut *kek, &tag)
        .map_err(|_| Refusal::Forged)?;
    Ok(Secret::new(*kek))
}

/// Eight public bytes that name a key without telling anything else about it.
fn check(key: &Secret<32>) -> [u8; CHECK_LEN] {
    let mut out = [0; CHECK_LEN];
    hkdf_expand_sha512(key.expose(), &[b"sealgate/kek-check/v1"], &mut out);
    out
}

/// What binds a wrapped KEK to the name and version of its key.
pub(crate) fn additional_data(name: &str, version: impl std::fmt::Display) -> Vec<u8> {
    format!("sealgate/kek/v1\0{name}\0{version}").into_bytes()
}

fn copy<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The nonce of a wrapped KEK of the right length.
#[cfg(test)]
pub(super) fn unwrap_nonce(wrapped: &[u8]) -> [u8; NONCE_LEN] {
    copy(&wrapped[NONCE_AT..KEK_AT])
}
