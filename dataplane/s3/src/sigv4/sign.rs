//! Signing our requests to a store.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use super::canonical;
use super::chunk::ChunkVerifier;
use super::keys::{SecretKey, SigningKey};
use super::{CONTENT_SHA256, EMPTY_SHA256, UNSIGNED_PAYLOAD};
use crate::encoding;
use crate::time;

/// What the signature says of the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PayloadHash {
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// The body's SHA-256.
    Hash([u8; 32]),
    /// There is no body.
    Empty,
    /// It is sent as `aws-chunked` and ends with a trailer: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

impl PayloadHash {
    /// The hash of a body that is in memory.
    pub fn of(body: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self::Hash(hash)
    }

    /// As `x-amz-content-sha256` says it.
    fn header(self) -> HeaderValue {
        match self {
            Self::Unsigned => HeaderValue::from_static(UNSIGNED_PAYLOAD),
            Self::Empty => HeaderValue::from_static(EMPTY_SHA256),
            Self::Hash(hash) => {
                let mut digits = Vec::with_capacity(2 * hash.len());
                encoding::push_hex(&hash, &mut digits);
                HeaderValue::from_maybe_shared(Bytes::from(digits)).expect("digits")
            }
            Self::UnsignedTrailer => HeaderValue::from_static(UNSIGNED_TRAILER),
        }
    }
}

/// Payload that is sent as `aws-chunked` with a trailer and without signatures.
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
/// Payload that is sent as `aws-chunked` with a signature per chunk and no trailers.
const STREAMING_PAYLOAD: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/// The same with trailers, which are signed too.
const STREAMING_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static(CONTENT_SHA256);
const AMZ_TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");
const AMZ_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers that are signed besides `host` and all `x-amz-*`: those that change what a request does and that no proxy
/// on the way may change.
const ALSO_SIGNED: [HeaderName; 3] = [
    HeaderName::from_static("content-md5"),
    header::CONTENT_TYPE,
    header::RANGE,
];

/// Signs as one user of a store. One per core and user; it keeps the day's key.
pub struct Signer {
    access_key: String,
    secret: SecretKey,
    session_token: Option<Zeroizing<String>>,
    region: String,
    key: Option<([u8; 8], SigningKey)>,
    scratch: Vec<u8>,
}

impl Signer {
    /// A signer for a region. Of the access key only printable ASCII survives in the header.
    pub fn new(
        access_key: impl Into<String>,
        secret: SecretKey,
        session_token: Option<Zeroizing<String>>,
        region: impl Into<String>,
    ) -> Self {
        Self {
            access_key: access_key.into(),
            secret,
            session_token,
            region: region.into(),
            key: None,
            scratch: Vec::with_capacity(1024),
        }
    }

    /// The access key it signs with.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Signs a request: sets `host`, `x-amz-date`, `x-amz-content-sha256`, the session token and `authorization`,
    /// replacing what an earlier attempt set.
    ///
    /// `encoded_path` must be in canonical encoding (see [`crate::route::encode_key`]) and is sent as it is; `query` is
    /// the raw query as sent, without `?`; `now` is in seconds since the epoch. All `x-amz-*` headers must be set before.
    #[allow(clippy::too_many_arguments)] // A request is these parts; a struct would be built and torn apart per call.
    pub fn sign(
        &mut self,
        method: &Method,
        host: &str,
        encoded_path: &[u8],
        query: &[u8],
        headers: &mut HeaderMap,
        payload: PayloadHash,
        now: i64,
    ) {
        let payload = payload.header();
        self.sign_as(method, host, encoded_path, query, headers, payload, now);
    }

    /// Signs a request whose body follows as `aws-chunked` with signed chunks
    /// (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`): the same as [`Signer::sign`], and gives what signs the chunks, and the
    /// trailers where the headers announce some (`…-TRAILER`).
    ///
    /// `x-amz-decoded-content-length` must be among the headers.
    pub fn sign_streaming(
        &mut self,
        method: &Method,
        host: &str,
        encoded_path: &[u8],
        query: &[u8],
        headers: &mut HeaderMap,
        now: i64,
    ) -> ChunkVerifier {
        let payload = match headers.contains_key(AMZ_TRAILER) {
            true => STREAMING_TRAILER,
            false => STREAMING_PAYLOAD,
        };
        let payload = HeaderValue::from_static(payload);
        let (key, date, seed) =
            self.sign_as(method, host, encoded_path, query, headers, payload, now);
        ChunkVerifier::new(key, now, &date, self.region.as_bytes(), seed)
    }

    /// Signs; gives the key, its day and the signature.
    #[allow(clippy::too_many_arguments)] // As above.
    fn sign_as(
        &mut self,
        method: &Method,
        host: &str,
        encoded_path: &[u8],
        query: &[u8],
        headers: &mut HeaderMap,
        payload: HeaderValue,
        now: i64,
    ) -> (SigningKey, [u8; 8], [u8; 32]) {
        let amz_date = time::amz_date(now);
        let mut date = [0; 8];
        date.copy_from_slice(&amz_date[..8]);
        headers.remove(header::AUTHORIZATION);
        if headers.get(header::HOST).is_none_or(|now| now != host) {
            set(headers, header::HOST, host.as_bytes());
        }
        set(headers, AMZ_DATE, &amz_date);
        headers.insert(AMZ_CONTENT_SHA256, payload.clone());
        if let Some(token) = &self.session_token {
            set(headers, AMZ_TOKEN, token.as_bytes());
        }

        let signed = signed_headers(headers);
        let text = &mut self.scratch;
        text.clear();
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b'\n');
        text.extend_from_slice(encoded_path);
        text.push(b'\n');
        // Only what we encoded ourselves comes here; a broken escape would be signed as it stands and refused.
        if canonical::push_query(query, None, text).is_err() {
            text.extend_from_slice(query);
        }
        text.push(b'\n');
        for name in &signed {
            canonical::push_header(name.as_str(), headers.get_all(name).iter(), text);
        }
        text.push(b'\n');
        push_names(&signed, text);
        text.push(b'\n');
        text.extend_from_slice(payload.as_bytes());
        let split = text.len();
        canonical::push_string_to_sign(text, 0, now, &date, self.region.as_bytes());

        let key = match &self.key {
            Some((day, key)) if *day == date => key,
            _ => {
                let key = SigningKey::derive(&self.secret, &date, self.region.as_bytes(), b"s3");
                &self.key.insert((date, key)).1
            }
        };
        let signature = key.sign(&self.scratch[split..]);
        let mut value = Vec::with_capacity(256);
        value.extend_from_slice(b"AWS4-HMAC-SHA256 Credential=");
        value.extend_from_slice(self.access_key.as_bytes());
        value.push(b'/');
        value.extend_from_slice(&date);
        value.push(b'/');
        value.extend_from_slice(self.region.as_bytes());
        value.extend_from_slice(b"/s3/aws4_request,SignedHeaders=");
        push_names(&signed, &mut value);
        value.extend_from_slice(b",Signature=");
        encoding::push_hex(&signature, &mut value);
        if let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        (key.clone(), date, signature)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({}, {})", self.access_key, self.region)
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

/// The names to sign, sorted.
fn signed_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = headers
        .keys()
        .filter(|n| {
            **n == header::HOST || n.as_str().starts_with("x-amz-") || ALSO_SIGNED.contains(n)
        })
        .cloned()
        .collect();
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names
}

fn push_names(names: &[HeaderName], out: &mut Vec<u8>) {
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_str().as_bytes());
    }
}
