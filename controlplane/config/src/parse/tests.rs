//! What is read, what is refused, and how it is said.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::model::*;
use crate::secret::SecretString;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Every key of every section, none with its default.
const FULL: &str = r#"
[listen]
s3 = "0.0.0.0:9443"
admin = "[::1]:9001"
tls.cert = "tls.crt"
tls.key = "/abs/tls.key"
base_domains = ["S3.example.net", "localhost"]

[runtime]
cores = 3
driver = "epoll"
pin = true
buffer_budget = "1GiB"
aead = "ring"

[timeouts]
header = "1s"
idle = "2s"
min_rate = 1
buffer_wait = "3ms"
drain = "2m"
store_connect = "4s"
store_answer = "5s"
store_long_answer = "1h"
store_block = "6s"
store_idle = "7s"

[backend]
type = "s3"
endpoint = "https://store.example.net:8443"
region = "eu-central-1"
access_key = "STORE"
secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
session_token_env = "TOKEN"
path_style = false
ca_file = "ca.pem"
payload = "signed"
checksum = "crc32c"
preset = "minio"
emulate_conditions = true
parallel = 3
far = "7ms"

[keys.main]
provider = "file"
path = "main.keys"
max_age = "10m"
max_objects = 1
max_bytes = "1GiB"

[keys.other]
provider = "file"
path = "/keys/other"

[[buckets]]
match = "clear-*"
encrypt = false

[[buckets]]
match = "prod-*/logs/*"
key = "other"
listing = "verify"
binding = "bucket+key"
metadata = "plain"

[[buckets]]
match = "*"
key = "main"

[[credentials]]
access_key = "ALICE"
secret_key_env = "ALICE_SECRET"

[[credentials]]
access_key = "BOB"
secret_key = "bob's"
allow = [
    { bucket = "b*", prefix = "in/", actions = ["read", "PutObject"] },
    {},
]
backend_access_key = "BOB-AT-STORE"
backend_secret_key_env = "BOB_STORE_SECRET"

[[credentials]]
access_key = "NOBODY"
secret_key = "n"
allow = []

[log]
format = "text"
level = "debug"
access = "access.log"
"#;

/// The least that is accepted.
const SMALL: &str = "[backend]\ntype = \"fs\"\npath = \"data\"\n[keys.k]\nprovider = \"file\"\npath = \"k.keys\"\n\
                     [[credentials]]\naccess_key = \"A\"\nsecret_key = \"s\"\n";

fn environment() -> Environment {
    Environment::of(&[
        ("TOKEN", "the-token"),
        ("ALICE_SECRET", "alice-secret"),
        ("BOB_STORE_SECRET", "bob-store-secret"),
    ])
}

fn read(text: &str) -> Result<Config, ConfigErrors> {
    config(
        text,
        Path::new("/etc/sealgate/sealgate.toml"),
        &environment(),
    )
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|e| panic!("{e}"))
}

fn errors(text: &str) -> ConfigErrors {
    match read(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors,
    }
}

/// The one error of a text.
fn error(text: &str) -> (ConfigError, String) {
    let errors = errors(text);
    assert_eq!(errors.iter().count(), 1, "{errors}");
    let error = errors.iter().next().expect("one").clone();
    (error, errors.to_string())
}

fn line_of(error: &ConfigError) -> usize {
    error.place.as_ref().expect("a place").line
}

