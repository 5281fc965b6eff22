use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sealgate_uring::{
    BlockSize, Connector, Pool, Spans, StoreConnector, TcpConn, Transport, Weave, blocking, join,
    sleep, spawn,
};

use crate::support::{listen, on_each_driver, pattern, read_woven};

/// Sends back all that comes in, in frames of a length and the bytes: read scattered into slots, written gathered.
async fn echo(mut conn: TcpConn, pool: &Pool, size: BlockSize) -> io::Result<()> {
    let [mut block] = pool.try_lease(size).unwrap();
    let slots = (block.capacity() - 100) / 16_400;
    loop {
        let result;
        // Not at a slot's start and not to its end: partial runs at both ends.
        let spans = Spans::slots(56, 1000, slots * 16_384 - 77, 16_384, 16_400);
        (result, block) = conn.read(block, spans).await;
        let n = result?;
        if n == 0 {
            conn.shutdown().await;
            return Ok(());
        }
        let head = (n as u32).to_le_bytes().to_vec();
        let result;
        (result, _, block) = conn.write_all(head, block, spans.prefix(n)).await;
        result?;
    }
}

fn client(addr: std::net::SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut conn = TcpStream::connect(addr).unwrap();
    let mut writer = conn.try_clone().unwrap();
    let out = sent.to_vec();
    let writing = std::thread::spawn(move || {
        writer.write_all(&out).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    let mut head = [0; 4];
    while conn.read_exact(&mut head).is_ok() {
        let from = got.len();
        got.resize(from + u32::from_le_bytes(head) as usize, 0);
        // Slowly at times, so that the other side's writes are short.
        if from % 5 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        conn.read_exact(&mut got[from..]).unwrap();
    }
    writing.join().unwrap();
    got
}

#[test]
fn scattered_reads_and_gathered_writes_lose_nothing() {
    on_each_driver(|_| async {
        for size in [BlockSize::Small, BlockSize::Medium, BlockSize::Large] {
            let (listener, addr) = listen();
            let sent = pattern(9_000_001);
            let expected = sent.clone();
            let client = blocking(move || client(addr, &sent));
            let pool = Pool::new(8 << 20);
            let server = async {
                let conn = listener.accept().await.unwrap();
                echo(conn, &pool, size).await.unwrap();
            };
            let ((), got) = join(server, client).await;
            assert!(got == expected, "{size:?}: bytes differ");
            assert_eq!(pool.in_use(), 0);
        }
    });
}

#[test]
fn woven_reads_lose_nothing() {
    on_each_driver(|_| async {
        for size in [BlockSize::Small, BlockSize::Medium, BlockSize::Large] {
            let (listener, addr) = listen();
            let sent = pattern(5_000_001);
            let expected = sent.clone();
            let client = blocking(move || {
                let mut conn = TcpStream::connect(addr).unwrap();
                for (i, piece) in sent.chunks(777_777).enumerate() {
                    // In fragments at times.
                    if i % 3 == 0 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    conn.write_all(piece).unwrap();
                }
            });
            let server = async {
                let mut conn = listener.accept().await.unwrap();
                read_woven(&mut conn, size).await
            };
            let (got, ()) = join(server, client).await;
            assert!(got == expected, "{size:?}: bytes differ");
        }
    });
}

#[test]
fn a_head_alone_spans_alone_and_neither_are_written() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        let got = blocking(move || {
            let mut got = Vec::new();
            TcpStream::connect(addr)
                .unwrap()
                .read_to_end(&mut got)
                .map(|_| got)
                .unwrap()
        });
        let server = async {
            let mut conn = listener.accept().await.unwrap();
            let pool = Pool::new(1 << 20);
            let [mut block] = pool.try_lease(BlockSize::Small).unwrap();
            block[..9].copy_from_slice(b"-ab--cd--");
            let nothing = Spans::contiguous(0..0);
            let (_, _, block) = conn.write_all(b"head".to_vec(), block, nothing).await;
            let (_, _, block) = conn.write_all(Vec::new(), block, nothing).await;
            let (_, _, block) = conn
                .write_all(Vec::new(), block, Spans::contiguous(1..3))
                .await;
            // More ranges than one operation takes.
            let (result, _, block) = conn
                .write_all(Vec::new(), block, Spans::slots(0, 0, 5000, 1, 8))
                .await;
            result.unwrap();
            let (result, ..) = conn
                .write_all(b"!".to_vec(), block, Spans::slots(1, 0, 4, 2, 4))
                .await;
            result.unwrap();
            assert_eq!(conn.watch().bytes(), (0, 4 + 2 + 5000 + 5));
        };
        let ((), got) = join(server, got).await;
        assert!(got.starts_with(b"headab--\0\0"));
        assert!(got.ends_with(b"\0\0!abcd"));
        assert_eq!(got.len(), 4 + 2 + 5000 + 5);
    });
}

