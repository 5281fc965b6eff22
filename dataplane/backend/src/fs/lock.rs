//! Locks between cores and processes: flock(2) on a file opened for the purpose, so two threads of one process exclude
//! each other as two processes do, and a lock dies with its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// A held lock; released when dropped.
pub(super) struct Guard(#[expect(dead_code, reason = "holds the lock by staying open")] File);

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Takes the lock if it is free.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<Guard>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Guard(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Waits for the lock: only where nothing else is being served, such as at start.
pub(super) fn lock(path: &Path) -> io::Result<Guard> {
    let file = open(path)?;
    file.lock()?;
    Ok(Guard(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_exclude_each_other_and_locks_end_with_their_guard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap();
        let other = path.clone();
        assert!(
            std::thread::spawn(move || try_lock(&other).unwrap().is_none())
                .join()
                .unwrap()
        );
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
