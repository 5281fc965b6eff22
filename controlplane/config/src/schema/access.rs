//! Who may do what, and how objects are kept.

use super::Fallback::{Absent, Required, Value};
use super::table::{duration, row, secret};
use super::{HOUR, Kind, Section};

pub(super) const BUCKETS: Section = Section {
    path: "buckets[]",
    header: "[[buckets]]",
    doc: "How the objects of some buckets are kept. The first rule that matches counts. A bucket that no rule matches \
          is encrypted by the defaults below, never passed through.",
    rows: &[
        row(
            "match",
            Kind::Pattern,
            Required,
            "Bucket name, in which `*` stands for any characters, and optionally `/` and a key prefix: `\"prod-*\"`, `\"logs/2025/\"`, `\"*\"`.",
        ),
        row(
            "key",
            Kind::Text,
            Absent("the key named `default`, or the only one"),
            "Name of the key in `[keys.<name>]`.",
        ),
        row(
            "listing",
            Kind::Choice(&["computed", "verify"]),
            Value("\"computed\""),
            "How listings learn plaintext sizes: by arithmetic, or by a HEAD of each object. `verify` is for a bucket that holds objects from before the gateway.",
        ),
        row(
            "binding",
            Kind::Choice(&["key", "bucket+key", "none"]),
            Value("\"key\""),
            "What an object is bound to. Moved elsewhere in the store by other hands, it does not open. `key` allows copies of a bucket as a whole.",
        ),
        row(
            "metadata",
            Kind::Choice(&["sealed", "plain"]),
            Value("\"sealed\""),
            "Whether the store can read the client's metadata (`x-amz-meta-*`).",
        ),
        row(
            "encrypt",
            Kind::Boolean,
            Value("true"),
            "Off: objects pass as they are, in plaintext.",
        ),
        row(
            "plaintext_reads",
            Kind::Boolean,
            Value("false"),
            "Whether an object that is not sealed is read, and copied, as it is. Off, it is refused: whoever can write to the store could put one there. For a bucket that holds objects from before the gateway; with it goes `listing = \"verify\"`. Such answers say `x-sealgate-plaintext: true`.",
        ),
    ],
};

pub(super) const CREDENTIALS: Section = Section {
    path: "credentials[]",
    header: "[[credentials]]",
    doc: "Who may send requests. Exactly one of `secret_key`, `secret_key_env` and `secret_key_file`.",
    rows: &[
        row("access_key", Kind::Text, Required, "Access key."),
        secret("secret_key", Kind::Text, "Secret key."),
        secret(
            "secret_key_env",
            Kind::Variable,
            "Environment variable that holds the secret key.",
        ),
        row(
            "secret_key_file",
            Kind::Path,
            Absent("none"),
            "File that holds the secret key.",
        ),
        row(
            "allow",
            Kind::Tables,
            Absent("everything"),
            "What is allowed; nothing else is. An empty list allows nothing.",
        ),
        row(
            "sigv2",
            Kind::Boolean,
            Value("false"),
            "Takes signatures of version 2 (HMAC-SHA1) too, as headers, in URLs and in forms: for clients that know nothing newer. They cover neither the body nor all headers, so only over a network that is trusted, or TLS.",
        ),
        row(
            "backend_access_key",
            Kind::Text,
            Absent("the gateway's own"),
            "Access key at the store: this user's requests are signed to the store with it, so that the store's own rules hold for them.",
        ),
        secret("backend_secret_key", Kind::Text, "Its secret key."),
        secret(
            "backend_secret_key_env",
            Kind::Variable,
            "Environment variable that holds it.",
        ),
        row(
            "backend_secret_key_file",
            Kind::Path,
            Absent("none"),
            "File that holds it.",
        ),
    ],
};

pub(super) const ANONYMOUS: Section = Section {
    path: "anonymous",
    header: "[anonymous]",
    doc: "What requests without a signature may do: nothing, where this table is left out. Anybody who can reach the \
          gateway is meant, and gets plaintext: name the buckets and prefixes, and grant `read` alone unless there is \
          a reason. The store is asked with the gateway's own credentials, so its policies and ACLs do not limit it; \
          nor does a store's public bucket open anything here.",
    rows: &[row(
        "allow",
        Kind::Tables,
        Required,
        "What is allowed; nothing else is.",
    )],
};

pub(super) const ALLOW: Section = Section {
    path: "credentials[].allow[]",
    header: "[[credentials]] allow = [{ … }], [anonymous] allow = [{ … }]",
    doc: "A set of operations on a set of keys.",
    rows: &[
        row(
            "bucket",
            Kind::Pattern,
            Value("\"*\""),
            "Bucket name, in which `*` stands for any characters.",
        ),
        row(
            "prefix",
            Kind::Prefix,
            Value("\"\""),
            "Only keys that begin so; a listing has to ask for that prefix.",
        ),
        row(
            "actions",
            Kind::Actions,
            Value("[\"*\"]"),
            "`read`, `write`, `list`, `delete` (objects), `admin` (buckets and their configuration), `*`, or names of S3 operations such as `GetObject`, and `BypassGovernanceRetention`. docs/s3-operations.md says what each class holds.",
        ),
    ],
};

pub(super) const CORS: Section = Section {
    path: "cors[]",
    header: "[[cors]]",
    doc: "Which web pages' scripts may use a bucket: what S3 calls the bucket's CORS configuration. A bucket that any of \
          these rules matches has these alone; for any other, the store is asked (`GetBucketCors`, kept for a minute), \
          and a directory has none. Preflights are answered before authentication: a rule opens nothing that a signature \
          or `[anonymous]` does not.",
    rows: &[
        row(
            "match",
            Kind::Pattern,
            Required,
            "Bucket name, in which `*` stands for any characters.",
        ),
        row(
            "origins",
            Kind::Texts("origins such as \"https://app.example\", in each at most one *"),
            Required,
            "Origins of the pages. `\"*\"` alone is any page, without the browser's credentials.",
        ),
        row(
            "methods",
            Kind::Texts("\"GET\", \"PUT\", \"POST\", \"DELETE\", \"HEAD\""),
            Required,
            "What the scripts may do.",
        ),
        row(
            "headers",
            Kind::Texts("names of headers, in each at most one *"),
            Value("[]"),
            "Headers that the scripts may send.",
        ),
        row(
            "expose",
            Kind::Texts("names of headers"),
            Value("[]"),
            "Headers of answers that the scripts may see, besides the few that they always may.",
        ),
        row(
            "max_age",
            duration(24 * HOUR),
            Absent("the browser's own, 5 seconds"),
            "How long a browser may keep the answer to a preflight.",
        ),
    ],
};
