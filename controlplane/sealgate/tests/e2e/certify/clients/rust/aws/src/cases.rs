//! One function per case.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete,
    MetadataDirective, ObjectIdentifier, Tag, Tagging, VersioningConfiguration,
};
use certify_common::{ODD_KEYS, Outcome, blob, check, equal, http_get, http_put, refused, same_bytes, told};

const PART: usize = 5 << 20;

pub struct S3 {
    pub client: Client,
    pub bucket: String,
}

impl S3 {
    pub async fn run(&self, case: &str) -> Outcome {
        match case {
            "bucket" => self.bucket_life().await,
            "put-small" => self.round_trip("put/small", 1000).await,
            "put-empty" => self.round_trip("put/empty", 0).await,
            "put-large" => self.round_trip("put/large", 12 << 20).await,
            "multipart" => self.multipart().await,
            "abort" => self.abort().await,
            "get" => self.get().await,
            "ranges" => self.ranges().await,
            "head" => self.head().await,
            "list" => self.list().await,
            "copy" => self.copy().await,
            "copy-multipart" => self.copy_multipart().await,
            "delete-many" => self.delete_many().await,
            "metadata" => self.metadata().await,
            "tagging" => self.tagging().await,
            "presign-get" => self.presign_get().await,
            "presign-put" => self.presign_put().await,
            "conditional" => self.conditional().await,
            "checksums" => self.checksums().await,
            "versioning" => self.versioning().await,
            other => Err(format!("no such case here: {other}")),
        }
    }