#[test]
fn every_key_is_read() {
    let c = good(FULL);
    assert_eq!(c.listen.s3, "0.0.0.0:9443".parse().expect("address"));
    assert_eq!(c.listen.admin, Some("[::1]:9001".parse().expect("address")));
    let tls = c.listen.tls.expect("TLS");
    assert_eq!(
        tls.cert,
        Path::new("/etc/sealgate/tls.crt"),
        "relative to the file"
    );
    assert_eq!(tls.key, Path::new("/abs/tls.key"));
    assert_eq!(c.listen.base_domains, ["s3.example.net", "localhost"]);
    let r = &c.runtime;
    assert_eq!((r.cores, r.driver, r.pin), (Some(3), Driver::Epoll, true));
    assert_eq!((r.buffer_budget, r.aead), (1 << 30, Aead::Ring));
    let t = &c.timeouts;
    let times = [
        t.header,
        t.idle,
        t.buffer_wait,
        t.drain,
        t.store_connect,
        t.store_answer,
        t.store_long_answer,
        t.store_block,
        t.store_idle,
    ];
    let millis = times.map(|d| d.as_millis());
    assert_eq!(
        millis,
        [1000, 2000, 3, 120_000, 4000, 5000, 3_600_000, 6000, 7000]
    );
    assert_eq!(t.min_rate, 1);
    let main = &c.keys["main"];
    let KeyProvider::File { path } = &main.provider else {
        panic!("not a file");
    };
    assert_eq!(path, Path::new("/etc/sealgate/main.keys"));
    assert_eq!(
        (main.max_age.as_secs(), main.max_objects, main.max_bytes),
        (600, 1, 1 << 30)
    );
    assert_eq!(
        (c.log.format, c.log.level.as_str()),
        (LogFormat::Text, "debug")
    );
    assert_eq!(
        c.log.access,
        LogTarget::File("/etc/sealgate/access.log".into())
    );
}

#[test]
fn a_key_may_be_in_the_environment() {
    let text = SMALL.replace(
        "provider = \"file\"\npath = \"k.keys\"",
        "provider = \"env\"\nvariable = \"TOKEN\"\nmax_age = \"2h\"",
    );
    let key = good(&text).keys.remove("k").expect("the key");
    assert!(matches!(
        &key.provider,
        KeyProvider::Env { variable, value } if variable == "TOKEN" && value.expose() == "the-token"
    ));
    assert_eq!(key.max_age.as_secs(), 7200);
}

#[test]
fn a_key_may_be_in_a_token() {
    let text = SMALL.replace(
        "provider = \"file\"\npath = \"k.keys\"",
        "provider = \"pkcs11\"\nmodule = \"hsm.so\"\nslot = 7\npin_env = \"TOKEN\"\nkey_label = \"seal\"",
    );
    let key = good(&text).keys.remove("k").expect("the key");
    let KeyProvider::Pkcs11(key) = key.provider else {
        panic!("not a token")
    };
    assert_eq!(key.module, Path::new("/etc/sealgate/hsm.so"));
    assert_eq!(key.token, Pkcs11Token::Slot(7));
    assert_eq!(
        (key.pin.expose(), key.key_label.as_str()),
        ("the-token", "seal")
    );
    assert!(!key.token_makes_nonces);
}

#[test]
fn how_failures_are_met_is_read() {
    let text = SMALL.replace(
        "path = \"k.keys\"",
        "path = \"k.keys\"\ndeadline = \"30s\"\nretries = 0\nconcurrency = 4\nbreaker.failures = 9\n\
         cache = { ttl = \"5m\", max = 7, negative_ttl = \"0s\" }\noffline_grace.reads = \"12h\"",
    );
    let r = &good(&text).keys["k"].resilience;
    let seconds = (
        r.deadline.as_secs(),
        r.cache_ttl.as_secs(),
        r.grace_reads.as_secs(),
    );
    assert_eq!(seconds, (30, 300, 43_200));
    let numbers = (r.retries, r.concurrency, r.breaker_failures, r.cache_max);
    assert_eq!(numbers, (0, 4, 9, 7));
    assert!(r.negative_ttl.is_zero() && r.grace_writes.is_zero());
}

#[test]
fn a_checksum_goes_to_the_store_where_it_wants_one() {
    let of = |preset: &str| {
        let text = FULL.replace("checksum = \"crc32c\"\n", "");
        let Backend::S3(s3) = good(&text.replace("\"minio\"", preset)).backend else {
            panic!("an S3 store")
        };
        s3.checksum
    };
    assert_eq!(of("\"aws\""), StoreChecksum::Crc64Nvme);
    for preset in ["\"minio\"", "\"ceph\"", "\"garage\"", "\"generic\""] {
        assert_eq!(of(preset), StoreChecksum::None, "{preset}");
    }
}

