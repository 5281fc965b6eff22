//! Objects longer than one request may be (S3-TRAPS 26).

use http::{HeaderMap, HeaderValue};
use sealgate_backend::s3::{PayloadSigning, S3Options};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{BlockSize, Pool, Spans};

use crate::fake::{FakeStore, Peer, error_document};
use crate::harness::{Client, begin, client_with, code, end, options, pattern, put, put_with};
use crate::scripts;

crate::on_both_drivers! {
    an_object_at_the_limit_is_one_request
    a_longer_one_is_cut_into_parts
    blocks_and_parts_need_not_agree
    parts_are_signed_like_bodies
    conditions_hold_at_the_end
    a_failed_condition_is_told
    a_part_of_one_block_is_replayed
    a_part_that_fails_aborts
    a_creation_that_fails_leaves_nothing
    a_dropped_upload_is_aborted
    a_dropped_upload_that_was_not_begun_says_nothing
    a_completion_is_tried_again
    a_completion_whose_answer_was_lost_is_found
    a_completion_that_is_anothers_is_not_taken
    a_wrong_length_aborts
}

const LIMIT: u64 = 1000;
const PART: u64 = 300;

fn client(fake: &FakeStore) -> Client {
    client_with(
        fake,
        S3Options {
            put_limit: LIMIT,
            put_part: PART,
            ..options(fake)
        },
    )
}

fn metadata() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-meta-id", HeaderValue::from_static("one of a kind"));
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    headers
}

fn create(peer: &mut Peer) {
    let request = peer.request();
    assert_eq!(request.line(), "POST /bucket/key?uploads=");
    peer.reply(
        200,
        "",
        "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>key</Key><UploadId>u1</UploadId>\
         </InitiateMultipartUploadResult>",
    );
}

/// Takes parts `numbers` and answers with the ETags `p<number>`; gives their bytes.
fn parts(peer: &mut Peer, numbers: std::ops::RangeInclusive<u16>) -> Vec<Vec<u8>> {
    numbers
        .map(|n| {
            let request = peer.request();
            assert_eq!(
                request.line(),
                format!("PUT /bucket/key?partNumber={n}&uploadId=u1")
            );
            peer.reply(200, &format!("ETag: \"p{n}\"\r\n"), "");
            request.body
        })
        .collect()
}

fn completed(peer: &mut Peer) {
    peer.reply(
        200,
        "",
        "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>key</Key><ETag>\"w-4\"</ETag>\
         </CompleteMultipartUploadResult>",
    );
}

fn complete(peer: &mut Peer) {
    assert_eq!(peer.request().line(), "POST /bucket/key?uploadId=u1");
    completed(peer);
}

fn aborted(peer: &mut Peer) {
    assert_eq!(peer.request().line(), "DELETE /bucket/key?uploadId=u1");
    peer.reply(204, "", "");
    peer.closed();
}

async fn an_object_at_the_limit_is_one_request() {
    let fake = FakeStore::start(scripts![|peer| {
        assert_eq!(peer.request().line(), "PUT /bucket/key");
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    assert_eq!(put(&client, &[&pattern(1000)]).await.unwrap().etag, "e1");
    end(client, fake).await;
}

async fn a_longer_one_is_cut_into_parts() {
    let body = pattern(1001);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        create(peer);
        let all = parts(peer, 1..=4);
        assert_eq!(
            all.iter().map(Vec::len).collect::<Vec<_>>(),
            [300, 300, 300, 101]
        );
        assert!(all.concat() == sent);
        let request = peer.request();
        assert_eq!(request.line(), "POST /bucket/key?uploadId=u1");
        let list = String::from_utf8(request.body).unwrap();
        for n in 1..=4 {
            assert!(
                list.contains(&format!("<PartNumber>{n}</PartNumber>")),
                "{list}"
            );
            assert!(list.contains(&format!("p{n}")), "{list}");
        }
        completed(peer);
        peer.closed();
    }]);
    let client = client(&fake);
    let stored = put_with(&client, &[&body], &metadata(), &Conditions::default()).await;
    assert_eq!(stored.unwrap().etag, "w-4");
    let requests = fake.requests();
    assert_eq!(requests[0].header("x-amz-meta-id"), Some("one of a kind"));
    assert_eq!(requests[0].header("content-type"), Some("text/plain"));
    for part in &requests[1..5] {
        assert_eq!(part.header("x-amz-meta-id"), None);
    }
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}

