//! What a request's body must hash to: `x-amz-checksum-*` as header or trailer, `Content-MD5`, and the payload hash
//! that the signature covers.

mod algorithm;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq;

pub use algorithm::{Algorithm, Checksum, Hasher};

use crate::error::{ErrorCode, S3Error};
use crate::sigv4::Payload;

/// Header that announces a trailing checksum.
pub const TRAILER_HEADER: &str = "x-amz-trailer";
/// Header by which SDKs say which algorithm they used.
pub const SDK_ALGORITHM_HEADER: &str = "x-amz-sdk-checksum-algorithm";

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const CHECKSUM_PREFIX: &str = "x-amz-checksum-";
/// Headers with the prefix of a checksum that are none.
const NOT_VALUES: [&str; 3] = [
    "x-amz-checksum-mode",
    "x-amz-checksum-type",
    "x-amz-checksum-algorithm",
];

/// Where the value of a client's checksum comes from.
#[derive(Debug)]
enum Expected {
    Header(Checksum),
    Trailer,
}

/// Everything that a body must match. Bytes go in by [`Self::update`]; [`Self::finish`] decides.
pub struct BodyChecks {
    /// The client's checksum.
    client: Option<(Algorithm, Expected)>,
    /// Computed for the client's checksum or because the gateway wants it.
    hasher: Option<Hasher>,
    sha256: Option<(Box<digest::Context>, [u8; 32])>,
    md5: Option<(Box<Md5>, [u8; 16])>,
}

/// What is known of a body that matched.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// Checksum over the plaintext: the client's, or the one asked for by [`BodyChecks::ensure`].
    pub checksum: Option<Checksum>,
    /// Whether the checksum came from the client, not from us.
    pub from_client: bool,
    /// MD5, when the client sent one.
    pub md5: Option<[u8; 16]>,
    /// SHA-256, when the signature covers it.
    pub sha256: Option<[u8; 32]>,
}

impl BodyChecks {
    /// Reads what the headers promise.
    ///
    /// Errors: `InvalidDigest` for a malformed `Content-MD5`; `InvalidRequest` for more than one checksum, an unknown
    /// algorithm, a malformed value, or an announced algorithm without a value.
    pub fn from_headers(headers: &HeaderMap, payload: &Payload) -> Result<Self, S3Error> {
        let sha256 = match payload {
            Payload::Sha256(hash) => Some((Box::new(digest::Context::new(&digest::SHA256)), *hash)),
            _ => None,
        };
        let md5 = content_md5(headers)?.map(|value| (Box::new(Md5::new()), value));
        let client = client_checksum(headers)?;
        if matches!(client, Some((_, Expected::Trailer)))
            && !matches!(
                payload,
                Payload::StreamingSigned { trailer: true } | Payload::StreamingUnsignedTrailer
            )
        {
            return Err(S3Error::with_message(
                ErrorCode::InvalidRequest,
                "x-amz-trailer is only allowed with a STREAMING-…-TRAILER x-amz-content-sha256.",
            ));
        }
        let hasher = client
            .as_ref()
            .map(|(algorithm, _)| Hasher::new(*algorithm));
        Ok(Self {
            client,
            hasher,
            sha256,
            md5,
        })
    }

    /// Nothing but a checksum that is to be computed.
    pub fn only(algorithm: Algorithm) -> Self {
        Self {
            client: None,
            hasher: Some(Hasher::new(algorithm)),
            sha256: None,
            md5: None,
        }
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.hasher.is_none() && self.sha256.is_none() && self.md5.is_none()
    }

    /// Whether the client sent an integrity value in `Content-MD5` or `x-amz-checksum-*`, which `DeleteObjects` and
    /// some other operations need.
    pub fn has_integrity(&self) -> bool {
        self.client.is_some() || self.md5.is_some()
    }

    /// The algorithm that will be known at the end.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.client.as_ref().map(|(a, _)| *a)
    }

    /// Computes this algorithm when the client asked for none. Call it before the first byte.
    pub fn ensure(&mut self, algorithm: Algorithm) {
        if self.hasher.is_none() {
            self.hasher = Some(Hasher::new(algorithm));
        }
    }

    /// Adds plaintext bytes, in order.
    pub fn update(&mut self, data: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
        }
        if let Some((sha256, _)) = &mut self.sha256 {
            sha256.update(data);
        }
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(data);
        }
    }

    /// Compares. `trailers` are those of the decoded body, names in lower case.
    ///
    /// Errors: `XAmzContentSHA256Mismatch`, `BadDigest`, `MalformedTrailerError` when the announced checksum did not
    /// come, `InvalidRequest` when it is malformed.
    pub fn finish(self, trailers: &[(String, String)]) -> Result<Known, S3Error> {
        let mut known = Known::default();
        if let Some((context, expected)) = self.sha256 {
            let actual = context.finish();
            if !bool::from(actual.as_ref().ct_eq(&expected)) {
                return Err(S3Error::new(ErrorCode::XAmzContentSHA256Mismatch)
                    .detail("ClientComputedContentSHA256", hex(&expected))
                    .detail("S3ComputedContentSHA256", hex(actual.as_ref())));
            }
            known.sha256 = Some(expected);
        }
        if let Some((context, expected)) = self.md5 {
            let actual: [u8; 16] = context.finalize().into();
            if !bool::from(actual.ct_eq(&expected)) {
                return Err(S3Error::with_message(
                    ErrorCode::BadDigest,
                    "The Content-MD5 you specified did not match what we received.",
                )
                .detail("ExpectedDigest", STANDARD.encode(expected))
                .detail("CalculatedDigest", STANDARD.encode(actual)));
            }
            known.md5 = Some(actual);
        }
        known.checksum = self.hasher.map(Hasher::finish);
        if let (Some((algorithm, expected)), Some(actual)) = (&self.client, &known.checksum) {
            let expected = match expected {
                Expected::Header(value) => *value,
                Expected::Trailer => {
                    let value = trailers.iter().find(|(name, _)| name == algorithm.header());
                    let (_, value) =
                        value.ok_or_else(|| S3Error::new(ErrorCode::MalformedTrailerError))?;
                    Checksum::from_base64(*algorithm, value.as_bytes())
                        .ok_or_else(|| malformed(algorithm.header()))?
                }
            };
            if !bool::from(expected.as_bytes().ct_eq(actual.as_bytes())) {
                return Err(S3Error::with_message(
                    ErrorCode::BadDigest,
                    format!("The {algorithm} you specified did not match the calculated checksum."),
                ));
            }
            known.from_client = true;
        }
        Ok(known)
    }
}

