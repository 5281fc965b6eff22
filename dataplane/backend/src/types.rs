//! What the gateway asks of a store, and what a store answers: the same types for every store.
//!
//! Everything here is in the store's terms: ciphertext lengths, the store's ETags, keys as the store sees them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use sealgate_s3::checksum::Checksum;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::S3Error;
use sealgate_s3::route::{Operation, RawKey};
use sealgate_s3::xml::{Contents, VersionEntry};

/// A bucket and a key in it, and which version of the object there.
#[derive(Clone, Debug)]
pub struct Location {
    /// Bucket name.
    pub bucket: String,
    /// Key bytes, percent-decoded.
    pub key: RawKey,
    /// The version that a read, a deletion or a copy's source means; `None` for the newest one, which writes make. No
    /// part of what an envelope is bound to: a version is the same object wherever it stands in the row.
    pub version: Option<String>,
}

impl Location {
    /// The newest version at `key`.
    #[must_use]
    pub fn new(bucket: impl Into<String>, key: RawKey) -> Self {
        Self {
            bucket: bucket.into(),
            key,
            version: None,
        }
    }

    /// Version `version` of what is here.
    #[must_use]
    pub fn at_version(&self, version: Option<String>) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }
}

/// An object as a store describes it, without its bytes.
#[derive(Clone, Debug)]
pub struct ObjectInfo {
    /// Length of the whole object in the store, bytes (not of the range that was read).
    pub len: u64,
    /// The store's ETag, without quotes.
    pub etag: String,
    /// Last modification, milliseconds since the Unix epoch.
    pub last_modified: i64,
    /// All other headers as the store gave them: `x-amz-meta-*`, `content-type`, `cache-control`, `x-amz-version-id`, …
    pub headers: HeaderMap,
}

/// A read of an object or of one range of it.
#[derive(Clone, Debug, Default)]
pub struct GetRequest {
    /// First byte and one past the last byte; `None` as the end reads to the object's end.
    pub range: Option<(u64, Option<u64>)>,
    /// Conditions, with the store's ETags.
    pub conditions: Conditions,
}

/// What a `PutObject`, `UploadPart` or `CompleteMultipartUpload` made.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The store's ETag, without quotes.
    pub etag: String,
    /// The checksum of the stored bytes that went with them. Never for clients, whose bytes are others.
    pub checksum: Option<Checksum>,
    /// Headers worth handing on (`x-amz-version-id`, …).
    pub headers: HeaderMap,
}

/// What a copy made.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The store's ETag of the new object, without quotes.
    pub etag: String,
    /// Last modification of the new object, milliseconds since the Unix epoch.
    pub last_modified: i64,
    /// Headers worth handing on.
    pub headers: HeaderMap,
}

/// A copy within the store whose metadata is replaced by `headers`.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// Where the bytes are now.
    pub source: Location,
    /// What must hold of the source, with the store's ETags.
    pub source_conditions: Conditions,
    /// What must hold of the destination.
    pub conditions: Conditions,
    /// The new object's headers; nothing is kept of the old ones.
    pub headers: HeaderMap,
}

/// An object to delete, in a `DeleteObjects`.
#[derive(Clone, Debug)]
pub struct ToDelete {
    /// Its key.
    pub key: RawKey,
    /// The version to remove; `None` for what is newest.
    pub version: Option<String>,
}

/// What became of an object that was deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOutcome {
    /// Whether a delete marker was made, or removed.
    pub delete_marker: bool,
    /// The delete marker's version.
    pub delete_marker_version: Option<String>,
}

/// A listing of objects. Keys and prefixes are plain bytes: each store encodes them as its protocol needs.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Only keys that start so.
    pub prefix: Bytes,
    /// Rolls keys up to this delimiter; empty for none.
    pub delimiter: Bytes,
    /// Only keys (and rolled-up prefixes) after this one, bytewise.
    pub start_after: Bytes,
    /// The store's continuation token, exclusive with `start_after`.
    pub continuation: Option<String>,
    /// Most entries (objects and common prefixes together), 1 to 1000.
    pub max_keys: usize,
    /// Ask for owners.
    pub fetch_owner: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Objects, in bytewise key order; their sizes and ETags are the store's.
    pub objects: Vec<Contents>,
    /// Rolled-up prefixes, in bytewise order.
    pub common_prefixes: Vec<Bytes>,
    /// Token for the next page; `None` on the last one.
    pub next: Option<String>,
}

/// One bucket of `ListBuckets`.
#[derive(Clone, Debug)]
pub struct BucketInfo {
    /// Name.
    pub name: String,
    /// Creation, milliseconds since the Unix epoch.
    pub created: i64,
    /// Region, where the store names one.
    pub region: Option<String>,
}

/// One uploaded part.
#[derive(Clone, Debug)]
pub struct PartInfo {
    /// 1 to 10000.
    pub number: u16,
    /// Length in the store.
    pub len: u64,
    /// The store's ETag, without quotes.
    pub etag: String,
    /// The store's checksum of the stored bytes, if it has one. Never for clients.
    pub checksum: Option<Checksum>,
    /// Milliseconds since the Unix epoch.
    pub last_modified: i64,
}

