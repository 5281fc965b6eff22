//! PostObject: what the fields of a form say (S3 API Reference, "Browser-Based Uploads Using POST").

mod policy;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

pub use policy::Policy;

use crate::encoding;
use crate::error::{ErrorCode, S3Error};
use crate::sigv2;
use crate::sigv4::{Credential, SecretKey, SigningKeyCache};
use crate::time;
use crate::xml::{Element, Limits, Writer};

/// Fields that carry the policy and its signature: never subject to the policy itself.
const UNCOVERED: [&str; 5] = [
    "x-amz-signature",
    "signature",
    "awsaccesskeyid",
    "file",
    "policy",
];
/// Fields that stand for headers of a PutObject, besides `x-amz-*`.
const HEADERS: [&str; 7] = [
    "cache-control",
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "expires",
];
/// Fields of the signature, which end here.
const OF_THE_SIGNATURE: [&str; 5] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
    "x-amz-security-token",
];
/// Most tags of an object.
const MAX_TAGS: usize = 10;

/// The fields before a form's file.
pub struct Form {
    /// Names in lower case, values with the file's name put in.
    fields: Vec<(String, String)>,
}

fn missing(field: &'static str) -> S3Error {
    S3Error::invalid_argument(
        format!(
            "Bucket POST must contain a field named '{field}'.  If it is specified, please check the order of the fields."
        ),
        field,
        "",
    )
}

impl Form {
    /// Takes a form's fields, in which `${filename}` stands for the last component of the file's name.
    ///
    /// Errors: `InvalidArgument` for a field that is given twice: which of the two counts would be anybody's guess.
    pub fn new(fields: Vec<(String, String)>, filename: &str) -> Result<Self, S3Error> {
        let filename = filename.rsplit(['/', '\\']).next().unwrap_or("");
        let mut known: Vec<(String, String)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let name = name.to_ascii_lowercase();
            if known.iter().any(|(other, _)| *other == name) {
                return Err(S3Error::invalid_argument(
                    "The form has this field more than once.",
                    &name,
                    "",
                ));
            }
            let value = match UNCOVERED.contains(&name.as_str()) {
                true => value,
                false => value.replace("${filename}", filename),
            };
            known.push((name, value));
        }
        Ok(Self { fields: known })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The key that is written.
    pub fn key(&self) -> Result<&str, S3Error> {
        self.get("key")
            .filter(|key| !key.is_empty())
            .ok_or_else(|| missing("key"))
    }

    /// The access key that signed the policy; `None` for a form without a policy.
    ///
    /// Errors: `InvalidArgument` for a policy without all the fields of its signature.
    pub fn access_key(&self) -> Result<Option<String>, S3Error> {
        if self.get("policy").is_none() {
            return Ok(None);
        }
        if self.is_v2() {
            return Ok(self.get("awsaccesskeyid").map(str::to_owned));
        }
        Ok(Some(self.credential()?.access_key))
    }

    /// Whether the policy is signed by version 2.
    pub fn is_v2(&self) -> bool {
        self.get("awsaccesskeyid").is_some() && self.get("x-amz-algorithm").is_none()
    }

    /// Whether the form holds a session token.
    pub fn has_session_token(&self) -> bool {
        self.get("x-amz-security-token").is_some()
    }

    fn credential(&self) -> Result<Credential, S3Error> {
        let algorithm = self
            .get("x-amz-algorithm")
            .ok_or_else(|| missing("X-Amz-Algorithm"))?;
        if algorithm != "AWS4-HMAC-SHA256" {
            return Err(S3Error::invalid_argument(
                "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
                "X-Amz-Algorithm",
                algorithm,
            ));
        }
        let credential = self
            .get("x-amz-credential")
            .ok_or_else(|| missing("X-Amz-Credential"))?;
        let parsed = Credential::parse(credential)
            .map_err(|why| S3Error::invalid_argument(why, "X-Amz-Credential", credential))?;
        let date = self
            .get("x-amz-date")
            .ok_or_else(|| missing("X-Amz-Date"))?;
        if time::parse_amz_date(date.as_bytes()).is_none() || date.as_bytes()[..8] != parsed.date {
            return Err(S3Error::invalid_argument(
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\", on the credential's day",
                "X-Amz-Date",
                date,
            ));
        }
        Ok(parsed)
    }

    /// Verifies the policy's signature.
    ///
    /// Errors: `InvalidArgument` for a missing field, `SignatureDoesNotMatch`.
    pub fn verify(&self, secret: &SecretKey, cache: &mut SigningKeyCache) -> Result<(), S3Error> {
        let policy = self.get("policy").ok_or_else(|| missing("policy"))?;
        let holds: bool = if self.is_v2() {
            let given = self.get("signature").ok_or_else(|| missing("signature"))?;
            let right = sigv2::sign(secret, policy.as_bytes());
            sigv2::parse_signature(given).is_some_and(|s| right.ct_eq(&s).into())
        } else {
            let credential = self.credential()?;
            let given = self
                .get("x-amz-signature")
                .ok_or_else(|| missing("X-Amz-Signature"))?;
            let key = cache.get(secret, credential.date, credential.region.as_bytes());
            let right = key.sign(policy.as_bytes());
            encoding::hex32(given.as_bytes()).is_some_and(|s| right.ct_eq(&s).into())
        };
        if holds {
            return Ok(());
        }
        let key = self.access_key()?.unwrap_or_default();
        Err(S3Error::new(ErrorCode::SignatureDoesNotMatch)
            .detail("AWSAccessKeyId", key)
            .detail("StringToSign", policy))
    }

