//! One store, whichever it is.

use std::ops::Range;
use std::rc::Rc;

use http::{HeaderMap, HeaderValue};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_s3::xml::Owner;
use sealgate_uring::{Block, Connector, Pool, Spans};

use crate::fs::{FsBody, FsStore, FsUpload};
use crate::s3::preset::{self, Condition, Metadata};
use crate::s3::{S3Body, S3Store, S3Upload, Stop};
use crate::types::{
    BackendError, BucketInfo, CompletedPart, Copied, CopyRequest, CreatedUpload, DeleteOutcome,
    Forward, Forwarded, GetRequest, ListPage, ListRequest, Location, ObjectInfo, PartsPage, Stored,
    ToDelete, UploadsPage, UploadsRequest,
};

/// Result of an operation on a store.
type Result<T> = std::result::Result<T, BackendError>;

/// A store as one core sees it.
pub enum Store<C: Connector> {
    /// An S3 store.
    S3(S3Store<C>),
    /// A directory.
    Fs(Rc<FsStore>),
}

impl<C: Connector> Clone for Store<C> {
    fn clone(&self) -> Self {
        match self {
            Self::S3(s) => Self::S3(s.clone()),
            Self::Fs(f) => Self::Fs(Rc::clone(f)),
        }
    }
}

/// The body of a read.
pub enum Body<C: Connector> {
    /// From an S3 store.
    S3(S3Body<C>),
    /// From a file.
    Fs(FsBody),
}

impl<C: Connector> Body<C> {
    /// Bytes of the range still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        match self {
            Self::S3(b) => b.left(),
            // A file has no connection to keep: nobody needs to read on.
            Self::Fs(_) => 0,
        }
    }

    /// What ends it while it is read; a file needs no such thing.
    pub fn stop(&mut self) -> Option<Rc<Stop>> {
        match self {
            Self::S3(b) => Some(b.stop()),
            Self::Fs(_) => None,
        }
    }

    /// Reads at least one byte into `spans`; `Ok(0)` is the proper end of the range that was asked for.
    pub async fn read(&mut self, block: Block, spans: Spans) -> (Result<usize>, Block) {
        match self {
            Self::S3(b) => b.read(block, spans).await,
            Self::Fs(b) => b.read(block, spans).await,
        }
    }
}

/// The body of a write: exactly the declared bytes, then [`Upload::finish`]. Dropped before, nothing becomes visible.
pub enum Upload<C: Connector> {
    /// To an S3 store.
    S3(Box<S3Upload<C>>),
    /// To a file.
    Fs(Box<FsUpload>),
}

impl<C: Connector> Upload<C> {
    /// Writes bytes that are not the last; the block, or another one of its size, comes back.
    pub async fn write(&mut self, block: Block, spans: Spans) -> (Result<()>, Block) {
        match self {
            Self::S3(u) => u.write(block, spans).await,
            Self::Fs(u) => u.write(block, spans).await,
        }
    }

    /// Writes the last bytes; the object is durable when this returns.
    pub async fn finish(self, block: Block, spans: Spans) -> (Result<Stored>, Block) {
        match self {
            Self::S3(u) => u.finish(block, spans).await,
            Self::Fs(mut u) => match u.write(block, spans).await {
                (Ok(()), block) => (u.finish().await, block),
                (Err(e), block) => (Err(e), block),
            },
        }
    }
}

/// Hands an operation to the store there is.
macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::S3($store) => $call,
            Self::Fs($store) => $call,
        }
    };
}

#[expect(
    missing_docs,
    reason = "each is the S3 operation of its name; see `s3` and `fs`"
)]
#[expect(
    clippy::missing_errors_doc,
    reason = "each fails with what the store answers"
)]
impl<C: Connector> Store<C> {
    /// The same store as another of its users; a directory has none.
    pub fn signed_by(&self, signer: Signer) -> Self {
        match self {
            Self::S3(s) => Self::S3(s.signed_by(signer)),
            Self::Fs(f) => Self::Fs(Rc::clone(f)),
        }
    }

    /// The same store; `headers` go with every request to it. A directory has no use for them.
    pub fn with_headers(&self, headers: HeaderMap) -> Self {
        match self {
            Self::S3(s) => Self::S3(s.with_headers(headers)),
            Self::Fs(f) => Self::Fs(Rc::clone(f)),
        }
    }

    /// Whether the store has said that the requester pays.
    pub fn charged(&self) -> bool {
        match self {
            Self::S3(s) => s.charged(),
            Self::Fs(_) => false,
        }
    }

    /// An operation that concerns no object's bytes.
    pub async fn forward(&self, request: Forward<'_>) -> Result<Forwarded> {
        either!(self, s => s.forward(request).await)
    }

    /// Smallest part that may stand before the last one, bytes; 0 for a store that does not care.
    pub fn minimum_part(&self) -> u64 {
        match self {
            Self::S3(_) => 5 << 20,
            Self::Fs(_) => 0,
        }
    }

