//! What several tests need.

use sealgate_aead::Secret;
use sealgate_envelope::whole::{self, PlainPart};
use sealgate_envelope::*;

pub(crate) const BUCKET: &[u8] = b"photos";
pub(crate) const KEY: &[u8] = "2024/Zürich ü+%2F.jpg".as_bytes();
pub(crate) const PLACE: Location<'static> = Location {
    bucket: BUCKET,
    key: KEY,
};
pub(crate) const OBJECT: ObjectId = ObjectId(*b"object-id-16-by-");

pub(crate) fn dek() -> Dek {
    Dek::new(Secret::new(DEK_BYTES))
}

pub(crate) const DEK_BYTES: [u8; 32] = *b"a DEK has thirty-two bytes, here";
pub(crate) const KEK_BYTES: [u8; 32] = *b"and so has a key-encryption key.";

pub(crate) fn kek() -> Kek {
    Kek::new(&Secret::new(KEK_BYTES))
}

pub(crate) fn wrapped_kek() -> WrappedKek {
    WrappedKek {
        name: "main".into(),
        version: "3".into(),
        wrapped: vec![0x5A; 60],
    }
}

/// Byte i of every plaintext is i mod 251, a prime, so that no two chunks are equal.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

pub(crate) fn fields(layout: Layout, binding: Binding) -> EnvelopeFields {
    EnvelopeFields {
        layout,
        binding,
        object_id: OBJECT,
        kek: wrapped_kek(),
    }
}

/// An object as it lies in the store, and its plaintext.
pub(crate) struct Stored {
    pub(crate) envelope: Envelope,
    pub(crate) body: Vec<u8>,
    pub(crate) plaintext: Vec<u8>,
}

pub(crate) fn single(len: usize) -> Stored {
    let plaintext = pattern(len);
    let body = whole::seal_single(
        &dek(),
        &OBJECT,
        [0x11; 24],
        [0x22; 12],
        &plaintext,
        Checksums::none(),
    )
    .unwrap();
    let header = *body.first_chunk().unwrap();
    let layout = Layout::Single {
        plain_len: PlainLen(len as u64),
        header,
    };
    let envelope = fields(layout, Binding::Key)
        .seal(&kek(), &dek(), [0x33; 12], &PLACE)
        .unwrap();
    Stored {
        envelope,
        body,
        plaintext,
    }
}

/// A folder marker.
pub(crate) fn marker(checksum: Option<ChecksumAlgorithm>) -> Stored {
    let envelope = fields(Layout::Empty { checksum }, Binding::Key)
        .seal(&kek(), &dek(), [0x33; 12], &PLACE)
        .unwrap();
    Stored {
        envelope,
        body: Vec::new(),
        plaintext: Vec::new(),
    }
}

/// Parts of these numbers and lengths.
pub(crate) fn multipart(parts: &[(u16, usize)]) -> Stored {
    let plaintext = pattern(parts.iter().map(|(_, len)| len).sum());
    let mut rest = plaintext.as_slice();
    let mut plain_parts = Vec::new();
    for (number, len) in parts {
        let (part, after) = rest.split_at(*len);
        rest = after;
        plain_parts.push(PlainPart {
            number: *number,
            salt: [*number as u8; 24],
            plaintext: part,
        });
    }
    let body = whole::seal_multipart(&dek(), &OBJECT, &plain_parts, [0x22; 12], Checksums::none())
        .unwrap();
    let envelope = fields(Layout::Multipart, Binding::Key)
        .seal(&kek(), &dek(), [0x33; 12], &PLACE)
        .unwrap();
    Stored {
        envelope,
        body,
        plaintext,
    }
}

pub(crate) const MIB: usize = 1 << 20;

/// Two parts of 5 MiB, which end with an empty chunk, one of 5 MiB and some, and a small last one.
pub(crate) fn several_parts() -> Stored {
    multipart(&[(1, 5 * MIB), (2, 5 * MIB), (7, 5 * MIB + 100), (9, 20_000)])
}
