//! Documents of multipart uploads.

use bytes::Bytes;

use super::list_objects::{is_url_encoded, read_prefixes, write_prefix};
use super::{
    Element, Owner, Writer, client_document, listed, store_document, unexpected, unquote,
    write_listed,
};
use crate::checksum::{Algorithm, Checksum};
use crate::error::{ErrorCode, S3Error};
use crate::time;

/// Highest part number (S3 User Guide, "Multipart upload limits").
pub const MAX_PART_NUMBER: u16 = 10_000;

/// Answer of `CreateMultipartUpload`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InitiateMultipartUploadResult {
    /// Bucket.
    pub bucket: String,
    /// Key bytes.
    pub key: Bytes,
    /// Upload id.
    pub upload_id: String,
}

impl InitiateMultipartUploadResult {
    const ROOT: &'static str = "InitiateMultipartUploadResult";

    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root(Self::ROOT);
        w.text("Bucket", &self.bucket);
        w.text("Key", &String::from_utf8_lossy(&self.key));
        w.text("UploadId", &self.upload_id);
        w.close(Self::ROOT);
        w.finish()
    }

    /// Reads a store's answer.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, Self::ROOT)?;
        let upload_id = root
            .child_text("UploadId")
            .map(str::trim)
            .filter(|u| !u.is_empty());
        Ok(Self {
            bucket: root.child_text("Bucket").unwrap_or("").to_owned(),
            key: listed(root.child_text("Key").unwrap_or(""), false),
            upload_id: upload_id
                .ok_or_else(|| unexpected("an upload without UploadId"))?
                .to_owned(),
        })
    }
}

/// One part named in a `CompleteMultipartUpload`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CompletedPart {
    /// 1 to 10,000.
    pub number: u16,
    /// Without quotes.
    pub etag: String,
    /// Checksum of the part that the client names, base64.
    pub checksum: Option<(Algorithm, String)>,
}

/// Body of `CompleteMultipartUpload`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CompleteMultipartUpload {
    /// Rising by number.
    pub parts: Vec<CompletedPart>,
}

impl CompleteMultipartUpload {
    /// Reads a client's body. No parts or a bad number is `MalformedXML` or `InvalidArgument`, numbers that do not rise
    /// are `InvalidPartOrder`.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let malformed = || S3Error::new(ErrorCode::MalformedXML);
        let root = client_document(body, "CompleteMultipartUpload")?;
        let mut parts: Vec<CompletedPart> = Vec::new();
        for part in root.children("Part") {
            let number: i64 = part.number("PartNumber").ok_or_else(malformed)?;
            let number = u16::try_from(number)
                .ok()
                .filter(|n| (1..=MAX_PART_NUMBER).contains(n))
                .ok_or_else(|| {
                    S3Error::invalid_argument(
                        "PartNumber must be an integer between 1 and 10000, inclusive",
                        "partNumber",
                        number.to_string(),
                    )
                })?;
            if parts.last().is_some_and(|last| last.number >= number) {
                return Err(S3Error::new(ErrorCode::InvalidPartOrder));
            }
            let etag = unquote(part.child_text("ETag").ok_or_else(malformed)?).to_owned();
            let checksum = Algorithm::ALL.iter().find_map(|a| {
                part.child_text(a.element())
                    .map(|value| (*a, value.trim().to_owned()))
            });
            parts.push(CompletedPart {
                number,
                etag,
                checksum,
            });
        }
        if parts.is_empty() {
            Err(malformed())
        } else {
            Ok(Self { parts })
        }
    }

    /// The document for a store.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("CompleteMultipartUpload");
        for part in &self.parts {
            w.open("Part");
            w.etag("ETag", &part.etag);
            if let Some((algorithm, value)) = &part.checksum {
                w.text(algorithm.element(), value);
            }
            w.number("PartNumber", part.number.into());
            w.close("Part");
        }
        w.close("CompleteMultipartUpload");
        w.finish()
    }
}

/// Answer of `CompleteMultipartUpload`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CompleteMultipartUploadResult {
    /// URL of the object.
    pub location: String,
    /// Bucket.
    pub bucket: String,
    /// Key bytes.
    pub key: Bytes,
    /// Without quotes; some stores leave it empty (S3-TRAPS 32).
    pub etag: String,
    /// Checksum of the object: algorithm, base64 value, and type (`COMPOSITE` or `FULL_OBJECT`).
    pub checksum: Option<(Algorithm, String, &'static str)>,
}

impl CompleteMultipartUploadResult {
    const ROOT: &'static str = "CompleteMultipartUploadResult";