#[test]
fn what_cannot_be_done_is_refused_and_the_block_comes_back() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        let _client = TcpStream::connect(addr).unwrap();
        let mut conn = listener.accept().await.unwrap();
        let pool = Pool::new(1 << 20);
        let [block] = pool.try_lease(BlockSize::Small).unwrap();
        let end = block.capacity();
        let (result, block) = conn.read(block, Spans::contiguous(0..end + 1)).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let (result, block) = conn.read(block, Spans::contiguous(3..3)).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let (result, _, _block) = conn
            .write_all(Vec::new(), block, Spans::contiguous(0..end + 1))
            .await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let (result, _) = conn.read_buf(Vec::new()).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let [mut block] = pool.try_lease(BlockSize::Small).unwrap();
        for (aside, spans, payload) in [
            (0, Spans::contiguous(0..10), 0),
            (0, Spans::contiguous(0..end + 1), end + 1),
            (9, Spans::contiguous(0..10), 5),
        ] {
            let mut weave = Weave::new(spans);
            weave.push(aside, payload);
            let result;
            (result, block, _) = conn.read_woven(block, &weave, vec![0; 8]).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn quiet_means_neither_bytes_nor_the_end() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        let mut client = TcpStream::connect(addr).unwrap();
        let mut conn = listener.accept().await.unwrap();
        assert_eq!(conn.peer(), Some(client.local_addr().unwrap()));
        assert!(conn.is_quiet());
        client.write_all(b"x").unwrap();
        assert!(!conn.is_quiet());
        let (result, _) = conn.read_buf(Vec::with_capacity(10)).await;
        assert_eq!(result.unwrap(), 1);
        assert!(conn.is_quiet());
        drop(client);
        assert!(!conn.is_quiet());
        let (result, _) = conn.read_buf(Vec::with_capacity(10)).await;
        assert_eq!(result.unwrap(), 0);
    });
}

#[test]
fn a_silent_peer_is_shut_at_the_deadline_and_not_before() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        let mut client = TcpStream::connect(addr).unwrap();
        let mut conn = listener.accept().await.unwrap();
        let begun = Instant::now();
        conn.watch().deadline_in(Duration::from_millis(400));
        let (result, _) = conn.read_buf(Vec::with_capacity(10)).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(conn.watch().expired());
        let took = begun.elapsed();
        assert!(
            (Duration::from_millis(400)..Duration::from_secs(5)).contains(&took),
            "{took:?}"
        );
        // The peer sees the end.
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    });
}

#[test]
fn a_write_that_nobody_reads_is_shut_at_the_deadline() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        let _client = TcpStream::connect(addr).unwrap();
        let mut conn = listener.accept().await.unwrap();
        conn.watch().deadline_in(Duration::from_millis(300));
        let (result, _) = conn.write_buf(vec![0; 64 << 20]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_lifted_deadline_and_a_closed_connection_shut_nothing() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        let first = TcpStream::connect(addr).unwrap();
        let conn = listener.accept().await.unwrap();
        conn.watch().deadline_in(Duration::from_millis(10));
        let watch = conn.watch().clone();
        drop(conn);
        drop(first);
        // Takes the descriptor's number, most likely.
        let mut client = TcpStream::connect(addr).unwrap();
        let mut conn = listener.accept().await.unwrap();
        conn.watch().deadline_in(Duration::from_millis(10));
        conn.watch().clear();
        sleep(Duration::from_millis(600)).await;
        client.write_all(b"hello").unwrap();
        let (result, buf) = conn.read_buf(Vec::with_capacity(10)).await;
        assert_eq!((result.unwrap(), &buf[..]), (5, &b"hello"[..]));
        assert!(!watch.expired());
    });
}

