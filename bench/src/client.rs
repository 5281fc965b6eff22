//! A small HTTP/1.1 and S3 client: signs, sends, counts.

use std::io;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, StatusCode};
use sealgate_http1::{
    ChunkedDecoder, Framing, Limits, ResponseHead, ResponseParser, encode_request_head,
};
use sealgate_s3::sigv4::SecretKey;
use sealgate_s3::sigv4::sign::{PayloadHash, Signer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::net::{self, Outcome};
use crate::tls;
use crate::units::MIB;

/// The most bytes of an answer that is read as text (an error, a document).
const MAX_TEXT: usize = MIB;

/// Who signs.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// Access key.
    pub(crate) access_key: String,
    /// Secret key.
    pub(crate) secret_key: String,
    /// Region in the credential scope.
    pub(crate) region: String,
}

impl User {
    /// The user that generated configurations know. No secret: it guards a null store.
    pub(crate) fn of_bench() -> User {
        User {
            access_key: "BENCHACCESSKEY".into(),
            secret_key: "benchsecretkeybenchsecretkey".into(),
            region: "us-east-1".into(),
        }
    }

    /// What its signatures are made with.
    pub(crate) fn secret(&self) -> SecretKey {
        SecretKey::new(self.secret_key.as_bytes())
    }

    fn signer(&self) -> Signer {
        let (access_key, region) = (self.access_key.clone(), self.region.clone());
        Signer::new(access_key, self.secret(), None, region)
    }
}

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One keep-alive connection.
pub(crate) struct Client {
    addr: SocketAddr,
    host: String,
    user: User,
    signer: Signer,
    tls: Option<TlsConnector>,
    stream: Box<dyn Stream>,
    /// Received and not yet consumed.
    input: Vec<u8>,
    /// Where bodies are read to.
    room: Vec<u8>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    /// The body, if it was asked for or is an error's.
    pub(crate) text: String,
    /// Bytes of the body.
    pub(crate) len: u64,
}

impl Answer {
    /// The answer, if it is a success.
    pub(crate) fn ok(self, what: &str) -> Outcome<Answer> {
        if self.head.status.is_success() {
            return Ok(self);
        }
        Err(format!("{what}: {} {}", self.head.status, self.text.trim()).into())
    }

    /// A header as text; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.head.headers.get(name);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

impl Client {
    /// Lets go of its buffers until the next answer: ten thousand that wait would take 10 GiB.
    pub(crate) fn rest(&mut self) {
        self.input.shrink_to_fit();
        self.room = Vec::new();
    }

    /// Connects. Must be called within a tokio runtime.
    pub(crate) fn connect(addr: SocketAddr, user: &User) -> io::Result<Client> {
        Ok(Client {
            addr,
            host: addr.to_string(),
            user: user.clone(),
            signer: user.signer(),
            tls: None,
            stream: Box::new(net::connect_async(addr)?),
            input: Vec::new(),
            room: Vec::new(),
        })
    }

    /// The same over TLS.
    pub(crate) async fn connect_tls(
        addr: SocketAddr,
        user: &User,
        tls: TlsConnector,
    ) -> io::Result<Client> {
        let mut client = Client::connect(addr, user)?;
        client.tls = Some(tls);
        client.reconnect().await?;
        Ok(client)
    }