#[test]
fn the_store_is_read() {
    let Backend::S3(s3) = good(FULL).backend else {
        panic!("an S3 store")
    };
    assert!(
        s3.endpoint.https && s3.endpoint.port == 8443 && s3.endpoint.host == "store.example.net"
    );
    assert_eq!(s3.endpoint.authority, "store.example.net:8443");
    assert_eq!(
        (s3.region.as_str(), s3.path_style, s3.payload),
        ("eu-central-1", false, Payload::Signed)
    );
    assert_eq!(s3.checksum, StoreChecksum::Crc32c);
    assert_eq!(
        s3.ca_file.as_deref(),
        Some(Path::new("/etc/sealgate/ca.pem"))
    );
    assert_eq!(
        (
            s3.credentials.access_key.as_str(),
            s3.credentials.secret_key.expose()
        ),
        ("STORE", SECRET)
    );
    assert_eq!(
        s3.credentials
            .session_token
            .as_ref()
            .map(SecretString::expose),
        Some("the-token")
    );
}

#[test]
fn bucket_rules_keep_their_order() {
    let rules = good(FULL).buckets;
    let told: Vec<_> = rules
        .iter()
        .map(|r| {
            (
                r.bucket.as_str(),
                r.prefix.as_str(),
                r.key.as_deref(),
                r.encrypt,
            )
        })
        .collect();
    let expected = [
        ("clear-*", "", None, false),
        ("prod-*", "logs/", Some("other"), true),
        ("*", "", Some("main"), true),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (rules[1].listing, rules[1].binding, rules[1].seal_metadata),
        (Listing::Verify, Binding::BucketAndKey, false)
    );
}

#[test]
fn users_are_read() {
    let users = good(FULL).credentials;
    assert_eq!(users[0].secret_key.expose(), "alice-secret");
    let all = |bucket: &str, prefix: &str, actions: Vec<Action>| Grant {
        bucket: bucket.into(),
        prefix: prefix.into(),
        actions,
    };
    let everything = all("*", "", vec![Action::All]);
    assert_eq!(
        users[0].allow.as_slice(),
        std::slice::from_ref(&everything),
        "without `allow`, everything"
    );
    let some = all(
        "b*",
        "in/",
        vec![Action::Read, Action::Operation("PutObject".into())],
    );
    assert_eq!(users[1].allow, [some, everything]);
    let at_store = users[1].store_user.as_ref().expect("a user of the store");
    assert_eq!(
        (at_store.access_key.as_str(), at_store.secret_key.expose()),
        ("BOB-AT-STORE", "bob-store-secret")
    );
    assert_eq!(users[2].allow, []);
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let c = good(SMALL);
    assert_eq!(c.listen.s3, "127.0.0.1:9000".parse().expect("address"));
    assert!(c.listen.admin.is_none() && c.listen.tls.is_none() && c.listen.base_domains.is_empty());
    assert_eq!(
        (c.runtime.cores, c.runtime.driver, c.runtime.pin),
        (None, Driver::Auto, false)
    );
    assert_eq!(
        (c.runtime.buffer_budget, c.runtime.aead),
        (256 << 20, Aead::Auto)
    );
    assert_eq!(
        (c.timeouts.drain.as_secs(), c.timeouts.min_rate),
        (30, 4096)
    );
    let key = &c.keys["k"];
    let bounds = (key.max_age.as_secs(), key.max_objects, key.max_bytes);
    assert_eq!(bounds, (3600, 1 << 20, 1 << 44), "docs/format.md, keys");
    let r = &key.resilience;
    assert_eq!(
        (r.deadline.as_secs(), r.retries, r.breaker_failures),
        (8, 3, 5)
    );
    assert!(r.grace_reads.is_zero() && r.grace_writes.is_zero());
    assert_eq!(
        (c.log.format, c.log.access),
        (LogFormat::Json, LogTarget::Stdout)
    );
    assert!(matches!(c.backend, Backend::Fs { path } if path == Path::new("/etc/sealgate/data")));
}

