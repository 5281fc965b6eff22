use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sealgate_uring::{
    BlockSize, Conn, Connector, Listener, Pool, Provider, Spans, StoreConnector, TlsAcceptor,
    TlsError, Transport, blocking, client_tls, join, spawn,
};

use crate::support::{listen, on_each_driver, pattern, read_woven};

/// A certificate for `localhost` that is its own authority, and its key, as files.
struct Identity {
    _dir: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn new() -> Identity {
        let dir = tempfile::tempdir().unwrap();
        let this = Identity {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
            _dir: dir,
        };
        this.renew();
        this
    }

    fn renew(&self) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .unwrap();
        std::fs::write(&self.cert, made.cert.pem()).unwrap();
        std::fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
    }

    fn acceptor(&self, provider: Provider) -> TlsAcceptor {
        TlsAcceptor::from_pem(&self.cert, &self.key, provider).unwrap()
    }

    fn connector(&self, addr: SocketAddr, provider: Provider) -> StoreConnector {
        let tls = client_tls(Some(&self.cert), provider).unwrap();
        StoreConnector::new("localhost", addr.port(), Some(tls), Duration::from_secs(10))
    }

    /// A client that is not ours, over blocking I/O.
    fn foreign_client(
        &self,
        addr: SocketAddr,
    ) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let config = client_tls(Some(&self.cert), Provider::AwsLc).unwrap();
        let session =
            rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        rustls::StreamOwned::new(session, TcpStream::connect(addr).unwrap())
    }
}

const PROVIDERS: [Provider; 2] = [Provider::AwsLc, Provider::Ring];

/// Sends back `total` bytes, scattered and gathered, in frames of a length and the bytes.
async fn echo(mut conn: Conn, total: usize) {
    let pool = Pool::new(4 << 20);
    let [mut block] = pool.try_lease(BlockSize::Medium).unwrap();
    let mut done = 0;
    while done < total {
        let spans = Spans::slots(56, 100, 16 * 16_384, 16_384, 16_400);
        let result;
        (result, block) = conn.read(block, spans).await;
        let n = result.unwrap();
        assert!(n > 0);
        done += n;
        let result;
        let head = (n as u32).to_le_bytes().to_vec();
        (result, _, block) = conn.write_all(head, block, spans.prefix(n)).await;
        result.unwrap();
    }
    conn.shutdown().await;
    let (result, _) = conn.read(block, Spans::contiguous(0..100)).await;
    assert_eq!(result.unwrap(), 0, "the client closes too");
}

async fn accept(listener: &Listener, acceptor: &TlsAcceptor) -> io::Result<Conn> {
    acceptor.accept(listener.accept().await.unwrap()).await
}

async fn exchange(
    identity: &Identity,
    connector: &StoreConnector,
    listener: &Rc<Listener>,
    provider: Provider,
) {
    let sent = pattern(1_500_003);
    let total = sent.len();
    let (acceptor, accepting) = (identity.acceptor(provider), listener.clone());
    spawn(async move { echo(accept(&accepting, &acceptor).await.unwrap(), total).await });
    let mut conn = connector.connect().await.unwrap();
    assert!(conn.is_tls() && conn.is_quiet());
    let (mut got, mut framed) = (Vec::new(), Vec::with_capacity(300_000));
    let mut pieces = sent.chunks(123_457);
    while got.len() < total {
        let Some(piece) = pieces.next() else {
            panic!("{} of {total} came back", got.len())
        };
        conn.write_buf(piece.to_vec()).await.0.unwrap();
        let want = got.len() + piece.len();
        while got.len() < want {
            while framed.len() < 4 || framed.len() < 4 + frame(&framed) {
                framed.reserve(1000);
                let result;
                (result, framed) = conn.read_buf(framed).await;
                assert!(result.unwrap() > 0);
            }
            let n = frame(&framed);
            got.extend_from_slice(&framed[4..4 + n]);
            framed.drain(..4 + n);
        }
    }
    assert!(got == sent);
    let (result, _) = conn.read_buf(Vec::with_capacity(10)).await;
    assert_eq!(result.unwrap(), 0, "close_notify is the end");
    assert!(!conn.is_quiet());
    conn.shutdown().await;
}

