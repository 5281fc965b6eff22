//! A response: its head, and its body in whatever way it is framed.

use std::io;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::RETRY_AFTER;
use sealgate_http1::{ChunkedDecoder, Framing, ResponseHead, reuse_headers};
use sealgate_s3::error::S3Error;
use sealgate_uring::{Block, Connector, Spans, Transport};

use super::headers;
use super::link::Link;
use super::wire::{Wire, broke, is_transient, unavailable};
use crate::types::BackendError;

/// Most bytes of a response body that is read whole (listings, errors): 1,000 keys of 1,024 bytes, url-encoded, with room.
pub(crate) const MAX_DOCUMENT: usize = 16 << 20;
/// Bytes at a time of such a body, at least: room for them is made before they have come. Beyond it the room at most
/// doubles with what has come, whatever length the store claims.
const DOCUMENT_READ: usize = 256 << 10;
/// Bytes at a time of one whose length is not known before.
const CHUNKS_READ: usize = 64 << 10;
/// Most bytes of an unwanted body that are read to keep a connection; beyond it the connection is closed.
const MAX_DRAIN: usize = 64 << 10;
/// Longest that clients are told to wait because the store says so.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A response whose head has arrived and whose body is still to be read.
pub(crate) struct Inbound<T> {
    pub(crate) head: ResponseHead,
    link: Link<T>,
    remaining: Remaining,
}

enum Remaining {
    Done,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
}

impl<T: Transport> Inbound<T> {
    pub(crate) fn new(head: ResponseHead, link: Link<T>) -> Self {
        let remaining = match head.framing {
            Framing::None | Framing::Length(0) => Remaining::Done,
            Framing::Length(n) => Remaining::Length(n),
            Framing::Chunked => Remaining::Chunked(Box::default()),
            Framing::UntilClose => Remaining::UntilClose,
        };
        Self {
            head,
            link,
            remaining,
        }
    }

    pub(crate) fn conn(&self) -> &T {
        &self.link.conn
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.remaining, Remaining::Done)
    }

    /// Takes the end of a body whose payload was read, if it has come already.
    pub(crate) fn settle(&mut self) {
        if let Remaining::Chunked(decoder) = &mut self.remaining
            && let Ok(step) = decoder.decode(&self.link.input[self.link.pos..], &mut [])
        {
            self.link.pos += step.consumed;
            if step.done {
                self.remaining = Remaining::Done;
            }
        }
    }

    /// Reads some of the body into `spans`, which are not empty; `Ok(0)` is the body's proper end.
    pub(crate) async fn read(
        &mut self,
        block: Block,
        spans: Spans,
        within: Duration,
    ) -> (io::Result<usize>, Block) {
        self.link.conn.watch().deadline_in(within);
        let (got, block) = match &self.remaining {
            Remaining::Done => (Ok(0), block),
            Remaining::Length(_) | Remaining::UntilClose => self.read_plain(block, spans).await,
            Remaining::Chunked(_) => self.read_chunked(block, spans).await,
        };
        // Until the next read nobody waits for the store: the one who reads may be slow.
        self.link.conn.watch().clear();
        (got, block)
    }

    async fn read_plain(&mut self, block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        let (mut block, mut spans) = (block, spans);
        if let Remaining::Length(left) = self.remaining {
            spans.to = spans
                .to
                .min(spans.from + usize::try_from(left).unwrap_or(usize::MAX));
        }
        let buffered = self.link.take_buffered(&mut block, spans);
        let (got, block) = match buffered {
            0 => self.link.conn.read(block, spans).await,
            n => (Ok(n), block),
        };
        let got = match (got, &mut self.remaining) {
            (Ok(0), Remaining::Length(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(0), _) => {
                self.remaining = Remaining::Done;
                Ok(0)
            }
            (Ok(n), Remaining::Length(left)) => {
                *left -= n as u64;
                if *left == 0 {
                    self.remaining = Remaining::Done;
                }
                Ok(n)
            }
            (got, _) => got,
        };
        (got, block)
    }

    async fn read_chunked(&mut self, block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        let mut block = block;
        loop {
            let Remaining::Chunked(decoder) = &mut self.remaining else {
                return (Ok(0), block);
            };
            let mut produced = 0;
            for range in spans.ranges() {
                let out = &mut block[range];
                let step = match decoder.decode(&self.link.input[self.link.pos..], out) {
                    Ok(step) => step,
                    Err(e) => {
                        return (
                            Err(io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
                            block,
                        );
                    }
                };
                self.link.pos += step.consumed;
                produced += step.produced;
                if step.done {
                    self.remaining = Remaining::Done;
                    return (Ok(produced), block);
                }
                if step.produced < out.len() {
                    break;
                }
            }
            if produced > 0 {
                return (Ok(produced), block);
            }
            match self.link.more().await {
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), block),
                Ok(_) => {}
                Err(e) => return (Err(e), block),
            }
        }
    }

    /// Appends some of the body to `body`.
    async fn append(
        &mut self,
        body: &mut Vec<u8>,
        limit: usize,
        within: Duration,
    ) -> Result<(), BackendError> {
        let too_long =
            || BackendError::Protocol(format!("the store's answer is longer than {limit} bytes"));
        if let Remaining::Length(left) = self.remaining
            && left > (limit - body.len()) as u64
        {
            return Err(too_long());
        }
        let link = &mut self.link;
        if link.pos == link.input.len() {
            link.conn.watch().deadline_in(within);
            let got = match self.remaining {
                Remaining::Length(left) => {
                    let room = DOCUMENT_READ.max(body.len());
                    let room = room.min(usize::try_from(left).unwrap_or(room));
                    link.append_to(body, room).await
                }
                _ => link.more_of(CHUNKS_READ).await,
            };
            let got = got.map_err(|e| broke(&e))?;
            link.conn.watch().clear();
            if got == 0 {
                return match self.remaining {
                    Remaining::UntilClose => {
                        self.remaining = Remaining::Done;
                        Ok(())
                    }
                    _ => Err(broke(&io::ErrorKind::UnexpectedEof.into())),
                };
            }
            if let Remaining::Length(left) = &mut self.remaining {
                *left -= got as u64;
                if *left == 0 {
                    self.remaining = Remaining::Done;
                }
                return Ok(());
            }
        }
        let input = &link.input[link.pos..];
        match &mut self.remaining {
            Remaining::Done => {}
            Remaining::Length(left) => {
                let left_now = usize::try_from(*left).unwrap_or(usize::MAX);
                let n = input.len().min(left_now);
                body.reserve_exact(left_now.min(DOCUMENT_READ));
                body.extend_from_slice(&input[..n]);
                link.pos += n;
                *left -= n as u64;
                if *left == 0 {
                    self.remaining = Remaining::Done;
                }
            }
            Remaining::UntilClose => {
                body.extend_from_slice(input);
                link.pos = link.input.len();
            }
            Remaining::Chunked(decoder) => {
                let start = body.len();
                body.resize(start + input.len(), 0);
                let step = decoder
                    .decode(input, &mut body[start..])
                    .map_err(|e| BackendError::Protocol(e.to_string()))?;
                body.truncate(start + step.produced);
                link.pos += step.consumed;
                if step.done {
                    self.remaining = Remaining::Done;
                }
            }
        }
        if body.len() > limit {
            Err(too_long())
        } else {
            Ok(())
        }
    }
}

