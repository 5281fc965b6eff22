//! PostObject: a browser's form, whose file becomes an object as PutObject's body does.
//!
//! The store wants the object's length before its first byte, and a form does not say it. A form that fits a buffer is
//! held whole and understood exactly, whatever comes behind the file. In a larger one the file has to be the last field,
//! ended as every browser ends it: that makes its length known, and the end is verified before anything is committed.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealgate_s3::checksum::{BodyChecks, Known};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::form::{Ending, Parser, Scan, Step, boundary, not_last};
use sealgate_s3::post::{Form, redirect_location, response};
use sealgate_s3::route::{Operation, Query, RawKey, Routed};
use sealgate_s3::sigv2::only_sigv4;
use sealgate_s3::sigv4::Payload;
use sealgate_uring::{Block, Connector, Spans, Transport};

use crate::auth::{no_session_tokens, nobody};
use crate::body::Body;
use crate::client::Client;
use crate::core::{Core, unix_seconds};
use crate::failure::Failure;
use crate::ops::put_object;
use crate::reply::{Reply, ReplyBody, set};
use crate::request::Request;
use crate::seal::{FromClient, Source, block_size, slots_bytes};
use crate::snapshot::{Credential, Snapshot};
use crate::standing::Standing;

/// A form's request as it came.
pub(crate) struct FormRequest<'r, C: Connector> {
    pub(crate) core: &'r std::rc::Rc<Core<C>>,
    pub(crate) snapshot: &'r Snapshot,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) routed: &'r Routed,
    pub(crate) id: &'r str,
}

/// What a form came to, besides its answer.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) access_key: String,
    pub(crate) key: Vec<u8>,
}

/// Headers of the request itself that a form has fields for, or that would be forgotten.
fn check_headers(headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys() {
        let text = name.as_str();
        let other = text.starts_with("x-amz-")
            && !matches!(
                text,
                "x-amz-date" | "x-amz-user-agent" | "x-amz-content-sha256"
            );
        if other || *name == header::IF_MATCH || *name == header::IF_NONE_MATCH {
            return Err(S3Error::invalid_argument(
                "A form upload takes this as a field of the form, or not at all.",
                text,
                "",
            ));
        }
    }
    Ok(())
}

pub(crate) async fn run<C: Connector, T: Transport>(
    form_rq: &FormRequest<'_, C>,
    client: &mut Client<T>,
    body: &mut Body,
    noted: &mut Noted,
) -> Result<Reply, Failure> {
    let (core, snapshot) = (form_rq.core, form_rq.snapshot);
    check_headers(form_rq.headers)?;
    let content_type = form_rq.headers.get(header::CONTENT_TYPE);
    let boundary = boundary(content_type.map_or(b"", HeaderValue::as_bytes))?;
    body.len()?;
    let mut source = FromClient::new(client, body, snapshot.timeouts);
    let (fields, filename) = preface(&mut source, &boundary).await?;
    let form = Form::new(fields, &filename)?;
    let bucket = form_rq
        .routed
        .bucket
        .as_ref()
        .ok_or_else(|| S3Error::new(ErrorCode::InvalidBucketName))?;
    let key = RawKey::copy_from(form.key()?.as_bytes())?;
    noted.key = key.as_ref().to_vec();
    let (credential, access_key) = credential(core, snapshot, &form)?;
    access_key.clone_into(&mut noted.access_key);
    let range = form.check_policy(bucket.as_str(), unix_seconds())?;
    let may = |operation| credential.allows(&operation, bucket.as_str(), key.as_ref());
    if !may(Operation::PostObject) && !may(Operation::PutObject) {
        return Err(S3Error::new(ErrorCode::AccessDenied).into());
    }
    let headers = form.headers()?;
    let standing = Standing::of(&headers, &Operation::PostObject)?;
    if standing.bypass {
        return Err(S3Error::new(ErrorCode::AccessDenied).into());
    }
    let routed = Routed {
        operation: Operation::PostObject,
        bucket: Some(bucket.clone()),
        key: Some(key),
        query: Query::default(),
    };
    let rq = Request {
        core,
        snapshot,
        store: standing.put_on(core.store_for(Some(credential)))?,
        headers: &headers,
        routed: &routed,
        credential: Some(credential),
        access_key: &access_key,
        id: form_rq.id,
        keep_alive: false,
    };
    let reply = store(&rq, source, Ending::new(&boundary), range).await?;
    let reply = match rq.store.charged() {
        true => reply.with_charge(),
        false => reply,
    };
    answer(&rq, &form, form_rq.headers, reply)
}

