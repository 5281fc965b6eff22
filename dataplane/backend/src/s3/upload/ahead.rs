//! A `PutObject` to a store that is far away: a multipart upload behind the caller's back, several of whose parts are
//! on their way at the same time, each on a connection of its own.
//!
//! The stored bytes are the same as of one request. What the caller writes is kept, block by block, until the part
//! that it belongs to has been acknowledged, and the caller gets another block for it: so any part can be sent again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_channel::oneshot;
use http::HeaderMap;
use sealgate_s3::conditions::{Conditions, EtagList};
use sealgate_uring::{Block, BlockSize, Connector, Pool, Spans, spawn};

use super::parts::{Complete, abort_unless_told, is_passing};
use crate::s3::S3Store;
use crate::s3::preset::Condition;
use crate::s3::wire::MAX_ATTEMPTS;
use crate::types::{BackendError, CompletedPart, Location, Stored};

/// Shortest object that goes up so, bytes: below, one request is hardly slower.
const LONG: u64 = 32 << 20;
/// Bytes of a part: long enough that its round trip is a small share of its time at the rate of one connection, short
/// enough that several of them fit into the pool.
const PART: u64 = 8 << 20;
/// Least bytes of a part that is not the last.
const LEAST_PART: u64 = 5 << 20;
/// Blocks of a part.
const PART_BLOCKS: usize = 8;
/// Blocks without which it is not begun: one part on its way, one being filled, and one to be given back with an error.
const RESERVE: usize = 2 * PART_BLOCKS + 1;

impl<C: Connector> S3Store<C> {
    /// Begins a `PutObject` of exactly `len` bytes in parts that go at the same time; `None` where one request does as
    /// well, or memory is short, or a condition would be lost. Its blocks are [`BlockSize::Large`], of `pool`.
    ///
    /// # Errors
    ///
    /// A condition that the store does not keep.
    pub async fn put_ahead(
        &self,
        at: &Location,
        headers: &HeaderMap,
        conditions: &Conditions,
        len: u64,
        pool: &Pool,
    ) -> Result<Option<super::S3Upload<C>>, BackendError> {
        if len < LONG || !self.completes_on(conditions) {
            return Ok(None);
        }
        let most = self.streams_for_sure(&at.bucket).await?;
        if most < 2 {
            return Ok(None);
        }
        let Ok(blocks) = pool.try_lease_spare::<RESERVE>(BlockSize::Large) else {
            return Ok(None);
        };
        let shared = Shared {
            state: RefCell::new(State {
                free: Vec::from(blocks),
                most,
                ..State::default()
            }),
            completed: RefCell::default(),
        };
        Ok(Some(
            AheadUpload {
                whole: Complete {
                    store: self.clone(),
                    at: at.clone(),
                    headers: headers.clone(),
                    conditions: conditions.clone(),
                    len,
                },
                pool: pool.clone(),
                id: None,
                taken: 0,
                number: 0,
                collected: VecDeque::with_capacity(PART_BLOCKS),
                shared: Rc::new(shared),
            }
            .into(),
        ))
    }

    /// Whether the store is known to keep these conditions of a PutObject on a CompleteMultipartUpload too. A store of
    /// which nothing is known may keep them on the former alone, as Ceph does; one that looks first and writes later
    /// (SeaweedFS) has longer for that.
    fn completes_on(&self, conditions: &Conditions) -> bool {
        let preset = self.options.preset;
        let none_match = match &conditions.if_none_match {
            None => true,
            Some(EtagList::Any) => preset.keeps(Condition::CompleteIfAbsent),
            Some(_) => preset.keeps(Condition::NoneMatchTag),
        };
        let matches = conditions.if_match.is_none() || preset.keeps(Condition::CompleteIfMatch);
        let unmodified =
            conditions.if_unmodified_since.is_none() || preset.keeps(Condition::Unmodified);
        let sure = !preset.assumed && preset.atomic_copies;
        conditions.is_empty() || sure && none_match && matches && unmodified
    }
}

