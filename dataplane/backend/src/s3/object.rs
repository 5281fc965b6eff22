//! Operations on objects.

use std::ops::Range;
use std::rc::Rc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::copy_source;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::Connector;

use super::conditional::{Write, bare};
use super::inbound::Inbound;
use super::upload::PartsUpload;
use super::wire::{Call, Repeat};
use super::{S3Body, S3Store, S3Upload, headers};
use crate::types::{BackendError, Copied, CopyRequest, GetRequest, Location, ObjectInfo};

impl<C: Connector> S3Store<C> {
    /// `HeadObject`.
    ///
    /// # Errors
    ///
    /// `NoSuchKey` where the object is missing; the store's own answer otherwise.
    pub async fn head(
        &self,
        at: &Location,
        conditions: &Conditions,
    ) -> Result<ObjectInfo, BackendError> {
        let mut call = self.call_on(Method::HEAD, at);
        conditions.to_headers(&mut call.headers);
        let mut inbound = self.send(&mut call).await.map_err(|e| bodiless_at(e, at))?;
        let head = std::mem::take(&mut inbound.head.headers);
        self.wire.finish(inbound);
        check_version(at, &head)?;
        let len = headers::text(&head, &header::CONTENT_LENGTH)
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| BackendError::Protocol("HEAD without a Content-Length".into()))?;
        headers::object_info(head, len)
    }

    /// `GetObject`, whole or one range of it: the object, the bytes that follow, and their body.
    ///
    /// # Errors
    ///
    /// The store's answer, `InvalidRange` among them.
    pub async fn get(
        &self,
        at: &Location,
        request: &GetRequest,
    ) -> Result<(ObjectInfo, Range<u64>, S3Body<C>), BackendError> {
        let mut call = self.call_on(Method::GET, at);
        request.conditions.to_headers(&mut call.headers);
        if let Some((first, end)) = request.range {
            let range = match end {
                Some(end) => format!("bytes={first}-{}", end.saturating_sub(1)),
                None => format!("bytes={first}-"),
            };
            headers::set(&mut call.headers, header::RANGE, &range);
        }
        let mut inbound = self.send(&mut call).await?;
        let head = std::mem::take(&mut inbound.head.headers);
        check_version(at, &head)?;
        let (stored, len) = extent(inbound.head.status, &head)?;
        // A store may send more than was asked for, the whole object even, or less: `S3Body` leaves the rest or asks
        // for it. But it must begin where it was told.
        let (first, end) = request.range.unwrap_or((0, None));
        if len == 0 && first > 0 {
            // SeaweedFS answers every range of a folder with 200 and nothing.
            return Err(S3Error::new(ErrorCode::InvalidRange).into());
        }
        let range = first..end.map_or(len, |end| end.min(len));
        if stored.start != first || range.is_empty() && len > 0 {
            return Err(BackendError::Protocol(
                "the store answered another range".into(),
            ));
        }
        let info = headers::object_info(head, len)?;
        let body = self.body(inbound, call, &info, range.clone());
        Ok((info, range, body))
    }

    fn body(
        &self,
        inbound: Inbound<C::Conn>,
        call: Call,
        info: &ObjectInfo,
        range: Range<u64>,
    ) -> S3Body<C> {
        S3Body::new(
            Rc::clone(&self.wire),
            Rc::clone(&self.signer),
            inbound,
            call,
            (
                info.etag.clone(),
                info.headers.get("x-amz-version-id").cloned(),
            ),
            range,
        )
    }

    /// `HeadObject` of one part: the object, and which of its bytes the part has.
    ///
    /// # Errors
    ///
    /// As [`S3Store::head`]; `InvalidPartNumber`; `NotImplemented` from a store that takes no notice of part numbers.
    pub async fn head_part(
        &self,
        at: &Location,
        number: u16,
        conditions: &Conditions,
    ) -> Result<(ObjectInfo, Range<u64>), BackendError> {
        let mut call = self.call_on_part(Method::HEAD, at, number);
        conditions.to_headers(&mut call.headers);
        let sent = self.send(&mut call).await;
        let mut inbound = sent.map_err(|e| bodiless_at(e, at))?;
        let head = std::mem::take(&mut inbound.head.headers);
        let status = inbound.head.status;
        self.wire.finish(inbound);
        check_version(at, &head)?;
        let (range, len) = extent(status, &head)?;
        check_part(status, number, &head)?;
        Ok((headers::object_info(head, len)?, range))
    }

    /// `GetObject` of one part.
    ///
    /// # Errors
    ///
    /// As [`S3Store::head_part`].
    pub async fn get_part(
        &self,
        at: &Location,
        number: u16,
        conditions: &Conditions,
    ) -> Result<(ObjectInfo, Range<u64>, S3Body<C>), BackendError> {
        let mut call = self.call_on_part(Method::GET, at, number);
        conditions.to_headers(&mut call.headers);
        let mut inbound = self.send(&mut call).await?;
        let head = std::mem::take(&mut inbound.head.headers);
        check_version(at, &head)?;
        let (range, len) = extent(inbound.head.status, &head)?;
        check_part(inbound.head.status, number, &head)?;
        // Resumed, it is a range of the object like any other.
        call.query = std::mem::take(&mut self.call_on(Method::GET, at).query);
        let info = headers::object_info(head, len)?;
        let body = self.body(inbound, call, &info, range.clone());
        Ok((info, range, body))
    }

    fn call_on_part(&self, method: Method, at: &Location, number: u16) -> Call {
        let number = number.to_string();
        let mut query = vec![("partNumber", number.as_str())];
        query.extend(at.version.as_deref().map(|v| ("versionId", v)));
        self.call(method, &at.bucket, Some(&at.key), &query)
    }

    /// `PutObject` of exactly `len` bytes; a multipart upload when that is more than [`S3Options::put_limit`].
    ///
    /// [`S3Options::put_limit`]: super::S3Options::put_limit
    ///
    /// # Errors
    ///
    /// A condition that the store does not keep; the connection is opened by the first write.
    pub async fn put(
        &self,
        at: &Location,
        headers: &HeaderMap,
        conditions: &Conditions,
        len: u64,
    ) -> Result<S3Upload<C>, BackendError> {
        if len > self.options.put_limit {
            // Not when everything has been sent: now.
            self.conditions_of(Write::Complete, at, conditions).await?;
            return Ok(PartsUpload::new(self.clone(), at, headers, conditions, len).into());
        }
        let mut call = self.call(Method::PUT, &at.bucket, Some(&at.key), &[]);
        extend(&mut call.headers, headers);
        call.write_conditions(&self.conditions_of(Write::Put, at, conditions).await?);
        bare(self.options.preset, &mut call.headers);
        Ok(self.single_upload(call, len).into())
    }

    /// `DeleteObject`: a missing object is a success.
    ///
    /// # Errors
    ///
    /// The store's answer; a condition that it does not keep.
    pub async fn delete(
        &self,
        at: &Location,
        conditions: &Conditions,
    ) -> Result<HeaderMap, BackendError> {
        let mut call = self.call_on(Method::DELETE, at);
        call.write_conditions(&self.conditions_of(Write::Delete, at, conditions).await?);
        let (head, _) = self.fetch(&mut call).await?;
        Ok(headers::answer_headers(&head))
    }

    /// `CopyObject` inside the store, with all metadata replaced: no data moves through the gateway. The conditions on
    /// the source hold only where [`S3Store::pins_copies`] says so.
    ///
    /// # Errors
    ///
    /// The store's answer, also one inside a 200 (S3-TRAPS 12); a condition on the destination that it does not keep.
    pub async fn copy(&self, request: &CopyRequest, to: &Location) -> Result<Copied, BackendError> {
        let mut call = self.call(Method::PUT, &to.bucket, Some(&to.key), &[]);
        call.long = true;
        extend(&mut call.headers, &request.headers);
        call.write_conditions(
            &self
                .conditions_of(Write::Copy, to, &request.conditions)
                .await?,
        );
        request
            .source_conditions
            .copy_source_to_headers(&mut call.headers);
        if !request.source_conditions.is_empty() {
            // The source may be the destination.
            call.repeat = Repeat::IfNotDone;
        }
        set_copy_source(&mut call.headers, &request.source);
        call.headers.insert(
            "x-amz-metadata-directive",
            HeaderValue::from_static("REPLACE"),
        );
        headers::set(&mut call.headers, header::CONTENT_LENGTH, "0");
        let (head, body) = self.fetch(&mut call).await?;
        let result = sealgate_s3::xml::CopyResult::parse(&body)?;
        Ok(Copied {
            etag: result.etag,
            last_modified: result.last_modified,
            headers: headers::answer_headers(&head),
        })
    }
}

