//! How fast a failed question is asked again: full-jitter exponential back-off under a budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// First pause before a retry; it doubles each time. A KMS answers within some 10 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Retries that may be saved up.
const SAVINGS: f64 = 20.0;
/// What one question adds: retries are at most a fifth of all calls while a provider is ill.
const PER_CALL: f64 = 0.2;
/// What each second adds, for a gateway that asks seldom.
const PER_SECOND: f64 = 1.0;

/// Random numbers that need not be secret.
pub(crate) struct Dice(AtomicU64);

impl Dice {
    /// From the system's random generator, or from the clock should that fail.
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        match aws_lc_rs::rand::fill(&mut seed) {
            Ok(()) => Self::seeded(u64::from_le_bytes(seed)),
            Err(_) => Self::seeded(std::process::id().into()),
        }
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// From 0 up to, but not, 1.
    fn roll(&self) -> f64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Anything from nothing to `most`.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.roll())
    }

    /// `whole`, less up to a tenth: things that began together do not end together.
    pub(crate) fn shortened(&self, whole: Duration) -> Duration {
        whole - self.up_to(whole / 10)
    }

    /// The pause before retry number `retry`, counted from 0 ("full jitter": Brooker, Exponential Backoff And Jitter,
    /// AWS Architecture Blog, 2015).
    pub(crate) fn pause(&self, retry: u32) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << retry.min(16));
        self.up_to(doubled.min(LONGEST_PAUSE))
    }
}

/// A token bucket for retries and hedges: an outage must not multiply the load on what is left of the provider.
pub(crate) struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            tokens: SAVINGS,
            at: now,
        }
    }

    /// Counts a question in.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = (self.tokens + PER_CALL).min(SAVINGS);
    }

    /// Takes a retry out, if there is one.
    pub(crate) fn withdraw(&mut self, now: Instant) -> bool {
        self.refill(now);
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * PER_SECOND).min(SAVINGS);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_stay_within_their_bounds(seed: u64, retry in 0u32..100) {
            let dice = Dice::seeded(seed);
            let most = FIRST_PAUSE.saturating_mul(1 << retry.min(10)).min(LONGEST_PAUSE);
            for _ in 0..20 {
                prop_assert!(dice.pause(retry) <= most);
                let hour = Duration::from_secs(3600);
                let less = dice.shortened(hour);
                prop_assert!(less <= hour && less >= hour.mul_f64(0.9));
            }
        }

        /// However it is asked: never more retries than savings, a fifth of the calls and one a second.
        #[test]
        fn retries_never_exceed_the_budget(steps in prop::collection::vec((any::<bool>(), 0u64..500), 0..2000)) {
            let mut now = Instant::now();
            let began = now;
            let mut budget = Budget::new(now);
            let (mut calls, mut retries) = (0u32, 0u32);
            for (is_call, millis) in steps {
                now += Duration::from_millis(millis);
                if is_call {
                    budget.deposit(now);
                    calls += 1;
                } else if budget.withdraw(now) {
                    retries += 1;
                }
                let most = SAVINGS + f64::from(calls) * PER_CALL + (now - began).as_secs_f64() * PER_SECOND;
                prop_assert!(f64::from(retries) <= most + 1e-6);
            }
        }
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        let dice = Dice::seeded(7);
        let most = Duration::from_secs(1);
        let rolls: Vec<_> = (0..1000).map(|_| dice.up_to(most).as_secs_f64()).collect();
        let in_tenth = |n: usize| rolls.iter().filter(|r| (**r * 10.0) as usize == n).count();
        assert!(
            (0..10).all(|n| (60..140).contains(&in_tenth(n))),
            "{rolls:?}"
        );
    }

    #[test]
    fn an_idle_second_buys_a_retry() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!((0..100).filter(|_| budget.withdraw(now)).count(), 20);
        assert!(!budget.withdraw(now + Duration::from_millis(900)));
        assert!(budget.withdraw(now + Duration::from_millis(1100)));
    }
}