    /// Most user metadata that the store takes.
    pub fn metadata_limit(&self) -> Metadata {
        match self {
            Self::S3(s) => s.preset().metadata,
            Self::Fs(_) => preset::DIRECTORY.metadata,
        }
    }

    /// See [`S3Store::streams`]; a directory is never far.
    pub fn streams(&self) -> usize {
        match self {
            Self::S3(s) => s.streams(),
            Self::Fs(_) => 1,
        }
    }

    /// See [`S3Store::streams_so_far`]; a directory is never far.
    pub fn streams_so_far(&self) -> usize {
        match self {
            Self::S3(s) => s.streams_so_far(),
            Self::Fs(_) => 1,
        }
    }

    /// See [`S3Store::pins_copies`]; a directory does.
    pub fn pins_copies(&self) -> bool {
        match self {
            Self::S3(s) => s.pins_copies(),
            Self::Fs(_) => true,
        }
    }

    /// Whether checksums of stored bytes go with them.
    pub fn sends_checksums(&self) -> bool {
        match self {
            Self::S3(s) => s.checksum().is_some(),
            Self::Fs(_) => false,
        }
    }

    /// See [`S3Store::copies_in_place`]; a directory does.
    pub fn copies_in_place(&self) -> bool {
        match self {
            Self::S3(s) => s.copies_in_place(),
            Self::Fs(_) => true,
        }
    }

    /// Whether the store keeps nothing of an object whose key ends with `/` but that it is there.
    pub fn bare_folders(&self) -> bool {
        match self {
            Self::S3(s) => s.preset().bare_folders,
            Self::Fs(_) => preset::DIRECTORY.bare_folders,
        }
    }

    /// Whether the store keeps `If-Match` on a PutObject, or is believed to.
    pub fn keeps_put_if_match(&self) -> bool {
        match self {
            Self::S3(s) => s.preset().keeps(Condition::PutIfMatch),
            Self::Fs(_) => true,
        }
    }

    pub async fn list_buckets(&self) -> Result<(Option<Owner>, Vec<BucketInfo>)> {
        match self {
            Self::S3(s) => s.list_buckets().await,
            // A directory has no owners.
            Self::Fs(s) => Ok((None, s.list_buckets().await?)),
        }
    }

    pub async fn create_bucket(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<HeaderMap> {
        match self {
            Self::S3(s) => s.create_bucket(name, headers, body).await,
            Self::Fs(s) => {
                s.create_bucket(name, headers, body).await?;
                Ok(HeaderMap::new())
            }
        }
    }

    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        either!(self, s => s.delete_bucket(name).await)
    }

    pub async fn head_bucket(&self, name: &str) -> Result<HeaderMap> {
        either!(self, s => s.head_bucket(name).await)
    }

    pub async fn bucket_location(&self, name: &str) -> Result<String> {
        either!(self, s => s.bucket_location(name).await)
    }

    pub async fn head(&self, at: &Location, conditions: &Conditions) -> Result<ObjectInfo> {
        either!(self, s => s.head(at, conditions).await)
    }

    /// The object, which of its bytes follow, and those.
    pub async fn get(
        &self,
        at: &Location,
        request: &GetRequest,
    ) -> Result<(ObjectInfo, Range<u64>, Body<C>)> {
        Ok(match self {
            Self::S3(s) => {
                let (info, range, body) = s.get(at, request).await?;
                (info, range, Body::S3(body))
            }
            Self::Fs(f) => {
                let (info, range, body) = f.get(at, request).await?;
                (info, range, Body::Fs(body))
            }
        })
    }

    /// `HeadObject` of one part: the object, and which of its bytes the part has.
    pub async fn head_part(
        &self,
        at: &Location,
        number: u16,
        conditions: &Conditions,
    ) -> Result<(ObjectInfo, Range<u64>)> {
        either!(self, s => s.head_part(at, number, conditions).await)
    }

    /// `GetObject` of one part: the object, which of its bytes follow, and those.
    pub async fn get_part(
        &self,
        at: &Location,
        number: u16,
        conditions: &Conditions,
    ) -> Result<(ObjectInfo, Range<u64>, Body<C>)> {
        Ok(match self {
            Self::S3(s) => {
                let (info, range, body) = s.get_part(at, number, conditions).await?;
                (info, range, Body::S3(body))
            }
            Self::Fs(f) => {
                let (info, range) = f.head_part(at, number, conditions).await?;
                let request = GetRequest {
                    range: None,
                    conditions: Conditions::if_match(info.etag),
                };
                let (info, _, body) = f.get(at, &request).await?;
                (info, range, Body::Fs(body))
            }
        })
    }

    /// Begins a `PutObject` of exactly `len` bytes.
    pub async fn put(
        &self,
        at: &Location,
        headers: &HeaderMap,
        conditions: &Conditions,
        len: u64,
    ) -> Result<Upload<C>> {
        Ok(match self {
            Self::S3(s) => Upload::S3(Box::new(s.put(at, headers, conditions, len).await?)),
            Self::Fs(f) => Upload::Fs(Box::new(f.put(at, headers, conditions, len).await?)),
        })
    }

