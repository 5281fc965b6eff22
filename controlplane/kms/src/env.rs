//! The `env` provider: a key, or a whole key ring, from an environment variable.
//!
//! The wrapped KEKs are those of the [`file`](crate::file) provider: a key that moves from a variable to a file under
//! the same name and version opens what it sealed, and the other way round. A bare key is version 1.

use std::fmt;
use std::path::Path;

use crate::file::{FileProvider, KeyRing, KeyRingProblem, NoKey, decode_key};

/// Reads the provider of the key called `name` from the value of an environment variable: 32 bytes in base64, or the
/// text of a key ring.
///
/// # Errors
/// [`EnvKeyError`] says what is wrong, never the value.
pub fn provider(name: &str, variable: &str, value: &str) -> Result<FileProvider, EnvKeyError> {
    let refuse = |what: String| EnvKeyError {
        variable: variable.to_owned(),
        what,
    };
    let source = format!("${variable}");
    let source = Path::new(&source);
    let text = value.trim();
    // Every key ring has such signs, and no key in base64 has a line's end inside.
    let ring = if text.contains(['"', '\n']) {
        KeyRing::parse(source, text).map_err(|e| match e.problem {
            KeyRingProblem::Malformed { line, column, what } => refuse(format!(
                "line {line}, column {column} of the key ring in it: {what}"
            )),
            other => refuse(format!("{other:?}")),
        })?
    } else {
        let key = decode_key(text).map_err(|e| {
            let why = match e {
                NoKey::Malformed => "it is neither".to_owned(),
                NoKey::Long(len) => format!("it holds {len} bytes in base64"),
                NoKey::Zero => "all zero is no key".to_owned(),
            };
            refuse(format!(
                "expected 32 bytes in base64 (44 characters; `openssl rand -base64 32`) or the text of a key ring; {why}"
            ))
        })?;
        KeyRing::single(source, key)
    };
    Ok(FileProvider::of_kind("env", name, ring))
}

/// Why a variable holds no key. Never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvKeyError {
    /// The variable.
    pub variable: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for EnvKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment variable {}: {}", self.variable, self.what)
    }
}

impl std::error::Error for EnvKeyError {}
