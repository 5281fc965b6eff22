//! `PutObject` and `DeleteObject`, and the body of every upload.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderMap;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Block, File, How, Spans};

use super::error::{answer, present};
use super::record::Record;
use super::shared::Shared;
use super::{FsStore, Result, error, now_ms, random_hex, tags, unversioned};
use crate::types::{Location, Stored};

/// A file that is removed unless it is published.
pub(super) struct Temp {
    path: PathBuf,
    published: bool,
}

impl Temp {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            published: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn published(&mut self) {
        self.published = true;
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now goes with the session's directory.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where an upload goes when it is finished.
pub(super) enum Target {
    Object {
        at: Location,
        conditions: Conditions,
    },
    Part {
        upload: PathBuf,
        number: u16,
    },
}

/// The body of a write: exactly the declared bytes, then [`FsUpload::finish`]. Dropped before, nothing becomes visible.
pub struct FsUpload {
    shared: Arc<Shared>,
    file: File,
    temp: Temp,
    target: Target,
    record: Record,
    len: u64,
    written: u64,
    /// A write failed: what is in the file is unknown.
    broken: bool,
}

impl FsUpload {
    pub(super) async fn begin(
        shared: &Arc<Shared>,
        target: Target,
        headers: &HeaderMap,
        len: u64,
    ) -> Result<Self> {
        let record = Record {
            etag: random_hex(),
            modified: 0,
            key: Vec::new(),
            headers: headers.clone(),
        };
        if record.encode(len).is_none() {
            return Err(answer(ErrorCode::MetadataTooLarge));
        }
        let temp = Temp::new(shared.session.fresh());
        let file = File::open(temp.path(), How::CreateNew)
            .await
            .map_err(error::io("creating a file"))?;
        Ok(Self {
            shared: Arc::clone(shared),
            file,
            temp,
            target,
            record,
            len,
            written: 0,
            broken: false,
        })
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`BackendError::Io`](crate::types::BackendError::Io) when the disk is full or fails; `IncompleteBody` for more
    /// bytes than were declared. The upload cannot be finished after an error.
    pub async fn write(&mut self, block: Block, spans: Spans) -> (Result<()>, Block) {
        let len = spans.len() as u64;
        if self.broken || len > self.len - self.written {
            self.broken = true;
            return (Err(answer(ErrorCode::IncompleteBody)), block);
        }
        let (result, block) = self.file.write_all_at(block, spans, self.written).await;
        match result {
            Ok(()) => self.written += len,
            Err(_) => self.broken = true,
        }
        (result.map_err(error::io("writing an object")), block)
    }

    /// Publishes what was written: durable when this returns.
    ///
    /// # Errors
    /// `IncompleteBody` for fewer bytes than were declared; `PreconditionFailed`, `NoSuchBucket`, `NoSuchUpload`;
    /// [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn finish(mut self) -> Result<Stored> {
        if self.broken || self.written != self.len {
            return Err(answer(ErrorCode::IncompleteBody));
        }
        let failed = error::io("writing an object");
        self.record.modified = now_ms();
        let end = self
            .record
            .encode(self.len)
            .ok_or_else(|| answer(ErrorCode::MetadataTooLarge))?;
        self.file
            .write_buf_at(end, self.len)
            .await
            .0
            .map_err(&failed)?;
        self.file.sync_all().await.map_err(&failed)?;
        self.file.close().await;
        let temp = self.temp;
        match self.target {
            Target::Object { at, conditions } => {
                publish(&self.shared, temp, at, conditions).await?
            }
            Target::Part { upload, number } => {
                self.shared
                    .run(move |shared| super::parts::place_part(shared, temp, &upload, number))
                    .await?;
            }
        }
        Ok(Stored {
            etag: self.record.etag,
            checksum: None,
            headers: HeaderMap::new(),
        })
    }

    /// Gives the upload up. The same as dropping it, but its file is removed off the core.
    pub async fn abort(self) {
        let Self {
            shared, file, temp, ..
        } = self;
        file.close().await;
        let removed = shared.run(move |_| {
            drop(temp);
            Ok(())
        });
        let _ = removed.await;
    }
}

/// Puts a synced file in the object's place if the conditions hold.
async fn publish(
    shared: &Arc<Shared>,
    mut temp: Temp,
    at: Location,
    conditions: Conditions,
) -> Result<()> {
    let lock = at.clone();
    let place = move |shared: &Shared, guard| {
        let path = shared.layout.object(&at)?;
        shared.check_write(&path, &conditions)?;
        shared.place(temp.path(), &at, &path)?;
        temp.published();
        drop(guard);
        shared.settle(&path)
    };
    shared.locked(&lock, place).await
}

impl FsStore {
    /// Begins a `PutObject` of exactly `len` bytes; `headers` are kept with the object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `MetadataTooLarge`; what the conditions refuse already now (they decide at the end);
    /// [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn put(
        &self,
        at: &Location,
        headers: &HeaderMap,
        conditions: &Conditions,
        len: u64,
    ) -> Result<FsUpload> {
        tags::of(headers)?;
        let (early, at) = ((at.clone(), conditions.clone()), at.clone());
        let check = move |shared: &Shared| {
            shared.require_bucket(&early.0.bucket)?;
            shared.check_write(&shared.layout.object(&early.0)?, &early.1)
        };
        self.shared.run(check).await?;
        let target = Target::Object {
            at,
            conditions: conditions.clone(),
        };
        FsUpload::begin(&self.shared, target, headers, len).await
    }

    /// `DeleteObject`: a missing object is no error.
    ///
    /// # Errors
    /// `NoSuchBucket`; `PreconditionFailed`, or `NoSuchKey` for an `If-Match` on nothing;
    /// [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn delete(&self, at: &Location, conditions: &Conditions) -> Result<HeaderMap> {
        unversioned(at)?;
        let (lock, at, conditions) = (at, at.clone(), conditions.clone());
        let delete = move |shared: &Shared, guard| {
            let path = shared.layout.object(&at)?;
            let bucket = shared.layout.bucket(&at.bucket)?;
            shared.check_write(&path, &conditions)?;
            let unlinked: io::Result<Option<()>> = present(fs::remove_file(&path));
            if unlinked.map_err(error::io("deleting"))?.is_none() {
                shared.require_bucket(&at.bucket)?;
            }
            drop(guard);
            shared.prune(&path, &bucket);
            // Also when there was nothing: who deleted it may not have synced yet.
            shared.settle(&path)?;
            Ok(HeaderMap::new())
        };
        self.shared.locked(lock, delete).await
    }
}
