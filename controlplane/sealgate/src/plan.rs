//! From a configuration to what the data plane is started with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use sealgate_aead::Library;
use sealgate_backend::s3::{PayloadSigning, S3Options, StoreTimeouts, Unkept, preset};
use sealgate_config::{Aead, Backend, Config, Driver, S3Backend, StoreChecksum};
use sealgate_gateway::snapshot::{
    Action, BucketRule, ClientTimeouts, CorsRule, Credential, Grant, Listing, Snapshot, StoreUser,
};
use sealgate_kms::{KeyClient, KeyEvents, KeyService, Keys, ServiceLimits};
use sealgate_s3::checksum::Algorithm;
use sealgate_s3::sigv4::SecretKey;
use sealgate_telemetry::{AccessLog, AuditLog};
use sealgate_uring::{Provider, RuntimeConfig, TlsAcceptor, client_tls};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::audit::KeyAudit;
use crate::dataplane::{Plan, S3Plan, StorePlan};
use crate::keys;

/// Rises with every configuration that is taken over.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Everything that a configuration names, opened.
pub(crate) struct Made {
    pub(crate) keys: KeyClient,
    pub(crate) reloadable: Reloadable,
    /// What the data plane is started with.
    pub(crate) plan: Plan,
}

/// What can change while the gateway runs: bucket rules, credentials, base domains, time-outs towards clients, keys,
/// certificates. Addresses, the runtime and the store need a restart.
pub(crate) struct Reloadable {
    snapshot: Arc<ArcSwap<Snapshot>>,
    tls: Option<Arc<TlsAcceptor>>,
    keys: KeyClient,
    runtime: Handle,
}

/// Opens keys, certificates and CA files, and puts everything together.
///
/// # Errors
///
/// What cannot be opened, and why.
pub(crate) fn make(
    config: &Config,
    runtime: &Handle,
    access_log: AccessLog,
    audit: AuditLog,
) -> Result<Made, String> {
    let keys = keys::open(config, runtime)?;
    make_with(config, keys, runtime, access_log, audit)
}

/// As [`make`], with keys that are open already.
///
/// # Errors
///
/// As [`make`].
pub(crate) fn make_with(
    config: &Config,
    keys: Keys,
    runtime: &Handle,
    access_log: AccessLog,
    audit: AuditLog,
) -> Result<Made, String> {
    match config.runtime.aead {
        Aead::Auto => {}
        Aead::AwsLc => sealgate_aead::pin(Library::AwsLc),
        Aead::Ring => sealgate_aead::pin(Library::Ring),
    }
    // TLS records cost the same AES pass, so TLS uses the same library.
    let provider = match sealgate_aead::selected() {
        Library::AwsLc => Provider::AwsLc,
        Library::Ring => Provider::Ring,
    };
    let events = audit
        .is_on()
        .then(|| Arc::new(KeyAudit(audit.clone())) as Arc<dyn KeyEvents>);
    let limits = ServiceLimits::default();
    let keys = KeyService::start_with(keys, limits, events, runtime);
    let tls = match &config.listen.tls {
        Some(tls) => Some(Arc::new(
            TlsAcceptor::from_pem(&tls.cert, &tls.key, provider).map_err(|e| e.to_string())?,
        )),
        None => None,
    };
    let store = match &config.backend {
        Backend::Fs { path } => StorePlan::Fs(path.clone()),
        Backend::S3(s3) => StorePlan::S3(Box::new(s3_plan(config, s3, provider)?)),
    };
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(config)));
    let reloadable = Reloadable {
        snapshot: Arc::clone(&snapshot),
        tls: tls.clone(),
        keys: keys.clone(),
        runtime: runtime.clone(),
    };
    let listen = config.listen.s3;
    let default = RuntimeConfig::default();
    let cores = RuntimeConfig {
        cores: config.runtime.cores.unwrap_or(default.cores),
        driver: match config.runtime.driver {
            Driver::Auto => sealgate_uring::Driver::Auto,
            Driver::IoUring => sealgate_uring::Driver::IoUring,
            Driver::Epoll => sealgate_uring::Driver::Epoll,
        },
        pin: config.runtime.pin,
        ..default
    };
    let buffer_budget = usize::try_from(config.runtime.buffer_budget).unwrap_or(usize::MAX);
    let plan = Plan {
        listen,
        tls,
        runtime: cores,
        buffer_budget,
        store,
        snapshot,
        keys: keys.clone(),
        access_log,
        audit,
    };
    Ok(Made {
        keys,
        reloadable,
        plan,
    })
}

