//! Keys of `provider = "vault"`.

use super::*;
use std::sync::Arc;

/// With every key that goes together.
const APPROLE: &str = r#"
endpoints = ["https://a.example.net:8200", "https://b.example.net:8200"]
mount = "/teams/transit/"
key = "sealgate"
namespace = "eu/prod"
ca_file = "ca.pem"
client_cert = "me.crt"
client_key = "me.key"
auth = "approle"
auth_mount = "machines"
role_id = "the-role"
secret_id_file = "secret-id"
"#;

/// [`SMALL`] with a key in Transit.
fn with(keys: &str) -> String {
    SMALL.replace(
        "provider = \"file\"\npath = \"k.keys\"\n",
        &format!("provider = \"vault\"\n{keys}\n"),
    )
}

fn vault(keys: &str) -> VaultKey {
    let mut config = good(&with(keys));
    match config.keys.remove("k").expect("k").provider {
        KeyProvider::Vault(key) => *key,
        _ => panic!("another provider"),
    }
}

#[test]
fn every_key_of_vault_is_read() {
    let key = vault(APPROLE);
    let hosts: Vec<_> = key.endpoints.iter().map(|e| e.authority.as_str()).collect();
    assert_eq!(hosts, ["a.example.net:8200", "b.example.net:8200"]);
    assert_eq!(
        (key.mount.as_str(), key.key.as_str()),
        ("teams/transit", "sealgate")
    );
    assert_eq!(key.namespace.as_deref(), Some("eu/prod"));
    assert_eq!(
        key.ca_file.as_deref(),
        Some(Path::new("/etc/sealgate/ca.pem"))
    );
    let (cert, private) = key.client_cert.expect("a certificate");
    assert_eq!(cert, Path::new("/etc/sealgate/me.crt"));
    assert_eq!(private, Path::new("/etc/sealgate/me.key"));
    let VaultAuth::AppRole {
        mount,
        role_id,
        secret_id: Some(SecretSource::File(file)),
    } = Arc::into_inner(key.auth).expect("one")
    else {
        panic!("another method");
    };
    assert_eq!((mount.as_str(), role_id.as_str()), ("machines", "the-role"));
    assert_eq!(
        file,
        Path::new("/etc/sealgate/secret-id"),
        "read when it is needed"
    );
}

#[test]
fn each_way_to_log_in_is_read() {
    let base = "endpoints = [\"https://a\"]\nkey = \"k\"\n";
    let auth = |more: &str| Arc::into_inner(vault(&format!("{base}{more}")).auth).expect("one");
    assert_eq!(vault(&format!("{base}token = \"t\"")).mount, "transit");
    assert!(
        matches!(auth("token = \"t\""), VaultAuth::Token(SecretSource::Given(t)) if t.expose() == "t")
    );
    assert!(
        matches!(auth("token_env = \"TOKEN\""), VaultAuth::Token(SecretSource::Given(t)) if t.expose() == "the-token")
    );
    assert!(
        matches!(auth("token_file = \"/t\""), VaultAuth::Token(SecretSource::File(p)) if p == Path::new("/t"))
    );
    assert!(matches!(
        auth("auth = \"approle\"\nrole_id = \"r\""),
        VaultAuth::AppRole {
            secret_id: None,
            ..
        }
    ));
    let VaultAuth::Kubernetes {
        mount,
        role,
        jwt_file,
    } = auth("auth = \"kubernetes\"\nrole = \"r\"")
    else {
        panic!("another method");
    };
    assert_eq!((mount.as_str(), role.as_str()), ("kubernetes", "r"));
    assert_eq!(
        jwt_file,
        Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token")
    );
    assert!(matches!(
        auth("auth = \"aws\"\nrole = \"r\"\nserver_id = \"bao.example.net\"\nsts_region = \"eu-west-1\""),
        VaultAuth::Aws { server_id: Some(id), region: Some(region), .. }
            if id == "bao.example.net" && region == "eu-west-1"
    ));
    assert!(matches!(
        auth("auth = \"cert\"\nclient_cert = \"c\"\nclient_key = \"k\""),
        VaultAuth::Cert { role: None, .. }
    ));
}

/// Each change to [`APPROLE`] is one error with the words given.
#[test]
fn what_vault_does_not_take_is_said() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "[\"https://a.example.net:8200\", \"https://b.example.net:8200\"]",
            "[]",
            &["names no server", "1 to 8"],
        ),
        (
            "\"https://b.example.net:8200\"",
            "\"https://a.example.net:8200\"",
            &["names a server twice"],
        ),
        (
            "\"https://b.example.net:8200\"",
            "\"http://b.example.net:8200\"",
            &["endpoints[2]", "unencrypted", "https://"],
        ),
        (
            "\"https://b.example.net:8200\"",
            "\"b:8200\"",
            &["endpoints[2]", "https://host[:port]"],
        ),
        ("key = \"sealgate\"", "", &["keys.k.key: is missing"]),
        (
            "key = \"sealgate\"",
            "key = \"a/../b\"",
            &["keys.k.key", "not accepted"],
        ),
        (
            "mount = \"/teams/transit/\"",
            "mount = \"a/../b\"",
            &["keys.k.mount", "not accepted"],
        ),
        (
            "client_key = \"me.key\"",
            "",
            &["client_cert", "no client_key beside it"],
        ),
        (
            "role_id = \"the-role\"",
            "",
            &["keys.k.role_id: is missing"],
        ),
        (
            "role_id = \"the-role\"",
            "role_id = \"r\"\nrole = \"r\"",
            &[
                "keys.k.role",
                "no meaning with auth = \"approle\"",
                "\"kubernetes\" or \"aws\" or \"cert\"",
            ],
        ),
        (
            "role_id = \"the-role\"",
            "role_id = \"r\"\nsecret_id = \"sssh\"",
            &["secret_id is there as well"],
        ),
        (
            "role_id = \"the-role\"",
            "role_id = \"r\"\npath = \"p\"",
            &[
                "keys.k.path",
                "no meaning with provider = \"vault\"",
                "set provider = \"file\"",
            ],
        ),
        (
            "auth = \"approle\"",
            "auth = \"approl\"",
            &["keys.k.auth", "write \"approle\""],
        ),
    ];
    for (from, to, words) in cases {
        let (error, text) = error(&with(&APPROLE.replace(from, to)));
        assert!(error.place.is_some());
        for word in *words {
            assert!(text.contains(word), "{to}: {word} is not in:\n{text}");
        }
        assert!(!text.contains("sssh"), "{text}");
    }
    let (_, text) = error(&with("endpoints = [\"https://a\"]\nkey = \"k\""));
    assert!(
        text.contains("one of token, token_env, token_file"),
        "{text}"
    );
    let (_, text) = error(&with(
        "endpoints = [\"http://127.0.0.1:8200\"]\nkey = \"k\"\ntoken = \"t\"\nca_file = \"c\"",
    ));
    assert!(text.contains("no meaning with http://"), "{text}");
}

#[test]
fn a_secret_of_another_provider_is_not_shown() {
    let text = SMALL.replace(
        "path = \"k.keys\"",
        "path = \"k.keys\"\ntoken = \"hvs.sssh\"",
    );
    let (_, said) = error(&text);
    assert!(
        said.contains("no meaning with provider = \"file\""),
        "{said}"
    );
    assert!(!said.contains("sssh"), "{said}");
    // Nor when nobody knows whose key it is.
    let text = text.replace("provider = \"file\"", "provider = \"fil\"");
    assert!(!errors(&text).to_string().contains("sssh"));
}