async fn blocks_and_parts_need_not_agree() {
    let sizes: [&[usize]; 5] = [
        &[1, 1200],
        &[300, 300, 300, 300, 1],
        &[299, 2, 899, 1],
        &[450, 450, 301],
        &[1200, 1, 0],
    ];
    let body = pattern(1201);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        for _ in 0..5 {
            create(peer);
            let all = parts(peer, 1..=5);
            assert_eq!(
                all.iter().map(Vec::len).collect::<Vec<_>>(),
                [300, 300, 300, 300, 1]
            );
            assert!(all.concat() == sent);
            complete(peer);
        }
        peer.closed();
    }]);
    let client = client(&fake);
    for sizes in sizes {
        let mut rest = &body[..];
        let mut blocks = Vec::new();
        for &n in sizes {
            let (block, after) = rest.split_at(n);
            blocks.push(block);
            rest = after;
        }
        put(&client, &blocks).await.unwrap();
    }
    end(client, fake).await;
}

async fn parts_are_signed_like_bodies() {
    let body = pattern(250_000);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        create(peer);
        assert!(parts(peer, 1..=3).concat() == sent);
        complete(peer);
        peer.closed();
    }]);
    let client = client_with(
        &fake,
        S3Options {
            put_limit: 200_000,
            put_part: 100_000,
            payload: PayloadSigning::Signed,
            ..options(&fake)
        },
    );
    put(&client, &[&body[..30_000], &body[30_000..]])
        .await
        .unwrap();
    let payload = |n: usize| {
        fake.requests()[n]
            .header("x-amz-content-sha256")
            .unwrap()
            .to_owned()
    };
    assert_eq!(payload(1), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    // A part within one block is known whole.
    assert_eq!(payload(2).len(), 64);
    end(client, fake).await;
}

async fn conditions_hold_at_the_end() {
    let fake = FakeStore::start(scripts![|peer| {
        create(peer);
        parts(peer, 1..=4);
        complete(peer);
        peer.closed();
    }]);
    let client = client(&fake);
    let conditions = Conditions::if_absent();
    put_with(&client, &[&pattern(1001)], &metadata(), &conditions)
        .await
        .unwrap();
    let conditional: Vec<bool> = fake
        .requests()
        .iter()
        .map(|r| r.header("if-none-match") == Some("*"))
        .collect();
    assert_eq!(conditional, [false, false, false, false, false, true]);
    end(client, fake).await;
}

async fn a_failed_condition_is_told() {
    let fake = FakeStore::start(scripts![|peer| {
        create(peer);
        parts(peer, 1..=4);
        peer.request();
        peer.error(412, "PreconditionFailed");
        aborted(peer);
    }]);
    let client = client(&fake);
    let stored = put_with(
        &client,
        &[&pattern(1001)],
        &metadata(),
        &Conditions::if_absent(),
    )
    .await;
    assert_eq!(code(stored), ErrorCode::PreconditionFailed);
    end(client, fake).await;
}

async fn a_part_of_one_block_is_replayed() {
    let body = pattern(1001);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        create(peer);
        let mut all = parts(peer, 1..=2);
        peer.request();
        peer.error(503, "SlowDown");
        all.extend(parts(peer, 3..=4));
        assert!(all.concat() == sent);
        complete(peer);
        peer.closed();
    }]);
    let client = client(&fake);
    put(&client, &[&body]).await.unwrap();
    end(client, fake).await;
}

async fn a_part_that_fails_aborts() {
    let fake = FakeStore::start(scripts![|peer| {
        create(peer);
        parts(peer, 1..=1);
        peer.request();
        peer.error(403, "AccessDenied");
        aborted(peer);
    }]);
    let client = client(&fake);
    assert_eq!(
        code(put(&client, &[&pattern(1001)]).await),
        ErrorCode::AccessDenied
    );
    end(client, fake).await;
}

async fn a_creation_that_fails_leaves_nothing() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.error(404, "NoSuchBucket");
        peer.closed();
    }]);
    let client = client(&fake);
    assert_eq!(
        code(put(&client, &[&pattern(1001)]).await),
        ErrorCode::NoSuchBucket
    );
    end(client, fake).await;
}

