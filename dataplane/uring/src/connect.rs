//! Connections to the store.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::runtime::timeout;
use crate::{Conn, SocketOptions, TcpConn, Transport, blocking};

/// How long a resolved host name is used. Stores behind DNS balancers change their addresses every minute or so.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// Most addresses of a host name that are kept and tried.
const MAX_ADDRESSES: usize = 16;

/// Makes connections to one place.
pub trait Connector: 'static {
    /// What it makes.
    type Conn: Transport;

    /// A new connection, ready for the first request.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Conn>>;
}

/// Connects to a store by host name: one per core and store.
///
/// A host name is resolved on the blocking pool and kept for half a minute; its addresses are tried in turn, each
/// connection starting with the next one, so that a store with several addresses shares the load.
pub struct StoreConnector {
    host: String,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
    connect_timeout: Duration,
    options: SocketOptions,
    resolved: RefCell<Option<(Instant, Vec<SocketAddr>)>>,
    next: Cell<usize>,
}

impl StoreConnector {
    /// To `host` (a name, or an address with or without the brackets of IPv6) and `port`, with TLS when configured.
    /// `connect_timeout` is for all of one `connect`: resolving, every address, and the TLS handshake.
    #[must_use]
    pub fn new(
        host: &str,
        port: u16,
        tls: Option<Arc<rustls::ClientConfig>>,
        connect_timeout: Duration,
    ) -> Self {
        StoreConnector {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            tls,
            connect_timeout,
            options: SocketOptions::default(),
            resolved: RefCell::new(None),
            next: Cell::new(0),
        }
    }

    /// The same with socket options.
    #[must_use]
    pub fn with_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    async fn addresses(&self, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        if let Some((at, found)) = &*self.resolved.borrow()
            && at.elapsed() < RESOLVED_FOR
        {
            return Ok(found.clone());
        }
        let (host, port) = (self.host.clone(), self.port);
        let resolve = blocking(move || {
            (host.as_str(), port)
                .to_socket_addrs()
                .map(|all| all.take(MAX_ADDRESSES).collect::<Vec<_>>())
        });
        // Giving up leaves the resolver's thread to its own time-out.
        let found = timeout(limit, resolve)
            .await
            .unwrap_or_else(|| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "resolving took too long",
                ))
            })
            .map_err(|e| self.context("cannot resolve", &e))?;
        if found.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} has no address", self.host),
            ));
        }
        *self.resolved.borrow_mut() = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    async fn connect_tcp(&self, deadline: Instant) -> io::Result<TcpConn> {
        let addresses = self.addresses(left(deadline)).await?;
        let first = self.next.get();
        self.next.set(first.wrapping_add(1));
        let mut failed = None;
        for i in 0..addresses.len() {
            let addr = addresses[first.wrapping_add(i) % addresses.len()];
            // A dead address must leave time for the others.
            let share = left(deadline) / (addresses.len() - i) as u32;
            match TcpConn::connect(addr, &self.options, share).await {
                Ok(conn) => return Ok(conn),
                Err(e) => failed = Some(self.context(&format!("cannot connect to {addr} for"), &e)),
            }
        }
        // Perhaps the name has moved.
        *self.resolved.borrow_mut() = None;
        Err(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn context(&self, what: &str, e: &io::Error) -> io::Error {
        io::Error::new(e.kind(), format!("{what} {}:{}: {e}", self.host, self.port))
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

impl Connector for StoreConnector {
    type Conn = Conn;

    async fn connect(&self) -> io::Result<Conn> {
        let deadline = Instant::now() + self.connect_timeout;
        let tcp = self.connect_tcp(deadline).await?;
        let Some(config) = &self.tls else {
            return Ok(Conn::Tcp(tcp));
        };
        tcp.watch().deadline_in(left(deadline));
        let conn = Conn::connect_tls(tcp, config.clone(), &self.host)
            .await
            .map_err(|e| self.context("TLS with", &e))?;
        conn.watch().clear();
        Ok(conn)
    }
}
