//! Sockets: the listener of a core, and plain TCP connections.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::IoVecBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bulk::{self, Turns};
use crate::burst;
use crate::iobuf::{Part, Ranges, Run, Spare, Woven};
use crate::runtime::{active_driver, sleep};
use crate::{ActiveDriver, Block, Spans, Transport, Watch, Weave};

/// Connections that the kernel accepts ahead of us, per listener. The system's `somaxconn` may lower it.
const BACKLOG: i32 = 4096;

/// Bytes behind a head that are copied rather than written from where they are.
const COALESCE: usize = 4096;

/// How long `accept` pauses when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

thread_local! {
    /// Listening sockets of this core; -1 when closed.
    static LISTENERS: RefCell<Vec<Rc<Cell<RawFd>>>> = const { RefCell::new(Vec::new()) };
}

/// Options of sockets that are left to the system unless set.
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    /// Congestion control algorithm (`TCP_CONGESTION`), for measurements that must not depend on the machine's.
    pub congestion: Option<String>,
}

impl SocketOptions {
    /// `TCP_NODELAY` always: heads and bodies are gathered already, and waiting would only add latency.
    pub(crate) fn apply(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if let Some(name) = &self.congestion {
            socket.set_tcp_congestion(name.as_bytes())?;
        }
        Ok(())
    }
}

/// A listening socket of one core. Each core binds its own to the same address (`SO_REUSEPORT`), and the kernel
/// spreads the connections.
pub struct Listener {
    inner: TcpListener,
    fd: Rc<Cell<RawFd>>,
}

impl Listener {
    /// Listens on `addr`. Must be called on a core.
    ///
    /// # Errors
    /// Of the system: the address is in use by another user's process, is not ours, or needs privileges.
    pub fn bind(addr: SocketAddr) -> io::Result<Listener> {
        Listener::bind_with(addr, &SocketOptions::default())
    }

    /// [`Listener::bind`] with options, which accepted connections inherit.
    ///
    /// # Errors
    /// As [`Listener::bind`]; also an unknown congestion control.
    pub fn bind_with(addr: SocketAddr, options: &SocketOptions) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Linux hands both down to accepted sockets: no system call per connection.
        options.apply(&socket)?;
        // A ring waits in the kernel; epoll must not.
        socket.set_nonblocking(active_driver() == Some(ActiveDriver::Epoll))?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let inner = TcpListener::from_std(socket.into())?;
        let fd = Rc::new(Cell::new(inner.as_raw_fd()));
        LISTENERS.with_borrow_mut(|all| all.push(fd.clone()));
        Ok(Listener { inner, fd })
    }

    /// Where it listens; tells the port when 0 was asked for.
    ///
    /// # Errors
    /// Of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection. Trouble with a single connection, and running out of descriptors or memory (after a
    /// short pause), are survived here.
    ///
    /// # Errors
    /// Only when the listener is finished: draining closed it. The accept loop ends.
    pub async fn accept(&self) -> io::Result<TcpConn> {
        loop {
            let e = match self.inner.accept().await {
                Ok((stream, peer)) => return Ok(TcpConn::new(stream, Some(peer))),
                Err(e) => e,
            };
            match e.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    tracing::warn!(error = %e, "cannot accept connections for now");
                    sleep(ACCEPT_PAUSE).await;
                }
                Some(libc::EINVAL | libc::EBADF | libc::ENOTSOCK | libc::EOPNOTSUPP) | None => {
                    return Err(e);
                }
                // accept(2): the connection was lost, or has a pending network error. Not our affair.
                Some(_) => {}
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.fd.set(-1);
    }
}

/// Closes the listeners of this core, those with connections still to be accepted only when told to.
/// Shutting, not closing, because an `accept` is in flight: it then ends.
pub(crate) fn close_listeners(with_pending: bool) {
    LISTENERS.with_borrow_mut(|all| {
        all.retain(|fd| {
            let fd = fd.get();
            if fd < 0 {
                return false;
            }
            let mut poll = libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one pollfd, and no waiting.
            let pending = unsafe { libc::poll(&raw mut poll, 1, 0) } > 0;
            if pending && !with_pending {
                return true;
            }
            // SAFETY: a plain system call on a socket that its `Listener` has not dropped yet.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
            false
        });
    });
}

