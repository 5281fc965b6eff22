//! Each section's own rules, beyond what the table of keys says.

use std::collections::BTreeMap;

use super::Wrong;
use super::reader::{Located, Reader, refused};
use super::{keys, values};
use crate::credentials::{self, StoreCredentials};
use crate::model::{
    Action, Aead, AuditOverflow, Backend, Binding, BucketRule, Config, CorsRule, Credential,
    Driver, Endpoint, Grant, KeyConfig, Listen, Listing, Log, LogFormat, LogTarget, Payload,
    Preset, Runtime, S3Backend, StoreChecksum, StoreUser, Timeouts, Tls,
};
use crate::schema::{self, CLASSES, OPERATIONS};

/// Reads everything before it gives up on anything, so that all errors are found.
pub(super) fn config(root: &Reader<'_>) -> Option<Config> {
    let listen = listen(&root.table_or_default("listen", "listen"));
    let runtime = runtime(&root.table_or_default("runtime", "runtime"));
    let timeouts = timeouts(&root.table_or_default("timeouts", "timeouts"));
    let backend_table = root.table("backend", "backend");
    let backend = backend_table.as_ref().and_then(backend);
    let keys = keys::keys(root);
    let buckets = buckets(root, &keys);
    let has_users = !matches!(backend, Some(Backend::Fs { .. }));
    let credentials = credentials(root, has_users);
    // Not `grants`: here a missing list is an error, and must never mean everything.
    let anonymous = root
        .table("anonymous", "anonymous")
        .map(|table| allowed(&table));
    let cors = cors(root);
    let log = log(&root.table_or_default("log", "log"));
    Some(Config {
        listen: listen?,
        runtime: runtime?,
        timeouts: timeouts?,
        backend: backend?,
        keys: keys
            .into_iter()
            .filter_map(|(name, key)| Some((name, key?)))
            .collect(),
        buckets,
        credentials,
        anonymous,
        cors,
        log: log?,
    })
}

fn listen(table: &Reader<'_>) -> Option<Listen> {
    let s3 = table.address("s3");
    let admin = table.address("admin");
    if let (Some(s3), Some(admin)) = (&s3, &admin)
        && s3.value == admin.value
        && s3.value.port() != 0
    {
        let what = Wrong::from("is the address of listen.s3 as well".to_owned());
        table.wrong("admin", what.remedy("choose another port"));
    }
    let tls = table.table("tls", "listen.tls").and_then(|tls| {
        let (cert, key) = (tls.file("cert"), tls.file("key"));
        Some(Tls {
            cert: cert?,
            key: key?,
        })
    });
    let base_domains = table.list("base_domains", |text| {
        values::domain(text).ok_or_else(|| refused(text))
    });
    Some(Listen {
        s3: s3?.value,
        admin: admin.map(|found| found.value),
        tls,
        base_domains: base_domains?,
    })
}

fn runtime(table: &Reader<'_>) -> Option<Runtime> {
    let cores = table.number("cores");
    let driver = table.choice("driver", &[Driver::Auto, Driver::IoUring, Driver::Epoll]);
    let pin = table.boolean("pin");
    let buffer_budget = table.number("buffer_budget");
    let aead = table.choice("aead", &[Aead::Auto, Aead::AwsLc, Aead::Ring]);
    let core_dumps = table.boolean("core_dumps");
    Some(Runtime {
        cores: cores.and_then(|n| usize::try_from(n).ok()),
        driver: driver?,
        pin: pin?,
        buffer_budget: buffer_budget?,
        aead: aead?,
        core_dumps: core_dumps?,
    })
}

fn timeouts(table: &Reader<'_>) -> Option<Timeouts> {
    let [header, idle, buffer_wait, drain] =
        ["header", "idle", "buffer_wait", "drain"].map(|key| table.duration(key));
    let [connect, answer, long_answer, block, store_idle] = [
        "store_connect",
        "store_answer",
        "store_long_answer",
        "store_block",
        "store_idle",
    ]
    .map(|key| table.duration(key));
    let min_rate = table.number("min_rate");
    Some(Timeouts {
        header: header?,
        idle: idle?,
        min_rate: min_rate?,
        buffer_wait: buffer_wait?,
        drain: drain?,
        store_connect: connect?,
        store_answer: answer?,
        store_long_answer: long_answer?,
        store_block: block?,
        store_idle: store_idle?,
    })
}

