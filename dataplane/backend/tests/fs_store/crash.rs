//! `kill -9` at any moment: nothing that was acknowledged is lost, nothing partial is visible.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::child;
use crate::harness::*;
use http::HeaderMap;
use sealgate_backend::fs::{FsStore, Sweep};
use sealgate_backend::types::{CopyRequest, GetRequest};
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Driver, sleep, spawn};

/// Killed processes.
const KILLS: usize = 50;
/// At once.
const WRITERS: usize = 2;
/// Keys of each writer, each with a task of its own.
const KEYS: usize = 5;
/// Sizes of bodies, bytes: within a record's read, across blocks, and long enough to be killed in the middle.
const SIZES: [usize; 5] = [0, 100, 5_000, 200_000, 3_000_000];

/// What a key may hold: a generation, or nothing.
type State = Option<u64>;

fn key(writer: &str, n: usize) -> String {
    // Half of them alone in their directories, which come and go with them.
    if n.is_multiple_of(2) {
        format!("w{writer}/k{n}")
    } else {
        format!("w{writer}/d{n}/e/k{n}")
    }
}

fn body(generation: u64) -> Vec<u8> {
    bytes(
        generation,
        SIZES[usize::try_from(generation).unwrap() % SIZES.len()],
    )
}

fn stored(generation: u64) -> HeaderMap {
    headers(&[("x-amz-meta-generation", &generation.to_string())])
}

/// One change of a key, in one of the ways that there are. Gives the new state.
async fn change(store: &FsStore, key: &str, generation: u64) -> State {
    match generation % 7 {
        0 => {
            store.delete(&at(key), &none()).await.unwrap();
            return None;
        }
        1 => {
            let id = store
                .create_upload(&at(key), &stored(generation))
                .await
                .unwrap();
            let body = body(generation);
            let (first, second) = body.split_at(body.len() / 3);
            let parts = [
                put_part(store, key, &id, 1, first).await.unwrap(),
                put_part(store, key, &id, 2, second).await.unwrap(),
            ];
            child::say(&format!("parts {key} {generation} {id}"));
            store
                .complete_upload(&at(key), &id, &parts, &none())
                .await
                .unwrap();
        }
        2 => {
            let scratch = format!("{key}.scratch");
            put(store, &scratch, &body(generation)).await;
            let request = CopyRequest {
                source: at(&scratch),
                source_conditions: none(),
                conditions: none(),
                headers: stored(generation),
            };
            store.copy(&request, &at(key)).await.unwrap();
        }
        _ => {
            put_with(store, key, &stored(generation), &none(), &body(generation))
                .await
                .unwrap();
        }
    }
    Some(generation)
}

fn show(state: State) -> String {
    state.map_or("-".into(), |g| g.to_string())
}

fn parse(text: &str) -> State {
    text.parse().ok()
}

/// The writer: says what it will do, does it, says that it is done, until it is killed.
fn write_until_killed(root: &Path, writer: &str, first: u64) {
    let (root, writer) = (root.to_owned(), writer.to_owned());
    on_cores(Driver::Auto, 1, move || {
        let (store, writer) = (FsStore::open(&root).unwrap(), writer.clone());
        async move {
            child::ready();
            let next = Rc::new(Cell::new(first));
            for n in 0..KEYS {
                let (store, key, next) = (store.clone(), key(&writer, n), Rc::clone(&next));
                spawn(async move {
                    loop {
                        let generation = next.replace(next.get() + 1);
                        let will = if generation.is_multiple_of(7) {
                            None
                        } else {
                            Some(generation)
                        };
                        child::say(&format!("try {key} {}", show(will)));
                        let state = change(&store, &key, generation).await;
                        assert_eq!(state, will);
                        child::say(&format!("ack {key} {}", show(state)));
                    }
                });
            }
            sleep(Duration::from_secs(60)).await;
        }
    });
}

/// What each key may hold after a writer has said these things. `known` is what it held before.
fn possible(said: &[String], known: &BTreeMap<String, State>) -> BTreeMap<String, Vec<State>> {
    let mut possible: BTreeMap<String, Vec<State>> =
        known.iter().map(|(k, s)| (k.clone(), vec![*s])).collect();
    for line in said.iter().filter(|l| !l.starts_with("parts")) {
        let mut words = line.split(' ');
        let (verb, key, state) = (
            words.next().unwrap(),
            words.next().unwrap(),
            parse(words.next().unwrap()),
        );
        let states = possible.entry(key.to_owned()).or_insert_with(|| vec![None]);
        if verb == "ack" {
            *states = vec![state];
        } else {
            states.push(state);
        }
    }
    possible
}

