//! Time-outs without dropping futures.
//!
//! An operation in flight owns its buffer, and dropping its future loses both data and buffer. So nothing is ever
//! raced against a timer: every connection has a [`Watch`], a sweeper on each core looks four times a second at those
//! that may be overdue, and shuts the sockets of those that are. The operation in flight then completes, and the
//! transport reports [`io::ErrorKind::TimedOut`].
//!
//! A watch tells the sweeper of an earlier deadline, never of a later one or of none: it is looked at when the earlier
//! one is over, and then put down for what it waits for by then. So neither a request nor a sweep has to do with more
//! than a few of them, however many connections are idle.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often the sweeper looks, and so how late a time-out may be.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);

thread_local! {
    static REGISTRY: RefCell<Registry> = const { RefCell::new(Registry::new()) };
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

/// The watches with a socket on this core.
struct Registry {
    /// What the next watch is called.
    next: u64,
    all: BTreeMap<u64, Rc<Inner>>,
    /// Those to look at, each once, by when.
    due: BTreeMap<(Instant, u64), Rc<Inner>>,
}

impl Registry {
    const fn new() -> Registry {
        Registry {
            next: 0,
            all: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    fn add(&mut self, fd: RawFd) -> Watch {
        let watch = Watch::new(fd, self.next);
        self.next += 1;
        self.all.insert(watch.inner.name, watch.inner.clone());
        watch
    }

    fn remove(&mut self, watch: &Inner) {
        self.all.remove(&watch.name);
        self.take_down(watch);
    }

    /// Has `watch` looked at then, and not before.
    fn put_down(&mut self, watch: &Rc<Inner>, at: Instant) {
        self.take_down(watch);
        watch.due.set(Some(at));
        self.due.insert((at, watch.name), watch.clone());
    }

    fn take_down(&mut self, watch: &Inner) {
        if let Some(at) = watch.due.take() {
            self.due.remove(&(at, watch.name));
        }
    }

    /// Those to look at by `now`, which are then no longer put down.
    fn take_due(&mut self, now: Instant) -> Vec<Rc<Inner>> {
        let mut due = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|e| e.key().0 <= now) {
            let watch = first.remove();
            watch.due.set(None);
            due.push(watch);
        }
        due
    }

    /// Looks at those that are due, and says how many they were; `elapsed` has passed since the last sweep.
    fn sweep(&mut self, now: Instant, elapsed: Duration) -> usize {
        let due = self.take_due(now);
        for watch in &due {
            if let Some(next) = watch.sweep(now, elapsed) {
                self.put_down(watch, next);
            }
        }
        due.len()
    }
}

/// The time-outs and byte counters of one connection.
///
/// Clones share one state, so that it can be kept at hand while the transport is borrowed.
#[derive(Clone)]
pub struct Watch {
    inner: Rc<Inner>,
}

struct Inner {
    /// -1: no socket (any more), and so not in the registry.
    fd: Cell<RawFd>,
    /// In the registry.
    name: u64,
    /// When the sweeper looks at this next.
    due: Cell<Option<Instant>>,
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
    fn new(fd: RawFd, name: u64) -> Watch {
        Watch {
            inner: Rc::new(Inner {
                fd: Cell::new(fd),
                name,
                due: Cell::new(None),
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
        let watch = REGISTRY.with_borrow_mut(|r| r.add(fd));
        if PHASE.get() == Phase::Ending {
            watch.inner.expire();
        }
        watch
    }

    /// A watch without a socket: `on_close` is called where a socket would be shut.
    pub(crate) fn detached(on_close: impl Fn() + 'static) -> Watch {
        let watch = Watch::new(-1, 0);
        let _ = watch.inner.on_close.set(Box::new(on_close));
        watch
    }

    /// Shuts the connection `d` from now (a quarter of a second late at most), unless this is called again or
    /// [`Watch::clear`] comes first. Replaces an earlier deadline.
    pub fn deadline_in(&self, d: Duration) {
        match Instant::now().checked_add(d) {
            Some(at) => self.deadline_at(at),
            None => self.inner.deadline.set(None),
        }
    }

    fn deadline_at(&self, at: Instant) {
        self.inner.deadline.set(Some(at));
        self.look_at(at);
    }

    /// Tells the sweeper to look by then, unless it will anyway.
    fn look_at(&self, at: Instant) {
        let inner = &self.inner;
        if inner.fd.get() >= 0 && inner.due.get().is_none_or(|due| due > at) {
            REGISTRY.with_borrow_mut(|r| r.put_down(inner, at));
        }
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
        self.look_at(Instant::now());
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
        if self.inner.fd.replace(-1) >= 0 {
            REGISTRY.with_borrow_mut(|r| r.remove(&self.inner));
        }
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

    /// Looks at one watch, and says when to look again: with a minimum rate in each sweep. With one, `elapsed` has
    /// passed since the last look.
    fn sweep(&self, now: Instant, elapsed: Duration) -> Option<Instant> {
        if self.deadline.get().is_some_and(|d| d <= now) {
            self.expire();
        }
        if let Some(mut rate) = self.rate.get() {
            if self.waiting.get() {
                rate.waited += elapsed;
            }
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
        match (self.expired.get(), self.rate.get()) {
            (true, _) => None,
            (false, Some(_)) => Some(now),
            (false, None) => self.deadline.get(),
        }
    }
}

/// Looks at the watches of this core that may be overdue.
pub(crate) fn sweep(now: Instant, elapsed: Duration) {
    REGISTRY.with_borrow_mut(|r| r.sweep(now, elapsed));
}

/// Closes idle connections, now and from now on.
pub(crate) fn drain() {
    if PHASE.get() == Phase::Serving {
        PHASE.set(Phase::Draining);
    }
    REGISTRY.with_borrow(|r| {
        r.all
            .values()
            .filter(|w| w.idle.get())
            .for_each(|w| w.close());
    });
}

/// Cuts all connections, now and from now on.
pub(crate) fn cut() {
    PHASE.set(Phase::Ending);
    REGISTRY.with_borrow(|r| r.all.values().for_each(|w| w.expire()));
}

/// Forgets what a core left behind on this thread.
pub(crate) fn reset() {
    PHASE.set(Phase::Serving);
    REGISTRY.with_borrow_mut(|r| {
        r.all.clear();
        r.due.clear();
    });
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use proptest::collection::vec;
    use proptest::prelude::*;

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
        for _ in 0..40 {
            watch.inner.sweep(now, SWEEP_EVERY);
        }
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

    /// A socket that may be shut.
    fn socket() -> std::os::fd::OwnedFd {
        std::os::unix::net::UnixDatagram::unbound().unwrap().into()
    }

    #[test]
    fn a_sweep_looks_at_those_alone_that_may_be_overdue() {
        let sockets: Vec<_> = (0..100).map(|_| socket()).collect();
        let start = Instant::now();
        let watches: Vec<_> = sockets
            .iter()
            .map(|s| Watch::of_socket(s.as_raw_fd()))
            .collect();
        let look = |after: u64| {
            let now = start + Duration::from_secs(after);
            REGISTRY.with_borrow_mut(|r| r.sweep(now, SWEEP_EVERY))
        };
        // As between requests: a short deadline, lifted, and then a long one.
        for watch in &watches {
            watch.deadline_in(Duration::from_secs(10));
            watch.clear();
            watch.deadline_in(Duration::from_secs(60));
        }
        watches[0].minimum_rate(1, Duration::from_secs(1));
        watches[1].forget();
        assert_eq!(look(1), 1, "the one with a rate");
        assert_eq!(look(2), 1);
        watches[0].clear();
        assert_eq!(look(3), 1);
        assert_eq!(look(4), 0);
        assert_eq!(look(11), 98, "those that had an earlier deadline");
        assert_eq!(look(12), 0);
        assert!(watches.iter().all(|w| !w.expired()));
        assert_eq!(look(61), 98);
        let expired = |w: &&Watch| w.expired();
        assert_eq!(watches.iter().filter(expired).count(), 98);
        assert_eq!(look(62), 0);
        watches.iter().for_each(Watch::forget);
        REGISTRY.with_borrow(|r| assert!(r.all.is_empty() && r.due.is_empty()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Deadline(u64),
        Clear,
        Rate(u64),
        Wait(bool),
        Move(usize),
        Sweep(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000u64).prop_map(Step::Deadline),
            Just(Step::Clear),
            (1..2000u64).prop_map(Step::Rate),
            any::<bool>().prop_map(Step::Wait),
            (1..3000usize).prop_map(Step::Move),
            (1..3000u64).prop_map(Step::Sweep),
            (1..3000u64).prop_map(Step::Sweep),
        ]
    }

    proptest! {
        /// A watch that is looked at only when it may be overdue expires when one does that is looked at each time.
        #[test]
        fn nothing_expires_later_for_being_looked_at_less(steps in vec((0..3usize, step()), 1..80)) {
            let sockets: Vec<_> = (0..3).map(|_| socket()).collect();
            let ours: Vec<_> = sockets.iter().map(|s| Watch::of_socket(s.as_raw_fd())).collect();
            let always: Vec<_> = (0..3).map(|_| watch().0).collect();
            let mut now = Instant::now() + Duration::from_secs(1);
            for (n, step) in steps {
                for w in [&ours[n], &always[n]] {
                    match step {
                        Step::Deadline(ms) => w.deadline_at(now + Duration::from_millis(ms)),
                        Step::Clear => w.clear(),
                        Step::Rate(rate) => w.minimum_rate(rate, Duration::from_secs(2)),
                        Step::Wait(waiting) => w.inner.waiting.set(waiting),
                        Step::Move(bytes) => drop(w.end_read(Ok(bytes))),
                        Step::Sweep(_) => {}
                    }
                }
                if let Step::Sweep(ms) = step {
                    let elapsed = Duration::from_millis(ms);
                    now += elapsed;
                    sweep(now, elapsed);
                    for w in &always {
                        w.inner.sweep(now, elapsed);
                    }
                }
                for (ours, always) in ours.iter().zip(&always) {
                    prop_assert_eq!(ours.expired(), always.expired());
                }
            }
            ours.iter().for_each(Watch::forget);
        }
    }
}
