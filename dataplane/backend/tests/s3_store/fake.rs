//! A store that does as its script says: one closure for each connection, in the order they are made. Whatever a
//! client sends is verified by our own verifier; what does not verify ends the test.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, header};
use sealgate_http1::{Limits, RequestHead, parse_request};
use sealgate_s3::aws_chunked::{AwsChunked, decoded_length};
use sealgate_s3::sigv4::{
    Authorization, Payload, PayloadHash, SecretKey, SigningKeyCache, Verified, verify,
};

use crate::harness::{ACCESS_KEY, SECRET};

/// A test that hangs is a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// Scripts, one for each connection.
#[macro_export]
macro_rules! scripts {
    ($($script:expr),* $(,)?) => {
        vec![$({
            let script: $crate::fake::Script = Box::new($script);
            script
        }),*]
    };
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// Without `aws-chunked` framing.
    pub(crate) body: Vec<u8>,
    /// What came behind it, once verified.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// Method and target.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

pub(crate) struct FakeStore {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    acceptor: JoinHandle<()>,
}

impl FakeStore {
    /// Listens, and refuses connections once all scripts have one.
    pub(crate) fn start(scripts: Vec<Script>) -> FakeStore {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        Self::serve(addr, move || listener, scripts)
    }

    /// Refuses connections for a while first.
    pub(crate) fn start_after(delay: Duration, scripts: Vec<Script>) -> FakeStore {
        let addr = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let listen = move || {
            std::thread::sleep(delay);
            TcpListener::bind(addr).unwrap()
        };
        Self::serve(addr, listen, scripts)
    }

    fn serve(
        addr: SocketAddr,
        listen: impl FnOnce() -> TcpListener + Send + 'static,
        scripts: Vec<Script>,
    ) -> FakeStore {
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let log = Arc::clone(&requests);
        let acceptor = std::thread::spawn(move || {
            let listener = listen();
            let connections: Vec<_> = scripts
                .into_iter()
                .map(|script| {
                    let mut peer = Peer::new(accept(&listener), Arc::clone(&log));
                    std::thread::spawn(move || script(&mut peer))
                })
                .collect();
            drop(listener);
            for connection in connections {
                if let Err(panic) = connection.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
        FakeStore {
            addr,
            requests,
            acceptor,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What was received so far, by all connections.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until all scripts have ended, and panics if one has.
    pub(crate) fn join(self) {
        if let Err(panic) = self.acceptor.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let waited = start.elapsed();
                assert!(
                    waited < PATIENCE,
                    "a connection of the script was never made"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) => panic!("accept: {e}"),
        }
    }
}

/// The store's end of one connection. Dropped, it is closed: with a reset if bytes were left unread.
pub(crate) struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    fn new(stream: TcpStream, log: Arc<Mutex<Vec<Request>>>) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Peer {
            stream,
            input: Vec::new(),
            log,
        }
    }

    fn more(&mut self) -> usize {
        let mut buf = vec![0; 64 << 10];
        match self.stream.read(&mut buf) {
            Ok(n) => {
                self.input.extend_from_slice(&buf[..n]);
                n
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => 0,
            Err(e) => panic!("reading from the client: {e}"),
        }
    }

    /// Reads a request's head and verifies its signature.
    pub(crate) fn head(&mut self) -> (RequestHead, Verified) {
        let (head, used) = loop {
            match parse_request(&self.input, &Limits::default()).unwrap() {
                Some(found) => break found,
                None => assert!(self.more() > 0, "the client closed before its request"),
            }
        };
        self.input.drain(..used);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let authorization = Authorization::parse(&head.target, &head.headers).unwrap();
        assert_eq!(authorization.access_key(), Some(ACCESS_KEY));
        let verified = verify(
            &authorization,
            &SecretKey::new(SECRET),
            &mut SigningKeyCache::new(),
            &head.method,
            &head.target,
            &head.headers,
            now.as_secs() as i64,
        )
        .unwrap();
        (head, verified)
    }

    /// Reads `n` bytes of a body.
    pub(crate) fn take(&mut self, n: usize) -> Vec<u8> {
        while self.input.len() < n {
            assert!(self.more() > 0, "the client closed within a body");
        }
        self.input.drain(..n).collect()
    }

    /// Reads a whole request, and verifies what its signature says of the body.
    pub(crate) fn request(&mut self) -> Request {
        let (head, verified) = self.head();
        let length = head.headers.get(header::CONTENT_LENGTH);
        let mut body = self.take(length.map_or(0, |v| v.to_str().unwrap().parse().unwrap()));
        let mut trailers = Vec::new();
        match verified.payload {
            Payload::Sha256(hash) => assert_eq!(PayloadHash::of(&body), PayloadHash::Hash(hash)),
            Payload::StreamingSigned { .. } | Payload::StreamingUnsignedTrailer => {
                let len = decoded_length(&head.headers).unwrap();
                let mut decoder = AwsChunked::new(&verified, &head.headers, len).unwrap();
                let mut out = vec![0; usize::try_from(len).unwrap()];
                let step = decoder.decode(&body, &mut out).unwrap();
                assert!(step.done);
                assert_eq!((step.consumed, step.produced), (body.len(), out.len()));
                trailers = decoder.trailers().to_vec();
                body = out;
            }
            _ => {}
        }
        let request = Request {
            method: head.method,
            target: String::from_utf8(head.target.to_vec()).unwrap(),
            headers: head.headers,
            body,
            trailers,
        };
        self.log.lock().unwrap().push(request.clone());
        request
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends if the client is still there.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends an answer framed by `Content-Length`. `headers` are lines that end in CR LF.
    pub(crate) fn reply(&mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let len = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {len}\r\n{headers}\r\n");
        self.send([head.as_bytes(), body].concat());
    }

    /// Answers with an error document.
    pub(crate) fn error(&mut self, status: u16, code: &str) {
        self.reply(status, "", error_document(code));
    }

    /// Answers a write.
    pub(crate) fn stored(&mut self) {
        self.reply(200, "ETag: \"e1\"\r\n", "");
    }

    /// Answers a read with a whole object.
    pub(crate) fn object(&mut self, body: impl AsRef<[u8]>) {
        self.reply(200, "ETag: \"e1\"\r\n", body);
    }

    /// Answers a read with the range of `object` that was asked for.
    pub(crate) fn range(&mut self, request: &Request, object: &[u8]) {
        let range = request
            .header("range")
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let of = object.len();
        let headers = format!("ETag: \"e1\"\r\nContent-Range: bytes {first}-{last}/{of}\r\n");
        self.reply(206, &headers, &object[first..=last]);
    }

    /// Waits for more from the client: whether it has closed instead.
    pub(crate) fn gone(&mut self) -> bool {
        self.input.is_empty() && self.more() == 0
    }

    /// Waits for the client to close; nothing more may come.
    pub(crate) fn closed(&mut self) {
        if self.input.is_empty() {
            self.more();
        }
        let more = &self.input[..self.input.len().min(100)];
        assert!(more.is_empty(), "more came: {}", more.escape_ascii());
    }

    /// Reads whatever comes until the client closes: how many bytes.
    pub(crate) fn drain(&mut self) -> usize {
        while self.more() > 0 {}
        self.input.len()
    }

    /// Waits until there is something to read, without reading it: closing is a reset from now on.
    pub(crate) fn wait(&self) {
        assert!(self.stream.peek(&mut [0]).unwrap() > 0);
    }
}

pub(crate) fn error_document(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>")
}
