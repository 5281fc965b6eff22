//! Counters of the data plane, and their Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sealgate_kms::{KeyReport, LATENCY_BOUNDS};

use crate::audit::AuditCounts;

/// One metric: its name, Prometheus type and meaning.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, with its unit.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts.
    pub help: &'static str,
}

macro_rules! table {
    ($($constant:ident $name:literal $kind:literal $help:literal;)*) => {
        $(pub(crate) const $constant: Metric = Metric { name: $name, kind: $kind, help: $help };)*
        /// Every metric there is.
        pub const TABLE: &[Metric] = &[$($constant),*];
    };
}

table! {
    REQUESTS "sealgate_requests_total" "counter" "Requests by S3 operation and HTTP status; status 0 is a cut connection.";
    ERRORS "sealgate_errors_total" "counter" "Failed requests by S3 operation and error code.";
    LATENCY "sealgate_request_duration_seconds" "histogram" "From a request's head to the end of its answer, by operation.";
    BYTES_IN "sealgate_client_received_bytes_total" "counter" "Bytes received from clients, heads included.";
    BYTES_OUT "sealgate_client_sent_bytes_total" "counter" "Bytes sent to clients, heads included.";
    ACCEPTED "sealgate_connections_total" "counter" "Client connections accepted.";
    OPEN "sealgate_connections_open" "gauge" "Client connections open now.";
    KEY_HITS "sealgate_key_cache_hits_total" "counter" "Key-encryption keys found in a core's cache.";
    KEY_MISSES "sealgate_key_cache_misses_total" "counter" "Key-encryption keys that a core had to ask the control plane for.";
    KMS_CALLS "sealgate_kms_calls_total" "counter" "Calls of key providers by key, provider, endpoint, operation and outcome: ok, or what went wrong.";
    KMS_LATENCY "sealgate_kms_call_duration_seconds" "histogram" "Duration of those calls, by key, provider and endpoint.";
    KMS_IN_FLIGHT "sealgate_kms_calls_in_flight" "gauge" "Calls running now, by key, provider and endpoint.";
    KMS_BREAKER "sealgate_kms_breaker_state" "gauge" "0: asked; 1: one call decides; 2: left alone because it keeps failing. By key, provider and endpoint.";
    KMS_OPENED "sealgate_kms_breaker_opened_total" "counter" "How often an endpoint began to be left alone.";
    KMS_RETRIES "sealgate_kms_retries_total" "counter" "Questions to a key asked again after a failure.";
    KMS_WITHHELD "sealgate_kms_retries_withheld_total" "counter" "Retries and hedges that the retry budget did not allow.";
    KMS_HEDGES "sealgate_kms_hedges_total" "counter" "Unwraps sent to a further endpoint because the first took long.";
    KMS_FALLBACKS "sealgate_kms_fallbacks_total" "counter" "Questions sent to a further endpoint because those before failed or are left alone.";
    KEK_HITS "sealgate_kek_cache_hits_total" "counter" "Unwraps that the control plane's cache answered, by key.";
    KEK_MISSES "sealgate_kek_cache_misses_total" "counter" "Unwraps that it could not answer.";
    KEK_EVICTIONS "sealgate_kek_cache_evictions_total" "counter" "Key-encryption keys that left it: full, expired, idle or refused.";
    KEK_REFRESHES "sealgate_kek_cache_refreshes_total" "counter" "Key-encryption keys in use that were unwrapped again ahead of their time.";
    KEK_CACHED "sealgate_kek_cached" "gauge" "Key-encryption keys in the control plane's cache.";
    KEK_REFUSED "sealgate_kek_refused_from_memory_total" "counter" "Questions answered with a failure that is remembered, without a call.";
    KEK_OFFLINE_READS "sealgate_kek_offline_reads_total" "counter" "Unwraps answered by offline_grace.reads: the provider cannot be reached, and the key is past its time.";
    KEK_OFFLINE_WRITES "sealgate_kek_offline_writes_total" "counter" "Objects sealed by offline_grace.writes: no new key can be had, and the old one is past its age.";
    KEK_AGE "sealgate_kek_age_seconds" "gauge" "Age of the oldest key-encryption key that a core seals with.";
    KEK_EXPIRY "sealgate_kek_expiry_seconds" "gauge" "Time until the first core can seal nothing more unless it gets a new key-encryption key, grace included.";
    KEY_HEALTH "sealgate_key_health" "gauge" "By key and mode (read, write): 2 ready, 1 degraded (the provider is away, what is in memory serves), 0 not usable.";
    BUFFERS "sealgate_buffer_bytes_in_use" "gauge" "Bytes of leased buffers.";
    BUFFER_BUDGET "sealgate_buffer_bytes_budget" "gauge" "Bytes that may be leased at most.";
    STORE_CONNECTS "sealgate_store_connections_total" "counter" "Connections opened to the store.";
    STORE_RETRIES "sealgate_store_retries_total" "counter" "Exchanges with the store that were tried again.";
    STORE_RESUMES "sealgate_store_resumes_total" "counter" "Reads from the store that were resumed in the middle.";
    PARALLEL_READS "sealgate_store_parallel_reads" "gauge" "Ranges of long objects that are read from a store far away now, several of one object at a time.";
    PARALLEL_RANGES "sealgate_store_parallel_ranges_total" "counter" "Such ranges so far.";
    PARALLEL_WRITES "sealgate_store_parallel_writes" "gauge" "Parts of long objects that are written to a store far away now, several of one object at a time.";
    PARALLEL_PARTS "sealgate_store_parallel_parts_total" "counter" "Such parts so far.";
    LOG_DROPPED "sealgate_access_log_dropped_total" "counter" "Access log entries dropped because the writer was too slow.";
    AUDIT_WRITTEN "sealgate_audit_written_total" "counter" "Uses of keys written to the audit log.";
    AUDIT_LOST "sealgate_audit_lost_total" "counter" "Uses of keys that the audit log could not take; a line in it says so.";
    AUDIT_FAILING "sealgate_audit_failing" "gauge" "1 while the audit log cannot be written.";
    KEY_MEMORY "sealgate_key_memory_bytes" "gauge" "Bytes of memory for keys.";
    KEY_MEMORY_UNLOCKED "sealgate_key_memory_unlocked_bytes" "gauge" "Bytes of these that the kernel refused to lock, so that they may reach swap.";
    DRIVER "sealgate_driver_info" "gauge" "1, labelled with the I/O driver in use: io_uring or epoll.";
    AEAD "sealgate_aead_info" "gauge" "1, labelled with the library that seals and opens: aws-lc or ring.";
    BUILD "sealgate_build_info" "gauge" "1, labelled with the version.";
}

