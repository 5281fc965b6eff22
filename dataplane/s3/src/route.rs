//! Which operation a request asks for, on which bucket and key.

mod key;
mod operation;
mod query;

use http::{HeaderMap, Method, header};

pub use crate::bucket::Bucket;
pub use crate::encoding::encode_key;
pub use key::{MAX_KEY_LEN, RawKey};
pub use operation::Operation;
pub use query::Query;

use crate::encoding;
use crate::error::{ErrorCode, S3Error};
use operation::{Level, ORDINARY, SUB_RESOURCES, Verb};

/// A request, understood.
#[derive(Clone, Debug)]
pub struct Routed {
    /// What it asks for.
    pub operation: Operation,
    /// On which bucket; `None` for the service itself.
    pub bucket: Option<Bucket>,
    /// On which key.
    pub key: Option<RawKey>,
    /// Its parameters.
    pub query: Query,
}

/// Splits a raw target into path and query, and strips scheme and authority of the absolute form (RFC 9112 §3.2.2).
pub(crate) fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &target[target.len()..]),
    };
    if path.first() == Some(&b'/') {
        return (path, query);
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| path.len() >= s.len() && path[..s.len()].eq_ignore_ascii_case(s));
    match scheme {
        Some(s) => match memchr::memchr(b'/', &path[s.len()..]) {
            Some(at) => (&path[s.len() + at..], query),
            None => (b"/", query),
        },
        None => (path, query),
    }
}

/// Decides what a request asks for. `target` is the raw request-target, `host` the `Host` header as received. A host
/// under one of `base_domains` names the bucket (virtual-host style); otherwise the path's first segment does.
///
/// Errors: `InvalidURI`, `InvalidBucketName`, `KeyTooLongError`, `MethodNotAllowed`, and `InvalidArgument` for
/// parameters that contradict each other. A sub-resource that is not known is no error yet, so that only an
/// authenticated client learns of it: it routes to [`Operation::NotImplemented`].
pub fn route(
    method: &Method,
    target: &[u8],
    host: Option<&[u8]>,
    headers: &HeaderMap,
    base_domains: &[String],
) -> Result<Routed, S3Error> {
    let (path, raw_query) = split_target(target);
    if *method == Method::OPTIONS && path == b"*" {
        return Ok(Routed {
            operation: Operation::CorsPreflight,
            bucket: None,
            key: None,
            query: Query::default(),
        });
    }
    let path = path
        .strip_prefix(b"/")
        .ok_or_else(|| S3Error::new(ErrorCode::InvalidURI))?;
    let path = encoding::decode(path, false).map_err(|_| S3Error::new(ErrorCode::InvalidURI))?;
    let query = Query::parse(raw_query)?;
    let (bucket, key) = match host.and_then(|h| virtual_bucket(h, base_domains)) {
        Some(bucket) => (Some(Bucket::new(bucket)?), &path[..]),
        None => split_path(&path)?,
    };
    let key = if key.is_empty() {
        None
    } else {
        Some(RawKey::copy_from(key)?)
    };
    let level = match (&bucket, &key) {
        (None, _) => Level::Service,
        (Some(_), None) => Level::Bucket,
        (Some(_), Some(_)) => Level::Object,
    };
    let operation = match Verb::of(method) {
        Some(verb) => choose(level, verb, &query, headers)?,
        None if *method == Method::OPTIONS => Operation::CorsPreflight,
        None => return Err(method_not_allowed(method.as_str(), level)),
    };
    Ok(Routed {
        operation,
        bucket,
        key,
        query,
    })
}

/// Bucket and key of a path-style path without its leading slash.
fn split_path(path: &[u8]) -> Result<(Option<Bucket>, &[u8]), S3Error> {
    if path.is_empty() {
        return Ok((None, path));
    }
    let (bucket, key) = match memchr::memchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &path[path.len()..]),
    };
    Ok((Some(Bucket::new(String::from_utf8_lossy(bucket))?), key))
}