pub(super) fn extend(to: &mut HeaderMap, from: &HeaderMap) {
    for (name, value) in from {
        to.append(name.clone(), value.clone());
    }
}

/// Which bytes of the object an answer has, and how many there are in all.
fn extent(status: StatusCode, head: &HeaderMap) -> Result<(Range<u64>, u64), BackendError> {
    let length = headers::text(head, &header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
    if status != StatusCode::PARTIAL_CONTENT {
        let len = length.ok_or_else(|| BackendError::Protocol("GET without a length".into()))?;
        return Ok((0..len, len));
    }
    let (first, end, total) = headers::content_range(head)
        .ok_or_else(|| BackendError::Protocol("206 without a Content-Range".into()))?;
    if length.is_some_and(|length| length != end - first) {
        let what = "the store's Content-Length and Content-Range differ";
        return Err(BackendError::Protocol(what.into()));
    }
    Ok((first..end, total))
}

/// An object that was not uploaded in parts may be answered whole as its part 1; anything else comes from a store that
/// has overlooked the part number.
fn check_part(status: StatusCode, number: u16, head: &HeaderMap) -> Result<(), BackendError> {
    let in_parts = || headers::etag(head).is_some_and(|etag| etag.contains('-'));
    if status == StatusCode::PARTIAL_CONTENT || number == 1 && !in_parts() {
        return Ok(());
    }
    let what = "The store behind this gateway takes no notice of part numbers.";
    Err(S3Error::with_message(ErrorCode::NotImplemented, what).into())
}

/// Names where a copy comes from.
pub(super) fn set_copy_source(headers: &mut HeaderMap, source: &Location) {
    let version = source.version.as_deref();
    let value = copy_source::header_value(&source.bucket, source.key.as_ref(), version);
    headers.insert(copy_source::HEADER, value);
}

/// A store that takes no notice of version ids (SeaweedFS in a bucket that never had versions) answers with another
/// version than was asked for: it has no such one. Only `null` may go unnamed.
fn check_version(at: &Location, head: &HeaderMap) -> Result<(), BackendError> {
    let Some(asked) = at.version.as_deref() else {
        return Ok(());
    };
    match head.get("x-amz-version-id").map(HeaderValue::as_bytes) {
        Some(found) if found == asked.as_bytes() => Ok(()),
        None if asked == "null" => Ok(()),
        _ => Err(S3Error::new(ErrorCode::NoSuchVersion)
            .detail("VersionId", asked)
            .into()),
    }
}

/// [`bodiless`] of a request about an object or a version of it.
fn bodiless_at(error: BackendError, at: &Location) -> BackendError {
    let Some(version) = &at.version else {
        return bodiless(error, ErrorCode::NoSuchKey);
    };
    match error {
        BackendError::Answer(e) if e.code == ErrorCode::BadRequest => {
            let message = "Invalid version id specified";
            S3Error::invalid_argument(message, "versionId", version).into()
        }
        e => bodiless(e, ErrorCode::NoSuchVersion),
    }
}

/// HEAD answers have no body to name their error: 404 means the key or bucket is missing.
pub(super) fn bodiless(error: BackendError, missing: ErrorCode) -> BackendError {
    match error {
        BackendError::Answer(e) => BackendError::Answer(match e.code.status() {
            StatusCode::NOT_FOUND => S3Error {
                headers: e.headers,
                ..S3Error::new(missing)
            },
            StatusCode::FORBIDDEN => S3Error::new(ErrorCode::AccessDenied),
            StatusCode::PRECONDITION_FAILED => S3Error::new(ErrorCode::PreconditionFailed),
            _ => e,
        }),
        other => other,
    }
}
