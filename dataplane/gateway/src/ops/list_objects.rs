//! ListObjects and ListObjectsV2, with plaintext sizes.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sealgate_backend::types::{ListPage, ListRequest, Location};
use sealgate_envelope::law::{CipherLen, listed_plain_len};
use sealgate_envelope::{BackendEtag, Envelope};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::S3Error;
use sealgate_s3::route::{Operation, RawKey};
use sealgate_s3::xml::{Contents, ListObjectsResult, Paging};
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::marker;
use crate::object::{ENVELOPE, client_etag, plain_len};
use crate::reply::Reply;
use crate::request::{Request, STAGING_PREFIX};
use crate::snapshot::{BucketRule, Listing};

/// S3's limit on a page.
pub(crate) const MAX_PAGE: usize = 1000;
/// HEADs under way at once in a `verify` listing.
pub(crate) const VERIFY_CONCURRENCY: usize = 16;
/// The last of all characters: appended to a prefix, it comes after every key under it.
pub(crate) const AFTER_ALL: &str = "\u{10FFFF}";

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let query = &rq.routed.query;
    let v2 = rq.routed.operation == Operation::ListObjectsV2;
    let url_encoded = query.url_encoded()?;
    let asked = page_size(query.number::<i64>("max-keys")?, "max-keys")?;
    let text = |name| Bytes::copy_from_slice(query.get(name).unwrap_or("").as_bytes());
    let (prefix, delimiter) = (text("prefix"), text("delimiter"));
    let start_after = text(if v2 { "start-after" } else { "marker" });
    let token = query
        .get("continuation-token")
        .filter(|_| v2)
        .map(str::to_owned);
    let mut request = ListRequest {
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        start_after: if token.is_some() {
            Bytes::new()
        } else if v2 {
            start_after.clone()
        } else {
            after_marker(&start_after, &prefix, &delimiter)
        },
        continuation: token.clone(),
        max_keys: asked.min(MAX_PAGE),
        fetch_owner: !v2 || query.get("fetch-owner") == Some("true"),
    };
    let bucket = rq.bucket()?;
    let page = if asked == 0 {
        rq.store.head_bucket(bucket).await?;
        ListPage::default()
    } else {
        visible_page(rq, bucket, &mut request).await?
    };
    let truncated = page.next.is_some();
    let last = last_of(&page);
    let count = (page.objects.len() + page.common_prefixes.len()) as u64;
    let paging = if v2 {
        Paging::V2 {
            start_after: (!start_after.is_empty()).then_some(start_after),
            continuation_token: token,
            next_continuation_token: page.next,
            key_count: count,
        }
    } else {
        Paging::V1 {
            marker: start_after,
            next_marker: last.filter(|_| truncated),
        }
    };
    let mut result = ListObjectsResult {
        name: bucket.to_owned(),
        prefix,
        delimiter,
        max_keys: asked.min(MAX_PAGE) as u64,
        url_encoded,
        is_truncated: truncated,
        paging,
        contents: page.objects,
        common_prefixes: page.common_prefixes,
    };
    let rules = rq.snapshot.rules(bucket);
    if result.contents.iter().any(|o| verifies(rules.of(&o.key))) {
        result.contents = verified(rq, bucket, result.contents).await?;
        return Ok(Reply::xml(result.to_xml()));
    }
    for object in &mut result.contents {
        object.size = computed(rules.of(&object.key), object.size).size;
    }
    Ok(Reply::xml(result.to_xml_with(|object| {
        let etag = object.etag.as_bytes();
        if is_sealed(rules.of(&object.key)) {
            BackendEtag::client_pieces(etag)
        } else {
            [etag, b"", b"", b""]
        }
    })))
}

/// A page size as S3 reads it: 1,000 when absent, refused when negative.
pub(crate) fn page_size(asked: Option<i64>, name: &'static str) -> Result<usize, S3Error> {
    match asked {
        None => Ok(MAX_PAGE),
        Some(n) => usize::try_from(n).map_err(|_| {
            S3Error::invalid_argument(
                format!("Argument {name} must be an integer between 0 and 2147483647"),
                name,
                n.to_string(),
            )
        }),
    }
}

