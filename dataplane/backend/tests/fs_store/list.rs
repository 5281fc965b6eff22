//! Listings of the directory store, against a sorted map.

use std::collections::BTreeMap;

use crate::harness::*;
use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use sealgate_backend::types::ListRequest;
use sealgate_s3::error::ErrorCode::*;
use sealgate_uring::Driver;

on_both_drivers! {
    entries_say_what_head_says
    pages_go_on_whatever_happens_between
    tokens_of_others_are_refused
    a_large_directory_is_paged_exactly
    a_large_directory_is_never_remembered_wrongly
}

/// Writes and deletions, in order: a key and its length, or nothing for a deletion.
type History = Vec<(Vec<u8>, Option<usize>)>;
/// Prefix, delimiter, start-after, page size.
type Question = (Vec<u8>, Vec<u8>, Vec<u8>, usize);

fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => prop::sample::select(vec!["a", "b", "/", "/", "-", "!", "0", ".", "é", "%"]).prop_map(str::to_owned),
        1 => (246usize..250).prop_map(|n| "x".repeat(n)),
    ];
    prop::collection::vec(piece, 0..max).prop_map(|p| p.concat().into_bytes())
}

fn history() -> impl Strategy<Value = History> {
    let key = text(4).prop_filter("not empty", |k| !k.is_empty() && k.len() <= 1024);
    prop::collection::vec((key, prop::option::weighted(0.7, 0usize..20)), 1..30)
}

/// S3's definition of a listing, as one page.
fn model(
    objects: &BTreeMap<Vec<u8>, usize>,
    (prefix, delimiter, after, _): &Question,
) -> Vec<(Vec<u8>, Option<usize>)> {
    let mut out: Vec<(Vec<u8>, Option<usize>)> = Vec::new();
    for (key, len) in objects.iter().filter(|(k, _)| k.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        let roll = (!delimiter.is_empty())
            .then(|| rest.windows(delimiter.len()).position(|w| w == delimiter))
            .flatten();
        let item = match roll {
            Some(i) => (key[..prefix.len() + i + delimiter.len()].to_vec(), None),
            None => (key.clone(), Some(*len)),
        };
        if item.0 > *after && out.last() != Some(&item) {
            out.push(item);
        }
    }
    out
}