/// Bucket that a host under a base domain names, lower case; `None` for the base domain itself and for foreign hosts.
pub fn virtual_bucket(host: &[u8], base_domains: &[String]) -> Option<String> {
    if base_domains.is_empty() || host.first() == Some(&b'[') {
        return None;
    }
    let host = match host.iter().rposition(|b| *b == b':') {
        Some(at) => &host[..at],
        None => host,
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    if base_domains
        .iter()
        .any(|base| host.eq_ignore_ascii_case(base.as_bytes()))
    {
        return None;
    }
    base_domains
        .iter()
        .filter_map(|base| {
            let at = host
                .len()
                .checked_sub(base.len() + 1)
                .filter(|at| *at > 0)?;
            let matches = host[at] == b'.' && host[at + 1..].eq_ignore_ascii_case(base.as_bytes());
            matches.then(|| &host[..at])
        })
        // The longest base domain, where one lies under another.
        .min_by_key(|bucket| bucket.len())
        .map(|bucket| String::from_utf8_lossy(bucket).to_ascii_lowercase())
}

impl Verb {
    fn of(method: &Method) -> Option<Verb> {
        match *method {
            Method::GET => Some(Verb::Get),
            Method::HEAD => Some(Verb::Head),
            Method::PUT => Some(Verb::Put),
            Method::POST => Some(Verb::Post),
            Method::DELETE => Some(Verb::Delete),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }
}

fn method_not_allowed(method: &str, level: Level) -> S3Error {
    S3Error::new(ErrorCode::MethodNotAllowed)
        .detail("Method", method)
        .detail("ResourceType", format!("{level:?}").to_uppercase())
}

/// The operation: that of the one sub-resource in the query, or the plain one of the method.
fn choose(
    level: Level,
    verb: Verb,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Operation, S3Error> {
    let mut selector: Option<&str> = None;
    for (name, _) in query.iter() {
        let by_value = match level {
            Level::Bucket => name == "list-type",
            Level::Object => matches!(name, "uploadId" | "partNumber" | "versionId"),
            Level::Service => false,
        };
        if by_value || query::is_extension(name) || ORDINARY.contains(&name) {
            continue;
        }
        if !SUB_RESOURCES
            .iter()
            .any(|(l, s, ..)| *l == level && *s == name)
        {
            return Ok(Operation::NotImplemented(name.into()));
        }
        match selector {
            Some(other) if other != name => {
                return Err(S3Error::invalid_argument(
                    format!("Conflicting query string parameters: {other}, {name}"),
                    "ResourceType",
                    name,
                ));
            }
            _ => selector = Some(name),
        }
    }
    match selector {
        Some(name) => sub_resource(level, verb, name, query),
        None => match level {
            Level::Service if verb == Verb::Get => Ok(Operation::ListBuckets),
            Level::Service => Err(method_not_allowed(verb.name(), level)),
            Level::Bucket => on_bucket(verb, query, headers),
            Level::Object => on_object(verb, query, headers),
        },
    }
}

fn sub_resource(level: Level, verb: Verb, name: &str, query: &Query) -> Result<Operation, S3Error> {
    let rule = SUB_RESOURCES
        .iter()
        .find(|(l, s, v, _)| *l == level && *s == name && *v == verb);
    let operation = rule
        .map(|(.., o)| o.clone())
        .ok_or_else(|| method_not_allowed(verb.name(), level))?;
    if query.has("id") {
        return Ok(operation);
    }
    // Four kinds of configuration are listed when no id is given.
    Ok(match operation {
        Operation::GetBucketAnalyticsConfiguration => Operation::ListBucketAnalyticsConfigurations,
        Operation::GetBucketIntelligentTieringConfiguration => {
            Operation::ListBucketIntelligentTieringConfigurations
        }
        Operation::GetBucketInventoryConfiguration => Operation::ListBucketInventoryConfigurations,
        Operation::GetBucketMetricsConfiguration => Operation::ListBucketMetricsConfigurations,
        other => other,
    })
}

fn on_bucket(verb: Verb, query: &Query, headers: &HeaderMap) -> Result<Operation, S3Error> {
    match verb {
        Verb::Get => match query.get("list-type") {
            None => Ok(Operation::ListObjects),
            Some("2") => Ok(Operation::ListObjectsV2),
            Some(other) => Err(S3Error::invalid_argument(
                "Invalid List Type specified in Request",
                "list-type",
                other,
            )),
        },
        Verb::Head => Ok(Operation::HeadBucket),
        Verb::Put => Ok(Operation::CreateBucket),
        Verb::Delete => Ok(Operation::DeleteBucket),
        Verb::Post => {
            let form = headers
                .get(header::CONTENT_TYPE)
                .and_then(|v| v.as_bytes().get(..19))
                .is_some_and(|t| t.eq_ignore_ascii_case(b"multipart/form-data"));
            if form {
                Ok(Operation::PostObject)
            } else {
                Err(S3Error::new(ErrorCode::RequestIsNotMultiPartContent))
            }
        }
    }
}

fn on_object(verb: Verb, query: &Query, headers: &HeaderMap) -> Result<Operation, S3Error> {
    // Some SDKs move headers of a presigned request into its query.
    let hoisted = |(name, _): (&str, &str)| name.eq_ignore_ascii_case(crate::copy_source::HEADER);
    let copy = headers.contains_key(crate::copy_source::HEADER)
        || (query.has("X-Amz-Signature") && query.iter().any(hoisted));
    let (upload, part, version) = (
        query.has("uploadId"),
        query.has("partNumber"),
        query.has("versionId"),
    );
    if version && (upload || matches!(verb, Verb::Put | Verb::Post)) {
        let id = query.get("versionId").unwrap_or("");
        return Err(S3Error::invalid_argument(
            "This operation does not accept a version-id.",
            "versionId",
            id,
        ));
    }
    match (verb, upload, part) {
        (Verb::Get, true, false) => Ok(Operation::ListParts),
        (Verb::Delete, true, false) => Ok(Operation::AbortMultipartUpload),
        (Verb::Post, true, false) => Ok(Operation::CompleteMultipartUpload),
        (Verb::Put, true, true) if copy => Ok(Operation::UploadPartCopy),
        (Verb::Put, true, true) => Ok(Operation::UploadPart),
        (Verb::Get, false, _) => Ok(Operation::GetObject),
        (Verb::Head, false, _) => Ok(Operation::HeadObject),
        (Verb::Put, false, false) if copy => Ok(Operation::CopyObject),
        (Verb::Put, false, false) => Ok(Operation::PutObject),
        (Verb::Delete, false, false) => Ok(Operation::DeleteObject),
        (Verb::Put, true, false) => Err(S3Error::invalid_argument(
            "This operation requires both uploadId and partNumber.",
            "partNumber",
            "",
        )),
        (_, true, true) | (_, false, true) => {
            let number = query.get("partNumber").unwrap_or("");
            Err(S3Error::invalid_argument(
                "This operation does not accept a part number.",
                "partNumber",
                number,
            ))
        }
        (Verb::Head, true, false) | (Verb::Post, false, false) => {
            Err(method_not_allowed(verb.name(), Level::Object))
        }
    }
}

#[cfg(test)]
mod tests;
