//! Ten thousand connections that wait (G14): what each costs, and what they cost those that do not.

use super::Group;
use super::lab::Lab;
use super::samples::{Cell, Latency, Sample, Samples, Unit, Verdict, Work};
use crate::contenders;
use crate::load::{self, Form, Idle, Verb, generate};
use crate::net::Outcome;
use crate::process::Child;

/// Connections that wait.
const IDLE: usize = 10_000;

/// Open files: those connections, and some.
const FILES: usize = IDLE + 4096;

/// Connections that do not, and their requests per second.
const ACTIVE: usize = 64;
const RATE: f64 = 4000.0;
const SECONDS: f64 = 2.0;

/// What the others may wait longer: a quarter, which is noise here.
const LONGER: f64 = 1.25;

/// Connections of the load that finds out how fast new ones are accepted.
const NEW: usize = 500;

pub(super) struct Idling;

fn memory() -> Work {
    Work::new("10,000 connections that wait: RSS of each", Unit::Kib)
}

fn active() -> Work {
    Work::new("GET 1 KiB beside them: p99", Unit::Milliseconds)
}

fn accept() -> Work {
    Work::new(
        "A new connection and its first GET, 32 at once: time for each",
        Unit::Milliseconds,
    )
}

impl Idling {
    fn beside(lab: &Lab, gateway: &Child, name: &str, samples: &mut Samples) -> Outcome<()> {
        let get = load::Options::new(Verb::Get, gateway.addr(), "kept-sealed-1024-0", 1 << 10);
        let get = get.form(Form::Presigned);
        let mut load = get.clone().times(ACTIVE, u64::MAX);
        load.rate = Some(RATE);
        load.seconds = Some(SECONDS);
        let summary = generate(&load)?;
        let cell = |work, connections| Cell {
            work,
            contender: name.into(),
            connections,
            driver: Some(lab.driver()),
        };
        samples.add(
            cell(active(), ACTIVE),
            Sample {
                cost: summary.percentile(99.0) / 1e3,
                rate: Some(summary.rate()),
                latency: Some(Latency {
                    p50: summary.percentile(50.0),
                    p99: summary.percentile(99.0),
                    max: summary.percentile(100.0),
                }),
            },
        );
        let new = Idle::open(&get, NEW)?;
        samples.add(
            cell(accept(), NEW),
            new.took().as_secs_f64() * 1e3 / NEW as f64,
        );
        Ok(())
    }
}

impl Group for Idling {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        contenders::allow_files(FILES)?;
        let mut settings = lab.settings(lab.driver());
        settings.files = Some(FILES);
        let gateway = lab.gateway("gateway-idle", settings)?;
        let key = lab.sealed(1 << 10)?;
        let get = load::Options::new(Verb::Get, gateway.addr(), &key, 1 << 10);
        let get = get.form(Form::Presigned);
        generate(&get.clone().times(ACTIVE, 20_000))?;
        Idling::beside(lab, &gateway, "without them", samples)?;
        let before = gateway.memory("VmRSS")?;
        let idle = Idle::open(&get, IDLE)?;
        let grown = gateway.memory("VmRSS")?.saturating_sub(before);
        let cell = Cell {
            work: memory(),
            contender: "gateway".into(),
            connections: IDLE,
            driver: Some(lab.driver()),
        };
        samples.add(cell, grown as f64 / 1024.0 / IDLE as f64);
        Idling::beside(lab, &gateway, "beside them", samples)?;
        drop(idle);
        // Before and after, so that what changes with time does not count for one of them.
        Idling::beside(lab, &gateway, "without them", samples)?;
        Ok(())
    }

    fn verdicts(&self, _: &Lab, samples: &Samples) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let work = memory();
        if let Some(each) = samples.cost(&work, "gateway", IDLE, None) {
            verdicts.push(Verdict::absolute("G14", work.title, each, 8.0, "KiB"));
        }
        for (work, connections) in [(active(), ACTIVE), (accept(), NEW)] {
            let cost = |name| samples.cost(&work, name, connections, None);
            if let (Some(with), Some(without)) = (cost("beside them"), cost("without them")) {
                let what = format!("{}, against without them", work.title);
                verdicts.push(Verdict::ratio("G14", what, (with, without), LONGER, None));
            }
        }
        verdicts
    }

    fn most_rounds(&self) -> usize {
        9
    }
}
