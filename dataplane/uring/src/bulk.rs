//! Bulk: long streams share a core one after the other, in turns, and give way to everything small between two steps.
//!
//! Eight streams that move a mebibyte each, one after the other, throw each other's bytes out of the cache, and then every
//! copy waits for memory. So a stream that has bytes to read goes on for a [`TURN`], while the others wait in line: their
//! bytes wait in the kernel, where they have been written already. After each [`STEP`] of a turn the core first does
//! all else that is ready, so that a small request waits for one step, never for a turn (docs/adr/0007-bulk-in-turns.md).
//!
//! On a ring, bulk is moved by plain system calls: the ring does what all connections have asked for at once, which is to read
//! eight times before anything is sealed. It is asked for nothing but readiness. Small operations stay with the ring,
//! which does many of them in one system call.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::task::{Poll, Waker};

use monoio::buf::IoVecBufMut;
use monoio::io::AsyncWriteRentExt;
use monoio::net::UnixStream;

use crate::{ActiveDriver, Block, BlockSize, Spans, burst};

/// Bytes that a stream reads before it lets everything else run: a block's worth.
const STEP: usize = 1 << 20;
/// Writes of bytes that are not in a block are bulk from this length on.
pub(crate) const LONG_WRITE: usize = 64 << 10;
/// Bytes that a stream reads, step by step, before it is the next stream's turn.
const TURN: usize = 16 << 20;
/// Streams that stand in line before the line itself allocates.
const ROOM: usize = 64;

/// Whether operations of this block are bulk.
pub(crate) fn is_bulk(block: &Block) -> bool {
    block.capacity() >= BlockSize::Large.capacity()
}

/// The turns of one connection's reads.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Who this is.
    number: u64,
    /// What it has read of its step, bytes.
    step: usize,
    /// What it has read of its turn, bytes.
    turn: usize,
}

#[derive(Default)]
struct Line {
    /// Streams that have something to read, by number. Who has not ended its turn stands in front.
    waiting: VecDeque<(u64, Waker)>,
    /// Whose turn it is, as long as it has not waited for its peer.
    current: Option<u64>,
    next: u64,
    /// Something little was written since a breath began: it may not have left the ring's queue.
    wrote_little: bool,
    /// Wakes the task that lets them go on; none without such a task, and then nobody waits.
    starter: Option<Waker>,
}

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

impl Turns {
    pub(crate) fn new() -> Turns {
        let number = LINE.with_borrow_mut(|line| {
            line.next += 1;
            line.next
        });
        Turns {
            number,
            step: 0,
            turn: 0,
        }
    }

    pub(crate) fn moved(&mut self, n: usize) {
        self.step += n;
        self.turn += n;
    }

    /// The peer has nothing to read: others may have their turn.
    pub(crate) fn waits(&mut self) {
        self.step = 0;
        self.turn = 0;
        LINE.with_borrow_mut(|line| {
            if line.current == Some(self.number) {
                line.current = None;
            }
        });
    }

    /// Before a read: waits until it is this stream's turn; after a step of it, until all else that was ready has run.
    pub(crate) async fn take(&mut self) {
        let number = self.number;
        let place = LINE.with_borrow_mut(|line| {
            let current = line.current.is_none_or(|current| current == number);
            let free =
                self.step < STEP && current && (line.waiting.is_empty() || line.current.is_some());
            if line.starter.is_none() || free {
                line.current = Some(number);
                return None;
            }
            Some(line.current == Some(number) && self.turn < TURN)
        });
        let Some(first) = place else { return };
        self.step = 0;
        if !first {
            self.turn = 0;
        }
        InLine::new(number, first).wait().await;
        // What was read in that breath has been answered by now, and the answer would wait for a step of ours. Once: who has
        // more to say than that must not keep a stream from going on.
        if LINE.with_borrow(|line| line.wrote_little) {
            InLine::new(number, true).wait().await;
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.waits();
    }
}

/// Something little is about to be written: on a ring, it leaves with the next breath.
pub(crate) fn writes_little() {
    LINE.with_borrow_mut(|line| line.wrote_little = true);
}

/// A place in the line, which is given up on drop.
struct InLine {
    number: u64,
    first: bool,
    standing: bool,
}

impl InLine {
    fn new(number: u64, first: bool) -> InLine {
        InLine {
            number,
            first,
            standing: false,
        }
    }

