//! `sealgate keys`: whether the configured keys work, and which keys a bucket's objects need.

mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use sealgate_config::Config;
use sealgate_kms::{Endpoint, KeyError, NamedKey, Provider};
use serde::Serialize;

use crate::{cli, keys, serve};

/// Longest that one endpoint is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Ask every configured key, at every endpoint, to wrap and to unwrap.
    Status {
        /// The gateway's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The same, and which keys the objects of a bucket are sealed with, and whether each of them opens.
    Verify(VerifyArgs),
}

#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// The gateway's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The bucket; without one only the keys themselves are tried.
    #[arg(long)]
    bucket: Option<String>,
    /// Only objects whose keys start so.
    #[arg(long, default_value = "", requires = "bucket")]
    prefix: String,
    /// Every version of every object, not only the current one.
    #[arg(long, requires = "bucket")]
    versions: bool,
    /// Objects, or versions, at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
    /// Record uses of keys in this file, instead of where the configuration says.
    #[arg(long, value_name = "FILE", requires = "bucket")]
    audit: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Does what was asked; an error when anything cannot be opened.
pub(crate) fn run(command: &KeysCommand) -> Result<(), String> {
    match command {
        KeysCommand::Status { config, json } => {
            let status = status(&cli::load(config)?)?;
            cli::print_line(&match json {
                true => serde_json::to_string_pretty(&status).unwrap_or_default(),
                false => text(&status),
            });
            verdict(&status)
        }
        KeysCommand::Verify(args) => verify::run(args),
    }
}

/// One configured key.
#[derive(Serialize)]
struct Status {
    key: String,
    /// Sealing, or kept to read old objects.
    seals: bool,
    kek_max_age_seconds: u64,
    kek_max_objects: u64,
    kek_max_bytes: u64,
    endpoints: Vec<EndpointStatus>,
}

/// The key at one place.
#[derive(Serialize)]
struct EndpointStatus {
    endpoint: String,
    provider: &'static str,
    newest_version: Option<String>,
    wraps: bool,
    unwraps: bool,
    /// A version's error, then wrapping's or unwrapping's.
    troubles: Vec<String>,
}

/// Tries every key.
fn status(config: &Config) -> Result<Vec<Status>, String> {
    let runtime = serve::control_runtime()?;
    let opened = keys::open(config, runtime.handle())?;
    runtime.block_on(async {
        let mut all = Vec::with_capacity(opened.len());
        for (name, key) in &opened {
            all.push(key_status(name, key).await);
        }
        Ok(all)
    })
}

async fn key_status(name: &str, key: &NamedKey) -> Status {
    let mut endpoints = Vec::with_capacity(key.endpoints.len());
    for endpoint in &key.endpoints {
        endpoints.push(endpoint_status(endpoint).await);
    }
    Status {
        key: name.to_owned(),
        seals: key.writes,
        kek_max_age_seconds: key.bounds.max_age.as_secs(),
        kek_max_objects: key.bounds.max_objects,
        kek_max_bytes: key.bounds.max_bytes,
        endpoints,
    }
}

async fn endpoint_status(endpoint: &Endpoint) -> EndpointStatus {
    let provider: Arc<dyn Provider> = Arc::clone(&endpoint.provider);
    let mut status = EndpointStatus {
        endpoint: endpoint.label.clone(),
        provider: provider.kind(),
        newest_version: None,
        wraps: false,
        unwraps: false,
        troubles: Vec::new(),
    };
    match within(provider.newest_version()).await {
        Ok(version) => status.newest_version = version,
        Err(e) => status.troubles.push(format!("its newest version: {e}")),
    }
    let made = match within(provider.generate()).await {
        Ok(made) => made,
        Err(e) => {
            status.troubles.push(format!("wrapping: {e}"));
            return status;
        }
    };
    status.wraps = true;
    match within(provider.unwrap(&made.version, &made.wrapped)).await {
        Ok(kek) if kek.same_as(&made.kek) => status.unwraps = true,
        Ok(_) => status
            .troubles
            .push("unwrapping: another key came back than was wrapped".into()),
        Err(e) => status.troubles.push(format!("unwrapping: {e}")),
    }
    status
}

async fn within<T>(call: impl Future<Output = Result<T, KeyError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn text(all: &[Status]) -> String {
    let yes = |b: bool| if b { "yes" } else { "NO" };
    let mut lines = Vec::new();
    for key in all {
        let seals = match key.seals {
            true => "seals new objects",
            false => "kept to read old objects",
        };
        lines.push(format!(
            "{}: {seals}; a KEK serves {} s, {} objects, {} bytes at most",
            key.key, key.kek_max_age_seconds, key.kek_max_objects, key.kek_max_bytes
        ));
        for e in &key.endpoints {
            lines.push(format!(
                "  {} at {}: newest version {}; wraps {}, unwraps {}",
                e.provider,
                e.endpoint,
                e.newest_version.as_deref().unwrap_or("not told"),
                yes(e.wraps),
                yes(e.unwraps)
            ));
            lines.extend(e.troubles.iter().map(|trouble| format!("    {trouble}")));
        }
    }
    lines.join("\n")
}

/// An error when a key works nowhere, or an endpoint does not work.
fn verdict(all: &[Status]) -> Result<(), String> {
    let mut broken = Vec::new();
    for key in all {
        for e in key.endpoints.iter().filter(|e| !(e.wraps && e.unwraps)) {
            broken.push(format!("{} at {}", key.key, e.endpoint));
        }
    }
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("not working: {}", broken.join(", "))),
    }
}
