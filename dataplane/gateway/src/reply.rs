//! Answers that are small enough to be made whole, and the headers that all answers share.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealgate_http1::spare_headers;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReplyBody,
}

#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// These bytes; none for 204 and 304.
    Bytes(Vec<u8>),
    /// HEAD: the length that a GET would have.
    HeadOf(u64),
    /// The operation has sent head and body itself.
    Sent,
}

impl Reply {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: spare_headers(),
            body: ReplyBody::Bytes(Vec::new()),
        }
    }

    pub(crate) fn ok() -> Self {
        Self::empty(StatusCode::OK)
    }

    pub(crate) fn xml(document: Vec<u8>) -> Self {
        let mut reply = Self::ok();
        reply.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
        reply.body = ReplyBody::Bytes(document);
        reply
    }

    pub(crate) fn sent(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: ReplyBody::Sent,
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        set(&mut self.headers, name, value);
        self
    }

    /// Says that the requester pays for what the store did.
    pub(crate) fn with_charge(mut self) -> Self {
        let name = HeaderName::from_static("x-amz-request-charged");
        let value = HeaderValue::from_static("requester");
        self.headers.entry(name).or_insert(value);
        self
    }

    pub(crate) fn with_all(mut self, headers: &HeaderMap) -> Self {
        for (name, value) in headers {
            self.headers.append(name.clone(), value.clone());
        }
        self
    }
}

/// Sets a header, if its value can stand in one.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// S3's own way to say that an ETag is no MD5: the object is under a KMS key (FORMAT, S3-TRAPS 8).
pub(crate) fn set_encryption(headers: &mut HeaderMap, key_name: &str) {
    headers.insert(
        "x-amz-server-side-encryption",
        HeaderValue::from_static("aws:kms"),
    );
    set(
        headers,
        HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id"),
        key_name,
    );
}

/// `"etag"`.
pub(crate) fn set_etag(headers: &mut HeaderMap, etag: &str) {
    let quoted = ["\"", etag, "\""].concat();
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(quoted)) {
        headers.insert(header::ETAG, value);
    }
}
