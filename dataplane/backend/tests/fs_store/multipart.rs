//! Multipart uploads of the directory store.

use crate::harness::*;
use bytes::Bytes;
use http::HeaderMap;
use sealgate_backend::fs::FsStore;
use sealgate_backend::types::{CompletedPart, Location, UploadsRequest};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode::*;

on_both_drivers! {
    the_list_of_parts_is_the_object
    wrong_lists_are_refused_and_can_be_mended
    an_upload_ends_once
    parts_are_listed_in_pages
    uploads_are_listed_in_pages
    conditions_hold_at_the_end
    uploads_belong_to_their_key_and_bucket
}

async fn the_list_of_parts_is_the_object() {
    let f = fixture().await;
    let stored = headers(&[("content-type", "x/y"), ("x-amz-meta-a", "1")]);
    let id = f
        .store
        .create_upload(&at("big/key"), &stored)
        .await
        .unwrap();
    let pieces: Vec<Vec<u8>> = [6_000_001, 0, 1, 5 << 20, 70_000]
        .iter()
        .map(|&n| bytes(n as u64, n))
        .collect();
    let numbers = [1, 2, 9, 5000, 10_001];
    let mut parts = Vec::new();
    // In any order, one of them twice.
    for i in [4, 1, 0, 2, 3, 1] {
        let part = put_part(&f.store, "big/key", &id, numbers[i], &pieces[i])
            .await
            .unwrap();
        parts.retain(|p: &CompletedPart| p.number != part.number);
        parts.push(part);
    }
    parts.sort_by_key(|p| p.number);
    assert_eq!(code(get(&f.store, "big/key").await), NoSuchKey);
    // Part 9 is left out.
    parts.retain(|p| p.number != 9);
    let done = f
        .store
        .complete_upload(&at("big/key"), &id, &parts, &none())
        .await
        .unwrap();
    assert!(
        done.etag.ends_with("-4") && done.etag.len() == 34,
        "{}",
        done.etag
    );
    let expected = [&pieces[0][..], &pieces[1], &pieces[3], &pieces[4]].concat();
    assert!(get(&f.store, "big/key").await.unwrap() == expected);
    let head = f.store.head(&at("big/key"), &none()).await.unwrap();
    assert_eq!((head.etag, head.headers), (done.etag, stored));
    assert_eq!(
        std::fs::read_dir(f.dir.path().join(".sealgate/uploads/bucket"))
            .unwrap()
            .count(),
        0
    );
}

async fn wrong_lists_are_refused_and_can_be_mended() {
    let f = fixture().await;
    let id = f
        .store
        .create_upload(&at("key"), &HeaderMap::new())
        .await
        .unwrap();
    let one = put_part(&f.store, "key", &id, 1, b"one").await.unwrap();
    let old = put_part(&f.store, "key", &id, 2, b"old").await.unwrap();
    let two = put_part(&f.store, "key", &id, 2, b"two").await.unwrap();
    let complete = async |parts: &[&CompletedPart]| {
        let parts: Vec<_> = parts.iter().map(|p| (*p).clone()).collect();
        f.store
            .complete_upload(&at("key"), &id, &parts, &none())
            .await
    };
    let absent = CompletedPart {
        number: 3,
        etag: one.etag.clone(),
        checksum: None,
    };
    assert_eq!(code(complete(&[]).await), MalformedXML);
    assert_eq!(code(complete(&[&two, &one]).await), InvalidPartOrder);
    assert_eq!(code(complete(&[&one, &one]).await), InvalidPartOrder);
    assert_eq!(code(complete(&[&one, &old]).await), InvalidPart);
    assert_eq!(code(complete(&[&one, &two, &absent]).await), InvalidPart);
    for number in [0, 10_002] {
        assert_eq!(
            code(put_part(&f.store, "key", &id, number, b"").await),
            InvalidArgument
        );
    }
    let quoted = CompletedPart {
        number: 1,
        etag: format!("\"{}\"", one.etag),
        checksum: None,
    };
    complete(&[&quoted, &two]).await.unwrap();
    assert_eq!(get(&f.store, "key").await.unwrap(), b"onetwo");
}

async fn an_upload_ends_once() {
    let f = fixture().await;
    let id = f
        .store
        .create_upload(&at("key"), &HeaderMap::new())
        .await
        .unwrap();
    let late = f.store.put_part(&at("key"), &id, 2, 0).await.unwrap();
    let part = put_part(&f.store, "key", &id, 1, b"x").await.unwrap();
    let parts = std::slice::from_ref(&part);
    f.store
        .complete_upload(&at("key"), &id, parts, &none())
        .await
        .unwrap();
    assert_eq!(
        code(
            f.store
                .complete_upload(&at("key"), &id, parts, &none())
                .await
        ),
        NoSuchUpload
    );
    assert_eq!(
        code(f.store.abort_upload(&at("key"), &id).await),
        NoSuchUpload
    );
    assert_eq!(
        code(put_part(&f.store, "key", &id, 1, b"x").await),
        NoSuchUpload
    );
    assert_eq!(
        code(f.store.list_parts(&at("key"), &id, 0, 10).await),
        NoSuchUpload
    );
    assert_eq!(code(late.finish().await), NoSuchUpload);

    let id = f
        .store
        .create_upload(&at("key"), &HeaderMap::new())
        .await
        .unwrap();
    let part = put_part(&f.store, "key", &id, 1, b"y").await.unwrap();
    f.store.abort_upload(&at("key"), &id).await.unwrap();
    assert_eq!(
        code(
            f.store
                .complete_upload(&at("key"), &id, &[part], &none())
                .await
        ),
        NoSuchUpload
    );
    assert_eq!(get(&f.store, "key").await.unwrap(), b"x");
    assert_eq!(
        code(f.store.abort_upload(&at("key"), "../../bucket").await),
        NoSuchUpload
    );
}

