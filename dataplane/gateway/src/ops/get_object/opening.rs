//! An object while it is read: its bytes in order, then its trailer.

use std::rc::Rc;

use sealgate_backend::Body as StoreBody;
use sealgate_envelope::{Layout, PlainLen, Trailer, TrailerVerifier};
use sealgate_uring::{Block, Connector, Spans};

use crate::ahead::Feed;
use crate::failure::Failure;
use crate::object::Sealed;
use crate::parts::PartMap;

/// An object being read.
pub(crate) struct Opening<C: Connector> {
    pub(super) feed: Feed<C>,
    /// Plaintext bytes of all chunks to open, wanted or not; and whether they are of one stream.
    pub(super) extent: (u64, bool),
    /// Of a multipart object.
    pub(super) map: Option<Rc<PartMap>>,
    /// Whether everything is read, so that the trailer follows.
    pub(super) whole: bool,
}

impl<C: Connector> Opening<C> {
    pub(crate) fn is_done(&self) -> bool {
        self.feed.is_done()
    }

    pub(crate) async fn next(&mut self, block: Block) -> (Result<Spans, Failure>, Block) {
        self.feed.next(block).await
    }

    /// After the last chunk: reads the trailer, if the whole object was read, and verifies it. `block` holds the last
    /// bytes, which are kept: the trailer is read into `spare`, or behind byte `used` of `block`.
    pub(crate) async fn verify(
        &mut self,
        sealed: &Sealed,
        block: Block,
        spare: &mut Option<Block>,
        used: usize,
    ) -> (Result<Option<Trailer>, Failure>, Block) {
        if !self.whole {
            return (Ok(None), block);
        }
        if let Layout::Empty { checksum } = sealed.envelope.fields.layout {
            return (Ok(Some(Trailer::of_nothing(checksum))), block);
        }
        let verifier = match &self.map {
            Some(map) => TrailerVerifier::multipart(&map.trailer),
            None => match TrailerVerifier::single(PlainLen(sealed.plain_len)) {
                Ok(verifier) => verifier,
                Err(e) => return (Err(Failure::tampered(e)), block),
            },
        };
        let Some(body) = self.feed.body() else {
            let what = "the object's end was not read";
            return (Err(Failure::Cut(what.into())), block);
        };
        let (read, block) = match spare.take() {
            Some(other) => {
                let (read, other) = read_trailer(body, verifier, other, 0).await;
                *spare = Some(other);
                (read, block)
            }
            None => read_trailer(body, verifier, block, used).await,
        };
        let opened = read.and_then(|verifier| {
            verifier
                .finish(&sealed.dek, &sealed.envelope.fields.object_id)
                .map_err(|e| Failure::tampered(format_args!("the trailer: {e}")))
        });
        (opened.map(Some), block)
    }

    /// Reads a few bytes that the answer did not need, so that the connection to the store can be kept.
    pub(crate) async fn pass_rest(&mut self, block: Block) {
        let mut block = block;
        let Some(body) = self.feed.body() else {
            return;
        };
        while (1..=MAX_REST).contains(&body.left()) {
            let end = block.len();
            let (got, back) = body.read(block, Spans::contiguous(0..end)).await;
            block = back;
            if !matches!(got, Ok(n) if n > 0) {
                break;
            }
        }
    }
}

/// Most bytes that are read for nothing but to keep a connection; a small object's trailer is 136.
const MAX_REST: u64 = 64 << 10;

/// Passes the rest of a body through `verifier`.
async fn read_trailer<C: Connector>(
    body: &mut StoreBody<C>,
    verifier: TrailerVerifier,
    block: Block,
    at: usize,
) -> (Result<TrailerVerifier, Failure>, Block) {
    let mut verifier = verifier;
    let mut block = block;
    while verifier.remaining() > 0 {
        let room = block.len() - at;
        let n = usize::try_from(verifier.remaining())
            .unwrap_or(usize::MAX)
            .min(room);
        let (got, back) = body.read(block, Spans::contiguous(at..at + n)).await;
        block = back;
        let pushed = match got {
            Ok(0) => Err(Failure::tampered("the object ends within its trailer")),
            Ok(n) => verifier
                .push(&block[at..at + n])
                .map_err(|e| Failure::tampered(format_args!("the trailer: {e}"))),
            Err(e) => Err(e.into()),
        };
        if let Err(failure) = pushed {
            return (Err(failure), block);
        }
    }
    (Ok(verifier), block)
}
