//! Keys of `provider = "kmip"`.

use std::sync::Arc;

use sealgate_config::{KmipKey, KmipServer};
use sealgate_kms::Endpoint;
use sealgate_kms::kmip::{KmipConfig, KmipEndpoint, KmipProvider, KmipVersion, KmipWrap, TlsFiles};
use zeroize::Zeroizing;

/// One key at each of its servers.
pub(super) fn open(name: &str, key: &KmipKey) -> Result<Vec<Endpoint>, String> {
    let at = |server| {
        let provider = KmipProvider::new(name, config(key, server))?;
        Ok(Endpoint {
            label: server.address.authority.clone(),
            provider: Arc::new(provider),
        })
    };
    key.endpoints.iter().map(at).collect()
}

fn config(key: &KmipKey, server: &KmipServer) -> KmipConfig {
    let address = &server.address;
    let (endpoint, usual) = if server.binary {
        let host = address.host.clone();
        let port = address.port;
        (KmipEndpoint::Binary { host, port }, (1, 4))
    } else {
        let scheme = if address.https { "https" } else { "http" };
        let url = format!("{scheme}://{}", address.authority);
        (KmipEndpoint::Json { url }, (2, 1))
    };
    let (major, minor) = key.version.unwrap_or(usual);
    KmipConfig {
        endpoint,
        version: KmipVersion { major, minor },
        uid: key.uid.clone(),
        old_uids: key.old_uids.clone(),
        wrap: match key.key_wrap {
            true => KmipWrap::AesKeyWrapPadding,
            false => KmipWrap::AesGcm,
        },
        token: key
            .token
            .as_ref()
            .map(|token| Zeroizing::new(token.expose().to_owned())),
        tls: TlsFiles {
            ca: key.ca_file.clone(),
            client: key.client_cert.clone(),
        },
    }
}
