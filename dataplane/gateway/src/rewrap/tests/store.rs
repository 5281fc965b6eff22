//! A store of one bucket in memory that keeps the conditions it is told to keep, and notes what it is asked.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{HeaderMap, HeaderValue, Method};
use sealgate_http1::{Limits, RequestHead, parse_request};

pub(super) const BUCKET: &str = "bucket";

/// What the store makes of a condition that does not hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Makes {
    #[default]
    Refuses,
    Ignores,
    /// 501, whether it holds or not.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) server: &'static str,
    /// What the configuration says that it is.
    pub(super) preset: &'static str,
    /// `x-amz-copy-source-if-match`.
    pub(super) source: Makes,
    /// `If-Match` on copies.
    pub(super) copies: Makes,
    /// `If-Match` on writes.
    pub(super) writes: Makes,
    /// `If-Match` where an upload is completed.
    pub(super) completions: Makes,
    /// Every copy with a condition is refused, also where it holds.
    pub(super) no_conditional_copies: bool,
    /// Each write is a version.
    pub(super) versions: bool,
    /// 403 for all that is not the client's.
    pub(super) forbids_staging: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            server: "Exact/1.0",
            preset: "generic",
            source: Makes::Refuses,
            copies: Makes::Refuses,
            writes: Makes::Refuses,
            completions: Makes::Refuses,
            no_conditional_copies: false,
            versions: false,
            forbids_staging: false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) etag: String,
    /// May be more than `body` has: then only its beginning is there.
    pub(super) len: u64,
    pub(super) body: Vec<u8>,
    pub(super) headers: HeaderMap,
}

/// A request in one line: the operation, and its conditions.
pub(super) type Seen = String;
/// What somebody else does when a request has arrived; told the request.
pub(super) type Meddler = Box<dyn FnMut(&str, &mut BTreeMap<String, Object>) + Send>;

#[derive(Default)]
pub(super) struct Inside {
    pub(super) objects: BTreeMap<String, Object>,
    /// Versions that were not deleted, by key.
    pub(super) versions: Vec<(String, String)>,
    uploads: BTreeMap<String, (HeaderMap, Vec<(u64, u64)>)>,
    pub(super) seen: Vec<Seen>,
    meddler: Option<Meddler>,
    serial: u64,
}

#[derive(Clone)]
pub(super) struct FakeStore {
    addr: SocketAddr,
    pub(super) preset: &'static str,
    inside: Arc<Mutex<Inside>>,
}

impl FakeStore {
    pub(super) fn start(habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = Self {
            addr: listener.local_addr().unwrap(),
            preset: habits.preset,
            inside: Arc::default(),
        };
        let inside = Arc::clone(&store.inside);
        // Both end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (inside, habits) = (Arc::clone(&inside), habits.clone());
                std::thread::spawn(move || serve(&mut stream.unwrap(), &inside, &habits));
            }
        });
        store
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(super) fn add(&self, key: &str, body: Vec<u8>, len: u64, headers: HeaderMap) {
        let mut inside = self.inside();
        let etag = inside.etag();
        let object = Object {
            etag,
            len,
            body,
            headers,
        };
        inside.objects.insert(key.to_owned(), object);
    }

    pub(super) fn meddle(
        &self,
        meddler: impl FnMut(&str, &mut BTreeMap<String, Object>) + Send + 'static,
    ) {
        self.inside().meddler = Some(Box::new(meddler));
    }

    /// What was asked of objects of the client's.
    pub(super) fn of_clients(&self) -> Vec<Seen> {
        let seen = self.inside().seen.clone();
        seen.into_iter()
            .filter(|s| !s.contains("staging"))
            .collect()
    }

    /// What was asked of the store's behaviour.
    pub(super) fn of_ours(&self) -> Vec<Seen> {
        let seen = self.inside().seen.clone();
        seen.into_iter()
            .filter(|s| s.contains("staging"))
            .map(|s| s.split(" .sealgate-staging").next().unwrap().to_owned())
            .collect()
    }
}

impl Inside {
    fn etag(&mut self) -> String {
        self.serial += 1;
        format!("etag{}", self.serial)
    }
}

struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// Of a HEAD: the body's.
    len: Option<u64>,
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        headers: String::new(),
        body: body.into(),
        len: None,
    }
}

fn error(status: u16, code: &str) -> Reply {
    reply(
        status,
        format!("<Error><Code>{code}</Code><Message>m</Message></Error>"),
    )
}