    /// The whole document.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        self.write(&mut w);
        w.finish()
    }

    /// The document without the XML declaration, which must come first in a body and was sent ahead of the spaces that
    /// keep the connection alive.
    pub fn to_xml_after_declaration(&self) -> Vec<u8> {
        let mut w = Writer::fragment();
        self.write(&mut w);
        w.finish()
    }

    fn write(&self, w: &mut Writer) {
        w.root(Self::ROOT);
        w.text("Location", &self.location);
        w.text("Bucket", &self.bucket);
        w.text("Key", &String::from_utf8_lossy(&self.key));
        w.etag("ETag", &self.etag);
        if let Some((algorithm, value, kind)) = &self.checksum {
            w.text(algorithm.element(), value);
            w.text("ChecksumType", kind);
        }
        w.close(Self::ROOT);
    }

    /// Reads a store's answer, or the error that came with a `200`. The store's checksum is over ciphertext and is
    /// left out.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, Self::ROOT)?;
        Ok(Self {
            location: root.child_text("Location").unwrap_or("").to_owned(),
            bucket: root.child_text("Bucket").unwrap_or("").to_owned(),
            key: listed(root.child_text("Key").unwrap_or(""), false),
            etag: unquote(root.child_text("ETag").unwrap_or("")).to_owned(),
            checksum: None,
        })
    }
}

/// A store's checksum in an element that describes bytes.
pub(super) fn checksum_in(element: &Element<'_>) -> Option<Checksum> {
    Algorithm::ALL.into_iter().find_map(|a| {
        let value = element.child_text(a.element())?;
        Checksum::from_base64(a, value.trim().as_bytes())
    })
}

/// One part of `ListParts`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PartEntry {
    /// 1 to 10,000.
    pub number: u16,
    /// Milliseconds since the epoch.
    pub last_modified: i64,
    /// Without quotes.
    pub etag: String,
    /// What a store says of the bytes that it has: read, and never written, since a client's bytes are others.
    pub checksum: Option<Checksum>,
    /// Bytes.
    pub size: u64,
}

/// Answer of `ListParts`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListPartsResult {
    /// Bucket.
    pub bucket: String,
    /// Key bytes.
    pub key: Bytes,
    /// Whether the key is url-encoded on the wire.
    pub url_encoded: bool,
    /// Upload id.
    pub upload_id: String,
    /// Who started the upload and owns the object.
    pub owner: Owner,
    /// Storage class, when known.
    pub storage_class: Option<String>,
    /// The request's `part-number-marker`.
    pub part_number_marker: u64,
    /// Last part of this page, to continue after.
    pub next_part_number_marker: Option<u64>,
    /// The request's limit.
    pub max_parts: u64,
    /// Whether more follows.
    pub is_truncated: bool,
    /// Rising by number.
    pub parts: Vec<PartEntry>,
}

impl ListPartsResult {
    const ROOT: &'static str = "ListPartsResult";

    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root(Self::ROOT);
        w.text("Bucket", &self.bucket);
        if self.url_encoded {
            w.text("EncodingType", "url");
        }
        write_listed(&mut w, "Key", &self.key, self.url_encoded);
        w.text("UploadId", &self.upload_id);
        self.owner.write(&mut w, "Initiator");
        self.owner.write(&mut w, "Owner");
        w.text(
            "StorageClass",
            self.storage_class.as_deref().unwrap_or("STANDARD"),
        );
        w.number("PartNumberMarker", self.part_number_marker);
        if let Some(next) = self.next_part_number_marker {
            w.number("NextPartNumberMarker", next);
        }
        w.number("MaxParts", self.max_parts);
        w.boolean("IsTruncated", self.is_truncated);
        for part in &self.parts {
            w.open("Part");
            w.number("PartNumber", part.number.into());
            w.time("LastModified", part.last_modified);
            w.etag("ETag", &part.etag);
            w.number("Size", part.size);
            w.close("Part");
        }
        w.close(Self::ROOT);
        w.finish()
    }

    /// Reads a store's answer.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, Self::ROOT)?;
        let url = is_url_encoded(&root);
        let text = |name| root.child_text(name).unwrap_or("").to_owned();
        let parts = root.children("Part").map(|p| {
            let number = p
                .number("PartNumber")
                .ok_or_else(|| unexpected("a part without PartNumber"))?;
            Ok(PartEntry {
                number,
                last_modified: p
                    .child_text("LastModified")
                    .and_then(time::parse_iso8601)
                    .unwrap_or(0),
                etag: unquote(p.child_text("ETag").unwrap_or("")).to_owned(),
                checksum: checksum_in(p),
                size: p
                    .number("Size")
                    .ok_or_else(|| unexpected("a part without Size"))?,
            })
        });
        Ok(Self {
            bucket: text("Bucket"),
            key: listed(root.child_text("Key").unwrap_or(""), url),
            url_encoded: url,
            upload_id: text("UploadId"),
            owner: Owner::read(&root, "Owner").unwrap_or_default(),
            storage_class: root
                .child_text("StorageClass")
                .filter(|s| !s.is_empty())
                .map(str::to_owned),
            part_number_marker: root.number("PartNumberMarker").unwrap_or(0),
            next_part_number_marker: root.number("NextPartNumberMarker"),
            max_parts: root.number("MaxParts").unwrap_or(0),
            is_truncated: root.flag("IsTruncated"),
            parts: parts.collect::<Result<_, S3Error>>()?,
        })
    }
}

