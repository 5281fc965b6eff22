//! mountpoint-s3-client, the client under Mountpoint for Amazon S3 (the AWS Common Runtime).

use certify_common::{ODD_KEYS, Outcome, Target, blob, equal, refused, report, same_bytes, told};
use futures_util::StreamExt;
use mountpoint_s3_client::checksums::{crc32c, sha256};
use mountpoint_s3_client::config::{AddressingStyle, Allocator, EndpointConfig, S3ClientConfig, Uri};
use mountpoint_s3_client::types::{
    ChecksumAlgorithm, ChecksumMode, CopyObjectParams, ETag, GetObjectParams, HeadObjectParams, PutObjectParams,
    PutObjectSingleParams, PutObjectTrailingChecksums, UploadChecksum,
};
use mountpoint_s3_client::{ObjectClient, PutObjectRequest, S3CrtClient};

const PART: usize = 5 << 20;

struct S3 {
    client: S3CrtClient,
    bucket: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let target = Target::from_env();
    // Credentials come from the default chain: the runner sets AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    let uri = Uri::new_from_str(&Allocator::default(), &target.endpoint).expect("a valid endpoint");
    let endpoint = EndpointConfig::new("us-east-1")
        .endpoint(uri)
        .addressing_style(AddressingStyle::Path);
    let config = S3ClientConfig::new().endpoint_config(endpoint).part_size(PART);
    let s3 = S3 {
        client: S3CrtClient::new(config).expect("a client"),
        bucket: target.bucket.clone(),
    };
    for case in &target.cases {
        report(case, s3.run(case).await);
    }
}

impl S3 {
    async fn run(&self, case: &str) -> Outcome {
        match case {
            "put-small" => self.round_trip("put/small", 1000).await,
            "put-empty" => self.put_empty().await,
            "put-large" => self.round_trip("put/large", 12 << 20).await,
            "multipart" => self.multipart().await,
            "get" => self.get().await,
            "ranges" => self.ranges().await,
            "head" => self.head().await,
            "list" => self.list().await,
            "copy" => self.copy().await,
            "metadata" => self.metadata().await,
            "conditional" => self.conditional().await,
            "checksums" => self.checksums().await,
            other => Err(format!("no such case here: {other}")),
        }
    }

    async fn put(&self, key: &str, data: Vec<u8>) -> Result<ETag, String> {
        let params = PutObjectSingleParams::new();
        let put = self.client.put_object_single(&self.bucket, key, &params, data);
        Ok(put.await.map_err(told)?.etag)
    }

    async fn read(&self, key: &str, params: &GetObjectParams) -> Result<Vec<u8>, String> {
        let mut parts = self.client.get_object(&self.bucket, key, params).await.map_err(told)?;
        let mut data = Vec::new();
        while let Some(part) = parts.next().await {
            data.extend_from_slice(&part.map_err(told)?.data);
        }
        Ok(data)
    }

    async fn whole(&self, key: &str) -> Result<Vec<u8>, String> {
        self.read(key, &GetObjectParams::new()).await
    }

    async fn round_trip(&self, key: &str, len: usize) -> Outcome {
        self.put(key, blob(len, 1)).await?;
        same_bytes(&self.whole(key).await?, &blob(len, 1))
    }

    /// Its reads ask for a range, which an empty object has not: Mountpoint looks at the size first.
    async fn put_empty(&self) -> Outcome {
        self.put("put/empty", Vec::new()).await?;
        let head = self
            .client
            .head_object(&self.bucket, "put/empty", &HeadObjectParams::new())
            .await
            .map_err(told)?;
        equal(head.size, 0)
    }

    /// The streaming upload, which is always multipart.
    async fn upload(&self, key: &str, params: &PutObjectParams, data: &[u8]) -> Outcome {
        let mut put = self.client.put_object(&self.bucket, key, params).await.map_err(told)?;
        put.write(data).await.map_err(told)?;
        put.complete().await.map_err(told).map(drop)
    }

    async fn multipart(&self) -> Outcome {
        let data = blob(2 * PART + 1000, 2);
        self.upload("multipart", &PutObjectParams::new(), &data).await?;
        same_bytes(&self.whole("multipart").await?, &data)
    }

    async fn get(&self) -> Outcome {
        let etag = self.put("get", blob(100_000, 4)).await?;
        let pinned = GetObjectParams::new().if_match(Some(etag));
        same_bytes(&self.read("get", &pinned).await?, &blob(100_000, 4))?;
        refused(self.whole("get-nothing").await, "NoSuchKey")
    }

    async fn ranges(&self) -> Outcome {
        let data = blob(40_000, 5);
        self.put("ranges", data.clone()).await?;
        for range in [0..10_u64, 16380..16391, 39990..40000] {
            let got = self
                .read("ranges", &GetObjectParams::new().range(Some(range.clone())))
                .await?;
            same_bytes(&got, &data[range.start as usize..range.end as usize])?;
        }
        refused(
            self.read("ranges", &GetObjectParams::new().range(Some(40_000..40_010)))
                .await,
            "InvalidRange",
        )
    }

