//! Sockets and runtimes that all instruments share.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Congestion control of every socket that an instrument opens. Others, such as bbr, which paces by
/// timers, can double what loopback costs and would be measured instead of the programs.
pub(crate) const CONGESTION: &str = "cubic";

/// Connections that the kernel accepts ahead of us.
const BACKLOG: i32 = 4096;

/// Anything that went wrong in an instrument, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the instruments return.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// `TCP_NODELAY` and [`CONGESTION`].
pub(crate) fn tune(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_congestion(CONGESTION.as_bytes())
}

/// A tuned listener; connections that it accepts inherit its options (Linux).
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    tune(SockRef::from(&socket))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A tuned, blocking connection.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    tune(SockRef::from(&socket))?;
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

/// The same for a tokio runtime.
pub(crate) fn connect_async(addr: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let stream = connect(addr)?;
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)
}

/// A listener for a tokio runtime.
pub(crate) fn listen_async(addr: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let listener = listen(addr)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// A tokio runtime with so many workers.
pub(crate) fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .enable_all()
        .build()
}

/// A port of the loopback interface that nobody listens on at the moment, given once: below the ephemeral range, from which
/// connections take theirs before the program that is to listen has started.
pub(crate) fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    for _ in PORTS {
        let n = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + n % PORTS.len() as u32) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Tells whoever started us where we listen; [`crate::process::Child`] waits for this line.
pub(crate) fn announce(addr: SocketAddr) {
    println!("{ANNOUNCEMENT}{addr}");
}

/// What the line begins with.
pub(crate) const ANNOUNCEMENT: &str = "listening on ";
