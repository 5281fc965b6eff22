//! One core and two: what a byte and a request cost must not depend on it (G17).

use super::Group;
use super::lab::{Lab, load_per_gib, load_per_request};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::load::{self, Form, Verb};
use crate::net::Outcome;
use crate::process::Child;
use crate::units::show_size;

/// "Linear" allows for the caches that cores share, and for noise.
const LIMIT: f64 = 1.25;

/// Connections, of large and of small objects.
const COUNTS: [usize; 3] = [2, 8, 32];
const SMALL_COUNTS: [usize; 3] = [16, 64, 256];

pub(super) struct Scaling {
    gateways: Vec<(usize, Child)>,
}

impl Scaling {
    pub(super) fn new(lab: &Lab) -> Outcome<Scaling> {
        lab.sealed(1 << 10)?;
        let mut gateways = Vec::new();
        for cores in [1, 2] {
            let mut settings = lab.settings(lab.driver());
            settings.cores = cores;
            let gateway = lab.gateway(&format!("gateway-{cores}"), settings)?;
            gateways.push((cores, gateway));
        }
        Ok(Scaling { gateways })
    }
}

fn bulk(lab: &Lab) -> Work {
    let title = format!(
        "PUT, {} in all: cores and connections",
        show_size(lab.options.size)
    );
    Work::new(title, Unit::CpuPerGib)
}

fn small() -> Work {
    Work::new("GET 1 KiB: cores and connections", Unit::CpuPerRequest)
}

fn name(cores: usize) -> String {
    format!("gateway, {cores} core(s)")
}

impl Group for Scaling {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let cell = |work, cores, connections| Cell {
            work,
            contender: name(cores),
            connections,
            driver: Some(lab.driver()),
        };
        for connections in COUNTS {
            for (cores, gateway) in &self.gateways {
                let each = lab.options.size / connections as u64;
                let load = load::Options::new(Verb::Put, gateway.addr(), "dropped", each);
                let load = load.times(connections, connections as u64);
                let sample = load_per_gib(gateway.process(), &load)?;
                samples.add(cell(bulk(lab), *cores, connections), sample);
            }
        }
        for connections in SMALL_COUNTS {
            for (cores, gateway) in &self.gateways {
                let to = gateway.addr();
                let load = load::Options::new(Verb::Get, to, "kept-sealed-1024-0", 1 << 10)
                    .times(connections, lab.options.small_requests / 2)
                    .form(Form::Presigned);
                let sample = load_per_request(gateway.process(), &load)?;
                samples.add(cell(small(), *cores, connections), sample);
            }
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (work, counts) in [(bulk(lab), COUNTS), (small(), SMALL_COUNTS)] {
            let cost = |cores, connections| samples.cost(&work, &name(cores), connections, None);
            let mut hold = |what: String, pair: (Option<f64>, Option<f64>)| {
                if let (Some(gateway), Some(against)) = pair {
                    let what = format!("{}: {what}", work.title);
                    verdicts.push(Verdict::ratio("G17", what, (gateway, against), LIMIT, None));
                }
            };
            let [few, some, many] = counts;
            let what = format!("2 cores against 1, {some} connections");
            hold(what, (cost(2, some), cost(1, some)));
            let what = format!("{many} connections against {few}, 2 cores");
            hold(what, (cost(2, many), cost(2, few)));
        }
        verdicts
    }

    fn most_rounds(&self) -> usize {
        3
    }
}
