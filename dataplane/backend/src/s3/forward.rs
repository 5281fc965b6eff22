//! Operations that concern no object's bytes: passed on as the client put them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName};
use http::{Method, StatusCode};
use sealgate_s3::checksum::md5;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::Connector;

use super::inbound::Inbound;
use super::object::extend;
use super::wire::{MAX_ATTEMPTS, Repeat, is_transient};
use super::{S3Store, headers};
use crate::types::{BackendError, Forward, Forwarded};

/// Longest answer, bytes: twice the largest document that S3 takes (2 MiB, a replication configuration).
const MAX_ANSWER: usize = 4 << 20;

impl<C: Connector> S3Store<C> {
    /// Sends an operation on as it is, under this store's signature. The document goes with its MD5, which some
    /// operations ask for and none refuses.
    ///
    /// # Errors
    ///
    /// The store's answer, with the store's own code, message and status.
    pub async fn forward(&self, request: Forward<'_>) -> Result<Forwarded, BackendError> {
        let mut call = self.call(request.method, request.bucket, request.key, &request.query);
        extend(&mut call.headers, &request.headers);
        call.body = request.body;
        if !call.body.is_empty() {
            let digest = STANDARD.encode(md5(&call.body));
            let name = HeaderName::from_static("content-md5");
            headers::set(&mut call.headers, name, &digest);
        }
        if matches!(call.method, Method::PUT | Method::POST) {
            let len = call.body.len().to_string();
            headers::set(&mut call.headers, header::CONTENT_LENGTH, &len);
        }
        let mut attempt = 1;
        loop {
            let inbound = self.wire.call(&self.signer, &mut call).await?;
            self.note(&inbound.head.headers);
            let status = inbound.head.status;
            if !status.is_success() {
                return Err(self.refused(inbound).await);
            }
            let headers = headers::forwarded_headers(&inbound.head.headers);
            match self.wire.document(inbound, MAX_ANSWER).await {
                Ok(body) => {
                    return Ok(Forwarded {
                        status,
                        headers,
                        body,
                    });
                }
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

    /// A store's error as it is: its own status too, where it is not the one that S3 has for the code.
    async fn refused(&self, inbound: Inbound<C::Conn>) -> BackendError {
        let status = inbound.head.status;
        // A 500 is the operation's own answer on some stores; the others say that the store is not well.
        if is_transient(status) && status != StatusCode::INTERNAL_SERVER_ERROR {
            return self.wire.answer_error(inbound).await;
        }
        let body = self
            .wire
            .document(inbound, MAX_ANSWER)
            .await
            .unwrap_or_default();
        let mut error = S3Error::from_backend_xml(status, &body);
        if error.code.status() != status {
            error.code = ErrorCode::Other {
                status,
                code: error.code.as_str().into(),
            };
        }
        BackendError::Answer(error)
    }
}
