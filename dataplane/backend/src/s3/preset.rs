//! What stores are known to do, where they differ (S3-TRAPS 30–33): one row each.
//!
//! The rows are what `sealgate check --store` measured (docs/stores.md has its output), AWS's what its documentation
//! says. A store that a row does not fit is found out by running that command.

use std::fmt;

/// A condition of a write, as a store may keep it or not.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Condition {
    /// `If-None-Match: *` on PutObject.
    PutIfAbsent,
    /// `If-Match` on PutObject.
    PutIfMatch,
    /// `If-None-Match: *` on CompleteMultipartUpload.
    CompleteIfAbsent,
    /// `If-Match` on CompleteMultipartUpload.
    CompleteIfMatch,
    /// `If-None-Match: *` on CopyObject.
    CopyIfAbsent,
    /// `If-Match` on CopyObject: of the destination.
    CopyIfMatch,
    /// `x-amz-copy-source-if-*` on CopyObject.
    CopySource,
    /// `If-Match` on DeleteObject.
    DeleteIfMatch,
    /// `If-None-Match` with an ETag, on any write.
    NoneMatchTag,
    /// `If-Unmodified-Since` on any write.
    Unmodified,
}

impl Condition {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::PutIfAbsent,
        Self::PutIfMatch,
        Self::CompleteIfAbsent,
        Self::CompleteIfMatch,
        Self::CopyIfAbsent,
        Self::CopyIfMatch,
        Self::CopySource,
        Self::DeleteIfMatch,
        Self::NoneMatchTag,
        Self::Unmodified,
    ];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PutIfAbsent => "If-None-Match: * on PutObject",
            Self::PutIfMatch => "If-Match on PutObject",
            Self::CompleteIfAbsent => "If-None-Match: * on CompleteMultipartUpload",
            Self::CompleteIfMatch => "If-Match on CompleteMultipartUpload",
            Self::CopyIfAbsent => "If-None-Match: * on CopyObject",
            Self::CopyIfMatch => "If-Match on CopyObject",
            Self::CopySource => "x-amz-copy-source-if-match on CopyObject",
            Self::DeleteIfMatch => "If-Match on DeleteObject",
            Self::NoneMatchTag => "If-None-Match with an ETag on writes",
            Self::Unmodified => "If-Unmodified-Since on writes",
        })
    }
}

/// Most user metadata of an object, and how it is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// Bytes of names and values together.
    pub bytes: usize,
    /// What a name counts besides its bytes after `x-amz-meta-`.
    pub each: usize,
}

/// What a store is known to do.
#[derive(Debug, Eq, PartialEq)]
pub struct Preset {
    /// As the configuration names it.
    pub name: &'static str,
    /// Nothing is known: conditions are sent, and the store is believed.
    pub assumed: bool,
    /// Conditions that it does not keep; it keeps the others.
    pub ignores: &'static [Condition],
    /// A copy is one step: what it checked is what it copied, and nothing is lost that was written meanwhile.
    pub atomic_copies: bool,
    /// An ETag in a condition of a PutObject is compared with its quotes, so that none matches: it is sent without.
    pub bare_etags: bool,
    /// Most user metadata.
    pub metadata: Metadata,
    /// `GET ?partNumber` gives the part.
    pub part_numbers: bool,
    /// `x-amz-checksum-*` are compared, and given back.
    pub checksums: bool,
    /// Bodies whose checksum follows as a trailer are taken.
    pub trailers: bool,
    /// Buckets can keep versions.
    pub versioning: bool,
    /// An object that was uploaded in parts keeps its ETag when it is copied onto itself.
    pub self_copy_keeps_etag: bool,
    /// Parts below 5 MiB are refused, but for the last.
    pub minimum_part: bool,
    /// Of an object whose key ends with `/` nothing is kept but that it is there: no body and no metadata.
    pub bare_folders: bool,
}

impl Preset {
    /// Whether the store keeps `condition`, or is believed to.
    #[must_use]
    pub fn keeps(&self, condition: Condition) -> bool {
        !self.ignores.contains(&condition)
    }
}

use Condition as C;

/// S3's own limit on user metadata, bytes (User Guide, "Working with object metadata").
const S3_METADATA: Metadata = Metadata {
    bytes: 2048,
    each: 0,
};

/// Any store: believed to be as AWS in what it keeps, and not to be in what else it can do.
pub static GENERIC: Preset = Preset {
    name: "generic",
    assumed: true,
    ignores: &[],
    bare_etags: false,
    atomic_copies: true,
    metadata: S3_METADATA,
    part_numbers: false,
    checksums: false,
    trailers: false,
    versioning: false,
    self_copy_keeps_etag: false,
    minimum_part: true,
    bare_folders: false,
};

