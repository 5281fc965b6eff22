//! From `[keys.<name>]` to the providers that hold the keys.

use std::sync::Arc;

use sealgate_config::{Config, KeyProvider};
use sealgate_kms::file::FileProvider;
use sealgate_kms::{Endpoint, EpochBounds, KeyPolicy, Keys, NamedKey, Provider, env};

/// Opens every configured key.
pub(crate) fn open(config: &Config) -> Result<Keys, String> {
    let mut keys = Keys::new();
    for (name, key) in &config.keys {
        let endpoints = endpoints(name, &key.provider).map_err(|e| format!("keys.{name}: {e}"))?;
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
            policy: KeyPolicy::default(),
            writes: config.buckets.iter().any(seals),
        };
        keys.insert(name.clone(), key);
    }
    Ok(keys)
}

/// One key at each place that can be asked for it, in the order of preference.
fn endpoints(name: &str, provider: &KeyProvider) -> Result<Vec<Endpoint>, String> {
    match provider {
        KeyProvider::File { path } => {
            let provider = FileProvider::open(name, path).map_err(|e| e.to_string())?;
            Ok(local(provider))
        }
        KeyProvider::Env { variable, value } => {
            let provider = env::provider(name, variable, value.expose());
            Ok(local(provider.map_err(|e| e.to_string())?))
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
