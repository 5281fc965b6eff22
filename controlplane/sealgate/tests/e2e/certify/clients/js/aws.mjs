// The AWS SDK for JavaScript, version 3.

import * as aws from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { ODD_KEYS, PART, blob, check, equal, httpGet, httpPut, refused, run, same, target } from "./common.mjs";

const config = {
  endpoint: target.endpoint,
  region: "us-east-1",
  forcePathStyle: true,
  credentials: { accessKeyId: target.access, secretAccessKey: target.secret },
};
const s3 = new aws.S3(config);
// By default its presigned PUT holds the CRC32 of an empty body, which then must be the body.
const presigner = new aws.S3({ ...config, requestChecksumCalculation: "WHEN_REQUIRED" });
const Bucket = target.bucket;

const put = (Key, Body, more = {}) => s3.putObject({ Bucket, Key, Body, ...more });
const head = (Key, more = {}) => s3.headObject({ Bucket, Key, ...more });
const get = (Key, more = {}) => s3.getObject({ Bucket, Key, ...more });
const bytes = async (answer) => Buffer.from(await (await answer).Body.transformToByteArray());
const read = (Key, more = {}) => bytes(get(Key, more));

async function roundTrip(key, size) {
  check((await put(key, blob(size))).ETag, "PutObject answered without an ETag");
  same(await read(key), blob(size));
}

