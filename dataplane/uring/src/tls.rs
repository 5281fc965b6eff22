//! TLS for clients (the gateway is the server, with certificates that can be replaced while it runs) and for the
//! store (the gateway is the client). rustls does the protocol; the sockets stay ours.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::ServerName;

mod config;
mod session;
mod stream;

pub use config::{Provider, TlsAcceptor, TlsError, client_tls};
use stream::TlsStream;

use crate::{Block, Spans, TcpConn, Transport, Watch, Weave};

/// A connection of any kind.
pub enum Conn {
    /// Plain TCP.
    Tcp(TcpConn),
    /// TLS, with the peer as the client.
    TlsServer(TlsConn),
    /// TLS, with the peer as the server.
    TlsClient(TlsConn),
}

/// A TLS connection; made by [`TlsAcceptor::accept`] and by the connector.
pub struct TlsConn {
    // Boxed: plain connections should not pay for the size of this.
    stream: Box<TlsStream>,
}

impl Conn {
    /// Does the client's side of a TLS handshake over `tcp`, with a server that must prove to be `host`.
    pub(crate) async fn connect_tls(
        tcp: TcpConn,
        config: Arc<rustls::ClientConfig>,
        host: &str,
    ) -> io::Result<Conn> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let session = rustls::client::UnbufferedClientConnection::new(config, name)
            .map_err(io::Error::other)?;
        let stream = TlsStream::handshake(tcp, session.into()).await?;
        Ok(Conn::TlsClient(TlsConn {
            stream: Box::new(stream),
        }))
    }

    /// Does the server's side of a TLS handshake over `tcp`.
    pub(crate) async fn accept_tls(
        tcp: TcpConn,
        config: Arc<rustls::ServerConfig>,
    ) -> io::Result<Conn> {
        let session =
            rustls::server::UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let stream = TlsStream::handshake(tcp, session.into()).await?;
        Ok(Conn::TlsServer(TlsConn {
            stream: Box::new(stream),
        }))
    }
}

impl From<TcpConn> for Conn {
    fn from(tcp: TcpConn) -> Conn {
        Conn::Tcp(tcp)
    }
}

/// Calls the method of whichever transport it is.
macro_rules! each {
    ($conn:expr, $inner:ident => $call:expr) => {
        match $conn {
            Conn::Tcp($inner) => $call,
            Conn::TlsServer(TlsConn { stream: $inner })
            | Conn::TlsClient(TlsConn { stream: $inner }) => $call,
        }
    };
}

impl Transport for Conn {
    async fn read(&mut self, block: Block, spans: Spans) -> (io::Result<usize>, Block) {
        each!(self, c => c.read(block, spans).await)
    }

    async fn read_woven(
        &mut self,
        block: Block,
        weave: &Weave,
        aside: Vec<u8>,
    ) -> (io::Result<usize>, Block, Vec<u8>) {
        each!(self, c => c.read_woven(block, weave, aside).await)
    }

    async fn read_buf(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        each!(self, c => c.read_buf(buf).await)
    }

    async fn write_all(
        &mut self,
        head: Vec<u8>,
        block: Block,
        spans: Spans,
    ) -> (io::Result<()>, Vec<u8>, Block) {
        each!(self, c => c.write_all(head, block, spans).await)
    }

    async fn write_buf(&mut self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        each!(self, c => c.write_buf(buf).await)
    }

    fn watch(&self) -> &Watch {
        each!(self, c => c.watch())
    }

    fn peer(&self) -> Option<SocketAddr> {
        each!(self, c => c.peer())
    }

    fn is_tls(&self) -> bool {
        each!(self, c => c.is_tls())
    }

    fn is_quiet(&self) -> bool {
        each!(self, c => c.is_quiet())
    }

    async fn shutdown(&mut self) {
        each!(self, c => c.shutdown().await);
    }
}