fn serve(stream: &mut TcpStream, inside: &Mutex<Inside>, habits: &Habits) {
    let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let (head, used) = loop {
            match parse_request(&input, &Limits::default()).unwrap() {
                Some(found) => break found,
                None => match stream.read(&mut chunk) {
                    Ok(n) if n > 0 => input.extend_from_slice(&chunk[..n]),
                    _ => return,
                },
            }
        };
        input.drain(..used);
        let length = header(&head, "content-length").map_or(0, |v| v.parse().unwrap());
        while input.len() < length {
            match stream.read(&mut chunk) {
                Ok(n) if n > 0 => input.extend_from_slice(&chunk[..n]),
                _ => return,
            }
        }
        let body = input.drain(..length).collect();
        let answer = inside.lock().unwrap().answer(&head, body, habits);
        let text = format!(
            "HTTP/1.1 {} X\r\nServer: {}\r\nContent-Length: {}\r\n{}\r\n",
            answer.status,
            habits.server,
            answer.len.unwrap_or(answer.body.len() as u64),
            answer.headers
        );
        stream
            .write_all(&[text.as_bytes(), &answer.body].concat())
            .unwrap();
    }
}

fn header<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    head.headers.get(name).map(|v| v.to_str().unwrap())
}

impl Inside {
    fn answer(&mut self, head: &RequestHead, body: Vec<u8>, habits: &Habits) -> Reply {
        let target = String::from_utf8(head.target.to_vec()).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let key = path.strip_prefix("/bucket/").unwrap().to_owned();
        let copies = header(head, "x-amz-copy-source").is_some();
        let operation = match (&head.method, query) {
            (&Method::HEAD, _) => "head",
            (&Method::GET, "tagging=") => "tagging",
            (&Method::GET, _) => "get",
            (&Method::POST, "uploads=") => "create",
            (&Method::POST, _) => "complete",
            (&Method::PUT, "") if copies => "copy",
            (&Method::PUT, "") => "put",
            (&Method::PUT, _) => "copy part",
            (&Method::DELETE, q) if q.starts_with("uploadId") => "abort",
            (&Method::DELETE, _) => "delete",
            other => panic!("{other:?}"),
        };
        let current = self.objects.get(&key).map(|o| o.etag.clone());
        let condition = |name| {
            header(head, name).map(|v| {
                let is = v.trim_matches('"');
                (is.to_owned(), current.as_deref() == Some(is))
            })
        };
        let named = |name: &str, found: &Option<(String, bool)>| match found {
            Some((_, true)) => format!(" {name}=seen"),
            Some((_, false)) => format!(" {name}=other"),
            None => String::new(),
        };
        let (source, onto) = (
            condition("x-amz-copy-source-if-match"),
            condition("if-match"),
        );
        let mut seen = format!(
            "{operation}{}{}",
            named("source", &source),
            named("onto", &onto)
        );
        if key.starts_with(".sealgate-staging/") {
            seen = format!("{seen} {key}");
            if habits.forbids_staging {
                self.seen.push(seen);
                return error(403, "AccessDenied");
            }
        } else if let Some(mut meddler) = self.meddler.take() {
            meddler(&seen, &mut self.objects);
            self.meddler = Some(meddler);
        }
        self.seen.push(seen);
        // Somebody may have written in between.
        let current = self.objects.get(&key).map(|o| o.etag.clone());
        let verdict = |found: &Option<(String, bool)>, makes: Makes| match (found, makes) {
            (None, _) | (Some(_), Makes::Ignores) => None,
            (Some(_), Makes::Unknown) => Some(error(501, "NotImplemented")),
            (Some((is, _)), Makes::Refuses) if current.as_deref() == Some(is) => None,
            (Some(_), Makes::Refuses) => Some(error(412, "PreconditionFailed")),
        };
        let writes = match operation {
            "copy" => habits.copies,
            "complete" => habits.completions,
            "get" => Makes::Refuses,
            _ => habits.writes,
        };
        if habits.no_conditional_copies && operation == "copy" && onto.is_some() {
            return error(412, "PreconditionFailed");
        }
        if let Some(refusal) = verdict(&source, habits.source).or_else(|| verdict(&onto, writes)) {
            return refusal;
        }
        self.act(operation, &key, query, head, body, habits)
    }

