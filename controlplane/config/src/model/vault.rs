//! Keys of `provider = "vault"`.

use std::path::PathBuf;
use std::sync::Arc;

use super::Endpoint;
use crate::secret::SecretString;

/// A key in Transit.
pub struct VaultKey {
    /// The servers, in order of preference; never empty.
    pub endpoints: Vec<Endpoint>,
    /// Path of the Transit mount.
    pub mount: String,
    /// Name of the key in Transit.
    pub key: String,
    /// Namespace of mount and login.
    pub namespace: Option<String>,
    /// Certificates to trust; the system's when `None`.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and private key of this gateway.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// How to log in.
    pub auth: Arc<VaultAuth>,
}

/// How to log in at OpenBao or Vault. `mount` is the path of the method.
pub enum VaultAuth {
    /// With a token that somebody else looks after.
    Token(SecretSource),
    /// AppRole.
    AppRole {
        /// Path of the method.
        mount: String,
        /// The role's id.
        role_id: String,
        /// Its secret id, unless the role does without.
        secret_id: Option<SecretSource>,
    },
    /// With a Kubernetes service account.
    Kubernetes {
        /// Path of the method.
        mount: String,
        /// The role.
        role: String,
        /// File with the service account's token.
        jwt_file: PathBuf,
    },
    /// With an AWS identity.
    Aws {
        /// Path of the method.
        mount: String,
        /// The role.
        role: String,
        /// Value of the server id header.
        server_id: Option<String>,
        /// Region of STS; the global one when `None`.
        region: Option<String>,
    },
    /// With the TLS client certificate.
    Cert {
        /// Path of the method.
        mount: String,
        /// The role; any that fits when `None`.
        role: Option<String>,
    },
}

/// A secret, or where it can be read when it is needed.
pub enum SecretSource {
    /// The secret.
    Given(SecretString),
    /// A file that holds it and may change.
    File(PathBuf),
}
