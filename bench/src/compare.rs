//! One command that says what the gateway costs, and how far that is from the floor and from the goals.
//!
//! All contenders run at once and are loaded one at a time, in turn, round after round, so that whatever else the
//! machine does falls on all of them. What counts is the CPU time of the contender's process, where a goal is not about
//! time or memory; medians of the rounds are compared, never numbers of different runs.

mod boto3;
mod bulk;
mod checksums;
mod far;
mod idle;
mod lab;
mod latency;
mod list;
mod memory;
mod samples;
mod scaling;
mod small;
mod syscalls;
mod tls;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::contenders::Congestion;
use crate::net::Outcome;
use crate::process::Machine;
use crate::relay::Driver;
use crate::report::Report;
use crate::units::parse_size;
use lab::{Contender, Lab, RealStore};
pub(crate) use samples::{Cell, Sample, Samples, Unit, Verdict, Work};

/// `sealgate-bench compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The gateway's binary; by default the one beside this one
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// What to measure; all of it unless given
    #[arg(long, value_enum, value_delimiter = ',')]
    group: Vec<Name>,
    /// The goals to measure, such as G1,G8; all unless given
    #[arg(long, value_delimiter = ',')]
    goals: Vec<String>,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of a large object
    #[arg(long, value_parser = parse_size, default_value = "1GiB")]
    size: u64,
    /// Connections of the second bulk measurement
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Bytes that each of them moves; a quarter of --size unless given
    #[arg(long, value_parser = parse_size)]
    each: Option<u64>,
    /// Small requests of one measurement
    #[arg(long, default_value_t = 20_000)]
    small_requests: u64,
    /// Bytes of each of the 64 objects under which memory is measured
    #[arg(long, value_parser = parse_size, default_value = "256MiB")]
    memory_size: u64,
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
    /// Another S3 proxy: name=http://host:port,pid[,access-key:secret-key]; may be repeated
    #[arg(long = "contender")]
    contenders: Vec<Contender>,
    /// A store that is none of ours, for G18, which is held against the null store otherwise:
    /// http://host:port[,access-key:secret-key]. Its bucket bench is made and filled
    #[arg(long)]
    listing_store: Option<RealStore>,
    /// A Python with boto3, for G19; left out unless given
    #[arg(long)]
    python: Option<PathBuf>,
    /// Bytes that are moved to and from a store far away
    #[arg(long, value_parser = parse_size, default_value = "256MiB")]
    far_size: u64,
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

impl Options {
    /// Bytes that each of many connections moves.
    fn each(&self) -> u64 {
        self.each.unwrap_or(self.size / 4).max(1)
    }

    /// Whether a goal was asked for.
    fn wants(&self, goal: &str) -> bool {
        let asked = |g: &String| g.trim().eq_ignore_ascii_case(goal);
        self.goals.is_empty() || self.goals.iter().any(asked)
    }

    fn names(&self) -> Vec<Name> {
        let all = Name::value_variants().iter().copied();
        all.filter(|name| self.group.is_empty() || self.group.contains(name))
            .filter(|name| name.goals().iter().any(|goal| self.wants(goal)))
            .filter(|name| !self.floors_only || *name == Name::Bulk)
            .filter(|name| self.python.is_some() || *name != Name::Boto3)
            .collect()
    }
}

/// What belongs together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Name {
    /// Large objects: G1, G2, G3, G4, G10
    Bulk,
    /// Small ones: G8, G9, G10, G20
    Small,
    /// Verification of payloads: G6, G7
    Checksums,
    /// TLS on both sides: G21
    Tls,
    /// Memory under 64 uploads: G13
    Memory,
    /// ListObjectsV2: G18
    List,
    /// Latency at half load, and beside a large stream: G15
    Latency,
    /// One core and two, few connections and many: G17
    Scaling,
    /// Ten thousand connections that wait: G14
    Idle,
    /// A store far away: G16
    Far,
    /// boto3's transfer manager, with --python: G19
    Boto3,
    /// Calls into the ring: G11
    Syscalls,
}

