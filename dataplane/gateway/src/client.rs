//! The client's connection: heads in, bodies in, replies out.

use std::io;
use std::ops::Range;
use std::time::Duration;

use http::HeaderMap;
use sealgate_http1::{
    CONTINUE, Framing, HttpDate, Limits, ParseError, RequestHead, encode_response_head,
    parse_request,
};
use sealgate_uring::{Block, Spans, Transport, Weave};

use crate::snapshot::ClientTimeouts;

/// First read of a connection, and what an idle one keeps: most heads fit.
const HEAD_READ: usize = 2048;
/// Bytes asked for at once when a body has to be decoded rather than read in place.
const RAW_READ: usize = 128 << 10;
/// Most bytes of an answer that are copied behind its head, to go out with it in one write.
const COPIED: usize = 16 << 10;
/// Most bytes of an unread body that are read and dropped before a connection is closed or reused, so that the
/// client sees the answer instead of a reset.
const MAX_LINGER: u64 = 4 << 20;

/// A connection and its buffers.
pub(crate) struct Client<T> {
    pub(crate) conn: T,
    input: Vec<u8>,
    pos: usize,
    output: Vec<u8>,
    /// What the heads of this request's answers say besides: CORS.
    pub(crate) extra: Option<Box<HeaderMap>>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// What of these two earlier requests have been charged with.
    pub(crate) accounted: (u64, u64),
}

/// How waiting for a request's head ended, when not with a head.
pub(crate) enum NoHead {
    /// Nothing, or nothing more, came.
    Closed,
    /// Too slow.
    TimedOut,
    /// Not a request.
    Malformed(ParseError),
}

impl<T: Transport> Client<T> {
    pub(crate) fn new(conn: T) -> Self {
        Self {
            conn,
            input: Vec::with_capacity(HEAD_READ),
            pos: 0,
            output: Vec::with_capacity(1024),
            extra: None,
            bytes_in: 0,
            bytes_out: 0,
            accounted: (0, 0),
        }
    }

    fn buffered(&self) -> &[u8] {
        &self.input[self.pos..]
    }

