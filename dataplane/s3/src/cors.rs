//! CORS (Fetch Standard, "CORS protocol"; S3 User Guide, "Elements of a CORS configuration"): which origins' scripts
//! may see an answer.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::error::{ErrorCode, S3Error};
use crate::xml::{Element, Limits};

/// The methods that a rule can name.
pub const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
/// Most rules of a bucket (S3's own limit).
const MAX_RULES: usize = 100;
/// What caches have to tell answers apart by.
const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/// One rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// Origins, each with at most one `*`.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Headers that a request may have, each with at most one `*`; lower case.
    pub headers: Vec<String>,
    /// Headers of an answer that scripts may see.
    pub expose: Vec<String>,
    /// Seconds that a browser may keep the answer to a preflight.
    pub max_age: Option<u64>,
}

/// Whether `text` is `pattern`, in which one `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

/// Reads a bucket's `CORSConfiguration`, as the store gives it.
pub fn parse(document: &[u8]) -> Result<Vec<Rule>, S3Error> {
    let malformed = || S3Error::new(ErrorCode::MalformedXML);
    let root = Element::parse(document, &Limits::SMALL).map_err(|_| malformed())?;
    if root.name() != "CORSConfiguration" {
        return Err(malformed());
    }
    let texts = |rule: &Element<'_>, name: &str| -> Vec<String> {
        rule.children(name)
            .map(|e| e.text().trim().to_owned())
            .collect()
    };
    let rules = root.children("CORSRule").take(MAX_RULES).map(|rule| Rule {
        origins: texts(rule, "AllowedOrigin"),
        methods: texts(rule, "AllowedMethod"),
        headers: texts(rule, "AllowedHeader")
            .into_iter()
            .map(|h| h.to_ascii_lowercase())
            .collect(),
        expose: texts(rule, "ExposeHeader"),
        max_age: rule
            .child_text("MaxAgeSeconds")
            .and_then(|t| t.trim().parse().ok()),
    });
    Ok(rules.collect())
}

impl Rule {
    /// Whether a request of `origin` with `method` and, for a preflight, these headers is allowed.
    pub fn allows(&self, origin: &str, method: &str, requested: Option<&str>) -> bool {
        self.origins.iter().any(|o| matches(o, origin))
            && self.methods.iter().any(|m| m == method)
            && names(requested.unwrap_or("")).all(|name| {
                let name = name.to_ascii_lowercase();
                self.headers.iter().any(|h| matches(h, &name))
            })
    }

    /// The headers of the answer to a request that the rule allows.
    pub fn answer(&self, origin: &str, requested: Option<&str>) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(8);
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                out.insert(name, value);
            }
        };
        if self.origins.iter().any(|o| o == "*") {
            set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        } else {
            set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        let methods = self.methods.join(", ");
        set(header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        let requested: Vec<_> = names(requested.unwrap_or("")).collect();
        if !requested.is_empty() {
            let list = requested.join(", ").to_ascii_lowercase();
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, &list);
        }
        if !self.expose.is_empty() {
            let list = self.expose.join(", ");
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, &list);
        }
        if let Some(seconds) = self.max_age {
            set(header::ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        set(header::VARY, VARY);
        out
    }
}

/// The names of a comma-separated list.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|n| !n.is_empty())
}

/// What a preflight asks.
pub struct Preflight<'h> {
    /// Where the script came from.
    pub origin: &'h str,
    /// The method that it wants to use.
    pub method: &'h str,
    /// The headers that it wants to send.
    pub headers: Option<&'h str>,
}

impl<'h> Preflight<'h> {
    /// Reads it. Errors: `BadRequest` for an `OPTIONS` request that is none.
    pub fn of(headers: &'h HeaderMap) -> Result<Self, S3Error> {
        let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let Some(origin) = text(header::ORIGIN).filter(|o| !o.is_empty()) else {
            return Err(S3Error::with_message(
                ErrorCode::BadRequest,
                "Insufficient information. Origin request header needed.",
            ));
        };
        let method = text(header::ACCESS_CONTROL_REQUEST_METHOD);
        match method.filter(|m| METHODS.contains(m)) {
            Some(method) => Ok(Self {
                origin,
                method,
                headers: text(header::ACCESS_CONTROL_REQUEST_HEADERS),
            }),
            None => Err(S3Error::with_message(
                ErrorCode::BadRequest,
                format!(
                    "Invalid Access-Control-Request-Method: {}",
                    method.unwrap_or("null")
                ),
            )),
        }
    }

