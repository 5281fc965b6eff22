//! `CopyObject` within the store.

use std::fs::File;
use std::path::Path;

use http::HeaderMap;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};

use super::clone::Assembly;
use super::error::{answer, present};
use super::record::Record;
use super::shared::{Shared, read_record};
use super::write::Temp;
use super::{FsStore, Result, error, random_hex, seconds, tags, unversioned};
use crate::types::{Copied, CopyRequest, Location};

/// How often a copy of an object onto itself begins again because the object was replaced in the meantime.
pub(super) const SELF_COPY_ATTEMPTS: usize = 16;

/// What became of a copy.
pub(super) enum Outcome {
    Done,
    /// It was to itself, and there is another version now.
    Overtaken,
}

impl FsStore {
    /// `CopyObject` with replaced metadata. A copy of an object onto itself is atomic: it never brings back a version
    /// that another writer has replaced.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchBucket`, `PreconditionFailed`, `MetadataTooLarge`; `OperationAborted` when an object that is
    /// copied onto itself is replaced all the time; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn copy(&self, request: &CopyRequest, to: &Location) -> Result<Copied> {
        tags::of(&request.headers)?;
        let onto_itself = request.source.bucket == to.bucket && request.source.key == to.key;
        for _ in 0..SELF_COPY_ATTEMPTS {
            let (source, was, len) = self.open_source(request, to).await?;
            let mut copy = Assembly::begin(&self.shared).await?;
            copy.append(source, len).await?;
            let headers = tags::of_copy(&request.headers, &was.headers);
            let (temp, record) = copy.finish(random_hex(), headers).await?;
            let replaces = onto_itself.then_some(was.etag);
            match self
                .publish_copy(temp, to, &request.conditions, replaces)
                .await?
            {
                Outcome::Done => {
                    let headers = HeaderMap::new();
                    return Ok(Copied {
                        etag: record.etag,
                        last_modified: record.modified,
                        headers,
                    });
                }
                Outcome::Overtaken => {}
            }
        }
        Err(answer(ErrorCode::OperationAborted))
    }

    /// Opens the version that will be copied, and checks all conditions as they are now.
    pub(super) async fn open_source(
        &self,
        request: &CopyRequest,
        to: &Location,
    ) -> Result<(File, Record, u64)> {
        unversioned(&request.source)?;
        let (from, to) = (request.source.clone(), to.clone());
        let (source_conditions, conditions) = (
            request.source_conditions.clone(),
            request.conditions.clone(),
        );
        let open = move |shared: &Shared| {
            let failed = error::io("opening the source of a copy");
            shared.require_bucket(&from.bucket)?;
            shared.require_bucket(&to.bucket)?;
            let Some(file) = present(File::open(shared.layout.object(&from)?)).map_err(&failed)?
            else {
                return Err(S3Error::new(ErrorCode::NoSuchKey)
                    .detail("Key", from.key.as_str())
                    .into());
            };
            let (record, len) = Record::read(&file).map_err(&failed)?;
            source_conditions.check_copy_source(&record.etag, seconds(record.modified))?;
            shared.check_write(&shared.layout.object(&to)?, &conditions)?;
            Ok((file, record, len))
        };
        self.shared.run(open).await
    }

    pub(super) async fn publish_copy(
        &self,
        mut temp: Temp,
        to: &Location,
        conditions: &Conditions,
        replaces: Option<String>,
    ) -> Result<Outcome> {
        let (lock, to, conditions) = (to, to.clone(), conditions.clone());
        let publish = move |shared: &Shared, guard| {
            let path = shared.layout.object(&to)?;
            if let Some(etag) = replaces
                && etag_at(&path)?.as_ref() != Some(&etag)
            {
                return Ok(Outcome::Overtaken);
            }
            shared.check_write(&path, &conditions)?;
            shared.place(temp.path(), &to, &path)?;
            temp.published();
            drop(guard);
            shared.settle(&path)?;
            Ok(Outcome::Done)
        };
        self.shared.locked(lock, publish).await
    }
}

fn etag_at(path: &Path) -> Result<Option<String>> {
    let record = present(read_record(path)).map_err(error::io("copying an object"))?;
    Ok(record.map(|r| r.etag))
}
