//! System calls per MiB of an upload on io_uring (G11), counted by the kernel through `perf`. The goal is about
//! `io_uring_enter`; the calls that move bulk beside the ring count as much.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Group;
use super::lab::Lab;
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::Process;
use crate::relay::Driver;
use crate::units::{MIB, show_size};

/// What is counted.
const CALLS: &str =
    "syscalls:sys_enter_io_uring_enter,syscalls:sys_enter_recvmsg,syscalls:sys_enter_sendmsg";

/// Until `perf` counts.
const ATTACHED: Duration = Duration::from_millis(500);

pub(super) struct Syscalls;

fn work(lab: &Lab, verb: Verb) -> Work {
    let verb = verb.name().to_uppercase();
    let title = format!(
        "{verb} {}: io_uring_enter, recvmsg, sendmsg",
        show_size(lab.options.size)
    );
    Work::new(title, Unit::CallsPerMib)
}

/// System calls by a process while `work` goes on; `None` where the kernel does not let us count.
fn count(process: Process, work: impl FnOnce() -> Outcome<()>) -> Outcome<Option<u64>> {
    let mut perf = Command::new("perf")
        .args(["stat", "-x", ",", "-e", CALLS, "-p"])
        .arg(process.id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("perf counts system calls, and cannot be started: {e}"))?;
    thread::sleep(ATTACHED);
    if perf.try_wait()?.is_some() {
        let said = perf.wait_with_output()?;
        eprintln!("perf: {}", String::from_utf8_lossy(&said.stderr).trim());
        return Ok(None);
    }
    work()?;
    let asked = Command::new("kill")
        .args(["-INT", &perf.id().to_string()])
        .status()?;
    if !asked.success() {
        return Err("perf cannot be stopped".into());
    }
    let said = perf.wait_with_output()?;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    let counts = text.lines().filter(|line| line.contains("syscalls:"));
    let count = counts
        .map(|line| line.split(',').next()?.parse::<u64>().ok())
        .sum::<Option<u64>>()
        .filter(|&calls| calls > 0);
    if count.is_none() {
        eprintln!("perf: {}", text.trim());
    }
    Ok(count)
}

impl Group for Syscalls {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let found = lab
            .gateways
            .iter()
            .find(|(driver, _)| *driver == Driver::IoUring);
        let Some((driver, gateway)) = found else {
            return Ok(());
        };
        let size = lab.options.size;
        let load = |verb, key: &str| load::Options::new(verb, gateway.addr(), key, size);
        let sealed = lab.sealed(size)?;
        for (verb, key) in [(Verb::Put, "dropped"), (Verb::Get, sealed.as_str())] {
            let load = load(verb, key);
            let calls = count(gateway.process(), || generate(&load).map(drop))?;
            let Some(calls) = calls else { continue };
            let cell = Cell {
                work: work(lab, verb),
                contender: "gateway".into(),
                connections: 1,
                driver: Some(*driver),
            };
            samples.add(cell, calls as f64 / (size as f64 / MIB as f64));
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let work = work(lab, Verb::Put);
        let calls = samples.cost(&work, "gateway", 1, None);
        let verdict = |calls| Verdict {
            stretch: Some(2.5),
            ..Verdict::absolute("G11", work.title.clone(), calls, 4.0, "calls/MiB")
        };
        calls.map(verdict).into_iter().collect()
    }

    fn most_rounds(&self) -> usize {
        3
    }
}