/// One page of `ListParts`.
#[derive(Clone, Debug, Default)]
pub struct PartsPage {
    /// Parts in rising order of their number.
    pub parts: Vec<PartInfo>,
    /// Part number to continue after; `None` on the last page.
    pub next: Option<u16>,
    /// Headers worth handing on (`x-amz-abort-date`, …).
    pub headers: HeaderMap,
}

/// A part named in a `CompleteMultipartUpload`.
#[derive(Clone, Debug)]
pub struct CompletedPart {
    /// 1 to 10000.
    pub number: u16,
    /// The store's ETag of the part, without quotes.
    pub etag: String,
    /// The store's checksum of it: most stores ask for it in a Complete where the upload announced one.
    pub checksum: Option<Checksum>,
}

/// A listing of unfinished uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadsRequest {
    /// Only keys that start so.
    pub prefix: Bytes,
    /// Rolls keys up to this delimiter; empty for none.
    pub delimiter: Bytes,
    /// Continue after this key …
    pub key_marker: Bytes,
    /// … and this upload id of it.
    pub upload_id_marker: String,
    /// Most entries, 1 to 1000.
    pub max_uploads: usize,
}

/// One unfinished upload.
#[derive(Clone, Debug)]
pub struct UploadInfo {
    /// Key bytes.
    pub key: Bytes,
    /// The store's upload id.
    pub upload_id: String,
    /// Milliseconds since the Unix epoch.
    pub initiated: i64,
}

/// One page of unfinished uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadsPage {
    /// Uploads ordered by key, then by start.
    pub uploads: Vec<UploadInfo>,
    /// Rolled-up prefixes.
    pub common_prefixes: Vec<Bytes>,
    /// (key marker, upload id marker) of the next page; `None` on the last one.
    pub next: Option<(Bytes, String)>,
}

/// A listing of all versions of objects.
#[derive(Clone, Debug, Default)]
pub struct VersionsRequest {
    /// Only keys that start so.
    pub prefix: Bytes,
    /// Rolls keys up to this delimiter; empty for none.
    pub delimiter: Bytes,
    /// Continue after this key and version id; without an id, after all versions of the key.
    pub after: Option<(Bytes, String)>,
    /// Most entries (versions, delete markers and common prefixes together), 1 to 1000; 0 for as many as there may be.
    pub max_keys: usize,
}

/// One page of versions.
#[derive(Clone, Debug, Default)]
pub struct VersionsPage {
    /// Versions and delete markers, as the store ordered them.
    pub versions: Vec<VersionEntry>,
    /// Rolled-up prefixes.
    pub common_prefixes: Vec<Bytes>,
    /// (key marker, version id marker) of the next page; `None` on the last one.
    pub next: Option<(Bytes, String)>,
}

/// An operation that concerns no object's bytes, as the client put it.
#[derive(Clone, Debug)]
pub struct Forward<'f> {
    /// What it is: for a store that answers by itself.
    pub operation: &'f Operation,
    /// Its method.
    pub method: Method,
    /// The bucket.
    pub bucket: &'f str,
    /// The object, for one of its sub-resources.
    pub key: Option<&'f RawKey>,
    /// All parameters but those of the signature, decoded.
    pub query: Vec<(&'f str, &'f str)>,
    /// Headers that concern the store.
    pub headers: HeaderMap,
    /// The document, verified.
    pub body: Vec<u8>,
}

/// A store's answer to a [`Forward`].
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// A success.
    pub status: StatusCode,
    /// Headers that concern the client.
    pub headers: HeaderMap,
    /// The document.
    pub body: Vec<u8>,
}

/// An upload that has begun.
#[derive(Clone, Debug)]
pub struct CreatedUpload {
    /// The store's upload id.
    pub id: String,
    /// Headers worth handing on (`x-amz-abort-date`, …).
    pub headers: HeaderMap,
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackendError {
    /// The store answered with an S3 error: handed on to the client where it concerns it.
    Answer(S3Error),
    /// `304 Not Modified`, with the headers that go with it.
    NotModified(Box<HeaderMap>),
    /// The store could not be reached, broke the connection or answered 5xx after all retries.
    Unavailable {
        /// What happened, for the log.
        reason: String,
        /// When a client should come back.
        retry_after: Duration,
    },
    /// The store's answer was not HTTP or not S3.
    Protocol(String),
    /// The store is full, or the disk failed.
    Io(std::io::Error),
}

impl std::fmt::Display for BackendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(e) => write!(f, "the store answered {e}"),
            Self::NotModified(_) => f.write_str("not modified"),
            Self::Unavailable { reason, .. } => write!(f, "the store is unavailable: {reason}"),
            Self::Protocol(what) => write!(f, "the store broke the protocol: {what}"),
            Self::Io(e) => write!(f, "the store failed: {e}"),
        }
    }
}

impl std::error::Error for BackendError {}

impl From<S3Error> for BackendError {
    fn from(e: S3Error) -> Self {
        Self::Answer(e)
    }
}
