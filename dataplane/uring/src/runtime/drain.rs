//! The signal to stop, across threads.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Tells the cores, and whoever else holds it, that the process is to end.
#[derive(Clone)]
pub struct Drain {
    shared: Arc<Shared>,
}

struct Shared {
    started: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ends: Option<Instant>,
    next: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain {
            shared: Arc::new(Shared {
                started: AtomicBool::new(false),
                state: Mutex::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts draining with this much grace; again, only to end sooner. For any thread.
    pub fn start(&self, grace: Duration) {
        let now = Instant::now();
        // A grace beyond the clock's range is as good as a year.
        let end = now
            .checked_add(grace)
            .unwrap_or(now + Duration::from_secs(365 * 86_400));
        let mut state = self.lock();
        state.ends = Some(state.ends.map_or(end, |earlier| earlier.min(end)));
        self.shared.started.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// True from the start of draining on.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.started.load(Ordering::Acquire)
    }

    /// When the grace ends; `None` before draining.
    #[must_use]
    pub fn ends(&self) -> Option<Instant> {
        if self.is_draining() {
            self.lock().ends
        } else {
            None
        }
    }

    /// Resolves when draining starts. It may be dropped at any time. For a handful of tasks per core (accept
    /// loops), not for each connection: those are closed through [`Watch::set_idle`](crate::Watch::set_idle).
    pub async fn started(&self) {
        let mut place = Place {
            drain: self,
            id: None,
        };
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.ends.is_some() {
                return Poll::Ready(());
            }
            let id = *place.id.get_or_insert_with(|| {
                state.next += 1;
                state.next
            });
            match state.waiting.iter_mut().find(|(other, _)| *other == id) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => state.waiting.push((id, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await;
    }
}

/// Takes its waker back when dropped.
struct Place<'a> {
    drain: &'a Drain,
    id: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut state = self.drain.lock();
            state.waiting.retain(|(other, _)| *other != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn waiters_leave_when_dropped_and_a_second_call_only_shortens() {
        let drain = Drain::new();
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut started = pin!(drain.started());
            assert!(started.as_mut().poll(&mut cx).is_pending());
            assert!(started.as_mut().poll(&mut cx).is_pending());
            assert_eq!(drain.lock().waiting.len(), 1);
        }
        assert!(drain.lock().waiting.is_empty());
        assert!(!drain.is_draining());
        assert_eq!(drain.ends(), None);
        drain.start(Duration::from_secs(10));
        let first = drain.ends().unwrap();
        drain.start(Duration::from_secs(100));
        assert_eq!(drain.ends(), Some(first));
        drain.start(Duration::ZERO);
        assert!(drain.ends().unwrap() < first);
        assert!(pin!(drain.started()).poll(&mut cx).is_ready());
    }
}
