//! TLS over a TCP connection.

use std::io;
use std::net::SocketAddr;

use super::session::{Action, MAX_INPUT, RECORD, RECORD_OVERHEAD, Rest, Session};
use crate::bulk;
use crate::iobuf::{scatter, weaver};
use crate::{Block, Spans, TcpConn, Transport, Watch, Weave};

/// Ciphertext read at once while little is asked for, bytes: a whole record.
const INPUT: usize = RECORD + RECORD_OVERHEAD;

/// Asked for at least this much, a read is bulk, bytes: it is made into the core's buffer.
const BULK: usize = 4 * RECORD;

/// What a full record adds to its plaintext at least, bytes (TLS 1.3: header, content type, tag).
const LEAST_OVERHEAD: usize = 22;

/// Ciphertext that is gathered before it is sent, bytes: eight records. It bounds what a connection holds beside the blocks
/// of the pool.
const OUTPUT: usize = 8 * (RECORD + RECORD_OVERHEAD);

pub(super) struct TlsStream {
    tcp: TcpConn,
    session: Session,
    /// Plaintext that did not fit where it was asked for; at most what the records of the input held.
    plain: Vec<u8>,
    plain_at: usize,
    /// Where small pieces become one record.
    scratch: Vec<u8>,
}

impl TlsStream {
    pub(super) async fn handshake(tcp: TcpConn, session: Session) -> io::Result<TlsStream> {
        let mut this = TlsStream {
            tcp,
            session,
            plain: Vec::new(),
            plain_at: 0,
            scratch: Vec::new(),
        };
        loop {
            let rested = this.pump(Action::Read);
            this.flush_after(rested).await?;
            if !this.session.is_handshaking() {
                return Ok(this);
            }
            if this.fill(INPUT).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "closed during the TLS handshake",
                ));
            }
        }
    }

    /// Lets the session work, keeping plaintext for later.
    fn pump(&mut self, action: Action<'_>) -> Result<Rest, rustls::Error> {
        let plain = &mut self.plain;
        self.session.pump(action, &mut |bytes| {
            plain.extend_from_slice(bytes);
            true
        })
    }

    /// Sends what the session wants sent. After an error that is its alert, which may fail: the error counts.
    async fn flush_after<T>(&mut self, result: Result<T, rustls::Error>) -> io::Result<T> {
        let flushed = self.flush().await;
        match result {
            Ok(done) => flushed.map(|()| done),
            Err(e) => Err(io::Error::new(io::ErrorKind::InvalidData, e)),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let output = &mut self.session.output;
        if output.filled == 0 {
            return Ok(());
        }
        let (buf, filled) = (
            std::mem::take(&mut output.buf),
            std::mem::take(&mut output.filled),
        );
        let (result, buf) = self.tcp.write_part(buf, filled).await;
        self.session.output.buf = buf;
        result
    }

    /// Reads more ciphertext; 0 at the end.
    async fn fill(&mut self, want: usize) -> io::Result<usize> {
        let session = &mut self.session;
        // Part of a record at most, unless somebody reads less than comes in.
        session.input.drain(..session.at);
        session.at = 0;
        let len = session.input.len();
        if len >= MAX_INPUT {
            return Err(too_long());
        }
        if session.input.capacity() < want || session.input.capacity() == len {
            session.input.reserve_exact(want.max(len + RECORD) - len);
        }
        let (result, input) = self.tcp.read_buf(std::mem::take(&mut session.input)).await;
        self.session.input = input;
        result
    }

    /// Reads about as much more ciphertext as has `want` bytes of plaintext, into the core's buffer: the session must be
    /// pumped, and give it back, before anything is waited for. 0 at the end.
    async fn fill_bulk(&mut self, want: usize) -> io::Result<usize> {
        let session = &mut self.session;
        let waiting = session.input.len() - session.at;
        if waiting >= MAX_INPUT {
            return Err(too_long());
        }
        // What is more than asked for would have to be kept.
        let all = want + want.div_ceil(RECORD) * LEAST_OVERHEAD;
        let more = all.saturating_sub(waiting).max(INPUT);
        self.tcp
            .read_with(|fd| {
                session.lend();
                let result = bulk::receive_behind(fd, &mut session.input, more);
                if !matches!(result, Ok(n) if n > 0) {
                    session.give_back();
                }
                result
            })
            .await
    }

    /// Reads until `sink` has got something, the peer has closed (false), or an error. `sink` takes what fits and
    /// says how much that was; when it is full, it must not be called again.
    async fn receive(
        &mut self,
        want: usize,
        sink: &mut dyn FnMut(&[u8]) -> usize,
    ) -> io::Result<bool> {
        if self.plain_at < self.plain.len() {
            self.plain_at += sink(&self.plain[self.plain_at..]);
            if self.plain_at == self.plain.len() {
                self.plain.clear();
                self.plain_at = 0;
            }
            return Ok(true);
        }
        loop {
            let (mut got, plain) = (false, &mut self.plain);
            let rested = self.session.pump(Action::Read, &mut |bytes| {
                got = true;
                let taken = sink(bytes);
                plain.extend_from_slice(&bytes[taken..]);
                plain.is_empty()
            });
            self.session.give_back();
            let flushed = self.flush_after(rested).await;
            if got {
                // An error of the session comes again at the next call.
                return Ok(true);
            }
            flushed?;
            if self.session.peer_closed {
                return Ok(false);
            }
            let came = if want >= BULK {
                self.fill_bulk(want).await?
            } else {
                self.fill(INPUT).await?
            };
            if came == 0 {
                // The end of the connection without `close_notify`: somebody may have cut it (RFC 8446 §6.1).
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "TLS was cut without close_notify",
                ));
            }
        }
    }

    /// Encrypts `plain`, sending as the buffer fills.
    async fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        for piece in plain.chunks(4 * RECORD) {
            let needs = piece.len() + piece.len().div_ceil(RECORD) * RECORD_OVERHEAD;
            if self.session.output.filled + needs > OUTPUT {
                self.flush().await?;
            }
            match self.pump(Action::Encrypt(piece)) {
                Ok(Rest::Done) => {}
                Ok(_) => return Err(io::ErrorKind::NotConnected.into()),
                Err(e) => return self.flush_after(Err(e)).await,
            }
        }
        Ok(())
    }

    async fn write_pieces(&mut self, head: &[u8], block: &Block, spans: Spans) -> io::Result<()> {
        if head.len() + spans.len() <= RECORD {
            // One record, one pass of the AEAD.
            let mut all = std::mem::take(&mut self.scratch);
            all.clear();
            all.extend_from_slice(head);
            spans
                .ranges()
                .for_each(|r| all.extend_from_slice(&block[r]));
            let result = self.encrypt(&all).await;
            self.scratch = all;
            result?;
        } else {
            self.encrypt(head).await?;
            for range in spans.ranges() {
                self.encrypt(&block[range]).await?;
            }
        }
        self.flush().await
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a TLS message is too long")
}

