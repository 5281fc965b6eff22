//! The `kmip` provider: KEKs wrapped by a KMIP server's Encrypt, opened by its Decrypt.
//!
//! # The wrapped KEK
//!
//! With AES-GCM, 61 bytes: `0x01`; a nonce of 12 bytes; the KEK under AES-256-GCM, 32 bytes; its tag of 16. Additional
//! data: ASCII `sealgate/kek/v1` ‖ 0x00 ‖ key name.
//!
//! With RFC 5649, for servers without GCM, 49 bytes: `0x02`; AES-KWP of the KEK ‖ name check, 48 bytes. The name check
//! is the first 8 bytes of SHA-256(`sealgate/kek/v1` ‖ 0x00 ‖ key name): key wrapping has no additional data.
//!
//! # Versions
//!
//! The version of a key is the server's unique identifier of it. ReKey makes a new object: the old one only decrypts
//! from then on, and each has a link to the other. The provider starts from the identifier in its configuration and
//! follows replacement links to the newest before it wraps, and replaced links back when an object needs an older one.
//! Only keys of that line, and those configured, are ever asked to decrypt. Where a server keeps no links, old
//! identifiers are configured.

mod json;
mod message;
#[cfg(test)]
mod tests;
mod transport;
mod ttlv;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sealgate_aead::{NONCE_LEN, Secret, TAG_LEN};
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::file::{fill_random, random_secret};
use crate::provider::{GeneratedKek, Provider, ProviderFuture, RewrappedKek};
pub use crate::tls::TlsFiles;
pub use message::KmipVersion;
use message::{Item, Refusal, Tag};
use transport::{Https, Tls, Transport};

const KEK_LEN: usize = 32;
const BY_GCM: u8 = 1;
const BY_KEY_WRAP: u8 = 2;
const GCM_LEN: usize = 1 + NONCE_LEN + KEK_LEN + TAG_LEN;
const CHECK_LEN: usize = 8;
/// RFC 5649 adds 8 bytes to a multiple of 8.
const KEY_WRAP_LEN: usize = 1 + KEK_LEN + CHECK_LEN + 8;
/// Links followed in one direction: a ReKey a month for 20 years.
const LINKS_MAX: usize = 256;
/// Longest version that an envelope has room for, bytes.
const VERSION_MAX: usize = 128;

/// Where a server is, and how it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmipEndpoint {
    /// JSON, posted to `/kmip/2_1` below this URL.
    Json {
        /// `https://host[:port]`
        url: String,
    },
    /// The binary encoding over TLS.
    Binary {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

/// How the server wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmipWrap {
    /// AES-GCM, bound to the key's name by additional data.
    AesGcm,
    /// RFC 5649, bound to the key's name by a check beside the KEK.
    AesKeyWrapPadding,
}

/// One key at one server.
pub struct KmipConfig {
    /// The server.
    pub endpoint: KmipEndpoint,
    /// Protocol version that requests carry.
    pub version: KmipVersion,
    /// Unique identifier of the key, or of one that it replaced.
    pub uid: String,
    /// Identifiers of older keys that only decrypt, for servers that keep no links.
    pub old_uids: Vec<String>,
    /// How new KEKs are wrapped; both ways are opened.
    pub wrap: KmipWrap,
    /// Bearer token, for JSON.
    pub token: Option<Zeroizing<String>>,
    /// Certificates.
    pub tls: TlsFiles,
}

/// One named key at one KMIP server.
pub struct KmipProvider {
    name: String,
    transport: Transport,
    version: KmipVersion,
    wrap: KmipWrap,
    line: Mutex<Line>,
}

/// The keys that are versions of one.
struct Line {
    newest: String,
    oldest: String,
    known: BTreeSet<String>,
    /// All that the oldest replaced has been looked for.
    complete: bool,
}

impl KmipProvider {
    /// A provider for the key called `name` in the configuration. Nothing is asked yet.
    ///
    /// # Errors
    /// What is wrong with certificates, token or address.
    pub fn new(name: &str, config: KmipConfig) -> Result<Self, String> {
        let tls = crate::tls::client_config(&config.tls)?;
        let transport = match &config.endpoint {
            KmipEndpoint::Json { url } => {
                let token = config.token.as_ref().map(|token| token.as_str());
                Transport::Https(Https::new(url, &tls, token)?)
            }
            KmipEndpoint::Binary { host, port } => Transport::Tls(Tls::new(host, *port, tls)?),
        };
        let mut known = BTreeSet::from_iter(config.old_uids);
        known.insert(config.uid.clone());
        let line = Line {
            newest: config.uid.clone(),
            oldest: config.uid,
            known,
            complete: false,
        };
        Ok(Self {
            name: name.to_owned(),
            transport,
            version: config.version,
            wrap: config.wrap,
            line: Mutex::new(line),
        })
    }

