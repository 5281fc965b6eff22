//! Heads: a client's request as an SDK sends it, and the answer to it.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sealgate_http1::{Framing, HttpDate, Limits, encode_response_head, parse_request};

const REQUEST: &[u8] = b"GET /bucket/a/folder/of/ordinary/depth/object-000000.bin HTTP/1.1\r\n\
Host: 127.0.0.1:9000\r\nAccept-Encoding: identity\r\nUser-Agent: Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux\r\n\
X-Amz-Date: 20130524T000000Z\r\n\
X-Amz-Content-SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\
Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n\
amz-sdk-invocation-id: 00000000-0000-4000-8000-000000000000\r\namz-sdk-request: attempt=1\r\n\r\n";

pub(crate) fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("http1");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    let parse = || parse_request(black_box(REQUEST), &Limits::DEFAULT);
    assert!(matches!(parse(), Ok(Some((_, n))) if n == REQUEST.len()));
    group.bench_function("parse a request's head", |b| b.iter(parse));

    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::ETAG, "\"d41d8cd98f00b204e9800998ecf8427e-1\""),
        (header::LAST_MODIFIED, "Fri, 24 May 2013 00:00:00 GMT"),
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::ACCEPT_RANGES, "bytes"),
        (
            header::HeaderName::from_static("x-amz-request-id"),
            "0123456789ABCDEF",
        ),
        (header::HeaderName::from_static("x-amz-id-2"), "sealgate"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let date = HttpDate::at(1_369_353_600);
    let mut out = Vec::with_capacity(1024);
    let mut encode = || {
        out.clear();
        let framing = Framing::Length(1024);
        encode_response_head(&mut out, StatusCode::OK, &headers, framing, true, &date);
        out.len()
    };
    group.throughput(Throughput::Bytes(encode() as u64));
    group.bench_function("encode a response's head", |b| b.iter(&mut encode));
    group.finish();
}
