//! A transport in memory, for tests and simulators: it runs on any executor, delivers bytes in the fragments that
//! the test chose, and fails when told to.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::iobuf::{scatter, weaver};
use crate::{Block, Connector, Spans, Transport, Watch, Weave};

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// Each read takes from the first one only.
    fragments: VecDeque<Vec<u8>>,
    /// The writer has ended its direction.
    ended: bool,
    /// Both directions are gone; reads and writes fail so.
    broken: Option<io::ErrorKind>,
    /// Bytes that may still be written before the connection breaks.
    budget: Option<usize>,
    reader: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_read(
        &mut self,
        cx: &Context<'_>,
        into: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        if let Some(fragment) = self.fragments.front_mut() {
            let n = into(fragment);
            fragment.drain(..n);
            if fragment.is_empty() {
                self.fragments.pop_front();
            }
            return Poll::Ready(Ok(n));
        }
        if let Some(kind) = self.broken {
            return Poll::Ready(Err(kind.into()));
        }
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes `bytes` as one fragment, as far as the budget reaches.
    fn write(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        if self.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut result = Ok(());
        if let Some(left) = &mut self.budget {
            if bytes.len() > *left {
                bytes.truncate(*left);
                self.broken = Some(io::ErrorKind::ConnectionReset);
                result = Err(io::ErrorKind::ConnectionReset.into());
            }
            *left -= bytes.len();
        }
        if !bytes.is_empty() {
            self.fragments.push_back(bytes);
        }
        self.wake();
        result
    }
}

type Shared = Rc<RefCell<Pipe>>;

/// One end of a connection in memory.
pub struct MemTransport {
    incoming: Shared,
    outgoing: Shared,
    watch: Watch,
    peer: Option<SocketAddr>,
    tls: bool,
}

/// The other end, in the hands of the test.
#[derive(Clone)]
pub struct MemPeer {
    to: Shared,
    from: Shared,
    watch: Watch,
}

impl MemTransport {
    fn new(incoming: Shared, outgoing: Shared) -> MemTransport {
        let (reader, writer) = (incoming.clone(), outgoing.clone());
        // As when a socket is shut: pending reads end, writes fail.
        let watch = Watch::detached(move || {
            reader.borrow_mut().ended = true;
            reader.borrow_mut().wake();
            writer.borrow_mut().ended = true;
            writer.borrow_mut().wake();
        });
        MemTransport {
            incoming,
            outgoing,
            watch,
            peer: None,
            tls: false,
        }
    }

    /// Two ends of one connection, each delivering what the other writes, fragment by fragment.
    #[must_use]
    pub fn pair() -> (MemTransport, MemTransport) {
        let (a, b) = (Shared::default(), Shared::default());
        (
            MemTransport::new(a.clone(), b.clone()),
            MemTransport::new(b, a),
        )
    }

    /// One end whose other end is the test.
    #[must_use]
    pub fn with_peer() -> (MemTransport, MemPeer) {
        let (incoming, outgoing) = (Shared::default(), Shared::default());
        let transport = MemTransport::new(incoming.clone(), outgoing.clone());
        let peer = MemPeer {
            to: incoming,
            from: outgoing,
            watch: transport.watch.clone(),
        };
        (transport, peer)
    }

    /// One end that receives these fragments, one for each read, and then the end of the stream.
    #[must_use]
    pub fn scripted<F: Into<Vec<u8>>>(
        fragments: impl IntoIterator<Item = F>,
    ) -> (MemTransport, MemPeer) {
        let (transport, peer) = MemTransport::with_peer();
        fragments.into_iter().for_each(|f| peer.send(f));
        peer.close();
        (transport, peer)
    }

    /// The same with what [`Transport::peer`] and [`Transport::is_tls`] are to say.
    #[must_use]
    pub fn described(mut self, peer: Option<SocketAddr>, tls: bool) -> MemTransport {
        (self.peer, self.tls) = (peer, tls);
        self
    }

    async fn read_into(&mut self, into: &mut dyn FnMut(&[u8]) -> usize) -> io::Result<usize> {
        self.watch.begin();
        let result = poll_fn(|cx| self.incoming.borrow_mut().poll_read(cx, into)).await;
        self.watch.end_read(result)
    }

    fn write(&self, bytes: Vec<u8>) -> io::Result<()> {
        let len = bytes.len();
        if len == 0 {
            return Ok(());
        }
        let result = self.outgoing.borrow_mut().write(bytes);
        self.watch.end_write(result.map(|()| len)).map(|_| ())
    }
}