    fn line<T>(&self, look: impl FnOnce(&mut Line) -> T) -> T {
        look(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn call(
        &self,
        operation: u32,
        payload: Vec<Item>,
    ) -> Result<Result<Vec<Item>, Refusal>, KeyError> {
        let request = message::request(self.version, operation, payload);
        let answer = self.transport.exchange(&request).await?;
        message::payload(answer).map_err(|why| KeyError::Unavailable {
            reason: format!("the KMIP server's answer makes no sense: {why}"),
            retry_after: Duration::from_secs(1),
        })
    }

    /// The key that a key is linked to.
    async fn linked(&self, uid: &str, link: u32) -> Result<Option<String>, KeyError> {
        let payload = vec![Item::text(Tag::UNIQUE_IDENTIFIER, uid)];
        match self.call(message::GET_ATTRIBUTES, payload).await? {
            Ok(items) => Ok(message::linked(&items, link)
                .filter(|next| (1..=VERSION_MAX).contains(&next.len()))
                .map(str::to_owned)),
            // Then it has no links to follow either.
            Err(refusal) if refusal.reason == message::OPERATION_NOT_SUPPORTED => Ok(None),
            Err(refusal) => Err(self.refused(refusal, "look at")),
        }
    }

    /// Follows replacement links to the key that wraps now.
    async fn newest(&self) -> Result<String, KeyError> {
        let mut newest = self.line(|line| line.newest.clone());
        for _ in 0..LINKS_MAX {
            let Some(next) = self
                .linked(&newest, message::REPLACEMENT_OBJECT_LINK)
                .await?
            else {
                return Ok(newest);
            };
            self.line(|line| {
                line.known.insert(next.clone());
                line.newest.clone_from(&next);
            });
            newest = next;
        }
        Err(KeyError::Denied(format!(
            "the KMIP key of {:?} has been replaced more than {LINKS_MAX} times, or its links go round in a circle: \
             configure the uid of the newest",
            self.name
        )))
    }

    /// Whether a version is one of this key's; looks along the links before it says no.
    async fn is_ours(&self, version: &str) -> Result<bool, KeyError> {
        let known = |line: &mut Line| line.known.contains(version);
        if self.line(known) {
            return Ok(true);
        }
        self.newest().await?;
        for _ in 0..LINKS_MAX {
            if self.line(known) {
                return Ok(true);
            }
            if self.line(|line| line.complete) {
                return Ok(false);
            }
            let oldest = self.line(|line| line.oldest.clone());
            let before = self.linked(&oldest, message::REPLACED_OBJECT_LINK).await?;
            self.line(|line| match before {
                Some(uid) => {
                    // A circle ends here.
                    line.complete = !line.known.insert(uid.clone());
                    line.oldest = uid;
                }
                None => line.complete = true,
            });
        }
        Ok(self.line(known))
    }

    async fn wrap_now(&self, kek: &Secret<KEK_LEN>) -> Result<RewrappedKek, KeyError> {
        let uid = self.newest().await?;
        let wrapped = match self.wrap {
            KmipWrap::AesGcm => self.encrypt_gcm(&uid, kek.expose()).await?,
            KmipWrap::AesKeyWrapPadding => {
                let mut plain = Zeroizing::new([0; KEK_LEN + CHECK_LEN]);
                plain[..KEK_LEN].copy_from_slice(kek.expose());
                plain[KEK_LEN..].copy_from_slice(&self.name_check());
                let payload = vec![
                    Item::text(Tag::UNIQUE_IDENTIFIER, &uid),
                    parameters(KmipWrap::AesKeyWrapPadding),
                    Item::bytes(Tag::DATA, &*plain),
                ];
                let answer = self.call(message::ENCRYPT, payload).await?;
                let items = answer.map_err(|refusal| self.refused(refusal, "encrypt with"))?;
                let data = bytes(&items, Tag::DATA).unwrap_or_default();
                [&[BY_KEY_WRAP][..], data].concat()
            }
        };
        let expected = match self.wrap {
            KmipWrap::AesGcm => GCM_LEN,
            KmipWrap::AesKeyWrapPadding => KEY_WRAP_LEN,
        };
        if wrapped.len() != expected {
            return Err(KeyError::Denied(format!(
                "the KMIP server made {} bytes of what should be {expected} for key {:?}: its encryption is not the \
                 standard's",
                wrapped.len(),
                self.name
            )));
        }
        Ok(RewrappedKek {
            wrapped,
            version: uid,
        })
    }

    async fn encrypt_gcm(&self, uid: &str, plain: &[u8; KEK_LEN]) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce)?;
        let payload = vec![
            Item::text(Tag::UNIQUE_IDENTIFIER, uid),
            parameters(KmipWrap::AesGcm),
            Item::bytes(Tag::DATA, plain),
            Item::bytes(Tag::NONCE, &nonce),
            Item::bytes(Tag::AUTHENTICATED_DATA, &self.additional_data()),
        ];
        let answer = self.call(message::ENCRYPT, payload).await?;
        let items = answer.map_err(|refusal| self.refused(refusal, "encrypt with"))?;
        // A server may have made a nonce of its own.
        let nonce = bytes(&items, Tag::NONCE).unwrap_or(&nonce);
        let data = bytes(&items, Tag::DATA).unwrap_or_default();
        let tag = bytes(&items, Tag::AUTHENTICATION_TAG).unwrap_or_default();
        Ok([&[BY_GCM][..], nonce, data, tag].concat())
    }

