//! boto3's transfer manager over plain HTTP, which signs payloads (G19).

use std::fs;
use std::process::Command;

use super::Group;
use super::lab::{Lab, per_gib};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::client::User;
use crate::contenders;
use crate::net::Outcome;
use crate::process::{Child, Process};
use crate::units::{MIB, show_size};

/// Part sizes in MiB, and threads.
const SHAPES: [(u64, usize); 2] = [(8, 8), (48, 16)];

/// Uploads, downloads, and memory.
const LIMITS: [f64; 2] = [1.5, 0.7];
const RSS: f64 = 96.0;

const SCRIPT: &str = include_str!("boto3.py");

pub(super) struct Boto3 {
    store: Child,
}

impl Boto3 {
    pub(super) fn new(lab: &Lab) -> Outcome<Boto3> {
        fs::write(lab.folder.file("transfer.py"), SCRIPT)?;
        Ok(Boto3 {
            store: contenders::null_store("kept", &[])?,
        })
    }
}

fn title(lab: &Lab, direction: &str, part: u64, threads: usize) -> String {
    let size = show_size(lab.options.size);
    format!("boto3 {direction}, {size} in {part} MiB × {threads}")
}

const DIRECTIONS: [&str; 2] = ["upload", "download"];

fn transfer(
    lab: &Lab,
    gateway: &Child,
    direction: &str,
    shape: (u64, usize),
    process: Process,
) -> Outcome<super::Sample> {
    let python = lab.options.python.as_ref().ok_or("--python is not given")?;
    let user = User::of_bench();
    per_gib(process, lab.options.size, || {
        let output = Command::new(python)
            .arg(lab.folder.file("transfer.py"))
            .args([direction, &format!("http://{}", gateway.addr())])
            .args([lab.options.size, shape.0 * MIB as u64, shape.1 as u64].map(|n| n.to_string()))
            .env("AWS_ACCESS_KEY_ID", user.access_key)
            .env("AWS_SECRET_ACCESS_KEY", user.secret_key)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("boto3: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    })
}

impl Group for Boto3 {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        for shape @ (part, threads) in SHAPES {
            // A fresh one each time: the peak that the kernel keeps is of the whole life of a process.
            let mut settings = lab.settings(lab.driver());
            settings.store = self.store.addr();
            let gateway = lab.gateway("gateway-boto3", settings)?;
            let cell = |title: String, unit| Cell {
                work: Work::new(title, unit),
                contender: "gateway".into(),
                connections: threads,
                driver: Some(lab.driver()),
            };
            for direction in DIRECTIONS {
                let sample = transfer(lab, &gateway, direction, shape, gateway.process())?;
                let title = title(lab, direction, part, threads);
                samples.add(cell(title.clone(), Unit::CpuPerGib), sample);
                let peak = gateway.memory("VmHWM")? as f64 / MIB as f64;
                samples.add(cell(title + ": peak RSS", Unit::Mib), peak);
            }
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (part, threads) in SHAPES {
            for (direction, limit) in DIRECTIONS.into_iter().zip(LIMITS) {
                let title = title(lab, direction, part, threads);
                let mut hold = |title: String, unit, limit, name| {
                    let work = Work::new(title.clone(), unit);
                    if let Some(cost) = samples.cost(&work, "gateway", threads, None) {
                        verdicts.push(Verdict::absolute("G19", title, cost, limit, name));
                    }
                };
                hold(title.clone(), Unit::CpuPerGib, limit, "CPU-s/GiB");
                hold(title + ": peak RSS", Unit::Mib, RSS, "MiB");
            }
        }
        verdicts
    }

    fn most_rounds(&self) -> usize {
        2
    }
}