/// User Guide: "Add preconditions to S3 operations with conditional requests", "Working with object metadata",
/// "Checking object integrity". Not measured.
static AWS: Preset = Preset {
    name: "aws",
    assumed: false,
    ignores: &[C::NoneMatchTag, C::Unmodified],
    bare_etags: false,
    atomic_copies: true,
    metadata: S3_METADATA,
    part_numbers: true,
    checksums: true,
    trailers: true,
    versioning: true,
    self_copy_keeps_etag: false,
    minimum_part: true,
    bare_folders: false,
};

/// Ceph RGW 16.2.15.
static CEPH: Preset = Preset {
    name: "ceph",
    assumed: false,
    ignores: &[
        C::CompleteIfAbsent,
        C::CompleteIfMatch,
        C::CopyIfAbsent,
        C::CopyIfMatch,
        C::CopySource,
        C::DeleteIfMatch,
        C::NoneMatchTag,
        C::Unmodified,
    ],
    bare_etags: true,
    atomic_copies: true,
    // Measured: 15,976, of which other headers of a request take some.
    metadata: Metadata {
        bytes: 8 << 10,
        each: 0,
    },
    part_numbers: false,
    checksums: false,
    trailers: false,
    versioning: true,
    self_copy_keeps_etag: true,
    minimum_part: true,
    bare_folders: false,
};

/// SeaweedFS 4.48. Its copies check first and write later (docs/rotation.md has the measurement).
static SEAWEEDFS: Preset = Preset {
    name: "seaweedfs",
    assumed: false,
    ignores: &[],
    bare_etags: false,
    atomic_copies: false,
    // Measured: more than 16 KiB, beyond which nothing is tried.
    metadata: Metadata {
        bytes: 16 << 10,
        each: 0,
    },
    part_numbers: true,
    checksums: true,
    trailers: true,
    versioning: true,
    self_copy_keeps_etag: true,
    minimum_part: true,
    bare_folders: true,
};

/// MinIO of 2026-02-12.
static MINIO: Preset = Preset {
    name: "minio",
    assumed: false,
    ignores: &[
        C::CopyIfAbsent,
        C::CopyIfMatch,
        C::DeleteIfMatch,
        C::Unmodified,
    ],
    bare_etags: false,
    atomic_copies: true,
    // It counts `x-amz-meta-` too.
    metadata: Metadata {
        bytes: 2048,
        each: 11,
    },
    part_numbers: true,
    checksums: true,
    trailers: true,
    versioning: true,
    self_copy_keeps_etag: false,
    minimum_part: true,
    bare_folders: false,
};

/// Garage 2.5.0. Only its PutObject, part numbers, checksums and versions were looked at: the rest is the cautious guess.
static GARAGE: Preset = Preset {
    name: "garage",
    assumed: false,
    ignores: &[
        C::PutIfAbsent,
        C::PutIfMatch,
        C::CompleteIfAbsent,
        C::CompleteIfMatch,
        C::CopyIfAbsent,
        C::CopyIfMatch,
        C::CopySource,
        C::DeleteIfMatch,
        C::NoneMatchTag,
        C::Unmodified,
    ],
    bare_etags: false,
    atomic_copies: false,
    metadata: S3_METADATA,
    part_numbers: true,
    checksums: true,
    trailers: false,
    versioning: false,
    self_copy_keeps_etag: false,
    minimum_part: true,
    bare_folders: false,
};

/// versitygw 1.8.0.
static VERSITYGW: Preset = Preset {
    name: "versitygw",
    assumed: false,
    ignores: &[
        C::CopyIfAbsent,
        C::CopyIfMatch,
        C::NoneMatchTag,
        C::Unmodified,
    ],
    bare_etags: false,
    atomic_copies: true,
    metadata: S3_METADATA,
    part_numbers: true,
    checksums: true,
    trailers: true,
    versioning: true,
    self_copy_keeps_etag: true,
    minimum_part: true,
    bare_folders: false,
};

/// A directory, as the gateway's own store keeps it. Not among [`PRESETS`]: it is a type of its own.
pub static DIRECTORY: Preset = Preset {
    name: "fs",
    assumed: false,
    ignores: &[],
    bare_etags: false,
    atomic_copies: true,
    metadata: S3_METADATA,
    part_numbers: false,
    checksums: false,
    trailers: false,
    versioning: false,
    self_copy_keeps_etag: true,
    minimum_part: false,
    bare_folders: false,
};

/// All of them, in the order of the configuration's documentation.
pub static PRESETS: [&Preset; 7] = [
    &AWS, &CEPH, &SEAWEEDFS, &MINIO, &GARAGE, &VERSITYGW, &GENERIC,
];

/// The preset of this name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.into_iter().find(|p| p.name == name)
}
