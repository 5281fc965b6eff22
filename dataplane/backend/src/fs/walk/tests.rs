use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn tree(keys: &BTreeSet<Vec<u8>>, empty: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for key in keys {
        let path = dir.path().join(name::object_path(key).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    for name in empty {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    dir
}

/// What S3 says a listing is.
fn model(keys: &BTreeSet<Vec<u8>>, scope: Scope<'_>) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for key in keys.iter().filter(|k| k.starts_with(scope.prefix)) {
        let rest = &key[scope.prefix.len()..];
        let item = match scope.delimiter {
            b"" => key.clone(),
            d => match rest.windows(d.len()).position(|w| w == d) {
                Some(at) => key[..scope.prefix.len() + at + d.len()].to_vec(),
                None => key.clone(),
            },
        };
        if item.as_slice() > scope.after && out.last() != Some(&item) {
            out.push(item);
        }
    }
    out
}

fn walk(bucket: &Path, scope: Scope<'_>) -> Vec<Vec<u8>> {
    let mut walk = Walk::new(bucket, scope).unwrap();
    let mut out = Vec::new();
    while let Some(found) = walk.next().unwrap() {
        out.push(match found {
            Found::Object { key, path } => {
                assert!(path.is_file(), "{path:?}");
                key
            }
            Found::Prefix(prefix) => prefix,
        });
    }
    out
}

fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "/", "//", "-", "!", "0", ".", "..", "é", "\u{1}", "%"]).prop_map(str::to_owned),
        1 => (245usize..250).prop_map(|n| "x".repeat(n)),
    ];
    prop::collection::vec(piece, 0..max).prop_map(|p| p.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_walk_is_what_s3_lists(
        keys in prop::collection::btree_set(text(6).prop_filter("not empty", |k| !k.is_empty()), 1..40),
        scopes in prop::collection::vec((text(3), text(2), text(4), 1usize..6), 8),
    ) {
        let dir = tree(&keys, &["a.d/empty.d/.d", "zz.d"]);
        let all: Vec<_> = keys.iter().collect();
        for (i, (prefix, delimiter, after, page)) in scopes.iter().enumerate() {
            // Half of the time something that is there.
            let some = all[i % all.len()];
            let (prefix, after) = if i % 2 == 0 { (&some[..some.len() / 2], &some[..some.len() * 2 / 3]) } else { (&prefix[..], &after[..]) };
            let delimiter = if i % 4 < 2 { b"/" } else { &delimiter[..] };
            let scope = Scope { prefix, delimiter, after, page: *page };
            prop_assert_eq!(walk(dir.path(), scope), model(&keys, scope), "{:?}", scope);
            // With or without kept names.
            let level = || Level { path: dir.path().into(), key: Vec::new(), batch: VecDeque::new(), rest: Rest::All };
            let (mut picked, mut scanned) = (level(), level());
            let walk = Walk { scope, rolled: None, levels: Vec::new() };
            let names = Names::read(dir.path()).unwrap().unwrap();
            let from = (i % 3 == 0).then_some(&some[..some.len() / 2]);
            let more = walk.pick(&mut picked, &names, from, *page);
            prop_assert_eq!(more, walk.scan(&mut scanned, from, *page).unwrap());
            prop_assert_eq!(picked.batch, scanned.batch);
        }
    }
}

#[test]
fn prefixes_are_rolled_up_without_reading_what_is_below() {
    let keys = (0..50).map(|i| format!("p{i:02}/x").into_bytes()).collect();
    let dir = tree(&keys, &["p99.d/deep.d/deeper.d"]);
    // A level more than the root would mean that a prefix was walked into.
    let scope = Scope {
        prefix: b"",
        delimiter: b"/",
        after: b"",
        page: 10,
    };
    let mut walk = Walk::new(dir.path(), scope).unwrap();
    let mut deepest = 0;
    let mut found = 0;
    while let Some(item) = walk.next().unwrap() {
        assert!(matches!(item, Found::Prefix(_)));
        deepest = deepest.max(walk.levels.len());
        assert!(walk.levels.iter().all(|l| l.batch.len() <= 10));
        found += 1;
    }
    assert_eq!((found, deepest), (50, 1));
}

#[test]
fn the_deepest_keys_list_within_few_descriptors() {
    let keys: BTreeSet<Vec<u8>> = [
        vec![b'/'; 1024],
        [vec![b'/'; 1000], b"zz".to_vec()].concat(),
    ]
    .into();
    let dir = tree(&keys, &[]);
    let scope = Scope {
        prefix: b"",
        delimiter: b"",
        after: b"",
        page: 1001,
    };
    assert_eq!(walk(dir.path(), scope), model(&keys, scope));
    let scope = Scope {
        delimiter: b"/",
        ..scope
    };
    assert_eq!(walk(dir.path(), scope), [b"/".to_vec()]);
}
