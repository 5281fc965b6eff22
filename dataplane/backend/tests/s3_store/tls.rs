//! A store behind TLS: a server of our own on the same core, whose bytes count as much as a script's.

use std::time::Duration;

use http::{HeaderMap, Method};
use sealgate_backend::s3::{S3Options, S3Store};
use sealgate_http1::{Limits, parse_request};
use sealgate_s3::conditions::Conditions;
use sealgate_uring::{
    BlockSize, Listener, Pool, Provider, Spans, StoreConnector, TlsAcceptor, Transport, client_tls,
    join, sleep,
};

use crate::harness::{at, signer};

crate::on_both_drivers! {
    a_session_ticket_is_no_answer
}

const BLOCK: usize = 1 << 20;

/// The server's first bytes after the handshake are a session ticket, which is unread while a body is sent.
async fn a_session_ticket_is_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let acceptor = TlsAcceptor::from_pem(&cert, &key, Provider::AwsLc).unwrap();
    let tls = client_tls(Some(&cert), Provider::AwsLc).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();

    let store = async {
        let mut conn = acceptor
            .accept(listener.accept().await.unwrap())
            .await
            .unwrap();
        let mut input = Vec::new();
        let (mut requests, mut wanted) = (0, None);
        loop {
            if wanted.is_none()
                && let Some((head, used)) = parse_request(&input, &Limits::default()).unwrap()
            {
                input.drain(..used);
                let length = head.headers.get("content-length");
                let length = length.map_or(0, |v| v.to_str().unwrap().parse().unwrap());
                wanted = Some((head.method, length));
            }
            if let Some((method, length)) = wanted.take_if(|(_, length)| input.len() >= *length) {
                input.drain(..length);
                requests += 1;
                let body = if method == Method::HEAD { "" } else { "<a/>" };
                let answer =
                    format!("HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: 4\r\n\r\n{body}");
                conn.write_buf(answer.into_bytes()).await.0.unwrap();
                continue;
            }
            input.reserve(64 << 10);
            let (got, back) = conn.read_buf(input).await;
            input = back;
            if !matches!(got, Ok(1..)) {
                return requests;
            }
        }
    };
    let client = async {
        let connector = StoreConnector::new("localhost", port, Some(tls), Duration::from_secs(5));
        let options = S3Options {
            authority: format!("localhost:{port}"),
            ..S3Options::default()
        };
        let client = S3Store::new(connector, options, signer(None));
        let len = 3 * BLOCK as u64;
        let mut upload = client
            .put(&at("key"), &HeaderMap::new(), &Conditions::default(), len)
            .await
            .unwrap();
        let pool = Pool::new(4 << 20);
        let [mut block] = pool.try_lease(BlockSize::Large).unwrap();
        for _ in 0..2 {
            let (result, back) = upload.write(block, Spans::contiguous(0..BLOCK)).await;
            block = back;
            result.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
        upload
            .finish(block, Spans::contiguous(0..BLOCK))
            .await
            .0
            .unwrap();
        client
            .head(&at("key"), &Conditions::default())
            .await
            .unwrap();
        assert_eq!(
            client.counters().connects.get(),
            1,
            "the connection is kept"
        );
    };
    let (requests, ()) = join(store, client).await;
    assert_eq!(requests, 2);
}
