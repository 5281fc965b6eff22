//! Which way an envelope is replaced, at stores that keep conditions and at stores that do not, and that nobody
//! else's write is ever touched.

mod store;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use sealgate_aead::Secret;
use sealgate_backend::s3::{S3Options, S3Store};
use sealgate_envelope::{Binding, Dek, EnvelopeFields, Layout, ObjectId};
use sealgate_kms::{KeyService, Keys, NamedKey, Provider};
use sealgate_s3::route::RawKey;
use sealgate_s3::sigv4::{SecretKey, Signer};
use sealgate_telemetry::{AccessLog, AuditLog, RequestIds};
use sealgate_uring::{Pool, RuntimeConfig, StoreConnector, start};

use super::*;
use crate::core::CoreParts;
use crate::object::put_envelope;
use crate::snapshot::{ClientTimeouts, Snapshot};
use store::{BUCKET, FakeStore, Habits, Makes};

/// Shortest object that an upload in parts makes.
const SMALL: u64 = 208;
const LIMIT: u64 = 1 << 20;

/// An object to be there before.
struct Given {
    key: &'static str,
    len: u64,
    headers: Vec<(&'static str, &'static str)>,
}

fn given(key: &'static str, len: u64) -> Given {
    Given {
        key,
        len,
        headers: Vec::new(),
    }
}

struct Run {
    store: FakeStore,
    outcomes: Vec<Outcome>,
    method: Option<Method>,
    /// The key that each object is under afterwards, if it opens.
    keys: Vec<Option<String>>,
}

/// Re-wraps objects from the key `main` to `second`.
fn run(store: FakeStore, options: Options, versioning: Versioning, all: Vec<Given>) -> Run {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = |name: &str| {
        let value = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let provider = sealgate_kms::env::provider(name, "TEST", value).unwrap();
        (
            name.to_owned(),
            NamedKey::at("local", Arc::new(provider) as Arc<dyn Provider>),
        )
    };
    let keys = KeyService::start(Keys::from([key("main"), key("second")]), runtime.handle());
    let (tell, told) = channel();
    let config = RuntimeConfig {
        cores: 1,
        ..RuntimeConfig::default()
    };
    let given = std::sync::Mutex::new(Some(all));
    let fake = store.clone();
    let cores = start(&config, move |context| {
        let (fake, keys, options, tell) =
            (fake.clone(), keys.clone(), options.clone(), tell.clone());
        let all = given.lock().unwrap().take().unwrap();
        async move {
            let core = core(&fake, keys, context.drain);
            for object in &all {
                add(&core, &fake, object).await;
            }
            let options = Options {
                to: Some("second".into()),
                ..options
            };
            let rewrapper = Rewrapper::new(Rc::clone(&core), options, versioning);
            let mut outcomes = Vec::new();
            for object in &all {
                outcomes.push(rewrapper.object(&at(object.key)).await);
            }
            let mut keys = Vec::new();
            for object in &all {
                let at = at(object.key);
                let Ok(info) = core.store.head(&at, &Conditions::default()).await else {
                    keys.push(None);
                    continue;
                };
                keys.push(match inspect(&core, &at, &info).await {
                    Inspected::Sealed {
                        kek: Some(kek),
                        trouble: None,
                    } => Some(kek.name),
                    _ => None,
                });
            }
            tell.send((outcomes, rewrapper.method(), keys)).unwrap();
        }
    })
    .unwrap();
    let (outcomes, method, keys) = told.recv().expect("the core did not panic");
    cores.join().unwrap();
    runtime.shutdown_timeout(Duration::from_secs(1));
    {
        let inside = store.inside();
        let left: Vec<_> = inside
            .objects
            .keys()
            .filter(|k| k.contains("staging"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(inside.unfinished(), 0);
        assert!(
            inside
                .versions
                .iter()
                .all(|(key, _)| !key.contains("staging"))
        );
    }
    Run {
        store,
        outcomes,
        method,
        keys,
    }
}

fn at(key: &str) -> Location {
    Location::new(BUCKET, RawKey::new(key.as_bytes().to_vec().into()).unwrap())
}

fn core(
    fake: &FakeStore,
    keys: sealgate_kms::KeyClient,
    drain: sealgate_uring::Drain,
) -> Rc<Core<StoreConnector>> {
    let connector = StoreConnector::new(
        "127.0.0.1",
        fake.addr().port(),
        None,
        Duration::from_secs(5),
    );
    let options = S3Options {
        authority: fake.addr().to_string(),
        put_limit: LIMIT,
        preset: sealgate_backend::s3::preset::preset(fake.preset).unwrap(),
        unkept: sealgate_backend::s3::Unkept::Sent,
        ..S3Options::default()
    };
    let signer = Signer::new("AKID", SecretKey::new(b"secret"), None, "us-east-1");
    Core::new(CoreParts {
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot {
            base_domains: Vec::new(),
            credentials: HashMap::new(),
            anonymous: None,
            cors: Vec::new(),
            buckets: Vec::new(),
            timeouts: ClientTimeouts::default(),
            generation: 0,
        })),
        pool: Pool::new(8 << 20),
        store: Store::S3(S3Store::new(connector, options, signer)),
        store_region: "us-east-1".into(),
        keys,
        metrics: Arc::default(),
        access_log: AccessLog::off(),
        audit: AuditLog::off(),
        ids: RequestIds::new(1),
        drain,
    })
}

