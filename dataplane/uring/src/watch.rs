//! Time-outs without dropping futures.
//!
//! An operation in flight owns its buffer, and dropping its future loses both data and buffer. So nothing is ever
//! raced against a timer: every connection has a [`Watch`], a sweeper on each core looks at all watches four times
//! a second, and shuts the sockets of those that are overdue. The operation in flight then completes, and the
//! transport reports [`io::ErrorKind::TimedOut`].

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often the sweeper looks, and so how late a time-out may be.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);

thread_local! {
    /// All watches with a socket on this core.
    static REGISTRY: RefCell<Vec<Rc<Inner>>> = const { RefCell::new(Vec::new()) };
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Serving) };
}

#[derive(Copy, Clone, PartialEq, PartialOrd)]
enum Phase {
    Serving,
    /// Idle connections are closed.
    Draining,
    /// All connections are cut.
    Ending,
}

/// The time-outs and byte counters of one connection.
///
/// Clones share one state, so that it can be kept at hand while the transport is borrowed.
#[derive(Clone)]
pub struct Watch {
    inner: Rc<Inner>,
}

struct Inner {
    /// -1: no socket (any more).
    fd: Cell<RawFd>,
    deadline: Cell<Option<Instant>>,
    rate: Cell<Option<Rate>>,
    /// An operation is in flight: the peer is waited for.
    waiting: Cell<bool>,
    expired: Cell<bool>,
    idle: Cell<bool>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// Stands in for the socket of a connection that has none.
    on_close: OnceCell<Box<dyn Fn()>>,
}

#[derive(Copy, Clone)]
struct Rate {
    bytes_per_second: u64,
    window: Duration,
    /// Time within this window that the peer was waited for.
    waited: Duration,
    /// Bytes moved when this window began.
    since: u64,
}

impl Watch {
    fn new(fd: RawFd) -> Watch {
        Watch {
            inner: Rc::new(Inner {
                fd: Cell::new(fd),
                deadline: Cell::new(None),
                rate: Cell::new(None),
                waiting: Cell::new(false),
                expired: Cell::new(false),
                idle: Cell::new(false),
                bytes_in: Cell::new(0),
                bytes_out: Cell::new(0),
                on_close: OnceCell::new(),
            }),
        }
    }

    /// The watch of a socket, swept from now on. The caller calls [`Watch::forget`] before the socket is closed.
    pub(crate) fn of_socket(fd: RawFd) -> Watch {
        let watch = Watch::new(fd);
        REGISTRY.with_borrow_mut(|all| all.push(watch.inner.clone()));
        if PHASE.get() == Phase::Ending {
            watch.inner.expire();
        }
        watch
    }

    /// A watch without a socket: `on_close` is called where a socket would be shut.
    pub(crate) fn detached(on_close: impl Fn() + 'static) -> Watch {
        let watch = Watch::new(-1);
        let _ = watch.inner.on_close.set(Box::new(on_close));
        watch
    }

    /// Shuts the connection `d` from now (a quarter of a second late at most), unless this is called again or
    /// [`Watch::clear`] comes first. Replaces an earlier deadline.
    pub fn deadline_in(&self, d: Duration) {
        self.inner.deadline.set(Instant::now().checked_add(d));
    }

    /// No deadline and no minimum rate any more. What has expired stays so.
    pub fn clear(&self) {
        self.inner.deadline.set(None);
        self.inner.rate.set(None);
    }

    /// From now on the peer must move at least `bytes_per_second`, in and out together, averaged over each
    /// `window` of the time that it is waited for: while we are the slow side, no operation is in flight and no
    /// time passes.
    pub fn minimum_rate(&self, bytes_per_second: u64, window: Duration) {
        let since = self.inner.total();
        self.inner.rate.set(Some(Rate {
            bytes_per_second,
            window,
            waited: Duration::ZERO,
            since,
        }));
    }

    /// A deadline or a minimum rate was missed (or the process ended its grace period), and the socket is shut.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.inner.expired.get()
    }

    /// Bytes received and sent since the connection began, on the wire (with TLS: ciphertext).
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.inner.bytes_in.get(), self.inner.bytes_out.get())
    }

    /// Tells that the connection is between requests (or not any more). An idle connection is closed, not as
    /// expired but as if the peer had closed it, when draining starts, or at once when it already has.
    pub fn set_idle(&self, idle: bool) {
        self.inner.idle.set(idle);
        if idle && PHASE.get() >= Phase::Draining {
            self.inner.close();
        }
    }

    /// Ends the connection as an overdue deadline would.
    pub fn expire(&self) {
        self.inner.expire();
    }

    /// The socket is about to be closed; its number may be another's next.
    pub(crate) fn forget(&self) {
        self.inner.fd.set(-1);
        self.inner.deadline.set(None);
    }

    /// An operation starts.
    pub(crate) fn begin(&self) {
        self.inner.waiting.set(true);
    }

    /// A read ended: counts it, and reports a time-out as one.
    pub(crate) fn end_read(&self, result: io::Result<usize>) -> io::Result<usize> {
        self.inner.waiting.set(false);
        match result {
            Ok(n) if n > 0 => {
                self.inner
                    .bytes_in
                    .set(self.inner.bytes_in.get() + n as u64);
                Ok(n)
            }
            _ if self.expired() => Err(timed_out()),
            other => other,
        }
    }

    /// A write ended: counts it, and reports a time-out as one.
    pub(crate) fn end_write(&self, result: io::Result<usize>) -> io::Result<usize> {
        self.inner.waiting.set(false);
        match result {
            Ok(n) if n > 0 => {
                self.inner
                    .bytes_out
                    .set(self.inner.bytes_out.get() + n as u64);
                Ok(n)
            }
            _ if self.expired() => Err(timed_out()),
            other => other,
        }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer was too slow")
}

