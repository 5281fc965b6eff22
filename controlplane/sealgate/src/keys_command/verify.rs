//! `sealgate keys verify`: opens the envelope of every object of a bucket.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use bytes::Bytes;
use sealgate_backend::Store;
use sealgate_backend::types::{BackendError, Location, ObjectInfo};
use sealgate_gateway::rewrap::{Inspected, inspect};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use serde::Serialize;

use super::{Status, VerifyArgs};
use crate::cli;
use crate::scan::{self, CommandCore, Pace, Pages, Scope, VersionPages, each, location};

/// Most objects that a report names; all are counted.
const MAX_NAMED: usize = 1000;

/// What objects need.
#[derive(Default, Serialize)]
struct Report {
    keys: Vec<Status>,
    bucket: Option<String>,
    prefix: String,
    /// Every version was looked at, not only the current ones.
    versions: bool,
    finished: bool,
    objects: u64,
    not_sealed: u64,
    in_use: Vec<InUse>,
    failed: u64,
    problems: Vec<Problem>,
    problems_left_out: u64,
}

/// One version of one key.
#[derive(Serialize)]
struct InUse {
    key: String,
    version: String,
    objects: u64,
    /// Different wrapped KEKs.
    keks: u64,
    /// Objects among these that do not open.
    failed: u64,
}

#[derive(Serialize)]
struct Problem {
    key: String,
    version_id: Option<String>,
    reason: String,
}

/// Counts by key and version.
#[derive(Default)]
struct Tally {
    report: Report,
    uses: BTreeMap<(String, String), Uses>,
}

#[derive(Default)]
struct Uses {
    objects: u64,
    wrapped_keks: HashSet<Vec<u8>>,
    failed: u64,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), String> {
    let config = cli::load(&args.config)?;
    let keys = super::status(&config)?;
    let working = super::verdict(&keys);
    let mut report = match &args.bucket {
        None => Report {
            finished: true,
            ..Report::default()
        },
        Some(bucket) => {
            let opened = scan::open(&config, args.audit.as_deref())?;
            let job = Job {
                scope: Scope {
                    bucket: bucket.clone(),
                    prefix: args.prefix.clone(),
                    after: String::new(),
                },
                versions: args.versions,
                concurrency: args.concurrency as usize,
                stop: Arc::clone(&opened.stop),
            };
            let mut found = None;
            opened.run(
                move |core, tell| job.run(core, tell),
                |report| found = report.or(found.take()),
            )?;
            found.ok_or("the command's core ended without a report")?
        }
    };
    report.keys = keys;
    cli::print_line(&match args.json {
        true => serde_json::to_string_pretty(&report).unwrap_or_default(),
        false => text(&report),
    });
    if !report.finished {
        return Err("interrupted".into());
    }
    match report.failed {
        0 => working,
        n => Err(format!(
            "{n} of {} objects cannot be opened",
            report.objects
        )),
    }
}

struct Job {
    scope: Scope,
    versions: bool,
    concurrency: usize,
    stop: Arc<AtomicBool>,
}

impl Job {
    async fn run(self, core: Rc<CommandCore>, tell: Sender<Report>) -> Result<(), String> {
        let tally = RefCell::new(Tally::default());
        let pace = Pace {
            concurrency: self.concurrency,
            rate: None,
            stop: &self.stop,
        };
        let bucket = &self.scope.bucket;
        let visit = |key: Bytes, version: Option<String>| {
            let (core, tally) = (&core, &tally);
            async move {
                let version = version.as_deref();
                match location(bucket, &key) {
                    Ok(at) => look(core, &at, version, tally).await,
                    Err(reason) => {
                        let mut tally = tally.borrow_mut();
                        tally.report.objects += 1;
                        tally.problem(&key, version, reason);
                    }
                }
            }
        };
        match (&core.store, self.versions) {
            (Store::S3(_), true) => {
                let mut pages = VersionPages::new(&self.scope);
                let next = async || pages.next(&core).await;
                each(next, &pace, |_, v| {
                    visit(v.key, Some(v.version_id.to_string()))
                })
                .await?;
            }
            _ => {
                let mut pages = Pages::new(self.scope.clone());
                let next = async || pages.next(&core).await;
                each(next, &pace, |_, object| visit(object.key, None)).await?;
            }
        }
        let mut report = tally.into_inner().finish();
        report.finished = !self.stop.load(Ordering::Acquire);
        report.versions = self.versions;
        report.bucket = Some(self.scope.bucket);
        report.prefix = self.scope.prefix;
        let _ = tell.send(report);
        Ok(())
    }
}

