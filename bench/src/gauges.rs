//! Gauges that do not depend on how fast the machine is, so that continuous integration can hold a baseline: system calls,
//! heap allocations and copied bytes of a real gateway process, instructions of small requests, memory of idle
//! connections.
//!
//! A library that is preloaded into the gateway ([`counting`]) counts on the thread of the core alone; instructions come
//! from callgrind ([`callgrind`]). Whatever is per MiB is the slope between two sizes, and whatever is per request the
//! mean of many on one warm connection: what a start or a first use costs is in neither.

mod baseline;
mod callgrind;
mod client;
mod counting;
mod gateway;

use std::path::PathBuf;

use clap::Args;

use crate::contenders::{self, Congestion, Folder};
use crate::net::Outcome;
use crate::process::Child;
use crate::relay::Driver;
use crate::units::MIB;
use baseline::Reading;
use client::{Action, Client};
use counting::{Counted, Counts};
use gateway::Setting;

/// What the objects that stay are called.
const KEPT: &str = "kept";

/// Bytes of a small object.
const SMALL: usize = 1024;

/// Objects in the bucket that is listed.
const LISTED: usize = 1000;

/// The two sizes of large objects.
const LARGE: [usize; 2] = [32 * MIB, 96 * MIB];

/// Idle connections, where as many files may be open.
const IDLE: usize = 500;

/// `sealgate-bench gauges`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The gateway's binary, a release build; by default the one beside this one
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// What was measured before
    #[arg(long, default_value = "bench/baseline.toml")]
    baseline: PathBuf,
    /// Write what is measured now to the baseline
    #[arg(long)]
    write: bool,
    /// Only the gauges whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// Fail when a goal is missed, and not only when a gauge got worse
    #[arg(long)]
    goals: bool,
    /// Leave callgrind's profiles here
    #[arg(long)]
    profiles: Option<PathBuf>,
}

/// Measures, prints a table, and fails when anything got worse than the baseline allows.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let _congestion = Congestion::set();
    let folder = Folder::new(None)?;
    let binary = contenders::gateway_binary(options.gateway.as_deref())?;
    let store = Child::instrument(
        "null store",
        &["null-store", "--listen", "127.0.0.1:0", "--keep", KEPT].map(Into::into),
    )?;
    let setting = Setting::new(binary, folder, store.addr());
    let mut readings = Vec::new();
    let wanted = |group: &str| {
        options.only.is_empty() || group.contains(&options.only) || options.only.starts_with(group)
    };
    for driver in [Driver::IoUring, Driver::Epoll] {
        if wanted(driver.name()) {
            again(&mut readings, |to| counted(&setting, driver, to))?;
        }
    }
    if wanted("instructions") {
        again(&mut readings, |to| instructions(&setting, options, to))?;
    }
    readings.retain(|r: &Reading| r.name.contains(&options.only));
    baseline::judge(&readings, options)
}

/// A port that was free may be another's a moment later, and a busy machine may be slow to start a program: once more.
fn again(
    readings: &mut Vec<Reading>,
    mut measure: impl FnMut(&mut Vec<Reading>) -> Outcome<()>,
) -> Outcome<()> {
    let before = readings.len();
    measure(readings).or_else(|e| {
        eprintln!("once more, because of: {e}");
        readings.truncate(before);
        measure(readings)
    })
}

/// Small requests, by what is done and how often.
const REQUESTS: [(&str, Action, usize); 4] = [
    ("get_1k", Action::Get, 200),
    ("put_1k", Action::Put, 200),
    ("head", Action::Head, 200),
    ("list_1000", Action::List, 5),
];

/// Everything that the preloaded library counts, and memory, with one driver.
fn counted(setting: &Setting, driver: Driver, readings: &mut Vec<Reading>) -> Outcome<()> {
    let gateway = Counted::start(setting, driver)?;
    let mut client = Client::connect(gateway.addr())?;
    prepare(&mut client)?;
    let name = driver.name();
    let mut take = |what: &str, value: f64| readings.push(Reading::new(name, what, value));

    for (what, action, times) in REQUESTS {
        client.repeat(action, times.min(20))?;
        let counts = gateway.during(|| client.repeat(action, times))?;
        let each = |n: u64| n as f64 / times as f64;
        take(&format!("{what}.allocations"), each(counts.allocations));
        take(
            &format!("{what}.system_calls"),
            each(counts.enters + counts.calls),
        );
        take(&format!("{what}.copied_bytes"), each(counts.copied));
    }
    for (what, upload) in [("put", true), ("get", false)] {
        let mut both = [Counts::default(); 2];
        for (size, counts) in LARGE.into_iter().zip(&mut both) {
            let path = format!("/bench/{KEPT}-{size}");
            let mut once = || client.bulk(upload, &path, size);
            once()?;
            // Other loads of the machine only ever add to it: the least of a few is what the gateway needs.
            let runs: Outcome<Vec<_>> = (0..3).map(|_| gateway.during(&mut once)).collect();
            *counts = Counts::least(&runs?);
        }
        let slope = |n: fn(&Counts) -> u64| {
            let [a, b] = [n(&both[0]), n(&both[1])];
            (b as f64 - a as f64) / ((LARGE[1] - LARGE[0]) / MIB) as f64
        };
        take(
            &format!("{what}.system_calls_per_mib"),
            slope(|c| c.enters + c.calls),
        );
        if driver == Driver::IoUring {
            take(&format!("{what}.enters_per_mib"), slope(|c| c.enters));
        }
        take(
            &format!("{what}.allocations_per_mib"),
            slope(|c| c.allocations),
        );
        take(
            &format!("{what}.copied_percent"),
            slope(|c| c.copied) / MIB as f64 * 100.0,
        );
    }
    take("idle_connection.kib", idle(&gateway)?);
    Ok(())
}

/// KiB of resident memory that a keep-alive connection takes after a request.
fn idle(gateway: &Counted) -> Outcome<f64> {
    let connect = |n| -> Outcome<Vec<Client>> {
        (0..n)
            .map(|_| {
                let mut client = Client::connect(gateway.addr())?;
                client.repeat(Action::Get, 1)?;
                Ok(client)
            })
            .collect()
    };
    let _first = connect(50)?;
    let before = gateway.resident()?;
    let _idle = connect(IDLE)?;
    Ok((gateway.resident()? as f64 - before as f64) / 1024.0 / IDLE as f64)
}

/// What is read and listed later.
fn prepare(client: &mut Client) -> Outcome<()> {
    client.create_bucket("/bench")?;
    client.create_bucket("/lists")?;
    client.repeat(Action::Put, 1)?;
    for i in 0..LISTED {
        client.put(
            &format!("/lists/a/folder/of/ordinary/depth/object-{i:06}.bin"),
            SMALL,
        )?;
    }
    Ok(())
}

/// Instructions of small requests, on the epoll driver.
fn instructions(setting: &Setting, options: &Options, readings: &mut Vec<Reading>) -> Outcome<()> {
    // Filled through a gateway that is quicker.
    {
        let plain = setting.start(Driver::Epoll, "fill", |command| command)?;
        prepare(&mut Client::connect(plain.addr())?)?;
    }
    let gateway = callgrind::Gateway::start(setting)?;
    let mut client = Client::connect(gateway.addr())?;
    for (what, action, times) in REQUESTS {
        client.repeat(action, times.min(20))?;
        let total = gateway.during(what, || client.repeat(action, times))?;
        readings.push(Reading::new(
            "instructions",
            what,
            total as f64 / times as f64,
        ));
    }
    if let Some(to) = &options.profiles {
        gateway.keep(to)?;
    }
    Ok(())
}
