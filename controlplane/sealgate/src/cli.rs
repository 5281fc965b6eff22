//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use sealgate_config::Config;
use sealgate_kms::file::KeyRing;
use sealgate_telemetry::{AccessLog, AuditLog};

use crate::{dev, keys_command, plan, rewrap, serve, store_check};

/// An S3 encryption gateway: any S3 client in front, any S3 store or a directory behind, every object sealed.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run without a configuration: a directory as the store, a generated key and generated credentials.
    Dev(DevArgs),
    /// Run with a configuration file.
    Serve {
        /// The configuration, TOML (docs/configuration.md).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Validate a configuration file, and everything that it names, without starting. With --store, also find out what
    /// the store does (docs/stores.md).
    Check {
        /// The configuration, TOML (docs/configuration.md).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        store: store_check::StoreArgs,
    },
    /// Put the objects of a bucket under another key, or the newest version of theirs (docs/rotation.md).
    Rewrap(rewrap::RewrapArgs),
    /// Look at the configured keys, and at what objects are sealed with.
    Keys {
        #[command(subcommand)]
        command: keys_command::KeysCommand,
    },
    /// Manage local key files.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a new key file, readable by its owner only.
    Create {
        /// Where; nothing that exists is overwritten.
        path: PathBuf,
    },
    /// Add a new version to a key file and make it the one that seals. Then reload the gateways (SIGHUP).
    Rotate {
        /// The key file.
        path: PathBuf,
        /// Only add it: with several replicas, bring the file to all of them before one seals with it.
        #[arg(long)]
        add_only: bool,
    },
    /// Make a version of a key file the one that seals. Then reload the gateways (SIGHUP).
    Use {
        /// The key file.
        path: PathBuf,
        /// The version's id.
        version: u32,
    },
}

/// What `dev` can be told.
#[derive(clap::Args)]
pub(crate) struct DevArgs {
    /// Where objects, key and credentials are kept.
    #[arg(long, default_value = "./sealgate-data", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where health, readiness and metrics are answered.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    /// Threads that serve S3.
    #[arg(long)]
    pub(crate) cores: Option<usize>,
    /// What the kernel is talked to through.
    #[arg(long, value_enum, default_value_t = DriverArg::Auto)]
    pub(crate) driver: DriverArg,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DriverArg {
    Auto,
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

impl DriverArg {
    /// As the configuration spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl Cli {
    /// Does what was asked; the error is for the terminal.
    pub(crate) fn run(self) -> Result<(), String> {
        // Before the first secret is read.
        let dumps = sealgate_aead::forbid_dumps()
            .map_err(|e| format!("core dumps cannot be forbidden: {e}"))?;
        match self.command {
            Command::Dev(args) => dev::run(&args, dumps),
            Command::Serve { config } => serve::run(load(&config)?, Some(&config), dumps, |_| {}),
            Command::Check { config, store } => check(&config, &store),
            Command::Rewrap(args) => rewrap::run(&args),
            Command::Keys { command } => keys_command::run(&command),
            Command::Key { command } => command.run(),
            Command::Version => {
                print_line(&format!("sealgate {}", env!("CARGO_PKG_VERSION")));
                Ok(())
            }
        }
    }
}

impl KeyCommand {
    fn run(self) -> Result<(), String> {
        let said = match self {
            Self::Create { path } => {
                KeyRing::create(&path).map_err(|e| e.to_string())?;
                format!(
                    "{}: a new key. Back it up: without it nothing opens.",
                    path.display()
                )
            }
            Self::Rotate { path, add_only } => {
                let version = KeyRing::rotate(&path, !add_only).map_err(|e| e.to_string())?;
                let seals = if add_only {
                    "does not seal yet"
                } else {
                    "seals from the next reload on"
                };
                format!(
                    "{}: version {version} was added, and {seals}. Back the file up again.",
                    path.display()
                )
            }
            Self::Use { path, version } => {
                KeyRing::use_version(&path, version).map_err(|e| e.to_string())?;
                format!(
                    "{}: version {version} seals from the next reload on.",
                    path.display()
                )
            }
        };
        print_line(&said);
        Ok(())
    }
}

pub(crate) fn load(path: &Path) -> Result<Config, String> {
    sealgate_config::load(path).map_err(|e| e.to_string())
}

fn check(path: &Path, store: &store_check::StoreArgs) -> Result<(), String> {
    let config = load(path)?;
    if store.bucket().is_some() {
        return store_check::run(&config, path, store);
    }
    let runtime = serve::control_runtime()?;
    plan::make(&config, runtime.handle(), AccessLog::off(), AuditLog::off())
        .map_err(|e| format!("{}: {e}", path.display()))?;
    print_line(&format!("{}: the configuration is valid", path.display()));
    print_line(&plan::summary(&config));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) fn print_line(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the end of a command that failed")]
pub(crate) fn print_error(text: &str) {
    eprintln!("sealgate: {text}");
}
