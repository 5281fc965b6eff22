//! Client metadata, sealed under the object's DEK into one metadata value.

use sealgate_aead::{NONCE_LEN, TAG_LEN};

use crate::codec::{Reader, VERSION, from_text, text_len, to_text};
use crate::envelope::MAX_CHARS as ENVELOPE_MAX_CHARS;
use crate::error::{DecodeError, Tampered, TooLong};
use crate::keys::{Dek, ObjectId, Purpose};
use crate::{ENVELOPE_NAME, METADATA_NAME};

/// S3's limit for all user metadata of an object: bytes of names (without `x-amz-meta-`) and values.
pub const S3_METADATA_LIMIT: usize = 2048;
/// The most characters of a sealed metadata value at any store: beside the other headers of an answer that is read.
pub const MAX_CHARS: usize = 16 << 10;

/// The most characters of a sealed metadata value where a store takes `limit` bytes of user metadata: what that leaves
/// beside the longest envelope.
#[must_use]
pub const fn max_chars(limit: usize) -> usize {
    let left = limit.saturating_sub(ENVELOPE_NAME.len() + ENVELOPE_MAX_CHARS + METADATA_NAME.len());
    if left < MAX_CHARS { left } else { MAX_CHARS }
}

const HEAD_LEN: usize = 1 + NONCE_LEN;

/// Seals `pairs` of names and values into the value of `x-amz-meta-sealgate-m`; the order is kept. Names
/// are without `x-amz-meta-`. `nonce` is random, and used for this value only. `limit` is the most characters that the
/// value may have, at most [`MAX_CHARS`].
///
/// # Errors
/// [`TooLong`] when the value would have more characters than `limit` (`MetadataTooLarge`).
pub fn seal_metadata(
    dek: &Dek,
    object: &ObjectId,
    nonce: [u8; NONCE_LEN],
    pairs: &[(&str, &[u8])],
    limit: usize,
) -> Result<String, TooLong> {
    let limit = if limit < MAX_CHARS { limit } else { MAX_CHARS };
    let list_len: usize = pairs
        .iter()
        .map(|(name, value)| 4 + name.len() + value.len())
        .sum();
    let len = text_len(HEAD_LEN + list_len + TAG_LEN);
    if len > limit {
        return Err(TooLong {
            what: "the sealed metadata",
            len,
            limit,
        });
    }
    let mut bytes = Vec::with_capacity(HEAD_LEN + list_len + TAG_LEN);
    bytes.push(VERSION);
    bytes.extend(nonce);
    for field in pairs
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), *value])
    {
        // No field is longer than MAX_CHARS.
        bytes.extend((field.len() as u16).to_be_bytes());
        bytes.extend(field);
    }
    let tag =
        dek.cipher(Purpose::Metadata, object)
            .seal(nonce, &aad(object), &mut bytes[HEAD_LEN..]);
    bytes.extend(tag);
    Ok(to_text(&bytes))
}

/// Opens the value of `x-amz-meta-sealgate-m`: the pairs that were sealed, in their order.
///
/// # Errors
/// [`Tampered`] for anything that was not sealed for this object.
pub fn open_metadata(
    dek: &Dek,
    object: &ObjectId,
    text: &[u8],
) -> Result<Vec<(String, Vec<u8>)>, Tampered> {
    let bytes = from_text(text, MAX_CHARS).map_err(|_| Tampered)?;
    let mut reader = Reader(&bytes);
    reader.version().map_err(|_| Tampered)?;
    let nonce = reader.array().map_err(|_| Tampered)?;
    let (list, tag) = reader.0.split_last_chunk::<TAG_LEN>().ok_or(Tampered)?;
    let mut list = list.to_vec();
    dek.cipher(Purpose::Metadata, object)
        .open(nonce, &aad(object), &mut list, tag)?;
    decode(&list).map_err(|_| Tampered)
}

/// Associated data: a label, and the object.
fn aad(object: &ObjectId) -> [u8; 37] {
    let mut aad = [0; 37];
    aad[..21].copy_from_slice(Purpose::Metadata.label());
    aad[21..].copy_from_slice(&object.0);
    aad
}

fn decode(list: &[u8]) -> Result<Vec<(String, Vec<u8>)>, DecodeError> {
    let mut reader = Reader(list);
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        let name =
            String::from_utf8(reader.long_bytes()?.to_vec()).map_err(|_| DecodeError::NotText)?;
        pairs.push((name, reader.long_bytes()?.to_vec()));
    }
    Ok(pairs)
}
