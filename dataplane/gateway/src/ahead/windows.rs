//! The windows of an object that is read ahead: what they share, and the task of each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use sealgate_backend::s3::Stop;
use sealgate_backend::types::{BackendError, GetRequest, Location, ObjectInfo};
use sealgate_backend::{Body as StoreBody, Store};
use sealgate_envelope::{Dek, ObjectId};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Block, BlockSize, Connector, Pool, Spans, spawn};

use super::{MAX_REST, WINDOW, changed};
use crate::failure::Failure;
use crate::open::{Opener, Piece};

pub(super) struct Shared<C: Connector> {
    pub(super) pool: Pool,
    pub(super) store: Store<C>,
    pub(super) at: Location,
    pub(super) info: ObjectInfo,
    pub(super) dek: Rc<Dek>,
    pub(super) object_id: ObjectId,
    pub(super) end: u64,
    pub(super) state: RefCell<State<C>>,
}

pub(super) struct State<C: Connector> {
    /// What no window has, and where in the stored object it begins.
    pub(super) rest: VecDeque<Piece>,
    pub(super) next: u64,
    /// In order; the first one is where the client is, and has this number.
    pub(super) windows: VecDeque<Window<C>>,
    pub(super) first: u64,
    pub(super) free: Vec<Block>,
    /// Windows at a time now.
    pub(super) limit: usize,
    pub(super) stopped: bool,
    pub(super) client: Option<Waker>,
    /// Windows that wait for blocks, or for a stream's header.
    pub(super) waiting: Vec<Waker>,
}

pub(super) struct Window<C: Connector> {
    pub(super) ready: VecDeque<(Spans, Block)>,
    pub(super) done: bool,
    pub(super) failed: Option<Failure>,
    pub(super) stop: Option<Rc<Stop>>,
    /// The last window's, for the trailer that follows.
    pub(super) opener: Option<Opener<C>>,
}

impl<C: Connector> State<C> {
    fn window(&mut self, number: u64) -> Option<&mut Window<C>> {
        let place = number.checked_sub(self.first)?;
        self.windows.get_mut(usize::try_from(place).ok()?)
    }

    pub(super) fn wake_windows(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wake_client(&mut self) {
        self.client.take().into_iter().for_each(Waker::wake);
    }
}

/// Takes a window of about `room` stored bytes off the front of `rest`: whole streams, or a part of one that is longer.
/// A stream is cut at the front of a window only, so that its header comes first, and not when the window is all but
/// read; unless the window `must_fit`, because it has been asked for already.
pub(super) fn cut(rest: &mut VecDeque<Piece>, room: u64, must_fit: bool) -> (VecDeque<Piece>, u64) {
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

impl<C: Connector> Shared<C> {
    /// Begins windows until there are as many as there may be: of a store that has turned out to be near, none.
    pub(super) fn start(self: &Rc<Self>) {
        if self.store.streams_so_far() < 2 {
            return;
        }
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

    pub(super) fn begin(
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

    /// Nobody has what is left, or is going to have it, window by window.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.borrow();
        state.windows.is_empty() && !state.rest.is_empty()
    }

    /// What is left, by one request.
    pub(super) async fn rest(&self) -> Result<Opener<C>, Failure> {
        let (pieces, start) = {
            let mut state = self.state.borrow_mut();
            (std::mem::take(&mut state.rest), state.next)
        };
        let body = self.fetch(start..self.end).await?;
        Ok(Opener::new(
            body,
            Rc::clone(&self.dek),
            self.object_id,
            pieces,
            0,
        ))
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
    pub(super) fn give(&self, block: Block) {
        let mut state = self.state.borrow_mut();
        state.free.push(block);
        if state.waiting.is_empty() {
            // What is more than the stream's own, others may need more.
            state.free.truncate(2);
        }
        state.wake_windows();
    }

    /// The next bytes, and whether they are the last of their window.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
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
    pub(super) fn pass_on(&self) -> Option<Opener<C>> {
        let mut state = self.state.borrow_mut();
        let window = state.windows.pop_front()?;
        state.first += 1;
        state.wake_windows();
        window.opener
    }
}

/// Bytes in a block of their own, and whether they are the last of their window.
pub(super) type Next = (Result<(Spans, bool), Failure>, Block);

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
