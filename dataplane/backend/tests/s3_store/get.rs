//! Bodies from the store, and how they are resumed.

use std::time::Duration;

use sealgate_s3::error::ErrorCode;
use sealgate_uring::sleep;

use crate::fake::FakeStore;
use crate::harness::{
    client, client_with, code, end, get, get_range, is_protocol, is_unavailable, options, pattern,
    read_by,
};
use crate::scripts;

crate::on_both_drivers! {
    a_connection_is_kept_once_its_body_was_read
    a_connection_whose_body_was_not_read_is_closed
    a_body_that_breaks_off_is_resumed
    a_body_cut_behind_its_head_is_resumed
    a_stalled_body_is_resumed
    a_slow_reader_is_not_the_stores_fault
    a_body_that_never_gets_on_is_given_up
    another_object_is_no_continuation
    a_lost_object_is_no_continuation
    a_store_that_ignores_ranges_cannot_resume
    a_store_that_ignores_ranges_begins_at_the_beginning
    more_than_was_asked_for_is_left
    less_than_was_asked_for_is_continued
    lengths_must_agree
    a_chunked_body
    a_chunked_body_whose_end_comes_late
    a_chunked_body_that_is_broken_is_resumed
    a_body_until_the_close
    an_object_without_a_length_is_refused
    an_empty_object
}

const LEN: usize = 100_000;

async fn a_connection_is_kept_once_its_body_was_read() {
    let object = pattern(LEN);
    let sent = object.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        peer.request();
        peer.object(&sent);
        let request = peer.request();
        assert_eq!(request.header("range"), Some("bytes=10-99"));
        peer.range(&request, &sent);
        peer.closed();
    }]);
    let client = client(&fake);
    assert!(get(&client).await.unwrap() == object);
    let (info, range, mut body) = get_range(&client, Some((10, Some(100)))).await.unwrap();
    assert_eq!(
        (info.len, info.etag.as_str(), range),
        (LEN as u64, "e1", 10..100)
    );
    assert_eq!(read_by(&mut body, 7).await.0, object[10..100]);
    assert_eq!(client.counters().connects.get(), 1);
    drop(body);
    end(client, fake).await;
}

async fn a_connection_whose_body_was_not_read_is_closed() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.object(pattern(LEN));
            assert!(peer.gone());
        },
        |peer| {
            peer.request();
            peer.object(b"x");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let (_, _, body) = get_range(&client, None).await.unwrap();
    assert_eq!(body.left(), LEN as u64);
    drop(body);
    assert_eq!(get(&client).await.unwrap(), b"x");
    end(client, fake).await;
}

/// A head that promises all of `object`, the first `n` bytes, and the end.
fn cut(peer: &mut crate::fake::Peer, object: &[u8], n: usize) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: {}\r\n\r\n",
        object.len()
    );
    peer.send([head.as_bytes(), &object[..n]].concat());
}

async fn resumed_at(n: usize) {
    let object = pattern(LEN);
    let (a, b) = (object.clone(), object.clone());
    let fake = FakeStore::start(scripts![
        move |peer| {
            peer.request();
            cut(peer, &a, n);
        },
        move |peer| {
            let request = peer.request();
            assert_eq!(request.header("range"), Some(&*format!("bytes={n}-99999")));
            assert_eq!(request.header("if-match"), Some("\"e1\""));
            peer.range(&request, &b);
            peer.closed();
        },
    ]);
    let client = client(&fake);
    assert!(get(&client).await.unwrap() == object);
    assert_eq!(client.counters().resumes.get(), 1);
    end(client, fake).await;
}

async fn a_body_that_breaks_off_is_resumed() {
    resumed_at(30_001).await;
}

async fn a_body_cut_behind_its_head_is_resumed() {
    resumed_at(0).await;
}

async fn a_stalled_body_is_resumed() {
    let object = pattern(LEN);
    let (a, b) = (object.clone(), object.clone());
    let fake = FakeStore::start(scripts![
        move |peer| {
            peer.request();
            cut(peer, &a, 5);
            peer.closed();
        },
        move |peer| {
            let request = peer.request();
            peer.range(&request, &b);
            peer.closed();
        },
    ]);
    let mut options = options(&fake);
    options.timeouts.block = Duration::from_millis(300);
    let client = client_with(&fake, options);
    assert!(get(&client).await.unwrap() == object);
    end(client, fake).await;
}