    fn act(
        &mut self,
        operation: &str,
        key: &str,
        query: &str,
        head: &RequestHead,
        body: Vec<u8>,
        habits: &Habits,
    ) -> Reply {
        let old = self.objects.get(key).cloned();
        let upload = query.rsplit("uploadId=").next().unwrap_or("").to_owned();
        match operation {
            "head" | "get" => {
                let Some(object) = old else {
                    return error(404, "NoSuchKey");
                };
                let mut headers = format!("ETag: \"{}\"\r\n", object.etag);
                for (name, value) in &object.headers {
                    headers += &format!("{name}: {}\r\n", value.to_str().unwrap());
                }
                let head = operation == "head";
                Reply {
                    status: 200,
                    headers,
                    body: if head { Vec::new() } else { object.body },
                    len: Some(object.len),
                }
            }
            "tagging" => reply(200, "<Tagging><TagSet></TagSet></Tagging>"),
            "put" => {
                let len = body.len() as u64;
                self.store(key, body, len, &head.headers, habits)
            }
            "copy" => {
                let Object { len, body, .. } = old.unwrap();
                let mut reply = self.store(key, body, len, &head.headers, habits);
                let etag = &self.objects[key].etag;
                reply.body = format!(
                    "<CopyObjectResult><ETag>\"{etag}\"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     </CopyObjectResult>"
                )
                .into();
                reply
            }
            "create" => {
                let id = self.etag();
                self.uploads
                    .insert(id.clone(), (head.headers.clone(), Vec::new()));
                reply(
                    200,
                    format!(
                        "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                    ),
                )
            }
            "copy part" => {
                let range = header(head, "x-amz-copy-source-range").unwrap();
                let (first, last) = range
                    .strip_prefix("bytes=")
                    .unwrap()
                    .split_once('-')
                    .unwrap();
                let range = (first.parse().unwrap(), last.parse().unwrap());
                self.uploads.get_mut(&upload).unwrap().1.push(range);
                reply(
                    200,
                    "<CopyPartResult><ETag>\"part\"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     </CopyPartResult>",
                )
            }
            "complete" => {
                let (headers, ranges) = self.uploads.remove(&upload).unwrap();
                let end = ranges.iter().fold(0, |at, &(first, last)| {
                    assert_eq!(first, at, "ranges follow each other");
                    last + 1
                });
                let old = old.unwrap();
                assert_eq!(end, old.len, "and are the whole object");
                let mut reply = self.store(key, old.body, old.len, &headers, habits);
                let object = self.objects.get_mut(key).unwrap();
                object.etag = format!("{}-{}", object.etag, ranges.len());
                reply.body = format!(
                    "<CompleteMultipartUploadResult><ETag>\"{}\"</ETag></CompleteMultipartUploadResult>",
                    object.etag
                )
                .into();
                reply
            }
            "abort" => {
                self.uploads.remove(&upload).unwrap();
                reply(204, "")
            }
            "delete" => {
                match query.strip_prefix("versionId=") {
                    Some(id) => self.versions.retain(|(_, version)| version != id),
                    None => drop(self.objects.remove(key)),
                }
                if self.versions.iter().all(|(of, _)| of != key) {
                    self.objects.remove(key);
                }
                reply(204, "")
            }
            other => panic!("{other}"),
        }
    }

    fn store(
        &mut self,
        key: &str,
        body: Vec<u8>,
        len: u64,
        sent: &HeaderMap,
        habits: &Habits,
    ) -> Reply {
        let etag = self.etag();
        let mut answer = reply(200, "");
        answer.headers = format!("ETag: \"{etag}\"\r\n");
        if habits.versions {
            self.versions.push((key.to_owned(), etag.clone()));
            answer.headers += &format!("x-amz-version-id: {etag}\r\n");
        }
        let kept = |name: &str| {
            name.starts_with("x-amz-meta-")
                || name.starts_with("x-amz-object-lock")
                || name == "content-type"
        };
        let headers = sent
            .iter()
            .filter(|(name, _)| kept(name.as_str()))
            .map(|(name, value)| (name.clone(), HeaderValue::clone(value)))
            .collect();
        let object = Object {
            etag,
            len,
            body,
            headers,
        };
        self.objects.insert(key.to_owned(), object);
        answer
    }

    /// Uploads that were neither completed nor aborted.
    pub(super) fn unfinished(&self) -> usize {
        self.uploads.len()
    }
}
