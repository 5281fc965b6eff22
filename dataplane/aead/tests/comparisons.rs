//! A lint that the compiler has not: no source compares secrets, or what authenticates something, with `==`.

use std::path::{Path, PathBuf};

/// Names of values that are compared in constant time or not at all.
const NAMES: [&str; 13] = [
    "secret",
    "secret_key",
    "password",
    "pin",
    "passphrase",
    "session_token",
    "signature",
    "mac",
    "hmac",
    "tag_bytes",
    "commitment",
    "dek",
    "kek",
];
/// Comparisons that leave as soon as something differs.
const COMPARES: [&str; 7] = [
    "==",
    "!=",
    ".eq(",
    ".ne(",
    ".contains(",
    ".starts_with(",
    ".ends_with(",
];

/// What is wrong with a line, if anything.
fn offence(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    if code.contains("expose()") && COMPARES.iter().any(|c| code.contains(c)) {
        return Some("exposed bytes of a secret are compared");
    }
    for operator in ["==", "!="] {
        for (at, _) in code.match_indices(operator) {
            let (before, after) = (&code[..at], &code[at + 2..]);
            if NAMES.contains(&last_name(before)) || NAMES.contains(&first_name(after)) {
                return Some("a secret, or what authenticates something, is compared");
            }
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name of a path's last field: `secret` of `self.user.secret `.
fn last_name(before: &str) -> &str {
    before
        .trim_end()
        .rsplit(|c| !is_name(c))
        .next()
        .unwrap_or_default()
}

/// The last field of the path that something begins with: `mac` of ` &other.mac {`.
fn first_name(after: &str) -> &str {
    let path = after.trim_start().trim_start_matches(['&', '*']);
    let end = path.find(|c| !is_name(c) && c != '.').unwrap_or(path.len());
    if path[end..].starts_with('(') {
        return "";
    }
    path[..end].rsplit('.').next().unwrap_or_default()
}

/// Source files of the program, without tests.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["tests", "benches", "target", "testing"].contains(&name.as_str()) {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push(path);
        }
    }
}

#[test]
fn no_exposed_secret_is_compared() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    sources(&root.join("dataplane"), &mut files);
    sources(&root.join("controlplane"), &mut files);
    assert!(files.len() > 100, "the source is elsewhere");
    let mut offences = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (n, line) in text.lines().enumerate() {
            if line.trim() == "#[cfg(test)]" {
                break;
            }
            if let Some(what) = offence(line) {
                offences.push(format!(
                    "{}:{}: {what}: {}",
                    file.display(),
                    n + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(
        offences.is_empty(),
        "compare in constant time (subtle::ConstantTimeEq):\n{}",
        offences.join("\n")
    );
}

#[test]
fn the_lint_sees_what_it_should() {
    for bad in [
        "if a.expose() == b {",
        "    if self.secret != other.secret {",
        "let same = signature == expected;",
        "assert!(expected == &sent.signature);",
        "if known.expose().starts_with(b) {",
        "if mac != theirs { // not equal",
    ] {
        assert!(offence(bad).is_some(), "{bad}");
    }
    for good in [
        "if bool::from(a.ct_eq(&b)) {",
        "let key = secret.expose(); // == is not used",
        "if signature.len() != 64 {",
        "if kek_id == other.id {",
        "if row.secret && name == key {",
    ] {
        assert!(offence(good).is_none(), "{good}");
    }
}