fn backend(table: &Reader<'_>) -> Option<Backend> {
    let is_s3 = table.choice("type", &[true, false])?;
    for row in schema::section("backend").rows {
        let belongs = match row.key {
            "type" => true,
            "path" => !is_s3,
            _ => is_s3,
        };
        if !belongs {
            let (here, there) = if is_s3 { ("s3", "fs") } else { ("fs", "s3") };
            let what = Wrong::from(format!("has no meaning with type = {here:?}"));
            table.misplaced(
                row.key,
                what.remedy(format!("remove it, or set type = {there:?}")),
            );
        }
    }
    if is_s3 {
        return s3_backend(table);
    }
    if !table.has("path") {
        table.missing("path");
    }
    table.file("path").map(|path| Backend::Fs { path })
}

fn s3_backend(table: &Reader<'_>) -> Option<Backend> {
    if !table.has("endpoint") {
        table.missing("endpoint");
    }
    let endpoint = table.endpoint("endpoint");
    let region = table.text("region");
    let credentials = store_credentials(table);
    let path_style = table.boolean("path_style");
    let ca_file = table.file("ca_file");
    let payload = table.choice("payload", &[Payload::Unsigned, Payload::Signed]);
    let preset = table.choice(
        "preset",
        &[
            Preset::Aws,
            Preset::Ceph,
            Preset::SeaweedFs,
            Preset::Minio,
            Preset::Garage,
            Preset::VersityGw,
            Preset::Generic,
        ],
    );
    let checksum = store_checksum(table, preset);
    let emulate_conditions = table.boolean("emulate_conditions");
    let parallel = table.number("parallel");
    let far = table.duration("far");
    if let Some(Located {
        value: Endpoint { https: false, .. },
        ..
    }) = endpoint
        && ca_file.is_some()
    {
        let what = Wrong::from("has no meaning with an http:// endpoint".to_owned());
        table.misplaced("ca_file", what.remedy("remove it, or use https://"));
    }
    Some(Backend::S3(Box::new(S3Backend {
        endpoint: endpoint?.value,
        region: region?.value,
        credentials: credentials?,
        path_style: path_style?,
        ca_file,
        payload: payload?,
        checksum: checksum?,
        preset: preset?,
        emulate_conditions: emulate_conditions?,
        parallel: usize::try_from(parallel?).unwrap_or(1),
        far: far?,
    })))
}

/// The checksum that goes to the store, which has to take it.
fn store_checksum(table: &Reader<'_>, preset: Option<Preset>) -> Option<StoreChecksum> {
    if !table.has("checksum") {
        return preset.map(Preset::usual_checksum);
    }
    let chosen = table.choice(
        "checksum",
        &[
            StoreChecksum::None,
            StoreChecksum::Crc64Nvme,
            StoreChecksum::Crc32c,
        ],
    )?;
    if let Some(preset) = preset
        && chosen != StoreChecksum::None
        && !preset.takes_checksums()
    {
        let name = preset.as_str();
        let what = format!("a store with preset = {name:?} takes no checksum after a body");
        table.wrong(
            "checksum",
            Wrong::from(what).remedy("write \"none\", or name the preset that fits the store"),
        );
        return None;
    }
    Some(chosen)
}

fn store_credentials(table: &Reader<'_>) -> Option<StoreCredentials> {
    let secret_keys = table.secret_keys("secret_key");
    let token_keys = table.secret_keys("session_token");
    let from_file = table.has("credentials_file") || table.has("profile");
    let here = table.has("access_key") || !secret_keys.is_empty() || !token_keys.is_empty();
    if !here {
        return found_credentials(table);
    }
    for key in ["credentials_file", "profile"] {
        if from_file && table.has(key) {
            let what = Wrong::from("the credentials are in this table already".to_owned());
            table.misplaced(key, what.remedy("keep one or the other"));
        }
    }
    if !table.has("access_key") {
        table.missing("access_key");
    }
    if secret_keys.is_empty() {
        missing_secret(table, "secret_key", "access_key");
    }
    let access_key = table.text("access_key");
    let secret_key = table.secret("secret_key");
    let session_token = table.secret("session_token");
    Some(StoreCredentials {
        access_key: access_key?.value,
        secret_key: secret_key?,
        session_token,
    })
}