run({
  async bucket() {
    const name = `${Bucket}-new`;
    await s3.createBucket({ Bucket: name });
    await s3.headBucket({ Bucket: name });
    check((await s3.listBuckets({})).Buckets.some((b) => b.Name === name), "the new bucket is not listed");
    await s3.deleteBucket({ Bucket: name });
    await refused(s3.headBucket({ Bucket: name }), 404);
  },
  "put-small": () => roundTrip("put/small", 1000),
  "put-empty": () => roundTrip("put/empty", 0),
  "put-large": () => roundTrip("put/large", 12 << 20),
  async multipart() {
    const data = blob(2 * PART + 1000);
    const upload = new Upload({ client: s3, params: { Bucket, Key: "multipart", Body: data }, partSize: PART });
    check((await upload.done()).ETag, "Complete answered without an ETag");
    same(await read("multipart"), data);
  },
  async abort() {
    const which = { Bucket, Key: "abort" };
    const { UploadId } = await s3.createMultipartUpload(which);
    await s3.uploadPart({ ...which, UploadId, PartNumber: 1, Body: blob(PART) });
    await s3.abortMultipartUpload({ ...which, UploadId });
    const left = (await s3.listMultipartUploads({ Bucket })).Uploads ?? [];
    check(!left.some((u) => u.Key === "abort"), "the aborted upload is still listed");
    await refused(get("abort"), "NoSuchKey");
  },
  async get() {
    const { ETag } = await put("get", blob(100_000));
    const got = await get("get");
    equal([got.ETag, got.ContentLength], [ETag, 100_000]);
    same(await bytes(got), blob(100_000));
    await refused(get("get-nothing"), "NoSuchKey");
  },
  async ranges() {
    const data = blob(40_000);
    await put("ranges", data);
    same(await read("ranges", { Range: "bytes=0-9" }), data.subarray(0, 10));
    same(await read("ranges", { Range: "bytes=16380-16390" }), data.subarray(16380, 16391));
    same(await read("ranges", { Range: "bytes=39990-" }), data.subarray(39990));
    same(await read("ranges", { Range: "bytes=-5" }), data.subarray(39995));
    await refused(get("ranges", { Range: "bytes=40000-" }), "InvalidRange");
  },
  async head() {
    const { ETag } = await put("head", blob(70_000));
    const got = await head("head");
    equal([got.ETag, got.ContentLength], [ETag, 70_000]);
    await refused(head("head-nothing"), 404);
  },
  async list() {
    for (const [n, key] of ODD_KEYS.entries()) await put(key, blob(10 + n));
    const found = [];
    for await (const page of aws.paginateListObjectsV2({ client: s3, pageSize: 2 }, { Bucket, Prefix: "odd/" })) {
      for (const o of page.Contents ?? []) found.push([o.Key, o.Size]);
    }
    equal(found.sort(), ODD_KEYS.map((key, n) => [key, 10 + n]).sort());
    const page = await s3.listObjectsV2({ Bucket, Prefix: "odd/", Delimiter: "/" });
    equal(page.CommonPrefixes.map((p) => p.Prefix).sort(), ["odd/sub/", "odd/ü/"]);
    equal(page.KeyCount, 7);
  },
  async copy() {
    await put("copy source", blob(50_000), { Metadata: { colour: "blue" }, ContentType: "text/x-copy" });
    const copy = { Bucket, Key: "copied", CopySource: `${Bucket}/copy%20source` };
    await s3.copyObject(copy);
    same(await read("copied"), blob(50_000));
    let got = await head("copied");
    equal([got.ContentType, got.Metadata], ["text/x-copy", { colour: "blue" }]);
    await s3.copyObject({ ...copy, MetadataDirective: "REPLACE", Metadata: { colour: "red" } });
    got = await head("copied");
    equal(got.Metadata, { colour: "red" });
  },
  async "copy-multipart"() {
    const data = blob(PART + 70_000);
    await put("copy parts", data);
    const which = { Bucket, Key: "copied parts" };
    const { UploadId } = await s3.createMultipartUpload(which);
    const Parts = [];
    for (const [n, range] of [`bytes=0-${PART - 1}`, `bytes=${PART}-${data.length - 1}`].entries()) {
      const source = { CopySource: `${Bucket}/copy%20parts`, CopySourceRange: range };
      const part = await s3.uploadPartCopy({ ...which, ...source, UploadId, PartNumber: n + 1 });
      Parts.push({ PartNumber: n + 1, ETag: part.CopyPartResult.ETag });
    }
    await s3.completeMultipartUpload({ ...which, UploadId, MultipartUpload: { Parts } });
    same(await read("copied parts"), data);
  },
  async "delete-many"() {
    const Objects = [...Array(10).keys()].map((n) => ({ Key: `many/${n}` }));
    for (const { Key } of Objects.slice(1)) await put(Key, "x");
    equal((await s3.deleteObjects({ Bucket, Delete: { Objects } })).Deleted.length, 10);
    equal((await s3.listObjectsV2({ Bucket, Prefix: "many/" })).KeyCount, 0);
  },
  async metadata() {
    const sent = {
      Metadata: { colour: "blue", "a-longer-name": "with spaces, and =signs" },
      ContentType: "text/x-test; charset=utf-8",
      CacheControl: "max-age=60",
      ContentLanguage: "de",
      ContentDisposition: 'attachment; filename="x.txt"',
    };
    await put("metadata", "x", sent);
    const got = await head("metadata");
    for (const [name, value] of Object.entries(sent)) {
      if (name !== "Metadata") equal(got[name], value);
    }
    equal(Object.entries(got.Metadata).sort(), Object.entries(sent.Metadata).sort());
  },
  async tagging() {
    const which = { Bucket, Key: "tagging" };
    const tags = async () => (await s3.getObjectTagging(which)).TagSet.map((t) => [t.Key, t.Value]).sort();
    await put("tagging", "x", { Tagging: "team=blue&cost=a%20b" });
    equal(await tags(), [["cost", "a b"], ["team", "blue"]]);
    await s3.putObjectTagging({ ...which, Tagging: { TagSet: [{ Key: "only", Value: "one" }] } });
    equal(await tags(), [["only", "one"]]);
    await s3.deleteObjectTagging(which);
    equal(await tags(), []);
  },
  async "presign-get"() {
    await put("presign get", blob(2000));
    const url = await getSignedUrl(s3, new aws.GetObjectCommand({ Bucket, Key: "presign get" }), { expiresIn: 60 });
    same(await httpGet(url), blob(2000));
  },
  async "presign-put"() {
    const url = await getSignedUrl(presigner, new aws.PutObjectCommand({ Bucket, Key: "presign put" }), { expiresIn: 60 });
    await httpPut(url, blob(2000));
    same(await read("presign put"), blob(2000));
  },
  async conditional() {
    await s3.deleteObject({ Bucket, Key: "conditional" });
    const { ETag } = await put("conditional", "1", { IfNoneMatch: "*" });
    await refused(put("conditional", "2", { IfNoneMatch: "*" }), "PreconditionFailed");
    await refused(put("conditional", "2", { IfMatch: `"${"0".repeat(32)}"` }), "PreconditionFailed");
    await read("conditional", { IfMatch: ETag });
    await refused(get("conditional", { IfNoneMatch: ETag }), 304);
    await refused(get("conditional", { IfMatch: '"other"' }), "PreconditionFailed");
    await put("conditional", "3", { IfMatch: ETag });
    same(await read("conditional"), Buffer.from("3"));
  },
  async checksums() {
    for (const name of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
      const sent = await put("checksums", blob(30_000), { ChecksumAlgorithm: name });
      const got = await get("checksums", { ChecksumMode: "ENABLED" });
      check(got[`Checksum${name}`], `${name} is not given back`);
      equal(got[`Checksum${name}`], sent[`Checksum${name}`]);
      same(await bytes(got), blob(30_000));
    }
    await refused(put("checksums", blob(9), { ChecksumCRC32C: "AAAAAA==" }), "BadDigest");
    same(await read("checksums"), blob(30_000));
  },
  async versioning() {
    const which = { Bucket: `${Bucket}-versions` };
    const object = { ...which, Key: "v" };
    await s3.createBucket(which);
    await s3.putBucketVersioning({ ...which, VersioningConfiguration: { Status: "Enabled" } });
    equal((await s3.getBucketVersioning(which)).Status, "Enabled");
    const ids = [];
    for (const n of [1, 2]) ids.push((await s3.putObject({ ...object, Body: blob(20_000 + n) })).VersionId);
    const found = (await s3.listObjectVersions(which)).Versions.map((v) => [v.VersionId, v.Size]);
    equal(found, [[ids[1], 20_002], [ids[0], 20_001]]);
    same(await bytes(s3.getObject({ ...object, VersionId: ids[0] })), blob(20_001));
    const gone = await s3.deleteObject(object);
    equal(gone.DeleteMarker, true);
    await refused(s3.getObject(object), "NoSuchKey");
    for (const VersionId of [...ids, gone.VersionId]) await s3.deleteObject({ ...object, VersionId });
    await s3.deleteBucket(which);
  },
});
