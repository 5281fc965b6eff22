//! What is tried again, and what is not (S3-TRAPS 18, 19).

use std::time::Duration;

use http::HeaderMap;
use sealgate_backend::types::{BackendError, ListRequest};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::sleep;

use crate::fake::FakeStore;
use crate::harness::{at, client, client_with, code, end, is_unavailable, options};
use crate::scripts;

crate::on_both_drivers! {
    idempotent_calls_are_tried_again
    the_last_attempt_tells_when_to_come_back
    a_creation_is_not_tried_again_once_it_was_sent
    a_creation_is_tried_again_when_the_store_was_too_busy
    a_store_that_comes_up_is_reached
    a_store_that_stays_down_is_unavailable
    a_kept_connection_that_was_closed_is_replaced_once
    a_byte_of_an_answer_forbids_the_replacement
    a_listing_that_breaks_off_is_asked_for_again
    a_conditional_write_whose_answer_is_lost_is_not_repeated
    a_bucket_is_not_made_twice
    old_connections_are_not_used
    a_silent_store_times_out
}

const CREATED: &str = "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>key</Key>\
                       <UploadId>u1</UploadId></InitiateMultipartUploadResult>";
const LISTING: &str = "<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>0</KeyCount>\
                       <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";

async fn idempotent_calls_are_tried_again() {
    let fake = FakeStore::start(scripts![|peer| {
        for (status, code) in [(500, "InternalError"), (503, "SlowDown")] {
            peer.request();
            peer.error(status, code);
        }
        peer.request();
        peer.reply(204, "x-amz-version-id: v\r\n", "");
        peer.closed();
    }]);
    let client = client(&fake);
    let headers = client
        .delete(&at("key"), &Conditions::default())
        .await
        .unwrap();
    assert_eq!(headers["x-amz-version-id"], "v");
    assert_eq!(client.counters().retries.get(), 2);
    assert_eq!(
        client.counters().connects.get(),
        1,
        "error answers keep the connection"
    );
    end(client, fake).await;
}

async fn the_last_attempt_tells_when_to_come_back() {
    let fake = FakeStore::start(scripts![|peer| {
        for _ in 0..4 {
            peer.request();
            peer.reply(503, "Retry-After: 7\r\n", "");
        }
        peer.closed();
    }]);
    let client = client(&fake);
    match client.head(&at("key"), &Conditions::default()).await {
        Err(BackendError::Unavailable { retry_after, .. }) => {
            assert_eq!(retry_after, Duration::from_secs(7));
        }
        other => panic!("{other:?}"),
    }
    end(client, fake).await;
}

async fn a_creation_is_not_tried_again_once_it_was_sent() {
    let fake = FakeStore::start(scripts![|peer| drop(peer.request()), |peer| {
        peer.request();
        peer.error(500, "InternalError");
        peer.closed();
    },]);
    let client = client(&fake);
    for _ in 0..2 {
        is_unavailable(client.create_upload(&at("key"), &HeaderMap::new()).await);
    }
    assert_eq!(fake.requests().len(), 2);
    assert_eq!(client.counters().retries.get(), 0);
    end(client, fake).await;
}

async fn a_creation_is_tried_again_when_the_store_was_too_busy() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.error(503, "SlowDown");
        peer.request();
        peer.reply(200, "", CREATED);
        peer.closed();
    }]);
    let client = client(&fake);
    let id = client.create_upload(&at("key"), &HeaderMap::new()).await;
    assert_eq!(id.unwrap().id, "u1");
    end(client, fake).await;
}

async fn a_store_that_comes_up_is_reached() {
    let fake = FakeStore::start_after(
        Duration::from_millis(100),
        scripts![|peer| {
            assert_eq!(peer.request().line(), "POST /bucket/key?uploads=");
            peer.reply(200, "", CREATED);
            peer.closed();
        }],
    );
    let client = client(&fake);
    // Even what may not be repeated: nothing of it was sent.
    let id = client.create_upload(&at("key"), &HeaderMap::new()).await;
    assert_eq!(id.unwrap().id, "u1");
    assert!(client.counters().retries.get() > 0);
    end(client, fake).await;
}