    async fn decrypt_gcm(
        &self,
        uid: &str,
        wrapped: &[u8],
    ) -> Result<Result<Vec<Item>, Refusal>, KeyError> {
        let (nonce, rest) = wrapped[1..].split_at(NONCE_LEN);
        let (data, tag) = rest.split_at(KEK_LEN);
        let payload = vec![
            Item::text(Tag::UNIQUE_IDENTIFIER, uid),
            parameters(KmipWrap::AesGcm),
            Item::bytes(Tag::DATA, data),
            Item::bytes(Tag::NONCE, nonce),
            Item::bytes(Tag::AUTHENTICATED_DATA, &self.additional_data()),
            Item::bytes(Tag::AUTHENTICATION_TAG, tag),
        ];
        self.call(message::DECRYPT, payload).await
    }

    async fn unwrap_now(&self, version: &str, wrapped: &[u8]) -> Result<Secret<32>, KeyError> {
        let by_gcm = match (wrapped.first(), wrapped.len()) {
            (Some(&BY_GCM), GCM_LEN) => true,
            (Some(&BY_KEY_WRAP), KEY_WRAP_LEN) => false,
            (format, len) => {
                return Err(KeyError::Invalid(format!(
                    "it has format {format:?} and {len} bytes; a key wrapped by a KMIP server has format 1 and {GCM_LEN} \
                     bytes, or format 2 and {KEY_WRAP_LEN}"
                )));
            }
        };
        if version.is_empty() || version.len() > VERSION_MAX || !self.is_ours(version).await? {
            return Err(KeyError::Denied(format!(
                "this object's key-encryption key was wrapped by key {:?} version {version:?}, which is neither the \
                 configured KMIP key nor linked to it: add it to old_uids",
                self.name
            )));
        }
        let answer = if by_gcm {
            self.decrypt_gcm(version, wrapped).await?
        } else {
            let payload = vec![
                Item::text(Tag::UNIQUE_IDENTIFIER, version),
                parameters(KmipWrap::AesKeyWrapPadding),
                Item::bytes(Tag::DATA, &wrapped[1..]),
            ];
            self.call(message::DECRYPT, payload).await?
        };
        let items = match answer {
            Ok(items) => items,
            Err(refusal) if refusal.reason == message::CRYPTOGRAPHIC_FAILURE => {
                return Err(self.forged(&refusal.text));
            }
            // Some servers say no more than that of a wrong tag, and the same when they are unwell.
            Err(refusal) if is_vague(&refusal) => {
                return Err(match self.is_well(by_gcm).await {
                    true => self.forged(&refusal.text),
                    false => self.refused(refusal, "decrypt with"),
                });
            }
            Err(refusal) => return Err(self.refused(refusal, "decrypt with")),
        };
        let plain = bytes(&items, Tag::DATA).unwrap_or_default();
        let kek = if by_gcm {
            plain
        } else {
            let split = plain.split_at_checked(KEK_LEN);
            let (kek, check) = split.ok_or_else(|| self.forged("it is too short"))?;
            if check != self.name_check() {
                return Err(self.forged("it was sealed under another key name"));
            }
            kek
        };
        Secret::from_slice(kek).ok_or_else(|| self.forged("it is not 32 bytes long"))
    }

