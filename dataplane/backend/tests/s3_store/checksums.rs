//! Checksums that go with written bodies. The scripted store compares none: the tests do.

use http::{HeaderMap, HeaderValue};
use sealgate_backend::s3::{PayloadSigning, S3Options};
use sealgate_backend::types::CompletedPart;
use sealgate_s3::checksum::{Algorithm, Hasher};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;

use crate::fake::{FakeStore, Request};
use crate::harness::{
    Client, at, client_with, code, end, is_unavailable, options, pattern, put, put_with, send,
};
use crate::scripts;

crate::on_both_drivers! {
    one_block_has_a_header
    a_longer_body_has_a_trailer
    a_longer_signed_body_has_a_signed_trailer
    chunks_are_cut_alike_whatever_the_blocks
    the_encoding_of_the_object_is_kept
    a_body_that_was_damaged_is_sent_again
    a_long_body_that_was_damaged_is_the_clients_to_send_again
    other_refusals_stay
    replays_begin_their_checksum_anew
    uploads_announce_it_and_name_it_of_each_part
    without_it_nothing_is_sent
}

const SUM: &str = "x-amz-checksum-crc64nvme";

fn client(fake: &FakeStore, payload: PayloadSigning, checksum: Algorithm) -> Client {
    client_with(
        fake,
        S3Options {
            payload,
            checksum: Some(checksum),
            ..options(fake)
        },
    )
}

fn unsigned(fake: &FakeStore) -> Client {
    client(fake, PayloadSigning::Unsigned, Algorithm::Crc64Nvme)
}

fn sum(algorithm: Algorithm, body: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(body);
    hasher.finish().to_base64()
}

/// The body is `sent`, and so says the trailer, which is the only one.
#[track_caller]
fn has_trailer(request: &Request, algorithm: Algorithm, sent: &[u8]) {
    assert!(request.body == sent);
    let name = algorithm.header();
    assert_eq!(request.header("x-amz-trailer"), Some(name));
    assert_eq!(request.header(name), None);
    let length = sent.len().to_string();
    assert_eq!(
        request.header("x-amz-decoded-content-length"),
        Some(&*length)
    );
    assert_eq!(request.trailers, [(name.to_owned(), sum(algorithm, sent))]);
}

async fn one_block_has_a_header() {
    for payload in [PayloadSigning::Unsigned, PayloadSigning::Signed] {
        let body = pattern(200_000);
        let sent = body.clone();
        let fake = FakeStore::start(scripts![move |peer| {
            for sent in [&sent[..], b""] {
                let request = peer.request();
                assert!(request.body == sent);
                let sum = sum(Algorithm::Crc64Nvme, sent);
                assert_eq!(request.header(SUM), Some(&*sum));
                assert_eq!(request.header("x-amz-trailer"), None);
                assert_eq!(request.header("content-encoding"), None);
                let authorization = request.header("authorization").unwrap();
                assert!(authorization.contains(SUM), "it is signed");
                let unsigned = request.header("x-amz-content-sha256") == Some("UNSIGNED-PAYLOAD");
                assert_eq!(unsigned, payload == PayloadSigning::Unsigned);
                peer.stored();
            }
            peer.closed();
        }]);
        let client = client(&fake, payload, Algorithm::Crc64Nvme);
        for body in [&body[..], b""] {
            let stored = put(&client, &[body]).await.unwrap();
            let told = stored.checksum.unwrap().to_base64();
            assert_eq!(told, sum(Algorithm::Crc64Nvme, body));
        }
        end(client, fake).await;
    }
}

async fn a_longer_body_has_a_trailer() {
    for algorithm in [Algorithm::Crc64Nvme, Algorithm::Crc32c] {
        let body = pattern(66_560);
        let sent = body.clone();
        let fake = FakeStore::start(scripts![move |peer| {
            let request = peer.request();
            has_trailer(&request, algorithm, &sent);
            assert_eq!(request.header("content-encoding"), Some("aws-chunked"));
            assert_eq!(
                request.header("x-amz-content-sha256"),
                Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            );
            peer.stored();
            peer.closed();
        }]);
        let client = client(&fake, PayloadSigning::Unsigned, algorithm);
        let stored = put(&client, &[&body[..1], &body[1..]]).await.unwrap();
        let told = stored.checksum.unwrap().to_base64();
        assert_eq!(told, sum(algorithm, &body));
        end(client, fake).await;
    }
}

