//! The `pkcs11` provider: KEKs wrapped inside a token (an HSM, a smart card, SoftHSM) whose key never leaves it.
//!
//! # The wrapped KEK
//!
//! 61 bytes: `0x01`, the format; a nonce of 12 bytes; the KEK under AES-256-GCM (`CKM_AES_GCM`), 32 bytes; its tag of
//! 16 bytes. Additional data: as the [`file`](crate::file) provider's, `sealgate/kek/v1` ‖ 0x00 ‖ key name ‖ 0x00 ‖ key
//! version.
//!
//! # Versions
//!
//! The versions of a key are the AES keys of the token that share its `CKA_LABEL`. The number of each is its `CKA_ID`,
//! big-endian; the newest is the one with the greatest. A rotation is one more key on the token, seen at once.
//!
//! # Threads
//!
//! Calls into a module block, for as long as a network HSM likes. Each takes a thread of tokio's blocking pool and one
//! of [`CALLS_MAX`] permits; both are given back when the module returns, not when the caller stops waiting.

mod failure;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sealgate_aead::{NONCE_LEN, Secret, TAG_LEN};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::file::{additional_data, fill_random, random_secret};
use crate::provider::{GeneratedKek, Provider, ProviderFuture, RewrappedKek};
use failure::Failure;
use token::Token;
pub use token::{Pkcs11Error, TokenSelector};

/// Calls into the module at a time, for one key. HSMs have few processors and sessions cost them memory.
const CALLS_MAX: usize = 8;
/// Keys looked at when the newest is sought. A key a day for 11 years.
const VERSIONS_MAX: usize = 4096;
const FORMAT: u8 = 1;
const KEK_LEN: usize = 32;
const SEALED_AT: usize = 1 + NONCE_LEN;
/// Length of a wrapped KEK, bytes.
const WRAPPED_LEN: usize = SEALED_AT + KEK_LEN + TAG_LEN;

/// Where a key is.
pub struct Pkcs11Config {
    /// The vendor's library.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelector,
    /// The user PIN.
    pub pin: Zeroizing<String>,
    /// `CKA_LABEL` of all versions of the key.
    pub key_label: String,
    /// The token makes nonces and takes none, as FIPS modules of some vendors do.
    pub token_makes_nonces: bool,
}

/// One named key on a token.
pub struct Pkcs11Provider {
    inner: Arc<Inner>,
    calls: Arc<Semaphore>,
}

/// What the blocking threads share.
struct Inner {
    name: String,
    config: Pkcs11Config,
    token: Arc<Token>,
}

impl Pkcs11Provider {
    /// Loads the module for the key called `name` in the configuration. The token is looked for at the first call: a
    /// gateway may start before its HSM.
    ///
    /// # Errors
    /// [`Pkcs11Error`] when the module cannot be loaded or does not start.
    pub fn open(name: &str, config: Pkcs11Config) -> Result<Self, Pkcs11Error> {
        let token = Token::shared(&config.module, &config.token)?;
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                config,
                token,
            }),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    /// Runs a piece of work with a session of its own, on a thread that may block.
    async fn with_session<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &Session) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, KeyError> {
        let permit = Arc::clone(&self.calls).acquire_owned().await;
        let permit = permit.map_err(|_| KeyError::Busy)?;
        let inner = Arc::clone(&self.inner);
        let thread = tokio::task::spawn_blocking(move || {
            let done = inner
                .token
                .with_session(&inner.config.pin, |session| work(&inner, session));
            drop(permit);
            done
        });
        match thread.await {
            Ok(done) => done.map_err(|failure| failure.into_error(&self.inner.name)),
            Err(e) => Err(KeyError::Unavailable {
                reason: format!("the thread that asked the token ended early: {e}"),
                retry_after: Duration::from_secs(1),
            }),
        }
    }
}

