//! Where a request says who signed it: the `Authorization` header, or the parameters of a presigned URL.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::encoding;
use crate::error::{ErrorCode, S3Error};
use crate::route::{Query, split_target};
use crate::{sigv2, time};

/// Longest region or access key that is looked at, bytes; real ones stay below 130.
const MAX_FIELD: usize = 256;
/// Most signed headers: a request has fewer headers than that in all.
const MAX_SIGNED_HEADERS: usize = 256;
/// Longest life of a presigned URL, seconds: seven days.
pub(super) const MAX_EXPIRES: u64 = 604_800;

/// The scope of a signature: `access key/date/region/s3/aws4_request`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// Access key id.
    pub access_key: String,
    /// `YYYYMMDD`.
    pub date: [u8; 8],
    /// Region, whatever the client believes it to be.
    pub region: String,
}

/// A signature with all that it says of itself.
#[derive(Clone)]
pub struct Signed {
    pub(super) credential: Credential,
    /// `a;b;c`, as received.
    pub(super) signed_headers: String,
    pub(super) signature: [u8; 32],
    /// Seconds since the epoch.
    pub(super) time: i64,
    /// Life of a presigned URL, seconds.
    pub(super) expires: u64,
    /// Session token of a presigned URL.
    pub(super) token: Option<String>,
}

