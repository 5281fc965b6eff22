//! Bodies copied by the kernel: blocks are shared where the file system can (XFS, Btrfs, bcachefs), otherwise copied
//! without passing through this process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderMap;
use sealgate_s3::error::ErrorCode;

use super::error::answer;
use super::record::Record;
use super::shared::Shared;
use super::write::Temp;
use super::{Result, error, now_ms};

/// Bytes copied in one turn of a thread of the blocking pool, so that many-gigabyte copies let shorter work through.
const TURN: u64 = 256 << 20;

/// A file that is being put together from others.
pub(super) struct Assembly {
    shared: Arc<Shared>,
    file: Arc<File>,
    temp: Temp,
    len: u64,
}

impl Assembly {
    pub(super) async fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let path: PathBuf = shared.session.fresh();
        let temp = Temp::new(path.clone());
        let create = move |_: &Shared| File::create_new(path).map_err(error::io("creating a file"));
        let file = Arc::new(shared.run(create).await?);
        Ok(Self {
            shared: Arc::clone(shared),
            file,
            temp,
            len: 0,
        })
    }

    /// Appends the first `len` bytes of `source`.
    pub(super) async fn append(&mut self, source: File, len: u64) -> Result<()> {
        let source = Arc::new(source);
        let mut done = 0;
        while done < len {
            let turn = TURN.min(len - done);
            let (from, to, at, start) =
                (Arc::clone(&source), Arc::clone(&self.file), self.len, done);
            let copy = move |_: &Shared| {
                copy_range(&from, start, &to, at, turn).map_err(error::io("copying an object"))
            };
            self.shared.run(copy).await?;
            done += turn;
            self.len += turn;
        }
        Ok(())
    }

    /// Ends the file with its record and syncs it.
    pub(super) async fn finish(self, etag: String, headers: HeaderMap) -> Result<(Temp, Record)> {
        let record = Record {
            etag,
            modified: now_ms(),
            key: Vec::new(),
            headers,
        };
        self.finish_as(record).await
    }

    /// Ends the file with this record and syncs it.
    pub(super) async fn finish_as(self, record: Record) -> Result<(Temp, Record)> {
        let end = record
            .encode(self.len)
            .ok_or_else(|| answer(ErrorCode::MetadataTooLarge))?;
        let (file, len) = (self.file, self.len);
        let write = move |_: &Shared| {
            std::os::unix::fs::FileExt::write_all_at(&*file, &end, len)
                .and_then(|()| file.sync_all())
                .map_err(error::io("writing an object"))
        };
        self.shared.run(write).await?;
        Ok((self.temp, record))
    }
}

/// Copies `len` bytes; `std::io::copy` does so by copy_file_range(2), or by hand where that is refused.
fn copy_range(mut from: &File, start: u64, mut to: &File, at: u64, len: u64) -> io::Result<()> {
    from.seek(SeekFrom::Start(start))?;
    to.seek(SeekFrom::Start(at))?;
    if io::copy(&mut from.take(len), &mut to)? < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file was cut",
        ));
    }
    Ok(())
}
