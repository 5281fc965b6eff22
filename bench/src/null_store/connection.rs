//! One connection: requests in, answers out.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sealgate_http1::{
    CONTINUE, ChunkedDecoder, Framing, HttpDate, Limits, RequestHead, RequestParser,
    encode_response_head,
};
use sealgate_s3::range::{ByteRange, content_range};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::documents;
use super::object::{Object, Piece, Run, Writer};
use super::pace::Pace;
use super::state::{Part, State, Upload};
use crate::client::{Stream, unix_seconds};
use crate::units::MIB;

/// The most bytes of a document that a client sends (a CompleteMultipartUpload of 10,000 parts).
const MAX_DOCUMENT: u64 = 4 << 20;

/// Bodies up to this size are sent in one write with their head.
const GATHER: u64 = 64 << 10;

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    state: Arc<State>,
    /// Received and not yet consumed.
    input: Vec<u8>,
    output: Vec<u8>,
    room: Vec<u8>,
    date: HttpDate,
    pace: Pace,
}

/// What a request asks for: method, `bucket/key` as on the wire, and query.
struct Request {
    method: Method,
    path: String,
    query: BTreeMap<String, String>,
    head: RequestHead,
}

impl Request {
    fn new(head: RequestHead) -> Request {
        let target = String::from_utf8_lossy(&head.target).into_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Request {
            method: head.method.clone(),
            path: path.trim_start_matches('/').to_owned(),
            query,
            head,
        }
    }

    fn asks(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.query.get(name)?.parse().ok()
    }

