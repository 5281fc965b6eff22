//! `ListBucketResult`: answers of `ListObjects` and `ListObjectsV2`.

use bytes::Bytes;

use super::{Element, Writer, listed, store_document, unexpected, unquote, write_listed};
use crate::error::S3Error;
use crate::time;

/// Owner of an object, a bucket or an upload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Owner {
    /// Canonical user id.
    pub id: String,
    /// Name for humans; empty where the store gives none.
    pub display_name: String,
}

impl Owner {
    pub(super) fn write(&self, w: &mut Writer, element: &str) {
        w.open(element);
        w.text("ID", &self.id);
        if !self.display_name.is_empty() {
            w.text("DisplayName", &self.display_name);
        }
        w.close(element);
    }

    pub(super) fn read(parent: &Element<'_>, element: &str) -> Option<Owner> {
        let owner = parent.child(element)?;
        Some(Owner {
            id: owner.child_text("ID").unwrap_or("").to_owned(),
            display_name: owner.child_text("DisplayName").unwrap_or("").to_owned(),
        })
    }
}

/// One object of a listing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contents {
    /// Key bytes.
    pub key: Bytes,
    /// Milliseconds since the epoch.
    pub last_modified: i64,
    /// Without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Owner, when asked for.
    pub owner: Option<Owner>,
    /// Storage class; `None` is `STANDARD`.
    pub storage_class: Option<String>,
}

/// What differs between the two versions of the operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Paging {
    /// `ListObjects`.
    V1 {
        /// The request's marker.
        marker: Bytes,
        /// Last key or prefix of the page; given with a delimiter and a truncated page.
        next_marker: Option<Bytes>,
    },
    /// `ListObjectsV2`.
    V2 {
        /// The request's `start-after`.
        start_after: Option<Bytes>,
        /// The request's token.
        continuation_token: Option<String>,
        /// Token of the next page.
        next_continuation_token: Option<String>,
        /// Objects and common prefixes on this page.
        key_count: u64,
    },
}

/// A page of a bucket's objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListObjectsResult {
    /// Bucket.
    pub name: String,
    /// The request's prefix.
    pub prefix: Bytes,
    /// The request's delimiter; empty for none.
    pub delimiter: Bytes,
    /// The request's limit.
    pub max_keys: u64,
    /// Whether keys are url-encoded on the wire (`encoding-type=url`).
    pub url_encoded: bool,
    /// Whether more follows.
    pub is_truncated: bool,
    /// Paging of either version.
    pub paging: Paging,
    /// Objects in bytewise order.
    pub contents: Vec<Contents>,
    /// Rolled-up prefixes in bytewise order.
    pub common_prefixes: Vec<Bytes>,
}

impl ListObjectsResult {
    /// The document, with elements in S3's order.
    pub fn to_xml(&self) -> Vec<u8> {
        let url = self.url_encoded;
        let mut w = Writer::document();
        w.root("ListBucketResult");
        w.text("Name", &self.name);
        write_listed(&mut w, "Prefix", &self.prefix, url);
        match &self.paging {
            Paging::V1 {
                marker,
                next_marker,
            } => {
                write_listed(&mut w, "Marker", marker, url);
                if let Some(next) = next_marker {
                    write_listed(&mut w, "NextMarker", next, url);
                }
            }
            Paging::V2 {
                start_after,
                continuation_token,
                next_continuation_token,
                key_count,
            } => {
                if let Some(token) = next_continuation_token {
                    w.text("NextContinuationToken", token);
                }
                if let Some(token) = continuation_token {
                    w.text("ContinuationToken", token);
                }
                if let Some(after) = start_after {
                    write_listed(&mut w, "StartAfter", after, url);
                }
                w.number("KeyCount", *key_count);
            }
        }
        w.number("MaxKeys", self.max_keys);
        if !self.delimiter.is_empty() {
            write_listed(&mut w, "Delimiter", &self.delimiter, url);
        }
        if url {
            w.text("EncodingType", "url");
        }
        w.boolean("IsTruncated", self.is_truncated);
        for object in &self.contents {
            object.write(&mut w, url);
        }
        for prefix in &self.common_prefixes {
            write_prefix(&mut w, prefix, url);
        }
        w.close("ListBucketResult");
        w.finish()
    }

    /// Reads a store's document of either version.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, "ListBucketResult")?;
        let url = is_url_encoded(&root);
        let bytes = |name| root.child_text(name).map(|t| listed(t, url));
        let text = |name| root.child_text(name).map(str::to_owned);
        let contents: Vec<_> = root
            .children("Contents")
            .map(|c| Contents::read(c, url))
            .collect::<Result<_, _>>()?;
        let common_prefixes = read_prefixes(&root, url);
        let v1 = root.child("Marker").is_some() && root.child("KeyCount").is_none();
        let paging = if v1 {
            Paging::V1 {
                marker: bytes("Marker").unwrap_or_default(),
                next_marker: bytes("NextMarker"),
            }
        } else {
            Paging::V2 {
                start_after: bytes("StartAfter").filter(|s| !s.is_empty()),
                continuation_token: text("ContinuationToken").filter(|t| !t.is_empty()),
                next_continuation_token: text("NextContinuationToken").filter(|t| !t.is_empty()),
                key_count: root
                    .number("KeyCount")
                    .unwrap_or((contents.len() + common_prefixes.len()) as u64),
            }
        };
        Ok(Self {
            name: text("Name").unwrap_or_default(),
            prefix: bytes("Prefix").unwrap_or_default(),
            delimiter: bytes("Delimiter").unwrap_or_default(),
            max_keys: root.number("MaxKeys").unwrap_or(0),
            url_encoded: url,
            is_truncated: root.flag("IsTruncated"),
            paging,
            contents,
            common_prefixes,
        })
    }

    /// Token of the next page, of a `ListObjectsV2`.
    pub fn next_continuation_token(&self) -> Option<&str> {
        match &self.paging {
            Paging::V2 {
                next_continuation_token,
                ..
            } => next_continuation_token.as_deref(),
            Paging::V1 { .. } => None,
        }
    }
}

