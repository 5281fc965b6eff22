//! Conditional writes among processes and cores: atomic, whoever else writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::child;
use crate::harness::*;
use http::HeaderMap;
use sealgate_backend::fs::FsStore;
use sealgate_backend::types::{BackendError, CopyRequest, GetRequest};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::Driver;

/// Processes that compete.
const PROCESSES: usize = 3;
/// Keys that each of them tries to create.
const RACES: usize = 150;
/// What each of them adds to the counter, one by one.
const STEPS: u64 = 40;

/// A store and its bucket, made before the competitors start.
fn new_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    on_cores(Driver::Auto, 1, move || {
        let store = FsStore::open(&root).unwrap();
        async move {
            store
                .create_bucket("bucket", &HeaderMap::new(), b"")
                .await
                .unwrap()
        }
    });
    dir
}

/// Runs `test` of this binary in several processes at once; what they said.
fn compete(test: &str, root: &Path) -> Vec<String> {
    let mut children: Vec<_> = (0..PROCESSES)
        .map(|p| child::start(test, root, &p.to_string()))
        .collect();
    let pipes = child::go(&mut children);
    let readers: Vec<_> = pipes
        .into_iter()
        .map(|p| std::thread::spawn(move || child::heard(p)))
        .collect();
    let said = readers
        .into_iter()
        .flat_map(|r| r.join().unwrap())
        .collect();
    assert!(children.iter_mut().all(|c| c.wait().unwrap().success()));
    said
}

#[test]
fn one_creator_wins_in_any_number_of_processes() {
    const TEST: &str = "concurrent::one_creator_wins_in_any_number_of_processes";
    if let Some((root, me)) = child::my_part() {
        return on_cores(Driver::Auto, 1, move || {
            let (store, me) = (FsStore::open(&root).unwrap(), me.clone());
            async move {
                child::ready();
                for race in 0..RACES {
                    // Every other key has directories to be made by whoever comes first.
                    let key = if race.is_multiple_of(2) {
                        format!("k{race}")
                    } else {
                        format!("d{race}/e/k")
                    };
                    match put_with(
                        &store,
                        &key,
                        &HeaderMap::new(),
                        &Conditions::if_absent(),
                        me.as_bytes(),
                    )
                    .await
                    {
                        Ok(_) => child::say(&format!("{key} {me}")),
                        lost => assert_eq!(code(lost), ErrorCode::PreconditionFailed),
                    }
                }
            }
        });
    }
    let dir = new_store();
    let mut winners = BTreeMap::new();
    for line in compete(TEST, dir.path()) {
        let (key, who) = line.split_once(' ').unwrap();
        assert_eq!(
            winners.insert(key.to_owned(), who.to_owned()),
            None,
            "{key} was created twice"
        );
    }
    assert_eq!(winners.len(), RACES);
    let root = dir.path().to_owned();
    on_cores(Driver::Auto, 1, move || {
        let (store, winners) = (FsStore::open(&root).unwrap(), winners.clone());
        async move {
            for (key, who) in &winners {
                assert_eq!(get(&store, key).await.unwrap(), who.as_bytes(), "{key}");
            }
        }
    });
}

/// Adds 1 to the counter, by compare-and-swap. Gives how often it was too late.
async fn increment(store: &FsStore) -> u64 {
    let mut late = 0;
    loop {
        let (info, _, mut got) = store
            .get(&at("counter"), &GetRequest::default())
            .await
            .unwrap();
        let value: u64 = String::from_utf8(read_all(&mut got).await.unwrap())
            .unwrap()
            .parse()
            .unwrap();
        let new = (value + 1).to_string();
        match put_with(
            store,
            "counter",
            &HeaderMap::new(),
            &Conditions::if_match(info.etag),
            new.as_bytes(),
        )
        .await
        {
            Ok(_) => return late,
            lost => assert_eq!(code(lost), ErrorCode::PreconditionFailed),
        }
        late += 1;
    }
}

