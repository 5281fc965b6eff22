//! The sorted names of large directories, so that each page of a listing need not read all of them again.
//!
//! A cache for the whole process, bounded, and safe with other processes: it is asked with what the directory's inode
//! says now, and any change of its names changes that.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::error::present;
use super::name::{Entry, Kind};

/// Entries from which a directory's names are kept: reading fewer takes less than a page's records do.
pub(super) const LARGE: usize = 2000;
/// Most memory for all names, bytes: about two million. A directory that needs more is read anew for each page.
const MAX_BYTES: usize = 64 << 20;
/// How long names that nobody asks for are kept; looked at with each listing of a large directory.
const KEEP: Duration = Duration::from_secs(60);
/// Kernels stamp changes with a clock that ticks every 1 to 10 ms. A directory that changed as short as this before it
/// was read may change again without a new stamp.
const SETTLED: Duration = Duration::from_millis(100);

/// What changes whenever a name in a directory does: device, inode, modification and change times (s, ns).
type Stamp = (u64, u64, (i64, i64), (i64, i64));

/// The names of one directory, in order.
pub(super) struct Names {
    /// Sort keys, one after the other, as they were read.
    text: Vec<u8>,
    /// Where each begins and ends, in order, and what it is.
    entries: Vec<(u32, u32, Kind)>,
}

impl Names {
    /// Gives `None` when they are too many.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let mut names = Self {
            text: Vec::new(),
            entries: Vec::new(),
        };
        super::walk::read_entries(dir, &mut |entry| {
            let from = names.text.len();
            names.text.extend_from_slice(&entry.sort_key);
            if let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(names.text.len())) {
                names.entries.push((from, to, entry.kind));
            }
            names.bytes() <= MAX_BYTES
        })?;
        if names.bytes() > MAX_BYTES {
            return Ok(None);
        }
        let text = &names.text;
        names
            .entries
            .sort_unstable_by_key(|&(from, to, _)| &text[from as usize..to as usize]);
        names.text.shrink_to_fit();
        names.entries.shrink_to_fit();
        Ok(Some(names))
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.entries.len() * size_of::<(u32, u32, Kind)>()
    }

    fn sort_key(&self, (from, to, _): (u32, u32, Kind)) -> &[u8] {
        &self.text[from as usize..to as usize]
    }

    /// The entries from the first of which `before` does not hold. `before` holds of a run at the beginning.
    pub(super) fn after(&self, before: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = Entry> {
        let first = self.entries.partition_point(|e| before(self.sort_key(*e)));
        self.entries[first..].iter().map(|e| Entry {
            kind: e.2,
            sort_key: self.sort_key(*e).to_vec(),
        })
    }
}

struct Kept {
    stamp: Stamp,
    names: Arc<Names>,
    used: Instant,
}

static CACHE: Mutex<Option<HashMap<PathBuf, Kept>>> = Mutex::new(None);

fn cache() -> MutexGuard<'static, Option<HashMap<PathBuf, Kept>>> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(dir: &Path) -> io::Result<Option<(Stamp, SystemTime)>> {
    let Some(meta) = present(std::fs::metadata(dir))? else {
        return Ok(None);
    };
    let times = (
        (meta.mtime(), meta.mtime_nsec()),
        (meta.ctime(), meta.ctime_nsec()),
    );
    Ok(Some((
        (meta.dev(), meta.ino(), times.0, times.1),
        meta.modified()?,
    )))
}

/// The names of a directory if they are known and have not changed.
pub(super) fn known(dir: &Path) -> io::Result<Option<Arc<Names>>> {
    if !cache().as_ref().is_some_and(|c| c.contains_key(dir)) {
        return Ok(None);
    }
    let now = stamp(dir)?;
    let mut cache = cache();
    let Some(dirs) = cache.as_mut() else {
        return Ok(None);
    };
    if let Some(kept) = dirs.get_mut(dir)
        && now.is_some_and(|(stamp, _)| stamp == kept.stamp)
    {
        kept.used = Instant::now();
        return Ok(Some(Arc::clone(&kept.names)));
    }
    dirs.remove(dir);
    Ok(None)
}

/// Reads the names of a large directory for the pages that follow.
pub(super) fn learn(dir: &Path) -> io::Result<()> {
    let Some((before, modified)) = stamp(dir)? else {
        return Ok(());
    };
    if modified.elapsed().is_ok_and(|age| age < SETTLED) {
        return Ok(());
    }
    let Some(names) = Names::read(dir)? else {
        return Ok(());
    };
    if stamp(dir)?.is_none_or(|(after, _)| after != before) {
        return Ok(());
    }
    let mut cache = cache();
    let dirs = cache.get_or_insert_default();
    dirs.retain(|_, kept| kept.used.elapsed() < KEEP);
    dirs.remove(dir);
    let mut room = MAX_BYTES.saturating_sub(names.bytes());
    // The ones used last stay, as far as there is room.
    let mut by_use: Vec<_> = dirs.drain().collect();
    by_use.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.used));
    for (path, kept) in by_use {
        match room.checked_sub(kept.names.bytes()) {
            Some(left) => room = left,
            None => break,
        }
        dirs.insert(path, kept);
    }
    let kept = Kept {
        stamp: before,
        names: Arc::new(names),
        used: Instant::now(),
    };
    dirs.insert(dir.to_owned(), kept);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn list(names: &Names) -> Vec<Vec<u8>> {
        names.after(|_| false).map(|e| e.sort_key).collect()
    }

    #[test]
    fn names_are_forgotten_when_any_of_them_changes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for name in ["b.o", "a.o", "a.d", "stranger"] {
            fs::write(dir.join(name), b"").unwrap();
        }
        // Just changed: not to be trusted.
        learn(dir).unwrap();
        assert!(known(dir).unwrap().is_none());
        let changes: [fn(&Path) -> io::Result<()>; 3] = [
            |dir| fs::write(dir.join("c.o"), b""),
            |dir| fs::remove_file(dir.join("a.o")),
            |dir| fs::rename(dir.join("b.o"), dir.join("d.o")),
        ];
        for change in changes {
            std::thread::sleep(2 * SETTLED);
            learn(dir).unwrap();
            assert!(known(dir).unwrap().is_some());
            change(dir).unwrap();
            assert!(known(dir).unwrap().is_none());
        }
        std::thread::sleep(2 * SETTLED);
        learn(dir).unwrap();
        assert_eq!(
            list(&known(dir).unwrap().unwrap()),
            [&b"a/"[..], b"c", b"d"]
        );
        let names = known(dir).unwrap().unwrap();
        let rest: Vec<_> = names.after(|k| k < &b"b"[..]).map(|e| e.sort_key).collect();
        assert_eq!(rest, [b"c", b"d"]);
    }
}
