//! Keys of `provider = "kmip"`.

use std::path::PathBuf;

use super::Endpoint;
use crate::secret::SecretString;

/// A key at KMIP servers.
pub struct KmipKey {
    /// The servers, in order of preference; never empty.
    pub endpoints: Vec<KmipServer>,
    /// Unique identifier of the key, or of one that it replaced.
    pub uid: String,
    /// Keys that only open.
    pub old_uids: Vec<String>,
    /// RFC 5649 instead of AES-GCM.
    pub key_wrap: bool,
    /// KMIP version, major and minor; by the endpoint when `None`.
    pub version: Option<(u8, u8)>,
    /// Bearer token for JSON.
    pub token: Option<SecretString>,
    /// Certificates to trust; the system's when `None`.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and private key of this gateway.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// A server, and how it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmipServer {
    /// The binary encoding over TLS instead of JSON over HTTPS.
    pub binary: bool,
    /// Where it is.
    pub address: Endpoint,
}
