//! All forms of Signature Version 4 (S3 API Reference, "Authenticating Requests"), and the bodies that go with them.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use sealgate_http1::encode_request_head;
use sealgate_s3::checksum::Algorithm;
use sealgate_s3::sigv4::{ChunkVerifier, PayloadHash, SigningKey};

use crate::client::{Client, unix_seconds};
use crate::content::{Content, SIGNED_CHUNK, sha256};
use crate::net::Outcome;
use crate::units::MIB;

/// How requests are signed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// Not at all
    None,
    /// Header, `UNSIGNED-PAYLOAD`
    Unsigned,
    /// Header, SHA-256 of the payload
    Signed,
    /// Header and a signature for each chunk of 64 KiB: `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`
    Chunks,
    /// Header; a checksum follows the payload: `STREAMING-UNSIGNED-PAYLOAD-TRAILER`
    Trailer,
    /// In the URL
    Presigned,
}

/// A checksum that goes along with an upload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, ValueEnum)]
pub(crate) enum Sum {
    /// CRC-32
    Crc32,
    /// CRC-32C
    Crc32c,
    /// CRC-64/NVME, the SDKs' default
    Crc64nvme,
    /// SHA-1
    Sha1,
    /// SHA-256
    Sha256,
}

impl Sum {
    const fn algorithm(self) -> Algorithm {
        match self {
            Sum::Crc32 => Algorithm::Crc32,
            Sum::Crc32c => Algorithm::Crc32c,
            Sum::Crc64nvme => Algorithm::Crc64Nvme,
            Sum::Sha1 => Algorithm::Sha1,
            Sum::Sha256 => Algorithm::Sha256,
        }
    }

    fn header(self) -> String {
        format!(
            "x-amz-checksum-{}",
            self.algorithm().as_str().to_lowercase()
        )
    }
}

