//! The tables of keys: what all have in common, and what each provider adds.

mod aws;
mod kmip;
mod vault;

use super::Fallback::{Absent, Required, Value};
use super::table::{row, secret};
use super::{HOUR, Kind, Row, SECOND, Section, resilience};

pub(super) use aws::AWS_KMS;
pub(super) use kmip::KMIP;
pub(super) use vault::VAULT;

/// Path of what all keys have in common.
pub(crate) const KEYS: &str = "keys.<name>";

pub(super) const COMMON: Section = Section {
    path: KEYS,
    header: "[keys.<name>]",
    doc: "A key that wraps key-encryption keys (KEKs). The name is written into every object sealed with it: up to 64 \
          letters, digits, `.`, `_` and `-`. A KEK is used until one of its three bounds is met, on each core for \
          itself. The provider's own keys, below, stand in the same table.",
    rows: &[
        row(
            "provider",
            Kind::Choice(&["file", "env", "pkcs11", "vault", "aws-kms", "kmip"]),
            Required,
            "Who holds the key. Each has a page in docs/kms, and keys of its own below.",
        ),
        row(
            "max_age",
            Kind::Duration {
                min: SECOND,
                max: 24 * HOUR,
            },
            Value("\"1h\""),
            "Longest use of one KEK for new objects.",
        ),
        row(
            "max_objects",
            Kind::Integer {
                min: 1,
                max: 1 << 32,
            },
            Value("1048576"),
            "Most objects sealed under one KEK. 1 asks the provider for each object.",
        ),
        row(
            "max_bytes",
            Kind::Size {
                min: 1,
                max: 1 << 50,
            },
            Value("\"16TiB\""),
            "Most plaintext bytes sealed under one KEK.",
        ),
        resilience::ATTEMPT_TIMEOUT,
        resilience::DEADLINE,
        resilience::RETRIES,
        resilience::HEDGE_AFTER,
        resilience::CONCURRENCY,
        resilience::HEALTH_INTERVAL,
        resilience::BREAKER_TABLE,
        resilience::CACHE_TABLE,
        resilience::GRACE_TABLE,
    ],
};

pub(super) const FILE: Section = Section {
    path: "keys.<name> file",
    header: "[keys.<name>] provider = \"file\"",
    doc: "A key ring file, see docs/kms/file.md.",
    rows: &[row(
        "path",
        Kind::Path,
        Required,
        "The key ring; `sealgate key create PATH` makes one. Its mode must be 0600 or 0400.",
    )],
};

pub(super) const ENV: Section = Section {
    path: "keys.<name> env",
    header: "[keys.<name>] provider = \"env\"",
    doc: "A key in an environment variable, see docs/kms/env.md.",
    rows: &[Row {
        key: "variable",
        kind: Kind::Variable,
        default: Required,
        doc: "The variable. It holds 32 bytes in base64 (`openssl rand -base64 32`), or the whole text of a key ring.",
        // A key put here by mistake must not be shown.
        secret: true,
    }],
};

pub(super) const PKCS11: Section = Section {
    path: "keys.<name> pkcs11",
    header: "[keys.<name>] provider = \"pkcs11\"",
    doc: "A key in a token (an HSM, SoftHSM2), see docs/kms/pkcs11.md. The token is named by `token_label` or by `slot`; \
          one of `pin`, `pin_env`, `pin_file` is required.",
    rows: &[
        row(
            "module",
            Kind::Path,
            Required,
            "The vendor's PKCS#11 library, a `.so`.",
        ),
        row(
            "token_label",
            Kind::Text,
            Absent("see above"),
            "The token's label.",
        ),
        row(
            "slot",
            Kind::Integer {
                min: 0,
                max: u64::MAX,
            },
            Absent("see above"),
            "The token's slot. Labels are better: slots of many modules change when tokens come and go.",
        ),
        secret(
            "pin",
            Kind::Text,
            "The user PIN. A wrong one is offered once, never again before a change.",
        ),
        secret(
            "pin_env",
            Kind::Variable,
            "Environment variable that holds the PIN.",
        ),
        row(
            "pin_file",
            Kind::Path,
            Absent("none"),
            "File that holds the PIN.",
        ),
        row(
            "key_label",
            Kind::Text,
            Required,
            "`CKA_LABEL` of the AES-256 keys that are the versions of this key; `CKA_ID` is the version's number.",
        ),
        row(
            "nonce",
            Kind::Choice(&["gateway", "token"]),
            Value("\"gateway\""),
            "Who makes nonces. `token` for modules that take none for `CKM_AES_GCM`.",
        ),
    ],
};
