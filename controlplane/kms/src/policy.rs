//! How one key's failures are met, and what is kept for how long.

use std::time::Duration;

/// The resilience settings of one key: `[keys.<name>]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Time for one attempt at one endpoint.
    pub attempt_timeout: Duration,
    /// Time for one question, with all its attempts.
    pub deadline: Duration,
    /// Attempts after the first round over the endpoints.
    pub retries: u32,
    /// An unwrap that has had no answer for so long is also sent to the next endpoint.
    pub hedge_after: Duration,
    /// Calls at a time at one endpoint.
    pub concurrency: usize,
    /// Failures in a row after which an endpoint is left alone.
    pub breaker_failures: u32,
    /// How long it is left alone.
    pub breaker_open_for: Duration,
    /// Time an unwrapped KEK is kept.
    pub cache_ttl: Duration,
    /// Time an unwrapped KEK is kept without being used.
    pub cache_idle_ttl: Duration,
    /// Unwrapped KEKs kept.
    pub cache_max: usize,
    /// Time a core keeps a KEK for reading before it asks the service again.
    pub core_ttl: Duration,
    /// Time a refusal is remembered.
    pub negative_ttl: Duration,
    /// Time a failure that may pass is remembered.
    pub error_ttl: Duration,
    /// Time that cached KEKs stay usable for reading past their own while the provider cannot be reached.
    pub grace_reads: Duration,
    /// Time that a writer's KEK stays usable past its age while the provider cannot be reached.
    pub grace_writes: Duration,
    /// Time between two checks of the key's health.
    pub health_interval: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            attempt_timeout: seconds(2),
            deadline: seconds(8),
            retries: 3,
            hedge_after: Duration::from_millis(500),
            concurrency: 16,
            breaker_failures: 5,
            breaker_open_for: seconds(5),
            cache_ttl: seconds(3600),
            cache_idle_ttl: seconds(1800),
            // About half a year of one KEK an hour.
            cache_max: 4096,
            core_ttl: seconds(300),
            negative_ttl: seconds(10),
            error_ttl: seconds(1),
            grace_reads: Duration::ZERO,
            grace_writes: Duration::ZERO,
            health_interval: seconds(30),
        }
    }
}
