//! Documents about versions and tags of a store: `ListVersionsResult`, `VersioningConfiguration`, `Tagging`.

use bytes::Bytes;

use super::list_objects::{Head, pull_prefixes, write_prefix};
use super::pull::Pull;
use super::shared::Source;
use super::{Fault, Owner, Text, Writer, listed, store_document, store_reader, write_listed};
use crate::error::S3Error;

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VersionEntry {
    /// Key bytes.
    pub key: Bytes,
    /// The store's id of the version; `null` for one from before versioning.
    pub version_id: Text,
    /// Whether it is what a read without a version id meets.
    pub is_latest: bool,
    /// Whether it marks a deletion and has no bytes.
    pub is_delete_marker: bool,
    /// Bytes; 0 of a delete marker.
    pub size: u64,
    /// Without quotes; empty of a delete marker.
    pub etag: Text,
    /// Milliseconds since the epoch.
    pub last_modified: i64,
    /// Owner, when known.
    pub owner: Option<Owner>,
    /// Storage class, when known.
    pub storage_class: Option<Text>,
}

/// A page of a bucket's versions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListVersionsResult {
    /// Bucket.
    pub name: String,
    /// The request's prefix.
    pub prefix: Bytes,
    /// The request's delimiter; empty for none.
    pub delimiter: Bytes,
    /// The request's key marker.
    pub key_marker: Bytes,
    /// The request's version id marker.
    pub version_id_marker: String,
    /// The request's limit.
    pub max_keys: u64,
    /// Whether keys are url-encoded on the wire (`encoding-type=url`).
    pub url_encoded: bool,
    /// Whether more follows.
    pub is_truncated: bool,
    /// Key marker and version id marker of the next page; the latter is empty behind a common prefix.
    pub next: Option<(Bytes, String)>,
    /// Versions and delete markers: by key, and the newest of a key first.
    pub versions: Vec<VersionEntry>,
    /// Rolled-up prefixes in bytewise order.
    pub common_prefixes: Vec<Bytes>,
}

impl ListVersionsResult {
    const ROOT: &'static str = "ListVersionsResult";