#[test]
fn a_peer_below_the_minimum_rate_is_shut_and_one_above_is_not() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        for (per_tick, survives) in [(1000, true), (20, false)] {
            let client = blocking(move || {
                let mut conn = TcpStream::connect(addr).unwrap();
                (0..25).all(|_| {
                    std::thread::sleep(Duration::from_millis(50));
                    conn.write_all(&vec![1; per_tick]).is_ok()
                })
            });
            let server = async {
                let mut conn = listener.accept().await.unwrap();
                conn.watch().minimum_rate(2000, Duration::from_millis(500));
                loop {
                    match conn.read_buf(Vec::with_capacity(4096)).await.0 {
                        Ok(0) => return true,
                        Ok(_) => {}
                        Err(e) => {
                            assert_eq!(e.kind(), io::ErrorKind::TimedOut);
                            return false;
                        }
                    }
                }
            };
            let (survived, _) = join(server, client).await;
            assert_eq!(survived, survives, "{per_tick} bytes each 50 ms");
        }
    });
}

#[test]
fn leases_are_waited_for_and_given_up() {
    on_each_driver(|_| async {
        let pool = Pool::new(700_000);
        let held = pool.try_lease::<2>(BlockSize::Medium).unwrap();
        let begun = Instant::now();
        let lease = pool
            .lease::<1>(BlockSize::Medium, Duration::from_millis(100))
            .await;
        assert!(lease.is_err());
        assert!(begun.elapsed() >= Duration::from_millis(100));
        spawn(async move {
            sleep(Duration::from_millis(50)).await;
            drop(held);
        });
        assert!(
            pool.lease::<2>(BlockSize::Medium, Duration::from_secs(30))
                .await
                .is_ok()
        );
    });
}

#[test]
fn connects_and_says_why_not() {
    on_each_driver(|_| async {
        let (listener, addr) = listen();
        for host in ["127.0.0.1", "localhost"] {
            let connector = StoreConnector::new(host, addr.port(), None, Duration::from_secs(5));
            let (conn, server) = join(connector.connect(), listener.accept()).await;
            let (mut conn, mut server) = (conn.unwrap(), server.unwrap());
            assert!(conn.is_quiet() && !conn.is_tls());
            conn.write_buf(b"ping".to_vec()).await.0.unwrap();
            assert_eq!(server.read_buf(Vec::with_capacity(9)).await.1, b"ping");
            server.write_buf(b"pong".to_vec()).await.0.unwrap();
            assert_eq!(conn.read_buf(Vec::with_capacity(9)).await.1, b"pong");
        }
        let refusing = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let connector =
            StoreConnector::new("127.0.0.1", refusing.port(), None, Duration::from_secs(5));
        let e = connector.connect().await.err().unwrap();
        assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused);
        assert!(e.to_string().contains(&refusing.to_string()), "{e}");

        let connector =
            StoreConnector::new("no-such-host.invalid", 80, None, Duration::from_secs(5));
        let e = connector.connect().await.err().unwrap();
        assert!(e.to_string().contains("no-such-host.invalid:80"), "{e}");
    });
}

#[test]
fn connecting_to_a_host_that_does_not_answer_is_given_up() {
    on_each_driver(|_| async {
        // A full accept queue: the kernel drops what comes.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(
                &"127.0.0.1:0"
                    .parse::<std::net::SocketAddr>()
                    .unwrap()
                    .into(),
            )
            .unwrap();
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let connector =
            StoreConnector::new("127.0.0.1", addr.port(), None, Duration::from_millis(300));
        let mut held = Vec::new();
        let begun = Instant::now();
        let e = loop {
            match connector.connect().await {
                Ok(conn) => held.push(conn),
                Err(e) => break e,
            }
            assert!(held.len() < 10, "the queue has a bound");
        };
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(3));
    });
}
