//! PutObject.

use http::HeaderMap;
use http::header::HeaderName;
use sealgate_backend::Store;
use sealgate_backend::types::{Location, Stored};
use sealgate_envelope::law::MAX_PART_LEN;
use sealgate_envelope::{Layout, PlainLen, StreamContext, StreamSealer, Trailer};
use sealgate_http1::reuse_headers;
use sealgate_s3::checksum::Known;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::{BlockSize, Connector, Transport};

use crate::body::Body;
use crate::checksums::for_trailer;
use crate::client::Client;
use crate::failure::Failure;
use crate::marker;
use crate::object::{
    check_directory_headers, client_etag, new_object, seal_envelope, sealed_headers,
    store_conditions, stored_len, system_headers,
};
use crate::pass;
use crate::reply::{Reply, set, set_encryption, set_etag};
use crate::request::Request;
use crate::seal::{Blocks, FromClient, Source, Tail, lease, seal_into};
use crate::snapshot::BucketRule;

pub(crate) async fn run<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    body: &mut Body,
) -> Result<Reply, Failure> {
    let len = body.len()?;
    let mut source = FromClient::new(client, body, rq.snapshot.timeouts);
    store(rq, &mut source, len, None).await
}

/// Stores `len` bytes of `source` as the object that the request names; in `blocks`, where the caller has them.
pub(crate) async fn store<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    source: &mut S,
    len: u64,
    blocks: Option<Blocks>,
) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    if len > MAX_PART_LEN {
        return Err(S3Error::new(ErrorCode::EntityTooLarge)
            .detail("ProposedSize", len.to_string())
            .detail("MaxSizeAllowed", MAX_PART_LEN.to_string())
            .into());
    }
    if let Store::Fs(_) = rq.store {
        check_directory_headers(rq.headers)?;
    }
    let conditions = store_conditions(&Conditions::from_headers(rq.headers)?, rule);
    if !rule.encrypt {
        return pass::put(rq, &at, source, len, &conditions, blocks).await;
    }
    let headers = system_headers(rq.headers)?;
    let metadata = crate::object::client_metadata(rq.headers)?;
    let new = NewObject {
        rule,
        at: &at,
        headers,
        metadata,
        len,
        conditions,
        blocks,
    };
    let (stored, known) = put_sealed(rq, new, source).await?;
    let mut reply = stored_reply(rule, &stored, &known);
    if known.checksum.is_some() && known.from_client {
        let name = HeaderName::from_static("x-amz-checksum-type");
        set(&mut reply.headers, name, "FULL_OBJECT");
    }
    Ok(reply)
}

/// What a PUT or a copy through the gateway creates.
pub(crate) struct NewObject<'n> {
    pub(crate) rule: &'n BucketRule,
    pub(crate) at: &'n Location,
    /// System headers.
    pub(crate) headers: HeaderMap,
    /// The client's metadata.
    pub(crate) metadata: Vec<(String, Vec<u8>)>,
    pub(crate) len: u64,
    pub(crate) conditions: Conditions,
    /// What it is moved in, where the caller has that already.
    pub(crate) blocks: Option<Blocks>,
}

/// Seals `len` bytes of `source` as one new object: in the single layout, or as a folder marker.
pub(crate) async fn put_sealed<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    new: NewObject<'_>,
    source: &mut S,
) -> Result<(Stored, Known), Failure> {
    if marker::is_marker(new.at, new.len) {
        return marker::put(rq, new, source).await;
    }
    let core = rq.core;
    let (dek, object_id) = new_object(core);
    let context = StreamContext {
        object_id,
        part_number: 0,
    };
    let (sealer, header) = StreamSealer::new(&dek, &context, core.random.bytes());
    let epoch = core.keyring.for_writing(&new.rule.key, new.len).await?;
    let layout = Layout::Single {
        plain_len: PlainLen(new.len),
        header,
    };
    let envelope = seal_envelope(rq, new.rule, &epoch, new.at, (&dek, object_id), layout)?;
    let headers = sealed_headers(core, new.rule, new.headers, &new.metadata, &dek, &envelope)?;
    let blocks = match new.blocks {
        Some(blocks) => blocks,
        None => lease(&core.pool, new.len, &rq.snapshot.timeouts).await?,
    };
    let len = stored_len(new.len)?;
    let upload = match &blocks {
        // Large blocks may be exchanged for others.
        (first, Some(_)) if first.capacity() == BlockSize::Large.capacity() => {
            let put = rq
                .store
                .put_ahead(new.at, &headers, &new.conditions, len, &core.pool);
            put.await?
        }
        _ => rq.store.put(new.at, &headers, &new.conditions, len).await?,
    };
    reuse_headers(headers);
    let tail = Tail::Trailer(|known: &Known| {
        Trailer::single(PlainLen(new.len), for_trailer(known))
            .map(|trailer| trailer.seal(&dek, &object_id, core.random.bytes()))
            .map_err(|e| Failure::new(ErrorCode::EntityTooLarge, e.to_string()))
    });
    seal_into(source, upload, (sealer, header), new.len, tail, blocks).await
}

/// The answer to a write: what the client sees of it, and the checksum that it sent, now proved.
pub(crate) fn stored_reply(rule: &BucketRule, stored: &Stored, known: &Known) -> Reply {
    let mut reply = Reply::ok().with_all(&stored.headers);
    set_etag(&mut reply.headers, &client_etag(&stored.etag));
    set_encryption(&mut reply.headers, &rule.key);
    if let Some(checksum) = &known.checksum {
        let name = HeaderName::from_static(checksum.algorithm().header());
        set(&mut reply.headers, name, &checksum.to_base64());
    }
    reply
}