async fn a_longer_signed_body_has_a_signed_trailer() {
    for algorithm in [Algorithm::Crc64Nvme, Algorithm::Crc32c] {
        let body = pattern(66_560);
        let sent = body.clone();
        let fake = FakeStore::start(scripts![move |peer| {
            // Both kinds of signatures are verified by `Peer::request`.
            let request = peer.request();
            has_trailer(&request, algorithm, &sent);
            assert_eq!(
                request.header("x-amz-content-sha256"),
                Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
            );
            peer.stored();
            peer.closed();
        }]);
        let client = client(&fake, PayloadSigning::Signed, algorithm);
        let stored = put(&client, &[&body[..1], &body[1..]]).await.unwrap();
        let told = stored.checksum.unwrap().to_base64();
        assert_eq!(told, sum(algorithm, &body));
        end(client, fake).await;
    }
}

async fn chunks_are_cut_alike_whatever_the_blocks() {
    const MIB: usize = 1 << 20;
    let sizes: [&[usize]; 8] = [
        &[0, 0],
        &[1, 1],
        &[MIB, 0],
        &[MIB - 1, 2],
        &[MIB, MIB],
        &[65_535, 1, 65_537],
        &[MIB / 2, MIB, MIB, 77],
        &[1_049_656, 1_049_600, 30_000],
    ];
    for payload in [PayloadSigning::Unsigned, PayloadSigning::Signed] {
        let bodies: Vec<Vec<u8>> = sizes.iter().map(|s| pattern(s.iter().sum())).collect();
        let sent = bodies.clone();
        let fake = FakeStore::start(scripts![move |peer| {
            for body in sent {
                has_trailer(&peer.request(), Algorithm::Crc64Nvme, &body);
                peer.stored();
            }
            peer.closed();
        }]);
        let client = client(&fake, payload, Algorithm::Crc64Nvme);
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
}

async fn the_encoding_of_the_object_is_kept() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        assert_eq!(request.header("content-encoding"), Some("aws-chunked,gzip"));
        peer.stored();
        peer.closed();
    }]);
    let client = unsigned(&fake);
    let mut headers = HeaderMap::new();
    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    put_with(&client, &[b"one", b"two"], &headers, &Conditions::default())
        .await
        .unwrap();
    end(client, fake).await;
}

/// Also with a condition: nothing was stored.
async fn a_body_that_was_damaged_is_sent_again() {
    let codes = [
        "BadDigest",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    ];
    let fake = FakeStore::start(scripts![move |peer| {
        for code in codes {
            assert_eq!(peer.request().body, b"once");
            peer.error(400, code);
            assert_eq!(peer.request().body, b"once");
            peer.stored();
        }
        for _ in 0..4 {
            peer.request();
            peer.error(400, "BadDigest");
        }
        peer.closed();
    }]);
    let client = unsigned(&fake);
    for _ in codes {
        let conditions = Conditions::if_absent();
        put_with(&client, &[b"once"], &HeaderMap::new(), &conditions)
            .await
            .unwrap();
    }
    let reason = is_unavailable(put(&client, &[b"once"]).await);
    assert!(
        reason.contains("damaged") && reason.contains("BadDigest"),
        "{reason}"
    );
    end(client, fake).await;
}

async fn a_long_body_that_was_damaged_is_the_clients_to_send_again() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.error(400, "BadDigest");
        peer.closed();
    }]);
    let client = unsigned(&fake);
    let reason = is_unavailable(put(&client, &[b"one", b"two"]).await);
    assert!(reason.contains("damaged"), "{reason}");
    end(client, fake).await;
}

async fn other_refusals_stay() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.error(400, "InvalidRequest");
        peer.closed();
    }]);
    let client = unsigned(&fake);
    assert_eq!(
        code(put(&client, &[b"one"]).await),
        ErrorCode::InvalidRequest
    );
    end(client, fake).await;
}

async fn replays_begin_their_checksum_anew() {
    let fake = FakeStore::start(scripts![
        |peer| {
            // Its first block is on the way, perhaps; then nobody is there any more.
            peer.head();
        },
        |peer| {
            has_trailer(&peer.request(), Algorithm::Crc64Nvme, b"onetwo");
            peer.stored();
            peer.closed();
        }
    ]);
    let client = unsigned(&fake);
    let upload = client.put_part(&at("key"), "u1", 1, 6).await.unwrap();
    // Whether the break is seen by the first block or by the second is chance; only the first can be sent again.
    match send(upload, &[b"one", b"two"]).await {
        Ok(_) => {}
        Err(_) => {
            let again = client.put_part(&at("key"), "u1", 1, 6).await.unwrap();
            send(again, &[b"one", b"two"]).await.unwrap();
        }
    }
    end(client, fake).await;
}

