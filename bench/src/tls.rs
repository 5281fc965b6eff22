//! TLS between the instruments and what they measure: one certificate for `localhost`, made at each start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::net::Outcome;

/// The name in the certificate.
pub(crate) const HOST: &str = "localhost";

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Certificate, PEM; whoever trusts it needs nothing else.
    pub(crate) cert: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
}

impl Files {
    /// A new certificate in `folder`. It guards nothing but patterns.
    pub(crate) fn new(folder: &Path) -> Outcome<Files> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned(), "127.0.0.1".to_owned()])?;
        let files = Files {
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        fs::write(&files.cert, made.cert.pem())?;
        fs::write(&files.key, made.signing_key.serialize_pem())?;
        Ok(files)
    }

    /// For a server.
    pub(crate) fn acceptor(&self) -> Outcome<TlsAcceptor> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&self.cert)?],
                PrivateKeyDer::from_pem_file(&self.key)?,
            )?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Whoever trusts this certificate alone.
pub(crate) fn connector(trusted: &Path) -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted)?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// [`HOST`] as rustls wants it.
pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from(HOST).expect("a constant name is valid")
}

/// The library that is the faster one here, as the gateway does it.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(match sealgate_aead::selected() {
        sealgate_aead::Library::Ring => rustls::crypto::ring::default_provider(),
        sealgate_aead::Library::AwsLc => rustls::crypto::aws_lc_rs::default_provider(),
    })
}
