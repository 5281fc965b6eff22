//! Tags of objects: in the record of each, as `x-amz-tagging`, so that one rename publishes body, metadata and tags.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::xml::Tagging;

use super::clone::Assembly;
use super::copy::{Outcome, SELF_COPY_ATTEMPTS};
use super::error::answer;
use super::record::Record;
use super::{FsStore, Result};
use crate::types::{CopyRequest, Location};

pub(super) const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");
const DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-tagging-directive");
const COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");

/// The tags that headers name.
pub(super) fn of(headers: &HeaderMap) -> Result<Tagging> {
    let Some(value) = headers.get(TAGGING) else {
        return Ok(Tagging::default());
    };
    let text = value.to_str().map_err(|_| answer(ErrorCode::InvalidTag))?;
    Ok(Tagging::of_header(text)?)
}

/// Says how many tags an object has, as reads do.
pub(super) fn count(headers: &mut HeaderMap) {
    if let Ok(tags) = of(headers)
        && !tags.0.is_empty()
    {
        headers.insert(COUNT, HeaderValue::from(tags.0.len()));
    }
}

/// The headers of a copy: its own, and the source's tags unless it says otherwise.
pub(super) fn of_copy(asked: &HeaderMap, source: &HeaderMap) -> HeaderMap {
    let mut headers = asked.clone();
    let replace = headers.remove(DIRECTIVE).is_some_and(|d| d == "REPLACE");
    if !replace {
        headers.remove(TAGGING);
        headers.extend(source.get(TAGGING).map(|tags| (TAGGING, tags.clone())));
    }
    headers
}

impl FsStore {
    /// Replaces an object's tags. The body is copied where its blocks cannot be shared; ETag and time stay.
    pub(super) async fn retag(&self, at: &Location, tags: &Tagging) -> Result<()> {
        let request = CopyRequest {
            source: at.clone(),
            source_conditions: Conditions::default(),
            conditions: Conditions::default(),
            headers: HeaderMap::new(),
        };
        let value = tags.to_header().and_then(|v| HeaderValue::try_from(v).ok());
        for _ in 0..SELF_COPY_ATTEMPTS {
            let (source, was, len) = self.open_source(&request, at).await?;
            let mut copy = Assembly::begin(&self.shared).await?;
            copy.append(source, len).await?;
            let mut headers = was.headers;
            headers.remove(TAGGING);
            headers.extend(value.clone().map(|value| (TAGGING, value)));
            let record = Record {
                etag: was.etag.clone(),
                modified: was.modified,
                key: Vec::new(),
                headers,
            };
            let (temp, _) = copy.finish_as(record).await?;
            let published = self.publish_copy(temp, at, &request.conditions, Some(was.etag));
            if let Outcome::Done = published.await? {
                return Ok(());
            }
        }
        Err(answer(ErrorCode::OperationAborted))
    }
}
