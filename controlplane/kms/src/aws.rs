//! The `aws-kms` provider: KEKs made and unwrapped by AWS KMS, one provider for each region of a key.
//!
//! # Version
//!
//! [`GeneratedKek::version`] is the KMS key's id and, where KMS says which, the first 12 digits of the id of its key
//! material: `1234abcd-12ab-34cd-56ef-1234567890ab/0123456789ab`. It changes when an alias moves to another key and
//! when the key is rotated, and is stable otherwise. A multi-Region key has the same id in all its regions.
//!
//! # Which key may unwrap
//!
//! `Decrypt` is always called with a `KeyId`, so that KMS refuses every other key. Which one is decided by the
//! configuration alone: a version found in an envelope can only choose among what the configuration allows, see
//! [`AwsProvider::opener`].
//!
//! # What is wiped
//!
//! The SDK's copy of a KEK is wiped as soon as it is in a [`Secret`]. The text of KMS's answer, which holds the KEK in
//! base64, passes through buffers of the SDK, of hyper and of rustls, which do not wipe themselves: that is left to the
//! heap of the threads that these calls run on, and idle connections are closed soon.

mod context;
mod credentials;
mod fault;
mod session;

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use sealgate_aead::Secret;
use sealgate_config::{AwsKey, AwsKms, AwsRegion, is_aws_key_id};
use zeroize::Zeroizing;

pub use context::{CONTEXT_KEY, context_value};
use fault::Fault;
use session::Session;

use crate::error::KeyError;
use crate::provider::{GeneratedKek, Provider, ProviderFuture, RewrappedKek};

/// Digits of a key material's id in a version: enough to tell the few of one key apart.
const MATERIAL_DIGITS: usize = 12;
/// When to come back after a failure that nobody has to mend.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One named key in one region of AWS KMS.
pub struct AwsProvider {
    name: String,
    key: AwsKey,
    previous: Vec<AwsKey>,
    region: String,
    /// Whether other regions have to open what this one wraps.
    shared: bool,
    context: String,
    session: Session,
}

impl AwsProvider {
    /// The providers of the key called `name` in the configuration, each with its region, in the configured order.
    /// Nothing is asked for yet: credentials are looked for with the first call.
    ///
    /// # Errors
    /// A CA file that cannot be used, in words.
    pub fn open(name: &str, config: &AwsKms) -> Result<Vec<(String, Self)>, String> {
        Self::open_as(name, config, None)
    }

    /// As [`AwsProvider::open`], with credentials of the caller's instead of those that AWS tools would find.
    ///
    /// # Errors
    /// As [`AwsProvider::open`].
    pub fn open_as(
        name: &str,
        config: &AwsKms,
        credentials: Option<&SharedCredentialsProvider>,
    ) -> Result<Vec<(String, Self)>, String> {
        let one = |place: &AwsRegion| {
            let provider = Self {
                name: name.to_owned(),
                key: config.key.clone(),
                previous: config.previous.clone(),
                region: place.name.clone(),
                shared: config.regions.len() > 1,
                context: context_value(name),
                session: Session::new(config, place, credentials.cloned())?,
            };
            Ok((place.name.clone(), provider))
        };
        config.regions.iter().map(one).collect()
    }

    /// What to call the key that has to open a KEK of this version.
    ///
    /// * A key in `previous_key_ids` opens what it wrapped.
    /// * A key that is configured by its id or ARN opens only what it wrapped itself.
    /// * An alias may have pointed to another key when the KEK was wrapped. Without `previous_key_ids` the key that
    ///   the version names is asked for, in the alias's own account and this region, never elsewhere: what the gateway
    ///   may use there is for IAM and the key policies to say. With `previous_key_ids` they and the key that the alias
    ///   points to now are all.
    fn opener(&self, version: &str) -> Result<String, KeyError> {
        let id = id_of(version);
        if !is_aws_key_id(id) {
            let what = format!(
                "the version {version:?} of key {:?} names no KMS key",
                self.name
            );
            return Err(KeyError::Invalid(what));
        }
        if let Some(earlier) = self.previous.iter().find(|key| key.id() == Some(id)) {
            return Ok(earlier.in_region(&self.region));
        }
        match self.key.id() {
            Some(own) if own == id => Ok(self.key.in_region(&self.region)),
            Some(_) => Err(KeyError::Denied(format!(
                "the key-encryption key was wrapped by another KMS key than the key_id of key {:?}: add the key id \
                 that the object's key version begins with to previous_key_ids",
                self.name
            ))),
            None if self.previous.is_empty() => Ok(self.key.neighbour(&self.region, id)),
            None => Ok(self.key.in_region(&self.region)),
        }
    }

