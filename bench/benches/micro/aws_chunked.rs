//! `aws-chunked` bodies: 1 MiB in chunks of 64 KiB, as the Java SDK and boto3 send them.

use std::fmt::Write as _;
use std::hint::black_box;

use aws_lc_rs::digest::{SHA256, digest};
use criterion::{Criterion, Throughput};
use http::{HeaderMap, HeaderValue, Method};
use sealgate_s3::aws_chunked::{AwsChunked, DECODED_LENGTH};
use sealgate_s3::sigv4::{Authorization, SecretKey, SigningKeyCache, Verified, anonymous, verify};

use crate::sigv4::{NOW, SECRET_KEY, signer};

const LEN: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
const PATH: &[u8] = b"/bucket/key";

/// A body, its headers, and what is known of its request.
struct Sent {
    wire: Vec<u8>,
    headers: HeaderMap,
    verified: Verified,
}

fn lengths() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(DECODED_LENGTH, LEN.into());
    headers
}

fn unsigned() -> Sent {
    let mut headers = lengths();
    let payload = HeaderValue::from_static("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    headers.insert("x-amz-content-sha256", payload);
    headers.insert(
        "x-amz-trailer",
        HeaderValue::from_static("x-amz-checksum-crc32"),
    );
    let mut wire = Vec::new();
    for _ in 0..LEN / CHUNK {
        wire.extend_from_slice(format!("{CHUNK:x}\r\n").as_bytes());
        wire.resize(wire.len() + CHUNK, b'x');
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    let Ok(verified) = anonymous(&headers) else {
        unreachable!("the form is known")
    };
    Sent {
        wire,
        headers,
        verified,
    }
}

fn signed() -> Sent {
    let mut headers = lengths();
    let host = "127.0.0.1:9000";
    let mut chunks = signer().sign_streaming(&Method::PUT, host, PATH, b"", &mut headers, NOW);
    let mut wire = Vec::new();
    let body = vec![b'x'; CHUNK];
    for chunk in (0..LEN / CHUNK).map(|_| &body[..]).chain([&[][..]]) {
        let mut line = format!("{:x};chunk-signature=", chunk.len());
        for byte in chunks.sign_chunk(digest(&SHA256, chunk).as_ref()) {
            let _ = write!(line, "{byte:02x}");
        }
        wire.extend_from_slice(line.as_bytes());
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    let verified = Authorization::parse(PATH, &headers).and_then(|authorization| {
        verify(
            &authorization,
            &SecretKey::new(SECRET_KEY),
            &mut SigningKeyCache::new(),
            &Method::PUT,
            PATH,
            &headers,
            NOW,
        )
    });
    let Ok(verified) = verified else {
        unreachable!("the signature is ours")
    };
    Sent {
        wire,
        headers,
        verified,
    }
}

fn decode(sent: &Sent, out: &mut [u8]) -> usize {
    let Ok(mut decoder) = AwsChunked::new(&sent.verified, &sent.headers, LEN as u64) else {
        unreachable!("the headers are complete")
    };
    let (mut at, mut total) = (0, 0);
    while !decoder.is_done() {
        let Ok(step) = decoder.decode(&sent.wire[at..], &mut out[total..]) else {
            unreachable!("the body is well-formed")
        };
        at += step.consumed;
        total += step.produced;
    }
    total
}

pub(crate) fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("aws-chunked");
    group.throughput(Throughput::Bytes(LEN as u64));
    let mut out = vec![0; LEN];
    // The signed one hashes each chunk: SHA-256 is what it costs.
    for (name, sent) in [("unsigned", unsigned()), ("signed", signed())] {
        assert_eq!(decode(&sent, &mut out), LEN);
        group.bench_function(format!("decode 1 MiB, {name}"), |b| {
            b.iter(|| decode(black_box(&sent), &mut out));
        });
    }
    group.finish();
}