fn frame(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize
}

#[test]
fn bytes_go_both_ways_with_either_library() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        for provider in PROVIDERS {
            exchange(
                &identity,
                &identity.connector(addr, provider),
                &listener,
                provider,
            )
            .await;
        }
    });
}

#[test]
fn woven_reads_lose_nothing() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let (acceptor, accepting) = (identity.acceptor(Provider::Ring), listener.clone());
        let sent = pattern(3_000_001);
        let expected = sent.clone();
        let client = async {
            let mut conn = identity
                .connector(addr, Provider::AwsLc)
                .connect()
                .await
                .unwrap();
            for piece in sent.chunks(123_457) {
                conn.write_buf(piece.to_vec()).await.0.unwrap();
            }
            conn.shutdown().await;
            conn
        };
        let server = async {
            let mut conn = accept(&accepting, &acceptor).await.unwrap();
            read_woven(&mut conn, BlockSize::Medium).await
        };
        let (got, _conn) = join(server, client).await;
        assert!(got == expected, "bytes differ");
    });
}

/// Sends `bytes` in records of ever other lengths.
fn send_unevenly(mut conn: impl Write, bytes: &[u8]) {
    let (mut rest, mut len) = (bytes, 1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(len));
        conn.write_all(now).unwrap();
        rest = later;
        len = len * 7 % 40_009;
    }
    conn.flush().unwrap();
}

#[test]
fn streams_of_a_core_share_a_buffer_and_keep_their_bytes() {
    on_each_driver(|_| async {
        let identity = Rc::new(Identity::new());
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::AwsLc);
        const LEN: usize = 2_500_000;
        let all = Arc::new(pattern(LEN + 4 * 1009));
        let stream = async |number: usize| {
            let from = number * 1009;
            let sent = all.clone();
            let mut client = identity.foreign_client(addr);
            let sending = blocking(move || {
                send_unevenly(&mut client, &sent[from..from + LEN]);
                client
            });
            let reading = async {
                let mut conn = accept(&listener, &acceptor).await.unwrap();
                let pool = Pool::new(4 << 20);
                let [mut block] = pool.try_lease(BlockSize::Large).unwrap();
                // Bulk, less than a record, and bulk that ends within one.
                let mut sizes = [1 << 20, 100, 70_001, 65_536, 30_000].into_iter().cycle();
                let mut got = Vec::new();
                while got.len() < LEN {
                    let left = LEN - got.len();
                    let spans = Spans::contiguous(0..sizes.next().unwrap().min(left));
                    let result;
                    (result, block) = conn.read(block, spans).await;
                    let n = result.unwrap();
                    assert!(n > 0, "it ends after {} of {LEN}", got.len());
                    got.extend_from_slice(&block[..n]);
                }
                (got, conn)
            };
            let ((got, _conn), _client) = join(reading, sending).await;
            // Whose connection is accepted first is not said.
            (0..4).any(|n| all[n * 1009..].starts_with(&got))
        };
        let both = join(join(stream(0), stream(1)), join(stream(2), stream(3)));
        assert_eq!(both.await, ((true, true), (true, true)), "bytes differ");
    });
}

#[test]
fn older_tls_works_as_well() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(&identity.cert).unwrap();
        for cert in rustls_pki_types::pem::PemObject::pem_slice_iter(&pem) {
            roots
                .add(Result::<rustls_pki_types::CertificateDer<'_>, _>::unwrap(
                    cert,
                ))
                .unwrap();
        }
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = StoreConnector::new(
            "localhost",
            addr.port(),
            Some(Arc::new(config)),
            Duration::from_secs(10),
        );
        exchange(&identity, &connector, &listener, Provider::AwsLc).await;
    });
}

