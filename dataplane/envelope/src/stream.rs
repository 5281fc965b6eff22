//! A stream: one C2SP Cobblestone-256 message, sealed and opened in place, chunk by chunk.
//!
//! The construction is <https://c2sp.org/chunked-encryption> with AEAD_AES_256_GCM and HKDF-Expand-SHA-512:
//! a salt of 24 bytes, a key commitment of 32, then chunks of 16 KiB each followed by its tag, the last
//! one always shorter than 16 KiB (and possibly empty).

use sealgate_aead::{Aes256Gcm, NONCE_LEN, Secret, hkdf_expand_sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::error::Tampered;
use crate::keys::{Dek, ObjectId};
use crate::law::{CHUNK, SLOT, STREAM_HEADER, TAG};

/// Bytes of a stream's salt. It must be random and fresh for every attempt to upload the stream: the same
/// salt with other bytes would reuse key and nonces.
pub const SALT_LEN: usize = 24;
const COMMITMENT_LEN: usize = STREAM_HEADER - SALT_LEN;

/// A stream has fewer chunks than this (C2SP's limit, 4 PiB; an object ends long before).
pub const MAX_CHUNKS: u64 = 1 << 38;

/// HKDF's info begins with the construction's name, that of the AEAD, and a zero byte.
const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
/// Our contexts begin with the format's name and a zero byte.
const CONTEXT: &[u8; 12] = b"sealgate/v1\0";
const CONTEXT_LEN: usize = CONTEXT.len() + 16 + 2;

/// Where a stream belongs: bound into its keys, so that it opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamContext {
    /// The object.
    pub object_id: ObjectId,
    /// The part, from 1; 0 for a single PUT.
    pub part_number: u16,
}

impl StreamContext {
    /// The context as Cobblestone takes it: `sealgate/v1` ‖ 0x00 ‖ object id ‖ part number, big-endian.
    pub fn encode(&self) -> [u8; CONTEXT_LEN] {
        let mut bytes = [0; CONTEXT_LEN];
        bytes[..12].copy_from_slice(CONTEXT);
        bytes[12..28].copy_from_slice(&self.object_id.0);
        bytes[28..].copy_from_slice(&self.part_number.to_be_bytes());
        bytes
    }
}

/// Key, base nonce and commitment of one stream.
struct Derived {
    cipher: Aes256Gcm,
    base_nonce: [u8; NONCE_LEN],
    commitment: [u8; COMMITMENT_LEN],
}

fn derive(key: &[u8; 32], context: &[u8], salt: &[u8; SALT_LEN]) -> Derived {
    let mut okm = [0; 32 + NONCE_LEN + COMMITMENT_LEN];
    hkdf_expand_sha512(key, &[INFO, salt, context], &mut okm);
    let mut derived = Derived {
        cipher: Aes256Gcm::new(&Secret::from_slice(&okm[..32]).expect("32 bytes")),
        base_nonce: [0; NONCE_LEN],
        commitment: [0; COMMITMENT_LEN],
    };
    derived.base_nonce.copy_from_slice(&okm[32..][..NONCE_LEN]);
    derived.commitment.copy_from_slice(&okm[32 + NONCE_LEN..]);
    okm.zeroize();
    derived
}

/// The nonce of a chunk: the base nonce, its end XORed with the chunk's number, big-endian.
fn nonce(base: &[u8; NONCE_LEN], index: u64) -> [u8; NONCE_LEN] {
    let mut nonce = *base;
    for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(index.to_be_bytes()) {
        *byte ^= number;
    }
    nonce
}

/// Seals the chunks of one stream, in order, and never two different streams.
pub struct StreamSealer {
    cipher: Aes256Gcm,
    base_nonce: [u8; NONCE_LEN],
    next: u64,
    finished: bool,
}

impl StreamSealer {
    /// Starts a stream, and returns the header that is stored in front of its chunks. `salt` is
    /// [`SALT_LEN`] random bytes, fresh for every attempt.
    pub fn new(
        dek: &Dek,
        context: &StreamContext,
        salt: [u8; SALT_LEN],
    ) -> (Self, [u8; STREAM_HEADER]) {
        Self::with_context(dek, &context.encode(), salt)
    }

    /// As [`new`](Self::new), with any bytes for Cobblestone's context.
    pub fn with_context(
        dek: &Dek,
        context: &[u8],
        salt: [u8; SALT_LEN],
    ) -> (Self, [u8; STREAM_HEADER]) {
        let Derived {
            cipher,
            base_nonce,
            commitment,
        } = derive(dek.expose(), context, &salt);
        let mut header = [0; STREAM_HEADER];
        header[..SALT_LEN].copy_from_slice(&salt);
        header[SALT_LEN..].copy_from_slice(&commitment);
        (
            Self {
                cipher,
                base_nonce,
                next: 0,
                finished: false,
            },
            header,
        )
    }

    /// Seals one full chunk: 16 KiB of plaintext, followed by 16 bytes that receive the tag.
    ///
    /// # Panics
    /// When `slot` has not exactly [`SLOT`] bytes, or after [`seal_last`](Self::seal_last).
    #[inline]
    pub fn seal_chunk(&mut self, slot: &mut [u8]) {
        assert_eq!(slot.len(), SLOT, "a full chunk and its tag");
        self.seal(slot);
    }

