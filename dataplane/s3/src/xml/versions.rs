//! Documents about versions and tags of a store: `ListVersionsResult`, `VersioningConfiguration`, `Tagging`.

use bytes::Bytes;

use super::list_objects::is_url_encoded;
use super::{Element, listed, store_document, unexpected};
use crate::error::S3Error;

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, Eq, PartialEq)]
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
}

/// A page of a bucket's versions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListVersionsResult {
    /// Whether more follows.
    pub is_truncated: bool,
    /// Key marker and version id marker of the next page.
    pub next: Option<(Bytes, String)>,
    /// Versions first, then delete markers, each as the store ordered them.
    pub versions: Vec<VersionEntry>,
}

impl ListVersionsResult {
    /// Reads a store's document.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, "ListVersionsResult")?;
        let url = is_url_encoded(&root);
        let versions = root.children("Version").map(|e| read(e, url, false));
        let markers = root.children("DeleteMarker").map(|e| read(e, url, true));
        let versions = versions.chain(markers).collect::<Result<_, _>>()?;
        let next = root.child_text("NextKeyMarker").map(|key| {
            let id = root.child_text("NextVersionIdMarker").unwrap_or("");
            (listed(key, url), id.to_owned())
        });
        Ok(Self {
            is_truncated: root.flag("IsTruncated"),
            next,
            versions,
        })
    }
}

fn read(e: &Element<'_>, url: bool, is_delete_marker: bool) -> Result<VersionEntry, S3Error> {
    Ok(VersionEntry {
        key: e
            .child_text("Key")
            .map(|k| listed(k, url))
            .ok_or_else(|| unexpected("a version without Key"))?,
        version_id: e
            .child_text("VersionId")
            .ok_or_else(|| unexpected("a version without VersionId"))?
            .to_owned(),
        is_latest: e.flag("IsLatest"),
        is_delete_marker,
        size: e.number("Size").unwrap_or(0),
    })
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
