//! Memory of the gateway under many large uploads at once (G13), then as many downloads.

use super::Group;
use super::lab::Lab;
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::units::{MIB, show_size};

/// Streams at once.
const STREAMS: usize = 64;

/// MiB that each stream, and everything else together, may take.
const ALLOWED: f64 = STREAMS as f64 * 2.25 + 16.0;

pub(super) struct Memory;

fn work(lab: &Lab, verb: Verb) -> Work {
    let size = show_size(lab.options.memory_size);
    let title = format!(
        "{STREAMS} × {} {size} at once: growth of RSS",
        verb.name().to_uppercase()
    );
    Work::new(title, Unit::Mib)
}

impl Group for Memory {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let size = lab.options.memory_size;
        // A fresh one each time: the peak that the kernel keeps is of the whole life of a process.
        let gateway = lab.gateway("gateway-memory", lab.settings(lab.driver()))?;
        let load = |verb, key, streams: usize| {
            let load = load::Options::new(verb, gateway.addr(), key, size);
            generate(&load.times(streams, streams as u64))
        };
        load(Verb::Put, "kept-memory", 1)?;
        let idle = gateway.memory("VmRSS")?;
        for (verb, key) in [(Verb::Put, "dropped"), (Verb::Get, "kept-memory-0")] {
            load(verb, key, STREAMS)?;
            let grown = gateway.memory("VmHWM")?.saturating_sub(idle);
            let cell = Cell {
                work: work(lab, verb),
                contender: "gateway".into(),
                connections: STREAMS,
                driver: Some(lab.driver()),
            };
            samples.add(cell, grown as f64 / MIB as f64);
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let verdict = |verb| {
            let work = work(lab, verb);
            let grown = samples.cost(&work, "gateway", STREAMS, None)?;
            Some(Verdict::absolute("G13", work.title, grown, ALLOWED, "MiB"))
        };
        [Verb::Put, Verb::Get]
            .into_iter()
            .filter_map(verdict)
            .collect()
    }

    fn most_rounds(&self) -> usize {
        1
    }
}
