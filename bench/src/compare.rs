//! One command that says what the gateway costs, and how far that is from the floor.
//!
//! All contenders run at once and are loaded one at a time, in turn, round after round, so that
//! whatever else the machine does falls on all of them. What counts is the CPU time of the contender's
//! process; medians of the rounds are compared, never numbers of different runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::contenders::{self, Congestion, Folder};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::{Child, Machine};
use crate::relay::{self, Direction, Driver, Ends, Floor};
use crate::report;
use crate::units::{GIB, parse_size};

/// Of a bulk transfer, against RA.
const BULK_GOAL: f64 = 1.6;

/// Of a small GET, against an nginx hop.
const SMALL_GOAL: f64 = 2.0;

/// Bytes of a small object.
const SMALL: u64 = 1 << 10;

/// Connections of the small GETs.
const SMALL_CONNECTIONS: usize = 64;

/// Pause before the books are read, for work that follows an answer.
const SETTLE: Duration = Duration::from_millis(30);

/// `sealgate-bench compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The gateway's binary; by default the one beside this one
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of a large object
    #[arg(long, value_parser = parse_size, default_value = "1GiB")]
    size: u64,
    /// Connections of the second bulk measurement, each moving one large object
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Small GETs of one measurement
    #[arg(long, default_value_t = 50_000)]
    small_requests: u64,
    /// Cores of the gateway; the floors have one
    #[arg(long, default_value_t = 1)]
    cores: usize,
    /// Drivers to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "io_uring,epoll"
    )]
    drivers: Vec<Driver>,
    /// Leave nginx out
    #[arg(long)]
    no_nginx: bool,
    /// Leave the gateway out: only the floors, the store and nginx
    #[arg(long)]
    floors_only: bool,
    /// Folder for the report; made if missing
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What one measurement is of.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Cell {
    /// What was done, such as `PUT 1 GiB`.
    pub(crate) work: Work,
    /// Who did it.
    pub(crate) contender: String,
    /// Connections.
    pub(crate) connections: usize,
    /// How it asked the kernel; nginx has epoll.
    pub(crate) driver: Driver,
}

/// What was done.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Work {
    /// CPU seconds per GiB uploaded.
    Put,
    /// CPU seconds per GiB downloaded.
    Get,
    /// CPU microseconds per GET of 1 KiB.
    SmallGet,
}

/// One round's numbers of a cell.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// CPU-s/GiB, or CPU-µs per request.
    pub(crate) cost: f64,
    /// GiB/s, or requests/s: what came of it, on a machine that the other ends share.
    pub(crate) rate: f64,
    /// Median and 99th percentile of latency in microseconds, of small requests.
    pub(crate) latency: Option<(f64, f64)>,
}

/// All rounds.
pub(crate) type Samples = BTreeMap<Cell, Vec<Sample>>;

/// A goal, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// What was compared.
    pub(crate) what: String,
    /// Median cost of the gateway, and of what it is held against.
    pub(crate) gateway: f64,
    /// The same of what it is held against.
    pub(crate) against: f64,
    /// gateway / against.
    pub(crate) ratio: f64,
    /// The ratio must not exceed this.
    pub(crate) goal: f64,
}

/// The gateway, the relays and nginx, as they are of one driver.
struct Team {
    driver: Driver,
    gateway: Option<Child>,
    relays: Vec<(Floor, Direction, Child)>,
}

