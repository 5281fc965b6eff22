//! `provider = "kmip"`.

use super::*;

fn with(lines: &str) -> String {
    let text = SMALL.replace(
        "provider = \"file\"\npath = \"k.keys\"",
        &format!("provider = \"kmip\"\n{lines}"),
    );
    assert_ne!(text, SMALL);
    text
}

fn kmip(lines: &str) -> KmipKey {
    let key = good(&with(lines)).keys.remove("k").expect("the key");
    match key.provider {
        KeyProvider::Kmip(key) => *key,
        _ => panic!("not KMIP"),
    }
}

#[test]
fn a_key_may_be_at_a_kmip_server() {
    let key = kmip(
        "endpoints = [\"https://kms.example.net:9998\", \"kmip://[::1]\", \"kmip://b:443\"]\nuid = \"u-1\"\n\
         old_uids = [\"u-0\"]\nwrap = \"aes-kwp\"\nversion = \"2.0\"\ntoken_env = \"TOKEN\"\nca_file = \"ca.pem\"\n\
         client_cert = \"c.pem\"\nclient_key = \"/k.pem\"",
    );
    let told: Vec<_> = key
        .endpoints
        .iter()
        .map(|server| {
            (
                server.binary,
                server.address.host.as_str(),
                server.address.port,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (false, "kms.example.net", 9998),
            (true, "::1", 5696),
            (true, "b", 443)
        ]
    );
    assert_eq!(
        (key.uid.as_str(), key.old_uids.as_slice()),
        ("u-1", &["u-0".to_owned()][..])
    );
    assert_eq!((key.key_wrap, key.version), (true, Some((2, 0))));
    assert_eq!(
        key.token.as_ref().map(SecretString::expose),
        Some("the-token")
    );
    assert_eq!(
        key.ca_file.as_deref(),
        Some(Path::new("/etc/sealgate/ca.pem"))
    );
    let client = key.client_cert.expect("a certificate");
    assert_eq!(client, ("/etc/sealgate/c.pem".into(), "/k.pem".into()));

    let key = kmip("endpoints = [\"http://127.0.0.1:9998\"]\nuid = \"u\"");
    assert!(
        !key.key_wrap && key.version.is_none() && key.token.is_none() && key.old_uids.is_empty()
    );
}

#[test]
fn what_cannot_work_with_a_kmip_server_is_said() {
    let long = "u".repeat(129);
    let long = format!("endpoints = [\"https://a\"]\nuid = \"{long}\"");
    let cases: &[(&str, &[&str])] = &[
        (
            "uid = \"u\"",
            &["endpoints: is missing", "kmip://host[:port]"],
        ),
        ("endpoints = [\"https://a\"]", &["uid: is missing"]),
        (
            "endpoints = []\nuid = \"u\"",
            &["endpoints", "1 to 8 different servers"],
        ),
        (
            "endpoints = [\"https://a\", \"https://a:443\"]\nuid = \"u\"",
            &["1 to 8 different servers"],
        ),
        (
            "endpoints = [\"http://a\"]\nuid = \"u\"",
            &["endpoints[1]", "unencrypted", "use https://"],
        ),
        (
            "endpoints = [\"kmips://a\"]\nuid = \"u\"",
            &["endpoints[1]", "kmips://a", "not accepted"],
        ),
        (
            "endpoints = [\"kmip://a:99999\"]\nuid = \"u\"",
            &["not accepted"],
        ),
        (
            "endpoints = [\"kmip://a\"]\nuid = \"u\"",
            &["client_cert: is missing"],
        ),
        (
            "endpoints = [\"https://a\"]\nuid = \"u\"\nclient_cert = \"c\"",
            &["client_cert: has no client_key"],
        ),
        (
            "endpoints = [\"kmip://a\"]\nuid = \"u\"\nclient_cert = \"c\"\nclient_key = \"k\"\ntoken = \"t\"",
            &["token: has no meaning with kmip://"],
        ),
        (
            "endpoints = [\"http://localhost\"]\nuid = \"u\"\nca_file = \"c\"",
            &["ca_file: has no meaning with http://"],
        ),
        (&long, &["uid", "not accepted"]),
        (
            "endpoints = [\"https://a\"]\nuid = \"u\"\nold_uids = [\"\"]",
            &["old_uids[1]"],
        ),
        (
            "endpoints = [\"https://a\"]\nuid = \"u\"\nwrap = \"aes-cbc\"",
            &["wrap", "\"aes-gcm\" or \"aes-kwp\""],
        ),
        (
            "endpoints = [\"https://a\"]\nuid = \"u\"\nmount = \"x\"",
            &["mount: has no meaning with provider = \"kmip\""],
        ),
    ];
    for (lines, expected) in cases {
        let said = match crate::parse_in(&with(lines), Path::new("x.toml"), &environment()) {
            Ok(_) => panic!("accepted {lines}"),
            Err(errors) => errors.to_string(),
        };
        for part in *expected {
            assert!(said.contains(part), "no {part:?} in:\n{said}");
        }
    }
}
