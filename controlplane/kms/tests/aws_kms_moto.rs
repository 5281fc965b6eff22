//! The AWS KMS provider against moto: the suite that all providers pass, and what is AWS's own.
//!
//! moto checks encryption contexts and key ids, keeps regions apart and replicates multi-Region keys. It does not give
//! a rotated key new material, and answers `AccessDeniedException` where AWS has `IncorrectKeyException`; what it
//! cannot do at all is in `aws_kms_faults.rs`.

mod conformance;
mod moto;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use conformance::{Subject, conforms};
use moto::{Moto, credentials};
use sealgate_aead::Secret;
use sealgate_config::{AwsKey, AwsKms, AwsRegion};
use sealgate_kms::aws::{AwsProvider, CONTEXT_KEY, context_value};
use sealgate_kms::{KeyError, Provider};

const HERE: &str = "eu-west-1";
const THERE: &str = "us-east-1";

fn config(moto: &Moto, key: &str, regions: &[&str]) -> AwsKms {
    let region = |name: &&str| AwsRegion {
        name: (*name).to_owned(),
        endpoint: Some(moto.url.clone()),
    };
    AwsKms {
        key: AwsKey::parse(key).expect("a key"),
        previous: Vec::new(),
        regions: regions.iter().map(region).collect(),
        profile: None,
        ca_file: None,
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(20),
    }
}

fn open(name: &str, config: &AwsKms) -> Vec<Arc<dyn Provider>> {
    AwsProvider::open_as(name, config, Some(&credentials()))
        .expect("a provider")
        .into_iter()
        .map(|(_, provider)| Arc::new(provider) as Arc<dyn Provider>)
        .collect()
}

fn one(name: &str, moto: &Moto, key: &str) -> Arc<dyn Provider> {
    open(name, &config(moto, key, &[HERE])).remove(0)
}

/// A new key: its id and its ARN.
async fn key(admin: &Client, multi_region: bool) -> (String, String) {
    let made = admin.create_key().multi_region(multi_region).send().await;
    let made = made.expect("a key").key_metadata.expect("its metadata");
    (made.key_id, made.arn.expect("its ARN"))
}

async fn alias(admin: &Client, name: &str, id: &str) {
    let made = admin.create_alias().alias_name(name).target_key_id(id);
    made.send().await.expect("an alias");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_by_its_id_conforms() {
    let moto = Moto::start();
    let admin = moto.admin(HERE);
    let ((id, arn), (other, _)) = (key(&admin, false).await, key(&admin, false).await);
    let rotated = id.clone();
    conforms(Subject {
        main: one("main", &moto, &id),
        other_name: one("backup", &moto, &id),
        other_key: one("main", &moto, &other),
        rotate: Some(Box::new(move || {
            Box::pin(async move {
                let done = admin.rotate_key_on_demand().key_id(rotated).send().await;
                done.expect("rotated");
            })
        })),
    })
    .await;
    // By its id and by its ARN it is the same key.
    let (by_id, by_arn) = (one("main", &moto, &id), one("main", &moto, &arn));
    let made = by_id.generate().await.expect("a KEK");
    assert!(
        by_arn
            .unwrap(&made.version, &made.wrapped)
            .await
            .expect("open")
            == made.kek
    );
    assert_eq!(made.version, id);
}

/// The rotation here is the alias's move to another key: what the old key wrapped still opens, rewrapping brings it
/// under the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_by_its_alias_conforms_and_the_alias_may_move() {
    let moto = Moto::start();
    let admin = moto.admin(HERE);
    let ((first, arn), (second, _)) = (key(&admin, false).await, key(&admin, false).await);
    alias(&admin, "alias/sealgate/main", &first).await;
    let alias_arn = arn.replace(&format!("key/{first}"), "alias/sealgate/main");
    for name in ["alias/sealgate/main", alias_arn.as_str()] {
        let other = key(&admin, false).await.0;
        let (mover, target) = (admin.clone(), second.clone());
        conforms(Subject {
            main: one("main", &moto, name),
            other_name: one("backup", &moto, name),
            other_key: one("main", &moto, &other),
            rotate: Some(Box::new(move || {
                Box::pin(async move {
                    let moved = mover.update_alias().alias_name("alias/sealgate/main");
                    moved.target_key_id(target).send().await.expect("moved");
                })
            })),
        })
        .await;
        let main = one("main", &moto, name);
        assert_eq!(main.newest_version().await, Ok(Some(second.clone())));
        let back = admin.update_alias().alias_name("alias/sealgate/main");
        back.target_key_id(&first).send().await.expect("moved back");
    }
}

