//! A gateway under callgrind, which counts every instruction that a thread runs, in user space.
//!
//! The processor that valgrind shows to the program has AVX2 and AES-NI, and neither SHA-NI nor AVX-512, whatever the
//! machine has: SHA-256 weighs more than in life (about 3,650 instructions per block of 64 bytes, for 400), and `rep stosb`
//! counts once per byte. It is the change that matters, and not the number.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::gateway::Setting;
use crate::net::Outcome;
use crate::process::Child;
use crate::relay::Driver;

/// What the dumps begin with.
const OUT: &str = "callgrind.out";

pub(super) struct Gateway {
    child: Child,
    folder: PathBuf,
}

impl Gateway {
    pub(super) fn start(setting: &Setting) -> Outcome<Gateway> {
        let folder = setting.folder.file("callgrind");
        // What an earlier one left at its end counts all that it did.
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => fs::create_dir_all(&folder)?,
        }
        let found = Command::new("valgrind").arg("--version").output();
        if found.is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Err("valgrind is missing: apt-get install valgrind".into());
        }
        let child = setting.start(Driver::Epoll, "callgrind", |plain| {
            let mut command = Command::new("valgrind");
            command
                .args(["--tool=callgrind", "--separate-threads=yes"])
                .arg(format!(
                    "--callgrind-out-file={}",
                    folder.join(OUT).display()
                ))
                .arg(plain.get_program())
                .args(plain.get_args());
            command
        })?;
        Ok(Gateway { child, folder })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.child.addr()
    }

    /// Instructions of the core's thread, by far the busiest, while `f` runs.
    pub(super) fn during(&self, what: &str, f: impl FnOnce() -> Outcome<()>) -> Outcome<u64> {
        self.tell("zero")?;
        f()?;
        self.tell(&format!("dump {what}"))?;
        let mut most = 0;
        let mut dumps = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with(OUT) {
                let text = fs::read_to_string(&path)?;
                let total = text.lines().rev().find_map(|l| l.strip_prefix("totals: "));
                let total = total.map_or(Ok(0), |n| n.trim().parse::<u64>())?;
                if total > most {
                    most = total;
                    fs::write(self.folder.join(format!("{what}.callgrind")), text)?;
                }
                dumps.push(path);
            }
        }
        for dump in dumps {
            fs::remove_file(dump)?;
        }
        if most == 0 {
            return Err("callgrind wrote no profile".into());
        }
        Ok(most)
    }

    /// Copies the profiles to a folder, one for each kind of request.
    pub(super) fn keep(&self, to: &Path) -> Outcome<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|e| e == "callgrind") {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn tell(&self, what: &str) -> Outcome<()> {
        let out = Command::new("vgdb")
            .arg(format!("--pid={}", self.child.pid()))
            .args(what.split(' '))
            .output()?;
        if out.status.success() {
            return Ok(());
        }
        Err(format!("vgdb {what}: {}", String::from_utf8_lossy(&out.stderr)).into())
    }
}
