//! The `vault` provider: KEKs wrapped by a Transit key of OpenBao or HashiCorp Vault.
//!
//! # The wrapped KEK
//!
//! | bytes | what |
//! |---|---|
//! | 0 | `0x01`, the format |
//! | 1– | what Transit puts behind `vault:vN:`, decoded from base64: nonce, ciphertext and tag, 60 bytes (72 for XChaCha20) |
//!
//! `N` is the key version of the envelope. The KEK is 32 bytes of this machine's random generator, and Transit encrypts
//! it, so that a policy needs no path beside encrypt, decrypt and rewrap, and no single generator is trusted.
//!
//! The Transit key is derived: each context has a key of its own, and ours is the SHA-256 of `sealgate/kek/v1` ‖ 0x00 ‖
//! the key's name in the configuration. Transit's `associated_data` would bind a wrap as well, but `rewrap` neither
//! takes nor keeps it.
//!
//! # What is wiped
//!
//! Tokens, request bodies and answers live in buffers that are wiped. The HTTP client and the TLS library copy them into
//! buffers of their own, which the control plane's heap wipes when they are freed; in those of an open connection a KEK
//! or a token may stand until the next call.

mod auth;
mod aws;
mod errors;
mod http;
mod lease;
mod session;
mod transit;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealgate_aead::Secret;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

pub use crate::tls::TlsFiles;
pub use sealgate_config::{SecretSource, VaultAuth};

use crate::error::KeyError;
use crate::file::random_secret;
use crate::provider::{GeneratedKek, Provider, ProviderFuture, RewrappedKek};
use auth::Login;
use http::{Failure, Http};
use session::{Session, Verdict};
use transit::KeyInfo;

/// For how long a policy that forbids to read the key is taken as it is.
const UNREADABLE_FOR: Duration = Duration::from_secs(600);

/// A Transit key and how to get at it.
pub struct VaultConfig {
    /// `https://host[:port]` of each server, in order of preference.
    pub endpoints: Vec<String>,
    /// Path of the Transit mount, without slashes around it.
    pub mount: String,
    /// Name of the key in Transit.
    pub key: String,
    /// Namespace of mount and login.
    pub namespace: Option<String>,
    /// Certificates.
    pub tls: TlsFiles,
    /// How to log in.
    pub auth: Arc<VaultAuth>,
}

/// One Transit key at one server, with a login of its own.
pub struct VaultProvider {
    http: Arc<Http>,
    session: Session,
    place: Place,
    /// Base64 of the context.
    context: String,
    /// The key has been looked at and is of the right type.
    checked: OnceCell<()>,
    /// The newest version that an answer named; 0 for none.
    newest: AtomicU32,
    /// When the policy last forbade to read the key.
    unreadable: Mutex<Option<Instant>>,
}

/// Where a key is, for URLs and for messages.
pub(crate) struct Place {
    /// Its name in the configuration.
    name: String,
    mount: String,
    key: String,
    namespace: Option<String>,
}

impl Place {
    fn path(&self, operation: &str) -> String {
        format!("{}/{operation}/{}", self.mount, self.key)
    }

    /// The command that makes a key that can be used.
    fn create(&self, key: &str) -> String {
        let namespace = match &self.namespace {
            Some(namespace) => format!("-namespace={namespace} "),
            None => String::new(),
        };
        let mount = &self.mount;
        format!("`bao write {namespace}-f {mount}/keys/{key} type=aes256-gcm96 derived=true`")
    }
}

