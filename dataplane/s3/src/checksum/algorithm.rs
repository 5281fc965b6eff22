//! The five checksum algorithms of S3.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;

/// A checksum that S3 keeps with an object (S3 User Guide, "Checking object integrity").
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Algorithm {
    /// CRC-32 (ISO HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Name in `x-amz-checksum-algorithm` and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Finds an algorithm by its name, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|a| a.as_str().eq_ignore_ascii_case(name))
    }

    /// Name of the header or trailer with the value.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Finds an algorithm by the name of its header, lower case.
    pub fn from_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.header() == name)
    }

    /// Name of the element with the value.
    pub const fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// Length of a value, bytes.
    pub const fn value_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A checksum's value.
#[derive(Clone, Copy, Eq, PartialEq, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    bytes: [u8; 32],
}

impl Checksum {
    /// From raw bytes; `None` when the length is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        (value.len() == algorithm.value_len())
            .then(|| bytes[..value.len()].copy_from_slice(value))?;
        Some(Self { algorithm, bytes })
    }

    /// From base64, as headers and documents have it; `None` when malformed or of another length.
    pub fn from_base64(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        let mut bytes = [0; 34];
        let n = STANDARD.decode_slice(value, &mut bytes).ok()?;
        Self::from_bytes(algorithm, &bytes[..n])
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes, big-endian for CRCs.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.value_len()]
    }

    /// As headers and documents have it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }

    /// The checksum of `a ‖ b`, from those of `a` and of `b`, which has `b_len` bytes. Only CRCs can do that: this is
    /// the `FULL_OBJECT` checksum of a multipart object from its parts'.
    pub fn concat(a: &Checksum, b: &Checksum, b_len: u64) -> Option<Checksum> {
        let crc = a.algorithm.crc().filter(|_| a.algorithm == b.algorithm)?;
        let combined =
            crc_fast::checksum_combine(crc, number(a.as_bytes()), number(b.as_bytes()), b_len);
        Some(from_crc(a.algorithm, combined))
    }

    /// The `COMPOSITE` checksum of a multipart object: that of its parts' checksums, in order. S3 prints it with
    /// `-<number of parts>` appended.
    pub fn composite<'c>(
        algorithm: Algorithm,
        parts: impl IntoIterator<Item = &'c Checksum>,
    ) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        parts.into_iter().for_each(|p| hasher.update(p.as_bytes()));
        hasher.finish()
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.to_base64())
    }
}

fn number(big_endian: &[u8]) -> u64 {
    big_endian.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn from_crc(algorithm: Algorithm, value: u64) -> Checksum {
    let mut bytes = [0; 32];
    let n = algorithm.value_len();
    bytes[..n].copy_from_slice(&value.to_be_bytes()[8 - n..]);
    Checksum { algorithm, bytes }
}

/// A running checksum.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    /// Boxed: its tables of keys are large.
    Crc(Box<crc_fast::Digest>),
    Sha(digest::Context),
}

impl Hasher {
    /// Over nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha1 => State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Sha256 => State::Sha(digest::Context::new(&digest::SHA256)),
            crc => State::Crc(Box::new(crc_fast::Digest::new(
                crc.crc().unwrap_or(CrcAlgorithm::Crc32IsoHdlc),
            ))),
        };
        Self { algorithm, state }
    }

    /// Adds bytes.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Crc(d) => d.update(data),
            State::Sha(d) => d.update(data),
        }
    }

    /// The value.
    pub fn finish(self) -> Checksum {
        match self.state {
            State::Crc(d) => from_crc(self.algorithm, d.finalize()),
            State::Sha(d) => {
                let value = d.finish();
                let mut bytes = [0; 32];
                bytes[..value.as_ref().len()].copy_from_slice(value.as_ref());
                Checksum {
                    algorithm: self.algorithm,
                    bytes,
                }
            }
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(algorithm: Algorithm, data: &[u8]) -> Checksum {
        let mut h = Hasher::new(algorithm);
        h.update(data);
        h.finish()
    }

    #[test]
    fn check_values() {
        // The "check" values of the CRC catalogue, and FIPS 180's for SHA.
        for (algorithm, hex) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (
                Algorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ] {
            let sum = of(algorithm, b"123456789");
            assert_eq!(hex::encode(sum.as_bytes()), hex);
            assert_eq!(
                Checksum::from_base64(algorithm, sum.to_base64().as_bytes()),
                Some(sum)
            );
            assert_eq!(
                Algorithm::from_name(&algorithm.as_str().to_lowercase()),
                Some(algorithm)
            );
            assert_eq!(Algorithm::from_header(algorithm.header()), Some(algorithm));
        }
    }

    #[test]
    fn malformed_values() {
        for bad in [
            "",
            "AAAA",
            "AAAAAA",
            "AAAAAA=",
            "AAAAAAA=",
            "AAAA AA==",
            "AAAAAA==\n",
            "****",
            "AAAAAAAAAAA=",
        ] {
            assert_eq!(
                Checksum::from_base64(Algorithm::Crc32, bad.as_bytes()),
                None,
                "{bad:?}"
            );
        }
        assert_eq!(
            Checksum::from_base64(Algorithm::Sha256, "A".repeat(400).as_bytes()),
            None
        );
    }

    proptest! {
        #[test]
        fn crcs_concatenate(a in proptest::collection::vec(any::<u8>(), 0..100), b in proptest::collection::vec(any::<u8>(), 0..100)) {
            for algorithm in Algorithm::ALL {
                let whole = of(algorithm, &[&a[..], &b].concat());
                let joined = Checksum::concat(&of(algorithm, &a), &of(algorithm, &b), b.len() as u64);
                if algorithm.crc().is_some() {
                    prop_assert_eq!(joined, Some(whole));
                } else {
                    prop_assert_eq!(joined, None);
                }
            }
        }
    }
}
