//! Reading ahead of a client from a store that is far away: windows of the object, one after the other, each by a
//! ranged request on a connection of its own, and as many at a time as the client has use for.
//!
//! Each window is read and opened by a task of its own, so that only authenticated bytes wait here. They are handed on
//! in order. The window that the client is at has a claim on the two blocks of the stream; the others take what the pool
//! can spare, and where it can spare nothing their bytes wait in the kernel, or at the store.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use sealgate_backend::s3::Stop;
use sealgate_backend::types::{BackendError, GetRequest, Location, ObjectInfo};
use sealgate_backend::{Body as StoreBody, Store};
use sealgate_envelope::{Dek, ObjectId, SLOT, STREAM_HEADER};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Block, BlockSize, Connector, Pool, Spans, spawn};

use crate::failure::Failure;
use crate::open::{Opener, Piece};

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

struct Shared<C: Connector> {
    pool: Pool,
    store: Store<C>,
    at: Location,
    info: ObjectInfo,
    dek: Rc<Dek>,
    object_id: ObjectId,
    end: u64,
    state: RefCell<State<C>>,
}

struct State<C: Connector> {
    /// What no window has, and where in the stored object it begins.
    rest: VecDeque<Piece>,
    next: u64,
    /// In order; the first one is where the client is, and has this number.
    windows: VecDeque<Window<C>>,
    first: u64,
    free: Vec<Block>,
    /// Windows at a time now.
    limit: usize,
    stopped: bool,
    client: Option<Waker>,
    /// Windows that wait for blocks, or for a stream's header.
    waiting: Vec<Waker>,
}

struct Window<C: Connector> {
    ready: VecDeque<(Spans, Block)>,
    done: bool,
    failed: Option<Failure>,
    stop: Option<Rc<Stop>>,
    /// The last window's, for the trailer that follows.
    opener: Option<Opener<C>>,
}

impl<C: Connector> State<C> {
    fn window(&mut self, number: u64) -> Option<&mut Window<C>> {
        let place = number.checked_sub(self.first)?;
        self.windows.get_mut(usize::try_from(place).ok()?)
    }

