//! What came of a load.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Outcome, Verb};

/// What came of it.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Requests that succeeded; all of them.
    pub(crate) requests: u64,
    /// How often one was answered 503 and sent again.
    pub(crate) retries: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from when a request was to start to the last byte of its answer, of each kind of request.
    pub(crate) latencies: BTreeMap<Verb, Histogram<u64>>,
}

impl Summary {
    pub(super) fn empty() -> Summary {
        Summary {
            requests: 0,
            retries: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            latencies: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, other: &Summary) -> Outcome<()> {
        self.requests += other.requests;
        self.retries += other.retries;
        self.bytes += other.bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        for (verb, latency) in &other.latencies {
            self.latency(*verb)?.add(latency)?;
        }
        Ok(())
    }

    pub(super) fn latency(&mut self, verb: Verb) -> Outcome<&mut Histogram<u64>> {
        use std::collections::btree_map::Entry;
        Ok(match self.latencies.entry(verb) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Histogram::new(3)?),
        })
    }

    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// A percentile of the latencies of all requests in microseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut all = self.latencies.values();
        let Some(mut sum) = all.next().cloned() else {
            return f64::NAN;
        };
        for other in all {
            // Of the same make: cannot fail.
            let _ = sum.add(other);
        }
        sum.value_at_percentile(percent) as f64 / 1e3
    }
}
