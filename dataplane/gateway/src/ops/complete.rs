//! CompleteMultipartUpload: checks the client's list, writes the object's trailer as the last part, completes.

use std::collections::HashMap;

use sealgate_backend::types::{
    BackendError, CompletedPart, GetRequest, Location, PartInfo, Stored,
};
use sealgate_envelope::law::stream_plain_len;
use sealgate_envelope::{Checksums, Envelope, Trailer, TrailerWriter};
use sealgate_s3::checksum::{Algorithm, Checksum};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::{CompleteMultipartUpload, CompleteMultipartUploadResult};
use sealgate_uring::{BlockSize, Connector, Spans, Transport};

use crate::body::Body;
use crate::checksums::{self, PartSum};
use crate::client::Client;
use crate::failure::Failure;
use crate::object::{ENVELOPE, client_etag, store_conditions, store_etag};
use crate::ops::MAX_PAGE;
use crate::ops::post_object::location;
use crate::reply::{Reply, set_encryption};
use crate::request::Request;
use crate::uploads::{self, LAST_PART, MINIMUM_PART, Upload};

/// 10,000 parts with ETags and checksums.
const MAX_DOCUMENT: usize = 4 << 20;

const DECLARED_SIZE: &str = "x-amz-mp-object-size";

/// A part that the client chose.
struct Chosen {
    number: u16,
    plain_len: u64,
    stored: PartInfo,
    staged: bool,
}

/// Reads the client's list.
pub(crate) async fn read<T: Transport>(
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<CompleteMultipartUpload, Failure> {
    let document = body.document(client, MAX_DOCUMENT).await?;
    let list = CompleteMultipartUpload::parse(&document)?;
    if list.parts.is_empty() {
        return Err(S3Error::new(ErrorCode::MalformedXML).into());
    }
    if !list.parts.is_sorted_by(|a, b| a.number < b.number) {
        return Err(S3Error::new(ErrorCode::InvalidPartOrder).into());
    }
    Ok(list)
}

pub(crate) async fn run<C: Connector>(
    rq: &Request<'_, C>,
    list: &CompleteMultipartUpload,
) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let conditions = store_conditions(&Conditions::from_headers(rq.headers)?, rule);
    let (stored, checksum) = if rule.encrypt {
        let upload = uploads::open(rq, &at).await?;
        complete(rq, &at, &upload, list, &conditions).await?
    } else {
        checksums::refuse_claims(rq.headers)?;
        check_stored_size(rq, &at, list).await?;
        let id = rq.query("uploadId")?;
        let parts = parts_as_listed(rq, &at, id, list).await?;
        let stored = rq.store.complete_upload(&at, id, &parts, &conditions);
        (stored.await?, None)
    };
    let result = CompleteMultipartUploadResult {
        location: location(rq.headers, &at.bucket, &at.key.encoded()),
        bucket: at.bucket.clone(),
        key: at.key.as_bytes().clone(),
        etag: if rule.encrypt {
            client_etag(&stored.etag)
        } else {
            stored.etag
        },
        checksum,
    };
    let mut reply = Reply::xml(result.to_xml()).with_all(&stored.headers);
    if rule.encrypt {
        set_encryption(&mut reply.headers, &rule.key);
    }
    Ok(reply)
}

