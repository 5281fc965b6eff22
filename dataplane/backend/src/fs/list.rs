//! `ListObjects`.

use std::fs::File;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sealgate_s3::error::S3Error;
use sealgate_s3::xml::{Contents, Text};

use super::record::Record;
use super::walk::{Found, Scope, Walk};
use super::{Result, error};
use crate::types::{ListPage, ListRequest};

/// Most entries of a page (S3 API Reference, `ListObjectsV2`, `max-keys`).
pub(super) const MAX_PAGE: usize = 1000;

/// Lists a bucket: for the blocking pool.
pub(super) fn list(bucket: &Path, request: &ListRequest) -> Result<ListPage> {
    let after = match &request.continuation {
        Some(token) => resume(token)?,
        None => request.start_after.to_vec(),
    };
    let max = request.max_keys.clamp(1, MAX_PAGE);
    let scope = Scope {
        prefix: &request.prefix,
        delimiter: &request.delimiter,
        after: &after,
        page: max + 1,
    };
    let failed = error::io("listing");
    let mut walk = Walk::new(bucket, scope).map_err(&failed)?;
    let mut page = ListPage::default();
    let mut last = Vec::new();
    while let Some(found) = walk.next().map_err(&failed)? {
        if page.objects.len() + page.common_prefixes.len() == max {
            page.next = Some(URL_SAFE_NO_PAD.encode(&last));
            break;
        }
        match found {
            Found::Prefix(prefix) => {
                last.clone_from(&prefix);
                page.common_prefixes.push(prefix.into());
            }
            Found::Object { key, path } => {
                last.clone_from(&key);
                page.objects.extend(describe(key.into(), &path)?);
            }
        }
    }
    Ok(page)
}

/// Pages go on after the last key or prefix of the one before, whatever has been written or deleted since.
fn resume(token: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(token).map_err(|_| {
        S3Error::invalid_argument(
            "The continuation token provided is incorrect",
            "continuation-token",
            token,
        )
        .into()
    })
}

/// What a listing says of an object; `None` when it has been deleted since its name was read.
fn describe(key: Bytes, path: &Path) -> Result<Option<Contents>> {
    let read = File::open(path).and_then(|file| Record::read(&file));
    match error::present(read) {
        Ok(None) => Ok(None),
        Ok(Some((record, len))) => Ok(Some(Contents {
            key,
            size: len,
            etag: record.etag.into(),
            last_modified: record.modified,
            storage_class: record
                .headers
                .get("x-amz-storage-class")
                .and_then(|v| v.to_str().ok())
                .map(Text::from),
            owner: None,
        })),
        // One damaged file must not hide all others.
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(path = %path.display(), error = %e, "left out of a listing");
            Ok(None)
        }
        Err(e) => Err(error::io("listing")(e)),
    }
}
