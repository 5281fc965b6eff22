//! Replacing an object's envelope in the store.

use http::{HeaderMap, HeaderName};
use sealgate_backend::Store;
use sealgate_backend::s3::S3Store;
use sealgate_backend::s3::preset::Metadata;
use sealgate_backend::types::{CopyRequest, GetRequest, Location, ObjectInfo, Stored};
use sealgate_envelope::Envelope;
use sealgate_s3::conditions::Conditions;
use sealgate_uring::{Connector, Spans};

use super::decide::{keep_lock, text};
use super::{Done, Method, Outcome, Rewrapper, Skip, Trouble};
use crate::failure::Failure;
use crate::object::{ENVELOPE, META, put_envelope};
use crate::ops::copy_object::COPIED;
use crate::seal::lease_blocks;
use crate::snapshot::ClientTimeouts;

/// Most parts of an upload.
const MAX_PARTS: u64 = 10_000;

/// An object as it was seen, and the headers that shall replace its own.
pub(super) struct Replacement<'r> {
    pub(super) at: &'r Location,
    pub(super) info: &'r ObjectInfo,
    pub(super) headers: HeaderMap,
}

impl Replacement<'_> {
    /// A copy of it onto itself, under these conditions on the source and the destination.
    pub(super) fn copy(
        &self,
        source_conditions: Conditions,
        conditions: Conditions,
    ) -> CopyRequest {
        CopyRequest {
            source: self.at.clone(),
            source_conditions,
            conditions,
            headers: self.headers.clone(),
        }
    }
}

/// Everything that the store keeps with the object, but with another envelope. The client's metadata is sealed under
/// the object's own key, which stays: it is kept as it is.
/// `limit` is the most user metadata that the store takes.
pub(super) fn new_headers(
    info: &ObjectInfo,
    envelope: &Envelope,
    limit: Metadata,
) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::with_capacity(16);
    for name in COPIED
        .into_iter()
        .chain(["x-amz-storage-class", "x-amz-website-redirect-location"])
    {
        if let Some(value) = info.headers.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    for (name, value) in &info.headers {
        if name.as_str().starts_with(META) && *name != ENVELOPE {
            headers.append(name.clone(), value.clone());
        }
    }
    keep_lock(&info.headers, &mut headers);
    put_envelope(envelope, limit, &mut headers)?;
    Ok(headers)
}

impl<C: Connector> Rewrapper<C> {
    /// Writes the new envelope, if the object is still the one that `info` describes.
    pub(super) async fn write(
        &self,
        at: &Location,
        info: &ObjectInfo,
        envelope: &Envelope,
    ) -> Result<Outcome, Trouble> {
        let limit = self.core.store.metadata_limit();
        let headers =
            new_headers(info, envelope, limit).map_err(|f| Trouble::TooLong(f.describe()))?;
        let new = Replacement { at, info, headers };
        let method = match self.method.get() {
            Some(method) => method,
            None => match self.settle(&new).await? {
                Ok(method) => {
                    self.method.set(Some(method));
                    method
                }
                Err(outcome) => return Ok(outcome),
            },
        };
        let seen = || Conditions::if_match(info.etag.clone());
        match (method, &self.core.store) {
            (Method::Copy, Store::S3(s3)) if info.len > self.options.max_copy => {
                if !self.options.no_writers && !self.completions_keep(s3, &at.bucket).await? {
                    return Ok(Outcome::Skipped(Skip::TooLarge));
                }
                let etag = self.copy_ranges(s3, &new).await?;
                Ok(self.done(&new, &etag, false, true))
            }
            (Method::Copy, store) => {
                let onto = match self.options.no_writers {
                    // Not every store knows this condition on a copy.
                    true => Conditions::default(),
                    false => seen(),
                };
                let copied = store.copy(&new.copy(seen(), onto), at).await?;
                Ok(self.done(&new, &copied.etag, false, false))
            }
            (Method::Put, Store::S3(s3))
                if info.len > s3.put_limit() && !self.options.no_writers =>
            {
                Ok(Outcome::Skipped(Skip::TooLarge))
            }
            (Method::Put, _) => {
                let stored = self.put(&new, seen()).await?;
                Ok(self.done(&new, &stored.etag, true, false))
            }
        }
    }

