//! Any S3 store over HTTP or HTTPS.

mod body;
mod bucket;
mod conditional;
mod distance;
mod forward;
mod headers;
mod inbound;
mod link;
mod multipart;
mod object;
pub mod preset;
mod raw;
mod upload;
mod versions;
mod wire;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, header};
use sealgate_http1::spare_headers;
use sealgate_s3::checksum::Algorithm;
use sealgate_s3::route::{RawKey, encode_key};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_uring::Connector;

pub use body::{S3Body, Stop};
pub use conditional::Unkept;
pub use raw::{RawAnswer, RawRequest};
pub use upload::S3Upload;
pub use wire::{StoreCounters, StoreTimeouts};

use crate::types::{BackendError, Location};
use distance::Verdict;
use inbound::{Inbound, MAX_DOCUMENT};
use preset::{Condition, Preset};
use wire::{Call, MAX_ATTEMPTS, Repeat, Wire};

/// Longest `PutObject` that S3 takes, bytes (User Guide, "Uploading objects": 5 GiB). Longer ones become multipart
/// uploads (S3-TRAPS 26).
pub const MAX_SINGLE_PUT: u64 = 5 << 30;

/// Length of the parts of such an upload, bytes: few enough for one completion, small enough to be refused early.
pub const PUT_PART: u64 = 512 << 20;
/// [`S3Options::far`] unless configured: a request ahead costs less than waiting for its answer. In one data centre an
/// answer takes less; across a continent, or from a store that thinks first, ten times as much.
pub const FAR: Duration = Duration::from_millis(4);

/// What stands for a written body in the signature.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PayloadSigning {
    /// Nothing: `UNSIGNED-PAYLOAD`. TLS protects the bytes on the way, and the envelope authenticates them for ever.
    #[default]
    Unsigned,
    /// Its SHA-256, or, for a body that comes in several writes, the SHA-256 of each chunk
    /// (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`).
    Signed,
}

/// How to address and sign to a store.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `host[:port]` as it stands in the `Host` header.
    pub authority: String,
    /// `https://host/bucket/key` rather than `https://bucket.host/key`.
    pub path_style: bool,
    /// What stands for written bodies in signatures.
    pub payload: PayloadSigning,
    /// The checksum that goes with written bodies: a CRC, since only those can be made of parts.
    pub checksum: Option<Algorithm>,
    /// Longest body of one `PutObject`, bytes; see [`MAX_SINGLE_PUT`].
    pub put_limit: u64,
    /// Length of the parts that a longer one is cut into, bytes; not 0. See [`PUT_PART`].
    pub put_part: u64,
    /// What the store is known to do.
    pub preset: &'static Preset,
    /// What becomes of conditions that it does not keep.
    pub unkept: Unkept,
    /// Ranges of one object that are read from a store far away at the same time, and parts that are written, at most;
    /// 1 for one after another.
    pub parallel: usize,
    /// Time to an answer from which on a store is far away.
    pub far: Duration,
    /// Time-outs.
    pub timeouts: StoreTimeouts,
}

impl Default for S3Options {
    /// Path style, unsigned payloads, the limits of AWS; the authority is still to be named.
    fn default() -> Self {
        Self {
            authority: String::new(),
            path_style: true,
            payload: PayloadSigning::Unsigned,
            checksum: None,
            put_limit: MAX_SINGLE_PUT,
            put_part: PUT_PART,
            preset: &preset::GENERIC,
            unkept: Unkept::default(),
            parallel: 1,
            far: FAR,
            timeouts: StoreTimeouts::default(),
        }
    }
}

/// One core's view of an S3 store, for one of the store's users.
///
/// Views made by [`S3Store::signed_by`] share connections.
pub struct S3Store<C: Connector> {
    wire: Rc<Wire<C>>,
    options: Rc<S3Options>,
    signer: Rc<RefCell<Signer>>,
    standing: Option<Rc<Standing>>,
}

