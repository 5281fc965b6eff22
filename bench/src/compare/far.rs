//! A store far away: 20 ms, and 100 MB/s for each connection (G16). One stream through the gateway, which may ask the
//! store for several ranges or parts at once, against one stream to the store itself. And the same as the very first
//! request of a gateway, which has not asked its store anything yet.

use super::Group;
use super::lab::Lab;
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::contenders::{self, Settings};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::Child;
use crate::units::show_size;

const LATENCY: &str = "20ms";
const BANDWIDTH: &str = "100MB";

/// Three times as fast.
const LIMIT: f64 = 1.0 / 3.0;

const STORE: &str = "the store itself";
const GATEWAY: &str = "gateway";
const FRESH: &str = "gateway, its first request";

pub(super) struct Far {
    store: Child,
    settings: Settings,
    gateway: Child,
}

impl Far {
    pub(super) fn new(lab: &Lab) -> Outcome<Far> {
        let args = ["--latency", LATENCY, "--bandwidth", BANDWIDTH].map(Into::into);
        let store = contenders::null_store("kept", &args)?;
        let mut settings = lab.settings(lab.driver());
        settings.store = store.addr();
        // As it is unless configured.
        settings.far = "4ms";
        let gateway = lab.gateway("gateway-far", settings.clone())?;
        let size = lab.options.far_size;
        generate(&load::Options::new(
            Verb::Put,
            gateway.addr(),
            "kept-far",
            size,
        ))?;
        generate(&load::Options::new(
            Verb::Put,
            store.addr(),
            "plain-far",
            size,
        ))?;
        Ok(Far {
            store,
            settings,
            gateway,
        })
    }
}

fn work(lab: &Lab, verb: Verb) -> Work {
    let (verb, size) = (verb.name().to_uppercase(), show_size(lab.options.far_size));
    let title = format!("{verb} {size}, store {LATENCY} away, {BANDWIDTH}/s per connection");
    Work::new(title, Unit::Seconds)
}

impl Group for Far {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        for verb in [Verb::Get, Verb::Put] {
            let fresh = lab.gateway("gateway-fresh", self.settings.clone())?;
            let driver = Some(lab.driver());
            for (name, child, key, driver) in [
                (STORE, &self.store, "plain-far-0", None),
                (GATEWAY, &self.gateway, "kept-far-0", driver),
                (FRESH, &fresh, "kept-far-0", driver),
            ] {
                let key = if verb.writes() { "dropped" } else { key };
                let load = load::Options::new(verb, child.addr(), key, lab.options.far_size);
                let cell = Cell {
                    work: work(lab, verb),
                    contender: name.into(),
                    connections: 1,
                    driver,
                };
                samples.add(cell, generate(&load)?.elapsed.as_secs_f64());
            }
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let verdict = |(verb, name)| {
            let work = work(lab, verb);
            let cost = |name| samples.cost(&work, name, 1, None);
            let pair = (cost(name)?, cost(STORE)?);
            let what = format!("{}: time of the {name}, against {STORE}", work.title);
            Some(Verdict::ratio("G16", what, pair, LIMIT, None))
        };
        [Verb::Get, Verb::Put]
            .into_iter()
            .flat_map(|verb| [(verb, GATEWAY), (verb, FRESH)])
            .filter_map(verdict)
            .collect()
    }
}