/// Puts a sealed object into the store. Its body is noise: nobody opens it here.
async fn add(core: &Core<StoreConnector>, fake: &FakeStore, object: &Given) {
    let mut headers: HeaderMap = HeaderMap::new();
    for (name, value) in &object.headers {
        headers.insert(*name, value.parse().unwrap());
    }
    seal(core, &at(object.key), &mut headers).await;
    let body = vec![7; usize::try_from(object.len.min(LIMIT)).unwrap()];
    fake.add(object.key, body, object.len, headers);
}

/// The header that an object sealed under `main` has.
async fn seal(core: &Core<StoreConnector>, at: &Location, headers: &mut HeaderMap) {
    let epoch = core.keyring.for_writing("main", 1).await.unwrap();
    let envelope = EnvelopeFields {
        layout: Layout::Multipart,
        binding: Binding::Key,
        object_id: ObjectId([7; 16]),
        kek: WrappedKek {
            name: epoch.key_name.clone(),
            version: epoch.key_version.clone(),
            wrapped: epoch.wrapped.clone(),
        },
    }
    .seal(
        &epoch.kek,
        &Dek::new(Secret::new([2; 32])),
        [3; 12],
        &envelope_location(at),
    )
    .unwrap();
    put_envelope(&envelope, S3Options::default().preset.metadata, headers)
        .map_err(|f| f.describe())
        .unwrap();
}

fn simple(habits: Habits) -> Run {
    let store = FakeStore::start(habits);
    run(
        store,
        Options::default(),
        Versioning::Never,
        vec![given("a", SMALL), given("b", SMALL)],
    )
}

#[track_caller]
fn all_done(run: &Run, moved: bool) {
    for outcome in &run.outcomes {
        let Outcome::Rewrapped(done) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((done.moved, done.overtaken), (moved, 0));
    }
    assert!(
        run.keys.iter().all(|key| key.as_deref() == Some("second")),
        "{:?}",
        run.keys
    );
}

