//! What all tests of the directory store need: a core to run on, and whole bodies in one call.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sealgate_backend::fs::{FsBody, FsStore, FsUpload};
use sealgate_backend::types::{
    BackendError, CompletedPart, GetRequest, ListRequest, Location, Stored,
};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::route::RawKey;
use sealgate_uring::{BlockSize, Driver, Pool, RuntimeConfig, Spans, start};

pub(crate) type Outcome<T> = Result<T, BackendError>;

/// Runs `test` on each of `cores` cores.
pub(crate) fn on_cores<Fut: Future<Output = ()> + 'static>(
    driver: Driver,
    cores: usize,
    test: impl Fn() -> Fut + Send + Sync + 'static,
) {
    let config = RuntimeConfig {
        cores,
        driver,
        pin: false,
        ring_entries: 64,
    };
    start(&config, move |_| test()).unwrap().join().unwrap();
}

/// Makes a test of each function, for each driver.
macro_rules! on_both_drivers {
    ($($test:ident)*) => {
        mod io_uring { $(#[test] fn $test() { $crate::harness::on_cores(sealgate_uring::Driver::IoUring, 1, super::$test); })* }
        mod epoll { $(#[test] fn $test() { $crate::harness::on_cores(sealgate_uring::Driver::Epoll, 1, super::$test); })* }
    };
}
pub(crate) use on_both_drivers;

/// A store in a fresh directory, with a bucket `bucket`.
pub(crate) struct Fixture {
    pub(crate) store: FsStore,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path()).unwrap();
    store
        .create_bucket("bucket", &HeaderMap::new(), b"")
        .await
        .unwrap();
    Fixture { store, dir }
}

pub(crate) fn at(key: impl AsRef<[u8]>) -> Location {
    Location {
        bucket: "bucket".into(),
        key: RawKey::copy_from(key.as_ref()).unwrap(),
        version: None,
    }
}

pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(n, v)| {
            (
                HeaderName::try_from(*n).unwrap(),
                HeaderValue::from_str(v).unwrap(),
            )
        })
        .collect()
}

pub(crate) fn none() -> Conditions {
    Conditions::default()
}

/// `len` bytes that repeat nowhere near a block's size.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

pub(crate) async fn write_all(upload: &mut FsUpload, body: &[u8]) -> Outcome<()> {
    let pool = Pool::new(8 << 20);
    let [mut block] = pool
        .lease(BlockSize::holding(body.len()), Duration::from_secs(1))
        .await
        .unwrap();
    // Half of a block's bytes lie in runs, as sealed chunks with room between them do.
    let (data, stride) = (1000, 1100);
    let room = block.capacity() / stride * data;
    for piece in body.chunks(room) {
        let spans = Spans::slots(0, 0, piece.len(), data, stride);
        let mut rest = piece;
        for range in spans.ranges() {
            let (now, later) = rest.split_at(range.len());
            block[range].copy_from_slice(now);
            rest = later;
        }
        let (result, back) = upload.write(block, spans).await;
        block = back;
        result?;
    }
    Ok(())
}

pub(crate) async fn read_all(body: &mut FsBody) -> Outcome<Vec<u8>> {
    let pool = Pool::new(8 << 20);
    let [mut block] = pool
        .lease(BlockSize::Medium, Duration::from_secs(1))
        .await
        .unwrap();
    let mut out = Vec::new();
    loop {
        // Never aligned with anything, and in two runs.
        let spans = Spans::slots(3, 0, 70_001, 40_000, 40_016);
        let (result, back) = body.read(block, spans).await;
        block = back;
        match result? {
            0 => return Ok(out),
            n => spans
                .prefix(n)
                .ranges()
                .for_each(|r| out.extend_from_slice(&block[r])),
        }
    }
}

pub(crate) async fn put_with(
    store: &FsStore,
    key: impl AsRef<[u8]>,
    stored: &HeaderMap,
    conditions: &Conditions,
    body: &[u8],
) -> Outcome<Stored> {
    let mut upload = store
        .put(&at(key), stored, conditions, body.len() as u64)
        .await?;
    write_all(&mut upload, body).await?;
    upload.finish().await
}

pub(crate) async fn put(store: &FsStore, key: impl AsRef<[u8]>, body: &[u8]) -> String {
    put_with(store, key, &HeaderMap::new(), &none(), body)
        .await
        .unwrap()
        .etag
}

pub(crate) async fn get(store: &FsStore, key: impl AsRef<[u8]>) -> Outcome<Vec<u8>> {
    let (info, range, mut body) = store.get(&at(key), &GetRequest::default()).await?;
    assert_eq!(range, 0..info.len);
    let bytes = read_all(&mut body).await?;
    assert_eq!(bytes.len() as u64, info.len);
    Ok(bytes)
}

pub(crate) async fn put_part(
    store: &FsStore,
    key: &str,
    id: &str,
    number: u16,
    body: &[u8],
) -> Outcome<CompletedPart> {
    let mut upload = store
        .put_part(&at(key), id, number, body.len() as u64)
        .await?;
    write_all(&mut upload, body).await?;
    let etag = upload.finish().await?.etag;
    Ok(CompletedPart {
        number,
        etag,
        checksum: None,
    })
}

/// All keys and prefixes, page by page.
pub(crate) async fn list_all(
    store: &FsStore,
    prefix: &[u8],
    delimiter: &[u8],
    page: usize,
) -> Vec<Bytes> {
    let mut request = ListRequest {
        prefix: Bytes::copy_from_slice(prefix),
        delimiter: Bytes::copy_from_slice(delimiter),
        max_keys: page,
        ..ListRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let got = store.list("bucket", &request).await.unwrap();
        let mut items: Vec<Bytes> = got
            .objects
            .into_iter()
            .map(|o| o.key)
            .chain(got.common_prefixes)
            .collect();
        assert!(items.len() <= page);
        items.sort();
        all.extend(items);
        match got.next {
            Some(token) => request.continuation = Some(token),
            None => return all,
        }
    }
}

/// The S3 error that a call must have given.
#[track_caller]
pub(crate) fn code<T>(result: Outcome<T>) -> ErrorCode {
    match result {
        Err(BackendError::Answer(e)) => e.code,
        Err(e) => panic!("not an answer: {e}"),
        Ok(_) => panic!("it succeeded"),
    }
}