impl std::fmt::Debug for Signed {
    /// Without signature and token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed")
            .field("credential", &self.credential)
            .field("signed_headers", &self.signed_headers)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

/// How a request is authenticated.
#[derive(Clone, Debug)]
pub enum Authorization {
    /// Not at all.
    Anonymous,
    /// By an `Authorization` header.
    Header(Box<Signed>),
    /// By the parameters of a presigned URL.
    Presigned(Box<Signed>),
    /// By a version 2 signature, in either place.
    V2(Box<sigv2::Signed>),
}

/// What S3 begins its messages about the header with.
const HEADER_MALFORMED: &str = "The authorization header is malformed; ";

fn header_malformed(message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(ErrorCode::AuthorizationHeaderMalformed, message)
}

fn query_malformed(message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(ErrorCode::AuthorizationQueryParametersError, message)
}

impl Authorization {
    /// Reads a request's authorization. `target` is the raw request-target.
    ///
    /// Errors: `AuthorizationHeaderMalformed`, `AuthorizationQueryParametersError`, `InvalidArgument` for two mechanisms
    /// at once and for a malformed version 2 header, `AccessDenied` for a missing date.
    pub fn parse(target: &[u8], headers: &HeaderMap) -> Result<Authorization, S3Error> {
        let (_, query) = split_target(target);
        let has = |name: &[u8]| memchr::memmem::find(query, name).is_some();
        let presigned =
            has(b"X-Amz-Algorithm") || has(b"X-Amz-Signature") || has(b"X-Amz-Credential");
        // Only a query with one of these words can belong to a presigned URL; parsing decides.
        let presigned = if presigned {
            Self::from_query(&Query::parse(query)?)?.map(|signed| Self::Presigned(Box::new(signed)))
        } else if has(b"AWSAccessKeyId") && has(b"Signature") {
            sigv2::Signed::from_query(&Query::parse(query)?)?
                .map(|signed| Self::V2(Box::new(signed)))
        } else {
            None
        };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), presigned) {
            (Some(_), Some(_)) => Err(S3Error::invalid_argument(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                 parameter or the Authorization header should be specified",
                "Authorization",
                "",
            )),
            (Some(_), None) if values.next().is_some() => {
                Err(header_malformed("More than one Authorization header."))
            }
            (Some(value), None) => {
                let text = value
                    .to_str()
                    .map_err(|_| header_malformed("The authorization header is not ASCII."))?;
                Self::from_header(text, headers)
            }
            (None, Some(presigned)) => Ok(presigned),
            (None, None) => Ok(Self::Anonymous),
        }
    }

    /// Access key id; `None` for anonymous requests.
    pub fn access_key(&self) -> Option<&str> {
        match self {
            Self::V2(signed) => Some(signed.access_key()),
            _ => self.signed().map(|s| s.credential.access_key.as_str()),
        }
    }

    /// Whether it came in the query.
    pub fn is_presigned(&self) -> bool {
        match self {
            Self::Presigned(_) => true,
            Self::V2(signed) => signed.is_presigned(),
            Self::Anonymous | Self::Header(_) => false,
        }
    }

    /// Scope of a version 4 signature.
    pub fn credential(&self) -> Option<&Credential> {
        self.signed().map(|s| &s.credential)
    }

    /// Session token of a request with these headers.
    pub fn session_token<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a str> {
        match self {
            Self::Anonymous => None,
            Self::Presigned(s) if s.token.is_some() => s.token.as_deref(),
            _ => headers
                .get("x-amz-security-token")
                .and_then(|v| v.to_str().ok()),
        }
    }

    fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Anonymous | Self::V2(_) => None,
            Self::Header(s) | Self::Presigned(s) => Some(s),
        }
    }

    fn from_header(text: &str, headers: &HeaderMap) -> Result<Self, S3Error> {
        let (scheme, fields) = text
            .trim()
            .split_once([' ', '\t'])
            .unwrap_or((text.trim(), ""));
        match scheme {
            "AWS4-HMAC-SHA256" => {}
            "AWS4-ECDSA-P256-SHA256" => {
                return Err(S3Error::with_message(
                    ErrorCode::NotImplemented,
                    "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not implemented.",
                ));
            }
            "AWS" => return Ok(Self::V2(Box::new(sigv2::Signed::from_header(fields)?))),
            _ => {
                return Err(S3Error::invalid_argument(
                    "Unsupported Authorization Type",
                    "Authorization",
                    scheme,
                ));
            }
        }
        if fields.split(',').count() < 3 {
            return Err(header_malformed(format!(
                "{HEADER_MALFORMED}the authorization header requires three components: Credential, SignedHeaders, \
                 and Signature."
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        let mut unknown = false;
        for field in fields.split(',') {
            let Some((name, value)) = field.trim().split_once('=') else {
                return Err(header_malformed(format!(
                    "{HEADER_MALFORMED}the authorization component \"{}\" is malformed.",
                    field.trim()
                )));
            };
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    unknown = true;
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                return Err(header_malformed(
                    "The authorization header is malformed; it names a field twice.",
                ));
            }
        }
        let credential = credential.ok_or_else(|| {
            header_malformed("The authorization header is malformed; missing Credential.")
        })?;
        let signed_headers = signed_headers.ok_or_else(|| {
            header_malformed("The authorization header is malformed; missing SignedHeaders.")
        })?;
        let signature = signature.ok_or_else(|| {
            header_malformed("The authorization header is malformed; missing Signature.")
        })?;
        let signature = encoding::hex32(signature.as_bytes()).ok_or_else(|| {
            header_malformed("The authorization header is malformed; Signature is invalid.")
        })?;
        if unknown {
            return Err(header_malformed(
                "The authorization header is malformed; it has an unknown field.",
            ));
        }
        let credential = Credential::parse(credential)
            .map_err(|why| header_malformed(format!("{HEADER_MALFORMED}{why}")))?;
        check_signed_headers(signed_headers).map_err(header_malformed)?;
        let time = request_time(headers)?;
        if time::amz_date(time)[..8] != credential.date {
            return Err(header_malformed(
                "The authorization header is malformed; the date of the Credential is not that of the request.",
            ));
        }
        let signed_headers = signed_headers.to_owned();
        Ok(Self::Header(Box::new(Signed {
            credential,
            signed_headers,
            signature,
            time,
            expires: 0,
            token: None,
        })))
    }

    fn from_query(query: &Query) -> Result<Option<Signed>, S3Error> {
        const NAMES: [&str; 6] = [
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Signature",
            "X-Amz-Date",
            "X-Amz-SignedHeaders",
            "X-Amz-Expires",
        ];
        let [
            algorithm,
            credential,
            signature,
            date,
            signed_headers,
            expires,
        ] = NAMES.map(|n| query.get(n));
        if algorithm.is_none() && credential.is_none() && signature.is_none() {
            return Ok(None);
        }
        let (
            Some(algorithm),
            Some(credential),
            Some(signature),
            Some(date),
            Some(signed_headers),
            Some(expires),
        ) = (
            algorithm,
            credential,
            signature,
            date,
            signed_headers,
            expires,
        )
        else {
            return Err(query_malformed(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            ));
        };
        if NAMES
            .iter()
            .any(|n| query.iter().filter(|(name, _)| name == n).count() > 1)
        {
            return Err(query_malformed(
                "An authorization query parameter is given twice.",
            ));
        }
        if algorithm != "AWS4-HMAC-SHA256" {
            return Err(query_malformed(
                "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
            ));
        }
        let credential = Credential::parse(credential).map_err(|why| {
            query_malformed(format!(
                "Error parsing the X-Amz-Credential parameter; {why}"
            ))
        })?;
        check_signed_headers(signed_headers).map_err(query_malformed)?;
        let time = time::parse_amz_date(date.as_bytes()).ok_or_else(|| {
            query_malformed(
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
            )
        })?;
        if date.as_bytes()[..8] != credential.date {
            return Err(query_malformed(format!(
                "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\".",
                String::from_utf8_lossy(&credential.date),
                &date[..8]
            )));
        }
        if expires.starts_with('-') {
            return Err(query_malformed("X-Amz-Expires must be non-negative"));
        }
        let digits = !expires.is_empty() && expires.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(query_malformed("X-Amz-Expires should be a number"));
        }
        let expires = expires.parse().unwrap_or(u64::MAX);
        if expires > MAX_EXPIRES {
            return Err(query_malformed(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
                 than 604800 seconds",
            ));
        }
        if expires == 0 {
            return Err(query_malformed("X-Amz-Expires must be at least 1 second"));
        }
        let signature = encoding::hex32(signature.as_bytes())
            .ok_or_else(|| S3Error::new(ErrorCode::SignatureDoesNotMatch))?;
        Ok(Some(Signed {
            credential,
            signed_headers: signed_headers.to_owned(),
            signature,
            time,
            expires,
            token: query.get("X-Amz-Security-Token").map(str::to_owned),
        }))
    }
}

impl Credential {
    /// Parses `access key/date/region/s3/aws4_request`. An access key may itself hold slashes.
    ///
    /// Errors: what S3 says of it.
    pub(crate) fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        const FORM: &str = "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
        let mut fields = text.rsplitn(5, '/');
        let mut next = || fields.next().ok_or(FORM);
        let (terminator, service, region, date, access_key) =
            (next()?, next()?, next()?, next()?, next()?);
        if terminator != "aws4_request" {
            return Err(format!(
                "incorrect terminal \"{terminator}\". This endpoint uses \"aws4_request\"."
            )
            .into());
        }
        if service != "s3" {
            return Err(format!(
                "incorrect service \"{service}\". This endpoint belongs to \"s3\"."
            )
            .into());
        }
        let is_date = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
        let date: [u8; 8] = match date.as_bytes().try_into() {
            Ok(date) if is_date => date,
            _ => {
                return Err(format!(
                    "incorrect date format \"{date}\". This date in the credential must be in the format \"yyyyMMdd\"."
                )
                .into());
            }
        };
        let sizes = access_key.len() <= MAX_FIELD && region.len() <= MAX_FIELD;
        if access_key.is_empty() || region.is_empty() || !sizes {
            return Err(FORM.into());
        }
        Ok(Self {
            access_key: access_key.to_owned(),
            date,
            region: region.to_owned(),
        })
    }
}

