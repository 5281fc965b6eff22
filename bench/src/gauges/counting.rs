//! A gateway with a library preloaded that counts (`count.c`), and the reading of its counters.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::gateway::Setting;
use crate::net::Outcome;
use crate::process::Child;
use crate::relay::Driver;

/// Bytes of a thread's counters in the file, and how many there are.
const SLOT: usize = 64;
const SLOTS: usize = 256;

/// Threads of the data plane are called so, with their number.
const CORE: &str = "sealgate-";

/// What a core's thread has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    /// Calls of malloc, calloc, realloc and the aligned ones.
    pub(super) allocations: u64,
    /// Bytes given to memcpy and memmove.
    pub(super) copied: u64,
    /// Calls of `io_uring_enter`.
    pub(super) enters: u64,
    /// Other system calls that move data or wait for it.
    pub(super) calls: u64,
}

impl Counts {
    /// Of each the least.
    pub(super) fn least(all: &[Counts]) -> Counts {
        let least = |n: fn(&Counts) -> u64| all.iter().map(n).min().unwrap_or(0);
        Counts {
            allocations: least(|c| c.allocations),
            copied: least(|c| c.copied),
            enters: least(|c| c.enters),
            calls: least(|c| c.calls),
        }
    }
}

pub(super) struct Counted {
    gateway: Child,
    counters: File,
}

impl Counted {
    pub(super) fn start(setting: &Setting, driver: Driver) -> Outcome<Counted> {
        let library = setting.folder.file("count.so");
        if !library.exists() {
            compile(&setting.folder.file("count.c"), &library)?;
        }
        let path = setting.folder.file(&format!("counters-{}", driver.name()));
        let counters = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        counters.set_len((SLOT * SLOTS) as u64)?;
        let gateway = setting.start(driver, driver.name(), |mut command| {
            command
                .env("LD_PRELOAD", &library)
                .env("SEALGATE_GAUGES", &path);
            command
        })?;
        Ok(Counted { gateway, counters })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.gateway.addr()
    }

    /// Resident memory, in bytes.
    pub(super) fn resident(&self) -> Outcome<u64> {
        self.settled()?;
        self.gateway.memory("VmRSS")
    }

    /// What the core's thread does while `f` runs and until it is at rest again.
    pub(super) fn during(&self, f: impl FnOnce() -> Outcome<()>) -> Outcome<Counts> {
        let before = self.settled()?;
        f()?;
        let after = self.settled()?;
        Ok(Counts {
            allocations: after.allocations - before.allocations,
            copied: after.copied - before.copied,
            enters: after.enters - before.enters,
            calls: after.calls - before.calls,
        })
    }

    /// The counters, as soon as they stand still for a moment.
    fn settled(&self) -> Outcome<Counts> {
        let give_up = Instant::now() + Duration::from_secs(5);
        let mut last = self.read()?;
        loop {
            thread::sleep(Duration::from_millis(15));
            let now = self.read()?;
            if now == last || Instant::now() > give_up {
                return Ok(now);
            }
            last = now;
        }
    }

    fn read(&self) -> Outcome<Counts> {
        let mut bytes = [0; SLOT * SLOTS];
        self.counters.read_exact_at(&mut bytes, 0)?;
        let mut sum = None;
        for slot in bytes.chunks_exact(SLOT) {
            let mut words = slot.as_chunks().0.iter().map(|w| u64::from_ne_bytes(*w));
            let mut next = || words.next().unwrap_or(0);
            let thread = next();
            if thread == 0 || !self.is_core(thread) {
                continue;
            }
            let [allocations, _copies, copied, enters, calls] = [(); 5].map(|()| next());
            let counts: &mut Counts = sum.get_or_insert_default();
            counts.allocations += allocations;
            counts.copied += copied;
            counts.enters += enters;
            counts.calls += calls;
        }
        sum.ok_or_else(|| {
            "no thread of the data plane counts: is the gateway linked with glibc?".into()
        })
    }

    fn is_core(&self, thread: u64) -> bool {
        let pid = self.gateway.pid();
        fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm"))
            .is_ok_and(|name| name.starts_with(CORE))
    }
}

/// Builds the library by the system's C compiler.
fn compile(source: &Path, library: &Path) -> Outcome<()> {
    fs::write(source, include_str!("count.c"))?;
    let out = Command::new("cc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-fno-builtin"])
        // Its own loops must not become the calls that it replaces.
        .arg("-fno-tree-loop-distribute-patterns")
        .arg("-o")
        .args([library, source])
        .arg("-ldl")
        .output()
        .map_err(|e| format!("cannot run cc, a C compiler (apt-get install gcc): {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("cc: {}", String::from_utf8_lossy(&out.stderr)).into())
}