    /// The version of a key that KMS names in an answer.
    fn version(&self, arn: Option<&str>, material: Option<&str>) -> Result<String, KeyError> {
        let id = key_of(arn);
        if !is_aws_key_id(id) {
            return Err(self.strange("an answer that names no key"));
        }
        if self.shared && !id.starts_with("mrk-") {
            return Err(KeyError::Denied(format!(
                "{} is a single-Region key, but key {:?} is configured with several regions: point the alias to a \
                 multi-Region key (mrk-…) in each of them, or configure one region",
                self.key.alias().unwrap_or("key_id"),
                self.name
            )));
        }
        // A multi-Region key's material is one in all regions; what they call it need not be.
        let material = material.filter(|_| !id.starts_with("mrk-"));
        let material = material.and_then(|m| m.get(..MATERIAL_DIGITS));
        Ok(match material {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                format!("{id}/{digits}")
            }
            _ => id.to_owned(),
        })
    }

    /// The 32 bytes of an answer; the SDK's copy is wiped.
    fn kek(&self, plaintext: Option<Blob>) -> Result<Secret<32>, KeyError> {
        let bytes = Zeroizing::new(plaintext.map(Blob::into_inner).unwrap_or_default());
        Secret::from_slice(&bytes).ok_or_else(|| {
            self.strange(&format!(
                "a plaintext of {} bytes instead of 32",
                bytes.len()
            ))
        })
    }

    /// An answer that KMS does not give.
    fn strange(&self, what: &str) -> KeyError {
        KeyError::Invalid(format!(
            "KMS in {} gave {what} for key {:?}",
            self.region, self.name
        ))
    }

    fn failed(&self, action: &'static str, fault: Fault) -> KeyError {
        if fault.stale_credentials() {
            self.session.renew();
        }
        fault.describe(action, &self.name, &self.region)
    }

    async fn generate_now(&self) -> Result<GeneratedKek, KeyError> {
        let client = self.session.client().await;
        let answer = client
            .generate_data_key()
            .key_id(self.key.in_region(&self.region))
            .key_spec(DataKeySpec::Aes256)
            .encryption_context(CONTEXT_KEY, &self.context)
            .send()
            .await
            .map_err(|e| self.failed("GenerateDataKey", Fault::new(&e)))?;
        // First of all, so that it is wiped whatever else is wrong.
        let kek = self.kek(answer.plaintext)?;
        Ok(GeneratedKek {
            kek,
            version: self.version(answer.key_id.as_deref(), answer.key_material_id.as_deref())?,
            wrapped: self.wrapped(answer.ciphertext_blob)?,
        })
    }

    fn wrapped(&self, blob: Option<Blob>) -> Result<Vec<u8>, KeyError> {
        match blob.map(Blob::into_inner) {
            Some(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(self.strange("an answer without a wrapped key")),
        }
    }

    async fn unwrap_now(&self, version: &str, wrapped: &[u8]) -> Result<Secret<32>, KeyError> {
        let opener = self.opener(version)?;
        self.not_empty(wrapped)?;
        let client = self.session.client().await;
        let answer = client
            .decrypt()
            .key_id(opener)
            .ciphertext_blob(Blob::new(wrapped))
            .encryption_context(CONTEXT_KEY, &self.context)
            .send()
            .await
            .map_err(|e| self.failed("Decrypt", Fault::new(&e)))?;
        let kek = self.kek(answer.plaintext)?;
        self.opened_by(answer.key_id.as_deref(), version)?;
        Ok(kek)
    }

    /// KMS refuses keys other than the one that is asked for; what only resembles KMS may not.
    fn opened_by(&self, arn: Option<&str>, version: &str) -> Result<(), KeyError> {
        match key_of(arn) == id_of(version) {
            true => Ok(()),
            false => Err(self.strange("the work of another key than the one asked for")),
        }
    }

    /// KMS does this inside: the KEK is not shown.
    async fn rewrap_now(&self, version: &str, wrapped: &[u8]) -> Result<RewrappedKek, KeyError> {
        let opener = self.opener(version)?;
        self.not_empty(wrapped)?;
        let client = self.session.client().await;
        let answer = client
            .re_encrypt()
            .source_key_id(&opener)
            .destination_key_id(self.key.in_region(&self.region))
            .ciphertext_blob(Blob::new(wrapped))
            .source_encryption_context(CONTEXT_KEY, &self.context)
            .destination_encryption_context(CONTEXT_KEY, &self.context)
            .send()
            .await
            .map_err(|e| self.failed("ReEncrypt", Fault::new(&e)))?;
        let source = answer.source_key_id.as_deref();
        self.opened_by(source, version)?;
        if opener == self.key.in_region(&self.region)
            && key_of(source) != key_of(answer.key_id.as_deref())
        {
            return Err(self.strange("the work of another key than the one asked for"));
        }
        Ok(RewrappedKek {
            version: self.version(
                answer.key_id.as_deref(),
                answer.destination_key_material_id.as_deref(),
            )?,
            wrapped: self.wrapped(answer.ciphertext_blob)?,
        })
    }

    fn not_empty(&self, wrapped: &[u8]) -> Result<(), KeyError> {
        match wrapped.is_empty() {
            true => Err(KeyError::Invalid(format!(
                "there is no wrapped key-encryption key for key {:?}",
                self.name
            ))),
            false => Ok(()),
        }
    }
}

/// The id of a key that an answer names by its ARN.
fn key_of(arn: Option<&str>) -> &str {
    let arn = arn.unwrap_or_default();
    arn.rsplit_once("key/").map_or(arn, |(_, id)| id)
}

/// The key's id in a version.
fn id_of(version: &str) -> &str {
    version.split_once('/').map_or(version, |(id, _)| id)
}

impl Provider for AwsProvider {
    fn kind(&self) -> &'static str {
        "aws-kms"
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        Box::pin(self.generate_now())
    }

    fn unwrap<'a>(&'a self, version: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        Box::pin(self.unwrap_now(version, wrapped))
    }

    fn rewrap<'a>(
        &'a self,
        version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        Box::pin(self.rewrap_now(version, wrapped))
    }

    /// Makes a KEK to see its version, and wipes it: this needs no permission beyond the three that the gateway has,
    /// unlike `DescribeKey`, and cannot disagree with [`Provider::generate`].
    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async { Ok(Some(self.generate_now().await?.version)) })
    }
}