#[track_caller]
fn unsafe_store(run: &Run, why: &str) {
    for outcome in &run.outcomes {
        match outcome {
            Outcome::Failed {
                kind: UNSAFE,
                reason,
                passing: false,
            } if reason.contains(why) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(run.method, None);
    // Nothing was done to any object but looking at it.
    assert!(
        run.store.of_clients().iter().all(|seen| seen == "head"),
        "{:?}",
        run.store.of_clients()
    );
    assert!(run.keys.iter().all(|key| key.as_deref() == Some("main")));
}

const COPY_TRIAL: [&str; 5] = [
    "put",
    "copy source=seen onto=other",
    "copy source=other onto=seen",
    "copy source=seen onto=seen",
    "delete",
];

#[test]
fn a_store_that_keeps_both_conditions_copies() {
    let run = simple(Habits::default());
    all_done(&run, false);
    assert_eq!(run.method, Some(Method::Copy));
    // Tried once, and on no client's object.
    assert_eq!(run.store.of_ours(), COPY_TRIAL);
    let replaced = ["head", "copy source=seen onto=seen"];
    assert_eq!(
        run.store.of_clients(),
        [replaced, replaced, ["head"; 2]].concat()
    );
}

#[test]
fn stores_whose_copies_keep_no_conditions_are_written_to() {
    let kept = Habits::default;
    for habits in [
        Habits {
            copies: Makes::Ignores,
            ..kept()
        },
        Habits {
            copies: Makes::Unknown,
            ..kept()
        },
        Habits {
            source: Makes::Ignores,
            ..kept()
        },
        Habits {
            source: Makes::Unknown,
            ..kept()
        },
        Habits {
            no_conditional_copies: true,
            ..kept()
        },
    ] {
        let run = simple(habits.clone());
        all_done(&run, true);
        assert_eq!(run.method, Some(Method::Put), "{habits:?}");
        let replaced = ["head", "tagging", "get onto=seen", "put onto=seen"];
        assert_eq!(
            run.store.of_clients()[..8],
            [replaced; 2].concat(),
            "{habits:?}"
        );
        assert_eq!(
            run.store.inside().objects["a"].body,
            vec![7; SMALL as usize]
        );
    }
}

#[test]
fn a_store_that_keeps_nothing_is_refused_and_no_object_touched() {
    for writes in [Makes::Ignores, Makes::Unknown] {
        let habits = Habits {
            copies: Makes::Ignores,
            writes,
            ..Habits::default()
        };
        unsafe_store(&simple(habits), "--no-writers");
    }
}

#[test]
fn what_cannot_be_tried_is_not_guessed() {
    let habits = Habits {
        forbids_staging: true,
        ..Habits::default()
    };
    unsafe_store(&simple(habits), "--method");
}

#[test]
fn trials_leave_no_versions() {
    for copies in [Makes::Refuses, Makes::Ignores] {
        let habits = Habits {
            versions: true,
            copies,
            ..Habits::default()
        };
        let store = FakeStore::start(habits);
        let run = run(
            store,
            Options::default(),
            Versioning::Enabled,
            vec![given("a", SMALL)],
        );
        all_done(&run, copies == Makes::Ignores);
        assert_eq!(
            run.store.inside().versions.len(),
            1,
            "the replacement is one"
        );
    }
}

#[test]
fn seaweedfs_is_not_believed() {
    // By its own name, or by the configuration where something stands before it.
    for (server, preset) in [("SeaweedFS 30GB 4.48", "generic"), ("a proxy", "seaweedfs")] {
        let habits = || Habits {
            server,
            preset,
            ..Habits::default()
        };
        let one = simple(habits());
        all_done(&one, true);
        assert_eq!(one.method, Some(Method::Put));
        assert!(one.store.of_ours().is_empty());
        for versioning in [Versioning::Enabled, Versioning::Suspended] {
            let store = FakeStore::start(habits());
            let all = vec![given("a", SMALL)];
            let refused = run(store, Options::default(), versioning, all);
            unsafe_store(&refused, "--no-writers");
        }
    }
}

#[test]
fn without_writers_every_store_copies_untried() {
    let habits = Habits {
        server: "SeaweedFS",
        copies: Makes::Unknown,
        writes: Makes::Ignores,
        ..Habits::default()
    };
    let options = Options {
        no_writers: true,
        ..Options::default()
    };
    let store = FakeStore::start(habits);
    let run = run(store, options, Versioning::Enabled, vec![given("a", SMALL)]);
    all_done(&run, false);
    assert!(run.store.of_ours().is_empty());
    // The source's condition costs nothing; the other one is not known everywhere.
    assert_eq!(run.store.of_clients()[1], "copy source=seen");
}

#[test]
fn a_method_chosen_by_hand_is_not_tried() {
    for (method, last) in [
        (Method::Copy, "copy source=seen onto=seen"),
        (Method::Put, "put onto=seen"),
    ] {
        let options = Options {
            method: Some(method),
            ..Options::default()
        };
        let store = FakeStore::start(Habits::default());
        let run = run(store, options, Versioning::Never, vec![given("a", SMALL)]);
        all_done(&run, method == Method::Put);
        assert!(run.store.of_ours().is_empty());
        let seen = run.store.of_clients();
        assert_eq!(seen[seen.len() - 2], last);
    }
}

/// Object lock: locked ones are passed over, or their copies are under the same lock.
#[test]
fn locked_objects_are_skipped_or_stay_locked() {
    let locked = || Given {
        headers: vec![
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            (
                "x-amz-object-lock-retain-until-date",
                "2999-01-01T00:00:00Z",
            ),
        ],
        ..given("locked", SMALL)
    };
    let store = FakeStore::start(Habits::default());
    let skipped = run(
        store,
        Options::default(),
        Versioning::Enabled,
        vec![locked()],
    );
    assert_eq!(skipped.outcomes, [Outcome::Skipped(Skip::Locked)]);
    assert_eq!(skipped.store.of_clients(), ["head", "head"]);
    assert!(
        skipped.store.of_ours().is_empty(),
        "nothing to do, nothing to try"
    );
    let options = Options {
        copy_locked: true,
        ..Options::default()
    };
    let store = FakeStore::start(Habits::default());
    let copied = run(store, options, Versioning::Enabled, vec![locked()]);
    all_done(&copied, false);
    let inside = copied.store.inside();
    let headers = &inside.objects["locked"].headers;
    assert_eq!(headers["x-amz-object-lock-mode"], "COMPLIANCE");
    assert_eq!(
        headers["x-amz-object-lock-retain-until-date"],
        "2999-01-01T00:00:00Z"
    );
}

/// More than one copy may be: the first object is such a one, and tells the method all the same.
const LARGE: u64 = (11 << 30) + 208;

/// The nearest length that an object can have.
fn large() -> u64 {
    (LARGE..)
        .find(|&n| {
            sealgate_envelope::law::object_plain_len(sealgate_envelope::law::CipherLen(n)).is_some()
        })
        .unwrap()
}

#[test]
fn more_than_five_gigabytes_is_copied_by_ranges_where_completions_keep_conditions() {
    let store = FakeStore::start(Habits::default());
    let all = vec![
        given("large", large()),
        given("larger", large()),
        given("a", SMALL),
    ];
    let run = run(store, Options::default(), Versioning::Never, all);
    all_done(&run, false);
    let Outcome::Rewrapped(done) = &run.outcomes[0] else {
        unreachable!()
    };
    assert!(done.ranges && done.etag_changed);
    let trial = [
        "put",
        "create",
        "copy part source=seen",
        "complete onto=other",
        "abort",
        "delete",
    ];
    assert_eq!(run.store.of_ours(), [&COPY_TRIAL[..], &trial].concat());
    let part = "copy part source=seen";
    let ranges = [
        "head",
        "tagging",
        "create",
        part,
        part,
        part,
        "complete onto=seen",
    ];
    assert_eq!(run.store.of_clients()[..14], [ranges; 2].concat());
}

#[test]
fn more_than_five_gigabytes_stays_where_completions_keep_none() {
    for completions in [Makes::Ignores, Makes::Unknown] {
        let habits = || Habits {
            completions,
            ..Habits::default()
        };
        let store = FakeStore::start(habits());
        let all = || vec![given("large", large()), given("a", SMALL)];
        let skipped = run(store, Options::default(), Versioning::Never, all());
        assert_eq!(skipped.outcomes[0], Outcome::Skipped(Skip::TooLarge));
        assert!(matches!(skipped.outcomes[1], Outcome::Rewrapped(_)));
        assert_eq!(skipped.keys[0].as_deref(), Some("main"));
    }
    // Unless nobody writes.
    let habits = Habits {
        completions: Makes::Ignores,
        ..Habits::default()
    };
    let options = Options {
        no_writers: true,
        ..Options::default()
    };
    let store = FakeStore::start(habits);
    let all = vec![given("large", large())];
    all_done(&run(store, options, Versioning::Never, all), false);
}

#[test]
fn what_is_too_large_for_one_write_stays_where_only_writes_are_safe() {
    let habits = Habits {
        copies: Makes::Ignores,
        ..Habits::default()
    };
    let store = FakeStore::start(habits);
    let all = vec![given("large", large()), given("a", SMALL)];
    let run = run(store, Options::default(), Versioning::Never, all);
    assert_eq!(run.outcomes[0], Outcome::Skipped(Skip::TooLarge));
    assert!(matches!(run.outcomes[1], Outcome::Rewrapped(_)));
}

/// Somebody writes between the look and the replacement: theirs stands, and is re-wrapped in the next attempt.
#[test]
fn a_write_in_between_is_never_touched() {
    let methods = [
        (Habits::default(), "copy source=seen onto=seen"),
        (
            Habits {
                copies: Makes::Ignores,
                ..Habits::default()
            },
            "get onto=seen",
        ),
        (
            Habits {
                copies: Makes::Ignores,
                ..Habits::default()
            },
            "put onto=seen",
        ),
    ];
    for (habits, moment) in methods {
        let store = FakeStore::start(habits);
        let mut done = false;
        store.meddle(move |seen, objects| {
            if seen == moment && !std::mem::replace(&mut done, true) {
                let object = objects.get_mut("a").unwrap();
                object.body = vec![9; SMALL as usize];
                object.etag = "theirs".into();
                object
                    .headers
                    .insert("x-amz-meta-whose", "theirs".parse().unwrap());
            }
        });
        let run = run(
            store,
            Options::default(),
            Versioning::Never,
            vec![given("a", SMALL)],
        );
        let Outcome::Rewrapped(outcome) = &run.outcomes[0] else {
            panic!("{:?}", run.outcomes);
        };
        assert_eq!(outcome.overtaken, 1);
        let inside = run.store.inside();
        let object = &inside.objects["a"];
        assert_eq!(object.body, vec![9; SMALL as usize]);
        assert_eq!(object.headers["x-amz-meta-whose"], "theirs");
        assert_eq!(run.keys[0].as_deref(), Some("second"));
    }
}

#[test]
fn one_that_is_deleted_in_between_stays_deleted() {
    let store = FakeStore::start(Habits::default());
    store.meddle(|seen, objects| {
        if seen.starts_with("copy") {
            objects.remove("a");
        }
    });
    let run = run(
        store,
        Options::default(),
        Versioning::Never,
        vec![given("a", SMALL)],
    );
    assert_eq!(run.outcomes, [Outcome::Skipped(Skip::Gone)]);
    assert!(run.store.inside().objects.is_empty());
}

#[test]
fn a_dry_run_tries_and_writes_nothing() {
    let store = FakeStore::start(Habits::default());
    let options = Options {
        dry_run: true,
        ..Options::default()
    };
    let run = run(store, options, Versioning::Never, vec![given("a", SMALL)]);
    assert!(matches!(run.outcomes[0], Outcome::Rewrapped(_)));
    assert_eq!(run.keys[0].as_deref(), Some("main"));
    assert_eq!(run.store.of_clients(), ["head", "head"]);
    assert!(run.store.of_ours().is_empty());
}
