//! Bodies on their way to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use sealgate_backend::s3::{S3Options, S3Upload};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Block, BlockSize, Pool, Spans, StoreConnector, join, sleep};

use crate::fake::FakeStore;
use crate::harness::{
    Client, Outcome, at, begin, client, client_with, code, end, get, is_protocol, is_unavailable,
    options, pattern, put, put_with,
};
use crate::scripts;

crate::on_both_drivers! {
    one_block_is_replayed_after_503
    one_block_is_replayed_after_a_reset
    one_block_is_replayed_once_on_a_fresh_connection
    a_first_block_waits_for_the_store_to_come_up
    a_second_block_closes_the_replay_window
    a_503_after_two_blocks_is_for_the_client
    an_early_refusal_is_told_and_its_connection_closed
    half_an_early_answer_is_not_waited_for
    an_interim_answer_is_no_refusal
    an_early_success_is_none
    bytes_beyond_the_length_are_refused
    a_conditional_put_whose_answer_is_lost_is_not_repeated
    an_empty_object_has_a_length
    a_dropped_upload_closes_the_connection
    a_put_is_done_whatever_follows_its_head
    a_put_without_an_etag_is_no_success
    a_long_put_asks_first_how_far_the_store_is
    a_long_put_of_which_the_store_says_nothing_fails
}

const MIB: usize = 1 << 20;

/// An upload, and a block for it.
async fn begin_with_block(client: &Client, len: usize) -> (S3Upload<StoreConnector>, Block) {
    let [block] = Pool::new(4 << 20).try_lease(BlockSize::Large).unwrap();
    (begin(client, len).await, block)
}

/// Writes `n` bytes, whichever.
async fn write(
    upload: &mut S3Upload<StoreConnector>,
    block: Block,
    n: usize,
) -> (Outcome<()>, Block) {
    upload.write(block, Spans::contiguous(0..n)).await
}

/// What becomes of a long PUT, to a store that is far from `far` on: whether it goes in parts.
async fn ahead(client: &Client, len: u64) -> Outcome<bool> {
    let none = Conditions::default();
    let pool = Pool::new(64 << 20);
    let upload = client
        .put_ahead(&at("key"), &HeaderMap::new(), &none, len, &pool)
        .await?;
    Ok(upload.is_some())
}

fn far_from(fake: &FakeStore, far: Duration, parallel: usize) -> Client {
    let options = S3Options {
        parallel,
        far,
        ..options(fake)
    };
    client_with(fake, options)
}

async fn a_long_put_asks_first_how_far_the_store_is() {
    const LONG: u64 = 32 << 20;
    for (far, asked) in [(Duration::ZERO, 4), (Duration::MAX, 1)] {
        let fake = FakeStore::start(scripts![move |peer| {
            for status in [200, 403, 404, 501].into_iter().take(asked) {
                assert_eq!(peer.request().line(), "HEAD /bucket");
                peer.reply(status, "", "");
            }
            peer.closed();
        }]);
        let client = far_from(&fake, far, 8);
        assert!(!ahead(&client, LONG - 1).await.unwrap(), "nothing is asked");
        for _ in 0..2 {
            assert_eq!(ahead(&client, LONG).await.unwrap(), far.is_zero());
        }
        assert_eq!(fake.requests().len(), asked);
        end(client, fake).await;
    }
    // Where it is turned off, nothing is asked either.
    let fake = FakeStore::start(vec![]);
    let client = far_from(&fake, Duration::ZERO, 1);
    assert!(!ahead(&client, LONG).await.unwrap());
    end(client, fake).await;
}

async fn a_long_put_of_which_the_store_says_nothing_fails() {
    let fake = FakeStore::start(vec![]);
    let client = far_from(&fake, Duration::ZERO, 8);
    is_unavailable(ahead(&client, 1 << 30).await);
    end(client, fake).await;
}

/// Time for what the store sends to arrive.
async fn a_moment() {
    sleep(Duration::from_millis(150)).await;
}

