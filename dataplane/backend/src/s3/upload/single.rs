//! A body that goes to the store as one request.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};
use sealgate_s3::aws_chunked::DECODED_LENGTH;
use sealgate_s3::checksum::{Algorithm, Checksum, Hasher};
use sealgate_s3::error::ErrorCode;
use sealgate_s3::sigv4::sign::{PayloadHash, Signer};
use sealgate_uring::{Block, Connector, Spans};

use super::chunks::{self, Chunks, hash};
use super::plain::{self, Plain};
use crate::s3::inbound::Inbound;
use crate::s3::link::Link;
use crate::s3::wire::{Broken, Call, MAX_ATTEMPTS, Wire, unavailable, unix_seconds};
use crate::s3::{PayloadSigning, S3Options, headers};
use crate::types::{BackendError, Stored};

/// One request with a streamed body; see [`super::S3Upload`].
pub(in crate::s3) struct SingleUpload<C: Connector> {
    wire: Rc<Wire<C>>,
    signer: Rc<RefCell<Signer>>,
    call: Call,
    signing: PayloadSigning,
    /// The checksum that goes with the body.
    sum: Option<Algorithm>,
    /// It, of a body that came in one write.
    summed: Option<Checksum>,
    /// Decided by the first write.
    form: Option<Form>,
    link: Option<(Link<C::Conn>, Frames)>,
    /// Payload bytes handed to the connection.
    sent: u64,
    len: u64,
    /// Attempts so far, this one included.
    attempt: u32,
    /// A kept connection turned out to be closed: no other one is tried.
    fresh: bool,
    failed: bool,
}

/// What stands for the body in the signature, and how it is framed.
enum Form {
    Unsigned,
    /// Its hash, known because the first write is the only one.
    Hashed([u8; 32]),
    /// `aws-chunked`: a signature for each chunk, a checksum at the end, or both.
    Chunked,
}

/// What frames the body on one connection.
enum Frames {
    /// Nothing does.
    Bare,
    Signed(Chunks),
    Unsigned(Plain),
}

/// What came instead of success.
enum Setback<T> {
    /// No answer.
    Broken(Broken),
    /// An answer. It may be a 2xx, but came before the body was sent.
    Refused(Inbound<T>),
}

impl<C: Connector> SingleUpload<C> {
    pub(in crate::s3) fn new(
        wire: Rc<Wire<C>>,
        signer: Rc<RefCell<Signer>>,
        call: Call,
        options: &S3Options,
        len: u64,
    ) -> Self {
        Self {
            wire,
            signer,
            call,
            signing: options.payload,
            sum: options.checksum,
            summed: None,
            form: None,
            link: None,
            sent: 0,
            len,
            attempt: 1,
            fresh: false,
            failed: false,
        }
    }

    pub(super) async fn write(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<(), BackendError>, Block) {
        if self.form.is_none()
            && let Err(e) = self.decide(None)
        {
            return (Err(e), block);
        }
        self.send(block, spans).await
    }

    pub(super) async fn finish(
        mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<Stored, BackendError>, Block) {
        let replayable = self.sent == 0;
        let total = self.sent + spans.len() as u64;
        if total != self.len {
            let what = format!("{total} of {} bytes were to be stored", self.len);
            return (Err(BackendError::Protocol(what)), block);
        }
        if self.form.is_none()
            && let Err(e) = self.decide(Some((&block, spans)))
        {
            return (Err(e), block);
        }
        let mut block = block;
        loop {
            let (sent, back) = self.send(block, spans).await;
            block = back;
            if let Err(e) = sent {
                return (Err(e), block);
            }
            let Some((link, frames)) = self.link.take() else {
                unreachable!("`send` leaves a link")
            };
            let framed = match frames {
                Frames::Bare => self.summed,
                Frames::Signed(chunks) => chunks.summed(),
                Frames::Unsigned(plain) => plain.summed(),
            };
            let wait = self.wire.timeouts.response;
            let setback = match self
                .wire
                .answer(link, &self.call.method, Ok(()), wait)
                .await
            {
                Ok(inbound) if inbound.head.status.is_success() => {
                    return (self.stored(inbound, framed).await, block);
                }
                Ok(inbound) => Setback::Refused(inbound),
                Err(broken) => Setback::Broken(broken),
            };
            if let Err(e) = self.again(setback, replayable).await {
                return (Err(e), block);
            }
            self.sent = 0;
        }
    }

