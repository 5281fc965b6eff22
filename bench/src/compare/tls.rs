//! TLS to clients and to the store, against neither (G21).

use super::Group;
use super::lab::{Lab, load_per_gib, measure};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::contenders;
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::{Child, Process};
use crate::tls::Files;
use crate::units::{GIB, MIB, show_size};

/// How much memory the copy of the goal goes through: more than the caches hold.
const COPIED: usize = 64 * MIB;

pub(super) struct Tls {
    files: Files,
    gateway: Child,
    /// Serves the gateway; only kept alive here.
    _store: Child,
    /// CPU seconds per GiB that the goal allows on top of plain.
    allowed: f64,
}

impl Tls {
    pub(super) fn new(lab: &Lab) -> Outcome<Tls> {
        let files = Files::new(lab.folder.path())?;
        let mut args = vec!["--tls-cert".to_owned(), files.cert.display().to_string()];
        args.extend(["--tls-key".to_owned(), files.key.display().to_string()]);
        let store = contenders::null_store("kept", &args)?;
        let mut settings = lab.settings(lab.driver());
        settings.store = store.addr();
        settings.tls = Some(files.clone());
        let gateway = lab.gateway("gateway-tls", settings)?;
        lab.sealed(lab.options.size)?;
        let name = format!("kept-sealed-{}", lab.options.size);
        let mut load = load::Options::new(Verb::Put, gateway.addr(), &name, lab.options.size);
        load.trust = Some(files.cert.clone());
        generate(&load)?;
        Ok(Tls {
            files,
            gateway,
            _store: store,
            allowed: 2.0 * (aead() + copy()?),
        })
    }
}

/// CPU seconds that a pass of AES-256-GCM over a GiB takes with the library in use.
fn aead() -> f64 {
    let speed = sealgate_aead::measure();
    GIB as f64 / 1e9 / speed.aws_lc.max(speed.ring)
}

/// The same for a copy of data that left the cache.
fn copy() -> Outcome<f64> {
    let from = vec![1_u8; COPIED];
    let mut to = vec![0_u8; COPIED];
    let rounds = 32;
    // CPU time of ours, not the clock: others may be running.
    let (cpu, _, ()) = measure(Process::new(std::process::id()), || {
        for _ in 0..rounds {
            to.copy_from_slice(&from);
            std::hint::black_box(&mut to);
        }
        Ok(())
    })?;
    Ok(cpu * GIB as f64 / (rounds * COPIED) as f64)
}

fn work(lab: &Lab, verb: Verb) -> Work {
    let verb = verb.name().to_uppercase();
    let title = format!("{verb} {}, TLS on both sides", show_size(lab.options.size));
    Work::new(title, Unit::CpuPerGib)
}

impl Group for Tls {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let sealed = format!("kept-sealed-{}-0", lab.options.size);
        for (verb, key) in [(Verb::Put, "dropped"), (Verb::Get, sealed.as_str())] {
            let sides = [
                ("plain", lab.main()?, None),
                ("TLS", &self.gateway, Some(self.files.cert.clone())),
            ];
            for (name, gateway, trust) in sides {
                let (to, size) = (gateway.addr(), lab.options.size);
                let mut load = load::Options::new(verb, to, key, size);
                load.trust = trust;
                let cell = Cell {
                    work: work(lab, verb),
                    contender: name.into(),
                    connections: 1,
                    driver: Some(lab.driver()),
                };
                samples.add(cell, load_per_gib(gateway.process(), &load)?);
            }
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let verdict = |verb| {
            let work = work(lab, verb);
            let cost = |name| samples.cost(&work, name, 1, None);
            let (plain, gateway) = (cost("plain")?, cost("TLS")?);
            let what = format!(
                "{}: on top of plain, 2 × (AES-GCM + copy) allowed",
                work.title
            );
            Some(Verdict {
                against: Some(plain),
                result: gateway - plain,
                ..Verdict::absolute("G21", what, gateway, self.allowed, "CPU-s/GiB")
            })
        };
        [Verb::Put, Verb::Get]
            .into_iter()
            .filter_map(verdict)
            .collect()
    }
}
