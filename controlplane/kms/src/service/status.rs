//! The state of every key, asked for now: for an operator who wants to know, not for probes.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Endpoint, Slot};
use crate::error::KeyError;
use crate::provider::Provider;

/// The state of one key.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// Its configured name.
    pub name: String,
    /// The provider's kind.
    pub provider: &'static str,
    /// What keeps it from being used, if anything: no endpoint can make a KEK and unwrap it.
    pub trouble: Option<KeyError>,
    /// The same of each endpoint, in their order.
    pub endpoints: Vec<(String, Option<KeyError>)>,
}

/// Asks each endpoint of every key, all at the same time, each once: whatever breakers say.
pub(super) fn ask_all(
    endpoints: &BTreeMap<String, Vec<Endpoint>>,
    slots: &BTreeMap<String, Slot>,
) -> impl Future<Output = Vec<KeyStatus>> + Send + use<> {
    let mut calls = JoinSet::new();
    let mut all = Vec::new();
    for (name, endpoints) in endpoints {
        let Some(slot) = slots.get(name) else {
            continue;
        };
        let limit = slot.caller.policy.deadline;
        for (n, endpoint) in endpoints.iter().cloned().enumerate() {
            let key = all.len();
            calls.spawn(async move { (key, n, tried(limit, &*endpoint.provider).await) });
        }
        all.push(KeyStatus {
            name: name.clone(),
            provider: endpoints[0].provider.kind(),
            trouble: None,
            // A call that ends without an outcome has panicked.
            endpoints: endpoints
                .iter()
                .map(|e| (e.label.clone(), Some(super::broken())))
                .collect(),
        });
    }
    async move {
        while let Some(done) = calls.join_next().await {
            if let Ok((key, n, trouble)) = done {
                all[key].endpoints[n].1 = trouble;
            }
        }
        for key in &mut all {
            let well = key.endpoints.iter().any(|(_, trouble)| trouble.is_none());
            if !well {
                key.trouble = key.endpoints[0].1.clone();
            }
        }
        all
    }
}

/// What keeps a key from wrapping and unwrapping at one endpoint.
async fn tried(limit: Duration, provider: &dyn Provider) -> Option<KeyError> {
    let canary = async {
        let made = provider.generate().await?;
        let kek = provider.unwrap(&made.version, &made.wrapped).await?;
        match kek.same_as(&made.kek) {
            true => Ok(()),
            false => Err(super::call::another_kek()),
        }
    };
    let outcome = tokio::time::timeout(limit, canary).await;
    outcome
        .unwrap_or_else(|_| Err(super::call::late(limit)))
        .err()
}