async fn one_block_is_replayed_after_503() {
    let body = pattern(300_000);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        let first = peer.request();
        assert_eq!(first.line(), "PUT /bucket/key");
        assert_eq!(
            first.header("x-amz-content-sha256"),
            Some("UNSIGNED-PAYLOAD")
        );
        peer.error(503, "SlowDown");
        let second = peer.request();
        assert!(first.body == sent && second.body == sent);
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    assert_eq!(put(&client, &[&body]).await.unwrap().etag, "e1");
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}

async fn one_block_is_replayed_after_a_reset() {
    let body = pattern(MIB);
    let sent = body.clone();
    let fake = FakeStore::start(scripts![
        |peer| peer.wait(),
        |peer| {
            peer.head();
            peer.take(500_000);
        },
        // The whole of it, and no answer.
        |peer| drop(peer.request()),
        move |peer| {
            assert!(peer.request().body == sent);
            peer.stored();
            peer.closed();
        },
    ]);
    let client = client(&fake);
    assert_eq!(put(&client, &[&body]).await.unwrap().etag, "e1");
    assert_eq!(client.counters().retries.get(), 3);
    end(client, fake).await;
}

async fn one_block_is_replayed_once_on_a_fresh_connection() {
    let late = Arc::new(AtomicUsize::new(0));
    let closes = || {
        let late = Arc::clone(&late);
        move |peer: &mut crate::fake::Peer| {
            peer.request();
            peer.object(b"x");
            if !peer.gone() {
                late.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let fake = FakeStore::start(scripts![closes(), closes(), |peer| {
        assert_eq!(peer.request().body, b"body");
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    let (a, b) = join(get(&client), get(&client)).await;
    assert_eq!((a.unwrap(), b.unwrap()), (b"x".to_vec(), b"x".to_vec()));
    assert_eq!(put(&client, &[b"body"]).await.unwrap().etag, "e1");
    assert_eq!(
        (
            client.counters().connects.get(),
            client.counters().retries.get()
        ),
        (3, 0)
    );
    end(client, fake).await;
    assert_eq!(
        late.load(Ordering::Relaxed),
        1,
        "the other idle connection is not tried too"
    );
}

async fn a_first_block_waits_for_the_store_to_come_up() {
    let body = pattern(MIB + 5);
    let sent = body.clone();
    let fake = FakeStore::start_after(
        Duration::from_millis(100),
        scripts![move |peer| {
            assert!(peer.request().body == sent);
            peer.stored();
            peer.closed();
        }],
    );
    let client = client(&fake);
    put(&client, &[&body[..MIB], &body[MIB..]]).await.unwrap();
    end(client, fake).await;
}

async fn a_second_block_closes_the_replay_window() {
    let body = pattern(MIB);
    let fake = FakeStore::start(scripts![|peer| {
        peer.head();
        peer.take(MIB);
        peer.wait();
    }]);
    let client = client(&fake);
    is_unavailable(put(&client, &[&body, &body, &body, &body]).await);
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}

async fn a_503_after_two_blocks_is_for_the_client() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.error(503, "SlowDown");
        peer.closed();
    }]);
    let client = client(&fake);
    let reason = is_unavailable(put(&client, &[b"one", b"two"]).await);
    assert!(reason.contains("SlowDown"), "{reason}");
    end(client, fake).await;
}

async fn an_early_refusal_is_told_and_its_connection_closed() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.head();
            peer.error(403, "AccessDenied");
            assert_eq!(peer.drain(), MIB, "nothing after the first block");
        },
        |peer| {
            peer.request();
            peer.object(b"x");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let (mut upload, block) = begin_with_block(&client, 3 * MIB).await;
    let (result, block) = write(&mut upload, block, MIB).await;
    result.unwrap();
    a_moment().await;
    let (result, block) = write(&mut upload, block, MIB).await;
    assert_eq!(code(result), ErrorCode::AccessDenied);
    // It stays failed.
    is_protocol(write(&mut upload, block, MIB).await.0);
    drop(upload);
    // A request on that connection would be taken for the rest of the body.
    assert_eq!(get(&client).await.unwrap(), b"x");
    end(client, fake).await;
}

async fn half_an_early_answer_is_not_waited_for() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.head();
        peer.send("HTTP/1.1 40");
        peer.drain();
    }]);
    let client = client(&fake);
    let (mut upload, block) = begin_with_block(&client, 2 * MIB).await;
    let (result, block) = write(&mut upload, block, MIB).await;
    result.unwrap();
    a_moment().await;
    let start = Instant::now();
    is_unavailable(upload.finish(block, Spans::contiguous(0..MIB)).await.0);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the time-out for answers is 30 s"
    );
    end(client, fake).await;
}

