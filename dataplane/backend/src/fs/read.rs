//! `GetObject` and `HeadObject`.

use std::io;
use std::ops::Range;

use http::{HeaderMap, HeaderValue, header};
use sealgate_s3::conditions::{Conditions, Verdict};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::time::http_date;
use sealgate_uring::{Block, File, How, Spans};

use super::record::{self, TAIL, Tail};
use super::shared::Shared;
use super::{FsStore, Result, error, seconds, tags, unversioned};
use crate::types::{BackendError, GetRequest, Location, ObjectInfo};

/// The body of a read: one version of the object from first to last byte, whatever is written meanwhile.
pub struct FsBody {
    file: File,
    /// The next byte.
    at: u64,
    /// One past the last byte.
    end: u64,
    /// The last bytes of the file, which had to be read anyway: all of a small object.
    tail: Vec<u8>,
    /// Where those begin.
    tail_at: u64,
}

impl FsBody {
    /// Reads at least one byte into `spans`; `Ok(0)` is the proper end of the range that was asked for.
    ///
    /// # Errors
    /// [`BackendError::Io`] when the disk fails or the file has been cut by a stranger.
    pub async fn read(&mut self, block: Block, spans: Spans) -> (Result<usize>, Block) {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let spans = spans.prefix(left.min(spans.len()));
        if spans.is_empty() {
            return (Ok(0), block);
        }
        if self.at >= self.tail_at {
            let (n, block) = self.read_tail(block, spans);
            self.at += n as u64;
            return (Ok(n), block);
        }
        match self.file.read_at(block, spans, self.at).await {
            (Ok(0), block) => {
                let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut");
                (Err(error::io("reading an object")(cut)), block)
            }
            (Ok(n), block) => {
                self.at += n as u64;
                (Ok(n), block)
            }
            (Err(e), block) => (Err(error::io("reading an object")(e)), block),
        }
    }

    fn read_tail(&self, mut block: Block, spans: Spans) -> (usize, Block) {
        let mut from = usize::try_from(self.at - self.tail_at).unwrap_or(usize::MAX);
        for range in spans.ranges() {
            let to = from + range.len();
            block[range].copy_from_slice(&self.tail[from..to]);
            from = to;
        }
        (spans.len(), block)
    }
}

/// An object's file, opened.
struct Opened {
    file: File,
    info: ObjectInfo,
    tail: Vec<u8>,
    tail_at: u64,
}

impl FsStore {
    /// `HeadObject`.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchBucket`, `PreconditionFailed`; [`BackendError::NotModified`]; [`BackendError::Io`].
    pub async fn head(&self, at: &Location, conditions: &Conditions) -> Result<ObjectInfo> {
        let opened = self.open_object(at).await?;
        opened.file.close().await;
        check_read(&opened.info, conditions)?;
        Ok(opened.info)
    }

    /// `GetObject`: the object, which of its bytes the body gives, and the body.
    ///
    /// # Errors
    /// As [`FsStore::head`], and `InvalidRange` when the range begins behind the end.
    pub async fn get(
        &self,
        at: &Location,
        request: &GetRequest,
    ) -> Result<(ObjectInfo, Range<u64>, FsBody)> {
        let Opened {
            file,
            info,
            tail,
            tail_at,
        } = self.open_object(at).await?;
        check_read(&info, &request.conditions)?;
        let range = match request.range {
            None => 0..info.len,
            Some((start, end)) => {
                let end = end.unwrap_or(info.len).min(info.len);
                if start >= info.len || start > end {
                    let e = S3Error::new(ErrorCode::InvalidRange)
                        .detail("ActualObjectSize", info.len.to_string());
                    return Err(e.into());
                }
                start..end
            }
        };
        let body = FsBody {
            file,
            at: range.start,
            end: range.end,
            tail,
            tail_at,
        };
        Ok((info, range, body))
    }

    /// `HeadObject` of one part: the object, and which of its bytes the part has. A directory does not keep where the
    /// parts of an upload ended.
    ///
    /// # Errors
    /// As [`FsStore::head`]; `InvalidPartNumber` behind the one part of an object, `NotImplemented` for one that was
    /// uploaded in parts.
    pub async fn head_part(
        &self,
        at: &Location,
        number: u16,
        conditions: &Conditions,
    ) -> Result<(ObjectInfo, Range<u64>)> {
        let info = self.head(at, conditions).await?;
        if info.etag.contains('-') {
            let what = "A directory does not keep the parts of an object that is not encrypted.";
            return Err(S3Error::with_message(ErrorCode::NotImplemented, what).into());
        }
        if number != 1 {
            return Err(error::answer(ErrorCode::InvalidPartNumber));
        }
        let range = 0..info.len;
        Ok((info, range))
    }

    async fn open_object(&self, at: &Location) -> Result<Opened> {
        let failed = error::io("opening an object");
        unversioned(at)?;
        let path = self.shared.layout.object(at)?;
        let file = match File::open(&path, How::Read).await {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(missing(&self.shared, at).await);
            }
            Err(e) => return Err(failed(e)),
        };
        let len = file.len().await.map_err(&failed)?;
        let mut want = TAIL;
        loop {
            let tail_at = len.saturating_sub(want as u64);
            let tail = read_to_end(&file, tail_at, len).await.map_err(&failed)?;
            match record::decode(&tail, len).map_err(&failed)? {
                Tail::Needs(more) => want = more,
                Tail::Whole(record, body_len) => {
                    let mut record = record;
                    tags::count(&mut record.headers);
                    let info = ObjectInfo {
                        len: body_len,
                        etag: record.etag,
                        last_modified: record.modified,
                        headers: record.headers,
                    };
                    return Ok(Opened {
                        file,
                        info,
                        tail,
                        tail_at,
                    });
                }
            }
        }
    }
}

/// The bytes of a file from `from` to its end at `to`.
async fn read_to_end(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(to - from).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = from + bytes.len() as u64;
        let (read, back) = file.read_buf_at(bytes, at).await;
        bytes = back;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

/// Whether it is the key or the bucket that is not there.
async fn missing(shared: &std::sync::Arc<Shared>, at: &Location) -> BackendError {
    let bucket = at.bucket.clone();
    match shared
        .run(move |shared| shared.require_bucket(&bucket))
        .await
    {
        Ok(()) => error::answer(ErrorCode::NoSuchKey),
        Err(e) => e,
    }
}

fn check_read(info: &ObjectInfo, conditions: &Conditions) -> Result<()> {
    match conditions.check_read(&info.etag, seconds(info.last_modified)) {
        Verdict::Proceed => Ok(()),
        Verdict::PreconditionFailed => Err(conditions.failed_read().into()),
        Verdict::NotModified => {
            let mut headers = HeaderMap::new();
            let values = [
                (header::ETAG, format!("\"{}\"", info.etag)),
                (
                    header::LAST_MODIFIED,
                    http_date(seconds(info.last_modified)),
                ),
            ];
            for (name, value) in values {
                headers.extend(HeaderValue::try_from(value).ok().map(|v| (name, v)));
            }
            for name in [header::CACHE_CONTROL, header::EXPIRES] {
                headers.extend(info.headers.get(&name).cloned().map(|v| (name, v)));
            }
            Err(BackendError::NotModified(Box::new(headers)))
        }
    }
}
