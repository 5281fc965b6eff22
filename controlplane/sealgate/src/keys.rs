//! From `[keys.<name>]` to the providers that hold the keys.

mod kmip;
mod vault;

use std::sync::Arc;

use sealgate_config::{Config, KeyProvider, Pkcs11Token, Resilience};
use sealgate_kms::aws::AwsProvider;
use sealgate_kms::file::FileProvider;
use sealgate_kms::pkcs11::{Pkcs11Config, Pkcs11Provider, TokenSelector};
use sealgate_kms::{Endpoint, EpochBounds, KeyPolicy, Keys, NamedKey, Provider, env};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

/// Opens every configured key. Sessions with key services run on `runtime`.
pub(crate) fn open(config: &Config, runtime: &Handle) -> Result<Keys, String> {
    let mut keys = Keys::new();
    for (name, key) in &config.keys {
        let endpoints =
            endpoints(name, &key.provider, runtime).map_err(|e| format!("keys.{name}: {e}"))?;
        let bounds = EpochBounds {
            max_age: key.max_age,
            max_objects: key.max_objects,
            max_bytes: key.max_bytes,
        };
        let seals = |rule: &sealgate_config::BucketRule| {
            rule.encrypt && rule.key.as_deref() == Some(name.as_str())
        };
        let key = NamedKey {
            endpoints,
            bounds,
            policy: policy(&key.resilience),
            writes: config.buckets.iter().any(seals),
        };
        keys.insert(name.clone(), key);
    }
    Ok(keys)
}

fn policy(r: &Resilience) -> KeyPolicy {
    KeyPolicy {
        attempt_timeout: r.attempt_timeout,
        deadline: r.deadline,
        retries: r.retries,
        hedge_after: r.hedge_after,
        concurrency: r.concurrency,
        breaker_failures: r.breaker_failures,
        breaker_open_for: r.breaker_open_for,
        cache_ttl: r.cache_ttl,
        cache_idle_ttl: r.cache_idle_ttl,
        cache_max: r.cache_max,
        core_ttl: r.core_ttl,
        negative_ttl: r.negative_ttl,
        error_ttl: r.error_ttl,
        grace_reads: r.grace_reads,
        grace_writes: r.grace_writes,
        health_interval: r.health_interval,
    }
}

/// One key at each place that can be asked for it, in the order of preference.
fn endpoints(
    name: &str,
    provider: &KeyProvider,
    runtime: &Handle,
) -> Result<Vec<Endpoint>, String> {
    match provider {
        KeyProvider::File { path } => {
            let provider = FileProvider::open(name, path).map_err(|e| e.to_string())?;
            Ok(local(provider))
        }
        KeyProvider::Pkcs11(key) => {
            let config = Pkcs11Config {
                module: key.module.clone(),
                token: match &key.token {
                    Pkcs11Token::Label(label) => TokenSelector::Label(label.clone()),
                    Pkcs11Token::Slot(slot) => TokenSelector::Slot(*slot),
                },
                pin: Zeroizing::new(key.pin.expose().to_owned()),
                key_label: key.key_label.clone(),
                token_makes_nonces: key.token_makes_nonces,
            };
            let label = config.token.to_string();
            let provider = Pkcs11Provider::open(name, config).map_err(|e| e.to_string())?;
            Ok(vec![Endpoint {
                label,
                provider: Arc::new(provider),
            }])
        }
        KeyProvider::Kmip(key) => kmip::open(name, key),
        KeyProvider::Vault(key) => vault::open(name, key, runtime),
        KeyProvider::Env { variable, value } => {
            let provider = env::provider(name, variable, value.expose());
            Ok(local(provider.map_err(|e| e.to_string())?))
        }
        KeyProvider::AwsKms(key) => {
            let regions = AwsProvider::open(name, key)?.into_iter();
            Ok(regions
                .map(|(label, provider)| Endpoint {
                    label,
                    provider: Arc::new(provider),
                })
                .collect())
        }
    }
}

/// A key that is on this machine.
fn local(provider: impl Provider) -> Vec<Endpoint> {
    vec![Endpoint {
        label: "local".to_owned(),
        provider: Arc::new(provider),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_services_own() {
        let text = "[backend]\ntype = \"fs\"\npath = \"o\"\n[keys.k]\nprovider = \"file\"\npath = \"k\"\n\
                    [[credentials]]\naccess_key = \"a\"\nsecret_key = \"b\"\n";
        let config = sealgate_config::parse(text, "c.toml".as_ref());
        let config = config.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(policy(&config.keys["k"].resilience), KeyPolicy::default());
    }
}
