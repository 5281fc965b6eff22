//! Processes under test: starting them, and asking the kernel what they used.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::{ANNOUNCEMENT, Outcome};

/// How long a process may take until it listens.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A process that is asked about; whoever started it ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    /// By its id.
    pub(crate) const fn new(pid: u32) -> Process {
        Process(pid)
    }

    /// Its id.
    pub(crate) const fn id(self) -> u32 {
        self.0
    }

    /// Seconds of CPU that it and its children have used, user and system.
    pub(crate) fn cpu(self) -> Outcome<f64> {
        let mut nanoseconds = cpu_nanoseconds(self.0)?;
        for child in children(self.0) {
            nanoseconds += cpu_nanoseconds(child)?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// A line of `/proc/PID/status` that is in KiB (`VmHWM`, `VmRSS`), in bytes.
    pub(crate) fn memory(self, line: &str) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))
            .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib << 10)
            .ok_or_else(|| format!("process {} has no {line}", self.0).into())
    }
}

/// A child process that is ended when this is dropped.
pub(crate) struct Child {
    inner: std::process::Child,
    addr: SocketAddr,
}

impl Child {
    /// Starts an instrument of this binary and waits until it says where it listens.
    pub(crate) fn instrument(name: &str, args: &[String]) -> Outcome<Child> {
        let mut inner = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(inner.stdout.take().ok_or("no standard output")?).lines();
        let line = lines
            .next()
            .ok_or_else(|| format!("{name} ended at once"))??;
        let addr = line
            .strip_prefix(ANNOUNCEMENT)
            .ok_or_else(|| format!("{name} said {line:?}"))?
            .parse()?;
        // So that it never blocks on a full pipe.
        thread::spawn(move || lines.for_each(drop));
        Ok(Child { inner, addr })
    }

    /// Starts `command`, its output going to `log`, and waits until `addr` accepts connections.
    pub(crate) fn server(
        name: &str,
        mut command: Command,
        addr: SocketAddr,
        log: &Path,
    ) -> Outcome<Child> {
        let out = fs::File::create(log)?;
        let inner = command
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .map_err(|e| format!("cannot start {name} ({command:?}): {e}"))?;
        let mut child = Child { inner, addr };
        let started = Instant::now();
        while TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_err() {
            if let Some(status) = child.inner.try_wait()? {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{name} ended with {status}: {}", said.trim()).into());
            }
            if started.elapsed() > START_WITHIN {
                return Err(
                    format!("{name} does not listen on {addr}; see {}", log.display()).into(),
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The kernel's books on it.
    pub(crate) fn process(&self) -> Process {
        Process(self.inner.id())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// A line of `/proc/PID/status` that is in KiB (`VmHWM`, `VmRSS`), in bytes.
    pub(crate) fn memory(&self, line: &str) -> Outcome<u64> {
        self.process().memory(line)
    }

    /// Asks it to end (SIGTERM through `kill`, which lets nginx take its workers along), then makes it.
    fn stop(&mut self) {
        let pid = self.inner.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().is_ok();
        let deadline = Instant::now() + Duration::from_secs(if asked { 3 } else { 0 });
        while Instant::now() < deadline {
            if matches!(self.inner.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _gone = self.inner.kill();
        let _reaped = self.inner.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Time on a CPU of all threads that live, from the scheduler's own books (`schedstat`): user and
/// system together, in nanoseconds where `/proc/PID/stat` counts in ticks of 10 ms. Threads that
/// ended are missing, but then the ticks show more.
fn cpu_nanoseconds(pid: u32) -> Outcome<u64> {
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            threads += text.split(' ').next().map_or(Ok(0), str::parse::<u64>)?;
        }
    }
    let ticks = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or("/proc/PID/stat is not understood")?;
    // Two ticks: user and system time are each rounded down.
    Ok(threads.max(ticks.saturating_sub(2) * NANOSECONDS_PER_TICK))
}

/// `USER_HZ` is 100 on every Linux port that this runs on.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// utime and stime: fields 14 and 15, counted after the command's name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn children(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// What the cores of the machine have done since it started, in ticks.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) struct Cores {
    idle: u64,
    all: u64,
}

impl Cores {
    /// Asks the kernel.
    pub(crate) fn now() -> Outcome<Cores> {
        Cores::parse(&fs::read_to_string("/proc/stat")?)
            .ok_or_else(|| "/proc/stat is not understood".into())
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq and steal; what guests took is in the first two.
    fn parse(stat: &str) -> Option<Cores> {
        let ticks = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = ticks
            .split_ascii_whitespace()
            .take(8)
            .map_while(|t| t.parse().ok())
            .collect();
        Some(Cores {
            idle: ticks.get(3)? + ticks.get(4)?,
            all: ticks.iter().sum(),
        })
    }

    /// The share of the time since `before` in which they did something.
    #[expect(clippy::cast_precision_loss, reason = "ticks of a measurement are few")]
    pub(crate) fn busy_since(self, before: Cores) -> f64 {
        let all = (self.all - before.all).max(1);
        1.0 - (self.idle - before.idle) as f64 / all as f64
    }
}

/// What the numbers were measured on.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    aead: String,
    /// One-minute load average before anything ran: what else the machine was doing.
    load_before: f64,
}

impl Machine {
    /// Asks this machine.
    pub(crate) fn here() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            info.lines()
                .find(|l| l.starts_with(name))
                .and_then(|l| l.split_once(':'))
                .map_or("", |(_, v)| v.trim())
                .to_owned()
        };
        let flags = field("flags");
        let has = |flag: &str| flags.split(' ').any(|f| f == flag);
        let extensions: Vec<_> = ["aes", "vaes", "avx2", "avx512f", "sha_ni"]
            .into_iter()
            .filter(|flag| has(flag))
            .collect();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|first| first.parse().ok());
        let speed = sealgate_aead::measure();
        Machine {
            cpu: format!("{} ({})", field("model name"), extensions.join(" ")),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("Linux {}", kernel.trim()),
            aead: format!(
                "AES-256-GCM at 16 KiB: aws-lc {:.1} GB/s, ring {:.1} GB/s; {} is used",
                speed.aws_lc,
                speed.ring,
                sealgate_aead::selected(),
            ),
            load_before: load.unwrap_or(f64::NAN),
        }
    }

    /// For a report.
    pub(crate) fn lines(&self) -> [String; 3] {
        [
            format!("{}, {} cores", self.cpu, self.cores),
            format!(
                "{}; load average before the run {:.1} (numbers of a busy machine are noisy)",
                self.kernel, self.load_before
            ),
            self.aead.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_whatever_the_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 3 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn the_share_of_busy_cores_is_found() {
        let parse = |line| Cores::parse(line).unwrap();
        let before = parse("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
        let now = parse("cpu  20 10 20 85 15 5 5 10 50 50\n");
        assert_eq!(before, Cores { idle: 80, all: 100 });
        assert!((now.busy_since(before) - 5.0 / 7.0).abs() < 1e-9);
        assert_eq!(Cores::parse("cpu0 1 2 3 4 5 6 7 8"), None);
        assert!(Cores::now().is_ok());
    }

    #[test]
    fn work_shows_up_as_cpu_time() {
        let before = cpu_nanoseconds(std::process::id()).unwrap();
        let started = Instant::now();
        let mut x = 1_u64;
        while started.elapsed() < Duration::from_millis(100) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let used = cpu_nanoseconds(std::process::id()).unwrap() - before;
        assert!(used > 5_000_000, "{used} ns");
    }
}
