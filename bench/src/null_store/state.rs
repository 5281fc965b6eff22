//! What the store remembers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use super::Options;
use super::object::{Object, Run, Writer};

/// Files of kept bodies begin with this.
const FILE_PREFIX: &str = "null-store-body-";

pub(super) struct State {
    keep_limit: u64,
    keep: Option<String>,
    keep_dir: Option<PathBuf>,
    next: AtomicU64,
    tables: Mutex<Tables>,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) buckets: HashSet<String>,
    /// By `bucket/key`, the key as it was on the wire.
    pub(super) objects: HashMap<String, Arc<Object>>,
    pub(super) uploads: HashMap<String, Upload>,
}

pub(super) struct Upload {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) parts: BTreeMap<u16, Part>,
}

#[derive(Clone)]
pub(super) struct Part {
    pub(super) etag: String,
    pub(super) modified: u64,
    pub(super) run: Arc<Run>,
}

impl State {
    pub(super) fn new(options: &Options) -> io::Result<State> {
        if let Some(dir) = &options.keep_dir {
            fs::create_dir_all(dir)?;
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(FILE_PREFIX) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(State {
            keep_limit: options.keep_limit,
            keep: options.keep.clone(),
            keep_dir: options.keep_dir.clone(),
            next: AtomicU64::new(1),
            tables: Mutex::default(),
        })
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a body of `len` bytes (if that is known) for `bucket/key` goes.
    pub(super) fn writer(&self, path: &str, len: Option<u64>) -> io::Result<Writer> {
        let key = path.split_once('/').map_or("", |(_, key)| key);
        let small = len.is_some_and(|n| n <= self.keep_limit);
        let wanted = self.keep.as_ref().is_some_and(|p| key.starts_with(p));
        match &self.keep_dir {
            _ if small => Ok(Writer::into_memory()),
            _ if !wanted => Ok(Writer::Drop(0)),
            None => Ok(Writer::into_memory()),
            Some(dir) => Writer::into_file(&dir.join(format!("{FILE_PREFIX}{}", self.unique()))),
        }
    }

    /// A number never given before.
    pub(super) fn unique(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// An ETag never given before, quoted, in the form of an MD5 as real stores give.
    pub(super) fn etag(&self) -> String {
        let n = self.unique().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("\"{n:016x}{:016x}\"", n.rotate_left(29))
    }
}
