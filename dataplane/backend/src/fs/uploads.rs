//! `ListMultipartUploads`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use sealgate_s3::bucket::Bucket;

use super::error::present;
use super::shared::{Shared, read_record};
use super::{FsStore, Result, error, list, parts};
use crate::types::{UploadInfo, UploadsPage, UploadsRequest};

/// Order of a page: by key or rolled-up prefix, then by upload id, which is by start. Prefixes have no id.
type Place = (Vec<u8>, String);

impl FsStore {
    /// `ListMultipartUploads`. Reads the descriptions of all of the bucket's unfinished uploads, but keeps no more of
    /// them than the page needs.
    ///
    /// # Errors
    /// `NoSuchBucket`; [`BackendError::Io`](crate::types::BackendError::Io).
    pub async fn list_uploads(
        &self,
        bucket: &str,
        request: &UploadsRequest,
    ) -> Result<UploadsPage> {
        let (bucket, request) = (Bucket::new(bucket)?, request.clone());
        let list = move |shared: &Shared| {
            shared.require_bucket(bucket.as_str())?;
            page(&shared.layout.uploads(bucket.as_str())?, &request)
        };
        self.shared.run(list).await
    }
}

fn page(dir: &Path, request: &UploadsRequest) -> Result<UploadsPage> {
    let failed = error::io("listing uploads");
    let max = request.max_uploads.clamp(1, list::MAX_PAGE);
    // Begin of each upload; none for a prefix.
    let mut found: BTreeMap<Place, Option<i64>> = BTreeMap::new();
    for entry in present(fs::read_dir(dir))
        .map_err(&failed)?
        .into_iter()
        .flatten()
    {
        let entry = entry.map_err(&failed)?;
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        // Completed or aborted since its name was read.
        let Some(meta) = present(read_record(&entry.path().join(parts::META))).map_err(&failed)?
        else {
            continue;
        };
        if let Some((place, began)) = place(meta.key, id, meta.modified, request) {
            found.insert(place, began);
        }
        if found.len() > max + 1 {
            found.pop_last();
        }
    }
    let more = found.len() > max;
    let mut page = UploadsPage::default();
    for ((key, upload_id), began) in found.into_iter().take(max) {
        let key = Bytes::from(key);
        page.next = more.then(|| (key.clone(), upload_id.clone()));
        match began {
            Some(initiated) => page.uploads.push(UploadInfo {
                key,
                upload_id,
                initiated,
            }),
            None => page.common_prefixes.push(key),
        }
    }
    Ok(page)
}

/// Where an upload stands in the listing, if it is in it.
fn place(
    key: Vec<u8>,
    id: String,
    began: i64,
    request: &UploadsRequest,
) -> Option<(Place, Option<i64>)> {
    let rest = key.strip_prefix(&request.prefix[..])?;
    if !request.delimiter.is_empty()
        && let Some(at) = memchr::memmem::find(rest, &request.delimiter)
    {
        let prefix = key[..request.prefix.len() + at + request.delimiter.len()].to_vec();
        return (prefix[..] > request.key_marker[..]).then_some(((prefix, String::new()), None));
    }
    let same_key = key[..] == request.key_marker[..];
    let later = key[..] > request.key_marker[..]
        || same_key && !request.upload_id_marker.is_empty() && id > request.upload_id_marker;
    later.then_some(((key, id), Some(began)))
}
