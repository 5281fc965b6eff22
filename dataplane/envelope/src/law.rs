//! The size law: how many bytes are stored for how many bytes of plaintext.
//!
//! The stored length of an object depends on its plaintext length alone, however it was uploaded, so the
//! sizes in a listing are turned back into plaintext sizes by arithmetic (`docs/format.md`, "Sizes").

use std::fmt;

/// Plaintext bytes of a chunk; the last chunk of a stream always has fewer.
pub const CHUNK: usize = 16_384;
/// Bytes of an authentication tag.
pub const TAG: usize = 16;
/// A full chunk and its tag.
pub const SLOT: usize = CHUNK + TAG;
/// Bytes before the first chunk of a stream: a salt of 24, and a key commitment of 32.
pub const STREAM_HEADER: usize = 56;

/// The most parts of a multipart upload (S3's limit).
pub const MAX_PARTS: u64 = 10_000;
/// The least plaintext bytes of a part that is not the last (S3's limit): 5 MiB.
pub const MIN_PART_LEN: u64 = 5 << 20;
/// The most plaintext bytes of a part or of a single PUT (S3's limit): 5 GiB.
pub const MAX_PART_LEN: u64 = 5 << 30;
/// The most plaintext bytes of an object: as many as 10,000 parts of 5 GiB hold, 48.8 TiB.
pub const MAX_PLAIN_LEN: u64 = MAX_PARTS * MAX_PART_LEN;
/// The stored length of the longest object.
pub const MAX_CIPHER_LEN: u64 = cipher_len(MAX_PLAIN_LEN);

/// Stored bytes besides chunks and their tags that the law grants for every started 5 MiB: a stream header and
/// its final tag (72), and an entry in the trailer's list of parts (8).
const PER_PART: u64 = 80;
/// Stored bytes that the law grants every object for the rest of the trailer.
const FIXED: u64 = 128;
/// A stream besides its full slots and the bytes of the last chunk: the header and the last tag.
const STREAM_FIXED: u64 = (STREAM_HEADER + TAG) as u64;
/// Stored bytes of 5 MiB of plaintext: 320 slots, and the share of a part.
const PART_STRIDE: u64 = MIN_PART_LEN / CHUNK as u64 * SLOT as u64 + PER_PART;

/// A number of plaintext bytes: what the client sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainLen(pub u64);

/// A number of stored bytes: what the store sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CipherLen(pub u64);

impl fmt::Display for PlainLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B of plaintext", self.0)
    }
}

impl fmt::Display for CipherLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B stored", self.0)
    }
}

/// G: the stored length of an object of `plain` bytes.
///
/// # Panics
/// When `plain` is above [`MAX_PLAIN_LEN`]: what comes from a client is checked before.
pub const fn object_cipher_len(plain: PlainLen) -> CipherLen {
    assert!(plain.0 <= MAX_PLAIN_LEN, "longer than any object");
    CipherLen(cipher_len(plain.0))
}

/// The inverse of [`object_cipher_len`]; `None` when no object has that stored length.
pub const fn object_plain_len(cipher: CipherLen) -> Option<PlainLen> {
    if cipher.0 < FIXED + PER_PART || cipher.0 > MAX_CIPHER_LEN {
        return None;
    }
    let rest = cipher.0 - FIXED - PER_PART;
    // Whole strides of 5 MiB first: each adds one more part's share, until there are 10,000 parts.
    let strides = if rest / PART_STRIDE < MAX_PARTS - 1 {
        rest / PART_STRIDE
    } else {
        MAX_PARTS - 1
    };
    let Some(last) = slots_plain_len(rest - strides * PART_STRIDE) else {
        return None;
    };
    if strides < MAX_PARTS - 1 && last >= MIN_PART_LEN {
        return None;
    }
    Some(PlainLen(strides * MIN_PART_LEN + last))
}

/// Plaintext bytes of an object that a listing shows with `cipher` stored bytes; `None` when no object has that length.
///
/// Besides the lengths of the law there is none at all: that of a folder marker, which has no body
/// ([`Layout::Empty`](crate::Layout::Empty)).
pub const fn listed_plain_len(cipher: CipherLen) -> Option<PlainLen> {
    match cipher.0 {
        0 => Some(PlainLen(0)),
        _ => object_plain_len(cipher),
    }
}

/// Stored bytes of a stream of `plain` plaintext bytes, header and last tag included.
pub const fn stream_len(plain: u64) -> u64 {
    STREAM_FIXED + plain + TAG as u64 * (plain / CHUNK as u64)
}

/// The inverse of [`stream_len`]; `None` when no stream has that length.
pub const fn stream_plain_len(cipher: u64) -> Option<u64> {
    match cipher.checked_sub(STREAM_FIXED) {
        Some(rest) => slots_plain_len(rest),
        None => None,
    }
}

/// Bytes of the trailer: what the law grants an object of `plain` bytes, less the `streams_total` bytes of its
/// streams; `None` when the streams leave no room for a trailer, so that they cannot be of such an object.
pub const fn trailer_len(plain: PlainLen, streams_total: u64) -> Option<u64> {
    if plain.0 > MAX_PLAIN_LEN {
        return None;
    }
    match cipher_len(plain.0).checked_sub(streams_total) {
        Some(len) if len >= FIXED => Some(len),
        _ => None,
    }
}

/// n(P): the most streams that an object of `plain` bytes can have, since only its last part may have less
/// than 5 MiB.
pub const fn most_parts(plain: PlainLen) -> u64 {
    let parts = plain.0 / MIN_PART_LEN + 1;
    if parts < MAX_PARTS { parts } else { MAX_PARTS }
}

const fn cipher_len(plain: u64) -> u64 {
    plain + TAG as u64 * (plain / CHUNK as u64) + PER_PART * most_parts(PlainLen(plain)) + FIXED
}

/// Plaintext bytes in full slots and a last, shorter chunk whose tag is not counted.
const fn slots_plain_len(cipher: u64) -> Option<u64> {
    let (full, last) = (cipher / SLOT as u64, cipher % SLOT as u64);
    if last < CHUNK as u64 {
        Some(full * CHUNK as u64 + last)
    } else {
        None
    }
}
