//! A bucket's keys in order, without holding more of a directory than a page needs.
//!
//! All of this blocks: it is for the blocking pool.

use std::collections::{BinaryHeap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::name::{self, Entry, Kind};
use super::names::{self, Names};

/// Directories this deep keep a whole page of entries in memory, deeper ones [`DEEP_BATCH`]: together at most
/// 8 × 1001 + 1016 × 128 entries, however keys are nested.
const WIDE_LEVELS: usize = 8;
/// Entries kept of a deep directory; more are read again when those are used up.
const DEEP_BATCH: usize = 128;
/// Nesting down to which the search for a live key keeps directories open.
const OPEN_LEVELS: usize = 32;

/// What a walk comes across.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// An object, and its file.
    Object { key: Vec<u8>, path: PathBuf },
    /// A prefix up to the delimiter, with at least one object.
    Prefix(Vec<u8>),
}

/// What to walk over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// Only keys that start so.
    pub(super) prefix: &'a [u8],
    /// Where keys are rolled up; empty for never.
    pub(super) delimiter: &'a [u8],
    /// Only keys and rolled-up prefixes after this, bytewise.
    pub(super) after: &'a [u8],
    /// How many results are wanted: a bound of memory, not of the walk.
    pub(super) page: usize,
}

/// A walk over the keys of a bucket, in bytewise order.
pub(super) struct Walk<'a> {
    scope: Scope<'a>,
    /// The last rolled-up prefix: everything below it is done.
    rolled: Option<Vec<u8>>,
    levels: Vec<Level>,
}

/// A directory that is being walked.
struct Level {
    path: PathBuf,
    /// What its keys start with.
    key: Vec<u8>,
    /// The next entries, in order.
    batch: VecDeque<Entry>,
    /// What is left of the directory after the batch.
    rest: Rest,
}

enum Rest {
    /// It has not been read yet.
    All,
    /// Entries that sort after this did not fit.
    After(Vec<u8>),
    Nothing,
}

impl<'a> Walk<'a> {
    /// A walk over the bucket in directory `bucket`.
    pub(super) fn new(bucket: &Path, scope: Scope<'a>) -> io::Result<Self> {
        let mut walk = Self {
            scope,
            rolled: None,
            levels: Vec::new(),
        };
        if let Some((directory, covered)) = name::prefix_path(scope.prefix) {
            walk.enter(bucket.join(directory), scope.prefix[..covered].to_vec())?;
        }
        Ok(walk)
    }

