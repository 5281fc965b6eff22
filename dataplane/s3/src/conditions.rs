//! Conditional requests: RFC 9110 §13 with S3's precedence, for reads, writes and copy sources.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::error::{ErrorCode, S3Error};
use crate::time;

/// Most entity tags in one condition: a header line is bounded too, this keeps evaluation cheap.
const MAX_TAGS: usize = 64;

/// Entity tags of an `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EtagList {
    /// `*`: any existing object.
    Any,
    /// These tags, without quotes and without `W/`.
    Tags(Vec<String>),
}

impl EtagList {
    /// Reads a header. Quotes are optional, as S3 has it.
    pub fn parse(value: &HeaderValue) -> Result<Self, S3Error> {
        let text = value.to_str().map_err(|_| malformed("ETag", value))?.trim();
        if text == "*" || text == "\"*\"" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if tags.len() == MAX_TAGS {
                return Err(malformed("ETag", value));
            }
            rest = rest.strip_prefix("W/").unwrap_or(rest);
            let tag;
            if let Some(quoted) = rest.strip_prefix('"') {
                let (inside, after) = quoted
                    .split_once('"')
                    .ok_or_else(|| malformed("ETag", value))?;
                (tag, rest) = (inside, after.trim_start());
                rest = match rest.strip_prefix(',') {
                    Some(more) => more.trim_start(),
                    None if rest.is_empty() => rest,
                    None => return Err(malformed("ETag", value)),
                };
            } else {
                let (bare, after) = rest.split_once(',').unwrap_or((rest, ""));
                if bare.contains('"') {
                    return Err(malformed("ETag", value));
                }
                (tag, rest) = (bare.trim_end(), after.trim_start());
            }
            if !tag.is_empty() {
                tags.push(tag.to_owned());
            }
        }
        if tags.is_empty() {
            Err(malformed("ETag", value))
        } else {
            Ok(Self::Tags(tags))
        }
    }

    /// Whether an object with this tag (without quotes) meets the list.
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|t| t == etag),
        }
    }

    /// As a header's value, quoted. A list that HTTP cannot carry becomes a tag that no object has: a condition must
    /// never be lost on the way.
    fn to_header(&self) -> HeaderValue {
        const NEVER: HeaderValue = HeaderValue::from_static("\"no-such-etag\"");
        let text = match self {
            Self::Any => "*".to_owned(),
            Self::Tags(tags) => {
                let quoted: Vec<String> = tags.iter().map(|t| format!("\"{t}\"")).collect();
                quoted.join(", ")
            }
        };
        HeaderValue::try_from(text).unwrap_or(NEVER)
    }

    /// Both lists as one.
    fn join(self, more: Self) -> Self {
        match (self, more) {
            (Self::Tags(mut a), Self::Tags(b)) => {
                a.extend(b);
                Self::Tags(a)
            }
            _ => Self::Any,
        }
    }

    fn map(&self, f: &mut impl FnMut(&str) -> String) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Tags(tags) => Self::Tags(tags.iter().map(|t| f(t)).collect()),
        }
    }
}

/// What must hold of an object for the request to go on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<EtagList>,
    /// `If-None-Match`.
    pub if_none_match: Option<EtagList>,
    /// `If-Modified-Since`, seconds since the epoch.
    pub if_modified_since: Option<i64>,
    /// `If-Unmodified-Since`, seconds since the epoch.
    pub if_unmodified_since: Option<i64>,
}

/// What the conditions of a read come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// `304 Not Modified`.
    NotModified,
    /// `412 Precondition Failed`.
    PreconditionFailed,
}

/// Header names in the order match, none-match, modified-since, unmodified-since.
type Names = [HeaderName; 4];

const PLAIN: Names = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

const COPY_SOURCE: Names = [
    HeaderName::from_static("x-amz-copy-source-if-match"),
    HeaderName::from_static("x-amz-copy-source-if-none-match"),
    HeaderName::from_static("x-amz-copy-source-if-modified-since"),
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
];

fn malformed(what: &str, value: &HeaderValue) -> S3Error {
    S3Error::invalid_argument(
        format!("A conditional header's {what} is malformed."),
        what,
        String::from_utf8_lossy(value.as_bytes()),
    )
}

