//! What is not published yet, and what dead processes left of it.
//!
//! Every open store has a directory of its own in `.sealgate/tmp` and holds a lock on a file in it. Whoever gets that
//! lock knows that the owner is dead and may remove the directory: no process ids, so it works across containers too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::Layout;
use super::lock::{self, Guard};

/// Name of the lock in a session's directory.
const LOCK: &str = "lock";

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sweep {
    /// Processes (more exactly, open stores) that had died.
    pub owners: u64,
    /// Files that they had not published.
    pub files: u64,
    /// The bytes of those.
    pub bytes: u64,
}

/// A directory for one open store's unpublished files.
pub(super) struct Session {
    dir: PathBuf,
    next: AtomicU64,
    _lock: Guard,
}

impl Session {
    pub(super) fn open(layout: &Layout) -> io::Result<Self> {
        let dir = layout.tmp().join(super::random_hex());
        // Nobody sweeps between the directory and its lock.
        let _no_sweep = lock::lock(&layout.lock("sweep"))?;
        fs::create_dir(&dir)?;
        let _lock = lock::lock(&dir.join(LOCK))?;
        Ok(Self {
            dir,
            next: AtomicU64::new(0),
            _lock,
        })
    }

    /// A name that nothing has yet.
    pub(super) fn fresh(&self) -> PathBuf {
        self.dir
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next to open the store.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes what dead owners left.
pub(super) fn sweep(layout: &Layout) -> io::Result<Sweep> {
    let mut dead = Vec::new();
    // To the end: another sweeper that meets a directory half removed would make its lock anew, and both would fail.
    let _no_session_opens = lock::lock(&layout.lock("sweep"))?;
    for entry in fs::read_dir(layout.tmp())? {
        let dir = entry?.path();
        match lock::try_lock(&dir.join(LOCK)) {
            Ok(Some(owned)) => dead.push((dir, owned)),
            Ok(None) => {}
            // Gone in the meantime, or no directory: not ours to remove.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(e) => return Err(e),
        }
    }
    let mut swept = Sweep::default();
    for (dir, _owned) in dead {
        swept.owners += 1;
        count(&dir, &mut swept)?;
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(swept)
}

fn count(dir: &Path, swept: &mut Sweep) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            count(&entry.path(), swept)?;
        } else if entry.file_name() != LOCK {
            swept.files += 1;
            swept.bytes += meta.len();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::create(root.path()).unwrap();
        let living = Session::open(&layout).unwrap();
        fs::write(living.fresh(), b"being written").unwrap();
        let dead = Session::open(&layout).unwrap();
        fs::write(dead.fresh(), b"12345").unwrap();
        fs::create_dir(dead.fresh()).unwrap();
        // As a killed process: the lock is gone, the directory is not.
        let dir = dead.dir.clone();
        let left = root.path().join(".sealgate/tmp/left");
        fs::create_dir(&left).unwrap();
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != LOCK {
                fs::rename(entry.path(), left.join(entry.file_name())).unwrap();
            }
        }
        assert_eq!(
            sweep(&layout).unwrap(),
            Sweep {
                owners: 1,
                files: 1,
                bytes: 5
            }
        );
        assert!(!left.exists() && dir.exists() && living.dir.exists());
        drop((living, dead));
        assert_eq!(fs::read_dir(layout.tmp()).unwrap().count(), 0);
    }
}
