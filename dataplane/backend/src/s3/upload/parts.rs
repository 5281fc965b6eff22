//! A `PutObject` longer than the store takes in one request: a multipart upload behind the caller's back
//! (S3-TRAPS 26).

use futures_channel::oneshot;
use http::HeaderMap;
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::{Block, Connector, Spans, spawn};

use super::single::SingleUpload;
use crate::s3::S3Store;
use crate::s3::wire::{MAX_ATTEMPTS, is_transient};
use crate::types::{BackendError, CompletedPart, Location, Stored};

/// Most parts of an upload (User Guide, "Multipart upload limits").
const MAX_PARTS: u64 = 10_000;

/// An object in parts of one length; only the last may be shorter.
pub(in crate::s3) struct PartsUpload<C: Connector> {
    whole: Complete<C>,
    part_len: u64,
    /// Bytes in finished parts and in the current one.
    taken: u64,
    /// The current part and how much of it is still to come. Dropped, and so cut, before `upload` is.
    part: Option<(SingleUpload<C>, u64)>,
    done: Vec<CompletedPart>,
    upload: Option<Started>,
    failed: bool,
}

/// An upload that the store knows of.
struct Started {
    id: String,
    /// Dropped without a word, it has the upload aborted.
    completed: oneshot::Sender<()>,
}

impl<C: Connector> PartsUpload<C> {
    pub(in crate::s3) fn new(
        store: S3Store<C>,
        at: &Location,
        headers: &HeaderMap,
        conditions: &Conditions,
        len: u64,
    ) -> Self {
        let part_len = part_len(len, store.options.put_part);
        Self {
            whole: Complete {
                store,
                at: at.clone(),
                headers: headers.clone(),
                conditions: conditions.clone(),
                len,
            },
            part_len,
            taken: 0,
            part: None,
            done: Vec::new(),
            upload: None,
            failed: false,
        }
    }

    pub(super) async fn write(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<(), BackendError>, Block) {
        if self.failed || spans.len() as u64 > self.whole.len - self.taken {
            let what = "more bytes were written than the object has, or after it had failed";
            return (Err(BackendError::Protocol(what.into())), block);
        }
        let (result, block) = self.split(block, spans).await;
        if result.is_err() {
            self.failed = true;
            // Cuts the part, then aborts.
            self.part = None;
            self.upload = None;
        }
        (result, block)
    }

    pub(super) async fn finish(
        mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<Stored, BackendError>, Block) {
        let total = self.taken + spans.len() as u64;
        if total != self.whole.len {
            let what = format!("{total} of {} bytes were to be stored", self.whole.len);
            return (Err(BackendError::Protocol(what)), block);
        }
        let (written, block) = self.write(block, spans).await;
        match written {
            Ok(()) => {
                let Some(Started { id, completed }) = self.upload.take() else {
                    let what = "an object without parts";
                    return (Err(BackendError::Protocol(what.into())), block);
                };
                let stored = self.whole.complete(&id, &self.done, completed).await;
                (stored, block)
            }
            Err(e) => (Err(e), block),
        }
    }

    /// Sends bytes as parts, cut where parts end.
    async fn split(&mut self, block: Block, spans: Spans) -> (Result<(), BackendError>, Block) {
        let (mut block, mut rest) = (block, spans);
        while !rest.is_empty() {
            let (mut part, left) = match self.part.take() {
                Some(part) => part,
                None => match self.begin().await {
                    Ok(part) => part,
                    Err(e) => return (Err(e), block),
                },
            };
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let piece = Spans {
                to: rest.from + n,
                ..rest
            };
            rest.from = piece.to;
            self.taken += n as u64;
            if n as u64 == left {
                let (stored, back) = part.finish(block, piece).await;
                block = back;
                match stored {
                    Ok(stored) => self.done.push(CompletedPart {
                        number: self.next_number(),
                        etag: stored.etag,
                        checksum: stored.checksum,
                    }),
                    Err(e) => return (Err(e), block),
                }
            } else {
                let (written, back) = part.write(block, piece).await;
                block = back;
                if written.is_err() {
                    return (written, block);
                }
                self.part = Some((part, left - n as u64));
            }
        }
        (Ok(()), block)
    }

    /// Number of the part after those that are done.
    fn next_number(&self) -> u16 {
        u16::try_from(self.done.len() + 1).unwrap_or(u16::MAX)
    }

    /// The next part, and the upload if there is none yet.
    async fn begin(&mut self) -> Result<(SingleUpload<C>, u64), BackendError> {
        let id = match &self.upload {
            Some(upload) => upload.id.clone(),
            None => {
                let created = self
                    .whole
                    .store
                    .create_upload(&self.whole.at, &self.whole.headers)
                    .await?;
                let id = created.id;
                let completed =
                    abort_unless_told(self.whole.store.clone(), self.whole.at.clone(), id.clone());
                self.upload = Some(Started {
                    id: id.clone(),
                    completed,
                });
                id
            }
        };
        let len = self.part_len.min(self.whole.len - self.taken);
        Ok((
            self.whole
                .store
                .part_upload(&self.whole.at, &id, self.next_number(), len),
            len,
        ))
    }
}