impl Contents {
    fn write(&self, w: &mut Writer, url: bool) {
        w.open("Contents");
        write_listed(w, "Key", &self.key, url);
        w.text("LastModified", &time::iso8601(self.last_modified));
        w.etag("ETag", &self.etag);
        w.number("Size", self.size);
        if let Some(owner) = &self.owner {
            owner.write(w, "Owner");
        }
        w.text(
            "StorageClass",
            self.storage_class.as_deref().unwrap_or("STANDARD"),
        );
        w.close("Contents");
    }

    fn read(e: &Element<'_>, url: bool) -> Result<Self, S3Error> {
        Ok(Self {
            key: e
                .child_text("Key")
                .map(|k| listed(k, url))
                .ok_or_else(|| unexpected("an object without Key"))?,
            last_modified: e
                .child_text("LastModified")
                .and_then(time::parse_iso8601)
                .unwrap_or(0),
            etag: unquote(e.child_text("ETag").unwrap_or("")).to_owned(),
            size: e
                .number("Size")
                .ok_or_else(|| unexpected("an object without Size"))?,
            owner: Owner::read(e, "Owner"),
            storage_class: e
                .child_text("StorageClass")
                // Most objects have the default: no copy of its name for each.
                .filter(|s| !matches!(*s, "" | "STANDARD"))
                .map(str::to_owned),
        })
    }
}

pub(super) fn is_url_encoded(root: &Element<'_>) -> bool {
    root.child_text("EncodingType")
        .is_some_and(|t| t.trim().eq_ignore_ascii_case("url"))
}

pub(super) fn write_prefix(w: &mut Writer, prefix: &[u8], url: bool) {
    w.open("CommonPrefixes");
    write_listed(w, "Prefix", prefix, url);
    w.close("CommonPrefixes");
}

pub(super) fn read_prefixes(root: &Element<'_>, url: bool) -> Vec<Bytes> {
    // One element per prefix as S3 writes it, or several prefixes in one element.
    root.children("CommonPrefixes")
        .flat_map(|c| c.children("Prefix"))
        .map(|p| listed(p.text(), url))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(url: bool, keys: Vec<String>, v1: bool) -> ListObjectsResult {
        let b = |s: &String| Bytes::copy_from_slice(s.as_bytes());
        let first = keys.first().map(b).unwrap_or_default();
        let contents: Vec<_> = keys
            .iter()
            .map(|k| Contents {
                key: b(k),
                last_modified: 1_255_369_830_123,
                etag: "abc-0".into(),
                size: u64::MAX,
                owner: Some(Owner {
                    id: k.clone(),
                    display_name: String::new(),
                }),
                storage_class: Some("GLACIER".into()),
            })
            .collect();
        let paging = if v1 {
            Paging::V1 {
                marker: first.clone(),
                next_marker: Some(first.clone()),
            }
        } else {
            Paging::V2 {
                start_after: Some(first.clone()).filter(|f| !f.is_empty()),
                continuation_token: Some("t<1".into()),
                next_continuation_token: Some("t&2".into()),
                key_count: keys.len() as u64,
            }
        };
        ListObjectsResult {
            name: "b".into(),
            prefix: first.clone(),
            delimiter: first,
            max_keys: 1000,
            url_encoded: url,
            is_truncated: true,
            paging,
            common_prefixes: contents.iter().map(|c| c.key.clone()).collect(),
            contents,
        }
    }

    proptest! {
        #[test]
        fn listings_round_trip(url: bool, v1: bool, keys in proptest::collection::vec("(?s:[^\0]{1,20})", 0..5)) {
            let p = page(url, keys, v1);
            prop_assert_eq!(ListObjectsResult::parse(&p.to_xml()).unwrap(), p);
        }
    }

    #[test]
    fn the_document_is_s3s() {
        let mut p = page(true, vec!["a b".into()], false);
        p.contents[0].owner = None;
        p.contents[0].size = 3;
        assert_eq!(
            String::from_utf8(p.to_xml()).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>b</Name><Prefix>a%20b</Prefix><NextContinuationToken>t&amp;2</NextContinuationToken>\
             <ContinuationToken>t&lt;1</ContinuationToken><StartAfter>a%20b</StartAfter><KeyCount>1</KeyCount>\
             <MaxKeys>1000</MaxKeys><Delimiter>a%20b</Delimiter><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <Contents><Key>a%20b</Key><LastModified>2009-10-12T17:50:30.123Z</LastModified><ETag>&quot;abc-0&quot;</ETag>\
             <Size>3</Size><StorageClass>GLACIER</StorageClass></Contents>\
             <CommonPrefixes><Prefix>a%20b</Prefix></CommonPrefixes></ListBucketResult>"
        );
    }

    #[test]
    fn an_error_in_place_of_a_listing_is_that_error() {
        let e = ListObjectsResult::parse(b"<Error><Code>NoSuchBucket</Code></Error>").unwrap_err();
        assert_eq!(e.code, crate::error::ErrorCode::NoSuchBucket);
        assert!(ListObjectsResult::parse(b"<html/>").is_err());
        assert!(
            ListObjectsResult::parse(
                b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>"
            )
            .is_err()
        );
    }
}
