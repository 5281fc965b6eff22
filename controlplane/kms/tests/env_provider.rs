//! The env provider against the suite that all providers pass, and beside the file provider.

mod conformance;

use std::path::Path;
use std::sync::Arc;

use conformance::{Subject, conforms};
use sealgate_kms::file::{FileProvider, KeyRing};
use sealgate_kms::{Provider, env};

/// 32 bytes of 1 and of 2 in base64.
const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn provider(name: &str, value: &str) -> Arc<dyn Provider> {
    Arc::new(env::provider(name, "MAIN_KEY", value).unwrap_or_else(|e| panic!("{e}")))
}

fn ring(current: u32) -> String {
    format!(
        "format = \"sealgate-keyring/1\"\ncurrent = {current}\n[[version]]\nid = 1\nkey = \"{ONE}\"\n\
         [[version]]\nid = 2\nkey = \"{TWO}\"\n"
    )
}

#[tokio::test]
async fn the_env_provider_conforms() {
    for (main, other) in [
        (ONE.to_owned(), TWO.to_owned()),
        (ring(2), ring(1).replace("AQEB", "AwMD")),
    ] {
        conforms(Subject {
            main: provider("main", &main),
            other_name: provider("backup", &main),
            other_key: provider("main", &other.replace("AgIC", "BAQE")),
            // Read once, at start.
            rotate: None,
        })
        .await;
    }
    assert_eq!(provider("main", ONE).kind(), "env");
}

#[tokio::test]
async fn a_key_moves_between_a_variable_and_a_file() {
    let file = |current| {
        let ring = KeyRing::parse(Path::new("main.keys"), &ring(current));
        FileProvider::new("main", ring.unwrap_or_else(|e| panic!("{e}")))
    };
    let from_env = provider("main", &format!(" {ONE}\n"))
        .generate()
        .await
        .expect("generates");
    assert_eq!(from_env.version, "1");
    let opened = file(2).unwrap(&from_env.version, &from_env.wrapped).await;
    assert!(opened.expect("opens") == from_env.kek);

    let from_file = file(2).generate().await.expect("generates");
    let opened = provider("main", &ring(1))
        .unwrap("2", &from_file.wrapped)
        .await;
    assert!(opened.expect("opens") == from_file.kek);
    let refused = provider("main", ONE).unwrap("2", &from_file.wrapped).await;
    let said = refused.err().expect("refused").to_string();
    assert!(
        said.contains("$MAIN_KEY") && said.contains("version 1"),
        "{said}"
    );
}

#[test]
fn what_is_no_key_is_said_without_it() {
    let long = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlq";
    let cases = [
        (long.to_owned(), "36 bytes"),
        (ONE.replace("AQEBAQE=", "AQEBAA=="), "44 characters"),
        (ONE.replace('Q', "!"), "neither"),
        ("A".repeat(43) + "=", "all zero"),
        ("0".repeat(64), "48 bytes"),
        (ring(3), "line 2, column 11 of the key ring in it: current"),
        (ring(1).replace("AQEB", "AQE"), "line 5, column 7"),
        (ring(1).replace("key =", "kee ="), "line 5, column 1"),
    ];
    for (value, expected) in cases {
        let said = match env::provider("main", "MAIN_KEY", &value) {
            Ok(_) => panic!("accepted {value:?}"),
            Err(e) => e.to_string(),
        };
        assert!(
            said.starts_with("environment variable MAIN_KEY: "),
            "{said}"
        );
        assert!(said.contains(expected), "{said:?} has no {expected:?}");
        assert!(
            !said.contains("AQEBAQ") && !said.contains(&long[..12]),
            "{said}"
        );
    }
}
