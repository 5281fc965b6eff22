//! Who sends a request: a signature's owner, or nobody.

use http::{HeaderMap, HeaderValue, header};
use sealgate_http1::RequestHead;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::{Query, Routed, virtual_bucket};
use sealgate_s3::sigv2::only_sigv4;
use sealgate_s3::sigv4::{Authorization, Verified, anonymous, verify};
use sealgate_uring::Connector;

use crate::core::{Core, unix_seconds};
use crate::ops::OVERRIDES;
use crate::snapshot::{Credential, Snapshot};

/// Finds the credential that a request is made with, and verifies its signature. Nobody's credential is that of
/// `[anonymous]`, whose access key is empty.
pub(crate) fn authenticate<'s, C: Connector>(
    core: &Core<C>,
    snapshot: &'s Snapshot,
    head: &RequestHead,
    auth: &Authorization,
    routed: &Routed,
) -> Result<(&'s Credential, Verified), S3Error> {
    let Some(access_key) = auth.access_key() else {
        let credential = nobody(snapshot)?;
        check_anonymous(&routed.query)?;
        return Ok((credential, anonymous(&head.headers)?));
    };
    let Some(credential) = snapshot.credentials.get(access_key) else {
        return Err(match auth {
            Authorization::V2(_) => only_sigv4(),
            _ => S3Error::new(ErrorCode::InvalidAccessKeyId).detail("AWSAccessKeyId", access_key),
        });
    };
    if auth.session_token(&head.headers).is_some() || routed.query.has("x-amz-security-token") {
        return Err(no_session_tokens());
    }
    let (method, target, headers) = (&head.method, &head.target, &head.headers);
    let now = unix_seconds();
    let verified = match auth {
        Authorization::V2(_) if !credential.sigv2 => return Err(only_sigv4()),
        Authorization::V2(signed) => {
            let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
            let bucket = host.and_then(|h| virtual_bucket(h, &snapshot.base_domains));
            signed.verify(
                &credential.secret,
                method,
                target,
                bucket.as_deref(),
                headers,
                now,
            )?
        }
        _ => {
            let mut keys = core.signing_keys.borrow_mut();
            verify(
                auth,
                &credential.secret,
                &mut keys,
                method,
                target,
                headers,
                now,
            )?
        }
    };
    Ok((credential, verified))
}

/// What requests without a signature may do.
pub(crate) fn nobody(snapshot: &Snapshot) -> Result<&Credential, S3Error> {
    snapshot.anonymous.as_ref().ok_or_else(|| {
        S3Error::with_message(
            ErrorCode::AccessDenied,
            "This gateway answers signed requests only.",
        )
    })
}

/// The gateway's credentials are all long-lived: a token belongs to somebody else's.
pub(crate) fn no_session_tokens() -> S3Error {
    S3Error::with_message(
        ErrorCode::InvalidToken,
        "This gateway gives out no session tokens (STS): sign with one of its own access keys, without a token.",
    )
}

/// Whoever may change a link could otherwise have a browser take an object for a page of the gateway's origin.
fn check_anonymous(query: &Query) -> Result<(), S3Error> {
    if OVERRIDES.iter().any(|(name, _)| query.has(name)) {
        return Err(S3Error::with_message(
            ErrorCode::InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    Ok(())
}

/// A presigned request's headers: its own, and those that its query holds.
pub(crate) fn hoisted(auth: &Authorization, own: &HeaderMap, query: &Query) -> HeaderMap {
    let mut all = own.clone();
    query.hoisted_headers(&mut all);
    if let Authorization::V2(_) = auth {
        for name in [
            header::CONTENT_TYPE,
            header::HeaderName::from_static("content-md5"),
        ] {
            let value = query
                .get(name.as_str())
                .and_then(|v| HeaderValue::from_str(v).ok());
            if let Some(value) = value {
                all.entry(name).or_insert(value);
            }
        }
    }
    all
}
