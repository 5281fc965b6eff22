//! A request's body, as plaintext: framing removed, signatures and checksums verified.

use http::HeaderMap;
use sealgate_http1::{ChunkedDecoder, Framing, RequestHead};
use sealgate_s3::aws_chunked::AwsChunked;
use sealgate_s3::checksum::{Algorithm, BodyChecks, Known};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::sigv4::{Payload, Verified};
use sealgate_uring::{Block, Spans, Transport};

use self::framed::Framed;
use crate::client::Client;
use crate::failure::Failure;

mod framed;

/// A body that is read by [`Body::fill`] and must be closed by [`Body::finish`] before anything is committed.
pub(crate) struct Body {
    framing: Wire,
    aws: Option<Box<Framed>>,
    checks: Option<Box<BodyChecks>>,
    /// Plaintext bytes still to come, by what the head declared.
    left: u64,
    len: Option<u64>,
    expects_continue: bool,
    scratch: Vec<u8>,
}

enum Wire {
    Done,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
}

/// Decoded `Transfer-Encoding: chunked` bytes that the next layer has not used yet are kept at most this long.
const SCRATCH: usize = 64 << 10;

impl Body {
    /// What the head says of the body.
    pub(crate) fn new(
        head: &RequestHead,
        headers: &HeaderMap,
        verified: &Verified,
    ) -> Result<Self, S3Error> {
        let framing = match head.framing {
            Framing::Length(n) if n > 0 => Wire::Length(n),
            Framing::Chunked => Wire::Chunked(Box::default()),
            _ => Wire::Done,
        };
        let streaming = matches!(
            verified.payload,
            Payload::StreamingSigned { .. } | Payload::StreamingUnsignedTrailer
        );
        let len = if streaming {
            Some(sealgate_s3::aws_chunked::decoded_length(headers)?)
        } else {
            match &framing {
                Wire::Done => Some(0),
                Wire::Length(n) => Some(*n),
                Wire::Chunked(_) => None,
            }
        };
        let aws = if streaming {
            let decoder = AwsChunked::new(verified, headers, len.unwrap_or(0))?;
            Some(Box::new(Framed::new(decoder)))
        } else {
            None
        };
        let checks = BodyChecks::from_headers(headers, &verified.payload)?;
        Ok(Self {
            framing,
            aws,
            checks: (!checks.is_empty()).then(|| Box::new(checks)),
            left: len.unwrap_or(0),
            len,
            expects_continue: head.expect_continue,
            scratch: Vec::new(),
        })
    }

    /// Plaintext length; `MissingContentLength` where the client did not say.
    pub(crate) fn len(&self) -> Result<u64, S3Error> {
        self.len
            .ok_or_else(|| S3Error::new(ErrorCode::MissingContentLength))
    }

