//! Certificates, keys and trust.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::{Conn, TcpConn};

/// Larger certificate and key files are refused, bytes: they are not what they should be.
const MAX_PEM: u64 = 1 << 20;

/// What is spoken above TLS, and all that is.
const ALPN: &[u8] = b"http/1.1";

/// Which library does TLS' cryptography: the cost of TLS is the same AES pass as the gateway's own, so it goes by
/// the same measurement.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Provider {
    /// aws-lc-rs.
    #[default]
    AwsLc,
    /// ring.
    Ring,
}

impl Provider {
    fn crypto(self) -> Arc<CryptoProvider> {
        Arc::new(match self {
            Provider::AwsLc => rustls::crypto::aws_lc_rs::default_provider(),
            Provider::Ring => rustls::crypto::ring::default_provider(),
        })
    }

    /// Seals session tickets with a key that this process makes and rotates, so that clients resume a session on
    /// any core.
    fn ticketer(self) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        match self {
            Provider::AwsLc => rustls::crypto::aws_lc_rs::Ticketer::new(),
            Provider::Ring => rustls::crypto::ring::Ticketer::new(),
        }
    }
}

/// TLS cannot be configured as asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM, or is damaged.
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A PEM file does not hold what it should.
    Missing {
        /// Which.
        path: PathBuf,
        /// What is looked for in vain.
        what: &'static str,
    },
    /// What the files hold cannot be used: a key that is not the certificate's, an unknown algorithm.
    Unusable {
        /// The certificate file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system has no trusted certificates, and no file of them was given.
    NoRoots,
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TlsError::Read { path, source } => write!(f, "{}: {source}", path.display()),
            TlsError::Pem { path, source } => {
                write!(f, "{}: not valid PEM: {source}", path.display())
            }
            TlsError::Missing { path, what } => {
                write!(f, "{}: no {what} in this file", path.display())
            }
            TlsError::Unusable { path, source } => write!(f, "{}: {source}", path.display()),
            TlsError::NoRoots => {
                f.write_str("the system has no trusted certificates; name a file of them (ca_file)")
            }
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Read { source, .. } => Some(source),
            TlsError::Pem { source, .. } => Some(source),
            TlsError::Unusable { source, .. } => Some(source),
            TlsError::Missing { .. } | TlsError::NoRoots => None,
        }
    }
}

/// Reads a PEM file, which may be a key's.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = || {
        if std::fs::metadata(path)?.len() > MAX_PEM {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "larger than any certificate or key",
            ));
        }
        std::fs::read(path).map(Zeroizing::new)
    };
    read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            source,
        })?;
    if all.is_empty() {
        return Err(TlsError::Missing {
            path: path.to_owned(),
            what: "certificate",
        });
    }
    Ok(all)
}

fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::Missing {
            path: path.to_owned(),
            what: "private key",
        },
        source => TlsError::Pem {
            path: path.to_owned(),
            source,
        },
    })
}

/// The server's side of TLS, whose certificate can be replaced while it runs. Clones share it; it is one for all
/// cores.
#[derive(Clone)]
pub struct TlsAcceptor {
    inner: Arc<Acceptor>,
}

struct Acceptor {
    cert: PathBuf,
    key: PathBuf,
    provider: Provider,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<ServerConfig>,
    /// Of the files that `current` was made from; also keeps reloads apart.
    fingerprint: Mutex<u64>,
}

impl TlsAcceptor {
    /// Reads a certificate chain and its private key (PKCS#8, SEC1 or PKCS#1) from PEM files.
    ///
    /// # Errors
    /// Says which file and what is wrong with it.
    pub fn from_pem(
        cert_path: &Path,
        key_path: &Path,
        provider: Provider,
    ) -> Result<TlsAcceptor, TlsError> {
        let tickets = provider.ticketer().map_err(|source| TlsError::Unusable {
            path: cert_path.to_owned(),
            source,
        })?;
        let (config, fingerprint) = load(cert_path, key_path, provider, &tickets)?;
        Ok(TlsAcceptor {
            inner: Arc::new(Acceptor {
                cert: cert_path.to_owned(),
                key: key_path.to_owned(),
                provider,
                tickets,
                current: ArcSwap::from_pointee(config),
                fingerprint: Mutex::new(fingerprint),
            }),
        })
    }

    /// Reads the files again, and uses them for new connections when they have changed; says whether they have.
    /// Connections that are open keep what they have.
    ///
    /// # Errors
    /// As [`TlsAcceptor::from_pem`]; then what was in use stays so. A renewal that writes two files may be seen
    /// half-way: a certificate and a key that do not match. Try again later.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let this = &*self.inner;
        let mut fingerprint = this
            .fingerprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (config, found) = load(&this.cert, &this.key, this.provider, &this.tickets)?;
        if found == *fingerprint {
            return Ok(false);
        }
        this.current.store(Arc::new(config));
        *fingerprint = found;
        Ok(true)
    }

    /// Does the handshake. Set a deadline on the connection's [`Watch`](crate::Watch) first.
    ///
    /// # Errors
    /// The peer's fault mostly: [`io::ErrorKind::InvalidData`] for what is not TLS or not acceptable,
    /// [`io::ErrorKind::UnexpectedEof`] when it went away, [`io::ErrorKind::TimedOut`].
    pub async fn accept(&self, tcp: TcpConn) -> io::Result<Conn> {
        Conn::accept_tls(tcp, self.inner.current.load_full()).await
    }
}

fn load(
    cert_path: &Path,
    key_path: &Path,
    provider: Provider,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<(ServerConfig, u64), TlsError> {
    let (cert_pem, key_pem) = (read(cert_path)?, read(key_path)?);
    let mut hasher = DefaultHasher::new();
    (&*cert_pem, &*key_pem).hash(&mut hasher);
    let chain = certificates(cert_path, &cert_pem)?;
    let key = private_key(key_path, &key_pem)?;
    let mut config = ServerConfig::builder_with_provider(provider.crypto())
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|source| TlsError::Unusable {
            path: cert_path.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = tickets.clone();
    // One is what a client that resumes needs; each costs a record on every handshake.
    config.send_tls13_tickets = 1;
    Ok((config, hasher.finish()))
}

/// The client's side of TLS: trusts the certificates of `ca_file` (PEM) and no others, or those of the system.
///
/// # Errors
/// Says which file and what is wrong with it.
pub fn client_tls(
    ca_file: Option<&Path>,
    provider: Provider,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path, &read(path)?)? {
            roots
                .add(certificate)
                .map_err(|source| TlsError::Unusable {
                    path: path.to_owned(),
                    source,
                })?;
        }
    } else {
        // Systems carry certificates that rustls has no use for; those that it has are enough.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
    }
    let path = || ca_file.map_or_else(PathBuf::new, Path::to_owned);
    let mut config = ClientConfig::builder_with_provider(provider.crypto())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable {
            path: path(),
            source,
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}
