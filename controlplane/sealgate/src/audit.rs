//! The audit log's start, and what the key service tells it.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use sealgate_config::{AuditOverflow, Log, LogTarget};
use sealgate_kms::{KeyEvent, KeyEvents, KeyOperation, KeySource};
use sealgate_telemetry::{
    AuditAnswer, AuditEvent, AuditFile, AuditKind, AuditLog, AuditOutput, AuditStdout, Overflow,
    audit_log,
};

/// How long the last lines may take once the process ends. An output that cannot be written is given up sooner; one that
/// blocks is not noticed otherwise.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The end of the log's thread.
pub(crate) struct Writer(Option<Receiver<u64>>);

/// The log that the configuration asks for.
pub(crate) fn start(config: &Log) -> Result<(AuditLog, Writer), String> {
    let failed = |e: std::io::Error| match &config.audit {
        LogTarget::File(path) => format!("the audit log {}: {e}", path.display()),
        _ => format!("the audit log: {e}"),
    };
    match &config.audit {
        LogTarget::Off => Ok((AuditLog::off(), Writer(None))),
        LogTarget::Stdout => write_to(config, AuditStdout::open().map_err(failed)?),
        LogTarget::File(path) => write_to(config, AuditFile::open(path).map_err(failed)?),
    }
}

fn write_to<O: AuditOutput + 'static>(
    config: &Log,
    output: O,
) -> Result<(AuditLog, Writer), String> {
    let overflow = match config.audit_on_overflow {
        AuditOverflow::Drop => Overflow::Drop,
        AuditOverflow::Fail => Overflow::Fail,
    };
    let (log, writer) = audit_log(overflow, output);
    let (ended, end) = sync_channel(1);
    std::thread::Builder::new()
        .name("audit-log".into())
        .spawn(move || ended.send(writer.run()))
        .map_err(|e| format!("the audit log's thread cannot be started: {e}"))?;
    Ok((log, Writer(Some(end))))
}

impl Writer {
    /// Waits until everything is written, but not for ever; what is lost is told.
    pub(crate) fn end(self, log: AuditLog) {
        let Some(end) = self.0 else { return };
        log.close();
        let written = log.counts().written;
        drop(log);
        match end.recv_timeout(LAST_LINES) {
            Ok(0) => {}
            Ok(lost) => tracing::error!(lost, "uses of keys are missing from the audit log"),
            Err(_) => tracing::error!(
                written,
                "the audit log's output takes nothing more: its last lines are lost"
            ),
        }
    }
}

/// Hands on what the key service tells.
pub(crate) struct KeyAudit(pub(crate) AuditLog);

impl KeyEvents for KeyAudit {
    fn record(&self, event: &KeyEvent<'_>) {
        let kind = match event.operation {
            KeyOperation::Generate => AuditKind::KekGenerate,
            KeyOperation::Unwrap => AuditKind::KekUnwrap,
            KeyOperation::Rewrap => AuditKind::KekRewrap,
            KeyOperation::Canary => AuditKind::KekCanary,
            KeyOperation::Verify => AuditKind::KekVerify,
            // No key is used to answer it.
            KeyOperation::Version => return,
        };
        let (source, endpoint) = match event.source {
            KeySource::Provider { kind, endpoint } => (kind, endpoint),
            KeySource::Cache => ("cache", ""),
            KeySource::OfflineGrace => ("offline_grace", ""),
        };
        // A loss is counted and told of by the log itself; there is no request here that could be refused.
        let _ = self.0.record(|| AuditEvent {
            kind,
            outcome: event.outcome,
            key: event.key.to_owned(),
            key_version: event.version.unwrap_or_default().to_owned(),
            wrapped_kek: event.wrapped.to_vec(),
            request: None,
            answer: Some(AuditAnswer {
                source,
                endpoint: endpoint.to_owned(),
                duration: event.duration,
            }),
        });
    }
}
