//! The Sealgate object format, version 1: what is stored for one object, and how it is sealed and opened.
//!
//! `docs/format.md` is the specification; this crate implements it and nothing else. It does no I/O, reads
//! no clock and makes no random bytes: salts, nonces and keys are passed in, and sealing and opening happen
//! in place in the caller's buffers.
//!
//! | part of the format | module |
//! |---|---|
//! | sizes: plaintext length ↔ stored length | [`law`] |
//! | keys of an object | [`keys`] |
//! | a stream of sealed 16 KiB chunks (Cobblestone-256) | [`stream`] |
//! | the trailer: length, parts and checksums of the whole object | [`trailer`] |
//! | the envelope: wrapped keys and layout, in the object's metadata | [`envelope`] |
//! | sealed client metadata | [`metadata`] |
//! | upload ids that carry the state of a multipart upload | [`upload`] |
//! | ETags as the client and as the store see them | [`etag`] |
//! | which stored bytes hold a plaintext range | [`ranges`] |
//! | small objects in one piece, for tools and tests | [`whole`] |
//!
//! Every failure to authenticate is the one error [`Tampered`]: the format tells nobody which byte was wrong.

#![forbid(unsafe_code)]

mod codec;
pub mod envelope;
pub mod error;
pub mod etag;
pub mod keys;
pub mod law;
pub mod metadata;
pub mod part_tag;
pub mod ranges;
pub mod stream;
pub mod trailer;
pub mod upload;
pub mod whole;

pub use envelope::{Binding, Envelope, EnvelopeFields, Layout, Location, WrappedKek};
pub use error::{DecodeError, LayoutError, Tampered, TooLong};
pub use etag::{BackendEtag, ClientEtag};
pub use keys::{Dek, Kek, ObjectId};
pub use law::{CHUNK, CipherLen, PlainLen, SLOT, STREAM_HEADER, TAG};
pub use metadata::{open_metadata, seal_metadata};
pub use ranges::{ChunkRun, Piece};
pub use stream::{StreamContext, StreamOpener, StreamSealer};
pub use trailer::{
    Checksum, ChecksumAlgorithm, Checksums, Part, PartRun, Trailer, TrailerVerifier, TrailerWriter,
};
pub use upload::UploadId;

/// The name of the metadata value that holds the envelope, without `x-amz-meta-`.
pub const ENVELOPE_NAME: &str = "sealgate";
/// The name of the metadata value that holds the sealed client metadata, without `x-amz-meta-`.
pub const METADATA_NAME: &str = "sealgate-m";