    /// Seals a run of full chunks, each in its slot of [`SLOT`] bytes, one after the other.
    ///
    /// # Panics
    /// When `run` is not a whole number of slots, or after [`seal_last`](Self::seal_last).
    pub fn seal_slots(&mut self, run: &mut [u8]) {
        assert_eq!(run.len() % SLOT, 0, "whole slots");
        for slot in run.chunks_exact_mut(SLOT) {
            self.seal(slot);
        }
    }

    /// Seals the last chunk, which has less than 16 KiB of plaintext (possibly none), followed by 16 bytes
    /// that receive the tag. It ends the stream.
    ///
    /// # Panics
    /// When `slot` has not [`TAG`] to [`SLOT`] − 1 bytes, or when the stream has ended already.
    pub fn seal_last(&mut self, slot: &mut [u8]) {
        assert!(
            (TAG..SLOT).contains(&slot.len()),
            "the last chunk is shorter than the others"
        );
        self.seal(slot);
        self.finished = true;
    }

    /// How many chunks have been sealed.
    pub fn chunks(&self) -> u64 {
        self.next
    }

    /// Whether the last chunk has been sealed: only then are header and chunks a stream.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    #[inline]
    fn seal(&mut self, slot: &mut [u8]) {
        assert!(
            !self.finished && self.next < MAX_CHUNKS,
            "the stream has ended"
        );
        let (chunk, room) = slot.split_at_mut(slot.len() - TAG);
        let tag = self
            .cipher
            .seal(nonce(&self.base_nonce, self.next), &[], chunk);
        room.copy_from_slice(&tag);
        self.next += 1;
    }
}

/// Opens the chunks of one stream, in any order. The caller knows the stream's length and so which chunk
/// is the last; a stream is whole only when its last chunk has been opened too.
pub struct StreamOpener {
    cipher: Aes256Gcm,
    base_nonce: [u8; NONCE_LEN],
}

impl StreamOpener {
    /// Derives the stream's keys and checks, in constant time, that its header commits to them.
    ///
    /// # Errors
    /// [`Tampered`] when the key, the object, the part number or the header is another one.
    pub fn new(
        dek: &Dek,
        context: &StreamContext,
        header: &[u8; STREAM_HEADER],
    ) -> Result<Self, Tampered> {
        Self::with_context(dek, &context.encode(), header)
    }

    /// As [`new`](Self::new), with any bytes for Cobblestone's context.
    ///
    /// # Errors
    /// [`Tampered`], as there.
    pub fn with_context(
        dek: &Dek,
        context: &[u8],
        header: &[u8; STREAM_HEADER],
    ) -> Result<Self, Tampered> {
        let (salt, commitment) = header
            .split_first_chunk::<SALT_LEN>()
            .expect("the header holds a salt");
        let derived = derive(dek.expose(), context, salt);
        if !bool::from(derived.commitment.as_slice().ct_eq(commitment)) {
            return Err(Tampered);
        }
        Ok(Self {
            cipher: derived.cipher,
            base_nonce: derived.base_nonce,
        })
    }

    /// Opens the full chunk number `index` (from 0) in its slot of [`SLOT`] bytes; the plaintext is in the
    /// first [`CHUNK`] of them.
    ///
    /// # Errors
    /// [`Tampered`]; also for a slot of another size. Nothing of the slot may be released then.
    #[inline]
    pub fn open_chunk(&self, index: u64, slot: &mut [u8]) -> Result<(), Tampered> {
        if slot.len() != SLOT {
            return Err(Tampered);
        }
        self.open(index, slot)
    }

    /// Opens a run of full chunks, the first of which is number `first_index`, each in its slot.
    ///
    /// # Errors
    /// [`Tampered`]; also when `run` is not a whole number of slots. Nothing of it may be released then.
    pub fn open_slots(&self, first_index: u64, run: &mut [u8]) -> Result<(), Tampered> {
        if !run.len().is_multiple_of(SLOT) {
            return Err(Tampered);
        }
        for (slot, index) in run.chunks_exact_mut(SLOT).zip(first_index..) {
            self.open(index, slot)?;
        }
        Ok(())
    }

    /// Opens the last chunk, number `index`: less than 16 KiB and the tag. The plaintext is what precedes
    /// the last [`TAG`] bytes.
    ///
    /// # Errors
    /// [`Tampered`]; also when `slot` is shorter than a tag or as long as a full chunk, for then the stream
    /// was cut.
    pub fn open_last(&self, index: u64, slot: &mut [u8]) -> Result<(), Tampered> {
        if !(TAG..SLOT).contains(&slot.len()) {
            return Err(Tampered);
        }
        self.open(index, slot)
    }

    #[inline]
    fn open(&self, index: u64, slot: &mut [u8]) -> Result<(), Tampered> {
        if index >= MAX_CHUNKS {
            return Err(Tampered);
        }
        let (chunk, tag) = slot.split_last_chunk_mut::<TAG>().ok_or(Tampered)?;
        self.cipher
            .open(nonce(&self.base_nonce, index), &[], chunk, tag)?;
        Ok(())
    }
}

const _: () = assert!(SLOT == CHUNK + TAG && SALT_LEN + COMMITMENT_LEN == STREAM_HEADER);
