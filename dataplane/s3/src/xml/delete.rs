//! `Delete` and `DeleteResult`: `DeleteObjects`.

use bytes::Bytes;

use super::{Writer, client_document, store_document, unquote};
use crate::error::{ErrorCode, S3Error};

/// Most keys in one request (S3 API Reference, `DeleteObjects`).
pub const MAX_OBJECTS: usize = 1000;

/// One object to delete.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectToDelete {
    /// Key as the client wrote it: at least one byte; longer than 1,024 is that key's own error.
    pub key: Bytes,
    /// Version.
    pub version_id: Option<String>,
    /// Only if the object has this ETag (without quotes).
    pub etag: Option<String>,
    /// Name of a further condition that S3 has in directory buckets only.
    pub other_condition: Option<&'static str>,
}

/// Body of `DeleteObjects`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeleteRequest {
    /// In the client's order, at most [`MAX_OBJECTS`].
    pub objects: Vec<ObjectToDelete>,
    /// Report failures only.
    pub quiet: bool,
}

impl DeleteRequest {
    /// Reads a client's body; no key or more than 1,000 are `MalformedXML`, as S3 answers.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let malformed = || S3Error::new(ErrorCode::MalformedXML);
        let root = client_document(body, "Delete")?;
        let mut objects = Vec::new();
        for object in root.children("Object") {
            if objects.len() == MAX_OBJECTS {
                return Err(malformed());
            }
            let key = object
                .child_text("Key")
                .filter(|k| !k.is_empty())
                .ok_or_else(malformed)?;
            objects.push(ObjectToDelete {
                key: Bytes::copy_from_slice(key.as_bytes()),
                version_id: object
                    .child_text("VersionId")
                    .filter(|v| !v.is_empty())
                    .map(str::to_owned),
                etag: object
                    .child_text("ETag")
                    .map(|e| unquote(e).to_owned())
                    .filter(|e| !e.is_empty()),
                other_condition: ["LastModifiedTime", "Size"]
                    .into_iter()
                    .find(|name| object.child(name).is_some()),
            });
        }
        if objects.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            objects,
            quiet: root.flag("Quiet"),
        })
    }

    /// The document for a store. Keys must be UTF-8, which [`crate::route::RawKey`] ensures.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("Delete");
        for object in &self.objects {
            w.open("Object");
            w.text("Key", &String::from_utf8_lossy(&object.key));
            if let Some(version) = &object.version_id {
                w.text("VersionId", version);
            }
            if let Some(etag) = &object.etag {
                w.etag("ETag", etag);
            }
            w.close("Object");
        }
        if self.quiet {
            w.boolean("Quiet", true);
        }
        w.close("Delete");
        w.finish()
    }
}

/// One object that was deleted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Deleted {
    /// Key.
    pub key: Bytes,
    /// Version that was asked for.
    pub version_id: Option<String>,
    /// Whether a delete marker was made or deleted.
    pub delete_marker: bool,
    /// The delete marker's version.
    pub delete_marker_version_id: Option<String>,
}

/// One object that was not deleted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeleteFailure {
    /// Key.
    pub key: Bytes,
    /// Version that was asked for.
    pub version_id: Option<String>,
    /// S3 error code.
    pub code: String,
    /// For a human.
    pub message: String,
}

/// Answer of `DeleteObjects`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeleteResult {
    /// What was deleted; left out of the document of a quiet request.
    pub deleted: Vec<Deleted>,
    /// What was not.
    pub errors: Vec<DeleteFailure>,
}

impl DeleteResult {
    /// The document.
    pub fn to_xml(&self, quiet: bool) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("DeleteResult");
        for d in self.deleted.iter().filter(|_| !quiet) {
            w.open("Deleted");
            w.text("Key", &String::from_utf8_lossy(&d.key));
            if let Some(version) = &d.version_id {
                w.text("VersionId", version);
            }
            if d.delete_marker {
                w.boolean("DeleteMarker", true);
            }
            if let Some(version) = &d.delete_marker_version_id {
                w.text("DeleteMarkerVersionId", version);
            }
            w.close("Deleted");
        }
        for e in &self.errors {
            w.open("Error");
            w.text("Key", &String::from_utf8_lossy(&e.key));
            if let Some(version) = &e.version_id {
                w.text("VersionId", version);
            }
            w.text("Code", &e.code);
            w.text("Message", &e.message);
            w.close("Error");
        }
        w.close("DeleteResult");
        w.finish()
    }

    /// Reads a store's answer.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        // RGW answers with the older name of the element.
        let root = store_document(body, "DeleteResult").or_else(|e| {
            match store_document(body, "DeleteObjectsResult") {
                Ok(root) => Ok(root),
                Err(_) => Err(e),
            }
        })?;
        let key = |e: &super::Element<'_>| {
            Bytes::copy_from_slice(e.child_text("Key").unwrap_or("").as_bytes())
        };
        let text = |e: &super::Element<'_>, name| {
            e.child_text(name)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        Ok(Self {
            deleted: root
                .children("Deleted")
                .map(|d| Deleted {
                    key: key(d),
                    version_id: text(d, "VersionId"),
                    delete_marker: d.flag("DeleteMarker"),
                    delete_marker_version_id: text(d, "DeleteMarkerVersionId"),
                })
                .collect(),
            errors: root
                .children("Error")
                .map(|e| DeleteFailure {
                    key: key(e),
                    version_id: text(e, "VersionId"),
                    code: text(e, "Code").unwrap_or_else(|| "InternalError".into()),
                    message: text(e, "Message").unwrap_or_default(),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn documents_round_trip(keys in proptest::collection::vec("(?s:[^\0]{1,20})", 1..5), quiet: bool) {
            let b = |s: &String| Bytes::copy_from_slice(s.as_bytes());
            let request = DeleteRequest {
                objects: keys
                    .iter()
                    .map(|k| ObjectToDelete { key: b(k), version_id: Some("v".into()), etag: Some("e".into()), other_condition: None })
                    .collect(),
                quiet,
            };
            prop_assert_eq!(DeleteRequest::parse(&request.to_xml()).unwrap(), request);
            let result = DeleteResult {
                deleted: keys.iter().map(|k| Deleted { key: b(k), delete_marker: true, ..Deleted::default() }).collect(),
                errors: keys
                    .iter()
                    .map(|k| DeleteFailure {
                        key: b(k), version_id: None, code: "AccessDenied".into(), message: "m".into(),
                    })
                    .collect(),
            };
            prop_assert_eq!(&DeleteResult::parse(&result.to_xml(false)).unwrap(), &result);
            let silent = DeleteResult::parse(&result.to_xml(true)).unwrap();
            prop_assert!(silent.deleted.is_empty() && silent.errors == result.errors);
        }
    }

    #[test]
    fn s3_traps_16_a_thousand_keys_and_no_more() {
        let body = |n: usize| {
            format!(
                "<Delete>{}</Delete>",
                "<Object><Key>k</Key></Object>".repeat(n)
            )
        };
        assert_eq!(
            DeleteRequest::parse(body(1000).as_bytes())
                .unwrap()
                .objects
                .len(),
            1000
        );
        for bad in [
            body(1001),
            body(0),
            "<Delete><Object/></Delete>".into(),
            "<Delete>".into(),
            String::new(),
        ] {
            assert_eq!(
                DeleteRequest::parse(bad.as_bytes()).unwrap_err().code,
                ErrorCode::MalformedXML
            );
        }
    }
}