impl VaultProvider {
    /// A provider for each server of the key called `name` in the configuration, each with the label that metrics and
    /// messages show. Logs in at once, on `runtime`, and ends its sessions when it is dropped.
    ///
    /// # Errors
    /// Certificates that cannot be used, and why.
    pub fn open(
        name: &str,
        config: VaultConfig,
        runtime: &Handle,
    ) -> Result<Vec<(String, Self)>, String> {
        let tls = crate::tls::client_config(&config.tls)?;
        let login = Login(config.auth);
        let mut providers = Vec::new();
        for endpoint in &config.endpoints {
            let http = Http::new(endpoint, config.namespace.as_deref(), &tls)?;
            let http = Arc::new(http);
            let session = Session::start(name, Arc::clone(&http), login.clone(), runtime);
            let provider = Self {
                place: Place {
                    name: name.to_owned(),
                    mount: config.mount.clone(),
                    key: config.key.clone(),
                    namespace: config.namespace.clone(),
                },
                context: transit::context(name),
                checked: OnceCell::new(),
                newest: AtomicU32::new(0),
                unreadable: Mutex::new(None),
                session,
                http,
            };
            providers.push((provider.http.label().to_owned(), provider));
        }
        Ok(providers)
    }

    /// One call with the session's token, and once more with another where that token proves to be dead.
    async fn call(
        &self,
        operation: &str,
        body: Option<Bytes>,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let path = self.place.path(operation);
        let lease = self.session.current().await?;
        let first = self.http.send(&path, Some(lease.token()), body.clone());
        let forbidden = match first.await {
            Err(failure) if failure.is_forbidden() => failure,
            other => return other.map_err(Trouble::Answer),
        };
        match self.session.refused(lease.generation()).await? {
            Verdict::TokenLives => return Err(Trouble::Answer(forbidden)),
            Verdict::TokenReplaced => {}
        }
        let lease = self.session.current().await?;
        let again = self.http.send(&path, Some(lease.token()), body);
        again.await.map_err(Trouble::Answer)
    }

    fn error(&self, operation: &str, trouble: Trouble) -> KeyError {
        match trouble {
            Trouble::Session(error) => error,
            Trouble::Answer(failure) => {
                errors::of_call(&self.place, self.http.label(), operation, &failure)
            }
        }
    }

    async fn encrypt(&self, plaintext: &[u8; 32]) -> Result<RewrappedKek, KeyError> {
        let body = transit::encrypt_body(plaintext, &self.context);
        self.wrapped("encrypt", body).await
    }

    /// The wrap in the answer of encrypt or rewrap.
    async fn wrapped(&self, operation: &str, body: Bytes) -> Result<RewrappedKek, KeyError> {
        let answer = self.call(operation, Some(body)).await;
        let answer = answer.map_err(|e| self.error(operation, e))?;
        let (number, wrapped) = transit::read_wrap(&answer)
            .map_err(|what| errors::misread(&self.place, self.http.label(), what))?;
        self.newest.store(number, Ordering::Relaxed);
        Ok(RewrappedKek {
            wrapped,
            version: number.to_string(),
        })
    }

    async fn decrypt(&self, ciphertext: &str, context: &str) -> Result<Secret<32>, Trouble> {
        let body = transit::ciphertext_body(ciphertext, context);
        let answer = self.call("decrypt", Some(body)).await?;
        transit::read_plaintext(&answer)
            .map_err(|what| Trouble::Session(errors::misread(&self.place, self.http.label(), what)))
    }

    /// What Transit says of the key; `None` when the policy forbids to ask.
    async fn read_key(&self) -> Result<Option<KeyInfo>, KeyError> {
        let known = *self.unreadable.lock().unwrap_or_else(|e| e.into_inner());
        if known.is_some_and(|at| at.elapsed() < UNREADABLE_FOR) {
            return Ok(None);
        }
        match self.call("keys", None).await {
            Ok(answer) => {
                let info = KeyInfo::read(&answer)
                    .map_err(|what| errors::misread(&self.place, self.http.label(), what))?;
                self.newest.store(info.latest_version, Ordering::Relaxed);
                Ok(Some(info))
            }
            Err(Trouble::Answer(failure)) if failure.is_forbidden() => {
                *self.unreadable.lock().unwrap_or_else(|e| e.into_inner()) = Some(Instant::now());
                Ok(None)
            }
            Err(trouble) => Err(self.error("keys", trouble)),
        }
    }