impl Reloadable {
    /// Takes over what can change of a new configuration.
    pub(crate) fn replace(&self, config: &Config) -> Result<(), String> {
        let keys = keys::open(config, &self.runtime)?;
        // The reply is not waited for: requests that need a key meet the old ones until it is done.
        let replaced = self.keys.replace(keys);
        self.runtime.spawn(async move {
            if let Err(e) = replaced.await {
                tracing::error!(error = %e, "the keys were not reloaded; the old ones stay");
            }
        });
        self.snapshot.store(Arc::new(snapshot(config)));
        Ok(())
    }

    /// Looks whether certificates have changed.
    pub(crate) fn reload_certificates(&self) {
        let Some(tls) = &self.tls else { return };
        match tls.reload() {
            Ok(true) => tracing::info!("the certificate was reloaded"),
            Ok(false) => {}
            Err(e) => {
                tracing::error!(error = %e, "the certificate was not reloaded; the old one stays")
            }
        }
    }
}

fn s3_plan(config: &Config, s3: &S3Backend, provider: Provider) -> Result<S3Plan, String> {
    let tls = match s3.endpoint.https {
        true => Some(client_tls(s3.ca_file.as_deref(), provider).map_err(|e| e.to_string())?),
        false => None,
    };
    let t = &config.timeouts;
    Ok(S3Plan {
        host: s3.endpoint.host.clone(),
        port: s3.endpoint.port,
        tls,
        connect_timeout: t.store_connect,
        options: S3Options {
            payload: match s3.payload {
                sealgate_config::Payload::Unsigned => PayloadSigning::Unsigned,
                sealgate_config::Payload::Signed => PayloadSigning::Signed,
            },
            checksum: match s3.checksum {
                StoreChecksum::None => None,
                StoreChecksum::Crc64Nvme => Some(Algorithm::Crc64Nvme),
                StoreChecksum::Crc32c => Some(Algorithm::Crc32c),
            },
            authority: s3.endpoint.authority.clone(),
            path_style: s3.path_style,
            preset: preset::preset(s3.preset.as_str()).unwrap_or(&preset::GENERIC),
            unkept: match s3.emulate_conditions {
                true => Unkept::Emulated,
                false => Unkept::Refused,
            },
            parallel: s3.parallel,
            far: s3.far,
            timeouts: StoreTimeouts {
                response: t.store_answer,
                long_response: t.store_long_answer,
                block: t.store_block,
                idle: t.store_idle,
            },
            ..S3Options::default()
        },
        region: s3.region.clone(),
        access_key: s3.credentials.access_key.clone(),
        secret: secret(&s3.credentials.secret_key),
        session_token: s3
            .credentials
            .session_token
            .as_ref()
            .map(|t| Zeroizing::new(t.expose().to_owned())),
    })
}

fn secret(text: &sealgate_config::SecretString) -> SecretKey {
    SecretKey::new(text.expose().as_bytes())
}

/// What requests need to know of a configuration.
fn snapshot(config: &Config) -> Snapshot {
    let t = &config.timeouts;
    Snapshot {
        base_domains: config.listen.base_domains.clone(),
        credentials: config
            .credentials
            .iter()
            .map(|c| (c.access_key.clone(), credential(c)))
            .collect::<HashMap<_, _>>(),
        anonymous: config.anonymous.as_ref().map(|allow| Credential {
            // Found by no access key, so nothing is ever compared with it.
            secret: SecretKey::new(b""),
            allow: grants(allow),
            store_user: None,
            sigv2: false,
        }),
        cors: config.cors.iter().map(cors_rule).collect(),
        buckets: config.buckets.iter().map(bucket_rule).collect(),
        timeouts: ClientTimeouts {
            header: t.header,
            idle: t.idle,
            minimum_rate: t.min_rate,
            buffer_wait: t.buffer_wait,
        },
        generation: GENERATION.fetch_add(1, Ordering::Relaxed),
    }
}

