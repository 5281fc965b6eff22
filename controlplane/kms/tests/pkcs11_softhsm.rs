//! The PKCS#11 provider on SoftHSM2 (Debian `softhsm2`), with tokens of this test's own.
//!
//! SoftHSM reads where its tokens are from the environment, once: each test runs again in a child process with a
//! folder of its own.

mod conformance;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use conformance::{Subject, conforms};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use sealgate_kms::pkcs11::{Pkcs11Config, Pkcs11Provider, TokenSelector};
use sealgate_kms::{KeyError, Provider};
use zeroize::Zeroizing;

const CHILD: &str = "SEALGATE_TEST_TOKENS";
const PIN: &str = "0814711";

/// SoftHSM's library, where Debian, Fedora and others put it.
fn module() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    ];
    let found = places.iter().map(Path::new).find(|path| path.exists());
    found
        .expect("SoftHSM2 is installed (Debian: apt-get install softhsm2)")
        .to_owned()
}

/// Runs the test called `name` in a process that has a folder for tokens; `None` in the parent, which is done then.
fn tokens(name: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(CHILD) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let conf = folder.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\n",
        folder.path().display()
    );
    std::fs::write(&conf, text).expect("softhsm2.conf");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env("SOFTHSM2_CONF", &conf)
        .env(CHILD, folder.path())
        .output()
        .expect("this program starts again");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{failed}"
    );
    None
}

/// The owner of a token: what an operator does with the vendor's tools.
struct Owner(Pkcs11, String);

impl Owner {
    fn new(label: &str) -> Self {
        let library = Pkcs11::new(module()).expect("SoftHSM2 loads");
        // The provider and its owner share the process.
        let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let slots = library.get_all_slots().expect("slots");
        let empty = slots.into_iter().find(|slot| {
            let about = library.get_token_info(*slot).expect("token info");
            !about.token_initialized()
        });
        let slot = empty.expect("SoftHSM2 always has an empty slot");
        let so = AuthPin::new("so-pin".into());
        library.init_token(slot, &so, label).expect("a new token");
        let session = library.open_rw_session(slot).expect("a session");
        session
            .login(UserType::So, Some(&so))
            .expect("the security officer");
        session
            .init_pin(&AuthPin::new(PIN.into()))
            .expect("the user's PIN");
        drop(session);
        Self(library, label.to_owned())
    }

    fn session<T>(&self, work: impl FnOnce(&cryptoki::session::Session) -> T) -> T {
        let slots = self.0.get_slots_with_initialized_token().expect("slots");
        let slot = slots
            .into_iter()
            .find(|slot| self.0.get_token_info(*slot).expect("token info").label() == self.1);
        let session = self
            .0
            .open_rw_session(slot.expect("our token"))
            .expect("a session");
        match session.login(UserType::User, Some(&AuthPin::new(PIN.into()))) {
            Ok(())
            | Err(cryptoki::error::Error::Pkcs11(
                cryptoki::error::RvError::UserAlreadyLoggedIn,
                _,
            )) => {}
            Err(e) => panic!("login: {e}"),
        }
        work(&session)
    }

    fn make_key(&self, label: &str, id: &[u8], more: &[Attribute]) {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(label.into()),
            Attribute::Id(id.into()),
        ];
        // The first of a kind counts.
        for attribute in more.iter().cloned().chain([
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
        ]) {
            if !template
                .iter()
                .any(|a| a.attribute_type() == attribute.attribute_type())
            {
                template.push(attribute);
            }
        }
        self.session(|session| {
            session
                .generate_key(&Mechanism::AesKeyGen, &template)
                .expect("a key")
        });
    }

    /// Changes the keys with a label and an id.
    fn change(&self, label: &str, id: &[u8], change: Option<Attribute>) {
        self.session(|session| {
            let template = [Attribute::Label(label.into()), Attribute::Id(id.into())];
            for handle in session.find_objects(&template).expect("objects") {
                match &change {
                    Some(attribute) => {
                        session
                            .update_attributes(handle, std::slice::from_ref(attribute))
                            .expect("changes");
                    }
                    None => session.destroy_object(handle).expect("destroys"),
                }
            }
        });
    }
}