async fn a_store_that_stays_down_is_unavailable() {
    let fake = FakeStore::start(vec![]);
    let client = client(&fake);
    sleep(Duration::from_millis(100)).await;
    let reason = is_unavailable(client.list_buckets().await);
    assert!(reason.contains("cannot connect"), "{reason}");
    assert_eq!(client.counters().retries.get(), 3);
    end(client, fake).await;
}

async fn a_kept_connection_that_was_closed_is_replaced_once() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.reply(204, "", "");
            // Gone as the next request arrives.
            peer.request();
        },
        |peer| {
            peer.request();
            peer.reply(200, "", CREATED);
            peer.request();
        },
        // A fresh one that closes is no idle connection that was closed.
        |peer| drop(peer.request()),
    ]);
    let client = client(&fake);
    client
        .delete(&at("key"), &Conditions::default())
        .await
        .unwrap();
    let id = client.create_upload(&at("key"), &HeaderMap::new()).await;
    assert_eq!(id.unwrap().id, "u1");
    assert_eq!(
        (
            client.counters().connects.get(),
            client.counters().retries.get()
        ),
        (2, 0)
    );
    is_unavailable(client.create_upload(&at("key"), &HeaderMap::new()).await);
    assert_eq!(client.counters().connects.get(), 3);
    end(client, fake).await;
}

async fn a_byte_of_an_answer_forbids_the_replacement() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.reply(204, "", "");
        peer.request();
        peer.send("H");
    }]);
    let client = client(&fake);
    client
        .delete(&at("key"), &Conditions::default())
        .await
        .unwrap();
    is_unavailable(client.create_upload(&at("key"), &HeaderMap::new()).await);
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}

async fn a_listing_that_breaks_off_is_asked_for_again() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            let (half, len) = (&LISTING[..40], LISTING.len());
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{half}"
            ));
        },
        |peer| {
            peer.request();
            peer.reply(200, "", LISTING);
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let request = ListRequest {
        max_keys: 1000,
        ..ListRequest::default()
    };
    assert!(
        client
            .list("bucket", &request)
            .await
            .unwrap()
            .objects
            .is_empty()
    );
    end(client, fake).await;
}

async fn a_conditional_write_whose_answer_is_lost_is_not_repeated() {
    let fake = FakeStore::start(scripts![
        |peer| assert_eq!(peer.request().header("if-match"), Some("\"e\"")),
        |peer| {
            peer.request();
            peer.error(500, "InternalError");
            // That it is too busy means that it has not done it.
            peer.request();
            peer.error(503, "SlowDown");
            peer.request();
            peer.error(412, "PreconditionFailed");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let conditions = Conditions::if_match("e");
    is_unavailable(client.delete(&at("key"), &conditions).await);
    is_unavailable(client.delete(&at("key"), &conditions).await);
    let failed = code(client.delete(&at("key"), &conditions).await);
    assert_eq!(failed, ErrorCode::PreconditionFailed);
    end(client, fake).await;
}

async fn a_bucket_is_not_made_twice() {
    let fake = FakeStore::start(scripts![|peer| drop(peer.request()), |peer| drop(
        peer.request()
    )]);
    let client = client(&fake);
    is_unavailable(client.create_bucket("bucket", &HeaderMap::new(), b"").await);
    is_unavailable(client.delete_bucket("bucket").await);
    end(client, fake).await;
}

async fn old_connections_are_not_used() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.reply(204, "", "");
            peer.closed();
        },
        |peer| {
            peer.request();
            peer.reply(204, "", "");
            peer.closed();
        },
    ]);
    let mut options = options(&fake);
    options.timeouts.idle = Duration::from_millis(50);
    let client = client_with(&fake, options);
    for _ in 0..2 {
        client
            .delete(&at("key"), &Conditions::default())
            .await
            .unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.counters().connects.get(), 2);
    end(client, fake).await;
}

async fn a_silent_store_times_out() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.closed();
    }]);
    let mut options = options(&fake);
    options.timeouts.response = Duration::from_millis(300);
    let client = client_with(&fake, options);
    is_unavailable(client.create_upload(&at("key"), &HeaderMap::new()).await);
    end(client, fake).await;
}
