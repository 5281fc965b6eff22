//! GetObjectAttributes: what a HEAD says, and the parts and the checksum of the sealed trailer.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use sealgate_backend::Store;
use sealgate_backend::types::{Forward, Location, ObjectInfo};
use sealgate_envelope::{Layout, Trailer};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::S3Error;
use sealgate_s3::route::Operation;
use sealgate_s3::xml::{AttributeParts, ObjectAttributes, WantedAttributes};
use sealgate_uring::Connector;

use crate::checksums;
use crate::failure::Failure;
use crate::object::{
    client_etag, is_plaintext, plain_headers, read_conditions, read_failure, unseal,
};
use crate::ops::get_object::check;
use crate::parts;
use crate::pass::PLAINTEXT;
use crate::reply::{Reply, ReplyBody};
use crate::request::Request;

const MAX_PARTS: &str = "x-amz-max-parts";
const MARKER: &str = "x-amz-part-number-marker";
/// S3's limit on a page of parts.
const PAGE: u64 = 1000;

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let wanted = WantedAttributes::from_headers(rq.headers)?;
    let max_parts = number(rq.headers, MAX_PARTS)?.unwrap_or(PAGE).min(PAGE);
    let marker = number(rq.headers, MARKER)?.unwrap_or(0);
    if !rule.encrypt {
        return of_store(rq, &at, wanted).await;
    }
    let asked = Conditions::from_headers(rq.headers)?;
    let info = rq
        .store
        .head(&at, &read_conditions(&asked, rule))
        .await
        .map_err(read_failure)?;
    if is_plaintext(&info, rule) {
        return of_store(rq, &at, wanted).await;
    }
    let sealed = unseal(rq, &at, info).await?;
    check(&asked, &sealed.info)?;
    let mut attributes = ObjectAttributes {
        etag: wanted.etag.then(|| client_etag(&sealed.info.etag)),
        storage_class: wanted.storage_class.then(|| storage_class(&sealed.info)),
        size: wanted.size.then_some(sealed.plain_len),
        ..ObjectAttributes::default()
    };
    match sealed.envelope.fields.layout {
        Layout::Multipart if wanted.parts || wanted.checksum => {
            let map = parts::part_map(rq.core, &rq.store, &at, &sealed).await?;
            if wanted.parts {
                attributes.parts = Some(page(&map.trailer, marker, max_parts));
            }
            if wanted.checksum {
                attributes.checksums = checksums::shown(&map.trailer);
            }
        }
        Layout::Single { .. } | Layout::Empty { .. } if wanted.checksum => {
            let trailer = parts::trailer(rq.core, &rq.store, &at, &sealed).await?;
            attributes.checksums = checksums::shown(&trailer);
        }
        _ => {}
    }
    Ok(Reply::xml(attributes.to_xml()).with_all(&described(&sealed.info)))
}

/// A header's number.
fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, S3Error> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("");
    // `FromStr` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(n) if digits => Ok(Some(n)),
        _ => Err(S3Error::invalid_argument(
            format!("Provided {name} not an integer or within integer range"),
            name,
            String::from_utf8_lossy(value.as_bytes()),
        )),
    }
}

fn storage_class(info: &ObjectInfo) -> String {
    let class = info.headers.get("x-amz-storage-class");
    let class = class.and_then(|v| v.to_str().ok());
    class.unwrap_or("STANDARD").to_owned()
}

/// Parts are numbered by their place, as reads by part number have it.
fn page(trailer: &Trailer, marker: u64, max_parts: u64) -> AttributeParts {
    let total = trailer.parts().count() as u64;
    let parts: Vec<(u64, u64)> = (1..)
        .zip(trailer.parts().map(|part| part.len))
        .filter(|(number, _)| *number > marker)
        .take(usize::try_from(max_parts).unwrap_or(usize::MAX))
        .collect();
    let last = parts.last().map(|(number, _)| *number);
    AttributeParts {
        total,
        marker,
        next_marker: last.unwrap_or(0),
        max_parts,
        is_truncated: last.is_some_and(|last| last < total),
        parts,
    }
}

/// The headers of the answer.
fn described(info: &ObjectInfo) -> HeaderMap {
    let all = plain_headers(info);
    [
        header::LAST_MODIFIED,
        HeaderName::from_static("x-amz-version-id"),
    ]
    .into_iter()
    .filter_map(|name| Some((name.clone(), all.get(name)?.clone())))
    .collect()
}

/// Of an object that is not sealed: the store's own answer. A directory knows its parts and checksums no more.
async fn of_store<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    wanted: WantedAttributes,
) -> Result<Reply, Failure> {
    let mut reply = match rq.store {
        Store::S3(_) => forwarded(rq, at).await?,
        Store::Fs(_) => {
            let asked = Conditions::from_headers(rq.headers)?;
            let info = rq.store.head(at, &asked).await?;
            let attributes = ObjectAttributes {
                etag: wanted.etag.then(|| info.etag.clone()),
                storage_class: wanted.storage_class.then(|| storage_class(&info)),
                size: wanted.size.then_some(info.len),
                ..ObjectAttributes::default()
            };
            Reply::xml(attributes.to_xml()).with_all(&described(&info))
        }
    };
    if rq.rule_for(at)?.encrypt {
        reply
            .headers
            .insert(PLAINTEXT, HeaderValue::from_static("true"));
    }
    Ok(reply)
}

async fn forwarded<C: Connector>(rq: &Request<'_, C>, at: &Location) -> Result<Reply, Failure> {
    let mut headers = HeaderMap::with_capacity(4);
    for (name, value) in rq.headers {
        let text = name.as_str();
        if matches!(text, "x-amz-object-attributes" | MAX_PARTS | MARKER) || text.starts_with("if-")
        {
            headers.append(name.clone(), value.clone());
        }
    }
    let answer = rq
        .store
        .forward(Forward {
            operation: &Operation::GetObjectAttributes,
            method: Method::GET,
            bucket: &at.bucket,
            key: Some(&at.key),
            query: rq.routed.query.unsigned().collect(),
            headers,
            body: Vec::new(),
        })
        .await?;
    Ok(Reply {
        status: answer.status,
        headers: answer.headers,
        body: ReplyBody::Bytes(answer.body),
    })
}