fn config(token: &str, key_label: &str) -> Pkcs11Config {
    Pkcs11Config {
        module: module(),
        token: TokenSelector::Label(token.to_owned()),
        pin: Zeroizing::new(PIN.to_owned()),
        key_label: key_label.to_owned(),
        token_makes_nonces: false,
    }
}

fn opened(name: &str, config: Pkcs11Config) -> Arc<dyn Provider> {
    Arc::new(Pkcs11Provider::open(name, config).unwrap_or_else(|e| panic!("{e}")))
}

fn said<T>(outcome: Result<T, KeyError>) -> (KeyError, String) {
    match outcome {
        Ok(_) => panic!("it went well"),
        Err(e) => (e.clone(), e.to_string()),
    }
}

#[tokio::test]
async fn the_pkcs11_provider_conforms() {
    if tokens("the_pkcs11_provider_conforms").is_none() {
        return;
    }
    let owner = Owner::new("gateway");
    owner.make_key("seal", &[1], &[]);
    owner.make_key("other", &[1], &[]);
    conforms(Subject {
        main: opened("main", config("gateway", "seal")),
        other_name: opened("backup", config("gateway", "seal")),
        other_key: opened("main", config("gateway", "other")),
        rotate: Some(Box::new(move || {
            // 0x0002 is 2, and 10 is newer than 9.
            owner.make_key("seal", &[0, 10], &[]);
            owner.make_key("seal", &[9], &[]);
            Box::pin(async {})
        })),
    })
    .await;
    let provider = opened("main", config("gateway", "seal"));
    assert_eq!(
        provider
            .newest_version()
            .await
            .expect("a version")
            .as_deref(),
        Some("10")
    );
    assert_eq!(provider.kind(), "pkcs11");
}

#[tokio::test]
async fn keys_that_are_not_fit_seal_nothing() {
    if tokens("keys_that_are_not_fit_seal_nothing").is_none() {
        return;
    }
    let owner = Owner::new("gateway");
    let cases: [(&str, &[u8], &[Attribute], &str); 5] = [
        (
            "extractable",
            &[1],
            &[Attribute::Extractable(true)],
            "can be extracted",
        ),
        (
            "readable",
            &[1],
            &[Attribute::Sensitive(false)],
            "can be read",
        ),
        (
            "short",
            &[1],
            &[Attribute::ValueLen(16.into())],
            "not an AES-256 key",
        ),
        (
            "decrypts",
            &[1],
            &[Attribute::Encrypt(false)],
            "KeyFunctionNotPermitted",
        ),
        ("unnumbered", &[], &[], "no version number"),
    ];
    for (label, id, more, expected) in cases {
        owner.make_key(label, id, more);
        let (error, text) = said(opened("main", config("gateway", label)).generate().await);
        assert!(
            matches!(error, KeyError::Denied(_)) && text.contains(expected),
            "{label}: {text}"
        );
        assert!(text.contains("\"main\""), "{text}");
    }
    owner.make_key("twice", &[1], &[]);
    owner.make_key("twice", &[0, 1], &[]);
    let (_, text) = said(opened("main", config("gateway", "twice")).generate().await);
    assert!(
        text.contains("two keys") && text.contains("\"twice\""),
        "{text}"
    );
    let (error, text) = said(
        opened("main", config("gateway", "nothing"))
            .generate()
            .await,
    );
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("no AES key"),
        "{text}"
    );
}

