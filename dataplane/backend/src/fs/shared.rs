//! What all operations of an open store share, and the two ways in which objects change: a file is renamed into place,
//! or unlinked.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{blocking, sleep};

use super::durable::DurableDirs;
use super::error::{answer, io, present};
use super::layout::{Layout, sync_dir};
use super::lock::{self, Guard};
use super::record::Record;
use super::session::Session;
use super::{Result, seconds};
use crate::types::{BackendError, Location};

/// Longest wait for a key's lock. Holders keep it for a few system calls (and one sync at the end of a multipart
/// upload), so a longer wait means that the disk hangs.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// First and longest pause between two attempts at a lock.
const LOCK_PAUSES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(10)];
/// How often a file is tried to be put into a directory that others keep removing.
const PLACE_ATTEMPTS: usize = 1000;

/// Parts of an open store that every thread may use.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) session: Session,
    pub(super) durable: DurableDirs,
}

impl Shared {
    /// Runs `f` on the blocking pool.
    pub(super) async fn run<R: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&Self) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let shared = Arc::clone(self);
        blocking(move || f(&shared)).await
    }

    /// Runs `f` on the blocking pool with the lock of a key. No thread is held while waiting for it.
    pub(super) async fn locked<R: Send + 'static>(
        self: &Arc<Self>,
        at: &Location,
        f: impl FnOnce(&Self, Guard) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let path = self.layout.stripe(at);
        let began = sealgate_uring::now();
        let [mut pause, longest] = LOCK_PAUSES;
        let mut f = f;
        loop {
            let (shared, path) = (Arc::clone(self), path.clone());
            let attempt = blocking(move || match lock::try_lock(&path) {
                Ok(Some(guard)) => Ok(f(&shared, guard)),
                Ok(None) => Err(f),
                Err(e) => Ok(Err(io("locking a key")(e))),
            });
            match attempt.await {
                Ok(done) => return done,
                Err(again) => f = again,
            }
            if began.elapsed() > LOCK_WAIT {
                return Err(BackendError::Unavailable {
                    reason: format!("a key's lock was held for more than {LOCK_WAIT:?}"),
                    retry_after: Duration::from_secs(1),
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// `NoSuchBucket` unless the bucket is there.
    pub(super) fn require_bucket(&self, bucket: &str) -> Result<()> {
        match present(fs::metadata(self.layout.bucket(bucket)?))
            .map_err(io("looking for a bucket"))?
        {
            Some(meta) if meta.is_dir() => Ok(()),
            _ => Err(answer(ErrorCode::NoSuchBucket)),
        }
    }

    /// Checks the conditions of a write against what is in `path` now. Decisive only with the key's lock held.
    pub(super) fn check_write(&self, path: &Path, conditions: &Conditions) -> Result<()> {
        if conditions.is_empty() {
            return Ok(());
        }
        let existing = present(read_record(path)).map_err(io("checking conditions"))?;
        let existing = existing
            .as_ref()
            .map(|r| (r.etag.as_str(), seconds(r.modified)));
        Ok(conditions.check_write(existing)?)
    }

    /// Makes a synced temporary file the object; durable after [`Shared::settle`].
    pub(super) fn place(&self, temp: &Path, at: &Location, path: &Path) -> Result<()> {
        let bucket = self.layout.bucket(&at.bucket)?;
        let parent = path.parent().unwrap_or(&bucket);
        for _ in 0..PLACE_ATTEMPTS {
            match fs::rename(temp, path) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io("publishing")(e)),
                Err(_) => {}
            }
            self.require_bucket(&at.bucket)?;
            // Whoever deletes the last object of a directory removes it, perhaps just now.
            make_dirs(parent, &bucket).map_err(io("creating directories"))?;
        }
        Err(BackendError::Unavailable {
            reason: format!("{}: removed as fast as it was created", parent.display()),
            retry_after: Duration::from_secs(1),
        })
    }

    /// Makes a change in the directory of `path` durable.
    pub(super) fn settle(&self, path: &Path) -> Result<()> {
        let root = self.layout.root();
        let failed = io("syncing a directory");
        let mut dir = path.parent().unwrap_or(root);
        // If it has been removed since, the change is that of the directory above it.
        while present(sync_dir(dir)).map_err(&failed)?.is_none() && dir != root {
            dir = dir.parent().unwrap_or(root);
        }
        self.durable.ensure(dir, root).map_err(&failed)
    }

    /// Removes the directories above `path`, up to the bucket's, that are empty now.
    pub(super) fn prune(&self, path: &Path, bucket: &Path) {
        let mut dir = path;
        while let Some(parent) = dir
            .parent()
            .filter(|d| *d != bucket && d.starts_with(bucket))
        {
            dir = parent;
            match fs::remove_dir(dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // Not empty; anything else leaves an empty directory that listings look through.
                Err(_) => return,
            }
        }
    }
}

fn make_dirs(dir: &Path, bucket: &Path) -> io::Result<()> {
    if dir == bucket {
        return Ok(());
    }
    for _ in 0..2 {
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            made => return made,
        }
        make_dirs(dir.parent().unwrap_or(bucket), bucket)?;
    }
    // Removed again: the caller begins anew.
    Ok(())
}

/// The record of the file at `path`.
pub(super) fn read_record(path: &Path) -> io::Result<Record> {
    Ok(Record::read(&File::open(path)?)?.0)
}