/// Measures and reports.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let _congestion = Congestion::set();
    let folder = Folder::new(None)?;
    let machine = Machine::here();
    let ends = Ends::start()?;
    let store = contenders::null_store("kept", None)?;
    let nginx = match options.no_nginx {
        true => None,
        false => Some(contenders::nginx(&folder, store.addr())?),
    };
    let teams = options
        .drivers
        .iter()
        .map(|driver| team(options, &folder, &store, &ends, *driver))
        .collect::<Outcome<Vec<_>>>()?;
    // Sealed objects through each gateway, plain ones for nginx, and every path warm.
    let mut samples = Samples::new();
    prepare(options, &store, &teams)?;
    round(
        options,
        &ends,
        nginx.as_ref(),
        &teams,
        &mut Samples::new(),
        true,
    )?;
    for n in 1..=options.rounds {
        eprintln!("round {n} of {}", options.rounds);
        round(options, &ends, nginx.as_ref(), &teams, &mut samples, false)?;
    }
    let verdicts = verdicts(options, &samples);
    let report = report::Report {
        machine,
        size: options.size,
        rounds: options.rounds,
        cores: options.cores,
        samples: &samples,
        verdicts: &verdicts,
    };
    println!("{}", report.markdown());
    if let Some(out) = &options.out {
        report.write(out)?;
    }
    Ok(())
}

fn team(
    options: &Options,
    folder: &Folder,
    store: &Child,
    ends: &Ends,
    driver: Driver,
) -> Outcome<Team> {
    let gateway = match options.floors_only {
        true => None,
        false => {
            let binary: PathBuf = contenders::gateway_binary(options.gateway.as_deref())?;
            let gateway = contenders::gateway(&binary, folder, store.addr(), driver, options.cores);
            Some(gateway?)
        }
    };
    let mut relays = Vec::new();
    for (floor, direction) in [
        (Floor::R, Direction::Put),
        (Floor::Ru, Direction::Put),
        (Floor::Ra, Direction::Put),
        (Floor::R, Direction::Get),
        (Floor::Ra, Direction::Get),
    ] {
        let to = ends.behind(floor, direction);
        let args = relay::Options::args(floor, direction, driver, to);
        relays.push((floor, direction, Child::instrument("relay", &args)?));
    }
    Ok(Team {
        driver,
        gateway,
        relays,
    })
}

fn prepare(options: &Options, store: &Child, teams: &[Team]) -> Outcome<()> {
    let put = |to, key: &str, size| generate(&load::Options::new(Verb::Put, to, key, size));
    put(store.addr(), "kept-plain-small", SMALL)?;
    for team in teams {
        if let Some(gateway) = &team.gateway {
            put(gateway.addr(), "kept-small", SMALL)?;
            put(gateway.addr(), "kept-large", options.size)?;
        }
    }
    Ok(())
}

/// Every cell once, those that are compared next to each other.
fn round(
    options: &Options,
    ends: &Ends,
    nginx: Option<&Child>,
    teams: &[Team],
    samples: &mut Samples,
    warming: bool,
) -> Outcome<()> {
    let connections = if warming {
        vec![1]
    } else {
        vec![1, options.connections]
    };
    for connections in connections {
        for direction in [Direction::Put, Direction::Get] {
            for team in teams {
                bulk(options, ends, team, direction, connections, samples)?;
            }
        }
    }
    let requests = if warming {
        options.small_requests / 10
    } else {
        options.small_requests
    };
    if let Some(nginx) = nginx {
        let key = "kept-plain-small-0";
        small(nginx, "nginx", Driver::Epoll, key, requests, samples)?;
    }
    for team in teams {
        if let Some(gateway) = &team.gateway {
            small(
                gateway,
                "gateway",
                team.driver,
                "kept-small-0",
                requests,
                samples,
            )?;
        }
    }
    Ok(())
}