#[test]
fn a_foreign_client_is_understood_small_and_large() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::Ring);
        let client = blocking(move || {
            let mut conn = identity.foreign_client(addr);
            conn.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut got = Vec::new();
            conn.read_to_end(&mut got).map(|_| got)
        });
        let body = pattern(900_000);
        let server = async {
            let mut conn = accept(&listener, &acceptor).await.unwrap();
            let (_, request) = conn.read_buf(Vec::with_capacity(1000)).await;
            assert_eq!(request, b"GET / HTTP/1.1\r\n\r\n");
            let pool = Pool::new(4 << 20);
            let [mut block] = pool.try_lease(BlockSize::Large).unwrap();
            block[..900_000].copy_from_slice(&body);
            let (result, _, block) = conn
                .write_all(b"head\r\n".to_vec(), block, Spans::contiguous(0..900_000))
                .await;
            result.unwrap();
            let (result, ..) = conn
                .write_all(b"tail".to_vec(), block, Spans::contiguous(0..5))
                .await;
            result.unwrap();
            conn.shutdown().await;
        };
        let ((), got) = join(server, client).await;
        let expected = [b"head\r\n", &body[..], b"tail", &body[..5]].concat();
        assert!(got.unwrap() == expected);
    });
}

#[test]
fn a_cut_without_close_notify_is_an_error() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::AwsLc);
        let client = blocking(move || {
            let mut conn = identity.foreign_client(addr);
            conn.write_all(b"part of a request").unwrap();
            conn.sock.shutdown(std::net::Shutdown::Both).unwrap();
        });
        let server = async {
            let mut conn = accept(&listener, &acceptor).await.unwrap();
            let (result, buf) = conn.read_buf(Vec::with_capacity(100)).await;
            assert_eq!((result.unwrap(), &buf[..]), (17, &b"part of a request"[..]));
            let (result, _) = conn.read_buf(Vec::with_capacity(100)).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        };
        join(server, client).await;
    });
}

#[test]
fn damaged_records_and_other_protocols_are_refused() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::AwsLc);
        let client = blocking(move || {
            let mut plain = TcpStream::connect(addr).unwrap();
            plain
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            let mut answer = Vec::new();
            let _ = plain.read_to_end(&mut answer);
            let mut conn = identity.foreign_client(addr);
            conn.write_all(b"fine").unwrap();
            conn.flush().unwrap();
            conn.sock
                .write_all(&[&[23u8, 3, 3, 0, 40][..], &[7; 40]].concat())
                .unwrap();
            let mut rest = Vec::new();
            let alert = conn.read_to_end(&mut rest).unwrap_err();
            (answer, alert.to_string())
        });
        let server = async {
            let refused = accept(&listener, &acceptor).await.err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            let mut conn = accept(&listener, &acceptor).await.unwrap();
            let (_, buf) = conn.read_buf(Vec::with_capacity(100)).await;
            assert_eq!(buf, b"fine");
            let (result, _) = conn.read_buf(buf).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
        };
        let ((), (answer, alert)) = join(server, client).await;
        assert_eq!(answer.first(), Some(&21), "an alert");
        assert!(alert.contains("BadRecordMac"), "{alert}");
    });
}

