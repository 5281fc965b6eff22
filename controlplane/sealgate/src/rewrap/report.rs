//! What a run came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use sealgate_gateway::rewrap::{Outcome, Skip};
use serde::{Deserialize, Serialize};

/// Most objects that a report names; all are counted.
const MAX_NAMED: usize = 1000;

/// Counts of a run, and what an operator has to look at.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) dry_run: bool,
    /// Every object of the listing was looked at.
    pub(crate) finished: bool,
    /// `copy` or `put`; none where nothing had to be written.
    pub(crate) method: Option<String>,
    pub(crate) examined: u64,
    pub(crate) rewrapped: u64,
    pub(crate) already_new: u64,
    pub(crate) skipped: BTreeMap<String, u64>,
    pub(crate) failed: BTreeMap<String, u64>,
    /// How often an object was overwritten by somebody else in between; the other's write stands.
    pub(crate) overtaken: u64,
    /// Re-wrapped by copies of ranges.
    pub(crate) by_ranges: u64,
    /// Re-wrapped, and clients see another ETag.
    pub(crate) etags_changed: u64,
    pub(crate) bytes_not_moved: u64,
    pub(crate) bytes_moved: u64,
    pub(crate) key_calls: u64,
    pub(crate) seconds: f64,
    pub(crate) versioned: bool,
    /// Versions that are not current: under the keys that they were under.
    pub(crate) older_versions: Option<u64>,
    pub(crate) unfinished_uploads: Option<u64>,
    /// Objects that need somebody, by key, and why.
    pub(crate) problems: Vec<Problem>,
    /// Further ones that are not named.
    pub(crate) problems_left_out: u64,
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Problem {
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) reason: String,
}

/// Why a skipped object needs somebody.
pub(crate) fn skip_reason(skip: Skip) -> &'static str {
    match skip {
        Skip::Locked => {
            "under retention or legal hold: it stays under its old key until that ends; --copy-locked makes a new \
             version under the same lock"
        }
        Skip::Archived => "in an archive: restore it and run again",
        Skip::TooLarge => {
            "too large to be replaced safely at this store while others write: stop them and run again with --no-writers"
        }
        Skip::NotSealed => "not sealed",
        Skip::Gone => "deleted meanwhile",
        Skip::Staged => "a staged part of an unfinished upload",
    }
}

impl Report {
    pub(crate) fn add(&mut self, key: String, outcome: Outcome) {
        self.examined += 1;
        match outcome {
            Outcome::Rewrapped(done) => {
                self.rewrapped += 1;
                self.overtaken += u64::from(done.overtaken);
                self.by_ranges += u64::from(done.ranges);
                self.etags_changed += u64::from(done.etag_changed);
                if done.moved {
                    self.bytes_moved += done.bytes;
                } else {
                    self.bytes_not_moved += done.bytes;
                }
            }
            Outcome::Current => self.already_new += 1,
            Outcome::Skipped(skip) => {
                *self.skipped.entry(skip.name().to_owned()).or_default() += 1;
                if skip.matters() {
                    self.name(key, skip.name(), skip_reason(skip).to_owned());
                }
            }
            Outcome::Failed { kind, reason, .. } => {
                *self.failed.entry(kind.to_owned()).or_default() += 1;
                self.name(key, kind, reason);
            }
        }
    }