fn bulk(
    options: &Options,
    ends: &Ends,
    team: &Team,
    direction: Direction,
    connections: usize,
    samples: &mut Samples,
) -> Outcome<()> {
    let (work, verb, key) = match direction {
        Direction::Put => (Work::Put, Verb::Put, "dropped"),
        Direction::Get => (Work::Get, Verb::Get, "kept-large-0"),
    };
    let gib = (options.size * connections as u64) as f64 / GIB as f64;
    let mut add = |contender: &str, cpu: f64, elapsed: Duration| {
        let cell = Cell {
            work,
            contender: contender.into(),
            connections,
            driver: team.driver,
        };
        samples.entry(cell).or_default().push(Sample {
            cost: cpu / gib,
            rate: gib / elapsed.as_secs_f64(),
            latency: None,
        });
    };
    for (floor, _, relay) in team.relays.iter().filter(|(_, d, _)| *d == direction) {
        let (cpu, elapsed, ()) = measure(relay, || {
            ends.drive(relay.addr(), direction, options.size, connections)
        })?;
        add(name_of(*floor), cpu, elapsed);
    }
    if let Some(gateway) = &team.gateway {
        let load = load::Options::new(verb, gateway.addr(), key, options.size)
            .times(connections, connections as u64);
        let (cpu, elapsed, _) = measure(gateway, || generate(&load))?;
        add("gateway", cpu, elapsed);
    }
    Ok(())
}

fn small(
    child: &Child,
    contender: &str,
    driver: Driver,
    key: &str,
    requests: u64,
    samples: &mut Samples,
) -> Outcome<()> {
    let load =
        load::Options::new(Verb::Get, child.addr(), key, SMALL).times(SMALL_CONNECTIONS, requests);
    let (cpu, _, summary) = measure(child, || generate(&load))?;
    let cell = Cell {
        work: Work::SmallGet,
        contender: contender.into(),
        connections: SMALL_CONNECTIONS,
        driver,
    };
    samples.entry(cell).or_default().push(Sample {
        cost: cpu * 1e6 / requests as f64,
        rate: summary.rate(),
        latency: Some((summary.percentile(50.0), summary.percentile(99.0))),
    });
    Ok(())
}

/// CPU seconds that `child` used while `work` went on, and how long that took.
fn measure<T>(child: &Child, work: impl FnOnce() -> Outcome<T>) -> Outcome<(f64, Duration, T)> {
    let before = child.cpu()?;
    let started = Instant::now();
    let done = work().map_err(|e| format!("{}: {e}", child.name()))?;
    let elapsed = started.elapsed();
    std::thread::sleep(SETTLE);
    Ok((child.cpu()? - before, elapsed, done))
}

const fn name_of(floor: Floor) -> &'static str {
    match floor {
        Floor::R => "R",
        Floor::Ru => "R on the gateway's runtime",
        Floor::Ra => "RA",
    }
}

/// Holds the gateway against the floors.
fn verdicts(options: &Options, samples: &Samples) -> Vec<Verdict> {
    let cost = |work, contender: &str, connections, driver| {
        let cell = Cell {
            work,
            contender: contender.into(),
            connections,
            driver,
        };
        samples.get(&cell).map(|s| report::median_cost(s))
    };
    let mut verdicts = Vec::new();
    for &driver in &options.drivers {
        for (work, name) in [(Work::Put, "PUT"), (Work::Get, "GET")] {
            for connections in [1, options.connections] {
                if let Some(gateway) = cost(work, "gateway", connections, driver)
                    && let Some(floor) = cost(work, "RA", connections, driver)
                {
                    let size = crate::units::show_size(options.size);
                    let what = format!(
                        "{name} {size}, {connections} connection(s), {}: CPU-s/GiB against RA",
                        driver.name()
                    );
                    verdicts.push(verdict(what, gateway, floor, BULK_GOAL));
                }
            }
        }
        let small = |contender, driver| cost(Work::SmallGet, contender, SMALL_CONNECTIONS, driver);
        if let Some(gateway) = small("gateway", driver)
            && let Some(nginx) = small("nginx", Driver::Epoll)
        {
            let what = format!(
                "GET 1 KiB, {SMALL_CONNECTIONS} connections, {}: CPU-µs against an nginx hop",
                driver.name()
            );
            verdicts.push(verdict(what, gateway, nginx, SMALL_GOAL));
        }
    }
    verdicts
}

fn verdict(what: String, gateway: f64, against: f64, goal: f64) -> Verdict {
    Verdict {
        what,
        gateway,
        against,
        ratio: gateway / against,
        goal,
    }
}
