//! DeleteObjects: up to 1,000 keys, each with its own outcome.

use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::{Operation, RawKey};
use sealgate_s3::xml::{DeleteFailure, DeleteRequest, DeleteResult, Deleted};
use sealgate_uring::{Connector, Transport};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::{Request, check_reserved};

/// 1,000 keys of 1,024 bytes, every byte escaped, with their elements.
const MAX_DOCUMENT: usize = 8 << 20;

pub(crate) async fn run<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<Reply, Failure> {
    if !body.has_integrity() {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        ));
    }
    let bucket = rq.bucket()?;
    let document = body.document(client, MAX_DOCUMENT).await?;
    let request = DeleteRequest::parse(&document)?;
    let mut result = DeleteResult::default();
    let mut keys = Vec::with_capacity(request.objects.len());
    for object in &request.objects {
        match checked(rq, bucket, object) {
            Ok(key) => keys.push(key),
            Err(error) => result.errors.push(failure(&object.key, &error)),
        }
    }
    if !keys.is_empty() {
        let outcomes = rq.store.delete_many(bucket, &keys).await?;
        for (key, outcome) in keys.iter().zip(outcomes) {
            match outcome {
                Ok(_) => result.deleted.push(Deleted {
                    key: key.as_bytes().clone(),
                    version_id: None,
                    delete_marker: false,
                    delete_marker_version_id: None,
                }),
                Err(error) => result.errors.push(failure(key.as_bytes(), &error)),
            }
        }
    }
    Ok(Reply::xml(result.to_xml(request.quiet)))
}

/// A key that this client may delete.
fn checked<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    object: &sealgate_s3::xml::ObjectToDelete,
) -> Result<RawKey, S3Error> {
    let key = RawKey::new(object.key.clone())?;
    check_reserved(&key)?;
    if object.version_id.is_some() || object.etag.is_some() {
        return Err(S3Error::with_message(
            ErrorCode::NotImplemented,
            "Deletion of versions, or on a condition, is not supported in DeleteObjects.",
        ));
    }
    // `DeleteObject` on the key, or `DeleteObjects` by its own name.
    rq.allow(&Operation::DeleteObject, bucket, key.as_ref())
        .or_else(|_| rq.allow(&Operation::DeleteObjects, bucket, key.as_ref()))?;
    Ok(key)
}

fn failure(key: &bytes::Bytes, error: &S3Error) -> DeleteFailure {
    DeleteFailure {
        key: key.clone(),
        version_id: None,
        code: error.code.as_str().to_owned(),
        message: error.message.clone().into_owned(),
    }
}
