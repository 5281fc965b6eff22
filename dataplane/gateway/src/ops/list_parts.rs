//! ListParts, with plaintext sizes.

use sealgate_backend::types::PartInfo;
use sealgate_envelope::law::stream_plain_len;
use sealgate_s3::xml::{ListPartsResult, PartEntry};
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::object::client_etag;
use crate::ops::buckets::owner;
use crate::ops::list_objects::{MAX_PAGE, page_size};
use crate::reply::Reply;
use crate::request::Request;
use crate::uploads::{self, LAST_PART};

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let query = &rq.routed.query;
    let marker = query.number::<u64>("part-number-marker")?.unwrap_or(0);
    let asked = page_size(query.number::<i64>("max-parts")?, "max-parts")?.min(MAX_PAGE);
    let after = u16::try_from(marker).unwrap_or(u16::MAX);
    let backend_id = if rule.encrypt {
        uploads::backend_id(rq, &at).await?
    } else {
        rq.query("uploadId")?.to_owned()
    };
    // Pages of the store shrink: by attempts at one part, by the end that a failed attempt to complete has left, which
    // is nobody's part. One more than asked for tells whether there is another page.
    let (mut parts, mut next, mut kept) = (Vec::new(), Some(after), http::HeaderMap::new());
    while let Some(from) = next
        && parts.len() <= asked
    {
        let page = rq
            .store
            .list_parts(&at, &backend_id, from, (asked + 1).min(MAX_PAGE))
            .await?;
        kept = page.headers;
        parts.extend(page.parts);
        parts.retain(|part| !(rule.encrypt && part.number == LAST_PART));
        parts = latest(parts);
        next = page.next.filter(|next| *next > from);
    }
    let mut more = next.is_some();
    if rule.encrypt {
        // Staged parts stand where their numbers are; one that was sent again whole is shown once.
        let end = if more {
            parts.last().map_or(after, |p| p.number)
        } else {
            u16::MAX
        };
        let staged = uploads::staged_parts(rq, &at, &backend_id).await?;
        for part in staged
            .into_iter()
            .filter(|p| p.number > after && p.number <= end)
        {
            match parts.binary_search_by_key(&part.number, |p| p.number) {
                Ok(i) if parts[i].last_modified <= part.last_modified => parts[i] = part,
                Ok(_) => {}
                Err(i) => parts.insert(i, part),
            }
        }
    }
    if parts.len() > asked {
        parts.truncate(asked);
        more = true;
    }
    let result = ListPartsResult {
        bucket: at.bucket.clone(),
        key: at.key.as_bytes().clone(),
        url_encoded: query.url_encoded()?,
        upload_id: rq.query("uploadId")?.to_owned(),
        owner: owner(),
        storage_class: Some("STANDARD".into()),
        part_number_marker: marker,
        next_part_number_marker: parts.last().map(|p| u64::from(p.number)),
        max_parts: asked as u64,
        is_truncated: more,
        parts: parts
            .into_iter()
            .map(|part| entry(part, rule.encrypt))
            .collect(),
    };
    Ok(Reply::xml(result.to_xml()).with_all(&kept))
}

/// Each number once, its latest attempt: some stores list them all (SeaweedFS).
fn latest(mut parts: Vec<PartInfo>) -> Vec<PartInfo> {
    parts.sort_by_key(|part| (part.number, std::cmp::Reverse(part.last_modified)));
    parts.dedup_by_key(|part| part.number);
    parts
}

fn entry(part: PartInfo, sealed: bool) -> PartEntry {
    let plain = stream_plain_len(part.len).filter(|_| sealed);
    PartEntry {
        number: part.number,
        last_modified: part.last_modified,
        etag: if sealed {
            client_etag(&part.etag)
        } else {
            part.etag
        },
        checksum: None,
        size: plain.unwrap_or(part.len),
    }
}
