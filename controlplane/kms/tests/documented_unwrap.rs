//! The program in docs/kms/file.md opens wrapped keys, and the committed vectors are those of PyPI `cryptography`.
//!
//! The interpreter is that of `SEALGATE_PYTHON`, else the project's own in `.cache/venv`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn interpreter() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SEALGATE_PYTHON") {
        return Some(path.into());
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv/bin/python3");
    own.exists().then_some(own)
}

#[test]
fn the_documented_program_opens_the_vectors() {
    let Some(python) = interpreter() else {
        // Straight to the terminal: the harness swallows what a passing test prints.
        let message =
            "NOT RUN: docs/kms/file.md's program, for want of SEALGATE_PYTHON and of .cache/venv";
        writeln!(std::io::stderr(), "{message}").expect("stderr");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kek_vectors.py");
    let output = Command::new(python)
        .arg(script)
        .arg("check")
        .output()
        .expect("SEALGATE_PYTHON, or .cache/venv/bin/python3, can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("2 vectors open"),
        "{said}{failed}"
    );
}
