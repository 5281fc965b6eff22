//! AES-256-GCM with a detached tag, in place.

use std::fmt;

use crate::arena::{Locked, scrub_stack};
use crate::choice::{Library, selected};
use crate::secret::Secret;

/// Bytes of an AES-256 key.
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce (96 bits, the size for which GCM needs no extra hashing: NIST SP 800-38D, 5.2.1.1).
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag (full length, 128 bits).
pub const TAG_LEN: usize = 16;

/// The bytes, the tag, the nonce or the associated data are not those of the sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the AES-256-GCM tag does not match")
    }
}

impl std::error::Error for Forged {}

/// Not inlined, so that everything ring leaves on the stack is below the caller's frame, where it is scrubbed.
#[inline(never)]
fn expand_by_ring(key: &Secret<KEY_LEN>) -> Locked<ring::aead::LessSafeKey> {
    use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
    let key = UnboundKey::new(&AES_256_GCM, key.expose());
    Locked::new(LessSafeKey::new(key.expect("the key has 32 bytes")))
}

/// An expanded AES-256-GCM key. It can be used from several threads at once.
pub struct Aes256Gcm(Inner);

enum Inner {
    /// Wiped by AWS-LC when it is freed.
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    /// In key memory, and wiped here: ring does not do it.
    Ring(Locked<ring::aead::LessSafeKey>),
}

impl Aes256Gcm {
    /// Expands `key` for the library that [`selected`] names.
    pub fn new(key: &Secret<KEY_LEN>) -> Self {
        Self::with_library(selected(), key)
    }

    /// Expands `key` for the given library.
    pub fn with_library(library: Library, key: &Secret<KEY_LEN>) -> Self {
        Self(match library {
            Library::AwsLc => {
                use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
                let key = UnboundKey::new(&AES_256_GCM, key.expose());
                Inner::AwsLc(LessSafeKey::new(key.expect("the key has 32 bytes")))
            }
            Library::Ring => {
                let expanded = expand_by_ring(key);
                scrub_stack();
                Inner::Ring(expanded)
            }
        })
    }

    /// The library that does the work.
    pub fn library(&self) -> Library {
        match self.0 {
            Inner::AwsLc(_) => Library::AwsLc,
            Inner::Ring(_) => Library::Ring,
        }
    }

    /// Encrypts `in_out` in place and returns its tag. A nonce must be used once only under one key.
    ///
    /// # Panics
    /// When `in_out` has 64 GiB or more, GCM's limit: a mistake of the caller, who seals chunks.
    #[inline]
    pub fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        let mut bytes = [0; TAG_LEN];
        match &self.0 {
            Inner::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), in_out);
                bytes.copy_from_slice(tag.expect("less than 64 GiB").as_ref());
            }
            Inner::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), in_out);
                bytes.copy_from_slice(tag.expect("less than 64 GiB").as_ref());
            }
        }
        bytes
    }

    /// Checks `tag` and decrypts `in_out` in place.
    ///
    /// # Errors
    /// [`Forged`] when the check fails; the contents of `in_out` are then of no use to anyone and must not
    /// be released.
    #[inline]
    pub fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Forged> {
        match &self.0 {
            Inner::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, in_out)
                    .map(drop)
                    .map_err(|_| Forged)
            }
            Inner::Ring(key) => {
                use ring::aead::{Aad, Nonce, Tag};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*tag), in_out, 0..)
                    .map(drop)
                    .map_err(|_| Forged)
            }
        }
    }
}