impl Inner {
    fn total(&self) -> u64 {
        self.bytes_in.get() + self.bytes_out.get()
    }

    fn expire(&self) {
        if !self.expired.replace(true) {
            self.close();
        }
    }

    fn close(&self) {
        let fd = self.fd.get();
        if fd >= 0 {
            // SAFETY: a plain system call on a socket that `forget` has not told us to leave alone.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        }
        if let Some(on_close) = self.on_close.get() {
            on_close();
        }
    }

    /// Looks at one watch; `elapsed` has passed since the last look.
    fn sweep(&self, now: Instant, elapsed: Duration) {
        if self.deadline.get().is_some_and(|d| d <= now) {
            self.expire();
        }
        let Some(mut rate) = self.rate.get().filter(|_| self.waiting.get()) else {
            return;
        };
        rate.waited += elapsed;
        if rate.waited >= rate.window {
            let total = self.total();
            let needed = (rate.bytes_per_second as u128 * rate.waited.as_millis()) / 1000;
            if u128::from(total - rate.since) < needed {
                self.expire();
            }
            (rate.waited, rate.since) = (Duration::ZERO, total);
        }
        self.rate.set(Some(rate));
    }
}

/// Looks at all watches of this core and forgets those whose connections are gone.
pub(crate) fn sweep(now: Instant, elapsed: Duration) {
    REGISTRY.with_borrow_mut(|all| {
        all.retain(|w| w.fd.get() >= 0);
        all.iter().for_each(|w| w.sweep(now, elapsed));
    });
}

/// Closes idle connections, now and from now on.
pub(crate) fn drain() {
    if PHASE.get() == Phase::Serving {
        PHASE.set(Phase::Draining);
    }
    REGISTRY.with_borrow(|all| all.iter().filter(|w| w.idle.get()).for_each(|w| w.close()));
}

/// Cuts all connections, now and from now on.
pub(crate) fn cut() {
    PHASE.set(Phase::Ending);
    REGISTRY.with_borrow(|all| all.iter().for_each(|w| w.expire()));
}

/// Forgets what a core left behind on this thread.
pub(crate) fn reset() {
    PHASE.set(Phase::Serving);
    REGISTRY.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> (Watch, Rc<Cell<u32>>) {
        let closed = Rc::new(Cell::new(0));
        let seen = closed.clone();
        (Watch::detached(move || seen.set(seen.get() + 1)), closed)
    }

    #[test]
    fn a_deadline_expires_once_and_can_be_lifted() {
        let (watch, closed) = watch();
        let start = Instant::now();
        watch.deadline_in(Duration::from_secs(10));
        watch
            .inner
            .sweep(start + Duration::from_secs(9), SWEEP_EVERY);
        assert!(!watch.expired());
        watch.clear();
        watch
            .inner
            .sweep(start + Duration::from_secs(11), SWEEP_EVERY);
        assert!(!watch.expired());
        watch.deadline_in(Duration::from_secs(10));
        for _ in 0..3 {
            watch
                .inner
                .sweep(start + Duration::from_secs(11), SWEEP_EVERY);
        }
        assert!(watch.expired());
        assert_eq!(closed.get(), 1);
    }

    #[test]
    fn only_the_peers_time_counts_towards_the_minimum_rate() {
        let (watch, closed) = watch();
        let now = Instant::now();
        watch.minimum_rate(1000, Duration::from_secs(1));
        // We are the slow side: nothing in flight.
        (0..40).for_each(|_| watch.inner.sweep(now, SWEEP_EVERY));
        assert!(!watch.expired());
        // Fast enough: 1000 bytes in each second.
        for _ in 0..8 {
            let _ = watch.end_read(Ok(250));
            watch.begin();
            watch.inner.sweep(now, SWEEP_EVERY);
        }
        assert!(!watch.expired());
        assert_eq!(watch.bytes(), (2000, 0));
        // Too slow.
        for _ in 0..4 {
            let _ = watch.end_write(Ok(249));
            watch.begin();
            watch.inner.sweep(now, SWEEP_EVERY);
        }
        assert!(watch.expired());
        assert_eq!(closed.get(), 1);
    }

    #[test]
    fn a_cut_operation_is_reported_as_a_time_out() {
        let (watch, _) = watch();
        assert_eq!(watch.end_read(Ok(0)).unwrap(), 0);
        watch.expire();
        assert_eq!(
            watch.end_read(Ok(5)).unwrap(),
            5,
            "what came in is not lost"
        );
        assert_eq!(
            watch.end_read(Ok(0)).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(
            watch.end_write(Err(broken)).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }
}
