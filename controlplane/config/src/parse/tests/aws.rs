//! Keys in AWS KMS.

use super::*;

#[test]
fn a_key_in_aws_kms_is_read() {
    let mrk = "mrk-1234abcd12ab34cd56ef1234567890ab";
    let with = |keys: &str| {
        let text = FULL.replace("provider = \"file\"\npath = \"main.keys\"", keys);
        match &good(&text).keys["main"].provider {
            KeyProvider::AwsKms(key) => (**key).clone(),
            _ => panic!("another provider"),
        }
    };
    let key =
        with("provider = \"aws-kms\"\nkey_id = \"arn:aws:kms:eu-west-1:111122223333:alias/x\"");
    assert_eq!(key.key.alias(), Some("alias/x"));
    assert_eq!(key.regions[0].name, "eu-west-1");
    assert_eq!((key.regions.len(), &key.regions[0].endpoint), (1, &None));
    assert_eq!(
        (key.connect_timeout.as_secs(), key.read_timeout.as_secs()),
        (2, 5)
    );

    let key = with(&format!(
        "provider = \"aws-kms\"\nkey_id = \"{mrk}\"\nregions = [\"eu-west-1\", \"us-east-1\"]\n\
         endpoints = [\"https://a.example\", \"http://[::1]:4566/\"]\nprevious_key_ids = [\"{mrk}\"]\n\
         profile = \"kms\"\nca_file = \"ca.pem\"\nconnect_timeout = \"1s\"\nread_timeout = \"3s\""
    ));
    let places: Vec<_> = key
        .regions
        .iter()
        .map(|r| (r.name.as_str(), r.endpoint.as_deref()))
        .collect();
    assert_eq!(
        places,
        [
            ("eu-west-1", Some("https://a.example")),
            ("us-east-1", Some("http://[::1]:4566"))
        ]
    );
    assert_eq!(key.previous[0].id(), Some(mrk));
    assert_eq!(key.profile.as_deref(), Some("kms"));
    assert_eq!(
        (key.connect_timeout.as_secs(), key.read_timeout.as_secs()),
        (1, 3)
    );
}

/// What cannot work is said before anything is asked.
#[test]
fn a_key_in_aws_kms_that_cannot_work_is_refused() {
    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let cases: &[(&str, &[&str])] = &[
        (
            "key_id = \"main\"",
            &["keys.main.key_id", "names no key", "alias/NAME"],
        ),
        ("", &["keys.main.key_id", "is missing"]),
        (
            "key_id = \"alias/a\"",
            &["keys.main.region", "AWS_DEFAULT_REGION", "add region"],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"Ireland\"",
            &["keys.main.region", "\"eu-west-1\""],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"eu-west-1\"\npath = \"x\"",
            &["keys.main.path", "provider = \"aws-kms\"", "\"file\""],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"eu-west-1\"\nregions = [\"eu-west-1\"]",
            &["keys.main.region", "beside regions"],
        ),
        (
            "key_id = \"alias/a\"\nregions = []",
            &["keys.main.regions", "no region"],
        ),
        (
            "key_id = \"alias/a\"\nregions = [\"eu-west-1\", \"eu-west-1\"]",
            &["keys.main.regions", "twice"],
        ),
        (
            "key_id = \"KEY\"\nregions = [\"eu-west-1\", \"us-east-1\"]",
            &["keys.main.regions", "single-Region", "mrk-"],
        ),
        (
            "key_id = \"arn:aws:kms:eu-west-1:111122223333:key/KEY\"\nregion = \"us-east-1\"",
            &["keys.main.region", "in eu-west-1, not in us-east-1"],
        ),
        (
            "key_id = \"alias/a\"\nregions = [\"eu-west-1\", \"us-east-1\"]\nendpoint = \"http://a\"",
            &["keys.main.endpoint", "write endpoints"],
        ),
        (
            "key_id = \"alias/a\"\nregions = [\"eu-west-1\", \"us-east-1\"]\nendpoints = [\"http://a\"]",
            &["keys.main.endpoints", "1 of them for 2 regions"],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"eu-west-1\"\nendpoint = \"http://a/path\"",
            &["keys.main.endpoint", "https://host"],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"eu-west-1\"\nendpoint = \"http://a\"\nca_file = \"x\"",
            &["keys.main.ca_file", "http://"],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"eu-west-1\"\nprevious_key_ids = [\"alias/b\"]",
            &["previous_key_ids[1]", "alias does not say"],
        ),
        (
            "key_id = \"alias/a\"\nregion = \"eu-west-1\"\nconnect_timeout = \"2h\"",
            &["keys.main.connect_timeout", "1m"],
        ),
    ];
    for (keys, expected) in cases {
        let keys = format!("provider = \"aws-kms\"\n{}", keys.replace("KEY", ID));
        let text = FULL.replace("provider = \"file\"\npath = \"main.keys\"", &keys);
        let said = read(&text).err().map(|e| e.to_string()).unwrap_or_default();
        for words in *expected {
            assert!(said.contains(words), "{keys}\n{said}\nlacks {words:?}");
        }
    }
}
