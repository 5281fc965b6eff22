//! Buckets themselves.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::HeaderName;
use sealgate_backend::types::BackendError;
use sealgate_s3::error::{ErrorCode, S3Error};
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
/// Most buckets that a client may ask for at once.
const MAX_BUCKETS: i64 = 10_000;

pub(crate) fn owner() -> Owner {
    Owner {
        id: "sealgate".into(),
        display_name: "sealgate".into(),
    }
}

/// ListBuckets.
pub(crate) async fn list<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let query = &rq.routed.query;
    let most = match query.number::<i64>("max-buckets")? {
        None => None,
        Some(n) if (1..=MAX_BUCKETS).contains(&n) => usize::try_from(n).ok(),
        Some(n) => {
            return Err(S3Error::invalid_argument(
                format!("Argument max-buckets must be an integer between 1 and {MAX_BUCKETS}"),
                "max-buckets",
                n.to_string(),
            )
            .into());
        }
    };
    let prefix = query.get("prefix").filter(|p| !p.is_empty());
    // A page begins after the bucket that its token names.
    let after = match query.get("continuation-token") {
        None => String::new(),
        Some(token) => opened(token).ok_or_else(|| {
            let wrong = "The continuation token provided is incorrect";
            S3Error::invalid_argument(wrong, "continuation-token", token)
        })?,
    };
    let (of_store, mut buckets) = rq.store.list_buckets().await?;
    let operation = &rq.routed.operation;
    buckets.retain(|b| {
        b.name > after
            && prefix.is_none_or(|p| b.name.starts_with(p))
            && rq
                .credential
                .is_some_and(|c| c.allows_any(operation, &b.name))
    });
    buckets.sort_by(|a, b| a.name.cmp(&b.name));
    let is_truncated = most.is_some_and(|n| buckets.len() > n);
    buckets.truncate(most.unwrap_or(usize::MAX));
    let last = buckets.last().filter(|_| is_truncated);
    let list = ListAllMyBuckets {
        // Clients write it into ACLs, so it is the store's.
        owner: of_store.unwrap_or_else(owner),
        continuation_token: last.map(|b| URL_SAFE_NO_PAD.encode(&b.name)),
        buckets: buckets
            .into_iter()
            .map(|b| BucketEntry {
                name: b.name,
                created: b.created,
                region: b.region,
            })
            .collect(),
        prefix: prefix.map(str::to_owned),
    };
    Ok(Reply::xml(list.to_xml()))
}

/// The bucket's name in a token of [`list`].
fn opened(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
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
        .ok_or_else(|| S3Error::new(ErrorCode::InvalidBucketName))?;
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
    let kept = rq
        .store
        .create_bucket(bucket.as_str(), &headers, &document)
        .await?;
    let location = format!("/{}", bucket.as_str());
    Ok(Reply::ok()
        .with(http::header::LOCATION, &location)
        .with_all(&kept))
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