    /// Checks the fields against the form's policy, at `now` (seconds since the epoch): which lengths the file may have.
    /// A form without a policy may have any.
    ///
    /// Errors: `InvalidPolicyDocument`; `AccessDenied` for what the policy does not allow.
    pub fn check_policy(&self, bucket: &str, now: i64) -> Result<(u64, u64), S3Error> {
        if self.get("bucket").is_some_and(|b| b != bucket) {
            return Err(S3Error::invalid_argument(
                "The bucket field is not the bucket that the form was sent to.",
                "bucket",
                self.get("bucket").unwrap_or(""),
            ));
        }
        let Some(encoded) = self.get("policy") else {
            return Ok((0, u64::MAX));
        };
        let policy = Policy::parse(encoded)?;
        let mut fields: Vec<(&str, &str)> = self
            .fields
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .filter(|(n, _)| {
                !UNCOVERED.contains(n) && !n.starts_with("x-ignore-") && *n != "bucket"
            })
            .collect();
        fields.push(("bucket", bucket));
        policy.check(&fields, now)
    }

    /// The headers that a PutObject of the same object would have.
    pub fn headers(&self) -> Result<HeaderMap, S3Error> {
        let mut headers = HeaderMap::with_capacity(8);
        for (name, value) in &self.fields {
            let header = match name.as_str() {
                "acl" => "x-amz-acl",
                "tagging" => {
                    let query = tags(value)?;
                    insert(&mut headers, "x-amz-tagging", &query)?;
                    continue;
                }
                n if OF_THE_SIGNATURE.contains(&n) => continue,
                n if HEADERS.contains(&n) || n.starts_with("x-amz-") => n,
                // Of the page's own, such as a submit button: S3 has no use for it either.
                _ => continue,
            };
            insert(&mut headers, header, value)?;
        }
        Ok(headers)
    }

    /// Where a browser is sent after success: an absolute HTTP address, to which bucket, key and ETag are added.
    pub fn redirect(&self) -> Option<&str> {
        let to = self
            .get("success_action_redirect")
            .or_else(|| self.get("redirect"))?;
        let fine = (to.starts_with("http://") || to.starts_with("https://"))
            && to.len() > 8
            && to.bytes().all(|b| b.is_ascii_graphic());
        fine.then_some(to)
    }

    /// The status that was asked for in place of 204: 200 or 201.
    pub fn status(&self) -> u16 {
        match self.get("success_action_status") {
            Some("200") => 200,
            Some("201") => 201,
            _ => 204,
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), S3Error> {
    let refused =
        || S3Error::invalid_argument("The field's value cannot stand in a header.", name, value);
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused())?;
    headers.append(header, value);
    Ok(())
}

/// A `Tagging` document as the header `x-amz-tagging` has it.
fn tags(document: &str) -> Result<String, S3Error> {
    let malformed = || S3Error::new(ErrorCode::MalformedXML);
    let root = Element::parse(document.as_bytes(), &Limits::SMALL).map_err(|_| malformed())?;
    if root.name() != "Tagging" {
        return Err(malformed());
    }
    let mut out = Vec::new();
    let tags: Vec<_> = root
        .children("TagSet")
        .flat_map(|set| set.children("Tag"))
        .collect();
    if tags.len() > MAX_TAGS {
        return Err(S3Error::with_message(
            ErrorCode::BadRequest,
            "Object tags cannot be greater than 10",
        ));
    }
    for tag in tags {
        let key = tag.child_text("Key").ok_or_else(malformed)?;
        let value = tag.child_text("Value").ok_or_else(malformed)?;
        if !out.is_empty() {
            out.push(b'&');
        }
        encoding::encode_query(key.as_bytes(), &mut out);
        out.push(b'=');
        encoding::encode_query(value.as_bytes(), &mut out);
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Where a browser goes: `to` with what was stored.
pub fn redirect_location(to: &str, bucket: &str, key: &str, etag: &str) -> String {
    let mut out = to.as_bytes().to_vec();
    for (i, (name, value)) in [("bucket", bucket), ("key", key), ("etag", etag)]
        .into_iter()
        .enumerate()
    {
        out.push(if i == 0 && !to.contains('?') {
            b'?'
        } else {
            b'&'
        });
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        encoding::encode_query(value.as_bytes(), &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The document of a 201.
pub fn response(location: &str, bucket: &str, key: &str, etag: &str) -> Vec<u8> {
    let mut w = Writer::document();
    w.open("PostResponse");
    w.text("Location", location);
    w.text("Bucket", bucket);
    w.text("Key", key);
    w.text("ETag", etag);
    w.close("PostResponse");
    w.finish()
}

#[cfg(test)]
mod tests;
