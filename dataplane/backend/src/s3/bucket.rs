//! Operations on buckets: making, listing, emptying.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use sealgate_s3::checksum::md5;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::{
    DeleteRequest, DeleteResult, ListAllMyBuckets, ListMultipartUploadsResult, ListObjectsResult,
    LocationConstraint, ObjectToDelete, Owner,
};
use sealgate_uring::Connector;

use super::object::bodiless;
use super::wire::Repeat;
use super::{S3Store, headers};
use crate::types::{
    BackendError, BucketInfo, DeleteOutcome, ListPage, ListRequest, ToDelete, UploadInfo,
    UploadsPage, UploadsRequest,
};

impl<C: Connector> S3Store<C> {
    /// `ListBuckets`, and whose they are.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn list_buckets(&self) -> Result<(Option<Owner>, Vec<BucketInfo>), BackendError> {
        let mut call = self.call(Method::GET, "", None, &[]);
        let (_, body) = self.fetch(&mut call).await?;
        let list = ListAllMyBuckets::parse(&body)?;
        let buckets = list.buckets.into_iter().map(|b| BucketInfo {
            name: b.name,
            created: b.created,
            region: b.region,
        });
        let owner = Some(list.owner).filter(|owner| !owner.id.is_empty());
        Ok((owner, buckets.collect()))
    }

    /// `CreateBucket`, with the client's headers and body as they are. Gives the headers that describe the bucket.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn create_bucket(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<HeaderMap, BackendError> {
        let mut call = self.call(Method::PUT, name, None, &[]);
        super::object::extend(&mut call.headers, headers);
        call.body = body.to_vec();
        headers::set(
            &mut call.headers,
            header::CONTENT_LENGTH,
            &body.len().to_string(),
        );
        // Done twice it is an error the second time.
        call.repeat = Repeat::IfNotDone;
        let (head, _) = self.fetch(&mut call).await?;
        let mut kept = HeaderMap::new();
        if let Some(arn) = head.get("x-amz-bucket-arn") {
            kept.insert("x-amz-bucket-arn", arn.clone());
        }
        Ok(kept)
    }

    /// `DeleteBucket`.
    ///
    /// # Errors
    ///
    /// The store's answer, `BucketNotEmpty` among them.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), BackendError> {
        let mut call = self.call(Method::DELETE, name, None, &[]);
        call.repeat = Repeat::IfNotDone;
        self.fetch(&mut call).await.map(|_| ())
    }

    /// `HeadBucket`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn head_bucket(&self, name: &str) -> Result<HeaderMap, BackendError> {
        let mut call = self.call(Method::HEAD, name, None, &[]);
        let (head, _) = self
            .fetch(&mut call)
            .await
            .map_err(|e| bodiless(e, ErrorCode::NoSuchBucket))?;
        let mut kept = HeaderMap::new();
        if let Some(region) = head.get("x-amz-bucket-region") {
            kept.insert("x-amz-bucket-region", region.clone());
        }
        Ok(kept)
    }

    /// `GetBucketLocation`: empty for `us-east-1`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn bucket_location(&self, name: &str) -> Result<String, BackendError> {
        let mut call = self.call(Method::GET, name, None, &[("location", "")]);
        let (_, body) = self.fetch(&mut call).await?;
        Ok(LocationConstraint::parse(&body)?.0)
    }

    /// `ListObjectsV2`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn list(
        &self,
        bucket: &str,
        request: &ListRequest,
    ) -> Result<ListPage, BackendError> {
        let max_keys = request.max_keys.to_string();
        let prefix = text(&request.prefix);
        let delimiter = text(&request.delimiter);
        let start_after = text(&request.start_after);
        let mut query = vec![
            ("list-type", "2"),
            ("encoding-type", "url"),
            ("max-keys", max_keys.as_str()),
            ("prefix", &prefix),
        ];
        if !delimiter.is_empty() {
            query.push(("delimiter", &delimiter));
        }
        if !start_after.is_empty() {
            query.push(("start-after", &start_after));
        }
        if let Some(token) = &request.continuation {
            query.push(("continuation-token", token));
        }
        if request.fetch_owner {
            query.push(("fetch-owner", "true"));
        }
        let mut call = self.call(Method::GET, bucket, None, &query);
        let (_, body) = self.fetch(&mut call).await?;
        let list = ListObjectsResult::parse(&body.into())?;
        let next = list.next_continuation_token().map(str::to_owned);
        if list.is_truncated && next.is_none() {
            return Err(BackendError::Protocol(
                "a truncated listing without a token".into(),
            ));
        }
        Ok(ListPage {
            next: next.filter(|_| list.is_truncated),
            objects: list.contents,
            common_prefixes: list.common_prefixes,
        })
    }

    /// `ListMultipartUploads`.
    ///
    /// # Errors
    ///
    /// The store's answer.
    pub async fn list_uploads(
        &self,
        bucket: &str,
        request: &UploadsRequest,
    ) -> Result<UploadsPage, BackendError> {
        let max_uploads = request.max_uploads.to_string();
        let prefix = text(&request.prefix);
        let delimiter = text(&request.delimiter);
        let key_marker = text(&request.key_marker);
        let mut query = vec![
            ("uploads", ""),
            ("max-uploads", max_uploads.as_str()),
            ("prefix", &prefix),
        ];
        if !delimiter.is_empty() {
            query.push(("delimiter", &delimiter));
        }
        if !key_marker.is_empty() {
            query.push(("key-marker", &key_marker));
            query.push(("upload-id-marker", &request.upload_id_marker));
        }
        let mut call = self.call(Method::GET, bucket, None, &query);
        let (_, body) = self.fetch(&mut call).await?;
        let mut list = ListMultipartUploadsResult::parse(&body)?;
        if list.uploads.iter().any(|u| is_mangled(&u.key)) {
            // Only so can such keys be told. Not asked for without need: SeaweedFS says that it encodes, and does not.
            query.push(("encoding-type", "url"));
            let mut call = self.call(Method::GET, bucket, None, &query);
            list = ListMultipartUploadsResult::parse(&self.fetch(&mut call).await?.1)?;
        }
        Ok(UploadsPage {
            next: list.next.filter(|_| list.is_truncated),
            uploads: list
                .uploads
                .into_iter()
                .map(|u| UploadInfo {
                    key: u.key,
                    upload_id: u.upload_id,
                    initiated: u.initiated,
                })
                .collect(),
            common_prefixes: list.common_prefixes,
        })
    }

    /// `DeleteObjects`: the outcome of each key, in order.
    ///
    /// # Errors
    ///
    /// The store's answer to the request as a whole.
    pub async fn delete_many(
        &self,
        bucket: &str,
        objects: &[ToDelete],
    ) -> Result<Vec<Result<DeleteOutcome, S3Error>>, BackendError> {
        let request = DeleteRequest {
            objects: objects
                .iter()
                .map(|object| ObjectToDelete {
                    key: object.key.as_bytes().clone(),
                    version_id: object.version.clone(),
                    ..ObjectToDelete::default()
                })
                .collect(),
            quiet: false,
        };
        let mut call = self.call(Method::POST, bucket, None, &[("delete", "")]);
        call.body = request.to_xml();
        call.repeat = Repeat::Always;
        let digest = STANDARD.encode(md5(&call.body));
        headers::set(
            &mut call.headers,
            header::HeaderName::from_static("content-md5"),
            &digest,
        );
        let (_, body) = self.fetch(&mut call).await?;
        let result = DeleteResult::parse(&body)?;
        // By key and version: a key may be named several times, once for each of its versions.
        let asked: HashSet<(&[u8], &str)> = objects
            .iter()
            .filter_map(|o| Some((&o.key.as_bytes()[..], o.version.as_deref()?)))
            .collect();
        let mut outcomes: HashMap<(Bytes, Option<String>), Result<DeleteOutcome, S3Error>> = result
            .deleted
            .into_iter()
            .map(|d| {
                // SeaweedFS names a delete marker that it removed only as such, not as the version that was asked for.
                let marker = d.delete_marker_version_id.clone();
                let version = (d.version_id)
                    .or_else(|| marker.filter(|marker| asked.contains(&(&d.key[..], marker))));
                let outcome = DeleteOutcome {
                    delete_marker: d.delete_marker,
                    delete_marker_version: d.delete_marker_version_id,
                };
                ((d.key, version), Ok(outcome))
            })
            .collect();
        for e in result.errors {
            let code = ErrorCode::from_backend(http::StatusCode::FORBIDDEN, &e.code);
            let error = S3Error::with_message(code, e.message);
            outcomes.insert((e.key, e.version_id), Err(error));
        }
        Ok(objects
            .iter()
            .map(|object| {
                let key = object.key.as_bytes();
                let unnamed = || outcomes.get(&(key.clone(), None));
                outcomes
                    .get(&(key.clone(), object.version.clone()))
                    // Not every store repeats the version.
                    .or_else(|| unnamed().filter(|_| named_once(objects, key)))
                    .cloned()
                    // A store that is silent about an object has not said that it is gone.
                    .unwrap_or_else(|| Err(S3Error::new(ErrorCode::InternalError)))
            })
            .collect())
    }
}

fn named_once(objects: &[ToDelete], key: &Bytes) -> bool {
    objects
        .iter()
        .filter(|o| o.key.as_bytes() == key)
        .nth(1)
        .is_none()
}

/// Whether a key has lost a character that XML cannot hold: stores put U+FFFD in its place.
fn is_mangled(key: &Bytes) -> bool {
    memchr::memmem::find(key, "\u{fffd}".as_bytes()).is_some()
}

/// Keys are UTF-8 in S3.
fn text(bytes: &Bytes) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