async fn a_slow_reader_is_not_the_stores_fault() {
    let object = pattern(LEN);
    let sent = object.clone();
    let fake = FakeStore::start(scripts![move |peer| {
        peer.request();
        cut(peer, &sent, 50_000);
        std::thread::sleep(Duration::from_millis(1200));
        peer.send(&sent[50_000..]);
        peer.closed();
    }]);
    let mut options = options(&fake);
    options.timeouts.block = Duration::from_millis(300);
    let client = client_with(&fake, options);
    let (_, _, mut body) = get_range(&client, None).await.unwrap();
    let pool = sealgate_uring::Pool::new(1 << 20);
    let [block] = pool.try_lease(sealgate_uring::BlockSize::Small).unwrap();
    let (got, block) = body
        .read(block, sealgate_uring::Spans::contiguous(0..10))
        .await;
    let mut all = block[..got.unwrap()].to_vec();
    sleep(Duration::from_millis(1500)).await;
    all.extend(read_by(&mut body, 20_000).await.0);
    assert!(all == object);
    assert_eq!(client.counters().resumes.get(), 0);
    drop(body);
    end(client, fake).await;
}

async fn a_body_that_never_gets_on_is_given_up() {
    let stuck = |peer: &mut crate::fake::Peer| {
        peer.request();
        cut(peer, b"object", 0);
    };
    let resumed = |peer: &mut crate::fake::Peer| {
        peer.request();
        peer.send("HTTP/1.1 206 X\r\nETag: \"e1\"\r\nContent-Length: 6\r\nContent-Range: bytes 0-5/6\r\n\r\n");
    };
    let fake = FakeStore::start(scripts![stuck, resumed, resumed, resumed]);
    let client = client(&fake);
    is_unavailable(get(&client).await);
    assert_eq!(client.counters().resumes.get(), 3);
    end(client, fake).await;
}

async fn another_object_is_no_continuation() {
    let refused = |peer: &mut crate::fake::Peer| {
        peer.request();
        peer.error(412, "PreconditionFailed");
        // Ignores the condition.
        peer.request();
        peer.reply(206, "ETag: \"e2\"\r\nContent-Range: bytes 3-5/6\r\n", "ECT");
        peer.closed();
    };
    let first = |peer: &mut crate::fake::Peer| {
        peer.request();
        cut(peer, b"object", 3);
    };
    let fake = FakeStore::start(scripts![first, refused]);
    let client = client(&fake);
    let (_, _, mut body) = get_range(&client, None).await.unwrap();
    let (got, result) = read_by(&mut body, 100).await;
    assert_eq!(got, b"obj");
    assert!(is_unavailable(result).contains("replaced"));
    // Whoever asks again does not get to hear that this was all.
    let (got, result) = read_by(&mut body, 100).await;
    assert!(got.is_empty());
    assert!(is_unavailable(result).contains("replaced"));
    drop(body);
    end(client, fake).await;
}

async fn a_lost_object_is_no_continuation() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            cut(peer, b"object", 3);
        },
        |peer| {
            peer.request();
            peer.error(404, "NoSuchKey");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    assert_eq!(code(get(&client).await), ErrorCode::NoSuchKey);
    end(client, fake).await;
}

async fn a_store_that_ignores_ranges_cannot_resume() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            cut(peer, b"object", 3);
        },
        |peer| {
            peer.request();
            peer.object(b"object");
            peer.gone();
        },
    ]);
    let client = client(&fake);
    is_protocol(get(&client).await);
    end(client, fake).await;
}

async fn a_store_that_ignores_ranges_begins_at_the_beginning() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.object(b"object");
        peer.gone();
    }]);
    let client = client(&fake);
    is_protocol(get_range(&client, Some((3, None))).await.map(|_| ()));
    end(client, fake).await;
}

async fn more_than_was_asked_for_is_left() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.object(pattern(LEN));
            peer.gone();
        },
        |peer| {
            peer.request();
            peer.reply(
                206,
                "ETag: \"e1\"\r\nContent-Range: bytes 1-5/6\r\n",
                "bject",
            );
            peer.gone();
        },
    ]);
    let client = client(&fake);
    let (info, range, mut body) = get_range(&client, Some((0, Some(10)))).await.unwrap();
    assert_eq!((info.len, range), (LEN as u64, 0..10));
    let (got, result) = read_by(&mut body, 4096).await;
    result.unwrap();
    assert_eq!(got, pattern(10));
    let (_, range, mut body) = get_range(&client, Some((1, Some(4)))).await.unwrap();
    assert_eq!(range, 1..4);
    assert_eq!(read_by(&mut body, 4096).await.0, b"bje");
    assert_eq!(client.counters().connects.get(), 2);
    drop(body);
    end(client, fake).await;
}

async fn less_than_was_asked_for_is_continued() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.reply(206, "ETag: \"e1\"\r\nContent-Range: bytes 1-2/6\r\n", "bj");
        let request = peer.request();
        assert_eq!(request.header("range"), Some("bytes=3-5"));
        peer.range(&request, b"object");
        peer.gone();
    }]);
    let client = client(&fake);
    let (_, range, mut body) = get_range(&client, Some((1, None))).await.unwrap();
    assert_eq!(range, 1..6);
    let (got, result) = read_by(&mut body, 4096).await;
    result.unwrap();
    assert_eq!(got, b"bject");
    drop(body);
    end(client, fake).await;
}

