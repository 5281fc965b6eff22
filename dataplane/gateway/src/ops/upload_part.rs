//! UploadPart.

use sealgate_backend::types::{Location, Stored};
use sealgate_envelope::law::{MAX_PART_LEN, stream_len};
use sealgate_envelope::{StreamContext, StreamSealer, TrailerWriter};
use sealgate_s3::checksum::Known;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::{Connector, Transport};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::ops::put_object::stored_reply;
use crate::pass;
use crate::reply::{Reply, set_etag};
use crate::request::Request;
use crate::seal::{FromClient, Source, Tail, lease, seal_into};
use crate::uploads::{self, LAST_PART, Upload};

pub(crate) async fn run<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let number = uploads::part_number(rq)?;
    let len = body.len()?;
    check_len(len)?;
    if !rule.encrypt {
        let mut source = FromClient::new(client, body, rq.snapshot.timeouts);
        let id = rq.query("uploadId")?;
        let upload = rq.store.put_part(&at, id, number, len).await?;
        let stored = pass::copy_into(rq, &mut source, upload, len).await?;
        let mut reply = Reply::ok().with_all(&stored.headers);
        set_etag(&mut reply.headers, &stored.etag);
        return Ok(reply);
    }
    let upload = uploads::open(rq, &at).await?;
    if let Some(declared) = upload.declared {
        match body.checksum() {
            None => body.compute(declared.algorithm),
            Some(sent) if sent == declared.algorithm => {}
            Some(sent) => {
                return Err(Failure::new(
                    ErrorCode::InvalidRequest,
                    format!(
                        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {sent}",
                        declared.algorithm
                    ),
                ));
            }
        }
    }
    let mut source = FromClient::new(client, body, rq.snapshot.timeouts);
    let (stored, known) = put_part(rq, &at, &upload, number, len, &mut source).await?;
    let mut reply = stored_reply(rule, &stored, &known);
    let etag = upload.part_etag(number, &stored, &known);
    set_etag(&mut reply.headers, &etag);
    Ok(reply)
}

/// What would make the trailer that a part does not have.
type NoTrailer = fn(&Known) -> Result<TrailerWriter, Failure>;

/// A part's stream must fit into a part of the store's.
pub(crate) fn check_len(len: u64) -> Result<(), S3Error> {
    if stream_len(len) <= MAX_PART_LEN {
        return Ok(());
    }
    Err(S3Error::with_message(
        ErrorCode::EntityTooLarge,
        "Your part exceeds the largest size that the store takes once it is sealed: 5 GiB less 0.1 %.",
    )
    .detail("ProposedSize", len.to_string()))
}

/// Seals `len` bytes of `source` as part `number`. What the store does not take as a part before the last one, or would
/// leave no number for the object's end, is staged as an object until the upload is completed.
pub(crate) async fn put_part<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    at: &Location,
    upload: &Upload,
    number: u16,
    len: u64,
    source: &mut S,
) -> Result<(Stored, Known), Failure> {
    let core = rq.core;
    let context = StreamContext {
        object_id: upload.envelope.fields.object_id,
        part_number: number,
    };
    // A fresh salt for every attempt: a part that is sent again never meets the same key and nonce.
    let sealer = StreamSealer::new(&upload.dek, &context, core.random.bytes());
    let blocks = lease(&core.pool, len, &rq.snapshot.timeouts).await?;
    let stored_len = stream_len(len);
    let staged = number == LAST_PART || len < rq.store.minimum_part();
    let to_store = if staged {
        let place = uploads::staged_at(at, &upload.backend_id, number)?;
        // A part for an upload that is gone must not stay behind for ever.
        rq.store.list_parts(at, &upload.backend_id, 0, 1).await?;
        rq.store
            .put(
                &place,
                &http::HeaderMap::new(),
                &Conditions::default(),
                stored_len,
            )
            .await?
    } else {
        rq.store
            .put_part(at, &upload.backend_id, number, stored_len)
            .await?
    };
    let tail: Tail<NoTrailer> = Tail::Part;
    seal_into(source, to_store, sealer, len, tail, blocks).await
}