    fn wake_windows(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wake_client(&mut self) {
        self.client.take().into_iter().for_each(Waker::wake);
    }
}

/// Takes a window of about `room` stored bytes off the front of `rest`: whole streams, or a part of one that is longer.
/// A stream is cut at the front of a window only, so that its header comes first, and not when the window is all but
/// read; unless the window `must_fit`, because it has been asked for already.
fn cut(rest: &mut VecDeque<Piece>, room: u64, must_fit: bool) -> (VecDeque<Piece>, u64) {
    let (mut window, mut len) = (VecDeque::with_capacity(1), 0);
    while let Some(piece) = rest.front_mut() {
        let whole = piece.len();
        let left = room - len;
        let fits = whole <= left || window.is_empty() && !must_fit && whole <= room + room / 2;
        if fits {
            len += whole;
            window.extend(rest.pop_front());
            if len >= room {
                break;
            }
            continue;
        }
        let can_cut = window.is_empty() || must_fit && left > MAX_REST;
        if can_cut && let Some(front) = piece.split_off_front(left) {
            len += front.len();
            window.push_back(front);
        }
        break;
    }
    (window, len)
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

impl<C: Connector> Shared<C> {
    /// Begins windows until there are as many as there may be.
    fn start(self: &Rc<Self>) {
        loop {
            let mut state = self.state.borrow_mut();
            if state.rest.is_empty() || state.windows.len() >= state.limit.max(1) {
                return;
            }
            let (pieces, len) = cut(&mut state.rest, WINDOW, false);
            drop(state);
            self.begin(pieces, len, None);
        }
    }

    fn begin(
        self: &Rc<Self>,
        pieces: VecDeque<Piece>,
        len: u64,
        found: Option<(StoreBody<C>, u64)>,
    ) {
        let mut state = self.state.borrow_mut();
        let number = state.first + state.windows.len() as u64;
        let start = state.next;
        let is_last = state.rest.is_empty();
        state.next = if is_last { self.end } else { start + len };
        let range = start..state.next;
        state.windows.push_back(Window {
            ready: VecDeque::new(),
            done: false,
            failed: None,
            stop: None,
            opener: None,
        });
        drop(state);
        let shared = Rc::clone(self);
        spawn(async move {
            let _counted = Counted::new(&shared.store);
            let read = shared.read(number, pieces, range, found, is_last).await;
            if let Err(failure) = read {
                let mut state = shared.state.borrow_mut();
                if let Some(window) = state.window(number) {
                    window.failed = Some(failure);
                }
                state.wake_client();
            }
        });
    }

    /// Reads and opens a window.
    async fn read(
        &self,
        number: u64,
        pieces: VecDeque<Piece>,
        range: Range<u64>,
        found: Option<(StoreBody<C>, u64)>,
        is_last: bool,
    ) -> Result<(), Failure> {
        let (mut body, pass) = match found {
            Some(found) => found,
            None => (self.fetch(range).await?, 0),
        };
        let stop = body.stop();
        match self.state.borrow_mut().window(number) {
            Some(window) => window.stop = stop,
            None => return Ok(()),
        }
        if self.known_header(&pieces).await.is_none() {
            return Ok(());
        }
        let mut opener = Opener::new(body, Rc::clone(&self.dek), self.object_id, pieces, pass);
        while !opener.is_done() {
            let Some(block) = poll_fn(|cx| self.poll_block(number, cx)).await else {
                return Ok(());
            };
            let (spans, block) = opener.next(block).await;
            let mut state = self.state.borrow_mut();
            state.wake_windows();
            state.wake_client();
            let Some(window) = state.window(number) else {
                return Ok(());
            };
            let spans = match spans {
                Ok(spans) => spans,
                Err(failure) => {
                    state.free.push(block);
                    return Err(failure);
                }
            };
            window.ready.push_back((spans, block));
            if opener.is_done() {
                window.done = true;
                window.stop = None;
                if is_last {
                    window.opener = Some(opener);
                    return Ok(());
                }
                break;
            }
        }
        // A few bytes more, and the connection can be kept.
        let body = opener.body();
        if (1..=MAX_REST).contains(&body.left())
            && let Ok([mut block]) = self.pool.try_lease_spare::<1>(BlockSize::Small)
        {
            while body.left() > 0 {
                let end = block.len();
                let (got, back) = body.read(block, Spans::contiguous(0..end)).await;
                block = back;
                if !matches!(got, Ok(n) if n > 0) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A range of the very object that is being read: by its name, and if it has been replaced there, by its version.
    async fn fetch(&self, range: Range<u64>) -> Result<StoreBody<C>, Failure> {
        let request = GetRequest {
            range: Some((range.start, Some(range.end))),
            conditions: Conditions::if_match(self.info.etag.clone()),
        };
        let mut answer = self.store.get(&self.at, &request).await;
        let is_gone = |e: &BackendError| {
            matches!(e, BackendError::Answer(e)
                if matches!(e.code, ErrorCode::PreconditionFailed | ErrorCode::NoSuchKey))
        };
        let version = self.info.headers.get("x-amz-version-id");
        if answer.as_ref().is_err_and(is_gone)
            && self.at.version.is_none()
            && let Some(version) = version.and_then(|v| v.to_str().ok())
        {
            let at = self.at.at_version(Some(version.to_owned()));
            answer = self.store.get(&at, &request).await;
        }
        let (info, got, body) = answer.map_err(changed)?;
        if info.etag != self.info.etag || info.len != self.info.len {
            return Err(Failure::replaced());
        }
        if got != range {
            return Err(Failure::tampered(
                "the store's answer is shorter than the object",
            ));
        }
        Ok(body)
    }

    /// Waits for the header of the stream in whose middle the window begins; `None` when nobody needs it any more.
    async fn known_header(&self, pieces: &VecDeque<Piece>) -> Option<()> {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.stopped {
                return Poll::Ready(None);
            }
            if pieces.front().is_none_or(Piece::has_header) {
                return Poll::Ready(Some(()));
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// A block for window `number`; `None` when nobody needs it any more.
    fn poll_block(&self, number: u64, cx: &Context<'_>) -> Poll<Option<Block>> {
        let mut state = self.state.borrow_mut();
        if state.stopped {
            return Poll::Ready(None);
        }
        // The stream's own blocks never all wait behind the window that the client is at.
        let is_first = number <= state.first;
        let kept = if is_first { 0 } else { 1 };
        if state.free.len() > kept {
            return Poll::Ready(state.free.pop());
        }
        if let Ok([block]) = self.pool.try_lease_spare::<1>(BlockSize::Large) {
            return Poll::Ready(Some(block));
        }
        if !is_first {
            state.limit = (state.limit - 1).max(1);
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// Takes a block back.
    fn give(&self, block: Block) {
        let mut state = self.state.borrow_mut();
        state.free.push(block);
        if state.waiting.is_empty() {
            // What is more than the stream's own, others may need more.
            state.free.truncate(2);
        }
        state.wake_windows();
    }

    /// The next bytes, and whether they are the last of their window.
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.state.borrow_mut();
        let Some(window) = state.windows.front_mut() else {
            let what = "there is nothing more to read of the object";
            return self.fail(&mut state, Failure::Cut(what.into()), cx);
        };
        if let Some((spans, block)) = window.ready.pop_front() {
            let ended = window.done && window.ready.is_empty();
            return Poll::Ready((Ok((spans, ended)), block));
        }
        if let Some(failure) = window.failed.take() {
            return self.fail(&mut state, failure, cx);
        }
        state.client = Some(cx.waker().clone());
        Poll::Pending
    }

    fn fail(&self, state: &mut State<C>, failure: Failure, cx: &Context<'_>) -> Poll<Next> {
        match state.free.pop() {
            Some(block) => Poll::Ready((Err(failure), block)),
            None => {
                // Whoever has it gives it back.
                if let Some(window) = state.windows.front_mut() {
                    window.failed = Some(failure);
                }
                state.client = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The client has all of the first window: on to the next one. The opener of the last one.
    fn pass_on(&self) -> Option<Opener<C>> {
        let mut state = self.state.borrow_mut();
        let window = state.windows.pop_front()?;
        state.first += 1;
        state.wake_windows();
        window.opener
    }
}

/// Bytes in a block of their own, and whether they are the last of their window.
type Next = (Result<(Spans, bool), Failure>, Block);

/// Counts a range that is being read.
struct Counted<C: Connector>(Store<C>);

impl<C: Connector> Counted<C> {
    fn new(store: &Store<C>) -> Self {
        if let Store::S3(s3) = store {
            let counters = s3.counters();
            counters
                .parallel_reads
                .set(counters.parallel_reads.get() + 1);
            counters
                .parallel_ranges
                .set(counters.parallel_ranges.get() + 1);
        }
        Self(store.clone())
    }
}

impl<C: Connector> Drop for Counted<C> {
    fn drop(&mut self) {
        if let Store::S3(s3) = &self.0 {
            let counters = s3.counters();
            counters
                .parallel_reads
                .set(counters.parallel_reads.get() - 1);
        }
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
