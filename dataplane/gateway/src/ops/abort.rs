//! AbortMultipartUpload.

use http::StatusCode;
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::uploads;

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let backend_id = uploads::backend_id(rq, &at).await?;
    rq.store.abort_upload(&at, &backend_id).await?;
    let staged = uploads::staged_parts(rq, &at, &backend_id).await?;
    uploads::remove_staged(rq, &at, &backend_id, &staged).await;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
