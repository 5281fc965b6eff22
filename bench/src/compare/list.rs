//! ListObjectsV2 of 1,000 sealed objects, against the store itself (G18).

use super::Group;
use super::lab::{Lab, load_per_request};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;

const KEYS: u64 = 1000;

/// Requests of one measurement.
const REQUESTS: u64 = 200;

pub(super) struct List;

impl List {
    pub(super) fn new(lab: &Lab) -> Outcome<List> {
        let gateway = lab.main()?;
        let mut load = load::Options::new(Verb::Put, gateway.addr(), "listed/object", 1 << 10);
        load.keys = KEYS;
        generate(&load.times(8, KEYS))?;
        Ok(List)
    }
}

fn work() -> Work {
    Work::new("ListObjectsV2 of 1,000 keys", Unit::Milliseconds)
}

impl Group for List {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        for (name, child, driver) in [
            ("the store itself", &lab.store, None),
            ("gateway", lab.main()?, Some(lab.driver())),
        ] {
            let mut load = load::Options::new(Verb::List, child.addr(), "listed/", 0);
            load.keys = KEYS;
            load.verify = true;
            let mut sample = load_per_request(child.process(), &load.times(1, REQUESTS))?;
            // Time, not CPU: what a client waits for.
            sample.cost = sample.latency.map_or(f64::NAN, |l| l.p50 / 1e3);
            let cell = Cell {
                work: work(),
                contender: name.into(),
                connections: 1,
                driver,
            };
            samples.add(cell, sample);
        }
        Ok(())
    }

    fn verdicts(&self, _: &Lab, samples: &Samples) -> Vec<Verdict> {
        let cost = |name| samples.cost(&work(), name, 1, None);
        let (Some(gateway), Some(store)) = (cost("gateway"), cost("the store itself")) else {
            return Vec::new();
        };
        let what = format!("{}: time against the store itself", work().title);
        vec![Verdict::ratio("G18", what, (gateway, store), 1.15, None)]
    }
}
