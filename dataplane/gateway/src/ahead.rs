//! Reading ahead of a client from a store that is far away: windows of the object, one after the other, each by a
//! ranged request on a connection of its own, and as many at a time as the client has use for.
//!
//! Each window is read and opened by a task of its own, so that only authenticated bytes wait here. They are handed on
//! in order. The window that the client is at has a claim on the two blocks of the stream; the others take what the pool
//! can spare, and where it can spare nothing their bytes wait in the kernel, or at the store.
//!
//! It begins where the store may be far, and ends where it is not: as soon as an answer was quick, no more windows begin,
//! and what is left behind the last one comes by one request, as it would have from the start.

mod windows;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sealgate_backend::types::{BackendError, Location, ObjectInfo};
use sealgate_backend::{Body as StoreBody, Store};
use sealgate_envelope::{Dek, ObjectId, SLOT, STREAM_HEADER};
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Block, Connector, Pool, Spans};

use crate::failure::Failure;
use crate::open::{Opener, Piece};
use windows::{Shared, State, cut};

/// Stored bytes of a window: 8 MiB of plaintext, with a stream's header and a short last chunk. Long enough that its
/// round trip is a small share of its time at the rate of one connection, short enough that several fit into the pool.
const WINDOW: u64 = (512 * SLOT + STREAM_HEADER + SLOT) as u64;
/// What is asked for at first of an object whose length is not known: objects of up to 8 MiB are read by one request,
/// trailer and all.
pub(crate) const FIRST: u64 = (520 * SLOT + STREAM_HEADER) as u64;
/// Stored bytes from which on it is worth while to leave a request that has begun.
pub(crate) const LONG: u64 = 4 * WINDOW;
/// Bytes behind a window that are read for nothing but to keep the connection.
const MAX_REST: u64 = 256 << 10;
/// Windows at a time, to begin with and at least, where as many are allowed.
const LEAST: usize = 2;
/// Blocks that the client takes between two looks at who waits for whom.
const LOOK_EVERY: u32 = 2;

/// Where an object's bytes come from: one request, or several at a time.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is that of every small request, which must not allocate"
)]
pub(crate) enum Feed<C: Connector> {
    One(Opener<C>),
    Ahead(Box<Ahead<C>>),
}

impl<C: Connector> Feed<C> {
    /// Nothing more to open.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::One(opener) => opener.is_done(),
            Self::Ahead(ahead) => ahead.last.is_some(),
        }
    }

    /// Bytes that are open, of all that are wanted the next ones, in `block` or in another one.
    pub(crate) async fn next(&mut self, block: Block) -> (Result<Spans, Failure>, Block) {
        match self {
            Self::One(opener) => opener.next(block).await,
            Self::Ahead(ahead) if ahead.shared.is_drained() => {
                // Seldom, so it takes no place in the future of every read.
                match Box::pin(ahead.shared.rest()).await {
                    Ok(mut opener) => {
                        let next = opener.next(block).await;
                        *self = Self::One(opener);
                        next
                    }
                    Err(failure) => (Err(failure), block),
                }
            }
            Self::Ahead(ahead) => ahead.next(block).await,
        }
    }

    /// What is left of the store's body once everything is open: the object's trailer, after a read of everything.
    pub(crate) fn body(&mut self) -> Option<&mut StoreBody<C>> {
        match self {
            Self::One(opener) => Some(opener.body()),
            Self::Ahead(ahead) => ahead.last.as_mut().map(Opener::body),
        }
    }
}

/// What is read.
pub(crate) struct Plan<C: Connector> {
    pub(crate) pool: Pool,
    pub(crate) store: Store<C>,
    pub(crate) at: Location,
    pub(crate) info: ObjectInfo,
    pub(crate) dek: Rc<Dek>,
    pub(crate) object_id: ObjectId,
    pub(crate) pieces: VecDeque<Piece>,
    /// Where the pieces, and the trailer if it is read too, lie in the stored object.
    pub(crate) stored: Range<u64>,
    /// Windows at a time at most.
    pub(crate) most: usize,
}

