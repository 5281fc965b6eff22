//! Stored objects as sources of plaintext: for copies that have to go through the gateway.

use sealgate_backend::Body as StoreBody;
use sealgate_s3::checksum::{Hasher, Known};
use sealgate_uring::{Block, Connector, Spans};

use crate::checksums;
use crate::failure::Failure;
use crate::object::Sealed;
use crate::ops::Opening;
use crate::seal::Source;

/// A sealed object that is opened as it is read.
pub(crate) struct FromSealed<'s, C: Connector> {
    pub(crate) opening: Opening<C>,
    pub(crate) sealed: &'s Sealed,
    /// The block that the next run is opened in, and what of the last one has not been taken yet.
    pub(crate) block: Option<Block>,
    pub(crate) ready: Spans,
}

impl<C: Connector> Source for FromSealed<'_, C> {
    async fn fill(&mut self, block: Block, spans: Spans) -> (Result<usize, Failure>, Block) {
        let Some(mut opened) = self.block.take() else {
            return (
                Err(Failure::Cut("the block of a copy was lost".into())),
                block,
            );
        };
        while self.ready.is_empty() {
            if self.opening.is_done() {
                self.block = Some(opened);
                return (
                    Err(Failure::tampered("the object holds less than it says")),
                    block,
                );
            }
            let (next, back) = self.opening.next(opened).await;
            opened = back;
            match next {
                Ok(spans) => self.ready = spans,
                Err(e) => return (Err(e), block),
            }
        }
        let mut block = block;
        let mut moved = 0;
        for to in spans.ranges() {
            let mut to = to;
            while !to.is_empty() && !self.ready.is_empty() {
                let from = self.ready.first();
                let n = from.len().min(to.len());
                block[to.start..to.start + n].copy_from_slice(&opened[from.start..from.start + n]);
                self.ready.advance(n);
                to.start += n;
                moved += n;
            }
        }
        self.block = Some(opened);
        (Ok(moved), block)
    }

    async fn finish(&mut self) -> Result<Known, Failure> {
        let Some(mut block) = self.block.take() else {
            return Err(Failure::Cut("the block of a copy was lost".into()));
        };
        // An empty object, and an empty last part, are a chunk too, which nobody has asked to be filled from.
        while !self.opening.is_done() {
            let (next, back) = self.opening.next(block).await;
            block = back;
            if !next?.is_empty() {
                return Err(Failure::tampered("the object holds more than it says"));
            }
        }
        let (verified, block) = self.opening.verify(self.sealed, block, &mut None, 0).await;
        self.block = Some(block);
        verified.map(|trailer| trailer.map_or_else(Known::default, |t| checksums::known(&t)))
    }
}

/// A source whose checksum is made as it is read.
pub(crate) struct Summed<'s, S> {
    pub(crate) source: &'s mut S,
    pub(crate) hasher: Option<Hasher>,
}

impl<S: Source> Source for Summed<'_, S> {
    async fn fill(&mut self, block: Block, spans: Spans) -> (Result<usize, Failure>, Block) {
        let (got, block) = self.source.fill(block, spans).await;
        if let (Ok(n), Some(hasher)) = (&got, &mut self.hasher) {
            let mut left = *n;
            for span in spans.ranges() {
                let n = span.len().min(left);
                hasher.update(&block[span.start..span.start + n]);
                left -= n;
            }
        }
        (got, block)
    }

    async fn finish(&mut self) -> Result<Known, Failure> {
        let known = self.source.finish().await?;
        Ok(Known {
            checksum: self.hasher.take().map(Hasher::finish),
            ..known
        })
    }
}

/// An object that was never sealed.
pub(crate) struct FromStore<C: Connector> {
    pub(crate) body: StoreBody<C>,
}

impl<C: Connector> Source for FromStore<C> {
    async fn fill(&mut self, block: Block, spans: Spans) -> (Result<usize, Failure>, Block) {
        let (got, block) = self.body.read(block, spans).await;
        match got {
            Ok(0) => (
                Err(Failure::Cut("the store's body ends too early".into())),
                block,
            ),
            Ok(n) => (Ok(n), block),
            Err(e) => (Err(e.into()), block),
        }
    }

    async fn finish(&mut self) -> Result<Known, Failure> {
        Ok(Known::default())
    }
}
