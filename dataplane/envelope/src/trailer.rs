//! The trailer: the last bytes of every object, which authenticate it as a whole.
//!
//! It seals the plaintext length, the list of parts and the checksums that were known when it was written,
//! and it is as long as the size law asks: zero bytes in front, then nonce, sealed list and tag, then a tail
//! of fixed size by which a reader finds the list.

mod checksums;
mod parts;
#[cfg(test)]
mod tests;
mod verify;

use sealgate_aead::{NONCE_LEN, TAG_LEN};

pub use checksums::{Checksum, ChecksumAlgorithm, Checksums};
pub use parts::{Part, PartRun};
pub use verify::TrailerVerifier;

use crate::codec::{Reader, VERSION};
use crate::error::{DecodeError, LayoutError, Tampered};
use crate::keys::{Dek, ObjectId, Purpose};
use crate::law::{
    CipherLen, MAX_PART_LEN, MAX_PARTS, PlainLen, object_cipher_len, stream_len, trailer_len,
};
use parts::PartList;

/// Bytes of the tail: a mark, the format's version, and the length of what is sealed.
pub const TAIL_LEN: usize = 8;
const MARK: [u8; 4] = [b'S', b'G', b'T', VERSION];

/// The sealed list without parts and checksums: layout, plaintext length, number of checksums.
const LIST_FIXED: usize = 1 + 8 + 1;
/// The most bytes from the nonce to the end of the object in a single PUT: the trailer of a small object.
const SINGLE_SEALED_MAX: usize = 136;
/// The most bytes from the nonce to the end of any object: 10,000 list entries, and 128 for the rest. One
/// suffix read of this size always finds the whole list.
pub const MAX_SEALED_LEN: usize = sealed_max(MAX_PARTS as usize);

/// The most bytes from the nonce to the end of an object of `parts` parts.
const fn sealed_max(parts: usize) -> usize {
    128 + 8 * parts
}

const LAYOUT_SINGLE: u8 = 0;
const LAYOUT_MULTIPART: u8 = 1;

/// What the trailer says about an object. It exists only for objects that the size law covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    plain_len: PlainLen,
    /// Empty for a single PUT.
    parts: PartList,
    checksums: Checksums,
}

impl Trailer {
    /// The trailer of a single PUT.
    ///
    /// # Errors
    /// [`LayoutError::TooLarge`] above 5 GiB.
    pub fn single(plain_len: PlainLen, checksums: Checksums) -> Result<Self, LayoutError> {
        if plain_len.0 > MAX_PART_LEN {
            return Err(LayoutError::TooLarge { len: plain_len.0 });
        }
        Ok(Self {
            plain_len,
            parts: PartList::default(),
            checksums,
        })
    }

    /// What the trailer of a folder marker ([`Layout::Empty`](crate::Layout::Empty)) would say, which has none: its
    /// envelope says all of it.
    pub fn of_nothing(checksum: Option<ChecksumAlgorithm>) -> Self {
        let mut checksums = Checksums::none();
        if let Some(algorithm) = checksum {
            checksums.insert(Checksum {
                algorithm,
                composite: false,
                value: algorithm.of_nothing().to_vec(),
            });
        }
        Self {
            plain_len: PlainLen(0),
            parts: PartList::default(),
            checksums,
        }
    }

    /// The trailer of a multipart object: part numbers and plaintext lengths, in the order of the numbers,
    /// which may have gaps. A multipart trailer has no room for an MD5, which is dropped.
    ///
    /// # Errors
    /// [`LayoutError`] when the parts break S3's rules: 1 to 10,000 parts, all but the last at least 5 MiB,
    /// none above 5 GiB.
    pub fn multipart(
        parts: impl IntoIterator<Item = (u16, u64)>,
        mut checksums: Checksums,
    ) -> Result<Self, LayoutError> {
        let mut list = PartList::default();
        for (number, len) in parts {
            list.push(PartRun {
                first: number,
                count: 1,
                len,
            })?;
        }
        if list.is_empty() {
            return Err(LayoutError::NoParts);
        }
        checksums.remove(ChecksumAlgorithm::Md5);
        Ok(Self {
            plain_len: PlainLen(list.plain_total()),
            parts: list,
            checksums,
        })
    }

    /// Plaintext bytes of the object.
    pub fn plain_len(&self) -> PlainLen {
        self.plain_len
    }

    /// Stored bytes of the object.
    pub fn object_len(&self) -> CipherLen {
        object_cipher_len(self.plain_len)
    }

    /// Whether the object is a single PUT, which has no parts.
    pub fn is_single(&self) -> bool {
        self.parts.is_empty()
    }

    /// The checksums of the plaintext that were known when the trailer was written.
    pub fn checksums(&self) -> &Checksums {
        &self.checksums
    }

    /// Stored bytes of all streams together: where the trailer begins.
    pub fn streams_total(&self) -> u64 {
        if self.is_single() {
            stream_len(self.plain_len.0)
        } else {
            self.parts.stream_total()
        }
    }

    /// Bytes of the trailer itself.
    pub fn len(&self) -> u64 {
        trailer_len(self.plain_len, self.streams_total())
            .expect("legal parts leave room for a trailer")
    }