/// Reads up to the file's first byte: the fields, and the file's name.
async fn preface<T: Transport>(
    source: &mut FromClient<'_, T>,
    boundary: &[u8],
) -> Result<(Vec<(String, String)>, String), Failure> {
    let mut parser = Parser::new(boundary);
    loop {
        let (used, step) = parser.push(source.peek().await?)?;
        source.used(used);
        if let Step::File(name) = step {
            return Ok((parser.into_fields(), name));
        }
    }
}

/// Who signed the form's policy; nobody's credential for a form without one.
fn credential<'s, C: Connector>(
    core: &Core<C>,
    snapshot: &'s Snapshot,
    form: &Form,
) -> Result<(&'s Credential, String), S3Error> {
    let Some(access_key) = form.access_key()? else {
        return Ok((nobody(snapshot)?, String::new()));
    };
    let credential = match snapshot.credentials.get(&access_key) {
        Some(credential) if credential.sigv2 || !form.is_v2() => credential,
        _ if form.is_v2() => return Err(only_sigv4()),
        _ => {
            let unknown = S3Error::new(ErrorCode::InvalidAccessKeyId);
            return Err(unknown.detail("AWSAccessKeyId", access_key));
        }
    };
    if form.has_session_token() {
        return Err(no_session_tokens());
    }
    form.verify(&credential.secret, &mut core.signing_keys.borrow_mut())?;
    Ok((credential, access_key))
}

/// Stores the file that `source` has reached.
async fn store<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    mut source: FromClient<'_, T>,
    ending: Ending,
    range: (u64, u64),
) -> Result<Reply, Failure> {
    let left = source.left();
    let checks = BodyChecks::from_headers(rq.headers, &Payload::Unsigned)?;
    let checks = (!checks.is_empty()).then_some(checks);
    let size = block_size(left);
    if left <= slots_bytes(size) {
        // Both at once: a form that held one buffer and waited for another could wait for its like.
        let [held, spare] = rq
            .core
            .pool
            .lease::<2>(size, rq.snapshot.timeouts.buffer_wait)
            .await
            .map_err(|_| Failure::busy())?;
        let mut block = held;
        let total = usize::try_from(left).unwrap_or(usize::MAX);
        let mut have = 0;
        while have < total {
            let (got, back) = source.fill(block, Spans::contiguous(have..total)).await;
            block = back;
            have += got?;
        }
        // What the request's own headers promise of the whole form.
        source.finish().await?;
        let len = ending.file_len(&block[..total])?;
        check_length(len as u64, range)?;
        let mut file = Held {
            block,
            at: 0,
            end: len,
            checks,
        };
        return put_object::store(rq, &mut file, len as u64, Some((spare, None))).await;
    }
    let standard = ending.standard().len() as u64;
    let len = left.checked_sub(standard).ok_or_else(not_last)?;
    check_length(len, range)?;
    let mut file = Streamed {
        source,
        left: len,
        scan: Scan::new(ending),
        checks,
    };
    put_object::store(rq, &mut file, len, None).await
}

/// The policy's `content-length-range`.
fn check_length(len: u64, (least, most): (u64, u64)) -> Result<(), S3Error> {
    let proposed = |code| S3Error::new(code).detail("ProposedSize", len.to_string());
    if len < least {
        return Err(proposed(ErrorCode::EntityTooSmall).detail("MinSizeAllowed", least.to_string()));
    }
    if len > most {
        return Err(proposed(ErrorCode::EntityTooLarge).detail("MaxSizeAllowed", most.to_string()));
    }
    Ok(())
}