impl Inner {
    /// Keys with our label that satisfy `more`, with their numbers.
    fn find(
        &self,
        session: &Session,
        more: &[Attribute],
    ) -> Result<Vec<(u64, ObjectHandle)>, Failure> {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(self.config.key_label.clone().into_bytes()),
        ];
        template.extend_from_slice(more);
        let mut found = Vec::new();
        for handle in session.iter_objects(&template)? {
            if found.len() == VERSIONS_MAX {
                let what = format!("more than {VERSIONS_MAX} keys have the label");
                return Err(self.unfit(&what));
            }
            let handle = handle?;
            let attributes = session.get_attributes(handle, &[AttributeType::Id])?;
            let number = attributes.iter().find_map(|attribute| match attribute {
                Attribute::Id(id) => version_number(id),
                _ => None,
            });
            let Some(number) = number else {
                return Err(self.unfit("a key with the label has a CKA_ID that is no version number (1 to 8 bytes, not zero)"));
            };
            if found.iter().any(|(other, _)| *other == number) {
                return Err(
                    self.unfit(&format!("two keys with the label have the CKA_ID {number}"))
                );
            }
            found.push((number, handle));
        }
        Ok(found)
    }

    /// The version that new KEKs are wrapped with.
    fn newest(&self, session: &Session) -> Result<(u64, ObjectHandle), Failure> {
        let newest = self
            .find(session, &[])?
            .into_iter()
            .max_by_key(|(number, _)| *number);
        let newest = newest.ok_or_else(|| self.unfit("no AES key on the token has the label"))?;
        let wanted = [
            AttributeType::Extractable,
            AttributeType::Sensitive,
            AttributeType::ValueLen,
        ];
        for attribute in session.get_attributes(newest.1, &wanted)? {
            let fault = match attribute {
                Attribute::Extractable(true) => "can be extracted from the token (CKA_EXTRACTABLE)",
                Attribute::Sensitive(false) => {
                    "can be read from the token (CKA_SENSITIVE is false)"
                }
                Attribute::ValueLen(len) if *len != 32 => "is not an AES-256 key",
                _ => continue,
            };
            return Err(self.unfit(&format!(
                "version {} {fault}; nothing is sealed with it",
                newest.0
            )));
        }
        Ok(newest)
    }

    fn unfit(&self, what: &str) -> Failure {
        Failure::Denied(format!("{what} (key_label = {:?})", self.config.key_label))
    }

    fn wrap(&self, session: &Session, kek: &Secret<32>) -> Result<RewrappedKek, Failure> {
        let (version, key) = self.newest(session)?;
        let version = version.to_string();
        let mut nonce = [0; NONCE_LEN];
        if !self.config.token_makes_nonces {
            fill_random(&mut nonce).map_err(Failure::Other)?;
        }
        let sealed = self.seal(session, key, &version, &mut nonce, kek.expose())?;
        if nonce == [0; NONCE_LEN] {
            return Err(Failure::Denied(
                "the token made no nonce: remove `nonce = \"token\"` from the configuration".into(),
            ));
        }
        let mut wrapped = Vec::with_capacity(WRAPPED_LEN);
        wrapped.push(FORMAT);
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&sealed);
        if wrapped.len() != WRAPPED_LEN {
            return Err(Failure::Denied(format!(
                "the token sealed 32 bytes as {}, not as 48: its CKM_AES_GCM is not the standard's",
                sealed.len()
            )));
        }
        Ok(RewrappedKek { wrapped, version })
    }

    /// Seals in the token. The nonce afterwards is the one used: some tokens replace it by their own.
    fn seal(
        &self,
        session: &Session,
        key: ObjectHandle,
        version: &str,
        nonce: &mut [u8; NONCE_LEN],
        kek: &[u8; KEK_LEN],
    ) -> Result<Vec<u8>, Failure> {
        let aad = additional_data(&self.name, version);
        let parameters = GcmParams::new(nonce, &aad, TAG_BITS.into())?;
        Ok(session.encrypt(&Mechanism::AesGcm(parameters), key, kek)?)
    }

    fn unwrap(
        &self,
        session: &Session,
        version: &str,
        wrapped: &[u8],
    ) -> Result<Secret<32>, Failure> {
        let (nonce, sealed) = parse(wrapped)?;
        let number = version
            .parse::<u64>()
            .ok()
            .filter(|n| n.to_string() == version);
        let key = match number {
            Some(number) => self.version(session, number)?,
            None => None,
        };
        let Some(key) = key else {
            return Err(self.unfit(&format!(
                "this object's key-encryption key was wrapped by version {version:?}, which is not on the token"
            )));
        };
        let aad = additional_data(&self.name, version);
        let mut nonce = nonce;
        let parameters = GcmParams::new(&mut nonce, &aad, TAG_BITS.into())?;
        let opened = session
            .decrypt(&Mechanism::AesGcm(parameters), key, sealed)
            .map(Zeroizing::new);
        match opened.map_err(Failure::from) {
            Ok(kek) => Secret::from_slice(&kek).ok_or_else(|| {
                Failure::Invalid(format!(
                    "the token opened {} bytes, not {KEK_LEN}",
                    kek.len()
                ))
            }),
            // Tokens say no more than that when a tag is wrong, and the same when they are unwell.
            Err(Failure::Vague(what)) => Err(match self.is_well(session, key, version) {
                Ok(()) => Failure::Invalid(format!(
                    "it does not open under version {version} of the key ({what})"
                )),
                Err(failure) => failure,
            }),
            Err(failure) => Err(failure),
        }
    }

    /// The key of one version.
    fn version(&self, session: &Session, number: u64) -> Result<Option<ObjectHandle>, Failure> {
        // Not sought by its CKA_ID: 1 may be written as 01 or as 0001.
        let found = self.find(session, &[])?;
        Ok(found
            .into_iter()
            .find(|(other, _)| *other == number)
            .map(|(_, handle)| handle))
    }

    /// Whether the token does with this key what it should.
    fn is_well(&self, session: &Session, key: ObjectHandle, version: &str) -> Result<(), Failure> {
        let probe = [0x5e; KEK_LEN];
        let mut nonce = [0; NONCE_LEN];
        if !self.config.token_makes_nonces {
            fill_random(&mut nonce).map_err(Failure::Other)?;
        }
        let sealed = match self.seal(session, key, version, &mut nonce, &probe) {
            Ok(sealed) => sealed,
            // An old version may be for decryption alone: a definite answer shows a token that works.
            Err(Failure::Denied(_)) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let aad = additional_data(&self.name, version);
        let parameters = GcmParams::new(&mut nonce, &aad, TAG_BITS.into())?;
        let opened = session.decrypt(&Mechanism::AesGcm(parameters), key, &sealed)?;
        if opened == probe {
            Ok(())
        } else {
            Err(Failure::Vague(
                "the token opens other bytes than it sealed".into(),
            ))
        }
    }
}

