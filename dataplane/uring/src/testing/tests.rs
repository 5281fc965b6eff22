use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::{BlockSize, Pool};

fn run<F: Future>(f: F) -> F::Output {
    match pin!(f).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("would wait"),
    }
}

#[test]
fn reads_return_the_fragments_and_then_the_end() {
    let pool = Pool::new(1 << 20);
    let [block] = pool.try_lease(BlockSize::Small).unwrap();
    let (mut conn, _peer) = MemTransport::scripted(["GET", "0123456789"]);
    let (result, buf) = run(conn.read_buf(Vec::with_capacity(100)));
    assert_eq!((result.unwrap(), &buf[..]), (3, &b"GET"[..]));
    // 10 bytes in runs of 4 every 5, 9 of them asked for: the last comes later.
    let (result, block) = run(conn.read(block, Spans::slots(1, 0, 9, 4, 5)));
    assert_eq!(result.unwrap(), 9);
    assert_eq!(&block[..15], b"\x000123\x004567\x008\0\0\0");
    let (result, block) = run(conn.read(block, Spans::contiguous(0..9)));
    assert_eq!(result.unwrap(), 1);
    let (result, _) = run(conn.read(block, Spans::contiguous(0..9)));
    assert_eq!(result.unwrap(), 0);
    assert_eq!(conn.watch().bytes(), (13, 0));
    assert!(!conn.is_quiet());
}

#[test]
fn writes_are_collected_and_break_when_told() {
    let pool = Pool::new(1 << 20);
    let [mut block] = pool.try_lease(BlockSize::Small).unwrap();
    block[..6].copy_from_slice(b"ab.cd.");
    let (mut conn, peer) = MemTransport::with_peer();
    assert!(conn.is_quiet());
    let (result, head, block) =
        run(conn.write_all(b"head:".to_vec(), block, Spans::slots(0, 0, 4, 2, 3)));
    result.unwrap();
    assert_eq!(head, b"head:");
    assert_eq!(peer.take_written(), b"head:abcd");
    peer.break_after(3);
    let (result, ..) = run(conn.write_all(b"xx".to_vec(), block, Spans::contiguous(0..2)));
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(peer.take_written(), b"xxa");
    run(conn.shutdown());
    assert!(peer.is_shut());
}

#[test]
fn an_expired_watch_ends_a_pending_read() {
    let (mut conn, peer) = MemTransport::with_peer();
    let watch = conn.watch().clone();
    let mut read = pin!(conn.read_buf(Vec::with_capacity(1)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(read.as_mut().poll(&mut cx).is_pending());
    peer.expire();
    let Poll::Ready((result, _)) = read.as_mut().poll(&mut cx) else {
        panic!("ended")
    };
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(watch.expired());
}

#[test]
fn a_pair_is_connected_and_a_dropped_end_is_seen() {
    let (mut a, mut b) = MemTransport::pair();
    run(a.write_buf(b"ping".to_vec())).0.unwrap();
    assert_eq!(run(b.read_buf(Vec::with_capacity(9))).1, b"ping");
    drop(a);
    assert_eq!(run(b.read_buf(Vec::with_capacity(9))).0.unwrap(), 0);
    assert_eq!(
        run(b.write_buf(b"x".to_vec())).0.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[test]
fn a_broken_connection_fails_after_what_was_sent() {
    let connector = MemConnector::new(|| {
        let (conn, peer) = MemTransport::scripted(["partial"]);
        peer.fail(io::ErrorKind::ConnectionReset);
        Ok(conn)
    });
    let mut conn = run(connector.connect()).unwrap();
    let (result, buf) = run(conn.read_buf(Vec::with_capacity(100)));
    assert_eq!((result.unwrap(), &buf[..]), (7, &b"partial"[..]));
    assert_eq!(
        run(conn.read_buf(buf)).0.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}