impl MemPeer {
    /// Sends a fragment: one read of the transport gets it, or the part of it that fits.
    pub fn send(&self, fragment: impl Into<Vec<u8>>) {
        let fragment = fragment.into();
        if !fragment.is_empty() {
            let mut to = self.to.borrow_mut();
            to.fragments.push_back(fragment);
            to.wake();
        }
    }

    /// Ends the direction to the transport, after what was sent.
    pub fn close(&self) {
        let mut to = self.to.borrow_mut();
        to.ended = true;
        to.wake();
    }

    /// Breaks the connection both ways: reads fail so after what was sent, writes at once.
    pub fn fail(&self, kind: io::ErrorKind) {
        for pipe in [&self.to, &self.from] {
            let mut pipe = pipe.borrow_mut();
            pipe.broken = Some(kind);
            pipe.wake();
        }
    }

    /// Lets the transport write `n` more bytes, and resets the connection at the next one.
    pub fn break_after(&self, n: usize) {
        self.from.borrow_mut().budget = Some(n);
    }

    /// Takes what the transport has written since the last call.
    #[must_use]
    pub fn take_written(&self) -> Vec<u8> {
        self.from
            .borrow_mut()
            .fragments
            .drain(..)
            .flatten()
            .collect()
    }

    /// Waits until the transport has written something, and takes it; empty when it has ended its direction.
    pub async fn written(&self) -> Vec<u8> {
        let mut got = Vec::new();
        let read = poll_fn(|cx| {
            self.from.borrow_mut().poll_read(cx, &mut |b| {
                got.extend_from_slice(b);
                b.len()
            })
        });
        let _ = read.await;
        got.extend(self.take_written());
        got
    }

    /// True when the transport has shut its direction, or is gone.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.from.borrow().ended
    }

    /// Expires the transport's deadline now, as the sweeper would.
    pub fn expire(&self) {
        self.watch.expire();
    }
}

impl Transport for MemTransport {
    async fn read(&mut self, mut block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        if spans.is_empty() {
            return (Err(io::ErrorKind::InvalidInput.into()), block);
        }
        if let Err(e) = block.check(&spans) {
            return (Err(e), block);
        }
        let mut rest = spans;
        let result = self
            .read_into(&mut |b| scatter(&mut block, &mut rest, b))
            .await;
        (result, block)
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
            self.read_into(&mut |bytes| weaver.put(bytes)).await
        };
        (result, block, aside)
    }

    async fn read_buf(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let room = buf.capacity() - buf.len();
        if room == 0 {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        let append = &mut |b: &[u8]| {
            let n = b.len().min(room);
            buf.extend_from_slice(&b[..n]);
            n
        };
        let result = self.read_into(append).await;
        (result, buf)
    }

    async fn write_all(
        &mut self,
        head: Vec<u8>,
        block: Block,
        spans: Spans,
    ) -> (io::Result<()>, Vec<u8>, Block) {
        if let Err(e) = block.check(&spans) {
            return (Err(e), head, block);
        }
        let mut bytes = head.clone();
        spans
            .ranges()
            .for_each(|r| bytes.extend_from_slice(&block[r]));
        (self.write(bytes), head, block)
    }

    async fn write_buf(&mut self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        (self.write(buf.clone()), buf)
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn is_tls(&self) -> bool {
        self.tls
    }

    fn is_quiet(&self) -> bool {
        let pipe = self.incoming.borrow();
        pipe.fragments.is_empty() && !pipe.ended && pipe.broken.is_none()
    }

    fn shutdown(&mut self) -> impl Future<Output = ()> {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.ended = true;
        pipe.wake();
        std::future::ready(())
    }
}

impl Drop for MemTransport {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.ended = true;
        outgoing.wake();
        drop(outgoing);
        // What is written to it now has no reader.
        self.incoming.borrow_mut().ended = true;
    }
}

/// A [`Connector`] that asks the test for each connection.
pub struct MemConnector {
    make: Box<dyn Fn() -> io::Result<MemTransport>>,
}

impl MemConnector {
    /// Each `connect` returns what `make` does.
    pub fn new(make: impl Fn() -> io::Result<MemTransport> + 'static) -> MemConnector {
        MemConnector {
            make: Box::new(make),
        }
    }
}

impl Connector for MemConnector {
    type Conn = MemTransport;

    async fn connect(&self) -> io::Result<MemTransport> {
        (self.make)()
    }
}

#[cfg(test)]
mod tests;
