//! The operations, one file each.

mod abort;
mod buckets;
mod complete;
pub(crate) mod copy_object;
mod create_upload;
mod delete_object;
mod delete_objects;
mod forward;
mod get_attributes;
mod get_object;
mod head_object;
mod list_objects;
mod list_parts;
mod list_uploads;
mod list_versions;
pub(crate) mod post_object;
pub(crate) mod put_object;
mod upload_part;
mod upload_part_copy;

pub(crate) use get_object::{OVERRIDES, Opening, Wanted, override_headers};
use http::Method;
pub(crate) use list_objects::MAX_PAGE;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::Operation;
use sealgate_uring::{Connector, Transport};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::slow;
use crate::treatment::{Treatment, treatment_of};

/// Runs the operation that a request asks for.
pub(crate) async fn dispatch<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    method: &Method,
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<Reply, Failure> {
    use Operation as O;
    match &rq.routed.operation {
        O::PutObject => put_object::run(rq, client, body).await,
        O::UploadPart => upload_part::run(rq, client, body).await,
        O::CreateBucket => buckets::create(rq, client, body).await,
        O::DeleteObjects => delete_objects::run(rq, client, body).await,
        O::CompleteMultipartUpload => {
            let list = complete::read(client, body).await?;
            slow::run(rq, client, Box::pin(complete::run(rq, &list))).await
        }
        other if treatment_of(other).0 == Treatment::Passed => {
            forward::run(rq, method, client, body).await
        }
        _ => {
            // No other operation has a body; one that comes all the same is verified and dropped.
            body.document(client, MAX_IGNORED_BODY).await?;
            bodiless(rq, client).await
        }
    }
}

/// Most bytes of a body that an operation has no use for.
const MAX_IGNORED_BODY: usize = 64 << 10;

async fn bodiless<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
) -> Result<Reply, Failure> {
    use Operation as O;
    match &rq.routed.operation {
        O::GetObject => get_object::run(rq, client).await,
        O::HeadObject => head_object::run(rq).await,
        O::GetObjectAttributes => get_attributes::run(rq).await,
        O::DeleteObject => delete_object::run(rq).await,
        O::CopyObject => slow::run(rq, client, Box::pin(copy_object::run(rq))).await,
        O::ListObjects | O::ListObjectsV2 => list_objects::run(rq).await,
        O::ListObjectVersions => list_versions::run(rq).await,
        O::CreateMultipartUpload => create_upload::run(rq).await,
        O::UploadPartCopy => slow::run(rq, client, Box::pin(upload_part_copy::run(rq))).await,
        O::AbortMultipartUpload => abort::run(rq).await,
        O::ListParts => list_parts::run(rq).await,
        O::ListMultipartUploads => list_uploads::run(rq).await,
        O::ListBuckets => buckets::list(rq).await,
        O::DeleteBucket => buckets::delete(rq).await,
        O::HeadBucket => buckets::head(rq).await,
        O::GetBucketLocation => buckets::location(rq).await,
        other => Err(refused(other)),
    }
}

/// The `501` for an operation that is not offered, with the reason.
fn refused(operation: &Operation) -> Failure {
    match treatment_of(operation) {
        (Treatment::Refused, reason) => S3Error::with_message(
            ErrorCode::NotImplemented,
            format!("{operation} is not supported: {reason}."),
        )
        .detail("Header", operation.as_str())
        .into(),
        _ => operation.not_implemented().into(),
    }
}
