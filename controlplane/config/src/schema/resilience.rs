//! How a key's failures are met: keys and tables that all providers have in common.

use super::Fallback::{Absent, Value};
use super::table::row;
use super::{HOUR, Kind, Row, SECOND, Section};

const MINUTE: u64 = 60 * SECOND;

const fn duration(min: u64, max: u64) -> Kind {
    Kind::Duration { min, max }
}

pub(super) const ATTEMPT_TIMEOUT: Row = row(
    "attempt_timeout",
    duration(100, MINUTE),
    Value("\"2s\""),
    "One call of the provider at one endpoint.",
);

pub(super) const DEADLINE: Row = row(
    "deadline",
    duration(100, 2 * MINUTE),
    Value("\"8s\""),
    "All calls for one question: retries, hedges, further endpoints. Requests that wait for a key wait no longer.",
);

pub(super) const RETRIES: Row = row(
    "retries",
    Kind::Integer { min: 0, max: 10 },
    Value("3"),
    "Rounds over the endpoints after the first, with random growing pauses, as far as the retry budget goes.",
);

pub(super) const HEDGE_AFTER: Row = row(
    "hedge_after",
    duration(10, MINUTE),
    Value("\"500ms\""),
    "An unwrap without an answer for so long is also sent to the next endpoint.",
);

pub(super) const CONCURRENCY: Row = row(
    "concurrency",
    Kind::Integer { min: 1, max: 256 },
    Value("16"),
    "Calls at a time at one endpoint; more wait.",
);

pub(super) const HEALTH_INTERVAL: Row = row(
    "health_interval",
    duration(SECOND, HOUR),
    Value("\"30s\""),
    "Time between two checks of the key in the background, which readiness answers from.",
);

const fn table(key: &'static str, doc: &'static str) -> Row {
    row(key, Kind::Table, Absent("all its defaults"), doc)
}

pub(super) const BREAKER_TABLE: Row = table("breaker", "When an endpoint is left alone.");
pub(super) const CACHE_TABLE: Row = table("cache", "What is kept in memory, and how long.");
pub(super) const GRACE_TABLE: Row = table(
    "offline_grace",
    "What is used past its time while the provider cannot be reached.",
);

pub(super) const BREAKER: Section = Section {
    path: "keys.<name>.breaker",
    header: "[keys.<name>] breaker.failures = …",
    doc: "An endpoint that keeps failing is left alone for a while, then tried with one call. Refusals are no failures. \
          See docs/kms/failure.md.",
    rows: &[
        row(
            "failures",
            Kind::Integer { min: 1, max: 1000 },
            Value("5"),
            "Failures in a row after which an endpoint is left alone.",
        ),
        row(
            "open_for",
            duration(100, 10 * MINUTE),
            Value("\"5s\""),
            "How long it is left alone.",
        ),
    ],
};

pub(super) const CACHE: Section = Section {
    path: "keys.<name>.cache",
    header: "[keys.<name>] cache.ttl = …",
    doc: "Unwrapped KEKs in memory. A key that is revoked at its provider opens nothing any more after `ttl`, and after \
          `health_interval` plus `core_ttl` where the provider says so.",
    rows: &[
        row(
            "ttl",
            duration(SECOND, 24 * HOUR),
            Value("\"1h\""),
            "Longest time a KEK is kept without asking the provider again, less up to a tenth by chance. One in use is asked for again ahead of that.",
        ),
        row(
            "idle_ttl",
            duration(SECOND, 24 * HOUR),
            Value("\"30m\""),
            "The same without being used.",
        ),
        row(
            "max",
            Kind::Integer {
                min: 1,
                max: 1 << 20,
            },
            Value("4096"),
            "Most KEKs kept; the least recently used one goes first.",
        ),
        row(
            "core_ttl",
            duration(SECOND, HOUR),
            Value("\"5m\""),
            "Time a core keeps a KEK for reading before it asks the control plane again, which costs no call of the provider.",
        ),
        row(
            "negative_ttl",
            duration(0, 10 * MINUTE),
            Value("\"10s\""),
            "Time a refusal is remembered, so that reads of an object that cannot be opened do not burden the provider.",
        ),
        row(
            "error_ttl",
            duration(0, MINUTE),
            Value("\"1s\""),
            "The same of a failure that may pass.",
        ),
    ],
};

pub(super) const GRACE: Section = Section {
    path: "keys.<name>.offline_grace",
    header: "[keys.<name>] offline_grace.reads = …",
    doc: "While the provider cannot be reached, and only then: a refusal ends it at once. While it lasts, a key that is \
          revoked during the outage goes on opening objects, so it is off unless asked for.",
    rows: &[
        row(
            "reads",
            duration(0, 168 * HOUR),
            Value("\"0s\""),
            "Time past `cache.ttl` for which KEKs in memory still open objects.",
        ),
        row(
            "writes",
            duration(0, 24 * HOUR),
            Value("\"0s\""),
            "Time past `max_age` for which a KEK still seals new objects. Its other bounds always hold.",
        ),
    ],
};
