//! The key ring file: all versions of one key, and which of them seals.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sealgate_aead::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

/// Longest key ring, bytes: some 500 versions.
const FILE_MAX: u64 = 64 * 1024;
const FORMAT: &str = "sealgate-keyring/1";

/// All versions of one key. Neither `Clone` nor `Debug`; the keys are wiped on drop.
pub struct KeyRing {
    path: PathBuf,
    current: u32,
    versions: BTreeMap<u32, Secret<32>>,
}

impl KeyRing {
    /// Creates a key ring with one new random key and writes it to `path`, readable by the owner alone. The file
    /// appears whole or not at all, and an existing one is never touched.
    ///
    /// # Errors
    /// [`KeyRingError`]; `AlreadyExists` in [`KeyRingProblem::Io`] when there is a file.
    pub fn create(path: &Path) -> Result<Self, KeyRingError> {
        let key = super::random_secret()
            .map_err(|e| KeyRingError::io(path, io::Error::other(e.to_string())))?;
        let text = render(&key);
        publish(path, text.as_bytes(), false).map_err(|e| KeyRingError::io(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            current: 1,
            versions: BTreeMap::from([(1, key)]),
        })
    }

    /// Adds a version with a new random key to the ring in `path`, and makes it the one that seals if `seals`. The file
    /// is replaced as a whole, and keeps its comments. Gives the version's id.
    ///
    /// # Errors
    /// [`KeyRingError`]; the file is as it was then.
    pub fn rotate(path: &Path, seals: bool) -> Result<u32, KeyRingError> {
        edit(path, |ring, text| {
            let newest = ring.versions.keys().max().copied().unwrap_or(0);
            let id = newest
                .checked_add(1)
                .ok_or_else(|| io::Error::other("there is no higher version number"))?;
            let key = super::random_secret().map_err(|e| io::Error::other(e.to_string()))?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push('\n');
            push_version(text, id, &key);
            if seals {
                set_current(text, id)?;
            }
            Ok(id)
        })
    }

    /// Makes a version that the ring in `path` has the one that seals.
    ///
    /// # Errors
    /// [`KeyRingError`]; the file is as it was then.
    pub fn use_version(path: &Path, id: u32) -> Result<(), KeyRingError> {
        edit(path, |ring, text| {
            if ring.version(id).is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "there is no version {id}, it holds {}",
                        ring.describe_versions()
                    ),
                ));
            }
            set_current(text, id)
        })
    }

    /// Reads a key ring.
    ///
    /// # Errors
    /// [`KeyRingError`] says what is wrong, and where in the file.
    pub fn load(path: &Path) -> Result<Self, KeyRingError> {
        Self::parse(path, &read(path)?)
    }

    /// Reads the text of a key ring; `path` is for messages.
    ///
    /// # Errors
    /// As [`KeyRing::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, KeyRingError> {
        Parser { path, text }.ring()
    }

    /// A ring with one key, version 1; `path` is for messages.
    pub(crate) fn single(path: &Path, key: Secret<32>) -> Self {
        Self {
            path: path.to_owned(),
            current: 1,
            versions: BTreeMap::from([(1, key)]),
        }
    }

    /// The version that seals, and its key.
    #[must_use]
    pub fn current(&self) -> (u32, &Secret<32>) {
        (self.current, &self.versions[&self.current])
    }

    /// The key of one version.
    #[must_use]
    pub fn version(&self, version: u32) -> Option<&Secret<32>> {
        self.versions.get(&version)
    }

    /// Where the ring was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The versions in the ring, for messages: `version 1` or `versions 1, 2, 3`.
    #[must_use]
    pub fn describe_versions(&self) -> String {
        let numbers: Vec<_> = self.versions.keys().map(u32::to_string).collect();
        let plural = if numbers.len() == 1 { "" } else { "s" };
        format!("version{plural} {}", numbers.join(", "))
    }
}

/// The text of a file that only its owner can read.
fn read(path: &Path) -> Result<Zeroizing<String>, KeyRingError> {
    let file = File::open(path).map_err(|e| KeyRingError::io(path, e))?;
    // Of the open file, not of the path: it may be another one by now.
    let about = file.metadata().map_err(|e| KeyRingError::io(path, e))?;
    let refuse = |problem| KeyRingError {
        path: path.to_owned(),
        problem,
    };
    if !about.is_file() {
        return Err(refuse(KeyRingProblem::NotAFile));
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(KeyRingProblem::Exposed { mode }));
    }
    if about.len() > FILE_MAX {
        return Err(refuse(KeyRingProblem::TooLong));
    }
    // Room for all of it at once: a growing buffer would leave copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_MAX as usize + 1));
    file.take(FILE_MAX)
        .read_to_string(&mut text)
        .map_err(|e| KeyRingError::io(path, e))?;
    Ok(text)
}

