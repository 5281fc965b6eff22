//! Checksums that a client proved of the plaintext, in the trailer's terms.

use sealgate_envelope::{Checksum, ChecksumAlgorithm, Checksums};
use sealgate_s3::checksum::{Algorithm, Known};

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
