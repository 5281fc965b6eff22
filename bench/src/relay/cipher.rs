//! The encryption of RA. One fixed key: nothing that passes here is secret. Nonces count chunks, so
//! that the cost is that of a real stream.

use sealgate_aead::{Aes256Gcm, KEY_LEN, NONCE_LEN, Secret, TAG_LEN};

use crate::units::{MIB, fill_pattern};

/// Plaintext of a chunk: that of a sealed object.
pub(crate) const CHUNK: usize = 16 << 10;

/// A chunk and its tag.
pub(crate) const SLOT: usize = CHUNK + TAG_LEN;

/// Chunks of one read and one write: 1 MiB of plaintext.
pub(super) const SLOTS: usize = MIB / CHUNK;

/// One direction of one connection.
pub(super) struct Cipher {
    key: Aes256Gcm,
    counter: u64,
}

impl Cipher {
    pub(super) fn new() -> Cipher {
        Cipher {
            key: Aes256Gcm::new(&Secret::new([7; KEY_LEN])),
            counter: 0,
        }
    }

    fn nonce(&mut self) -> [u8; NONCE_LEN] {
        // The pattern that is served to be opened is one mebibyte over and over.
        let mut nonce = [0; NONCE_LEN];
        let chunk = self.counter % SLOTS as u64;
        nonce[4..].copy_from_slice(&chunk.to_be_bytes());
        self.counter += 1;
        nonce
    }

    /// Seals a slot: plaintext, then room for the tag.
    pub(super) fn seal(&mut self, slot: &mut [u8]) {
        let nonce = self.nonce();
        let (text, tag) = slot.split_at_mut(slot.len() - TAG_LEN);
        tag.copy_from_slice(&self.key.seal(nonce, &[], text));
    }

    /// Opens a slot; false when it is forged.
    pub(super) fn open(&mut self, slot: &mut [u8]) -> bool {
        let nonce = self.nonce();
        let Some((text, tag)) = slot.split_last_chunk_mut::<TAG_LEN>() else {
            return false;
        };
        self.key.open(nonce, &[], text, tag).is_ok()
    }
}

/// Bytes that `len` bytes of plaintext become.
pub(crate) fn sealed_len(len: u64) -> u64 {
    len + len.div_ceil(CHUNK as u64) * TAG_LEN as u64
}

/// One sealed mebibyte, which may be sent any number of times in a row.
pub(crate) fn sealed_pattern() -> Vec<u8> {
    let mut pattern = vec![0; SLOTS * SLOT];
    let mut cipher = Cipher::new();
    for slot in pattern.chunks_exact_mut(SLOT) {
        fill_pattern(1, 0, &mut slot[..CHUNK]);
        cipher.seal(slot);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_opens_again_and_again() {
        let pattern = sealed_pattern();
        assert_eq!(pattern.len() as u64, sealed_len(MIB as u64));
        let mut cipher = Cipher::new();
        for _ in 0..3 {
            let mut copy = pattern.clone();
            for slot in copy.chunks_exact_mut(SLOT) {
                assert!(cipher.open(slot));
            }
        }
        let mut bad = pattern;
        bad[5] ^= 1;
        assert!(!cipher.open(&mut bad[..SLOT]));
    }
}
