//! Multipart uploads.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue, Method, header};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::xml::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, InitiateMultipartUploadResult,
    ListPartsResult,
};
use sealgate_uring::Connector;

use super::conditional::Write;
use super::object::extend;
use super::upload::SingleUpload;
use super::wire::Call;
use super::{S3Store, S3Upload, headers};
use crate::types::{
    BackendError, CompletedPart, CreatedUpload, Location, PartInfo, PartsPage, Stored,
};

impl<C: Connector> S3Store<C> {
    /// `CreateMultipartUpload`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn create_upload(
        &self,
        at: &Location,
        headers: &HeaderMap,
    ) -> Result<CreatedUpload, BackendError> {
        let mut call = self.call(Method::POST, &at.bucket, Some(&at.key), &[("uploads", "")]);
        extend(&mut call.headers, headers);
        if let Some(sum) = self.options.checksum {
            // Of the whole object rather than of its parts' checksums: so Complete need not name those.
            for (name, value) in [
                ("x-amz-checksum-algorithm", sum.as_str()),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ] {
                call.headers.insert(name, HeaderValue::from_static(value));
            }
        }
        let (head, body) = self.fetch(&mut call).await?;
        Ok(CreatedUpload {
            id: InitiateMultipartUploadResult::parse(&body)?.upload_id,
            headers: headers::answer_headers(&head),
        })
    }

    /// `UploadPart` of exactly `len` bytes.
    ///
    /// # Errors
    ///
    /// None yet: the connection is opened by the first write.
    pub async fn put_part(
        &self,
        at: &Location,
        upload_id: &str,
        number: u16,
        len: u64,
    ) -> Result<S3Upload<C>, BackendError> {
        Ok(self.part_upload(at, upload_id, number, len).into())
    }

    pub(super) fn part_upload(
        &self,
        at: &Location,
        upload_id: &str,
        number: u16,
        len: u64,
    ) -> SingleUpload<C> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload_id)];
        self.single_upload(
            self.call(Method::PUT, &at.bucket, Some(&at.key), &query),
            len,
        )
    }

    pub(super) fn single_upload(&self, call: Call, len: u64) -> SingleUpload<C> {
        let (wire, signer) = (Rc::clone(&self.wire), Rc::clone(&self.signer));
        SingleUpload::new(wire, signer, call, &self.options, len)
    }

    /// `ListParts` after number `after`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn list_parts(
        &self,
        at: &Location,
        upload_id: &str,
        after: u16,
        max: usize,
    ) -> Result<PartsPage, BackendError> {
        let (after, max) = (after.to_string(), max.to_string());
        let query = [
            ("uploadId", upload_id),
            ("max-parts", max.as_str()),
            ("part-number-marker", after.as_str()),
        ];
        let mut call = self.call(Method::GET, &at.bucket, Some(&at.key), &query);
        let (head, body) = self.fetch(&mut call).await?;
        let list = ListPartsResult::parse(&body)?;
        let parts: Vec<PartInfo> = list
            .parts
            .into_iter()
            .map(|p| PartInfo {
                number: p.number,
                len: p.size,
                etag: p.etag,
                checksum: p.checksum,
                last_modified: p.last_modified,
            })
            .collect();
        let last = parts.last().map(|p| p.number);
        Ok(PartsPage {
            parts,
            next: last.filter(|_| list.is_truncated),
            headers: headers::answer_headers(&head),
        })
    }

    /// `AbortMultipartUpload`.
    ///
    /// # Errors
    ///
    /// The store's answer, `NoSuchUpload` among them.
    pub async fn abort_upload(&self, at: &Location, upload_id: &str) -> Result<(), BackendError> {
        let mut call = self.call(
            Method::DELETE,
            &at.bucket,
            Some(&at.key),
            &[("uploadId", upload_id)],
        );
        self.fetch(&mut call).await.map(|_| ())
    }

    /// `CompleteMultipartUpload`. Not repeated here when its answer is lost: the caller can tell whether it took
    /// effect, by the object's metadata.
    ///
    /// # Errors
    ///
    /// The store's answer, also one inside a 200 (S3-TRAPS 12); a condition that it does not keep.
    pub async fn complete_upload(
        &self,
        at: &Location,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: &Conditions,
    ) -> Result<Stored, BackendError> {
        let mut call = self.call(
            Method::POST,
            &at.bucket,
            Some(&at.key),
            &[("uploadId", upload_id)],
        );
        self.conditions_of(Write::Complete, at, conditions)
            .await?
            .to_headers(&mut call.headers);
        headers::set(&mut call.headers, header::CONTENT_TYPE, "application/xml");
        call.long = true;
        call.body = CompleteMultipartUpload {
            parts: parts
                .iter()
                .map(|p| sealgate_s3::xml::CompletedPart {
                    number: p.number,
                    etag: p.etag.clone(),
                    // Only where the upload has announced them, which it has not before the option was set.
                    checksum: p
                        .checksum
                        .filter(|sum| Some(sum.algorithm()) == self.options.checksum)
                        .map(|sum| (sum.algorithm(), sum.to_base64())),
                })
                .collect(),
        }
        .to_xml();
        let (head, body) = self.fetch(&mut call).await?;
        let result = CompleteMultipartUploadResult::parse(&body)?;
        let mut etag = result.etag;
        if etag.is_empty() {
            // Some stores answer without one (S3-TRAPS 32).
            etag = self.head(at, &Conditions::default()).await?.etag;
        }
        Ok(Stored {
            etag,
            checksum: None,
            headers: headers::answer_headers(&head),
        })
    }
}
