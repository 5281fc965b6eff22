//! Payloads that the signature covers. The scripted store verifies all of them (`Peer::request`).

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use sealgate_backend::s3::PayloadSigning;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::sigv4::PayloadHash;
use sealgate_uring::{BlockSize, Pool, Spans};

use crate::fake::FakeStore;
use crate::harness::{
    Client, at, begin, client_with, end, get_range, is_unavailable, options, pattern, put,
    put_with, send,
};
use crate::scripts;

crate::on_both_drivers! {
    one_block_has_its_hash
    an_empty_body_has_its_hash
    a_longer_body_has_signed_chunks
    chunks_are_cut_alike_whatever_the_blocks
    scattered_blocks_are_hashed_as_they_are_sent
    the_encoding_of_the_object_is_kept
    a_store_that_keeps_the_framing_in_its_headers
    replays_are_signed_anew
    parts_are_signed
    a_chunked_body_is_not_replayed_after_its_second_block
}

const STREAMING: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

fn client(fake: &FakeStore) -> Client {
    client_with(
        fake,
        sealgate_backend::s3::S3Options {
            payload: PayloadSigning::Signed,
            ..options(fake)
        },
    )
}

async fn one_block_has_its_hash() {
    let body = pattern(200_000);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        let request = peer.request();
        assert!(request.body == sent);
        let PayloadHash::Hash(hash) = PayloadHash::of(&sent) else {
            unreachable!()
        };
        let hash: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(request.header("x-amz-content-sha256"), Some(&*hash));
        assert_eq!(request.header("content-encoding"), None);
        assert_eq!(request.header("x-amz-decoded-content-length"), None);
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    put(&client, &[&body]).await.unwrap();
    end(client, fake).await;
}

async fn an_empty_body_has_its_hash() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        let hash = request.header("x-amz-content-sha256").unwrap();
        assert!(hash.starts_with("e3b0c44298fc1c14"), "{hash}");
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    put(&client, &[b""]).await.unwrap();
    end(client, fake).await;
}

async fn a_longer_body_has_signed_chunks() {
    let body = pattern(66_560);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        let request = peer.request();
        assert_eq!(request.header("x-amz-content-sha256"), Some(STREAMING));
        assert_eq!(request.header("content-encoding"), Some("aws-chunked"));
        assert_eq!(
            request.header("x-amz-decoded-content-length"),
            Some("66560")
        );
        // As in the example of the S3 API Reference.
        assert_eq!(request.header("content-length"), Some("66824"));
        assert!(request.body == sent);
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    put(&client, &[&body[..1], &body[1..]]).await.unwrap();
    end(client, fake).await;
}

async fn chunks_are_cut_alike_whatever_the_blocks() {
    const CHUNK: usize = 65_536;
    let sizes: [&[usize]; 9] = [
        &[1, 1],
        &[1, CHUNK - 1],
        &[CHUNK, CHUNK],
        &[CHUNK, 0],
        &[CHUNK - 1, 2, CHUNK - 1],
        &[CHUNK + 1, CHUNK + 1, 10],
        &[3, 1 << 20, 1 << 20, 77],
        &[1 << 20, 1 << 20],
        &[1_049_656, 1_049_600, 30_000],
    ];
    let bodies: Vec<Vec<u8>> = sizes.iter().map(|s| pattern(s.iter().sum())).collect();
    let sent = bodies.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        for body in sent {
            assert!(peer.request().body == body, "of {} bytes", body.len());
            peer.stored();
        }
        peer.closed();
    }]);
    let client = client(&fake);
    for (sizes, body) in sizes.iter().zip(&bodies) {
        let mut rest = &body[..];
        let blocks: Vec<&[u8]> = sizes
            .iter()
            .map(|&n| {
                let (block, after) = rest.split_at(n);
                rest = after;
                block
            })
            .collect();
        put(&client, &blocks).await.unwrap();
    }
    end(client, fake).await;
}

