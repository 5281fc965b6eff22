//! One authenticated request, as the operations see it.

use std::rc::Rc;

use http::HeaderMap;
use sealgate_backend::Store;
use sealgate_backend::types::Location;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::{Operation, RawKey, Routed};
use sealgate_uring::Connector;

use crate::core::Core;
use crate::failure::Failure;
use crate::snapshot::{BucketRule, Credential, Snapshot};
use crate::standing::source_store;

/// Objects under this prefix of a bucket are the gateway's own: small last parts of unfinished uploads. No client
/// sees them, and no client can name them.
pub(crate) const STAGING_PREFIX: &str = ".sealgate-staging/";

/// What an operation works with.
pub(crate) struct Request<'r, C: Connector> {
    pub(crate) core: &'r Rc<Core<C>>,
    pub(crate) snapshot: &'r Snapshot,
    /// The store, as the user whom the client stands for there.
    pub(crate) store: Store<C>,
    /// The client's headers; of a presigned request also those that its query holds.
    pub(crate) headers: &'r HeaderMap,
    pub(crate) routed: &'r Routed,
    pub(crate) credential: Option<&'r Credential>,
    /// Who sent it.
    pub(crate) access_key: &'r str,
    pub(crate) id: &'r str,
    /// Whether the connection goes on after this request.
    pub(crate) keep_alive: bool,
}

impl<C: Connector> Request<'_, C> {
    pub(crate) fn bucket(&self) -> Result<&str, S3Error> {
        match &self.routed.bucket {
            Some(bucket) => Ok(bucket.as_str()),
            None => Err(S3Error::new(ErrorCode::InvalidBucketName)),
        }
    }

    /// The version that the request names.
    pub(crate) fn version(&self) -> Result<Option<String>, S3Error> {
        match self.routed.query.get("versionId") {
            Some("") => Err(S3Error::invalid_argument(
                "Version id cannot be the empty string",
                "versionId",
                "",
            )),
            version => Ok(version.map(str::to_owned)),
        }
    }

    /// The object that the request names, and which version of it.
    pub(crate) fn location(&self) -> Result<Location, S3Error> {
        let key = self
            .routed
            .key
            .clone()
            .ok_or_else(|| S3Error::new(ErrorCode::NoSuchKey))?;
        check_reserved(&key)?;
        Ok(Location {
            bucket: self.bucket()?.to_owned(),
            key,
            version: self.version()?,
        })
    }

    /// The same request as it concerns the source of its copy, which may have an owner of its own.
    pub(crate) fn of_source(&self) -> Result<Request<'_, C>, Failure> {
        Ok(Request {
            store: source_store(&self.store, self.headers)?,
            ..*self
        })
    }

    /// How the object at `at` is kept.
    pub(crate) fn rule_for(&self, at: &Location) -> Result<&BucketRule, Failure> {
        self.snapshot
            .rule(&at.bucket, at.key.as_ref())
            .ok_or_else(no_rule)
    }

    /// Refuses what the client's credential does not allow.
    pub(crate) fn allow(
        &self,
        operation: &Operation,
        bucket: &str,
        key: &[u8],
    ) -> Result<(), S3Error> {
        match self.credential {
            Some(credential) if credential.allows(operation, bucket, key) => Ok(()),
            _ => Err(S3Error::new(ErrorCode::AccessDenied)),
        }
    }

    /// The value of a query parameter that must be there.
    pub(crate) fn query(&self, name: &'static str) -> Result<&str, S3Error> {
        self.routed.query.get(name).ok_or_else(|| {
            S3Error::with_message(
                ErrorCode::InvalidArgument,
                format!("The parameter {name} is missing."),
            )
        })
    }
}

/// Keys of the gateway's own are not there for clients.
pub(crate) fn check_reserved(key: &RawKey) -> Result<(), S3Error> {
    if key.as_ref().starts_with(STAGING_PREFIX.as_bytes()) {
        return Err(S3Error::with_message(
            ErrorCode::AccessDenied,
            format!("Keys that begin with {STAGING_PREFIX} are the gateway's own."),
        ));
    }
    Ok(())
}

fn no_rule() -> Failure {
    Failure::new(
        ErrorCode::AccessDenied,
        "No [[buckets]] rule of the gateway's configuration covers this object.",
    )
}