async fn complete<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    upload: &Upload,
    list: &CompleteMultipartUpload,
    conditions: &Conditions,
) -> Result<(Stored, Option<Shown>), Failure> {
    let (list, proved) = untagged(upload, list);
    let uploaded = match uploaded_parts(rq, at, &upload.backend_id).await {
        // An attempt to complete that failed has left its end there.
        Ok(mut parts) => {
            parts.retain(|p| p.number != LAST_PART);
            parts
        }
        Err(e) => return Ok((completed_before(rq, at, upload, e).await?, None)),
    };
    let staged = uploads::staged_parts(rq, at, &upload.backend_id).await?;
    let chosen = choose(&list, &uploaded, &staged)?;
    check_declared_size(rq, chosen.iter().map(|part| part.plain_len).sum())?;
    let sums: Vec<PartSum> = chosen
        .iter()
        .zip(&list.parts)
        .zip(proved)
        .map(|((chosen, asked), proved)| PartSum {
            number: chosen.number,
            len: chosen.plain_len,
            proved,
            claimed: asked.checksum.clone(),
        })
        .collect();
    let (mut kept, mut shown) = (Checksums::none(), None);
    if let Some((sum, composite)) = checksums::of_parts(rq.headers, upload.declared, &sums)? {
        kept.insert(checksums::for_format(&sum, composite));
        let value = sum.to_base64();
        shown = Some(match composite {
            true => (
                sum.algorithm(),
                format!("{value}-{}", sums.len()),
                "COMPOSITE",
            ),
            false => (sum.algorithm(), value, "FULL_OBJECT"),
        });
    }
    let trailer = Trailer::multipart(
        chosen.iter().map(|part| (part.number, part.plain_len)),
        kept,
    )
    .map_err(|e| {
        Failure::new(
            ErrorCode::InvalidRequest,
            format!("The parts make no object: {e}."),
        )
    })?;
    let mut parts: Vec<CompletedPart> = chosen
        .iter()
        .filter(|part| !part.staged)
        .map(|part| CompletedPart {
            number: part.number,
            etag: part.stored.etag.clone(),
            checksum: part.stored.checksum,
        })
        .collect();
    // The number that no part of the client's has in the store: should this attempt fail, nothing of theirs is gone.
    let mut number = LAST_PART;
    let following = follows(&parts);
    let stored = loop {
        let object_id = &upload.envelope.fields.object_id;
        let writer = trailer.seal(&upload.dek, object_id, rq.core.random.bytes());
        parts.push(put_end(rq, at, upload, &chosen, writer, number).await?);
        let completed = rq
            .store
            .complete_upload(at, &upload.backend_id, &parts, conditions);
        match (completed.await, following) {
            (Ok(stored), _) => break stored,
            // Some want numbers without a gap: AWS documents it of parts that have checksums other than CRC-64/NVME.
            (Err(BackendError::Answer(e)), Some(next))
                if e.code == ErrorCode::InvalidPartOrder && number != next =>
            {
                parts.pop();
                number = next;
            }
            (Err(e), _) => return Ok((completed_before(rq, at, upload, e).await?, shown)),
        }
    };
    uploads::remove_staged(rq, at, &upload.backend_id, &staged).await;
    Ok((stored, shown))
}

/// An object's checksum as the answer shows it: algorithm, value, type.
type Shown = (Algorithm, String, &'static str);

/// The client's list with plain ETags, and what they carried.
fn untagged(
    upload: &Upload,
    list: &CompleteMultipartUpload,
) -> (CompleteMultipartUpload, Vec<Option<Checksum>>) {
    let mut list = list.clone();
    let proved = list.parts.iter_mut().map(|part| {
        let (etag, proved) = upload.open_part_etag(part.number, &part.etag);
        part.etag = etag;
        proved
    });
    let proved = proved.collect();
    (list, proved)
}

/// The client's list for the store, where objects are not encrypted.
async fn parts_as_listed<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    id: &str,
    list: &CompleteMultipartUpload,
) -> Result<Vec<CompletedPart>, Failure> {
    // The store wants its checksums back, which the client has never seen.
    let uploaded = match rq.store.sends_checksums() {
        true => uploaded_parts(rq, at, id).await?,
        false => Vec::new(),
    };
    let uploaded = index(&uploaded);
    let parts = list.parts.iter().map(|part| CompletedPart {
        number: part.number,
        etag: part.etag.clone(),
        checksum: uploaded
            .get(&(part.number, part.etag.as_str()))
            .and_then(|stored| stored.checksum),
    });
    Ok(parts.collect())
}

/// `x-amz-mp-object-size` where objects are not encrypted.
async fn check_stored_size<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    list: &CompleteMultipartUpload,
) -> Result<(), Failure> {
    if !rq.headers.contains_key(DECLARED_SIZE) {
        return Ok(());
    }
    let uploaded = uploaded_parts(rq, at, rq.query("uploadId")?).await?;
    let uploaded = index(&uploaded);
    let lens = list.parts.iter().filter_map(|part| {
        let stored = uploaded.get(&(part.number, part.etag.as_str()));
        stored.map(|stored| stored.len)
    });
    check_declared_size(rq, lens.sum())
}

async fn uploaded_parts<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    backend_id: &str,
) -> Result<Vec<PartInfo>, BackendError> {
    let mut parts = Vec::new();
    let mut after = 0;
    loop {
        let page = rq.store.list_parts(at, backend_id, after, MAX_PAGE).await?;
        parts.extend(page.parts);
        match page.next {
            Some(next) => after = next,
            None => return Ok(parts),
        }
    }
}

