//! Multipart uploads: begin, parts, complete, abort.
//!
//! An upload is a directory `uploads/<bucket>/<id>` with a file `meta` (no body; its record has the key and the headers)
//! and a file `part.NNNNN` per part. It appears and disappears by one rename.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use http::HeaderMap;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::MAX_PART_NUMBER;

use super::clone::Assembly;
use super::error::{answer, present};
use super::layout::sync_dir;
use super::record::Record;
use super::shared::{Shared, read_record};
use super::write::{FsUpload, Target, Temp};
use super::{FsStore, Result, error, list, now_ms, random_hex, tags};
use crate::types::{CompletedPart, Location, PartInfo, PartsPage, Stored};

/// One more than S3 has: the gateway ends an object of 10,000 parts with one of its own.
const MAX_NUMBER: u16 = MAX_PART_NUMBER + 1;
/// Digits of an upload id.
const ID_DIGITS: usize = 32;
/// Leading digits of it that are the milliseconds of its beginning, so that ids sort by time.
const ID_TIME_DIGITS: usize = 12;
/// Name of the file that describes an upload.
pub(super) const META: &str = "meta";

fn no_such_upload() -> crate::types::BackendError {
    answer(ErrorCode::NoSuchUpload)
}

/// The directory of an upload, if `id` can be one's name.
fn upload_dir(shared: &Shared, at: &Location, id: &str) -> Result<PathBuf> {
    let sound = id.len() == ID_DIGITS && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !sound {
        return Err(no_such_upload());
    }
    Ok(shared.layout.uploads(&at.bucket)?.join(id))
}

/// The directory of an upload and what it was begun with; `NoSuchUpload` unless it is of this key.
fn find(shared: &Shared, at: &Location, id: &str) -> Result<(PathBuf, Record)> {
    shared.require_bucket(&at.bucket)?;
    let dir = upload_dir(shared, at, id)?;
    let meta = present(read_record(&dir.join(META))).map_err(error::io("reading an upload"))?;
    match meta {
        Some(meta) if meta.key == at.key.as_bytes()[..] => Ok((dir, meta)),
        _ => Err(no_such_upload()),
    }
}

fn part_path(upload: &Path, number: u16) -> PathBuf {
    upload.join(format!("part.{number:05}"))
}

/// Publishes a part that has been written and synced.
pub(super) fn place_part(
    shared: &Shared,
    mut temp: Temp,
    upload: &Path,
    number: u16,
) -> Result<()> {
    let path = part_path(upload, number);
    let renamed =
        present(fs::rename(temp.path(), &path)).map_err(error::io("publishing a part"))?;
    if renamed.is_none() {
        // Completed or aborted meanwhile.
        return Err(no_such_upload());
    }
    temp.published();
    shared.settle(&path)
}

/// Makes an upload vanish at once, then frees its space.
fn remove(shared: &Shared, dir: &Path) -> Result<bool> {
    let trash = shared.session.fresh();
    if present(fs::rename(dir, &trash))
        .map_err(error::io("removing an upload"))?
        .is_none()
    {
        return Ok(false);
    }
    if let Err(e) = fs::remove_dir_all(&trash) {
        tracing::warn!(path = %trash.display(), error = %e, "left for the next sweep");
    }
    Ok(true)
}

