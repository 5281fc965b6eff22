//! Which method is safe at a store: what it does with conditions that do not hold.
//!
//! A store that ignores a condition would put the envelope that was made for one object onto another that somebody
//! wrote in the meantime, and nobody could open that again. So each condition is tried with an ETag that no object has,
//! on the first object that is to be re-wrapped: a store that refuses keeps it; one that does not has done what was to
//! be done anyway.

use sealgate_backend::Store;
use sealgate_backend::types::{BackendError, CopyRequest};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::xml::Versioning;
use sealgate_uring::Connector;

use super::write::{Replacement, server};
use super::{Method, Outcome, Rewrapper, Trouble, is_overtaken};

/// No store gives such a one.
const NO_SUCH_ETAG: &str = "sealgate-no-such-etag";
/// Largest object whose bytes are moved to try a condition.
const MAX_TRIAL: u64 = 64 << 20;

/// The method, and the new ETag if the object was written by finding it out.
type Settled = (Method, Option<String>);

/// What a store made of a condition that does not hold.
enum Kept {
    /// Refused.
    Yes,
    /// Done, with this ETag.
    No(String),
    /// It does not know the condition.
    Unknown,
}

impl<C: Connector> Rewrapper<C> {
    /// Finds out the method with this object; the outcome instead where there is none.
    pub(super) async fn settle(
        &self,
        new: &Replacement<'_>,
    ) -> Result<Result<Settled, Outcome>, Trouble> {
        let never = || Conditions::if_match(NO_SUCH_ETAG);
        let seen = || Conditions::if_match(new.info.etag.clone());
        // Measured with 4.48: it checks first and writes later, also where it says that it keeps the condition. A copy
        // onto itself then changes the metadata of whatever is there by then. Only plain writes are atomic, and only in
        // buckets without versions.
        if server(new.info).contains("SeaweedFS") {
            return Ok(match self.versioning {
                Versioning::Never => Ok((Method::Put, None)),
                _ => Err(refused(
                    "SeaweedFS keeps no condition atomically in a bucket with versions",
                )),
            });
        }
        if new.info.len <= self.options.max_copy {
            match self.try_copy(&new.copy(seen(), never()), new).await? {
                // A store that ignores one condition is not trusted with the other.
                Kept::No(etag) => return self.settle_put(new, Some(etag)).await,
                Kept::Yes => match self.try_copy(&new.copy(never(), seen()), new).await? {
                    Kept::Yes => return Ok(Ok((Method::Copy, None))),
                    Kept::No(etag) => return self.settle_put(new, Some(etag)).await,
                    Kept::Unknown => {}
                },
                Kept::Unknown => {}
            }
        }
        self.settle_put(new, None).await
    }

    async fn settle_put(
        &self,
        new: &Replacement<'_>,
        done: Option<String>,
    ) -> Result<Result<Settled, Outcome>, Trouble> {
        if new.info.len > MAX_TRIAL {
            return Ok(Err(refused(
                "whether the store keeps conditions is found out with a smaller object first: run again with --prefix \
                 on one",
            )));
        }
        // What is there now may be what the copy made.
        let info;
        let new = match &done {
            None => new,
            Some(_) => {
                info = self.core.store.head(new.at, &Conditions::default()).await?;
                &Replacement {
                    at: new.at,
                    info: &info,
                    headers: new.headers.clone(),
                }
            }
        };
        if new.info.headers.get(&crate::object::ENVELOPE)
            != new.headers.get(&crate::object::ENVELOPE)
            && done.is_some()
        {
            return Err(super::write::overtaken());
        }
        match self.put(new, Conditions::if_match(NO_SUCH_ETAG)).await {
            Err(Trouble::Store(BackendError::Answer(e))) if is_overtaken(&e.code) => {
                Ok(Ok((Method::Put, done)))
            }
            Ok(_) => Ok(Err(refused("the store ignores conditions on writes"))),
            Err(trouble) => Err(trouble),
        }
    }

    async fn try_copy(
        &self,
        request: &CopyRequest,
        new: &Replacement<'_>,
    ) -> Result<Kept, Trouble> {
        let Store::S3(s3) = &self.core.store else {
            return Ok(Kept::Unknown);
        };
        match s3.copy(request, new.at).await {
            Ok(copied) => Ok(Kept::No(copied.etag)),
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
            Err(e) => Err(e.into()),
        }
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
