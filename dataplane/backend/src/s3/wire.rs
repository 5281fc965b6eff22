//! Connections to the store: a pool per core, one exchange at a time on each, retries (S3-TRAPS 18, 19).

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, StatusCode};
use sealgate_http1::{
    ChunkedDecoder, Framing, Limits, ResponseHead, encode_request_head, parse_response,
};
use sealgate_s3::error::S3Error;
use sealgate_s3::sigv4::sign::{PayloadHash, Signer};
use sealgate_uring::{Block, Connector, Spans, Transport, sleep};

use crate::types::BackendError;

/// Most idle connections kept by one core; more are closed when they come back.
const MAX_IDLE: usize = 256;
/// Attempts at one exchange in all, the first included.
pub(crate) const MAX_ATTEMPTS: u32 = 4;
/// First pause between attempts; doubled each time, plus up to as much jitter.
const BACK_OFF: Duration = Duration::from_millis(40);
/// Bytes a connection reads ahead while it looks for a response's head.
const HEAD_READ: usize = 4096;
/// Most bytes of a response body that is read whole (listings, errors): 1,000 keys of 1,024 bytes, url-encoded, with room.
pub(crate) const MAX_DOCUMENT: usize = 16 << 20;
/// Most bytes of an unwanted body that are read to keep a connection; beyond it the connection is closed.
const MAX_DRAIN: usize = 64 << 10;

/// How long the store may take.
#[derive(Clone, Copy, Debug)]
pub struct StoreTimeouts {
    /// From the last byte of a request to the head of its answer.
    pub response: Duration,
    /// The same for operations that may move much data inside the store (Complete, Copy).
    pub long_response: Duration,
    /// One block, at most 1 MiB, in either direction: the minimum rate.
    pub block: Duration,
    /// A connection unused for longer is not used again. Below the store's own limit (S3-TRAPS 19).
    pub idle: Duration,
}

impl Default for StoreTimeouts {
    fn default() -> Self {
        Self {
            response: Duration::from_secs(60),
            long_response: Duration::from_secs(600),
            block: Duration::from_secs(60),
            idle: Duration::from_secs(8),
        }
    }
}

/// Counts of one core's traffic with its store.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Connections opened.
    pub connects: Cell<u64>,
    /// Exchanges tried again.
    pub retries: Cell<u64>,
    /// Bodies resumed in the middle.
    pub resumes: Cell<u64>,
}

pub(crate) struct Wire<C: Connector> {
    connector: C,
    idle: RefCell<Vec<Idle<C::Conn>>>,
    pub(crate) timeouts: StoreTimeouts,
    pub(crate) counters: StoreCounters,
}

struct Idle<T> {
    link: Link<T>,
    since: Instant,
}

/// One connection with its buffers.
pub(crate) struct Link<T> {
    pub(crate) conn: T,
    /// Bytes received and not yet consumed start at `pos`.
    input: Vec<u8>,
    pos: usize,
    output: Vec<u8>,
    /// Has carried an exchange before: the store may have closed it meanwhile.
    pub(crate) reused: bool,
}

/// A request without a streamed body.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) host: String,
    /// Canonically encoded path.
    pub(crate) path: Vec<u8>,
    /// Canonically encoded query without `?`; may be empty.
    pub(crate) query: Vec<u8>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// May be sent again after its bytes may have reached the store.
    pub(crate) idempotent: bool,
    /// May take [`StoreTimeouts::long_response`].
    pub(crate) long: bool,
}

/// Why an attempt gave no response.
pub(crate) enum Broken {
    /// The connection was a kept one and closed without a byte of an answer.
    Stale,
    /// Nothing of the request was sent.
    Connect(io::Error),
    /// The request may have reached the store.
    Sent(io::Error),
    Protocol(String),
}

impl Broken {
    pub(crate) fn into_error(self) -> BackendError {
        match self {
            Self::Stale => unavailable("the store closed the connection"),
            Self::Connect(e) => unavailable(format!("cannot connect to the store: {e}")),
            Self::Sent(e) => unavailable(format!("the connection to the store broke: {e}")),
            Self::Protocol(what) => BackendError::Protocol(what),
        }
    }
}

pub(crate) fn unavailable(reason: impl Into<String>) -> BackendError {
    BackendError::Unavailable { reason: reason.into(), retry_after: Duration::from_secs(1) }
}

/// A response whose head has arrived and whose body is still to be read.
pub(crate) struct Inbound<T> {
    pub(crate) head: ResponseHead,
    link: Option<Link<T>>,
    remaining: Remaining,
}

enum Remaining {
    Done,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
}