fn credential(c: &sealgate_config::Credential) -> Credential {
    Credential {
        secret: secret(&c.secret_key),
        allow: grants(&c.allow),
        store_user: c.store_user.as_ref().map(|user| StoreUser {
            access_key: user.access_key.clone(),
            secret: secret(&user.secret_key),
        }),
        sigv2: c.sigv2,
    }
}

fn grants(allow: &[sealgate_config::Grant]) -> Vec<Grant> {
    allow
        .iter()
        .map(|grant| Grant {
            bucket: grant.bucket.clone(),
            prefix: grant.prefix.clone().into_bytes(),
            actions: grant.actions.iter().map(action).collect(),
        })
        .collect()
}

fn cors_rule(rule: &sealgate_config::CorsRule) -> CorsRule {
    CorsRule {
        bucket: rule.bucket.clone(),
        rule: sealgate_s3::cors::Rule {
            origins: rule.origins.clone(),
            methods: rule.methods.clone(),
            headers: rule.headers.clone(),
            expose: rule.expose.clone(),
            max_age: rule.max_age.map(|age| age.as_secs()),
        },
    }
}

fn action(action: &sealgate_config::Action) -> Action {
    use sealgate_config::Action as A;
    match action {
        A::All => Action::All,
        A::Read => Action::Read,
        A::Write => Action::Write,
        A::List => Action::List,
        A::Delete => Action::Delete,
        A::Admin => Action::Admin,
        A::Operation(name) => Action::Operation(name.clone()),
    }
}

fn bucket_rule(rule: &sealgate_config::BucketRule) -> BucketRule {
    BucketRule {
        bucket: rule.bucket.clone(),
        prefix: rule.prefix.clone().into_bytes(),
        key: rule.key.clone().unwrap_or_default(),
        listing: match rule.listing {
            sealgate_config::Listing::Computed => Listing::Computed,
            sealgate_config::Listing::Verify => Listing::Verify,
        },
        binding: match rule.binding {
            sealgate_config::Binding::Key => sealgate_envelope::Binding::Key,
            sealgate_config::Binding::BucketAndKey => sealgate_envelope::Binding::BucketAndKey,
            sealgate_config::Binding::None => sealgate_envelope::Binding::None,
        },
        seal_metadata: rule.seal_metadata,
        plaintext_reads: rule.plaintext_reads,
        encrypt: rule.encrypt,
    }
}

/// What `sealgate check` says of a valid configuration; no secrets.
pub(crate) fn summary(config: &Config) -> String {
    let backend = match &config.backend {
        Backend::Fs { path } => format!("the directory {}", path.display()),
        Backend::S3(s3) => {
            let scheme = if s3.endpoint.https { "https" } else { "http" };
            format!("{scheme}://{} ({})", s3.endpoint.authority, s3.region)
        }
    };
    let mut text = format!(
        "  clients: {}{}\n  store: {backend}\n  keys: {}\n  credentials: {}",
        config.listen.s3,
        if config.listen.tls.is_some() {
            " (TLS)"
        } else {
            ""
        },
        config.keys.keys().cloned().collect::<Vec<_>>().join(", "),
        config.credentials.len(),
    );
    for rule in &config.buckets {
        let place = if rule.prefix.is_empty() {
            rule.bucket.clone()
        } else {
            format!("{}/{}*", rule.bucket, rule.prefix)
        };
        let how = match (&rule.key, rule.encrypt) {
            (Some(key), true) => format!("sealed under {key}"),
            _ => "passed through, not sealed".to_owned(),
        };
        text.push_str(&format!("\n  {place}: {how}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_and_the_presets_agree_on_checksums() {
        use sealgate_config::Preset as P;
        for named in [
            P::Aws,
            P::Ceph,
            P::SeaweedFs,
            P::Minio,
            P::Garage,
            P::VersityGw,
            P::Generic,
        ] {
            let known = preset::preset(named.as_str()).unwrap();
            let takes = known.assumed || known.checksums && known.trailers;
            assert_eq!(named.takes_checksums(), takes, "{}", known.name);
        }
    }
}