    /// The same; where the store is far, several parts of a long object go at the same time, in blocks of `pool`.
    pub async fn put_ahead(
        &self,
        at: &Location,
        headers: &HeaderMap,
        conditions: &Conditions,
        len: u64,
        pool: &Pool,
    ) -> Result<Upload<C>> {
        if let Self::S3(s) = self
            && let Some(upload) = s.put_ahead(at, headers, conditions, len, pool).await?
        {
            return Ok(Upload::S3(Box::new(upload)));
        }
        self.put(at, headers, conditions, len).await
    }

    pub async fn delete(&self, at: &Location, conditions: &Conditions) -> Result<HeaderMap> {
        either!(self, s => s.delete(at, conditions).await)
    }

    /// `DeleteObjects`: the outcome of each object, in order.
    pub async fn delete_many(
        &self,
        bucket: &str,
        objects: &[ToDelete],
    ) -> Result<Vec<std::result::Result<DeleteOutcome, S3Error>>> {
        match self {
            Self::S3(s) => s.delete_many(bucket, objects).await,
            Self::Fs(f) => {
                let mut outcomes = Vec::with_capacity(objects.len());
                for object in objects {
                    let at = Location {
                        bucket: bucket.to_owned(),
                        key: object.key.clone(),
                        version: object.version.clone(),
                    };
                    outcomes.push(match f.delete(&at, &Conditions::default()).await {
                        Ok(_) => Ok(DeleteOutcome::default()),
                        Err(BackendError::Answer(e)) if e.code == ErrorCode::NoSuchBucket => {
                            return Err(e.into());
                        }
                        Err(BackendError::Answer(e)) => Err(e),
                        Err(e) => {
                            tracing::warn!(error = %e, "delete failed");
                            Err(S3Error::new(ErrorCode::InternalError))
                        }
                    });
                }
                Ok(outcomes)
            }
        }
    }

    /// The object's tags as `x-amz-tagging` has them, for a write that does not take them over by itself; `None` where
    /// it has none, or the store has no tags.
    pub async fn tags_header(&self, at: &Location) -> Result<Option<HeaderValue>> {
        let s3 = match self {
            Self::S3(s3) => s3,
            // In the object's own record.
            Self::Fs(f) => {
                let info = f.head(at, &Conditions::default()).await?;
                return Ok(info.headers.get("x-amz-tagging").cloned());
            }
        };
        let tags = match s3.tagging(at).await {
            Ok(tags) => tags.to_header(),
            Err(BackendError::Answer(e))
                if matches!(e.code.status().as_u16(), 501 | 404 | 405)
                    && e.code.as_str() != "NoSuchKey" =>
            {
                None
            }
            Err(e) => return Err(e),
        };
        Ok(tags.and_then(|tags| tags.parse().ok()))
    }

    pub async fn copy(&self, request: &CopyRequest, to: &Location) -> Result<Copied> {
        either!(self, s => s.copy(request, to).await)
    }

    pub async fn list(&self, bucket: &str, request: &ListRequest) -> Result<ListPage> {
        either!(self, s => s.list(bucket, request).await)
    }

    pub async fn create_upload(&self, at: &Location, headers: &HeaderMap) -> Result<CreatedUpload> {
        match self {
            Self::S3(s) => s.create_upload(at, headers).await,
            Self::Fs(f) => Ok(CreatedUpload {
                id: f.create_upload(at, headers).await?,
                headers: HeaderMap::new(),
            }),
        }
    }

    /// Begins an `UploadPart` of exactly `len` bytes.
    pub async fn put_part(
        &self,
        at: &Location,
        upload_id: &str,
        number: u16,
        len: u64,
    ) -> Result<Upload<C>> {
        Ok(match self {
            Self::S3(s) => Upload::S3(Box::new(s.put_part(at, upload_id, number, len).await?)),
            Self::Fs(f) => Upload::Fs(Box::new(f.put_part(at, upload_id, number, len).await?)),
        })
    }

    /// Parts after number `after`, at most `max`.
    pub async fn list_parts(
        &self,
        at: &Location,
        upload_id: &str,
        after: u16,
        max: usize,
    ) -> Result<PartsPage> {
        either!(self, s => s.list_parts(at, upload_id, after, max).await)
    }

    pub async fn abort_upload(&self, at: &Location, upload_id: &str) -> Result<()> {
        either!(self, s => s.abort_upload(at, upload_id).await)
    }

    pub async fn complete_upload(
        &self,
        at: &Location,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: &Conditions,
    ) -> Result<Stored> {
        either!(self, s => s.complete_upload(at, upload_id, parts, conditions).await)
    }

    pub async fn list_uploads(
        &self,
        bucket: &str,
        request: &UploadsRequest,
    ) -> Result<UploadsPage> {
        either!(self, s => s.list_uploads(bucket, request).await)
    }
}