/// Changes the text of the ring in `path` and replaces the file, if the new text is a ring too.
fn edit<T>(
    path: &Path,
    change: impl FnOnce(&KeyRing, &mut Zeroizing<String>) -> io::Result<T>,
) -> Result<T, KeyRingError> {
    let old = read(path)?;
    let ring = KeyRing::parse(path, &old)?;
    let mut text = Zeroizing::new(String::with_capacity(old.len() + 1024));
    text.push_str(&old);
    let failed = |e| KeyRingError::io(path, e);
    let changed = change(&ring, &mut text).map_err(failed)?;
    KeyRing::parse(path, &text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(KeyRingError {
            path: path.to_owned(),
            problem: KeyRingProblem::TooLong,
        });
    }
    // A link to the ring stays one.
    let real = fs::canonicalize(path).map_err(failed)?;
    publish(&real, text.as_bytes(), true).map_err(failed)?;
    Ok(changed)
}

/// Rewrites the line of `current`.
fn set_current(text: &mut Zeroizing<String>, id: u32) -> io::Result<()> {
    let span = DeTable::parse(text.as_str())
        .ok()
        .and_then(|document| document.get_ref().get("current").map(Spanned::span))
        .ok_or_else(|| io::Error::other("the entry `current` cannot be found"))?;
    let mut changed = Zeroizing::new(String::with_capacity(text.len() + 16));
    changed.push_str(&text[..span.start]);
    changed.push_str(&id.to_string());
    changed.push_str(&text[span.end..]);
    *text = changed;
    Ok(())
}

/// Appends a `[[version]]` of today.
fn push_version(text: &mut Zeroizing<String>, id: u32, key: &Secret<32>) {
    let today = time::OffsetDateTime::now_utc().date();
    text.push_str(&format!(
        "[[version]]\nid = {id}\ncreated = {today}\nkey = \""
    ));
    let mut encoded = Zeroizing::new([0; 44]);
    // 32 bytes are exactly 44 characters of base64, which are ASCII.
    if let Ok(len) = BASE64.encode_slice(key.expose(), &mut *encoded)
        && let Ok(encoded) = std::str::from_utf8(&encoded[..len])
    {
        text.push_str(encoded);
    }
    text.push_str("\"\n");
}

/// The text of a ring with one version.
fn render(key: &Secret<32>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str(
        "# Sealgate key ring. Whoever reads this file can open every object sealed with it; whoever loses it can open\n\
         # none of them again. Keep a copy in a safe place, and keep the mode at 0600.\n\
         # To rotate: sealgate key rotate FILE. Never remove a version while an object may need it.\n",
    );
    text.push_str(&format!("format = \"{FORMAT}\"\ncurrent = 1\n\n"));
    push_version(&mut text, 1, key);
    text
}

