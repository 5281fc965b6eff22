//! The access log: a JSON line for each request, written by a thread of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Entries that may wait for the writer; beyond it they are dropped and counted, so that no request ever waits.
const QUEUE: usize = 16_384;

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id, as the client saw it.
    pub request_id: String,
    /// The client's address.
    pub remote: Option<SocketAddr>,
    /// Access key, empty where there was none.
    pub access_key: String,
    /// S3 operation.
    pub operation: &'static str,
    /// Bucket, empty where there was none.
    pub bucket: String,
    /// Key, empty where there was none.
    pub key: String,
    /// HTTP status; 0 when the connection was cut instead.
    pub status: u16,
    /// S3 error code.
    pub code: Option<&'static str>,
    /// Bytes received from the client.
    pub bytes_in: u64,
    /// Bytes sent to the client.
    pub bytes_out: u64,
    /// From the request's head to the end of its answer.
    pub duration: Duration,
    /// What went wrong, in words; never a secret, never an object's content.
    pub trouble: Option<String>,
}

/// The cores' end of the log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    entries: Option<Sender<(OffsetDateTime, Entry)>>,
    dropped: Arc<AtomicU64>,
}

/// The writer's end: [`AccessLogWriter::run`] belongs on a thread of its own.
#[derive(Debug)]
pub struct AccessLogWriter {
    entries: Receiver<(OffsetDateTime, Entry)>,
}

/// A log and its writer.
#[must_use]
pub fn access_log() -> (AccessLog, AccessLogWriter) {
    let (sender, receiver) = bounded(QUEUE);
    (
        AccessLog {
            entries: Some(sender),
            dropped: Arc::default(),
        },
        AccessLogWriter { entries: receiver },
    )
}

impl AccessLog {
    /// A log that keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self {
            entries: None,
            dropped: Arc::default(),
        }
    }

    /// Hands an entry to the writer; makes none when the log is off.
    pub fn record(&self, entry: impl FnOnce() -> Entry) {
        let Some(entries) = &self.entries else { return };
        if let Err(TrySendError::Full(_)) = entries.try_send((OffsetDateTime::now_utc(), entry())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Entries dropped because the writer was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl AccessLogWriter {
    /// Writes entries as they come, until every [`AccessLog`] is gone. A line that cannot be written is lost: the log
    /// never stops the gateway.
    pub fn run(self, mut out: impl Write) {
        let mut line = Vec::with_capacity(512);
        for (at, entry) in &self.entries {
            line.clear();
            entry.write(at, &mut line);
            let _ = out.write_all(&line);
            if self.entries.is_empty() {
                let _ = out.flush();
            }
        }
        let _ = out.flush();
    }
}

/// An entry as it is written.
#[derive(Serialize)]
struct Line<'e> {
    time: &'e str,
    level: &'static str,
    request_id: &'e str,
    operation: &'static str,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<SocketAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    access_key: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    bucket: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'e str>,
}

impl Entry {
    fn write(&self, at: OffsetDateTime, line: &mut Vec<u8>) {
        let fields = Line {
            time: &at.format(&Rfc3339).unwrap_or_default(),
            level: "access",
            request_id: &self.request_id,
            operation: self.operation,
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
            remote: self.remote,
            access_key: &self.access_key,
            bucket: &self.bucket,
            key: &self.key,
            code: self.code,
            trouble: self.trouble.as_deref(),
        };
        let _ = serde_json::to_writer(&mut *line, &fields);
        line.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str) -> Entry {
        Entry {
            request_id: "0123456789ABCDEF".into(),
            remote: None,
            access_key: String::new(),
            operation: "GetObject",
            bucket: "b".into(),
            key: key.into(),
            status: 200,
            code: None,
            bytes_in: 1,
            bytes_out: 2,
            duration: Duration::from_micros(3),
            trouble: None,
        }
    }

    #[test]
    fn each_entry_is_one_json_line_whatever_the_key_holds() {
        let (log, writer) = access_log();
        log.record(|| entry("a\nb\"c"));
        log.record(|| entry("d"));
        drop(log);
        let mut out = Vec::new();
        writer.run(&mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["key"], "a\nb\"c");
        assert_eq!(lines[1]["duration_us"], 3);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (log, _writer) = access_log();
        for _ in 0..QUEUE + 5 {
            log.record(|| entry("k"));
        }
        assert_eq!(log.dropped(), 5);
    }
}