impl<C: Connector> Wire<C> {
    pub(crate) fn new(connector: C, timeouts: StoreTimeouts) -> Self {
        Self {
            connector,
            idle: RefCell::new(Vec::new()),
            timeouts,
            counters: StoreCounters::default(),
        }
    }

    /// A kept connection that is quiet and young enough, or a new one.
    pub(crate) async fn link(&self) -> Result<Link<C::Conn>, Broken> {
        loop {
            // LIFO: the most recently used connection is the least likely to have been closed.
            let Some(idle) = self.idle.borrow_mut().pop() else { break };
            if idle.since.elapsed() > self.timeouts.idle {
                self.idle.borrow_mut().clear();
                break;
            }
            if idle.link.conn.is_quiet() {
                return Ok(idle.link);
            }
        }
        self.fresh_link().await
    }

    pub(crate) async fn fresh_link(&self) -> Result<Link<C::Conn>, Broken> {
        let conn = self.connector.connect().await.map_err(Broken::Connect)?;
        self.counters.connects.set(self.counters.connects.get() + 1);
        Ok(Link {
            conn,
            input: Vec::with_capacity(HEAD_READ),
            pos: 0,
            output: Vec::with_capacity(1024),
            reused: false,
        })
    }

    pub(crate) fn keep(&self, mut link: Link<C::Conn>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && link.pos == link.input.len() {
            link.input.clear();
            link.input.shrink_to(HEAD_READ);
            link.pos = 0;
            link.reused = true;
            link.conn.watch().clear();
            idle.push(Idle { link, since: Instant::now() });
        }
    }

    /// Sends a request and reads its answer's head; tries again where that is safe.
    pub(crate) async fn call(
        &self,
        signer: &RefCell<Signer>,
        call: &mut Call,
    ) -> Result<Inbound<C::Conn>, BackendError> {
        let mut attempt = 1;
        let mut fresh = false;
        loop {
            let broken = match self.attempt(signer, call, fresh).await {
                Ok(inbound)
                    if call.idempotent
                        && attempt < MAX_ATTEMPTS
                        && is_transient(inbound.head.status) =>
                {
                    self.discard(inbound).await;
                    None
                }
                Ok(inbound) => return Ok(inbound),
                Err(Broken::Stale) if !fresh => {
                    // Not an attempt: the store closed an idle connection (S3-TRAPS 19).
                    fresh = true;
                    continue;
                }
                Err(broken) => Some(broken),
            };
            if let Some(broken) = broken {
                let safe = call.idempotent || matches!(broken, Broken::Connect(_) | Broken::Stale);
                if attempt >= MAX_ATTEMPTS || !safe || matches!(broken, Broken::Protocol(_)) {
                    return Err(broken.into_error());
                }
            }
            self.back_off(attempt).await;
            attempt += 1;
        }
    }

    pub(crate) async fn back_off(&self, attempt: u32) {
        self.counters.retries.set(self.counters.retries.get() + 1);
        let base = BACK_OFF * (1 << attempt.min(6));
        sleep(base + jitter(base)).await;
    }

