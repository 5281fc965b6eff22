//! Headers that hold for a whole request, whatever requests to the store it takes.

use http::HeaderMap;
use http::header::HeaderName;
use sealgate_backend::Store;
use sealgate_backend::fs::OWNER;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::Operation;
use sealgate_uring::Connector;

use crate::failure::Failure;

const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
const EXPECTED_SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";
const PAYER: &str = "x-amz-request-payer";
/// Lifts a retention in governance mode: more than a write or a deletion.
const BYPASS: &str = "x-amz-bypass-governance-retention";
const MFA: &str = "x-amz-mfa";
/// A key of the client's own (SSE-C), for what is written or read, or for a copy's source.
const CUSTOMER_KEYS: [&str; 2] = [
    "server-side-encryption-customer-",
    "copy-source-server-side-encryption-customer-",
];

/// What a request's headers say for all of it.
#[derive(Default)]
pub(crate) struct Standing {
    headers: Option<HeaderMap>,
    /// Whether a retention in governance mode is to be lifted.
    pub(crate) bypass: bool,
}

impl Standing {
    /// Reads them.
    pub(crate) fn of(client: &HeaderMap, operation: &Operation) -> Result<Self, Failure> {
        let mut standing = Self::default();
        for (name, value) in client {
            let Some(own) = name.as_str().strip_prefix("x-amz-") else {
                continue;
            };
            if CUSTOMER_KEYS.iter().any(|keys| own.starts_with(keys)) {
                return Err(Failure::new(
                    ErrorCode::NotImplemented,
                    "Encryption with a key of the client's own (SSE-C) is not supported: the gateway encrypts.",
                ));
            }
            let deletes = matches!(
                operation,
                Operation::DeleteObject | Operation::DeleteObjects
            );
            let stands = match name.as_str() {
                EXPECTED_OWNER | PAYER => true,
                BYPASS => {
                    standing.bypass |= value.as_bytes().eq_ignore_ascii_case(b"true");
                    deletes
                }
                MFA => deletes,
                _ => false,
            };
            if stands {
                let headers = standing.headers.get_or_insert_default();
                headers.append(name.clone(), value.clone());
            }
        }
        Ok(standing)
    }

    /// The store, to which these headers go with every request.
    pub(crate) fn put_on<C: Connector>(self, store: Store<C>) -> Result<Store<C>, Failure> {
        let Some(headers) = self.headers else {
            return Ok(store);
        };
        if let Store::Fs(_) = store
            && headers
                .get(EXPECTED_OWNER)
                .is_some_and(|owner| owner != OWNER)
        {
            return Err(S3Error::with_message(
                ErrorCode::AccessDenied,
                "The bucket has another owner than x-amz-expected-bucket-owner says: the gateway itself.",
            )
            .into());
        }
        Ok(store.with_headers(headers))
    }
}

/// The store for the source of a copy, which may have an owner of its own.
pub(crate) fn source_store<C: Connector>(
    store: &Store<C>,
    client: &HeaderMap,
) -> Result<Store<C>, Failure> {
    let owner = client.get(EXPECTED_SOURCE_OWNER);
    if owner.is_none() && !client.contains_key(EXPECTED_OWNER) {
        return Ok(store.clone());
    }
    let mut headers = HeaderMap::with_capacity(2);
    for (name, value) in [(EXPECTED_OWNER, owner), (PAYER, client.get(PAYER))] {
        if let Some(value) = value {
            headers.append(HeaderName::from_static(name), value.clone());
        }
    }
    let headers = (!headers.is_empty()).then_some(headers);
    let standing = Standing {
        headers,
        bypass: false,
    };
    match (standing.headers.is_some(), store) {
        (true, store) => standing.put_on(store.clone()),
        // Not even the owner that is expected of the target.
        (false, store) => Ok(store.with_headers(HeaderMap::new())),
    }
}
