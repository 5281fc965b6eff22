//! Bodies in `aws-chunked` framing, received as plain ones are: payload by scatter reads into its place, and only the
//! framing beside it. Where the framing stands is a guess ([`AwsChunked::expected`]); what a wrong guess has misplaced
//! is put in order and decoded like anything that was received before its place was known.

use sealgate_s3::aws_chunked::AwsChunked;
use sealgate_uring::{Block, Spans, Transport, Weave};

use super::{Body, Wire, broken, truncated};
use crate::client::Client;
use crate::failure::Failure;

/// Chunks below this are received in bulk and moved: that costs less than their iovecs and system calls. Bytes.
const SMALL: u64 = 8 << 10;

/// Bodies below this are received in bulk unless their first chunk came with the head: one system call, not two. Bytes.
const SMALL_BODY: u64 = 32 << 10;

/// Bytes that are read on a guess of where chunks begin, and that a wrong one has to be put in order: at first and after a
/// wrong guess, and at most. Each right one doubles them.
const AHEAD: usize = 128 << 10;
const MOST_AHEAD: usize = 1 << 20;

/// The framing of a body.
pub(super) struct Framed {
    pub(super) decoder: AwsChunked,
    /// The read that is under way.
    weave: Weave,
    /// Bytes to read on a guess.
    ahead: usize,
}

impl Framed {
    pub(super) fn new(decoder: AwsChunked) -> Self {
        Self {
            decoder,
            weave: Weave::new(Spans::contiguous(0..0)),
            ahead: AHEAD,
        }
    }

    /// Plans a read of payload into `spans`, of a body of which `wire` raw bytes are left and `left` bytes of payload;
    /// false when it is better received in bulk.
    fn plan(&mut self, spans: Spans, wire: u64, left: u64) -> bool {
        let small = match self.decoder.chunk_len() {
            Some(chunk) => chunk < SMALL,
            None => left < SMALL_BODY,
        };
        if small {
            return false;
        }
        self.weave = Weave::new(spans);
        let mut wire = usize::try_from(wire).unwrap_or(usize::MAX);
        let mut ahead = self.ahead;
        for expected in self.decoder.expected() {
            // Framing may be read beyond the body's end, as what follows a head is; payload may not.
            wire = wire.saturating_sub(expected.framing);
            let mut payload = usize::try_from(expected.payload).unwrap_or(usize::MAX);
            if expected.framing > 0 {
                payload = payload.min(ahead);
                ahead -= payload;
            }
            payload = payload.min(wire);
            wire -= payload;
            let more = self.weave.push(expected.framing, payload);
            if !more || payload as u64 != expected.payload {
                break;
            }
        }
        !self.weave.is_empty()
    }
}

impl Body {
    /// Reads payload into its place, if that is the best way to get at it: how much there is of it now, which may be
    /// none. `None`: it is not.
    pub(super) async fn weave<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        block: Block,
        spans: Spans,
    ) -> (Option<Result<usize, Failure>>, Block) {
        let (Wire::Length(wire), Some(framed)) = (&self.framing, &mut self.aws) else {
            return (None, block);
        };
        if !client.available().is_empty() || !framed.plan(spans, *wire, self.left) {
            return (None, block);
        }
        let (got, block) = client.read_woven(block, &framed.weave).await;
        let placed = match got {
            Ok(0) => Err(truncated(client)),
            Ok(n) => self.place(client, &block, n),
            Err(e) => Err(broken(client, &e)),
        };
        (Some(placed), block)
    }

    /// Decodes a read of `got` bytes as far as it is as planned; what lies beyond goes back to the client's buffer, also
    /// after an error, so that what is still to come of the body remains known. How much payload is in its place.
    fn place<T: Transport>(
        &mut self,
        client: &mut Client<T>,
        block: &Block,
        got: usize,
    ) -> Result<usize, Failure> {
        let (Wire::Length(wire), Some(framed)) = (&mut self.framing, &mut self.aws) else {
            return Ok(0);
        };
        let mut read = Read {
            rest: got,
            ..Read::default()
        };
        let result = read.follow(framed, client, block);
        if read.rest > 0 {
            client.straighten(&framed.weave, block, got - read.rest..got);
            framed.ahead = AHEAD;
        } else {
            framed.ahead = MOST_AHEAD.min(framed.ahead * 2);
        }
        *wire -= read.used;
        if *wire == 0 {
            self.framing = Wire::Done;
        }
        result.map(|()| read.placed)
    }
}

/// What became of the bytes of one read.
#[derive(Default)]
struct Read {
    /// Raw bytes that have been used.
    used: u64,
    /// Payload bytes among them.
    placed: usize,
    /// Bytes that are neither used nor in the client's buffer in their order.
    rest: usize,
}

impl Read {
    fn follow<T: Transport>(
        &mut self,
        framed: &mut Framed,
        client: &mut Client<T>,
        block: &Block,
    ) -> Result<(), Failure> {
        let Framed { decoder, weave, .. } = framed;
        let mut spans = weave.spans();
        for turn in weave.turns() {
            if turn.payload == 0 {
                // How much of this is framing is not known: it stays in the buffer.
                self.rest = 0;
                return Ok(());
            }
            let framing = turn.aside.min(self.rest);
            let step = decoder.decode(&client.available()[..framing], &mut [])?;
            client.consume(step.consumed);
            self.used(step.consumed);
            let expected = turn.payload.min(self.rest);
            let left = usize::try_from(decoder.payload_left()).unwrap_or(usize::MAX);
            let here = expected.min(left);
            if step.consumed < framing || here == 0 {
                return Ok(());
            }
            self.used(here);
            self.placed += here;
            for range in spans.prefix(here).ranges() {
                decoder.in_place(&block[range])?;
            }
            spans.advance(here);
            if here < expected {
                return Ok(());
            }
        }
        Ok(())
    }

    fn used(&mut self, n: usize) {
        self.used += n as u64;
        self.rest -= n;
    }
}

#[cfg(test)]
mod tests;