async fn scattered_blocks_are_hashed_as_they_are_sent() {
    let body = pattern(150_000);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        for _ in 0..2 {
            assert!(peer.request().body == sent);
            peer.stored();
        }
        peer.closed();
    }]);
    let client = client(&fake);
    let pool = Pool::new(4 << 20);
    for first in [0, 70_001] {
        let mut upload = begin(&client, body.len()).await;
        let [mut block] = pool.try_lease(BlockSize::Medium).unwrap();
        let spans = Spans::slots(56, 0, body.len(), 1000, 1016);
        let mut rest = &body[..];
        for range in spans.ranges() {
            let (run, after) = rest.split_at(range.len());
            block[range].copy_from_slice(run);
            rest = after;
        }
        if first > 0 {
            let (result, back) = upload.write(block, Spans { to: first, ..spans }).await;
            block = back;
            result.unwrap();
        }
        upload
            .finish(
                block,
                Spans {
                    from: first,
                    ..spans
                },
            )
            .await
            .0
            .unwrap();
    }
    end(client, fake).await;
}

async fn the_encoding_of_the_object_is_kept() {
    let fake = FakeStore::start(scripts![|peer| {
        assert_eq!(
            peer.request().header("content-encoding"),
            Some("aws-chunked,gzip")
        );
        peer.stored();
        assert_eq!(peer.request().header("content-encoding"), Some("gzip"));
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    let mut headers = HeaderMap::new();
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    for blocks in [&[&b"one"[..], b"two"][..], &[b"one"]] {
        put_with(&client, blocks, &headers, &Conditions::default())
            .await
            .unwrap();
    }
    end(client, fake).await;
}

async fn a_store_that_keeps_the_framing_in_its_headers() {
    let fake = FakeStore::start(scripts![|peer| {
        for encoding in [
            "aws-chunked",
            "aws-chunked,gzip",
            "gzip, AWS-chunked",
            "gzip, br",
        ] {
            peer.request();
            let encoding = format!("ETag: \"e1\"\r\nContent-Encoding: {encoding}\r\n");
            peer.reply(200, &encoding, "");
        }
        peer.closed();
    }]);
    let client = client(&fake);
    for expected in [None, Some("gzip"), Some("gzip"), Some("gzip, br")] {
        let (info, ..) = get_range(&client, None).await.unwrap();
        let encoding = info.headers.get("content-encoding");
        assert_eq!(encoding.map(|v| v.to_str().unwrap()), expected);
    }
    end(client, fake).await;
}

async fn replays_are_signed_anew() {
    let body = pattern(200_000);
    let sent = body.clone();
    let fake = FakeStore::start_after(
        Duration::from_millis(100),
        scripts![move |peer| {
            // The first block of a chunked body, once the store is up.
            assert!(peer.request().body == sent);
            peer.stored();
            // A whole one.
            assert!(peer.request().body == sent);
            peer.error(503, "SlowDown");
            assert!(peer.request().body == sent);
            peer.stored();
            peer.closed();
        }],
    );
    let client = client(&fake);
    put(&client, &[&body[..100_000], &body[100_000..]])
        .await
        .unwrap();
    put(&client, &[&body]).await.unwrap();
    end(client, fake).await;
}

async fn parts_are_signed() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        assert_eq!(request.header("x-amz-content-sha256"), Some(STREAMING));
        assert_eq!(request.body, b"onetwo");
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    let upload = client.put_part(&at("key"), "u1", 1, 6).await.unwrap();
    send(upload, &[b"one", b"two"]).await.unwrap();
    end(client, fake).await;
}

async fn a_chunked_body_is_not_replayed_after_its_second_block() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.error(500, "InternalError");
        peer.closed();
    }]);
    let client = client(&fake);
    is_unavailable(put(&client, &[b"one", b"two"]).await);
    end(client, fake).await;
}
