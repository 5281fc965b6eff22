//! Multipart uploads as the gateway knows them: all of their state is in the id that the client holds.

use std::rc::Rc;

use aws_lc_rs::digest;
use bytes::Bytes;
use sealgate_backend::Store;
use sealgate_backend::types::{
    BackendError, ListRequest, Location, PartInfo, Stored, VersionsRequest,
};
use sealgate_envelope::{Dek, Envelope, UploadId, law, part_tag};
use sealgate_s3::checksum::{Checksum, Known};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::RawKey;
use sealgate_uring::Connector;

use crate::checksums::{self, Declared};
use crate::failure::Failure;
use crate::object::{client_etag, open_envelope, store_etag};
use crate::ops::MAX_PAGE;
use crate::request::{Request, STAGING_PREFIX};

/// S3's highest part number. The gateway keeps it for the object's end, so a client's part of that number is staged.
pub(crate) const LAST_PART: u16 = 10_000;
/// S3's smallest part that may stand before the last one.
pub(crate) const MINIMUM_PART: u64 = law::MIN_PART_LEN;

/// An upload id that is good.
pub(crate) struct Upload {
    /// The store's upload id.
    pub(crate) backend_id: String,
    /// The checksum that it was created for.
    pub(crate) declared: Option<Declared>,
    pub(crate) envelope: Envelope,
    pub(crate) dek: Rc<Dek>,
}

/// Opens the upload id of a request; it must have been made for this very object.
pub(crate) async fn open<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
) -> Result<Upload, Failure> {
    let text = rq.query("uploadId")?;
    if !UploadId::is_sealed(text) {
        return Err(Failure::new(
            ErrorCode::NoSuchUpload,
            "This is an upload id of the store, as ListMultipartUploads shows it. Parts can be added, and the upload \
             completed, only with the upload id that CreateMultipartUpload answered.",
        ));
    }
    let no_such_upload = || Failure::from(S3Error::new(ErrorCode::NoSuchUpload));
    let id = UploadId::parse(text).map_err(|_| no_such_upload())?;
    // An id that does not open was made for another object, or not by this gateway.
    let dek = match open_envelope(rq, at, id.envelope()).await {
        Ok(dek) => dek,
        Err(failure) if failure.is_tampering() => return Err(no_such_upload()),
        Err(failure) => return Err(failure),
    };
    id.verify(&dek).map_err(|_| no_such_upload())?;
    let (backend_id, declared) = split_declared(id.backend_id());
    Ok(Upload {
        backend_id: backend_id.to_owned(),
        declared,
        envelope: id.envelope().clone(),
        dek,
    })
}

/// The store's upload id with the checksum that the upload is for, in a line of its own: no store's id has a line break.
pub(crate) fn with_declared(backend_id: &str, declared: Option<Declared>) -> String {
    declared.map_or_else(|| backend_id.to_owned(), |d| format!("{backend_id}\n{d}"))
}

fn split_declared(text: &str) -> (&str, Option<Declared>) {
    match text.rsplit_once('\n') {
        Some((id, declared)) => (id, Declared::parse(declared)),
        None => (text, None),
    }
}

impl Upload {
    /// The ETag that the upload of a part is answered with: it carries the checksum that was proved, for the object's.
    pub(crate) fn part_etag(&self, number: u16, stored: &Stored, known: &Known) -> String {
        let etag = client_etag(&stored.etag);
        let Some(checksum) = checksums::tagged(known) else {
            return etag;
        };
        let object_id = &self.envelope.fields.object_id;
        let tag = part_tag::seal(&self.dek, object_id, number, &stored.etag, &checksum);
        format!("{etag}.{tag}")
    }

    /// A part's ETag as ListParts shows it, and the checksum that it carries, of either form of it.
    pub(crate) fn open_part_etag(&self, number: u16, etag: &str) -> (String, Option<Checksum>) {
        if let Some((etag, tag)) = etag.rsplit_once('.') {
            let (object_id, stored) = (&self.envelope.fields.object_id, store_etag(etag));
            if let Some(known) = part_tag::open(&self.dek, object_id, number, &stored, tag) {
                return (etag.to_owned(), checksums::from_format(&known));
            }
        }
        (etag.to_owned(), None)
    }
}

/// The store's upload id of a request that may hold either form: for Abort and ListParts.
pub(crate) async fn backend_id<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
) -> Result<String, Failure> {
    let text = rq.query("uploadId")?;
    if UploadId::is_sealed(text) {
        return Ok(open(rq, at).await?.backend_id);
    }
    Ok(text.to_owned())
}