/// Credentials from the environment or a shared file.
fn found_credentials(table: &Reader<'_>) -> Option<StoreCredentials> {
    let file = table.file("credentials_file");
    let profile = table.text("profile").map(|found| found.value);
    match credentials::find(
        file.as_deref(),
        profile.as_deref(),
        table.context.environment,
    ) {
        Ok(found) => Some(found),
        Err(lack) => {
            let key = ["profile", "credentials_file", "access_key"]
                .into_iter()
                .find(|key| table.has(key))
                .unwrap_or("access_key");
            let remedy = "set access_key and one of secret_key, secret_key_env, secret_key_file in [backend]";
            table.wrong(key, Wrong::from(lack.to_string()).remedy(remedy));
            None
        }
    }
}

pub(super) fn missing_secret(table: &Reader<'_>, name: &str, beside: &str) {
    let wrong = Wrong::from(format!("{beside} needs a secret key beside it"));
    let wrong = wrong
        .accept(format!("one of {name}, {name}_env, {name}_file"))
        .remedy(format!("add {name}_file = \"PATH\""));
    table.wrong(if table.has(beside) { beside } else { name }, wrong);
}

fn buckets(root: &Reader<'_>, keys: &BTreeMap<String, Option<KeyConfig>>) -> Vec<BucketRule> {
    let default_key = match keys.len() {
        1 => keys.keys().next().cloned(),
        _ => keys.contains_key("default").then(|| "default".to_owned()),
    };
    let mut rules: Vec<BucketRule> = Vec::new();
    for table in root.tables("buckets", "buckets[]") {
        let pattern = table.parsed("match", pattern);
        if let Some(found) = &pattern {
            let (bucket, prefix) = &found.value;
            let taken = rules.iter().position(|earlier| {
                (earlier.bucket == "*" || earlier.bucket == *bucket)
                    && prefix.starts_with(&earlier.prefix)
            });
            if let Some(n) = taken {
                let what = format!("never applies: buckets[{}] matches all of it first", n + 1);
                table.wrong(
                    "match",
                    Wrong::from(what).remedy("move it before that rule, or remove it"),
                );
            }
        }
        if let Some(rule) = bucket(&table, pattern, keys, default_key.as_deref()) {
            rules.push(rule);
        }
    }
    let catches_all = |rule: &BucketRule| rule.bucket == "*" && rule.prefix.is_empty();
    if !rules.iter().any(catches_all) {
        match default_key {
            Some(key) => rules.push(BucketRule {
                bucket: "*".into(),
                prefix: String::new(),
                key: Some(key),
                listing: Listing::Computed,
                binding: Binding::Key,
                seal_metadata: true,
                plaintext_reads: false,
                encrypt: true,
            }),
            None => no_rule_for_the_rest(root, keys),
        }
    }
    rules
}

fn no_rule_for_the_rest(root: &Reader<'_>, keys: &BTreeMap<String, Option<KeyConfig>>) {
    let wrong = if keys.is_empty() {
        Wrong::from("there is no key to encrypt with".to_owned())
            .remedy("add [keys.main] with provider = \"file\" and path; `sealgate key create PATH` makes the file")
    } else {
        Wrong::from("no rule says which key encrypts the buckets that no rule matches".to_owned())
            .remedy(
                "end with [[buckets]] match = \"*\" and a key, or name one of the keys \"default\"",
            )
    };
    let place = if keys.is_empty() { "keys" } else { "buckets" };
    root.wrong(place, wrong);
}