    /// Plaintext bytes still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Bytes that come next of a body that is not encoded, at least one.
    pub(crate) async fn peek<'c, T: Transport>(
        &mut self,
        client: &'c mut Client<T>,
    ) -> Result<&'c [u8], Failure> {
        self.begin(client).await?;
        if self.left == 0 || !self.is_identity() {
            return Err(incomplete());
        }
        if client.available().is_empty() {
            match client.receive(self.left).await {
                Ok(0) => return Err(truncated(client)),
                Ok(_) => {}
                Err(e) => return Err(broken(client, &e)),
            }
        }
        let raw = client.available();
        let n = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&raw[..n.min(raw.len())])
    }

    /// Moves on by `n` bytes of what [`Self::peek`] gave.
    pub(crate) fn used<T: Transport>(&mut self, client: &mut Client<T>, n: usize) {
        if let Some(checks) = &mut self.checks {
            checks.update(&client.available()[..n]);
        }
        client.consume(n);
        self.take_length(n);
        self.left -= n as u64;
    }

    /// The algorithm of the checksum that the client sends.
    pub(crate) fn checksum(&self) -> Option<Algorithm> {
        self.checks.as_ref()?.algorithm()
    }

    /// Has a checksum made where the client sends none: before the first byte.
    pub(crate) fn compute(&mut self, algorithm: Algorithm) {
        match &mut self.checks {
            Some(checks) => checks.ensure(algorithm),
            None => self.checks = Some(Box::new(BodyChecks::only(algorithm))),
        }
    }

    /// Whether the client sent something by which the body's integrity can be told.
    pub(crate) fn has_integrity(&self) -> bool {
        self.checks
            .as_ref()
            .is_some_and(|checks| checks.has_integrity())
    }

    /// Raw bytes still on the wire, when that is known and nobody is waiting for a `100 Continue`.
    pub(crate) fn unread(&self) -> Option<u64> {
        match &self.framing {
            _ if self.expects_continue => None,
            Wire::Done => Some(0),
            Wire::Length(n) => Some(*n),
            Wire::Chunked(_) => None,
        }
    }

    /// Whether plaintext can be read in place, without decoding.
    fn is_identity(&self) -> bool {
        self.aws.is_none() && matches!(self.framing, Wire::Length(_))
    }

    async fn begin<T: Transport>(&mut self, client: &mut Client<T>) -> Result<(), Failure> {
        if self.expects_continue {
            self.expects_continue = false;
            client
                .send_continue()
                .await
                .map_err(|e| Failure::Cut(format!("client: {e}")))?;
        }
        Ok(())
    }

    /// Reads at least one plaintext byte into `spans`, which hold no more than is left.
    pub(crate) async fn fill<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        block: Block,
        spans: Spans,
    ) -> (Result<usize, Failure>, Block) {
        if let Err(e) = self.begin(client).await {
            return (Err(e), block);
        }
        let (got, block) = if self.is_identity() {
            let (got, block) = client.read(block, spans).await;
            let got = match got {
                Ok(0) => Err(truncated(client)),
                Ok(n) => {
                    self.take_length(n);
                    Ok(n)
                }
                Err(e) => Err(broken(client, &e)),
            };
            (got, block)
        } else {
            self.decode(client, block, spans).await
        };
        if let Ok(n) = got {
            self.left -= n as u64;
            if let Some(checks) = &mut self.checks {
                let mut filled = spans;
                filled.to = filled.from + n;
                for range in filled.ranges() {
                    checks.update(&block[range]);
                }
            }
        }
        (got, block)
    }

    fn take_length(&mut self, n: usize) {
        if let Wire::Length(left) = &mut self.framing {
            *left -= n as u64;
            if *left == 0 {
                self.framing = Wire::Done;
            }
        }
    }

    async fn decode<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        block: Block,
        spans: Spans,
    ) -> (Result<usize, Failure>, Block) {
        let mut block = block;
        loop {
            let mut produced = 0;
            for range in spans.ranges() {
                let want = range.len();
                match self.step(client, &mut block[range]) {
                    Ok(n) => {
                        produced += n;
                        if n < want {
                            break;
                        }
                    }
                    Err(e) => return (Err(e), block),
                }
            }
            if produced > 0 {
                return (Ok(produced), block);
            }
            let (placed, back) = self.weave(client, block, spans).await;
            block = back;
            match placed {
                Some(Ok(0)) => {}
                Some(placed) => return (placed, block),
                None => {
                    if let Err(e) = self.more(client).await {
                        return (Err(e), block);
                    }
                }
            }
        }
    }

    /// Decodes what is buffered into `out`.
    fn step<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        out: &mut [u8],
    ) -> Result<usize, Failure> {
        let mut total = 0;
        loop {
            let (consumed, produced, done) = self.layers(client, &mut out[total..])?;
            total += produced;
            if total == out.len() || done || (consumed == 0 && produced == 0) {
                return Ok(total);
            }
        }
    }

    /// One pass through the layers: (raw bytes consumed, plaintext produced, ended).
    fn layers<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        out: &mut [u8],
    ) -> Result<(usize, usize, bool), Failure> {
        match (&mut self.framing, &mut self.aws) {
            (Wire::Chunked(te), Some(aws)) => {
                let mut moved = 0;
                if self.scratch.len() < SCRATCH {
                    let start = self.scratch.len();
                    self.scratch.resize(SCRATCH, 0);
                    let step = te
                        .decode(client.available(), &mut self.scratch[start..])
                        .map_err(|e| malformed(&e))?;
                    self.scratch.truncate(start + step.produced);
                    client.consume(step.consumed);
                    moved = step.consumed;
                    if step.done {
                        self.framing = Wire::Done;
                    }
                }
                let step = aws.decoder.decode(&self.scratch, out)?;
                self.scratch.drain(..step.consumed);
                Ok((moved + step.consumed, step.produced, step.done))
            }
            (Wire::Chunked(te), None) => {
                let step = te
                    .decode(client.available(), out)
                    .map_err(|e| malformed(&e))?;
                client.consume(step.consumed);
                if step.done {
                    self.framing = Wire::Done;
                }
                Ok((step.consumed, step.produced, step.done))
            }
            (Wire::Length(left), Some(aws)) => {
                let available = client.available();
                let n = available
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                let step = aws.decoder.decode(&available[..n], out)?;
                client.consume(step.consumed);
                self.take_length(step.consumed);
                Ok((step.consumed, step.produced, step.done))
            }
            (Wire::Done, Some(aws)) => {
                let step = aws.decoder.decode(&self.scratch, out)?;
                self.scratch.drain(..step.consumed);
                Ok((step.consumed, step.produced, step.done))
            }
            (Wire::Length(_) | Wire::Done, None) => Ok((0, 0, true)),
        }
    }

    async fn more<T: Transport>(&mut self, client: &mut Client<T>) -> Result<(), Failure> {
        if matches!(self.framing, Wire::Done) {
            return Err(incomplete());
        }
        let most = self.unread().unwrap_or(u64::MAX);
        match client.receive(most).await {
            Ok(0) => Err(truncated(client)),
            Ok(_) => Ok(()),
            Err(e) => Err(broken(client, &e)),
        }
    }

    /// Reads what follows the plaintext (last chunk, trailers) and verifies everything that the client declared.
    pub(crate) async fn finish<T: Transport>(
        &mut self,
        client: &mut Client<T>,
    ) -> Result<Known, Failure> {
        self.begin(client).await?;
        if self.left > 0 {
            return Err(incomplete());
        }
        loop {
            let mut nothing = [0u8; 0];
            let done = match (&self.framing, &self.aws) {
                (Wire::Done, None) => true,
                (Wire::Done, Some(aws)) => aws.decoder.is_done(),
                _ => false,
            };
            if done {
                break;
            }
            let (consumed, _, _) = self.layers(client, &mut nothing)?;
            if consumed == 0 {
                if matches!(self.framing, Wire::Length(_))
                    && self.aws.as_ref().is_some_and(|aws| aws.decoder.is_done())
                {
                    // More raw bytes were declared than the chunks hold.
                    return Err(incomplete());
                }
                self.more(client).await?;
            }
        }
        let aws = self.aws.as_ref();
        let trailers = aws.map_or(&[][..], |aws| aws.decoder.trailers());
        match self.checks.take() {
            Some(checks) => Ok(checks.finish(trailers)?),
            None => Ok(Known::default()),
        }
    }

    /// The whole body of a control request (XML), verified; at most `limit` bytes.
    pub(crate) async fn document<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        limit: usize,
    ) -> Result<Vec<u8>, Failure> {
        self.begin(client).await?;
        let mut document = Vec::new();
        let mut ended = self.len == Some(0);
        while !ended {
            if self.is_identity() {
                let left = self.left;
                let raw = match client.raw(left).await {
                    Ok(raw) => raw,
                    Err(e) => return Err(Failure::Cut(format!("client: {e}"))),
                };
                let n = raw.len();
                document.extend_from_slice(raw);
                if n == 0 {
                    return Err(truncated(client));
                }
                client.consume(n);
                self.take_length(n);
                self.left -= n as u64;
                ended = self.left == 0;
            } else {
                let start = document.len();
                document.resize(start + 4096, 0);
                let (consumed, produced, done) = self.layers(client, &mut document[start..])?;
                document.truncate(start + produced);
                self.left = self.left.saturating_sub(produced as u64);
                ended = done || (self.len.is_some() && self.left == 0);
                if !ended && consumed == 0 && produced == 0 {
                    self.more(client).await?;
                }
            }
            if document.len() > limit {
                return Err(S3Error::new(ErrorCode::MaxMessageLengthExceeded).into());
            }
        }
        if let Some(checks) = &mut self.checks {
            checks.update(&document);
        }
        self.finish(client).await?;
        Ok(document)
    }
}

fn malformed(e: &sealgate_http1::ParseError) -> Failure {
    Failure::new(
        ErrorCode::InvalidRequest,
        format!("The request body's chunked framing is broken: {e}"),
    )
}

fn incomplete() -> Failure {
    S3Error::new(ErrorCode::IncompleteBody).into()
}

/// The client closed, or was too slow, before the body was whole.
fn truncated<T: Transport>(client: &Client<T>) -> Failure {
    if client.conn.watch().expired() {
        S3Error::new(ErrorCode::RequestTimeout).into()
    } else {
        incomplete()
    }
}

fn broken<T: Transport>(client: &Client<T>, e: &std::io::Error) -> Failure {
    if client.conn.watch().expired() {
        S3Error::new(ErrorCode::RequestTimeout).into()
    } else {
        Failure::Cut(format!("client: {e}"))
    }
}
