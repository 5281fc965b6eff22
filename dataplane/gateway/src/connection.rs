//! One client connection: requests in order, each authenticated, dispatched, answered and logged.

use std::borrow::Cow;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sealgate_http1::{Framing, Limits, ParseError, RequestHead, reuse_headers};
use sealgate_s3::checksum::Algorithm;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::{Operation, Routed, route};
use sealgate_s3::sigv4::{Authorization, anonymous};
use sealgate_telemetry::Entry;
use sealgate_uring::{Connector, Transport};

use crate::auth::{authenticate, hoisted};
use crate::body::Body;
use crate::client::{Client, NoHead};
use crate::core::Core;
use crate::cors;
use crate::failure::Failure;
use crate::ops;
use crate::ops::post_object::{self, FormRequest, Noted};
use crate::reply::{Reply, ReplyBody, set};
use crate::request::Request;
use crate::snapshot::Snapshot;
use crate::standing::Standing;

/// How long a refused request's body is read on, so that the client sees the answer and not a reset.
const LINGER: Duration = Duration::from_secs(5);

/// Serves a connection until either side ends it.
pub async fn serve<C: Connector, T: Transport>(core: Rc<Core<C>>, conn: T) {
    let mut client = Client::new(conn);
    let limits = Limits::default();
    core.metrics.connection_opened();
    loop {
        if core.drain.is_draining() {
            break;
        }
        let timeouts = core.snapshot.load().timeouts;
        match client.next_head(&limits, &timeouts).await {
            Ok(head) => {
                // Not before: a connection that was idle meets the configuration of its request, not of its own past.
                let snapshot = core.snapshot.load_full();
                core.adopt(&snapshot);
                match boxed(&core, &snapshot, &mut client, head).await {
                    After::Next => {}
                    After::Close => break,
                    After::Linger => {
                        hang_up(&mut client).await;
                        break;
                    }
                }
            }
            Err(NoHead::Closed) => break,
            Err(NoHead::TimedOut) => {
                let error = S3Error::new(ErrorCode::RequestTimeout);
                refuse(&core, &mut client, &error, StatusCode::REQUEST_TIMEOUT).await;
                break;
            }
            Err(NoHead::Malformed(e)) => {
                let (error, status) = malformed(&e);
                refuse(&core, &mut client, &error, status).await;
                break;
            }
        }
    }
    client.conn.watch().deadline_in(LINGER);
    client.conn.shutdown().await;
    core.metrics.connection_closed();
}

/// A head that is no request: its error, and the status that HTTP has for it.
fn malformed(e: &ParseError) -> (S3Error, StatusCode) {
    let status = e.status();
    let code = match status.as_u16() {
        431 | 414 => ErrorCode::RequestHeaderSectionTooLarge,
        501 => ErrorCode::NotImplemented,
        _ => ErrorCode::BadRequest,
    };
    (
        S3Error::with_message(code, format!("The request is malformed: {e}.")),
        status,
    )
}

/// Answers what could not be understood, and gives the client time to see it.
async fn refuse<C: Connector, T: Transport>(
    core: &Core<C>,
    client: &mut Client<T>,
    error: &S3Error,
    status: StatusCode,
) {
    let id = core.ids.next();
    let document = error.to_xml("", id.as_str(), "sealgate");
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml"),
    );
    set(
        &mut headers,
        HeaderName::from_static("x-amz-request-id"),
        id.as_str(),
    );
    core.put_head(
        client,
        status,
        &headers,
        Framing::Length(document.len() as u64),
        false,
    );
    if client.send(document, LINGER).await.is_ok() {
        hang_up(client).await;
    }
    core.metrics.request(
        "Malformed",
        status.as_u16(),
        Some(error.code.metric_label()),
        0,
        0,
        Duration::ZERO,
    );
}

/// Says that no more answers come, then reads on for a while: a connection closed with bytes unread is reset, and the
/// client may lose the answer that is on its way.
async fn hang_up<T: Transport>(client: &mut Client<T>) {
    client.conn.watch().deadline_in(LINGER);
    client.conn.shutdown().await;
    client.linger(u64::MAX, LINGER).await;
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    /// Another request may come.
    Next,
    /// Nothing more can be said on it.
    Close,
    /// The answer was the last; the client may still be sending.
    Linger,
}

