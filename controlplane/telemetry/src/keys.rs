//! The Prometheus text of keys. Names are of the configuration's making: letters, digits, `.`, `_`, `-`; labels of
//! endpoints are hosts and regions. Neither needs escaping, and both get it.

use std::fmt::{Display, Write};

use sealgate_kms::{EndpointReport, KeyReport, LATENCY_BOUNDS};

use crate::metrics::{self as m, Metric, header};

/// Takes one number out of a report.
type Number<R> = fn(&R) -> u64;

/// All keys' numbers.
pub(crate) fn render(keys: &[KeyReport], out: &mut String) {
    by_endpoint(keys, out);
    let by_key: [(&Metric, Number<KeyReport>); 11] = [
        (&m::KMS_RETRIES, |k| k.retries),
        (&m::KMS_WITHHELD, |k| k.retries_withheld),
        (&m::KMS_HEDGES, |k| k.hedges),
        (&m::KMS_FALLBACKS, |k| k.fallbacks),
        (&m::KEK_HITS, |k| k.hits),
        (&m::KEK_MISSES, |k| k.misses),
        (&m::KEK_REFRESHES, |k| k.refreshes),
        (&m::KEK_CACHED, |k| k.cached),
        (&m::KEK_REFUSED, |k| k.refused_from_cache),
        (&m::KEK_OFFLINE_READS, |k| k.offline_reads),
        (&m::KEK_OFFLINE_WRITES, |k| k.offline_writes),
    ];
    for (metric, value) in by_key {
        header(out, metric);
        for key in keys {
            line(out, metric.name, &[("key", &key.key)], value(key));
        }
    }
    header(out, &m::KEK_EVICTIONS);
    for key in keys {
        for (why, count) in &key.evictions {
            let labels = [("key", key.key.as_str()), ("reason", why)];
            line(out, m::KEK_EVICTIONS.name, &labels, count);
        }
    }
    // A key that no core seals with has neither.
    for (metric, value) in [
        (&m::KEK_AGE, (|k| k.kek_age) as fn(&KeyReport) -> _),
        (&m::KEK_EXPIRY, |k| k.kek_expiry),
    ] {
        header(out, metric);
        for key in keys {
            if let Some(time) = value(key) {
                line(out, metric.name, &[("key", &key.key)], time.as_secs());
            }
        }
    }
    header(out, &m::KEY_HEALTH);
    for key in keys {
        let Some(health) = &key.health else { continue };
        let modes = [("read", health.reading()), ("write", health.writing())];
        for (mode, standing) in &modes[..1 + usize::from(health.writes)] {
            let level = match standing.name() {
                "ready" => 2,
                "degraded" => 1,
                _ => 0,
            };
            let labels = [("key", key.key.as_str()), ("mode", mode)];
            line(out, m::KEY_HEALTH.name, &labels, level);
        }
    }
}

fn by_endpoint(keys: &[KeyReport], out: &mut String) {
    let endpoints = || {
        keys.iter()
            .flat_map(|key| key.endpoints.iter().map(move |place| (key, place)))
    };
    header(out, &m::KMS_CALLS);
    for (key, place) in endpoints() {
        for (operation, outcome, count) in &place.calls {
            let [k, p, e] = labels(key, place);
            let labels = [k, p, e, ("operation", operation), ("outcome", outcome)];
            line(out, m::KMS_CALLS.name, &labels, count);
        }
    }
    header(out, &m::KMS_LATENCY);
    for (key, place) in endpoints() {
        let name = m::KMS_LATENCY.name;
        let count: u64 = place.calls.iter().map(|(.., count)| count).sum();
        let mut below = 0;
        let bounds = LATENCY_BOUNDS.iter().zip(place.buckets).map(|(bound, n)| {
            below += n;
            ((*bound as f64 / 1e6).to_string(), below)
        });
        for (bound, n) in bounds.chain([("+Inf".to_owned(), count)]) {
            let [k, p, e] = labels(key, place);
            line(
                out,
                &format!("{name}_bucket"),
                &[k, p, e, ("le", &bound)],
                n,
            );
        }
        let seconds = place.micros as f64 / 1e6;
        line(out, &format!("{name}_sum"), &labels(key, place), seconds);
        line(out, &format!("{name}_count"), &labels(key, place), count);
    }
    let plain: [(&Metric, Number<EndpointReport>); 3] = [
        (&m::KMS_IN_FLIGHT, |e| e.in_flight),
        (&m::KMS_BREAKER, |e| e.breaker.into()),
        (&m::KMS_OPENED, |e| e.breaker_opened),
    ];
    for (metric, value) in plain {
        header(out, metric);
        for (key, place) in endpoints() {
            line(out, metric.name, &labels(key, place), value(place));
        }
    }
}

fn labels<'r>(key: &'r KeyReport, place: &'r EndpointReport) -> [(&'static str, &'r str); 3] {
    [
        ("key", &key.key),
        ("provider", place.provider),
        ("endpoint", &place.label),
    ]
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    out.push_str(name);
    for (n, (label, text)) in labels.iter().enumerate() {
        let before = if n == 0 { '{' } else { ',' };
        let text = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(out, "{before}{label}=\"{text}\"");
    }
    let _ = writeln!(out, "}} {value}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_keys_numbers_are_rendered() {
        let mut buckets = [0; LATENCY_BOUNDS.len()];
        (buckets[1], buckets[3]) = (2, 1);
        let endpoint = EndpointReport {
            provider: "vault",
            label: "kms\"1".to_owned(),
            calls: vec![("unwrap", "ok", 3), ("generate", "throttled", 1)],
            buckets,
            micros: 1_500_000,
            breaker: 2,
            breaker_opened: 5,
            in_flight: 1,
        };
        let key = KeyReport {
            key: "main".to_owned(),
            endpoints: vec![endpoint],
            hits: 90,
            evictions: vec![("idle", 4)],
            kek_age: Some(Duration::from_secs(61)),
            ..KeyReport::default()
        };
        let mut text = String::new();
        render(&[key], &mut text);
        let place = r#"key="main",provider="vault",endpoint="kms\"1""#;
        for line in [
            format!("sealgate_kms_calls_total{{{place},operation=\"unwrap\",outcome=\"ok\"}} 3"),
            format!("sealgate_kms_call_duration_seconds_bucket{{{place},le=\"0.000256\"}} 2"),
            format!("sealgate_kms_call_duration_seconds_bucket{{{place},le=\"+Inf\"}} 4"),
            format!("sealgate_kms_call_duration_seconds_sum{{{place}}} 1.5"),
            format!("sealgate_kms_breaker_state{{{place}}} 2"),
            "sealgate_kek_cache_hits_total{key=\"main\"} 90".to_owned(),
            "sealgate_kek_cache_evictions_total{key=\"main\",reason=\"idle\"} 4".to_owned(),
            "sealgate_kek_age_seconds{key=\"main\"} 61".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("sealgate_kek_expiry_seconds{"));
    }
}