async fn uploads_announce_it_and_name_it_of_each_part() {
    let body = pattern(250_000);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        let created = peer.request();
        assert_eq!(
            created.header("x-amz-checksum-algorithm"),
            Some("CRC64NVME")
        );
        assert_eq!(created.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
        peer.reply(
            200,
            "",
            "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>key</Key><UploadId>u1</UploadId>\
             </InitiateMultipartUploadResult>",
        );
        let mut list = String::new();
        for (i, part) in sent.chunks(100_000).enumerate() {
            let request = peer.request();
            assert!(request.body == part);
            let value = sum(Algorithm::Crc64Nvme, part);
            match request.trailers.first() {
                Some((_, told)) => assert_eq!(*told, value),
                None => assert_eq!(request.header(SUM), Some(&*value)),
            }
            let number = i + 1;
            peer.reply(200, &format!("ETag: \"p{number}\"\r\n"), "");
            list += &format!(
                "<Part><ETag>&quot;p{number}&quot;</ETag><ChecksumCRC64NVME>{value}</ChecksumCRC64NVME>\
                 <PartNumber>{number}</PartNumber></Part>"
            );
        }
        let completed = String::from_utf8(peer.request().body).unwrap();
        assert!(completed.contains(&list), "{completed}");
        peer.reply(
            200,
            "",
            "<CompleteMultipartUploadResult><Location>l</Location><Bucket>bucket</Bucket><Key>key</Key>\
             <ETag>e-3</ETag></CompleteMultipartUploadResult>",
        );
        // One that was begun without is completed without.
        let listed = peer.request();
        assert!(listed.target.contains("uploadId=old"), "{}", listed.target);
        peer.reply(
            200,
            "",
            "<ListPartsResult><Bucket>bucket</Bucket><Key>key</Key><UploadId>old</UploadId>\
             <IsTruncated>false</IsTruncated>\
             <Part><PartNumber>1</PartNumber><ETag>a</ETag><Size>1</Size></Part>\
             <Part><PartNumber>2</PartNumber><ETag>b</ETag><Size>1</Size>\
             <ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME></Part>\
             <Part><PartNumber>3</PartNumber><ETag>c</ETag><Size>1</Size><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>\
             </ListPartsResult>",
        );
        let completed = String::from_utf8(peer.request().body).unwrap();
        assert_eq!(completed.matches("<Checksum").count(), 1, "{completed}");
        assert!(
            completed.contains("<ChecksumCRC64NVME>rosUhgp5mIg=<"),
            "{completed}"
        );
        peer.error(404, "NoSuchUpload");
        peer.closed();
    }]);
    let client = client_with(
        &fake,
        S3Options {
            put_limit: 200_000,
            put_part: 100_000,
            checksum: Some(Algorithm::Crc64Nvme),
            ..options(&fake)
        },
    );
    put(&client, &[&body[..30_000], &body[30_000..]])
        .await
        .unwrap();
    let page = client.list_parts(&at("key"), "old", 0, 10).await.unwrap();
    let parts: Vec<CompletedPart> = page
        .parts
        .into_iter()
        .map(|p| CompletedPart {
            number: p.number,
            etag: p.etag,
            checksum: p.checksum,
        })
        .collect();
    let completed = client
        .complete_upload(&at("key"), "old", &parts, &Conditions::default())
        .await;
    assert_eq!(code(completed), ErrorCode::NoSuchUpload);
    end(client, fake).await;
}

async fn without_it_nothing_is_sent() {
    let fake = FakeStore::start(scripts![|peer| {
        for _ in 0..2 {
            let request = peer.request();
            let names = request.headers.keys();
            let about: Vec<_> = names
                .filter(|n| n.as_str().contains("checksum") || n.as_str().contains("trailer"))
                .collect();
            assert!(about.is_empty(), "{about:?}");
            peer.stored();
        }
        peer.closed();
    }]);
    let client = client_with(&fake, options(&fake));
    for blocks in [&[&b"one"[..], b"two"][..], &[b"one"]] {
        let stored = put(&client, blocks).await.unwrap();
        assert_eq!(stored.checksum, None);
    }
    end(client, fake).await;
}