    /// The refusal where no rule allows it; `any` says whether the bucket has rules at all.
    pub fn refusal(&self, any: bool, on_object: bool) -> S3Error {
        let message = if any {
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request \
             method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the \
             resource's CORS spec."
        } else {
            "CORSResponse: CORS is not enabled for this bucket."
        };
        S3Error::with_message(ErrorCode::AccessForbidden, message)
            .detail("Method", self.method)
            .detail("ResourceType", if on_object { "OBJECT" } else { "BUCKET" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = br#"<?xml version="1.0"?><CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <CORSRule><AllowedOrigin>http://www.example1.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>
        <AllowedMethod>POST</AllowedMethod><AllowedHeader>X-Amz-*</AllowedHeader><MaxAgeSeconds>3000</MaxAgeSeconds>
        <ExposeHeader>x-amz-request-id</ExposeHeader><ExposeHeader>ETag</ExposeHeader></CORSRule>
      <CORSRule><AllowedOrigin>https://*.example.net</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>
      <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"#;

    #[test]
    fn rules_as_in_the_user_guide() {
        let rules = parse(DOCUMENT).unwrap();
        let find = |o: &str, m: &str, h: Option<&str>| rules.iter().position(|r| r.allows(o, m, h));
        assert_eq!(
            find(
                "http://www.example1.com",
                "PUT",
                Some("x-amz-acl, X-AMZ-date")
            ),
            Some(0)
        );
        assert_eq!(
            find("http://www.example1.com", "PUT", Some("x-amz-acl,range")),
            None
        );
        assert_eq!(find("http://www.example2.com", "PUT", None), None);
        assert_eq!(find("https://a.example.net", "GET", None), Some(1));
        assert_eq!(find("https://example.net", "GET", None), Some(2));
        assert_eq!(find("null", "DELETE", None), None);
        let answer = rules[0].answer("http://www.example1.com", Some("X-Amz-Acl"));
        let get = |name: &str| answer.get(name).map(|v| v.to_str().unwrap());
        assert_eq!(
            get("access-control-allow-origin"),
            Some("http://www.example1.com")
        );
        assert_eq!(get("access-control-allow-credentials"), Some("true"));
        assert_eq!(get("access-control-allow-methods"), Some("PUT, POST"));
        assert_eq!(get("access-control-allow-headers"), Some("x-amz-acl"));
        assert_eq!(
            get("access-control-expose-headers"),
            Some("x-amz-request-id, ETag")
        );
        assert_eq!(get("access-control-max-age"), Some("3000"));
        assert!(get("vary").unwrap().starts_with("Origin"));
        let open = rules[2].answer("https://x", None);
        assert_eq!(open["access-control-allow-origin"], "*");
        assert!(!open.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn preflights() {
        let mut headers = HeaderMap::new();
        assert!(Preflight::of(&headers).is_err());
        headers.insert("origin", HeaderValue::from_static(""));
        let get = HeaderValue::from_static("GET");
        headers.insert("access-control-request-method", get);
        assert!(Preflight::of(&headers).is_err(), "an empty origin is none");
        headers.remove("access-control-request-method");
        headers.insert("origin", HeaderValue::from_static("https://a"));
        assert!(Preflight::of(&headers).is_err());
        headers.insert(
            "access-control-request-method",
            HeaderValue::from_static("PATCH"),
        );
        assert!(Preflight::of(&headers).is_err());
        headers.insert(
            "access-control-request-method",
            HeaderValue::from_static("PUT"),
        );
        assert!(Preflight::of(&headers).is_ok());
        assert!(parse(b"<x/>").is_err() && parse(b"").is_err());
    }
}