/// Signed headers must be lower case, sorted, each once (a second time would let one header stand for two), and hold
/// `host`.
fn check_signed_headers(list: &str) -> Result<(), &'static str> {
    let mut last = "";
    let mut count = 0;
    let mut host = false;
    for name in list.split(';') {
        count += 1;
        if name <= last
            || count > MAX_SIGNED_HEADERS
            || name.bytes().any(|b| b.is_ascii_uppercase())
        {
            return Err("SignedHeaders must be lower case, sorted and without repetition.");
        }
        host |= name == "host";
        last = name;
    }
    if host {
        Ok(())
    } else {
        Err("SignedHeaders must include host.")
    }
}

/// `x-amz-date`, or `Date` where that is missing.
fn request_time(headers: &HeaderMap) -> Result<i64, S3Error> {
    let invalid = || {
        S3Error::with_message(
            ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    };
    if let Some(value) = headers.get("x-amz-date") {
        let text = value.to_str().map_err(|_| invalid())?.trim();
        return time::parse_amz_date(text.as_bytes())
            .or_else(|| time::parse_http_date(text))
            .ok_or_else(invalid);
    }
    let value = headers.get(header::DATE).ok_or_else(invalid)?;
    value
        .to_str()
        .ok()
        .and_then(time::parse_http_date)
        .ok_or_else(invalid)
}