/// One upload of `ListMultipartUploads`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UploadEntry {
    /// Key bytes.
    pub key: Bytes,
    /// Upload id.
    pub upload_id: String,
    /// Who started the upload and owns the object.
    pub owner: Owner,
    /// Storage class, when known.
    pub storage_class: Option<String>,
    /// Milliseconds since the epoch.
    pub initiated: i64,
}

/// Answer of `ListMultipartUploads`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListMultipartUploadsResult {
    /// Bucket.
    pub bucket: String,
    /// The request's `key-marker`.
    pub key_marker: Bytes,
    /// The request's `upload-id-marker`.
    pub upload_id_marker: String,
    /// Where the next page begins: key and upload id.
    pub next: Option<(Bytes, String)>,
    /// The request's prefix.
    pub prefix: Bytes,
    /// The request's delimiter; empty for none.
    pub delimiter: Bytes,
    /// Whether keys are url-encoded on the wire.
    pub url_encoded: bool,
    /// The request's limit.
    pub max_uploads: u64,
    /// Whether more follows.
    pub is_truncated: bool,
    /// By key, then by start.
    pub uploads: Vec<UploadEntry>,
    /// Rolled-up prefixes.
    pub common_prefixes: Vec<Bytes>,
}

impl ListMultipartUploadsResult {
    const ROOT: &'static str = "ListMultipartUploadsResult";

    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        let url = self.url_encoded;
        let mut w = Writer::document();
        w.root(Self::ROOT);
        w.text("Bucket", &self.bucket);
        write_listed(&mut w, "KeyMarker", &self.key_marker, url);
        w.text("UploadIdMarker", &self.upload_id_marker);
        if let Some((key, upload_id)) = &self.next {
            write_listed(&mut w, "NextKeyMarker", key, url);
            w.text("NextUploadIdMarker", upload_id);
        }
        if !self.delimiter.is_empty() {
            write_listed(&mut w, "Delimiter", &self.delimiter, url);
        }
        if !self.prefix.is_empty() {
            write_listed(&mut w, "Prefix", &self.prefix, url);
        }
        if url {
            w.text("EncodingType", "url");
        }
        w.number("MaxUploads", self.max_uploads);
        w.boolean("IsTruncated", self.is_truncated);
        for upload in &self.uploads {
            w.open("Upload");
            write_listed(&mut w, "Key", &upload.key, url);
            w.text("UploadId", &upload.upload_id);
            upload.owner.write(&mut w, "Initiator");
            upload.owner.write(&mut w, "Owner");
            w.text(
                "StorageClass",
                upload.storage_class.as_deref().unwrap_or("STANDARD"),
            );
            w.time("Initiated", upload.initiated);
            w.close("Upload");
        }
        for prefix in &self.common_prefixes {
            write_prefix(&mut w, prefix, url);
        }
        w.close(Self::ROOT);
        w.finish()
    }

    /// Reads a store's answer.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, Self::ROOT)?;
        let url = is_url_encoded(&root);
        let bytes = |name| {
            root.child_text(name)
                .map(|t| listed(t, url))
                .unwrap_or_default()
        };
        let text = |name| root.child_text(name).unwrap_or("").to_owned();
        let next = (bytes("NextKeyMarker"), text("NextUploadIdMarker"));
        Ok(Self {
            bucket: text("Bucket"),
            key_marker: bytes("KeyMarker"),
            upload_id_marker: text("UploadIdMarker"),
            next: Some(next).filter(|(key, _)| !key.is_empty()),
            prefix: bytes("Prefix"),
            delimiter: bytes("Delimiter"),
            url_encoded: url,
            max_uploads: root.number("MaxUploads").unwrap_or(0),
            is_truncated: root.flag("IsTruncated"),
            uploads: root
                .children("Upload")
                .map(|u| UploadEntry::read(u, url))
                .collect::<Result<_, _>>()?,
            common_prefixes: read_prefixes(&root, url),
        })
    }
}

