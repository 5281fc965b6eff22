//! What the audit log is told of objects' keys.

use std::time::Duration;

use sealgate_backend::types::Location;
use sealgate_envelope::WrappedKek;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_telemetry::{AuditEvent, AuditFull, AuditKind, AuditLog, AuditRequest};
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::request::Request;

/// For whom a DEK is used.
pub(crate) struct User<'u> {
    /// The request's id.
    pub(crate) id: &'u str,
    /// Who sent it.
    pub(crate) access_key: &'u str,
    /// What it asks for.
    pub(crate) operation: &'static str,
}

/// Records a use of a DEK: the one of the object at `at`, wrapped by `kek`.
///
/// # Errors
///
/// When it cannot be recorded and the configuration wants nothing unrecorded: the caller lets go of the key.
pub(crate) fn record(
    log: &AuditLog,
    user: &User<'_>,
    kind: AuditKind,
    at: &Location,
    kek: &WrappedKek,
    outcome: &'static str,
) -> Result<(), AuditFull> {
    log.record(|| AuditEvent {
        kind,
        outcome,
        key: kek.name.clone(),
        key_version: kek.version.clone(),
        wrapped_kek: kek.wrapped.clone(),
        request: Some(AuditRequest {
            id: user.id.to_owned(),
            access_key: user.access_key.to_owned(),
            operation: user.operation,
            bucket: at.bucket.clone(),
            object: String::from_utf8_lossy(at.key.as_ref()).into_owned(),
        }),
        answer: None,
    })
}

/// The same, for a request of a client.
pub(crate) fn dek<C: Connector>(
    rq: &Request<'_, C>,
    kind: AuditKind,
    at: &Location,
    kek: &WrappedKek,
    outcome: &'static str,
) -> Result<(), Failure> {
    let user = User {
        id: rq.id,
        access_key: rq.access_key,
        operation: rq.routed.operation.as_str(),
    };
    record(&rq.core.audit, &user, kind, at, kek, outcome).map_err(full)
}

fn full(why: AuditFull) -> Failure {
    Failure::Answer {
        error: S3Error::with_message(
            ErrorCode::SlowDown,
            "The gateway's audit log cannot keep up. Please reduce your request rate.",
        ),
        retry_after: Some(Duration::from_secs(1)),
        log: Some(why.to_string()),
    }
}
