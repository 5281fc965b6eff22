//! Requests to the store under the scratch prefix, answered alike by an S3 store and by a directory.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sealgate_backend::s3::RawRequest;
use sealgate_backend::types::{
    BackendError, CompletedPart, CopyRequest, GetRequest, ListRequest, Location, UploadsRequest,
    VersionsRequest,
};
use sealgate_backend::{Store, Upload};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::S3Error;
use sealgate_s3::route::{RawKey, encode_key};
use sealgate_s3::xml::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, CopyResult,
    InitiateMultipartUploadResult,
};
use sealgate_uring::{BlockSize, Spans, StoreConnector};

use crate::scan::CommandCore;

/// Longest wait for a buffer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where everything is tried.
pub(super) struct Target {
    pub(super) core: Rc<CommandCore>,
    pub(super) bucket: String,
    pub(super) prefix: String,
    /// Told to end.
    pub(super) stop: Arc<AtomicBool>,
}

/// What a store says: its status, and its error code or what was asked for.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Of an error.
    pub(super) code: String,
    pub(super) etag: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// In words: the code of an error.
    pub(super) fn said(&self) -> String {
        match self.is_ok() {
            true => format!("{}", self.status),
            false => format!("{} {}", self.status, self.code),
        }
    }

    pub(super) fn error(error: BackendError) -> Result<Self, String> {
        match error {
            BackendError::Answer(e) => Ok(Self {
                status: e.code.status().as_u16(),
                code: e.code.as_str().to_owned(),
                ..Self::default()
            }),
            BackendError::NotModified(_) => Ok(Self {
                status: 304,
                ..Self::default()
            }),
            other => Err(other.to_string()),
        }
    }

    pub(super) fn done(etag: String) -> Self {
        Self {
            status: 200,
            etag,
            ..Self::default()
        }
    }
}

/// An answer, or why there is none.
pub(super) type Outcome = Result<Answer, String>;

/// Headers from text; both sides are this program's own.
pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::try_from(*name).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        })
        .collect()
}

impl Target {
    /// `name` under the scratch prefix.
    pub(super) fn at(&self, name: &str) -> Result<Location, String> {
        let key = Bytes::from(format!("{}{name}", self.prefix));
        let key = RawKey::new(key).map_err(|e| e.to_string())?;
        Ok(Location::new(self.bucket.clone(), key))
    }

    /// Whether the store speaks S3.
    pub(super) fn is_s3(&self) -> bool {
        matches!(self.core.store, Store::S3(_))
    }

    pub(super) fn go_on(&self) -> Result<(), String> {
        match self.stop.load(Ordering::Acquire) {
            true => Err("interrupted".into()),
            false => Ok(()),
        }
    }