async fn a_dropped_upload_is_aborted() {
    let fake = FakeStore::start(scripts![
        |peer| {
            create(peer);
            parts(peer, 1..=1);
            // The second part is cut.
            peer.head();
            assert_eq!(peer.drain(), 50);
        },
        aborted,
    ]);
    let client = client(&fake);
    let mut upload = begin(&client, 2000).await;
    let pool = Pool::new(1 << 20);
    let [block] = pool.try_lease(BlockSize::Small).unwrap();
    upload
        .write(block, Spans::contiguous(0..350))
        .await
        .0
        .unwrap();
    drop(upload);
    end(client, fake).await;
}

async fn a_dropped_upload_that_was_not_begun_says_nothing() {
    let fake = FakeStore::start(vec![]);
    let client = client(&fake);
    drop(begin(&client, 2000).await);
    assert_eq!(client.counters().connects.get(), 0);
    end(client, fake).await;
}

async fn a_completion_is_tried_again() {
    let fake = FakeStore::start(scripts![|peer| {
        create(peer);
        parts(peer, 1..=4);
        peer.request();
        peer.error(500, "InternalError");
        // Not there yet.
        assert_eq!(peer.request().line(), "POST /bucket/key?uploadId=u1");
        peer.reply(200, "", format!("  {}", error_document("InternalError")));
        assert_eq!(peer.request().line(), "HEAD /bucket/key");
        peer.send("HTTP/1.1 404 Not Found\r\n\r\n");
        complete(peer);
        peer.closed();
    }]);
    let client = client(&fake);
    let stored = put_with(
        &client,
        &[&pattern(1001)],
        &metadata(),
        &Conditions::default(),
    )
    .await;
    assert_eq!(stored.unwrap().etag, "w-4");
    end(client, fake).await;
}

async fn a_completion_whose_answer_was_lost_is_found() {
    let fake = FakeStore::start(scripts![
        |peer| {
            create(peer);
            parts(peer, 1..=4);
            peer.request();
            peer.send("HTTP/1.1 200");
        },
        |peer| {
            peer.request();
            peer.error(404, "NoSuchUpload");
            assert_eq!(peer.request().line(), "HEAD /bucket/key");
            peer.send(
                "HTTP/1.1 200 OK\r\nETag: \"w-4\"\r\nContent-Length: 1001\r\n\
                 x-amz-meta-id: one of a kind\r\nx-amz-version-id: v\r\n\r\n",
            );
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let stored = put_with(
        &client,
        &[&pattern(1001)],
        &metadata(),
        &Conditions::default(),
    )
    .await;
    let stored = stored.unwrap();
    assert_eq!(
        (
            stored.etag.as_str(),
            stored.headers["x-amz-version-id"].as_bytes()
        ),
        ("w-4", &b"v"[..])
    );
    end(client, fake).await;
}

async fn a_completion_that_is_anothers_is_not_taken() {
    let fake = FakeStore::start(scripts![
        |peer| {
            create(peer);
            parts(peer, 1..=4);
            peer.request();
            peer.send("HTTP/1.1 200");
        },
        |peer| {
            peer.request();
            peer.error(404, "NoSuchUpload");
            peer.request();
            peer.send(
                "HTTP/1.1 200 OK\r\nETag: \"w-4\"\r\nContent-Length: 1001\r\n\
                 x-amz-meta-id: another\r\n\r\n",
            );
            aborted(peer);
        },
    ]);
    let client = client(&fake);
    let stored = put_with(
        &client,
        &[&pattern(1001)],
        &metadata(),
        &Conditions::default(),
    )
    .await;
    assert_eq!(code(stored), ErrorCode::NoSuchUpload);
    end(client, fake).await;
}

async fn a_wrong_length_aborts() {
    let fake = FakeStore::start(scripts![|peer| {
        create(peer);
        parts(peer, 1..=1);
        aborted(peer);
    }]);
    let client = client(&fake);
    let mut upload = begin(&client, 2000).await;
    let pool = Pool::new(1 << 20);
    let [block] = pool.try_lease(BlockSize::Small).unwrap();
    let (result, block) = upload.write(block, Spans::contiguous(0..300)).await;
    result.unwrap();
    crate::harness::is_protocol(upload.finish(block, Spans::contiguous(0..10)).await.0);
    end(client, fake).await;
}
