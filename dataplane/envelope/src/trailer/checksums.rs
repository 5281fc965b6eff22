//! Checksums of the plaintext, kept in the trailer.

use crate::codec::Reader;
use crate::error::DecodeError;

/// A checksum that S3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes, big-endian.
    Crc32,
    /// CRC-32C (Castagnoli), 4 bytes, big-endian.
    Crc32c,
    /// CRC-64/NVME, 8 bytes, big-endian.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// MD5 of the whole plaintext, 16 bytes; single PUTs only.
    Md5,
}

impl ChecksumAlgorithm {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Md5,
    ];

    /// Bytes of a value.
    pub const fn value_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Md5 => 16,
        }
    }

    /// The value for no bytes at all.
    pub const fn of_nothing(self) -> &'static [u8] {
        match self {
            Self::Crc32 | Self::Crc32c => &[0; 4],
            Self::Crc64Nvme => &[0; 8],
            Self::Sha1 => &SHA1_OF_NOTHING,
            Self::Sha256 => &SHA256_OF_NOTHING,
            Self::Md5 => &MD5_OF_NOTHING,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Crc32 => 1,
            Self::Crc32c => 2,
            Self::Crc64Nvme => 3,
            Self::Sha1 => 4,
            Self::Sha256 => 5,
            Self::Md5 => 6,
        }
    }
}

impl ChecksumAlgorithm {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }
}

const SHA1_OF_NOTHING: [u8; 20] = [
    0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55, 0xbf, 0xef, 0x95, 0x60, 0x18, 0x90,
    0xaf, 0xd8, 0x07, 0x09,
];
const SHA256_OF_NOTHING: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
const MD5_OF_NOTHING: [u8; 16] = [
    0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e,
];

/// Set in a checksum's code when the value is S3's checksum of checksums (`COMPOSITE`).
const COMPOSITE: u8 = 0x80;

/// One checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: ChecksumAlgorithm,
    /// Whether it was computed over the checksums of the parts (S3's type `COMPOSITE`), not over the
    /// plaintext (`FULL_OBJECT`).
    pub composite: bool,
    /// The value, of the algorithm's length.
    pub value: Vec<u8>,
}

/// The checksums of an object, at most one of each algorithm: they always fit into its trailer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums(Vec<Checksum>);

impl Checksums {
    /// No checksum.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a checksum, in place of another one of the same algorithm.
    ///
    /// # Panics
    /// When the value has not the algorithm's length.
    pub fn insert(&mut self, checksum: Checksum) {
        assert_eq!(
            checksum.value.len(),
            checksum.algorithm.value_len(),
            "the algorithm's length"
        );
        self.remove(checksum.algorithm);
        let place = self
            .0
            .partition_point(|other| other.algorithm < checksum.algorithm);
        self.0.insert(place, checksum);
    }

    /// The checksum of one algorithm.
    pub fn find(&self, algorithm: ChecksumAlgorithm) -> Option<&Checksum> {
        self.iter().find(|checksum| checksum.algorithm == algorithm)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Checksum> {
        self.0.iter()
    }

    pub(super) fn remove(&mut self, algorithm: ChecksumAlgorithm) {
        self.0.retain(|checksum| checksum.algorithm != algorithm);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        for Checksum {
            algorithm,
            composite,
            value,
        } in self.iter()
        {
            out.push(algorithm.code() | if *composite { COMPOSITE } else { 0 });
            out.extend(value);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.u8()?;
        let mut checksums = Self::none();
        for _ in 0..count {
            let code = reader.u8()?;
            let unknown = DecodeError::UnknownValue {
                field: "checksum",
                value: code.into(),
            };
            let algorithm = ChecksumAlgorithm::from_code(code & !COMPOSITE).ok_or(unknown)?;
            let value = reader.bytes(algorithm.value_len())?.to_vec();
            if checksums
                .0
                .last()
                .is_some_and(|last| last.algorithm >= algorithm)
            {
                return Err(unknown);
            }
            checksums.0.push(Checksum {
                algorithm,
                composite: code & COMPOSITE != 0,
                value,
            });
        }
        Ok(checksums)
    }
}
