//! `GetObjectAttributesResponse`.

use http::HeaderMap;

use super::Writer;
use crate::checksum::Algorithm;
use crate::error::{ErrorCode, S3Error};

/// Header that names the attributes that are wanted.
pub(super) const HEADER: &str = "x-amz-object-attributes";

/// Which attributes of an object a client wants.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WantedAttributes {
    /// `ETag`.
    pub etag: bool,
    /// `Checksum`.
    pub checksum: bool,
    /// `ObjectParts`.
    pub parts: bool,
    /// `StorageClass`.
    pub storage_class: bool,
    /// `ObjectSize`.
    pub size: bool,
}

impl WantedAttributes {
    /// Reads the header: names separated by commas, in one line or several.
    ///
    /// Errors: `InvalidRequest` when there is none, `InvalidArgument` for a name that S3 does not know.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        let mut wanted = Self::default();
        for value in headers.get_all(HEADER) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
                match name {
                    "ETag" => wanted.etag = true,
                    "Checksum" => wanted.checksum = true,
                    "ObjectParts" => wanted.parts = true,
                    "StorageClass" => wanted.storage_class = true,
                    "ObjectSize" => wanted.size = true,
                    other => {
                        let message = "Invalid attribute name specified.";
                        return Err(S3Error::invalid_argument(message, HEADER, other));
                    }
                }
            }
        }
        if wanted == Self::default() {
            return Err(S3Error::with_message(
                ErrorCode::InvalidRequest,
                "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
            ));
        }
        Ok(wanted)
    }
}

/// A checksum of a whole object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownChecksum {
    /// Of which kind the value is.
    pub algorithm: Algorithm,
    /// Base64; of a composite one with `-` and the number of parts.
    pub value: String,
    /// Whether it is of the parts' checksums (`COMPOSITE`), not of the bytes (`FULL_OBJECT`).
    pub composite: bool,
}

impl ShownChecksum {
    /// S3's name of its type.
    pub fn kind(&self) -> &'static str {
        if self.composite {
            "COMPOSITE"
        } else {
            "FULL_OBJECT"
        }
    }
}

/// A page of an object's parts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AttributeParts {
    /// Parts of the object.
    pub total: u64,
    /// The request's `x-amz-part-number-marker`.
    pub marker: u64,
    /// The last part of this page; 0 for an empty one.
    pub next_marker: u64,
    /// The request's `x-amz-max-parts`.
    pub max_parts: u64,
    /// Whether more follows.
    pub is_truncated: bool,
    /// Number and bytes.
    pub parts: Vec<(u64, u64)>,
}

/// What of an object's attributes was wanted, and is there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectAttributes {
    /// Without quotes, and so it is written: as S3 does, here alone.
    pub etag: Option<String>,
    /// Checksums of the whole object; all of one type.
    pub checksums: Vec<ShownChecksum>,
    /// Parts, of an object that was uploaded in parts.
    pub parts: Option<AttributeParts>,
    /// Storage class.
    pub storage_class: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

impl ObjectAttributes {
    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        const ROOT: &str = "GetObjectAttributesResponse";
        let mut w = Writer::document();
        w.root(ROOT);
        if let Some(etag) = &self.etag {
            w.text("ETag", etag);
        }
        if let Some(last) = self.checksums.last() {
            w.open("Checksum");
            for one in &self.checksums {
                w.text(one.algorithm.element(), &one.value);
            }
            w.text("ChecksumType", last.kind());
            w.close("Checksum");
        }
        if let Some(parts) = &self.parts {
            w.open("ObjectParts");
            w.number("PartsCount", parts.total);
            w.number("PartNumberMarker", parts.marker);
            w.number("NextPartNumberMarker", parts.next_marker);
            w.number("MaxParts", parts.max_parts);
            w.boolean("IsTruncated", parts.is_truncated);
            for (number, size) in &parts.parts {
                w.open("Part");
                w.number("PartNumber", *number);
                w.number("Size", *size);
                w.close("Part");
            }
            w.close("ObjectParts");
        }
        if let Some(class) = &self.storage_class {
            w.text("StorageClass", class);
        }
        if let Some(size) = self.size {
            w.number("ObjectSize", size);
        }
        w.close(ROOT);
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wanted(values: &[&'static str]) -> Result<WantedAttributes, S3Error> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_static(value));
        }
        WantedAttributes::from_headers(&headers)
    }

    #[test]
    fn attributes_come_in_one_line_or_several() {
        let two = WantedAttributes {
            etag: true,
            size: true,
            ..WantedAttributes::default()
        };
        assert_eq!(wanted(&["ETag, ObjectSize"]), Ok(two));
        assert_eq!(wanted(&["ETag", "ObjectSize,"]), Ok(two));
        for (values, code) in [
            (&[][..], ErrorCode::InvalidRequest),
            (&[" , "], ErrorCode::InvalidRequest),
            (&["ETag,Etag"], ErrorCode::InvalidArgument),
        ] {
            assert_eq!(wanted(values).unwrap_err().code, code, "{values:?}");
        }
    }

    #[test]
    fn the_document_is_s3s() {
        let attributes = ObjectAttributes {
            etag: Some("a-2".into()),
            checksums: vec![ShownChecksum {
                algorithm: Algorithm::Crc32,
                value: "AAAAAA==-2".into(),
                composite: true,
            }],
            parts: Some(AttributeParts {
                total: 2,
                marker: 1,
                next_marker: 2,
                max_parts: 5,
                is_truncated: false,
                parts: vec![(2, 7)],
            }),
            storage_class: Some("STANDARD".into()),
            size: Some(5_242_887),
        };
        assert_eq!(
            String::from_utf8(attributes.to_xml()).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GetObjectAttributesResponse xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <ETag>a-2</ETag><Checksum><ChecksumCRC32>AAAAAA==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></Checksum>\
             <ObjectParts><PartsCount>2</PartsCount><PartNumberMarker>1</PartNumberMarker><NextPartNumberMarker>2</NextPartNumberMarker>\
             <MaxParts>5</MaxParts><IsTruncated>false</IsTruncated><Part><PartNumber>2</PartNumber><Size>7</Size></Part></ObjectParts>\
             <StorageClass>STANDARD</StorageClass><ObjectSize>5242887</ObjectSize></GetObjectAttributesResponse>"
        );
        let nothing = ObjectAttributes::default().to_xml();
        assert!(nothing.ends_with(b"\"></GetObjectAttributesResponse>"));
    }
}