    async fn wait(mut self) {
        poll_fn(|cx| {
            LINE.with_borrow_mut(|line| {
                if !self.standing {
                    if line.waiting.is_empty() {
                        line.starter.iter().for_each(Waker::wake_by_ref);
                    }
                    self.standing = true;
                    let place = (self.number, cx.waker().clone());
                    if self.first {
                        line.waiting.push_front(place);
                    } else {
                        line.waiting.push_back(place);
                    }
                    return Poll::Pending;
                }
                // A stream is woken for other reasons too: what it has written has gone.
                match line.waiting.iter_mut().find(|(n, _)| *n == self.number) {
                    Some((_, waker)) => {
                        waker.clone_from(cx.waker());
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                }
            })
        })
        .await;
        self.standing = false;
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if self.standing {
            LINE.with_borrow_mut(|line| line.waiting.retain(|(n, _)| *n != self.number));
        }
    }
}

/// The task of a core that lets one stream after the other go on, and between two of them asks the kernel what has happened.
///
/// # Errors
/// When the system has no descriptors left for what it asks the kernel by; then nobody waits.
pub(crate) async fn start_turns(driver: ActiveDriver) -> io::Result<Infallible> {
    let mut breath = Breath::new(driver).await?;
    LINE.with_borrow_mut(|line| line.waiting.reserve(ROOM));
    loop {
        poll_fn(|cx| {
            LINE.with_borrow_mut(|line| {
                match &mut line.starter {
                    Some(starter) => starter.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                if line.waiting.is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
        })
        .await;
        LINE.with_borrow_mut(|line| line.wrote_little = false);
        breath.take().await;
        let front = LINE.with_borrow_mut(|line| {
            let (number, waker) = line.waiting.pop_front()?;
            // Who had its turn and is not in front has something to write that nobody takes.
            line.current = Some(number);
            Some(waker)
        });
        front.into_iter().for_each(Waker::wake);
    }
}

/// Lets all tasks that are ready run, and the kernel say who else is.
enum Breath {
    /// A socket that always has a byte to read: asking the ring for its readiness is asking for all that has happened.
    Ring(
        UnixStream,
        #[expect(dead_code, reason = "keeps the other open")] UnixStream,
    ),
    /// The loop asks by itself after a few tasks.
    Epoll,
}

impl Breath {
    async fn new(driver: ActiveDriver) -> io::Result<Breath> {
        if driver == ActiveDriver::Epoll {
            return Ok(Breath::Epoll);
        }
        let (ours, mut other) = UnixStream::pair()?;
        other.write_all(vec![0]).await.0?;
        Ok(Breath::Ring(ours, other))
    }

    async fn take(&mut self) {
        match self {
            // An error would be told at once as well, and then again.
            Breath::Ring(ours, _) => drop(ours.readable(true).await),
            Breath::Epoll => burst::step_back().await,
        }
    }
}

/// Forgets this thread's streams.
pub(crate) fn reset() {
    drop(LINE.take());
}

/// Reads what is there into the buffers; `WouldBlock` when nothing is.
pub(crate) fn receive(fd: RawFd, buffers: &mut impl IoVecBufMut) -> io::Result<usize> {
    let mut message = message(buffers.write_iovec_ptr(), buffers.write_iovec_len());
    // SAFETY: who implements the trait promises that the iovecs are valid, and that `buffers` holds what they point to
    // alone.
    let n = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Reads what is there, at most `most` bytes, behind what `buf` holds and within its capacity; `WouldBlock` when nothing is.
pub(crate) fn receive_behind(fd: RawFd, buf: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let spare = buf.spare_capacity_mut();
    let room = spare.len().min(most);
    // SAFETY: the spare capacity is ours to write, and `room` is not longer.
    let n = unsafe { libc::recv(fd, spare.as_mut_ptr().cast(), room, libc::MSG_DONTWAIT) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    assert!(n <= room, "more bytes than asked for");
    // SAFETY: the system has written `n` bytes of the spare capacity.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}

/// Writes what the socket takes of `bytes`; `WouldBlock` when it is full.
pub(crate) fn send_bytes(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the bytes live through the call.
    let n = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Writes what the socket takes of `head` and of the spans, which must have been checked; `WouldBlock` when it is full.
pub(crate) fn send(fd: RawFd, head: &[u8], block: &mut Block, spans: &Spans) -> io::Result<usize> {
    let count = block.gather(head, spans);
    let message = message(block.ranges(), count);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the iovecs lie in the block's mapping and point into the block and into `head`, which live through the call.
    let n = unsafe { libc::sendmsg(fd, &raw const message, flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

fn message(ranges: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: a message header of zeros is one without address, ranges and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = ranges;
    message.msg_iovlen = count as _;
    message
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::{Driver, RuntimeConfig, join, sleep, spawn, start};

    /// Who moved when: two streams, `steps` each, and a task that is woken once for each of their steps.
    fn order(driver: Driver, steps: usize) -> Vec<&'static str> {
        let (tell, told) = std::sync::mpsc::channel();
        let cfg = RuntimeConfig {
            cores: 1,
            driver,
            ..RuntimeConfig::default()
        };
        let cores = start(&cfg, move |_| {
            let tell = tell.clone();
            async move {
                // The task that lets go has its first turn before there is anything to do.
                sleep(Duration::from_millis(1)).await;
                let done = Rc::new(RefCell::new(Vec::new()));
                let stream = |name: &'static str| {
                    let done = Rc::clone(&done);
                    async move {
                        let mut turn = Turns::new();
                        for _ in 0..steps {
                            turn.take().await;
                            done.borrow_mut().push(name);
                            turn.moved(STEP);
                        }
                    }
                };
                let (a, b) = (stream("a"), stream("b"));
                let small = Rc::clone(&done);
                spawn(async move {
                    let (_reading, mut writing) = UnixStream::pair().expect("sockets");
                    for _ in 0..4 {
                        writing.writable(false).await.expect("it is open");
                        writes_little();
                        let _ = writing.write_all(vec![0]).await;
                        small.borrow_mut().push("small");
                    }
                });
                join(spawned(a), spawned(b)).await;
                let _ = tell.send(done.borrow().clone());
            }
        });
        let order = told.recv();
        cores.expect("a core").join().expect("it ends");
        order.expect("an order")
    }

    /// As a task of its own.
    async fn spawned(stream: impl Future<Output = ()> + 'static) {
        let ended = Rc::new(std::cell::Cell::new(false));
        let end = Rc::clone(&ended);
        spawn(async move {
            stream.await;
            end.set(true);
        });
        while !ended.get() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn check(driver: Driver) {
        let turn = TURN / STEP;
        let order = order(driver, 2 * turn);
        let streams: Vec<_> = order.iter().filter(|name| **name != "small").collect();
        assert_eq!(streams.len(), 4 * turn, "{order:?}");
        // The first step of each is free; from then on a turn is not shared.
        let changes = streams.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 6, "{order:?}");
        // What a small task asks for leaves the core before the next step: a step for each of its four writes, not two.
        let last_small = order.iter().rposition(|name| *name == "small");
        assert!(
            last_small.is_some_and(|at| at < 10),
            "the small task goes between steps: {order:?}"
        );
    }

    #[test]
    fn streams_take_turns_on_a_ring() {
        // As all tests of io_uring, this one fails where the kernel refuses it.
        check(Driver::IoUring);
    }

    #[test]
    fn streams_take_turns_on_epoll() {
        check(Driver::Epoll);
    }

    #[test]
    fn who_is_dropped_is_not_waited_for() {
        let mut cx = std::task::Context::from_waker(Waker::noop());
        LINE.with_borrow_mut(|line| line.starter = Some(Waker::noop().clone()));
        let mut gone = Box::pin(InLine::new(1, true).wait());
        let mut waits = Box::pin(InLine::new(2, false).wait());
        assert!(gone.as_mut().poll(&mut cx).is_pending());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        assert!(
            waits.as_mut().poll(&mut cx).is_pending(),
            "it was not let go on"
        );
        drop(gone);
        assert!(
            LINE.with_borrow_mut(|line| line.waiting.pop_front())
                .is_some()
        );
        assert!(waits.as_mut().poll(&mut cx).is_ready());
        assert!(LINE.with_borrow(|line| line.waiting.is_empty()));
        reset();
    }

    #[test]
    fn without_a_runtime_nobody_waits() {
        let mut turn = Turns::new();
        turn.moved(TURN);
        let mut step = std::pin::pin!(turn.take());
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(step.as_mut().poll(&mut cx).is_ready());
    }
}