    async fn head(&self) -> Outcome {
        let etag = self.put("head", blob(70_000, 6)).await?;
        let head = self
            .client
            .head_object(&self.bucket, "head", &HeadObjectParams::new())
            .await
            .map_err(told)?;
        equal(head.size, 70_000)?;
        equal(head.etag, etag)?;
        refused(
            self.client
                .head_object(&self.bucket, "head-nothing", &HeadObjectParams::new())
                .await,
            "NotFound",
        )
    }

    async fn list(&self) -> Outcome {
        let mut expected = Vec::new();
        for (len, key) in (10..).zip(ODD_KEYS) {
            self.put(key, blob(len, 7)).await?;
            expected.push((key.to_owned(), len as u64));
        }
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = self
                .client
                .list_objects(&self.bucket, token.as_deref(), "", 2, "odd/")
                .await
                .map_err(told)?;
            found.extend(page.objects.into_iter().map(|o| (o.key, o.size)));
            token = page.next_continuation_token;
            if token.is_none() {
                break;
            }
        }
        found.sort();
        expected.sort();
        equal(found, expected)?;
        let page = self
            .client
            .list_objects(&self.bucket, None, "/", 100, "odd/")
            .await
            .map_err(told)?;
        let mut prefixes = page.common_prefixes;
        prefixes.sort();
        equal(prefixes, vec!["odd/sub/".to_owned(), "odd/ü/".to_owned()])
    }

    async fn copy(&self) -> Outcome {
        self.put("copy-source", blob(50_000, 8)).await?;
        // It sends the source's name as it is: no spaces.
        let (bucket, params) = (&self.bucket, CopyObjectParams::new());
        self.client
            .copy_object(bucket, "copy-source", bucket, "copied", &params)
            .await
            .map_err(told)?;
        self.client.delete_object(bucket, "copy-source").await.map_err(told)?;
        same_bytes(&self.whole("copied").await?, &blob(50_000, 8))
    }

    async fn metadata(&self) -> Outcome {
        let pairs = [("colour", "blue"), ("a-longer-name", "with spaces, and =signs")];
        let metadata = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let params = PutObjectParams::new().object_metadata(metadata);
        self.upload("metadata", &params, &blob(10, 10)).await?;
        let got = self
            .client
            .get_object(&self.bucket, "metadata", &GetObjectParams::new())
            .await
            .map_err(told)?;
        use mountpoint_s3_client::types::GetObjectResponse;
        let found = got.get_object_metadata();
        equal(found.get("colour").map(String::as_str), Some("blue"))?;
        equal(
            found.get("a-longer-name").map(String::as_str),
            Some("with spaces, and =signs"),
        )?;
        equal(found.len(), 2)
    }

    async fn conditional(&self) -> Outcome {
        self.put("conditional", blob(10, 14)).await?;
        let other = GetObjectParams::new().if_match(Some(ETag::from("\"other\"".to_owned())));
        refused(self.read("conditional", &other).await, "PreconditionFailed")
    }

    async fn checksums(&self) -> Outcome {
        let data = blob(30_000, 15);
        for checksum in [
            UploadChecksum::Crc32c(crc32c::checksum(&data)),
            UploadChecksum::Sha256(sha256::checksum(&data).map_err(told)?),
        ] {
            let params = PutObjectSingleParams::new().checksum(Some(checksum.clone()));
            let put = self
                .client
                .put_object_single(&self.bucket, "checksums", &params, data.clone());
            put.await.map_err(told)?;
            let head = HeadObjectParams::new().checksum_mode(Some(ChecksumMode::Enabled));
            let head = self
                .client
                .head_object(&self.bucket, "checksums", &head)
                .await
                .map_err(told)?;
            let found = (
                head.checksum.checksum_crc32c.is_some(),
                head.checksum.checksum_sha256.is_some(),
            );
            let crc = matches!(checksum, UploadChecksum::Crc32c(_));
            equal(found, (crc, !crc))?;
        }
        let wrong = UploadChecksum::Crc32c(crc32c::checksum(b"other bytes"));
        let params = PutObjectSingleParams::new().checksum(Some(wrong));
        refused(
            self.client
                .put_object_single(&self.bucket, "checksums", &params, data)
                .await,
            "BadChecksum",
        )?;
        // A multipart upload whose every part ends with a trailing checksum, as Mountpoint sends it by default.
        let composite = PutObjectTrailingChecksums::Composite(ChecksumAlgorithm::Crc32c);
        let long = blob(PART + 30_000, 16);
        self.upload(
            "checksums parts",
            &PutObjectParams::new().trailing_checksums(composite),
            &long,
        )
        .await?;
        same_bytes(&self.whole("checksums parts").await?, &long)
    }
}
