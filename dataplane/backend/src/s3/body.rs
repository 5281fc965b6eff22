//! The body of a `GetObject`, resumed in the middle when the store breaks off (S3-TRAPS 18).

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use http::{StatusCode, header};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_uring::{Block, Connector, Spans};

use super::headers;
use super::wire::{Call, Inbound, MAX_ATTEMPTS, Wire, unavailable};
use crate::types::BackendError;

/// Bytes of one object, `Range` of them, in order.
///
/// Nothing here is trusted: the envelope authenticates every byte, so a resumed body that belongs to other
/// content (the `If-Match` notwithstanding) is detected like any other tampering.
pub struct S3Body<C: Connector> {
    wire: Rc<Wire<C>>,
    signer: Rc<RefCell<Signer>>,
    inbound: Option<Inbound<C::Conn>>,
    /// Sent again with another range to resume.
    call: Call,
    etag: String,
    left: Range<u64>,
}

impl<C: Connector> S3Body<C> {
    pub(super) fn new(
        wire: Rc<Wire<C>>,
        signer: Rc<RefCell<Signer>>,
        inbound: Inbound<C::Conn>,
        call: Call,
        etag: String,
        left: Range<u64>,
    ) -> Self {
        Self { wire, signer, inbound: Some(inbound), call, etag, left }
    }

    /// Reads at least one byte into `spans`; `Ok(0)` is the end of the range.
    pub async fn read(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<usize, BackendError>, Block) {
        let mut block = block;
        let mut attempt = 0;
        loop {
            let Some(inbound) = self.inbound.as_mut() else { return (Ok(0), block) };
            let (got, back) = inbound.read(block, spans, self.wire.timeouts.block).await;
            block = back;
            match got {
                Ok(n) if n as u64 <= self.left.end - self.left.start && (n > 0 || self.left.is_empty()) => {
                    self.left.start += n as u64;
                    if self.left.is_empty()
                        && let Some(inbound) = self.inbound.take_if(|i| i.is_done())
                    {
                        self.wire.finish(inbound);
                    }
                    return (Ok(n), block);
                }
                Ok(n) if n > 0 => {
                    let what = "the store sent more bytes than the range holds";
                    return (Err(BackendError::Protocol(what.into())), block);
                }
                Ok(_) | Err(_) if attempt + 1 >= MAX_ATTEMPTS => {
                    let reason = format!("the object's body broke off {attempt} times");
                    return (Err(unavailable(reason)), block);
                }
                Ok(_) | Err(_) => {
                    attempt += 1;
                    if let Err(e) = self.resume(attempt).await {
                        return (Err(e), block);
                    }
                }
            }
        }
    }

    async fn resume(&mut self, attempt: u32) -> Result<(), BackendError> {
        self.inbound = None;
        self.wire.back_off(attempt).await;
        self.wire.counters.resumes.set(self.wire.counters.resumes.get() + 1);
        let range = format!("bytes={}-{}", self.left.start, self.left.end - 1);
        headers::set(&mut self.call.headers, header::RANGE, &range);
        headers::set(&mut self.call.headers, header::IF_MATCH, &format!("\"{}\"", self.etag));
        let inbound = self.wire.call(&self.signer, &mut self.call).await?;
        if inbound.head.status != StatusCode::PARTIAL_CONTENT {
            return Err(match inbound.head.status {
                StatusCode::PRECONDITION_FAILED => {
                    self.wire.discard(inbound).await;
                    unavailable("the object was replaced while it was read")
                }
                _ => self.wire.answer_error(inbound).await,
            });
        }
        match headers::content_range(&inbound.head.headers) {
            Some((start, ..)) if start == self.left.start => {
                self.inbound = Some(inbound);
                Ok(())
            }
            _ => Err(BackendError::Protocol("the store resumed at another byte".into())),
        }
    }
}