    fn name(&mut self, key: String, kind: &str, reason: String) {
        if self.problems.len() < MAX_NAMED {
            self.problems.push(Problem {
                key,
                kind: kind.to_owned(),
                reason,
            });
        } else {
            self.problems_left_out += 1;
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// An error when anything failed.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.failures() {
            0 => Ok(()),
            n => Err(format!(
                "{n} of {} objects failed; the report says why",
                self.examined
            )),
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let _ = writeln!(
                text,
                "{}: {}: {}",
                problem.key, problem.kind, problem.reason
            );
        }
        if self.problems_left_out > 0 {
            let _ = writeln!(text, "… and {} more", self.problems_left_out);
        }
        let counts = |counts: &BTreeMap<String, u64>| {
            let all: Vec<_> = counts
                .iter()
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            match all.is_empty() {
                true => String::new(),
                false => format!(" ({})", all.join(", ")),
            }
        };
        let place = format!("{}/{}*", self.bucket, self.prefix);
        let state = match (self.finished, self.dry_run) {
            (false, _) => "not finished",
            (true, true) => "dry run, nothing was written",
            (true, false) => "finished",
        };
        let _ = writeln!(text, "{place}: {state}");
        let _ = writeln!(text, "  examined      {}", self.examined);
        let would = if self.dry_run {
            "to re-wrap   "
        } else {
            "re-wrapped   "
        };
        let _ = writeln!(text, "  {would} {}", self.rewrapped);
        let _ = writeln!(text, "  already new   {}", self.already_new);
        let skipped: u64 = self.skipped.values().sum();
        let _ = writeln!(text, "  skipped       {skipped}{}", counts(&self.skipped));
        let _ = writeln!(
            text,
            "  failed        {}{}",
            self.failures(),
            counts(&self.failed)
        );
        let _ = writeln!(
            text,
            "  overtaken     {} (another write stands)",
            self.overtaken
        );
        let _ = writeln!(
            text,
            "  bytes         {} not moved, {} moved{}",
            self.bytes_not_moved,
            self.bytes_moved,
            self.method
                .as_ref()
                .map_or_else(String::new, |m| format!(" (method {m})")),
        );
        if self.by_ranges > 0 {
            let _ = writeln!(text, "  by ranges     {}", self.by_ranges);
        }
        if self.etags_changed > 0 {
            let _ = writeln!(
                text,
                "  ETags         {} objects have another one now: clients that remember the old one read anew",
                self.etags_changed
            );
        }
        let rate = self.examined as f64 / self.seconds.max(0.001);
        let _ = writeln!(
            text,
            "  time          {:.1} s, {rate:.0} objects/s, {} calls at key services",
            self.seconds, self.key_calls
        );
        if let Some(older) = self.older_versions.filter(|n| *n > 0) {
            let _ = writeln!(
                text,
                "  versions      {older} older versions stay under the keys that they are under: keep those keys, or expire \
                 the versions (sealgate keys verify --versions)"
            );
        }
        if let Some(uploads) = self.unfinished_uploads.filter(|n| *n > 0) {
            let _ = writeln!(
                text,
                "  uploads       {uploads} are unfinished: complete or abort them before an old key goes"
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use sealgate_gateway::rewrap::Done;

    use super::*;

    #[test]
    fn everything_is_counted_once_and_named_where_somebody_is_needed() {
        let mut report = Report::default();
        let done = Done {
            bytes: 100,
            ranges: true,
            overtaken: 2,
            ..Done::default()
        };
        report.add("a".into(), Outcome::Rewrapped(done));
        report.add(
            "b".into(),
            Outcome::Rewrapped(Done {
                moved: true,
                etag_changed: true,
                ..done
            }),
        );
        report.add("c".into(), Outcome::Current);
        report.add("d".into(), Outcome::Skipped(Skip::Gone));
        report.add("e".into(), Outcome::Skipped(Skip::Locked));
        assert!(report.verdict().is_ok());
        for n in 0..=MAX_NAMED {
            report.add(
                format!("f{n}"),
                Outcome::Failed {
                    kind: "tampered",
                    reason: "r".into(),
                    passing: false,
                },
            );
        }
        assert_eq!(
            (report.examined, report.rewrapped, report.already_new),
            (1006, 2, 1)
        );
        assert_eq!((report.bytes_not_moved, report.bytes_moved), (100, 100));
        assert_eq!(
            (report.overtaken, report.by_ranges, report.etags_changed),
            (4, 2, 1)
        );
        assert_eq!(report.skipped["gone"] + report.skipped["locked"], 2);
        assert_eq!(report.failures(), 1001);
        assert_eq!(
            (report.problems.len(), report.problems_left_out),
            (MAX_NAMED, 2)
        );
        assert_eq!(
            (&*report.problems[0].key, &*report.problems[0].kind),
            ("e", "locked")
        );
        assert!(report.verdict().unwrap_err().contains("1001 of 1006"));
        let text = report.text();
        assert!(text.contains("e: locked: under retention"), "{text}");
        let read: Report = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(read.text(), text);
    }
}
