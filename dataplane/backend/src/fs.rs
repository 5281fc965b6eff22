//! A directory as a durable, crash-safe store with S3's semantics, for one process or many.
//!
//! Each object is one file: its body, then its metadata ([`record`]), named after its key ([`name`]). Writers prepare
//! the file out of sight, sync it, and rename it into place, all but the rename without any lock; the rename happens
//! under a lock of the key ([`lock`]), which makes conditional writes atomic among cores and processes. Readers lock
//! nothing: a file that is published never changes. `docs/fs-store.md` describes the directory and the guarantees.
//!
//! Bytes move on the core's ring; system calls that it lacks run on the blocking pool.

mod buckets;
mod clone;
mod copy;
mod durable;
mod error;
mod forward;
mod layout;
mod list;
mod lock;
mod name;
mod names;
mod parts;
mod read;
mod record;
mod session;
mod shared;
mod tags;
mod uploads;
mod walk;
mod write;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sealgate_s3::bucket::Bucket;
use sealgate_s3::error::{ErrorCode, S3Error};

use crate::types::{BackendError, ListPage, ListRequest, Location};
use durable::DurableDirs;
use layout::Layout;
use session::Session;
use shared::Shared;

pub use forward::OWNER;
pub use read::FsBody;
pub use session::Sweep;
pub use write::FsUpload;

type Result<T> = std::result::Result<T, BackendError>;

/// A directory as a store. Any number may be open on one directory, in any number of processes; clones share one.
#[derive(Clone)]
pub struct FsStore {
    shared: Arc<Shared>,
    swept: Sweep,
}

impl FsStore {
    /// Opens the store in `root`, creates it if it is missing, and sweeps up what dead processes had not published.
    /// Blocks; call it before serving.
    ///
    /// # Errors
    /// Of the system; `InvalidData` when the directory has a later version's format; `InvalidFilename` when its path is
    /// so long that a 1024-byte key would not fit behind it.
    pub fn open(root: &Path) -> io::Result<FsStore> {
        let layout = Layout::create(root)?;
        let session = Session::open(&layout)?;
        let swept = session::sweep(&layout)?;
        if swept != Sweep::default() {
            tracing::info!(
                owners = swept.owners,
                files = swept.files,
                bytes = swept.bytes,
                "swept up after a crash"
            );
        }
        let shared = Arc::new(Shared {
            layout,
            session,
            durable: DurableDirs::default(),
        });
        Ok(FsStore { shared, swept })
    }

    /// What [`FsStore::open`] swept up.
    #[must_use]
    pub fn swept(&self) -> Sweep {
        self.swept
    }

    /// Sweeps up what processes that have died since had not published.
    ///
    /// # Errors
    /// [`BackendError::Io`].
    pub async fn sweep(&self) -> Result<Sweep> {
        self.shared
            .run(|shared| session::sweep(&shared.layout).map_err(error::io("sweeping")))
            .await
    }

    /// `ListObjects`, version 1 or 2. Reads the names in the directories that the page touches and the records of the
    /// objects on it, nothing else.
    ///
    /// # Errors
    /// `NoSuchBucket`, `InvalidArgument` for a continuation token that is not ours; [`BackendError::Io`].
    pub async fn list(&self, bucket: &str, request: &ListRequest) -> Result<ListPage> {
        let (bucket, request) = (Bucket::new(bucket)?, request.clone());
        let list = move |shared: &Shared| {
            shared.require_bucket(bucket.as_str())?;
            list::list(&shared.layout.bucket(bucket.as_str())?, &request)
        };
        self.shared.run(list).await
    }
}

/// 32 random hex digits: an ETag that no other version has and that nobody can take for the MD5 of anything they know.
fn random_hex() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("aws-lc aborts the process rather than give no randomness");
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

/// A directory keeps no versions: what is there is version `null`, as in a bucket that never had any.
fn unversioned(at: &Location) -> Result<()> {
    match at.version.as_deref() {
        None | Some("null") => Ok(()),
        Some(version) => Err(S3Error::new(ErrorCode::NoSuchVersion)
            .detail("VersionId", version)
            .into()),
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Whole seconds, as HTTP has them.
fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}