/// An object that is read in windows.
pub(crate) struct Ahead<C: Connector> {
    shared: Rc<Shared<C>>,
    /// The last window's, all of whose chunks have been handed on.
    last: Option<Opener<C>>,
    most: usize,
    /// How long the client has waited for the store since the last look.
    waited: Duration,
    looked: Instant,
    blocks: u32,
}

impl<C: Connector> Ahead<C> {
    /// Begins with `found`, of which the first window is.
    pub(crate) fn new(plan: Plan<C>, (got, body): (Range<u64>, StoreBody<C>)) -> Self {
        let Plan {
            pieces: mut rest,
            stored,
            most,
            ..
        } = plan;
        let mut room = (got.end.min(stored.end) - stored.start).min(FIRST);
        if got.end < stored.end {
            // The object's end comes by another request, its trailer behind its last chunk.
            room = room.min(rest.iter().map(Piece::len).sum::<u64>() - 1);
        }
        let (pieces, len) = cut(&mut rest, room, true);
        let shared = Rc::new(Shared {
            pool: plan.pool,
            store: plan.store,
            at: plan.at,
            info: plan.info,
            dek: plan.dek,
            object_id: plan.object_id,
            end: stored.end,
            state: RefCell::new(State {
                rest,
                next: stored.start,
                windows: VecDeque::new(),
                first: 0,
                free: Vec::new(),
                limit: LEAST.min(most),
                stopped: false,
                client: None,
                waiting: Vec::new(),
            }),
        });
        let pass = stored.start - got.start;
        if !pieces.is_empty() {
            shared.begin(pieces, len, Some((body, pass)));
        }
        shared.start();
        Self {
            shared,
            last: None,
            most,
            waited: Duration::ZERO,
            looked: Instant::now(),
            blocks: 0,
        }
    }

    /// The next bytes in order, in a block of their own; `block` is for others.
    pub(crate) async fn next(&mut self, block: Block) -> (Result<Spans, Failure>, Block) {
        self.shared.give(block);
        let begun = Instant::now();
        let next = poll_fn(|cx| self.shared.poll_next(cx)).await;
        self.waited += begun.elapsed();
        let ((spans, ended), block) = match next {
            (Ok(next), block) => (next, block),
            (Err(e), block) => return (Err(e), block),
        };
        if ended {
            self.last = self.shared.pass_on();
        }
        self.look();
        self.shared.start();
        (Ok(spans), block)
    }

    /// More windows while the client waits for the store, fewer when all of them have come before it asks.
    fn look(&mut self) {
        self.blocks += 1;
        if self.blocks < LOOK_EVERY {
            return;
        }
        let total = self.looked.elapsed();
        let mut state = self.shared.state.borrow_mut();
        if self.waited * 2 >= total {
            state.limit = (state.limit * 2).min(self.most);
        } else if self.waited * 8 <= total && state.windows.iter().all(|w| w.done) {
            state.limit = (state.limit - 1).max(LEAST.min(self.most));
        }
        (self.blocks, self.waited, self.looked) = (0, Duration::ZERO, Instant::now());
    }
}

impl<C: Connector> Drop for Ahead<C> {
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.stopped = true;
        for window in state.windows.drain(..) {
            // One that is read to its end has nothing to stop any more.
            window.stop.into_iter().for_each(|stop| stop.stop());
        }
        state.free.clear();
        state.wake_windows();
    }
}

/// An object that changed between two requests of one read: the client should simply ask again.
pub(crate) fn changed(error: BackendError) -> Failure {
    match error {
        BackendError::Answer(e)
            if matches!(
                e.code,
                ErrorCode::PreconditionFailed | ErrorCode::NoSuchKey | ErrorCode::InvalidRange
            ) =>
        {
            Failure::replaced()
        }
        e => e.into(),
    }
}
