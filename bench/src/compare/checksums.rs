//! What verification of a payload adds to an upload: CRCs (G6) and SHA-256 (G7).

use super::Group;
use super::lab::{Lab, load_per_gib, measure};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::content::Content;
use crate::load::{self, Form, Sum, Verb};
use crate::net::Outcome;
use crate::process::Process;
use crate::units::{GIB, MIB, show_size};

/// Nothing to verify.
const NONE: &str = "none";

/// SHA-256 alone, in this process.
const BARE: &str = "SHA-256 alone, no transfer";

/// Each kind of verification, and whether it hashes with SHA-256.
const KINDS: [(&str, Form, Option<Sum>, bool); 6] = [
    (
        "CRC64NVME in a header",
        Form::Unsigned,
        Some(Sum::Crc64nvme),
        false,
    ),
    (
        "CRC32C in a header",
        Form::Unsigned,
        Some(Sum::Crc32c),
        false,
    ),
    (
        "CRC64NVME in a trailer",
        Form::Trailer,
        Some(Sum::Crc64nvme),
        false,
    ),
    (
        "CRC32C in a trailer",
        Form::Trailer,
        Some(Sum::Crc32c),
        false,
    ),
    ("payload SHA-256", Form::Signed, None, true),
    ("signed chunks of 64 KiB", Form::Chunks, None, true),
];

pub(super) struct Checksums;

fn work(lab: &Lab) -> Work {
    let title = format!("PUT {}, verified", show_size(lab.options.size));
    Work::new(title, Unit::CpuPerGib)
}

/// CPU seconds per GiB.
fn bare() -> Outcome<f64> {
    let block = Content::get().block();
    let rounds = 256;
    let (cpu, _, ()) = measure(Process::new(std::process::id()), || {
        for _ in 0..rounds {
            for chunk in block.chunks(64 << 10) {
                std::hint::black_box(crate::content::sha256(chunk));
            }
        }
        Ok(())
    })?;
    Ok(cpu * GIB as f64 / (rounds * MIB) as f64)
}

impl Group for Checksums {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        let gateway = lab.main()?;
        let cell = |name: &str| Cell {
            work: work(lab),
            contender: name.into(),
            connections: 1,
            driver: Some(lab.driver()),
        };
        let mut once = |name: &str, form, checksum| {
            let (to, size) = (gateway.addr(), lab.options.size);
            let mut load = load::Options::new(Verb::Put, to, "dropped", size).form(form);
            load.checksum = checksum;
            samples.add(cell(name), load_per_gib(gateway.process(), &load)?);
            Outcome::Ok(())
        };
        // Before the CRCs and after them: what comes first in a round costs some hundredths less.
        let (sums, hashes): (Vec<_>, Vec<_>) = KINDS.into_iter().partition(|(.., hash)| !hash);
        once(NONE, Form::Unsigned, None)?;
        for (name, form, checksum, _) in sums {
            once(name, form, checksum)?;
        }
        once(NONE, Form::Unsigned, None)?;
        for (name, form, checksum, _) in hashes {
            once(name, form, checksum)?;
        }
        samples.add(
            Cell {
                driver: None,
                ..cell(BARE)
            },
            bare()?,
        );
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let work = work(lab);
        let cost = |name| samples.cost(&work, name, 1, None);
        let (Some(none), Some(bare)) = (cost(NONE), cost(BARE)) else {
            return Vec::new();
        };
        let mut verdicts = Vec::new();
        for (name, _, _, sha) in KINDS {
            let Some(gateway) = cost(name) else { continue };
            verdicts.push(if sha {
                Verdict {
                    result: (gateway - none) / bare,
                    ..Verdict::ratio(
                        "G7",
                        format!("{name}: what it adds, against SHA-256 alone"),
                        (gateway - none, bare),
                        1.1,
                        None,
                    )
                }
            } else {
                let what = format!("{name}: against no verification");
                Verdict::ratio("G6", what, (gateway, none), 1.08, 1.04)
            });
        }
        verdicts
    }
}
