//! Operations that concern no object's bytes: sub-resources of buckets and objects, passed to the store as they came.

use http::{HeaderMap, Method};
use sealgate_backend::types::Forward;
use sealgate_uring::{Connector, Transport};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::reply::{Reply, ReplyBody};
use crate::request::Request;

/// Longest document, bytes: S3's largest, a replication configuration, has 2 MB.
const MAX_DOCUMENT: usize = 2 << 20;

/// Headers with a meaning for the store, besides S3's own.
const PASSED: [&str; 2] = ["content-type", "accept"];

/// S3's own that end here: of the signature and of the document's checksums, which have been verified (the store gets the
/// document's MD5), and those that go with every request to the store anyway.
const ENDED: [&str; 11] = [
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-algorithm",
    "x-amz-id-2",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
];

pub(crate) async fn run<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    method: &Method,
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<Reply, Failure> {
    // Before the body: an object of the gateway's own, or one that no rule covers, has no sub-resources.
    if rq.routed.key.is_some() {
        rq.rule_for(&rq.location()?)?;
    }
    let document = body.document(client, MAX_DOCUMENT).await?;
    let has_document = matches!(*method, Method::PUT | Method::POST);
    let answer = rq
        .store
        .forward(Forward {
            operation: &rq.routed.operation,
            method: method.clone(),
            bucket: rq.bucket()?,
            key: rq.routed.key.as_ref(),
            query: rq.routed.query.unsigned().collect(),
            headers: passed(rq.headers),
            // Nothing else has one; what came all the same was verified.
            body: if has_document { document } else { Vec::new() },
        })
        .await?;
    Ok(Reply {
        status: answer.status,
        headers: answer.headers,
        body: ReplyBody::Bytes(answer.body),
    })
}

/// The headers of a request that concern the store.
fn passed(client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    for (name, value) in client {
        let text = name.as_str();
        let own = text.starts_with("x-amz-")
            && !text.starts_with("x-amz-checksum-")
            && !ENDED.contains(&text);
        if own || PASSED.contains(&text) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_stores_headers_are_passed_and_the_signatures_are_not() {
        let mut client = HeaderMap::new();
        for name in [
            "host",
            "authorization",
            "x-amz-date",
            "x-amz-content-sha256",
            "x-amz-security-token",
            "x-amz-checksum-crc32",
            "x-amz-acl",
            "x-amz-grant-read",
            "x-amz-mfa",
            "x-amz-bypass-governance-retention",
            "content-md5",
            "content-length",
            "content-type",
            "connection",
        ] {
            client.append(name, HeaderValue::from_static("v"));
        }
        let passed = passed(&client);
        let mut names: Vec<_> = passed.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-type",
                "x-amz-acl",
                "x-amz-bypass-governance-retention",
                "x-amz-grant-read",
                "x-amz-mfa",
            ]
        );
    }
}