/// What one request came to, besides its answer.
struct Context {
    operation: &'static str,
    bucket: String,
    key: Vec<u8>,
    access_key: String,
    body: Option<Body>,
}

/// [`exchange`] on the heap, so that a connection without a request is small. The place is there before the future is:
/// `Box::pin` would make it on the stack and move its 14 KiB.
#[inline(never)]
fn boxed<'a, C: Connector, T: Transport>(
    core: &'a Rc<Core<C>>,
    snapshot: &'a Snapshot,
    client: &'a mut Client<T>,
    head: RequestHead,
) -> Pin<Box<impl Future<Output = After> + 'a>> {
    let place = Box::new_uninit();
    Box::into_pin(Box::write(place, exchange(core, snapshot, client, head)))
}

/// Handles one request.
async fn exchange<C: Connector, T: Transport>(
    core: &Rc<Core<C>>,
    snapshot: &Snapshot,
    client: &mut Client<T>,
    head: RequestHead,
) -> After {
    let started = Instant::now();
    let (in_before, out_before) = client.accounted;
    let id = core.ids.next();
    let mut context = Context {
        operation: "Unknown",
        bucket: String::new(),
        key: Vec::new(),
        access_key: String::new(),
        body: None,
    };
    client.extra = None;
    let outcome = handle(core, snapshot, client, &head, id.as_str(), &mut context).await;
    let (after, status, code, trouble) =
        answer(core, client, &head, id.as_str(), &context, outcome).await;
    let (bytes_in, bytes_out) = (client.bytes_in - in_before, client.bytes_out - out_before);
    client.accounted = (client.bytes_in, client.bytes_out);
    let duration = started.elapsed();
    core.metrics.request(
        context.operation,
        status,
        code,
        bytes_in,
        bytes_out,
        duration,
    );
    core.access_log.record(|| Entry {
        request_id: id.as_str().to_owned(),
        remote: client.conn.peer(),
        access_key: std::mem::take(&mut context.access_key),
        operation: context.operation,
        bucket: std::mem::take(&mut context.bucket),
        key: String::from_utf8_lossy(&context.key).into_owned(),
        status,
        code,
        bytes_in,
        bytes_out,
        duration,
        trouble,
    });
    reuse_headers(head.headers);
    after
}

/// Authenticates a request and runs its operation.
async fn handle<C: Connector, T: Transport>(
    core: &Rc<Core<C>>,
    snapshot: &Snapshot,
    client: &mut Client<T>,
    head: &RequestHead,
    id: &str,
    context: &mut Context,
) -> Result<Reply, Failure> {
    let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let routed = route(
        &head.method,
        &head.target,
        host,
        &head.headers,
        &snapshot.base_domains,
    )?;
    context.operation = routed.operation.as_str();
    if let Some(bucket) = &routed.bucket {
        bucket.as_str().clone_into(&mut context.bucket);
    }
    if let Some(key) = &routed.key {
        context.key = key.as_ref().to_vec();
    }
    // Neither a preflight nor an error's CORS headers need a signature: the browser, not the script, asks.
    if routed.operation == Operation::CorsPreflight {
        return cors::preflight(core, snapshot, &head.headers, &routed).await;
    }
    if head.headers.contains_key(header::ORIGIN) {
        client.extra =
            cors::headers_for(core, snapshot, &head.method, &head.headers, &routed).await;
    }
    let auth = Authorization::parse(&head.target, &head.headers)?;
    if let Some(access_key) = auth.access_key()
        && snapshot.credentials.contains_key(access_key)
    {
        access_key.clone_into(&mut context.access_key);
    }
    if routed.operation == Operation::PostObject {
        return Box::pin(post(
            core,
            snapshot,
            client,
            head,
            (&auth, &routed),
            id,
            context,
        ))
        .await;
    }
    let (credential, verified) = authenticate(core, snapshot, head, &auth, &routed)?;
    let access_key = auth.access_key().unwrap_or_default();
    let all;
    let headers = if auth.is_presigned() {
        all = hoisted(&auth, &head.headers, &routed.query);
        &all
    } else {
        &head.headers
    };
    authorise(credential, &routed)?;
    if let Operation::NotImplemented(_) = routed.operation {
        return Err(routed.operation.not_implemented().into());
    }
    let standing = Standing::of(headers, &routed.operation)?;
    if standing.bypass {
        let (bucket, key) = (&context.bucket, &context.key);
        if !credential.may_bypass_governance(bucket, key) {
            return Err(S3Error::new(ErrorCode::AccessDenied).into());
        }
    }
    let store = standing.put_on(core.store_for(Some(credential)))?;
    let of_body = body_headers(&routed.operation, headers);
    let body = context.body.insert(Body::new(head, &of_body, &verified)?);
    let request = Request {
        core,
        snapshot,
        store,
        headers,
        routed: &routed,
        credential: Some(credential),
        access_key,
        id,
        keep_alive: head.keep_alive && !core.drain.is_draining() && body.unread() == Some(0),
    };
    let reply = ops::dispatch(&request, &head.method, client, body).await;
    cors::changed(&routed.operation);
    match reply {
        Ok(reply) if request.store.charged() => Ok(reply.with_charge()),
        reply => reply,
    }
}

