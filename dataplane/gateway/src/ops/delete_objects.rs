//! DeleteObjects: up to 1,000 keys, each with its own outcome.

use futures_util::{StreamExt, stream};
use sealgate_backend::types::{DeleteOutcome, Location, ToDelete};
use sealgate_s3::conditions::{Conditions, EtagList};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::{Operation, RawKey};
use sealgate_s3::xml::{DeleteFailure, DeleteRequest, DeleteResult, Deleted, ObjectToDelete};
use sealgate_uring::{Connector, Transport};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::object::store_conditions;
use crate::reply::Reply;
use crate::request::{Request, check_reserved};

/// 1,000 keys of 1,024 bytes, every byte escaped, with their elements.
const MAX_DOCUMENT: usize = 8 << 20;
/// Deletions with a condition that are under way at once.
const CONDITIONAL: usize = 8;

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
    let mut outcomes = vec![None; request.objects.len()];
    // Places in the client's list, and what stands there.
    let (mut places, mut plain) = (Vec::new(), Vec::new());
    let mut conditional = Vec::new();
    for (place, object) in request.objects.iter().enumerate() {
        match checked(rq, bucket, object) {
            Ok(to_delete) if object.etag.is_none() => {
                places.push(place);
                plain.push(to_delete);
            }
            Ok(to_delete) => conditional.push((place, to_delete)),
            Err(error) => outcomes[place] = Some(Err(error)),
        }
    }
    if !plain.is_empty() {
        let deleted = rq.store.delete_many(bucket, &plain).await?;
        for (place, outcome) in places.into_iter().zip(deleted) {
            outcomes[place] = Some(outcome);
        }
    }
    // A store may not know conditions in a bulk deletion; those of a single one are what it is known to keep, or not.
    let mut one_by_one = stream::iter(conditional)
        .map(|(place, object)| {
            let etag = request.objects[place].etag.as_deref().unwrap_or("");
            async move { (place, delete_if(rq, bucket, object, etag).await) }
        })
        .buffer_unordered(CONDITIONAL);
    while let Some((place, outcome)) = one_by_one.next().await {
        outcomes[place] = Some(outcome);
    }
    drop(one_by_one);
    let mut result = DeleteResult::default();
    for (object, outcome) in request.objects.iter().zip(outcomes) {
        match outcome {
            Some(Ok(outcome)) => result.deleted.push(Deleted {
                key: object.key.clone(),
                version_id: object.version_id.clone(),
                delete_marker: outcome.delete_marker,
                delete_marker_version_id: outcome.delete_marker_version,
            }),
            Some(Err(error)) => result.errors.push(failure(object, &error)),
            None => result
                .errors
                .push(failure(object, &S3Error::new(ErrorCode::InternalError))),
        }
    }
    Ok(Reply::xml(result.to_xml(request.quiet)))
}

/// An object that this client may delete.
fn checked<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    object: &ObjectToDelete,
) -> Result<ToDelete, S3Error> {
    let key = RawKey::new(object.key.clone())?;
    check_reserved(&key)?;
    if let Some(name) = object.other_condition {
        return Err(S3Error::with_message(
            ErrorCode::NotImplemented,
            format!("The condition {name} is not supported in DeleteObjects; ETag is."),
        ));
    }
    // `DeleteObject` on the key, or `DeleteObjects` by its own name.
    rq.allow(&Operation::DeleteObject, bucket, key.as_ref())
        .or_else(|_| rq.allow(&Operation::DeleteObjects, bucket, key.as_ref()))?;
    Ok(ToDelete {
        key,
        version: object.version_id.clone(),
    })
}

/// Deletes an object if it has this ETag.
async fn delete_if<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    object: ToDelete,
    etag: &str,
) -> Result<DeleteOutcome, S3Error> {
    let at = Location {
        bucket: bucket.to_owned(),
        key: object.key,
        version: object.version,
    };
    let if_match = match etag {
        "*" => EtagList::Any,
        etag => EtagList::Tags(vec![etag.to_owned()]),
    };
    let conditions = Conditions {
        if_match: Some(if_match),
        ..Conditions::default()
    };
    let delete = async {
        let conditions = store_conditions(&conditions, rq.rule_for(&at)?);
        Ok::<_, Failure>(rq.store.delete(&at, &conditions).await?)
    };
    match delete.await {
        Ok(headers) => {
            let text = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
            let delete_marker = text("x-amz-delete-marker").is_some_and(|m| m == "true");
            Ok(DeleteOutcome {
                delete_marker,
                delete_marker_version: text("x-amz-version-id").filter(|_| delete_marker),
            })
        }
        Err(Failure::Answer { error, log, .. }) => {
            if let Some(trouble) = log {
                tracing::warn!(request_id = rq.id, trouble, "a deletion failed");
            }
            Err(error)
        }
        Err(_) => Err(S3Error::new(ErrorCode::InternalError)),
    }
}

fn failure(object: &ObjectToDelete, error: &S3Error) -> DeleteFailure {
    DeleteFailure {
        key: object.key.clone(),
        version_id: object.version_id.clone(),
        code: error.code.as_str().to_owned(),
        message: error.message.clone().into_owned(),
    }
}