    /// The document, with elements in S3's order.
    pub fn to_xml(&self) -> Vec<u8> {
        let url = self.url_encoded;
        let mut w = Writer::document();
        w.root(Self::ROOT);
        w.text("Name", &self.name);
        write_listed(&mut w, "Prefix", &self.prefix, url);
        write_listed(&mut w, "KeyMarker", &self.key_marker, url);
        w.text("VersionIdMarker", &self.version_id_marker);
        if let Some((key, version)) = &self.next {
            write_listed(&mut w, "NextKeyMarker", key, url);
            if !version.is_empty() {
                w.text("NextVersionIdMarker", version);
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
        for version in &self.versions {
            version.write(&mut w, url);
        }
        for prefix in &self.common_prefixes {
            write_prefix(&mut w, prefix, url);
        }
        w.close(Self::ROOT);
        w.finish()
    }

    /// Reads a store's document.
    pub fn parse(body: &Bytes) -> Result<Self, S3Error> {
        let reader = store_reader(body, Self::ROOT)?;
        Self::pull(reader, &mut Source::new(body)).map_err(|fault| fault.of(Self::ROOT))
    }

    fn pull(mut reader: Pull<'_>, source: &mut Source<'_>) -> Result<Self, Fault> {
        let mut head = Head::default();
        let mut versions: Vec<VersionEntry> = Vec::new();
        let mut common_prefixes = Vec::new();
        while let Some(name) = reader.child()? {
            match name {
                "Version" | "DeleteMarker" => {
                    let marks = name == "DeleteMarker";
                    versions.push(VersionEntry::pull(marks, &mut reader, source)?);
                }
                "CommonPrefixes" => pull_prefixes(&mut reader, source, &mut common_prefixes)?,
                name => head.pull(name, &mut reader)?,
            }
        }
        reader.finish()?;
        let url = head.is_url_encoded();
        if url {
            let keys = versions.iter_mut().map(|version| &mut version.key);
            keys.chain(&mut common_prefixes)
                .for_each(|key| source.decode(key));
        }
        let bytes = |name| head.text(name).map(|t| listed(t, url));
        let text = |name| head.text(name).unwrap_or("").to_owned();
        Ok(Self {
            name: text("Name"),
            prefix: bytes("Prefix").unwrap_or_default(),
            delimiter: bytes("Delimiter").unwrap_or_default(),
            key_marker: bytes("KeyMarker").unwrap_or_default(),
            version_id_marker: text("VersionIdMarker"),
            max_keys: head.number("MaxKeys").unwrap_or(0),
            url_encoded: url,
            is_truncated: head.flag("IsTruncated"),
            next: bytes("NextKeyMarker").map(|key| (key, text("NextVersionIdMarker"))),
            versions,
            common_prefixes,
        })
    }
}

impl VersionEntry {
    fn write(&self, w: &mut Writer, url: bool) {
        let element = if self.is_delete_marker {
            "DeleteMarker"
        } else {
            "Version"
        };
        w.open(element);
        write_listed(w, "Key", &self.key, url);
        w.text("VersionId", &self.version_id);
        w.boolean("IsLatest", self.is_latest);
        w.time("LastModified", self.last_modified);
        if !self.is_delete_marker {
            w.etag("ETag", &self.etag);
            w.number("Size", self.size);
        }
        if let Some(owner) = &self.owner {
            owner.write(w, "Owner");
        }
        if !self.is_delete_marker {
            let class = self.storage_class.as_deref().unwrap_or("STANDARD");
            w.text("StorageClass", class);
        }
        w.close(element);
    }

    /// Reads the element that has just begun; its key is as it stands there. The first of several of a name counts.
    fn pull(
        is_delete_marker: bool,
        reader: &mut Pull<'_>,
        source: &mut Source<'_>,
    ) -> Result<Self, Fault> {
        let (mut key, mut id, mut etag, mut owner, mut class) = (None, None, None, None, None);
        let (mut latest, mut modified, mut size) = (None, None, None);
        while let Some(name) = reader.child()? {
            match name {
                "Key" if key.is_none() => key = Some(source.bytes(reader.leaf()?)),
                "VersionId" if id.is_none() => id = Some(source.text(reader.leaf()?)),
                "IsLatest" if latest.is_none() => {
                    let text = reader.leaf()?.into_text();
                    latest = Some(text.trim().eq_ignore_ascii_case("true"));
                }
                "LastModified" if modified.is_none() => {
                    modified = Some(source.time(reader.leaf()?))
                }
                "ETag" if etag.is_none() => etag = Some(source.etag(reader.leaf()?)),
                "Size" if size.is_none() => size = Some(source.number(reader.leaf()?)),
                "StorageClass" if class.is_none() => class = Some(source.class(reader.leaf()?)),
                "Owner" if owner.is_none() => owner = Some(Owner::pull(reader, source)?),
                _ => reader.skip()?,
            }
        }
        Ok(Self {
            key: key.ok_or(Fault::Without("a version without Key"))?,
            version_id: id.ok_or(Fault::Without("a version without VersionId"))?,
            is_latest: latest.unwrap_or(false),
            is_delete_marker,
            size: size.flatten().unwrap_or(0),
            etag: etag.unwrap_or_default(),
            last_modified: modified.flatten().unwrap_or(0),
            owner,
            storage_class: class.flatten(),
        })
    }
}

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Versioning {
    /// It never did.
    #[default]
    Never,
    /// Every write makes a version.
    Enabled,
    /// It did, and keeps those versions.
    Suspended,
}

impl Versioning {
    /// Reads a store's `VersioningConfiguration`; empty for a bucket that never had versions.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, "VersioningConfiguration")?;
        Ok(match root.child_text("Status").map(str::trim) {
            Some("Enabled") => Self::Enabled,
            Some("Suspended") => Self::Suspended,
            _ => Self::Never,
        })
    }
}

/// The tags of an object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tagging(pub Vec<(String, String)>);

impl Tagging {
    /// Reads a store's document.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, "Tagging")?;
        let tags = root.child("TagSet").into_iter().flat_map(|set| {
            set.children("Tag").map(|tag| {
                let text = |name| tag.child_text(name).unwrap_or("").to_owned();
                (text("Key"), text("Value"))
            })
        });
        Ok(Self(tags.collect()))
    }

