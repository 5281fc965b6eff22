//! `sealgate rewrap`: puts the objects of a bucket under another key, or the newest version of theirs.

mod progress;
mod report;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use sealgate_backend::Store;
use sealgate_backend::types::UploadsRequest;
use sealgate_config::Config;
use sealgate_gateway::rewrap::{Method, Options, Outcome, Rewrapper, UNSAFE};
use sealgate_gateway::snapshot::matches_glob;
use sealgate_s3::xml::Versioning;

use crate::cli;
use crate::scan::{self, CommandCore, Pace, Pages, Scope, VersionPages, each, location};
use progress::Progress;
use report::Report;
use state::State;

/// Longest copy in one request that a store takes, bytes.
const MAX_COPY: u64 = 5 << 30;
/// So many objects in a row that failed because a service is away: it is, and the run ends.
const PATIENCE: usize = 20;
/// How often the state is saved.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What `rewrap` can be told.
#[derive(clap::Args)]
pub(crate) struct RewrapArgs {
    /// The gateway's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The bucket.
    #[arg(long)]
    bucket: String,
    /// Only objects whose keys start so.
    #[arg(long, default_value = "")]
    prefix: String,
    /// The key to put objects under; the one of their bucket rule by default.
    #[arg(long, value_name = "KEY")]
    to: Option<String>,
    /// Wrap the key-encryption keys there are with the newest version of their key, instead of making new ones.
    #[arg(long)]
    keep_keks: bool,
    /// Also objects that are under the newest version already: for key services that do not tell versions apart.
    #[arg(long)]
    all: bool,
    /// Also objects under retention or legal hold: the copy is a new version under the same lock.
    #[arg(long)]
    copy_locked: bool,
    /// You have stopped all that writes to these objects. Needed at stores that keep no conditions.
    #[arg(long)]
    no_writers: bool,
    /// How to replace an envelope; found out by default. `put` moves the data through this process.
    #[arg(long, value_enum)]
    method: Option<MethodArg>,
    /// Most objects in a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Objects at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
    /// Keeps how far the run has come in this file, and goes on from there if it exists.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Only say what would be done. Everything is opened, nothing is written.
    #[arg(long)]
    dry_run: bool,
    /// Record uses of keys in this file, instead of where the configuration says.
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// For tests: objects above this many bytes are copied by ranges.
    #[arg(long, hide = true, default_value_t = MAX_COPY)]
    max_copy: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodArg {
    Copy,
    Put,
}

/// What the core tells.
enum Message {
    /// The bucket's versioning is known.
    Begun { versions: bool },
    /// One object is done.
    Object {
        number: u64,
        key: String,
        outcome: Outcome,
        method: Option<&'static str>,
    },
    /// Objects there are, as far as they were counted.
    Counted { objects: u64, all: bool },
    /// After the last object.
    Rest {
        older_versions: Option<u64>,
        unfinished_uploads: Option<u64>,
    },
}

/// Does what was asked; an error unless every object is under its target or rightly left alone.
pub(crate) fn run(args: &RewrapArgs) -> Result<(), String> {
    let config = cli::load(&args.config)?;
    let notes = check(args, &config)?;
    let started = Instant::now();
    let (state, resumed) = State::open(args.state.as_deref(), args)?;
    let mut run = Run {
        state,
        waiting: BTreeMap::new(),
        next: 0,
        held: Vec::new(),
        progress: Progress::new(resumed),
        saved: Instant::now(),
        trouble: None,
        ended: false,
    };
    run.state.report.notes = notes;
    let opened = scan::open(&config, args.audit.as_deref())?;
    let (key_calls, stop) = (Arc::clone(&opened.key_calls), Arc::clone(&opened.stop));
    let (calls_before, seconds_before) = (run.state.report.key_calls, run.state.report.seconds);
    let job = Job {
        options: args.options(),
        scope: Scope {
            bucket: args.bucket.clone(),
            prefix: args.prefix.clone(),
            after: run.state.after.clone(),
        },
        concurrency: args.concurrency as usize,
        rate: args.rate.map(f64::from),
        count: run.progress.is_shown(),
        stop: Arc::clone(&stop),
    };
    let outcome = opened.run(
        move |core, tell| job.run(core, tell),
        |message| {
            run.state.report.key_calls = calls_before + key_calls.load(Ordering::Relaxed);
            run.state.report.seconds = seconds_before + started.elapsed().as_secs_f64();
            run.hear(message, &stop);
        },
    );
    run.end(args, outcome, stop.load(Ordering::Acquire))
}

impl RewrapArgs {
    fn options(&self) -> Options {
        Options {
            to: self.to.clone(),
            keep_keks: self.keep_keks,
            all: self.all,
            copy_locked: self.copy_locked,
            no_writers: self.no_writers,
            method: self.method.map(|m| match m {
                MethodArg::Copy => Method::Copy,
                MethodArg::Put => Method::Put,
            }),
            dry_run: self.dry_run,
            max_copy: self.max_copy.clamp(1, MAX_COPY),
        }
    }
}

/// What can be said before anything is opened.
fn check(args: &RewrapArgs, config: &Config) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    // The first rule that matches a key counts: none after one for all keys.
    let matching = config
        .buckets
        .iter()
        .filter(|rule| matches_glob(&rule.bucket, &args.bucket));
    let mut here = Vec::new();
    for rule in matching {
        here.push(rule);
        if rule.prefix.is_empty() {
            break;
        }
    }
    let Some(to) = &args.to else {
        if !here.iter().any(|rule| rule.encrypt) {
            return Err(format!(
                "no [[buckets]] rule of {} seals objects in {}: name a key with --to",
                args.config.display(),
                args.bucket
            ));
        }
        return Ok(notes);
    };
    if !config.keys.contains_key(to) {
        let known: Vec<_> = config.keys.keys().map(String::as_str).collect();
        return Err(format!(
            "--to {to}: no such key is configured; {} has {}",
            args.config.display(),
            known.join(", ")
        ));
    }
    let others = here
        .into_iter()
        .filter(|rule| rule.encrypt && rule.key.as_deref() != Some(to));
    for rule in others {
        notes.push(format!(
            "the rule for {}/{}* still seals new objects under {:?}: change it to {to:?}, reload the gateways, and run \
             again, or this does not end",
            rule.bucket,
            rule.prefix,
            rule.key.as_deref().unwrap_or("")
        ));
    }
    Ok(notes)
}

