//! Why a request failed, and what the client hears of it.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use sealgate_backend::types::BackendError;
use sealgate_kms::KeyError;
use sealgate_s3::error::{ErrorCode, S3Error};

/// Code of an answer about an object that is not what was sealed.
const TAMPERED: &str = "ObjectAuthenticationFailed";

/// The shortest and the longest pause that a client is told when a key cannot be had.
const KEY_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The end of a request that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An S3 error, with a pause for clients that honour `Retry-After`.
    Answer {
        error: S3Error,
        retry_after: Option<Duration>,
        log: Option<String>,
    },
    /// `304 Not Modified` with these headers.
    NotModified(Box<HeaderMap>),
    /// The connection is of no further use: cut it, short of any declared length.
    Cut(String),
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        S3Error::with_message(code, message).into()
    }

    /// A stored object that is not what was sealed. The client learns that and no more; the log learns where.
    pub(crate) fn tampered(what: impl std::fmt::Display) -> Self {
        Self::Answer {
            error: S3Error::with_message(
                // A 500: another replica of the store's may hold the object unharmed, so a retry can help.
                gateway_code(StatusCode::INTERNAL_SERVER_ERROR, TAMPERED),
                "The stored object failed authentication: it was changed, cut, moved or not sealed by this gateway.",
            ),
            retry_after: None,
            log: Some(format!("tampered: {what}")),
        }
    }

    /// The object was overwritten between two requests of one read: the client should ask again.
    pub(crate) fn replaced() -> Self {
        Self::Answer {
            error: S3Error::with_message(
                ErrorCode::SlowDown,
                "The object was replaced while it was read. Please try again.",
            ),
            retry_after: None,
            log: None,
        }
    }

    /// No buffer came free in time.
    pub(crate) fn busy() -> Self {
        Self::Answer {
            error: S3Error::with_message(
                ErrorCode::SlowDown,
                "The gateway's buffer budget is in use. Please reduce your request rate.",
            ),
            retry_after: Some(Duration::from_secs(1)),
            log: Some("buffer budget exhausted".into()),
        }
    }

    /// Whether a stored object, or an id, failed authentication.
    pub(crate) fn is_tampering(&self) -> bool {
        matches!(self, Self::Answer { error, .. } if error.code.as_str() == TAMPERED)
    }

    /// For the log, once an answer can no longer be sent.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Answer { error, log, .. } => log.clone().unwrap_or_else(|| error.to_string()),
            Self::NotModified(_) => "not modified".into(),
            Self::Cut(why) => why.clone(),
        }
    }
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Self {
        Self::Answer {
            error,
            retry_after: None,
            log: None,
        }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        let log = Some(error.to_string());
        match error {
            BackendError::Answer(error) => Self::Answer {
                error,
                retry_after: None,
                log: None,
            },
            BackendError::NotModified(headers) => Self::NotModified(headers),
            BackendError::Unavailable { retry_after, .. } => Self::Answer {
                error: S3Error::with_message(
                    ErrorCode::SlowDown,
                    "The store behind the gateway is unavailable. Please try again.",
                ),
                retry_after: Some(retry_after),
                log,
            },
            BackendError::Protocol(_) => Self::Answer {
                error: S3Error::with_message(
                    ErrorCode::InternalError,
                    "The store behind the gateway gave an answer that is not S3's.",
                ),
                retry_after: None,
                log,
            },
            _ => Self::Answer {
                error: S3Error::with_message(
                    ErrorCode::InternalError,
                    "The store behind the gateway failed.",
                ),
                retry_after: None,
                log,
            },
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let log = Some(format!("key: {error}"));
        if let Some(retry_after) = error.retry_after() {
            return Self::Answer {
                error: S3Error::with_message(
                    ErrorCode::ServiceUnavailable,
                    "The key service is unavailable. Please try again.",
                ),
                retry_after: Some(retry_after.clamp(KEY_RETRY.0, KEY_RETRY.1)),
                log,
            };
        }
        // The codes that S3 itself answers with when a KMS key cannot be used.
        let code = match &error {
            KeyError::UnknownKey { .. } => {
                gateway_code(StatusCode::BAD_REQUEST, "KMS.NotFoundException")
            }
            KeyError::Denied { .. } => ErrorCode::AccessDenied,
            _ => gateway_code(StatusCode::BAD_REQUEST, "KMS.InvalidCiphertextException"),
        };
        Self::Answer {
            error: S3Error::with_message(
                code,
                "The key that this object needs is not configured, or does not open it.",
            ),
            retry_after: None,
            log,
        }
    }
}

/// A code of the gateway's own, or of a service behind it.
fn gateway_code(status: StatusCode, code: &str) -> ErrorCode {
    ErrorCode::Other {
        status,
        code: code.into(),
    }
}
