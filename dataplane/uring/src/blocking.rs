//! A pool of threads for system calls that would hold up a core: `readdir`, `flock`, `copy_file_range`,
//! `getaddrinfo`. One for the process.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;

use crate::runtime::sleep;

/// Most threads. They wait for disks and resolvers, not for CPUs.
const MAX_THREADS: usize = 16;

/// Most jobs that wait for a thread; above, callers wait before they submit.
const MAX_QUEUED: usize = 1024;

/// How long a caller waits before it looks again whether the queue has room.
const QUEUE_PAUSE: Duration = Duration::from_millis(2);

/// How long a thread without work stays.
const IDLE_FOR: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

struct Workers {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static WORKERS: Workers = Workers {
    state: Mutex::new(State {
        jobs: VecDeque::new(),
        threads: 0,
        idle: 0,
    }),
    work: Condvar::new(),
};

impl Workers {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside of the lock and catch their panics, so that a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the job, or hands it back when the queue is full.
    fn submit(&'static self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if state.jobs.len() >= MAX_QUEUED {
            return Err(job);
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= MAX_THREADS {
            self.work.notify_one();
            return Ok(());
        }
        let started = std::thread::Builder::new()
            .name("sealgate-io".into())
            .spawn(|| self.run());
        match started {
            Ok(_) => state.threads += 1,
            Err(e) if state.threads > 0 => {
                tracing::warn!(error = %e, "cannot start another thread for blocking calls");
            }
            Err(_) => {
                // Better late on this thread than never.
                let job = state.jobs.pop_back();
                drop(state);
                job.into_iter().for_each(|job| job());
            }
        }
        Ok(())
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited;
            (state, waited) = self
                .work
                .wait_timeout(state, IDLE_FOR)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Runs `f` on a thread where it may block, and returns its result. Dropping the future does not stop `f`.
///
/// # Panics
/// When `f` does, with its panic.
pub async fn blocking<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = oneshot::channel();
    let mut job: Job = Box::new(move || {
        // The caller may be gone.
        let _ = tell.send(catch_unwind(AssertUnwindSafe(f)));
    });
    while let Err(refused) = WORKERS.submit(job) {
        job = refused;
        sleep(QUEUE_PAUSE).await;
    }
    match told.await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(oneshot::Canceled) => unreachable!("a job that is queued is run"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn wait<F: Future>(f: F) -> F::Output {
        let mut f = std::pin::pin!(f);
        loop {
            if let Poll::Ready(out) = f.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return out;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn results_and_panics_come_back() {
        assert_eq!(wait(blocking(|| 6 * 7)), 42);
        let panicked = catch_unwind(|| wait(blocking(|| panic!("as asked"))));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"as asked"));
        assert_eq!(wait(blocking(|| "still here")), "still here");
    }

    #[test]
    fn never_more_threads_than_the_bound() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let all = (0..100).map(|_| {
            blocking(|| {
                MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                NOW.fetch_sub(1, Ordering::SeqCst);
            })
        });
        wait(futures_util::future::join_all(all));
        let most = MOST.load(Ordering::SeqCst);
        assert!((2..=MAX_THREADS).contains(&most), "{most} at once");
    }
}