/// What the core is to do.
struct Job {
    options: Options,
    scope: Scope,
    concurrency: usize,
    rate: Option<f64>,
    count: bool,
    stop: Arc<AtomicBool>,
}

impl Job {
    async fn run(self, core: Rc<CommandCore>, tell: Sender<Message>) -> Result<(), String> {
        let bucket = self.scope.bucket.clone();
        let versioning = match &core.store {
            Store::Fs(_) => Versioning::Never,
            Store::S3(s3) => match s3.versioning(&bucket).await {
                Ok(versioning) => versioning,
                // A store without versions may not know the question.
                Err(sealgate_backend::types::BackendError::Answer(e))
                    if e.code.status().as_u16() == 501 =>
                {
                    Versioning::Never
                }
                Err(e) => {
                    return Err(format!(
                        "whether {bucket} keeps versions cannot be found out: {e}"
                    ));
                }
            },
        };
        let versions = versioning != Versioning::Never;
        let _ = tell.send(Message::Begun { versions });
        if self.count {
            sealgate_uring::spawn(count(Rc::clone(&core), self.scope.clone(), tell.clone()));
        }
        let rewrapper = Rewrapper::new(Rc::clone(&core), self.options.clone(), versioning);
        for name in self.targets(&core) {
            // A target that does not work would fail every object.
            let asked = rewrapper.target_named(&name).await;
            asked.map_err(|e| format!("the key {name}: {e}"))?;
        }
        let pace = Pace {
            concurrency: self.concurrency,
            rate: self.rate,
            stop: &self.stop,
        };
        let mut pages = Pages::new(self.scope.clone());
        each(
            async || pages.next(&core).await,
            &pace,
            |number, object| {
                let (rewrapper, tell, bucket) = (&rewrapper, &tell, &bucket);
                async move {
                    let outcome = match location(bucket, &object.key) {
                        Ok(at) => rewrapper.object(&at).await,
                        Err(reason) => Outcome::Failed {
                            kind: "key",
                            reason,
                            passing: false,
                        },
                    };
                    let _ = tell.send(Message::Object {
                        number,
                        key: String::from_utf8_lossy(&object.key).into_owned(),
                        outcome,
                        method: rewrapper.method().map(Method::as_str),
                    });
                }
            },
        )
        .await?;
        if self.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        let older_versions = match versions {
            true => Some(older_versions(&core, &self.scope).await?),
            false => None,
        };
        let unfinished_uploads = unfinished_uploads(&core, &self.scope).await;
        let _ = tell.send(Message::Rest {
            older_versions,
            unfinished_uploads,
        });
        Ok(())
    }
}

impl Job {
    /// The keys that objects may be put under.
    fn targets(&self, core: &CommandCore) -> BTreeSet<String> {
        match &self.options.to {
            Some(to) => BTreeSet::from([to.clone()]),
            None => core
                .snapshot
                .load()
                .buckets
                .iter()
                .filter(|rule| rule.encrypt && matches_glob(&rule.bucket, &self.scope.bucket))
                .map(|rule| rule.key.clone())
                .collect(),
        }
    }
}

/// Counts the objects there are, for the progress bar.
async fn count(core: Rc<CommandCore>, scope: Scope, tell: Sender<Message>) {
    let mut pages = Pages::new(scope);
    let mut objects = 0;
    while let Ok(page) = pages.next(&core).await {
        objects += page.as_ref().map_or(0, |page| page.len() as u64);
        let all = page.is_none();
        if tell.send(Message::Counted { objects, all }).is_err() || all {
            return;
        }
    }
}

