//! Keys leave no copy in memory: each test searches all writable memory of its own process (heap, stacks, key memory,
//! statics) for bytes of a key, while it is in use and after it was dropped. One process per test would be ideal; a
//! lock gives each the process for itself, since another's buffers are memory too.

mod memory;

use std::sync::{Mutex, MutexGuard, PoisonError};

use memory::{Needle, protection, searched_bytes};
use sealgate_aead::{
    Aes256Gcm, Library, Secret, WipingHeap, hkdf_expand_sha512, hkdf_extract_sha512, hmac_sha512,
};

#[global_allocator]
static HEAP: WipingHeap = WipingHeap(std::alloc::System);

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const LIBRARIES: [Library; 2] = [Library::AwsLc, Library::Ring];

#[test]
fn key_schedules_are_found_in_use_and_gone_after() {
    let _alone = alone();
    for (seed, library) in LIBRARIES.into_iter().enumerate() {
        let needle = Needle::new(seed as u8);
        let round_keys = needle.later_round_keys();
        let key = needle.secret();
        assert_eq!(needle.find().len(), 1, "the secret and no copy of it");
        let cipher = Aes256Gcm::with_library(library, &key);
        assert!(
            !round_keys.find().is_empty(),
            "{library}: the expanded key was not found, so the search shows nothing"
        );
        assert!(needle.find().len() >= 2, "a schedule begins with the key");
        cipher.seal([0; 12], b"aad", &mut [7; 100]);
        drop(cipher);
        assert_eq!(round_keys.find(), [], "{library}: expanded key left");
        assert_eq!(needle.find().len(), 1, "{library}: copies of the key left");
        drop(key);
        assert_eq!(needle.find(), [], "{library}: the secret left");
    }
}

#[test]
fn derivations_leave_nothing_on_stack_or_heap() {
    let _alone = alone();
    let needle = Needle::new(50);
    let key = needle.secret();
    let mut out = [0; 100];
    hkdf_expand_sha512(key.expose(), &[b"some", b" info"], &mut out);
    assert_eq!(needle.find().len(), 1, "HKDF-Expand left its key");
    let prk = hkdf_extract_sha512(b"salt", key.expose());
    assert_eq!(needle.find().len(), 1, "HKDF-Extract left its input");
    let derived = Needle::of(prk.expose());
    assert_eq!(derived.find().len(), 1, "HKDF-Extract left its output");
    drop(prk);
    assert_eq!(derived.find(), []);
    std::hint::black_box(hmac_sha512(key.expose(), &[b"message"]).truncated::<16>());
    assert_eq!(needle.find().len(), 1, "HMAC left its key");
    drop(key);
    assert_eq!(needle.find(), []);
}

#[test]
fn secrets_live_in_locked_pages_outside_dumps_and_forks() {
    let _alone = alone();
    let needle = Needle::new(60);
    let key = needle.secret();
    let cipher = Aes256Gcm::with_library(Library::Ring, &key);
    let found = needle.find();
    assert!(found.len() >= 2, "a secret and a schedule");
    for at in found {
        let flags = protection(at);
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        assert!(has("dd"), "in core dumps: {flags:?}");
        assert!(has("dc"), "copied by a fork: {flags:?}");
        assert!(
            has("lo") || sealgate_aead::memory().unlocked > 0,
            "not locked, and not counted as such: {flags:?}"
        );
    }
    drop((key, cipher));
}

#[test]
fn a_thread_that_wipes_leaves_nothing_of_texts_that_grew_and_moved() {
    let _alone = alone();
    // First that the search would find what is left behind without.
    let careless = Needle::new(70);
    std::thread::scope(|scope| scope.spawn(|| copies(&careless)).join()).unwrap();
    assert!(
        !careless.find().is_empty(),
        "the search finds freed memory, or this test shows nothing"
    );
    let careful = Needle::new(71);
    let run = || {
        sealgate_aead::wipe_on_this_thread();
        copies(&careful);
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
    assert_eq!(careful.find(), []);
}

/// What a parser does: text that grows, is copied, and is dropped without being wiped. In hexadecimal on the heap only.
#[inline(never)]
fn copies(needle: &Needle) {
    let mut kept = Vec::new();
    for round in 0..8 {
        let mut text: Vec<u8> = Vec::with_capacity(1);
        text.extend((0..400 * round).map(|_| b'.'));
        needle.push_to(&mut text);
        text.extend((0..3000).map(|_| b'.'));
        text.shrink_to_fit();
        kept.push(text.clone().into_boxed_slice());
        drop(text);
    }
    drop(kept);
}

#[test]
fn the_search_covers_this_process() {
    let _alone = alone();
    assert!(searched_bytes() > 1 << 20);
    let needle = Needle::new(80);
    let mut on_heap = Vec::with_capacity(100);
    needle.push_to(&mut on_heap);
    assert_eq!(needle.find().len(), 1);
    let mut on_stack = [0_u8; 64];
    on_stack[20..52].copy_from_slice(&on_heap);
    std::hint::black_box(&mut on_stack);
    assert_eq!(needle.find().len(), 2);
    let kept = Secret::<32>::from_slice(&on_heap);
    assert_eq!(needle.find().len(), 3);
    drop(kept);
    on_stack.fill(0);
    std::hint::black_box(&mut on_stack);
    on_heap.fill(0);
    std::hint::black_box(&mut on_heap);
    assert_eq!(needle.find(), []);
}