/// The headers that speak of the body: a completed upload's checksum is the object's, not its document's.
fn body_headers<'h>(operation: &Operation, headers: &'h HeaderMap) -> Cow<'h, HeaderMap> {
    let of_object = |name: &HeaderName| Algorithm::from_header(name.as_str()).is_some();
    if *operation != Operation::CompleteMultipartUpload || !headers.keys().any(of_object) {
        return Cow::Borrowed(headers);
    }
    let mut headers = headers.clone();
    for algorithm in Algorithm::ALL {
        headers.remove(algorithm.header());
    }
    Cow::Owned(headers)
}

/// A form upload: its signature is in its body.
async fn post<C: Connector, T: Transport>(
    core: &Rc<Core<C>>,
    snapshot: &Snapshot,
    client: &mut Client<T>,
    head: &RequestHead,
    (auth, routed): (&Authorization, &Routed),
    id: &str,
    context: &mut Context,
) -> Result<Reply, Failure> {
    let verified = anonymous(&head.headers)?;
    if auth.access_key().is_some() || verified.payload.is_streaming() {
        return Err(S3Error::invalid_argument(
            "A form upload is signed by its fields, and not in chunks: send no Authorization and no X-Amz-Signature.",
            "Authorization",
            "",
        )
        .into());
    }
    let form = FormRequest {
        core,
        snapshot,
        headers: &head.headers,
        routed,
        id,
    };
    let mut noted = Noted::default();
    let body = context
        .body
        .insert(Body::new(head, &head.headers, &verified)?);
    let outcome = post_object::run(&form, client, body, &mut noted).await;
    context.key = noted.key;
    context.access_key = noted.access_key;
    outcome
}

/// Whether the credential allows the operation on what the request names; what else an operation touches (a copy's
/// source, each key of a bulk delete) it checks itself.
fn authorise(credential: &crate::snapshot::Credential, routed: &Routed) -> Result<(), S3Error> {
    let bucket = routed.bucket.as_ref().map_or("", |b| b.as_str());
    let key: &[u8] = match (&routed.key, &routed.operation) {
        (Some(key), _) => key.as_ref(),
        (
            None,
            Operation::ListObjects
            | Operation::ListObjectsV2
            | Operation::ListObjectVersions
            | Operation::ListMultipartUploads,
        ) => routed.query.get("prefix").unwrap_or("").as_bytes(),
        // Each key is checked once the body is known.
        (None, Operation::DeleteObjects) => return Ok(()),
        _ => b"",
    };
    let allowed = match routed.operation {
        // The list holds names only; a bucket's own operations are checked when it is used.
        Operation::ListBuckets => credential.may_list_buckets(),
        // What a client of any prefix has to know of the bucket.
        Operation::HeadBucket
        | Operation::GetBucketLocation
        | Operation::GetBucketVersioning
        | Operation::GetObjectLockConfiguration
        | Operation::GetBucketRequestPayment
        | Operation::GetBucketAccelerateConfiguration => {
            credential.allows_any(&routed.operation, bucket)
        }
        _ => credential.allows(&routed.operation, bucket, key),
    };
    if allowed {
        Ok(())
    } else {
        Err(S3Error::new(ErrorCode::AccessDenied))
    }
}