impl Conditions {
    /// Reads the request's own conditions. Dates that cannot be read are ignored, as RFC 9110 §13.1.3 demands.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::read(headers, &PLAIN)
    }

    /// Reads the `x-amz-copy-source-if-*` conditions.
    pub fn from_copy_source_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::read(headers, &COPY_SOURCE)
    }

    fn read(headers: &HeaderMap, names: &Names) -> Result<Self, S3Error> {
        let tags = |name| {
            headers
                .get_all(name)
                .iter()
                .try_fold(None, |all: Option<EtagList>, value| {
                    let more = EtagList::parse(value)?;
                    Ok::<_, S3Error>(Some(match all {
                        Some(list) => list.join(more),
                        None => more,
                    }))
                })
        };
        let date = |name| {
            headers
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
                .and_then(time::parse_http_date)
        };
        Ok(Self {
            if_match: tags(&names[0])?,
            if_none_match: tags(&names[1])?,
            if_modified_since: date(&names[2]),
            if_unmodified_since: date(&names[3]),
        })
    }

    /// Whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Only `If-Match: "etag"`: pins a read to one state of the object.
    pub fn if_match(etag: impl Into<String>) -> Self {
        Self {
            if_match: Some(EtagList::Tags(vec![etag.into()])),
            ..Self::default()
        }
    }

    /// Only `If-None-Match: *`: creates, never replaces.
    pub fn if_absent() -> Self {
        Self {
            if_none_match: Some(EtagList::Any),
            ..Self::default()
        }
    }

    /// The same conditions with every tag translated, such as from the client's form to the store's.
    #[must_use]
    pub fn map_etags(&self, mut f: impl FnMut(&str) -> String) -> Self {
        Self {
            if_match: self.if_match.as_ref().map(|l| l.map(&mut f)),
            if_none_match: self.if_none_match.as_ref().map(|l| l.map(&mut f)),
            ..self.clone()
        }
    }

    /// Sets the plain headers of these conditions.
    pub fn to_headers(&self, headers: &mut HeaderMap) {
        self.write(headers, &PLAIN);
    }

    /// Sets these conditions as `x-amz-copy-source-if-*`.
    pub fn copy_source_to_headers(&self, headers: &mut HeaderMap) {
        self.write(headers, &COPY_SOURCE);
    }

    fn write(&self, headers: &mut HeaderMap, names: &Names) {
        let date = |t: Option<i64>| t.and_then(|t| HeaderValue::try_from(time::http_date(t)).ok());
        let values = [
            self.if_match.as_ref().map(EtagList::to_header),
            self.if_none_match.as_ref().map(EtagList::to_header),
            date(self.if_modified_since),
            date(self.if_unmodified_since),
        ];
        for (name, value) in names.iter().zip(values) {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }

    /// Evaluates the conditions of a GET or HEAD of an existing object, in the order of RFC 9110 §13.2.2, which is what
    /// S3 documents: a true `If-Match` overrides `If-Unmodified-Since`, a present `If-None-Match` overrides
    /// `If-Modified-Since`. `last_modified` is in seconds since the epoch.
    pub fn check_read(&self, etag: &str, last_modified: i64) -> Verdict {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.matches(etag) => return Verdict::PreconditionFailed,
            (None, Some(t)) if last_modified > t => return Verdict::PreconditionFailed,
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if tags.matches(etag) => Verdict::NotModified,
            (None, Some(t)) if last_modified <= t => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }

    /// Evaluates the conditions of a write (PUT, Complete, Copy, DELETE) against what is there now: ETag and seconds
    /// since the epoch. `If-Match` on a missing object is `NoSuchKey`, as S3 has it.
    pub fn check_write(&self, existing: Option<(&str, i64)>) -> Result<(), S3Error> {
        let Some((etag, last_modified)) = existing else {
            return match self.if_match {
                Some(_) => Err(S3Error::new(ErrorCode::NoSuchKey)),
                None => Ok(()),
            };
        };
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.matches(etag) => return Err(failed("If-Match")),
            (None, Some(t)) if last_modified > t => return Err(failed("If-Unmodified-Since")),
            _ => {}
        }
        match &self.if_none_match {
            Some(tags) if tags.matches(etag) => Err(failed("If-None-Match")),
            _ => Ok(()),
        }
    }

    /// Evaluates `x-amz-copy-source-if-*`: here a match of `If-None-Match` is 412 too. `last_modified` is in seconds.
    pub fn check_copy_source(&self, etag: &str, last_modified: i64) -> Result<(), S3Error> {
        match self.check_read(etag, last_modified) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified => Err(failed(if self.if_none_match.is_some() {
                "x-amz-copy-source-If-None-Match"
            } else {
                "x-amz-copy-source-If-Modified-Since"
            })),
            Verdict::PreconditionFailed => Err(failed(if self.if_match.is_some() {
                "x-amz-copy-source-If-Match"
            } else {
                "x-amz-copy-source-If-Unmodified-Since"
            })),
        }
    }

    /// The `412` of a read that [`Self::check_read`] refused.
    pub fn failed_read(&self) -> S3Error {
        failed(if self.if_match.is_some() {
            "If-Match"
        } else {
            "If-Unmodified-Since"
        })
    }
}

