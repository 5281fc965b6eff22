//! Verifying the signature of a client's request.

use http::{HeaderMap, Method};
use subtle::ConstantTimeEq;

use super::authorization::{Authorization, Signed};
use super::canonical;
use super::chunk::ChunkVerifier;
use super::keys::SecretKey;
pub use super::keys::SigningKeyCache;
use super::{CONTENT_SHA256, Payload, UNSIGNED_PAYLOAD};
use crate::encoding;
use crate::error::{ErrorCode, S3Error};
use crate::route::{Query, split_target};
use crate::time;

/// Most that a signed request's clock may be off, seconds (S3 API Reference, `RequestTimeTooSkewed`).
pub const MAX_SKEW: i64 = 15 * 60;

/// A request whose signature holds, or that needs none.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What the signature says of the body.
    pub payload: Payload,
    /// Verifies the chunks of a [`Payload::StreamingSigned`] body; see [`crate::aws_chunked::AwsChunked`].
    pub chunk_signer: Option<ChunkVerifier>,
    /// Region in the signature's scope; empty for anonymous requests.
    pub region: String,
    /// Whether a presigned URL was used.
    pub presigned: bool,
}

/// What is known of an anonymous request: only how its body is framed. Signed chunks need a signature to start from.
pub fn anonymous(headers: &HeaderMap) -> Result<Verified, S3Error> {
    let payload = Payload::from_headers(headers)?.unwrap_or(Payload::Unsigned);
    if matches!(payload, Payload::StreamingSigned { .. }) {
        return Err(S3Error::with_message(
            ErrorCode::InvalidRequest,
            "Signed chunks need a signed request.",
        ));
    }
    Ok(Verified {
        payload,
        chunk_signer: None,
        region: String::new(),
        presigned: false,
    })
}

/// Verifies a request against the secret of its access key. `target` is the raw request-target, `now` is in seconds
/// since the epoch.
///
/// Errors: `RequestTimeTooSkewed`; `AccessDenied` for a presigned URL outside of its time and for `x-amz-*` headers
/// that were not signed; `SignatureDoesNotMatch`; `InvalidRequest` or `InvalidArgument` for `x-amz-content-sha256`;
/// `InvalidURI`. An anonymous request is `AccessDenied`, a version 2 signature `InvalidRequest`.
pub fn verify(
    authorization: &Authorization,
    secret: &SecretKey,
    cache: &mut SigningKeyCache,
    method: &Method,
    target: &[u8],
    headers: &HeaderMap,
    now: i64,
) -> Result<Verified, S3Error> {
    let (signed, presigned) = match authorization {
        Authorization::Anonymous => return Err(S3Error::new(ErrorCode::AccessDenied)),
        // Only who allows it verifies it: `sigv2::Signed::verify`.
        Authorization::V2(_) => return Err(crate::sigv2::only_sigv4()),
        Authorization::Header(signed) => (signed, false),
        Authorization::Presigned(signed) => (signed, true),
    };
    if presigned {
        check_presigned_time(signed, now)?
    } else {
        check_skew(signed, now)?
    }
    let hash = payload_hash(signed, presigned, target, headers)?;
    check_all_signed(signed, presigned, headers, &hash)?;
    // The hash came from a header or from the query; either way it is what a header could hold.
    let payload = http::HeaderValue::from_bytes(&hash)
        .map_err(|_| S3Error::new(ErrorCode::InvalidArgument))
        .and_then(|v| Payload::parse(&v))?;

    let key = cache.get(
        secret,
        signed.credential.date,
        signed.credential.region.as_bytes(),
    );
    let mut text = std::mem::take(&mut cache.scratch);
    text.clear();
    let split = push_request(&mut text, signed, presigned, method, target, headers, &hash);
    let split = split.map_err(|_| S3Error::new(ErrorCode::InvalidURI))?;
    let right = key.sign(&text[split..]);
    let result = if bool::from(right.ct_eq(&signed.signature)) {
        let credential = &signed.credential;
        let chunk_signer = matches!(payload, Payload::StreamingSigned { .. }).then(|| {
            ChunkVerifier::new(
                key,
                signed.time,
                &credential.date,
                credential.region.as_bytes(),
                signed.signature,
            )
        });
        Ok(Verified {
            payload,
            chunk_signer,
            region: credential.region.clone(),
            presigned,
        })
    } else {
        Err(mismatch(signed, &text[..split], &text[split..]))
    };
    cache.scratch = text;
    result
}