impl FsStore {
    /// `CreateMultipartUpload`: its id. `headers` are kept for the object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `MetadataTooLarge`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn create_upload(&self, at: &Location, headers: &HeaderMap) -> Result<String> {
        tags::of(headers)?;
        let (at, headers) = (at.clone(), headers.clone());
        let create = move |shared: &Shared| {
            shared.require_bucket(&at.bucket)?;
            let began = now_ms();
            let id = format!(
                "{began:0ID_TIME_DIGITS$x}{}",
                &random_hex()[ID_TIME_DIGITS..]
            );
            let record = Record {
                etag: String::new(),
                modified: began,
                key: at.key.as_bytes().to_vec(),
                headers,
            };
            let meta = record
                .encode(0)
                .ok_or_else(|| answer(ErrorCode::MetadataTooLarge))?;
            let dir = upload_dir(shared, &at, &id)?;
            write_upload(shared, &dir, &meta).map_err(error::io("creating an upload"))?;
            shared.settle(&dir)?;
            Ok(id)
        };
        self.shared.run(create).await
    }

    /// Begins an `UploadPart` of exactly `len` bytes.
    ///
    /// # Errors
    /// `NoSuchUpload`, `NoSuchBucket`, `InvalidArgument` for a number out of range;
    /// [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn put_part(
        &self,
        at: &Location,
        upload_id: &str,
        number: u16,
        len: u64,
    ) -> Result<FsUpload> {
        if !(1..=MAX_NUMBER).contains(&number) {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            return Err(
                S3Error::invalid_argument(message, "partNumber", number.to_string()).into(),
            );
        }
        let (at, id) = (at.clone(), upload_id.to_owned());
        let (upload, _) = self
            .shared
            .run(move |shared| find(shared, &at, &id))
            .await?;
        let target = Target::Part { upload, number };
        FsUpload::begin(&self.shared, target, &HeaderMap::new(), len).await
    }

    /// `ListParts`: at most `max` parts with numbers above `after`.
    ///
    /// # Errors
    /// `NoSuchUpload`, `NoSuchBucket`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn list_parts(
        &self,
        at: &Location,
        upload_id: &str,
        after: u16,
        max: usize,
    ) -> Result<PartsPage> {
        let (at, id) = (at.clone(), upload_id.to_owned());
        let list = move |shared: &Shared| {
            let (dir, _) = find(shared, &at, &id)?;
            let failed = error::io("listing parts");
            let mut numbers = part_numbers(&dir).map_err(&failed)?;
            numbers.retain(|n| *n > after);
            let max = max.clamp(1, list::MAX_PAGE);
            let more = numbers.len() > max;
            numbers.truncate(max);
            let mut page = PartsPage {
                parts: Vec::with_capacity(numbers.len()),
                ..PartsPage::default()
            };
            page.next = numbers.last().copied().filter(|_| more);
            for number in numbers {
                let read = File::open(part_path(&dir, number)).and_then(|f| Record::read(&f));
                // Gone: the upload has just been completed or aborted.
                let (record, len) = present(read).map_err(&failed)?.ok_or_else(no_such_upload)?;
                page.parts.push(PartInfo {
                    number,
                    len,
                    etag: record.etag,
                    checksum: None,
                    last_modified: record.modified,
                });
            }
            Ok(page)
        };
        self.shared.run(list).await
    }

    /// `AbortMultipartUpload`.
    ///
    /// # Errors
    /// `NoSuchUpload`, `NoSuchBucket`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn abort_upload(&self, at: &Location, upload_id: &str) -> Result<()> {
        let (lock, at, id) = (at, at.clone(), upload_id.to_owned());
        let abort = move |shared: &Shared, guard| {
            let (dir, _) = find(shared, &at, &id)?;
            if !remove(shared, &dir)? {
                return Err(no_such_upload());
            }
            drop(guard);
            shared.settle(&dir)
        };
        self.shared.locked(lock, abort).await
    }

    /// `CompleteMultipartUpload`: the listed parts, in order, become the object. Parts may be of any size.
    ///
    /// # Errors
    /// `NoSuchUpload`, `NoSuchBucket`, `InvalidPart`, `InvalidPartOrder`, `MalformedXML` for an empty list,
    /// `PreconditionFailed`; [`BackendError::Io`](crate::types::BackendError::Io). The upload is still there then.
    pub async fn complete_upload(
        &self,
        at: &Location,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: &Conditions,
    ) -> Result<Stored> {
        if parts.is_empty() {
            return Err(answer(ErrorCode::MalformedXML));
        }
        if !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(answer(ErrorCode::InvalidPartOrder));
        }
        let (dir, meta) = self.check_parts(at, upload_id, parts, conditions).await?;
        let mut object = Assembly::begin(&self.shared).await?;
        for part in parts {
            let (dir, part) = (dir.clone(), part.clone());
            let (file, len) = self.shared.run(move |_| open_part(&dir, &part)).await?;
            object.append(file, len).await?;
        }
        let etag = format!("{}-{}", random_hex(), parts.len());
        let (mut temp, record) = object.finish(etag, meta.headers).await?;

        let (lock, at, id, conditions) = (at, at.clone(), upload_id.to_owned(), conditions.clone());
        let publish = move |shared: &Shared, guard| {
            let (dir, _) = find(shared, &at, &id)?;
            let path = shared.layout.object(&at)?;
            shared.check_write(&path, &conditions)?;
            shared.place(temp.path(), &at, &path)?;
            temp.published();
            // First the object, then the end of the upload: a power cut in between must not lose both.
            shared.settle(&path)?;
            remove(shared, &dir)?;
            drop(guard);
            Ok(())
        };
        self.shared.locked(lock, publish).await?;
        Ok(Stored {
            etag: record.etag,
            checksum: None,
            headers: HeaderMap::new(),
        })
    }

    /// Checks everything before the first byte is copied.
    async fn check_parts(
        &self,
        at: &Location,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: &Conditions,
    ) -> Result<(PathBuf, Record)> {
        let (at, id, parts, conditions) = (
            at.clone(),
            upload_id.to_owned(),
            parts.to_vec(),
            conditions.clone(),
        );
        let check = move |shared: &Shared| {
            let (dir, meta) = find(shared, &at, &id)?;
            shared.check_write(&shared.layout.object(&at)?, &conditions)?;
            for part in &parts {
                open_part(&dir, part)?;
            }
            Ok((dir, meta))
        };
        self.shared.run(check).await
    }
}

/// Creates an upload's directory with its meta file: all there or not at all.
fn write_upload(shared: &Shared, dir: &Path, meta: &[u8]) -> io::Result<()> {
    let temp = shared.session.fresh();
    fs::create_dir(&temp)?;
    let path = temp.join(META);
    fs::write(&path, meta)?;
    File::open(&path)?.sync_all()?;
    sync_dir(&temp)?;
    loop {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        // The bucket, and this directory with it, may be deleted and created at the same time.
        if present(fs::rename(&temp, dir))?.is_some() {
            return Ok(());
        }
    }
}

/// The part with this number if it has the tag that the client was given.
fn open_part(upload: &Path, part: &CompletedPart) -> Result<(File, u64)> {
    let failed = error::io("reading a part");
    let invalid = || {
        S3Error::new(ErrorCode::InvalidPart)
            .detail("PartNumber", part.number.to_string())
            .detail("ETag", part.etag.clone())
    };
    let file = present(File::open(part_path(upload, part.number)))
        .map_err(&failed)?
        .ok_or_else(invalid)?;
    let (record, len) = Record::read(&file).map_err(&failed)?;
    if record.etag != part.etag.trim_matches('"') {
        return Err(invalid().into());
    }
    Ok((file, len))
}

/// Numbers of the parts that are there, in order. At most 10,001 two-byte numbers.
fn part_numbers(upload: &Path) -> io::Result<Vec<u16>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(upload)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|n| n.strip_prefix("part."));
        numbers.extend(digits.and_then(|d| d.parse::<u16>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}