    pub(super) fn done(
        &self,
        new: &Replacement<'_>,
        etag: &str,
        moved: bool,
        ranges: bool,
    ) -> Outcome {
        Outcome::Rewrapped(Done {
            bytes: new.info.len,
            moved,
            ranges,
            etag_changed: etag != new.info.etag,
            overtaken: 0,
        })
    }

    /// A copy that is too long for one request: the store copies ranges of the ciphertext into an upload.
    async fn copy_ranges(&self, s3: &S3Store<C>, new: &Replacement<'_>) -> Result<String, Trouble> {
        let mut headers = new.headers.clone();
        // Unlike a copy, an upload takes no tags from anywhere.
        self.put_tags(new.at, &mut headers).await?;
        let upload = s3.create_upload(new.at, &headers).await?.id;
        let done = self.fill(s3, new, &upload).await;
        if done.is_err()
            && let Err(e) = s3.abort_upload(new.at, &upload).await
        {
            tracing::warn!(error = %e, bucket = %new.at.bucket, "an unfinished copy was left behind");
        }
        done
    }

    async fn fill(
        &self,
        s3: &S3Store<C>,
        new: &Replacement<'_>,
        upload: &str,
    ) -> Result<String, Trouble> {
        let seen = Conditions::if_match(new.info.etag.clone());
        let len = new.info.len;
        // Equal parts, so that none but the last is short.
        let count = len.div_ceil(self.options.max_copy).clamp(1, MAX_PARTS);
        let part = len.div_ceil(count).max(s3_minimum(&self.core.store));
        let mut parts = Vec::new();
        let mut start = 0;
        while start < len {
            let end = len.min(start + part);
            let number = u16::try_from(parts.len() + 1).unwrap_or(u16::MAX);
            let source = (new.at, &seen);
            parts.push(
                s3.copy_part(source, start..end, new.at, upload, number)
                    .await?,
            );
            start = end;
        }
        let stored = s3.complete_upload(new.at, upload, &parts, &seen).await?;
        Ok(stored.etag)
    }

    /// Reads the bytes and writes them back.
    pub(super) async fn put(
        &self,
        new: &Replacement<'_>,
        conditions: Conditions,
    ) -> Result<Stored, Trouble> {
        let mut headers = new.headers.clone();
        self.put_tags(new.at, &mut headers).await?;
        let store = &self.core.store;
        let request = GetRequest {
            range: None,
            conditions: Conditions::if_match(new.info.etag.clone()),
        };
        let (info, _, mut body) = store.get(new.at, &request).await?;
        if info.etag != new.info.etag || info.len != new.info.len {
            // A store that ignores the condition.
            return Err(overtaken());
        }
        let len = info.len;
        let mut upload = store.put(new.at, &headers, &conditions, len).await?;
        let leased = lease_blocks(&self.core.pool, len, true, &ClientTimeouts::default()).await;
        let (mut block, _) = leased.map_err(|f| Trouble::TooLong(f.describe()))?;
        let mut left = len;
        loop {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            let mut have = 0;
            while have < want {
                let (read, back) = body.read(block, Spans::contiguous(have..want)).await;
                block = back;
                match read? {
                    0 => {
                        let what = "the store's body ends too early".to_owned();
                        return Err(sealgate_backend::types::BackendError::Protocol(what).into());
                    }
                    n => have += n,
                }
            }
            left -= want as u64;
            if left == 0 {
                let (stored, _) = upload.finish(block, Spans::contiguous(0..have)).await;
                return Ok(stored?);
            }
            let (written, back) = upload.write(block, Spans::contiguous(0..have)).await;
            block = back;
            written?;
        }
    }

    /// The object's tags, for a write that does not take them over by itself.
    async fn put_tags(&self, at: &Location, headers: &mut HeaderMap) -> Result<(), Trouble> {
        if let Some(value) = self.core.store.tags_header(at).await? {
            headers.insert("x-amz-tagging", value);
        }
        Ok(())
    }
}

/// The answer of a store that keeps conditions, for one that does not.
pub(super) fn overtaken() -> Trouble {
    use sealgate_s3::error::{ErrorCode, S3Error};
    Trouble::Store(S3Error::new(ErrorCode::PreconditionFailed).into())
}

fn s3_minimum<C: Connector>(store: &Store<C>) -> u64 {
    store.minimum_part()
}

/// The store's own name, as far as it gives one.
pub(super) fn server(info: &ObjectInfo) -> &str {
    text(&info.headers, "server").unwrap_or("")
}
