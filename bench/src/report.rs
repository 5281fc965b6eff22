//! Numbers for people (Markdown and plots) and for programs (JSON).

pub(crate) mod summary;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::compare::{Cell, Sample, Samples, Unit, Verdict, Work};
use crate::net::{CONGESTION, Outcome};
use crate::plot;
use crate::process::Machine;
use crate::units::median;

pub(crate) struct Report<'a> {
    pub(crate) machine: Machine,
    /// Programs that were measured.
    pub(crate) versions: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) cores: usize,
    /// How long it all took.
    pub(crate) seconds: u64,
    pub(crate) samples: &'a Samples,
    pub(crate) verdicts: &'a [Verdict],
}

impl Report<'_> {
    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        self.summary() + &self.tables(false)
    }

    fn summary(&self) -> String {
        let mut text =
            String::from("# What the gateway costs, against the floor of the machine\n\n");
        for line in self.machine.lines() {
            text += &format!("- {line}\n");
        }
        if !self.versions.is_empty() {
            text += &format!("- {}\n", self.versions.join("; "));
        }
        text += &format!(
            "- {} rounds, contenders in turn, medians; {CONGESTION}; gateway with {} core(s), \
             relays and nginx with one; {} s in all\n\n",
            self.rounds, self.cores, self.seconds
        );
        text += &self.goals();
        text
    }

    fn tables(&self, plots: bool) -> String {
        let mut text = String::new();
        for work in self.samples.works() {
            text += &self.table(work);
            if plots {
                text += &format!(
                    "\n![{}](plots/{})\n",
                    work.title,
                    plot::file_name(&work.title)
                );
            }
        }
        text
    }

    fn goals(&self) -> String {
        if self.verdicts.is_empty() {
            return String::new();
        }
        let missed = self.verdicts.iter().filter(|v| !v.met()).count();
        let mut text = format!(
            "{} of {} met.\n\n| | what | gateway | against | result | goal | stretch | |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.verdicts.len() - missed,
            self.verdicts.len(),
        );
        for v in self.verdicts {
            let against = v.against.map_or(String::new(), number);
            let stretch = v.stretch.map_or(String::new(), |s| format!("≤ {s}"));
            let unit = if v.unit.is_empty() {
                String::new()
            } else {
                format!(" {}", v.unit)
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {against} | {}{unit} | ≤ {} | {stretch} | {} |",
                v.goal,
                v.what,
                number(v.gateway),
                number(v.result),
                number(v.limit),
                v.word(),
            );
        }
        text
    }

    fn table(&self, work: &Work) -> String {
        let rate = match work.unit {
            Unit::CpuPerGib => "GiB/s",
            Unit::Mib | Unit::Kib | Unit::Seconds | Unit::CallsPerMib | Unit::Percent => "",
            Unit::CpuPerRequest | Unit::Milliseconds => "requests/s; p50 / p99 / max",
        };
        let mut text = format!(
            "\n## {}: {}\n\n| contender | driver | connections | median | min – max | {rate} |\n\
             |---|---|---|---|---|---|\n",
            work.title,
            work.unit.name(),
        );
        for (cell, samples) in self.samples.cells().filter(|(cell, _)| cell.work == *work) {
            text += &row(cell, samples);
        }
        text
    }

    /// Writes `report.md`, `summary.md`, `data.json` and the plots into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Outcome<()> {
        let plots = folder.join("plots");
        fs::create_dir_all(&plots)?;
        for work in self.samples.works() {
            let file = plots.join(plot::file_name(&work.title));
            fs::write(file, plot::bars(self.samples, work))?;
        }
        fs::write(plots.join("goals.svg"), plot::goals(self.verdicts))?;
        let args: Vec<String> = std::env::args().skip(1).map(|arg| shown(&arg)).collect();
        let mut text = self.summary();
        text += "\n![Goals](plots/goals.svg)\n";
        text += &self.tables(true);
        let _ = write!(
            text,
            "\n## How to reproduce\n\n```\ncargo build --release -p sealgate -p sealgate-bench\n\
             target/release/sealgate-bench {}\n```\n\n\
             R moves bytes between two sockets in pieces of 1 MiB; RA seals or opens them with \
             AES-256-GCM in place. Both, and the gateway, are measured as CPU time (user and system) \
             of their process alone, by the kernel's books. nginx proxies plain objects: it neither \
             verifies signatures nor decrypts. Rates are of a machine whose cores the load generator, \
             the store and the contender share, and only show that nobody waited.\n",
            args.join(" ")
        );
        fs::write(folder.join("report.md"), text)?;
        let summary = summary::summary(self.samples, &self.machine, folder);
        fs::write(folder.join("summary.md"), summary)?;
        let rounds: Vec<_> = self
            .samples
            .cells()
            .map(|(cell, samples)| serde_json::json!({ "cell": cell, "rounds": samples }))
            .collect();
        let data = serde_json::json!({
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "gateway_cores": self.cores,
            "congestion_control": CONGESTION,
            "verdicts": self.verdicts,
            "samples": rounds,
        });
        fs::write(
            folder.join("data.json"),
            serde_json::to_string_pretty(&data)? + "\n",
        )?;
        eprintln!("written to {}", folder.display());
        Ok(())
    }
}

fn row(cell: &Cell, samples: &[Sample]) -> String {
    let costs: Vec<f64> = samples.iter().map(|s| s.cost).collect();
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = costs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of = |f: &dyn Fn(&Sample) -> Option<f64>| {
        let values: Vec<f64> = samples.iter().filter_map(f).collect();
        (!values.is_empty()).then(|| median(&values))
    };
    let mut more = match of(&|s| s.rate) {
        Some(rate) if rate < 100.0 => format!("{rate:.2}"),
        Some(rate) => format!("{rate:.0}"),
        None => String::new(),
    };
    if let (Some(p50), Some(p99), Some(max)) = (
        of(&|s| s.latency.map(|l| l.p50)),
        of(&|s| s.latency.map(|l| l.p99)),
        of(&|s| s.latency.map(|l| l.max)),
    ) {
        let _ = write!(more, "; {p50:.0} / {p99:.0} / {max:.0} µs");
    }
    let digits = cell.work.unit.digits();
    format!(
        "| {} | {} | {} | {:.digits$} | {least:.digits$} – {most:.digits$} | {more} |\n",
        cell.contender,
        cell.driver.map_or("", |driver| driver.name()),
        cell.connections,
        median(&costs),
    )
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        a if a >= 100.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        a if a >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// An argument as a report may have it: without the secret of `…,access-key:secret-key`, and a path of this machine by its
/// last part.
fn shown(arg: &str) -> String {
    if let Some((rest, key)) = arg.rsplit_once(',')
        && let Some((access, _)) = key.split_once(':')
        && rest.contains("://")
    {
        return format!("{rest},{access}:SECRET");
    }
    match Path::new(arg).file_name() {
        Some(name) if arg.starts_with('/') => name.to_string_lossy().into_owned(),
        _ => arg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn reports_hold_no_secrets_and_no_paths_of_a_machine() {
        for (arg, safe) in [
            ("http://h:1,KEY:se:cret", "http://h:1,KEY:SECRET"),
            (
                "name=http://h:1,77,KEY:secret",
                "name=http://h:1,77,KEY:SECRET",
            ),
            ("http://h:1", "http://h:1"),
            ("name=http://h:1,77", "name=http://h:1,77"),
            ("/somewhere/bin/python", "python"),
            ("perf-reports/topic", "perf-reports/topic"),
            ("--rounds", "--rounds"),
        ] {
            assert_eq!(shown(arg), safe);
        }
    }
}
