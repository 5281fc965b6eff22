//! Files, on the core's ring; with plain system calls under epoll, where the kernel has nothing better.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use monoio::fs::OpenOptions;

use crate::iobuf::{Part, Run, Spare};
use crate::runtime::active_driver;
use crate::{ActiveDriver, Block, Spans, blocking};

/// How to open a file.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum How {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must not exist.
    CreateNew,
    /// For reading and writing; created when missing, kept as it is otherwise.
    ReadWrite,
}

/// An open file. Closed in the background when dropped.
pub struct File {
    inner: monoio::fs::File,
}

impl File {
    /// Opens `path`. New files get the permissions 0666 less the umask.
    ///
    /// # Errors
    /// Of open(2).
    pub async fn open(path: &Path, how: How) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            How::Read => {}
            How::CreateNew => drop(options.write(true).create_new(true)),
            How::ReadWrite => drop(options.write(true).create(true)),
        }
        Ok(File {
            inner: options.open(path).await?,
        })
    }

    /// Reads from `offset` into `spans`, and stops early only at the end of the file: `Ok(n)` with `n` less than
    /// asked for means that it ends there.
    ///
    /// # Errors
    /// Of the system; [`io::ErrorKind::InvalidInput`] for spans outside of the block.
    pub async fn read_at(
        &self,
        mut block: Block,
        mut spans: Spans,
        offset: u64,
    ) -> (io::Result<usize>, Block) {
        if let Err(e) = block.check(&spans) {
            return (Err(e), block);
        }
        let mut done = 0;
        // One operation per range: the runtime has no scatter read at an offset. Sealed bytes lie in one range.
        while !spans.is_empty() {
            let (result, run) = self
                .inner
                .read_at(Run::new(block, spans.first()), offset + done as u64)
                .await;
            block = run.block;
            match result {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    spans.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (Err(e), block),
            }
        }
        (Ok(done), block)
    }

    /// Appends what is at `offset` to `buf`, up to its spare capacity; `Ok(0)` at the end of the file.
    ///
    /// # Errors
    /// Of the system.
    pub async fn read_buf_at(&self, mut buf: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        loop {
            let (result, spare) = self.inner.read_at(Spare(buf), offset).await;
            buf = spare.0;
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return (result, buf),
            }
        }
    }

    /// Writes all of `spans` at `offset`.
    ///
    /// # Errors
    /// Of the system (some bytes may have been written); [`io::ErrorKind::InvalidInput`] for spans outside of the
    /// block.
    pub async fn write_all_at(
        &self,
        mut block: Block,
        mut spans: Spans,
        mut offset: u64,
    ) -> (io::Result<()>, Block) {
        if let Err(e) = block.check(&spans) {
            return (Err(e), block);
        }
        while !spans.is_empty() {
            let (result, run) = self
                .inner
                .write_at(Run::new(block, spans.first()), offset)
                .await;
            block = run.block;
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), block),
                Ok(n) => {
                    offset += n as u64;
                    spans.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (Err(e), block),
            }
        }
        (Ok(()), block)
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Of the system; some bytes may have been written.
    pub async fn write_buf_at(&self, mut buf: Vec<u8>, offset: u64) -> (io::Result<()>, Vec<u8>) {
        let (mut from, to) = (0, buf.len());
        while from < to {
            let (result, part) = self
                .inner
                .write_at(Part::new(buf, from, to), offset + from as u64)
                .await;
            buf = part.vec;
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(n) => from += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (Err(e), buf),
            }
        }
        (Ok(()), buf)
    }

    /// Makes all that was written durable (fsync(2)).
    ///
    /// # Errors
    /// Of the system. After one, what was written must be taken for lost.
    pub async fn sync_all(&self) -> io::Result<()> {
        if active_driver() == Some(ActiveDriver::IoUring) {
            return self.inner.sync_all().await;
        }
        // Not on the core's thread: it may take as long as the disk likes.
        let file = self.try_clone_std()?;
        blocking(move || file.sync_all()).await
    }

    /// Length, bytes.
    ///
    /// # Errors
    /// Of the system.
    pub async fn len(&self) -> io::Result<u64> {
        Ok(self.inner.metadata().await?.len())
    }

    /// The same open file for blocking calls elsewhere (they share the descriptor's state, not its number).
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn try_clone_std(&self) -> io::Result<std::fs::File> {
        // SAFETY: `self` keeps the descriptor open for longer than this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.inner.as_raw_fd()) };
        Ok(fd.try_clone_to_owned()?.into())
    }

    /// Closes the file and waits for that. Errors of close(2) say nothing that `sync_all` did not.
    pub async fn close(self) {
        let _ = self.inner.close().await;
    }
}

/// Kernels that have io_uring but not these operations in it (before 5.11 and 5.15) answer EINVAL.
async fn or_blocking(
    result: io::Result<()>,
    plain: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => blocking(plain).await,
        result => result,
    }
}

/// Renames a file, replacing what was there (rename(2)).
///
/// # Errors
/// Of the system.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let paths = (from.to_owned(), to.to_owned());
    or_blocking(monoio::fs::rename(from, to).await, move || {
        std::fs::rename(paths.0, paths.1)
    })
    .await
}

/// Removes a file (unlink(2)).
///
/// # Errors
/// Of the system.
pub async fn unlink(path: &Path) -> io::Result<()> {
    let again = path.to_owned();
    or_blocking(monoio::fs::remove_file(path).await, move || {
        std::fs::remove_file(again)
    })
    .await
}

/// Creates a directory, with the permissions 0777 less the umask (mkdir(2)).
///
/// # Errors
/// Of the system.
pub async fn create_dir(path: &Path) -> io::Result<()> {
    let again = path.to_owned();
    or_blocking(monoio::fs::create_dir(path).await, move || {
        std::fs::create_dir(again)
    })
    .await
}

/// Makes the names in a directory durable: without it, a file that was created or renamed may be gone after a
/// power cut, however well its bytes were synced.
///
/// # Errors
/// Of the system.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = File::open(path, How::Read).await?;
    let synced = dir.sync_all().await;
    dir.close().await;
    synced
}
