//! The configuration as the program uses it: complete, checked, secrets resolved.

mod kmip;
mod vault;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::aws::AwsKms;
use crate::credentials::StoreCredentials;
use crate::secret::SecretString;
pub use kmip::{KmipKey, KmipServer};
pub use vault::{SecretSource, VaultAuth, VaultKey};

/// All of it.
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[backend]`
    pub backend: Backend,
    /// `[keys.<name>]`
    pub keys: BTreeMap<String, KeyConfig>,
    /// `[[buckets]]`, in order: the first that matches counts. The last one always matches everything: it is either
    /// the file's own or made of defaults.
    pub buckets: Vec<BucketRule>,
    /// `[[credentials]]`
    pub credentials: Vec<Credential>,
    /// `[anonymous]`: what requests without a signature may do.
    pub anonymous: Option<Vec<Grant>>,
    /// `[[cors]]`
    pub cors: Vec<CorsRule>,
    /// `[log]`
    pub log: Log,
}

/// Where the gateway listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// For S3 clients.
    pub s3: SocketAddr,
    /// For health, readiness and metrics.
    pub admin: Option<SocketAddr>,
    /// TLS for S3 clients.
    pub tls: Option<Tls>,
    /// Domains under which `bucket.domain` names a bucket, lower case.
    pub base_domains: Vec<String>,
}

/// A certificate and its key, PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// How the data plane runs.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Threads; `None` for one per CPU that the process may use.
    pub cores: Option<usize>,
    /// How the kernel is asked for I/O.
    pub driver: Driver,
    /// Whether each thread stays on a CPU of its own.
    pub pin: bool,
    /// Bytes of I/O buffers, all cores together.
    pub buffer_budget: u64,
    /// The library that seals and opens.
    pub aead: Aead,
    /// Whether the process may be debugged and dumped, keys and all.
    pub core_dumps: bool,
}

/// How the kernel is asked for I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where the kernel gives it, epoll elsewhere.
    Auto,
    /// io_uring or not at all.
    IoUring,
    /// epoll.
    Epoll,
}

/// The library that seals and opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// The faster one on this CPU, measured at start.
    Auto,
    /// AWS-LC.
    AwsLc,
    /// ring.
    Ring,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A request's head, from its first byte.
    pub header: Duration,
    /// A client's connection between requests.
    pub idle: Duration,
    /// Bytes per second that a client's body has to average.
    pub min_rate: u64,
    /// A request's wait for buffers.
    pub buffer_wait: Duration,
    /// Requests in progress when the process is asked to end.
    pub drain: Duration,
    /// A connection to the store, TLS included.
    pub store_connect: Duration,
    /// The store's answer to an ordinary request.
    pub store_answer: Duration,
    /// The store's answer to a Complete or a copy.
    pub store_long_answer: Duration,
    /// One block of a body, either way.
    pub store_block: Duration,
    /// A connection to the store between requests.
    pub store_idle: Duration,
}

/// What is behind the gateway.
pub enum Backend {
    /// An S3 store.
    S3(Box<S3Backend>),
    /// A directory.
    Fs {
        /// Its root.
        path: PathBuf,
    },
}

/// An S3 store.
pub struct S3Backend {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Region that requests are signed for.
    pub region: String,
    /// The gateway's own user of it.
    pub credentials: StoreCredentials,
    /// `https://host/bucket/key` rather than `https://bucket.host/key`.
    pub path_style: bool,
    /// Certificates to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// What stands for the body in a signature.
    pub payload: Payload,
    /// The checksum that goes with it.
    pub checksum: StoreChecksum,
    /// Which store it is.
    pub preset: Preset,
    /// Conditions of writes that it does not keep are checked before the write rather than refused.
    pub emulate_conditions: bool,
    /// Requests of one object at a time, to a store far away.
    pub parallel: usize,
    /// Time to an answer from which on it is far away.
    pub far: Duration,
}

/// Which store it is: what it is known to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// AWS S3.
    Aws,
    /// Ceph RGW.
    Ceph,
    /// SeaweedFS.
    SeaweedFs,
    /// MinIO.
    Minio,
    /// Garage.
    Garage,
    /// versitygw.
    VersityGw,
    /// Any other.
    Generic,
}

impl Preset {
    /// As the configuration spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Ceph => "ceph",
            Self::SeaweedFs => "seaweedfs",
            Self::Minio => "minio",
            Self::Garage => "garage",
            Self::VersityGw => "versitygw",
            Self::Generic => "generic",
        }
    }

    /// Whether the store takes checksums, as headers and as trailers; of `generic`, nobody knows.
    #[must_use]
    pub fn takes_checksums(self) -> bool {
        !matches!(self, Self::Ceph | Self::Garage)
    }

    /// The checksum that is sent unless another is asked for: AWS wants one under object lock.
    #[must_use]
    pub fn usual_checksum(self) -> StoreChecksum {
        match self {
            Self::Aws => StoreChecksum::Crc64Nvme,
            _ => StoreChecksum::None,
        }
    }
}

/// A store's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// TLS.
    pub https: bool,
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port, the scheme's own when the URL has none.
    pub port: u16,
    /// `host[:port]` as it belongs into a `Host` header.
    pub authority: String,
}

/// What stands for the body in a signature to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// The SHA-256 of the body.
    Signed,
}

/// The checksum that goes with a body to the store. CRCs only: of an object in parts, only they can be made of the
/// parts'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreChecksum {
    /// None.
    None,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// CRC-32C.
    Crc32c,
}

