//! Signatures: a canonical request, its hash and an HMAC each, with the day's key already derived.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use http::{HeaderMap, HeaderValue, Method, header};
use sealgate_s3::sigv4::sign::{PayloadHash, Signer};
use sealgate_s3::sigv4::{Authorization, SecretKey, SigningKeyCache, verify};

/// 24 May 2013, midnight: of the examples in the S3 API Reference.
pub(crate) const NOW: i64 = 1_369_353_600;
pub(crate) const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET_KEY: &[u8] = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const PATH: &str = "/bucket/a/folder/of/ordinary/depth/object-000000.bin";

/// The reference's presigned example.
const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

pub(crate) fn signer() -> Signer {
    Signer::new(ACCESS_KEY, SecretKey::new(SECRET_KEY), None, "us-east-1")
}

/// What an SDK sends with a small object.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_LENGTH, "1024"),
        (header::CONTENT_TYPE, "application/octet-stream"),
        (
            header::HeaderName::from_static("x-amz-meta-mtime"),
            "1369353600.123",
        ),
        (
            header::HeaderName::from_static("x-amz-checksum-crc32"),
            "AAAAAA==",
        ),
        (
            header::USER_AGENT,
            "Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux lang/python#3.13",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

pub(crate) fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("sigv4");
    group.throughput(Throughput::Elements(1));
    let mut signer = signer();
    let mut signed = headers();
    let mut sign = |headers: &mut HeaderMap| {
        signer.sign(
            &Method::PUT,
            "127.0.0.1:9000",
            PATH.as_bytes(),
            b"",
            headers,
            PayloadHash::Unsigned,
            NOW,
        );
    };
    group.bench_function("sign", |b| b.iter(|| sign(black_box(&mut signed))));
    sign(&mut signed);

    let secret = SecretKey::new(SECRET_KEY);
    let mut cache = SigningKeyCache::new();
    let mut check = |method: &Method, target: &str, headers: &HeaderMap| {
        let authorization = Authorization::parse(target.as_bytes(), headers)?;
        verify(
            &authorization,
            &secret,
            &mut cache,
            method,
            target.as_bytes(),
            headers,
            NOW,
        )
    };
    assert!(check(&Method::PUT, PATH, &signed).is_ok());
    group.bench_function("parse and verify a header", |b| {
        b.iter(|| check(&Method::PUT, PATH, black_box(&signed)));
    });
    let mut host = HeaderMap::new();
    host.insert(
        header::HOST,
        HeaderValue::from_static("examplebucket.s3.amazonaws.com"),
    );
    assert!(check(&Method::GET, PRESIGNED, &host).is_ok());
    group.bench_function("parse and verify a presigned URL", |b| {
        b.iter(|| check(&Method::GET, PRESIGNED, black_box(&host)));
    });
    group.bench_function("derive a day's key", |b| {
        b.iter(|| SigningKeyCache::new().get(black_box(&secret), *b"20130524", b"us-east-1"));
    });
    group.finish();
}