fn failed(condition: &'static str) -> S3Error {
    S3Error::new(ErrorCode::PreconditionFailed).detail("Condition", condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(pairs: &[(&'static str, &'static str)]) -> Conditions {
        let mut h = HeaderMap::new();
        for (n, v) in pairs {
            h.insert(*n, HeaderValue::from_static(v));
        }
        Conditions::from_headers(&h).unwrap()
    }

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const T: i64 = 784_111_777;

    #[test]
    fn s3_traps_10_reads_follow_the_documented_precedence() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
        for (pairs, modified, verdict) in [
            (&[][..], T, Proceed),
            (&[("if-match", "\"e\"")], T, Proceed),
            (&[("if-match", "e")], T, Proceed),
            (&[("if-match", "*")], T, Proceed),
            (&[("if-match", "\"x\", W/\"e\"")], T, Proceed),
            (&[("if-match", "\"x\"")], T, PreconditionFailed),
            (
                &[("if-match", "\"e\""), ("if-unmodified-since", OLD)],
                T + 9,
                Proceed,
            ),
            (&[("if-unmodified-since", OLD)], T + 1, PreconditionFailed),
            (&[("if-unmodified-since", OLD)], T, Proceed),
            (&[("if-none-match", "\"e\"")], T, NotModified),
            (&[("if-none-match", "*")], T, NotModified),
            (
                &[("if-none-match", "\"e\""), ("if-modified-since", OLD)],
                T + 9,
                NotModified,
            ),
            (
                &[("if-none-match", "\"x\""), ("if-modified-since", OLD)],
                T,
                Proceed,
            ),
            (&[("if-modified-since", OLD)], T, NotModified),
            (&[("if-modified-since", OLD)], T + 1, Proceed),
            (&[("if-modified-since", "not a date")], T, Proceed),
            (
                &[("if-match", "\"x\""), ("if-none-match", "\"e\"")],
                T,
                PreconditionFailed,
            ),
        ] {
            assert_eq!(
                conditions(pairs).check_read("e", modified),
                verdict,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn writes() {
        let code = |c: &Conditions, existing| c.check_write(existing).map_err(|e| e.code);
        let absent = conditions(&[("if-none-match", "*")]);
        assert_eq!(code(&absent, None), Ok(()));
        assert_eq!(
            code(&absent, Some(("e", T))),
            Err(ErrorCode::PreconditionFailed)
        );
        let same = conditions(&[("if-match", "\"e\"")]);
        assert_eq!(code(&same, Some(("e", T))), Ok(()));
        assert_eq!(
            code(&same, Some(("f", T))),
            Err(ErrorCode::PreconditionFailed)
        );
        assert_eq!(code(&same, None), Err(ErrorCode::NoSuchKey));
        // A date never makes a 304 of a write.
        assert_eq!(
            code(&conditions(&[("if-modified-since", OLD)]), Some(("e", T))),
            Ok(())
        );
    }

    #[test]
    fn copy_sources_fail_with_412_alone() {
        let mut h = HeaderMap::new();
        Conditions::if_match("e").copy_source_to_headers(&mut h);
        assert_eq!(h["x-amz-copy-source-if-match"], "\"e\"");
        let c = Conditions::from_copy_source_headers(&h).unwrap();
        assert_eq!(c, Conditions::if_match("e"));
        assert!(c.check_copy_source("e", T).is_ok());
        let none = conditions(&[("if-none-match", "e")]);
        assert_eq!(
            none.check_copy_source("e", T).unwrap_err().code,
            ErrorCode::PreconditionFailed
        );
    }

    #[test]
    fn conditions_survive_headers_and_translation() {
        let c = conditions(&[
            ("if-match", "\"a\", \"b\""),
            ("if-unmodified-since", OLD),
            ("if-none-match", "*"),
        ]);
        let mut h = HeaderMap::new();
        c.map_etags(|e| format!("{e}-0")).to_headers(&mut h);
        assert_eq!(h["if-match"], "\"a-0\", \"b-0\"");
        assert_eq!(
            Conditions::from_headers(&h)
                .unwrap()
                .map_etags(|e| e.trim_end_matches("-0").into()),
            c
        );
        // Two lines are one list, and what cannot be sent never matches.
        h.append("if-match", HeaderValue::from_static("c"));
        assert!(
            Conditions::from_headers(&h)
                .unwrap()
                .if_match
                .unwrap()
                .matches("c")
        );
        let mut unprintable = HeaderMap::new();
        Conditions::if_match("\n").to_headers(&mut unprintable);
        assert_eq!(unprintable["if-match"], "\"no-such-etag\"");
        for bad in ["", "\"a", "\"a\" \"b\"", ",", "a\"b"] {
            assert!(
                EtagList::parse(&HeaderValue::from_static(bad)).is_err(),
                "{bad}"
            );
        }
    }
}
