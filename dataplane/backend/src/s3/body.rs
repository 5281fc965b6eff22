//! The body of a `GetObject`, resumed in the middle when the store breaks off (S3-TRAPS 18).

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use http::{HeaderValue, StatusCode, header};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_uring::{Block, Connector, Spans, Transport, Watch};

use super::inbound::Inbound;
use super::wire::{Call, MAX_ATTEMPTS, Wire, unavailable};
use super::{canonical_query, headers};
use crate::types::BackendError;

/// Bytes of one object, `Range` of them, in order.
///
/// Nothing here is trusted: the envelope authenticates every byte, so a resumed body that belongs to other
/// content (the `If-Match` notwithstanding) is detected like any other tampering.
pub struct S3Body<C: Connector> {
    wire: Rc<Wire<C>>,
    signer: Rc<RefCell<Signer>>,
    inbound: Option<Box<Inbound<C::Conn>>>,
    /// Sent again with another range to resume.
    call: Box<Call>,
    etag: String,
    /// Which version it is, where the store keeps versions.
    version: Option<HeaderValue>,
    left: Range<u64>,
    stop: Option<Rc<Stop>>,
}

/// Ends a body that somebody else reads.
#[derive(Default)]
pub struct Stop {
    stopped: Cell<bool>,
    watch: RefCell<Option<Watch>>,
}

impl Stop {
    /// Has the read in flight fail, and every later one.
    pub fn stop(&self) {
        self.stopped.set(true);
        if let Some(watch) = self.watch.take() {
            watch.expire();
        }
    }
}

impl<C: Connector> S3Body<C> {
    pub(super) fn new(
        wire: Rc<Wire<C>>,
        signer: Rc<RefCell<Signer>>,
        inbound: Inbound<C::Conn>,
        call: Call,
        (etag, version): (String, Option<HeaderValue>),
        left: Range<u64>,
    ) -> Self {
        let mut body = Self {
            wire,
            signer,
            inbound: Some(Box::new(inbound)),
            call: Box::new(call),
            etag,
            version,
            left,
            stop: None,
        };
        if body.left.is_empty() {
            body.settle();
        }
        body
    }

    /// What ends it while it is read.
    pub fn stop(&mut self) -> Rc<Stop> {
        let stop = Rc::clone(self.stop.get_or_insert_default());
        self.watched();
        stop
    }

    /// Has whoever may stop the body know of its connection.
    fn watched(&self) {
        if let Some(stop) = &self.stop {
            let watch = self.inbound.as_ref().map(|i| i.conn().watch().clone());
            stop.watch.replace(watch);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|s| s.stopped.get())
    }

    /// Bytes of the range still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.end - self.left.start
    }

    /// Reads at least one byte into `spans`, which are not empty; `Ok(0)` is the end of the range.
    pub async fn read(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<usize, BackendError>, Block) {
        let (mut block, mut spans) = (block, spans);
        // A store that ignores where a range ends sends more.
        spans.to = spans
            .to
            .min(spans.from + usize::try_from(self.left()).unwrap_or(usize::MAX));
        if spans.is_empty() {
            self.settle();
            return (Ok(0), block);
        }
        let mut attempt = 0;
        loop {
            let got = match self.inbound.as_mut() {
                Some(inbound) => {
                    let (got, back) = inbound.read(block, spans, self.wire.timeouts.block).await;
                    block = back;
                    got
                }
                // An earlier read has failed.
                None => Err(std::io::ErrorKind::NotConnected.into()),
            };
            if let Ok(n @ 1..) = got {
                self.left.start += n as u64;
                if self.left.is_empty() {
                    self.settle();
                }
                return (Ok(n), block);
            }
            attempt += 1;
            if self.stopped() {
                return (Err(unavailable("nobody reads on")), block);
            }
            if attempt >= MAX_ATTEMPTS {
                let reason = format!("the object's body broke off {attempt} times");
                return (Err(unavailable(reason)), block);
            }
            if let Err(e) = self.resume(attempt).await {
                return (Err(e), block);
            }
        }
    }

    /// Keeps the connection if nothing more comes on it, else closes it.
    fn settle(&mut self) {
        if let Some(stop) = &self.stop {
            // The connection may be another's next.
            stop.watch.take();
        }
        if let Some(mut inbound) = self.inbound.take() {
            inbound.settle();
            self.wire.finish(*inbound);
        }
    }

    /// Asks for the bytes that are still to come, of the same object.
    async fn resume(&mut self, attempt: u32) -> Result<(), BackendError> {
        // A part of the range that was sent whole leaves its connection to the next one.
        self.settle();
        self.wire.back_off(attempt).await;
        self.wire
            .counters
            .resumes
            .set(self.wire.counters.resumes.get() + 1);
        let range = format!("bytes={}-{}", self.left.start, self.left.end - 1);
        headers::set(&mut self.call.headers, header::RANGE, &range);
        headers::set(
            &mut self.call.headers,
            header::IF_MATCH,
            &format!("\"{}\"", self.etag),
        );
        let mut inbound = self.wire.call(&self.signer, &mut self.call).await?;
        if self.is_gone(&inbound) && self.pin_version() {
            self.wire.discard(inbound).await;
            inbound = self.wire.call(&self.signer, &mut self.call).await?;
        }
        let replaced = || unavailable("the object was replaced while it was read");
        let start = match inbound.head.status {
            StatusCode::PARTIAL_CONTENT => {
                headers::content_range(&inbound.head.headers).map(|(start, ..)| start)
            }
            status if status.is_success() => Some(0),
            StatusCode::PRECONDITION_FAILED => {
                self.wire.discard(inbound).await;
                return Err(replaced());
            }
            _ => return Err(self.wire.answer_error(inbound).await),
        };
        // A store may ignore `If-Match`, but not say so.
        if headers::etag(&inbound.head.headers).is_some_and(|etag| etag != self.etag) {
            return Err(replaced());
        }
        if start != Some(self.left.start) {
            return Err(BackendError::Protocol(
                "the store resumed at another byte".into(),
            ));
        }
        self.inbound = Some(Box::new(inbound));
        self.watched();
        Ok(())
    }

    /// Whether what is read is no longer the newest at its key.
    fn is_gone(&self, inbound: &Inbound<C::Conn>) -> bool {
        matches!(
            inbound.head.status,
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND
        ) || inbound.head.status.is_success()
            && headers::etag(&inbound.head.headers).is_some_and(|etag| etag != self.etag)
    }

    /// Asks for the version by its id from now on; only when it has to be, since a store may allow its users no more
    /// than to read what is newest.
    fn pin_version(&mut self) -> bool {
        let Some(version) = self.version.take() else {
            return false;
        };
        match version.to_str() {
            Ok(version) if self.call.query.is_empty() => {
                self.call.query = canonical_query(&[("versionId", version)]);
                true
            }
            _ => false,
        }
    }
}