async fn parts_are_listed_in_pages() {
    let f = fixture().await;
    let id = f
        .store
        .create_upload(&at("key"), &HeaderMap::new())
        .await
        .unwrap();
    let numbers = [10_000, 3, 1, 77, 9, 10];
    let mut sent = Vec::new();
    for number in numbers {
        let part = put_part(&f.store, "key", &id, number, &bytes(1, number.into()))
            .await
            .unwrap();
        sent.push((number, u64::from(number), part.etag));
    }
    sent.sort();
    for max in 1..=7 {
        let mut got = Vec::new();
        let mut after = 0;
        loop {
            let page = f
                .store
                .list_parts(&at("key"), &id, after, max)
                .await
                .unwrap();
            assert!(page.parts.len() <= max);
            got.extend(page.parts.into_iter().map(|p| (p.number, p.len, p.etag)));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(got, sent, "pages of {max}");
    }
}

/// All uploads and prefixes, page by page.
async fn list_uploads(
    store: &FsStore,
    prefix: &str,
    delimiter: &str,
    max: usize,
) -> Vec<(Bytes, String)> {
    let mut request = UploadsRequest {
        prefix: Bytes::copy_from_slice(prefix.as_bytes()),
        delimiter: Bytes::copy_from_slice(delimiter.as_bytes()),
        max_uploads: max,
        ..UploadsRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let page = store.list_uploads("bucket", &request).await.unwrap();
        let prefixes = page.common_prefixes.into_iter().map(|p| (p, String::new()));
        let mut items: Vec<_> = page
            .uploads
            .into_iter()
            .map(|u| (u.key, u.upload_id))
            .chain(prefixes)
            .collect();
        assert!(items.len() <= max);
        items.sort();
        all.extend(items);
        match page.next {
            Some((key, id)) => (request.key_marker, request.upload_id_marker) = (key, id),
            None => return all,
        }
    }
}

async fn uploads_are_listed_in_pages() {
    let f = fixture().await;
    let mut begun = Vec::new();
    for key in ["b", "a/1", "a/2", "b", "a", "c/x/y", "b", "c/z"] {
        let id = f
            .store
            .create_upload(&at(key), &HeaderMap::new())
            .await
            .unwrap();
        begun.push((Bytes::from(key), id));
        sealgate_uring::sleep(std::time::Duration::from_millis(2)).await;
    }
    // By key; those of one key in the order of their start.
    begun.sort_by_key(|(key, _)| key.clone());
    let rolled = |p: &'static str| (Bytes::from(p), String::new());
    for max in 1..=9 {
        assert_eq!(
            list_uploads(&f.store, "", "", max).await,
            begun,
            "pages of {max}"
        );
        let expected: Vec<_> = begun
            .iter()
            .filter(|(k, _)| k.starts_with(b"a/"))
            .cloned()
            .collect();
        assert_eq!(list_uploads(&f.store, "a/", "", max).await, expected);
        let single = |k: &'static str| begun.iter().filter(move |(key, _)| key == k).cloned();
        let expected: Vec<_> = single("a")
            .chain([rolled("a/")])
            .chain(single("b"))
            .chain([rolled("c/")])
            .collect();
        assert_eq!(
            list_uploads(&f.store, "", "/", max).await,
            expected,
            "pages of {max}"
        );
    }
}

async fn conditions_hold_at_the_end() {
    let f = fixture().await;
    let upload = async || {
        let id = f
            .store
            .create_upload(&at("key"), &HeaderMap::new())
            .await
            .unwrap();
        let part = put_part(&f.store, "key", &id, 1, b"new").await.unwrap();
        (id, [part])
    };
    let (id, parts) = upload().await;
    let etag = put(&f.store, "key", b"old").await;
    let complete = async |c: Conditions| f.store.complete_upload(&at("key"), &id, &parts, &c).await;
    assert_eq!(
        code(complete(Conditions::if_absent()).await),
        PreconditionFailed
    );
    assert_eq!(
        code(complete(Conditions::if_match("other")).await),
        PreconditionFailed
    );
    assert_eq!(get(&f.store, "key").await.unwrap(), b"old");
    complete(Conditions::if_match(etag)).await.unwrap();
    assert_eq!(get(&f.store, "key").await.unwrap(), b"new");
}

async fn uploads_belong_to_their_key_and_bucket() {
    let f = fixture().await;
    f.store
        .create_bucket("other", &HeaderMap::new(), b"")
        .await
        .unwrap();
    let id = f
        .store
        .create_upload(&at("key"), &HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(
        code(put_part(&f.store, "another", &id, 1, b"").await),
        NoSuchUpload
    );
    let elsewhere = Location {
        bucket: "other".into(),
        ..at("key")
    };
    assert_eq!(
        code(f.store.list_parts(&elsewhere, &id, 0, 1).await),
        NoSuchUpload
    );
    // Unfinished uploads neither keep a bucket alive nor outlive it.
    f.store.delete_bucket("bucket").await.unwrap();
    assert_eq!(
        code(put_part(&f.store, "key", &id, 1, b"").await),
        NoSuchBucket
    );
    f.store
        .create_bucket("bucket", &HeaderMap::new(), b"")
        .await
        .unwrap();
    assert_eq!(
        code(put_part(&f.store, "key", &id, 1, b"").await),
        NoSuchUpload
    );
    assert!(list_uploads(&f.store, "", "", 10).await.is_empty());
}