/// A key that wraps key-encryption keys.
pub struct KeyConfig {
    /// Who holds it.
    pub provider: KeyProvider,
    /// Longest use of one KEK.
    pub max_age: Duration,
    /// Most objects of one KEK.
    pub max_objects: u64,
    /// Most plaintext bytes of one KEK.
    pub max_bytes: u64,
    /// How failures are met, and what is kept for how long.
    pub resilience: Resilience,
}

/// How a key's failures are met, and what is kept of it for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resilience {
    /// Time for one attempt at one endpoint.
    pub attempt_timeout: Duration,
    /// Time for one question, with all its attempts.
    pub deadline: Duration,
    /// Rounds over the endpoints after the first.
    pub retries: u32,
    /// When an unwrap is also sent to the next endpoint.
    pub hedge_after: Duration,
    /// Calls at a time at one endpoint.
    pub concurrency: usize,
    /// Time between two health checks.
    pub health_interval: Duration,
    /// Failures in a row after which an endpoint is left alone.
    pub breaker_failures: u32,
    /// How long it is left alone.
    pub breaker_open_for: Duration,
    /// Time an unwrapped KEK is kept.
    pub cache_ttl: Duration,
    /// The same without being used.
    pub cache_idle_ttl: Duration,
    /// Unwrapped KEKs kept.
    pub cache_max: usize,
    /// Time a core keeps a KEK for reading.
    pub core_ttl: Duration,
    /// Time a refusal is remembered.
    pub negative_ttl: Duration,
    /// Time a failure that may pass is remembered.
    pub error_ttl: Duration,
    /// Time past their own that KEKs open objects in an outage.
    pub grace_reads: Duration,
    /// Time past its age that a KEK seals objects in an outage.
    pub grace_writes: Duration,
}

/// Who holds a key.
pub enum KeyProvider {
    /// AWS KMS.
    AwsKms(Box<AwsKms>),
    /// A key ring file.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// An environment variable.
    Env {
        /// Its name.
        variable: String,
        /// What it held at start: a key in base64, or a key ring.
        value: SecretString,
    },
    /// A token.
    Pkcs11(Pkcs11Key),
    /// Transit of OpenBao or Vault.
    Vault(Box<VaultKey>),
    /// A KMIP server.
    Kmip(Box<KmipKey>),
}

/// A key in a token.
pub struct Pkcs11Key {
    /// The vendor's library.
    pub module: PathBuf,
    /// Which token.
    pub token: Pkcs11Token,
    /// The user PIN.
    pub pin: SecretString,
    /// Label of all versions of the key.
    pub key_label: String,
    /// The token makes nonces and takes none.
    pub token_makes_nonces: bool,
}

/// How a token is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pkcs11Token {
    /// By its label.
    Label(String),
    /// By its slot.
    Slot(u64),
}

/// How the objects of some buckets or prefixes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRule {
    /// Bucket name; `*` matches any run of characters.
    pub bucket: String,
    /// Key prefix; empty for all keys.
    pub prefix: String,
    /// Name of the key in `[keys.<name>]`; `None` only without encryption.
    pub key: Option<String>,
    /// How listings learn plaintext sizes.
    pub listing: Listing,
    /// What an object is bound to.
    pub binding: Binding,
    /// Whether the client's metadata is sealed.
    pub seal_metadata: bool,
    /// Whether objects that are not sealed are read as they are.
    pub plaintext_reads: bool,
    /// Off: bytes pass as they are.
    pub encrypt: bool,
}

/// How listings learn plaintext sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// By the size law.
    Computed,
    /// By a HEAD of each object.
    Verify,
}

/// What an object is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Its key.
    Key,
    /// Its bucket and key.
    BucketAndKey,
    /// Nothing.
    None,
}

/// Somebody who may send requests.
pub struct Credential {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// What is allowed; nothing else is.
    pub allow: Vec<Grant>,
    /// Whom the store sees.
    pub store_user: Option<StoreUser>,
    /// Whether version 2 signatures are taken too.
    pub sigv2: bool,
}

/// A user of the store.
pub struct StoreUser {
    /// Access key at the store.
    pub access_key: String,
    /// Secret key at the store.
    pub secret_key: SecretString,
}

/// A set of operations on a set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Bucket name; `*` matches any run of characters.
    pub bucket: String,
    /// Key prefix; empty for all keys.
    pub prefix: String,
    /// What may be done.
    pub actions: Vec<Action>,
}

/// A CORS rule for some buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsRule {
    /// Bucket name; `*` matches any run of characters.
    pub bucket: String,
    /// Origins, each with at most one `*`.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Headers that a request may have, each with at most one `*`; lower case.
    pub headers: Vec<String>,
    /// Headers of an answer that scripts may see.
    pub expose: Vec<String>,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Option<Duration>,
}

/// A class of operations, or one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Everything.
    All,
    /// Reading objects.
    Read,
    /// Writing objects, multipart uploads and copies included.
    Write,
    /// Listings.
    List,
    /// Deleting objects.
    Delete,
    /// Making and deleting buckets.
    Admin,
    /// One S3 operation.
    Operation(String),
}

/// What is logged, and where.
#[derive(Clone, Debug)]
pub struct Log {
    /// Of the process's own log, on stderr.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Where a line for each request goes.
    pub access: LogTarget,
    /// Where a line for each use of a key goes.
    pub audit: LogTarget,
    /// What becomes of uses of keys that cannot be recorded.
    pub audit_on_overflow: AuditOverflow,
}

/// What becomes of uses of keys that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOverflow {
    /// They go on; the log tells how many there were.
    Drop,
    /// The requests are refused.
    Fail,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON objects.
    Json,
    /// For a terminal.
    Text,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file that is appended to.
    File(PathBuf),
}
