//! UploadPartCopy: bytes of an object become a part, opened and sealed anew on the way.

use sealgate_backend::types::{GetRequest, Location};
use sealgate_s3::checksum::{Checksum, Hasher};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::copy_source::copy_source_range;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::CopyResult;
use sealgate_uring::{BlockSize, Connector, Spans};

use crate::core::unix_seconds;
use crate::failure::Failure;
use crate::object::{Sealed, unseal};
use crate::ops::copy_object::{find_source, set_source_version};
use crate::ops::get_object::{Answer, open};
use crate::ops::upload_part::{check_len, put_part};
use crate::pass;
use crate::reply::{Reply, set_encryption};
use crate::request::Request;
use crate::seal::Source;
use crate::source::{FromSealed, FromStore, Summed};
use crate::uploads;

/// Which plaintext bytes of an object to read.
pub(crate) enum Range {
    Everything,
    Bytes(std::ops::Range<u64>),
}

/// Opens bytes of a sealed object as a source.
pub(crate) async fn open_source<'s, C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    sealed: &'s Sealed,
    range: Range,
) -> Result<FromSealed<'s, C>, Failure> {
    let range = match range {
        Range::Everything => 0..sealed.plain_len,
        Range::Bytes(range) => range,
    };
    let opening = open(rq, at, sealed, None, &Answer::of(range), 1).await?;
    let wait = rq.snapshot.timeouts.buffer_wait;
    let lease = rq.core.pool.lease::<1>(BlockSize::Medium, wait);
    let [block] = lease.await.map_err(|_| Failure::busy())?;
    Ok(FromSealed {
        opening,
        sealed,
        block: Some(block),
        ready: Spans::contiguous(0..0),
    })
}

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let number = uploads::part_number(rq)?;
    let of_source = rq.of_source()?;
    let found = find_source(&of_source).await?;
    let sealed = if found.sealed {
        Some(unseal(rq, &found.at, found.info.clone()).await?)
    } else {
        None
    };
    let len = sealed.as_ref().map_or(found.info.len, |s| s.plain_len);
    let range = match copy_source_range(rq.headers)? {
        None => 0..len,
        Some((first, last)) if last < len => first..last + 1,
        Some((first, last)) => {
            return Err(S3Error::with_message(
                ErrorCode::InvalidArgument,
                format!("Range specified is not valid for source object of size: {len}"),
            )
            .detail("ArgumentName", "x-amz-copy-source-range")
            .detail("ArgumentValue", format!("bytes={first}-{last}"))
            .into());
        }
    };
    let (etag, checksum) = match &sealed {
        Some(sealed) => {
            let mut source =
                open_source(&of_source, &found.at, sealed, Range::Bytes(range.clone())).await?;
            store(
                rq,
                &at,
                rule.encrypt,
                number,
                range.end - range.start,
                &mut source,
            )
            .await?
        }
        None => {
            let request = GetRequest {
                range: (!range.is_empty()).then_some((range.start, Some(range.end))),
                conditions: Conditions::if_match(found.info.etag.clone()),
            };
            let (_, _, body) = of_source.store.get(&found.at, &request).await?;
            let mut source = FromStore { body };
            store(
                rq,
                &at,
                rule.encrypt,
                number,
                range.end - range.start,
                &mut source,
            )
            .await?
        }
    };
    let result = CopyResult {
        etag,
        last_modified: unix_seconds() * 1000,
        checksum,
    };
    let mut reply = Reply::xml(result.to_part_xml());
    set_source_version(&mut reply.headers, &found.info);
    if rule.encrypt {
        set_encryption(&mut reply.headers, &rule.key);
    }
    Ok(reply)
}

/// Stores `len` bytes of `source` as a part: the ETag that the client sees, and the checksum that its upload is for.
async fn store<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    at: &Location,
    encrypt: bool,
    number: u16,
    len: u64,
    source: &mut S,
) -> Result<(String, Option<Checksum>), Failure> {
    check_len(len)?;
    if encrypt {
        let upload = uploads::open(rq, at).await?;
        let hasher = upload.declared.map(|d| Hasher::new(d.algorithm));
        let mut source = Summed { source, hasher };
        let (stored, known) = put_part(rq, at, &upload, number, len, &mut source).await?;
        return Ok((upload.part_etag(number, &stored, &known), known.checksum));
    }
    let upload = rq
        .store
        .put_part(at, rq.query("uploadId")?, number, len)
        .await?;
    Ok((pass::copy_into(rq, source, upload, len).await?.etag, None))
}