    /// The next request's head.
    pub(crate) async fn next_head(
        &mut self,
        limits: &Limits,
        timeouts: &ClientTimeouts,
    ) -> Result<RequestHead, NoHead> {
        let mut waiting_for_first = self.buffered().is_empty();
        self.compact();
        if waiting_for_first {
            self.conn.watch().set_idle(true);
            self.conn.watch().deadline_in(timeouts.idle);
        } else {
            self.conn.watch().deadline_in(timeouts.header);
        }
        loop {
            match parse_request(self.buffered(), limits) {
                Ok(Some((head, consumed))) => {
                    self.pos += consumed;
                    self.conn.watch().clear();
                    self.conn.watch().set_idle(false);
                    return Ok(head);
                }
                Ok(None) => {}
                Err(e) => return Err(NoHead::Malformed(e)),
            }
            let got = self.more(HEAD_READ / 2, HEAD_READ).await;
            if waiting_for_first && matches!(got, Ok(n) if n > 0) {
                waiting_for_first = false;
                self.conn.watch().set_idle(false);
                self.conn.watch().deadline_in(timeouts.header);
            }
            match got {
                Ok(0) | Err(_) if self.conn.watch().expired() && !waiting_for_first => {
                    return Err(NoHead::TimedOut);
                }
                Ok(0) | Err(_) => return Err(NoHead::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Drops consumed input and gives back what a large head took.
    fn compact(&mut self) {
        if self.pos > 0 {
            self.input.drain(..self.pos);
            self.pos = 0;
        }
        if self.input.capacity() > HEAD_READ && self.input.len() <= HEAD_READ {
            self.input.shrink_to(HEAD_READ);
        }
    }

    /// Drops all input and gives back what a wrong guess of [`Self::read_woven`] took.
    fn clear(&mut self) {
        self.input.clear();
        self.input.shrink_to(RAW_READ);
        self.pos = 0;
    }

    /// Reads more raw bytes behind those already buffered, for which `room` is made where there is not room for `least`.
    async fn more(&mut self, least: usize, room: usize) -> io::Result<usize> {
        if self.pos > 0 && self.pos == self.input.len() {
            self.clear();
        }
        let mut input = std::mem::take(&mut self.input);
        if input.capacity() - input.len() < least {
            input.reserve(room);
        }
        let (got, input) = self.conn.read_buf(input).await;
        self.input = input;
        if let Ok(n) = got {
            self.bytes_in += n as u64;
        }
        got
    }

    /// Raw bytes of a body that has to be decoded: at least one, at most `limit`; empty at the connection's end.
    pub(crate) async fn raw(&mut self, limit: u64) -> io::Result<&[u8]> {
        if self.buffered().is_empty() {
            self.more(RAW_READ / 2, RAW_READ).await?;
        }
        let raw = self.buffered();
        let n = raw.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(&self.input[self.pos..self.pos + n])
    }

    /// What the buffer can hold.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.input.capacity()
    }

    /// Raw bytes that have arrived.
    pub(crate) fn available(&self) -> &[u8] {
        self.buffered()
    }

    /// Waits for more raw bytes, of a body of which there are `left`; 0 is the connection's end.
    pub(crate) async fn receive(&mut self, left: u64) -> io::Result<usize> {
        let room = usize::try_from(left).unwrap_or(usize::MAX);
        let room = room.min(RAW_READ);
        self.more(room.min(RAW_READ / 2), room).await
    }

    /// Marks `n` bytes of [`Self::raw`] as used.
    pub(crate) fn consume(&mut self, n: usize) {
        self.pos += n;
    }

    /// Reads body bytes straight into `spans`; what came with the head is copied.
    pub(crate) async fn read(&mut self, block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        let mut block = block;
        let mut copied = 0;
        for range in spans.ranges() {
            let buffered = self.buffered();
            if buffered.is_empty() {
                break;
            }
            let n = buffered.len().min(range.len());
            block[range.start..range.start + n].copy_from_slice(&buffered[..n]);
            self.pos += n;
            copied += n;
        }
        if copied > 0 {
            return (Ok(copied), block);
        }
        let (got, block) = self.conn.read(block, spans).await;
        if let Ok(n) = got {
            self.bytes_in += n as u64;
        }
        (got, block)
    }

    /// Reads as `weave` plans it, what goes aside into the buffer, in which there must be nothing.
    pub(crate) async fn read_woven(
        &mut self,
        block: Block,
        weave: &Weave,
    ) -> (io::Result<usize>, Block) {
        debug_assert!(self.buffered().is_empty());
        self.clear();
        let mut input = std::mem::take(&mut self.input);
        input.reserve(weave.aside());
        let (got, block, input) = self.conn.read_woven(block, weave, input).await;
        self.input = input;
        if let Ok(n) = got {
            self.bytes_in += n as u64;
        }
        (got, block)
    }

    /// Buffers the bytes `of` the last woven read, in the order in which they came.
    pub(crate) fn straighten(&mut self, weave: &Weave, block: &Block, of: Range<usize>) {
        self.input = weave.unweave(block, &self.input, of);
        self.pos = 0;
    }

    /// Asks for the body of a request that waits with it.
    pub(crate) async fn send_continue(&mut self) -> io::Result<()> {
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        output.extend_from_slice(CONTINUE);
        let (result, output) = self.conn.write_buf(output).await;
        self.output = output;
        result
    }

    /// Puts a response's head into the output buffer; the next write sends it.
    pub(crate) fn put_head(
        &mut self,
        status: http::StatusCode,
        headers: &HeaderMap,
        framing: Framing,
        keep_alive: bool,
        date: &HttpDate,
    ) {
        self.output.clear();
        let all;
        let headers = match &self.extra {
            None => headers,
            Some(extra) => {
                let mut both = headers.clone();
                both.extend(extra.as_ref().clone());
                all = both;
                &all
            }
        };
        encode_response_head(&mut self.output, status, headers, framing, keep_alive, date);
    }

    /// Sends the output buffer and `body` behind it.
    pub(crate) async fn send(&mut self, body: Vec<u8>, within: Duration) -> io::Result<()> {
        if body.len() > COPIED {
            self.flush(within).await?;
            self.bytes_out += body.len() as u64;
            self.conn.watch().deadline_in(within);
            let (result, _) = self.conn.write_buf(body).await;
            self.conn.watch().clear();
            return result;
        }
        self.output.extend_from_slice(&body);
        self.flush(within).await
    }

    /// Sends the output buffer.
    async fn flush(&mut self, within: Duration) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        self.bytes_out += output.len() as u64;
        self.conn.watch().deadline_in(within);
        let (result, mut output) = self.conn.write_buf(output).await;
        self.conn.watch().clear();
        output.clear();
        output.shrink_to(HEAD_READ);
        self.output = output;
        result
    }

    /// Sends the output buffer, if anything is in it, and `spans` of `block`.
    pub(crate) async fn send_block(
        &mut self,
        block: Block,
        spans: Spans,
        within: Duration,
    ) -> (io::Result<()>, Block) {
        let output = std::mem::take(&mut self.output);
        self.bytes_out += (output.len() + spans.len()) as u64;
        self.conn.watch().deadline_in(within);
        let (result, mut output, block) = self.conn.write_all(output, block, spans).await;
        self.conn.watch().clear();
        output.clear();
        self.output = output;
        (result, block)
    }

    /// Whether so much of an unread body would be read and dropped.
    pub(crate) fn can_linger(left: u64) -> bool {
        left <= MAX_LINGER
    }

    /// Reads and drops what is left of a body, within bounds; true when the connection can be used again.
    pub(crate) async fn linger(&mut self, left: u64, within: Duration) -> bool {
        let mut left = left;
        let mut budget = MAX_LINGER;
        self.conn.watch().deadline_in(within);
        while left > 0 && budget > 0 {
            let n = match self.raw(left).await {
                Ok(raw) if !raw.is_empty() => raw.len(),
                _ => return false,
            };
            self.consume(n);
            left -= n as u64;
            budget = budget.saturating_sub(n as u64);
        }
        self.conn.watch().clear();
        left == 0
    }
}