/// A version 1 marker that is a rolled-up prefix means everything under it.
pub(crate) fn after_marker(marker: &Bytes, prefix: &Bytes, delimiter: &Bytes) -> Bytes {
    let rolled_up = !delimiter.is_empty()
        && marker.len() > prefix.len()
        && marker.starts_with(prefix)
        && marker.ends_with(delimiter);
    if rolled_up {
        Bytes::from([&marker[..], AFTER_ALL.as_bytes()].concat())
    } else {
        marker.clone()
    }
}

fn last_of(page: &ListPage) -> Option<Bytes> {
    let object = page.objects.last().map(|o| &o.key);
    object.max(page.common_prefixes.last()).cloned()
}

/// The next page without the gateway's own objects. A page that held nothing else is passed over whole, so that no
/// client meets an empty page in the middle of a listing (S3-TRAPS 15).
async fn visible_page<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    request: &mut ListRequest,
) -> Result<ListPage, Failure> {
    loop {
        let mut page = rq.store.list(bucket, request).await?;
        let before = page.objects.len() + page.common_prefixes.len();
        let hidden = STAGING_PREFIX.as_bytes();
        page.objects.retain(|o| !o.key.starts_with(hidden));
        page.common_prefixes.retain(|p| !p.starts_with(hidden));
        let after = page.objects.len() + page.common_prefixes.len();
        if after > 0 || before == 0 || page.next.is_none() {
            return Ok(page);
        }
        request.continuation = None;
        request.start_after = Bytes::from(format!("{STAGING_PREFIX}{AFTER_ALL}"));
    }
}

/// Whether clients see any object in a bucket.
pub(crate) async fn shows_any<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
) -> Result<bool, Failure> {
    let mut request = ListRequest {
        max_keys: 1,
        ..ListRequest::default()
    };
    let page = visible_page(rq, bucket, &mut request).await?;
    Ok(!page.objects.is_empty())
}

/// What clients see of listed objects, where some of them are asked for one by one.
async fn verified<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    objects: Vec<Contents>,
) -> Result<Vec<Contents>, Failure> {
    stream::iter(objects)
        .map(|mut object| async move {
            let seen = seen(rq, bucket, &object.key, None, object.size).await?;
            object.size = seen.size;
            if seen.sealed {
                object.etag = client_etag(&object.etag).into();
            }
            Ok(object)
        })
        .buffered(VERIFY_CONCURRENCY)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect()
}

/// What a client sees of a stored object.
pub(crate) struct Seen {
    /// Bytes.
    pub(crate) size: u64,
    /// Whether it is taken for a sealed one, so that its ETag has the client's form.
    pub(crate) sealed: bool,
}

/// Whether sizes at a key with this rule are learned by a HEAD of each object.
fn verifies(rule: Option<&BucketRule>) -> bool {
    rule.is_some_and(|rule| rule.encrypt && rule.listing == Listing::Verify)
}

/// Whether an object at a key with this rule is taken for a sealed one.
fn is_sealed(rule: Option<&BucketRule>) -> bool {
    rule.is_none_or(|rule| rule.encrypt)
}

/// What a client sees of a stored object of `len` bytes, or of a version of it, the way the bucket's rule says.
pub(crate) async fn seen<C: Connector>(
    rq: &Request<'_, C>,
    bucket: &str,
    key: &Bytes,
    version: Option<&str>,
    len: u64,
) -> Result<Seen, Failure> {
    let rule = rq.snapshot.rule(bucket, key);
    if !verifies(rule) {
        return Ok(computed(rule, len));
    }
    let at = Location {
        bucket: bucket.to_owned(),
        key: RawKey::new(key.clone())?,
        version: version.map(str::to_owned),
    };
    let info = match rq.store.head(&at, &Conditions::default()).await {
        Ok(info) => info,
        // Deleted since it was listed: it is shown as it was.
        Err(_) => return Ok(computed(rule, len)),
    };
    let envelope = info.headers.get(&ENVELOPE);
    let plain = match envelope.and_then(|v| Envelope::decode(v.as_bytes()).ok()) {
        Some(envelope) => plain_len(&envelope, info.len).ok(),
        None => marker::is_bare(rq, &at, &info).then_some(0),
    };
    Ok(Seen {
        size: plain.unwrap_or(len),
        sealed: plain.is_some(),
    })
}

/// By the size law.
fn computed(rule: Option<&BucketRule>, len: u64) -> Seen {
    let sealed = is_sealed(rule);
    let plain = listed_plain_len(CipherLen(len)).filter(|_| sealed);
    Seen {
        size: plain.map_or(len, |p| p.0),
        sealed,
    }
}