/// Writes a file of mode 0600 that appears whole and durable; over another only if it `replaces` one.
fn publish(path: &Path, text: &[u8], replaces: bool) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    let temporary = dir.join(format!(
        ".{}.{}.new",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        .and_then(|()| match replaces {
            true => keep_owner(path, &temporary).and_then(|()| fs::rename(&temporary, path)),
            // Unlike rename, link refuses to replace.
            false => fs::hard_link(&temporary, path),
        });
    let removed = match (&written, replaces) {
        (Ok(()), true) => Ok(()),
        _ => fs::remove_file(&temporary),
    };
    written?;
    removed?;
    File::open(dir)?.sync_all()
}

/// Why a text is no key.
pub(crate) enum NoKey {
    /// Not base64, or far too long.
    Malformed,
    /// Of that many bytes.
    Long(usize),
    /// Nothing but zeros.
    Zero,
}

/// 32 bytes in base64.
pub(crate) fn decode_key(encoded: &str) -> Result<Secret<32>, NoKey> {
    // Room beyond, so that a longer key is told from a right one.
    let mut bytes = Zeroizing::new([0; 48]);
    let len = BASE64
        .decode_slice(encoded, &mut *bytes)
        .map_err(|_| NoKey::Malformed)?;
    if len != 32 {
        return Err(NoKey::Long(len));
    }
    if bytes[..32].iter().all(|byte| *byte == 0) {
        return Err(NoKey::Zero);
    }
    Secret::from_slice(&bytes[..32]).ok_or(NoKey::Malformed)
}

/// Gives the file that is to replace another to the other's owner: root may rotate the gateway's ring.
fn keep_owner(old: &Path, new: &Path) -> io::Result<()> {
    let (old, mine) = (fs::metadata(old)?, fs::metadata(new)?);
    if (old.uid(), old.gid()) == (mine.uid(), mine.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(new, Some(old.uid()), Some(old.gid()))
}

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Parser<'_> {
    fn ring(&self) -> Result<KeyRing, KeyRingError> {
        let document = DeTable::parse(self.text)
            .map_err(|e| self.malformed(e.span().map_or(0, |s| s.start), e.message()))?;
        self.only(document.get_ref(), &["format", "current", "version"])?;
        let format = self.field(document.get_ref(), "format", 0)?;
        if format.get_ref().as_str() != Some(FORMAT) {
            let what = format!("format: only {FORMAT:?} is known here");
            return Err(self.malformed(format.span().start, what));
        }
        let mut versions = BTreeMap::new();
        let list = self.field(document.get_ref(), "version", 0)?;
        for entry in list.get_ref().as_array().into_iter().flatten() {
            let (id, key) = self.version(entry)?;
            if versions.insert(id, key).is_some() {
                return Err(
                    self.malformed(entry.span().start, format!("version {id} is there twice"))
                );
            }
        }
        let at = self.field(document.get_ref(), "current", 0)?;
        let current = self.number(at, "current")?;
        if !versions.contains_key(&current) {
            let what = format!("current: there is no [[version]] with id = {current}");
            return Err(self.malformed(at.span().start, what));
        }
        Ok(KeyRing {
            path: self.path.to_owned(),
            current,
            versions,
        })
    }

    fn version(&self, entry: &Spanned<DeValue<'_>>) -> Result<(u32, Secret<32>), KeyRingError> {
        let at = entry.span().start;
        let Some(table) = entry.get_ref().as_table() else {
            return Err(self.malformed(at, "version: expected [[version]] tables"));
        };
        self.only(table, &["id", "key", "created"])?;
        let id = self.number(self.field(table, "id", at)?, "id")?;
        let key = self.field(table, "key", at)?;
        let refuse = |what: String| self.malformed(key.span().start, what);
        let expected = format!("key of version {id}: expected 32 bytes in base64 (44 characters)");
        let Some(encoded) = key.get_ref().as_str() else {
            return Err(refuse(expected));
        };
        match decode_key(encoded) {
            Ok(key) => Ok((id, key)),
            Err(NoKey::Malformed) => Err(refuse(expected)),
            Err(NoKey::Long(len)) => Err(refuse(format!("{expected}, this is {len} bytes"))),
            Err(NoKey::Zero) => Err(refuse(format!("key of version {id}: all zero is no key"))),
        }
    }

    fn field<'t>(
        &self,
        table: &'t DeTable<'_>,
        name: &str,
        at: usize,
    ) -> Result<&'t Spanned<DeValue<'t>>, KeyRingError> {
        table
            .get(name)
            .ok_or_else(|| self.malformed(at, format!("{name} is missing")))
    }

    fn number(&self, value: &Spanned<DeValue<'_>>, name: &str) -> Result<u32, KeyRingError> {
        value
            .get_ref()
            .as_integer()
            .filter(|n| n.radix() == 10)
            .and_then(|n| n.as_str().parse().ok())
            .filter(|n| *n > 0)
            .ok_or_else(|| {
                let what = format!("{name}: expected a whole number from 1 to {}", u32::MAX);
                self.malformed(value.span().start, what)
            })
    }

    fn only(&self, table: &DeTable<'_>, known: &[&str]) -> Result<(), KeyRingError> {
        match table.keys().find(|k| !known.contains(&&**k.get_ref())) {
            None => Ok(()),
            Some(key) => {
                let what = format!("unknown entry; known are {}", known.join(", "));
                Err(self.malformed(key.span().start, what))
            }
        }
    }

    fn malformed(&self, at: usize, what: impl Into<String>) -> KeyRingError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |n| n + 1);
        KeyRingError {
            path: self.path.to_owned(),
            problem: KeyRingProblem::Malformed {
                line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
                column: before.len() - line_start + 1,
                what: what.into(),
            },
        }
    }
}

/// A key ring that cannot be used, and why. Never holds key bytes.
#[derive(Debug)]
pub struct KeyRingError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: KeyRingProblem,
}

/// What is wrong with a key ring.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyRingProblem {
    /// It cannot be read or written.
    Io(io::Error),
    /// It is a directory, a device, …
    NotAFile,
    /// Others than its owner can read or write it.
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
    /// It is longer than any key ring.
    TooLong,
    /// Its text is not a key ring.
    Malformed {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What was expected.
        what: String,
    },
}

impl KeyRingError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            problem: KeyRingProblem::Io(error),
        }
    }
}

impl fmt::Display for KeyRingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            KeyRingProblem::Io(e) if e.kind() == io::ErrorKind::NotFound => write!(
                f,
                "key ring {path}: there is no such file; create one with `sealgate key create {path}`"
            ),
            KeyRingProblem::Io(e) if e.kind() == io::ErrorKind::AlreadyExists => write!(
                f,
                "key ring {path}: there is a file already, and a key ring is never overwritten"
            ),
            KeyRingProblem::Io(e) => write!(f, "key ring {path}: {e}"),
            KeyRingProblem::NotAFile => write!(f, "key ring {path}: not a regular file"),
            KeyRingProblem::Exposed { mode } => write!(
                f,
                "key ring {path}: its mode is {mode:04o}, so others than its owner can reach the keys; \
                 run `chmod 600 {path}`"
            ),
            KeyRingProblem::TooLong => {
                write!(
                    f,
                    "key ring {path}: longer than {FILE_MAX} bytes, not a key ring"
                )
            }
            KeyRingProblem::Malformed { line, column, what } => {
                write!(f, "key ring {path}:{line}:{column}: {what}")
            }
        }
    }
}

impl std::error::Error for KeyRingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            KeyRingProblem::Io(e) => Some(e),
            _ => None,
        }
    }
}
