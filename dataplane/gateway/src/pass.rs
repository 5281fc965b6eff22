//! Buckets and prefixes with `encrypt = false`: bytes pass as they are, through the same blocks.

use std::ops::Range;
use std::pin::pin;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealgate_backend::Body as StoreBody;
use sealgate_backend::types::{GetRequest, Location, ObjectInfo, Stored};
use sealgate_http1::Framing;
use sealgate_s3::conditions::{Conditions, Verdict};
use sealgate_s3::range::{ByteRange, content_range};
use sealgate_uring::{Block, Connector, Spans, Transport, join};

use crate::client::Client;
use crate::failure::Failure;
use crate::object::{client_metadata, is_sealed, pass_through_headers, system_headers};
use crate::ops::Wanted;
use crate::reply::{Reply, ReplyBody, set, set_etag};
use crate::request::Request;
use crate::seal::{Blocks, Source, lease};

/// The headers of a write that the store keeps: all of them as they are.
pub(crate) fn headers<C: Connector>(rq: &Request<'_, C>) -> Result<HeaderMap, Failure> {
    let mut headers = system_headers(rq.headers)?;
    for (name, value) in client_metadata(rq.headers)? {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(format!("x-amz-meta-{name}")),
            HeaderValue::from_bytes(&value),
        ) {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

/// PutObject.
pub(crate) async fn put<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    at: &Location,
    source: &mut S,
    len: u64,
    conditions: &Conditions,
    blocks: Option<Blocks>,
) -> Result<Reply, Failure> {
    let headers = headers(rq)?;
    let upload = rq.store.put(at, &headers, conditions, len).await?;
    let stored = match blocks {
        Some(blocks) => copy_in(source, upload, len, blocks).await?,
        None => copy_into(rq, source, upload, len).await?,
    };
    let mut reply = Reply::ok().with_all(&stored.headers);
    set_etag(&mut reply.headers, &stored.etag);
    Ok(reply)
}

/// Moves `len` bytes of `source` into `upload` as they are.
pub(crate) async fn copy_into<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    source: &mut S,
    upload: sealgate_backend::Upload<C>,
    len: u64,
) -> Result<Stored, Failure> {
    let blocks = lease(&rq.core.pool, len, &rq.snapshot.timeouts).await?;
    copy_in(source, upload, len, blocks).await
}

async fn copy_in<C: Connector, S: Source>(
    source: &mut S,
    mut upload: sealgate_backend::Upload<C>,
    len: u64,
    (mut block, mut spare): Blocks,
) -> Result<Stored, Failure> {
    let mut left = len;
    let (filled, back) = fill(source, block, &mut left).await;
    block = back;
    let mut n = filled?;
    while left > 0 {
        let Some(other) = spare.take() else {
            return Err(Failure::Cut("one block does not hold the object".into()));
        };
        let ((written, back), (filled, other)) = {
            let writing = pin!(upload.write(block, Spans::contiguous(0..n)));
            let filling = pin!(fill(source, other, &mut left));
            join(writing, filling).await
        };
        written?;
        n = filled?;
        spare = Some(back);
        block = other;
    }
    source.finish().await?;
    let (stored, _) = upload.finish(block, Spans::contiguous(0..n)).await;
    Ok(stored?)
}

async fn fill<S: Source>(
    source: &mut S,
    block: Block,
    left: &mut u64,
) -> (Result<usize, Failure>, Block) {
    let want = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(block.len());
    let mut block = block;
    let mut have = 0;
    while have < want {
        let (got, back) = source.fill(block, Spans::contiguous(have..want)).await;
        block = back;
        match got {
            Ok(n) => have += n,
            Err(e) => return (Err(e), block),
        }
    }
    *left -= want as u64;
    (Ok(want), block)
}

/// Says that an object was not sealed, of a bucket whose objects are.
pub(crate) const PLAINTEXT: HeaderName = HeaderName::from_static("x-sealgate-plaintext");

/// The headers of a read.
fn read_headers<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    info: &ObjectInfo,
) -> Result<HeaderMap, Failure> {
    let mut headers = pass_through_headers(info);
    if rq.rule_for(at)?.encrypt {
        // It has been looked at before, and was plaintext then.
        if is_sealed(info) {
            return Err(Failure::replaced());
        }
        headers.insert(PLAINTEXT, HeaderValue::from_static("true"));
    }
    Ok(headers)
}

