//! The one table of S3 errors: code, HTTP status and default message.
//!
//! Source: Amazon S3 API Reference, "Error responses" (`ErrorResponses.html`); messages are those that S3 sends.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::xml::{self, Element};

/// Most bytes of a store's error document that are looked at: real ones hold a few hundred.
pub const MAX_ERROR_DOCUMENT: usize = 64 * 1024;

/// Longest code taken over from a store, bytes: the longest that S3 documents has 42.
const MAX_FOREIGN_CODE: usize = 64;

macro_rules! codes {
    ($($name:ident $status:literal $message:literal;)*) => {
        /// An S3 error code.
        #[derive(Clone, Debug, Eq, PartialEq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!("`", stringify!($name), "`, HTTP ", stringify!($status), ": ", $message)] $name,)*
            /// A code of the store that this table does not know, handed on as it came.
            Other {
                /// HTTP status the store answered with.
                status: StatusCode,
                /// The store's code.
                code: Box<str>,
            },
        }

        impl ErrorCode {
            /// Every code of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code as it stands in an `<Error>` document.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Other { code, .. } => code,
                }
            }

            /// HTTP status that goes with the code.
            pub fn status(&self) -> StatusCode {
                match self {
                    $(Self::$name => const {
                        match StatusCode::from_u16($status) {
                            Ok(s) => s,
                            Err(_) => panic!("no HTTP status"),
                        }
                    },)*
                    Self::Other { status, .. } => *status,
                }
            }

            /// S3's message for the code.
            pub fn message(&self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                    Self::Other { .. } => "The store answered with an error.",
                }
            }

            /// Finds a code of the table by its name.
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    AccessDenied 403 "Access Denied";
    AccessForbidden 403 "Access Forbidden";
    AccessControlListNotSupported 400 "The bucket does not allow ACLs.";
    AccountProblem 403 "There is a problem with your account that prevents the operation from completing successfully.";
    AuthorizationHeaderMalformed 400 "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError 400 "The authorization query parameters that you provided are not valid.";
    BadDigest 400 "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest 400 "Bad Request";
    BucketAlreadyExists 409 "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Specify a different name and try again.";
    BucketAlreadyOwnedByYou 409 "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty 409 "The bucket you tried to delete is not empty.";
    ConditionalRequestConflict 409 "A conflicting operation occurred during the request to this resource. Retry the operation.";
    ContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.";
    CredentialsNotSupported 400 "This request does not support credentials.";
    CrossLocationLoggingProhibited 403 "Cross-location logging is not allowed.";
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed size";
    ExpiredToken 400 "The provided token has expired.";
    IllegalLocationConstraintException 400 "The specified location constraint is not valid for this endpoint.";
    IllegalVersioningConfigurationException 400 "The versioning configuration specified in the request is not valid.";
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header";
    IncorrectNumberOfFilesInPostRequest 400 "POST requires exactly one file upload per request.";
    InlineDataTooLarge 400 "The inline data exceeds the maximum allowed size.";
    InternalError 500 "We encountered an internal error. Please try again.";
    InvalidAccessKeyId 403 "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument 400 "Invalid Argument";
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting.";
    InvalidBucketName 400 "The specified bucket is not valid.";
    InvalidBucketState 409 "The request is not valid for the current state of the bucket.";
    InvalidChunkSizeError 400 "Only the last chunk is allowed to have a size less than 8192 bytes.";
    InvalidDigest 400 "The Content-MD5 you specified is not valid.";
    InvalidEncryptionAlgorithmError 400 "The encryption request that you specified is not valid. The valid value is AES256.";
    InvalidLocationConstraint 400 "The specified location constraint is not valid.";
    InvalidObjectState 403 "The operation is not valid for the object's storage class.";
    InvalidPart 400 "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber 416 "The requested partnumber is not satisfiable.";
    InvalidPartOrder 400 "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPayer 403 "All access to this object has been disabled.";
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange 416 "The requested range is not satisfiable";
    InvalidRequest 400 "Invalid Request";
    InvalidSecurity 403 "The provided security credentials are not valid.";
    InvalidStorageClass 400 "The storage class you specified is not valid.";
    InvalidTag 400 "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation.";
    InvalidTargetBucketForLogging 400 "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group.";
    InvalidToken 400 "The provided token is malformed or otherwise invalid.";
    InvalidURI 400 "Couldn't parse the specified URI.";
    KeyTooLongError 400 "Your key is too long.";
    MalformedACLError 400 "The XML you provided was not well-formed or did not validate against our published schema.";
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.";
    MalformedPolicy 400 "Policy has invalid resource.";
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML 400 "The XML you provided was not well-formed or did not validate against our published schema.";
    MaxMessageLengthExceeded 400 "Your request was too big.";
    MaxPostPreDataLengthExceededError 400 "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed 405 "The specified method is not allowed against this resource.";
    MissingContentLength 411 "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError 400 "Request body is empty.";
    MissingSecurityHeader 400 "Your request is missing a required header.";
    NoSuchAccessPoint 404 "The specified accesspoint does not exist.";
    NoSuchBucket 404 "The specified bucket does not exist.";
    NoSuchBucketPolicy 404 "The bucket policy does not exist.";
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist.";
    NoSuchConfiguration 404 "The specified configuration does not exist.";
    NoSuchKey 404 "The specified key does not exist.";
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist.";
    NoSuchObjectLockConfiguration 404 "The specified object does not have a ObjectLock configuration.";
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found.";
    NoSuchTagSet 404 "The TagSet does not exist.";
    NoSuchTagSetError 404 "There is no tag set associated with the bucket.";
    NoSuchUpload 404 "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion 404 "The specified version does not exist.";
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration.";
    NotDeviceOwnerError 400 "The device that generated the token is not owned by the authenticated user.";
    NotImplemented 501 "A header or query you provided implies functionality that is not implemented.";
    NotModified 304 "Not Modified";
    NotSignedUp 403 "Your account is not signed up for the Amazon S3 service.";
    ObjectAlreadyInActiveTierError 403 "Restore is not allowed, as the object is already in an active tier.";
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket.";
    ObjectNotInActiveTierError 403 "The source object of the COPY action is not in the active tier.";
    ObjectTampered 500 "The stored object failed authentication: it was changed, cut, moved or not sealed by this gateway.";
    OperationAborted 409 "A conflicting conditional operation is currently in progress against this resource. Try again.";
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found.";
    PermanentRedirect 301 "The bucket you are attempting to access must be addressed using the specified endpoint. Send all future requests to this endpoint.";
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold";
    QuotaExceeded 403 "The quota of the bucket or user is exceeded.";
    Redirect 307 "Temporary redirect. You are being redirected to the bucket while the Domain Name System (DNS) server is being updated.";
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found.";
    RequestHeaderSectionTooLarge 400 "Your request header section exceeds the maximum allowed length.";
    RequestIsNotMultiPartContent 400 "A bucket POST request must be of the enclosure-type multipart/form-data.";
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.";
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.";
    RestoreAlreadyInProgress 409 "Object restore is already in progress.";
    ServerSideEncryptionConfigurationNotFoundError 404 "The server-side encryption configuration was not found.";
    ServiceUnavailable 503 "Service is unable to handle request.";
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown 503 "Please reduce your request rate.";
    TemporaryRedirect 307 "You are being redirected to the bucket while the Domain Name System (DNS) server is being updated.";
    TooManyBuckets 400 "You have attempted to create more buckets than are allowed for an account.";
    TooManyParts 400 "You have attempted to upload more parts than are allowed.";
    TokenRefreshRequired 400 "The provided token must be refreshed.";
    UnauthorizedAccess 403 "You are not authorized to perform this operation.";
    UnexpectedContent 400 "This request contains unsupported content.";
    UnresolvableGrantByEmailAddress 400 "The email address that you provided does not match any account on record.";
    UserKeyMustBeSpecified 400 "The bucket POST request must contain the specified field name. If it is specified, check the order of the fields.";
    XAmzContentChecksumMismatch 400 "The provided 'x-amz-checksum' header does not match what was computed.";
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl ErrorCode {
    /// Label for metrics: one of a bounded set, so a store's own codes all count as `Other`.
    pub fn metric_label(&self) -> &'static str {
        match self {
            Self::Other { .. } => "Other",
            known => {
                // The table's names are static; only `Other` borrows from `self`.
                Self::ALL
                    .iter()
                    .find(|c| *c == known)
                    .map_or("Other", |c| c.as_str())
            }
        }
    }

    /// Whether the same request may succeed later without any change.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::InternalError
                | Self::ServiceUnavailable
                | Self::SlowDown
                | Self::RequestTimeout
                | Self::OperationAborted
                | Self::ConditionalRequestConflict
        ) || matches!(self, Self::Other { status, .. } if status.is_server_error())
    }

    /// Takes over a store's code: the table's where it is known, verbatim otherwise.
    pub fn from_backend(status: StatusCode, code: &str) -> ErrorCode {
        if let Some(known) = Self::from_name(code) {
            return known;
        }
        let plain = !code.is_empty()
            && code.len() <= MAX_FOREIGN_CODE
            && code.bytes().all(|b| b.is_ascii_graphic());
        if plain {
            Self::Other {
                status,
                code: code.into(),
            }
        } else {
            Self::from_status(status)
        }
    }

    /// The nearest code for an answer without a body, such as one to HEAD.
    pub fn from_status(status: StatusCode) -> ErrorCode {
        match status.as_u16() {
            301 => Self::PermanentRedirect,
            304 => Self::NotModified,
            307 => Self::TemporaryRedirect,
            400 => Self::BadRequest,
            401 | 403 => Self::AccessDenied,
            404 => Self::NoSuchKey,
            405 => Self::MethodNotAllowed,
            409 => Self::OperationAborted,
            411 => Self::MissingContentLength,
            412 => Self::PreconditionFailed,
            416 => Self::InvalidRange,
            429 => Self::SlowDown,
            500 => Self::InternalError,
            501 => Self::NotImplemented,
            503 => Self::ServiceUnavailable,
            _ => Self::Other {
                status,
                code: format!("Http{}", status.as_u16()).into(),
            },
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An S3 error as a client sees it.
#[derive(Clone, Eq, PartialEq)]
pub struct S3Error {
    /// What went wrong.
    pub code: ErrorCode,
    /// For a human.
    pub message: Cow<'static, str>,
    /// Further elements of the document, such as `ArgumentName`, in order.
    pub detail: Vec<(&'static str, String)>,
    /// Headers of the answer that go with the error, such as `x-amz-delete-marker`.
    pub headers: Option<Box<HeaderMap>>,
}

/// Elements of a store's error document that are handed on to the client: they describe the request, not the store.
const KEPT_DETAIL: &[&str] = &[
    "ActualObjectSize",
    "AllowedMethods",
    "ArgumentName",
    "ArgumentValue",
    "BucketName",
    "Condition",
    "ETag",
    "Header",
    "Key",
    "MaxKeys",
    "MaxSizeAllowed",
    "Method",
    "MinSizeAllowed",
    "PartNumber",
    "RangeRequested",
    "ResourceType",
    "TagKey",
    "UploadId",
    "VersionId",
];

impl S3Error {
    /// An error with the table's message.
    pub fn new(code: ErrorCode) -> Self {
        let message = Cow::Borrowed(code.message());
        Self {
            code,
            message,
            detail: Vec::new(),
            headers: None,
        }
    }

    /// An error with its own message.
    pub fn with_message(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: Vec::new(),
            headers: None,
        }
    }

    /// Adds an element to the document.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.detail.push((name, value.into()));
        self
    }

    /// Adds headers to the answer; none of them changes nothing.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        if !headers.is_empty() {
            self.headers = Some(Box::new(headers));
        }
        self
    }

    /// `InvalidArgument` that names the header or query parameter and its value.
    pub fn invalid_argument(
        message: impl Into<Cow<'static, str>>,
        name: &str,
        value: impl Into<String>,
    ) -> Self {
        Self::with_message(ErrorCode::InvalidArgument, message)
            .detail("ArgumentName", name)
            .detail("ArgumentValue", value)
    }

    /// HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The `<Error>` document. `resource` is the path that was asked for.
    pub fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> Vec<u8> {
        let mut w = xml::Writer::document();
        w.open("Error");
        w.text("Code", self.code.as_str());
        w.text("Message", &self.message);
        for (name, value) in &self.detail {
            w.text(name, value);
        }
        w.text("Resource", resource);
        w.text("RequestId", request_id);
        w.text("HostId", host_id);
        w.close("Error");
        w.finish()
    }

    /// Reads a store's error answer. Anything that is no `<Error>` document becomes the nearest code for the status.
    pub fn from_backend_xml(status: StatusCode, body: &[u8]) -> Self {
        if body.len() <= MAX_ERROR_DOCUMENT
            && let Ok(root) = Element::parse(body, &xml::Limits::SMALL)
            && let Some(error) = Self::from_element(status, &root)
        {
            return error;
        }
        Self::new(ErrorCode::from_status(status))
    }

    /// Reads an `<Error>` element (also inside `<ErrorResponse>`); `None` when it is another one.
    pub fn from_element(status: StatusCode, root: &Element<'_>) -> Option<Self> {
        let root = match root.name() {
            "ErrorResponse" => root.child("Error")?,
            _ => root,
        };
        if root.name() != "Error" {
            return None;
        }
        let code = ErrorCode::from_backend(status, root.child_text("Code").unwrap_or("").trim());
        let message = match root.child_text("Message") {
            Some(m) if !m.is_empty() => Cow::Owned(m.to_owned()),
            _ => Cow::Borrowed(code.message()),
        };
        let detail = KEPT_DETAIL
            .iter()
            .filter_map(|name| root.child_text(name).map(|value| (*name, value.to_owned())))
            .collect();
        Some(Self {
            code,
            message,
            detail,
            headers: None,
        })
    }
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl fmt::Debug for S3Error {
    /// Without the details: some repeat what the client sent, which is nothing for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.detail.iter().map(|(name, _)| name).collect();
        write!(f, "S3Error({self}, {names:?})")
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for S3Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_their_statuses_are_errors() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            let status = code.status();
            assert!(
                status.is_client_error() || status.is_server_error() || status.is_redirection(),
                "{code} has status {status}"
            );
            assert!(!code.message().is_empty());
            assert_eq!(code.metric_label(), code.as_str());
            assert_eq!(ErrorCode::from_name(code.as_str()).as_ref(), Some(code));
        }
        assert!(seen.len() > 80);
    }

    #[test]
    fn documents_are_escaped_and_ordered() {
        let e = S3Error::invalid_argument("a < b & c", "x", "\u{1}");
        assert_eq!(
            String::from_utf8(e.to_xml("/b/k", "R", "H")).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidArgument</Code>\
             <Message>a &lt; b &amp; c</Message><ArgumentName>x</ArgumentName>\
             <ArgumentValue>&#x1;</ArgumentValue><Resource>/b/k</Resource><RequestId>R</RequestId>\
             <HostId>H</HostId></Error>"
        );
    }

    #[test]
    fn a_stores_errors_keep_their_code() {
        let known = S3Error::from_backend_xml(
            StatusCode::NOT_FOUND,
            b"<?xml version=\"1.0\"?><Error xmlns='x'><Code>NoSuchUpload</Code><Message>m</Message></Error>",
        );
        assert_eq!(
            (known.code, &*known.message),
            (ErrorCode::NoSuchUpload, "m")
        );
        let foreign = S3Error::from_backend_xml(
            StatusCode::CONFLICT,
            b"<ErrorResponse><Error><Code>XMinioThing</Code></Error></ErrorResponse>",
        );
        assert_eq!(foreign.code.as_str(), "XMinioThing");
        assert_eq!(foreign.status(), StatusCode::CONFLICT);
        assert_eq!(foreign.code.metric_label(), "Other");
        for garbage in [
            &b""[..],
            b"<html>",
            b"\xff\xff",
            b"<Error><Code>has space</Code></Error>",
        ] {
            assert_eq!(
                S3Error::from_backend_xml(StatusCode::FORBIDDEN, garbage).code,
                ErrorCode::AccessDenied
            );
        }
    }
}
