//! What a connection can do, whoever provides it: a socket, TLS over one, or a simulator.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use crate::{Block, Spans, Watch, Weave};

/// A byte stream both ways, with buffers passed by value.
///
/// Futures must be run to completion (crate documentation). A peer that is too slow makes them fail with
/// [`io::ErrorKind::TimedOut`]: see [`Watch`].
pub trait Transport: 'static {
    /// Reads at least one byte into `spans` of `block`, in logical order, with one scatter read.
    /// `Ok(0)`: the peer closed. Spans that are empty or outside of the block are [`io::ErrorKind::InvalidInput`].
    fn read(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> impl Future<Output = (io::Result<usize>, Block)>;

    /// Reads at least one byte as `weave` plans it, with one scatter read: payload into its spans of `block`, the
    /// rest appended to `aside`, within its spare capacity, which the caller has reserved.
    /// `Ok(0)` and [`io::ErrorKind::InvalidInput`] as above.
    fn read_woven(
        &mut self,
        block: Block,
        weave: &Weave,
        aside: Vec<u8>,
    ) -> impl Future<Output = (io::Result<usize>, Block, Vec<u8>)>;

    /// Appends at least one byte to `buf`, within its spare capacity, which the caller has reserved.
    /// `Ok(0)`: the peer closed. No spare capacity is [`io::ErrorKind::InvalidInput`].
    fn read_buf(&mut self, buf: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Writes all of `head`, then all of `spans`, gathered in one write as far as the socket takes them.
    fn write_all(
        &mut self,
        head: Vec<u8>,
        block: Block,
        spans: Spans,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>, Block)>;

    /// Writes all of `buf`.
    fn write_buf(&mut self, buf: Vec<u8>) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Time-outs and counters.
    fn watch(&self) -> &Watch;

    /// The other end, where it has an address.
    fn peer(&self) -> Option<SocketAddr>;

    /// True when the bytes are encrypted on the wire.
    fn is_tls(&self) -> bool;

    /// True when neither bytes nor the end of the stream are waiting to be read: only then may a pooled
    /// connection carry another request. Does not block.
    fn is_quiet(&self) -> bool;

    /// Ends our direction: `close_notify` on TLS, then the half-close of TCP.
    fn shutdown(&mut self) -> impl Future<Output = ()>;
}
