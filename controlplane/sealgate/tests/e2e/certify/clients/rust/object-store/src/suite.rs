//! object_store's published integration tests, each reported by its name.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use certify_common::{Target, report};
use futures_util::{FutureExt, TryStreamExt};
use object_store::aws::{AmazonS3, Checksum};
use object_store::integration::*;
use object_store::{ObjectStore, ObjectStoreExt};

/// Runs one test; a panic is its failure.
async fn one(name: &str, store: &AmazonS3, test: impl Future<Output = ()>) {
    // Most of them want an empty bucket, also after one that failed half-way.
    let left: Vec<_> = store.list(None).try_collect().await.unwrap_or_default();
    for object in left {
        let _ = store.delete(&object.location).await;
    }
    let outcome = AssertUnwindSafe(test).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "a panic".to_owned())
    });
    report(name, outcome);
}

pub async fn run(target: &Target) {
    let built = |builder: object_store::aws::AmazonS3Builder| builder.build().expect("a valid configuration");
    let s3 = built(super::builder(target));
    let unsigned = built(super::builder(target).with_unsigned_payload(true));
    let sha256 = built(super::builder(target).with_checksum_algorithm(Checksum::SHA256));
    let crc64 = built(super::builder(target).with_checksum_algorithm(Checksum::CRC64NVME));
    one("put_get_delete_list", &s3, put_get_delete_list(&s3)).await;
    one(
        "put_get_delete_list, unsigned payload",
        &s3,
        put_get_delete_list(&unsigned),
    )
    .await;
    one("put_get_delete_list, sha256", &s3, put_get_delete_list(&sha256)).await;
    one("put_get_delete_list, crc64nvme", &s3, put_get_delete_list(&crc64)).await;
    one("list_with_offset_exclusivity", &s3, list_with_offset_exclusivity(&s3)).await;
    one("get_opts", &s3, get_opts(&s3)).await;
    one("put_opts", &s3, put_opts(&s3, true)).await;
    one(
        "list_uses_directories_correctly",
        &s3,
        list_uses_directories_correctly(&s3),
    )
    .await;
    one("list_with_delimiter", &s3, list_with_delimiter(&s3)).await;
    one("rename_and_copy", &s3, rename_and_copy(&s3)).await;
    one(
        "copy_rename_nonexistent_object",
        &s3,
        copy_rename_nonexistent_object(&s3),
    )
    .await;
    one("stream_get", &s3, stream_get(&s3)).await;
    one("multipart", &s3, multipart(&s3, &s3)).await;
    one("multipart_with_opts", &s3, multipart_with_opts(&s3, &s3)).await;
    one(
        "multipart_put_part_out_of_order",
        &s3,
        multipart_put_part_out_of_order(&s3, &s3),
    )
    .await;
    one("multipart_race_condition", &s3, multipart_race_condition(&s3, true)).await;
    one("multipart_out_of_order", &s3, multipart_out_of_order(&s3)).await;
    one("put_get_attributes", &s3, put_get_attributes(&s3)).await;
    one("list_paginated", &s3, list_paginated(&s3, &s3)).await;
}
