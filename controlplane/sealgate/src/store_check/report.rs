//! What was found, beside what presets say.

use std::fmt::Write;

use sealgate_backend::s3::preset::{Condition, DIRECTORY, GENERIC, PRESETS, Preset};
use serde_json::{Value, json};

use super::{Aspect, Finding};

/// All findings of a run.
pub(super) struct Report {
    store: String,
    bucket: String,
    configured: &'static Preset,
    findings: Vec<Finding>,
}

/// How a store stands to what its preset says of one thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stands {
    /// The preset says nothing.
    Unsaid,
    /// As it says.
    Same,
    /// The store does more: nothing is lost but what it could do.
    More,
    /// It is another habit, which nothing depends on.
    Other,
    /// The preset promises what the store does not do.
    Less,
}

impl Stands {
    fn mark(self) -> &'static str {
        match self {
            Self::Unsaid | Self::Same => "",
            Self::More => "does more",
            Self::Other => "differs",
            Self::Less => "BROKEN",
        }
    }
}

/// What `preset` says of an aspect, in words, and how that stands to what was found.
fn compare(preset: &Preset, aspect: Aspect) -> (String, Stands) {
    let yes_no = |said: bool, found: bool, words: [&str; 2], less: Stands| {
        let stands = match (said, found) {
            (true, true) | (false, false) => Stands::Same,
            (false, true) => Stands::More,
            (true, false) => less,
        };
        (words[usize::from(!said)].to_owned(), stands)
    };
    let unsaid = || ("-".to_owned(), Stands::Unsaid);
    match aspect {
        Aspect::None => unsaid(),
        // The configuration's word, whatever the preset.
        Aspect::Sent(found) => yes_no(true, found, ["sent", ""], Stands::Less),
        // S3 has no such condition, so nothing is assumed of a store.
        Aspect::Condition(Condition::NoneMatchTag | Condition::Unmodified, _) if preset.assumed => {
            unsaid()
        }
        Aspect::Condition(condition, found) => {
            let words = match preset.assumed {
                true => ["believed", ""],
                false => ["kept", "not kept"],
            };
            yes_no(preset.keeps(condition), found, words, Stands::Less)
        }
        Aspect::BareEtags => match preset.bare_etags {
            true => ("so".into(), Stands::Same),
            false => compare(preset, Aspect::Condition(Condition::PutIfMatch, false)),
        },
        Aspect::Metadata(found) => {
            let said = preset.metadata.bytes - preset.metadata.each;
            let stands = match found.cmp(&said) {
                std::cmp::Ordering::Less => Stands::Less,
                std::cmp::Ordering::Equal => Stands::Same,
                std::cmp::Ordering::Greater => Stands::More,
            };
            (said.to_string(), stands)
        }
        _ if preset.assumed => unsaid(),
        Aspect::PartNumbers(found) => {
            yes_no(preset.part_numbers, found, ["yes", "no"], Stands::Less)
        }
        Aspect::Checksums(found) => yes_no(preset.checksums, found, ["yes", "no"], Stands::Less),
        Aspect::Trailers(found) => yes_no(preset.trailers, found, ["yes", "no"], Stands::Less),
        Aspect::Versioning(found) => yes_no(preset.versioning, found, ["yes", "no"], Stands::Less),
        Aspect::SelfCopyKeepsEtag(found) => match preset.self_copy_keeps_etag == found {
            true => ("as found".into(), Stands::Same),
            false => ("the other way".into(), Stands::Other),
        },
        Aspect::FolderMetadata(found) => yes_no(
            !preset.bare_folders,
            found,
            ["kept", "not kept"],
            Stands::Less,
        ),
        Aspect::MinimumPart(found) => match preset.minimum_part == found {
            true => ("as found".into(), Stands::Same),
            false => ("the other way".into(), Stands::Other),
        },
    }
}