impl Transport for TlsStream {
    async fn read(&mut self, mut block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        if spans.is_empty() {
            return (Err(io::ErrorKind::InvalidInput.into()), block);
        }
        if let Err(e) = block.check(&spans) {
            return (Err(e), block);
        }
        let mut rest = spans;
        let result = self
            .receive(spans.len(), &mut |bytes| {
                scatter(&mut block, &mut rest, bytes)
            })
            .await;
        (result.map(|_| spans.len() - rest.len()), block)
    }

    async fn read_woven(
        &mut self,
        mut block: Block,
        weave: &Weave,
        mut aside: Vec<u8>,
    ) -> (io::Result<usize>, Block, Vec<u8>) {
        if let Err(e) = block.check_woven(weave, &aside) {
            return (Err(e), block, aside);
        }
        let result = {
            let mut weaver = weaver(weave, &mut block, &mut aside);
            let put = &mut |bytes: &[u8]| weaver.put(bytes);
            let result = self.receive(weave.len(), put).await;
            result.map(|_| weaver.done())
        };
        (result, block, aside)
    }

    async fn read_buf(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let (before, capacity) = (buf.len(), buf.capacity());
        if before == capacity {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        let append = &mut |bytes: &[u8]| {
            let n = bytes.len().min(capacity - buf.len());
            buf.extend_from_slice(&bytes[..n]);
            n
        };
        let result = self.receive(capacity - before, append).await;
        (result.map(|_| buf.len() - before), buf)
    }

    async fn write_all(
        &mut self,
        head: Vec<u8>,
        block: Block,
        spans: Spans,
    ) -> (io::Result<()>, Vec<u8>, Block) {
        let result = match block.check(&spans) {
            Ok(()) => self.write_pieces(&head, &block, spans).await,
            Err(e) => Err(e),
        };
        (result, head, block)
    }

    async fn write_buf(&mut self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut result = self.encrypt(&buf).await;
        if result.is_ok() {
            result = self.flush().await;
        }
        (result, buf)
    }

    fn watch(&self) -> &Watch {
        self.tcp.watch()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.tcp.peer()
    }

    fn is_tls(&self) -> bool {
        true
    }

    fn is_quiet(&self) -> bool {
        self.plain_at == self.plain.len()
            && !self.session.has_input()
            && !self.session.peer_closed
            && self.tcp.is_quiet()
    }

    async fn shutdown(&mut self) {
        // The peer may be gone; then there is nobody to tell.
        if self.pump(Action::Close).is_ok() {
            let _ = self.flush().await;
        }
        self.tcp.shutdown().await;
    }
}
