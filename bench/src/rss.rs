//! Memory of the gateway under many large transfers at once.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::contenders::{self, Congestion, Folder, Settings};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::relay::Driver;
use crate::units::{MIB, parse_size, show_size};

/// Each stream may cost so much.
const PER_STREAM: u64 = 9 << 18;

/// Besides the streams.
const BASE: u64 = 64 << 20;

/// `sealgate-bench rss`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The gateway's binary; by default the one beside this one
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Uploads at once, then as many downloads
    #[arg(long, default_value_t = 64)]
    streams: usize,
    /// Bytes of an object
    #[arg(long, value_parser = parse_size, default_value = "1GiB")]
    size: u64,
    /// Bytes per second of each upload; unbounded unless given
    #[arg(long, value_parser = parse_size)]
    pace: Option<u64>,
    /// Uploads and downloads at the same time instead of one after the other
    #[arg(long)]
    together: bool,
    /// Cores of the gateway
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// Its driver
    #[arg(long, value_enum, default_value = "io_uring")]
    driver: Driver,
}

/// Runs all streams at once, prints the peak, and fails when it is above the goal.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let _congestion = Congestion::set();
    let folder = Folder::new(None)?;
    let binary = contenders::gateway_binary(options.gateway.as_deref())?;
    let store = contenders::null_store("kept", &[])?;
    let addr = store.addr();
    let settings = Settings::new(addr, options.driver, options.cores);
    let gateway = contenders::gateway("gateway", &binary, &folder, &settings)?;
    let to = gateway.addr();
    generate(&load::Options::new(
        Verb::Put,
        to,
        "kept-large",
        options.size,
    ))?;
    let idle = gateway.memory("VmRSS")?;

    let streams = options.streams;
    let all =
        |verb, key| load::Options::new(verb, to, key, options.size).times(streams, streams as u64);
    let mut uploads = all(Verb::Put, "dropped");
    uploads.pace = options.pace;
    let downloads = all(Verb::Get, "kept-large-0");
    let started = Instant::now();
    let uploads = thread::spawn(move || generate(&uploads));
    let mut retries = 0;
    if !options.together {
        while !uploads.is_finished() {
            thread::sleep(Duration::from_millis(50));
        }
    }
    let downloads = thread::spawn(move || generate(&downloads));
    for load in [uploads, downloads] {
        retries += load.join().map_err(|_| "the load panicked")??.retries;
    }
    let seconds = started.elapsed().as_secs_f64();
    let peak = gateway.memory("VmHWM")?;
    let goal = streams as u64 * PER_STREAM + BASE;
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    println!(
        "{streams} uploads {} {streams} downloads of {} ({}, {} core(s), {seconds:.0} s, {retries} \
         retries): peak RSS {:.1} MiB, before {:.1} MiB, after {:.1} MiB; goal ≤ {:.0} MiB",
        if options.together { "and" } else { "then" },
        show_size(options.size),
        options.driver.name(),
        options.cores,
        mib(peak),
        mib(idle),
        mib(gateway.memory("VmRSS")?),
        mib(goal),
    );
    if peak > goal {
        return Err("the gateway takes more memory than its goal".into());
    }
    Ok(())
}
