//! A streamed `PutObject` or `UploadPart` to the store.

use std::cell::RefCell;
use std::rc::Rc;

use sealgate_s3::sigv4::sign::{PayloadHash, Signer};
use sealgate_uring::{Block, Connector, Spans, Transport};

use super::headers;
use super::wire::{Broken, Call, Inbound, Link, MAX_ATTEMPTS, Wire, is_transient, unavailable, unix_seconds};
use crate::types::{BackendError, Stored};

/// A body on its way to the store: exactly the declared number of bytes, then [`S3Upload::finish`].
///
/// Dropped before that, the connection is closed short of the declared length, and the store keeps nothing.
///
/// The first block is the replay window: until a second one is asked for, any failure that a retry can mend is
/// mended here. Later, the client has to send the object again (S3-TRAPS 18).
pub struct S3Upload<C: Connector> {
    wire: Rc<Wire<C>>,
    signer: Rc<RefCell<Signer>>,
    call: Call,
    link: Option<Link<C::Conn>>,
    /// Bytes handed to the connection.
    sent: u64,
    len: u64,
}

impl<C: Connector> S3Upload<C> {
    pub(super) fn new(
        wire: Rc<Wire<C>>,
        signer: Rc<RefCell<Signer>>,
        mut call: Call,
        len: u64,
    ) -> Self {
        headers::set(&mut call.headers, http::header::CONTENT_LENGTH, &len.to_string());
        Self { wire, signer, call, link: None, sent: 0, len }
    }

    /// Sends `spans` of `block`, which is not the last of the body.
    pub async fn write(&mut self, block: Block, spans: Spans) -> (Result<(), BackendError>, Block) {
        let mut block = block;
        let first = self.sent == 0;
        let mut attempt = 1;
        let mut fresh = false;
        loop {
            if self.link.is_none() {
                match self.open(fresh).await {
                    Ok(link) => self.link = Some(link),
                    Err(broken) if attempt < MAX_ATTEMPTS => {
                        drop(broken);
                        self.wire.back_off(attempt).await;
                        attempt += 1;
                        continue;
                    }
                    Err(broken) => return (Err(broken.into_error()), block),
                }
            }
            let Some(link) = self.link.as_mut() else { unreachable!("opened above") };
            // A store that answers before it has the whole body has refused it.
            let early = !first && !link.conn.is_quiet();
            let (result, back) = if early {
                (Err(std::io::ErrorKind::BrokenPipe.into()), block)
            } else {
                link.write(block, spans, self.wire.timeouts.block).await
            };
            block = back;
            match result {
                Ok(()) => {
                    self.sent += spans.len() as u64;
                    return (Ok(()), block);
                }
                Err(e) => {
                    let reused = link.reused;
                    let Some(link) = self.link.take() else { unreachable!("written to above") };
                    let wait = self.wire.timeouts.response;
                    match self.wire.read_head(link, &self.call.method, wait).await {
                        Ok(inbound) => {
                            let transient = is_transient(inbound.head.status);
                            let error = self.refused(inbound).await;
                            if !(first && transient && attempt < MAX_ATTEMPTS) {
                                return (Err(error), block);
                            }
                        }
                        Err(_) if first && reused => fresh = true,
                        Err(_) if first && attempt < MAX_ATTEMPTS => {}
                        Err(_) => {
                            return (Err(unavailable(format!("sending to the store failed: {e}"))), block);
                        }
                    }
                    self.wire.back_off(attempt).await;
                    attempt += 1;
                }
            }
        }
    }

    /// Sends the last `spans` of `block` and reads the store's answer.
    pub async fn finish(
        mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<Stored, BackendError>, Block) {
        let replayable = self.sent == 0;
        if self.sent + spans.len() as u64 != self.len {
            let what = format!("{} of {} bytes were sealed", self.sent + spans.len() as u64, self.len);
            return (Err(BackendError::Protocol(what)), block);
        }
        let mut block = block;
        let mut attempt = 1;
        loop {
            let (result, back) = self.write(block, spans).await;
            block = back;
            if let Err(e) = result {
                return (Err(e), block);
            }
            let Some(link) = self.link.take() else { unreachable!("written to above") };
            let again = replayable && attempt < MAX_ATTEMPTS;
            match self.wire.read_head(link, &self.call.method, self.wire.timeouts.response).await {
                Ok(inbound) if inbound.head.status.is_success() => {
                    return (self.stored(inbound).await, block);
                }
                Ok(inbound) => {
                    let transient = is_transient(inbound.head.status);
                    let error = self.refused(inbound).await;
                    if !(again && transient) {
                        return (Err(error), block);
                    }
                }
                Err(Broken::Protocol(what)) => return (Err(BackendError::Protocol(what)), block),
                Err(broken) if !again => return (Err(broken.into_error()), block),
                Err(_) => {}
            }
            self.wire.back_off(attempt).await;
            attempt += 1;
            self.sent = 0;
        }
    }

    async fn open(&mut self, fresh: bool) -> Result<Link<C::Conn>, Broken> {
        let mut link =
            if fresh { self.wire.fresh_link().await? } else { self.wire.link().await? };
        self.signer.borrow_mut().sign(
            &self.call.method,
            &self.call.host,
            &self.call.path,
            &self.call.query,
            &mut self.call.headers,
            PayloadHash::Unsigned,
            unix_seconds(),
        );
        link.put_head(&self.call);
        Ok(link)
    }

    /// An early or final error answer. The connection is of no further use: the body was cut.
    async fn refused(&self, inbound: Inbound<C::Conn>) -> BackendError {
        if inbound.head.status.is_success() {
            return BackendError::Protocol("the store answered before it had the whole body".into());
        }
        self.wire.answer_error(inbound).await
    }

    async fn stored(&self, inbound: Inbound<C::Conn>) -> Result<Stored, BackendError> {
        let etag = headers::etag(&inbound.head.headers).ok_or_else(|| {
            BackendError::Protocol("the store's answer to a write has no ETag".into())
        })?;
        let kept = headers::answer_headers(&inbound.head.headers);
        self.wire.document(inbound, super::wire::MAX_DOCUMENT).await?;
        Ok(Stored { etag, headers: kept })
    }
}