#[test]
fn a_handshake_has_a_deadline() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::AwsLc);
        let _silent = TcpStream::connect(addr).unwrap();
        let conn = listener.accept().await.unwrap();
        conn.watch().deadline_in(Duration::from_millis(200));
        let refused = acceptor.accept(conn).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);

        // And on the other side, by the connector itself.
        let tls = client_tls(Some(&identity.cert), Provider::AwsLc).unwrap();
        let connector = StoreConnector::new(
            "localhost",
            addr.port(),
            Some(tls),
            Duration::from_millis(300),
        );
        let (gave_up, _conn) = join(connector.connect(), listener.accept()).await;
        assert_eq!(gave_up.err().unwrap().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn only_the_right_server_is_trusted() {
    on_each_driver(|_| async {
        let (identity, other) = (Identity::new(), Identity::new());
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::AwsLc);
        let connector = other.connector(addr, Provider::AwsLc);
        let (refused, _) = join(connector.connect(), accept(&listener, &acceptor)).await;
        let refused = refused.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert!(refused.to_string().contains("localhost"), "{refused}");

        let tls = client_tls(Some(&identity.cert), Provider::AwsLc).unwrap();
        let by_address =
            StoreConnector::new("127.0.0.1", addr.port(), Some(tls), Duration::from_secs(10));
        let (conn, _) = join(by_address.connect(), accept(&listener, &acceptor)).await;
        assert!(conn.is_ok(), "a certificate may name an address");
    });
}

#[test]
fn a_certificate_is_replaced_while_running() {
    on_each_driver(|_| async {
        let identity = Identity::new();
        let (listener, addr) = listen();
        let acceptor = identity.acceptor(Provider::AwsLc);
        let old = identity.connector(addr, Provider::AwsLc);
        let (first, first_server) = join(old.connect(), accept(&listener, &acceptor)).await;
        let (mut first, mut first_server) = (first.unwrap(), first_server.unwrap());
        assert!(!acceptor.reload().unwrap(), "nothing has changed");

        identity.renew();
        assert!(acceptor.clone().reload().unwrap());
        assert!(!acceptor.reload().unwrap());
        let new = identity.connector(addr, Provider::AwsLc);
        let (conn, _) = join(new.connect(), accept(&listener, &acceptor)).await;
        assert!(conn.is_ok());
        let (conn, _) = join(old.connect(), accept(&listener, &acceptor)).await;
        assert!(conn.is_err(), "the old one is not shown any more");
        first.write_buf(b"still open".to_vec()).await.0.unwrap();
        assert_eq!(
            first_server.read_buf(Vec::with_capacity(100)).await.1,
            b"still open"
        );

        // A renewal seen half-way changes nothing.
        let other = Identity::new();
        std::fs::copy(&other.cert, &identity.cert).unwrap();
        let message = acceptor.reload().unwrap_err().to_string();
        assert!(message.contains("cert.pem"), "{message}");
        let (conn, _) = join(new.connect(), accept(&listener, &acceptor)).await;
        assert!(conn.is_ok());
    });
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let identity = Identity::new();
    let try_files = |cert: &Path, key: &Path| {
        TlsAcceptor::from_pem(cert, key, Provider::Ring)
            .err()
            .unwrap()
    };
    let missing = identity.cert.with_file_name("none.pem");
    let e = try_files(&missing, &identity.key);
    assert!(
        matches!(&e, TlsError::Read { path, .. } if *path == missing),
        "{e}"
    );
    let e = try_files(&identity.key, &identity.key);
    assert!(
        matches!(
            &e,
            TlsError::Missing {
                what: "certificate",
                ..
            }
        ),
        "{e}"
    );
    let e = try_files(&identity.cert, &identity.cert);
    assert!(
        matches!(&e, TlsError::Missing { what: "private key", path } if *path == identity.cert),
        "{e}"
    );
    let damaged = identity.cert.with_file_name("damaged.pem");
    std::fs::write(
        &damaged,
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let e = client_tls(Some(&damaged), Provider::AwsLc).unwrap_err();
    assert!(matches!(&e, TlsError::Pem { .. }), "{e}");
    assert!(e.to_string().contains("damaged.pem"), "{e}");
    std::fs::write(&damaged, vec![b'x'; 2 << 20]).unwrap();
    assert!(matches!(
        client_tls(Some(&damaged), Provider::AwsLc),
        Err(TlsError::Read { .. })
    ));
}