    async fn put(&self, key: &str, data: &[u8]) -> Result<String, String> {
        let body = ByteStream::from(data.to_vec());
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body);
        put.send()
            .await
            .map_err(told)?
            .e_tag
            .ok_or_else(|| "PutObject answered without an ETag".to_owned())
    }

    async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(told)?;
        Ok(got.body.collect().await.map_err(told)?.to_vec())
    }

    async fn read_range(&self, key: &str, range: &str) -> Result<Vec<u8>, String> {
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .range(range)
            .send()
            .await
            .map_err(told)?;
        Ok(got.body.collect().await.map_err(told)?.to_vec())
    }

    async fn bucket_life(&self) -> Outcome {
        let name = format!("{}-new", self.bucket);
        self.client.create_bucket().bucket(&name).send().await.map_err(told)?;
        self.client.head_bucket().bucket(&name).send().await.map_err(told)?;
        let listed = self.client.list_buckets().send().await.map_err(told)?;
        check(
            listed.buckets().iter().any(|b| b.name() == Some(&name)),
            "the new bucket is not listed",
        )?;
        self.client.delete_bucket().bucket(&name).send().await.map_err(told)?;
        refused(self.client.head_bucket().bucket(&name).send().await, "404")
    }

    async fn round_trip(&self, key: &str, len: usize) -> Outcome {
        let data = blob(len, 1);
        self.put(key, &data).await?;
        same_bytes(&self.read(key).await?, &data)
    }

    async fn upload(&self, key: &str, parts: &[Vec<u8>]) -> Outcome {
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let id = create.send().await.map_err(told)?.upload_id.unwrap_or_default();
        let mut done = CompletedMultipartUpload::builder();
        for (number, data) in (1..).zip(parts) {
            let part = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(&id)
                .part_number(number);
            let sent = part.body(ByteStream::from(data.clone())).send().await.map_err(told)?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
            done = done.parts(part.set_checksum_crc32(sent.checksum_crc32).build());
        }
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(&id);
        let answer = complete.multipart_upload(done.build()).send().await.map_err(told)?;
        check(
            answer.e_tag.is_some_and(|e| !e.is_empty()),
            "Complete answered without an ETag",
        )
    }

    async fn multipart(&self) -> Outcome {
        let parts = [blob(PART, 1), blob(1000, 2)];
        self.upload("multipart", &parts).await?;
        same_bytes(&self.read("multipart").await?, &parts.concat())
    }

    async fn abort(&self) -> Outcome {
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key("abort");
        let id = create.send().await.map_err(told)?.upload_id.unwrap_or_default();
        let part = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key("abort")
            .upload_id(&id)
            .part_number(1);
        part.body(ByteStream::from(blob(PART, 3))).send().await.map_err(told)?;
        let abort = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key("abort")
            .upload_id(&id);
        abort.send().await.map_err(told)?;
        let left = self
            .client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .send()
            .await
            .map_err(told)?;
        check(
            left.uploads().iter().all(|u| u.key() != Some("abort")),
            "the aborted upload is still listed",
        )?;
        refused(
            self.client.get_object().bucket(&self.bucket).key("abort").send().await,
            "NoSuchKey",
        )
    }

    async fn get(&self) -> Outcome {
        let data = blob(100_000, 4);
        let etag = self.put("get", &data).await?;
        let got = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key("get")
            .send()
            .await
            .map_err(told)?;
        equal(got.e_tag(), Some(etag.as_str()))?;
        equal(got.content_length(), Some(100_000))?;
        same_bytes(&got.body.collect().await.map_err(told)?.to_vec(), &data)?;
        refused(
            self.client
                .get_object()
                .bucket(&self.bucket)
                .key("get-nothing")
                .send()
                .await,
            "NoSuchKey",
        )
    }

    async fn ranges(&self) -> Outcome {
        let data = blob(40_000, 5);
        self.put("ranges", &data).await?;
        same_bytes(&self.read_range("ranges", "bytes=0-9").await?, &data[..10])?;
        same_bytes(
            &self.read_range("ranges", "bytes=16380-16390").await?,
            &data[16380..16391],
        )?;
        same_bytes(&self.read_range("ranges", "bytes=39990-").await?, &data[39990..])?;
        same_bytes(&self.read_range("ranges", "bytes=-5").await?, &data[39995..])?;
        let past = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key("ranges")
            .range("bytes=40000-");
        refused(past.send().await, "InvalidRange")
    }

    async fn head(&self) -> Outcome {
        let etag = self.put("head", &blob(70_000, 6)).await?;
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key("head")
            .send()
            .await
            .map_err(told)?;
        equal(head.content_length(), Some(70_000))?;
        equal(head.e_tag(), Some(etag.as_str()))?;
        refused(
            self.client
                .head_object()
                .bucket(&self.bucket)
                .key("head-nothing")
                .send()
                .await,
            "404",
        )
    }

    async fn list(&self) -> Outcome {
        let mut expected = BTreeMap::new();
        for (len, key) in (10..).zip(ODD_KEYS) {
            self.put(key, &blob(len, 7)).await?;
            expected.insert(key.to_owned(), len as i64);
        }
        let mut listed = BTreeMap::new();
        let list = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix("odd/")
            .max_keys(2);
        let mut pages = list.into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page.map_err(told)?.contents() {
                listed.insert(object.key().unwrap_or_default().to_owned(), object.size().unwrap_or(-1));
            }
        }
        equal(&listed, &expected)?;
        let list = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix("odd/")
            .delimiter("/");
        let page = list.send().await.map_err(told)?;
        let mut prefixes: Vec<_> = page.common_prefixes().iter().filter_map(|p| p.prefix()).collect();
        prefixes.sort_unstable();
        equal(prefixes, vec!["odd/sub/", "odd/ü/"])?;
        equal(page.key_count(), Some(7))
    }

    async fn copy(&self) -> Outcome {
        let data = blob(50_000, 8);
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key("copy source")
            .body(data.clone().into());
        put.metadata("colour", "blue")
            .content_type("text/x-copy")
            .send()
            .await
            .map_err(told)?;
        let source = format!("{}/copy%20source", self.bucket);
        let copy = self
            .client
            .copy_object()
            .bucket(&self.bucket)
            .key("copied")
            .copy_source(&source);
        copy.send().await.map_err(told)?;
        same_bytes(&self.read("copied").await?, &data)?;
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key("copied")
            .send()
            .await
            .map_err(told)?;
        equal(head.content_type(), Some("text/x-copy"))?;
        equal(
            head.metadata().and_then(|m| m.get("colour")).map(String::as_str),
            Some("blue"),
        )?;
        let copy = self
            .client
            .copy_object()
            .bucket(&self.bucket)
            .key("copied")
            .copy_source(&source);
        let copy = copy
            .metadata_directive(MetadataDirective::Replace)
            .metadata("colour", "red");
        copy.send().await.map_err(told)?;
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key("copied")
            .send()
            .await
            .map_err(told)?;
        equal(
            head.metadata().and_then(|m| m.get("colour")).map(String::as_str),
            Some("red"),
        )
    }

    async fn copy_multipart(&self) -> Outcome {
        let data = blob(PART + 70_000, 9);
        self.put("copy parts", &data).await?;
        let create = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key("copied parts");
        let id = create.send().await.map_err(told)?.upload_id.unwrap_or_default();
        let mut done = CompletedMultipartUpload::builder();
        let ranges = [
            format!("bytes=0-{}", PART - 1),
            format!("bytes={PART}-{}", data.len() - 1),
        ];
        for (number, range) in (1..).zip(ranges) {
            let copy = self
                .client
                .upload_part_copy()
                .bucket(&self.bucket)
                .key("copied parts")
                .upload_id(&id);
            let copy = copy
                .copy_source(format!("{}/copy%20parts", self.bucket))
                .copy_source_range(range);
            let copied = copy.part_number(number).send().await.map_err(told)?;
            let etag = copied.copy_part_result.and_then(|r| r.e_tag);
            done = done.parts(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
        }
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key("copied parts")
            .upload_id(&id);
        complete.multipart_upload(done.build()).send().await.map_err(told)?;
        same_bytes(&self.read("copied parts").await?, &data)
    }

    async fn delete_many(&self) -> Outcome {
        let mut delete = Delete::builder();
        for n in 0..10 {
            let key = format!("many/{n}");
            if n > 0 {
                self.put(&key, b"x").await?;
            }
            delete = delete.objects(ObjectIdentifier::builder().key(key).build().map_err(told)?);
        }
        let call = self
            .client
            .delete_objects()
            .bucket(&self.bucket)
            .delete(delete.build().map_err(told)?);
        let answer = call.send().await.map_err(told)?;
        equal(answer.deleted().len(), 10)?;
        let left = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix("many/")
            .send()
            .await
            .map_err(told)?;
        equal(left.key_count(), Some(0))
    }

    async fn metadata(&self) -> Outcome {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key("metadata")
            .body(blob(10, 10).into());
        let put = put
            .metadata("colour", "blue")
            .metadata("a-longer-name", "with spaces, and =signs");
        let put = put
            .content_type("text/x-test; charset=utf-8")
            .cache_control("max-age=60")
            .content_language("de");
        put.content_disposition("attachment; filename=\"x.txt\"")
            .send()
            .await
            .map_err(told)?;
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key("metadata")
            .send()
            .await
            .map_err(told)?;
        let metadata = head.metadata().cloned().unwrap_or_default();
        equal(metadata.get("colour").map(String::as_str), Some("blue"))?;
        equal(
            metadata.get("a-longer-name").map(String::as_str),
            Some("with spaces, and =signs"),
        )?;
        equal(metadata.len(), 2)?;
        equal(head.content_type(), Some("text/x-test; charset=utf-8"))?;
        equal(head.cache_control(), Some("max-age=60"))?;
        equal(head.content_language(), Some("de"))?;
        equal(head.content_disposition(), Some("attachment; filename=\"x.txt\""))
    }

    async fn tags(&self) -> Result<Vec<(String, String)>, String> {
        let got = self
            .client
            .get_object_tagging()
            .bucket(&self.bucket)
            .key("tagging")
            .send()
            .await
            .map_err(told)?;
        let mut tags: Vec<_> = got
            .tag_set()
            .iter()
            .map(|t| (t.key().to_owned(), t.value().to_owned()))
            .collect();
        tags.sort();
        Ok(tags)
    }

    async fn tagging(&self) -> Outcome {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key("tagging")
            .body(blob(10, 11).into());
        put.tagging("team=blue&cost=a%20b").send().await.map_err(told)?;
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        equal(self.tags().await?, vec![pair("cost", "a b"), pair("team", "blue")])?;
        let tag = Tag::builder().key("only").value("one").build().map_err(told)?;
        let tagging = Tagging::builder().tag_set(tag).build().map_err(told)?;
        let put = self
            .client
            .put_object_tagging()
            .bucket(&self.bucket)
            .key("tagging")
            .tagging(tagging);
        put.send().await.map_err(told)?;
        equal(self.tags().await?, vec![pair("only", "one")])?;
        same_bytes(&self.read("tagging").await?, &blob(10, 11))?;
        self.client
            .delete_object_tagging()
            .bucket(&self.bucket)
            .key("tagging")
            .send()
            .await
            .map_err(told)?;
        equal(self.tags().await?, vec![])
    }

    async fn presign_get(&self) -> Outcome {
        self.put("presign get", &blob(2000, 12)).await?;
        let soon = PresigningConfig::expires_in(Duration::from_secs(60)).map_err(told)?;
        let signed = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key("presign get")
            .presigned(soon)
            .await;
        same_bytes(&http_get(signed.map_err(told)?.uri())?, &blob(2000, 12))
    }

    async fn presign_put(&self) -> Outcome {
        let soon = PresigningConfig::expires_in(Duration::from_secs(60)).map_err(told)?;
        let signed = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key("presign put")
            .presigned(soon)
            .await;
        http_put(signed.map_err(told)?.uri(), &blob(2000, 13))?;
        same_bytes(&self.read("presign put").await?, &blob(2000, 13))
    }

    async fn conditional(&self) -> Outcome {
        let first = || {
            self.client
                .put_object()
                .bucket(&self.bucket)
                .key("conditional")
                .body(blob(10, 14).into())
        };
        let _ = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key("conditional")
            .send()
            .await;
        let etag = first()
            .if_none_match("*")
            .send()
            .await
            .map_err(told)?
            .e_tag
            .unwrap_or_default();
        refused(first().if_none_match("*").send().await, "PreconditionFailed")?;
        refused(
            first().if_match("\"00000000000000000000000000000000\"").send().await,
            "PreconditionFailed",
        )?;
        let get = || self.client.get_object().bucket(&self.bucket).key("conditional");
        get().if_match(&etag).send().await.map_err(told)?;
        refused(get().if_none_match(&etag).send().await, "304")?;
        refused(get().if_match("\"other\"").send().await, "PreconditionFailed")?;
        first().if_match(&etag).send().await.map_err(told).map(drop)
    }

    async fn checksums(&self) -> Outcome {
        for algorithm in [
            ChecksumAlgorithm::Crc32C,
            ChecksumAlgorithm::Sha256,
            ChecksumAlgorithm::Crc64Nvme,
        ] {
            let put = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key("checksums")
                .body(blob(30_000, 15).into());
            put.checksum_algorithm(algorithm.clone()).send().await.map_err(told)?;
            let get = self.client.get_object().bucket(&self.bucket).key("checksums");
            let got = get.checksum_mode(ChecksumMode::Enabled).send().await.map_err(told)?;
            let value = match algorithm {
                ChecksumAlgorithm::Crc32C => got.checksum_crc32_c(),
                ChecksumAlgorithm::Sha256 => got.checksum_sha256(),
                _ => got.checksum_crc64_nvme(),
            };
            check(value.is_some(), &format!("{algorithm} is not given back"))?;
            same_bytes(&got.body.collect().await.map_err(told)?.to_vec(), &blob(30_000, 15))?;
        }
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key("checksums")
            .body(blob(30_000, 16).into());
        refused(put.checksum_crc32_c("AAAAAA==").send().await, "BadDigest")?;
        same_bytes(&self.read("checksums").await?, &blob(30_000, 15))
    }

    async fn versioning(&self) -> Outcome {
        let bucket = format!("{}-versions", self.bucket);
        self.client.create_bucket().bucket(&bucket).send().await.map_err(told)?;
        let on = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let put = self
            .client
            .put_bucket_versioning()
            .bucket(&bucket)
            .versioning_configuration(on);
        put.send().await.map_err(told)?;
        let got = self
            .client
            .get_bucket_versioning()
            .bucket(&bucket)
            .send()
            .await
            .map_err(told)?;
        equal(got.status(), Some(&BucketVersioningStatus::Enabled))?;
        let mut ids = Vec::new();
        for seed in [1, 2] {
            let put = self
                .client
                .put_object()
                .bucket(&bucket)
                .key("v")
                .body(blob(20_000 + seed, seed as u64).into());
            ids.push(put.send().await.map_err(told)?.version_id.ok_or("no version id")?);
        }
        let listed = self
            .client
            .list_object_versions()
            .bucket(&bucket)
            .send()
            .await
            .map_err(told)?;
        let sizes: Vec<_> = listed.versions().iter().map(|v| v.size()).collect();
        equal(sizes, vec![Some(20_002), Some(20_001)])?;
        let old = self
            .client
            .get_object()
            .bucket(&bucket)
            .key("v")
            .version_id(&ids[0])
            .send()
            .await
            .map_err(told)?;
        same_bytes(&old.body.collect().await.map_err(told)?.to_vec(), &blob(20_001, 1))?;
        let gone = self
            .client
            .delete_object()
            .bucket(&bucket)
            .key("v")
            .send()
            .await
            .map_err(told)?;
        equal(gone.delete_marker(), Some(true))?;
        refused(
            self.client.get_object().bucket(&bucket).key("v").send().await,
            "NoSuchKey",
        )?;
        ids.push(gone.version_id.ok_or("no version id of the marker")?);
        for id in ids {
            self.client
                .delete_object()
                .bucket(&bucket)
                .key("v")
                .version_id(id)
                .send()
                .await
                .map_err(told)?;
        }
        self.client
            .delete_bucket()
            .bucket(&bucket)
            .send()
            .await
            .map_err(told)
            .map(drop)
    }
}