async fn check(history: &History, questions: &[Question]) {
    let f = fixture().await;
    let mut objects = BTreeMap::new();
    for (key, action) in history {
        if let Some(len) = action {
            put(&f.store, key, &bytes(1, *len)).await;
            objects.insert(key.clone(), *len);
        } else {
            f.store.delete(&at(key), &none()).await.unwrap();
            objects.remove(key);
        }
    }
    for question in questions {
        let (prefix, delimiter, after, page) = question;
        let mut request = ListRequest {
            prefix: prefix.clone().into(),
            delimiter: delimiter.clone().into(),
            start_after: after.clone().into(),
            max_keys: *page,
            ..ListRequest::default()
        };
        let mut got = Vec::new();
        loop {
            let listed = f.store.list("bucket", &request).await.unwrap();
            let objects = listed
                .objects
                .iter()
                .map(|o| (o.key.to_vec(), usize::try_from(o.size).ok()));
            let mut items: Vec<_> = objects
                .chain(listed.common_prefixes.iter().map(|p| (p.to_vec(), None)))
                .collect();
            items.sort();
            // Only the last page may be short.
            assert!(items.len() == *page || items.len() < *page && listed.next.is_none());
            got.extend(items);
            let Some(token) = listed.next else { break };
            request = ListRequest {
                continuation: Some(token),
                start_after: Bytes::new(),
                ..request
            };
        }
        assert_eq!(got, model(&objects, question), "{question:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_page_size_delimiter_and_prefix_give_the_model(
        history in history(),
        questions in prop::collection::vec((text(2), prop_oneof![Just(b"/".to_vec()), text(2)], text(3), 1usize..8), 10),
    ) {
        on_cores(Driver::Auto, 1, move || {
            let (history, questions) = (history.clone(), questions.clone());
            async move { check(&history, &questions).await }
        });
    }
}

async fn entries_say_what_head_says() {
    let f = fixture().await;
    let stored = headers(&[("x-amz-storage-class", "STANDARD_IA")]);
    put_with(&f.store, "a", &stored, &none(), b"12345")
        .await
        .unwrap();
    let page = f
        .store
        .list(
            "bucket",
            &ListRequest {
                max_keys: 10,
                ..ListRequest::default()
            },
        )
        .await
        .unwrap();
    let head = f.store.head(&at("a"), &none()).await.unwrap();
    let [entry] = &page.objects[..] else {
        panic!("one entry")
    };
    assert_eq!(
        (entry.size, &*entry.etag, entry.last_modified),
        (head.len, &*head.etag, head.last_modified)
    );
    assert_eq!(entry.storage_class.as_deref(), Some("STANDARD_IA"));
    assert!(page.next.is_none());
}

async fn pages_go_on_whatever_happens_between() {
    let f = fixture().await;
    for key in ["a", "b/1", "b/2", "c", "d/1", "e"] {
        put(&f.store, key, b"").await;
    }
    let request = ListRequest {
        delimiter: "/".into(),
        max_keys: 2,
        ..ListRequest::default()
    };
    let first = f.store.list("bucket", &request).await.unwrap();
    assert_eq!(
        (first.objects.len(), &first.common_prefixes[..]),
        (1, &[Bytes::from("b/")][..])
    );
    // The last entry of the page goes, others come before and after it.
    for key in ["b/1", "b/2"] {
        f.store.delete(&at(key), &none()).await.unwrap();
    }
    for key in ["a0", "b/0", "b0"] {
        put(&f.store, key, b"").await;
    }
    let second = f
        .store
        .list(
            "bucket",
            &ListRequest {
                continuation: first.next,
                ..request
            },
        )
        .await
        .unwrap();
    let keys: Vec<_> = second.objects.iter().map(|o| &o.key[..]).collect();
    assert_eq!(keys, [b"b0".as_slice(), b"c"]);
}

async fn tokens_of_others_are_refused() {
    let f = fixture().await;
    let request = ListRequest {
        continuation: Some("not base64!".into()),
        max_keys: 1,
        ..ListRequest::default()
    };
    assert_eq!(
        code(f.store.list("bucket", &request).await),
        InvalidArgument
    );
}

async fn a_large_directory_is_paged_exactly() {
    let f = fixture().await;
    // Files of a real object under many names: links are faster than writing each.
    put(&f.store, "seed", b"x").await;
    let dir = f.dir.path().join("bucket");
    let keys: Vec<String> = (0..5000)
        .map(|i| format!("k{:05}", (i * 7919) % 5000))
        .collect();
    for key in &keys {
        std::fs::hard_link(dir.join("seed.o"), dir.join(format!("{key}.o"))).unwrap();
    }
    let mut expected = keys.clone();
    expected.sort();
    expected.push("seed".into());
    assert_eq!(list_all(&f.store, b"", b"", 1000).await, expected);
    assert_eq!(
        list_all(&f.store, b"", b"0", 1000).await.len(),
        list_len(&expected)
    );
    let stored = HeaderMap::new();
    put_with(&f.store, "k00000", &stored, &none(), b"another")
        .await
        .unwrap();
    assert_eq!(get(&f.store, "seed").await.unwrap(), b"x");
}

/// Distinct results with `0` as the delimiter.
fn list_len(keys: &[String]) -> usize {
    let rolled = keys.iter().map(|k| k.split_inclusive('0').next().unwrap());
    rolled.collect::<std::collections::BTreeSet<_>>().len()
}

/// Names of large directories are kept between pages: whatever changes, in whichever process, must be seen at once.
async fn a_large_directory_is_never_remembered_wrongly() {
    let f = fixture().await;
    put(&f.store, "d/seed", b"x").await;
    let dir = f.dir.path().join("bucket/d.d");
    let file = |n: usize| dir.join(format!("k{n:05}.o"));
    let mut expected = std::collections::BTreeSet::from(["d/seed".to_owned()]);
    for n in 0..3000 {
        std::fs::hard_link(dir.join("seed.o"), file(n)).unwrap();
        expected.insert(format!("d/k{n:05}"));
    }
    for n in 0..20 {
        if n % 5 == 0 {
            // Long enough for the names to be kept.
            sealgate_uring::sleep(std::time::Duration::from_millis(200)).await;
        }
        for page in [700, 1000] {
            let listed = list_all(&f.store, b"d/", b"", page).await;
            assert!(listed.iter().eq(&expected), "after {n} changes");
        }
        // As another process does it.
        std::fs::hard_link(dir.join("seed.o"), file(5000 + n)).unwrap();
        std::fs::remove_file(file(n * 100)).unwrap();
        expected.insert(format!("d/k{:05}", 5000 + n));
        expected.remove(&format!("d/k{:05}", n * 100));
        let rolled = list_all(&f.store, b"d/", b"9", 100).await;
        let model = expected
            .iter()
            .map(|k| k.split_inclusive('9').next().unwrap());
        assert!(
            rolled
                .iter()
                .eq(&model.collect::<std::collections::BTreeSet<_>>())
        );
    }
}