/// Versions that are not what a read meets: they stay as they are, under the keys that they are under.
async fn older_versions(core: &CommandCore, scope: &Scope) -> Result<u64, String> {
    let mut pages = VersionPages::new(scope);
    let mut older = 0;
    while let Some(page) = pages.next(core).await? {
        older += page.iter().filter(|version| !version.is_latest).count() as u64;
    }
    Ok(older)
}

/// Uploads that are not completed hold an envelope of their own, with the client. `None` where the store has no list.
async fn unfinished_uploads(core: &CommandCore, scope: &Scope) -> Option<u64> {
    let mut request = UploadsRequest {
        prefix: scope.prefix.clone().into(),
        max_uploads: 1000,
        ..UploadsRequest::default()
    };
    let mut uploads = 0;
    loop {
        let page = core
            .store
            .list_uploads(&scope.bucket, &request)
            .await
            .ok()?;
        uploads += page.uploads.len() as u64;
        match page.next {
            Some((key, id)) if (&key, &id) != (&request.key_marker, &request.upload_id_marker) => {
                (request.key_marker, request.upload_id_marker) = (key, id);
            }
            _ => return Some(uploads),
        }
    }
}

/// The command's own view of the run.
struct Run {
    state: State,
    /// Done, but not everything before them: what is saved is a prefix of the listing.
    waiting: BTreeMap<u64, (String, Outcome)>,
    next: u64,
    /// The last objects in a row that failed because a service was away.
    held: Vec<(String, Outcome)>,
    progress: Progress,
    saved: Instant,
    trouble: Option<String>,
    ended: bool,
}

impl Run {
    fn hear(&mut self, message: Option<Message>, stop: &AtomicBool) {
        match message {
            None => {}
            Some(Message::Begun { versions }) => self.state.report.versioned = versions,
            Some(Message::Object {
                number,
                key,
                outcome,
                method,
            }) => {
                self.state.report.method = method.map(str::to_owned);
                self.progress.tell(&key, &outcome);
                self.waiting.insert(number, (key, outcome));
                while let Some((key, outcome)) = self.waiting.remove(&self.next) {
                    self.next += 1;
                    self.take(key, outcome, stop);
                }
            }
            Some(Message::Counted { objects, all }) => self.progress.counted(objects, all),
            Some(Message::Rest {
                older_versions,
                unfinished_uploads,
            }) => {
                self.state.report.older_versions = older_versions;
                self.state.report.unfinished_uploads = unfinished_uploads;
                self.ended = true;
            }
        }
        self.progress.draw(&self.state.report);
        if self.saved.elapsed() >= SAVE_EVERY {
            self.saved = Instant::now();
            self.save(stop);
        }
    }

    /// Takes the next object of the listing into account.
    fn take(&mut self, key: String, outcome: Outcome, stop: &AtomicBool) {
        let away = matches!(&outcome, Outcome::Failed { passing: true, .. });
        if let Outcome::Failed { kind, reason, .. } = &outcome
            && *kind == UNSAFE
        {
            self.trouble = Some(reason.clone());
            stop.store(true, Ordering::Release);
            return;
        }
        self.held.push((key, outcome));
        if !away {
            for (key, outcome) in self.held.drain(..) {
                self.state.after.clone_from(&key);
                self.state.report.add(key, outcome);
            }
        } else if self.held.len() >= PATIENCE
            && let Some((_, Outcome::Failed { reason, .. })) = self.held.last()
            && self.trouble.is_none()
        {
            self.trouble = Some(format!("{PATIENCE} objects in a row failed: {reason}"));
            stop.store(true, Ordering::Release);
        }
    }

    fn save(&mut self, stop: &AtomicBool) {
        if let Err(e) = self.state.save()
            && self.trouble.is_none()
        {
            self.trouble = Some(e);
            stop.store(true, Ordering::Release);
        }
    }

    fn end(
        mut self,
        args: &RewrapArgs,
        outcome: Result<(), String>,
        stopped: bool,
    ) -> Result<(), String> {
        let finished = self.ended && outcome.is_ok() && self.trouble.is_none();
        if finished {
            for (key, outcome) in std::mem::take(&mut self.held) {
                self.state.report.add(key, outcome);
            }
            self.state.remove()?;
        } else {
            self.state.save()?;
            // Told, but not saved: they are looked at again.
            let seen = std::mem::take(&mut self.held).into_iter();
            for (key, outcome) in seen.chain(std::mem::take(&mut self.waiting).into_values()) {
                self.state.report.add(key, outcome);
            }
        }
        self.state.report.finished = finished;
        self.progress.clear();
        let report: &Report = &self.state.report;
        match args.json {
            true => cli::print_line(&report.json()),
            false => cli::print_line(&report.text()),
        }
        outcome?;
        let again = match &args.state {
            Some(state) => format!("run again with --state {} to go on", state.display()),
            None => "run again to go on: what is done is passed over".to_owned(),
        };
        match self.trouble {
            Some(trouble) => Err(format!("{trouble}; {again}")),
            None if stopped => Err(format!("interrupted; {again}")),
            None => report.verdict(),
        }
    }
}
