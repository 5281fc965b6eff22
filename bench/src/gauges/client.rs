//! One blocking connection that sends the same bytes every time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use http::{HeaderMap, Method};
use sealgate_http1::{Framing, Limits, ResponseParser, encode_request_head};
use sealgate_s3::sigv4::SecretKey;
use sealgate_s3::sigv4::sign::{PayloadHash, Signer};

use super::{KEPT, SMALL};
use crate::client::{User, unix_seconds};
use crate::net::{self, Outcome};
use crate::units::MIB;

/// What a small request does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Get,
    Put,
    Head,
    List,
}

pub(super) struct Client {
    stream: TcpStream,
    host: String,
    signer: Signer,
    room: Vec<u8>,
}

impl Client {
    pub(super) fn connect(addr: SocketAddr) -> Outcome<Client> {
        let user = User::of_bench();
        let secret = SecretKey::new(user.secret_key.as_bytes());
        Ok(Client {
            stream: net::connect(addr)?,
            host: addr.to_string(),
            signer: Signer::new(user.access_key, secret, None, user.region),
            room: Vec::new(),
        })
    }

    fn head(&mut self, method: &Method, target: &str, length: Option<usize>) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        let payload = match length {
            Some(n) => {
                headers.insert(http::header::CONTENT_LENGTH, n.into());
                PayloadHash::Unsigned
            }
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

    /// Reads an answer, which must be a success; the bytes of its body.
    fn answer(&mut self, method: &Method) -> Outcome<u64> {
        self.room.resize(MIB, 0);
        let mut parser = ResponseParser::new();
        let mut have = 0;
        let (head, used) = loop {
            let n = self.stream.read(&mut self.room[have..])?;
            if n == 0 {
                return Err("the gateway closed the connection".into());
            }
            have += n;
            if let Some(found) = parser.parse(&self.room[..have], &Limits::DEFAULT, method)? {
                break found;
            }
        };
        let len = match head.framing {
            Framing::None => 0,
            Framing::Length(n) => n,
            _ => return Err("an answer of unknown length".into()),
        };
        let mut left = len - (have - used) as u64;
        while left > 0 {
            let n = self.stream.read(&mut self.room)?;
            if n == 0 {
                return Err("the answer was cut".into());
            }
            left -= n as u64;
        }
        if !head.status.is_success() {
            let text = String::from_utf8_lossy(&self.room[used..have]);
            return Err(format!("{method}: {} {text}", head.status).into());
        }
        Ok(len)
    }

    pub(super) fn create_bucket(&mut self, path: &str) -> Outcome<()> {
        let wire = self.head(&Method::PUT, path, Some(0));
        self.stream.write_all(&wire)?;
        self.answer(&Method::PUT).map(drop)
    }

    /// Uploads `len` bytes.
    pub(super) fn put(&mut self, path: &str, len: usize) -> Outcome<()> {
        self.bulk(true, path, len)
    }

    /// Sends the same small request so many times.
    pub(super) fn repeat(&mut self, action: Action, times: usize) -> Outcome<()> {
        let object = format!("/bench/{KEPT}-small");
        let (method, target, body) = match action {
            Action::Get => (Method::GET, object, None),
            Action::Head => (Method::HEAD, object, None),
            Action::Put => (Method::PUT, object, Some(SMALL)),
            Action::List => (Method::GET, "/lists?list-type=2".to_owned(), None),
        };
        let mut wire = self.head(&method, &target, body);
        wire.resize(wire.len() + body.unwrap_or(0), b'x');
        for _ in 0..times {
            self.stream.write_all(&wire)?;
            self.answer(&method)?;
        }
        Ok(())
    }

    /// Sends or fetches an object of `len` bytes.
    pub(super) fn bulk(&mut self, upload: bool, path: &str, len: usize) -> Outcome<()> {
        if !upload {
            let wire = self.head(&Method::GET, path, None);
            self.stream.write_all(&wire)?;
            let got = self.answer(&Method::GET)?;
            return if got == len as u64 {
                Ok(())
            } else {
                Err(format!("{path} has {got} bytes, not {len}").into())
            };
        }
        let mut wire = self.head(&Method::PUT, path, Some(len));
        // A small body goes out with its head.
        let first = if len <= MIB { len } else { 0 };
        wire.resize(wire.len() + first, b'x');
        self.stream.write_all(&wire)?;
        let piece = vec![b'x'; MIB];
        let mut left = len - first;
        while left > 0 {
            let n = left.min(piece.len());
            self.stream.write_all(&piece[..n])?;
            left -= n;
        }
        self.answer(&Method::PUT).map(drop)
    }
}
