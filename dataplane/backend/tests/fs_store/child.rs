//! Tests that need other processes: the test binary runs itself again, with the same test and a part to play.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROOT: &str = "SEALGATE_TEST_ROOT";
const PART: &str = "SEALGATE_TEST_PART";
/// Starts every line that a child says: the test runner writes to the same pipe.
const MARK: &str = "child: ";

/// Store and part of this process, if it is a child.
pub(crate) fn my_part() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(ROOT)?.into(), std::env::var(PART).ok()?))
}

/// Starts a process that runs `test` of this binary on `root` with `part`; it waits in [`ready`].
pub(crate) fn start(test: &str, root: &Path, part: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ROOT, root)
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In a child: says that it is ready and waits for [`go`].
pub(crate) fn ready() {
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// In a child: tells the parent. Once this returns, a kill does not take it back.
pub(crate) fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // One write, so that lines stay whole.
    out.write_all(format!("{MARK}{what}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Waits until all children are ready, then lets them begin at once.
pub(crate) fn go(children: &mut [Child]) -> Vec<BufReader<std::process::ChildStdout>> {
    let mut heard = Vec::new();
    for child in children.iter_mut() {
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.ends_with(&format!("{MARK}ready\n")) {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "a child ended early");
        }
        heard.push(out);
    }
    for child in children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    heard
}

/// Everything that a child said until it ended; a line that a kill cut short is none.
pub(crate) fn heard(out: BufReader<std::process::ChildStdout>) -> Vec<String> {
    let whole = out
        .split(b'\n')
        .map_while(Result::ok)
        .map(|l| String::from_utf8_lossy(&l).into_owned());
    whole
        .filter_map(|l| Some(l.split_once(MARK)?.1.to_owned()))
        .collect()
}