/// What it takes to complete an upload, and to tell whether it has been.
pub(super) struct Complete<C: Connector> {
    pub(super) store: S3Store<C>,
    pub(super) at: Location,
    pub(super) headers: HeaderMap,
    pub(super) conditions: Conditions,
    /// Bytes of the object.
    pub(super) len: u64,
}

impl<C: Connector> Complete<C> {
    /// Completes, and tries again where an attempt may or may not have taken effect: too much was sent to give up.
    /// `completed` is told.
    pub(super) async fn complete(
        &self,
        id: &str,
        parts: &[CompletedPart],
        completed: oneshot::Sender<()>,
    ) -> Result<Stored, BackendError> {
        let mut attempt = 1;
        loop {
            let result = self
                .store
                .complete_upload(&self.at, id, parts, &self.conditions)
                .await;
            let result = match result {
                // Perhaps this is what an earlier attempt, whose answer was lost, has left (S3-TRAPS 32). The other
                // codes are those that stores have for an upload that is no more, or whose parts are.
                Err(e) if attempt > 1 && may_be_done(&e) => self.look().await.ok_or(e),
                result => result,
            };
            match result {
                Err(e) if attempt < MAX_ATTEMPTS && is_passing(&e) => {
                    self.store.wire.back_off(attempt).await;
                    attempt += 1;
                }
                Ok(stored) => {
                    // Whoever waits for it is gone only together with the core.
                    let _ = completed.send(());
                    return Ok(stored);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The object, if it is the one that is being written: same length, and the same metadata, of which the envelope
    /// is one of a kind. Without metadata nobody can tell.
    async fn look(&self) -> Option<Stored> {
        let info = self
            .store
            .head(&self.at, &Conditions::default())
            .await
            .ok()?;
        let mut own = self
            .headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"))
            .peekable();
        own.peek()?;
        let same =
            info.len == self.len && own.all(|(name, value)| info.headers.get(name) == Some(value));
        same.then(|| Stored {
            etag: info.etag,
            checksum: None,
            headers: crate::s3::headers::answer_headers(&info.headers),
        })
    }
}

/// Length of the parts of an object of `len` bytes: `usual`, or more when there would be too many.
fn part_len(len: u64, usual: u64) -> u64 {
    usual.max(len.div_ceil(MAX_PARTS)).max(1)
}

/// Whether the same request may succeed later. A 200 with an error inside comes as that error (S3-TRAPS 12).
pub(super) fn is_passing(e: &BackendError) -> bool {
    match e {
        BackendError::Unavailable { .. } => true,
        BackendError::Answer(e) => is_transient(e.status()),
        _ => false,
    }
}

/// Whether an error may be the answer to a completion that was done before.
fn may_be_done(e: &BackendError) -> bool {
    match e {
        BackendError::Answer(S3Error { code, .. }) => {
            matches!(
                code,
                ErrorCode::NoSuchUpload
                    | ErrorCode::NoSuchKey
                    | ErrorCode::InternalError
                    | ErrorCode::InvalidPart
                    | ErrorCode::PreconditionFailed
            )
        }
        BackendError::Unavailable { .. } => true,
        _ => false,
    }
}

/// Aborts an upload when the sender is dropped without having been used. A task that waits, and not one that is
/// spawned by a drop: what is dropped when a core ends has nothing to run on.
pub(super) fn abort_unless_told<C: Connector>(
    store: S3Store<C>,
    at: Location,
    id: String,
) -> oneshot::Sender<()> {
    let (tell, told) = oneshot::channel();
    spawn(async move {
        if told.await.is_ok() {
            return;
        }
        match store.abort_upload(&at, &id).await {
            Ok(()) => {}
            Err(BackendError::Answer(e)) if e.code == ErrorCode::NoSuchUpload => {}
            Err(e) => {
                tracing::warn!(bucket = at.bucket, error = %e, "an upload could not be aborted")
            }
        }
    });
    tell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{MAX_SINGLE_PUT, PUT_PART};

    #[test]
    fn there_are_never_too_many_parts() {
        const TIB: u64 = 1 << 40;
        assert_eq!(part_len(MAX_SINGLE_PUT + 1, PUT_PART), PUT_PART);
        for len in [1, 4 * TIB, 5 * TIB, 5 * TIB + 1, 45 * TIB] {
            let part = part_len(len, PUT_PART);
            assert!((PUT_PART..=MAX_SINGLE_PUT).contains(&part));
            assert!(len.div_ceil(part) <= MAX_PARTS, "{len}");
        }
        assert_eq!(part_len(5, 0), 1);
    }
}
