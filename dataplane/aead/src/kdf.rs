//! HKDF (RFC 5869) and HMAC with SHA-512, by AWS-LC.

use aws_lc_rs::{hkdf, hmac};
use subtle::ConstantTimeEq;

use crate::arena::scrub_stack;
use crate::secret::Secret;

/// Bytes of a SHA-512 digest.
const DIGEST_LEN: usize = 64;

/// A whole HMAC-SHA-512 value. It compares in constant time, and not by `==`:
///
/// ```compile_fail,E0369
/// let mac = sealgate_aead::hmac_sha512(b"key", &[b"message"]);
/// let equal = mac == mac;
/// ```
#[derive(Clone, Copy)]
pub struct Mac([u8; DIGEST_LEN]);

impl Mac {
    /// Whether `claimed` is the beginning of this value: `N` bytes of a truncated MAC, compared in
    /// constant time.
    pub fn starts_with<const N: usize>(&self, claimed: &[u8; N]) -> bool {
        const {
            assert!(
                N >= 16 && N <= DIGEST_LEN,
                "a MAC keeps at least 128 of its 512 bits"
            )
        };
        self.0[..N].ct_eq(claimed).into()
    }

    /// The first `N` bytes, to be sent.
    pub fn truncated<const N: usize>(&self) -> [u8; N] {
        const {
            assert!(
                N >= 16 && N <= DIGEST_LEN,
                "a MAC keeps at least 128 of its 512 bits"
            )
        };
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[..N]);
        bytes
    }
}

/// HMAC-SHA-512 of the concatenation of `parts`. Variable-length parts must be encoded so that no two
/// messages concatenate to the same bytes.
pub fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Mac {
    let mac = authenticate(key, parts);
    scrub_stack();
    mac
}

/// Not inlined, as `expand`.
#[inline(never)]
fn authenticate(key: &[u8], parts: &[&[u8]]) -> Mac {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, key));
    for part in parts {
        context.update(part);
    }
    let mut mac = [0; DIGEST_LEN];
    mac.copy_from_slice(context.sign().as_ref());
    Mac(mac)
}

/// HKDF-Extract: the pseudorandom key of a secret that is not uniformly random.
pub fn hkdf_extract_sha512(salt: &[u8], secret: &[u8]) -> Secret<DIGEST_LEN> {
    Secret::new(hmac_sha512(salt, &[secret]).0)
}

/// HKDF-Expand: fills `out` from the pseudorandom `key` and the concatenation of the `info` parts, which
/// must be encoded unambiguously.
///
/// # Panics
/// When `key` has more than 64 bytes or `out` more than 255 · 64: mistakes of the caller.
pub fn hkdf_expand_sha512(key: &[u8], info: &[&[u8]], out: &mut [u8]) {
    expand(key, info, out);
    scrub_stack();
}

/// Not inlined, so that the copies of the key that moves leave behind are below the caller's frame, where they are
/// scrubbed: the library wipes only the last one.
#[inline(never)]
fn expand(key: &[u8], info: &[&[u8]], out: &mut [u8]) {
    struct OutputLen(usize);
    impl hkdf::KeyType for OutputLen {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA512, key);
    prk.expand(info, OutputLen(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("HKDF-Expand makes at most 255 · 64 bytes");
}
