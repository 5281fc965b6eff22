//! What goes wrong, in S3's terms or the system's.

use std::io;

use sealgate_s3::error::{ErrorCode, S3Error};

use crate::types::BackendError;

/// An answer with its standard message.
pub(super) fn answer(code: ErrorCode) -> BackendError {
    S3Error::new(code).into()
}

/// An error of the system, with what was being done; a full disk is named as such.
pub(super) fn io(doing: &'static str) -> impl Fn(io::Error) -> BackendError {
    move |e| {
        let full = matches!(
            e.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        let note = if full {
            "the store's file system is full: "
        } else {
            ""
        };
        BackendError::Io(io::Error::new(e.kind(), format!("{note}{doing}: {e}")))
    }
}

/// What is at fault, or nothing when it was not there.
pub(super) fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
