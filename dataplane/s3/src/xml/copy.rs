//! `CopyObjectResult` and `CopyPartResult`.

use super::multipart::checksum_in;
use super::{Writer, store_document, unexpected, unquote};
use crate::checksum::Checksum;
use crate::error::S3Error;
use crate::time;

/// Answer of `CopyObject` and `UploadPartCopy`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CopyResult {
    /// Without quotes.
    pub etag: String,
    /// Milliseconds since the epoch.
    pub last_modified: i64,
    /// Checksum of what was made, where it is known. A store's is of what it holds, and never for clients.
    pub checksum: Option<Checksum>,
}

impl CopyResult {
    /// The document of a `CopyObject`.
    pub fn to_object_xml(&self) -> Vec<u8> {
        self.to_xml("CopyObjectResult")
    }

    /// The document of an `UploadPartCopy`.
    pub fn to_part_xml(&self) -> Vec<u8> {
        self.to_xml("CopyPartResult")
    }

    fn to_xml(&self, root: &str) -> Vec<u8> {
        let mut w = Writer::document();
        w.root(root);
        w.time("LastModified", self.last_modified);
        w.etag("ETag", &self.etag);
        if let Some(checksum) = &self.checksum {
            w.text(checksum.algorithm().element(), &checksum.to_base64());
        }
        w.close(root);
        w.finish()
    }

    /// Reads either document of a store, or the error that came with a `200`.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, "CopyObjectResult").or_else(|e| {
            match store_document(body, "CopyPartResult") {
                Ok(part) => Ok(part),
                Err(_) => Err(e),
            }
        })?;
        Ok(Self {
            etag: unquote(
                root.child_text("ETag")
                    .ok_or_else(|| unexpected("a copy without ETag"))?,
            )
            .to_owned(),
            last_modified: root
                .child_text("LastModified")
                .and_then(time::parse_iso8601)
                .unwrap_or(0),
            checksum: checksum_in(&root),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn s3_traps_12_a_200_may_carry_an_error() {
        let r = CopyResult {
            etag: "e-0".into(),
            last_modified: 1_255_369_830_000,
            checksum: None,
        };
        assert_eq!(CopyResult::parse(&r.to_object_xml()).unwrap(), r);
        assert_eq!(CopyResult::parse(&r.to_part_xml()).unwrap(), r);
        let late = b"   \n  <?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>m</Message></Error>";
        assert_eq!(
            CopyResult::parse(late).unwrap_err().code,
            ErrorCode::SlowDown
        );
        for cut in [
            &b""[..],
            b"   ",
            b"<CopyObjectResult><ETag>x</ETag>",
            b"<CopyObjectResult/>",
        ] {
            assert_eq!(
                CopyResult::parse(cut).unwrap_err().code,
                ErrorCode::InternalError
            );
        }
    }
}
