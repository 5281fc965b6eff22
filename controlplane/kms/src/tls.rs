//! TLS towards key services.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Files with certificates, PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Whom to trust; the system's certificates when `None`.
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key of this side.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Reads the files once.
pub(crate) fn client_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| unusable(path, e))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(found);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots);
    match &files.client {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let chain = certificates(cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|e| unusable(key, e))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| unusable(path, e))?
        .collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, "it holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(e) => Err(unusable(path, e)),
    }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{} cannot be used: {why}", path.display())
}