#[test]
fn no_update_is_lost_among_processes() {
    const TEST: &str = "concurrent::no_update_is_lost_among_processes";
    if let Some((root, _)) = child::my_part() {
        return on_cores(Driver::Auto, 1, move || {
            let store = FsStore::open(&root).unwrap();
            async move {
                child::ready();
                let mut late = 0;
                for _ in 0..STEPS {
                    late += increment(&store).await;
                }
                child::say(&late.to_string());
            }
        });
    }
    let dir = new_store();
    let root = dir.path().to_owned();
    let counter = move || {
        let store = FsStore::open(&root).unwrap();
        async move {
            if let Err(BackendError::Answer(_)) = get(&store, "counter").await {
                put(&store, "counter", b"0").await;
            } else {
                let expected = (STEPS * PROCESSES as u64).to_string();
                assert_eq!(get(&store, "counter").await.unwrap(), expected.as_bytes());
            }
        }
    };
    on_cores(Driver::Auto, 1, counter.clone());
    let late: u64 = compete(TEST, dir.path())
        .iter()
        .map(|l| l.parse::<u64>().unwrap())
        .sum();
    assert!(late > 0, "they never met: nothing was tested");
    on_cores(Driver::Auto, 1, counter);
}

#[test]
fn no_update_is_lost_among_cores() {
    for driver in [Driver::IoUring, Driver::Epoll] {
        let dir = new_store();
        let store = FsStore::open(dir.path()).unwrap();
        let first = store.clone();
        on_cores(driver, 1, move || {
            let store = first.clone();
            async move { drop(put(&store, "counter", b"0").await) }
        });
        let cores = store.clone();
        on_cores(driver, 3, move || {
            let store = cores.clone();
            async move {
                for _ in 0..STEPS {
                    increment(&store).await;
                }
            }
        });
        on_cores(driver, 1, move || {
            let store = store.clone();
            async move {
                assert_eq!(
                    get(&store, "counter").await.unwrap(),
                    (3 * STEPS).to_string().as_bytes()
                )
            }
        });
    }
}

/// Ends the other core's loop, also when this one panics.
struct Done(Arc<AtomicUsize>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(1, Ordering::SeqCst);
    }
}

/// One core replaces the body again and again, another only the metadata (a copy onto itself). The copy must never bring
/// an old body back.
#[test]
fn copying_an_object_onto_itself_never_undoes_a_write() {
    let dir = new_store();
    let store = FsStore::open(dir.path()).unwrap();
    let (turn, copies) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&copies);
    on_cores(Driver::Auto, 2, move || {
        let (store, writer) = (store.clone(), turn.fetch_add(1, Ordering::SeqCst) == 0);
        let (copies, done) = (Arc::clone(&copies), Arc::clone(&done));
        async move {
            if writer {
                let _done = Done(done);
                for i in 0..100 {
                    let body = bytes(i, 2000);
                    put(&store, "key", &body).await;
                    assert!(
                        get(&store, "key").await.unwrap() == body,
                        "write {i} was undone"
                    );
                }
                return;
            }
            let request = CopyRequest {
                source: at("key"),
                source_conditions: none(),
                conditions: none(),
                headers: headers(&[("x-amz-meta-a", "1")]),
            };
            while done.load(Ordering::SeqCst) == 0 {
                match store.copy(&request, &at("key")).await {
                    Ok(_) => drop(copies.fetch_add(1, Ordering::SeqCst)),
                    Err(BackendError::Answer(e)) => {
                        assert!(
                            [ErrorCode::NoSuchKey, ErrorCode::OperationAborted].contains(&e.code),
                            "{e}"
                        );
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        }
    });
    assert!(
        counted.load(Ordering::SeqCst) > 0,
        "no copy was made: nothing was tested"
    );
}

/// Cores that create and delete in the same directories, which come and go all the time.
#[test]
fn directories_come_and_go_under_writers() {
    for driver in [Driver::IoUring, Driver::Epoll] {
        let dir = new_store();
        let store = FsStore::open(dir.path()).unwrap();
        let next = AtomicUsize::new(0);
        let at_end = store.clone();
        on_cores(driver, 3, move || {
            let (store, me) = (store.clone(), next.fetch_add(1, Ordering::SeqCst));
            async move {
                for _ in 0..60 {
                    let key = format!("a/b/c/{me}");
                    put(&store, &key, b"body").await;
                    assert_eq!(get(&store, &key).await.unwrap(), b"body");
                    assert_eq!(list_all(&store, b"", b"/", 10).await, ["a/"]);
                    store.delete(&at(&key), &none()).await.unwrap();
                }
            }
        });
        on_cores(driver, 1, move || {
            let store = at_end.clone();
            async move {
                assert!(list_all(&store, b"", b"", 10).await.is_empty());
                store.delete_bucket("bucket").await.unwrap();
            }
        });
    }
}
