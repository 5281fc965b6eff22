//! Numbers for people (Markdown) and for programs (JSON).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::compare::{Sample, Samples, Verdict, Work};
use crate::net::{CONGESTION, Outcome};
use crate::process::Machine;
use crate::units::{median, show_size};

pub(crate) struct Report<'a> {
    pub(crate) machine: Machine,
    pub(crate) size: u64,
    pub(crate) rounds: usize,
    pub(crate) cores: usize,
    pub(crate) samples: &'a Samples,
    pub(crate) verdicts: &'a [Verdict],
}

/// Median of the costs.
pub(crate) fn median_cost(samples: &[Sample]) -> f64 {
    median(&samples.iter().map(|s| s.cost).collect::<Vec<_>>())
}

impl Report<'_> {
    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            String::from("# What the gateway costs, against the floor of the machine\n\n");
        for line in self.machine.lines() {
            text += &format!("- {line}\n");
        }
        text += &format!(
            "- {} rounds, contenders in turn, medians; {CONGESTION}; gateway with {} core(s), \
             relays and nginx with one\n\n",
            self.rounds, self.cores
        );
        if !self.verdicts.is_empty() {
            text += "| goal | gateway | against | ratio | goal | |\n|---|---|---|---|---|---|\n";
        }
        for v in self.verdicts {
            let met = if v.ratio <= v.goal {
                "met"
            } else {
                "**missed**"
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {:.3} | {:.3} | {:.2} | ≤ {} | {met} |",
                v.what, v.gateway, v.against, v.ratio, v.goal
            );
        }
        for (work, title) in [
            (
                Work::Put,
                format!("PUT {}: CPU-s/GiB", show_size(self.size)),
            ),
            (
                Work::Get,
                format!("GET {}: CPU-s/GiB", show_size(self.size)),
            ),
            (Work::SmallGet, "GET 1 KiB: CPU-µs per request".to_owned()),
        ] {
            text += &self.table(work, &title);
        }
        text
    }

    fn table(&self, work: Work, title: &str) -> String {
        let rate = match work {
            Work::SmallGet => "requests/s; p50 / p99",
            _ => "GiB/s",
        };
        let mut text = format!(
            "\n## {title}\n\n| contender | driver | connections | median | min – max | {rate} |\n\
             |---|---|---|---|---|---|\n"
        );
        for (cell, samples) in self.samples.iter().filter(|(cell, _)| cell.work == work) {
            let of = |f: fn(&Sample) -> f64| samples.iter().map(f).collect::<Vec<_>>();
            let costs = of(|s| s.cost);
            let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
            let most = costs.iter().copied().fold(0.0, f64::max);
            let digits = if work == Work::SmallGet { 1 } else { 3 };
            let rate = median(&of(|s| s.rate));
            let rate = match work {
                Work::SmallGet => format!(
                    "{rate:.0}; {:.0} / {:.0} µs",
                    median(&of(|s| s.latency.map_or(f64::NAN, |l| l.0))),
                    median(&of(|s| s.latency.map_or(f64::NAN, |l| l.1))),
                ),
                _ => format!("{rate:.2}"),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.digits$} | {least:.digits$} – {most:.digits$} | {rate} |",
                cell.contender,
                cell.driver.name(),
                cell.connections,
                median(&costs),
            );
        }
        text
    }

    /// Writes `report.md` and `data.json` into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        let args: Vec<String> = std::env::args().skip(1).collect();
        let mut text = self.markdown();
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
        let rounds: Vec<_> = self
            .samples
            .iter()
            .map(|(cell, samples)| serde_json::json!({ "cell": cell, "rounds": samples }))
            .collect();
        let data = serde_json::json!({
            "machine": self.machine,
            "size": self.size,
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
