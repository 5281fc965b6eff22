//! What re-wrapping needs besides: versions, tags, and copies of ranges of large objects.

use std::ops::Range;

use http::{Method, header};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::xml::{CopyResult, ListVersionsResult, Tagging, Versioning};
use sealgate_uring::Connector;

use super::object::set_copy_source;
use super::wire::Repeat;
use super::{S3Store, headers};
use crate::types::{
    BackendError, CompletedPart, Location, ObjectInfo, VersionsPage, VersionsRequest,
};

impl<C: Connector> S3Store<C> {
    /// Longest body of one `PutObject`, bytes.
    #[must_use]
    pub fn put_limit(&self) -> u64 {
        self.options.put_limit
    }

    /// `HeadObject` of one version.
    ///
    /// # Errors
    ///
    /// As [`S3Store::head`].
    pub async fn head_version(
        &self,
        at: &Location,
        version_id: &str,
    ) -> Result<ObjectInfo, BackendError> {
        let at = at.at_version(Some(version_id.to_owned()));
        self.head(&at, &Conditions::default()).await
    }

    /// `DeleteObject` of one version: it is gone for good.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn delete_version(
        &self,
        at: &Location,
        version_id: &str,
    ) -> Result<(), BackendError> {
        let query = [("versionId", version_id)];
        let mut call = self.call(Method::DELETE, &at.bucket, Some(&at.key), &query);
        self.fetch(&mut call).await.map(|_| ())
    }

    /// `GetBucketVersioning`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn versioning(&self, bucket: &str) -> Result<Versioning, BackendError> {
        let mut call = self.call(Method::GET, bucket, None, &[("versioning", "")]);
        let (_, body) = self.fetch(&mut call).await?;
        Ok(Versioning::parse(&body)?)
    }

    /// `ListObjectVersions`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn list_versions(
        &self,
        bucket: &str,
        request: &VersionsRequest,
    ) -> Result<VersionsPage, BackendError> {
        let prefix = String::from_utf8_lossy(&request.prefix);
        let delimiter = String::from_utf8_lossy(&request.delimiter);
        let max_keys = match request.max_keys {
            0 => 1000,
            n => n,
        };
        let max_keys = max_keys.to_string();
        let mut query = vec![
            ("versions", ""),
            ("encoding-type", "url"),
            ("max-keys", &max_keys),
            ("prefix", &prefix),
        ];
        if !delimiter.is_empty() {
            query.push(("delimiter", &delimiter));
        }
        let key_marker;
        if let Some((key, version_id)) = &request.after {
            key_marker = String::from_utf8_lossy(key);
            query.push(("key-marker", &key_marker));
            if !version_id.is_empty() {
                query.push(("version-id-marker", version_id));
            }
        }
        let mut call = self.call(Method::GET, bucket, None, &query);
        let (_, body) = self.fetch(&mut call).await?;
        let list = ListVersionsResult::parse(&body.into())?;
        if list.is_truncated && list.next.is_none() {
            let what = "a truncated listing of versions without a marker";
            return Err(BackendError::Protocol(what.into()));
        }
        Ok(VersionsPage {
            next: list.next.filter(|_| list.is_truncated),
            versions: list.versions,
            common_prefixes: list.common_prefixes,
        })
    }

    /// `GetObjectTagging`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn tagging(&self, at: &Location) -> Result<Tagging, BackendError> {
        let mut query = vec![("tagging", "")];
        if let Some(version) = &at.version {
            query.push(("versionId", version));
        }
        let mut call = self.call(Method::GET, &at.bucket, Some(&at.key), &query);
        let (_, body) = self.fetch(&mut call).await?;
        Ok(Tagging::parse(&body)?)
    }

    /// `UploadPartCopy` of `range` of `source` as part `number` of an upload: no data moves through the gateway.
    ///
    /// # Errors
    ///
    /// The store's answer, also one inside a 200 (S3-TRAPS 12).
    pub async fn copy_part(
        &self,
        (source, conditions): (&Location, &Conditions),
        range: Range<u64>,
        to: &Location,
        upload_id: &str,
        number: u16,
    ) -> Result<CompletedPart, BackendError> {
        let text = number.to_string();
        let query = [("partNumber", text.as_str()), ("uploadId", upload_id)];
        let mut call = self.call(Method::PUT, &to.bucket, Some(&to.key), &query);
        call.long = true;
        // A part that is copied twice is the same part.
        call.repeat = Repeat::Always;
        conditions.copy_source_to_headers(&mut call.headers);
        set_copy_source(&mut call.headers, source);
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let name = header::HeaderName::from_static("x-amz-copy-source-range");
        headers::set(&mut call.headers, name, &bytes);
        headers::set(&mut call.headers, header::CONTENT_LENGTH, "0");
        let (_, body) = self.fetch(&mut call).await?;
        let copied = CopyResult::parse(&body)?;
        Ok(CompletedPart {
            number,
            etag: copied.etag,
            checksum: copied.checksum,
        })
    }
}