/// Appends the canonical request and the string to sign; gives where the latter begins.
fn push_request(
    text: &mut Vec<u8>,
    signed: &Signed,
    presigned: bool,
    method: &Method,
    target: &[u8],
    headers: &HeaderMap,
    hash: &[u8],
) -> Result<usize, encoding::BadEscape> {
    let (path, query) = split_target(target);
    text.extend_from_slice(method.as_str().as_bytes());
    text.push(b'\n');
    encoding::recode_path(path, text)?;
    text.push(b'\n');
    canonical::push_query(query, presigned.then_some(b"X-Amz-Signature"), text)?;
    text.push(b'\n');
    for name in signed.signed_headers.split(';') {
        canonical::push_header(name, headers.get_all(name).iter(), text);
    }
    text.push(b'\n');
    text.extend_from_slice(signed.signed_headers.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(hash);
    let split = text.len();
    let credential = &signed.credential;
    canonical::push_string_to_sign(
        text,
        0,
        signed.time,
        &credential.date,
        credential.region.as_bytes(),
    );
    Ok(split)
}

fn check_skew(signed: &Signed, now: i64) -> Result<(), S3Error> {
    if now.abs_diff(signed.time) <= MAX_SKEW.unsigned_abs() {
        return Ok(());
    }
    Err(S3Error::new(ErrorCode::RequestTimeTooSkewed)
        .detail(
            "RequestTime",
            String::from_utf8_lossy(&time::amz_date(signed.time)),
        )
        .detail("ServerTime", time::iso8601_seconds(now))
        .detail("MaxAllowedSkewMilliseconds", (MAX_SKEW * 1000).to_string()))
}

/// A presigned URL holds from its date on for its life; only its beginning allows for skew (S3-TRAPS 3).
fn check_presigned_time(signed: &Signed, now: i64) -> Result<(), S3Error> {
    if signed.time - MAX_SKEW > now {
        return Err(S3Error::with_message(
            ErrorCode::AccessDenied,
            "Request is not valid yet",
        ));
    }
    let end = signed.time.saturating_add_unsigned(signed.expires);
    if now <= end {
        return Ok(());
    }
    Err(
        S3Error::with_message(ErrorCode::AccessDenied, "Request has expired")
            .detail("X-Amz-Expires", signed.expires.to_string())
            .detail("Expires", time::iso8601_seconds(end))
            .detail("ServerTime", time::iso8601_seconds(now)),
    )
}

/// The last line of the canonical request. A presigned URL has `UNSIGNED-PAYLOAD` unless it signed something else, as a
/// header or as a parameter.
fn payload_hash(
    signed: &Signed,
    presigned: bool,
    target: &[u8],
    headers: &HeaderMap,
) -> Result<Vec<u8>, S3Error> {
    let mut values = headers.get_all(CONTENT_SHA256).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(S3Error::with_message(
            ErrorCode::InvalidRequest,
            "More than one x-amz-content-sha256 header.",
        ));
    }
    if !presigned {
        let value = value.ok_or_else(|| {
            S3Error::with_message(
                ErrorCode::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?;
        return Ok(value.as_bytes().to_vec());
    }
    if let Some(value) = value.filter(|_| signed.covers(CONTENT_SHA256)) {
        return Ok(value.as_bytes().to_vec());
    }
    let (_, query) = split_target(target);
    let query = Query::parse(query)?;
    let named = query
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_SHA256));
    Ok(named
        .map_or(UNSIGNED_PAYLOAD, |(_, value)| value)
        .as_bytes()
        .to_vec())
}

/// Every `x-amz-*` header must be signed: whoever relays a request could otherwise add one.
fn check_all_signed(
    signed: &Signed,
    presigned: bool,
    headers: &HeaderMap,
    hash: &[u8],
) -> Result<(), S3Error> {
    let mut unsigned = headers.iter().filter(|(name, value)| {
        let name = name.as_str();
        name.starts_with("x-amz-")
            && !signed.covers(name)
            // Repeats what the signature already says.
            && !(presigned && name == CONTENT_SHA256 && value.as_bytes() == hash)
    });
    let Some((first, _)) = unsigned.next() else {
        return Ok(());
    };
    let mut names = vec![first.as_str()];
    names.extend(unsigned.map(|(name, _)| name.as_str()));
    names.dedup();
    Err(S3Error::with_message(
        ErrorCode::AccessDenied,
        "There were headers present in the request which were not signed",
    )
    .detail("HeadersNotSigned", names.join(", ")))
}

impl Signed {
    fn covers(&self, header: &str) -> bool {
        self.signed_headers.split(';').any(|name| name == header)
    }
}

/// What we calculated, so that a client's author can compare; all of it is the client's own.
fn mismatch(signed: &Signed, canonical_request: &[u8], string_to_sign: &[u8]) -> S3Error {
    let mut provided = Vec::with_capacity(64);
    encoding::push_hex(&signed.signature, &mut provided);
    S3Error::new(ErrorCode::SignatureDoesNotMatch)
        .detail("AWSAccessKeyId", &*signed.credential.access_key)
        .detail("StringToSign", String::from_utf8_lossy(string_to_sign))
        .detail("SignatureProvided", String::from_utf8_lossy(&provided))
        .detail(
            "CanonicalRequest",
            String::from_utf8_lossy(canonical_request),
        )
}
