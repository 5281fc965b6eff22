//! Documents about versions and tags of a store: `ListVersionsResult`, `VersioningConfiguration`, `Tagging`.

use bytes::Bytes;

use super::list_objects::{is_url_encoded, read_prefixes, write_prefix};
use super::{Element, Owner, Writer, listed, store_document, unexpected, unquote, write_listed};
use crate::error::S3Error;
use crate::time;

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VersionEntry {
    /// Key bytes.
    pub key: Bytes,
    /// The store's id of the version; `null` for one from before versioning.
    pub version_id: String,
    /// Whether it is what a read without a version id meets.
    pub is_latest: bool,
    /// Whether it marks a deletion and has no bytes.
    pub is_delete_marker: bool,
    /// Bytes; 0 of a delete marker.
    pub size: u64,
    /// Without quotes; empty of a delete marker.
    pub etag: String,
    /// Milliseconds since the epoch.
    pub last_modified: i64,
    /// Owner, when known.
    pub owner: Option<Owner>,
    /// Storage class, when known.
    pub storage_class: Option<String>,
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
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, Self::ROOT)?;
        let url = is_url_encoded(&root);
        let bytes = |name| root.child_text(name).map(|t| listed(t, url));
        let versions = root
            .elements()
            .filter(|e| matches!(e.name(), "Version" | "DeleteMarker"))
            .map(|e| VersionEntry::read(e, url))
            .collect::<Result<_, _>>()?;
        let next = bytes("NextKeyMarker").map(|key| {
            let id = root.child_text("NextVersionIdMarker").unwrap_or("");
            (key, id.to_owned())
        });
        Ok(Self {
            name: root.child_text("Name").unwrap_or("").to_owned(),
            prefix: bytes("Prefix").unwrap_or_default(),
            delimiter: bytes("Delimiter").unwrap_or_default(),
            key_marker: bytes("KeyMarker").unwrap_or_default(),
            version_id_marker: root.child_text("VersionIdMarker").unwrap_or("").to_owned(),
            max_keys: root.number("MaxKeys").unwrap_or(0),
            url_encoded: url,
            is_truncated: root.flag("IsTruncated"),
            next,
            versions,
            common_prefixes: read_prefixes(&root, url),
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
        w.text("LastModified", &time::iso8601(self.last_modified));
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

    fn read(e: &Element<'_>, url: bool) -> Result<Self, S3Error> {
        Ok(Self {
            key: e
                .child_text("Key")
                .map(|k| listed(k, url))
                .ok_or_else(|| unexpected("a version without Key"))?,
            version_id: e
                .child_text("VersionId")
                .ok_or_else(|| unexpected("a version without VersionId"))?
                .to_owned(),
            is_latest: e.flag("IsLatest"),
            is_delete_marker: e.name() == "DeleteMarker",
            size: e.number("Size").unwrap_or(0),
            etag: unquote(e.child_text("ETag").unwrap_or("")).to_owned(),
            last_modified: e
                .child_text("LastModified")
                .and_then(time::parse_iso8601)
                .unwrap_or(0),
            owner: Owner::read(e, "Owner"),
            storage_class: e
                .child_text("StorageClass")
                .filter(|s| !s.is_empty())
                .map(str::to_owned),
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
        let page = ListVersionsResult::parse(
            b"<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
              <NextKeyMarker>a%20b</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>\
              <Version><Key>a%20b</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest><Size>7</Size></Version>\
              <Version><Key>a%20b</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest><Size>5</Size></Version>\
              <DeleteMarker><Key>c</Key><VersionId>null</VersionId><IsLatest>true</IsLatest></DeleteMarker>\
              </ListVersionsResult>",
        )
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
        assert!(
            ListVersionsResult::parse(b"<ListVersionsResult><Version/></ListVersionsResult>")
                .is_err()
        );
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
            assert_eq!(ListVersionsResult::parse(text.as_bytes()).unwrap(), page);
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
