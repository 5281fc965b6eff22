//! Where things are below the root.

use std::io;
use std::path::{Path, PathBuf};

use sealgate_s3::bucket::Bucket;

use super::{Result, name};
use crate::types::Location;

/// Locks that all keys share: few enough to be cheap to keep, enough that two writers seldom meet.
const STRIPES: u64 = 256;
/// Longest path of the root, bytes: the rest of the 4096 that Linux allows (one is the terminator) is for bucket and key.
const MAX_ROOT: usize = 4095 - name::MAX_RELATIVE_PATH - (63 + 2);
/// What `.sealgate/format` says.
const FORMAT: &str = "sealgate fs 1\n";

/// Paths of one store.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Creates what is missing below `root` and checks that it can be used.
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if root.as_os_str().len() > MAX_ROOT {
            let what = format!(
                "{}: a store's path may have {MAX_ROOT} bytes",
                root.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, what));
        }
        let layout = Self { root };
        for dir in ["tmp", "uploads", "locks", "buckets"] {
            std::fs::create_dir_all(layout.own(dir))?;
        }
        layout.check_format()?;
        for dir in [layout.own(""), layout.root.clone()] {
            sync_dir(&dir)?;
        }
        Ok(layout)
    }

    fn check_format(&self) -> io::Result<()> {
        let path = self.own("format");
        let _lock = super::lock::lock(&self.lock("format"))?;
        match std::fs::read_to_string(&path) {
            Ok(found) if found == FORMAT => Ok(()),
            // Empty after a power cut in the middle of the very first start.
            Ok(found) if !found.is_empty() => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: {:?} is not a format that this version knows ({FORMAT:?})",
                    path.display(),
                    found.trim()
                ),
            )),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => {
                std::fs::write(&path, FORMAT)?;
                std::fs::File::open(&path)?.sync_all()
            }
        }
    }

    fn own(&self, name: &str) -> PathBuf {
        self.root.join(".sealgate").join(name)
    }

    /// The root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A directory per open store for what is not published yet.
    pub(super) fn tmp(&self) -> PathBuf {
        self.own("tmp")
    }

    /// A lock that is not a key's.
    pub(super) fn lock(&self, name: &str) -> PathBuf {
        self.own("locks").join(name)
    }

    /// The lock of a key. All processes must agree on it, hence FNV-1a and no hasher of the standard library.
    pub(super) fn stripe(&self, at: &Location) -> PathBuf {
        let hash = (at
            .bucket
            .bytes()
            .chain([0])
            .chain(at.key.as_bytes().iter().copied()))
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        self.lock(&format!("{:02x}", (hash ^ (hash >> 32)) % STRIPES))
    }

    /// A bucket's directory; `InvalidBucketName` for what no bucket is called.
    pub(super) fn bucket(&self, bucket: &str) -> Result<PathBuf> {
        Ok(self.root.join(Bucket::new(bucket)?.as_str()))
    }

    /// What is known of a bucket.
    pub(super) fn bucket_record(&self, bucket: &str) -> PathBuf {
        self.own("buckets").join(bucket)
    }

    /// An object's file.
    pub(super) fn object(&self, at: &Location) -> Result<PathBuf> {
        let relative =
            name::object_path(at.key.as_bytes()).expect("a RawKey is UTF-8 and not empty");
        Ok(self.bucket(&at.bucket)?.join(relative))
    }

    /// All buckets' unfinished uploads.
    pub(super) fn all_uploads(&self) -> PathBuf {
        self.own("uploads")
    }

    /// A bucket's unfinished uploads.
    pub(super) fn uploads(&self, bucket: &str) -> Result<PathBuf> {
        Ok(self.all_uploads().join(Bucket::new(bucket)?.as_str()))
    }
}

/// Makes the names in a directory durable: for the blocking pool.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealgate_s3::route::RawKey;

    #[test]
    fn stripes_are_the_same_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let stripe = |bucket: &str, key: &str| {
            let at = Location {
                bucket: bucket.into(),
                key: RawKey::copy_from(key.as_bytes()).unwrap(),
                version: None,
            };
            layout
                .stripe(&at)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        // Another version that computed these otherwise would not exclude this one.
        assert_eq!(
            [
                stripe("bucket", "a"),
                stripe("bucket", "photos/1"),
                stripe("other", "a")
            ],
            ["1d", "75", "6c"]
        );
    }

    #[test]
    fn an_unknown_format_and_too_long_a_root_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Layout::create(dir.path()).unwrap();
        Layout::create(dir.path()).unwrap();
        std::fs::write(dir.path().join(".sealgate/format"), "sealgate fs 2\n").unwrap();
        let e = Layout::create(dir.path()).unwrap_err();
        assert!(e.to_string().contains("sealgate fs 2"), "{e}");
        let deep = dir.path().join(["x".repeat(200).as_str(); 5].join("/"));
        assert_eq!(
            Layout::create(&deep).unwrap_err().kind(),
            io::ErrorKind::InvalidFilename
        );
    }
}
