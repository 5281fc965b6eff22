//! DeleteObject.

use http::StatusCode;
use sealgate_s3::conditions::Conditions;
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::object::store_conditions;
use crate::reply::Reply;
use crate::request::Request;

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let conditions = store_conditions(&Conditions::from_headers(rq.headers)?, rule);
    let headers = rq.store.delete(&at, &conditions).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT).with_all(&headers))
}
