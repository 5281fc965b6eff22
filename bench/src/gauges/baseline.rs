//! What was measured before, and how much worse a gauge may be.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::Options;
use crate::net::Outcome;

/// A gauge's value.
pub(super) struct Reading {
    pub(super) name: String,
    value: f64,
}

impl Reading {
    pub(super) fn new(group: &str, what: &str, value: f64) -> Reading {
        Reading {
            name: format!("{group}.{what}"),
            value,
        }
    }
}

/// How a kind of gauge is judged.
struct Rule {
    /// End of the names.
    end: &'static str,
    /// Part of the baseline by which a value may be above it.
    part: f64,
    /// And so much besides.
    slack: f64,
    /// What LIMITS has as the goal, and which.
    goal: Option<(f64, &'static str)>,
}

const fn rule(end: &'static str, part: f64, slack: f64) -> Rule {
    Rule {
        end,
        part,
        slack,
        goal: None,
    }
}

impl Rule {
    const fn goal(mut self, most: f64, name: &'static str) -> Rule {
        self.goal = Some((most, name));
        self
    }
}

/// The first that fits. Calls per MiB depend on how the other side's writes arrive, and so on how busy the machine is: on
/// epoll, a reader that is faster than the store reads often and little. So does a document's buffer. The others hardly vary.
const RULES: [Rule; 12] = [
    rule(".enters_per_mib", 1.5, 1.0).goal(4.0, "G11"),
    rule(".system_calls_per_mib", 1.5, 32.0),
    rule(".list_1000", 0.1, 0.0),
    rule(".list_1000.copied_bytes", 0.3, 0.0),
    rule(".list_1000.system_calls", 0.5, 4.0),
    rule(".list_1000.allocations", 0.0, 5.0),
    rule(".allocations_per_mib", 0.0, 0.05).goal(0.05, "G12"),
    rule(".copied_percent", 0.0, 0.2).goal(2.0, "G12"),
    rule(".kib", 0.25, 3.0).goal(8.0, "G14"),
    rule(".system_calls", 0.05, 0.3),
    rule(".allocations", 0.01, 0.5),
    // Instructions, and bytes copied for a request. A map's random seed moves some.
    rule("", 0.03, 0.0),
];

fn rule_of(name: &str) -> &'static Rule {
    RULES
        .iter()
        .find(|r| name.ends_with(r.end))
        .unwrap_or(&RULES[RULES.len() - 1])
}

/// Prints all readings beside the baseline; an error if one got worse.
pub(super) fn judge(readings: &[Reading], options: &Options) -> Outcome<()> {
    if options.write {
        write(readings, &options.baseline)?;
    }
    let before = read(&options.baseline)?;
    let (mut worse, mut missed) = (Vec::new(), Vec::new());
    println!("| gauge | now | baseline | at most | |\n|---|---|---|---|---|");
    for Reading { name, value } in readings {
        let rule = rule_of(name);
        let mut says = String::new();
        if let Some((most, goal)) = rule.goal {
            let met = *value <= most;
            let _ = write!(
                says,
                "{goal} ≤ {most}: {}",
                if met { "met" } else { "missed" }
            );
            if !met {
                missed.push(name.as_str());
            }
        }
        let known = before.get(name).copied();
        let most = known.map(|b| b * (1.0 + rule.part) + rule.slack);
        if let (Some(known), Some(most)) = (known, most) {
            if *value > most {
                says += " **worse**";
                worse.push(name.as_str());
            } else if *value < known * (1.0 - rule.part) - rule.slack {
                says += " better";
            }
        } else {
            says += " **no baseline**";
            worse.push(name);
        }
        let show = |n: Option<f64>| n.map_or_else(String::new, number);
        println!(
            "| {name} | {} | {} | {} | {} |",
            number(*value),
            show(known),
            show(most),
            says.trim()
        );
    }
    if !worse.is_empty() {
        return Err(format!(
            "worse than {}: {}. If that is the price of something wanted, say so in the commit and renew the baseline \
             with --write",
            options.baseline.display(),
            worse.join(", ")
        )
        .into());
    }
    if options.goals && !missed.is_empty() {
        return Err(format!("goals missed: {}", missed.join(", ")).into());
    }
    Ok(())
}

fn number(n: f64) -> String {
    // No minus zero.
    let n = n + 0.0;
    if n.abs() >= 1000.0 {
        format!("{n:.0}")
    } else {
        format!("{n:.2}")
    }
}

fn read(path: &Path) -> Outcome<BTreeMap<String, f64>> {
    let text = fs::read_to_string(path)
        .map_err(|e| format!("{}: {e}; make it with --write", path.display()))?;
    let mut all = BTreeMap::new();
    for (line, text) in text.lines().enumerate() {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let entry = text.split_once('=').and_then(|(name, value)| {
            let name = name.trim().trim_matches('"');
            Some((name.to_owned(), value.trim().parse().ok()?))
        });
        let (name, value) = entry
            .ok_or_else(|| format!("{}:{}: not `\"name\" = number`", path.display(), line + 1))?;
        all.insert(name, value);
    }
    Ok(all)
}

/// Values that were not measured this time stay.
fn write(readings: &[Reading], path: &Path) -> Outcome<()> {
    let mut all = if path.exists() {
        read(path)?
    } else {
        BTreeMap::new()
    };
    for reading in readings {
        all.insert(reading.name.clone(), reading.value);
    }
    let mut text =
        "# What the gauges read when this was last renewed: `sealgate-bench gauges --write`.\n\
                    # Debian 12, glibc 2.36, valgrind 3.19, x86-64. See bench/README.md.\n"
            .to_owned();
    for (name, value) in all {
        let _ = writeln!(text, "\"{name}\" = {}", number(value));
    }
    fs::write(path, text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits() {
        for (name, end) in [
            ("io_uring.put.enters_per_mib", ".enters_per_mib"),
            ("epoll.get.system_calls_per_mib", ".system_calls_per_mib"),
            ("epoll.get_1k.system_calls", ".system_calls"),
            ("epoll.list_1000.copied_bytes", ".list_1000.copied_bytes"),
            ("epoll.list_1000.system_calls", ".list_1000.system_calls"),
            ("instructions.list_1000", ".list_1000"),
            ("epoll.get_1k.allocations", ".allocations"),
            ("epoll.put.allocations_per_mib", ".allocations_per_mib"),
            ("epoll.idle_connection.kib", ".kib"),
            ("instructions.head", ""),
        ] {
            assert_eq!(rule_of(name).end, end, "{name}");
        }
    }

    #[test]
    fn a_baseline_round_trips_and_is_judged() {
        let dir = std::env::temp_dir().join(format!("sealgate-gauges-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut options = Options {
            gateway: None,
            baseline: dir.join("baseline.toml"),
            write: true,
            only: String::new(),
            goals: false,
            profiles: None,
        };
        let at = |value| [Reading::new("instructions", "head", value)];
        judge(&at(1000.0), &options).unwrap();
        options.write = false;
        judge(&at(1029.0), &options).unwrap();
        judge(&at(10.0), &options).unwrap();
        assert!(judge(&at(1031.0), &options).is_err());
        assert!(judge(&[Reading::new("instructions", "new", 1.0)], &options).is_err());
        fs::write(&options.baseline, "what?").unwrap();
        assert!(judge(&at(1.0), &options).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
