//! Directories whose own names are known to be on disk.
//!
//! A file is only as durable as every directory above it. Whoever creates a directory syncs its parent, but another
//! process may find the new directory before that and put something in it. So before the first acknowledgement below a
//! directory, this process syncs the names above it too, once, and remembers that by the directory's identity.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::error::present;
use super::layout::sync_dir;

/// Most directories remembered; then all are forgotten, which costs a sync each. About 1 MiB.
const MAX_KNOWN: usize = 16 * 1024;

/// Device, inode and birth: no other directory ever has these, so other processes may delete and create as they like.
type Identity = (u64, u64, SystemTime);

#[derive(Default)]
pub(super) struct DurableDirs {
    known: Mutex<HashSet<Identity>>,
}

impl DurableDirs {
    /// Makes the names of `dir` and of all directories above it, up to but not including `root`, durable.
    /// One that is gone needs no name.
    pub(super) fn ensure(&self, dir: &Path, root: &Path) -> io::Result<()> {
        let Some(identity) = present(identify(dir))? else {
            return Ok(());
        };
        if identity.is_some_and(|id| self.known().contains(&id)) {
            return Ok(());
        }
        if let Some(parent) = dir.parent().filter(|_| dir != root) {
            self.ensure(parent, root)?;
            present(sync_dir(parent))?;
        }
        if let Some(identity) = identity {
            let mut known = self.known();
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(identity);
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Identity>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` on file systems that do not keep the birth: an inode number alone may be used again.
fn identify(dir: &Path) -> io::Result<Option<Identity>> {
    let meta = fs::metadata(dir)?;
    Ok(meta
        .created()
        .ok()
        .map(|birth| (meta.dev(), meta.ino(), birth)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_made_anew_is_not_taken_for_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let dirs = DurableDirs::default();
        fs::create_dir_all(&dir).unwrap();
        dirs.ensure(&dir, root.path()).unwrap();
        let known = dirs.known().len();
        assert!(known == 3 || identify(&dir).unwrap().is_none());
        dirs.ensure(&dir, root.path()).unwrap();
        assert_eq!(dirs.known().len(), known);
        fs::remove_dir(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        dirs.ensure(&dir, root.path()).unwrap();
        assert!(dirs.known().len() > known || known == 0);
        dirs.ensure(&root.path().join("gone/x"), root.path())
            .unwrap();
    }
}