/// Forgets what a core left behind on this thread.
pub(crate) fn reset() {
    LISTENERS.with_borrow_mut(Vec::clear);
}

/// A TCP connection on the core's ring.
pub struct TcpConn {
    stream: TcpStream,
    watch: Watch,
    peer: Option<SocketAddr>,
    /// Whether bulk has to be moved by readiness: on a ring. The other driver does so by itself.
    by_readiness: bool,
    turns: Turns,
    /// Wrote little since it read: what answers that is not here yet.
    asked: bool,
}

impl TcpConn {
    fn new(stream: TcpStream, peer: Option<SocketAddr>) -> TcpConn {
        let watch = Watch::of_socket(stream.as_raw_fd());
        TcpConn {
            stream,
            watch,
            peer,
            by_readiness: active_driver() == Some(ActiveDriver::IoUring),
            turns: Turns::new(),
            asked: false,
        }
    }

    /// Connects to `addr`, giving up after `limit`.
    pub(crate) async fn connect(
        addr: SocketAddr,
        options: &SocketOptions,
        limit: Duration,
    ) -> io::Result<TcpConn> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        options.apply(&socket)?;
        // Not the ring's connect: that could not be given up. Waiting for the socket can be: no data is in play.
        socket.set_nonblocking(true)?;
        match socket.connect(&addr.into()) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(e) => return Err(e),
        }
        let stream = TcpStream::from_std(socket.into())?;
        crate::runtime::timeout(limit, stream.writable(false))
            .await
            .ok_or_else(connect_timed_out)??;
        let fd = stream.as_raw_fd();
        // SAFETY: `stream` keeps the descriptor open for longer than this borrow.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let socket = socket2::SockRef::from(&borrowed);
        if let Some(e) = socket.take_error()? {
            return Err(e);
        }
        // A ring waits in the kernel, where a non-blocking socket would answer EAGAIN instead.
        if active_driver() == Some(ActiveDriver::IoUring) {
            socket.set_nonblocking(false)?;
        }
        Ok(TcpConn::new(stream, Some(addr)))
    }

    async fn recv_some(&mut self, block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        if self.by_readiness && bulk::is_bulk(&block) {
            let mut ranges = Ranges::new(Vec::new(), 0, block, &spans);
            let result = self.recv_bulk(&mut ranges).await;
            return (result, ranges.block);
        }
        if spans.is_contiguous() {
            let (result, run) = self.stream.read(Run::new(block, spans.first())).await;
            (result, run.block)
        } else {
            let (result, ranges) = self
                .stream
                .readv(Ranges::new(Vec::new(), 0, block, &spans))
                .await;
            (result, ranges.block)
        }
    }

    /// One write of what is left of `head` (from `sent`) and of `spans`.
    async fn send_some(
        &mut self,
        head: Vec<u8>,
        sent: usize,
        mut block: Block,
        spans: Spans,
    ) -> (io::Result<usize>, Vec<u8>, Block) {
        if self.by_readiness && bulk::is_bulk(&block) {
            let rest = &head[sent..];
            let result = self
                .when_writable(|fd| bulk::send(fd, rest, &mut block, &spans))
                .await;
            return (result, head, block);
        }
        if sent >= head.len() && spans.is_contiguous() {
            let (result, run) = self.stream.write(Run::new(block, spans.first())).await;
            (result, head, run.block)
        } else if spans.is_empty() {
            let to = head.len();
            let (result, part) = self.stream.write(Part::new(head, sent, to)).await;
            (result, part.vec, block)
        } else {
            let (result, ranges) = self
                .stream
                .writev(Ranges::new(head, sent, block, &spans))
                .await;
            (result, ranges.head, ranges.block)
        }
    }

    async fn recv_woven(
        &mut self,
        block: Block,
        weave: &Weave,
        aside: Vec<u8>,
    ) -> (io::Result<usize>, Block, Vec<u8>) {
        let by_readiness = self.by_readiness && bulk::is_bulk(&block);
        let mut woven = Woven::new(block, weave, aside);
        let result;
        if by_readiness {
            result = self.recv_bulk(&mut woven).await;
        } else {
            (result, woven) = self.stream.readv(woven).await;
        }
        let (block, aside) = woven.done(weave, &result);
        (result, block, aside)
    }

    /// One read by readiness.
    async fn recv_bulk(&mut self, buffers: &mut impl IoVecBufMut) -> io::Result<usize> {
        self.when_readable(|fd| bulk::receive(fd, buffers)).await
    }

    /// The result of `receive`, which is called again whenever there may be something to read, until it is not `WouldBlock`.
    async fn when_readable(
        &mut self,
        mut receive: impl FnMut(RawFd) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match receive(self.stream.as_raw_fd()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.turns.waits();
            // Without a ring readiness is remembered, and has to be asked for again.
            self.stream.readable(self.by_readiness).await?;
            self.turns.take().await;
        }
    }

    /// The same for `send`, on a ring.
    async fn when_writable(
        &self,
        mut send: impl FnMut(RawFd) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match send(self.stream.as_raw_fd()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.stream.writable(true).await?;
        }
    }

    /// One read of bulk, by `receive`, which is called when it is this stream's turn and there may be something to read: what
    /// it reads into need not be the connection's while that waits.
    pub(crate) async fn read_with(
        &mut self,
        mut receive: impl FnMut(RawFd) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.turns.take().await;
        loop {
            self.watch.begin();
            let result = self.when_readable(&mut receive).await;
            let result = self.watch.end_read(result);
            if !interrupted(&result) {
                self.turns.moved(*result.as_ref().unwrap_or(&0));
                return result;
            }
        }
    }

    /// Writes all of `buf[..len]`.
    pub(crate) async fn write_part(
        &mut self,
        mut buf: Vec<u8>,
        len: usize,
    ) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        if len <= burst::LONGEST {
            burst::step_back().await;
            bulk::writes_little();
            self.asked = true;
        }
        while sent < len {
            self.watch.begin();
            let result;
            if self.by_readiness && len - sent >= bulk::LONG_WRITE {
                let rest = &buf[sent..len];
                result = self.when_writable(|fd| bulk::send_bytes(fd, rest)).await;
            } else {
                let part;
                (result, part) = self.stream.write(Part::new(buf, sent, len)).await;
                buf = part.vec;
            }
            match self.watch.end_write(result) {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (Err(e), buf),
            }
        }
        (Ok(()), buf)
    }
}