const TAG_BITS: u64 = TAG_LEN as u64 * 8;

/// The number that a `CKA_ID` is.
fn version_number(id: &[u8]) -> Option<u64> {
    let significant = &id[id.iter().position(|byte| *byte != 0)?..];
    let mut bytes = [0; 8];
    let at = bytes.len().checked_sub(significant.len())?;
    bytes[at..].copy_from_slice(significant);
    Some(u64::from_be_bytes(bytes))
}

/// Nonce, and ciphertext with tag.
fn parse(wrapped: &[u8]) -> Result<([u8; NONCE_LEN], &[u8]), Failure> {
    if wrapped.first().is_some_and(|format| *format != FORMAT) {
        return Err(Failure::Invalid(format!(
            "format {} of a key wrapped by a token is not known here, only {FORMAT}",
            wrapped[0]
        )));
    }
    if wrapped.len() != WRAPPED_LEN {
        return Err(Failure::Invalid(format!(
            "it has {} bytes, a key wrapped by a token has {WRAPPED_LEN}",
            wrapped.len()
        )));
    }
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&wrapped[1..SEALED_AT]);
    Ok((nonce, &wrapped[SEALED_AT..]))
}

impl Provider for Pkcs11Provider {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(self.with_session(|inner, session| {
            let kek = random_secret().map_err(Failure::Other)?;
            let RewrappedKek { wrapped, version } = inner.wrap(session, &kek)?;
            Ok(GeneratedKek {
                kek,
                wrapped,
                version,
            })
        }))
    }

    fn unwrap<'a>(&'a self, version: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        let (version, wrapped) = (version.to_owned(), wrapped.to_vec());
        Box::pin(self.with_session(move |inner, session| inner.unwrap(session, &version, &wrapped)))
    }

    fn rewrap<'a>(
        &'a self,
        version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        let (version, wrapped) = (version.to_owned(), wrapped.to_vec());
        Box::pin(self.with_session(move |inner, session| {
            inner.wrap(session, &inner.unwrap(session, &version, &wrapped)?)
        }))
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(self.with_session(|inner, session| Ok(Some(inner.newest(session)?.0.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use super::version_number;

    #[test]
    fn a_cka_id_is_a_number() {
        for (id, number) in [
            (&[1][..], Some(1)),
            (&[0, 0, 1], Some(1)),
            (&[1, 0], Some(256)),
            (
                &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Some(u64::MAX),
            ),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0, 0], None),
            (&[], None),
        ] {
            assert_eq!(version_number(id), number, "{id:?}");
        }
    }
}
