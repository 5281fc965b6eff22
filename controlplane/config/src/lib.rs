//! The configuration: one TOML file in, one typed [`Config`] out, or every error that is in it at once.
//!
//! Every key is a row of [`schema::SECTIONS`]: its type, its default and what it means. The parser reads by that table
//! alone, and docs/configuration.md is generated from it, so that the three cannot disagree.
#![forbid(unsafe_code)]

mod aws;
mod credentials;
mod environment;
mod error;
mod model;
mod parse;
pub mod schema;
mod secret;

use std::path::Path;

pub use aws::{AwsKey, AwsKms, AwsRegion, is_key_id as is_aws_key_id};
pub use credentials::StoreCredentials;
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors};
pub use model::Resilience;
pub use model::{
    Action, Aead, AuditOverflow, Backend, Binding, BucketRule, Config, CorsRule, Credential,
    Driver, Endpoint, Grant, KeyConfig, KeyProvider, KmipKey, KmipServer, Listen, Listing, Log,
    LogFormat, LogTarget, Payload, Pkcs11Key, Pkcs11Token, Preset, Runtime, S3Backend,
    SecretSource, StoreChecksum, StoreUser, Timeouts, Tls, VaultAuth, VaultKey,
};
pub use secret::SecretString;

/// Longest configuration file, bytes.
const FILE_MAX: u64 = 1 << 20;

/// Reads and parses a configuration file; secrets come from the process's environment and from files.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let text = environment::read_bounded(path, FILE_MAX)
        .map_err(|e| ConfigErrors::whole_file(path, format!("cannot be read: {e}")))?;
    parse(&text, path)
}

/// Parses the text of a configuration file; `path` is for messages, and what relative paths in it are relative to.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
    parse_in(text, path, &Environment::process())
}

/// As [`parse`], in an environment of the caller's choice.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_in(
    text: &str,
    path: &Path,
    environment: &Environment,
) -> Result<Config, ConfigErrors> {
    parse::config(text, path, environment)
}
