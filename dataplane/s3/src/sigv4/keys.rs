//! Secrets, the signing keys derived from them, and a cache of those.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use zeroize::{Zeroize, Zeroizing};

/// A secret access key: wiped on drop, never printed, never compared with `==`:
///
/// ```compile_fail,E0369
/// use sealgate_s3::sigv4::SecretKey;
/// let equal = SecretKey::new(b"a") == SecretKey::new(b"a");
/// ```
pub struct SecretKey {
    /// `AWS4` and the secret, as the derivation needs it.
    prefixed: Zeroizing<Vec<u8>>,
    /// Tells two secrets of one access key apart in a cache without comparing them.
    identity: u64,
}

static NEXT_IDENTITY: AtomicU64 = AtomicU64::new(0);

impl SecretKey {
    /// Copies a secret; the caller wipes its own copy.
    pub fn new(secret: &[u8]) -> Self {
        let mut prefixed = Zeroizing::new(Vec::with_capacity(secret.len() + 4));
        prefixed.extend_from_slice(b"AWS4");
        prefixed.extend_from_slice(secret);
        Self {
            prefixed,
            identity: NEXT_IDENTITY.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The secret itself, for what is not derived from `AWS4` and the secret.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.prefixed[4..]
    }

    /// A second handle on the same secret, with the same place in caches.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            prefixed: self.prefixed.clone(),
            identity: self.identity,
        }
    }
}

/// The key for one secret, day, region and service. aws-lc wipes the HMAC state on drop.
#[derive(Clone)]
pub struct SigningKey(Rc<hmac::Key>);

impl SigningKey {
    /// Derives it (S3 API Reference, "Calculating a signature"); `date` is `YYYYMMDD`.
    pub fn derive(secret: &SecretKey, date: &[u8], region: &[u8], service: &[u8]) -> Self {
        let mut step = Zeroizing::new([0; 32]);
        mac(&secret.prefixed, date, &mut step);
        for data in [region, service, b"aws4_request"] {
            let key = step.clone();
            mac(&*key, data, &mut step);
        }
        Self(Rc::new(hmac::Key::new(hmac::HMAC_SHA256, &*step)))
    }

    /// The signature of a string to sign.
    pub fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        hmac::sign_to_buffer(&self.0, string_to_sign, &mut out)
            .expect("HMAC-SHA-256 fits 32 bytes");
        out
    }
}

fn mac(key: &[u8], data: &[u8], out: &mut [u8; 32]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign_to_buffer(&key, data, out).expect("HMAC-SHA-256 fits 32 bytes");
}

/// Most signing keys kept by one core: one per active access key, two around midnight.
const MAX_KEYS: usize = 256;

struct Entry {
    identity: u64,
    date: [u8; 8],
    region: Box<[u8]>,
    key: SigningKey,
}

/// Signing keys by (secret, date, region), and the scratch space of a verification. One per core.
#[derive(Default)]
pub struct SigningKeyCache {
    entries: Vec<Entry>,
    pub(crate) scratch: Vec<u8>,
}

impl SigningKeyCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key for the service `s3`, derived on the first use. Found keys move to the front.
    pub fn get(&mut self, secret: &SecretKey, date: [u8; 8], region: &[u8]) -> SigningKey {
        let found = self
            .entries
            .iter()
            .position(|e| e.identity == secret.identity && e.date == date && *e.region == *region);
        match found {
            Some(0) => {}
            // Half-way towards the front: cheap, and busy keys end up there.
            Some(at) => self.entries.swap(at, at / 2),
            None => {
                let key = SigningKey::derive(secret, &date, region, b"s3");
                self.entries.truncate(MAX_KEYS - 1);
                self.entries.push(Entry {
                    identity: secret.identity,
                    date,
                    region: region.into(),
                    key: key.clone(),
                });
                return key;
            }
        }
        let at = found.unwrap_or(0);
        self.entries[at / 2].key.clone()
    }

    /// Forgets all keys, as after a change of secrets.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.scratch.zeroize();
    }

    /// Number of keys held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_signing_key() {
        // IAM User Guide, "Examples of how to derive a signing key for Signature Version 4".
        let secret = SecretKey::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let key = SigningKey::derive(&secret, b"20120215", b"us-east-1", b"iam");
        let direct = hmac::Key::new(
            hmac::HMAC_SHA256,
            &hex::decode("f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d")
                .unwrap(),
        );
        assert_eq!(key.sign(b"x"), hmac::sign(&direct, b"x").as_ref());
    }

    #[test]
    fn the_cache_tells_secrets_days_and_regions_apart_and_stays_small() {
        let (a, b) = (SecretKey::new(b"a"), SecretKey::new(b"b"));
        let mut cache = SigningKeyCache::new();
        let direct =
            |s: &SecretKey, d: &[u8], r: &[u8]| SigningKey::derive(s, d, r, b"s3").sign(b"");
        for _ in 0..3 {
            for (s, d, r) in [
                (&a, *b"20200101", "x"),
                (&b, *b"20200101", "x"),
                (&a, *b"20200102", "x"),
                (&a, *b"20200101", "y"),
            ] {
                assert_eq!(
                    cache.get(s, d, r.as_bytes()).sign(b""),
                    direct(s, &d, r.as_bytes())
                );
            }
        }
        assert_eq!(cache.len(), 4);
        for i in 0..1000 {
            cache.get(&a, *b"20200101", i.to_string().as_bytes());
        }
        assert!(cache.len() <= MAX_KEYS);
        assert_eq!(
            cache.get(&a.duplicate(), *b"20200101", b"x").sign(b""),
            direct(&a, b"20200101", b"x")
        );
    }
}