    /// Always false: a trailer has at least 128 bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Seals the trailer of `object`. `nonce` is random, and used for this trailer only.
    pub fn seal(&self, dek: &Dek, object: &ObjectId, nonce: [u8; NONCE_LEN]) -> TrailerWriter {
        let mut sealed = Vec::with_capacity(sealed_max(self.parts.runs().len() + 1));
        sealed.extend(nonce);
        self.encode(&mut sealed);
        let tail = tail(sealed.len() + TAG_LEN);
        let cipher = dek.cipher(Purpose::Trailer, object);
        let tag = cipher.seal(nonce, &aad(object, tail), &mut sealed[NONCE_LEN..]);
        sealed.extend(tag);
        sealed.extend(tail);
        let zeros = self
            .len()
            .checked_sub(sealed.len() as u64)
            .expect("the law leaves room for the list");
        TrailerWriter {
            zeros,
            sealed,
            written: 0,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.is_single() {
            LAYOUT_SINGLE
        } else {
            LAYOUT_MULTIPART
        });
        out.extend(self.plain_len.0.to_be_bytes());
        self.checksums.encode(out);
        self.parts.encode(out);
    }

    fn decode(list: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(list);
        let layout = reader.u8()?;
        let plain_len = PlainLen(reader.u64()?);
        let checksums = Checksums::decode(&mut reader)?;
        let undefined = |field, value| DecodeError::UnknownValue { field, value };
        match layout {
            LAYOUT_SINGLE => {
                reader.end()?;
                Self::single(plain_len, checksums)
                    .map_err(|_| undefined("plaintext length", plain_len.0))
            }
            LAYOUT_MULTIPART => {
                let parts = PartList::decode(reader)?;
                if parts.is_empty() || parts.plain_total() != plain_len.0 {
                    return Err(undefined("plaintext length", plain_len.0));
                }
                Ok(Self {
                    plain_len,
                    parts,
                    checksums,
                })
            }
            other => Err(undefined("layout", other.into())),
        }
    }

    /// How many bytes at the end of the object hold sealed list and tail, given the object's last
    /// [`TAIL_LEN`] bytes. At most [`MAX_SEALED_LEN`]. A hint, until [`open`](Self::open) authenticates it.
    ///
    /// # Errors
    /// [`Tampered`] when these bytes end no object of this format.
    pub fn sealed_len(tail: &[u8; TAIL_LEN]) -> Result<usize, Tampered> {
        let (mark, len) = tail.split_first_chunk::<4>().ok_or(Tampered)?;
        let len = u32::from_be_bytes(len.try_into().map_err(|_| Tampered)?) as usize;
        let whole = NONCE_LEN + LIST_FIXED + TAG_LEN..=MAX_SEALED_LEN - TAIL_LEN;
        if *mark != MARK || !whole.contains(&len) {
            return Err(Tampered);
        }
        Ok(len + TAIL_LEN)
    }

    /// Opens the trailer of an object of `object_len` stored bytes from the end of it. `suffix` holds at
    /// least [`sealed_len`](Self::sealed_len) bytes; what precedes them is not looked at (a whole read
    /// checks the padding with a [`TrailerVerifier`]).
    ///
    /// # Errors
    /// [`Tampered`] when it is not the trailer of this object, or the object has not the length that the law
    /// gives it.
    pub fn open(
        dek: &Dek,
        object: &ObjectId,
        object_len: CipherLen,
        suffix: &[u8],
    ) -> Result<Self, Tampered> {
        let tail = suffix.last_chunk::<TAIL_LEN>().ok_or(Tampered)?;
        let start = suffix
            .len()
            .checked_sub(Self::sealed_len(tail)?)
            .ok_or(Tampered)?;
        let (nonce, rest) = suffix[start..suffix.len() - TAIL_LEN]
            .split_first_chunk()
            .ok_or(Tampered)?;
        let (list, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(Tampered)?;
        let mut list = list.to_vec();
        dek.cipher(Purpose::Trailer, object)
            .open(*nonce, &aad(object, *tail), &mut list, tag)?;
        let trailer = Self::decode(&list).map_err(|_| Tampered)?;
        if trailer.object_len() == object_len {
            Ok(trailer)
        } else {
            Err(Tampered)
        }
    }

    /// Length of the window at the end of the trailer in which the sealed list begins.
    fn window(&self) -> usize {
        if self.is_single() {
            SINGLE_SEALED_MAX
        } else {
            sealed_max(self.parts.count())
        }
    }
}

fn tail(sealed: usize) -> [u8; TAIL_LEN] {
    let mut tail = [0; TAIL_LEN];
    tail[..4].copy_from_slice(&MARK);
    // At most MAX_SEALED_LEN.
    tail[4..].copy_from_slice(&(sealed as u32).to_be_bytes());
    tail
}

/// Associated data of the list: a label, the object, and the tail.
fn aad(object: &ObjectId, tail: [u8; TAIL_LEN]) -> [u8; 44] {
    let mut aad = [0; 44];
    aad[..20].copy_from_slice(Purpose::Trailer.label());
    aad[20..36].copy_from_slice(&object.0);
    aad[36..].copy_from_slice(&tail);
    aad
}

/// The bytes of a sealed trailer, handed out in pieces (the padding may be hundreds of kilobytes, and takes
/// no memory).
#[derive(Clone, Debug)]
pub struct TrailerWriter {
    zeros: u64,
    sealed: Vec<u8>,
    written: usize,
}

impl TrailerWriter {
    /// Bytes that have not been handed out yet.
    pub fn remaining(&self) -> u64 {
        self.zeros + (self.sealed.len() - self.written) as u64
    }

    /// Writes the next bytes into `out`, and returns how many: less than `out.len()` only at the end.
    pub fn fill(&mut self, out: &mut [u8]) -> usize {
        let zeros = self.zeros.min(out.len() as u64) as usize;
        let (padding, room) = out.split_at_mut(zeros);
        padding.fill(0);
        self.zeros -= zeros as u64;
        let next = &self.sealed[self.written..];
        let len = next.len().min(room.len());
        room[..len].copy_from_slice(&next[..len]);
        self.written += len;
        zeros + len
    }

    /// All of the remaining bytes.
    pub fn into_vec(mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.remaining() as usize];
        self.fill(&mut bytes);
        bytes
    }
}
