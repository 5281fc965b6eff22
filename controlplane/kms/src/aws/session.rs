//! One region's client, its connections and its credentials.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::SharedHttpClient;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sealgate_config::{AwsKms, AwsRegion};

use super::credentials::Detached;

/// Shortest time between two clients: credentials that stay bad must not make the gateway ask their source with every
/// call.
const RENEW_AFTER: Duration = Duration::from_secs(10);
/// How long an idle connection to KMS is kept: its buffers hold the last answer, a KEK among it, and are wiped when it
/// is closed. Unwraps after a restart come in bursts and share connections; later there is a call now and then.
const IDLE: Duration = Duration::from_secs(5);

/// What a client is made of.
pub(super) struct Session {
    region: String,
    endpoint: Option<String>,
    profile: Option<String>,
    /// To KMS alone: trusts the CA file only.
    http: SharedHttpClient,
    timeouts: TimeoutConfig,
    credentials: Option<SharedCredentialsProvider>,
    current: Mutex<Option<(Client, Instant)>>,
}

impl Session {
    pub(super) fn new(
        config: &AwsKms,
        place: &AwsRegion,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Result<Self, String> {
        Ok(Self {
            region: place.name.clone(),
            endpoint: place.endpoint.clone(),
            profile: config.profile.clone(),
            http: http_client(config.ca_file.as_deref())?,
            timeouts: TimeoutConfig::builder()
                .connect_timeout(config.connect_timeout)
                .read_timeout(config.read_timeout)
                // Reading the answer's body is in neither of them.
                .operation_attempt_timeout(config.connect_timeout + config.read_timeout)
                .build(),
            credentials,
            current: Mutex::new(None),
        })
    }

    /// The client. The first call reads the AWS environment variables and files.
    pub(super) async fn client(&self) -> Client {
        if let Some((client, _)) = &*self.lock() {
            return client.clone();
        }
        let client = self.load().await;
        // Two calls may have loaded at the same time: the first one's is kept, and with it its credentials.
        let mut current = self.lock();
        let (client, _) = current.get_or_insert((client, Instant::now()));
        client.clone()
    }

    /// Has the next call read credentials anew: KMS says that these are expired or unknown, and an operator may have
    /// replaced them in the files where the SDK found them, which it reads once.
    pub(super) fn renew(&self) {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_some_and(|(_, made)| made.elapsed() >= RENEW_AFTER)
        {
            *current = None;
        }
    }

    async fn load(&self) -> Client {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()));
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let shared = loader.load().await;
        let mut config = aws_sdk_kms::config::Builder::from(&shared)
            .http_client(self.http.clone())
            .timeout_config(self.timeouts.clone())
            .retry_config(RetryConfig::disabled());
        if let Some(source) = shared.credentials_provider() {
            config = config.credentials_provider(Detached::new(source));
        }
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Client::from_conf(config.build())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Client, Instant)>> {
        // Nothing under this lock panics, and a client is whole at any time.
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A client of rustls and AWS-LC. It uses no proxy, whatever the environment says.
fn http_client(ca_file: Option<&Path>) -> Result<SharedHttpClient, String> {
    let mut context = TlsContext::builder();
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        // The client would panic on what it cannot use.
        let bad = |what: String| format!("{}: {what}", path.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| bad(format!("not PEM: {e}")))?;
            roots
                .add(certificate)
                .map_err(|e| bad(format!("not a CA certificate: {e}")))?;
        }
        if roots.is_empty() {
            return Err(bad("holds no certificate (BEGIN CERTIFICATE)".into()));
        }
        context = context.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let context = context.build().map_err(|e| e.to_string())?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .pool_idle_timeout(IDLE)
        .build_https())
}
