//! Objects of the directory store: bodies, metadata, ranges, conditions, copies, deletion.

use std::fs;
use std::path::Path;

use crate::harness::*;
use http::HeaderMap;
use sealgate_backend::types::{BackendError, CopyRequest, GetRequest, ListRequest};
use sealgate_s3::conditions::{Conditions, EtagList};
use sealgate_s3::error::ErrorCode::*;

on_both_drivers! {
    bodies_of_all_sizes_come_back
    metadata_comes_back
    ranges
    keys_of_any_legal_bytes
    a_reader_keeps_the_version_it_opened
    nothing_unfinished_is_visible
    missing_things
    conditions_of_reads
    conditions_of_writes
    copies
    a_copy_onto_itself_replaces_metadata_only
    deleting_leaves_no_empty_directories
    damaged_files_are_errors_and_hide_no_others
}

fn is_etag(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Everything below `.sealgate/tmp` but the lock of the one open store.
fn temporaries(root: &Path) -> usize {
    let sessions = fs::read_dir(root.join(".sealgate/tmp")).unwrap();
    sessions
        .map(|s| fs::read_dir(s.unwrap().path()).unwrap().count() - 1)
        .sum()
}

async fn bodies_of_all_sizes_come_back() {
    let f = fixture().await;
    let mut etags = std::collections::HashSet::new();
    for len in [
        0,
        1,
        999,
        1000,
        3900,
        4095,
        4096,
        4097,
        70_001,
        1 << 20,
        100 << 20,
    ] {
        let body = bytes(len as u64, len);
        let etag = put(&f.store, "key", &body).await;
        assert!(is_etag(&etag) && etags.insert(etag.clone()), "{etag}");
        assert!(get(&f.store, "key").await.unwrap() == body, "{len} bytes");
        let head = f.store.head(&at("key"), &none()).await.unwrap();
        assert_eq!((head.len, head.etag), (len as u64, etag));
    }
    // The tag says nothing of the content.
    let again = put(&f.store, "key", b"x").await;
    assert_ne!(put(&f.store, "key", b"x").await, again);
    assert_eq!(temporaries(f.dir.path()), 0);
}

async fn metadata_comes_back() {
    let f = fixture().await;
    let long = "v".repeat(9000);
    for stored in [
        headers(&[]),
        headers(&[
            ("content-type", "text/plain"),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
            ("cache-control", ""),
        ]),
        headers(&[("x-amz-meta-long", &long)]),
    ] {
        let before = now_ms();
        put_with(&f.store, "key", &stored, &none(), b"body")
            .await
            .unwrap();
        let head = f.store.head(&at("key"), &none()).await.unwrap();
        assert_eq!(head.headers, stored);
        assert!((before..=now_ms()).contains(&head.last_modified));
        let (info, _, _) = f
            .store
            .get(&at("key"), &GetRequest::default())
            .await
            .unwrap();
        assert_eq!(info.headers, stored);
    }
    let huge = headers(&[("x-amz-meta-huge", &"v".repeat(70_000))]);
    assert_eq!(
        code(put_with(&f.store, "key", &huge, &none(), b"").await),
        MetadataTooLarge
    );
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn ranges() {
    let f = fixture().await;
    for len in [10_u64, 5000, 200_000] {
        let body = bytes(len, usize::try_from(len).unwrap());
        put(&f.store, "key", &body).await;
        for (start, end) in [
            (0, None),
            (0, Some(1)),
            (3, Some(7)),
            (len - 1, None),
            (len / 2, Some(len * 2)),
            (4, Some(4)),
        ] {
            let request = GetRequest {
                range: Some((start, end)),
                ..GetRequest::default()
            };
            let (info, range, mut part) = f.store.get(&at("key"), &request).await.unwrap();
            assert_eq!(
                (info.len, &range),
                (len, &(start..end.unwrap_or(len).min(len)))
            );
            let expected =
                &body[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            assert!(read_all(&mut part).await.unwrap() == expected);
        }
        let request = GetRequest {
            range: Some((len, None)),
            ..GetRequest::default()
        };
        assert_eq!(
            code(f.store.get(&at("key"), &request).await.map(|_| ())),
            InvalidRange
        );
    }
}

async fn keys_of_any_legal_bytes() {
    let f = fixture().await;
    let mut keys: Vec<String> = [
        "a",
        "a/",
        "a//",
        "a/b",
        "/",
        "//",
        "/a",
        ".",
        "..",
        "../..",
        "./a",
        "a/../b",
        "a/.",
        "a b",
        "a+b",
        "a%2Fb",
        "%",
        "é/ü",
        "\u{1}\u{7f}\n",
        "\u{10ffff}",
        "a.o",
        "a.d",
        "a.d/",
        "a.c",
        ".sealgate",
        "lock",
        "-rf",
        "~",
        "*?",
        "C:\\x",
        "\"'`$(x)",
    ]
    .map(str::to_owned)
    .into();
    keys.extend([247, 248, 249, 255, 256, 500, 1024].map(|n| "x".repeat(n)));
    keys.extend([
        "é".repeat(512),
        "/".repeat(1024),
        "\u{1}/".repeat(512),
        format!("{}/y", "x".repeat(248)),
    ]);
    for (i, key) in keys.iter().enumerate() {
        put(&f.store, key, &bytes(i as u64, i)).await;
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(
            get(&f.store, key).await.unwrap(),
            bytes(i as u64, i),
            "{key:?}"
        );
    }
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(list_all(&f.store, b"", b"", 7).await, expected);
    for key in &keys {
        f.store.delete(&at(key), &none()).await.unwrap();
    }
    assert_eq!(
        fs::read_dir(f.dir.path().join("bucket")).unwrap().count(),
        0
    );
}

async fn a_reader_keeps_the_version_it_opened() {
    let f = fixture().await;
    let (old, new) = (bytes(1, 3 << 20), bytes(2, 2 << 20));
    put(&f.store, "key", &old).await;
    let (_, _, mut first) = f
        .store
        .get(&at("key"), &GetRequest::default())
        .await
        .unwrap();
    let (_, _, mut second) = f
        .store
        .get(&at("key"), &GetRequest::default())
        .await
        .unwrap();
    put(&f.store, "key", &new).await;
    assert!(read_all(&mut first).await.unwrap() == old);
    f.store.delete(&at("key"), &none()).await.unwrap();
    assert!(read_all(&mut second).await.unwrap() == old);
    assert_eq!(code(get(&f.store, "key").await), NoSuchKey);
}

async fn nothing_unfinished_is_visible() {
    let f = fixture().await;
    put(&f.store, "key", b"old").await;
    // Dropped, aborted, and finished too early.
    for end in 0..3 {
        let mut upload = f
            .store
            .put(&at("key"), &HeaderMap::new(), &none(), 10)
            .await
            .unwrap();
        write_all(&mut upload, b"123456789").await.unwrap();
        assert_eq!(get(&f.store, "key").await.unwrap(), b"old");
        match end {
            0 => drop(upload),
            1 => upload.abort().await,
            _ => assert_eq!(code(upload.finish().await), IncompleteBody),
        }
    }
    // One byte too many cannot be mended.
    let mut upload = f
        .store
        .put(&at("key"), &HeaderMap::new(), &none(), 3)
        .await
        .unwrap();
    assert_eq!(code(write_all(&mut upload, b"1234").await), IncompleteBody);
    assert_eq!(code(write_all(&mut upload, b"123").await), IncompleteBody);
    assert_eq!(code(upload.finish().await), IncompleteBody);
    assert_eq!(get(&f.store, "key").await.unwrap(), b"old");
    assert_eq!(list_all(&f.store, b"", b"", 10).await, ["key"]);
    assert_eq!(temporaries(f.dir.path()), 0);
}

async fn missing_things() {
    let f = fixture().await;
    let mut elsewhere = at("key");
    elsewhere.bucket = "nowhere".into();
    assert_eq!(code(get(&f.store, "key").await), NoSuchKey);
    assert_eq!(code(f.store.head(&at("a/b/c"), &none()).await), NoSuchKey);
    assert_eq!(code(f.store.head(&elsewhere, &none()).await), NoSuchBucket);
    assert_eq!(
        code(
            f.store
                .put(&elsewhere, &HeaderMap::new(), &none(), 0)
                .await
                .map(|_| ())
        ),
        NoSuchBucket
    );
    assert_eq!(
        code(f.store.delete(&elsewhere, &none()).await),
        NoSuchBucket
    );
    assert_eq!(
        code(f.store.list("nowhere", &ListRequest::default()).await),
        NoSuchBucket
    );
    elsewhere.bucket = "../bucket".into();
    assert_eq!(
        code(f.store.head(&elsewhere, &none()).await),
        InvalidBucketName
    );
    f.store.delete(&at("a/b/c"), &none()).await.unwrap();
    // The bucket goes while something is being written to it.
    let upload = f
        .store
        .put(&at("late/key"), &HeaderMap::new(), &none(), 0)
        .await
        .unwrap();
    f.store.delete_bucket("bucket").await.unwrap();
    assert_eq!(code(upload.finish().await), NoSuchBucket);
}

fn matching(etag: &str) -> Conditions {
    Conditions::if_match(etag)
}

fn none_matching(etag: &str) -> Conditions {
    Conditions {
        if_none_match: Some(EtagList::Tags(vec![etag.into()])),
        ..Conditions::default()
    }
}

async fn conditions_of_reads() {
    let f = fixture().await;
    let etag = put(&f.store, "key", b"body").await;
    let head = async |c: Conditions| f.store.head(&at("key"), &c).await;
    assert!(head(matching(&etag)).await.is_ok());
    assert_eq!(code(head(matching("other")).await), PreconditionFailed);
    assert!(head(none_matching("other")).await.is_ok());
    let Err(BackendError::NotModified(with)) = head(none_matching(&etag)).await else {
        panic!("not a 304")
    };
    assert_eq!(with["etag"], format!("\"{etag}\""));
    assert!(with.contains_key("last-modified"));
    let since = |t| Conditions {
        if_modified_since: Some(t),
        ..Conditions::default()
    };
    let now = now_ms() / 1000;
    assert!(head(since(now - 100)).await.is_ok());
    assert!(matches!(
        head(since(now + 100)).await,
        Err(BackendError::NotModified(_))
    ));
    let until = Conditions {
        if_unmodified_since: Some(now - 100),
        ..Conditions::default()
    };
    assert_eq!(code(head(until).await), PreconditionFailed);
    let request = GetRequest {
        conditions: matching("other"),
        range: Some((100, None)),
    };
    assert_eq!(
        code(f.store.get(&at("key"), &request).await.map(|_| ())),
        PreconditionFailed
    );
}

async fn conditions_of_writes() {
    let f = fixture().await;
    let put = async |c: &Conditions| {
        put_with(&f.store, "key", &HeaderMap::new(), c, b"")
            .await
            .map(|s| s.etag)
    };
    assert_eq!(code(put(&matching("any")).await), NoSuchKey);
    let first = put(&Conditions::if_absent()).await.unwrap();
    assert_eq!(
        code(put(&Conditions::if_absent()).await),
        PreconditionFailed
    );
    let second = put(&matching(&first)).await.unwrap();
    assert_eq!(code(put(&matching(&first)).await), PreconditionFailed);
    // Refused at the end although it held at the beginning.
    let late = f
        .store
        .put(&at("key"), &HeaderMap::new(), &matching(&second), 0)
        .await
        .unwrap();
    let third = put(&none()).await.unwrap();
    assert_eq!(code(late.finish().await), PreconditionFailed);
    assert_eq!(
        code(f.store.delete(&at("key"), &matching(&second)).await),
        PreconditionFailed
    );
    assert_eq!(f.store.head(&at("key"), &none()).await.unwrap().etag, third);
    f.store.delete(&at("key"), &matching(&third)).await.unwrap();
    assert_eq!(
        code(f.store.delete(&at("key"), &matching(&third)).await),
        NoSuchKey
    );
    f.store.delete(&at("key"), &none()).await.unwrap();
}

async fn copies() {
    let f = fixture().await;
    f.store
        .create_bucket("other", &HeaderMap::new(), b"")
        .await
        .unwrap();
    let body = bytes(7, 5_000_001);
    let stored = headers(&[("x-amz-meta-old", "1")]);
    let etag = put_with(&f.store, "from", &stored, &none(), &body)
        .await
        .unwrap()
        .etag;
    let mut to = at("deep/to");
    to.bucket = "other".into();
    let request = CopyRequest {
        source: at("from"),
        source_conditions: matching(&etag),
        conditions: Conditions::if_absent(),
        headers: headers(&[("x-amz-meta-new", "2")]),
    };
    let copied = f.store.copy(&request, &to).await.unwrap();
    assert!(is_etag(&copied.etag) && copied.etag != etag);
    let (info, _, mut got) = f.store.get(&to, &GetRequest::default()).await.unwrap();
    assert!(read_all(&mut got).await.unwrap() == body);
    assert_eq!(
        (&info.etag, info.last_modified),
        (&copied.etag, copied.last_modified)
    );
    assert_eq!(info.headers, request.headers);
    assert_eq!(
        f.store.head(&at("from"), &none()).await.unwrap().headers,
        stored
    );

    assert_eq!(code(f.store.copy(&request, &to).await), PreconditionFailed);
    let request = CopyRequest {
        conditions: none(),
        source_conditions: none_matching(&etag),
        ..request
    };
    assert_eq!(code(f.store.copy(&request, &to).await), PreconditionFailed);
    let request = CopyRequest {
        source: at("gone"),
        source_conditions: none(),
        ..request
    };
    assert_eq!(code(f.store.copy(&request, &to).await), NoSuchKey);
    to.bucket = "nowhere".into();
    let request = CopyRequest {
        source: at("from"),
        ..request
    };
    assert_eq!(code(f.store.copy(&request, &to).await), NoSuchBucket);
    assert_eq!(temporaries(f.dir.path()), 0);
}

async fn a_copy_onto_itself_replaces_metadata_only() {
    let f = fixture().await;
    let body = bytes(9, 1_000_003);
    put(&f.store, "key", &body).await;
    for i in 0..3 {
        let stored = headers(&[("x-amz-meta-i", &i.to_string())]);
        let source_conditions = matching(&f.store.head(&at("key"), &none()).await.unwrap().etag);
        let request = CopyRequest {
            source: at("key"),
            source_conditions,
            conditions: none(),
            headers: stored.clone(),
        };
        let copied = f.store.copy(&request, &at("key")).await.unwrap();
        let head = f.store.head(&at("key"), &none()).await.unwrap();
        assert_eq!((head.etag, head.headers), (copied.etag, stored));
        assert!(get(&f.store, "key").await.unwrap() == body);
    }
}

async fn deleting_leaves_no_empty_directories() {
    let f = fixture().await;
    for key in ["a/b/c/d", "a/b/x"] {
        put(&f.store, key, b"").await;
    }
    f.store.delete(&at("a/b/c/d"), &none()).await.unwrap();
    assert_eq!(list_all(&f.store, b"a/b/", b"/", 10).await, ["a/b/x"]);
    assert!(!f.dir.path().join("bucket/a.d/b.d/c.d").exists());
    f.store.delete(&at("a/b/x"), &none()).await.unwrap();
    assert!(!f.dir.path().join("bucket/a.d").exists());
    assert!(list_all(&f.store, b"", b"/", 10).await.is_empty());
}

async fn damaged_files_are_errors_and_hide_no_others() {
    let f = fixture().await;
    for key in ["cut", "flipped", "sound"] {
        put(&f.store, key, b"some body").await;
    }
    let path = |key: &str| f.dir.path().join("bucket").join(format!("{key}.o"));
    let mut whole = fs::read(path("flipped")).unwrap();
    let last = whole.len() - 1;
    whole[last] ^= 1;
    fs::write(path("flipped"), &whole).unwrap();
    fs::write(path("cut"), &whole[..last]).unwrap();
    fs::write(path("stranger").with_extension("txt"), b"left here by hand").unwrap();
    for key in ["cut", "flipped"] {
        assert!(
            matches!(get(&f.store, key).await, Err(BackendError::Io(e)) if e.to_string().contains("damaged"))
        );
    }
    assert_eq!(list_all(&f.store, b"", b"", 10).await, ["sound"]);
    // They can be replaced and deleted.
    put(&f.store, "cut", b"new").await;
    f.store.delete(&at("flipped"), &none()).await.unwrap();
    assert_eq!(list_all(&f.store, b"", b"", 10).await, ["cut", "sound"]);
}
