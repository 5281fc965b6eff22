//! `docs/tools/sealgate_open.py` opens what this crate seals, and refuses what was tampered with.
//!
//! The interpreter is that of `SEALGATE_PYTHON`, else the project's own in `.cache/venv`; it needs
//! `cryptography` >= 50.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealgate_aead::{Aes256Gcm, Secret};
use sealgate_envelope::*;

use super::support::*;

fn interpreter() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SEALGATE_PYTHON") {
        return Some(path.into());
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv/bin/python3");
    own.exists().then_some(own)
}

struct Tool {
    python: PathBuf,
    folder: tempfile::TempDir,
}

impl Tool {
    fn run(
        &self,
        stored: &Stored,
        key: [&str; 2],
        place: &Location<'_>,
    ) -> (Output, Option<Vec<u8>>) {
        let path = |name| self.folder.path().join(name);
        std::fs::write(path("body"), &stored.body).unwrap();
        let pairs: [(&str, &[u8]); 1] = [("color", "bläu".as_bytes())];
        let metadata = serde_json::json!({ "Metadata": {
            "sealgate": stored.envelope.encode().unwrap(),
            "sealgate-m": seal_metadata(&dek(), &OBJECT, [6; 12], &pairs, metadata::MAX_CHARS).unwrap(),
        }});
        std::fs::write(path("metadata.json"), metadata.to_string()).unwrap();
        let _ = std::fs::remove_file(path("plaintext"));
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tools/sealgate_open.py");
        let output = Command::new(&self.python)
            .arg(script)
            .args([path("body"), path("metadata.json")])
            .arg("--output")
            .arg(path("plaintext"))
            .args(key)
            .args(["--bucket", std::str::from_utf8(place.bucket).unwrap()])
            .args(["--key", std::str::from_utf8(place.key).unwrap()])
            .output()
            .expect("SEALGATE_PYTHON, or .cache/venv/bin/python3, can be started");
        (output, std::fs::read(path("plaintext")).ok())
    }
}

/// A key ring file with one version.
fn key_ring(id: &str, key: [u8; 32]) -> String {
    format!(
        "format = \"sealgate-keyring/1\"\ncurrent = {id}\n[[version]]\nid = {id}\nkey = \"{}\"\n",
        STANDARD.encode(key)
    )
}

/// The same object, its KEK wrapped by version 3 of the key ring's key `main`.
fn under_a_key_ring(stored: &Stored) -> Stored {
    let cipher = Aes256Gcm::new(&Secret::new([0xB2; 32]));
    let mut sealed = KEK_BYTES;
    let tag = cipher.seal([0xC4; 12], b"sealgate/kek/v1\0main\x003", &mut sealed);
    // The reader ignores the key check, the eight bytes after the format.
    let wrapped = [&[1], [0; 8].as_slice(), &[0xC4; 12], &sealed, &tag].concat();
    let wrapped_kek = WrappedKek {
        wrapped,
        ..wrapped_kek()
    };
    let envelope = stored.envelope.rewrap(
        &dek(),
        &kek(),
        wrapped_kek,
        Binding::Key,
        [0xD5; 12],
        &PLACE,
    );
    Stored {
        envelope: envelope.unwrap(),
        body: stored.body.clone(),
        plaintext: stored.plaintext.clone(),
    }
}

#[test]
fn the_stand_alone_decryptor_opens_our_objects_and_no_others() {
    let Some(python) = interpreter() else {
        // Straight to the terminal: the harness swallows what a passing test prints.
        let message =
            "NOT RUN: the stand-alone decryptor, for want of SEALGATE_PYTHON and of .cache/venv";
        writeln!(std::io::stderr(), "{message}").unwrap();
        return;
    };
    let tool = Tool {
        python,
        folder: tempfile::tempdir().unwrap(),
    };
    let (kek_hex, dek_hex) = (hex::encode(KEK_BYTES), hex::encode(DEK_BYTES));
    let (by_kek, by_dek) = (["--kek", kek_hex.as_str()], ["--dek", dek_hex.as_str()]);

    let objects = [
        single(0),
        single(CHUNK),
        single(5 * MIB + 5),
        multipart(&[(7, 3)]),
        several_parts(),
        marker(None),
        marker(Some(ChecksumAlgorithm::Sha1)),
    ];
    for stored in &objects {
        for key in [by_kek, by_dek] {
            let (output, plaintext) = tool.run(stored, key, &PLACE);
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{complaint}");
            assert!(plaintext.is_some_and(|plaintext| plaintext == stored.plaintext));
            assert!(told.contains(r#""color": "bläu""#), "{told}");
        }
    }

    let refused = |stored: &Stored, key, place: &Location<'_>| {
        let (output, plaintext) = tool.run(stored, key, place);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && complaint.contains("not genuine"),
            "{complaint}"
        );
        assert_eq!(plaintext, None, "nothing is left behind");
    };
    let ring = tool.folder.path().join("ring.toml");
    let ring_path = ring.to_str().unwrap();
    let by_ring = ["--key-ring", ring_path];
    std::fs::write(&ring, key_ring("3", [0xB2; 32])).unwrap();
    let of_a_ring = under_a_key_ring(&objects[1]);
    let (output, plaintext) = tool.run(&of_a_ring, by_ring, &PLACE);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(plaintext.is_some_and(|plaintext| plaintext == of_a_ring.plaintext));

    let wrong = "00".repeat(32);
    let wrong = wrong.as_str();
    std::fs::write(&ring, key_ring("3", [0xB3; 32])).unwrap();
    refused(&of_a_ring, by_ring, &PLACE);
    std::fs::write(&ring, key_ring("4", [0xB2; 32])).unwrap();
    refused(&of_a_ring, by_ring, &PLACE);
    let elsewhere = Location {
        bucket: BUCKET,
        key: b"elsewhere",
    };
    refused(&objects[1], by_kek, &elsewhere);
    refused(&objects[1], ["--kek", wrong], &PLACE);
    refused(&objects[1], ["--dek", wrong], &PLACE);
    let mut with_body = marker(None);
    with_body.body = single(0).body;
    refused(&with_body, by_kek, &PLACE);
    let mut emptied = single(0);
    emptied.body.clear();
    refused(&emptied, by_kek, &PLACE);
    for mut stored in [
        single(100),
        single(5 * MIB),
        multipart(&[(1, 5 * MIB), (2, 1)]),
    ] {
        let len = stored.body.len();
        // Header, first chunk, padding (where there is some), sealed list, tail.
        for at in [
            0,
            30,
            60,
            len - 200,
            len - 136,
            len - 50,
            len - 30,
            len - 8,
            len - 1,
        ] {
            stored.body[at] ^= 0x10;
            refused(&stored, by_kek, &PLACE);
            stored.body[at] ^= 0x10;
        }
        stored.body.pop();
        refused(&stored, by_kek, &PLACE);
    }
}
