//! The object_store crate (Arrow, DataFusion, Delta Lake and others stand on it): its cases, and with `suite` as the
//! first argument its own integration tests.

mod suite;

use std::time::Duration;

use bytes::Bytes;
use certify_common::{Outcome, Target, blob, equal, http_get, http_put, refused, report, same_bytes, told};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion, WriteMultipart,
};

const PART: usize = 5 << 20;

fn builder(target: &Target) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(&target.endpoint)
        .with_region("us-east-1")
        .with_allow_http(true)
        .with_access_key_id(&target.access)
        .with_secret_access_key(&target.secret)
        .with_bucket_name(&target.bucket)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut target = Target::from_env();
    if target.cases.first().is_some_and(|c| c == "suite") {
        target.cases.remove(0);
        return suite::run(&target).await;
    }
    let store = builder(&target).build().expect("a valid configuration");
    for case in &target.cases {
        report(case, run(&store, &target, case).await);
    }
}

async fn run(store: &AmazonS3, target: &Target, case: &str) -> Outcome {
    match case {
        "put-small" => round_trip(store, "put/small", 1000).await,
        "put-empty" => round_trip(store, "put/empty", 0).await,
        "put-large" => round_trip(store, "put/large", 12 << 20).await,
        "multipart" => multipart(store).await,
        "abort" => abort(store).await,
        "get" => get(store).await,
        "ranges" => ranges(store).await,
        "head" => head(store).await,
        "list" => list(store).await,
        "copy" => copy(store).await,
        "delete-many" => delete_many(store).await,
        "metadata" => metadata(store).await,
        "presign-get" => presign_get(store).await,
        "presign-put" => presign_put(store).await,
        "conditional" => conditional(store).await,
        "checksums" => checksums(target).await,
        other => Err(format!("no such case here: {other}")),
    }
}

async fn read(store: &AmazonS3, key: &str) -> Result<Bytes, String> {
    store
        .get(&Path::from(key))
        .await
        .map_err(told)?
        .bytes()
        .await
        .map_err(told)
}

async fn round_trip(store: &AmazonS3, key: &str, len: usize) -> Outcome {
    let data = blob(len, 1);
    store.put(&Path::from(key), data.clone().into()).await.map_err(told)?;
    same_bytes(&read(store, key).await?, &data)
}

async fn multipart(store: &AmazonS3) -> Outcome {
    let data = blob(2 * PART + 1000, 2);
    let upload = store.put_multipart(&Path::from("multipart")).await.map_err(told)?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
    writer.write(&data);
    writer.finish().await.map_err(told)?;
    same_bytes(&read(store, "multipart").await?, &data)
}

async fn abort(store: &AmazonS3) -> Outcome {
    let mut upload = store.put_multipart(&Path::from("abort")).await.map_err(told)?;
    upload.put_part(blob(PART, 3).into()).await.map_err(told)?;
    upload.abort().await.map_err(told)?;
    refused(read(store, "abort").await, "NotFound")
}

async fn get(store: &AmazonS3) -> Outcome {
    let data = blob(100_000, 4);
    let put = store.put(&Path::from("get"), data.clone().into()).await.map_err(told)?;
    let got = store.get(&Path::from("get")).await.map_err(told)?;
    equal(&got.meta.e_tag, &put.e_tag)?;
    equal(got.meta.size, 100_000)?;
    same_bytes(&got.bytes().await.map_err(told)?, &data)?;
    refused(read(store, "get-nothing").await, "NotFound")
}

async fn ranges(store: &AmazonS3) -> Outcome {
    let (data, path) = (blob(40_000, 5), Path::from("ranges"));
    store.put(&path, data.clone().into()).await.map_err(told)?;
    let parts = store
        .get_ranges(&path, &[0..10, 16380..16391, 39990..40000])
        .await
        .map_err(told)?;
    same_bytes(
        &parts.concat(),
        &[&data[..10], &data[16380..16391], &data[39990..]].concat(),
    )?;
    let suffix = GetOptions {
        range: Some(object_store::GetRange::Suffix(5)),
        ..Default::default()
    };
    let got = store
        .get_opts(&path, suffix)
        .await
        .map_err(told)?
        .bytes()
        .await
        .map_err(told)?;
    same_bytes(&got, &data[39995..])?;
    refused(store.get_range(&path, 40_000..40_010).await, "")
}

async fn head(store: &AmazonS3) -> Outcome {
    let put = store
        .put(&Path::from("head"), blob(70_000, 6).into())
        .await
        .map_err(told)?;
    let head = store.head(&Path::from("head")).await.map_err(told)?;
    equal(head.size, 70_000)?;
    equal(&head.e_tag, &put.e_tag)?;
    refused(store.head(&Path::from("head-nothing")).await, "NotFound")
}

async fn list(store: &AmazonS3) -> Outcome {
    // The crate percent-encodes what it holds to be unsafe in paths, so these names are as wild as it allows.
    let names = ["odd/a b", "odd/a+b", "odd/ü/ключ", "odd/&<>'", "odd/sub/one", "odd/=?"];
    let mut expected = Vec::new();
    for (len, name) in (10..).zip(names) {
        let path = Path::from_iter(name.split('/'));
        store.put(&path, blob(len, 7).into()).await.map_err(told)?;
        expected.push((path, len as u64));
    }
    let found: Vec<_> = store.list(Some(&Path::from("odd"))).try_collect().await.map_err(told)?;
    let mut found: Vec<_> = found.into_iter().map(|o| (o.location, o.size)).collect();
    found.sort();
    expected.sort();
    equal(found, expected)?;
    let page = store
        .list_with_delimiter(Some(&Path::from("odd")))
        .await
        .map_err(told)?;
    equal(page.common_prefixes.len(), 2)?;
    equal(page.objects.len(), 4)
}

