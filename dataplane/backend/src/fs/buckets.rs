//! Buckets: a directory below the root each, and a record of when and where it was created.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderValue};
use sealgate_s3::bucket::Bucket;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::{CreateBucketConfiguration, Tagging};
use serde::{Deserialize, Serialize};

use super::error::{answer, present};
use super::layout::sync_dir;
use super::shared::Shared;
use super::{FsStore, Result, error, lock, now_ms, walk};
use crate::types::BucketInfo;

/// Longest region name that is kept, bytes; real ones have about 15.
const MAX_LOCATION: usize = 64;

/// What is kept of a bucket.
#[derive(Default, Deserialize, Serialize)]
struct BucketRecord {
    /// Milliseconds since the epoch.
    created: i64,
    /// As the creator asked for; empty for none.
    location: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<(String, String)>,
}

fn read(shared: &Shared, bucket: &Bucket) -> io::Result<BucketRecord> {
    let text = present(fs::read(shared.layout.bucket_record(bucket.as_str())))?;
    if let Some(record) = text.and_then(|t| serde_json::from_slice(&t).ok()) {
        return Ok(record);
    }
    // Made by hand, or by a creator that was killed half-way.
    let meta = fs::metadata(shared.layout.root().join(bucket.as_str()))?;
    let created = meta.created().or_else(|_| meta.modified())?;
    let created = created
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    Ok(BucketRecord {
        created: i64::try_from(created).unwrap_or(i64::MAX),
        ..BucketRecord::default()
    })
}

fn write(shared: &Shared, bucket: &Bucket, record: &BucketRecord) -> io::Result<()> {
    let (temp, path) = (
        shared.session.fresh(),
        shared.layout.bucket_record(bucket.as_str()),
    );
    let mut file = File::create_new(&temp)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    fs::rename(&temp, &path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

impl FsStore {
    /// `ListBuckets`, by name.
    ///
    /// # Errors
    /// [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn list_buckets(&self) -> Result<Vec<BucketInfo>> {
        self.shared
            .run(|shared| buckets(shared).map_err(error::io("listing buckets")))
            .await
    }

    /// `CreateBucket`: by the rules for new names; the body may name a location, which [`Self::bucket_location`] gives back.
    ///
    /// # Errors
    /// `InvalidBucketName`, `BucketAlreadyOwnedByYou`, `MalformedXML`, `InvalidLocationConstraint`; `NotImplemented` for
    /// what a directory cannot be;
    /// [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn create_bucket(&self, name: &str, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let bucket = Bucket::new(name)?;
        bucket.check_new()?;
        check_headers(headers)?;
        let location = CreateBucketConfiguration::parse(body)?
            .location_constraint
            .unwrap_or_default();
        if location.len() > MAX_LOCATION
            || !location
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(answer(ErrorCode::InvalidLocationConstraint));
        }
        let create = move |shared: &Shared| {
            let failed = error::io("creating a bucket");
            let _lock = lock::lock(&shared.layout.lock("buckets")).map_err(&failed)?;
            match fs::create_dir(shared.layout.bucket(bucket.as_str())?) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(answer(ErrorCode::BucketAlreadyOwnedByYou));
                }
                made => made.map_err(&failed)?,
            }
            write(
                shared,
                &bucket,
                &BucketRecord {
                    created: now_ms(),
                    location,
                    tags: Vec::new(),
                },
            )
            .map_err(&failed)?;
            sync_dir(shared.layout.root()).map_err(&failed)
        };
        self.shared.run(create).await
    }

    /// `DeleteBucket`. Unfinished uploads do not keep a bucket alive; they go with it.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        let bucket = Bucket::new(name)?;
        let delete = move |shared: &Shared| {
            let failed = error::io("deleting a bucket");
            let _lock = lock::lock(&shared.layout.lock("buckets")).map_err(&failed)?;
            shared.require_bucket(bucket.as_str())?;
            let dir = shared.layout.bucket(bucket.as_str())?;
            if walk::has_object(&dir, 0).map_err(&failed)? {
                return Err(answer(ErrorCode::BucketNotEmpty));
            }
            // The kernel refuses to remove a directory that is not empty: whoever writes an object now wins or loses
            // wholly.
            match remove_empty(&dir) {
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    return Err(answer(ErrorCode::BucketNotEmpty));
                }
                removed => removed.map_err(&failed)?,
            }
            sync_dir(shared.layout.root()).map_err(&failed)?;
            forget(shared, &bucket).map_err(&failed)
        };
        self.shared.run(delete).await
    }

    /// `HeadBucket`.
    ///
    /// # Errors
    /// `NoSuchBucket`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn head_bucket(&self, name: &str) -> Result<HeaderMap> {
        let location = self.bucket_location(name).await?;
        let region = if location.is_empty() {
            "us-east-1".to_owned()
        } else {
            location
        };
        let mut headers = HeaderMap::new();
        headers.extend(
            HeaderValue::try_from(region)
                .ok()
                .map(|v| (http::HeaderName::from_static("x-amz-bucket-region"), v)),
        );
        Ok(headers)
    }

    /// `GetBucketLocation`: as given at creation; empty for none, which S3 calls `us-east-1`.
    ///
    /// # Errors
    /// `NoSuchBucket`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn bucket_location(&self, name: &str) -> Result<String> {
        let bucket = Bucket::new(name)?;
        let read = move |shared: &Shared| {
            shared.require_bucket(bucket.as_str())?;
            Ok(read(shared, &bucket)
                .map_err(error::io("reading a bucket"))?
                .location)
        };
        self.shared.run(read).await
    }
}