impl Name {
    const fn goals(self) -> &'static [&'static str] {
        match self {
            Name::Bulk => &["G1", "G2", "G3", "G4", "G10"],
            Name::Small => &["G8", "G9", "G10", "G20"],
            Name::Checksums => &["G6", "G7"],
            Name::Tls => &["G21"],
            Name::Memory => &["G13"],
            Name::List => &["G18"],
            Name::Latency => &["G15"],
            Name::Scaling => &["G17"],
            Name::Idle => &["G14"],
            Name::Far => &["G16"],
            Name::Boto3 => &["G19"],
            Name::Syscalls => &["G11"],
        }
    }

    fn group(self, lab: &Lab) -> Outcome<Box<dyn Group>> {
        Ok(match self {
            Name::Bulk => Box::new(bulk::Bulk::new(lab)?),
            Name::Small => Box::new(small::Small::new(lab)?),
            Name::Checksums => Box::new(checksums::Checksums),
            Name::Tls => Box::new(tls::Tls::new(lab)?),
            Name::Memory => Box::new(memory::Memory),
            Name::List => Box::new(list::List::new(lab)?),
            Name::Latency => Box::new(latency::Waiting::new(lab)?),
            Name::Scaling => Box::new(scaling::Scaling::new(lab)?),
            Name::Idle => Box::new(idle::Idling),
            Name::Far => Box::new(far::Far::new(lab)?),
            Name::Boto3 => Box::new(boto3::Boto3::new(lab)?),
            Name::Syscalls => Box::new(syscalls::Syscalls),
        })
    }
}

/// Measurements that are compared with each other.
trait Group {
    /// Every cell once, those that are compared next to each other.
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()>;

    /// What the medians say.
    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict>;

    /// More rounds are not worth their time.
    fn most_rounds(&self) -> usize {
        usize::MAX
    }
}

/// Measures and reports.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let names = options.names();
    if names.is_empty() {
        return Err("no group has those goals; see `sealgate-bench compare --help`".into());
    }
    let _congestion = Congestion::set();
    let machine = Machine::here();
    let started = Instant::now();
    let lab = Lab::new(options)?;
    let mut groups = Vec::new();
    for name in names {
        groups.push((name, name.group(&lab)?));
    }
    let mut samples = Samples::default();
    for n in 1..=options.rounds {
        for (name, group) in &mut groups {
            if n > group.most_rounds() {
                continue;
            }
            let seconds = started.elapsed().as_secs();
            eprintln!("round {n} of {}: {name:?}, {seconds} s", options.rounds);
            if n == 1 && group.most_rounds() == usize::MAX {
                // Every path warm.
                group.round(&lab, &mut Samples::default())?;
            }
            group.round(&lab, &mut samples)?;
        }
        let verdicts = verdicts(&lab, &groups, &samples);
        let report = Report {
            machine: machine.clone(),
            versions: lab.versions(),
            rounds: n,
            cores: options.cores,
            seconds: started.elapsed().as_secs(),
            samples: &samples,
            verdicts: &verdicts,
        };
        // After each round: whoever stops the run keeps what was measured.
        if let Some(out) = &options.out {
            report.write(out)?;
        }
        if n == options.rounds {
            println!("{}", report.markdown());
        }
    }
    Ok(())
}

/// What was asked for, in the order of the goals.
fn verdicts(lab: &Lab, groups: &[(Name, Box<dyn Group>)], samples: &Samples) -> Vec<Verdict> {
    let all = groups.iter();
    let mut verdicts: Vec<Verdict> = all
        .flat_map(|(_, group)| group.verdicts(lab, samples))
        .collect();
    verdicts.retain(|verdict| lab.options.wants(verdict.goal));
    verdicts.sort_by_key(|v| v.goal.trim_start_matches('G').parse().unwrap_or(u32::MAX));
    verdicts
}