impl UploadEntry {
    fn read(e: &Element<'_>, url: bool) -> Result<Self, S3Error> {
        let text = |name| {
            e.child_text(name)
                .ok_or_else(|| unexpected("an upload without Key or UploadId"))
        };
        Ok(Self {
            key: listed(text("Key")?, url),
            upload_id: text("UploadId")?.to_owned(),
            owner: Owner::read(e, "Owner").unwrap_or_default(),
            storage_class: e
                .child_text("StorageClass")
                .filter(|s| !s.is_empty())
                .map(str::to_owned),
            initiated: e
                .child_text("Initiated")
                .and_then(time::parse_iso8601)
                .unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn b(s: &str) -> Bytes {
        Bytes::copy_from_slice(s.as_bytes())
    }

    proptest! {
        #[test]
        fn documents_round_trip(key in "(?s:[^\0]{1,20})", url: bool, n in 1u16..=10_000, size: u64) {
            let owner = Owner { id: key.as_str().into(), display_name: "d".into() };
            let init = InitiateMultipartUploadResult { bucket: "b".into(), key: b(&key), upload_id: "u".into() };
            prop_assert_eq!(InitiateMultipartUploadResult::parse(&init.to_xml()).unwrap(), init);
            let parts = ListPartsResult {
                bucket: "b".into(), key: b(&key), url_encoded: url, upload_id: "u".into(), owner: owner.clone(),
                storage_class: Some("STANDARD".into()), part_number_marker: 0, next_part_number_marker: Some(u64::from(n)),
                max_parts: 1000, is_truncated: true,
                parts: vec![PartEntry { number: n, last_modified: 1, etag: "e".into(), checksum: None, size }],
            };
            prop_assert_eq!(ListPartsResult::parse(&parts.to_xml()).unwrap(), parts);
            let uploads = ListMultipartUploadsResult {
                bucket: "b".into(), key_marker: b(&key), upload_id_marker: "m".into(), next: Some((b(&key), "n".into())),
                prefix: b(&key), delimiter: b("/"), url_encoded: url, max_uploads: 5, is_truncated: true,
                uploads: vec![UploadEntry {
                    key: b(&key), upload_id: "u".into(), owner, storage_class: Some("STANDARD".into()), initiated: 1,
                }],
                common_prefixes: vec![b(&key)],
            };
            prop_assert_eq!(ListMultipartUploadsResult::parse(&uploads.to_xml()).unwrap(), uploads);
            let done = CompleteMultipartUploadResult {
                location: format!("http://h/{key}"), bucket: "b".into(), key: b(&key), etag: "e-2".into(), checksum: None,
            };
            prop_assert_eq!(CompleteMultipartUploadResult::parse(&done.to_xml()).unwrap(), done.clone());
            let late = [b"<?xml version=\"1.0\"?>   ".to_vec(), done.to_xml_after_declaration()].concat();
            prop_assert_eq!(CompleteMultipartUploadResult::parse(&late).unwrap(), done);
        }
    }

    #[test]
    fn s3_traps_11_quoted_and_bare_etags() {
        let body = "<CompleteMultipartUpload xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>\
            <Part><ETag>\"a\"</ETag><PartNumber>1</PartNumber></Part>\
            <Part><PartNumber> 7 </PartNumber><ETag>b</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>";
        let request = CompleteMultipartUpload::parse(body.as_bytes()).unwrap();
        assert_eq!(
            request.parts[0],
            CompletedPart {
                number: 1,
                etag: "a".into(),
                checksum: None
            }
        );
        assert_eq!(
            request.parts[1].checksum,
            Some((Algorithm::Crc32, "AAAAAA==".into()))
        );
        assert_eq!(
            CompleteMultipartUpload::parse(&request.to_xml()).unwrap(),
            request
        );
    }

    #[test]
    fn part_lists_that_s3_refuses() {
        let body = |ns: &[&str]| {
            let parts: String = ns
                .iter()
                .map(|n| format!("<Part><PartNumber>{n}</PartNumber><ETag>e</ETag></Part>"))
                .collect();
            format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
        };
        for (numbers, code) in [
            (&[][..], ErrorCode::MalformedXML),
            (&["2", "1"], ErrorCode::InvalidPartOrder),
            (&["1", "1"], ErrorCode::InvalidPartOrder),
            (&["0"], ErrorCode::InvalidArgument),
            (&["10001"], ErrorCode::InvalidArgument),
            (&["x"], ErrorCode::MalformedXML),
        ] {
            assert_eq!(
                CompleteMultipartUpload::parse(body(numbers).as_bytes())
                    .unwrap_err()
                    .code,
                code,
                "{numbers:?}"
            );
        }
        let many: Vec<String> = (1..=10_000).map(|n: u32| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            CompleteMultipartUpload::parse(body(&many).as_bytes())
                .unwrap()
                .parts
                .len(),
            10_000
        );
    }
}
