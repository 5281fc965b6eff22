//! The pool of blocks of one core: the memory budget of the data plane.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::block::Mapping;
use crate::runtime::timeout;
use crate::{Block, BlockSize};

/// No memory within the budget, or none within the time given: the client is asked to come back (`SlowDown`).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the buffer budget is exhausted")
    }
}

impl std::error::Error for Exhausted {}

thread_local! {
    /// The pools of this core, for the sweeper.
    static POOLS: RefCell<Vec<Weak<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// Gives back what nobody has used since the last call.
pub(crate) fn trim_all() {
    POOLS.with_borrow(|all| {
        all.iter()
            .filter_map(Weak::upgrade)
            .for_each(|pool| pool.trim_unused())
    });
}

/// Forgets what a core left behind on this thread.
pub(crate) fn reset() {
    POOLS.with_borrow_mut(Vec::clear);
}

/// Blocks of one core, within a budget.
///
/// Blocks are mapped when first needed, kept on a stack when given back (the last one used is the next one
/// leased: its lines are still in the cache), unmapped when another size needs their room, and given back to the
/// system by and by when nobody needs them. What is leased, reserved and kept never exceeds the budget together.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

pub(crate) struct Inner {
    /// Bytes, footprints of blocks.
    budget: usize,
    /// Bytes leased, or granted to a waiter that was not polled since.
    in_use: Cell<usize>,
    /// Bytes on the free stacks.
    kept: Cell<usize>,
    free: [RefCell<Vec<Mapping>>; BlockSize::ALL.len()],
    /// Fewest blocks on each free stack since the last [`Inner::trim_unused`]: so many were not needed.
    unused: [Cell<usize>; BlockSize::ALL.len()],
    waiting: RefCell<VecDeque<Rc<Ticket>>>,
}

/// A lease in the queue. The queue is bounded by the callers: one per task that waits.
struct Ticket {
    need: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pool {
    /// A pool of at most `budget` bytes, which counts whole pages and a small header per block.
    #[must_use]
    pub fn new(budget: usize) -> Pool {
        let pool = Pool {
            inner: Rc::new(Inner {
                budget,
                in_use: Cell::new(0),
                kept: Cell::new(0),
                free: [const { RefCell::new(Vec::new()) }; BlockSize::ALL.len()],
                unused: [const { Cell::new(0) }; BlockSize::ALL.len()],
                waiting: RefCell::new(VecDeque::new()),
            }),
        };
        POOLS.with_borrow_mut(|all| {
            all.retain(|other| other.strong_count() > 0);
            all.push(Rc::downgrade(&pool.inner));
        });
        pool
    }

    /// Leases `N` blocks at once: all or none, so that two streams that need two each cannot starve each other
    /// with one in hand. Waits first come, first served, up to `wait` (outside of a core, where there is no
    /// timer, without limit).
    ///
    /// # Errors
    /// [`Exhausted`] after `wait`, and at once when the budget can never hold `N` blocks.
    pub async fn lease<const N: usize>(
        &self,
        size: BlockSize,
        wait: Duration,
    ) -> Result<[Block; N], Exhausted> {
        match self.try_lease(size) {
            Ok(blocks) => return Ok(blocks),
            Err(Exhausted) if wait.is_zero() => return Err(Exhausted),
            Err(Exhausted) => {}
        }
        let need = N * size.footprint();
        if need > self.inner.budget {
            return Err(Exhausted);
        }
        let ticket = Rc::new(Ticket {
            need,
            granted: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.inner.waiting.borrow_mut().push_back(ticket.clone());
        let mut place = Place {
            inner: &self.inner,
            ticket,
            redeemed: false,
        };
        // The head of the queue may fit already: `try_lease` also fails because others wait.
        self.inner.serve();
        timeout(wait, &mut place).await.ok_or(Exhausted)?;
        place.redeemed = true;
        self.inner.take(size)
    }

    /// Leases `N` blocks at once, without waiting and never ahead of those who wait.
    ///
    /// # Errors
    /// [`Exhausted`] when the budget has no room for all of them now.
    pub fn try_lease<const N: usize>(&self, size: BlockSize) -> Result<[Block; N], Exhausted> {
        let need = N * size.footprint();
        if !self.inner.waiting.borrow().is_empty() || !self.inner.reserve(need) {
            return Err(Exhausted);
        }
        self.inner.take(size)
    }

    /// [`Pool::try_lease`] for what can do without: leaves half of the budget to those who cannot.
    ///
    /// # Errors
    /// [`Exhausted`] when less than that would be left.
    pub fn try_lease_spare<const N: usize>(
        &self,
        size: BlockSize,
    ) -> Result<[Block; N], Exhausted> {
        if self.inner.in_use.get() + N * size.footprint() > self.inner.budget / 2 {
            return Err(Exhausted);
        }
        self.try_lease(size)
    }

    /// Bytes leased now (footprints: whole pages and headers).
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.inner.in_use.get()
    }

    /// Bytes that leased and kept blocks may take together.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.inner.budget
    }

    /// Unmaps all blocks that nobody uses.
    pub fn trim(&self) {
        for size in BlockSize::ALL {
            while self.inner.evict(size) {}
        }
    }
}

impl Inner {
    fn reserve(&self, need: usize) -> bool {
        let fits = self.budget - self.in_use.get() >= need;
        if fits {
            self.in_use.set(self.in_use.get() + need);
        }
        fits
    }

    /// Turns a reservation for `N` blocks into the blocks.
    fn take<const N: usize>(self: &Rc<Self>, size: BlockSize) -> Result<[Block; N], Exhausted> {
        let blocks: [Option<Block>; N] = std::array::from_fn(|_| {
            self.obtain(size)
                .map(|mapping| Block::new(mapping, self.clone()))
        });
        let missing = blocks.iter().filter(|b| b.is_none()).count();
        if missing > 0 {
            // The system has less than the budget says. Those that we got are given back by their drop.
            self.release(missing * size.footprint());
            return Err(Exhausted);
        }
        Ok(blocks.map(|b| b.unwrap_or_else(|| unreachable!("none is missing"))))
    }

    /// Unmaps half of the blocks that were on the free stacks all the time since the last call, the coldest ones:
    /// after a peak the memory is given back within some calls, while a steady load keeps its blocks.
    fn trim_unused(&self) {
        for size in BlockSize::ALL {
            let mut free = self.free[size.index()].borrow_mut();
            let surplus = self.unused[size.index()].get().min(free.len()).div_ceil(2);
            free.drain(..surplus);
            self.kept.set(self.kept.get() - surplus * size.footprint());
            self.unused[size.index()].set(free.len());
        }
    }

    /// Takes the top of a free stack.
    fn pop(&self, size: BlockSize) -> Option<Mapping> {
        let mut free = self.free[size.index()].borrow_mut();
        let mapping = free.pop()?;
        let unused = &self.unused[size.index()];
        unused.set(unused.get().min(free.len()));
        self.kept.set(self.kept.get() - size.footprint());
        Some(mapping)
    }

    /// The last block given back, else a new mapping in the room that is reserved for it.
    fn obtain(&self, size: BlockSize) -> Option<Mapping> {
        if let Some(mapping) = self.pop(size) {
            return Some(mapping);
        }
        // Largest first: fewer system calls.
        for other in BlockSize::ALL.into_iter().rev() {
            while self.in_use.get() + self.kept.get() > self.budget && self.evict(other) {}
        }
        Mapping::new(size)
    }

    fn evict(&self, size: BlockSize) -> bool {
        self.pop(size).is_some()
    }

    pub(crate) fn give_back(&self, mapping: Mapping) {
        let size = mapping.size();
        self.free[size.index()].borrow_mut().push(mapping);
        self.kept.set(self.kept.get() + size.footprint());
        self.release(size.footprint());
    }

    fn release(&self, bytes: usize) {
        self.in_use.set(self.in_use.get() - bytes);
        self.serve();
    }

    /// Grants the head of the queue, and the next, while there is room. Nobody overtakes the head, or a large
    /// lease would wait for ever behind small ones.
    fn serve(&self) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        while let Some(head) = waiting.front() {
            if !self.reserve(head.need) {
                return;
            }
            head.granted.set(true);
            if let Some(waker) = head.waker.borrow_mut().take() {
                waker.wake();
            }
            waiting.pop_front();
        }
    }
}

/// A place in the queue; dropped before it was redeemed, it leaves the queue or gives the grant on.
struct Place<'a> {
    inner: &'a Inner,
    ticket: Rc<Ticket>,
    redeemed: bool,
}

impl Future for Place<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.ticket.granted.get() {
            return Poll::Ready(());
        }
        *self.ticket.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.redeemed {
            return;
        }
        if self.ticket.granted.get() {
            self.inner.release(self.ticket.need);
        } else {
            self.inner
                .waiting
                .borrow_mut()
                .retain(|t| !Rc::ptr_eq(t, &self.ticket));
            // A large lease that gave up may have held back smaller ones.
            self.inner.serve();
        }
    }
}

#[cfg(test)]
mod tests;