fn bucket(
    table: &Reader<'_>,
    pattern: Option<Located<(String, String)>>,
    keys: &BTreeMap<String, Option<KeyConfig>>,
    default_key: Option<&str>,
) -> Option<BucketRule> {
    let listing = table.choice("listing", &[Listing::Computed, Listing::Verify]);
    let binding = table.choice(
        "binding",
        &[Binding::Key, Binding::BucketAndKey, Binding::None],
    );
    let seal_metadata = table.choice("metadata", &[true, false]);
    let encrypt = table.boolean("encrypt");
    let plaintext_reads = table.boolean("plaintext_reads");
    if table.has("plaintext_reads") && encrypt == Some(false) {
        let wrong = Wrong::from("means nothing where encrypt = false".to_owned())
            .remedy("remove one of the two: without encryption every object is read as it is");
        table.wrong("plaintext_reads", wrong);
    }
    let named = table.text("key").map(|found| found.value);
    if let Some(name) = &named
        && !keys.contains_key(name)
    {
        let names: Vec<_> = keys.keys().map(String::as_str).collect();
        let accepted = if names.is_empty() {
            "none: there is no [keys.<name>]".to_owned()
        } else {
            names.join(", ")
        };
        let wrong = Wrong::from(format!("there is no [keys.{name}]")).accept(accepted);
        table.wrong(
            "key",
            match values::nearest(name, names.into_iter()) {
                Some(near) => wrong.remedy(format!("write {near:?}")),
                None => wrong.remedy(format!("add [keys.{name}]")),
            },
        );
    } else if named.is_none() && !table.has("key") && default_key.is_none() && encrypt == Some(true)
    {
        let wrong = Wrong::from("is missing, and no key is the default".to_owned());
        let names: Vec<_> = keys.keys().map(String::as_str).collect();
        table.wrong(
            "key",
            wrong
                .accept(names.join(", "))
                .remedy("add key = \"NAME\" to this rule"),
        );
    }
    let (bucket, prefix) = pattern?.value;
    Some(BucketRule {
        bucket,
        prefix,
        key: named.or_else(|| default_key.map(str::to_owned)),
        listing: listing?,
        binding: binding?,
        seal_metadata: seal_metadata?,
        plaintext_reads: plaintext_reads?,
        encrypt: encrypt?,
    })
}

/// `bucket` or `bucket/prefix`; a `*` at the end of a prefix is what a prefix means anyway.
fn pattern(text: &str) -> Option<(String, String)> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = prefix.strip_suffix('*').unwrap_or(prefix);
    let fine = values::bucket_pattern(bucket) && !prefix.contains('*');
    fine.then(|| (bucket.to_owned(), prefix.to_owned()))
}

fn credentials(root: &Reader<'_>, has_users: bool) -> Vec<Credential> {
    let mut all: Vec<Credential> = Vec::new();
    for table in root.tables("credentials", "credentials[]") {
        let access_key = table.parsed("access_key", |text| {
            // It is a part of `Credential=…/date/…` and of lists in headers.
            let fine = !text.is_empty()
                && text.len() <= 128
                && text
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"/,=".contains(&b));
            fine.then(|| text.to_owned())
        });
        if let Some(found) = &access_key
            && all.iter().any(|other| other.access_key == found.value)
        {
            let what = Wrong::from("stands in an earlier [[credentials]] as well".to_owned());
            table.wrong("access_key", what.remedy("remove one of them"));
        }
        if table.secret_keys("secret_key").is_empty() {
            missing_secret(&table, "secret_key", "access_key");
        }
        let secret_key = table.secret("secret_key");
        let allow = grants(&table);
        let store_user = store_user(&table, has_users);
        let sigv2 = table.boolean("sigv2") == Some(true);
        if let (Some(access_key), Some(secret_key)) = (access_key, secret_key) {
            all.push(Credential {
                access_key: access_key.value,
                secret_key,
                allow,
                store_user,
                sigv2,
            });
        }
    }
    all
}

fn grants(table: &Reader<'_>) -> Vec<Grant> {
    if !table.has("allow") {
        return vec![Grant {
            bucket: "*".into(),
            prefix: String::new(),
            actions: vec![Action::All],
        }];
    }
    allowed(table)
}