impl std::fmt::Debug for BodyChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyChecks")
            .field("client", &self.client)
            .field("sha256", &self.sha256.is_some())
            .field("md5", &self.md5.is_some())
            .finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    crate::encoding::push_hex(bytes, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads `Content-MD5`: base64 of 16 bytes, or `InvalidDigest`.
fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = headers.get(CONTENT_MD5) else {
        return Ok(None);
    };
    let mut bytes = [0; 18];
    match STANDARD.decode_slice(value.as_bytes().trim_ascii(), &mut bytes) {
        Ok(16) if headers.get_all(CONTENT_MD5).iter().count() == 1 => {
            let mut md5 = [0; 16];
            md5.copy_from_slice(&bytes[..16]);
            Ok(Some(md5))
        }
        _ => Err(S3Error::new(ErrorCode::InvalidDigest)
            .detail("Content-MD5", String::from_utf8_lossy(value.as_bytes()))),
    }
}

fn malformed(header: &str) -> S3Error {
    S3Error::with_message(
        ErrorCode::InvalidRequest,
        format!("Value for {header} header is invalid."),
    )
}

fn more_than_one() -> S3Error {
    S3Error::with_message(
        ErrorCode::InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

/// The one checksum that the client sends as a header or announces as a trailer.
fn client_checksum(headers: &HeaderMap) -> Result<Option<(Algorithm, Expected)>, S3Error> {
    let mut found: Option<(Algorithm, Expected)> = None;
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with(CHECKSUM_PREFIX) || NOT_VALUES.contains(&name) {
            continue;
        }
        let algorithm = Algorithm::from_header(name).ok_or_else(|| {
            S3Error::with_message(
                ErrorCode::InvalidRequest,
                "The algorithm type you specified in x-amz-checksum- header is invalid.",
            )
        })?;
        if found.is_some() {
            return Err(more_than_one());
        }
        let value = Checksum::from_base64(algorithm, value.as_bytes().trim_ascii());
        found = Some((
            algorithm,
            Expected::Header(value.ok_or_else(|| malformed(name))?),
        ));
    }
    for name in announced_trailers(headers)? {
        let Some(rest) = name.strip_prefix(CHECKSUM_PREFIX) else {
            continue;
        };
        let algorithm = Algorithm::from_name(rest).ok_or_else(|| {
            S3Error::with_message(
                ErrorCode::InvalidRequest,
                "The value specified in the x-amz-trailer header is not supported",
            )
        })?;
        if found.is_some() {
            return Err(more_than_one());
        }
        found = Some((algorithm, Expected::Trailer));
    }
    if let Some(value) = headers.get(SDK_ALGORITHM_HEADER) {
        let named = value.to_str().ok().and_then(|v| Algorithm::from_name(v.trim())).ok_or_else(|| {
            S3Error::with_message(
                ErrorCode::InvalidRequest,
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                 [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        })?;
        match &found {
            None if !headers.contains_key(CONTENT_MD5) => {
                return Err(S3Error::with_message(
                    ErrorCode::InvalidRequest,
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                     headers were found.",
                ));
            }
            Some((algorithm, _)) if *algorithm != named => {
                return Err(S3Error::with_message(
                    ErrorCode::InvalidRequest,
                    "Value for x-amz-sdk-checksum-algorithm header is invalid.",
                ));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Most trailers that may be announced: S3 knows one at a time.
const MAX_TRAILERS: usize = 4;

/// Names in `x-amz-trailer`, in lower case.
pub(crate) fn announced_trailers(headers: &HeaderMap) -> Result<Vec<String>, S3Error> {
    let mut names = Vec::new();
    for value in headers.get_all(TRAILER_HEADER) {
        let text = value.to_str().map_err(|_| malformed(TRAILER_HEADER))?;
        for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            if names.len() == MAX_TRAILERS {
                return Err(malformed(TRAILER_HEADER));
            }
            names.push(name.to_ascii_lowercase());
        }
    }
    Ok(names)
}

/// MD5 of a body in memory.
pub fn md5(body: &[u8]) -> [u8; 16] {
    Md5::digest(body).into()
}

/// `Content-MD5` of a body that we send, as `DeleteObjects` needs it (S3-TRAPS 6).
pub fn content_md5_of(body: &[u8]) -> HeaderValue {
    HeaderValue::try_from(STANDARD.encode(md5(body))).expect("base64 is a legal header value")
}

#[cfg(test)]
mod tests;
