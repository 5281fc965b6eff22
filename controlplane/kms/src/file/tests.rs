//! The file provider: its ring file, its wrap bytes, and what it says when something is wrong.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const VECTORS: &str = include_str!("../../tests/data/kek_vectors.txt");

fn ring(current: u32, versions: &[(u32, [u8; 32])]) -> KeyRing {
    let mut text = format!("format = \"sealgate-keyring/1\"\ncurrent = {current}\n");
    for (id, key) in versions {
        text.push_str(&format!(
            "[[version]]\nid = {id}\nkey = \"{}\"\n",
            BASE64.encode(key)
        ));
    }
    KeyRing::parse(Path::new("test.keys"), &text).unwrap_or_else(|e| panic!("{e}"))
}

fn refusal(text: &str) -> String {
    match KeyRing::parse(Path::new("test.keys"), text) {
        Ok(_) => panic!("accepted {text:?}"),
        Err(e) => e.to_string(),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn new_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("main.keys");
    (dir, path)
}

fn message(outcome: Result<Secret<32>, KeyError>) -> (KeyError, String) {
    match outcome {
        Ok(_) => panic!("it opened"),
        Err(e) => (e.clone(), e.to_string()),
    }
}

#[test]
fn opens_the_vectors_of_an_independent_implementation() {
    let mut seen = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let [name, version, key, kek, wrapped] =
            line.split(' ').collect::<Vec<_>>().try_into().expect(line);
        let text = format!(
            "format = \"sealgate-keyring/1\"\ncurrent = {version}\n[[version]]\nid = {version}\nkey = \"{key}\""
        );
        let ring = KeyRing::parse(Path::new("vector"), &text).unwrap_or_else(|e| panic!("{e}"));
        let provider = FileProvider::new(name, ring);
        let wrapped = unhex(wrapped);
        let opened = provider.unwrap_now(version, &wrapped).expect("opens");
        assert_eq!(opened.expose().as_slice(), unhex(kek));
        // And the same bytes the other way round.
        let nonce = wrap::unwrap_nonce(&wrapped);
        let (number, key) = provider.ring.current();
        assert_eq!(wrap::wrap(key, name, number, nonce, &opened), wrapped);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn every_single_bit_flip_and_every_cut_is_refused() {
    let provider = FileProvider::new("main", ring(1, &[(1, [7; 32])]));
    let made = provider.generate_now().expect("generates");
    for bit in 0..made.wrapped.len() * 8 {
        let mut flipped = made.wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(provider.unwrap_now("1", &flipped).is_err(), "bit {bit}");
    }
    for len in 0..made.wrapped.len() {
        assert!(
            provider.unwrap_now("1", &made.wrapped[..len]).is_err(),
            "cut to {len}"
        );
    }
    let longer = [made.wrapped.as_slice(), &[0]].concat();
    assert!(provider.unwrap_now("1", &longer).is_err());
}

#[test]
fn a_wrong_key_file_is_named_as_such() {
    let sealed_by = FileProvider::new("main", ring(1, &[(1, [1; 32])]));
    let other = FileProvider::new("main", ring(1, &[(1, [2; 32])]));
    let made = sealed_by.generate_now().expect("generates");
    let (error, text) = message(other.unwrap_now("1", &made.wrapped));
    assert!(matches!(error, KeyError::Denied(_)));
    assert!(
        text.contains("wrapped by another key: key \"main\" version 1"),
        "{text}"
    );
    assert!(!error.retryable());
}

#[test]
fn a_missing_version_is_named_with_those_that_are_there() {
    let provider = FileProvider::new("main", ring(2, &[(2, [2; 32]), (3, [3; 32])]));
    let made = provider.generate_now().expect("generates");
    for version in ["1", "02", "+2", "", "4294967296"] {
        let (error, text) = message(provider.unwrap_now(version, &made.wrapped));
        assert!(matches!(error, KeyError::Denied(_)), "{version:?}");
        assert!(
            text.contains("versions 2, 3") && text.contains("test.keys"),
            "{text}"
        );
    }
}

#[test]
fn old_versions_open_after_a_rotation() {
    let before = FileProvider::new("main", ring(1, &[(1, [1; 32])]));
    let after = FileProvider::new("main", ring(2, &[(1, [1; 32]), (2, [2; 32])]));
    let old = before.generate_now().expect("generates");
    let new = after.generate_now().expect("generates");
    assert_eq!((old.version.as_str(), new.version.as_str()), ("1", "2"));
    assert!(after.unwrap_now("1", &old.wrapped).expect("opens") == old.kek);
    assert!(after.unwrap_now("2", &new.wrapped).expect("opens") == new.kek);
}

#[test]
fn a_created_ring_is_private_complete_and_never_overwritten() {
    let (dir, path) = new_path();
    let created = KeyRing::create(&path).expect("creates");
    let about = fs::metadata(&path).expect("is there");
    assert_eq!((about.mode() & 0o777, about.nlink()), (0o600, 1));
    let loaded = KeyRing::load(&path).expect("loads");
    assert!(loaded.current().1 == created.current().1 && loaded.current().0 == 1);
    let text = fs::read(&path).expect("reads");
    assert!(text.starts_with(b"# Sealgate key ring."));

    let again = match KeyRing::create(&path) {
        Ok(_) => panic!("overwrote a key ring"),
        Err(e) => e.to_string(),
    };
    assert!(again.contains("never overwritten"), "{again}");
    assert_eq!(fs::read(&path).expect("reads"), text);
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
}

#[test]
fn rotation_adds_a_version_and_keeps_the_rest_of_the_file() {
    let (_dir, path) = new_path();
    KeyRing::create(&path).expect("creates");
    let old = fs::read_to_string(&path).expect("reads") + "# by hand\n";
    fs::write(&path, &old).expect("writes");
    assert_eq!(KeyRing::rotate(&path, false).expect("rotates"), 2);
    let added = fs::read_to_string(&path).expect("reads");
    assert!(added.starts_with(&old), "nothing but an addition");
    let ring = KeyRing::load(&path).expect("loads, so it is private still");
    assert_eq!(ring.current().0, 1);
    assert_ne!(
        ring.version(1).map(Secret::expose),
        ring.version(2).map(Secret::expose)
    );
    KeyRing::use_version(&path, 2).expect("uses it");
    assert_eq!(KeyRing::rotate(&path, true).expect("rotates"), 3);
    let ring = KeyRing::load(&path).expect("loads");
    assert_eq!(
        (ring.current().0, ring.describe_versions()),
        (3, "versions 1, 2, 3".into())
    );
    let refused = KeyRing::use_version(&path, 7)
        .expect_err("there is none")
        .to_string();
    assert!(
        refused.contains("there is no version 7, it holds versions 1, 2, 3"),
        "{refused}"
    );
    assert_eq!(KeyRing::load(&path).expect("loads").current().0, 3);
    let left: Vec<_> = fs::read_dir(path.parent().expect("in a folder"))
        .expect("lists")
        .collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn a_ring_that_others_can_reach_is_refused() {
    let (_dir, path) = new_path();
    KeyRing::create(&path).expect("creates");
    for mode in [0o640, 0o604, 0o620, 0o601, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let text = match KeyRing::load(&path) {
            Ok(_) => panic!("accepted mode {mode:o}"),
            Err(e) => e.to_string(),
        };
        assert!(
            text.contains(&format!("{mode:04o}")) && text.contains("chmod 600"),
            "{text}"
        );
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        assert!(KeyRing::load(&path).is_ok(), "mode {mode:o}");
    }
}

#[test]
fn a_missing_ring_says_how_to_make_one() {
    let (dir, path) = new_path();
    let text = KeyRing::load(&path).err().expect("refused").to_string();
    assert!(
        text.contains("sealgate key create") && text.contains("main.keys"),
        "{text}"
    );
    let text = KeyRing::load(dir.path())
        .err()
        .expect("refused")
        .to_string();
    assert!(text.contains("not a regular file"), "{text}");
}

#[test]
fn malformed_rings_are_refused_precisely_and_without_their_keys() {
    let key = BASE64.encode([9; 32]);
    let head = "format = \"sealgate-keyring/1\"\ncurrent = 1\n";
    let good = format!("{head}[[version]]\nid = 1\nkey = \"{key}\"\n");
    assert!(KeyRing::parse(Path::new("x"), &good).is_ok());
    let cases = [
        (good.replace("/1", "/2"), "1:10: format"),
        (good.replace("current = 1", "current = 2"), "2:11: current"),
        (
            format!("{good}[[version]]\nid = 1\nkey = \"{key}\"\n"),
            "version 1 is there twice",
        ),
        (
            good.replace(&key, &BASE64.encode([9; 31])),
            "5:7: key of version 1",
        ),
        (
            good.replace(&key, &BASE64.encode([9; 33])),
            "this is 33 bytes",
        ),
        (good.replace(&key, &BASE64.encode([9; 64])), "32 bytes"),
        (good.replace(&key, &BASE64.encode([0; 32])), "all zero"),
        (
            good.replace(&key, "not base64!"),
            "32 bytes in base64 (44 characters)",
        ),
        (good.replace("id = 1", "id = 0"), "4:6: id"),
        (good.replace("id = 1", "id = -1"), "id"),
        (good.replace("id = 1", "id = \"1\""), "whole number"),
        (good.replace("id = 1\n", ""), "id is missing"),
        (good.replace("key =", "keys ="), "5:1: unknown entry"),
        (format!("{good}\nversion"), "8:"),
        (head.to_owned(), "version is missing"),
        (good.replace(&format!("\"{key}\""), &key), "5:"),
    ];
    for (text, expected) in cases {
        let said = refusal(&text);
        assert!(said.contains(expected), "{said:?} has no {expected:?}");
        assert!(
            !said.contains(&key[..16]),
            "the message shows the key: {said}"
        );
    }
}

proptest! {
    #[test]
    fn wrapping_is_undone_by_the_same_name_and_version_alone(
        key: [u8; 32], kek: [u8; 32], nonce: [u8; 12], version in 1u32.., name in "[a-z][a-z0-9._-]{0,30}",
        other in "[a-z][a-z0-9._-]{0,30}",
    ) {
        let key = Secret::new(key);
        let wrapped = wrap::wrap(&key, &name, version, nonce, &Secret::new(kek));
        prop_assert_eq!(wrapped.len(), WRAPPED_LEN);
        let opened = wrap::unwrap(&key, &name, version, &wrapped).ok();
        prop_assert!(opened.is_some_and(|opened| opened.expose() == &kek));
        prop_assert!(wrap::unwrap(&key, &name, version ^ 1, &wrapped).is_err());
        prop_assert_eq!(wrap::unwrap(&key, &other, version, &wrapped).is_ok(), name == other);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
        let _ = KeyRing::parse(Path::new("x"), &text);
    }
}
