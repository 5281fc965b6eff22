//! What all tests of the S3 store need: a core to run on, a client of a scripted store, and whole bodies in one call.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use sealgate_backend::s3::{S3Body, S3Options, S3Store, S3Upload, StoreTimeouts};
use sealgate_backend::types::{BackendError, GetRequest, Location, ObjectInfo, Stored};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::route::RawKey;
use sealgate_s3::sigv4::{SecretKey, Signer};
use sealgate_uring::{BlockSize, Driver, Pool, RuntimeConfig, Spans, StoreConnector, start};

use crate::fake::FakeStore;

pub(crate) type Client = S3Store<StoreConnector>;
pub(crate) type Outcome<T> = Result<T, BackendError>;

pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Runs `test` on a core.
pub(crate) fn on_core<Fut: Future<Output = ()> + 'static>(
    driver: Driver,
    test: impl Fn() -> Fut + Send + Sync + 'static,
) {
    let config = RuntimeConfig {
        cores: 1,
        driver,
        pin: false,
        ring_entries: 64,
    };
    start(&config, move |_| test()).unwrap().join().unwrap();
}

/// Makes a test of each function, for each driver.
#[macro_export]
macro_rules! on_both_drivers {
    ($($test:ident)*) => {
        mod io_uring { $(#[test] fn $test() { $crate::harness::on_core(sealgate_uring::Driver::IoUring, super::$test); })* }
        mod epoll { $(#[test] fn $test() { $crate::harness::on_core(sealgate_uring::Driver::Epoll, super::$test); })* }
    };
}

/// Time-outs long enough never to matter unless a test shortens them.
pub(crate) fn options(fake: &FakeStore) -> S3Options {
    S3Options {
        authority: fake.addr().to_string(),
        timeouts: StoreTimeouts {
            response: Duration::from_secs(30),
            long_response: Duration::from_secs(30),
            block: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        },
        ..S3Options::default()
    }
}

pub(crate) fn signer(token: Option<&str>) -> Signer {
    Signer::new(
        ACCESS_KEY,
        SecretKey::new(SECRET),
        token.map(|token| token.to_owned().into()),
        "us-east-1",
    )
}

pub(crate) fn client_with(fake: &FakeStore, options: S3Options) -> Client {
    let connector = StoreConnector::new(
        "127.0.0.1",
        fake.addr().port(),
        None,
        Duration::from_secs(5),
    );
    S3Store::new(connector, options, signer(None))
}

pub(crate) fn client(fake: &FakeStore) -> Client {
    client_with(fake, options(fake))
}

/// Closes the client's connections and waits for the script to end; passes on what went wrong in it.
pub(crate) async fn end(client: Client, fake: FakeStore) {
    drop(client);
    sealgate_uring::blocking(move || fake.join()).await;
}

pub(crate) fn at(key: impl AsRef<[u8]>) -> Location {
    Location {
        bucket: "bucket".into(),
        key: RawKey::new(Bytes::copy_from_slice(key.as_ref())).unwrap(),
        version: None,
    }
}

/// Bytes without a short period.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Writes `blocks` one by one, the last as the last; stops at the first error.
pub(crate) async fn send(
    mut upload: S3Upload<StoreConnector>,
    blocks: &[&[u8]],
) -> Outcome<Stored> {
    let pool = Pool::new(8 << 20);
    let (last, before) = blocks.split_last().unwrap();
    for bytes in before {
        let [mut block] = pool.try_lease(BlockSize::holding(bytes.len())).unwrap();
        block[..bytes.len()].copy_from_slice(bytes);
        let spans = Spans::contiguous(0..bytes.len());
        upload.write(block, spans).await.0?;
    }
    let [mut block] = pool.try_lease(BlockSize::holding(last.len())).unwrap();
    block[..last.len()].copy_from_slice(last);
    let spans = Spans::contiguous(0..last.len());
    upload.finish(block, spans).await.0
}

/// Begins to put an object of `len` bytes.
pub(crate) async fn begin(client: &Client, len: usize) -> S3Upload<StoreConnector> {
    let (at, headers, conditions) = (at("key"), HeaderMap::new(), Conditions::default());
    client
        .put(&at, &headers, &conditions, len as u64)
        .await
        .unwrap()
}

pub(crate) async fn put(client: &Client, blocks: &[&[u8]]) -> Outcome<Stored> {
    put_with(client, blocks, &HeaderMap::new(), &Conditions::default()).await
}

pub(crate) async fn put_with(
    client: &Client,
    blocks: &[&[u8]],
    headers: &HeaderMap,
    conditions: &Conditions,
) -> Outcome<Stored> {
    let len = blocks.iter().map(|b| b.len() as u64).sum();
    let upload = client.put(&at("key"), headers, conditions, len).await?;
    send(upload, blocks).await
}

/// Reads a body to its end, at most `step` bytes at a time.
pub(crate) async fn read_by(
    body: &mut S3Body<StoreConnector>,
    step: usize,
) -> (Vec<u8>, Outcome<()>) {
    let pool = Pool::new(8 << 20);
    let [mut block] = pool.try_lease(BlockSize::holding(step)).unwrap();
    let mut all = Vec::new();
    loop {
        let (got, back) = body.read(block, Spans::contiguous(0..step)).await;
        block = back;
        match got {
            Ok(0) => return (all, Ok(())),
            Ok(n) => all.extend_from_slice(&block[..n]),
            Err(e) => return (all, Err(e)),
        }
    }
}

pub(crate) async fn get_range(
    client: &Client,
    range: Option<(u64, Option<u64>)>,
) -> Outcome<(ObjectInfo, Range<u64>, S3Body<StoreConnector>)> {
    let conditions = Conditions::default();
    client
        .get(&at("key"), &GetRequest { range, conditions })
        .await
}

pub(crate) async fn get(client: &Client) -> Outcome<Vec<u8>> {
    let (_, _, mut body) = get_range(client, None).await?;
    let (all, result) = read_by(&mut body, 20_000).await;
    result.map(|()| all)
}

#[track_caller]
pub(crate) fn code<T>(outcome: Outcome<T>) -> ErrorCode {
    match outcome.err() {
        Some(BackendError::Answer(e)) => e.code,
        other => panic!("no answer but {other:?}"),
    }
}

#[track_caller]
pub(crate) fn is_unavailable<T>(outcome: Outcome<T>) -> String {
    match outcome.err() {
        Some(BackendError::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable but {other:?}"),
    }
}

#[track_caller]
pub(crate) fn is_protocol<T>(outcome: Outcome<T>) -> String {
    match outcome.err() {
        Some(BackendError::Protocol(what)) => what,
        other => panic!("no breach of the protocol but {other:?}"),
    }
}
