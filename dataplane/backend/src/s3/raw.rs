//! Requests as they are, for finding out what a store does: every answer is an answer.

use http::{HeaderMap, Method, StatusCode};
use sealgate_s3::route::RawKey;
use sealgate_s3::sigv4::sign::PayloadHash;
use sealgate_uring::Connector;

use super::S3Store;
use super::inbound::MAX_DOCUMENT;
use super::object::extend;
use super::wire::Repeat;
use crate::types::BackendError;

/// A request to a bucket or an object.
#[derive(Debug)]
pub struct RawRequest<'r> {
    /// Method.
    pub method: Method,
    /// Bucket.
    pub bucket: &'r str,
    /// Key in it.
    pub key: Option<&'r RawKey>,
    /// Parameters, not encoded yet.
    pub query: &'r [(&'r str, &'r str)],
    /// Headers besides those of the signature.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// The body is `aws-chunked` and ends with a trailer, and nothing of it is signed.
    pub trailer: bool,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct RawAnswer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl<C: Connector> S3Store<C> {
    /// Signs and sends a request; it is sent again only where the store has not done it.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, or does not speak HTTP.
    pub async fn raw(&self, request: RawRequest<'_>) -> Result<RawAnswer, BackendError> {
        let mut call = self.call(request.method, request.bucket, request.key, request.query);
        extend(&mut call.headers, &request.headers);
        call.body = request.body;
        call.repeat = Repeat::IfNotDone;
        call.long = true;
        if request.trailer {
            call.payload = Some(PayloadHash::UnsignedTrailer);
        }
        if !call.body.is_empty() || matches!(call.method, Method::POST | Method::PUT) {
            let length = call.body.len().to_string();
            super::headers::set(&mut call.headers, http::header::CONTENT_LENGTH, &length);
        }
        let inbound = self.wire.call(&self.signer, &mut call).await?;
        let (status, headers) = (inbound.head.status, inbound.head.headers.clone());
        let body = self.wire.document(inbound, MAX_DOCUMENT).await?;
        Ok(RawAnswer {
            status,
            headers,
            body,
        })
    }
}
