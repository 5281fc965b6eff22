//! DeleteObject, of what is newest or of one version.

use http::StatusCode;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::object::store_conditions;
use crate::reply::Reply;
use crate::request::Request;

/// Conditions that S3 itself has in directory buckets only; what they would compare, a store knows of the ciphertext.
const NOT_HERE: [&str; 2] = ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"];

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    if let Some(name) = NOT_HERE.iter().find(|n| rq.headers.contains_key(**n)) {
        return Err(S3Error::with_message(
            ErrorCode::NotImplemented,
            format!("The condition {name} is not supported; If-Match is."),
        )
        .detail("Header", *name)
        .into());
    }
    let conditions = store_conditions(&Conditions::from_headers(rq.headers)?, rule);
    let headers = rq.store.delete(&at, &conditions).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT).with_all(&headers))
}