fn index(parts: &[PartInfo]) -> HashMap<(u16, &str), &PartInfo> {
    parts
        .iter()
        .map(|part| ((part.number, part.etag.as_str()), part))
        .collect()
}

/// Matches the client's list with what was uploaded. The client's list is the object: it may leave parts out.
fn choose(
    list: &CompleteMultipartUpload,
    uploaded: &[PartInfo],
    staged: &[PartInfo],
) -> Result<Vec<Chosen>, Failure> {
    // Some stores list every attempt at a part, so the ETag is part of its name here (SeaweedFS).
    let (uploaded, staged) = (index(uploaded), index(staged));
    let last = list.parts.len() - 1;
    let mut chosen = Vec::with_capacity(list.parts.len());
    for (i, asked) in list.parts.iter().enumerate() {
        let etag = store_etag(&asked.etag);
        let name = (asked.number, etag.as_str());
        let (stored, is_staged) = match (staged.get(&name), uploaded.get(&name)) {
            (Some(&part), _) => (part.clone(), true),
            (None, Some(&part)) => (part.clone(), false),
            (None, None) => {
                return Err(S3Error::new(ErrorCode::InvalidPart)
                    .detail("PartNumber", asked.number.to_string())
                    .detail("ETag", asked.etag.clone())
                    .into());
            }
        };
        let plain_len = stream_plain_len(stored.len).ok_or_else(|| {
            Failure::tampered(format_args!("part {} has no possible length", asked.number))
        })?;
        if i < last && plain_len < MINIMUM_PART {
            return Err(S3Error::new(ErrorCode::EntityTooSmall)
                .detail("PartNumber", asked.number.to_string())
                .detail("MinSizeAllowed", MINIMUM_PART.to_string())
                .into());
        }
        chosen.push(Chosen {
            number: asked.number,
            plain_len,
            stored,
            staged: is_staged,
        });
    }
    Ok(chosen)
}

/// `x-amz-mp-object-size`: what the client believes it has uploaded.
fn check_declared_size<C: Connector>(rq: &Request<'_, C>, total: u64) -> Result<(), Failure> {
    let Some(declared) = rq.headers.get(DECLARED_SIZE) else {
        return Ok(());
    };
    let declared = declared.to_str().unwrap_or("");
    if declared.parse() == Ok(total) {
        return Ok(());
    }
    if declared.starts_with('-') {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!("Value for {DECLARED_SIZE} header is less than zero: '{declared}'"),
        ));
    }
    Err(Failure::new(
        ErrorCode::InvalidRequest,
        format!("The parts hold {total} bytes, which is not what x-amz-mp-object-size says."),
    ))
}

/// The number after those of `parts`, if they begin at 1 and leave none out.
fn follows(parts: &[CompletedPart]) -> Option<u16> {
    let next = u16::try_from(parts.len() + 1).ok()?;
    (1..next)
        .eq(parts.iter().map(|part| part.number))
        .then_some(next)
}

/// Writes the object's end as the store's last part, with this number: the client's last part, if it was staged, then the trailer.
async fn put_end<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    upload: &Upload,
    chosen: &[Chosen],
    mut trailer: TrailerWriter,
    number: u16,
) -> Result<CompletedPart, Failure> {
    let Some(last) = chosen.last() else {
        return Err(S3Error::new(ErrorCode::MalformedXML).into());
    };
    let staged_len = if last.staged { last.stored.len } else { 0 };
    let len = staged_len + trailer.remaining();
    let size = BlockSize::holding(usize::try_from(len).unwrap_or(usize::MAX));
    let wait = rq.snapshot.timeouts.buffer_wait;
    let [mut block] = rq
        .core
        .pool
        .lease::<1>(size, wait)
        .await
        .map_err(|_| Failure::busy())?;
    let mut source = None;
    if last.staged {
        let place = uploads::staged_at(at, &upload.backend_id, last.number)?;
        let request = GetRequest {
            range: None,
            conditions: Conditions::if_match(last.stored.etag.clone()),
        };
        source = Some(rq.store.get(&place, &request).await?.2);
    }
    let mut to_store = rq
        .store
        .put_part(at, &upload.backend_id, number, len)
        .await?;
    let mut staged_left = staged_len;
    loop {
        let mut have = 0;
        while have < block.len() && staged_left > 0 {
            let Some(body) = source.as_mut() else { break };
            let room = usize::try_from(staged_left)
                .unwrap_or(usize::MAX)
                .min(block.len() - have);
            let (got, back) = body.read(block, Spans::contiguous(have..have + room)).await;
            block = back;
            match got? {
                0 => return Err(Failure::tampered("a staged part is cut")),
                n => {
                    have += n;
                    staged_left -= n as u64;
                }
            }
        }
        have += trailer.fill(&mut block[have..]);
        if staged_left == 0 && trailer.remaining() == 0 {
            let (stored, _) = to_store.finish(block, Spans::contiguous(0..have)).await;
            let stored = stored?;
            return Ok(CompletedPart {
                number,
                etag: stored.etag,
                checksum: stored.checksum,
            });
        }
        let (written, back) = to_store.write(block, Spans::contiguous(0..have)).await;
        block = back;
        written?;
    }
}

