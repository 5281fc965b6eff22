//! ListObjectsV2 of 1,000 sealed objects, against the store itself (G18).
//!
//! The null store has its page ready, so against it the ratio says little and the time that is added says all. The goal is
//! about a store that lists: name one with `--listing-store`.

use super::Group;
use super::lab::{Lab, load_per_request};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::client::User;
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::Child;

const KEYS: u64 = 1000;

/// Requests of one measurement.
const REQUESTS: u64 = 200;

/// What the contenders are called.
const STORE: &str = "the store itself";
const GATEWAY: &str = "gateway";
const ADDED: &str = "added by the gateway";

pub(super) struct List {
    /// Before the store of `--listing-store`.
    real: Option<Child>,
}

impl List {
    pub(super) fn new(lab: &Lab) -> Outcome<List> {
        fill(lab.main()?)?;
        let mut real = None;
        if let Some(store) = &lab.options.listing_store {
            let mut settings = lab.settings(lab.driver());
            settings.store = store.addr;
            settings.store_user = store.user.clone();
            let gateway = lab.gateway("gateway-listing", settings)?;
            fill(&gateway)?;
            real = Some(gateway);
        }
        Ok(List { real })
    }
}

fn fill(gateway: &Child) -> Outcome<()> {
    let mut load = load::Options::new(Verb::Put, gateway.addr(), "listed/object", 1 << 10);
    load.keys = KEYS;
    generate(&load.times(8, KEYS))?;
    Ok(())
}

fn work(real: bool) -> Work {
    let of = if real {
        "a store's"
    } else {
        "the null store's"
    };
    Work::new(
        format!("ListObjectsV2 of {of} 1,000 keys"),
        Unit::Milliseconds,
    )
}

impl Group for List {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let mut pairs = vec![(false, lab.main()?, lab.store.addr(), User::of_bench())];
        if let (Some(gateway), Some(store)) = (&self.real, &lab.options.listing_store) {
            pairs.push((true, gateway, store.addr, store.user.clone()));
        }
        for (real, gateway, store, user) in pairs {
            let cell = |contender: &str| Cell {
                work: work(real),
                contender: contender.into(),
                connections: 1,
                driver: (contender != STORE).then(|| lab.driver()),
            };
            let mut median = |contender, to, user: User| -> Outcome<f64> {
                let mut load = load::Options::new(Verb::List, to, "listed/", 0);
                load.keys = KEYS;
                load.verify = true;
                (load.access_key, load.secret_key) = (user.access_key, user.secret_key);
                // Nobody's CPU, which the store may have in other processes: what a client waits for.
                let mut sample = load_per_request(gateway.process(), &load.times(1, REQUESTS))?;
                sample.cost = sample.latency.map_or(f64::NAN, |l| l.p50 / 1e3);
                samples.add(cell(contender), sample);
                Ok(sample.cost)
            };
            let direct = median(STORE, store, user)?;
            let through = median(GATEWAY, gateway.addr(), User::of_bench())?;
            samples.add(cell(ADDED), through - direct);
        }
        Ok(())
    }

    fn verdicts(&self, _: &Lab, samples: &Samples) -> Vec<Verdict> {
        let work = work(self.real.is_some());
        let cost = |name| samples.cost(&work, name, 1, None);
        let (Some(gateway), Some(store)) = (cost(GATEWAY), cost(STORE)) else {
            return Vec::new();
        };
        let what = format!("{}: time against the store itself", work.title);
        vec![Verdict::ratio("G18", what, (gateway, store), 1.15, None)]
    }
}
