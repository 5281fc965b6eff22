//! When the next request may start.
//!
//! A closed loop starts one when the one before is answered, so a slow server is asked less: good for measuring what a
//! request costs. An open loop starts requests at a fixed rate whatever the server does, and counts latency from when a
//! request was to start, not from when a connection was free for it (which would leave out just the requests that
//! waited: "coordinated omission").

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Leave to start one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// Counts all requests of a load.
    pub(super) number: u64,
    /// Its time counts from here.
    pub(super) start: Instant,
    /// Whether its time goes into the statistics.
    pub(super) counts: bool,
}

/// How long an open loop warms up: connections are made meanwhile, on both sides of a proxy, and requests that wait for
/// that say nothing of those that do not. What the clock is asked for follows.
const WARM_UP: f64 = 0.3;

/// Where the connections of one thread get their tickets.
#[derive(Clone)]
pub(super) enum Gate {
    /// Until none is left, or time is up.
    Closed {
        taken: Arc<AtomicU64>,
        count: u64,
        until: Option<Instant>,
    },
    /// From the clock.
    Open(Rc<Mutex<UnboundedReceiver<Ticket>>>),
}

impl Gate {
    /// Waits for leave; `None` is the end.
    pub(super) async fn next(&self) -> Option<Ticket> {
        match self {
            Gate::Closed {
                taken,
                count,
                until,
            } => {
                let start = Instant::now();
                if until.is_some_and(|end| start >= end) {
                    return None;
                }
                let number = taken.fetch_add(1, Ordering::Relaxed);
                (number < *count).then_some(Ticket {
                    number,
                    start,
                    counts: true,
                })
            }
            Gate::Open(tickets) => tickets.lock().await.recv().await,
        }
    }
}

/// A clock that gives tickets to so many threads in turn. A thread of its own that sleeps, because the runtime's timers
/// only know milliseconds.
pub(super) fn clock(
    rate: f64,
    count: u64,
    seconds: Option<f64>,
    threads: usize,
) -> Vec<UnboundedReceiver<Ticket>> {
    let (to, from): (Vec<UnboundedSender<Ticket>>, Vec<_>) =
        (0..threads).map(|_| mpsc::unbounded_channel()).unzip();
    thread::spawn(move || {
        // The threads of the load start meanwhile.
        let zero = Instant::now() + Duration::from_millis(5);
        for number in 0..count {
            let due = number as f64 / rate;
            let counts = due >= WARM_UP;
            if seconds.is_some_and(|end| due >= end + WARM_UP) {
                return;
            }
            let start = zero + Duration::from_secs_f64(due);
            if let Some(wait) = start.checked_duration_since(Instant::now()) {
                thread::sleep(wait);
            }
            if to[number as usize % threads]
                .send(Ticket {
                    number,
                    start,
                    counts,
                })
                .is_err()
            {
                return;
            }
        }
    });
    from
}
