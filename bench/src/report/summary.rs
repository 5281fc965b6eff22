//! The few numbers that a user wants, as tables for docs/performance.md.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::compare::{Samples, Unit};
use crate::net::Outcome;
use crate::process::Machine;
use crate::relay::Driver;

/// What stands around the measured part of the page.
const BEGIN: &str = "<!-- measured: written by `sealgate-bench page` -->\n";
const END: &str = "<!-- measured: end -->\n";

/// Contenders of the tables: name, driver, and title.
const COLUMNS: [(&str, Driver, &str); 5] = [
    ("gateway", Driver::IoUring, "Sealgate, io_uring"),
    ("gateway", Driver::Epoll, "Sealgate, epoll"),
    ("RA", Driver::Epoll, "floor (RA, epoll)"),
    (
        "nginx, 16 KiB buffers, no encryption",
        Driver::Epoll,
        "nginx, 16 KiB, no encryption",
    ),
    (
        "nginx, 256 KiB buffers, no encryption",
        Driver::Epoll,
        "nginx, 256 KiB, no encryption",
    ),
];

/// `sealgate-bench page`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Folder of a report
    #[arg(long)]
    from: PathBuf,
    /// The page whose measured part is replaced
    #[arg(long, default_value = "docs/performance.md")]
    page: PathBuf,
}

/// Puts a report's summary into the page.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let summary = fs::read_to_string(options.from.join("summary.md"))?;
    let page = fs::read_to_string(&options.page)?;
    let replaced = replace(&page, &summary).ok_or_else(|| {
        format!(
            "{} has no line {BEGIN:?} before {END:?}",
            options.page.display()
        )
    })?;
    fs::write(&options.page, replaced)?;
    Ok(())
}

fn replace(page: &str, summary: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{summary}\n{END}{after}"))
}

/// The tables.
pub(super) fn summary(samples: &Samples, machine: &Machine, folder: &Path) -> String {
    let name = folder
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut text = format!("From [perf-reports/{name}](../perf-reports/{name}/report.md):\n\n");
    for line in machine.lines() {
        text += &format!("- {line}\n");
    }
    for unit in [Unit::CpuPerGib, Unit::CpuPerRequest] {
        text += &side_by_side(samples, unit);
    }
    for (work, title) in [
        (
            "verified",
            "What verification of a payload costs (PUT, 1 connection, CPU-s/GiB)",
        ),
        (
            "TLS on both sides",
            "TLS to clients and to the store (1 connection, CPU-s/GiB)",
        ),
        ("cores and connections", "Cores and connections"),
        ("", "Memory and time"),
    ] {
        text += &listed(samples, work, title);
    }
    text
}

/// Works in which the gateway stands beside others.
fn side_by_side(samples: &Samples, unit: Unit) -> String {
    let mut rows = String::new();
    let mut seen = Vec::new();
    for (cell, _) in samples.cells() {
        let row = (&cell.work, cell.connections);
        if cell.work.unit != unit || cell.contender != "gateway" || seen.contains(&row) {
            continue;
        }
        seen.push(row);
        let cost =
            |name: &str, driver| samples.cost(&cell.work, name, cell.connections, Some(driver));
        let found = COLUMNS.map(|(name, driver, _)| cost(name, driver));
        if found.iter().flatten().count() < 2 {
            continue;
        }
        let _ = write!(
            rows,
            "| {}, {} connection(s) |",
            cell.work.title, cell.connections
        );
        for value in found {
            let value = value.map_or(String::new(), |v| format!("{v:.0$}", unit.digits()));
            let _ = write!(rows, " {value} |");
        }
        rows += "\n";
    }
    if rows.is_empty() {
        return rows;
    }
    let titles = COLUMNS.map(|(_, _, title)| title).join(" | ");
    format!(
        "\n| {} | {titles} |\n|---|---|---|---|---|---|\n{rows}",
        unit.name()
    )
}

/// Everything of the works whose title ends so; nothing else that is not CPU time when `ending` is empty.
fn listed(samples: &Samples, ending: &str, title: &str) -> String {
    let mut rows = String::new();
    for (cell, _) in samples.cells() {
        let unit = cell.work.unit;
        let cpu = matches!(unit, Unit::CpuPerGib | Unit::CpuPerRequest);
        let wanted = if ending.is_empty() {
            !cpu
        } else {
            cell.work.title.ends_with(ending)
        };
        if !wanted {
            continue;
        }
        let cost = samples.cost(&cell.work, &cell.contender, cell.connections, cell.driver);
        let _ = writeln!(
            rows,
            "| {} | {} | {} | {:.digits$} {} |",
            cell.work.title,
            cell.contender,
            cell.connections,
            cost.unwrap_or(f64::NAN),
            unit.name(),
            digits = unit.digits(),
        );
    }
    if rows.is_empty() {
        return rows;
    }
    format!("\n| {title} | | connections | |\n|---|---|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_keeps_what_is_around() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replace(&page, "new").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}b\n"));
        assert_eq!(replace(&new, "new").unwrap(), new);
        assert!(replace("a", "new").is_none());
    }

    #[test]
    fn the_page_in_the_repository_can_be_written() {
        let page = include_str!("../../../docs/performance.md");
        assert!(replace(page, "new").is_some());
    }
}
