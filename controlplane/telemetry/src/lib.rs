//! What the gateway tells of itself: metrics, the access log, the audit log, request ids, traces.
//!
//! Each core counts into memory of its own ([`CoreMetrics`], written by one thread with relaxed atomics); the control
//! plane adds the cores up when somebody asks. Nothing here can make a request wait.
#![forbid(unsafe_code)]

mod access_log;
mod audit;
mod ids;
mod keys;
mod metrics;
mod trace;

pub use access_log::{AccessLog, AccessLogWriter, Entry, access_log};
pub use audit::{
    AuditAnswer, AuditCounts, AuditEvent, AuditFile, AuditFull, AuditKind, AuditLog, AuditOutput,
    AuditRequest, AuditStdout, AuditWriter, Overflow, audit_log,
};
pub use ids::{RequestId, RequestIds};
pub use metrics::{CoreMetrics, Gauges, Metric, Process, TABLE, render};
pub use trace::{LogFormat, init_tracing};
