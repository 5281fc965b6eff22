//! The keys, each read as its provider wants it.

mod aws;
mod kmip;
mod vault;

use std::collections::BTreeMap;

use super::Wrong;
use super::reader::{Reader, refused};
use super::values;
use crate::model::{KeyConfig, KeyProvider, Pkcs11Key, Pkcs11Token, Resilience};
use crate::schema;
use crate::secret::SecretString;

/// All keys by name; `None` for one that has errors, so that rules that name it are not errors as well.
pub(super) fn keys(root: &Reader<'_>) -> BTreeMap<String, Option<KeyConfig>> {
    let mut keys = BTreeMap::new();
    for (name, table) in root.named("keys", schema::KEYS) {
        if !values::key_name(&name.value)
            && let Some(span) = name.span
        {
            let accepted = "up to 64 letters, digits, '.', '_' and '-'";
            let wrong = refused(&name.value).accept(accepted);
            root.context
                .report(span, format!("keys.{}", name.value), wrong);
        }
        keys.insert(name.value, key(&table));
    }
    keys
}

/// How a provider's keys are read.
type Read = fn(&Reader<'_>) -> Option<KeyProvider>;

/// In the order of the choices of `provider`.
const READERS: &[Read] = &[file, env, pkcs11, vault::key, aws::key, kmip::key];

fn key(table: &Reader<'_>) -> Option<KeyConfig> {
    let provider = table.choice("provider", READERS);
    let provider = provider.and_then(|read| read(table));
    let max_age = table.duration("max_age");
    let max_objects = table.number("max_objects");
    let max_bytes = table.number("max_bytes");
    let resilience = resilience(table);
    Some(KeyConfig {
        provider: provider?,
        max_age: max_age?,
        max_objects: max_objects?,
        max_bytes: max_bytes?,
        resilience: resilience?,
    })
}

/// What every provider's keys have: see docs/kms/failure.md.
fn resilience(table: &Reader<'_>) -> Option<Resilience> {
    let attempt_timeout = table.duration("attempt_timeout");
    let deadline = table.duration("deadline");
    let retries = table.small("retries");
    let hedge_after = table.duration("hedge_after");
    let concurrency = table.small("concurrency");
    let health_interval = table.duration("health_interval");
    if let (Some(attempt), Some(all)) = (attempt_timeout, deadline)
        && all < attempt
    {
        let key = match table.has("deadline") {
            true => "deadline",
            false => "attempt_timeout",
        };
        let what = format!("deadline ({all:?}) is shorter than attempt_timeout ({attempt:?})");
        let wrong = Wrong::from(what).accept("a deadline of at least attempt_timeout");
        table.wrong(
            key,
            wrong.remedy("set both, best deadline to four times attempt_timeout"),
        );
    }
    let breaker = table.table_or_default("breaker", "keys.<name>.breaker");
    let (failures, open_for) = (breaker.small("failures"), breaker.duration("open_for"));
    let cache = table.table_or_default("cache", "keys.<name>.cache");
    let (cache_ttl, cache_idle_ttl) = (cache.duration("ttl"), cache.duration("idle_ttl"));
    let (cache_max, core_ttl) = (cache.small("max"), cache.duration("core_ttl"));
    let (negative_ttl, error_ttl) = (cache.duration("negative_ttl"), cache.duration("error_ttl"));
    let grace = table.table_or_default("offline_grace", "keys.<name>.offline_grace");
    let (grace_reads, grace_writes) = (grace.duration("reads"), grace.duration("writes"));
    Some(Resilience {
        attempt_timeout: attempt_timeout?,
        deadline: deadline?,
        retries: retries?,
        hedge_after: hedge_after?,
        concurrency: concurrency? as usize,
        health_interval: health_interval?,
        breaker_failures: failures?,
        breaker_open_for: open_for?,
        cache_ttl: cache_ttl?,
        cache_idle_ttl: cache_idle_ttl?,
        cache_max: cache_max? as usize,
        core_ttl: core_ttl?,
        negative_ttl: negative_ttl?,
        error_ttl: error_ttl?,
        grace_reads: grace_reads?,
        grace_writes: grace_writes?,
    })
}

fn file(table: &Reader<'_>) -> Option<KeyProvider> {
    table.file("path").map(|path| KeyProvider::File { path })
}

fn env(table: &Reader<'_>) -> Option<KeyProvider> {
    let variable = table.variable_name("variable")?;
    let Some(value) = table.context.environment.get(&variable) else {
        let what = format!("the environment variable {variable} is not set or empty");
        let remedy = format!("set {variable} for this process: openssl rand -base64 32");
        table.wrong("variable", Wrong::from(what).remedy(remedy));
        return None;
    };
    Some(KeyProvider::Env { variable, value })
}

fn pkcs11(table: &Reader<'_>) -> Option<KeyProvider> {
    let module = table.file("module");
    let token = match (table.has("token_label"), table.has("slot")) {
        (true, false) => table
            .text("token_label")
            .map(|text| Pkcs11Token::Label(text.value)),
        (false, true) => table.number("slot").map(Pkcs11Token::Slot),
        (true, true) => {
            let what = Wrong::from("token_label is there as well".to_owned());
            table.misplaced("slot", what.remedy("keep one of them"));
            None
        }
        (false, false) => {
            table.missing("token_label");
            None
        }
    };
    let pin = required_secret(table, "pin");
    let key_label = table.text("key_label");
    let token_makes_nonces = table.choice("nonce", &[false, true]);
    Some(KeyProvider::Pkcs11(Pkcs11Key {
        module: module?,
        token: token?,
        pin: pin?,
        key_label: key_label?.value,
        token_makes_nonces: token_makes_nonces?,
    }))
}

/// The secret under one of `name`, `name_env` and `name_file`.
fn required_secret(table: &Reader<'_>, name: &str) -> Option<SecretString> {
    if table.secret_keys(name).is_empty() {
        let wrong = Wrong::from("is missing".to_owned());
        let wrong = wrong.accept(format!("one of {name}, {name}_env, {name}_file"));
        table.wrong(name, wrong.remedy(format!("add `{name}_file`")));
    }
    table.secret(name)
}