async fn look(core: &CommandCore, at: &Location, version: Option<&str>, tally: &RefCell<Tally>) {
    let inspected = match head(core, at, version).await {
        Ok(info) => inspect(core, at, &info).await,
        Err(BackendError::Answer(e)) if e.code == ErrorCode::NoSuchKey => return,
        Err(e) => {
            let mut tally = tally.borrow_mut();
            tally.report.objects += 1;
            return tally.problem(at.key.as_ref(), version, e.to_string());
        }
    };
    tally.borrow_mut().add(at, version, inspected);
}

async fn head(
    core: &CommandCore,
    at: &Location,
    version: Option<&str>,
) -> Result<ObjectInfo, BackendError> {
    match (&core.store, version) {
        (Store::S3(s3), Some(version)) => s3.head_version(at, version).await,
        (store, _) => store.head(at, &Conditions::default()).await,
    }
}

impl Tally {
    fn add(&mut self, at: &Location, version: Option<&str>, inspected: Inspected) {
        let (kek, trouble) = match inspected {
            Inspected::Staged => return,
            Inspected::NotSealed => {
                self.report.objects += 1;
                self.report.not_sealed += 1;
                return;
            }
            Inspected::Sealed { kek, trouble } => (kek, trouble),
        };
        self.report.objects += 1;
        if let Some(kek) = kek {
            let uses = self.uses.entry((kek.name, kek.version)).or_default();
            uses.objects += 1;
            uses.wrapped_keks.insert(kek.wrapped);
            uses.failed += u64::from(trouble.is_some());
        }
        if let Some(reason) = trouble {
            self.problem(at.key.as_ref(), version, reason);
        }
    }

    fn problem(&mut self, key: &[u8], version: Option<&str>, reason: String) {
        self.report.failed += 1;
        if self.report.problems.len() < MAX_NAMED {
            self.report.problems.push(Problem {
                key: String::from_utf8_lossy(key).into_owned(),
                version_id: version.map(str::to_owned),
                reason,
            });
        } else {
            self.report.problems_left_out += 1;
        }
    }

    fn finish(self) -> Report {
        let uses = self.uses.into_iter();
        Report {
            in_use: uses
                .map(|((key, version), uses)| InUse {
                    key,
                    version,
                    objects: uses.objects,
                    keks: uses.wrapped_keks.len() as u64,
                    failed: uses.failed,
                })
                .collect(),
            ..self.report
        }
    }
}

fn text(report: &Report) -> String {
    let mut lines = vec![super::text(&report.keys)];
    if let Some(bucket) = &report.bucket {
        let what = if report.versions {
            "versions"
        } else {
            "objects"
        };
        for problem in &report.problems {
            let version = problem
                .version_id
                .as_ref()
                .map_or_else(String::new, |v| format!(" ({v})"));
            lines.push(format!("{}{version}: {}", problem.key, problem.reason));
        }
        if report.problems_left_out > 0 {
            lines.push(format!("… and {} more", report.problems_left_out));
        }
        lines.push(format!(
            "{bucket}/{}*: {} {what}, {} not sealed, {} cannot be opened",
            report.prefix, report.objects, report.not_sealed, report.failed
        ));
        for u in &report.in_use {
            lines.push(format!(
                "  {} version {:?}: {} {what} under {} KEKs, {} cannot be opened",
                u.key, u.version, u.objects, u.keks, u.failed
            ));
        }
    }
    lines.join("\n")
}
