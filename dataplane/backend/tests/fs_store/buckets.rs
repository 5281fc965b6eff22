//! Buckets of the directory store.

use crate::harness::*;
use http::HeaderMap;
use sealgate_backend::fs::FsStore;
use sealgate_s3::error::ErrorCode::*;

on_both_drivers! {
    buckets_come_and_go
    a_bucket_with_an_object_stays
    a_store_opens_again
}

async fn buckets_come_and_go() {
    let f = fixture().await;
    let create =
        async |name: &str, body: &[u8]| f.store.create_bucket(name, &HeaderMap::new(), body).await;
    let body = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    create("another", body).await.unwrap();
    assert_eq!(code(create("another", b"").await), BucketAlreadyOwnedByYou);
    for name in [
        "",
        "ab",
        "..",
        ".sealgate",
        "a/b",
        "Upper",
        "a_b",
        "1.2.3.4",
    ] {
        assert_eq!(code(create(name, b"").await), InvalidBucketName, "{name:?}");
    }
    assert_eq!(
        f.store.bucket_location("another").await.unwrap(),
        "eu-west-1"
    );
    assert_eq!(f.store.bucket_location("bucket").await.unwrap(), "");
    assert_eq!(
        f.store.head_bucket("another").await.unwrap()["x-amz-bucket-region"],
        "eu-west-1"
    );
    let buckets = f.store.list_buckets().await.unwrap();
    assert_eq!(
        buckets.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(),
        ["another", "bucket"]
    );
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!(
        buckets
            .iter()
            .all(|b| (now - 60_000..=now).contains(&b.created))
    );
    f.store.delete_bucket("another").await.unwrap();
    assert_eq!(code(f.store.delete_bucket("another").await), NoSuchBucket);
    assert_eq!(code(f.store.head_bucket("another").await), NoSuchBucket);
    // Nothing is left of the old one.
    create("another", b"").await.unwrap();
    assert_eq!(f.store.bucket_location("another").await.unwrap(), "");
}

async fn a_bucket_with_an_object_stays() {
    let f = fixture().await;
    put(&f.store, "a/b/c", b"").await;
    assert_eq!(code(f.store.delete_bucket("bucket").await), BucketNotEmpty);
    assert_eq!(get(&f.store, "a/b/c").await.unwrap(), b"");
    f.store.delete(&at("a/b/c"), &none()).await.unwrap();
    // As a writer that was killed leaves them.
    std::fs::create_dir_all(f.dir.path().join("bucket/a.d/b.d")).unwrap();
    f.store.delete_bucket("bucket").await.unwrap();
}

async fn a_store_opens_again() {
    let f = fixture().await;
    put(&f.store, "key", b"body").await;
    let created = f.store.list_buckets().await.unwrap()[0].created;
    let second = FsStore::open(f.dir.path()).unwrap();
    assert_eq!(second.swept(), sealgate_backend::fs::Sweep::default());
    let Fixture { store, dir } = f;
    drop(store);
    assert_eq!(get(&second, "key").await.unwrap(), b"body");
    assert_eq!(second.list_buckets().await.unwrap()[0].created, created);
    drop((second, dir));
}