/// A Complete that fails may have taken effect already, by an earlier attempt whose answer was lost: if the object that
/// is there now is this upload's, that is a success (S3-TRAPS 11, 32).
async fn completed_before<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    upload: &Upload,
    error: BackendError,
) -> Result<Stored, Failure> {
    let may_be = match &error {
        BackendError::Answer(e) => matches!(
            e.code,
            ErrorCode::NoSuchUpload
                // RGW, of the parts of an upload that is no more.
                | ErrorCode::NoSuchKey
                | ErrorCode::InternalError
                | ErrorCode::InvalidPart
                // The condition is on what this upload has made.
                | ErrorCode::PreconditionFailed
        ),
        _ => true,
    };
    if may_be
        && let Ok(info) = rq.store.head(at, &Conditions::default()).await
        && let Some(envelope) = info.headers.get(&ENVELOPE)
        && let Ok(envelope) = Envelope::decode(envelope.as_bytes())
        && envelope.fields.object_id == upload.envelope.fields.object_id
    {
        let mut headers = http::HeaderMap::new();
        if let Some(version) = info.headers.get("x-amz-version-id") {
            headers.insert("x-amz-version-id", version.clone());
        }
        return Ok(Stored {
            etag: info.etag,
            checksum: None,
            headers,
        });
    }
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use sealgate_envelope::law::stream_len;

    use super::*;

    fn part(number: u16, etag: &str, plain: u64) -> PartInfo {
        PartInfo {
            number,
            len: stream_len(plain),
            etag: etag.into(),
            checksum: None,
            last_modified: 0,
        }
    }

    fn list(parts: &[(u16, &str)]) -> CompleteMultipartUpload {
        CompleteMultipartUpload {
            parts: parts
                .iter()
                .map(|(number, etag)| sealgate_s3::xml::CompletedPart {
                    number: *number,
                    etag: format!("{etag}-0"),
                    checksum: None,
                })
                .collect(),
        }
    }

    fn chosen(
        asked: &[(u16, &str)],
        uploaded: &[PartInfo],
        staged: &[PartInfo],
    ) -> Result<Vec<(u16, u64, bool)>, String> {
        choose(&list(asked), uploaded, staged)
            .map(|parts| {
                parts
                    .iter()
                    .map(|part| (part.number, part.plain_len, part.staged))
                    .collect()
            })
            .map_err(|failure| failure.describe())
    }

    #[test]
    fn the_etag_decides_among_attempts_whatever_their_order() {
        let (old, new) = (
            part(1, "old", MINIMUM_PART),
            part(1, "new", MINIMUM_PART + 5),
        );
        let end = [part(2, "end", 7)];
        for uploaded in [[old.clone(), new.clone()], [new, old]] {
            let found = chosen(&[(1, "new"), (2, "end")], &uploaded, &end);
            assert_eq!(found, Ok(vec![(1, MINIMUM_PART + 5, false), (2, 7, true)]));
        }
    }

    #[test]
    fn what_was_not_uploaded_or_is_too_small_is_refused() {
        let uploaded = [part(1, "a", MINIMUM_PART), part(2, "b", MINIMUM_PART)];
        assert!(
            chosen(&[(1, "b")], &uploaded, &[])
                .unwrap_err()
                .contains("InvalidPart")
        );
        assert!(
            chosen(&[(3, "a")], &uploaded, &[])
                .unwrap_err()
                .contains("InvalidPart")
        );
        let small = [part(1, "s", MINIMUM_PART - 1)];
        let refused = chosen(&[(1, "s"), (2, "b")], &uploaded, &small);
        assert!(refused.unwrap_err().contains("EntityTooSmall"));
        assert_eq!(
            chosen(&[(2, "b")], &uploaded, &[]),
            Ok(vec![(2, MINIMUM_PART, false)])
        );
    }
}