    async fn attempt(
        &self,
        signer: &RefCell<Signer>,
        call: &mut Call,
        fresh: bool,
    ) -> Result<Inbound<C::Conn>, Broken> {
        let mut link = if fresh { self.fresh_link().await? } else { self.link().await? };
        let payload = if call.body.is_empty() {
            PayloadHash::Empty
        } else {
            PayloadHash::of(&call.body)
        };
        signer.borrow_mut().sign(
            &call.method,
            &call.host,
            &call.path,
            &call.query,
            &mut call.headers,
            payload,
            unix_seconds(),
        );
        let mut output = std::mem::take(&mut link.output);
        output.clear();
        encode_call_head(&mut output, call);
        output.extend_from_slice(&call.body);
        link.conn.watch().deadline_in(self.timeouts.block);
        let (sent, output) = link.conn.write_buf(output).await;
        link.output = output;
        let written = sent.is_ok();
        // A store may answer and close before it has read everything: look for the answer either way.
        let wait = if call.long { self.timeouts.long_response } else { self.timeouts.response };
        match self.read_head(link, &call.method, wait).await {
            Ok(inbound) => Ok(inbound),
            Err(broken) if written => Err(broken),
            Err(Broken::Stale) => Err(Broken::Stale),
            Err(_) => Err(Broken::Sent(sent.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))),
        }
    }

    /// Reads a response's head from a link on which the request has been written.
    pub(crate) async fn read_head(
        &self,
        mut link: Link<C::Conn>,
        method: &Method,
        wait: Duration,
    ) -> Result<Inbound<C::Conn>, Broken> {
        let limits = Limits::default();
        link.conn.watch().deadline_in(wait);
        loop {
            match parse_response(&link.input[link.pos..], &limits, method) {
                Ok(Some((head, consumed))) => {
                    link.pos += consumed;
                    link.conn.watch().clear();
                    let remaining = match head.framing {
                        Framing::None | Framing::Length(0) => Remaining::Done,
                        Framing::Length(n) => Remaining::Length(n),
                        Framing::Chunked => Remaining::Chunked(Box::default()),
                        Framing::UntilClose => Remaining::UntilClose,
                    };
                    return Ok(Inbound { head, link: Some(link), remaining });
                }
                Ok(None) => {}
                Err(e) => return Err(Broken::Protocol(format!("the store's response head: {e}"))),
            }
            let had_bytes = link.pos < link.input.len();
            let mut input = std::mem::take(&mut link.input);
            input.reserve(HEAD_READ);
            let (got, input) = link.conn.read_buf(input).await;
            link.input = input;
            match got {
                Ok(0) | Err(_) if link.reused && !had_bytes && !link.conn.watch().expired() => {
                    return Err(Broken::Stale);
                }
                Ok(0) => return Err(Broken::Sent(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) => return Err(Broken::Sent(e)),
            }
        }
    }

    /// Reads the rest of a body that nobody wants, so that the connection can be kept; or closes it.
    pub(crate) async fn discard(&self, inbound: Inbound<C::Conn>) {
        let _ = self.document(inbound, MAX_DRAIN).await;
    }

    /// Reads a whole body of at most `limit` bytes and keeps the connection.
    pub(crate) async fn document(
        &self,
        mut inbound: Inbound<C::Conn>,
        limit: usize,
    ) -> Result<Vec<u8>, BackendError> {
        let mut body = Vec::new();
        while !inbound.is_done() {
            inbound.append(&mut body, limit, self.timeouts.block).await?;
        }
        self.finish(inbound);
        Ok(body)
    }

    /// Keeps the connection of a body that was read to its end.
    pub(crate) fn finish(&self, mut inbound: Inbound<C::Conn>) {
        if inbound.is_done()
            && inbound.head.keep_alive
            && let Some(link) = inbound.link.take()
        {
            self.keep(link);
        }
    }

    /// Turns a non-2xx answer into an error; its body is read whole.
    pub(crate) async fn answer_error(&self, inbound: Inbound<C::Conn>) -> BackendError {
        let status = inbound.head.status;
        if status == StatusCode::NOT_MODIFIED {
            let headers = inbound.head.headers.clone();
            self.discard(inbound).await;
            return BackendError::NotModified(Box::new(headers));
        }
        match self.document(inbound, MAX_DOCUMENT).await {
            Ok(body) if is_transient(status) => unavailable(format!(
                "it answered {status}: {}",
                S3Error::from_backend_xml(status, &body)
            )),
            Ok(body) => BackendError::Answer(S3Error::from_backend_xml(status, &body)),
            Err(e) => e,
        }
    }
}

impl<T: Transport> Link<T> {
    /// Replaces the output buffer's content by a request's head.
    pub(crate) fn put_head(&mut self, call: &Call) {
        self.output.clear();
        encode_call_head(&mut self.output, call);
    }

    /// Writes what is in the output buffer, then `spans` of `block`.
    pub(crate) async fn write(
        &mut self,
        block: Block,
        spans: Spans,
        within: Duration,
    ) -> (io::Result<()>, Block) {
        self.conn.watch().deadline_in(within);
        let output = std::mem::take(&mut self.output);
        let (result, mut output, block) = self.conn.write_all(output, block, spans).await;
        if result.is_ok() {
            output.clear();
        }
        self.output = output;
        self.conn.watch().clear();
        (result, block)
    }
}