/// A file that is in memory.
struct Held {
    block: Block,
    at: usize,
    end: usize,
    checks: Option<BodyChecks>,
}

impl Source for Held {
    async fn fill(&mut self, block: Block, spans: Spans) -> (Result<usize, Failure>, Block) {
        let mut block = block;
        let mut copied = 0;
        for range in spans.ranges() {
            let n = range.len().min(self.end - self.at);
            let piece = &self.block[self.at..self.at + n];
            if let Some(checks) = &mut self.checks {
                checks.update(piece);
            }
            block[range.start..range.start + n].copy_from_slice(piece);
            self.at += n;
            copied += n;
        }
        (Ok(copied), block)
    }

    async fn finish(&mut self) -> Result<Known, Failure> {
        Ok(match self.checks.take() {
            Some(checks) => checks.finish(&[])?,
            None => Known::default(),
        })
    }
}

/// A file on its way.
struct Streamed<'c, T: Transport> {
    source: FromClient<'c, T>,
    left: u64,
    scan: Scan,
    checks: Option<BodyChecks>,
}

impl<T: Transport> Source for Streamed<'_, T> {
    async fn fill(&mut self, block: Block, spans: Spans) -> (Result<usize, Failure>, Block) {
        let (got, block) = self.source.fill(block, spans).await;
        if let Ok(n) = got {
            self.left -= n as u64;
            let mut filled = spans;
            filled.to = filled.from + n;
            for range in filled.ranges() {
                let piece = &block[range];
                // A boundary inside: more fields follow, so the length that was declared is wrong.
                if self.scan.found_in(piece) {
                    return (Err(not_last().into()), block);
                }
                if let Some(checks) = &mut self.checks {
                    checks.update(piece);
                }
            }
        }
        (got, block)
    }

    async fn finish(&mut self) -> Result<Known, Failure> {
        let mut end = Vec::with_capacity(80);
        while self.source.left() > 0 {
            let piece = self.source.peek().await?;
            end.extend_from_slice(piece);
            let n = piece.len();
            self.source.used(n);
        }
        self.scan.check_end(&end)?;
        self.source.finish().await?;
        Ok(match self.checks.take() {
            Some(checks) => checks.finish(&[])?,
            None => Known::default(),
        })
    }
}

/// What the form wants to hear of its success.
fn answer<C: Connector>(
    rq: &Request<'_, C>,
    form: &Form,
    headers: &HeaderMap,
    stored: Reply,
) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let etag = stored
        .headers
        .get(header::ETAG)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
        .to_owned();
    let key = String::from_utf8_lossy(at.key.as_ref()).into_owned();
    let mut reply = stored;
    if let Some(to) = form.redirect() {
        reply.status = StatusCode::SEE_OTHER;
        let location = redirect_location(to, &at.bucket, &key, &etag);
        set(&mut reply.headers, header::LOCATION, &location);
        return Ok(reply);
    }
    let location = location(headers, &at.bucket, &at.key.encoded());
    set(&mut reply.headers, header::LOCATION, &location);
    match form.status() {
        201 => {
            let document = response(&location, &at.bucket, &key, &etag);
            reply.status = StatusCode::CREATED;
            reply.headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/xml"),
            );
            reply.body = ReplyBody::Bytes(document);
        }
        200 => reply.status = StatusCode::OK,
        _ => reply.status = StatusCode::NO_CONTENT,
    }
    Ok(reply)
}

/// Where the object is for this client: whether the name that it used came by TLS, only a proxy before us may know.
pub(crate) fn location(headers: &HeaderMap, bucket: &str, key: &str) -> String {
    let scheme = headers
        .get(HeaderName::from_static("x-forwarded-proto"))
        .filter(|v| *v == "https")
        .map_or("http", |_| "https");
    match headers.get(header::HOST).and_then(|v| v.to_str().ok()) {
        Some(host) if host.starts_with(&format!("{bucket}.")) => format!("{scheme}://{host}/{key}"),
        Some(host) => format!("{scheme}://{host}/{bucket}/{key}"),
        None => format!("/{bucket}/{key}"),
    }
}
