//! What a failure means, and what to do about it.

use std::time::Duration;

use super::Place;
use super::http::Failure;
use super::transit::KeyInfo;
use crate::error::KeyError;

/// When to come back to a server that is down, sealed or without a leader.
const SOON: Duration = Duration::from_secs(2);
/// Key types that encrypt with 256 bits, authenticate, and can be derived.
const CIPHERS: [&str; 3] = ["aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// What passes by itself, for calls and logins alike; `None` for a definite refusal.
pub(super) fn passing(server: &str, failure: &Failure) -> Option<KeyError> {
    let (status, text, genuine, retry_after) = match failure {
        Failure::Unreachable(why) => return Some(unavailable(format!("{server}: {why}"), None)),
        Failure::Status {
            status,
            text,
            genuine,
            retry_after,
        } => (*status, text.as_str(), *genuine, *retry_after),
    };
    let reason = match status {
        429 => {
            return Some(KeyError::Throttled {
                reason: format!("{server} answers 429 {text}"),
                retry_after: retry_after.unwrap_or(Duration::from_secs(1)),
            });
        }
        300..=399 => format!(
            "{server} redirects {text}: it is a standby that does not forward requests; redirects are not followed, \
             name the leader or an address that finds it in endpoints"
        ),
        503 if text.contains("sealed") => {
            format!("{server} is sealed: unseal it (`bao operator unseal`)")
        }
        // 412: this standby has not caught up. 472, 473: a disaster recovery or performance standby.
        408 | 412 | 472 | 473 | 500..=599 => format!("{server} answers {status} {text}"),
        _ if !genuine => format!(
            "{server} answers {status}, but not as OpenBao or Vault do: something else is at this address"
        ),
        _ => return None,
    };
    Some(unavailable(reason, retry_after))
}

fn unavailable(reason: String, retry_after: Option<Duration>) -> KeyError {
    KeyError::Unavailable {
        reason,
        retry_after: retry_after.unwrap_or(SOON),
    }
}

/// What a failed Transit call means.
pub(super) fn of_call(place: &Place, server: &str, operation: &str, failure: &Failure) -> KeyError {
    if let Some(passing) = passing(server, failure) {
        return passing;
    }
    let Failure::Status { status, text, .. } = failure else {
        return KeyError::Invalid("unknown".into());
    };
    let path = place.path(operation);
    let name = &place.name;
    if failure.is_forged() {
        return KeyError::Invalid(format!(
            "it does not open under the Transit key of {name:?}: it was changed, or sealed under another key name, or \
             the Transit key was deleted and made again"
        ));
    }
    if failure.is_forbidden() {
        return KeyError::Denied(format!(
            "{server} forbids {path}: the token lives, so its policy lacks `path \"{path}\" {{ capabilities = \
             [\"{}\"] }}`, or there is no such mount or key; see docs/kms/vault.md",
            if operation == "keys" {
                "read"
            } else {
                "update"
            },
        ));
    }
    let missing = *status == 404 || text.contains("encryption key not found");
    if missing && text.contains("no handler for route") {
        return KeyError::Denied(format!(
            "{server} has nothing mounted at {}/: correct mount (and namespace) of [keys.{name}], or `bao secrets \
             enable -path={} transit`",
            place.mount, place.mount,
        ));
    }
    if missing {
        return KeyError::Denied(format!(
            "{server} has no Transit key {}: correct key of [keys.{name}], or make it: {}",
            place.key,
            place.create(&place.key),
        ));
    }
    if text.contains("too old") {
        return KeyError::Denied(format!(
            "this version of the Transit key {} may no longer decrypt: allow it for as long as objects need it (`bao \
             write {}/keys/{}/config min_decryption_version=N`), and rewrap them",
            place.key, place.mount, place.key,
        ));
    }
    if text.contains("too new") {
        // A standby that has not caught up answers like this for a moment after a rotation; the leader opens it.
        return KeyError::Behind {
            reason: format!(
                "{server} does not know this version of the Transit key {} yet: it is a standby that lags; if that \
                 lasts, it was restored from an older backup, or has another key of this name",
                place.key,
            ),
            retry_after: SOON,
        };
    }
    if text.contains("invalid ciphertext") {
        return KeyError::Invalid(format!("{server} says {text:?}"));
    }
    KeyError::Denied(format!("{server} answers {status} {text:?} to {path}"))
}

/// An answer of status 200 that is not what it should be. Another attempt may meet a better server.
pub(super) fn misread(place: &Place, server: &str, what: &str) -> KeyError {
    if what.contains("AEAD") {
        return KeyError::Denied(format!("{}; {}", what, remedy(place)));
    }
    unavailable(
        format!("{server} answers what cannot be understood ({what})"),
        None,
    )
}

/// Whether a key can be used, and if not, what to do.
pub(super) fn check_key(place: &Place, info: &KeyInfo) -> Result<(), KeyError> {
    if info.soft_deleted {
        return Err(KeyError::Denied(format!(
            "the Transit key {} is deleted for now: restore it, no object opens without it",
            place.key
        )));
    }
    if !CIPHERS.contains(&info.cipher.as_str()) {
        return Err(KeyError::Denied(format!(
            "the Transit key {} is of type {}, which is not among {}; {}",
            place.key,
            info.cipher,
            CIPHERS.join(", "),
            remedy(place),
        )));
    }
    if !info.derived {
        return Err(not_derived(place));
    }
    Ok(())
}

pub(super) fn not_derived(place: &Place) -> KeyError {
    KeyError::Denied(format!(
        "the Transit key {} is not derived, so that nothing would bind a wrapped key to the key's name; {}",
        place.key,
        remedy(place),
    ))
}

pub(super) fn cannot_check(place: &Place) -> KeyError {
    let path = place.path("keys");
    KeyError::Denied(format!(
        "whether the Transit key {} is derived cannot be found out: allow `path \"{path}\" {{ capabilities = \
         [\"read\"] }}`",
        place.key,
    ))
}

/// Neither can be changed of a key that exists.
fn remedy(place: &Place) -> String {
    let other = format!("{}-kek", place.key);
    format!(
        "make another key, {}, and set key = {other:?} in [keys.{}]",
        place.create(&other),
        place.name,
    )
}
