//! `sealgate check --store`: what a store does, tried on objects of the command's own, beside what its preset says.

mod probes;
mod report;
mod sums;
mod target;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use sealgate_backend::Store;
use sealgate_backend::s3::preset::{DIRECTORY, GENERIC, Preset, preset};
use sealgate_config::{Backend, Config};

use crate::cli;
use crate::scan::{self, CommandCore};
use report::Report;
use target::Target;

/// What is tried is under this prefix of the bucket, and a random name.
const SCRATCH: &str = ".sealgate-check-";

/// What `check --store` can be told.
#[derive(clap::Args)]
pub(crate) struct StoreArgs {
    /// Also try what the store does, with objects of this command's own, and compare it with its preset.
    #[arg(long, requires = "bucket")]
    store: bool,
    /// The bucket to try it in. What is written there is removed again.
    #[arg(long, requires = "store")]
    bucket: Option<String>,
    /// Print what was found as JSON.
    #[arg(long, requires = "store")]
    json: bool,
}

impl StoreArgs {
    /// The bucket, if the store is to be tried.
    pub(crate) fn bucket(&self) -> Option<&str> {
        self.bucket.as_deref().filter(|_| self.store)
    }
}

/// A behaviour of the store.
pub(crate) struct Finding {
    /// What was tried.
    pub(crate) what: String,
    /// What came of it, in words.
    pub(crate) measured: String,
    /// What a preset has to say about it.
    pub(crate) aspect: Aspect,
}

/// What of a preset a finding is about, with what was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aspect {
    /// Whether a condition is kept.
    Condition(sealgate_backend::s3::preset::Condition, bool),
    /// `If-Match` on PutObject is kept for ETags without quotes, and never holds for others.
    BareEtags,
    /// Most bytes of metadata that were taken under one name.
    Metadata(usize),
    PartNumbers(bool),
    Checksums(bool),
    Trailers(bool),
    Versioning(bool),
    SelfCopyKeepsEtag(bool),
    MinimumPart(bool),
    FolderMetadata(bool),
    /// Whether the checksums that the configuration sends are taken and compared.
    Sent(bool),
    /// No preset speaks of it.
    None,
}

/// Tries the store; an error unless it does what its preset says.
pub(crate) fn run(config: &Config, path: &Path, args: &StoreArgs) -> Result<(), String> {
    let Some(bucket) = args.bucket() else {
        return Ok(());
    };
    let (name, configured) = match &config.backend {
        Backend::Fs { path } => (format!("the directory {}", path.display()), &DIRECTORY),
        Backend::S3(s3) => (
            s3.endpoint.authority.clone(),
            preset(s3.preset.as_str()).unwrap_or(&GENERIC),
        ),
    };
    let opened = scan::open(config, audit_of(config).as_deref())?;
    let stop = Arc::clone(&opened.stop);
    let mut report = Report::new(name, bucket, configured);
    let job = Job {
        bucket: bucket.to_owned(),
        stop,
        configured,
    };
    let outcome = opened.run(
        move |core, tell| job.run(core, tell),
        |finding| {
            if let Some(finding) = finding {
                report.add(finding);
            }
        },
    );
    cli::print_line(&match args.json {
        true => report.json(outcome.as_ref().err()),
        false => report.text(),
    });
    outcome.map_err(|e| format!("{}: {e}", path.display()))?;
    report.verdict()
}

/// No key is used here, so nothing has to be recorded where the answer goes.
fn audit_of(config: &Config) -> Option<PathBuf> {
    (config.log.audit == sealgate_config::LogTarget::Stdout).then(|| PathBuf::from("/dev/stderr"))
}

struct Job {
    bucket: String,
    stop: Arc<AtomicBool>,
    configured: &'static Preset,
}

impl Job {
    async fn run(self, core: Rc<CommandCore>, tell: Sender<Finding>) -> Result<(), String> {
        let bucket = &self.bucket;
        core.store
            .head_bucket(bucket)
            .await
            .map_err(|e| format!("the bucket {bucket} cannot be used: {e}"))?;
        let token: [u8; 8] = core.random.bytes();
        let token: String = token.iter().map(|b| format!("{b:02x}")).collect();
        let target = Target {
            core: Rc::clone(&core),
            bucket: bucket.clone(),
            prefix: format!("{SCRATCH}{token}/"),
            stop: self.stop,
        };
        let is_directory = matches!(core.store, Store::Fs(_));
        debug_assert_eq!(is_directory, self.configured.name == DIRECTORY.name);
        let tried = probes::all(&target, &tell).await;
        // Whatever became of it, and also after an interruption.
        target.stop.store(false, Ordering::Release);
        let removed = target.remove_all().await;
        tried?;
        removed.map_err(|e| {
            format!(
                "what was written under {bucket}/{} could not all be removed: {e}",
                target.prefix
            )
        })
    }
}