impl<T: Transport> Inbound<T> {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.remaining, Remaining::Done)
    }

    /// Reads some of the body into `spans`; `Ok(0)` is the body's proper end.
    pub(crate) async fn read(
        &mut self,
        block: Block,
        spans: Spans,
        within: Duration,
    ) -> (io::Result<usize>, Block) {
        let mut block = block;
        let Some(link) = self.link.as_mut() else { return (Ok(0), block) };
        match &mut self.remaining {
            Remaining::Done => (Ok(0), block),
            Remaining::Length(left) => {
                let mut spans = spans;
                spans.to = spans.to.min(spans.from + usize::try_from(*left).unwrap_or(usize::MAX));
                let buffered = link.take_buffered(&mut block, spans);
                let (got, block) = if buffered > 0 {
                    (Ok(buffered), block)
                } else {
                    link.conn.watch().deadline_in(within);
                    link.conn.read(block, spans).await
                };
                match got {
                    Ok(0) => (Err(io::ErrorKind::UnexpectedEof.into()), block),
                    Ok(n) => {
                        *left -= n as u64;
                        if *left == 0 {
                            self.remaining = Remaining::Done;
                        }
                        (Ok(n), block)
                    }
                    Err(e) => (Err(e), block),
                }
            }
            Remaining::UntilClose => {
                let buffered = link.take_buffered(&mut block, spans);
                if buffered > 0 {
                    return (Ok(buffered), block);
                }
                link.conn.watch().deadline_in(within);
                let (got, block) = link.conn.read(block, spans).await;
                if matches!(got, Ok(0)) {
                    self.remaining = Remaining::Done;
                }
                (got, block)
            }
            Remaining::Chunked(decoder) => {
                loop {
                    let mut produced = 0;
                    for range in spans.ranges() {
                        let out = &mut block[range];
                        match decoder.decode(&link.input[link.pos..], out) {
                            Ok(step) => {
                                link.pos += step.consumed;
                                produced += step.produced;
                                if step.done {
                                    self.remaining = Remaining::Done;
                                    return (Ok(produced), block);
                                }
                                if step.produced < out.len() {
                                    break;
                                }
                            }
                            Err(e) => {
                                return (Err(io::Error::new(io::ErrorKind::InvalidData, e.to_string())), block);
                            }
                        }
                    }
                    if produced > 0 {
                        return (Ok(produced), block);
                    }
                    link.conn.watch().deadline_in(within);
                    match link.more().await {
                        Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), block),
                        Ok(_) => {}
                        Err(e) => return (Err(e), block),
                    }
                }
            }
        }
    }

    /// Appends some of the body to `body`.
    async fn append(
        &mut self,
        body: &mut Vec<u8>,
        limit: usize,
        within: Duration,
    ) -> Result<(), BackendError> {
        let too_long = || BackendError::Protocol(format!("the store's answer is longer than {limit} bytes"));
        let Some(link) = self.link.as_mut() else { return Err(BackendError::Protocol("no body".into())) };
        if link.pos == link.input.len() {
            link.conn.watch().deadline_in(within);
            let got = link.more().await.map_err(|e| Broken::Sent(e).into_error())?;
            if got == 0 {
                return match self.remaining {
                    Remaining::UntilClose => {
                        self.remaining = Remaining::Done;
                        Ok(())
                    }
                    _ => Err(Broken::Sent(io::ErrorKind::UnexpectedEof.into()).into_error()),
                };
            }
        }
        let input = &link.input[link.pos..];
        match &mut self.remaining {
            Remaining::Done => {}
            Remaining::Length(left) => {
                if *left > limit as u64 {
                    return Err(too_long());
                }
                let n = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                body.extend_from_slice(&input[..n]);
                link.pos += n;
                *left -= n as u64;
                if *left == 0 {
                    self.remaining = Remaining::Done;
                }
            }
            Remaining::UntilClose => {
                body.extend_from_slice(input);
                link.pos = link.input.len();
            }
            Remaining::Chunked(decoder) => {
                let start = body.len();
                body.resize(start + input.len(), 0);
                let step = decoder
                    .decode(input, &mut body[start..])
                    .map_err(|e| BackendError::Protocol(e.to_string()))?;
                body.truncate(start + step.produced);
                link.pos += step.consumed;
                if step.done {
                    self.remaining = Remaining::Done;
                }
            }
        }
        if body.len() > limit { Err(too_long()) } else { Ok(()) }
    }
}

impl<T: Transport> Link<T> {
    /// Copies bytes that came with the head into `spans`.
    fn take_buffered(&mut self, block: &mut Block, spans: Spans) -> usize {
        let mut copied = 0;
        for range in spans.ranges() {
            let input = &self.input[self.pos..];
            if input.is_empty() {
                break;
            }
            let n = input.len().min(range.len());
            block[range.start..range.start + n].copy_from_slice(&input[..n]);
            self.pos += n;
            copied += n;
        }
        copied
    }

    /// Reads more bytes into the input buffer, whose consumed bytes are dropped first.
    async fn more(&mut self) -> io::Result<usize> {
        let mut input = std::mem::take(&mut self.input);
        input.drain(..self.pos);
        self.pos = 0;
        input.reserve(16 << 10);
        let (got, input) = self.conn.read_buf(input).await;
        self.input = input;
        got
    }
}

fn encode_call_head(output: &mut Vec<u8>, call: &Call) {
    let mut target = Vec::with_capacity(call.path.len() + call.query.len() + 1);
    target.extend_from_slice(&call.path);
    if !call.query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(&call.query);
    }
    encode_request_head(output, &call.method, &target, &call.headers);
}

/// Answers that say "try again".
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Up to `most`, from the clock's low bits: it only has to differ between cores and moments.
fn jitter(most: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    most.mul_f64(f64::from(nanos % 1000) / 1000.0)
}
