//! Threads, rings and time: one thread per core, each with its own runtime.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

mod drain;
mod driver;
mod pin;

pub use drain::Drain;
pub use driver::{ActiveDriver, Driver, DriverError, detect};

use crate::{bulk, burst, net, pool, watch};

/// How long tasks whose connections were cut may take to notice.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often memory that nobody used in the meantime goes back to the system.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// How long a draining listener may take connections that are already in its queue (closing it resets them).
const LAST_ACCEPTS: Duration = Duration::from_secs(1);

/// How often a core that ends looks whether its tasks have.
const END_POLL: Duration = Duration::from_millis(5);

thread_local! {
    static CORE: Cell<Option<ActiveDriver>> = const { Cell::new(None) };
    /// Tasks of [`spawn`] that have not ended.
    static TASKS: Cell<usize> = const { Cell::new(0) };
    /// Wakes the sweeper to end it.
    static SWEEPER: RefCell<Sweeper> = const { RefCell::new(Sweeper { stop: false, waker: None }) };
}

struct Sweeper {
    stop: bool,
    waker: Option<Waker>,
}

/// How to run the cores.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Threads.
    pub cores: usize,
    /// What the kernel is talked to through.
    pub driver: Driver,
    /// Pin each thread to a CPU, if the process may use at least `cores` of them (it owns its cores; on a shared
    /// machine pinning makes threads wait for a CPU while others are free).
    pub pin: bool,
    /// Submission entries of each ring: operations submitted in one system call. The kernel's limit is 32768.
    pub ring_entries: u32,
}

impl Default for RuntimeConfig {
    /// A core per CPU that the process may use, `Auto`, not pinned, 1024 entries.
    fn default() -> Self {
        RuntimeConfig {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            driver: Driver::Auto,
            pin: false,
            ring_entries: 1024,
        }
    }
}

/// What a core is told when it starts.
pub struct CoreContext {
    /// 0 to `cores` - 1.
    pub core: usize,
    /// When to stop.
    pub drain: Drain,
}

/// The running cores.
pub struct Cores {
    threads: Vec<JoinHandle<()>>,
    drain: Drain,
    driver: ActiveDriver,
}

impl Cores {
    /// What the cores talk to the kernel through.
    #[must_use]
    pub fn driver(&self) -> ActiveDriver {
        self.driver
    }

    /// Starts draining: listeners and idle connections close, requests in progress may go on for `grace`, then
    /// their connections are cut. Does not wait; another call may shorten the grace.
    pub fn drain(&self, grace: Duration) {
        self.drain.start(grace);
    }

    /// The signal that [`Cores::drain`] gives, for other threads.
    #[must_use]
    pub fn drain_handle(&self) -> Drain {
        self.drain.clone()
    }

    /// Waits until all cores have ended.
    ///
    /// # Errors
    /// When a core's main function panicked; the others have still ended.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads {
            let name = thread.thread().name().unwrap_or("a core").to_owned();
            if thread.join().is_err() {
                result = Err(io::Error::other(format!("{name} panicked")));
            }
        }
        result
    }
}

/// Has the C library keep what was freed at the end of each thread's heap, up to 2 MiB: the documents of a listing are freed
/// together, and by its own measure it often gives them back, so that the next listing meets a hundred page faults. Blocks
/// of 1 MiB and more have mappings of their own, which always go back. It is the whole process' setting, and goes before those of
/// the environment (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`).
fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two thresholds of the allocator, under its lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 << 20);
    }
}

/// Starts one thread per core, each running `main` on a runtime of its own.
///
/// When `main` returns, the core ends: its listeners and idle connections are closed; while draining, its tasks
/// are waited for until the grace is over; then their connections are cut.
///
/// # Errors
/// When the driver that is asked for cannot be had (see [`detect`]), or a thread or its ring cannot be made; then
/// `main` has not begun on any core.
pub fn start<F, Fut>(cfg: &RuntimeConfig, main: F) -> io::Result<Cores>
where
    F: Fn(CoreContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    // A write to a closed socket must be an error, not the end: `writev` has no flag to say so.
    // SAFETY: sets the disposition that every Rust program starts with, but a program that embeds us may not have.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    keep_freed_memory();
    let main = Arc::new(main);
    let active = detect(cfg.driver).map_err(io::Error::other)?;
    match start_on(active, cfg, &main) {
        // One ring could be had, but not one for each core (old kernels count them as locked memory).
        Err(e) if active == ActiveDriver::IoUring && cfg.driver == Driver::Auto => {
            tracing::warn!(reason = %e, "running on epoll");
            start_on(ActiveDriver::Epoll, cfg, &main)
        }
        result => result,
    }
}