    fn bucket(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn is_object(&self) -> bool {
        self.path
            .split_once('/')
            .is_some_and(|(_, key)| !key.is_empty())
    }

    /// What is stored with an object.
    fn stored_headers(&self) -> HeaderMap {
        let kept = |name: &HeaderName| {
            name.as_str().starts_with("x-amz-meta-")
                || matches!(
                    *name,
                    header::CONTENT_TYPE
                        | header::CACHE_CONTROL
                        | header::CONTENT_DISPOSITION
                        | header::CONTENT_ENCODING
                        | header::CONTENT_LANGUAGE
                        | header::EXPIRES
                )
        };
        let all = self.head.headers.iter();
        all.filter(|(name, _)| kept(name))
            .map(|(name, value)| (name.clone(), copied(value)))
            .collect()
    }
}

/// Free of the buffer that the whole head shares.
fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, state: Arc<State>, pace: Pace) -> Connection {
        Connection {
            stream,
            state,
            input: Vec::with_capacity(8 << 10),
            output: Vec::new(),
            room: Vec::new(),
            date: HttpDate::at(0),
            pace,
        }
    }

    /// Answers requests until the client closes or errs.
    pub(super) async fn serve(mut self) -> io::Result<()> {
        let mut parser = RequestParser::new();
        self.pace.travel().await;
        loop {
            match parser.parse(&self.input, &Limits::DEFAULT) {
                Ok(Some((head, used))) => {
                    self.input.drain(..used);
                    self.date.update(unix_seconds() as u64);
                    if head.expect_continue {
                        self.pace.travel().await;
                        self.stream.write_all(CONTINUE).await?;
                    }
                    let keep_alive = head.keep_alive;
                    self.answer(Request::new(head)).await?;
                    // TLS keeps what the socket did not take.
                    self.stream.flush().await?;
                    if !keep_alive {
                        return Ok(());
                    }
                }
                Ok(None) => {
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Ok(());
                    }
                }
                Err(e) => {
                    let text = documents::error("InvalidRequest", e.reason());
                    return self.document(e.status(), &text).await;
                }
            }
        }
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        let path = request.path.as_str();
        match request.method {
            Method::PUT if !request.is_object() => self.create_bucket(&request).await,
            Method::PUT if request.head.headers.contains_key("x-amz-copy-source") => {
                self.refuse(&request, StatusCode::NOT_IMPLEMENTED, "NotImplemented")
                    .await
            }
            Method::PUT if request.asks("partNumber") => self.put_part(&request).await,
            Method::PUT => self.put_object(&request).await,
            Method::POST if request.asks("uploads") => self.create_upload(&request).await,
            Method::POST if request.asks("uploadId") => self.complete_upload(&request).await,
            Method::GET if request.asks("uploadId") => self.list_parts(&request).await,
            Method::GET | Method::HEAD if request.is_object() => self.get(&request).await,
            Method::GET | Method::HEAD => self.bucket(&request).await,
            Method::DELETE if request.asks("uploadId") => {
                let id = request.query.get("uploadId").cloned().unwrap_or_default();
                self.state.tables().uploads.remove(&id);
                self.bodiless(StatusCode::NO_CONTENT, HeaderMap::new())
                    .await
            }
            Method::DELETE => {
                self.state.tables().objects.remove(path);
                self.bodiless(StatusCode::NO_CONTENT, HeaderMap::new())
                    .await
            }
            _ => {
                self.refuse(&request, StatusCode::NOT_IMPLEMENTED, "NotImplemented")
                    .await
            }
        }
    }

    async fn create_bucket(&mut self, request: &Request) -> io::Result<()> {
        self.receive(&request.head, Writer::Drop(0)).await?;
        let bucket = request.bucket().to_owned();
        self.state.tables().buckets.insert(bucket);
        self.empty(StatusCode::OK, HeaderMap::new()).await
    }

    async fn bucket(&mut self, request: &Request) -> io::Result<()> {
        let known = self.state.tables().buckets.contains(request.bucket());
        match (known, &request.method) {
            (false, _) => {
                self.refuse(request, StatusCode::NOT_FOUND, "NoSuchBucket")
                    .await
            }
            (true, &Method::HEAD) => self.bodiless(StatusCode::OK, HeaderMap::new()).await,
            (true, _) if request.asks("location") => {
                self.document(StatusCode::OK, &documents::location()).await
            }
            (true, _) if request.asks("list-type") && !request.asks("delimiter") => {
                let text = self.list(request);
                self.document(StatusCode::OK, &text).await
            }
            _ => {
                self.refuse(request, StatusCode::NOT_IMPLEMENTED, "NotImplemented")
                    .await
            }
        }
    }

    /// ListObjectsV2 without a delimiter. Keys, prefixes and tokens stay as they are on the wire.
    fn list(&self, request: &Request) -> String {
        let asked = |name| request.query.get(name).map_or("", String::as_str);
        let prefix = format!(
            "{}/{}",
            request.bucket(),
            asked("prefix").replace("%2F", "/")
        );
        let after = asked("start-after")
            .max(asked("continuation-token"))
            .replace("%2F", "/");
        let most = request.number("max-keys").unwrap_or(1000).min(1000);
        let tables = self.state.tables();
        let mut found: Vec<(&str, &Object)> = tables
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, object)| Some((path.split_once('/')?.1, object.as_ref())))
            .filter(|(key, _)| *key > after.as_str())
            .collect();
        found.sort_by_key(|(key, _)| *key);
        documents::listing(request.bucket(), &found, most)
    }

    async fn put_object(&mut self, request: &Request) -> io::Result<()> {
        let writer = self.state.writer(&request.path, body_len(&request.head))?;
        let run = self.receive(&request.head, writer).await?;
        let object = Object {
            headers: request.stored_headers(),
            etag: self.state.etag(),
            modified: unix_seconds() as u64,
            len: run.len,
            runs: vec![Arc::new(run)],
        };
        let headers = etag_header(&object.etag);
        let object = Arc::new(object);
        let old = self
            .state
            .tables()
            .objects
            .insert(request.path.clone(), object);
        // Outside of the lock: freeing a large body takes its time.
        drop(old);
        self.empty(StatusCode::OK, headers).await
    }

    async fn create_upload(&mut self, request: &Request) -> io::Result<()> {
        self.receive(&request.head, Writer::Drop(0)).await?;
        let id = format!("upload-{}", self.state.unique());
        let upload = Upload {
            path: request.path.clone(),
            headers: request.stored_headers(),
            parts: BTreeMap::new(),
        };
        self.state.tables().uploads.insert(id.clone(), upload);
        let text = documents::initiated(&request.path, &id);
        self.document(StatusCode::OK, &text).await
    }

    async fn put_part(&mut self, request: &Request) -> io::Result<()> {
        let writer = self.state.writer(&request.path, body_len(&request.head))?;
        let run = self.receive(&request.head, writer).await?;
        let part = Part {
            etag: self.state.etag(),
            modified: unix_seconds() as u64,
            run: Arc::new(run),
        };
        let headers = etag_header(&part.etag);
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        let number: Option<u16> = request.number("partNumber");
        let stored = match (self.state.tables().uploads.get_mut(&id), number) {
            (Some(upload), Some(number)) => {
                upload.parts.insert(number, part);
                true
            }
            _ => false,
        };
        if stored {
            self.empty(StatusCode::OK, headers).await
        } else {
            self.refuse(request, StatusCode::NOT_FOUND, "NoSuchUpload")
                .await
        }
    }

    async fn list_parts(&mut self, request: &Request) -> io::Result<()> {
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        let after = request.number("part-number-marker").unwrap_or(0);
        let most = request.number("max-parts").unwrap_or(1000).min(1000);
        let page = |upload: &Upload| documents::parts(upload, &id, after, most);
        let text = self.state.tables().uploads.get(&id).map(page);
        match text {
            Some(text) => self.document(StatusCode::OK, &text).await,
            None => {
                self.refuse(request, StatusCode::NOT_FOUND, "NoSuchUpload")
                    .await
            }
        }
    }

    async fn complete_upload(&mut self, request: &Request) -> io::Result<()> {
        let document = self.receive_text(&request.head).await?;
        let Some(numbers) = documents::completed_parts(&document) else {
            return self
                .refuse(request, StatusCode::BAD_REQUEST, "MalformedXML")
                .await;
        };
        let id = request.query.get("uploadId").cloned().unwrap_or_default();
        match self.complete(&id, &numbers) {
            Ok(etag) => {
                let text = documents::completed(&request.path, &etag);
                self.document(StatusCode::OK, &text).await
            }
            Err(code @ "NoSuchUpload") => self.refuse(request, StatusCode::NOT_FOUND, code).await,
            Err(code) => self.refuse(request, StatusCode::BAD_REQUEST, code).await,
        }
    }

    /// Makes an object of the parts; its ETag, or the code of the error.
    fn complete(&self, id: &str, numbers: &[u16]) -> Result<String, &'static str> {
        let mut tables = self.state.tables();
        let upload = tables.uploads.get(id).ok_or("NoSuchUpload")?;
        if !numbers.is_sorted_by(|a, b| a < b) {
            return Err("InvalidPartOrder");
        }
        let part = |n: &u16| upload.parts.get(n).map(|p| p.run.clone());
        let runs: Option<Vec<Arc<Run>>> = numbers.iter().map(part).collect();
        let runs = runs.ok_or("InvalidPart")?;
        let etag = self.state.etag();
        let etag = format!("{}-{}\"", etag.trim_end_matches('"'), numbers.len());
        let object = Object {
            headers: upload.headers.clone(),
            etag: etag.clone(),
            modified: unix_seconds() as u64,
            len: runs.iter().map(|run| run.len).sum(),
            runs,
        };
        let path = upload.path.clone();
        tables.uploads.remove(id);
        tables.objects.insert(path, Arc::new(object));
        Ok(etag)
    }

    async fn get(&mut self, request: &Request) -> io::Result<()> {
        let found = self.state.tables().objects.get(&request.path).cloned();
        let Some(object) = found else {
            return self
                .refuse(request, StatusCode::NOT_FOUND, "NoSuchKey")
                .await;
        };
        let asked = &request.head.headers;
        let matches =
            |value: &HeaderValue| value == "*" || value.as_bytes() == object.etag.as_bytes();
        if asked.get(header::IF_MATCH).is_some_and(|v| !matches(v)) {
            return self
                .refuse(
                    request,
                    StatusCode::PRECONDITION_FAILED,
                    "PreconditionFailed",
                )
                .await;
        }
        let mut headers = object.headers.clone();
        headers.extend(etag_header(&object.etag));
        let modified = HttpDate::at(object.modified);
        if let Ok(value) = HeaderValue::from_bytes(modified.as_bytes()) {
            headers.insert(header::LAST_MODIFIED, value);
        }
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if asked.get(header::IF_NONE_MATCH).is_some_and(matches) {
            return self.bodiless(StatusCode::NOT_MODIFIED, headers).await;
        }
        let mut status = StatusCode::OK;
        let mut range = 0..object.len;
        if let Some(wanted) = asked.get(header::RANGE).and_then(ByteRange::parse) {
            let Ok(part) = wanted.resolve(object.len) else {
                return self
                    .refuse(request, StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange")
                    .await;
            };
            status = StatusCode::PARTIAL_CONTENT;
            if let Ok(value) = HeaderValue::from_str(&content_range(&part, object.len)) {
                headers.insert(header::CONTENT_RANGE, value);
            }
            range = part;
        }
        if request.method == Method::HEAD {
            headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
            return self.bodiless(status, headers).await;
        }
        self.send_body(status, &headers, &object, range).await
    }

    async fn send_body(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        object: &Object,
        range: Range<u64>,
    ) -> io::Result<()> {
        let len = range.end - range.start;
        self.head(status, headers, Framing::Length(len)).await;
        if len > GATHER {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        self.room
            .resize(if len > GATHER { MIB } else { GATHER as usize }, 0);
        let mut start = 0;
        for run in &object.runs {
            let mut at = range.start.max(start);
            let end = range.end.min(start + run.len);
            while at < end {
                let room = self.pace.step(self.room.len());
                let to = end.min(at + room as u64);
                let piece = run.read(at - start..to - start, &mut self.room)?;
                let bytes = match &piece {
                    Piece::Bytes(bytes) => bytes,
                    Piece::Read(n) => &self.room[..*n],
                };
                at += bytes.len() as u64;
                if len > GATHER {
                    self.stream.write_all(bytes).await?;
                    self.pace.moved(bytes.len()).await;
                } else {
                    self.output.extend_from_slice(bytes);
                }
            }
            start += run.len;
        }
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
        }
        Ok(())
    }

    /// Reads a body to its end.
    async fn receive(&mut self, head: &RequestHead, mut writer: Writer) -> io::Result<Run> {
        match head.framing {
            Framing::None | Framing::UntilClose => {}
            Framing::Length(n) => {
                let early = n.min(self.input.len() as u64) as usize;
                writer.push(&self.input[..early])?;
                self.input.drain(..early);
                let mut left = n - early as u64;
                while left > 0 {
                    self.room.resize(MIB, 0);
                    let most = self.pace.step(left.min(MIB as u64) as usize);
                    let n = self.stream.read(&mut self.room[..most]).await?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    writer.push(&self.room[..n])?;
                    left -= n as u64;
                    self.pace.moved(n).await;
                }
            }
            Framing::Chunked => {
                let mut decoder = ChunkedDecoder::new();
                while !decoder.is_done() {
                    let piece = decoder
                        .next_piece(&self.input, usize::MAX)
                        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                    writer.push(&self.input[piece.payload])?;
                    self.input.drain(..piece.consumed);
                    if self.input.is_empty()
                        && !decoder.is_done()
                        && self.stream.read_buf(&mut self.input).await? == 0
                    {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(writer.finish())
    }

    async fn receive_text(&mut self, head: &RequestHead) -> io::Result<String> {
        if body_len(head).is_none_or(|n| n > MAX_DOCUMENT) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let run = self.receive(head, Writer::into_memory()).await?;
        let mut text = Vec::new();
        while (text.len() as u64) < run.len {
            if let Piece::Bytes(bytes) = run.read(text.len() as u64..run.len, &mut [0; MIB])? {
                text.extend_from_slice(&bytes);
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn head(&mut self, status: StatusCode, headers: &HeaderMap, framing: Framing) {
        self.pace.travel().await;
        self.output.clear();
        encode_response_head(&mut self.output, status, headers, framing, true, &self.date);
    }

    /// An answer without a body that is framed by its status or method.
    async fn bodiless(&mut self, status: StatusCode, headers: HeaderMap) -> io::Result<()> {
        self.head(status, &headers, Framing::None).await;
        self.stream.write_all(&self.output).await
    }

    async fn empty(&mut self, status: StatusCode, headers: HeaderMap) -> io::Result<()> {
        self.head(status, &headers, Framing::Length(0)).await;
        self.stream.write_all(&self.output).await
    }

    async fn document(&mut self, status: StatusCode, text: &str) -> io::Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
        self.head(status, &headers, Framing::Length(text.len() as u64))
            .await;
        self.output.extend_from_slice(text.as_bytes());
        self.stream.write_all(&self.output).await
    }

    async fn refuse(
        &mut self,
        request: &Request,
        status: StatusCode,
        code: &str,
    ) -> io::Result<()> {
        if request.method == Method::HEAD {
            return self.bodiless(status, HeaderMap::new()).await;
        }
        if request.method == Method::PUT && !request.asks("partNumber") {
            self.receive(&request.head, Writer::Drop(0)).await?;
        }
        self.document(status, &documents::error(code, &request.path))
            .await
    }
}

fn body_len(head: &RequestHead) -> Option<u64> {
    match head.framing {
        Framing::None => Some(0),
        Framing::Length(n) => Some(n),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

fn etag_header(etag: &str) -> HeaderMap {
    let value = HeaderValue::from_str(etag).ok();
    value.into_iter().map(|v| (header::ETAG, v)).collect()
}
