//! Where secrets and paths come from beside the configuration file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::secret::SecretString;

/// Longest file with a secret, bytes.
const SECRET_FILE_MAX: u64 = 64 * 1024;

/// Environment variables: the process's own, or those that a test gives.
pub struct Environment(Option<HashMap<String, String>>);

impl Environment {
    /// The process's environment.
    #[must_use]
    pub fn process() -> Self {
        Self(None)
    }

    /// These variables and no others.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self(Some(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        ))
    }

    /// The value of a variable; one that is empty or not UTF-8 counts as not set.
    pub(crate) fn get(&self, name: &str) -> Option<SecretString> {
        let value = match &self.0 {
            Some(given) => given.get(name).map(|value| Zeroizing::new(value.clone())),
            None => std::env::var(name).ok().map(Zeroizing::new),
        };
        value
            .filter(|value| !value.is_empty())
            .map(|value| SecretString::new(&value))
    }

    /// A variable that holds a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(|value| PathBuf::from(value.expose()))
    }
}

/// A secret that is the whole of a file, without the line's end.
pub(crate) fn read_secret(path: &Path) -> io::Result<SecretString> {
    let text = read_bounded(path, SECRET_FILE_MAX)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(SecretString::new(secret))
}

/// The text of a file that must not be longer than `max` bytes; wiped when dropped.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    // Room for all of it at once: a growing buffer would leave copies of secrets behind. Some more, since the library
    // reads by way of a buffer on the stack when little room is left.
    let room = usize::try_from(file.metadata()?.len().min(max)).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(room + 64));
    file.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        let what = format!("it is longer than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(text)
}
