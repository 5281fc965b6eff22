//! Checksums that a client proved of the plaintext: into the trailer, and back to clients that ask (S3-TRAPS 5).

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use sealgate_envelope::{Checksum, ChecksumAlgorithm, Checksums};
use sealgate_s3::checksum::{self, Algorithm, Known};

use crate::reply::set;

/// What the trailer keeps.
pub(crate) fn for_trailer(known: &Known) -> Checksums {
    let mut checksums = Checksums::none();
    if let Some(checksum) = &known.checksum {
        checksums.insert(Checksum {
            algorithm: match checksum.algorithm() {
                Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
                Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
                Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
                Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
                Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
            },
            composite: false,
            value: checksum.as_bytes().to_vec(),
        });
    }
    if let Some(md5) = known.md5 {
        checksums.insert(Checksum {
            algorithm: ChecksumAlgorithm::Md5,
            composite: false,
            value: md5.to_vec(),
        });
    }
    checksums
}

/// Whether the client wants an object's checksum.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-checksum-mode")
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"ENABLED"))
}

/// Tells the client what the trailer holds of the whole object.
pub(crate) fn describe(checksums: &Checksums, headers: &mut HeaderMap) {
    for one in checksums.iter() {
        let algorithm = match one.algorithm {
            ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
            ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
            ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
            ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
            ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
            // S3 shows no MD5 but in an ETag.
            ChecksumAlgorithm::Md5 => continue,
        };
        if let Some(value) = checksum::Checksum::from_bytes(algorithm, &one.value) {
            set(
                headers,
                HeaderName::from_static(algorithm.header()),
                &value.to_base64(),
            );
            let kind = if one.composite {
                "COMPOSITE"
            } else {
                "FULL_OBJECT"
            };
            headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
        }
    }
}