fn connect_timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")
}

fn interrupted(result: &io::Result<usize>) -> bool {
    matches!(result, Err(e) if e.kind() == io::ErrorKind::Interrupted)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl Transport for TcpConn {
    async fn read(&mut self, mut block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        if spans.is_empty() {
            return (Err(invalid("nothing to read into")), block);
        }
        if let Err(e) = block.check(&spans) {
            return (Err(e), block);
        }
        if bulk::is_bulk(&block) {
            self.turns.take().await;
        }
        loop {
            self.watch.begin();
            let result;
            (result, block) = self.recv_some(block, spans).await;
            let result = self.watch.end_read(result);
            if !interrupted(&result) {
                self.turns.moved(*result.as_ref().unwrap_or(&0));
                return (result, block);
            }
        }
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
        if bulk::is_bulk(&block) {
            self.turns.take().await;
        }
        loop {
            self.watch.begin();
            let result;
            (result, block, aside) = self.recv_woven(block, weave, aside).await;
            let result = self.watch.end_read(result);
            if !interrupted(&result) {
                self.turns.moved(*result.as_ref().unwrap_or(&0));
                return (result, block, aside);
            }
        }
    }

    async fn read_buf(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if buf.len() == buf.capacity() {
            return (Err(invalid("no room to read into")), buf);
        }
        if std::mem::take(&mut self.asked) {
            // Without a ring a read that finds nothing is a system call for nothing.
            burst::step_back().await;
        }
        loop {
            self.watch.begin();
            let (result, spare) = self.stream.read(Spare(buf)).await;
            buf = spare.0;
            let result = self.watch.end_read(result);
            if !interrupted(&result) {
                return (result, buf);
            }
        }
    }

    async fn write_all(
        &mut self,
        mut head: Vec<u8>,
        mut block: Block,
        mut spans: Spans,
    ) -> (io::Result<()>, Vec<u8>, Block) {
        if let Err(e) = block.check(&spans) {
            return (Err(e), head, block);
        }
        let mut sent = 0;
        if !head.is_empty() && spans.len() <= COALESCE {
            // Cheaper than a gathered write, which the system checks more closely.
            for range in spans.ranges() {
                head.extend_from_slice(&block[range]);
            }
            spans.advance(spans.len());
        }
        if head.len() + spans.len() <= burst::LONGEST {
            burst::step_back().await;
            bulk::writes_little();
            self.asked = true;
        }
        while sent < head.len() || !spans.is_empty() {
            self.watch.begin();
            let result;
            (result, head, block) = self.send_some(head, sent, block, spans).await;
            match self.watch.end_write(result) {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), head, block),
                Ok(n) => {
                    let of_head = n.min(head.len() - sent);
                    sent += of_head;
                    spans.advance(n - of_head);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (Err(e), head, block),
            }
        }
        (Ok(()), head, block)
    }

    async fn write_buf(&mut self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let len = buf.len();
        self.write_part(buf, len).await
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn is_tls(&self) -> bool {
        false
    }

    fn is_quiet(&self) -> bool {
        let mut byte = 0u8;
        // SAFETY: peeks at most one byte into a local, without waiting.
        let n = unsafe {
            libc::recv(
                self.stream.as_raw_fd(),
                (&raw mut byte).cast(),
                1,
                libc::MSG_PEEK | libc::MSG_DONTWAIT,
            )
        };
        n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }

    fn shutdown(&mut self) -> impl Future<Output = ()> {
        // SAFETY: a plain system call on a descriptor that we hold.
        unsafe { libc::shutdown(self.stream.as_raw_fd(), libc::SHUT_WR) };
        std::future::ready(())
    }
}

impl Drop for TcpConn {
    fn drop(&mut self) {
        // Before the descriptor is closed and becomes another's.
        self.watch.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use socket2::SockRef;

    use super::*;
    use crate::{Driver, RuntimeConfig, join, start};

    fn options_of(conn: &TcpConn) -> (bool, Vec<u8>) {
        // SAFETY: `conn` keeps the descriptor open for longer than this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(conn.stream.as_raw_fd()) };
        let socket = SockRef::from(&fd);
        let congestion = socket.tcp_congestion().unwrap();
        let end = congestion
            .iter()
            .position(|b| *b == 0)
            .unwrap_or(congestion.len());
        (socket.tcp_nodelay().unwrap(), congestion[..end].to_vec())
    }

    #[test]
    fn both_ends_have_the_options() {
        let cfg = RuntimeConfig {
            cores: 1,
            driver: Driver::Auto,
            ..RuntimeConfig::default()
        };
        let cores = start(&cfg, |_| async {
            let options = SocketOptions {
                congestion: Some("reno".into()),
            };
            let listener = Listener::bind_with("127.0.0.1:0".parse().unwrap(), &options).unwrap();
            let addr = listener.local_addr().unwrap();
            let connecting = TcpConn::connect(addr, &options, Duration::from_secs(5));
            let (client, server) = join(connecting, listener.accept()).await;
            for conn in [client.unwrap(), server.unwrap()] {
                assert_eq!(options_of(&conn), (true, b"reno".to_vec()));
            }
            let unknown = SocketOptions {
                congestion: Some("no-such".into()),
            };
            assert!(Listener::bind_with(addr, &unknown).is_err());
        });
        cores.unwrap().join().unwrap();
    }
}