#[test]
fn a_bucket_without_a_rule_is_encrypted_or_an_error() {
    let last = |text: &str| good(text).buckets.pop().expect("a rule");
    let fallback = last(SMALL);
    assert_eq!(
        (fallback.bucket.as_str(), fallback.prefix.as_str()),
        ("*", "")
    );
    assert_eq!(
        (
            fallback.key.as_deref(),
            fallback.encrypt,
            fallback.seal_metadata
        ),
        (Some("k"), true, true)
    );
    assert_eq!(
        (fallback.listing, fallback.binding),
        (Listing::Computed, Binding::Key)
    );
    // A rule for some buckets changes nothing for the others.
    let some = format!("{SMALL}[[buckets]]\nmatch = \"x/\"\nencrypt = false\n");
    assert_eq!(last(&some), fallback);
    // Of several keys, the one called default.
    let two = format!("{SMALL}[keys.default]\nprovider = \"file\"\npath = \"d\"\n");
    assert_eq!(last(&two).key.as_deref(), Some("default"));
    let unclear = two.replace("keys.default", "keys.j");
    let (_, text) = error(&unclear);
    assert!(text.contains("no rule says which key"), "{text}");
    let (_, text) = error(&format!("{unclear}[[buckets]]\nmatch = \"*\"\n"));
    assert!(
        text.contains("buckets[1].key") && text.contains("accepted: j, k"),
        "{text}"
    );
}

#[test]
fn without_keys_plaintext_has_to_be_asked_for() {
    let none = "[backend]\ntype = \"fs\"\npath = \"d\"\n[[credentials]]\naccess_key = \"A\"\nsecret_key = \"s\"\n";
    let (_, text) = error(none);
    assert!(
        text.contains("no key to encrypt with") && text.contains("sealgate key create"),
        "{text}"
    );
    let clear = good(&format!(
        "{none}[[buckets]]\nmatch = \"*\"\nencrypt = false\n"
    ));
    assert!(!clear.buckets[0].encrypt && clear.buckets.len() == 1);
}

#[test]
fn rules_that_never_apply_are_errors() {
    let more = "[[buckets]]\nmatch = \"late\"\nkey = \"main\"\n";
    let (error, text) = error(&format!("{FULL}{more}"));
    assert_eq!(error.key, "buckets[4].match");
    assert!(
        text.contains("buckets[3] matches all of it first"),
        "{text}"
    );
    let twice = format!("{SMALL}[[buckets]]\nmatch = \"a/x\"\n[[buckets]]\nmatch = \"a/xy\"\n");
    assert_eq!(
        errors(&twice).iter().next().expect("one").key,
        "buckets[2].match"
    );
    good(&format!(
        "{SMALL}[[buckets]]\nmatch = \"a/xy\"\n[[buckets]]\nmatch = \"a/x\"\n"
    ));
}

#[test]
fn a_directory_takes_no_keys_of_an_s3_store() {
    let (error, _) = error(&SMALL.replace("path = \"data\"", "path = \"data\"\nregion = \"x\""));
    assert_eq!(error.key, "backend.region");
    let user = "backend_access_key = \"X\"\nbackend_secret_key = \"Y\"\n";
    let (error, text) = self::error(&format!("{SMALL}{user}"));
    assert_eq!(error.key, "credentials[1].backend_access_key");
    assert!(
        text.contains("directory") && !text.contains("\"Y\""),
        "{text}"
    );
}

#[test]
fn an_empty_file_lacks_what_it_must_have() {
    let errors = errors("");
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["backend", "keys", "credentials"]);
}