/// What one core has counted. One thread writes, with relaxed atomics; any may read.
#[derive(Debug, Default)]
pub struct CoreMetrics {
    /// By operation; the lock is only ever contended by a scrape.
    operations: Mutex<BTreeMap<&'static str, Operation>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    accepted: AtomicU64,
    closed: AtomicU64,
    gauges: [AtomicU64; GAUGES],
}

const GAUGES: usize = 11;

/// What a core reports of its parts; it sets these now and then.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gauges {
    /// See `sealgate_key_cache_hits_total`.
    pub key_hits: u64,
    /// See `sealgate_key_cache_misses_total`.
    pub key_misses: u64,
    /// See `sealgate_buffer_bytes_in_use`.
    pub buffers_in_use: u64,
    /// See `sealgate_buffer_bytes_budget`.
    pub buffers_budget: u64,
    /// See `sealgate_store_connections_total`.
    pub store_connects: u64,
    /// See `sealgate_store_retries_total`.
    pub store_retries: u64,
    /// See `sealgate_store_resumes_total`.
    pub store_resumes: u64,
    /// See `sealgate_store_parallel_reads`.
    pub parallel_reads: u64,
    /// See `sealgate_store_parallel_ranges_total`.
    pub parallel_ranges: u64,
    /// See `sealgate_store_parallel_writes`.
    pub parallel_writes: u64,
    /// See `sealgate_store_parallel_parts_total`.
    pub parallel_parts: u64,
}

#[derive(Clone, Debug, Default)]
struct Operation {
    by_status: BTreeMap<u16, u64>,
    by_code: BTreeMap<&'static str, u64>,
    buckets: [u64; LATENCY_BOUNDS.len()],
    count: u64,
    micros: u64,
}

impl CoreMetrics {
    /// Counts a request that has ended.
    pub fn request(
        &self,
        operation: &'static str,
        status: u16,
        code: Option<&'static str>,
        bytes_in: u64,
        bytes_out: u64,
        duration: Duration,
    ) {
        add(&self.bytes_in, bytes_in);
        add(&self.bytes_out, bytes_out);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let Ok(mut operations) = self.operations.lock() else {
            return;
        };
        let counts = operations.entry(operation).or_default();
        *counts.by_status.entry(status).or_default() += 1;
        if let Some(code) = code {
            *counts.by_code.entry(code).or_default() += 1;
        }
        counts.count += 1;
        counts.micros = counts.micros.saturating_add(micros);
        if let Some(bucket) = LATENCY_BOUNDS.iter().position(|bound| micros <= *bound) {
            counts.buckets[bucket] += 1;
        }
    }