/// Makes all threads and their runtimes; `main` begins only when all are there.
fn start_on<F, Fut>(active: ActiveDriver, cfg: &RuntimeConfig, main: &Arc<F>) -> io::Result<Cores>
where
    F: Fn(CoreContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let cpus = pin::cpus(cfg);
    let mut cores = Cores {
        threads: Vec::new(),
        drain: Drain::new(),
        driver: active,
    };
    let mut gates = Vec::new();
    for core in 0..cfg.cores.max(1) {
        let (main, drain, entries) = (main.clone(), cores.drain.clone(), cfg.ring_entries);
        let cpu = cpus.get(core).copied();
        let (tell, built) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let body = move || {
            if let Some(cpu) = cpu {
                pin::to(cpu);
            }
            let runtime = driver::build(active, entries);
            let (mut runtime, error) =
                runtime.map_or_else(|e| (None, Some(e)), |r| (Some(r), None));
            let _ = tell.send(error.map_or(Ok(()), Err));
            // Closed, not opened, when another core could not be made.
            if let (Some(runtime), Ok(())) = (&mut runtime, gate.recv()) {
                let context = CoreContext {
                    core,
                    drain: drain.clone(),
                };
                runtime.block_on(run(active, context, &*main, drain));
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("sealgate-{core}"))
            .spawn(body)?;
        cores.threads.push(thread);
        built
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a core ended at once")))?;
        gates.push(open);
    }
    for gate in gates {
        // A thread that is gone is seen by `join`.
        let _ = gate.send(());
    }
    Ok(cores)
}

async fn run<F, Fut>(active: ActiveDriver, context: CoreContext, main: &F, drain: Drain)
where
    F: Fn(CoreContext) -> Fut,
    Fut: Future<Output = ()>,
{
    CORE.set(Some(active));
    TASKS.set(0);
    SWEEPER.with_borrow_mut(|s| {
        *s = Sweeper {
            stop: false,
            waker: None,
        }
    });
    let sweeper = monoio::spawn(sweep(drain.clone()));
    if active == ActiveDriver::Epoll {
        drop(monoio::spawn(burst::start_bursts()));
    }
    drop(monoio::spawn(async move {
        let Err(e) = bulk::start_turns(active).await;
        tracing::warn!(error = %e, "long streams of this core take no turns: small requests may wait for them");
    }));
    let ended = AssertUnwindSafe(main(context)).catch_unwind().await;
    end_tasks(&drain).await;
    SWEEPER.with_borrow_mut(|s| {
        s.stop = true;
        s.waker.take().into_iter().for_each(Waker::wake);
    });
    sweeper.await;
    watch::reset();
    pool::reset();
    net::reset();
    bulk::reset();
    burst::reset();
    CORE.set(None);
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// The task that enforces time-outs and draining.
async fn sweep(drain: Drain) {
    let mut started = pin!(drain.started().fuse());
    let mut last = Instant::now();
    let mut trimmed = last;
    let mut draining_since = None;
    loop {
        let mut pause = pin!(monoio::time::sleep(watch::SWEEP_EVERY));
        let stop = poll_fn(|cx| {
            let stop = SWEEPER.with_borrow_mut(|s| {
                s.waker = Some(cx.waker().clone());
                s.stop
            });
            if stop {
                return Poll::Ready(true);
            }
            if started.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            pause.as_mut().poll(cx).map(|()| false)
        });
        if stop.await {
            return;
        }
        let now = Instant::now();
        watch::sweep(now, now - last);
        last = now;
        if now - trimmed >= TRIM_EVERY {
            pool::trim_all();
            trimmed = now;
        }
        if let Some(end) = drain.ends() {
            let since = *draining_since.get_or_insert(now);
            watch::drain();
            net::close_listeners(now >= end || now - since >= LAST_ACCEPTS);
            if now >= end {
                watch::cut();
            }
        }
    }
}

/// Waits for the tasks of this core within the grace, then cuts their connections and gives them a last moment.
async fn end_tasks(drain: &Drain) {
    watch::drain();
    net::close_listeners(true);
    while TASKS.get() > 0 && drain.ends().is_some_and(|end| Instant::now() < end) {
        sleep(END_POLL).await;
    }
    watch::cut();
    let end = Instant::now() + LAST_WORDS;
    while TASKS.get() > 0 && Instant::now() < end {
        sleep(END_POLL).await;
    }
    if TASKS.get() > 0 {
        tracing::warn!(tasks = TASKS.get(), "a core ended before its tasks");
    }
}

/// What this thread's core runs on; `None` on other threads.
pub(crate) fn active_driver() -> Option<ActiveDriver> {
    CORE.get()
}

/// Runs `f` on this core, by itself. A panic ends `f` alone and is logged.
pub fn spawn(f: impl Future<Output = ()> + 'static) {
    struct Count;
    impl Drop for Count {
        fn drop(&mut self) {
            TASKS.set(TASKS.get() - 1);
        }
    }
    TASKS.set(TASKS.get() + 1);
    let count = Count;
    // By combinators: an `async` block would have room for `f` twice, as what it is given and as what it awaits.
    drop(monoio::spawn(AssertUnwindSafe(f).catch_unwind().map(
        move |ended| {
            let _count = count;
            if let Err(panic) = ended {
                let what = panic.downcast_ref::<&str>().copied();
                let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                tracing::error!(what = what.unwrap_or("unknown"), "a task panicked");
            }
        },
    )));
}

/// Waits for `d`, to the millisecond.
///
/// # Panics
/// Outside of a core.
pub async fn sleep(d: Duration) {
    timer(d).await;
}

/// On the heap: the runtime aligns timers to 128 bytes, and every future that holds one would be, whether it waits or not.
fn timer(d: Duration) -> Pin<Box<monoio::time::Sleep>> {
    Box::pin(monoio::time::sleep(d))
}

/// The monotonic clock.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Awaits both, each making progress while the other waits. Large ones, as those of the byte path, should come pinned
/// (`pin!`): a future that is moved is copied.
pub fn join<A: Future, B: Future>(a: A, b: B) -> impl Future<Output = (A::Output, B::Output)> {
    futures_util::future::join(a, b)
}

/// Awaits `f` for `d` at most, then drops it: only for futures that own no operation with data in flight.
/// Outside of a core, where there is no timer, awaits it without limit.
pub(crate) async fn timeout<F: Future>(d: Duration, f: F) -> Option<F::Output> {
    if active_driver().is_none() {
        return Some(f.await);
    }
    let (mut f, mut limit) = (pin!(f), timer(d));
    poll_fn(|cx| match f.as_mut().poll(cx) {
        Poll::Ready(out) => Poll::Ready(Some(out)),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
    })
    .await
}
