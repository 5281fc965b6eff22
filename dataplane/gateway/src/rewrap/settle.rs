//! Which method is safe at a store: what it does with conditions that do not hold (docs/adr/0004-rewrap-methods.md).
//!
//! A store that ignores a condition would put the envelope that was made for one object onto another that somebody
//! wrote in the meantime, and nobody could open that again. So every condition is tried first, on an object of our own
//! that no client reads or writes, with an ETag that no object has: a store that refuses keeps it.

use http::HeaderMap;
use sealgate_backend::Store;
use sealgate_backend::s3::S3Store;
use sealgate_backend::types::{BackendError, Copied, CopyRequest, Location, Stored};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::route::RawKey;
use sealgate_s3::xml::Versioning;
use sealgate_uring::{Connector, Spans};

use super::write::{Replacement, server};
use super::{Method, Outcome, Rewrapper, Trouble, is_overtaken};
use crate::request::STAGING_PREFIX;
use crate::seal::lease_blocks;
use crate::snapshot::ClientTimeouts;

/// No store gives such a one.
const NO_SUCH_ETAG: &str = "sealgate-no-such-etag";
/// What the object of our own holds.
const PROBE: &[u8] =
    b"Sealgate tries here what this store does with conditions. It may be deleted.\n";

/// What a store made of a condition that does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kept {
    /// Refused.
    Yes,
    /// Done all the same.
    No,
    /// It does not know the condition, or not there.
    Unknown,
}

/// The object that conditions are tried on.
struct Probe {
    at: Location,
    etag: String,
    /// Where the bucket keeps versions: all that were made of it.
    versions: Vec<String>,
}

impl<C: Connector> Rewrapper<C> {
    /// Finds out the method for the store of this object; the outcome instead where there is none.
    pub(super) async fn settle(
        &self,
        new: &Replacement<'_>,
    ) -> Result<Result<Method, Outcome>, Trouble> {
        let Store::S3(s3) = &self.core.store else {
            return Ok(Ok(Method::Copy));
        };
        // Measured with 4.48: it checks first and writes later, also where it says that it keeps the condition. A copy
        // onto itself then changes the metadata of whatever is there by then. Only plain writes are atomic, and only in
        // buckets without versions. It is known by its preset or, without one, by its own name for itself.
        if !s3.preset().atomic_copies || server(new.info).contains("SeaweedFS") {
            return Ok(match self.versioning {
                Versioning::Never => Ok(Method::Put),
                _ => Err(refused(
                    "SeaweedFS keeps no condition atomically in a bucket with versions",
                )),
            });
        }
        let mut probe = match self.place(s3, &new.at.bucket).await {
            Ok(probe) => probe,
            Err(e) => return unknown(e),
        };
        let found = self.try_methods(s3, &mut probe).await;
        probe.remove(s3).await;
        match found {
            Ok(Some(method)) => Ok(Ok(method)),
            Ok(None) => Ok(Err(refused("the store keeps no conditions on writes"))),
            Err(e) => unknown(e),
        }
    }

    /// Whether the store keeps a condition where an upload is completed: tried once, when it is needed.
    pub(super) async fn completions_keep(
        &self,
        s3: &S3Store<C>,
        bucket: &str,
    ) -> Result<bool, Trouble> {
        if let Some(kept) = self.completions.get() {
            return Ok(kept);
        }
        let mut probe = self.place(s3, bucket).await?;
        let tried = try_completion(s3, &mut probe).await;
        probe.remove(s3).await;
        let kept = tried? == Kept::Yes;
        self.completions.set(Some(kept));
        Ok(kept)
    }

    async fn try_methods(
        &self,
        s3: &S3Store<C>,
        probe: &mut Probe,
    ) -> Result<Option<Method>, BackendError> {
        if copies_keep(s3, probe).await? {
            return Ok(Some(Method::Copy));
        }
        let written = self.put_probe(s3, &probe.at, never()).await;
        Ok((probe.note(written)? == Kept::Yes).then_some(Method::Put))
    }

    async fn place(&self, s3: &S3Store<C>, bucket: &str) -> Result<Probe, BackendError> {
        let name: [u8; 8] = self.core.random.bytes();
        let key = format!("{STAGING_PREFIX}rewrap-{:016x}", u64::from_be_bytes(name));
        let key = RawKey::new(key.into()).map_err(|e| BackendError::Protocol(e.to_string()))?;
        let mut probe = Probe {
            at: Location::new(bucket, key),
            etag: String::new(),
            versions: Vec::new(),
        };
        let stored = self.put_probe(s3, &probe.at, Conditions::default()).await?;
        probe.keep_version(&stored.headers);
        probe.etag = stored.etag;
        Ok(probe)
    }

    async fn put_probe(
        &self,
        s3: &S3Store<C>,
        at: &Location,
        conditions: Conditions,
    ) -> Result<Stored, BackendError> {
        let len = PROBE.len();
        let (pool, limits) = (&self.core.pool, ClientTimeouts::default());
        let leased = lease_blocks(pool, len as u64, true, &limits).await;
        let (mut block, _) = leased.map_err(|f| BackendError::Protocol(f.describe()))?;
        block[..len].copy_from_slice(PROBE);
        let upload = s3
            .put(at, &HeaderMap::new(), &conditions, len as u64)
            .await?;
        upload.finish(block, Spans::contiguous(0..len)).await.0
    }
}

