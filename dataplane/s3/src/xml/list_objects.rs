//! `ListBucketResult`: answers of `ListObjects` and `ListObjectsV2`.

use std::borrow::Cow;

use bytes::Bytes;

use super::pull::usual::{number, plain, quoted};
use super::pull::{Leaf, Pull};
use super::shared::Source;
use super::{
    Element, Fault, Text, Writer, listed, store_reader, write_listed, write_listed_content,
};
use crate::error::S3Error;

/// Owner of an object, a bucket or an upload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Owner {
    /// Canonical user id.
    pub id: Text,
    /// Name for humans; empty where the store gives none.
    pub display_name: Text,
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
            id: owner.child_text("ID").unwrap_or("").into(),
            display_name: owner.child_text("DisplayName").unwrap_or("").into(),
        })
    }

    /// Reads the element that has just begun.
    pub(super) fn pull(reader: &mut Pull<'_>, source: &mut Source<'_>) -> Result<Owner, Fault> {
        let (mut id, mut display_name) = (None, None);
        while let Some(name) = reader.child()? {
            match name {
                "ID" if id.is_none() => id = Some(source.text(reader.leaf()?)),
                "DisplayName" if display_name.is_none() => {
                    display_name = Some(source.text(reader.leaf()?));
                }
                _ => reader.skip()?,
            }
        }
        Ok(Owner {
            id: id.unwrap_or_default(),
            display_name: display_name.unwrap_or_default(),
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
    pub etag: Text,
    /// Bytes.
    pub size: u64,
    /// Owner, when asked for.
    pub owner: Option<Owner>,
    /// Storage class; `None` is `STANDARD`.
    pub storage_class: Option<Text>,
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
        self.to_xml_with(|object| [object.etag.as_bytes(), b"", b"", b""])
    }

    /// The document with ETags that are made of these pieces.
    pub fn to_xml_with<'s>(&'s self, etag: impl Fn(&'s Contents) -> [&'s [u8]; 4]) -> Vec<u8> {
        let url = self.url_encoded;
        let mut w = Writer::document_of(self.room());
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
            object.write(&mut w, url, etag(object));
        }
        for prefix in &self.common_prefixes {
            write_prefix(&mut w, prefix, url);
        }
        w.close("ListBucketResult");
        w.finish()
    }

    /// Bytes that the document takes, unless much of it has to be escaped.
    fn room(&self) -> usize {
        let entry = |key: &Bytes, elements: usize| elements + key.len();
        let objects = self.contents.iter().map(|object| {
            let owner = object.owner.as_ref();
            let owner = owner.map_or(0, |o| {
                64 + o.id.as_bytes().len() + o.display_name.as_bytes().len()
            });
            entry(&object.key, 208 + object.etag.as_bytes().len()) + owner
        });
        let prefixes = self.common_prefixes.iter().map(|prefix| entry(prefix, 56));
        1024 + objects.sum::<usize>() + prefixes.sum::<usize>()
    }

    /// Reads a store's document of either version.
    pub fn parse(body: &Bytes) -> Result<Self, S3Error> {
        const ROOT: &str = "ListBucketResult";
        let reader = store_reader(body, ROOT)?;
        Self::pull(reader, &mut Source::new(body)).map_err(|fault| fault.of(ROOT))
    }

    /// Bytes of an entry with a short key.
    const ENTRY: usize = 200;

    fn pull(mut reader: Pull<'_>, source: &mut Source<'_>) -> Result<Self, Fault> {
        let mut head = Head::default();
        let mut contents: Vec<Contents> = Vec::with_capacity(source.entries(Self::ENTRY));
        let mut common_prefixes = Vec::new();
        loop {
            let name = match reader.usual_start("<Contents>")? {
                true => Some("Contents"),
                false => reader.child()?,
            };
            let Some(name) = name else { break };
            match name {
                "Contents" => contents.push(Contents::pull(&mut reader, source)?),
                "CommonPrefixes" => pull_prefixes(&mut reader, source, &mut common_prefixes)?,
                name => head.pull(name, &mut reader)?,
            }
        }
        reader.finish()?;
        let url = head.is_url_encoded();
        if url {
            let keys = contents.iter_mut().map(|object| &mut object.key);
            keys.chain(&mut common_prefixes)
                .for_each(|key| source.decode(key));
        }
        let bytes = |name| head.text(name).map(|t| listed(t, url));
        let text = |name| head.text(name).filter(|t| !t.is_empty()).map(str::to_owned);
        let v1 = head.text("Marker").is_some() && head.text("KeyCount").is_none();
        let paging = if v1 {
            Paging::V1 {
                marker: bytes("Marker").unwrap_or_default(),
                next_marker: bytes("NextMarker"),
            }
        } else {
            Paging::V2 {
                start_after: bytes("StartAfter").filter(|s| !s.is_empty()),
                continuation_token: text("ContinuationToken"),
                next_continuation_token: text("NextContinuationToken"),
                key_count: head
                    .number("KeyCount")
                    .unwrap_or((contents.len() + common_prefixes.len()) as u64),
            }
        };
        Ok(Self {
            name: text("Name").unwrap_or_default(),
            prefix: bytes("Prefix").unwrap_or_default(),
            delimiter: bytes("Delimiter").unwrap_or_default(),
            max_keys: head.number("MaxKeys").unwrap_or(0),
            url_encoded: url,
            is_truncated: head.flag("IsTruncated"),
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
    fn write(&self, w: &mut Writer, url: bool, etag: [&[u8]; 4]) {
        // A thousand times in a page: as few pieces as there can be.
        w.markup("<Contents><Key>");
        write_listed_content(w, &self.key, url);
        w.markup("</Key><LastModified>");
        w.time_content(self.last_modified);
        w.markup("</LastModified><ETag>&quot;");
        for piece in etag.into_iter().filter(|piece| !piece.is_empty()) {
            w.bytes_content(piece);
        }
        w.markup("&quot;</ETag><Size>");
        w.number_content(self.size);
        w.markup("</Size>");
        if let Some(owner) = &self.owner {
            owner.write(w, "Owner");
        }
        match &self.storage_class {
            None => w.markup("<StorageClass>STANDARD</StorageClass></Contents>"),
            Some(class) => {
                w.text("StorageClass", class);
                w.markup("</Contents>");
            }
        }
    }

    /// Reads the element that has just begun; its key is as it stands there. The first of several of a name counts.
    fn pull(reader: &mut Pull<'_>, source: &mut Source<'_>) -> Result<Self, Fault> {
        const MODIFIED: (&str, &str) = ("<LastModified>", "</LastModified>");
        // In the order in which most stores write what follows; what of it is not read here is below.
        let key = reader.usual(("<Key>", "</Key>"), plain);
        let mut key = key.map(|key| source.share(key));
        let mut modified = reader.usual(MODIFIED, |text| source.usual_time(text));
        let etag = reader.usual(("<ETag>", "</ETag>"), quoted);
        let mut etag = etag.map(|etag| source.usual_etag(etag));
        let mut size = reader.usual(("<Size>", "</Size>"), number).map(Some);
        let class = ("<StorageClass>", "</StorageClass>");
        let mut class = reader.usual(class, |text| {
            text.starts_with(b"STANDARD")
                .then_some((None, "STANDARD".len()))
        });
        if modified.is_none() {
            modified = reader.usual(MODIFIED, |text| source.usual_time(text));
        }
        let (mut modified, mut owner) = (modified.map(Some), None);
        while !reader.usual_end("</Contents>")
            && let Some((name, leaf)) = reader.field()?
        {
            match name {
                "Key" if key.is_none() => key = Some(source.bytes(reader.text(leaf)?)),
                "LastModified" if modified.is_none() => {
                    modified = Some(source.time(reader.text(leaf)?));
                }
                "ETag" if etag.is_none() => etag = Some(source.etag(reader.text(leaf)?)),
                "Size" if size.is_none() => size = Some(source.number(reader.text(leaf)?)),
                "StorageClass" if class.is_none() => {
                    class = Some(match reader.text(leaf)? {
                        // Most objects have the default.
                        Leaf::Plain("STANDARD") => None,
                        leaf => source.class(leaf),
                    });
                }
                "Owner" if owner.is_none() && leaf.is_none() => {
                    owner = Some(Owner::pull(reader, source)?);
                }
                "Owner" if owner.is_none() => owner = Some(Owner::default()),
                _ if leaf.is_none() => reader.skip()?,
                _ => {}
            }
        }
        Ok(Self {
            key: key.ok_or(Fault::Without("an object without Key"))?,
            last_modified: modified.flatten().unwrap_or(0),
            etag: etag.unwrap_or_default(),
            size: size
                .flatten()
                .ok_or(Fault::Without("an object without Size"))?,
            owner,
            storage_class: class.flatten().filter(|s| *s != "STANDARD"),
        })
    }
}

/// The elements of a page that are about all of it.
#[derive(Default)]
pub(super) struct Head<'d>(Vec<(&'static str, Cow<'d, str>)>);

impl<'d> Head<'d> {
    /// Those of objects and of versions; all others are passed over.
    const NAMES: [&'static str; 16] = [
        "Name",
        "Prefix",
        "Delimiter",
        "MaxKeys",
        "EncodingType",
        "IsTruncated",
        "Marker",
        "NextMarker",
        "KeyCount",
        "StartAfter",
        "ContinuationToken",
        "NextContinuationToken",
        "KeyMarker",
        "VersionIdMarker",
        "NextKeyMarker",
        "NextVersionIdMarker",
    ];

    /// Reads the element that has just begun; the first of several of a name counts.
    pub(super) fn pull(&mut self, name: &str, reader: &mut Pull<'d>) -> Result<(), Fault> {
        match Self::NAMES.into_iter().find(|n| *n == name) {
            Some(name) if self.text(name).is_none() => {
                self.0.push((name, reader.leaf()?.into_text()));
                Ok(())
            }
            _ => Ok(reader.skip()?),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let of_name = self.0.iter().find(|(n, _)| *n == name);
        of_name.map(|(_, text)| &**text)
    }

    pub(super) fn is_url_encoded(&self) -> bool {
        self.text("EncodingType")
            .is_some_and(|t| t.trim().eq_ignore_ascii_case("url"))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|t| t.trim().eq_ignore_ascii_case("true"))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
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

/// Reads the element that has just begun. There is one per prefix as S3 writes it, or several prefixes in one.
pub(super) fn pull_prefixes(
    reader: &mut Pull<'_>,
    source: &mut Source<'_>,
    prefixes: &mut Vec<Bytes>,
) -> Result<(), Fault> {
    while let Some(name) = reader.child()? {
        match name {
            "Prefix" => prefixes.push(source.bytes(reader.leaf()?)),
            _ => reader.skip()?,
        }
    }
    Ok(())
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
                    id: k.as_str().into(),
                    display_name: Text::default(),
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
            prop_assert_eq!(ListObjectsResult::parse(&p.to_xml().into()).unwrap(), p);
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
        let parse = |text: &'static str| ListObjectsResult::parse(&Bytes::from(text));
        let e = parse("<Error><Code>NoSuchBucket</Code></Error>").unwrap_err();
        assert_eq!(e.code, crate::error::ErrorCode::NoSuchBucket);
        for bad in [
            "<html/>",
            "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_is_read_and_written_without_an_allocation_per_object() {
        let keys = (0..1000).map(|n| format!("a/folder/{n:06}")).collect();
        let document = Bytes::from(page(true, keys, false).to_xml());
        let page = ListObjectsResult::parse(&document).unwrap();
        let within = document.as_ptr_range();
        for object in &page.contents {
            let owner = object.owner.as_ref().unwrap();
            for shared in [&object.key[..], object.etag.as_bytes(), owner.id.as_bytes()] {
                assert!(within.contains(&shared.as_ptr()), "{object:?}");
            }
        }
        assert!(page.to_xml().len() <= page.room());
    }
}