#[tokio::test]
async fn an_old_version_opens_until_it_is_destroyed() {
    if tokens("an_old_version_opens_until_it_is_destroyed").is_none() {
        return;
    }
    let owner = Owner::new("gateway");
    owner.make_key("seal", &[1], &[]);
    let provider = opened("main", config("gateway", "seal"));
    let old = provider.generate().await.expect("generates");
    owner.make_key("seal", &[2], &[]);
    // Decryption alone is enough, for a forged wrap as well.
    owner.change("seal", &[1], Some(Attribute::Encrypt(false)));
    assert!(provider.unwrap("1", &old.wrapped).await.expect("opens") == old.kek);
    let mut forged = old.wrapped.clone();
    forged[20] ^= 1;
    let (error, text) = said(provider.unwrap("1", &forged).await);
    assert!(matches!(error, KeyError::Invalid(_)), "{text}");
    owner.change("seal", &[1], None);
    let (error, text) = said(provider.unwrap("1", &old.wrapped).await);
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("version \"1\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_wrong_pin_is_offered_once() {
    if tokens("a_wrong_pin_is_offered_once").is_none() {
        return;
    }
    let owner = Owner::new("gateway");
    owner.make_key("seal", &[1], &[]);
    let wrong = || Pkcs11Config {
        pin: Zeroizing::new("1234567".to_owned()),
        ..config("gateway", "seal")
    };
    // All sessions are closed, so nobody is logged in.
    let provider = opened("main", wrong());
    let (error, text) = said(provider.generate().await);
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("PinIncorrect"),
        "{text}"
    );
    for provider in [provider, opened("second", wrong())] {
        let (error, text) = said(provider.generate().await);
        assert!(matches!(error, KeyError::Denied(_)), "{text}");
        assert!(
            text.contains("not offered again") && !text.contains("PinIncorrect"),
            "{text}"
        );
        assert!(!text.contains("1234567"), "{text}");
    }
    // The right one, after a reload.
    opened("main", config("gateway", "seal"))
        .generate()
        .await
        .expect("generates");
}

#[tokio::test]
async fn a_token_that_goes_and_comes_back() {
    let Some(folder) = tokens("a_token_that_goes_and_comes_back") else {
        return;
    };
    // Nothing is there yet: the gateway starts all the same.
    let provider = opened("main", config("gateway", "seal"));
    let (error, text) = said(provider.generate().await);
    assert!(
        error.retryable() && text.contains("token \"gateway\" is not there"),
        "{text}"
    );
    let owner = Owner::new("gateway");
    owner.make_key("seal", &[1], &[]);
    let one = provider.generate().await.expect("generates");

    // Sessions are lost, as when a network HSM starts again.
    let slots = owner.0.get_slots_with_initialized_token().expect("slots");
    owner.0.clone().finalize().expect("finalizes");
    let mut attempts = 0;
    let again = loop {
        attempts += 1;
        match provider.unwrap(&one.version, &one.wrapped).await {
            Ok(kek) => break kek,
            Err(e) => assert!(e.retryable() && attempts < 3, "{e}"),
        }
    };
    assert!(again == one.kek);
    assert!(attempts > 1 && !slots.is_empty());

    // Its files are gone, as with a token that is pulled out.
    let token = std::fs::read_dir(&folder)
        .expect("lists")
        .filter_map(Result::ok);
    let token = token
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .expect("the token");
    std::fs::remove_dir_all(&token).expect("removes");
    let (error, text) = said(provider.generate().await);
    assert!(
        matches!(error, KeyError::Denied(_) | KeyError::Unavailable { .. }),
        "{text}"
    );
}

#[tokio::test]
async fn configurations_that_cannot_work_say_so() {
    let Some(folder) = tokens("configurations_that_cannot_work_say_so") else {
        return;
    };
    let missing = Pkcs11Config {
        module: folder.join("none.so"),
        ..config("gateway", "seal")
    };
    let text = Pkcs11Provider::open("main", missing)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        text.contains("none.so") && text.contains("cannot be loaded"),
        "{text}"
    );

    let owner = Owner::new("gateway");
    owner.make_key("seal", &[1], &[]);
    let none = Pkcs11Config {
        token: TokenSelector::Label("gatewya".to_owned()),
        ..config("gateway", "seal")
    };
    let (_, text) = said(opened("main", none).generate().await);
    assert!(
        text.contains("\"gatewya\" is not there") && text.contains("\"gateway\" in slot"),
        "{text}"
    );

    let slot = owner.0.get_slots_with_initialized_token().expect("slots")[0].id();
    let by_slot = Pkcs11Config {
        token: TokenSelector::Slot(slot),
        ..config("gateway", "seal")
    };
    let one = opened("main", by_slot).generate().await.expect("generates");
    let by_label = opened("main", config("gateway", "seal"));
    assert!(
        by_label
            .unwrap(&one.version, &one.wrapped)
            .await
            .expect("opens")
            == one.kek
    );

    // SoftHSM2 takes nonces and makes none.
    let makes = Pkcs11Config {
        token_makes_nonces: true,
        ..config("gateway", "seal")
    };
    let (error, text) = said(opened("main", makes).generate().await);
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("no nonce"),
        "{text}"
    );
}