/// Whether copies of an object onto itself keep both of their conditions, and are made where both hold.
async fn copies_keep<C: Connector>(
    s3: &S3Store<C>,
    probe: &mut Probe,
) -> Result<bool, BackendError> {
    let seen = Conditions::if_match(probe.etag.clone());
    // A store that ignores one condition is not trusted with the other.
    for (source, onto) in [(&seen, &never()), (&never(), &seen)] {
        let copied = s3.copy(&probe.copy(source, onto), &probe.at).await;
        if probe.note(copied)? != Kept::Yes {
            return Ok(false);
        }
    }
    let copied = s3.copy(&probe.copy(&seen, &seen), &probe.at).await;
    Ok(probe.note(copied)? == Kept::No)
}

async fn try_completion<C: Connector>(
    s3: &S3Store<C>,
    probe: &mut Probe,
) -> Result<Kept, BackendError> {
    let upload = s3.create_upload(&probe.at, &HeaderMap::new()).await?.id;
    let seen = Conditions::if_match(probe.etag.clone());
    let range = 0..PROBE.len() as u64;
    let completed = match s3
        .copy_part((&probe.at, &seen), range, &probe.at, &upload, 1)
        .await
    {
        Ok(part) => {
            s3.complete_upload(&probe.at, &upload, &[part], &never())
                .await
        }
        Err(e) => Err(e),
    };
    let kept = probe.note(completed);
    if !matches!(kept, Ok(Kept::No))
        && let Err(e) = s3.abort_upload(&probe.at, &upload).await
    {
        tracing::warn!(error = %e, bucket = %probe.at.bucket, "an unfinished upload was left behind");
    }
    kept
}

impl Probe {
    /// A copy of it onto itself.
    fn copy(&self, source: &Conditions, onto: &Conditions) -> CopyRequest {
        CopyRequest {
            source: self.at.clone(),
            source_conditions: source.clone(),
            conditions: onto.clone(),
            headers: HeaderMap::new(),
        }
    }

    /// What the store made of a request.
    fn note<A: Answer>(&mut self, answer: Result<A, BackendError>) -> Result<Kept, BackendError> {
        match answer {
            Ok(done) => {
                self.keep_version(done.headers());
                Ok(Kept::No)
            }
            Err(BackendError::Answer(e)) if is_overtaken(&e.code) => Ok(Kept::Yes),
            Err(BackendError::Answer(e))
                if matches!(
                    e.code,
                    ErrorCode::NotImplemented
                        | ErrorCode::InvalidArgument
                        | ErrorCode::InvalidRequest
                ) =>
            {
                Ok(Kept::Unknown)
            }
            Err(e) => Err(e),
        }
    }

    fn keep_version(&mut self, headers: &HeaderMap) {
        let id = headers.get("x-amz-version-id");
        self.versions
            .extend(id.and_then(|id| id.to_str().ok()).map(str::to_owned));
    }

    /// Deletes it, and leaves no versions. What cannot be deleted does no harm.
    async fn remove<C: Connector>(self, s3: &S3Store<C>) {
        let mut outcome = Ok(());
        for id in &self.versions {
            outcome = outcome.and(s3.delete_version(&self.at, id).await);
        }
        if self.versions.is_empty() {
            outcome = s3
                .delete(&self.at, &Conditions::default())
                .await
                .map(|_| ());
        }
        if let Err(e) = outcome {
            let key = String::from_utf8_lossy(self.at.key.as_ref());
            tracing::warn!(error = %e, bucket = %self.at.bucket, key = %key, "a small object was left behind");
        }
    }
}

/// What a write or a copy made.
trait Answer {
    fn headers(&self) -> &HeaderMap;
}

impl Answer for Stored {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl Answer for Copied {
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

fn never() -> Conditions {
    Conditions::if_match(NO_SUCH_ETAG)
}

/// The question could not be put.
fn unknown(e: BackendError) -> Result<Result<Method, Outcome>, Trouble> {
    match e {
        e @ BackendError::Unavailable { .. } => Err(e.into()),
        e => Ok(Err(Outcome::Failed {
            kind: UNSAFE,
            reason: format!(
                "what the store does with conditions cannot be found out with an object under {STAGING_PREFIX}: {e}. \
                 Let the gateway's user of the store write, copy and delete there, or choose with --method"
            ),
            passing: false,
        })),
    }
}

/// Nothing is safe here while others write.
fn refused(why: &str) -> Outcome {
    Outcome::Failed {
        kind: UNSAFE,
        reason: format!(
            "{why}: what others write meanwhile could be lost. Stop all writers and run again with --no-writers"
        ),
        passing: false,
    }
}

/// The kind of the failure that ends a run.
pub const UNSAFE: &str = "unsafe_store";