/// Parts that were acknowledged are in the object or still in their upload.
async fn check_parts(store: &FsStore, said: &[String]) {
    for (i, line) in said.iter().enumerate() {
        let ["parts", key, generation, id] = line.split(' ').collect::<Vec<_>>()[..] else {
            continue;
        };
        let done = format!("ack {key} {generation}");
        if said[i..].contains(&done) || state_of(store, key).await == parse(generation) {
            continue;
        }
        let left = store.list_parts(&at(key), id, 0, 10).await.unwrap();
        assert_eq!(left.parts.len(), 2, "parts of {key} are lost");
    }
}

/// Reads a key: whole, or not there.
async fn state_of(store: &FsStore, key: &str) -> State {
    let (info, _, mut got) = match store.get(&at(key), &GetRequest::default()).await {
        Ok(found) => found,
        Err(e) => {
            assert_eq!(code::<()>(Err(e)), ErrorCode::NoSuchKey);
            return None;
        }
    };
    let generation = info.headers["x-amz-meta-generation"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        read_all(&mut got).await.unwrap() == body(generation),
        "{key} is not what was written"
    );
    Some(generation)
}

#[test]
fn kill_9_loses_nothing_acknowledged_and_shows_nothing_partial() {
    if let Some((root, part)) = child::my_part() {
        let (writer, first) = part.split_once(' ').unwrap();
        return write_until_killed(&root, writer, first.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    on_cores(Driver::Auto, 1, move || {
        let root = root.clone();
        async move {
            FsStore::open(&root)
                .unwrap()
                .create_bucket("bucket", &HeaderMap::new(), b"")
                .await
                .unwrap();
            let mut known = BTreeMap::new();
            let mut acknowledged = 0;
            let mut swept = Sweep::default();
            for round in 0..KILLS / WRITERS {
                let said = run_and_kill(&root, round);
                acknowledged += said.iter().filter(|l| l.starts_with("ack")).count();
                let store = FsStore::open(&root).unwrap();
                swept.owners += store.swept().owners;
                swept.files += store.swept().files;
                let mut present = Vec::new();
                check_parts(&store, &said).await;
                for (key, states) in possible(&said, &known) {
                    let state = state_of(&store, &key).await;
                    assert!(
                        states.contains(&state),
                        "{key}: {state:?} is none of {states:?}, round {round}"
                    );
                    present.extend(state.map(|_| key.clone()));
                    known.insert(key, state);
                }
                let mut listed = list_all(&store, b"", b"", 3).await;
                listed.retain(|k| !k.ends_with(b".scratch"));
                assert_eq!(listed, present, "round {round}");
                let tops: std::collections::BTreeSet<_> = list_all(&store, b"", b"", 1000)
                    .await
                    .iter()
                    .map(|k| k.slice(..3))
                    .collect();
                assert_eq!(
                    list_all(&store, b"", b"/", 1).await,
                    tops.into_iter().collect::<Vec<_>>()
                );
            }
            // The test has tested something, on a busy machine too: writers got things done, and were killed in the middle
            // of others.
            assert!(acknowledged > KILLS / 8, "{acknowledged}");
            assert_eq!(swept.owners, KILLS as u64);
            assert!(swept.files > 0);
        }
    });
}

/// Lets writers write for a few milliseconds, kills them, and gives all that they said.
fn run_and_kill(root: &Path, round: usize) -> Vec<String> {
    const TEST: &str = "crash::kill_9_loses_nothing_acknowledged_and_shows_nothing_partial";
    let first = round * 1_000_000 + 1;
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|w| child::start(TEST, root, &format!("{w} {first}")))
        .collect();
    let pipes = child::go(&mut writers);
    let readers: Vec<_> = pipes
        .into_iter()
        .map(|p| std::thread::spawn(move || child::heard(p)))
        .collect();
    // A moment that differs from round to round and from run to run.
    let jitter = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 30_000;
    std::thread::sleep(Duration::from_micros(
        5_000 + 3_000 * (round as u64 % 10) + u64::from(jitter),
    ));
    for writer in &mut writers {
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    readers
        .into_iter()
        .flat_map(|r| r.join().unwrap())
        .collect()
}
