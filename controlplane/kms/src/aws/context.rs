//! The encryption context: what binds a wrapped KEK to the key's name in the configuration.

use aws_lc_rs::digest::{SHA256, digest};

/// The one key of the encryption context. IAM conditions name it `kms:EncryptionContext:sealgate-key`.
pub const CONTEXT_KEY: &str = "sealgate-key";

/// Before the name, so that the hash means nothing elsewhere.
const LABEL: &[u8] = b"sealgate/kek/v1\0";

/// Its value for a key's name: SHA-256(`sealgate/kek/v1` ‖ 0x00 ‖ name) in lower-case hexadecimal.
///
/// CloudTrail shows encryption contexts to whoever may read it, so the name itself is not there. A hash without a key
/// does not hide a name from somebody who guesses it.
#[must_use]
pub fn context_value(name: &str) -> String {
    let hash = digest(&SHA256, &[LABEL, name.as_bytes()].concat());
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
