//! What waiting the gateway adds: at half its load (G15), and beside a large stream on the same core.
//!
//! Half of the requests that the gateway can answer keeps a machine that also runs the load and the store more than half
//! busy: small batches cost more each. What waits for a core then is not only what waits for the gateway, so the same is
//! measured where the machine's cores are half busy too, and of nginx, which shows what any hop adds: each process on a
//! request's way can find its core taken, by another one or by a thread of the kernel.

use std::thread;

use super::Group;
use super::bulk::nginx_name;
use super::lab::Lab;
use super::samples::{Cell, Latency, Sample, Samples, Unit, Verdict, Work};
use crate::load::{self, Summary, Verb, generate};
use crate::net::Outcome;
use crate::process::{Child, Cores};
use crate::relay::Driver;

/// Bytes of an object of the first measurement.
const SIZE: u64 = 64 << 10;

/// Connections.
const CONNECTIONS: usize = 32;

/// Of one measurement.
const SECONDS: f64 = 2.0;

/// Small requests per second beside a stream: few, so that they only wait for it.
const BESIDE: f64 = 500.0;

pub(super) struct Waiting {
    /// Requests per second that the gateway can answer.
    most: f64,
}

impl Waiting {
    pub(super) fn new(lab: &Lab) -> Outcome<Waiting> {
        for size in [SIZE, 1 << 10, lab.options.size] {
            lab.sealed(size)?;
            lab.plain(size)?;
        }
        Ok(Waiting {
            most: f64::INFINITY,
        })
    }
}

/// At what rates it is measured.
const PACES: [&str; 2] = ["at half load", "with half of all cores busy"];

fn paced(pace: &str) -> Work {
    Work::new(format!("GET 64 KiB {pace}: p99"), Unit::Milliseconds)
}

fn busy(pace: &str) -> Work {
    let title = format!("GET 64 KiB {pace}: cores of the machine in use");
    Work::new(title, Unit::Percent)
}

fn beside(verb: Verb) -> Work {
    let verb = verb.name().to_uppercase();
    let title = format!("GET 1 KiB beside a large {verb}: longest");
    Work::new(title, Unit::Milliseconds)
}

fn key(child: &str, size: u64) -> String {
    match child {
        "gateway" => format!("kept-sealed-{size}-0"),
        _ => format!("plain-{size}-0"),
    }
}

/// KiB of the buffers of the nginx that is measured too: an object of 64 KiB fits.
const NGINX: usize = 256;

fn sample(summary: &Summary, percent: f64) -> Sample {
    Sample {
        cost: summary.percentile(percent) / 1e3,
        rate: Some(summary.rate()),
        latency: Some(Latency {
            p50: summary.percentile(50.0),
            p99: summary.percentile(99.0),
            max: summary.percentile(100.0),
        }),
    }
}

impl Waiting {
    fn paced(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let get = |name: &str, child: &Child| {
            load::Options::new(Verb::Get, child.addr(), &key(name, SIZE), SIZE)
                .times(CONNECTIONS, u64::MAX)
        };
        let gateway = lab.main()?;
        let mut load = get("gateway", gateway);
        load.seconds = Some(SECONDS / 2.0);
        // The least of all rounds so far: half of it is half load at most.
        self.most = self.most.min(generate(&load)?.rate());
        let mut rate = self.most / 2.0;
        for pace in PACES {
            let mut in_use = 0.0;
            let nginx = lab
                .nginx(NGINX)
                .map(|nginx| (nginx_name(NGINX), nginx, Some(Driver::Epoll)));
            let store = ("the store itself".into(), &lab.store, None);
            // The gateway last: by the cores that are busy then the next pace is chosen.
            let gateway = ("gateway".into(), gateway, Some(lab.driver()));
            for (name, child, driver) in [Some(store), nginx, Some(gateway)].into_iter().flatten() {
                let mut load = get(&name, child);
                load.rate = Some(rate);
                load.seconds = Some(SECONDS);
                let before = Cores::now()?;
                let summary = generate(&load)?;
                in_use = Cores::now()?.busy_since(before);
                let mut cell = Cell {
                    work: paced(pace),
                    contender: name,
                    connections: CONNECTIONS,
                    driver,
                };
                samples.add(cell.clone(), sample(&summary, 99.0));
                cell.work = busy(pace);
                let share = Sample {
                    cost: 100.0 * in_use,
                    ..sample(&summary, 99.0)
                };
                samples.add(cell, share);
            }
            rate *= (0.5 / in_use).min(1.0);
        }
        Ok(())
    }

    fn beside(&self, lab: &Lab, verb: Verb, samples: &mut Samples) -> Outcome<()> {
        for (name, child, driver) in [
            ("the store itself", &lab.store, None),
            ("gateway", lab.main()?, Some(lab.driver())),
        ] {
            let size = lab.options.size;
            let target = if verb.writes() {
                "dropped".into()
            } else {
                key(name, size)
            };
            let stream = load::Options::new(verb, child.addr(), &target, size);
            let stream = thread::spawn(move || {
                // Twice, so that it lasts longer than what runs beside it.
                generate(&stream.times(1, 2))
            });
            let mut load =
                load::Options::new(Verb::Get, child.addr(), &key(name, 1 << 10), 1 << 10)
                    .times(4, u64::MAX);
            load.rate = Some(BESIDE);
            load.seconds = Some(0.8);
            let small = generate(&load);
            stream.join().map_err(|_| "the stream panicked")??;
            let cell = Cell {
                work: beside(verb),
                contender: name.into(),
                connections: 4,
                driver,
            };
            samples.add(cell, sample(&small?, 100.0));
        }
        Ok(())
    }
}

impl Group for Waiting {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        self.paced(lab, samples)?;
        self.beside(lab, Verb::Get, samples)?;
        self.beside(lab, Verb::Put, samples)
    }

    fn verdicts(&self, _: &Lab, samples: &Samples) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let pair = |work: &Work, connections| {
            let cost = |name| samples.cost(work, name, connections, None);
            Some((cost("gateway")?, cost("the store itself")?))
        };
        for pace in PACES {
            let Some((gateway, store)) = pair(&paced(pace), CONNECTIONS) else {
                continue;
            };
            let what = format!("GET 64 KiB {pace}: p99, on top of the store itself");
            verdicts.push(Verdict {
                against: Some(store),
                result: gateway - store,
                ..Verdict::absolute("G15", what, gateway, 1.0, "ms")
            });
        }
        for verb in [Verb::Get, Verb::Put] {
            let work = beside(verb);
            if let Some((gateway, store)) = pair(&work, 4) {
                let what = format!("{} (and at the store itself)", work.title);
                verdicts.push(Verdict {
                    against: Some(store),
                    ..Verdict::absolute("G15", what, gateway, 10.0, "ms")
                });
            }
        }
        verdicts
    }
}