/// With `previous_key_ids`, an alias opens what they and its present key wrapped, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previous_keys_open_and_narrow_what_an_alias_opens() {
    let moto = Moto::start();
    let admin = moto.admin(HERE);
    let ids = [
        key(&admin, false).await.0,
        key(&admin, false).await.0,
        key(&admin, false).await.0,
    ];
    let [old, listed, now] = ids.each_ref().map(|id| one("main", &moto, id));
    alias(&admin, "alias/main", &ids[2]).await;
    for name in ["alias/main", &ids[2]] {
        let mut config = config(&moto, name, &[HERE]);
        config.previous = vec![AwsKey::parse(&ids[1]).expect("an id")];
        let main = open("main", &config).remove(0);
        for (provider, opens) in [(&old, false), (&listed, true), (&now, true)] {
            let made = provider.generate().await.expect("a KEK");
            let opened = main.unwrap(&made.version, &made.wrapped).await;
            let again = main.rewrap(&made.version, &made.wrapped).await;
            if opens {
                assert!(opened.expect("open") == made.kek);
                assert_eq!(again.expect("rewrapped").version, ids[2]);
            } else {
                assert!(matches!(opened, Err(KeyError::Denied(_))), "{name}");
                // moto ignores SourceKeyId; its answer shows that.
                assert!(again.is_err_and(|e| !e.retryable()), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_open_what_each_other_wrapped() {
    let moto = Moto::start();
    let (here, there) = (moto.admin(HERE), moto.admin(THERE));
    let (id, arn) = key(&here, true).await;
    let replica = here.replicate_key().key_id(&id).replica_region(THERE);
    replica.send().await.expect("a replica");
    // moto makes an alias of a multi-Region key in all its regions.
    alias(&here, "alias/both", &id).await;
    let (other, _) = key(&there, false).await;
    let alias_arn = arn.replace(&format!("key/{id}"), "alias/both");
    for name in [id.as_str(), &arn, "alias/both", &alias_arn] {
        let both = open("main", &config(&moto, name, &[HERE, THERE]));
        for (maker, opener) in [(0, 1), (1, 0)] {
            let made = both[maker].generate().await.expect("a KEK");
            assert_eq!(made.version, id);
            let opened = both[opener].unwrap(&made.version, &made.wrapped).await;
            assert!(opened.expect("open") == made.kek, "{name}");
            let again = both[opener].rewrap(&made.version, &made.wrapped).await;
            let again = again.expect("rewrapped");
            let opened = both[maker].unwrap(&again.version, &again.wrapped).await;
            assert!(opened.expect("open") == made.kek, "{name}");
        }
    }
    let in_there = |name, key: &str| open(name, &config(&moto, key, &[THERE])).remove(0);
    conforms(Subject {
        main: in_there("main", &id),
        other_name: in_there("backup", &id),
        other_key: in_there("main", &other),
        rotate: None,
    })
    .await;
}

/// An alias can point to a key that its other regions do not have: nothing is sealed with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_region_key_does_not_seal_for_several_regions() {
    let moto = Moto::start();
    let admin = moto.admin(HERE);
    alias(&admin, "alias/single", &key(&admin, false).await.0).await;
    let both = open("main", &config(&moto, "alias/single", &[HERE, THERE]));
    for (provider, words) in [
        (&both[0], "multi-Region key"),
        (&both[1], "NotFoundException"),
    ] {
        match provider.generate().await.map(|made| made.version) {
            Err(KeyError::Denied(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What docs/kms/aws-kms.md says on disaster recovery: KMS and the documented context open a wrapped KEK; without the
/// context, or with that of another name, nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_encryption_context_is_what_is_documented() {
    let moto = Moto::start();
    let admin = moto.admin(HERE);
    let (id, _) = key(&admin, false).await;
    let made = one("main", &moto, &id).generate().await.expect("a KEK");
    // printf 'sealgate/kek/v1\0main' | sha256sum
    let documented = "c7d0a637199189053fd4b7c39b586e2a6161c047a3c6b322600e3b95dc52b3e7";
    assert_eq!(context_value("main"), documented);
    let decrypt = |context: Option<&str>| {
        let call = admin
            .decrypt()
            .ciphertext_blob(Blob::new(made.wrapped.clone()));
        match context {
            Some(value) => call.encryption_context(CONTEXT_KEY, value),
            None => call,
        }
        .send()
    };
    let opened = decrypt(Some(documented)).await.expect("open");
    let opened = Secret::from_slice(opened.plaintext.expect("a KEK").as_ref());
    assert!(opened.expect("32 bytes") == made.kek);
    for context in [None, Some("main"), Some(context_value("backup").as_str())] {
        let refusal = decrypt(context).await.map(|_| ()).expect_err("refused");
        let refusal = refusal.into_service_error();
        assert!(refusal.is_invalid_ciphertext_exception(), "{refusal}");
    }
}
