//! Tags as clients send them, and as a store that keeps its own gives them.

use super::{Tagging, Writer, client_document};
use crate::encoding;
use crate::error::{ErrorCode, S3Error};

/// Most tags of an object (User Guide, "Categorizing your objects using tags").
pub const MAX_OBJECT_TAGS: usize = 10;
/// Most tags of a bucket.
pub const MAX_BUCKET_TAGS: usize = 50;
/// Longest key, characters.
const MAX_KEY: usize = 128;
/// Longest value, characters.
const MAX_VALUE: usize = 256;

impl Tagging {
    /// Reads a client's document of at most `most` tags.
    ///
    /// # Errors
    /// `MalformedXML`, `InvalidTag`, `BadRequest` for too many.
    pub fn of_client(body: &[u8], most: usize) -> Result<Self, S3Error> {
        let malformed = || S3Error::new(ErrorCode::MalformedXML);
        let root = client_document(body, "Tagging")?;
        let set = root.child("TagSet").ok_or_else(malformed)?;
        let tags = set.children("Tag").map(|tag| {
            let text = |name| tag.child_text(name).map(str::to_owned);
            text("Key").zip(text("Value")).ok_or_else(malformed)
        });
        Self(tags.collect::<Result<_, _>>()?).checked(most)
    }

    /// Reads the value of `x-amz-tagging`.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidTag`, `BadRequest` for too many.
    pub fn of_header(value: &str) -> Result<Self, S3Error> {
        let invalid = || {
            S3Error::invalid_argument(
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
                "x-amz-tagging",
                value,
            )
        };
        let text = |raw: &str| {
            let decoded = encoding::decode(raw.as_bytes(), true).map_err(|_| invalid())?;
            String::from_utf8(decoded.into_owned()).map_err(|_| invalid())
        };
        let pairs = value.split('&').filter(|pair| !pair.is_empty());
        let tags = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(name)?, text(value)?))
        });
        Self(tags.collect::<Result<_, S3Error>>()?).checked(MAX_OBJECT_TAGS)
    }

    fn checked(self, most: usize) -> Result<Self, S3Error> {
        if self.0.len() > most {
            return Err(S3Error::with_message(
                ErrorCode::BadRequest,
                format!("Tags cannot be more than {most}."),
            ));
        }
        let invalid = |message: &'static str| S3Error::with_message(ErrorCode::InvalidTag, message);
        for (i, (key, value)) in self.0.iter().enumerate() {
            if key.is_empty() || key.chars().count() > MAX_KEY {
                return Err(
                    invalid("The TagKey you have provided is invalid").detail("TagKey", key)
                );
            }
            if value.chars().count() > MAX_VALUE {
                return Err(
                    invalid("The TagValue you have provided is invalid").detail("TagKey", key)
                );
            }
            if self.0[..i].iter().any(|(other, _)| other == key) {
                return Err(
                    invalid("Cannot provide multiple Tags with the same key").detail("TagKey", key)
                );
            }
        }
        Ok(self)
    }

    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("Tagging");
        w.open("TagSet");
        for (key, value) in &self.0 {
            w.open("Tag");
            w.text("Key", key);
            w.text("Value", value);
            w.close("Tag");
        }
        w.close("TagSet");
        w.close("Tagging");
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tagging {
        Tagging(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn tags_survive_both_forms() {
        let some = tags(&[("a b", "1&2"), ("ü/x", ""), ("<k>", "=+")]);
        let header = some.to_header().unwrap();
        assert_eq!(Tagging::of_header(&header).unwrap(), some);
        assert_eq!(Tagging::of_client(&some.to_xml(), 10).unwrap(), some);
        assert_eq!(Tagging::parse(&some.to_xml()).unwrap(), some);
        assert_eq!(
            Tagging::of_header("a=+b&c").unwrap(),
            tags(&[("a", " b"), ("c", "")])
        );
    }

    #[test]
    fn what_is_no_set_of_tags_is_refused() {
        let code = |r: Result<Tagging, S3Error>| r.unwrap_err().code;
        let long = format!("{}=x", "k".repeat(129));
        assert_eq!(code(Tagging::of_header(&long)), ErrorCode::InvalidTag);
        assert_eq!(code(Tagging::of_header("a=1&a=2")), ErrorCode::InvalidTag);
        assert_eq!(code(Tagging::of_header("=1")), ErrorCode::InvalidTag);
        assert_eq!(
            code(Tagging::of_header("a=%zz")),
            ErrorCode::InvalidArgument
        );
        let eleven: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
        assert_eq!(
            code(Tagging::of_header(&eleven.join("&"))),
            ErrorCode::BadRequest
        );
        for body in [
            &b"<Tagging/>"[..],
            b"<x/>",
            b"",
            b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        ] {
            assert_eq!(code(Tagging::of_client(body, 10)), ErrorCode::MalformedXML);
        }
    }
}