    /// Connects again, after the other side closed.
    pub(crate) async fn reconnect(&mut self) -> io::Result<()> {
        let stream = net::connect_async(self.addr)?;
        self.stream = match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(tls::name(), stream).await?),
        };
        self.input.clear();
        Ok(())
    }

    /// Value of `Host`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Who signs.
    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    /// What signs, and the host that is signed.
    pub(crate) fn signer(&mut self) -> (&mut Signer, &str) {
        (&mut self.signer, &self.host)
    }

    /// A signed head, which can be sent again and again for as long as the signature is fresh
    /// (15 minutes). `target` must be in canonical encoding; `length` is of the body.
    pub(crate) fn head(
        &mut self,
        method: &Method,
        target: &str,
        mut headers: HeaderMap,
        length: Option<u64>,
    ) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if let Some(n) = length {
            headers.insert(http::header::CONTENT_LENGTH, n.into());
        }
        let payload = match length {
            Some(_) => PayloadHash::Unsigned,
            None => PayloadHash::Empty,
        };
        self.signer.sign(
            method,
            &self.host,
            path.as_bytes(),
            query.as_bytes(),
            &mut headers,
            payload,
            unix_seconds(),
        );
        let mut wire = Vec::new();
        encode_request_head(&mut wire, method, target.as_bytes(), &headers);
        wire
    }

    /// Sends raw bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        // TLS keeps what the socket did not take.
        self.stream.flush().await
    }

    /// Signs and sends a request with a body in memory, and reads the answer as text.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Option<&[u8]>,
    ) -> Outcome<Answer> {
        let mut wire = self.head(&method, target, headers, body.map(|b| b.len() as u64));
        wire.extend_from_slice(body.unwrap_or_default());
        self.send(&wire).await?;
        self.answer(&method, true, |_, _| {}).await
    }

    /// Reads an answer, and connects anew if it was the connection's last. `each` sees the body of a success in pieces, with their offset.
    pub(crate) async fn answer(
        &mut self,
        method: &Method,
        as_text: bool,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Outcome<Answer> {
        let head = self.response_head(method).await?;
        let as_text = as_text || !head.status.is_success();
        let mut text = Vec::new();
        let mut len = 0;
        let mut take = |piece: &[u8]| {
            if as_text {
                text.extend_from_slice(&piece[..piece.len().min(MAX_TEXT - text.len())]);
            } else {
                each(len, piece);
            }
            len += piece.len() as u64;
        };
        match head.framing {
            Framing::None => {}
            Framing::Length(n) => self.read_exactly(n, &mut take).await?,
            Framing::Chunked => self.read_chunked(&mut take).await?,
            Framing::UntilClose => while self.read_some(u64::MAX, &mut take).await? > 0 {},
        }
        if !head.keep_alive {
            self.reconnect().await?;
        }
        Ok(Answer {
            head,
            text: String::from_utf8_lossy(&text).into_owned(),
            len,
        })
    }

    /// Reads the head of an answer.
    async fn response_head(&mut self, method: &Method) -> Outcome<ResponseHead> {
        let mut parser = ResponseParser::new();
        loop {
            if let Some((head, used)) = parser.parse(&self.input, &Limits::DEFAULT, method)? {
                self.input.drain(..used);
                return Ok(head);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err("the connection was closed before the answer".into());
            }
        }
    }

    async fn read_exactly(&mut self, mut left: u64, take: &mut impl FnMut(&[u8])) -> Outcome<()> {
        while left > 0 {
            match self.read_some(left, take).await? {
                0 => return Err(format!("the body was cut {left} bytes before its end").into()),
                n => left -= n,
            }
        }
        Ok(())
    }

    async fn read_chunked(&mut self, take: &mut impl FnMut(&[u8])) -> Outcome<()> {
        let mut decoder = ChunkedDecoder::new();
        loop {
            let piece = decoder.next_piece(&self.input, usize::MAX)?;
            take(&self.input[piece.payload]);
            self.input.drain(..piece.consumed);
            if piece.done {
                return Ok(());
            }
            if self.input.is_empty() && self.stream.read_buf(&mut self.input).await? == 0 {
                return Err("the body was cut".into());
            }
        }
    }

    async fn read_some(&mut self, most: u64, take: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        if self.input.is_empty() {
            // Only bodies that did not come along with the head need the large buffer.
            self.room.resize(MIB, 0);
            let room = most.min(self.room.len() as u64) as usize;
            let n = self.stream.read(&mut self.room[..room]).await?;
            take(&self.room[..n]);
            return Ok(n as u64);
        }
        let n = most.min(self.input.len() as u64) as usize;
        take(&self.input[..n]);
        self.input.drain(..n);
        Ok(n as u64)
    }
}

/// Creates the bucket; that it exists already is fine.
pub(crate) async fn create_bucket(client: &mut Client, bucket: &str) -> Outcome<()> {
    let target = format!("/{bucket}");
    let answer = client
        .call(Method::PUT, &target, HeaderMap::new(), None)
        .await?;
    match answer.head.status {
        StatusCode::CONFLICT => Ok(()),
        _ => answer.ok("CreateBucket").map(drop),
    }
}

/// Text between `<name>` and `</name>` of an answer's document.
pub(crate) fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The clock.
pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64)
}
