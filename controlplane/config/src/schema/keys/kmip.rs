//! Keys of `provider = "kmip"`.

use super::super::Fallback::{Absent, Required, Value};
use super::super::table::{row, secret};
use super::super::{Kind, Section};

pub(in crate::schema) const KMIP: Section = Section {
    path: "keys.<name> kmip",
    header: "[keys.<name>] provider = \"kmip\"",
    doc: "An AES-256 key at a KMIP server, see docs/kms/kmip.md.",
    rows: &[
        row(
            "endpoints",
            Kind::Texts(
                "\"https://host[:port]\" (KMIP in JSON) or \"kmip://host[:port]\" (binary over TLS)",
            ),
            Required,
            "The servers that know the key, in order of preference. `kmip://` needs `client_cert`; its port is 5696 unless given. `http://` only for this machine.",
        ),
        row(
            "uid",
            Kind::Text,
            Required,
            "The key's unique identifier. Links to keys that replaced it are followed.",
        ),
        row(
            "old_uids",
            Kind::Texts("unique identifiers"),
            Value("[]"),
            "Keys that only open what they sealed, for servers that keep no links between keys.",
        ),
        row(
            "wrap",
            Kind::Choice(&["aes-gcm", "aes-kwp"]),
            Value("\"aes-gcm\""),
            "How the server wraps new KEKs. `aes-kwp` is RFC 5649, for servers without AES-GCM. Both are always opened.",
        ),
        row(
            "version",
            Kind::Choice(&["1.4", "2.0", "2.1"]),
            Absent("2.1 for `https://`, 1.4 for `kmip://`"),
            "KMIP version of requests.",
        ),
        secret("token", Kind::Text, "Bearer token for `https://`."),
        secret(
            "token_env",
            Kind::Variable,
            "Environment variable that holds the token.",
        ),
        row(
            "token_file",
            Kind::Path,
            Absent("none"),
            "File that holds the token, read at start and on SIGHUP.",
        ),
        row(
            "ca_file",
            Kind::Path,
            Absent("the system's certificates"),
            "Certificates to trust for the servers, PEM.",
        ),
        row(
            "client_cert",
            Kind::Path,
            Absent("none"),
            "This gateway's certificate chain, PEM.",
        ),
        row(
            "client_key",
            Kind::Path,
            Absent("none"),
            "Its private key, PEM.",
        ),
    ],
};
