//! The table itself.

use super::Fallback::{self, Absent, Required, Value};
use super::{HOUR, Kind, Row, Section, access, keys, resilience};

const MIB: u64 = 1 << 20;

pub(super) const fn row(
    key: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
) -> Row {
    Row {
        key,
        kind,
        default,
        doc,
        secret: false,
    }
}

pub(super) const fn secret(key: &'static str, kind: Kind, doc: &'static str) -> Row {
    Row {
        key,
        kind,
        default: Absent("none"),
        doc,
        secret: true,
    }
}

pub(super) const fn duration(max: u64) -> Kind {
    Kind::Duration { min: 1, max }
}

/// All sections, in the order in which they are documented.
pub const SECTIONS: &[Section] = &[
    Section {
        path: "",
        header: "",
        doc: "The tables of the file. No key stands outside them.",
        rows: &[
            row(
                "listen",
                Kind::Table,
                Absent("all its defaults"),
                "Where clients connect.",
            ),
            row(
                "runtime",
                Kind::Table,
                Absent("all its defaults"),
                "Threads, I/O, memory.",
            ),
            row(
                "timeouts",
                Kind::Table,
                Absent("all its defaults"),
                "How long things may take.",
            ),
            row(
                "backend",
                Kind::Table,
                Required,
                "The store behind the gateway.",
            ),
            row(
                "keys",
                Kind::Table,
                Absent("no keys"),
                "The keys, one table for each name.",
            ),
            row(
                "buckets",
                Kind::Tables,
                Absent("one rule for all buckets, all its defaults"),
                "How buckets are kept.",
            ),
            row(
                "credentials",
                Kind::Tables,
                Required,
                "Who may send requests.",
            ),
            row(
                "anonymous",
                Kind::Table,
                Absent("every request needs a signature"),
                "What requests without a signature may do.",
            ),
            row(
                "cors",
                Kind::Tables,
                Absent("each bucket's own rules in the store"),
                "Which web pages' scripts may use which buckets.",
            ),
            row(
                "log",
                Kind::Table,
                Absent("all its defaults"),
                "What is logged.",
            ),
        ],
    },
    Section {
        path: "listen",
        header: "[listen]",
        doc: "Where clients connect.",
        rows: &[
            row(
                "s3",
                Kind::Address,
                Value("\"127.0.0.1:9000\""),
                "For S3 clients. Every core listens on it. Port 0 takes a free one.",
            ),
            row(
                "admin",
                Kind::Address,
                Absent("no admin port"),
                "For `/healthz`, `/readyz` and `/metrics`: plain HTTP without authentication, so keep it inside.",
            ),
            row(
                "tls",
                Kind::Table,
                Absent("plain HTTP"),
                "TLS for S3 clients.",
            ),
            row(
                "base_domains",
                Kind::Domains,
                Value("[]"),
                "Domains under which `bucket.domain` names a bucket. Path style always works.",
            ),
        ],
    },
    Section {
        path: "listen.tls",
        header: "[listen] tls.cert = …, tls.key = …",
        doc: "TLS for S3 clients. Both files are read again on SIGHUP; broken ones are refused and the old ones stay.",
        rows: &[
            row(
                "cert",
                Kind::Path,
                Required,
                "Certificate chain, PEM, the server's own first.",
            ),
            row("key", Kind::Path, Required, "Its private key, PEM."),
        ],
    },
    Section {
        path: "runtime",
        header: "[runtime]",
        doc: "Threads, I/O and memory.",
        rows: &[
            row(
                "cores",
                Kind::Integer { min: 1, max: 1024 },
                Absent("one for each CPU that the process may use"),
                "Threads of the data plane.",
            ),
            row(
                "driver",
                Kind::Choice(&["auto", "io_uring", "epoll"]),
                Value("\"auto\""),
                "How the kernel is asked for I/O. `auto` takes io_uring and falls back to epoll where the kernel or a container runtime refuses it; `io_uring` fails there.",
            ),
            row(
                "pin",
                Kind::Boolean,
                Value("false"),
                "Keeps each thread on a CPU of its own. Only for a machine that runs nothing else.",
            ),
            row(
                "buffer_budget",
                Kind::Size {
                    min: 16 * MIB,
                    max: 1 << 40,
                },
                Value("\"256MiB\""),
                "I/O buffers of all cores together: the most that objects in flight can take. A stream takes up to 2 MiB; a request that gets none in time is answered 503 SlowDown.",
            ),
            row(
                "aead",
                Kind::Choice(&["auto", "aws-lc", "ring"]),
                Value("\"auto\""),
                "The library that seals and opens. `auto` measures both at start and takes the faster. The bytes are the same.",
            ),
            row(
                "core_dumps",
                Kind::Boolean,
                Value("false"),
                "Lets debuggers attach and a crash leave a core file, which holds clients' data and other secrets (docs/security/secrets.md). Otherwise the process forbids both. Keys are in no core file either way.",
            ),
        ],
    },
    Section {
        path: "timeouts",
        header: "[timeouts]",
        doc: "How long things may take.",
        rows: &[
            row(
                "header",
                duration(HOUR),
                Value("\"20s\""),
                "A request's head, from its first byte to its last.",
            ),
            row(
                "idle",
                duration(24 * HOUR),
                Value("\"75s\""),
                "A client's connection between two requests.",
            ),
            row(
                "min_rate",
                Kind::Size {
                    min: 1,
                    max: 1 << 30,
                },
                Value("\"4KiB\""),
                "Bytes per second that a body has to average, either way, over each buffer.",
            ),
            row(
                "buffer_wait",
                duration(HOUR),
                Value("\"10s\""),
                "A request's wait for buffers, then 503 SlowDown.",
            ),
            row(
                "drain",
                duration(24 * HOUR),
                Value("\"30s\""),
                "Requests in progress after SIGTERM; those that take longer are cut.",
            ),
            row(
                "store_connect",
                duration(HOUR),
                Value("\"5s\""),
                "Connecting to the store, name resolution and TLS included.",
            ),
            row(
                "store_answer",
                duration(HOUR),
                Value("\"60s\""),
                "The store's answer, from the request's last byte to the answer's head.",
            ),
            row(
                "store_long_answer",
                duration(24 * HOUR),
                Value("\"10m\""),
                "The same for CompleteMultipartUpload and copies.",
            ),
            row(
                "store_block",
                duration(HOUR),
                Value("\"60s\""),
                "One block of a body, at most 1 MiB, to or from the store.",
            ),
            row(
                "store_idle",
                duration(HOUR),
                Value("\"8s\""),
                "A connection to the store between two requests. Keep it below the store's own limit.",
            ),
        ],
    },
    Section {
        path: "backend",
        header: "[backend]",
        doc: "The store behind. All keys but `type` and `path` are for `type = \"s3\"`, `path` is for `type = \"fs\"`. \
              Credentials for the store come from `access_key` and one of `secret_key`, `secret_key_env`, \
              `secret_key_file`; or from `credentials_file` and `profile`; or else from `AWS_ACCESS_KEY_ID` and \
              `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`); or else from `~/.aws/credentials`.",
        rows: &[
            row(
                "type",
                Kind::Choice(&["s3", "fs"]),
                Required,
                "`s3` for any S3 store, `fs` for a directory.",
            ),
            row(
                "path",
                Kind::Path,
                Absent("required for `fs`"),
                "The directory. It is made when it is missing.",
            ),
            row(
                "endpoint",
                Kind::Url,
                Absent("required for `s3`"),
                "The store's address.",
            ),
            row(
                "region",
                Kind::Text,
                Value("\"us-east-1\""),
                "Region that requests are signed for.",
            ),
            row(
                "access_key",
                Kind::Text,
                Absent("see above"),
                "The gateway's access key at the store.",
            ),
            secret("secret_key", Kind::Text, "Its secret key."),
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
            secret(
                "session_token",
                Kind::Text,
                "Session token of temporary credentials.",
            ),
            secret(
                "session_token_env",
                Kind::Variable,
                "Environment variable that holds the session token.",
            ),
            row(
                "session_token_file",
                Kind::Path,
                Absent("none"),
                "File that holds the session token.",
            ),
            row(
                "credentials_file",
                Kind::Path,
                Absent("`AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`"),
                "File with profiles, as AWS tools use it.",
            ),
            row(
                "profile",
                Kind::Text,
                Absent("`AWS_PROFILE`, else `default`"),
                "Profile in that file.",
            ),
            row(
                "path_style",
                Kind::Boolean,
                Value("true"),
                "`https://host/bucket/key`; off, `https://bucket.host/key`.",
            ),
            row(
                "ca_file",
                Kind::Path,
                Absent("the system's certificates"),
                "Certificates to trust for the store, PEM. Only with `https`.",
            ),
            row(
                "payload",
                Kind::Choice(&["unsigned", "signed"]),
                Value("\"unsigned\""),
                "What stands for the body in signatures to the store: `UNSIGNED-PAYLOAD`, or its SHA-256.",
            ),
            row(
                "checksum",
                Kind::Choice(&["none", "crc64nvme", "crc32c"]),
                Absent("`crc64nvme` with `preset = \"aws\"`, else `none`"),
                "Checksum of the stored bytes that goes with every PutObject and UploadPart: a header of what is in one block, else a trailer. The store refuses what was damaged on the way to it, and AWS takes uploads under object lock (docs/stores.md). `crc32c` is for stores that do not know the other. Not with `ceph` and `garage`, which do not take it. Uploads that were begun before a change may have to be begun again.",
            ),
            row(
                "preset",
                Kind::Choice(&[
                    "aws",
                    "ceph",
                    "seaweedfs",
                    "minio",
                    "garage",
                    "versitygw",
                    "generic",
                ]),
                Value("\"generic\""),
                "Which store it is: what it is known to do and not to do (docs/stores.md). `generic` sends conditions on and believes the store; `sealgate check --store` tells what it does.",
            ),
            row(
                "emulate_conditions",
                Kind::Boolean,
                Value("false"),
                "What becomes of a condition on a write that the store does not keep. Off: the write is refused with 501 NotImplemented. On: the gateway looks first and writes then, so that two writers at the same moment may both succeed.",
            ),
            row(
                "parallel",
                Kind::Integer { min: 1, max: 64 },
                Value("8"),
                "Requests that one long object may have at the store at the same time, while the store is far: ranges of a read, parts of a write. They take buffers, at most half of `buffer_budget`, and none that others need. 1 turns it off.",
            ),
            row(
                "far",
                duration(60 * 1000),
                Value("\"4ms\""),
                "From when on the store is far: each core measures what its quickest answer of late took to begin. More for a store that is near and slow, such as one on hard disks, if requests are dear.",
            ),
        ],
    },
    keys::COMMON,
    resilience::BREAKER,
    resilience::CACHE,
    resilience::GRACE,
    keys::FILE,
    keys::ENV,
    keys::PKCS11,
    keys::VAULT,
    keys::AWS_KMS,
    keys::KMIP,
    access::BUCKETS,
    access::CREDENTIALS,
    access::ANONYMOUS,
    access::ALLOW,
    access::CORS,
    Section {
        path: "log",
        header: "[log]",
        doc: "What is logged. The process's own log goes to stderr.",
        rows: &[
            row(
                "format",
                Kind::Choice(&["json", "text"]),
                Value("\"json\""),
                "How its lines look.",
            ),
            row(
                "level",
                Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
                Value("\"info\""),
                "The least important ones that are shown.",
            ),
            row(
                "access",
                Kind::LogTarget,
                Value("\"stdout\""),
                "Where a JSON line for each request goes: `off`, `stdout` or a file.",
            ),
            row(
                "audit",
                Kind::LogTarget,
                Value("\"off\""),
                "Where a JSON line for each use of a key goes: `off`, `stdout` or a file, which is opened anew on SIGHUP. See docs/audit-log.md.",
            ),
            row(
                "audit_on_overflow",
                Kind::Choice(&["drop", "fail"]),
                Value("\"drop\""),
                "What happens when that log cannot keep up. `drop`: uses of keys go on, and the log says how many it lacks. `fail`: requests whose use of a key cannot be recorded are answered 503 SlowDown.",
            ),
        ],
    },
];