/// HeadObject.
pub(crate) async fn head<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    asked: &Conditions,
) -> Result<Reply, Failure> {
    if let Wanted::Part(number) = Wanted::of(rq)? {
        let (info, range) = rq.store.head_part(at, number, asked).await?;
        check(asked, &info)?;
        return Ok(Reply {
            status: StatusCode::PARTIAL_CONTENT,
            headers: part_headers(rq, at, &info, &range)?,
            body: ReplyBody::HeadOf(range.end - range.start),
        });
    }
    let info = rq.store.head(at, asked).await?;
    check(asked, &info)?;
    let mut headers = read_headers(rq, at, &info)?;
    let (status, range) = match rq
        .headers
        .get(header::RANGE)
        .and_then(|v| Some((ByteRange::parse(v)?, v)))
    {
        Some((range, value)) => {
            let range = range
                .resolve(info.len)
                .map_err(|e| Failure::from(e.to_error(value)))?;
            set(
                &mut headers,
                header::CONTENT_RANGE,
                &content_range(&range, info.len),
            );
            (StatusCode::PARTIAL_CONTENT, range)
        }
        None => (StatusCode::OK, 0..info.len),
    };
    Ok(Reply {
        status,
        headers,
        body: ReplyBody::HeadOf(range.end - range.start),
    })
}

/// The headers of a read of one part.
fn part_headers<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    info: &ObjectInfo,
    range: &Range<u64>,
) -> Result<HeaderMap, Failure> {
    const COUNT: &str = "x-amz-mp-parts-count";
    let mut headers = read_headers(rq, at, info)?;
    if let Some(count) = info.headers.get(COUNT) {
        headers.insert(COUNT, count.clone());
    }
    if !range.is_empty() {
        let value = content_range(range, info.len);
        set(&mut headers, header::CONTENT_RANGE, &value);
    }
    Ok(headers)
}

/// GetObject.
pub(crate) async fn get<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    at: &Location,
    asked: &Conditions,
) -> Result<Reply, Failure> {
    if let Wanted::Part(number) = Wanted::of(rq)? {
        let (info, range, body) = rq.store.get_part(at, number, asked).await?;
        check(asked, &info)?;
        let headers = part_headers(rq, at, &info, &range)?;
        let left = range.end - range.start;
        return send(
            rq,
            client,
            (StatusCode::PARTIAL_CONTENT, headers),
            body,
            left,
        )
        .await;
    }
    let wanted = rq
        .headers
        .get(header::RANGE)
        .and_then(|v| Some((ByteRange::parse(v)?, v)));
    let mut conditions = asked.clone();
    let mut range = None;
    if let Some((wanted, value)) = wanted {
        // The length decides what a range means: asked for first, then pinned.
        let info = rq.store.head(at, asked).await?;
        check(asked, &info)?;
        let found = wanted
            .resolve(info.len)
            .map_err(|e| Failure::from(e.to_error(value)))?;
        range = Some((found.start, Some(found.end)));
        conditions = Conditions::if_match(info.etag);
    }
    let request = GetRequest { range, conditions };
    let (info, got, body) = rq.store.get(at, &request).await?;
    if range.is_none() {
        check(asked, &info)?;
    }
    let mut headers = read_headers(rq, at, &info)?;
    let (status, end) = match range {
        Some((_, Some(end))) => {
            set(
                &mut headers,
                header::CONTENT_RANGE,
                &content_range(&(got.start..end), info.len),
            );
            (StatusCode::PARTIAL_CONTENT, end)
        }
        _ => (StatusCode::OK, got.end),
    };
    let left = end.min(got.end) - got.start;
    send(rq, client, (status, headers), body, left).await
}

/// Sends an answer whose body has `left` bytes.
async fn send<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    (status, mut headers): (StatusCode, HeaderMap),
    mut body: StoreBody<C>,
    mut left: u64,
) -> Result<Reply, Failure> {
    crate::ops::override_headers(rq, &mut headers)?;
    set(
        &mut headers,
        HeaderName::from_static("x-amz-request-id"),
        rq.id,
    );
    let (mut block, _) = lease(&rq.core.pool, left, &rq.snapshot.timeouts).await?;
    rq.core.put_head(
        client,
        status,
        &headers,
        Framing::Length(left),
        rq.keep_alive,
    );
    if left == 0 {
        client
            .send(Vec::new(), rq.snapshot.timeouts.for_bytes(0))
            .await
            .map_err(gone)?;
    }
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        let (read, back) = body.read(block, Spans::contiguous(0..room)).await;
        block = back;
        let n = match read {
            Ok(0) => return Err(Failure::Cut("the store's body ends too early".into())),
            Ok(n) => n,
            Err(e) => return Err(Failure::Cut(e.to_string())),
        };
        let within = rq.snapshot.timeouts.for_bytes(n);
        let (sent, back) = client
            .send_block(block, Spans::contiguous(0..n), within)
            .await;
        block = back;
        sent.map_err(gone)?;
        left -= n as u64;
    }
    Ok(Reply::sent(status))
}

fn gone(e: std::io::Error) -> Failure {
    Failure::Cut(format!("client: {e}"))
}

fn check(asked: &Conditions, info: &ObjectInfo) -> Result<(), Failure> {
    match asked.check_read(&info.etag, info.last_modified / 1000) {
        Verdict::Proceed => Ok(()),
        Verdict::PreconditionFailed => Err(asked.failed_read().into()),
        Verdict::NotModified => Err(Failure::NotModified(Box::new(pass_through_headers(info)))),
    }
}