    /// Whether the server does with its newest key what it should.
    async fn is_well(&self, by_gcm: bool) -> bool {
        let probe = async {
            let uid = self.newest().await.ok()?;
            if !by_gcm {
                return Some(());
            }
            let sealed = self.encrypt_gcm(&uid, &[0x5e; KEK_LEN]).await.ok()?;
            let opened = match sealed.len() {
                GCM_LEN => self.decrypt_gcm(&uid, &sealed).await.ok()?.ok()?,
                _ => return None,
            };
            (bytes(&opened, Tag::DATA) == Some(&[0x5e; KEK_LEN])).then_some(())
        };
        probe.await.is_some()
    }

    fn additional_data(&self) -> Vec<u8> {
        format!("sealgate/kek/v1\0{}", self.name).into_bytes()
    }

    fn name_check(&self) -> [u8; CHECK_LEN] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.additional_data());
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&digest.as_ref()[..CHECK_LEN]);
        check
    }

    fn forged(&self, why: &str) -> KeyError {
        KeyError::Invalid(format!(
            "the key-encryption key in this object's envelope does not open under key {:?}: it was changed, or sealed \
             under another key or key name ({why})",
            self.name
        ))
    }

    fn refused(&self, refusal: Refusal, what: &str) -> KeyError {
        let text = format!(
            "key {:?}: the KMIP server does not {what} it: {}",
            self.name, refusal.text
        );
        if refusal.reason == message::SERVER_LIMIT_EXCEEDED {
            return KeyError::Throttled {
                reason: text,
                retry_after: Duration::from_secs(5),
            };
        }
        if is_vague(&refusal) {
            return KeyError::Unavailable {
                reason: text,
                retry_after: Duration::from_secs(1),
            };
        }
        KeyError::Denied(text)
    }
}

/// Whether a refusal says nothing of the request.
fn is_vague(refusal: &Refusal) -> bool {
    use message::{GENERAL_FAILURE, INTERNAL_SERVER_ERROR, STORAGE_UNAVAILABLE, UNKNOWN};
    let vague = [
        GENERAL_FAILURE,
        INTERNAL_SERVER_ERROR,
        STORAGE_UNAVAILABLE,
        UNKNOWN,
    ];
    vague.contains(&refusal.reason)
}

fn parameters(wrap: KmipWrap) -> Item {
    let mode = match wrap {
        KmipWrap::AesGcm => message::GCM,
        KmipWrap::AesKeyWrapPadding => message::AES_KEY_WRAP_PADDING,
    };
    let mut items = vec![
        Item::enumeration(Tag::BLOCK_CIPHER_MODE, mode),
        Item::enumeration(Tag::CRYPTOGRAPHIC_ALGORITHM, message::AES),
    ];
    if wrap == KmipWrap::AesGcm {
        items.push(Item::integer(Tag::TAG_LENGTH, TAG_LEN as i32));
    }
    Item::structure(Tag::CRYPTOGRAPHIC_PARAMETERS, items)
}

fn bytes(items: &[Item], tag: Tag) -> Option<&[u8]> {
    message::find(items, tag)?.as_bytes()
}

impl Provider for KmipProvider {
    fn kind(&self) -> &'static str {
        "kmip"
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(async {
            let kek = random_secret()?;
            let RewrappedKek { wrapped, version } = self.wrap_now(&kek).await?;
            Ok(GeneratedKek {
                kek,
                wrapped,
                version,
            })
        })
    }

    fn unwrap<'a>(&'a self, version: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        Box::pin(self.unwrap_now(version, wrapped))
    }

    fn rewrap<'a>(
        &'a self,
        version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        Box::pin(async move {
            let kek = self.unwrap_now(version, wrapped).await?;
            self.wrap_now(&kek).await
        })
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async { self.newest().await.map(Some) })
    }
}