async fn copy(store: &AmazonS3) -> Outcome {
    let data = blob(50_000, 8);
    let attributes = Attributes::from_iter([(Attribute::Metadata("colour".into()), "blue")]);
    let source = Path::from("copy source");
    store
        .put_opts(&source, data.clone().into(), attributes.into())
        .await
        .map_err(told)?;
    store.copy(&source, &Path::from("copied")).await.map_err(told)?;
    let got = store.get(&Path::from("copied")).await.map_err(told)?;
    equal(
        got.attributes
            .get(&Attribute::Metadata("colour".into()))
            .map(|v| v.as_ref()),
        Some("blue"),
    )?;
    same_bytes(&got.bytes().await.map_err(told)?, &data)?;
    store
        .rename(&Path::from("copied"), &Path::from("renamed"))
        .await
        .map_err(told)?;
    refused(store.head(&Path::from("copied")).await, "NotFound")
}

async fn delete_many(store: &AmazonS3) -> Outcome {
    let paths: Vec<_> = (0..10).map(|n| Path::from(format!("many/{n}"))).collect();
    for path in &paths {
        store.put(path, Bytes::from_static(b"x").into()).await.map_err(told)?;
    }
    let gone: Vec<_> = store
        .delete_stream(stream::iter(paths).map(Ok).boxed())
        .try_collect()
        .await
        .map_err(told)?;
    equal(gone.len(), 10)?;
    let left: Vec<_> = store
        .list(Some(&Path::from("many")))
        .try_collect()
        .await
        .map_err(told)?;
    equal(left.len(), 0)
}

async fn metadata(store: &AmazonS3) -> Outcome {
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "text/x-test"),
        (Attribute::CacheControl, "max-age=60"),
        (Attribute::ContentDisposition, "attachment; filename=\"x.txt\""),
        (Attribute::ContentLanguage, "de"),
        (Attribute::Metadata("colour".into()), "blue"),
        (Attribute::Metadata("a-longer-name".into()), "with spaces, and =signs"),
    ]);
    let path = Path::from("metadata");
    store
        .put_opts(&path, blob(10, 10).into(), attributes.clone().into())
        .await
        .map_err(told)?;
    equal(store.get(&path).await.map_err(told)?.attributes, attributes)
}

async fn presign_get(store: &AmazonS3) -> Outcome {
    let path = Path::from("presign get");
    store.put(&path, blob(2000, 12).into()).await.map_err(told)?;
    let url = store
        .signed_url("GET".parse().map_err(told)?, &path, Duration::from_secs(60))
        .await
        .map_err(told)?;
    same_bytes(&http_get(url.as_str())?, &blob(2000, 12))
}

async fn presign_put(store: &AmazonS3) -> Outcome {
    let path = Path::from("presign put");
    let url = store
        .signed_url("PUT".parse().map_err(told)?, &path, Duration::from_secs(60))
        .await
        .map_err(told)?;
    http_put(url.as_str(), &blob(2000, 13))?;
    same_bytes(&read(store, "presign put").await?, &blob(2000, 13))
}

async fn conditional(store: &AmazonS3) -> Outcome {
    let path = Path::from("conditional");
    let put = |mode: PutMode| store.put_opts(&path, blob(10, 14).into(), PutOptions::from(mode));
    let _ = store.delete(&path).await;
    let first = put(PutMode::Create).await.map_err(told)?;
    refused(put(PutMode::Create).await, "AlreadyExists")?;
    let version = |e_tag: Option<String>| PutMode::Update(UpdateVersion { e_tag, version: None });
    refused(
        put(version(Some("\"00000000000000000000000000000000\"".into()))).await,
        "Precondition",
    )?;
    put(version(first.e_tag.clone())).await.map_err(told)?;
    let unless = GetOptions {
        if_match: Some("\"other\"".into()),
        ..Default::default()
    };
    refused(store.get_opts(&path, unless).await, "Precondition")?;
    let etag = store.head(&path).await.map_err(told)?.e_tag;
    let unless = GetOptions {
        if_none_match: etag,
        ..Default::default()
    };
    refused(store.get_opts(&path, unless).await, "NotModified")
}

async fn checksums(target: &Target) -> Outcome {
    for (seed, checksum) in (0..).zip([Checksum::SHA256, Checksum::CRC64NVME]) {
        let store = builder(target)
            .with_checksum_algorithm(checksum)
            .build()
            .map_err(told)?;
        let path = Path::from("checksums");
        store.put(&path, blob(30_000, seed).into()).await.map_err(told)?;
        same_bytes(&read(&store, "checksums").await?, &blob(30_000, seed))?;
        let upload = store.put_multipart(&path).await.map_err(told)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
        writer.write(&blob(PART + 9, seed));
        writer.finish().await.map_err(told)?;
        same_bytes(&read(&store, "checksums").await?, &blob(PART + 9, seed))?;
    }
    Ok(())
}
