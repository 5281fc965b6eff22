//! Query parameters.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::encoding;
use crate::error::{ErrorCode, S3Error};

/// Most parameters of one request: S3 itself knows no operation with more than about twenty, and presigned metadata
/// adds some.
const MAX_PARAMETERS: usize = 128;

/// Decoded parameters in the order of the request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Prefix of parameters that S3 does not interpret, or takes for headers in presigned URLs.
pub(super) fn is_extension(name: &str) -> bool {
    name.as_bytes()
        .get(..2)
        .is_some_and(|p| p.eq_ignore_ascii_case(b"x-"))
}

impl Query {
    /// Parses the part of a target after `?`. Broken escapes and text that is not UTF-8 are `InvalidURI`.
    pub fn parse(raw: &[u8]) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for pair in raw.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(S3Error::with_message(
                    ErrorCode::InvalidURI,
                    "Too many query parameters.",
                ));
            }
            let (name, value) = match pair.iter().position(|b| *b == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[..0]),
            };
            pairs.push((text(name)?, text(value)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of this name; "" for a name without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Whether the name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A number; `InvalidArgument` when the value is none.
    pub fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, S3Error> {
        let Some(value) = self.get(name).filter(|v| !v.is_empty()) else {
            return Ok(None);
        };
        // `FromStr` would take a sign.
        let digits = value.bytes().all(|b| b.is_ascii_digit());
        match value.parse() {
            Ok(n) if digits => Ok(Some(n)),
            _ => Err(S3Error::invalid_argument(
                format!("Provided {name} not an integer or within integer range"),
                name,
                value,
            )),
        }
    }

    /// Whether `encoding-type=url` was asked for; any other type is `InvalidArgument`.
    pub fn url_encoded(&self) -> Result<bool, S3Error> {
        match self.get("encoding-type") {
            None | Some("") => Ok(false),
            Some(v) if v.eq_ignore_ascii_case("url") => Ok(true),
            Some(v) => Err(S3Error::invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                v,
            )),
        }
    }

    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// All parameters but those of the signature, and those that [`Self::hoisted_headers`] makes headers of: what another
    /// signer may sign.
    pub fn unsigned(&self) -> impl Iterator<Item = (&str, &str)> {
        const OF_V2: [&str; 3] = ["AWSAccessKeyId", "Expires", "Signature"];
        self.iter().filter(|(name, _)| {
            let amz = name
                .get(..6)
                .is_some_and(|p| p.eq_ignore_ascii_case("x-amz-"));
            !amz && !OF_V2.contains(name)
        })
    }

    /// Adds the headers that a presigned URL carries as parameters (`x-amz-acl`, `x-amz-meta-*`, `x-amz-checksum-*`, …):
    /// S3 takes them like the headers of that name. A header that the request also has wins.
    pub fn hoisted_headers(&self, headers: &mut HeaderMap) {
        const OF_THE_SIGNATURE: [&str; 8] = [
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-expires",
            "x-amz-security-token",
            "x-amz-signedheaders",
            "x-amz-signature",
            "x-amz-content-sha256",
        ];
        for (name, value) in &self.pairs {
            if !name
                .get(..6)
                .is_some_and(|p| p.eq_ignore_ascii_case("x-amz-"))
            {
                continue;
            }
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else {
                continue;
            };
            if !OF_THE_SIGNATURE.contains(&header.as_str()) {
                headers.entry(header).or_insert(value);
            }
        }
    }
}

fn text(raw: &[u8]) -> Result<String, S3Error> {
    let invalid = || S3Error::new(ErrorCode::InvalidURI);
    let decoded = encoding::decode(raw, true).map_err(|_| invalid())?;
    String::from_utf8(decoded.into_owned()).map_err(|_| invalid())
}