/// A request that can be sent, again and again for as long as its signature is fresh.
#[derive(Clone)]
pub(crate) struct Prepared {
    /// The head on the wire.
    pub(crate) head: Vec<u8>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    None,
    Text(Vec<u8>),
    /// That many bytes of [`Content`].
    Plain(u64),
    Chunks(u64, ChunkVerifier),
    /// And the line of the trailer.
    Trailer(u64, String),
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Nothing.
    None,
    /// A document.
    Text(&'a [u8]),
    /// That many bytes of [`Content`], with a checksum if one is given.
    Content(u64, Option<Sum>),
}

/// Signs. `target` must be in canonical encoding.
pub(crate) fn prepare(
    client: &mut Client,
    form: Form,
    method: &Method,
    target: &str,
    mut headers: HeaderMap,
    payload: Payload<'_>,
) -> Outcome<Prepared> {
    let content = Content::get();
    let (len, sum) = match payload {
        Payload::None => (None, None),
        Payload::Text(text) => (Some(text.len() as u64), None),
        Payload::Content(len, sum) => (Some(len), sum),
    };
    let form = match (form, payload) {
        (Form::Chunks | Form::Trailer, Payload::Content(..)) => form,
        // Only content is streamed.
        (Form::Chunks | Form::Trailer, _) => Form::Signed,
        _ => form,
    };
    let mut body = match payload {
        Payload::None => Body::None,
        Payload::Text(text) => Body::Text(text.to_vec()),
        Payload::Content(len, _) => Body::Plain(len),
    };
    if let (Form::Trailer, Some(len)) = (form, len) {
        let sum = sum.unwrap_or(Sum::Crc64nvme);
        let name = sum.header();
        let value = content.checksum(sum.algorithm(), len).to_base64();
        let line = format!("{name}:{value}\r\n");
        set(&mut headers, "x-amz-trailer", &name)?;
        streamed(&mut headers, len, trailer_len(len, &line))?;
        body = Body::Trailer(len, line);
    } else if let (Form::Chunks, Some(len)) = (form, len) {
        streamed(&mut headers, len, signed_len(len))?;
    } else if let Some(len) = len {
        headers.insert(header::CONTENT_LENGTH, len.into());
    }
    if let (Some(sum), Some(len), true) = (sum, len, form != Form::Trailer) {
        let value = content.checksum(sum.algorithm(), len).to_base64();
        set(&mut headers, &sum.header(), &value)?;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let now = unix_seconds();
    let mut presigned = None;
    let hash = match (form, payload) {
        (Form::None, _) => {
            set(&mut headers, "host", client.host())?;
            None
        }
        (Form::Presigned, _) => {
            set(&mut headers, "host", client.host())?;
            presigned = Some(presign(client, method, path, query, now)?);
            None
        }
        (Form::Chunks, _) => {
            let (signer, host) = client.signer();
            let (path, query) = (path.as_bytes(), query.as_bytes());
            let verifier = signer.sign_streaming(method, host, path, query, &mut headers, now);
            body = Body::Chunks(len.unwrap_or(0), verifier);
            None
        }
        (Form::Trailer, _) => Some(PayloadHash::UnsignedTrailer),
        (Form::Unsigned, Payload::None) => Some(PayloadHash::Empty),
        (Form::Unsigned, _) => Some(PayloadHash::Unsigned),
        (Form::Signed, Payload::None) => Some(PayloadHash::Empty),
        (Form::Signed, Payload::Text(text)) => Some(PayloadHash::Hash(sha256(text))),
        (Form::Signed, Payload::Content(len, _)) => {
            let mut hash = [0; 32];
            hash.copy_from_slice(content.checksum(Algorithm::Sha256, len).as_bytes());
            Some(PayloadHash::Hash(hash))
        }
    };
    if let Some(hash) = hash {
        let (signer, host) = client.signer();
        let (path, query) = (path.as_bytes(), query.as_bytes());
        signer.sign(method, host, path, query, &mut headers, hash, now);
    }
    let mut head = Vec::new();
    let target = presigned.as_deref().unwrap_or(target);
    encode_request_head(&mut head, method, target.as_bytes(), &headers);
    Ok(Prepared { head, body })
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Outcome<()> {
    let name = HeaderName::from_bytes(name.as_bytes())?;
    headers.insert(name, HeaderValue::from_str(value)?);
    Ok(())
}

fn streamed(headers: &mut HeaderMap, len: u64, wire_len: u64) -> Outcome<()> {
    set(headers, "content-encoding", "aws-chunked")?;
    set(headers, "x-amz-decoded-content-length", &len.to_string())?;
    headers.insert(header::CONTENT_LENGTH, wire_len.into());
    Ok(())
}

/// A target with a signature in its query, valid for 15 minutes.
fn presign(client: &Client, method: &Method, path: &str, query: &str, now: i64) -> Outcome<String> {
    let user = client.user();
    let time = String::from_utf8(sealgate_s3::time::amz_date(now).to_vec())?;
    let date = &time[..8];
    let scope = format!("{date}/{}/s3/aws4_request", user.region);
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            if pair.contains('=') {
                pair.to_owned()
            } else {
                format!("{pair}=")
            }
        })
        .collect();
    pairs.extend([
        "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned(),
        format!(
            "X-Amz-Credential={}%2F{}",
            user.access_key,
            scope.replace('/', "%2F")
        ),
        format!("X-Amz-Date={time}"),
        "X-Amz-Expires=900".to_owned(),
        "X-Amz-SignedHeaders=host".to_owned(),
    ]);
    pairs.sort();
    let query = pairs.join("&");
    let host = client.host();
    let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let hash = hex(&sha256(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let key = SigningKey::derive(
        &user.secret(),
        date.as_bytes(),
        user.region.as_bytes(),
        b"s3",
    );
    let signature = hex(&key.sign(text.as_bytes()));
    Ok(format!("{path}?{query}&X-Amz-Signature={signature}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes of a chunk's size line without extensions, of its end, and of a signature extension.
fn framing_len(len: u64) -> u64 {
    format!("{len:x}\r\n\r\n").len() as u64
}

const SIGNATURE_LEN: u64 = ";chunk-signature=".len() as u64 + 64;

fn signed_len(len: u64) -> u64 {
    let (full, rest) = (len / SIGNED_CHUNK as u64, len % SIGNED_CHUNK as u64);
    let one = |n: u64| n + framing_len(n) + SIGNATURE_LEN;
    let rest = if rest > 0 { one(rest) } else { 0 };
    full * one(SIGNED_CHUNK as u64) + rest + one(0)
}

fn trailer_len(len: u64, line: &str) -> u64 {
    let (full, rest) = (len / MIB as u64, len % MIB as u64);
    let one = |n: u64| n + framing_len(n);
    let rest = if rest > 0 { one(rest) } else { 0 };
    full * one(MIB as u64) + rest + "0\r\n".len() as u64 + line.len() as u64 + 2
}

/// How long to wait so that `done` bytes in that time are no more than the pace.
fn ahead(pace: Option<u64>, started: Instant, done: u64) -> Option<Duration> {
    let due = Duration::from_secs_f64(done as f64 / pace? as f64);
    due.checked_sub(started.elapsed())
}

/// Sends head and body. A connection that breaks under the body was refused early: the answer says more than a
/// broken pipe.
pub(crate) async fn send(
    client: &mut Client,
    prepared: &Prepared,
    pace: Option<u64>,
) -> io::Result<()> {
    let content = Content::get();
    let block = content.block();
    let (len, mut verifier) = match &prepared.body {
        Body::None => return client.send(&prepared.head).await,
        Body::Text(text) => {
            return client
                .send(&[&prepared.head, text.as_slice()].concat())
                .await;
        }
        Body::Plain(len) | Body::Trailer(len, _) => (*len, None),
        Body::Chunks(len, verifier) => (*len, Some(verifier.clone())),
    };
    let started = Instant::now();
    // Small bodies go out with the head, as clients do it.
    let mut wire = prepared.head.clone();
    let small = len <= SIGNED_CHUNK as u64;
    if !small {
        client.send(&wire).await?;
        wire.clear();
    }
    let mut done = 0;
    while done < len {
        let n = (len - done).min(MIB as u64) as usize;
        let piece = match (&prepared.body, &mut verifier) {
            (_, Some(verifier)) => {
                for (index, chunk) in block[..n].chunks(SIGNED_CHUNK).enumerate() {
                    let signature = verifier.sign_chunk(&content.chunk_hash(index, chunk.len()));
                    push_chunk(&mut wire, chunk, Some(&signature));
                }
                &[]
            }
            (Body::Trailer(..), _) if n == MIB => content.framed(),
            (Body::Trailer(..), _) => {
                push_chunk(&mut wire, &block[..n], None);
                &[]
            }
            _ if small => {
                wire.extend_from_slice(&block[..n]);
                &[]
            }
            _ => &block[..n],
        };
        if !small {
            let whole = if piece.is_empty() {
                wire.as_slice()
            } else {
                piece
            };
            if client.send(whole).await.is_err() {
                return Ok(());
            }
            wire.clear();
        }
        done += n as u64;
        if let Some(wait) = ahead(pace, started, done) {
            tokio::time::sleep(wait).await;
        }
    }
    match (&prepared.body, &mut verifier) {
        (_, Some(verifier)) => {
            let signature = verifier.sign_chunk(&sha256(&[]));
            push_chunk(&mut wire, &[], Some(&signature));
        }
        (Body::Trailer(_, line), _) => {
            wire.extend_from_slice(b"0\r\n");
            wire.extend_from_slice(line.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        _ => {}
    }
    if !wire.is_empty() && client.send(&wire).await.is_err() && small {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

fn push_chunk(wire: &mut Vec<u8>, chunk: &[u8], signature: Option<&[u8; 32]>) {
    wire.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
    if let Some(signature) = signature {
        wire.extend_from_slice(b";chunk-signature=");
        wire.extend_from_slice(hex(signature).as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(chunk);
    wire.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_lengths_are_those_of_the_wire() {
        let block = Content::get().block();
        for len in [0, 1, 1024, SIGNED_CHUNK, SIGNED_CHUNK + 1, MIB - 1] {
            let mut wire = Vec::new();
            for chunk in block[..len].chunks(SIGNED_CHUNK) {
                push_chunk(&mut wire, chunk, Some(&[7; 32]));
            }
            push_chunk(&mut wire, &[], Some(&[7; 32]));
            assert_eq!(wire.len() as u64, signed_len(len as u64), "{len}");
        }
        let line = "x-amz-checksum-crc32:AAAAAA==\r\n";
        let mut wire = Content::get().framed().to_vec();
        push_chunk(&mut wire, &block[..77], None);
        wire.extend_from_slice(format!("0\r\n{line}\r\n").as_bytes());
        assert_eq!(wire.len() as u64, trailer_len(MIB as u64 + 77, line));
    }
}
