//! How far a run has come, in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RewrapArgs;
use super::report::Report;

const FORMAT: &str = "sealgate-rewrap/1";

/// The file's content: everything up to `after` is done and counted.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct State {
    format: String,
    to: Option<String>,
    keep_keks: bool,
    /// The last key of the listing up to which every object is done; empty before the first.
    pub(crate) after: String,
    /// What became of those objects.
    pub(crate) report: Report,
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl State {
    /// A new state, or the one in the file, and whether it was that.
    pub(crate) fn open(path: Option<&Path>, args: &RewrapArgs) -> Result<(Self, bool), String> {
        let new = Self {
            format: FORMAT.to_owned(),
            to: args.to.clone(),
            keep_keks: args.keep_keks,
            after: String::new(),
            report: Report {
                bucket: args.bucket.clone(),
                prefix: args.prefix.clone(),
                dry_run: args.dry_run,
                ..Report::default()
            },
            path: path.map(Path::to_owned),
        };
        let Some(path) = path else {
            return Ok((new, false));
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Not after an hour's work: whether it can be written shows now.
                new.save()?;
                return Ok((new, false));
            }
            Err(e) => return Err(format!("the state file {}: {e}", path.display())),
        };
        let mut old: Self = serde_json::from_slice(&text)
            .map_err(|e| format!("the state file {}: {e}", path.display()))?;
        old.path = Some(path.to_owned());
        old.fits(&new).map_err(|what| {
            format!(
                "the state file {} is of another run ({what}): name another file, or delete it",
                path.display()
            )
        })?;
        Ok((old, true))
    }

    fn fits(&self, new: &Self) -> Result<(), String> {
        let (old, asked) = (&self.report, &new.report);
        for (what, same) in [
            ("format", self.format == new.format),
            ("--bucket", old.bucket == asked.bucket),
            ("--prefix", old.prefix == asked.prefix),
            ("--to", self.to == new.to),
            ("--keep-keks", self.keep_keks == new.keep_keks),
            ("--dry-run", old.dry_run == asked.dry_run),
        ] {
            if !same {
                return Err(format!("{what} differs"));
            }
        }
        Ok(())
    }

    /// Replaces the file as a whole.
    pub(crate) fn save(&self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let text = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        replace(path, &text).map_err(|e| format!("the state file {}: {e}", path.display()))
    }

    /// Removes the file: the run is finished.
    pub(crate) fn remove(&self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        fs::remove_file(path).map_err(|e| format!("the state file {}: {e}", path.display()))
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