/// Sends what an operation came to: (what now, status, error code, for the log).
async fn answer<C: Connector, T: Transport>(
    core: &Core<C>,
    client: &mut Client<T>,
    head: &RequestHead,
    id: &str,
    context: &Context,
    outcome: Result<Reply, Failure>,
) -> (After, u16, Option<&'static str>, Option<String>) {
    let mut code = None;
    let mut trouble = None;
    let mut reply = match outcome {
        Ok(reply) => reply,
        Err(Failure::Cut(why)) => return (After::Close, 0, Some("Cut"), Some(why)),
        Err(Failure::NotModified(headers)) => not_modified(&headers),
        Err(Failure::Answer {
            error,
            retry_after,
            log,
        }) => {
            code = Some(error.code.metric_label());
            trouble = log;
            error_reply(&error, retry_after, context, id)
        }
    };
    let status = reply.status.as_u16();
    if let ReplyBody::Sent = reply.body {
        let keep = head.keep_alive && !core.drain.is_draining() && unread(head, context) == Some(0);
        return (
            if keep { After::Next } else { After::Linger },
            status,
            code,
            trouble,
        );
    }
    let left = unread(head, context);
    let keep =
        head.keep_alive && !core.drain.is_draining() && left.is_some_and(Client::<T>::can_linger);
    set(
        &mut reply.headers,
        HeaderName::from_static("x-amz-request-id"),
        id,
    );
    reply
        .headers
        .insert("x-amz-id-2", HeaderValue::from_static("sealgate"));
    let is_head = head.method == Method::HEAD;
    let (framing, body) = match (reply.body, reply.status) {
        (_, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => (Framing::None, Vec::new()),
        (ReplyBody::HeadOf(len), _) => (Framing::Length(len), Vec::new()),
        (ReplyBody::Bytes(bytes), _) if is_head => {
            (Framing::Length(bytes.len() as u64), Vec::new())
        }
        (ReplyBody::Bytes(bytes), _) => (Framing::Length(bytes.len() as u64), bytes),
        (ReplyBody::Sent, _) => (Framing::None, Vec::new()),
    };
    core.put_head(client, reply.status, &reply.headers, framing, keep);
    reuse_headers(std::mem::take(&mut reply.headers));
    let within = core.snapshot.load().timeouts.for_bytes(body.len());
    if client.send(body, within).await.is_err() {
        return (After::Close, status, code, trouble);
    }
    let reusable = match left {
        Some(0) => true,
        Some(left) if keep => client.linger(left, LINGER).await,
        _ => false,
    };
    (
        if keep && reusable {
            After::Next
        } else {
            After::Linger
        },
        status,
        code,
        trouble,
    )
}

/// Raw bytes of the request's body that nobody has read; `None` when that is unknown, or the client still waits to be
/// asked for them.
fn unread(head: &RequestHead, context: &Context) -> Option<u64> {
    match (&context.body, head.framing) {
        (Some(body), _) => body.unread(),
        (None, _) if head.expect_continue => None,
        (None, Framing::Length(n)) => Some(n),
        (None, Framing::None) => Some(0),
        (None, _) => None,
    }
}

fn error_reply(
    error: &S3Error,
    retry_after: Option<Duration>,
    context: &Context,
    id: &str,
) -> Reply {
    let mut resource = format!("/{}", context.bucket);
    if !context.key.is_empty() {
        resource.push('/');
        resource.push_str(&String::from_utf8_lossy(&context.key));
    }
    let mut reply = Reply::xml(error.to_xml(&resource, id, "sealgate"));
    reply.status = error.code.status();
    if let Some(headers) = &error.headers {
        reply = reply.with_all(headers);
    }
    if let Some(pause) = retry_after {
        set(
            &mut reply.headers,
            header::RETRY_AFTER,
            &pause.as_secs_f32().ceil().max(1.0).to_string(),
        );
    }
    if error.code == ErrorCode::InvalidRange
        && let Some((_, len)) = error
            .detail
            .iter()
            .find(|(name, _)| *name == "ActualObjectSize")
    {
        set(
            &mut reply.headers,
            header::CONTENT_RANGE,
            &format!("bytes */{len}"),
        );
    }
    reply
}

fn not_modified(headers: &HeaderMap) -> Reply {
    let mut reply = Reply::empty(StatusCode::NOT_MODIFIED);
    for name in [
        header::ETAG,
        header::LAST_MODIFIED,
        header::CACHE_CONTROL,
        header::EXPIRES,
    ] {
        if let Some(value) = headers.get(&name) {
            reply.headers.insert(name, value.clone());
        }
    }
    reply
}
