//! Bodies: in memory, in files, or only their length.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::units::MIB;

/// A stored object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// What PUT or Create carried of its own: content type, user metadata and the like.
    pub(super) headers: HeaderMap,
    /// Quoted.
    pub(super) etag: String,
    /// Seconds since 1970.
    pub(super) modified: u64,
    /// The body: one run for a PUT, one for each part otherwise.
    pub(super) runs: Vec<Arc<Run>>,
    /// Sum of the runs.
    pub(super) len: u64,
}

/// A contiguous piece of a body.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Dropped,
    Memory(Vec<Bytes>),
    File { file: File, path: PathBuf },
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Content::File { path, .. } = &self.content {
            // What is left over is removed at the next start.
            let _gone = fs::remove_file(path);
        }
    }
}

/// A piece to be sent.
pub(super) enum Piece {
    /// As it is.
    Bytes(Bytes),
    /// This many bytes were read into the buffer.
    Read(usize),
}

/// What a dropped body is served as.
static NOTHING: [u8; MIB] = [0; MIB];

impl Run {
    /// The first bytes of `range`, at most as many as `room` holds.
    pub(super) fn read(&self, range: Range<u64>, room: &mut [u8]) -> io::Result<Piece> {
        let want = (range.end - range.start).min(room.len() as u64) as usize;
        match &self.content {
            Content::Dropped => {
                let n = want.min(NOTHING.len());
                Ok(Piece::Bytes(Bytes::from_static(&NOTHING[..n])))
            }
            Content::Memory(blocks) => {
                // All blocks but the last are full.
                let block = &blocks[(range.start / MIB as u64) as usize];
                let from = (range.start % MIB as u64) as usize;
                let to = block.len().min(from + want);
                Ok(Piece::Bytes(block.slice(from..to)))
            }
            Content::File { file, .. } => match file.read_at(&mut room[..want], range.start)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                n => Ok(Piece::Read(n)),
            },
        }
    }
}

/// Takes a body in.
pub(super) enum Writer {
    /// Counts.
    Drop(u64),
    /// Keeps in blocks of 1 MiB, so that nothing is ever copied to grow.
    Memory { blocks: Vec<Bytes>, last: BytesMut },
    /// Keeps in a file.
    File { file: File, path: PathBuf, len: u64 },
}

impl Writer {
    /// Into a new file.
    pub(super) fn into_file(path: &Path) -> io::Result<Writer> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Writer::File {
            file,
            path: path.to_owned(),
            len: 0,
        })
    }

    /// Into memory.
    pub(super) fn into_memory() -> Writer {
        Writer::Memory {
            blocks: Vec::new(),
            last: BytesMut::new(),
        }
    }

    /// The next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Writer::Drop(len) => *len += bytes.len() as u64,
            Writer::File { file, len, .. } => {
                file.write_all_at(bytes, *len)?;
                *len += bytes.len() as u64;
            }
            Writer::Memory { blocks, last } => {
                while !bytes.is_empty() {
                    let n = bytes.len().min(MIB - last.len());
                    last.extend_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    if last.len() == MIB {
                        blocks.push(last.split().freeze());
                    }
                }
            }
        }
        Ok(())
    }

    /// The body is complete.
    pub(super) fn finish(self) -> Run {
        match self {
            Writer::Drop(len) => Run {
                len,
                content: Content::Dropped,
            },
            Writer::File { file, path, len } => Run {
                len,
                content: Content::File { file, path },
            },
            Writer::Memory { mut blocks, last } => {
                if !last.is_empty() {
                    blocks.push(last.freeze());
                }
                Run {
                    len: blocks.iter().map(|b| b.len() as u64).sum(),
                    content: Content::Memory(blocks),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::fill_pattern;

    fn read_all(run: &Run, range: Range<u64>) -> Vec<u8> {
        let mut room = vec![0; 100_000];
        let mut all = Vec::new();
        while (all.len() as u64) < range.end - range.start {
            let from = range.start + all.len() as u64;
            match run.read(from..range.end, &mut room).unwrap() {
                Piece::Bytes(bytes) => all.extend_from_slice(&bytes),
                Piece::Read(n) => all.extend_from_slice(&room[..n]),
            }
        }
        all
    }

    #[test]
    fn what_is_kept_comes_back() {
        let mut body = vec![0; 2 * MIB + 12_345];
        fill_pattern(3, 0, &mut body);
        let path = std::env::temp_dir().join(format!("sealgate-bench-{}", std::process::id()));
        for mut writer in [Writer::into_memory(), Writer::into_file(&path).unwrap()] {
            for piece in body.chunks(77_777) {
                writer.push(piece).unwrap();
            }
            let run = writer.finish();
            assert_eq!(run.len, body.len() as u64);
            for range in [0..body.len(), 5..6, MIB - 3..MIB + 3, 2 * MIB..body.len()] {
                let wanted = range.start as u64..range.end as u64;
                assert!(read_all(&run, wanted) == body[range]);
            }
        }
        assert!(!path.exists());
    }

    #[test]
    fn what_is_dropped_keeps_its_length() {
        let mut writer = Writer::Drop(0);
        writer.push(&[1; 300]).unwrap();
        let run = writer.finish();
        assert_eq!(run.len, 300);
        assert_eq!(read_all(&run, 10..300), vec![0; 290]);
    }
}