impl Report {
    pub(super) fn new(store: String, bucket: &str, configured: &'static Preset) -> Self {
        Self {
            store,
            bucket: bucket.to_owned(),
            configured,
            findings: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn is_directory(&self) -> bool {
        self.configured.name == DIRECTORY.name
    }

    fn count(&self, preset: &Preset, stands: Stands) -> usize {
        let is = |f: &&Finding| {
            compare(preset, f.aspect).1 == stands && !matches!(f.aspect, Aspect::Sent(_))
        };
        self.findings.iter().filter(is).count()
    }

    /// Presets that promise nothing that the store does not do, the closest one first.
    fn fitting(&self) -> Vec<&'static str> {
        if self.is_directory() {
            return Vec::new();
        }
        let mut fitting: Vec<&Preset> = PRESETS
            .into_iter()
            .filter(|p| p.name != GENERIC.name && self.count(p, Stands::Less) == 0)
            .collect();
        fitting.sort_by_key(|p| self.count(p, Stands::More) * 2 + self.count(p, Stands::Other));
        fitting.iter().map(|p| p.name).collect()
    }

    pub(super) fn text(&self) -> String {
        let said = match self.configured.assumed {
            true => format!("preset {} (nothing is known)", self.configured.name),
            false => format!("preset {}", self.configured.name),
        };
        let mut rows = vec![[
            "tried".to_owned(),
            "the store".to_owned(),
            said,
            String::new(),
        ]];
        for finding in &self.findings {
            let (said, stands) = compare(self.configured, finding.aspect);
            let (what, measured) = (finding.what.clone(), finding.measured.clone());
            rows.push([what, measured, said, stands.mark().to_owned()]);
        }
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        let mut text = format!("{}, bucket {}\n", self.store, self.bucket);
        for [what, measured, said, mark] in &rows {
            let [a, b, c] = widths;
            let line = format!("{what:a$}  {measured:b$}  {said:c$}  {mark}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.is_directory() {
            let fitting = self.fitting();
            let _ = match fitting.split_first() {
                None => writeln!(text, "\nno preset fits this store"),
                Some((best, [])) => writeln!(text, "\npreset that fits: {best}"),
                Some((best, others)) => writeln!(
                    text,
                    "\npreset that fits best: {best} (also without a broken promise: {})",
                    others.join(", ")
                ),
            };
        }
        text.truncate(text.trim_end().len());
        text
    }

    pub(super) fn json(&self, failed: Option<&String>) -> String {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                let (said, stands) = compare(self.configured, finding.aspect);
                json!({
                    "tried": finding.what,
                    "store": finding.measured,
                    "preset": said,
                    "stands": match stands {
                        Stands::Unsaid => "unsaid",
                        Stands::Same => "same",
                        Stands::More => "more",
                        Stands::Other => "other",
                        Stands::Less => "broken",
                    },
                })
            })
            .collect();
        let report = json!({
            "store": self.store,
            "bucket": self.bucket,
            "preset": self.configured.name,
            "findings": findings,
            "fitting": self.fitting(),
            "finished": failed.is_none(),
            "kept": failed.is_none() && self.verdict().is_ok(),
        });
        format!("{report:#}")
    }

    /// An error when the configured preset promises what the store does not do.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let broken: Vec<&str> = self
            .findings
            .iter()
            .filter(|f| compare(self.configured, f.aspect).1 == Stands::Less)
            .map(|f| f.what.as_str())
            .collect();
        if broken.is_empty() {
            return Ok(());
        }
        if self.count(self.configured, Stands::Less) == 0 {
            return Err(format!(
                "the store does not do what is asked of it: {}; set checksum = \"none\" in [backend]",
                broken.join(", ")
            ));
        }
        let remedy = match self.fitting().first() {
            Some(best) => format!("set preset = {best:?} in [backend]"),
            None => "no preset fits this store: do not rely on these".to_owned(),
        };
        Err(format!(
            "the store does not do what the preset {} says: {}; {remedy}",
            self.configured.name,
            broken.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(configured: &'static Preset, findings: &[Aspect]) -> Report {
        let mut report = Report::new("store".into(), "bucket", configured);
        for aspect in findings {
            report.add(Finding {
                what: format!("{aspect:?}"),
                measured: String::new(),
                aspect: *aspect,
            });
        }
        report
    }

    /// What a store that is exactly as `preset` says would show.
    fn exact(preset: &Preset) -> Vec<Aspect> {
        let mut all: Vec<Aspect> = Condition::ALL
            .into_iter()
            .map(|c| match c {
                Condition::PutIfMatch if preset.bare_etags => Aspect::BareEtags,
                c => Aspect::Condition(c, preset.keeps(c)),
            })
            .collect();
        all.extend([
            Aspect::Metadata(preset.metadata.bytes - preset.metadata.each),
            Aspect::PartNumbers(preset.part_numbers),
            Aspect::Checksums(preset.checksums),
            Aspect::Trailers(preset.trailers),
            Aspect::Versioning(preset.versioning),
            Aspect::SelfCopyKeepsEtag(preset.self_copy_keeps_etag),
            Aspect::MinimumPart(preset.minimum_part),
            Aspect::FolderMetadata(!preset.bare_folders),
        ]);
        all
    }

    #[test]
    fn every_preset_fits_itself_best() {
        for preset in PRESETS.into_iter().filter(|p| p.name != GENERIC.name) {
            let report = report(preset, &exact(preset));
            assert_eq!(report.verdict(), Ok(()), "{}", preset.name);
            assert_eq!(report.fitting().first(), Some(&preset.name));
        }
    }

    #[test]
    fn a_condition_that_is_not_kept_breaks_every_preset_that_promises_it() {
        for preset in PRESETS {
            for condition in Condition::ALL {
                let report = report(preset, &[Aspect::Condition(condition, false)]);
                let promised = preset.keeps(condition)
                    && !(preset.assumed
                        && matches!(condition, Condition::NoneMatchTag | Condition::Unmodified));
                assert_eq!(
                    report.verdict().is_err(),
                    promised,
                    "{} {condition}",
                    preset.name
                );
            }
        }
    }
}
