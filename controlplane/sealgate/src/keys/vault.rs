//! Keys of `provider = "vault"`.

use std::sync::Arc;

use sealgate_config::{SecretSource, VaultAuth, VaultKey};
use sealgate_kms::Endpoint;
use sealgate_kms::vault::{Auth, SecretSource as KmsSecret, TlsFiles, VaultConfig, VaultProvider};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

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
        auth: auth(&key.auth),
    };
    let providers = VaultProvider::open(name, config, runtime)?;
    let endpoints = providers.into_iter().map(|(label, provider)| Endpoint {
        label,
        provider: Arc::new(provider),
    });
    Ok(endpoints.collect())
}

fn auth(auth: &VaultAuth) -> Auth {
    match auth {
        VaultAuth::Token(token) => Auth::Token(secret(token)),
        VaultAuth::AppRole {
            mount,
            role_id,
            secret_id,
        } => Auth::AppRole {
            mount: mount.clone(),
            role_id: role_id.clone(),
            secret_id: secret_id.as_ref().map(secret),
        },
        VaultAuth::Kubernetes {
            mount,
            role,
            jwt_file,
        } => Auth::Kubernetes {
            mount: mount.clone(),
            role: role.clone(),
            jwt_file: jwt_file.clone(),
        },
        VaultAuth::Aws {
            mount,
            role,
            server_id,
            region,
        } => Auth::Aws {
            mount: mount.clone(),
            role: role.clone(),
            server_id: server_id.clone(),
            region: region.clone(),
        },
        VaultAuth::Cert { mount, role } => Auth::Cert {
            mount: mount.clone(),
            role: role.clone(),
        },
    }
}

fn secret(source: &SecretSource) -> KmsSecret {
    match source {
        SecretSource::Given(text) => KmsSecret::Given(Zeroizing::new(text.expose().to_owned())),
        SecretSource::File(path) => KmsSecret::File(path.clone()),
    }
}