    /// Chooses the form of the body, which is `whole` or comes in pieces.
    fn decide(&mut self, whole: Option<(&Block, Spans)>) -> Result<(), BackendError> {
        let form = match (self.signing, whole) {
            (PayloadSigning::Unsigned, None) if self.sum.is_some() => Form::Chunked,
            (PayloadSigning::Unsigned, _) => Form::Unsigned,
            (PayloadSigning::Signed, Some((block, spans))) => {
                Form::Hashed(hash(spans.ranges().map(|r| &block[r])))
            }
            (PayloadSigning::Signed, None) => Form::Chunked,
        };
        if let (Some(sum), Some((block, spans))) = (self.sum, whole) {
            let mut hasher = Hasher::new(sum);
            spans.ranges().for_each(|r| hasher.update(&block[r]));
            let name = HeaderName::from_static(sum.header());
            let summed = hasher.finish();
            headers::set(&mut self.call.headers, name, &summed.to_base64());
            self.summed = Some(summed);
        }
        let mut length = Some(self.len);
        if matches!(form, Form::Chunked) {
            length = match (self.signing, self.sum) {
                (PayloadSigning::Unsigned, Some(sum)) => plain::framed_len(self.len, sum),
                (_, sum) => chunks::framed_len(self.len, sum),
            };
            let headers = &mut self.call.headers;
            headers.insert(DECODED_LENGTH, HeaderValue::from(self.len));
            if let Some(sum) = self.sum {
                headers.insert("x-amz-trailer", HeaderValue::from_static(sum.header()));
            }
            // The store takes it off again.
            let mut encoding = b"aws-chunked".to_vec();
            for own in headers.get_all(header::CONTENT_ENCODING) {
                encoding.extend_from_slice(b",");
                encoding.extend_from_slice(own.as_bytes());
            }
            if let Ok(value) = HeaderValue::from_bytes(&encoding) {
                headers.insert(header::CONTENT_ENCODING, value);
            }
        }
        let length = length.ok_or_else(|| BackendError::Protocol("the body is too long".into()))?;
        headers::set(
            &mut self.call.headers,
            header::CONTENT_LENGTH,
            &length.to_string(),
        );
        self.form = Some(form);
        Ok(())
    }

    /// Sends bytes, again and again while none of them are the second block's.
    async fn send(&mut self, block: Block, spans: Spans) -> (Result<(), BackendError>, Block) {
        if self.failed || spans.len() as u64 > self.len - self.sent {
            let what = "more bytes were written than the body has, or after it had failed";
            return (Err(BackendError::Protocol(what.into())), block);
        }
        if spans.is_empty() && self.sent == self.len && self.link.is_some() {
            // All has been sent; what has come since is the answer.
            return (Ok(()), block);
        }
        let first = self.sent == 0;
        let mut block = block;
        loop {
            let (result, back) = self.try_send(block, spans, first).await;
            block = back;
            let Err(setback) = result else {
                self.sent += spans.len() as u64;
                return (Ok(()), block);
            };
            if let Err(e) = self.again(setback, first).await {
                self.failed = true;
                return (Err(e), block);
            }
        }
    }

    async fn try_send(
        &mut self,
        block: Block,
        spans: Spans,
        first: bool,
    ) -> (Result<(), Setback<C::Conn>>, Block) {
        if first && self.link.is_none() {
            match self.open().await {
                Ok(link) => self.link = Some(link),
                Err(broken) => return (Err(Setback::Broken(broken)), block),
            }
        }
        let Some((mut link, mut frames)) = self.link.take() else {
            return (Err(Setback::Broken(Broken::Stale)), block);
        };
        let within = self.wire.timeouts.block;
        let (result, block) = match &mut frames {
            _ if !first && link.answer_began().await => {
                (Err(io::ErrorKind::BrokenPipe.into()), block)
            }
            Frames::Bare => link.write(block, spans, within).await,
            Frames::Signed(chunks) => chunks.write(&mut link, block, spans, within).await,
            Frames::Unsigned(plain) => plain.write(&mut link, block, spans, within).await,
        };
        if result.is_ok() {
            self.link = Some((link, frames));
            return (Ok(()), block);
        }
        let wait = self.wire.timeouts.response;
        let setback = match self
            .wire
            .answer(link, &self.call.method, result, wait)
            .await
        {
            Ok(inbound) => Setback::Refused(inbound),
            Err(broken) => Setback::Broken(broken),
        };
        (Err(setback), block)
    }

