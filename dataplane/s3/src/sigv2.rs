//! AWS Signature Version 2 (S3 User Guide, "Signing and authenticating REST requests"): what clients from before 2014
//! send. It says nothing of the body and little of the headers, so a credential has to allow it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, header};
use subtle::ConstantTimeEq;

use crate::error::{ErrorCode, S3Error};
use crate::route::{Query, split_target};
use crate::sigv4::{MAX_SKEW, Payload, SecretKey, Verified};
use crate::time;

/// Longest access key that is looked at, bytes.
const MAX_ACCESS_KEY: usize = 256;

/// Parameters that are part of the resource that is signed; all others are not signed at all.
const SUB_RESOURCES: [&str; 36] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "encryption",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// A version 2 signature with what it says of itself.
#[derive(Clone)]
pub struct Signed {
    access_key: String,
    /// `None` for one that cannot be right: said only to whom version 2 is allowed.
    signature: Option<[u8; 20]>,
    /// Of a presigned URL: when it ends, seconds since the epoch.
    expires: Option<i64>,
}

impl std::fmt::Debug for Signed {
    /// Without the signature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// What S3 answers where only version 4 is taken.
pub fn only_sigv4() -> S3Error {
    S3Error::with_message(
        ErrorCode::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

/// A base64 SHA-1 HMAC.
pub(crate) fn parse_signature(text: &str) -> Option<[u8; 20]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

impl Signed {
    /// Reads what follows `AWS ` in an `Authorization` header: `access key:signature`.
    pub(crate) fn from_header(fields: &str) -> Result<Self, S3Error> {
        let parsed = fields.trim().split_once(':').and_then(|(key, signature)| {
            let fine = !key.is_empty() && key.len() <= MAX_ACCESS_KEY;
            Some((fine.then(|| key.to_owned())?, parse_signature(signature)))
        });
        let Some((access_key, signature)) = parsed else {
            return Err(S3Error::invalid_argument(
                "AWS authorization header is invalid. Expected AwsAccessKeyId:signature",
                "Authorization",
                "",
            ));
        };
        Ok(Self {
            access_key,
            signature,
            expires: None,
        })
    }

    /// Reads `AWSAccessKeyId`, `Signature` and `Expires` of a presigned URL; `None` when it has none of them.
    pub(crate) fn from_query(query: &Query) -> Result<Option<Self>, S3Error> {
        const NAMES: [&str; 3] = ["AWSAccessKeyId", "Signature", "Expires"];
        let [key, signature, expires] = NAMES.map(|name| query.get(name));
        if key.is_none() || signature.is_none() {
            return Ok(None);
        }
        let twice = |name: &&str| query.iter().filter(|(n, _)| n == name).count() > 1;
        let (Some(key), Some(signature), Some(expires), false) =
            (key, signature, expires, NAMES.iter().any(twice))
        else {
            return Err(S3Error::with_message(
                ErrorCode::AccessDenied,
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters, each once",
            ));
        };
        let digits = !expires.is_empty() && expires.bytes().all(|b| b.is_ascii_digit());
        let expires = expires.parse().ok().filter(|_| digits).ok_or_else(|| {
            S3Error::with_message(
                ErrorCode::AccessDenied,
                "Invalid date (should be seconds since epoch)",
            )
        })?;
        Ok(Some(Self {
            access_key: key.get(..MAX_ACCESS_KEY).unwrap_or(key).to_owned(),
            signature: parse_signature(signature),
            expires: Some(expires),
        }))
    }

    /// Access key id.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Whether it came in the query.
    pub fn is_presigned(&self) -> bool {
        self.expires.is_some()
    }

    /// Verifies a request. `host_bucket` is the bucket that the host names, where it names one; `now` is in seconds
    /// since the epoch.
    ///
    /// Errors: `SignatureDoesNotMatch`; `RequestTimeTooSkewed`; `AccessDenied` without a date and for an expired URL;
    /// `InvalidRequest` for a body whose chunks would be signed.
    pub fn verify(
        &self,
        secret: &SecretKey,
        method: &Method,
        target: &[u8],
        host_bucket: Option<&str>,
        headers: &HeaderMap,
        now: i64,
    ) -> Result<Verified, S3Error> {
        self.check_time(headers, now)?;
        let payload = Payload::from_headers(headers)?.unwrap_or(Payload::Unsigned);
        if matches!(payload, Payload::StreamingSigned { .. }) {
            return Err(S3Error::with_message(
                ErrorCode::InvalidRequest,
                "Signed chunks need a request that is signed with AWS4-HMAC-SHA256.",
            ));
        }
        let (path, raw_query) = split_target(target);
        let query = Query::parse(raw_query)?;
        let text = self.string_to_sign(method, path, &query, host_bucket, headers);
        let mut holds = self.matches(secret, &text);
        // A bucket may be signed as `/bucket/` whatever the path was: the virtual-host form of the same resource.
        if !holds && host_bucket.is_none() && memchr::memrchr(b'/', path) == Some(0) {
            let path = [path, b"/"].concat();
            let text = self.string_to_sign(method, &path, &query, None, headers);
            holds = self.matches(secret, &text);
        }
        if holds {
            return Ok(Verified {
                payload,
                chunk_signer: None,
                region: String::new(),
                presigned: self.is_presigned(),
            });
        }
        Err(S3Error::new(ErrorCode::SignatureDoesNotMatch)
            .detail("AWSAccessKeyId", &*self.access_key)
            .detail("StringToSign", String::from_utf8_lossy(&text)))
    }

    fn matches(&self, secret: &SecretKey, text: &[u8]) -> bool {
        let right = sign(secret, text);
        self.signature.is_some_and(|s| right.ct_eq(&s).into())
    }

    fn check_time(&self, headers: &HeaderMap, now: i64) -> Result<(), S3Error> {
        if let Some(end) = self.expires {
            if now <= end {
                return Ok(());
            }
            return Err(
                S3Error::with_message(ErrorCode::AccessDenied, "Request has expired")
                    .detail("Expires", time::iso8601_seconds(end))
                    .detail("ServerTime", time::iso8601_seconds(now)),
            );
        }
        let value = headers
            .get("x-amz-date")
            .or_else(|| headers.get(header::DATE));
        let date = value
            .and_then(|v| v.to_str().ok())
            .and_then(time::parse_http_date)
            .ok_or_else(|| {
                S3Error::with_message(
                    ErrorCode::AccessDenied,
                    "AWS authentication requires a valid Date or x-amz-date header",
                )
            })?;
        if now.abs_diff(date) <= MAX_SKEW.unsigned_abs() {
            return Ok(());
        }
        Err(S3Error::new(ErrorCode::RequestTimeTooSkewed)
            .detail("RequestTime", time::iso8601_seconds(date))
            .detail("ServerTime", time::iso8601_seconds(now))
            .detail("MaxAllowedSkewMilliseconds", (MAX_SKEW * 1000).to_string()))
    }

    fn string_to_sign(
        &self,
        method: &Method,
        path: &[u8],
        query: &Query,
        host_bucket: Option<&str>,
        headers: &HeaderMap,
    ) -> Vec<u8> {
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b'\n');
        for name in ["content-md5", "content-type"] {
            match headers.get(name) {
                Some(value) => text.extend_from_slice(value.as_bytes().trim_ascii()),
                // SDKs move these two into a presigned URL as well.
                None if self.is_presigned() => {
                    text.extend_from_slice(query.get(name).unwrap_or("").as_bytes());
                }
                None => {}
            }
            text.push(b'\n');
        }
        match self.expires {
            Some(end) => text.extend_from_slice(end.to_string().as_bytes()),
            None if headers.contains_key("x-amz-date") => {}
            None => {
                let date = headers.get(header::DATE).map_or(&b""[..], |v| v.as_bytes());
                text.extend_from_slice(date.trim_ascii());
            }
        }
        text.push(b'\n');
        self.push_amz_headers(headers, query, &mut text);
        push_resource(path, query, host_bucket, &mut text);
        text
    }

    /// All `x-amz-*` headers; of a presigned URL also those that its query holds, which are taken like headers.
    fn push_amz_headers(&self, headers: &HeaderMap, query: &Query, text: &mut Vec<u8>) {
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        for name in headers.keys().filter(|n| n.as_str().starts_with("x-amz-")) {
            let values: Vec<_> = headers
                .get_all(name)
                .iter()
                .map(|v| v.as_bytes().trim_ascii())
                .collect();
            all.push((name.as_str().to_owned(), values.join(&b","[..])));
        }
        for (name, value) in query.iter().filter(|_| self.is_presigned()) {
            let name = name.to_ascii_lowercase();
            if name.starts_with("x-amz-") && !headers.contains_key(name.as_str()) {
                all.push((name, value.as_bytes().to_vec()));
            }
        }
        all.sort_unstable();
        for (name, value) in all {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            text.extend_from_slice(&value);
            text.push(b'\n');
        }
    }
}

/// Bucket and path as they were sent, and the sub-resources with decoded values.
fn push_resource(path: &[u8], query: &Query, host_bucket: Option<&str>, text: &mut Vec<u8>) {
    if let Some(bucket) = host_bucket {
        text.push(b'/');
        text.extend_from_slice(bucket.as_bytes());
    }
    text.extend_from_slice(path);
    let mut named: Vec<_> = query
        .iter()
        .filter(|(name, _)| SUB_RESOURCES.contains(name))
        .collect();
    named.sort_unstable();
    for (i, (name, value)) in named.into_iter().enumerate() {
        text.push(if i == 0 { b'?' } else { b'&' });
        text.extend_from_slice(name.as_bytes());
        if !value.is_empty() {
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
        }
    }
}

/// The signature of a string to sign, or of a form's policy.
pub(crate) fn sign(secret: &SecretKey, text: &[u8]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.bytes());
    let mut out = [0; 20];
    hmac::sign_to_buffer(&key, text, &mut out).expect("HMAC-SHA-1 fits 20 bytes");
    out
}

#[cfg(test)]
mod tests;