    /// As the value of `x-amz-tagging`; `None` when there are no tags.
    pub fn to_header(&self) -> Option<String> {
        let encode =
            |text: &str| crate::encoding::encode_listing(text.as_bytes()).replace('/', "%2F");
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_delete_markers_of_a_page() {
        let page = ListVersionsResult::parse(&Bytes::from_static(
            b"<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
              <NextKeyMarker>a%20b</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>\
              <Version><Key>a%20b</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest><Size>7</Size></Version>\
              <Version><Key>a%20b</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest><Size>5</Size></Version>\
              <DeleteMarker><Key>c</Key><VersionId>null</VersionId><IsLatest>true</IsLatest></DeleteMarker>\
              </ListVersionsResult>",
        ))
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next, Some((Bytes::from("a b"), "v1".to_owned())));
        let seen: Vec<_> = page
            .versions
            .iter()
            .map(|v| {
                (
                    &v.key[..],
                    &*v.version_id,
                    v.is_latest,
                    v.is_delete_marker,
                    v.size,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (&b"a b"[..], "v2", true, false, 7),
                (&b"a b"[..], "v1", false, false, 5),
                (&b"c"[..], "null", true, true, 0),
            ]
        );
        let without = Bytes::from("<ListVersionsResult><Version/></ListVersionsResult>");
        assert!(ListVersionsResult::parse(&without).is_err());
    }

    #[test]
    fn pages_round_trip_with_versions_and_markers_in_their_order() {
        let entry = |key: &str, id: &str, is_latest, is_delete_marker| VersionEntry {
            key: Bytes::copy_from_slice(key.as_bytes()),
            version_id: id.into(),
            is_latest,
            is_delete_marker,
            size: if is_delete_marker { 0 } else { 7 },
            etag: if is_delete_marker { "" } else { "abc-0" }.into(),
            last_modified: 1_255_369_830_123,
            owner: Some(Owner::default()),
            storage_class: (!is_delete_marker).then(|| "STANDARD".into()),
        };
        for url in [false, true] {
            let page = ListVersionsResult {
                name: "b".into(),
                prefix: "a ".into(),
                delimiter: "/".into(),
                key_marker: "a &".into(),
                version_id_marker: "v9".into(),
                max_keys: 3,
                url_encoded: url,
                is_truncated: true,
                next: Some(("a <".into(), "v1".into())),
                versions: vec![
                    entry("a <", "v3", true, true),
                    entry("a <", "v2", false, false),
                    entry("a <", "v1", false, true),
                ],
                common_prefixes: vec!["a +/".into()],
            };
            let text = String::from_utf8(page.to_xml()).unwrap();
            assert_eq!(
                ListVersionsResult::parse(&Bytes::from(text.clone())).unwrap(),
                page
            );
            let marker = text.split("<DeleteMarker>").nth(1).unwrap();
            let marker = marker.split("</DeleteMarker>").next().unwrap();
            assert!(!marker.contains("ETag") && !marker.contains("Size"));
        }
    }

    #[test]
    fn versioning_of_a_bucket() {
        for (document, versioning) in [
            ("<VersioningConfiguration/>", Versioning::Never),
            (
                "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
                Versioning::Enabled,
            ),
            (
                "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
                Versioning::Suspended,
            ),
        ] {
            assert_eq!(Versioning::parse(document.as_bytes()).unwrap(), versioning);
        }
        assert!(Versioning::parse(b"<html/>").is_err());
    }

    #[test]
    fn tags_become_one_header() {
        let tags = Tagging::parse(
            b"<Tagging><TagSet><Tag><Key>a b</Key><Value>1/2&amp;3</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>",
        )
        .unwrap();
        assert_eq!(tags.to_header().as_deref(), Some("a%20b=1%2F2%263&c="));
        assert_eq!(
            Tagging::parse(b"<Tagging><TagSet/></Tagging>")
                .unwrap()
                .to_header(),
            None
        );
    }
}