/// What goes with every request to the store that one request of a client's needs.
struct Standing {
    headers: HeaderMap,
    /// Whether the store has said that the requester pays.
    charged: Cell<bool>,
}

impl<C: Connector> Clone for S3Store<C> {
    fn clone(&self) -> Self {
        Self {
            wire: Rc::clone(&self.wire),
            options: Rc::clone(&self.options),
            signer: Rc::clone(&self.signer),
            standing: self.standing.clone(),
        }
    }
}

impl<C: Connector> S3Store<C> {
    /// A store reached by `connector`, whose requests `signer` signs.
    pub fn new(connector: C, options: S3Options, signer: Signer) -> Self {
        Self {
            wire: Rc::new(Wire::new(connector, options.timeouts, options.far)),
            options: Rc::new(options),
            signer: Rc::new(RefCell::new(signer)),
            standing: None,
        }
    }

    /// The same store as another of its users.
    pub fn signed_by(&self, signer: Signer) -> Self {
        Self {
            signer: Rc::new(RefCell::new(signer)),
            ..self.clone()
        }
    }

    /// The same store; `headers` go with every request to it.
    pub fn with_headers(&self, headers: HeaderMap) -> Self {
        let charged = Cell::new(false);
        Self {
            standing: Some(Rc::new(Standing { headers, charged })),
            ..self.clone()
        }
    }

    /// Whether a store made by [`S3Store::with_headers`] has said of any of its requests that the requester pays.
    pub fn charged(&self) -> bool {
        self.standing.as_ref().is_some_and(|s| s.charged.get())
    }