async fn an_interim_answer_is_no_refusal() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.head();
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nx: y\r\n\r\n");
        peer.take(2 * MIB);
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    let (mut upload, block) = begin_with_block(&client, 2 * MIB).await;
    let (result, block) = write(&mut upload, block, MIB).await;
    result.unwrap();
    a_moment().await;
    let (stored, _) = upload.finish(block, Spans::contiguous(0..MIB)).await;
    assert_eq!(stored.unwrap().etag, "e1");
    end(client, fake).await;
}

async fn an_early_success_is_none() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.head();
        peer.stored();
        peer.drain();
    }]);
    let client = client(&fake);
    let (mut upload, block) = begin_with_block(&client, 2 * MIB).await;
    let (result, block) = write(&mut upload, block, MIB).await;
    result.unwrap();
    a_moment().await;
    is_protocol(upload.finish(block, Spans::contiguous(0..MIB)).await.0);
    end(client, fake).await;
}

async fn bytes_beyond_the_length_are_refused() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.head();
        assert_eq!(peer.drain(), 100);
    }]);
    let client = client(&fake);
    let (mut upload, block) = begin_with_block(&client, 150).await;
    let (result, block) = write(&mut upload, block, 100).await;
    result.unwrap();
    let (result, block) = write(&mut upload, block, 51).await;
    is_protocol(result);
    // Nor is it enough to stop short.
    is_protocol(upload.finish(block, Spans::contiguous(0..49)).await.0);
    end(client, fake).await;
}

async fn a_conditional_put_whose_answer_is_lost_is_not_repeated() {
    let fake = FakeStore::start(scripts![
        |peer| assert_eq!(peer.request().header("if-none-match"), Some("*")),
        |peer| {
            // That it is too busy means that it has not done it.
            peer.request();
            peer.error(503, "SlowDown");
            peer.request();
            peer.error(500, "InternalError");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let conditions = Conditions::if_absent();
    for _ in 0..2 {
        is_unavailable(put_with(&client, &[b"body"], &HeaderMap::new(), &conditions).await);
    }
    assert_eq!(client.counters().retries.get(), 1);
    end(client, fake).await;
}

async fn an_empty_object_has_a_length() {
    let fake = FakeStore::start(scripts![|peer| {
        assert_eq!(peer.request().header("content-length"), Some("0"));
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    put(&client, &[b""]).await.unwrap();
    end(client, fake).await;
}

async fn a_dropped_upload_closes_the_connection() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.head();
        assert_eq!(peer.drain(), 100);
    }]);
    let client = client(&fake);
    let (mut upload, block) = begin_with_block(&client, 200).await;
    write(&mut upload, block, 100).await.0.unwrap();
    drop(upload);
    end(client, fake).await;
}

async fn a_put_is_done_whatever_follows_its_head() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: 10\r\n\r\nhal");
    }]);
    let client = client(&fake);
    assert_eq!(put(&client, &[b"body"]).await.unwrap().etag, "e1");
    end(client, fake).await;
}

async fn a_put_without_an_etag_is_no_success() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.reply(200, "", "");
        peer.closed();
    }]);
    let client = client(&fake);
    is_protocol(put(&client, &[b"body"]).await);
    end(client, fake).await;
}
