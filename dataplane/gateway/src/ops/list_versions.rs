//! ListObjectVersions, with plaintext sizes.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sealgate_backend::Store;
use sealgate_backend::types::{ListRequest, VersionsPage, VersionsRequest};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::{ListVersionsResult, VersionEntry};
use sealgate_uring::Connector;

use super::list_objects::{AFTER_ALL, MAX_PAGE, VERIFY_CONCURRENCY, after_marker, page_size, seen};
use crate::failure::Failure;
use crate::object::client_etag;
use crate::reply::Reply;
use crate::request::{Request, STAGING_PREFIX};

/// The one version of an object of a directory, as in a bucket that never kept versions.
const NULL: &str = "null";

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let query = &rq.routed.query;
    let asked = page_size(query.number::<i64>("max-keys")?, "max-keys")?;
    let text = |name| Bytes::copy_from_slice(query.get(name).unwrap_or("").as_bytes());
    let key_marker = text("key-marker");
    let id_marker = query.get("version-id-marker").unwrap_or("");
    if key_marker.is_empty() && !id_marker.is_empty() {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(S3Error::invalid_argument(message, "version-id-marker", id_marker).into());
    }
    let mut request = VersionsRequest {
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        after: (!key_marker.is_empty()).then(|| (key_marker.clone(), id_marker.to_owned())),
        max_keys: asked.min(MAX_PAGE),
    };
    let bucket = rq.bucket()?;
    let page = if asked == 0 {
        rq.store.head_bucket(bucket).await?;
        VersionsPage::default()
    } else {
        visible_page(rq, bucket, &mut request).await?
    };
    let result = ListVersionsResult {
        name: bucket.to_owned(),
        prefix: request.prefix,
        delimiter: request.delimiter,
        key_marker,
        version_id_marker: id_marker.to_owned(),
        max_keys: asked.min(MAX_PAGE) as u64,
        url_encoded: query.url_encoded()?,
        is_truncated: page.next.is_some(),
        next: page.next,
        versions: plain(rq, bucket, page.versions).await?,
        common_prefixes: page.common_prefixes,
    };
    Ok(Reply::xml(result.to_xml()))
}

/// The next page without the gateway's own objects; one that holds nothing else is passed over (S3-TRAPS 15).
async fn visible_page<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    request: &mut VersionsRequest,
) -> Result<VersionsPage, Failure> {
    loop {
        let mut page = match &rq.store {
            Store::S3(s3) => s3.list_versions(bucket, request).await?,
            Store::Fs(_) => current(rq, bucket, request).await?,
        };
        let before = page.versions.len() + page.common_prefixes.len();
        let hidden = STAGING_PREFIX.as_bytes();
        page.versions.retain(|v| !v.key.starts_with(hidden));
        page.common_prefixes.retain(|p| !p.starts_with(hidden));
        let after = page.versions.len() + page.common_prefixes.len();
        match page.next {
            Some(_) if after == 0 && before > 0 => {
                let behind = format!("{STAGING_PREFIX}{AFTER_ALL}");
                request.after = Some((behind.into(), String::new()));
            }
            // The store's marker may be a hidden key, which is nothing for clients.
            Some((key, _)) if key.starts_with(hidden) => {
                page.next = last_of(&page.versions, &page.common_prefixes);
                return Ok(page);
            }
            _ => return Ok(page),
        }
    }
}

/// Whether clients see any version or delete marker in a bucket; a store without versions has none to see.
pub(crate) async fn shows_any<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
) -> Result<bool, Failure> {
    let mut request = VersionsRequest {
        max_keys: 1,
        ..VersionsRequest::default()
    };
    match visible_page(rq, bucket, &mut request).await {
        Ok(page) => Ok(!page.versions.is_empty()),
        Err(Failure::Answer { error, .. }) if error.code == ErrorCode::NotImplemented => Ok(false),
        Err(e) => Err(e),
    }
}

/// Where a page that ends so goes on.
fn last_of(versions: &[VersionEntry], prefixes: &[Bytes]) -> Option<(Bytes, String)> {
    let version = versions
        .last()
        .map(|v| (v.key.clone(), v.version_id.to_string()));
    version.max(prefixes.last().map(|p| (p.clone(), String::new())))
}

/// A directory's objects as versions.
async fn current<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    request: &VersionsRequest,
) -> Result<VersionsPage, Failure> {
    let marker = request.after.clone().unwrap_or_default().0;
    let list = ListRequest {
        prefix: request.prefix.clone(),
        delimiter: request.delimiter.clone(),
        start_after: after_marker(&marker, &request.prefix, &request.delimiter),
        max_keys: request.max_keys,
        ..ListRequest::default()
    };
    let page = rq.store.list(bucket, &list).await?;
    let versions = page.objects.into_iter().map(|object| VersionEntry {
        key: object.key,
        version_id: NULL.into(),
        is_latest: true,
        is_delete_marker: false,
        size: object.size,
        etag: object.etag,
        last_modified: object.last_modified,
        owner: object.owner,
        storage_class: object.storage_class,
    });
    let versions: Vec<_> = versions.collect();
    Ok(VersionsPage {
        next: page
            .next
            .and_then(|_| last_of(&versions, &page.common_prefixes)),
        versions,
        common_prefixes: page.common_prefixes,
    })
}

/// Sizes and ETags as clients see them.
async fn plain<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    versions: Vec<VersionEntry>,
) -> Result<Vec<VersionEntry>, Failure> {
    stream::iter(versions)
        .map(|mut version| async move {
            if version.is_delete_marker {
                return Ok(version);
            }
            let id = Some(&*version.version_id);
            let found = seen(rq, bucket, &version.key, id, version.size).await?;
            if found.sealed {
                version.etag = client_etag(&version.etag).into();
            }
            version.size = found.size;
            Ok(version)
        })
        .buffered(VERIFY_CONCURRENCY)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect()
}