    /// What the store is known to do.
    #[must_use]
    pub fn preset(&self) -> &'static Preset {
        self.options.preset
    }

    /// The checksum that goes with written bodies.
    #[must_use]
    pub fn checksum(&self) -> Option<Algorithm> {
        self.options.checksum
    }

    /// Whether the store checks conditions on the source of a copy, and copies what it checked. Where it is left to
    /// find that out for itself, it is believed to.
    #[must_use]
    pub fn pins_copies(&self) -> bool {
        self.options.unkept == Unkept::Sent || self.options.preset.keeps(Condition::CopySource)
    }

    /// Whether a copy of an object onto itself loses nothing that is written meanwhile.
    #[must_use]
    pub fn copies_in_place(&self) -> bool {
        self.pins_copies()
            && (self.options.unkept == Unkept::Sent || self.options.preset.atomic_copies)
    }

    /// Requests that one object may have on their way to the store at the same time: more than one only as long as the
    /// store is far.
    #[must_use]
    pub fn streams(&self) -> usize {
        match self.wire.distance.verdict() {
            Verdict::Far => self.options.parallel,
            Verdict::Near | Verdict::Unsure(_) => 1,
        }
    }

    /// The same of an object that is long, and may be read otherwise halfway: one answer does, as long as none was
    /// quick. What it costs to be wrong is a few requests.
    #[must_use]
    pub fn streams_so_far(&self) -> usize {
        match self.wire.distance.verdict() {
            Verdict::Far | Verdict::Unsure(1..) => self.options.parallel,
            Verdict::Near | Verdict::Unsure(0) => 1,
        }
    }

    /// [`S3Store::streams`] of something that cannot be changed once it has begun: a store that has not said enough is
    /// asked first for what costs nothing, whatever it answers. A core does so once.
    ///
    /// # Errors
    ///
    /// No answer.
    async fn streams_for_sure(&self, bucket: &str) -> Result<usize, BackendError> {
        while self.options.parallel > 1
            && matches!(self.wire.distance.verdict(), Verdict::Unsure(_))
        {
            let mut call = self.call(Method::HEAD, bucket, None, &[]);
            let inbound = self.wire.call(&self.signer, &mut call).await?;
            self.wire.discard(inbound).await;
        }
        Ok(self.streams())
    }

    /// The least time that the store has taken to answer of late.
    #[must_use]
    pub fn distance(&self) -> Option<Duration> {
        self.wire.distance.least()
    }

    /// Connections, retries and resumes so far.
    pub fn counters(&self) -> &StoreCounters {
        &self.wire.counters
    }

    /// A request to a bucket or, without one, to the service.
    fn call(
        &self,
        method: Method,
        bucket: &str,
        key: Option<&RawKey>,
        query: &[(&str, &str)],
    ) -> Call {
        let mut path = Vec::with_capacity(bucket.len() + key.map_or(0, |k| k.as_ref().len()) + 16);
        path.push(b'/');
        let virtual_host = !self.options.path_style && !bucket.is_empty();
        if !virtual_host && !bucket.is_empty() {
            path.extend_from_slice(bucket.as_bytes());
        }
        if let Some(key) = key {
            if !virtual_host {
                path.push(b'/');
            }
            encode_key(key.as_ref(), &mut path);
        }
        let host = if virtual_host {
            format!("{bucket}.{}", self.options.authority)
        } else {
            self.options.authority.clone()
        };
        let mut headers = spare_headers();
        headers::set(&mut headers, header::HOST, &host);
        if let Some(standing) = &self.standing {
            object::extend(&mut headers, &standing.headers);
        }
        Call {
            repeat: if method == Method::POST {
                Repeat::IfNotDone
            } else {
                Repeat::Always
            },
            method,
            host,
            path,
            query: canonical_query(query),
            headers,
            body: Vec::new(),
            payload: None,
            long: false,
        }
    }

    /// A request to an object, or to the version of it that is meant.
    fn call_on(&self, method: Method, at: &Location) -> Call {
        let mut call = self.call(method, &at.bucket, Some(&at.key), &[]);
        if let Some(version) = &at.version {
            call.query = canonical_query(&[("versionId", version)]);
        }
        call
    }

    /// Sends a call and gives its answer if that is a success.
    async fn send(&self, call: &mut Call) -> Result<Inbound<C::Conn>, BackendError> {
        if !call.body.is_empty() || call.method == Method::POST {
            headers::set(
                &mut call.headers,
                header::CONTENT_LENGTH,
                &call.body.len().to_string(),
            );
        }
        let inbound = self.wire.call(&self.signer, call).await?;
        self.note(&inbound.head.headers);
        if inbound.head.status.is_success() {
            Ok(inbound)
        } else {
            Err(self.wire.answer_error(inbound).await)
        }
    }

    /// Notes what an answer says of all that the client asked for.
    fn note(&self, answer: &HeaderMap) {
        if let Some(standing) = &self.standing
            && answer.contains_key("x-amz-request-charged")
        {
            standing.charged.set(true);
        }
    }

    /// Sends a call and gives its answer's headers and whole body; a body that breaks off is asked for again where
    /// that is safe.
    async fn fetch(&self, call: &mut Call) -> Result<(HeaderMap, Vec<u8>), BackendError> {
        let mut attempt = 1;
        loop {
            let mut inbound = self.send(call).await?;
            let headers = std::mem::take(&mut inbound.head.headers);
            match self.wire.document(inbound, MAX_DOCUMENT).await {
                Ok(body) => return Ok((headers, body)),
                Err(BackendError::Unavailable { .. })
                    if call.repeat == Repeat::Always && attempt < MAX_ATTEMPTS =>
                {
                    self.wire.back_off(attempt).await;
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// Sorted and encoded as SigV4 wants it; a value of "" gives `name=`.
fn canonical_query(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut encoded: Vec<(Vec<u8>, Vec<u8>)> = pairs
        .iter()
        .map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())))
        .collect();
    encoded.sort();
    let mut query = Vec::new();
    for (name, value) in encoded {
        if !query.is_empty() {
            query.push(b'&');
        }
        query.extend_from_slice(&name);
        query.push(b'=');
        query.extend_from_slice(&value);
    }
    query
}

/// RFC 3986 encoding of everything but unreserved characters, `/` included.
fn encode(bytes: &[u8]) -> Vec<u8> {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encoding::percent_encode(bytes, KEPT)
        .collect::<String>()
        .into_bytes()
}