/// What stands in `allow`: the same keys wherever that is.
fn allowed(table: &Reader<'_>) -> Vec<Grant> {
    let read = |grant: Reader<'_>| {
        let bucket = grant.parsed("bucket", |text| {
            values::bucket_pattern(text).then(|| text.to_owned())
        });
        let prefix = grant.parsed("prefix", |text| Some(text.to_owned()));
        let actions = grant.list("actions", action);
        Some(Grant {
            bucket: bucket?.value,
            prefix: prefix?.value,
            actions: actions?,
        })
    };
    let tables = table.tables("allow", "credentials[].allow[]");
    tables.into_iter().filter_map(read).collect()
}

fn cors(root: &Reader<'_>) -> Vec<CorsRule> {
    let one_star = |text: &str| match text.matches('*').count() {
        0 | 1 if text.bytes().all(|b| b.is_ascii_graphic() && b != b',') && !text.is_empty() => {
            Ok(text.to_owned())
        }
        _ => Err(refused(text)),
    };
    let method = |text: &str| match text {
        "GET" | "PUT" | "POST" | "DELETE" | "HEAD" => Ok(text.to_owned()),
        _ => Err(refused(text)),
    };
    let read = |table: Reader<'_>| {
        let bucket = table.parsed("match", |text| {
            values::bucket_pattern(text).then(|| text.to_owned())
        });
        let origins = table.list("origins", one_star);
        let methods = table.list("methods", method);
        let headers = table.list("headers", |text| {
            one_star(text).map(|t| t.to_ascii_lowercase())
        });
        let expose = table.list("expose", one_star);
        let max_age = table.duration("max_age");
        Some(CorsRule {
            bucket: bucket?.value,
            origins: origins?,
            methods: methods?,
            headers: headers?,
            expose: expose?,
            max_age,
        })
    };
    let tables = root.tables("cors", "cors[]");
    tables.into_iter().filter_map(read).collect()
}

fn action(text: &str) -> Result<Action, Wrong> {
    Ok(match text {
        "*" => Action::All,
        "read" => Action::Read,
        "write" => Action::Write,
        "list" => Action::List,
        "delete" => Action::Delete,
        "admin" => Action::Admin,
        _ if OPERATIONS.contains(&text) => Action::Operation(text.to_owned()),
        _ => {
            let known = CLASSES.iter().chain(OPERATIONS).copied();
            return Err(match values::nearest(text, known) {
                Some(name) => refused(text).remedy(format!("write {name:?}")),
                None => refused(text),
            });
        }
    })
}

fn store_user(table: &Reader<'_>, has_users: bool) -> Option<StoreUser> {
    let secrets = table.secret_keys("backend_secret_key");
    if !table.has("backend_access_key") {
        for key in &secrets {
            let what = Wrong::from("has no backend_access_key beside it".to_owned());
            table.misplaced(key, what.remedy("add backend_access_key, or remove this"));
        }
        return None;
    }
    if !has_users {
        let what = Wrong::from("has no meaning with a directory as the store".to_owned());
        table.misplaced(
            "backend_access_key",
            what.remedy("remove it, or set backend.type = \"s3\""),
        );
    }
    if secrets.is_empty() {
        missing_secret(table, "backend_secret_key", "backend_access_key");
    }
    let access_key = table.text("backend_access_key");
    let secret_key = table.secret("backend_secret_key");
    Some(StoreUser {
        access_key: access_key?.value,
        secret_key: secret_key?,
    })
}

fn log(table: &Reader<'_>) -> Option<Log> {
    let format = table.choice("format", &[LogFormat::Json, LogFormat::Text]);
    let level = table.choice("level", &["error", "warn", "info", "debug", "trace"]);
    let target = |key| {
        table.text(key).map(|found| match found.value.as_str() {
            "off" => LogTarget::Off,
            "stdout" => LogTarget::Stdout,
            path => LogTarget::File(table.resolve(path)),
        })
    };
    let access = target("access");
    let audit = target("audit");
    let on_overflow = [AuditOverflow::Drop, AuditOverflow::Fail];
    let audit_on_overflow = table.choice("audit_on_overflow", &on_overflow);
    Some(Log {
        format: format?,
        level: level?.to_owned(),
        access: access?,
        audit: audit?,
        audit_on_overflow: audit_on_overflow?,
    })
}