/// Where the staged parts of an upload are: named by the store's upload id, so that they are found from either form
/// of the id.
fn staging_prefix(backend_id: &str) -> String {
    use std::fmt::Write;
    let digest = digest::digest(&digest::SHA256, backend_id.as_bytes());
    let mut prefix = String::from(STAGING_PREFIX);
    for byte in &digest.as_ref()[..16] {
        let _ = write!(prefix, "{byte:02x}");
    }
    prefix.push('/');
    prefix
}

/// Where part `number` of an upload is staged.
pub(crate) fn staged_at(at: &Location, backend_id: &str, number: u16) -> Result<Location, Failure> {
    let key = format!("{}{number:05}", staging_prefix(backend_id));
    Ok(Location {
        bucket: at.bucket.clone(),
        key: RawKey::new(Bytes::from(key))?,
        version: None,
    })
}

/// The staged parts of an upload, in rising order: few, since only last parts are staged.
pub(crate) async fn staged_parts<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    backend_id: &str,
) -> Result<Vec<PartInfo>, Failure> {
    let prefix = staging_prefix(backend_id);
    let mut parts = Vec::new();
    let mut request = ListRequest {
        prefix: prefix.clone().into(),
        max_keys: MAX_PAGE,
        ..ListRequest::default()
    };
    loop {
        let page = rq.store.list(&at.bucket, &request).await?;
        for object in page.objects {
            let number = object
                .key
                .get(prefix.len()..)
                .and_then(|n| std::str::from_utf8(n).ok());
            if let Some(number) = number.and_then(|n| n.parse().ok()) {
                parts.push(PartInfo {
                    number,
                    len: object.size,
                    etag: object.etag.to_string(),
                    checksum: None,
                    last_modified: object.last_modified,
                });
            }
        }
        match page.next {
            Some(next) => request.continuation = Some(next),
            None => return Ok(parts),
        }
    }
}

/// Removes an upload's staged parts. What is left behind by a failure here a lifecycle rule removes: it harms nothing.
pub(crate) async fn remove_staged<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    backend_id: &str,
    staged: &[PartInfo],
) {
    let mut versioned = false;
    for part in staged {
        let Ok(place) = staged_at(at, backend_id, part.number) else {
            continue;
        };
        match rq.store.delete(&place, &Default::default()).await {
            Ok(headers) if headers.contains_key("x-amz-delete-marker") => versioned = true,
            Ok(_) => {}
            Err(e) => {
                tracing::warn!(error = %e, bucket = %at.bucket, "a staged part was left behind");
            }
        }
    }
    if versioned && let Err(e) = remove_versions(rq, &at.bucket, staging_prefix(backend_id)).await {
        tracing::warn!(error = %e, bucket = %at.bucket, "versions of a staged part were left behind");
    }
}

/// Removes all that is staged in a bucket, for good.
pub(crate) async fn remove_all_staged<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
) -> Result<(), Failure> {
    let mut request = ListRequest {
        prefix: STAGING_PREFIX.into(),
        max_keys: MAX_PAGE,
        ..ListRequest::default()
    };
    loop {
        let page = rq.store.list(bucket, &request).await?;
        for object in page.objects {
            let place = Location {
                bucket: bucket.to_owned(),
                key: RawKey::new(object.key)?,
                version: None,
            };
            rq.store.delete(&place, &Default::default()).await?;
        }
        match page.next {
            Some(next) => request.continuation = Some(next),
            None => break,
        }
    }
    match remove_versions(rq, bucket, STAGING_PREFIX.to_owned()).await {
        Err(BackendError::Answer(e)) if e.code == ErrorCode::NotImplemented => Ok(()),
        removed => Ok(removed?),
    }
}

/// Removes for good what a bucket that keeps versions has kept of staged parts.
async fn remove_versions<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    prefix: String,
) -> Result<(), BackendError> {
    let Store::S3(s3) = &rq.store else {
        return Ok(());
    };
    let mut request = VersionsRequest {
        prefix: prefix.into(),
        ..VersionsRequest::default()
    };
    loop {
        let page = s3.list_versions(bucket, &request).await?;
        for version in page.versions {
            let place = Location {
                bucket: bucket.to_owned(),
                key: RawKey::new(version.key)?,
                version: Some(version.version_id.to_string()),
            };
            s3.delete(&place, &Default::default()).await?;
        }
        if page.next.is_none() || page.next == request.after {
            return Ok(());
        }
        request.after = page.next;
    }
}

/// The part number of a request.
pub(crate) fn part_number<C: Connector>(rq: &Request<'_, C>) -> Result<u16, S3Error> {
    match rq.routed.query.number::<u16>("partNumber") {
        Ok(Some(number)) if (1..=LAST_PART).contains(&number) => Ok(number),
        _ => Err(S3Error::invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive",
            "partNumber",
            rq.routed.query.get("partNumber").unwrap_or(""),
        )),
    }
}