impl<C: Connector> Wire<C> {
    /// Reads the rest of a body that nobody wants, so that the connection can be kept; or closes it.
    pub(crate) async fn discard(&self, inbound: Inbound<C::Conn>) {
        if inbound.head.keep_alive {
            let _ = self.document(inbound, MAX_DRAIN).await;
        }
    }

    /// Reads a whole body of at most `limit` bytes and keeps the connection.
    pub(crate) async fn document(
        &self,
        mut inbound: Inbound<C::Conn>,
        limit: usize,
    ) -> Result<Vec<u8>, BackendError> {
        let mut body = Vec::new();
        // A store that trickles bytes (as the answer to a long Complete does) is waited for, but not for ever.
        let end = Instant::now() + self.timeouts.long_response.max(self.timeouts.block);
        while !inbound.is_done() {
            let left = end.saturating_duration_since(Instant::now());
            inbound
                .append(&mut body, limit, left.min(self.timeouts.block))
                .await?;
        }
        self.finish(inbound);
        Ok(body)
    }

    /// Keeps the connection of a body that was read to its end.
    pub(crate) fn finish(&self, inbound: Inbound<C::Conn>) {
        let done = inbound.is_done() && inbound.head.keep_alive;
        reuse_headers(inbound.head.headers);
        if done {
            self.keep(inbound.link);
        }
    }

    /// Turns a non-2xx answer into an error; its body is read whole.
    pub(crate) async fn answer_error(&self, inbound: Inbound<C::Conn>) -> BackendError {
        let status = inbound.head.status;
        if status == StatusCode::NOT_MODIFIED {
            let headers = inbound.head.headers.clone();
            self.discard(inbound).await;
            return BackendError::NotModified(Box::new(headers));
        }
        let retry_after = headers::text(&inbound.head.headers, &RETRY_AFTER)
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        // The status alone says enough where the document is cut or no document at all.
        let kept = headers::error_headers(status, &inbound.head.headers);
        let body = self
            .document(inbound, MAX_DOCUMENT)
            .await
            .unwrap_or_default();
        let error = S3Error::from_backend_xml(status, &body).with_headers(kept);
        if !is_transient(status) {
            return BackendError::Answer(error);
        }
        match (
            unavailable(format!("it answered {status}: {error}")),
            retry_after,
        ) {
            (BackendError::Unavailable { reason, .. }, Some(retry_after)) => {
                BackendError::Unavailable {
                    reason,
                    retry_after,
                }
            }
            (e, _) => e,
        }
    }
}
