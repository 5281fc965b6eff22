//! HeadObject: what a GET would say, without the bytes.

use sealgate_s3::conditions::Conditions;
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::object::{is_plaintext, read_conditions, read_failure, unseal};
use crate::ops::get_object::{self, Wanted};
use crate::pass;
use crate::reply::{Reply, ReplyBody};
use crate::request::Request;

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let asked = Conditions::from_headers(rq.headers)?;
    if !rule.encrypt {
        return pass::head(rq, &at, &asked).await;
    }
    let wanted = Wanted::of(rq)?;
    let info = rq
        .store
        .head(&at, &read_conditions(&asked, rule))
        .await
        .map_err(read_failure)?;
    if is_plaintext(&info, rule) {
        return pass::head(rq, &at, &asked).await;
    }
    let sealed = unseal(rq, &at, info).await?;
    get_object::check(&asked, &sealed.info)?;
    let answer = get_object::locate(rq, &at, &sealed, &wanted).await?;
    let mut headers = sealed.client_headers()?;
    answer.describe(&mut headers, sealed.plain_len);
    get_object::add_checksum(rq, &at, &sealed, &answer, None, &mut headers).await?;
    get_object::override_headers(rq, &mut headers)?;
    Ok(Reply {
        status: answer.status,
        headers,
        body: ReplyBody::HeadOf(answer.len()),
    })
}