#[test]
fn store_credentials_are_looked_for_outside_when_the_file_has_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("c");
    std::fs::write(
        &file,
        "[backup]\naws_access_key_id = F\naws_secret_access_key = G\n",
    )
    .expect("writes");
    let store = "[backend]\ntype = \"s3\"\nendpoint = \"http://s\"\n";
    let text = SMALL.replace("[backend]\ntype = \"fs\"\npath = \"data\"\n", store);
    let outside = Environment::of(&[("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "S")]);
    let at = Path::new("x.toml");
    let access = |text: &str, environment: &Environment| match config(text, at, environment) {
        Ok(Config {
            backend: Backend::S3(s3),
            ..
        }) => s3.credentials.access_key,
        Ok(_) => panic!("an S3 store"),
        Err(e) => e.to_string(),
    };
    assert_eq!(access(&text, &outside), "E");
    let profile = text.replace(
        store,
        &format!("{store}credentials_file = {file:?}\nprofile = \"backup\"\n"),
    );
    assert_eq!(access(&profile, &outside), "F");
    let said = access(&text, &Environment::of(&[]));
    assert!(
        said.contains("no credentials for the store") && said.contains("secret_key_file"),
        "{said}"
    );
    let said = access(&profile.replace("backup", "other"), &outside);
    assert!(
        said.contains("no profile [other]") && said.contains("backend.profile"),
        "{said}"
    );
}

#[test]
fn secrets_come_from_files_without_the_end_of_the_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("secret");
    std::fs::write(&file, " with spaces \r\n").expect("writes");
    let text = SMALL.replace("secret_key = \"s\"", &format!("secret_key_file = {file:?}"));
    assert_eq!(
        good(&text).credentials[0].secret_key.expose(),
        " with spaces "
    );
    std::fs::write(&file, "\n").expect("writes");
    assert!(error(&text).1.contains("it is empty"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let said = match crate::load(Path::new("/nowhere/sealgate.toml")) {
        Ok(_) => panic!("there is no such file"),
        Err(e) => e.to_string(),
    };
    assert!(
        said.starts_with("/nowhere/sealgate.toml: cannot be read"),
        "{said}"
    );
}

#[test]
fn the_documentation_is_made_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("SEALGATE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, schema::document()).expect("writes");
    }
    let page = std::fs::read_to_string(&path).expect("docs/configuration.md");
    assert!(
        page == schema::document(),
        "docs/configuration.md is not what the table says: run this test with SEALGATE_UPDATE_DOCS=1"
    );
}

#[test]
fn the_documented_example_is_accepted() {
    let page = schema::document();
    let example = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let dir = tempfile::tempdir().expect("a folder");
    let secret = dir.path().join("s");
    std::fs::write(&secret, "s").expect("writes");
    let text = example.expect("an example").replace(
        "/run/secrets/store-secret-key",
        secret.to_str().expect("UTF-8"),
    );
    let environment = Environment::of(&[("BACKUP_SECRET_KEY", "s")]);
    if let Err(e) = config(&text, Path::new("x"), &environment) {
        panic!("{e}");
    }
}

#[test]
fn operations_in_grants_are_operations_of_the_protocol() {
    let known: Vec<_> = sealgate_s3::route::Operation::ALL
        .iter()
        .map(sealgate_s3::route::Operation::as_str)
        .collect();
    for name in schema::OPERATIONS {
        // The one right that is no operation.
        assert!(
            known.contains(name) || *name == "BypassGovernanceRetention",
            "{name}"
        );
    }
}

/// Each row's default is of the row's own type: a debug build asserts it when it is read.
#[test]
fn every_row_is_documented_once() {
    for section in schema::SECTIONS {
        let mut names: Vec<_> = section.rows.iter().map(|row| row.key).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), section.rows.len(), "{}", section.path);
        assert!(
            section.rows.iter().all(|row| row.doc.ends_with('.')),
            "{}",
            section.path
        );
    }
}

mod aws;
mod errors;
mod kmip;
mod vault;
mod web;
