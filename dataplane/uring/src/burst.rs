//! Small writes on epoll go out in bursts.
//!
//! A ring submits what all tasks have asked for at once. Without one, each task would write as soon as it can, and
//! between two writes lies another request's work: the peer, on another core, goes to sleep and is woken for each of
//! them, which is dearer than all else about a small write, and kernel and program push each other out of the caches.
//! So a task that is about to write little steps back until every task that was ready has run.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

/// Longest write that waits for others. Longer ones go out at once, while they are in the cache.
pub(crate) const LONGEST: usize = 8192;

#[derive(Default)]
struct Burst {
    /// Who steps back, in the order of their coming.
    waiting: Vec<Waker>,
    /// Wakes the task that lets them go on; none without such a task, and then nobody waits.
    starter: Option<Waker>,
}

thread_local! {
    static BURST: RefCell<Burst> = RefCell::default();
}

/// The task of a core that lets the waiting go on. It is woken by the first of them, so its turn comes after all tasks
/// that were ready by then.
pub(crate) async fn start_bursts() -> Infallible {
    let mut going = Vec::new();
    poll_fn(|cx| {
        BURST.with_borrow_mut(|burst| {
            std::mem::swap(&mut going, &mut burst.waiting);
            match &mut burst.starter {
                Some(starter) => starter.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        });
        going.drain(..).for_each(Waker::wake);
        Poll::Pending
    })
    .await
}

/// Lets all tasks that are ready run first. (A task that wakes itself would not do: monoio runs it again at once.)
pub(crate) fn step_back() -> impl Future<Output = ()> {
    let mut stepped = false;
    poll_fn(move |cx| {
        let wait = !std::mem::replace(&mut stepped, true)
            && BURST.with_borrow_mut(|burst| {
                let Some(starter) = &burst.starter else {
                    return false;
                };
                if burst.waiting.is_empty() {
                    starter.wake_by_ref();
                }
                burst.waiting.push(cx.waker().clone());
                true
            });
        if wait { Poll::Pending } else { Poll::Ready(()) }
    })
}

/// Forgets this thread's tasks.
pub(crate) fn reset() {
    drop(BURST.take());
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::{Driver, RuntimeConfig, spawn, start};

    /// What three tasks do, each one step, a step back, another step.
    fn order_of_steps(driver: Driver) -> Vec<&'static str> {
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
                crate::sleep(std::time::Duration::from_millis(1)).await;
                let steps = Rc::new(RefCell::new(Vec::new()));
                for (first, second) in [("a1", "a2"), ("b1", "b2"), ("c1", "c2")] {
                    let (steps, tell) = (Rc::clone(&steps), tell.clone());
                    spawn(async move {
                        steps.borrow_mut().push(first);
                        step_back().await;
                        steps.borrow_mut().push(second);
                        if steps.borrow().len() == 6 {
                            let _ = tell.send(steps.borrow().clone());
                        }
                    });
                }
            }
        });
        let steps = told.recv();
        cores.expect("a core").join().expect("it ends");
        steps.expect("all steps")
    }

    #[test]
    fn on_epoll_all_who_are_ready_go_first() {
        let steps = order_of_steps(Driver::Epoll);
        assert_eq!(steps, ["a1", "b1", "c1", "a2", "b2", "c2"]);
    }

    #[test]
    fn on_io_uring_nobody_waits() {
        // As all tests of io_uring, this one fails where the kernel refuses it.
        let steps = order_of_steps(Driver::IoUring);
        assert_eq!(steps, ["a1", "a2", "b1", "b2", "c1", "c2"]);
    }

    #[test]
    fn without_a_runtime_nobody_waits() {
        let mut step = std::pin::pin!(step_back());
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(step.as_mut().poll(&mut cx).is_ready());
    }
}