    /// The next object or prefix.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        while let Some(level) = self.levels.last_mut() {
            let Some(entry) = level.batch.pop_front() else {
                self.refill()?;
                continue;
            };
            let key = [&level.key[..], &entry.sort_key].concat();
            let path = level.path.join(entry.file_name());
            if !self.wants(entry.kind, &key) {
                continue;
            }
            if let Some(prefix) = self.roll_up(&key) {
                if entry.kind == Kind::Object || has_object(&path, 0)? {
                    let prefix = prefix.to_vec();
                    self.rolled = Some(prefix.clone());
                    return Ok(Some(Found::Prefix(prefix)));
                }
            } else if entry.kind == Kind::Object {
                return Ok(Some(Found::Object { key, path }));
            } else {
                self.enter(path, key)?;
            }
        }
        Ok(None)
    }

    fn enter(&mut self, path: PathBuf, key: Vec<u8>) -> io::Result<()> {
        self.levels.push(Level {
            path,
            key,
            batch: VecDeque::new(),
            rest: Rest::All,
        });
        self.refill()
    }

    /// Reads the next entries of the deepest directory, or leaves it when there are none.
    fn refill(&mut self) -> io::Result<()> {
        let limit = if self.levels.len() <= WIDE_LEVELS {
            self.scope.page
        } else {
            self.scope.page.min(DEEP_BATCH)
        };
        let Some(mut level) = self.levels.pop() else {
            return Ok(());
        };
        let after = match std::mem::replace(&mut level.rest, Rest::Nothing) {
            Rest::Nothing => return Ok(()),
            Rest::All => None,
            Rest::After(sort_key) => Some(sort_key),
        };
        let truncated = match names::known(&level.path)? {
            Some(names) => self.pick(&mut level, &names, after.as_deref(), limit),
            None => self.scan(&mut level, after.as_deref(), limit)?,
        };
        if let Some(last) = level.batch.back() {
            if truncated {
                level.rest = Rest::After(last.sort_key.clone());
            }
            self.levels.push(level);
        }
        Ok(())
    }

    /// Takes the next entries of a directory from its sorted names. Gives whether there may be more.
    fn pick(&self, level: &mut Level, names: &Names, after: Option<&[u8]>, limit: usize) -> bool {
        let full = |sort_key: &[u8]| [&level.key[..], sort_key].concat();
        let before = |sort_key: &[u8]| {
            let key = full(sort_key);
            let past = |bound: &[u8]| key.as_slice() < bound && !bound.starts_with(&key);
            after.is_some_and(|after| sort_key <= after)
                || past(self.scope.prefix)
                || past(self.scope.after)
                || self
                    .rolled
                    .as_ref()
                    .is_some_and(|done| past(done) || key.starts_with(done))
        };
        let wanted = names
            .after(before)
            .filter(|e| self.wants(e.kind, &full(&e.sort_key)));
        let mut batch: VecDeque<_> = wanted.take(limit + 1).collect();
        let more = batch.len() > limit;
        batch.truncate(limit);
        level.batch = batch;
        more
    }

    /// Reads a directory and keeps its next entries. Gives whether there are more.
    fn scan(&self, level: &mut Level, after: Option<&[u8]>, limit: usize) -> io::Result<bool> {
        let mut smallest = BinaryHeap::new();
        let (mut entries, mut more) = (0, false);
        let mut key = level.key.clone();
        read_entries(&level.path, &mut |entry| {
            entries += 1;
            key.truncate(level.key.len());
            key.extend_from_slice(&entry.sort_key);
            let new = after.is_none_or(|after| entry.sort_key[..] > *after);
            if new && self.wants(entry.kind, &key) {
                smallest.push(BySortKey(entry));
                if smallest.len() > limit {
                    smallest.pop();
                    more = true;
                }
            }
            true
        })?;
        if more && entries > names::LARGE {
            names::learn(&level.path)?;
        }
        level.batch = smallest
            .into_sorted_vec()
            .into_iter()
            .map(|e| e.0)
            .collect();
        Ok(more)
    }

    /// Whether an entry is, or may hold, anything that is still to come.
    fn wants(&self, kind: Kind, key: &[u8]) -> bool {
        let Scope { prefix, after, .. } = self.scope;
        let below = kind != Kind::Object;
        (key.starts_with(prefix) || below && prefix.starts_with(key))
            && (key > after || below && after.starts_with(key))
            && self
                .rolled
                .as_ref()
                .is_none_or(|done| !key.starts_with(done))
            && self.roll_up(key).is_none_or(|rolled| rolled > after)
    }

    /// The prefix that everything which starts with `key` is rolled up to.
    fn roll_up<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let Scope {
            prefix, delimiter, ..
        } = self.scope;
        if delimiter.is_empty() || !key.starts_with(prefix) {
            return None;
        }
        let at = memchr::memmem::find(&key[prefix.len()..], delimiter)?;
        Some(&key[..prefix.len() + at + delimiter.len()])
    }
}

/// Whether any object is in a directory or below it. Directories without one remain for a moment when another process
/// is creating or deleting, and after a crash.
pub(super) fn has_object(dir: &Path, depth: usize) -> io::Result<bool> {
    let mut found = Ok(false);
    let mut later = Vec::new();
    read_entries(dir, &mut |entry| {
        if entry.kind == Kind::Object {
            found = Ok(true);
        } else if depth < OPEN_LEVELS {
            found = has_object(&dir.join(entry.file_name()), depth + 1);
        } else {
            later.push(entry.file_name());
        }
        matches!(found, Ok(false))
    })?;
    for name in later {
        if !matches!(found, Ok(false)) {
            break;
        }
        found = has_object(&dir.join(name), depth + 1);
    }
    found
}

/// Calls `each` for the entries of a directory until it gives `false`. A directory that is gone has none.
pub(super) fn read_entries(dir: &Path, each: &mut dyn FnMut(Entry) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = match entry {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entry => entry?,
        };
        if let Some(entry) = Entry::decode(&entry.file_name())
            && !each(entry)
        {
            break;
        }
    }
    Ok(())
}

struct BySortKey(Entry);

impl Ord for BySortKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.sort_key.cmp(&other.0.sort_key)
    }
}

impl PartialOrd for BySortKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for BySortKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.sort_key == other.0.sort_key
    }
}

impl Eq for BySortKey {}

#[cfg(test)]
mod tests;