/// See the module.
pub(in crate::s3) struct AheadUpload<C: Connector> {
    whole: Complete<C>,
    pool: Pool,
    /// The store's upload id, once it knows of the upload.
    id: Option<String>,
    /// Bytes written by the caller.
    taken: u64,
    /// Number of the last part that was sent off.
    number: u16,
    /// What the next part has so far.
    collected: VecDeque<(Block, Spans)>,
    shared: Rc<Shared>,
}

/// What the parts on their way share.
struct Shared {
    state: RefCell<State>,
    /// Dropped without a word, it has the upload aborted: when the last part is gone too, which otherwise could arrive
    /// after the abort, and stay.
    completed: RefCell<Option<oneshot::Sender<()>>>,
}

#[derive(Default)]
struct State {
    free: Vec<Block>,
    /// Parts that may be on their way at most.
    most: usize,
    /// Parts on their way.
    flying: usize,
    done: Vec<CompletedPart>,
    failed: Option<BackendError>,
    /// Nobody waits for the parts any more.
    stopped: bool,
    waker: Option<Waker>,
}

impl Shared {
    /// Waits until `ready` says what to do.
    async fn until<T>(
        &self,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, BackendError> {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if let Some(e) = state.failed.take() {
                state.stopped = true;
                return Poll::Ready(Err(e));
            }
            match ready(&mut state) {
                Some(found) => Poll::Ready(Ok(found)),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Perhaps the store is asked for too much at a time.
    fn slow_down(&self) {
        let mut state = self.state.borrow_mut();
        state.most = (state.most / 2).max(1);
    }

    fn stopped(&self) -> bool {
        self.state.borrow().stopped
    }

    /// A part is done, or is not going to be.
    fn ended(&self, outcome: Result<CompletedPart, BackendError>, part: VecDeque<(Block, Spans)>) {
        let mut state = self.state.borrow_mut();
        state.flying -= 1;
        match outcome {
            Ok(done) => state.done.push(done),
            Err(e) => {
                state.failed.get_or_insert(e);
            }
        }
        if !state.stopped {
            let blocks = part.into_iter().map(|(block, _)| block);
            state.free.extend(blocks);
            // What more there is, others may need more.
            state.free.truncate(RESERVE);
        }
        state.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl<C: Connector> AheadUpload<C> {
    pub(super) async fn write(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<(), BackendError>, Block) {
        if self.shared.stopped() || spans.len() as u64 > self.whole.len - self.taken {
            let what = "more bytes were written than the object has, or after it had failed";
            return (Err(BackendError::Protocol(what.into())), block);
        }
        self.collect(block, spans);
        match self.advance().await {
            Ok(block) => (Ok(()), block),
            Err(e) => (Err(e), self.give_up().await),
        }
    }

    pub(super) async fn finish(
        mut self,
        block: Block,
        spans: Spans,
    ) -> (Result<Stored, BackendError>, Block) {
        let total = self.taken + spans.len() as u64;
        if total != self.whole.len {
            let what = format!("{total} of {} bytes were to be stored", self.whole.len);
            return (Err(BackendError::Protocol(what)), block);
        }
        self.collect(block, spans);
        let sent = match self.send_off().await {
            Ok(()) => self.shared.until(|s| (s.flying == 0).then_some(())).await,
            Err(e) => Err(e),
        };
        if let Err(e) = sent {
            return (Err(e), self.give_up().await);
        }
        let mut parts = std::mem::take(&mut self.shared.state.borrow_mut().done);
        parts.sort_by_key(|part| part.number);
        let completed = self.shared.completed.take();
        let stored = match (&self.id, completed) {
            (Some(id), Some(completed)) => self.whole.complete(id, &parts, completed).await,
            _ => Err(BackendError::Protocol("an object without parts".into())),
        };
        (stored, self.give_up().await)
    }

    fn collect(&mut self, block: Block, spans: Spans) {
        self.taken += spans.len() as u64;
        self.collected.push_back((block, spans));
    }

    fn collected(&self) -> u64 {
        self.collected.iter().map(|(_, s)| s.len() as u64).sum()
    }

    /// Sends off what is a part, and finds a block for the next bytes.
    async fn advance(&mut self) -> Result<Block, BackendError> {
        if self.collected() >= PART {
            self.send_off().await?;
        }
        loop {
            let enough = self.collected() >= LEAST_PART;
            let pool = &self.pool;
            let found = self.shared.until(|state| {
                let spare = || pool.try_lease_spare::<1>(BlockSize::Large).ok();
                // One stays, to be given back with an error.
                let kept = if state.free.len() > 1 {
                    state.free.pop()
                } else {
                    None
                };
                match kept.or_else(|| spare().map(|[block]| block)) {
                    Some(block) => Some(Some(block)),
                    // Memory is short: a shorter part is a part too.
                    None => enough.then_some(None),
                }
            });
            match found.await? {
                Some(block) => return Ok(block),
                None => self.send_off().await?,
            }
        }
    }

    /// Sends off what was collected as the next part.
    async fn send_off(&mut self) -> Result<(), BackendError> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.begin().await?,
        };
        let free = |s: &mut State| (s.flying < s.most).then(|| s.flying += 1);
        self.shared.until(free).await?;
        self.number += 1;
        let part = Part {
            store: self.whole.store.clone(),
            at: self.whole.at.clone(),
            id,
            number: self.number,
            bytes: std::mem::replace(&mut self.collected, VecDeque::with_capacity(PART_BLOCKS)),
            shared: Rc::clone(&self.shared),
        };
        spawn(part.run());
        Ok(())
    }

    /// Tells the store of the upload.
    async fn begin(&mut self) -> Result<String, BackendError> {
        let Complete {
            store, at, headers, ..
        } = &self.whole;
        let id = store.create_upload(at, headers).await?.id;
        let completed = abort_unless_told(store.clone(), at.clone(), id.clone());
        self.shared.completed.replace(Some(completed));
        self.id = Some(id.clone());
        Ok(id)
    }

    /// A block to give back.
    async fn give_up(&mut self) -> Block {
        if let Some((block, _)) = self.collected.pop_front() {
            return block;
        }
        loop {
            // The failure that this one is given back with is not the last one, perhaps.
            if let Ok(block) = self.shared.until(|s| s.free.pop()).await {
                return block;
            }
        }
    }
}

impl<C: Connector> Drop for AheadUpload<C> {
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.stopped = true;
        state.free.clear();
    }
}

/// A part on its way.
struct Part<C: Connector> {
    store: S3Store<C>,
    at: Location,
    id: String,
    number: u16,
    bytes: VecDeque<(Block, Spans)>,
    shared: Rc<Shared>,
}

impl<C: Connector> Part<C> {
    async fn run(mut self) {
        let counters = self.store.counters();
        counters
            .parallel_writes
            .set(counters.parallel_writes.get() + 1);
        counters
            .parallel_parts
            .set(counters.parallel_parts.get() + 1);
        let mut attempt = 1;
        let outcome = loop {
            let sent = self.send().await;
            match sent {
                Err(e) if attempt < MAX_ATTEMPTS && is_passing(&e) && !self.shared.stopped() => {
                    self.shared.slow_down();
                    self.store.wire.back_off(attempt).await;
                    attempt += 1;
                }
                outcome => break outcome,
            }
        };
        let counters = self.store.counters();
        counters
            .parallel_writes
            .set(counters.parallel_writes.get() - 1);
        self.shared.ended(outcome, self.bytes);
    }

    async fn send(&mut self) -> Result<CompletedPart, BackendError> {
        let len = self.bytes.iter().map(|(_, s)| s.len() as u64).sum();
        let mut upload = self.store.part_upload(&self.at, &self.id, self.number, len);
        let count = self.bytes.len();
        for moved in 1..=count {
            let Some((block, spans)) = self.bytes.pop_front() else {
                break;
            };
            if moved == count {
                let (stored, block) = upload.finish(block, spans).await;
                self.bytes.push_back((block, spans));
                return stored.map(|stored| CompletedPart {
                    number: self.number,
                    etag: stored.etag,
                    checksum: stored.checksum,
                });
            }
            let (written, block) = upload.write(block, spans).await;
            self.bytes.push_back((block, spans));
            if written.is_err() || self.shared.stopped() {
                // In order again, for another attempt.
                self.bytes.rotate_left(count - moved);
                written?;
                break;
            }
        }
        Err(BackendError::Protocol("nobody waits for the part".into()))
    }
}
