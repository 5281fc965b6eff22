//! The body of a `PutObject` or `UploadPart` on its way to the store.

mod ahead;
mod chunks;
mod parts;
mod plain;
mod single;

use sealgate_uring::{Block, Connector, Spans};

use crate::types::{BackendError, Stored};
use ahead::AheadUpload;
pub(super) use parts::PartsUpload;
pub(super) use single::SingleUpload;

/// A body on its way to the store: exactly the declared number of bytes, the last of them with
/// [`S3Upload::finish`].
///
/// Dropped before that, the store keeps nothing.
///
/// The first block is the replay window: until a second one is asked for, any failure that a retry can mend is
/// mended here. Later, the client has to send the object again (S3-TRAPS 18).
pub struct S3Upload<C: Connector>(Way<C>);

enum Way<C: Connector> {
    /// As one request.
    Single(Box<SingleUpload<C>>),
    /// As a multipart upload: longer than one request may be (S3-TRAPS 26).
    Parts(Box<PartsUpload<C>>),
    /// The same, several parts at a time: the store is far.
    Ahead(Box<AheadUpload<C>>),
}

impl<C: Connector> From<SingleUpload<C>> for S3Upload<C> {
    fn from(upload: SingleUpload<C>) -> Self {
        Self(Way::Single(Box::new(upload)))
    }
}

impl<C: Connector> From<PartsUpload<C>> for S3Upload<C> {
    fn from(upload: PartsUpload<C>) -> Self {
        Self(Way::Parts(Box::new(upload)))
    }
}

impl<C: Connector> From<AheadUpload<C>> for S3Upload<C> {
    fn from(upload: AheadUpload<C>) -> Self {
        Self(Way::Ahead(Box::new(upload)))
    }
}

impl<C: Connector> S3Upload<C> {
    /// Sends `spans` of `block`, which is not the last of the body; it, or another one of its size, comes back. After an
    /// error nothing more is taken.
    pub async fn write(&mut self, block: Block, spans: Spans) -> (Result<(), BackendError>, Block) {
        match &mut self.0 {
            Way::Single(upload) => upload.write(block, spans).await,
            Way::Parts(upload) => upload.write(block, spans).await,
            Way::Ahead(upload) => upload.write(block, spans).await,
        }
    }

    /// Sends the last `spans` of `block` and reads the store's answer.
    pub async fn finish(self, block: Block, spans: Spans) -> (Result<Stored, BackendError>, Block) {
        match self.0 {
            Way::Single(upload) => upload.finish(block, spans).await,
            Way::Parts(upload) => upload.finish(block, spans).await,
            Way::Ahead(upload) => upload.finish(block, spans).await,
        }
    }
}