    /// Counts a connection in.
    pub fn connection_opened(&self) {
        add(&self.accepted, 1);
    }

    /// Counts a connection out.
    pub fn connection_closed(&self) {
        add(&self.closed, 1);
    }

    /// Sets what the core reports of its parts.
    pub fn set_gauges(&self, g: Gauges) {
        let values = [
            g.key_hits,
            g.key_misses,
            g.buffers_in_use,
            g.buffers_budget,
            g.store_connects,
            g.store_retries,
            g.store_resumes,
            g.parallel_reads,
            g.parallel_ranges,
            g.parallel_writes,
            g.parallel_parts,
        ];
        for (cell, value) in self.gauges.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }
}

/// One writer: no read-modify-write is needed.
fn add(cell: &AtomicU64, n: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

/// What is told of the process beside its cores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process<'p> {
    /// See `sealgate_access_log_dropped_total`.
    pub log_dropped: u64,
    /// See `sealgate_audit_…`.
    pub audit: AuditCounts,
    /// See `sealgate_key_memory_bytes`.
    pub key_memory: u64,
    /// See `sealgate_key_memory_unlocked_bytes`.
    pub key_memory_unlocked: u64,
    /// See `sealgate_driver_info`.
    pub driver: &'p str,
    /// See `sealgate_aead_info`.
    pub aead: &'p str,
}

/// All cores as Prometheus text (exposition format 0.0.4). `info` labels are (metric, label, value) with value 1.
#[must_use]
pub fn render(cores: &[Arc<CoreMetrics>], keys: &[KeyReport], process: &Process<'_>) -> String {
    let mut out = String::with_capacity(16 << 10);
    let sum = |f: &dyn Fn(&CoreMetrics) -> u64| cores.iter().map(|c| f(c)).sum::<u64>();
    operations(cores, &mut out);
    let plain = |out: &mut String, metric: &Metric, value: u64| {
        header(out, metric);
        let _ = writeln!(out, "{} {value}", metric.name);
    };
    let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
    plain(&mut out, &BYTES_IN, sum(&|c| load(&c.bytes_in)));
    plain(&mut out, &BYTES_OUT, sum(&|c| load(&c.bytes_out)));
    plain(&mut out, &ACCEPTED, sum(&|c| load(&c.accepted)));
    plain(
        &mut out,
        &OPEN,
        sum(&|c| load(&c.accepted).saturating_sub(load(&c.closed))),
    );
    let gauges = [
        &KEY_HITS,
        &KEY_MISSES,
        &BUFFERS,
        &BUFFER_BUDGET,
        &STORE_CONNECTS,
        &STORE_RETRIES,
        &STORE_RESUMES,
        &PARALLEL_READS,
        &PARALLEL_RANGES,
        &PARALLEL_WRITES,
        &PARALLEL_PARTS,
    ];
    for (i, metric) in gauges.into_iter().enumerate() {
        plain(&mut out, metric, sum(&|c| load(&c.gauges[i])));
    }
    crate::keys::render(keys, &mut out);
    for (metric, value) in [
        (&LOG_DROPPED, process.log_dropped),
        (&AUDIT_WRITTEN, process.audit.written),
        (&AUDIT_LOST, process.audit.lost),
        (&AUDIT_FAILING, process.audit.failing.into()),
        (&KEY_MEMORY, process.key_memory),
        (&KEY_MEMORY_UNLOCKED, process.key_memory_unlocked),
    ] {
        plain(&mut out, metric, value);
    }
    for (metric, label, value) in [
        (&DRIVER, "driver", process.driver),
        (&AEAD, "library", process.aead),
        (&BUILD, "version", env!("CARGO_PKG_VERSION")),
    ] {
        header(&mut out, metric);
        let _ = writeln!(out, "{}{{{label}=\"{value}\"}} 1", metric.name);
    }
    out
}

pub(crate) fn header(out: &mut String, metric: &Metric) {
    let _ = writeln!(
        out,
        "# HELP {} {}\n# TYPE {0} {2}",
        metric.name, metric.help, metric.kind
    );
}

