//! Operations that may move much data inside the store: the client is kept waiting by white space (S3-TRAPS 12).
//!
//! S3 does the same: once an answer takes long, `200 OK` and an XML declaration are sent, then a space now and then,
//! then the document, which may turn out to be an `<Error>`.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealgate_http1::{CHUNK_END, Framing, LAST_CHUNK, encode_chunk_head};
use sealgate_uring::{Connector, Transport, sleep};

use crate::client::Client;
use crate::failure::Failure;
use crate::reply::{Reply, ReplyBody, set};
use crate::request::Request;

/// Quiet time after which a space is sent: well below the read time-outs of clients, 60 s and more.
const PATIENCE: Duration = Duration::from_secs(10);
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Runs `operation`, whose answer is an XML document, and keeps the client waiting.
pub(crate) async fn run<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    operation: impl Future<Output = Result<Reply, Failure>>,
) -> Result<Reply, Failure> {
    run_with(rq, client, operation, PATIENCE).await
}

async fn run_with<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    operation: impl Future<Output = Result<Reply, Failure>>,
    patience: Duration,
) -> Result<Reply, Failure> {
    let mut operation = pin!(operation);
    match select(operation.as_mut(), pin!(sleep(patience))).await {
        Either::Left((outcome, _)) => return outcome,
        Either::Right(_) => {}
    }
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml"),
    );
    set(
        &mut headers,
        HeaderName::from_static("x-amz-request-id"),
        rq.id,
    );
    rq.core.put_head(
        client,
        StatusCode::OK,
        &headers,
        Framing::Chunked,
        rq.keep_alive,
    );
    send(client, rq, DECLARATION, false).await?;
    let outcome = loop {
        match select(operation.as_mut(), pin!(sleep(patience))).await {
            Either::Left((outcome, _)) => break outcome,
            Either::Right(_) => send(client, rq, b" ", false).await?,
        }
    };
    let document = match outcome {
        Ok(Reply {
            body: ReplyBody::Bytes(document),
            ..
        }) => document,
        Ok(_) => Vec::new(),
        Err(Failure::Answer { error, log, .. }) => {
            tracing::warn!(request_id = rq.id, trouble = log, error = %error, "failed after 200 OK was sent");
            error.to_xml("", rq.id, "sealgate")
        }
        Err(cut) => return Err(cut),
    };
    // The declaration has been sent; the rest of the document follows.
    let rest = match document.windows(2).position(|w| w == b"?>") {
        Some(end) if document.starts_with(b"<?xml") => &document[end + 2..],
        _ => &document[..],
    };
    send(client, rq, rest, true).await?;
    Ok(Reply::sent(StatusCode::OK))
}

async fn send<C: Connector, T: Transport>(
    client: &mut Client<T>,
    rq: &Request<'_, C>,
    bytes: &[u8],
    last: bool,
) -> Result<(), Failure> {
    let mut chunk = Vec::with_capacity(bytes.len() + 32);
    encode_chunk_head(&mut chunk, bytes.len() as u64);
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(CHUNK_END);
    if last {
        chunk.extend_from_slice(LAST_CHUNK);
    }
    let within = rq.snapshot.timeouts.for_bytes(chunk.len());
    client
        .send(chunk, within)
        .await
        .map_err(|e| Failure::Cut(format!("client: {e}")))
}