    /// A connection with the request's head in its output.
    async fn open(&mut self) -> Result<(Link<C::Conn>, Frames), Broken> {
        let mut link = if self.fresh {
            self.wire.fresh_link().await?
        } else {
            self.wire.link().await?
        };
        let Call {
            method,
            host,
            path,
            query,
            headers,
            ..
        } = &mut self.call;
        let mut signer = self.signer.borrow_mut();
        let now = unix_seconds();
        let mut sign = |hash| signer.sign(method, host, path, query, headers, hash, now);
        let frames = match (&self.form, self.signing, self.sum) {
            (Some(Form::Chunked), PayloadSigning::Unsigned, Some(sum)) => {
                sign(PayloadHash::UnsignedTrailer);
                Frames::Unsigned(Plain::new(sum, self.len))
            }
            (Some(Form::Chunked), ..) => {
                let chunk_signer = signer.sign_streaming(method, host, path, query, headers, now);
                Frames::Signed(Chunks::new(chunk_signer, self.sum, self.len))
            }
            (Some(Form::Hashed(hash)), ..) => {
                sign(PayloadHash::Hash(*hash));
                Frames::Bare
            }
            (Some(Form::Unsigned) | None, ..) => {
                sign(PayloadHash::Unsigned);
                Frames::Bare
            }
        };
        link.put_head(&self.call);
        Ok((link, frames))
    }

    /// Waits a little when the request may be sent again; else says why not.
    async fn again(
        &mut self,
        setback: Setback<C::Conn>,
        replayable: bool,
    ) -> Result<(), BackendError> {
        let repeat = self.call.repeat;
        let another = replayable && self.attempt < MAX_ATTEMPTS;
        match setback {
            Setback::Broken(Broken::Stale) if replayable && !self.fresh => {
                // Not an attempt: the store closed an idle connection (S3-TRAPS 19).
                self.fresh = true;
                return Ok(());
            }
            Setback::Broken(broken) if !(another && repeat.after_break(&broken)) => {
                return Err(broken.into_error());
            }
            Setback::Broken(_) => {}
            Setback::Refused(inbound) if inbound.head.status.is_success() => {
                let what = "the store answered before it had the whole body";
                return Err(BackendError::Protocol(what.into()));
            }
            Setback::Refused(inbound) if inbound.head.status == StatusCode::BAD_REQUEST => {
                let error = self.wire.answer_error(inbound).await;
                if !self.is_damage(&error) {
                    return Err(error);
                }
                // Nothing was stored, so that sending it again is safe whatever the request's conditions are.
                tracing::warn!(host = self.call.host, %error, "a body was damaged on its way to the store");
                if !another {
                    return Err(unavailable(format!(
                        "a body was damaged on its way to the store: {error}"
                    )));
                }
            }
            Setback::Refused(inbound) if !(another && repeat.after_status(inbound.head.status)) => {
                return Err(self.wire.answer_error(inbound).await);
            }
            Setback::Refused(inbound) => self.wire.discard(inbound).await,
        }
        self.wire.back_off(self.attempt).await;
        self.attempt += 1;
        Ok(())
    }

    async fn stored(
        &self,
        inbound: Inbound<C::Conn>,
        checksum: Option<Checksum>,
    ) -> Result<Stored, BackendError> {
        let etag = headers::etag(&inbound.head.headers).ok_or_else(|| {
            BackendError::Protocol("the store's answer to a write has no ETag".into())
        })?;
        let kept = headers::answer_headers(&inbound.head.headers);
        // The write is done, whatever becomes of the rest of the answer.
        self.wire.discard(inbound).await;
        Ok(Stored {
            etag,
            checksum,
            headers: kept,
        })
    }

    /// Whether the store says that it has got other bytes than were sent: no fault of the client's, whose own checksums
    /// have been verified and never go to the store.
    fn is_damage(&self, error: &BackendError) -> bool {
        let BackendError::Answer(error) = error else {
            return false;
        };
        match error.code {
            ErrorCode::BadDigest
            | ErrorCode::XAmzContentChecksumMismatch
            | ErrorCode::XAmzContentSHA256Mismatch => true,
            // SeaweedFS, of a trailer.
            ErrorCode::InvalidDigest => self.sum.is_some(),
            _ => false,
        }
    }
}