async fn lengths_must_agree() {
    for range in ["0-3/6", "0-5/6", "0-4/5", "4-0/6", "0-9/6", "0-4/*", ""] {
        let fake = FakeStore::start(scripts![move |peer| {
            peer.request();
            peer.reply(
                206,
                &format!("ETag: \"e1\"\r\nContent-Range: bytes {range}\r\n"),
                "objec",
            );
            peer.gone();
        }]);
        let client = client(&fake);
        let got = get_range(&client, Some((0, None)))
            .await
            .map(|(_, range, _)| range);
        match range {
            "0-4/5" => assert_eq!(got.unwrap(), 0..5),
            _ => drop(is_protocol(got)),
        }
        end(client, fake).await;
    }
}

const CHUNKED: &str = "HTTP/1.1 206 X\r\nETag: \"e1\"\r\nContent-Range: bytes 0-5/6\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";

async fn a_chunked_body() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.send(format!("{CHUNKED}4\r\nobje\r\n2\r\nct\r\n0\r\n\r\n"));
        peer.request();
        peer.object(b"x");
        peer.gone();
    }]);
    let client = client(&fake);
    let (_, _, mut body) = get_range(&client, Some((0, None))).await.unwrap();
    let (got, result) = read_by(&mut body, 3).await;
    result.unwrap();
    assert_eq!(got, b"object");
    assert_eq!(get(&client).await.unwrap(), b"x", "the connection was kept");
    drop(body);
    end(client, fake).await;
}

async fn a_chunked_body_whose_end_comes_late() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.send(format!("{CHUNKED}6\r\nobject"));
            assert!(peer.gone(), "a body that is not over blocks the connection");
        },
        |peer| {
            peer.request();
            peer.object(b"x");
            peer.gone();
        },
    ]);
    let client = client(&fake);
    let (_, _, mut body) = get_range(&client, Some((0, None))).await.unwrap();
    let (got, result) = read_by(&mut body, 100).await;
    result.unwrap();
    assert_eq!((got, body.left()), (b"object".to_vec(), 0));
    assert_eq!(get(&client).await.unwrap(), b"x");
    assert_eq!(client.counters().resumes.get(), 0);
    drop(body);
    end(client, fake).await;
}

async fn a_chunked_body_that_is_broken_is_resumed() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.send(format!("{CHUNKED}4\r\nobje\r\n"));
            std::thread::sleep(Duration::from_millis(100));
            peer.send("zz\r\n");
            peer.gone();
        },
        |peer| {
            let request = peer.request();
            assert_eq!(request.header("range"), Some("bytes=4-5"));
            peer.range(&request, b"object");
            peer.gone();
        },
    ]);
    let client = client(&fake);
    let (_, _, mut body) = get_range(&client, Some((0, None))).await.unwrap();
    let (got, result) = read_by(&mut body, 4).await;
    result.unwrap();
    assert_eq!(got, b"object");
    drop(body);
    end(client, fake).await;
}

async fn a_body_until_the_close() {
    const UNTIL_CLOSE: &str =
        "HTTP/1.1 206 X\r\nETag: \"e1\"\r\nContent-Range: bytes 0-5/6\r\n\r\n";
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.send(format!("{UNTIL_CLOSE}object"));
        },
        |peer| {
            peer.request();
            peer.send(format!("{UNTIL_CLOSE}obj"));
        },
        |peer| {
            let request = peer.request();
            assert_eq!(request.header("range"), Some("bytes=3-5"));
            peer.range(&request, b"object");
            peer.gone();
        },
    ]);
    let client = client(&fake);
    for _ in 0..2 {
        let (_, _, mut body) = get_range(&client, Some((0, None))).await.unwrap();
        let (got, result) = read_by(&mut body, 100).await;
        result.unwrap();
        assert_eq!(got, b"object");
    }
    assert_eq!(
        (
            client.counters().connects.get(),
            client.counters().resumes.get()
        ),
        (3, 1)
    );
    end(client, fake).await;
}

async fn an_object_without_a_length_is_refused() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.send("HTTP/1.1 200 X\r\nETag: \"e1\"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        peer.gone();
    }]);
    let client = client(&fake);
    is_protocol(get(&client).await);
    end(client, fake).await;
}

async fn an_empty_object() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.object(b"");
        peer.request();
        peer.object(b"x");
        peer.gone();
    }]);
    let client = client(&fake);
    let (info, range, body) = get_range(&client, None).await.unwrap();
    assert_eq!((info.len, range, body.left()), (0, 0..0, 0));
    // Nobody has to read nothing.
    drop(body);
    assert_eq!(get(&client).await.unwrap(), b"x");
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}