    /// A request of S3's, as it is.
    pub(super) async fn raw(
        &self,
        method: Method,
        name: Option<&str>,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Outcome {
        let trailer = headers.contains_key("x-amz-trailer");
        let Store::S3(s3) = &self.core.store else {
            return Err("a directory knows no such request".into());
        };
        self.go_on()?;
        let at = name.map(|name| self.at(name)).transpose()?;
        let request = RawRequest {
            method,
            bucket: &self.bucket,
            key: at.as_ref().map(|at| &at.key),
            query,
            headers,
            body,
            trailer,
        };
        let raw = s3.raw(request).await.map_err(|e| e.to_string())?;
        let (mut status, mut code) = (raw.status.as_u16(), String::new());
        if !raw.status.is_success() {
            code = S3Error::from_backend_xml(raw.status, &raw.body)
                .code
                .as_str()
                .to_owned();
        } else if raw.body.windows(7).any(|w| w == b"<Error>") {
            // A 200 with an error inside.
            let error = S3Error::from_backend_xml(http::StatusCode::CONFLICT, &raw.body);
            (status, code) = (error.code.status().as_u16(), error.code.as_str().to_owned());
        }
        let etag = raw.headers.get("etag").and_then(|v| v.to_str().ok());
        let etag = etag.unwrap_or("").trim_matches('"').to_owned();
        Ok(Answer {
            status,
            code,
            etag,
            headers: raw.headers,
            body: raw.body,
        })
    }

    pub(super) async fn put(&self, name: &str, headers: HeaderMap, body: &[u8]) -> Outcome {
        if self.is_s3() {
            return self
                .raw(Method::PUT, Some(name), &[], headers, body.to_vec())
                .await;
        }
        let (conditions, headers) = split(&headers)?;
        let at = self.at(name)?;
        let upload = self
            .core
            .store
            .put(&at, &headers, &conditions, body.len() as u64);
        self.send(upload.await, body).await
    }

    /// Sends a body that fits into a block.
    async fn send(
        &self,
        upload: Result<Upload<StoreConnector>, BackendError>,
        body: &[u8],
    ) -> Outcome {
        self.go_on()?;
        let upload = match upload {
            Ok(upload) => upload,
            Err(e) => return Answer::error(e),
        };
        let size = BlockSize::holding(body.len());
        let leased = self.core.pool.lease::<1>(size, PATIENCE).await;
        let [mut block] = leased.map_err(|_| "no buffer is free".to_owned())?;
        let room = block
            .get_mut(..body.len())
            .ok_or("a body is longer than a buffer")?;
        room.copy_from_slice(body);
        match upload.finish(block, Spans::contiguous(0..body.len())).await {
            (Ok(stored), _) => Ok(Answer::done(stored.etag)),
            (Err(e), _) => Answer::error(e),
        }
    }

    pub(super) async fn head(&self, name: &str) -> Outcome {
        let found = self
            .core
            .store
            .head(&self.at(name)?, &Conditions::default())
            .await;
        match found {
            Ok(info) => Ok(Answer {
                headers: info.headers,
                ..Answer::done(info.etag)
            }),
            Err(e) => Answer::error(e),
        }
    }

    /// An object of at most a few bytes.
    pub(super) async fn get(&self, name: &str, headers: HeaderMap) -> Outcome {
        if self.is_s3() {
            return self
                .raw(Method::GET, Some(name), &[], headers, Vec::new())
                .await;
        }
        let request = GetRequest {
            range: None,
            conditions: Conditions::from_headers(&headers).map_err(|e| e.to_string())?,
        };
        let (info, _, mut body) = match self.core.store.get(&self.at(name)?, &request).await {
            Ok(found) => found,
            Err(e) => return Answer::error(e),
        };
        let leased = self
            .core
            .pool
            .lease::<1>(BlockSize::holding(4096), PATIENCE)
            .await;
        let [mut block] = leased.map_err(|_| "no buffer is free".to_owned())?;
        let mut bytes = Vec::new();
        loop {
            let room = Spans::contiguous(0..block.len());
            let (read, back) = body.read(block, room).await;
            block = back;
            match read {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&block[..n]),
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(Answer {
            headers: info.headers,
            body: bytes,
            ..Answer::done(info.etag)
        })
    }

    pub(super) async fn delete(&self, name: &str, headers: HeaderMap) -> Outcome {
        if self.is_s3() {
            return self
                .raw(Method::DELETE, Some(name), &[], headers, Vec::new())
                .await;
        }
        let (conditions, _) = split(&headers)?;
        match self.core.store.delete(&self.at(name)?, &conditions).await {
            Ok(_) => Ok(Answer::done(String::new())),
            Err(e) => Answer::error(e),
        }
    }

    /// A copy with other metadata, on `source` conditions and `headers`, which may hold conditions too.
    pub(super) async fn copy(
        &self,
        from: &str,
        to: &str,
        source: &Conditions,
        headers: HeaderMap,
    ) -> Outcome {
        let (conditions, mut own) = split(&headers)?;
        let metadata = HeaderName::from_static("x-amz-meta-copied");
        own.insert(metadata, HeaderValue::from_static("yes"));
        let request = CopyRequest {
            source: self.at(from)?,
            source_conditions: source.clone(),
            conditions,
            headers: own,
        };
        if !self.is_s3() {
            return match self.core.store.copy(&request, &self.at(to)?).await {
                Ok(copied) => Ok(Answer::done(copied.etag)),
                Err(e) => Answer::error(e),
            };
        }
        let mut all = request.headers;
        request.conditions.to_headers(&mut all);
        request.source_conditions.copy_source_to_headers(&mut all);
        let mut source = format!("/{}/", self.bucket).into_bytes();
        encode_key(request.source.key.as_ref(), &mut source);
        let source = String::from_utf8_lossy(&source).into_owned();
        for (name, value) in [
            ("x-amz-copy-source", source.as_str()),
            ("x-amz-metadata-directive", "REPLACE"),
        ] {
            all.extend(headers_of(name, value));
        }
        let mut answer = self
            .raw(Method::PUT, Some(to), &[], all, Vec::new())
            .await?;
        if answer.is_ok() {
            let result = CopyResult::parse(&answer.body).map_err(|e| e.to_string())?;
            answer.etag = result.etag;
        }
        Ok(answer)
    }

    pub(super) async fn create_upload(&self, name: &str) -> Result<String, String> {
        let at = self.at(name)?;
        if !self.is_s3() {
            let made = self.core.store.create_upload(&at, &HeaderMap::new()).await;
            return made.map(|made| made.id).map_err(|e| e.to_string());
        }
        let answer = self
            .raw(
                Method::POST,
                Some(name),
                &[("uploads", "")],
                HeaderMap::new(),
                Vec::new(),
            )
            .await?;
        if !answer.is_ok() {
            return Err(format!("CreateMultipartUpload: {}", answer.said()));
        }
        let result =
            InitiateMultipartUploadResult::parse(&answer.body).map_err(|e| e.to_string())?;
        Ok(result.upload_id)
    }

    pub(super) async fn part(
        &self,
        name: &str,
        upload: &str,
        number: u16,
        body: &[u8],
    ) -> Result<CompletedPart, String> {
        let answer = if self.is_s3() {
            let text = number.to_string();
            let query = [("partNumber", text.as_str()), ("uploadId", upload)];
            self.raw(
                Method::PUT,
                Some(name),
                &query,
                HeaderMap::new(),
                body.to_vec(),
            )
            .await?
        } else {
            let at = self.at(name)?;
            let part = self
                .core
                .store
                .put_part(&at, upload, number, body.len() as u64);
            self.send(part.await, body).await?
        };
        match answer.is_ok() {
            true => Ok(CompletedPart {
                number,
                etag: answer.etag,
                checksum: None,
            }),
            false => Err(format!("UploadPart: {}", answer.said())),
        }
    }

    pub(super) async fn complete(
        &self,
        name: &str,
        upload: &str,
        parts: &[CompletedPart],
        headers: HeaderMap,
    ) -> Outcome {
        if !self.is_s3() {
            let (conditions, _) = split(&headers)?;
            let at = self.at(name)?;
            let done = self
                .core
                .store
                .complete_upload(&at, upload, parts, &conditions);
            return match done.await {
                Ok(stored) => Ok(Answer::done(stored.etag)),
                Err(e) => Answer::error(e),
            };
        }
        let list = CompleteMultipartUpload {
            parts: parts
                .iter()
                .map(|p| sealgate_s3::xml::CompletedPart {
                    number: p.number,
                    etag: p.etag.clone(),
                    checksum: None,
                })
                .collect(),
        };
        let mut all = headers;
        all.extend(headers_of("content-type", "application/xml"));
        let query = [("uploadId", upload)];
        let mut answer = self
            .raw(Method::POST, Some(name), &query, all, list.to_xml())
            .await?;
        if answer.is_ok() {
            let result =
                CompleteMultipartUploadResult::parse(&answer.body).map_err(|e| e.to_string())?;
            answer.etag = result.etag;
        }
        Ok(answer)
    }

    pub(super) async fn abort(&self, name: &str, upload: &str) -> Result<(), String> {
        match self.core.store.abort_upload(&self.at(name)?, upload).await {
            Ok(()) | Err(BackendError::Answer(_)) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Names under `prefix` of the scratch prefix, in the store's order, `page` at a time.
    pub(super) async fn list(&self, prefix: &str, page: usize) -> Result<Vec<Vec<u8>>, String> {
        self.go_on()?;
        let mut request = ListRequest {
            prefix: Bytes::from(format!("{}{prefix}", self.prefix)),
            max_keys: page,
            ..ListRequest::default()
        };
        let mut names = Vec::new();
        loop {
            let listed = self.core.store.list(&self.bucket, &request).await;
            let listed = listed.map_err(|e| format!("ListObjectsV2: {e}"))?;
            for object in &listed.objects {
                let name = object.key.get(self.prefix.len()..).unwrap_or_default();
                names.push(name.to_vec());
            }
            if listed.next.is_none() || listed.next == request.continuation {
                return Ok(names);
            }
            request.continuation = listed.next;
        }
    }

    /// Removes all that was written: objects, versions, uploads.
    pub(super) async fn remove_all(&self) -> Result<(), String> {
        let uploads = UploadsRequest {
            prefix: Bytes::from(self.prefix.clone()),
            max_uploads: 1000,
            ..UploadsRequest::default()
        };
        // A store without this list has had its uploads aborted one by one.
        if let Ok(page) = self.core.store.list_uploads(&self.bucket, &uploads).await {
            for upload in page.uploads {
                if let Some(name) = self.name_of(&upload.key) {
                    self.abort(&name, &upload.upload_id).await?;
                }
            }
        }
        for name in self.list("", 1000).await? {
            let name = String::from_utf8_lossy(&name).into_owned();
            let gone = self.delete(&name, HeaderMap::new()).await?;
            if !gone.is_ok() && gone.status != 404 {
                return Err(format!("DeleteObject of {name}: {}", gone.said()));
            }
        }
        self.remove_versions().await?;
        match self.list("", 1000).await?.len() {
            0 => Ok(()),
            left => Err(format!("{left} objects are still listed")),
        }
    }

    async fn remove_versions(&self) -> Result<(), String> {
        let Store::S3(s3) = &self.core.store else {
            return Ok(());
        };
        let mut request = VersionsRequest {
            prefix: Bytes::from(self.prefix.clone()),
            ..VersionsRequest::default()
        };
        // A store without versions may not know the question.
        while let Ok(page) = s3.list_versions(&self.bucket, &request).await {
            for version in &page.versions {
                let Some(name) = self.name_of(&version.key) else {
                    continue;
                };
                let query = [("versionId", &*version.version_id)];
                self.raw(
                    Method::DELETE,
                    Some(&name),
                    &query,
                    HeaderMap::new(),
                    Vec::new(),
                )
                .await?;
            }
            if page.next.is_none() || page.next == request.after {
                return Ok(());
            }
            request.after = page.next;
        }
        Ok(())
    }

    fn name_of(&self, key: &[u8]) -> Option<String> {
        let name = key.strip_prefix(self.prefix.as_bytes())?;
        String::from_utf8(name.to_vec()).ok()
    }
}

fn headers_of(name: &'static str, value: &str) -> HeaderMap {
    headers(&[(name, value)])
}

/// Conditions among headers, and the others.
fn split(all: &HeaderMap) -> Result<(Conditions, HeaderMap), String> {
    let conditions = Conditions::from_headers(all).map_err(|e| e.to_string())?;
    let others = all
        .iter()
        .filter(|(name, _)| !name.as_str().starts_with("if-"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok((conditions, others))
}