    /// Makes sure, before the first KEK, that wraps will be bound to the key's name and cannot be forged.
    async fn check(&self) -> Result<(), KeyError> {
        match self.read_key().await? {
            Some(info) => errors::check_key(&self.place, &info),
            None => self.check_by_use().await,
        }
    }

    /// The same where the policy forbids to read the key: what is encrypted for one context must not open in another.
    async fn check_by_use(&self) -> Result<(), KeyError> {
        let probe = random_secret()?;
        let wrap = self.encrypt(probe.expose()).await?;
        let ciphertext = transit::ciphertext(&wrap.version, &wrap.wrapped)?;
        let other = transit::context("");
        match self.decrypt(&ciphertext, &other).await {
            Ok(_) => Err(errors::not_derived(&self.place)),
            Err(Trouble::Answer(failure)) if failure.is_forged() => Ok(()),
            Err(Trouble::Answer(failure)) if failure.is_forbidden() => {
                Err(errors::cannot_check(&self.place))
            }
            Err(trouble) => Err(self.error("decrypt", trouble)),
        }
    }

    async fn generate_now(&self) -> Result<GeneratedKek, KeyError> {
        self.checked.get_or_try_init(|| self.check()).await?;
        let kek = random_secret()?;
        let RewrappedKek { wrapped, version } = self.encrypt(kek.expose()).await?;
        Ok(GeneratedKek {
            kek,
            wrapped,
            version,
        })
    }

    async fn unwrap_now(&self, version: &str, wrapped: &[u8]) -> Result<Secret<32>, KeyError> {
        let ciphertext = transit::ciphertext(version, wrapped)?;
        let kek = self.decrypt(&ciphertext, &self.context).await;
        kek.map_err(|e| self.error("decrypt", e))
    }

    async fn rewrap_now(&self, version: &str, wrapped: &[u8]) -> Result<RewrappedKek, KeyError> {
        let ciphertext = transit::ciphertext(version, wrapped)?;
        let body = transit::ciphertext_body(&ciphertext, &self.context);
        self.wrapped("rewrap", body).await
    }

    async fn newest_now(&self) -> Result<Option<String>, KeyError> {
        if let Some(info) = self.read_key().await? {
            errors::check_key(&self.place, &info)?;
        }
        let newest = self.newest.load(Ordering::Relaxed);
        Ok((newest > 0).then(|| newest.to_string()))
    }
}

/// Why a call gave nothing.
enum Trouble {
    /// There is no token to call with, or the answer makes no sense.
    Session(KeyError),
    /// What the server said, or that it said nothing.
    Answer(Failure),
}

impl From<KeyError> for Trouble {
    fn from(error: KeyError) -> Self {
        Self::Session(error)
    }
}

impl Provider for VaultProvider {
    fn kind(&self) -> &'static str {
        "vault"
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

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        Box::pin(self.newest_now())
    }
}

/// The text of a small file that holds a secret, without the line's end; read anew each time.
async fn read_secret(path: PathBuf) -> Result<Zeroizing<String>, String> {
    const MAX: u64 = 64 * 1024;
    let shown = path.display().to_string();
    let read = move || -> std::io::Result<Zeroizing<String>> {
        use std::io::Read;
        let file = std::fs::File::open(path)?;
        // Room for all of it at once: a growing buffer would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX as usize + 2));
        file.take(MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX {
            return Err(std::io::Error::other("it is longer than 64 KiB"));
        }
        Ok(Zeroizing::new(text.trim().to_owned()))
    };
    let outcome = tokio::task::spawn_blocking(read).await;
    match outcome {
        Ok(Ok(text)) if text.is_empty() => Err(format!("{shown} is empty")),
        Ok(Ok(text)) => Ok(text),
        Ok(Err(e)) => Err(format!("{shown} cannot be read: {e}")),
        Err(_) => Err(format!("{shown} could not be read")),
    }
}

#[cfg(test)]
mod tests;
