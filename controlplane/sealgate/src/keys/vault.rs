//! Keys of `provider = "vault"`.

use std::sync::Arc;

use sealgate_config::VaultKey;
use sealgate_kms::Endpoint;
use sealgate_kms::vault::{TlsFiles, VaultConfig, VaultProvider};
use tokio::runtime::Handle;

/// One key at each of its servers.
pub(super) fn open(name: &str, key: &VaultKey, runtime: &Handle) -> Result<Vec<Endpoint>, String> {
    let url = |endpoint: &sealgate_config::Endpoint| {
        let scheme = if endpoint.https { "https" } else { "http" };
        format!("{scheme}://{}", endpoint.authority)
    };
    let config = VaultConfig {
        endpoints: key.endpoints.iter().map(url).collect(),
        mount: key.mount.clone(),
        key: key.key.clone(),
        namespace: key.namespace.clone(),
        tls: TlsFiles {
            ca: key.ca_file.clone(),
            client: key.client_cert.clone(),
        },
        auth: Arc::clone(&key.auth),
    };
    let providers = VaultProvider::open(name, config, runtime)?;
    let endpoints = providers.into_iter().map(|(label, provider)| Endpoint {
        label,
        provider: Arc::new(provider),
    });
    Ok(endpoints.collect())
}
