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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_system_is_named_as_such() {
        for (kind, full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
        ] {
            let BackendError::Io(e) = io("writing an object")(kind.into()) else {
                panic!("not an I/O error")
            };
            assert_eq!(e.kind(), kind);
            assert_eq!(e.to_string().contains("file system is full"), full, "{e}");
            assert!(e.to_string().contains("writing an object"), "{e}");
        }
    }
}
