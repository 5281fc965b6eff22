//! A store that is far away: each answer a round trip late, each connection only so fast.
//!
//! Loopback has neither distance nor a limit, so both are made here, in user space: an answer begins a latency after
//! its request is whole, the first one of a connection another latency later (the handshake), and each direction of a
//! connection moves at the rate of a clock that is allowed to run late by [`SLACK`] only.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// How far a connection may catch up after it was late: timers are to the millisecond, and the machine is shared.
const SLACK: Duration = Duration::from_millis(20);
/// Bytes that move at once where there is a limit.
const STEP: usize = 128 << 10;

/// Distance and speed of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    latency: Duration,
    /// Bytes per second; 0 is no limit.
    rate: u64,
    /// When the connection may move on.
    due: Instant,
}

impl Pace {
    pub(super) fn new(latency: Duration, rate: u64) -> Self {
        Self {
            latency,
            rate,
            due: Instant::now(),
        }
    }

    /// One round trip.
    pub(super) async fn travel(&self) {
        if !self.latency.is_zero() {
            sleep(self.latency).await;
        }
    }

    /// Most bytes that may move at once.
    pub(super) fn step(&self, wanted: usize) -> usize {
        match self.rate {
            0 => wanted,
            _ => wanted.min(STEP),
        }
    }

    /// Waits as long as `n` bytes take, or without a limit until others have had their turn: a body whose peer keeps up
    /// would otherwise go on for up to 60 ms, in which no other connection of its worker is looked at.
    pub(super) async fn moved(&mut self, n: usize) {
        if self.rate == 0 {
            tokio::task::yield_now().await;
            return;
        }
        let now = Instant::now();
        if self.charge(n, now) > now {
            sleep_until(self.due).await;
        }
    }

    /// When `n` bytes that move from `now` on have moved.
    fn charge(&mut self, n: usize, now: Instant) -> Instant {
        let from = self.due.max(now.checked_sub(SLACK).unwrap_or(now));
        self.due = from + Duration::from_secs_f64(n as f64 / self.rate as f64);
        self.due
    }
}

/// `20ms`, `1s`, `500us`.
pub(super) fn parse_latency(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(format!("unknown unit {unit:?}: use us, ms or s")),
    };
    let number: f64 = number.parse().map_err(|e| format!("{text:?}: {e}"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|e| format!("{text:?}: {e}"))
}

/// Bytes per second, in decimal units as networks have them: `100MB`, `1GB`, `500kB`.
pub(super) fn parse_bandwidth(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let scale: u64 = match unit.trim_end_matches("/s") {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(format!("unknown unit {unit:?}: use kB, MB or GB")),
    };
    let number: u64 = number.parse().map_err(|e| format!("{text:?}: {e}"))?;
    match number.checked_mul(scale) {
        None => Err(format!("{text:?} is too large")),
        Some(0) => Err("leave it out for no limit".to_owned()),
        Some(rate) => Ok(rate),
    }
}

fn split(text: &str) -> (&str, &str) {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    text.split_at(text.find(|c| !digits(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(parse_latency("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(parse_latency("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(parse_latency("20").is_err() && parse_latency("ms").is_err());
        assert_eq!(parse_bandwidth("100MB"), Ok(100_000_000));
        assert_eq!(parse_bandwidth("100MB/s"), Ok(100_000_000));
        assert_eq!(parse_bandwidth("9"), Ok(9));
        assert!(parse_bandwidth("100MiB").is_err() && parse_bandwidth("0MB").is_err());
    }

    #[test]
    fn a_connection_is_as_fast_as_it_may_be() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, 1_000_000);
        let mut now = start;
        for _ in 0..100 {
            // Each step is late by less than may be caught up.
            now = pace.charge(10_000, now) + Duration::from_millis(5);
        }
        let took = (now - start).as_secs_f64();
        assert!((0.95..=1.01).contains(&took), "{took}");
        // What was not used is not saved up.
        let later = now + Duration::from_secs(10);
        let took = (pace.charge(1_000_000, later) - later).as_secs_f64();
        assert!((0.97..=1.0).contains(&took), "{took}");
    }
}