impl FsStore {
    /// `GetBucketTagging`.
    pub(super) async fn bucket_tags(&self, name: &str) -> Result<Tagging> {
        let bucket = Bucket::new(name)?;
        let read = move |shared: &Shared| {
            shared.require_bucket(bucket.as_str())?;
            let record = read(shared, &bucket).map_err(error::io("reading a bucket"))?;
            Ok(Tagging(record.tags))
        };
        self.shared.run(read).await
    }

    /// `PutBucketTagging`; no tags for `DeleteBucketTagging`.
    pub(super) async fn set_bucket_tags(&self, name: &str, tags: Tagging) -> Result<()> {
        let bucket = Bucket::new(name)?;
        let set = move |shared: &Shared| {
            let failed = error::io("tagging a bucket");
            let _lock = lock::lock(&shared.layout.lock("buckets")).map_err(&failed)?;
            shared.require_bucket(bucket.as_str())?;
            let mut record = read(shared, &bucket).map_err(&failed)?;
            record.tags = tags.0;
            write(shared, &bucket, &record).map_err(&failed)
        };
        self.shared.run(set).await
    }
}

/// Refuses what would have to be remembered; what is true of every bucket here may be said.
fn check_headers(headers: &HeaderMap) -> Result<()> {
    for (name, value) in headers {
        let so_anyway = match name.as_str() {
            "x-amz-acl" => value == "private",
            "x-amz-bucket-object-lock-enabled" => value.as_bytes().eq_ignore_ascii_case(b"false"),
            // All that is in a bucket has one owner.
            "x-amz-object-ownership" => true,
            _ => false,
        };
        if !so_anyway {
            let message = format!(
                "The header {name} needs an S3 store; this gateway keeps its objects in a directory."
            );
            return Err(S3Error::with_message(ErrorCode::NotImplemented, message).into());
        }
    }
    Ok(())
}

fn buckets(shared: &Shared) -> io::Result<Vec<BucketInfo>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(shared.layout.root())? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .ok()
            .and_then(|n| Bucket::new(n).ok());
        let Some(bucket) = name.filter(|_| entry.file_type().is_ok_and(|t| t.is_dir())) else {
            continue;
        };
        // Deleted since its name was read.
        let Some(record) = present(read(shared, &bucket))? else {
            continue;
        };
        found.push(BucketInfo {
            name: bucket.into_string(),
            created: record.created,
            region: None,
        });
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Removes a tree of directories; `DirectoryNotEmpty` when there is anything else in it.
fn remove_empty(dir: &Path) -> io::Result<()> {
    let names: Vec<_> = fs::read_dir(dir)?.collect::<io::Result<_>>()?;
    for entry in names {
        if entry.file_type()?.is_dir() {
            present(remove_empty(&entry.path()))?;
        }
    }
    fs::remove_dir(dir)
}

fn forget(shared: &Shared, bucket: &Bucket) -> io::Result<()> {
    present(fs::remove_file(
        shared.layout.bucket_record(bucket.as_str()),
    ))?;
    let trash = shared.session.fresh();
    if present(fs::rename(
        shared.layout.all_uploads().join(bucket.as_str()),
        &trash,
    ))?
    .is_some()
    {
        fs::remove_dir_all(trash)?;
    }
    Ok(())
}