/// Operations and codes are names of this program's own tables: they need no escaping.
fn operations(cores: &[Arc<CoreMetrics>], out: &mut String) {
    let mut all: BTreeMap<&'static str, Operation> = BTreeMap::new();
    for core in cores {
        let Ok(operations) = core.operations.lock() else {
            continue;
        };
        for (name, counts) in &*operations {
            let total = all.entry(name).or_default();
            for (status, n) in &counts.by_status {
                *total.by_status.entry(*status).or_default() += n;
            }
            for (code, n) in &counts.by_code {
                *total.by_code.entry(code).or_default() += n;
            }
            for (to, from) in total.buckets.iter_mut().zip(counts.buckets) {
                *to += from;
            }
            total.count += counts.count;
            total.micros = total.micros.saturating_add(counts.micros);
        }
    }
    header(out, &REQUESTS);
    for (name, counts) in &all {
        for (status, n) in &counts.by_status {
            let _ = writeln!(
                out,
                "{}{{operation=\"{name}\",status=\"{status}\"}} {n}",
                REQUESTS.name
            );
        }
    }
    header(out, &ERRORS);
    for (name, counts) in &all {
        for (code, n) in &counts.by_code {
            let _ = writeln!(
                out,
                "{}{{operation=\"{name}\",code=\"{code}\"}} {n}",
                ERRORS.name
            );
        }
    }
    header(out, &LATENCY);
    for (name, counts) in &all {
        let mut below = 0;
        for (bound, n) in LATENCY_BOUNDS.iter().zip(counts.buckets) {
            below += n;
            let seconds = *bound as f64 / 1e6;
            let _ = writeln!(
                out,
                "{}_bucket{{operation=\"{name}\",le=\"{seconds}\"}} {below}",
                LATENCY.name
            );
        }
        let _ = writeln!(
            out,
            "{}_bucket{{operation=\"{name}\",le=\"+Inf\"}} {}",
            LATENCY.name, counts.count
        );
        let _ = writeln!(
            out,
            "{}_sum{{operation=\"{name}\"}} {}",
            LATENCY.name,
            counts.micros as f64 / 1e6
        );
        let _ = writeln!(
            out,
            "{}_count{{operation=\"{name}\"}} {}",
            LATENCY.name, counts.count
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_added_up_and_every_metric_of_the_table_is_rendered() {
        let cores = [
            Arc::new(CoreMetrics::default()),
            Arc::new(CoreMetrics::default()),
        ];
        for core in &cores {
            core.connection_opened();
            core.request("GetObject", 200, None, 10, 20, Duration::from_micros(100));
            core.request(
                "GetObject",
                404,
                Some("NoSuchKey"),
                1,
                2,
                Duration::from_secs(100),
            );
            core.set_gauges(Gauges {
                key_hits: 3,
                ..Gauges::default()
            });
        }
        cores[0].connection_closed();
        let text = render(
            &cores,
            &[],
            &Process {
                log_dropped: 4,
                driver: "epoll",
                aead: "ring",
                ..Process::default()
            },
        );
        for line in [
            "sealgate_requests_total{operation=\"GetObject\",status=\"200\"} 2",
            "sealgate_errors_total{operation=\"GetObject\",code=\"NoSuchKey\"} 2",
            "sealgate_request_duration_seconds_bucket{operation=\"GetObject\",le=\"0.000256\"} 2",
            "sealgate_request_duration_seconds_bucket{operation=\"GetObject\",le=\"67.108864\"} 2",
            "sealgate_request_duration_seconds_bucket{operation=\"GetObject\",le=\"+Inf\"} 4",
            "sealgate_client_received_bytes_total 22",
            "sealgate_connections_open 1",
            "sealgate_key_cache_hits_total 6",
            "sealgate_access_log_dropped_total 4",
            "sealgate_driver_info{driver=\"epoll\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        for metric in TABLE {
            assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind)));
        }
    }

    #[test]
    fn the_documentation_lists_every_metric() {
        let page = include_str!("../../../docs/metrics.md");
        for metric in TABLE {
            let row = format!("| `{}` | {} | {} |", metric.name, metric.kind, metric.help);
            assert!(page.contains(&row), "docs/metrics.md lacks: {row}");
        }
        let rows = page
            .lines()
            .filter(|l| l.starts_with("| `sealgate_"))
            .count();
        assert_eq!(rows, TABLE.len());
    }
}
