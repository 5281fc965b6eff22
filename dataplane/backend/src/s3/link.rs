//! One connection to the store, with its buffers.

use std::io;
use std::time::Duration;

use http::Method;
use sealgate_http1::{Limits, encode_request_head, parse_response};
use sealgate_uring::{Block, Spans, Transport};

use super::wire::Call;

/// Bytes a connection reads ahead while it looks for a response's head.
pub(crate) const HEAD_READ: usize = 4096;
/// Bytes a connection reads at a time of a body that goes through its buffer.
const BODY_READ: usize = 16 << 10;
/// Interim answers let pass while a body is sent; a store that sends more is not waiting for it.
const MAX_INTERIM: usize = 8;

/// A connection. Dropped, it is closed.
pub(crate) struct Link<T> {
    pub(crate) conn: T,
    /// Bytes received and not yet consumed start at `pos`.
    pub(crate) input: Vec<u8>,
    pub(crate) pos: usize,
    /// Bytes that go out before the next ones.
    pub(crate) output: Vec<u8>,
    /// Has carried an exchange before: the store may have closed it meanwhile.
    pub(crate) reused: bool,
}

impl<T: Transport> Link<T> {
    pub(crate) fn new(conn: T) -> Self {
        Self {
            conn,
            input: Vec::with_capacity(HEAD_READ),
            pos: 0,
            output: Vec::with_capacity(1024),
            reused: false,
        }
    }

    /// Replaces the output buffer's content by a request's head.
    pub(crate) fn put_head(&mut self, call: &Call) {
        self.output.clear();
        let mut target = Vec::with_capacity(call.path.len() + call.query.len() + 1);
        target.extend_from_slice(&call.path);
        if !call.query.is_empty() {
            target.push(b'?');
            target.extend_from_slice(&call.query);
        }
        encode_request_head(&mut self.output, &call.method, &target, &call.headers);
    }

    /// Writes what is in the output buffer.
    pub(crate) async fn flush(&mut self, within: Duration) -> io::Result<()> {
        self.conn.watch().deadline_in(within);
        let output = std::mem::take(&mut self.output);
        let (result, output) = self.conn.write_buf(output).await;
        self.output = output;
        self.wrote(result)
    }

    /// Writes what is in the output buffer, then `spans` of `block`.
    pub(crate) async fn write(
        &mut self,
        block: Block,
        spans: Spans,
        within: Duration,
    ) -> (io::Result<()>, Block) {
        self.conn.watch().deadline_in(within);
        let output = std::mem::take(&mut self.output);
        let (result, output, block) = self.conn.write_all(output, block, spans).await;
        self.output = output;
        (self.wrote(result), block)
    }

    fn wrote(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.conn.watch().clear();
        if result.is_ok() {
            self.output.clear();
        }
        result
    }

    /// Whether the store has begun to answer, or has closed, although it does not have the whole request: it has
    /// refused it. Does not wait. Interim (1xx) answers are none.
    pub(crate) async fn answer_began(&mut self) -> bool {
        // Over TLS, what waits may be a session ticket, and reading would wait for what comes after it. A store that
        // refuses closes sooner or later, and then writing fails.
        if self.conn.is_tls() {
            return false;
        }
        for _ in 0..MAX_INTERIM {
            if self.conn.is_quiet() {
                return false;
            }
            let read = self.more().await;
            if !matches!(read, Ok(n) if n > 0) || !only_interim(&self.input[self.pos..]) {
                return true;
            }
            self.pos = self.input.len();
        }
        true
    }

    /// Copies bytes that came with the head into `spans`.
    pub(crate) fn take_buffered(&mut self, block: &mut Block, spans: Spans) -> usize {
        let mut copied = 0;
        for range in spans.ranges() {
            let input = &self.input[self.pos..];
            if input.is_empty() {
                break;
            }
            let n = input.len().min(range.len());
            block[range.start..range.start + n].copy_from_slice(&input[..n]);
            self.pos += n;
            copied += n;
        }
        copied
    }

    /// Reads more bytes into the input buffer, whose consumed bytes are dropped first.
    pub(crate) async fn more(&mut self) -> io::Result<usize> {
        self.more_of(BODY_READ).await
    }

    /// The same, with room for at least so many.
    pub(crate) async fn more_of(&mut self, room: usize) -> io::Result<usize> {
        let mut input = std::mem::take(&mut self.input);
        input.drain(..self.pos);
        self.pos = 0;
        input.reserve(room);
        let (got, input) = self.conn.read_buf(input).await;
        self.input = input;
        got
    }

    /// Appends at least one and at most `most` bytes to `body`, of a connection from which all that came was taken.
    pub(crate) async fn append_to(&mut self, body: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let mut whole = std::mem::take(body);
        let before = whole.len();
        whole.reserve_exact(most);
        let (got, whole) = self.conn.read_buf(whole).await;
        *body = whole;
        let got = got?;
        // There may have been more room than asked for. What comes behind a body is nobody's, and keeps this
        // connection from being used again.
        if got > most {
            self.input.clear();
            self.pos = 0;
            self.input.extend_from_slice(&body[before + most..]);
            body.truncate(before + most);
        }
        Ok(got.min(most))
    }
}

/// Whether these bytes are whole interim answers and nothing else.
fn only_interim(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
        && matches!(
            parse_response(bytes, &Limits::default(), &Method::PUT),
            Ok(None)
        )
}
