//! What Sealgate's data plane runs on: one thread per core, each with its own io_uring (or epoll where
//! io_uring is refused), its own pool of buffers, sockets, TLS and files.
//!
//! Everything above this crate is generic over [`Transport`] and [`Connector`], so that a simulator
//! ([`testing`]) or another runtime can stand in. Nothing here is `Send` unless it says so: a connection,
//! its buffers and its timers live and die on one core.
//!
//! Two rules hold everywhere, both because the kernel owns the memory of an operation in flight:
//!
//! * Buffers are passed by value and come back with the result.
//! * A read, write or accept that was started is awaited to its end. Dropping it is memory-safe, but loses
//!   data and the buffer. Time-outs therefore never drop a future; they shut the socket ([`Watch`]), and the
//!   operation in flight then completes.

mod block;
mod blocking;
mod bulk;
mod burst;
mod connect;
mod fs;
mod iobuf;
mod net;
mod pool;
mod runtime;
mod spans;
pub mod testing;
mod tls;
mod transport;
mod watch;
mod weave;

pub use block::{Block, BlockSize};
pub use blocking::blocking;
pub use connect::{Connector, StoreConnector};
pub use fs::{File, How, create_dir, rename, sync_dir, unlink};
pub use net::{Listener, SocketOptions, TcpConn};
pub use pool::{Exhausted, Pool};
pub use runtime::{
    ActiveDriver, CoreContext, Cores, Drain, Driver, DriverError, RuntimeConfig, detect, join, now,
    sleep, spawn, start,
};
pub use spans::Spans;
pub use tls::{Conn, Provider, TlsAcceptor, TlsConn, TlsError, client_tls};
pub use transport::Transport;
pub use watch::Watch;
pub use weave::{Turn, Weave};
