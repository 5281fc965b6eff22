//! Buckets themselves.

use http::StatusCode;
use http::header::HeaderName;
use sealgate_backend::types::BackendError;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::xml::{
    BucketEntry, CreateBucketConfiguration, ListAllMyBuckets, LocationConstraint, Owner,
};
use sealgate_uring::{Connector, Transport};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::ops::{list_objects, list_versions};
use crate::reply::{Reply, set};
use crate::request::Request;
use crate::uploads;

/// A `CreateBucketConfiguration` is a few hundred bytes.
const MAX_DOCUMENT: usize = 64 << 10;

pub(crate) fn owner() -> Owner {
    Owner {
        id: "sealgate".into(),
        display_name: "sealgate".into(),
    }
}

/// ListBuckets.
pub(crate) async fn list<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let buckets = rq.store.list_buckets().await?;
    let operation = &rq.routed.operation;
    let list = ListAllMyBuckets {
        owner: owner(),
        buckets: buckets
            .into_iter()
            .filter(|b| {
                rq.credential
                    .is_some_and(|c| c.allows_any(operation, &b.name))
            })
            .map(|b| BucketEntry {
                name: b.name,
                created: b.created,
                region: None,
            })
            .collect(),
        continuation_token: None,
        prefix: None,
    };
    Ok(Reply::xml(list.to_xml()))
}

/// CreateBucket.
pub(crate) async fn create<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<Reply, Failure> {
    let bucket = rq
        .routed
        .bucket
        .as_ref()
        .ok_or_else(|| sealgate_s3::error::S3Error::new(ErrorCode::InvalidBucketName))?;
    bucket.check_new()?;
    let document = body.document(client, MAX_DOCUMENT).await?;
    if !document.is_empty() {
        CreateBucketConfiguration::parse(&document)?;
    }
    let mut headers = http::HeaderMap::new();
    for (name, value) in rq.headers {
        let text = name.as_str();
        if text == "x-amz-acl"
            || text.starts_with("x-amz-grant-")
            || text.starts_with("x-amz-bucket-")
            || text == "x-amz-object-ownership"
        {
            headers.append(name.clone(), value.clone());
        }
    }
    rq.store
        .create_bucket(bucket.as_str(), &headers, &document)
        .await?;
    Ok(Reply::ok().with(http::header::LOCATION, &format!("/{}", bucket.as_str())))
}

/// DeleteBucket. Staged parts, which no client can see, are of uploads that end with the bucket, or were left behind.
pub(crate) async fn delete<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let bucket = rq.bucket()?;
    match rq.store.delete_bucket(bucket).await {
        Err(BackendError::Answer(e))
            if e.code == ErrorCode::BucketNotEmpty
                && !list_objects::shows_any(rq, bucket).await?
                && !list_versions::shows_any(rq, bucket).await? =>
        {
            uploads::remove_all_staged(rq, bucket).await?;
            rq.store.delete_bucket(bucket).await?;
        }
        deleted => deleted?,
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// HeadBucket.
pub(crate) async fn head<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let headers = rq.store.head_bucket(rq.bucket()?).await?;
    let mut reply = Reply::ok().with_all(&headers);
    if !reply.headers.contains_key("x-amz-bucket-region") {
        let region = HeaderName::from_static("x-amz-bucket-region");
        set(&mut reply.headers, region, &rq.core.store_region);
    }
    Ok(reply)
}

/// GetBucketLocation.
pub(crate) async fn location<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let location = rq.store.bucket_location(rq.bucket()?).await?;
    Ok(Reply::xml(LocationConstraint(location).to_xml()))
}
