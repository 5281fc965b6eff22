// minio-js.

import * as minio from "minio";
import { ODD_KEYS, PART, blob, check, equal, httpGet, httpPut, refused, run, same, target } from "./common.mjs";

const url = new URL(target.endpoint);
const client = new minio.Client({
  endPoint: url.hostname,
  port: Number(url.port),
  useSSL: false,
  accessKey: target.access,
  secretKey: target.secret,
  region: "us-east-1",
  partSize: PART,
});
const bucket = target.bucket;

async function collect(stream) {
  const all = [];
  for await (const one of await stream) all.push(one);
  return all;
}
const read = async (key, more) => Buffer.concat(await collect(client.getObject(bucket, key, more)));
const part = async (key, ...range) => Buffer.concat(await collect(client.getPartialObject(bucket, key, ...range)));
const put = (key, data, meta) => client.putObject(bucket, key, data, data.length, meta);

async function roundTrip(key, size) {
  check((await put(key, blob(size))).etag, "PutObject answered without an ETag");
  same(await read(key), blob(size));
}

run({
  async bucket() {
    const name = `${bucket}-new`;
    await client.makeBucket(name);
    check(await client.bucketExists(name), "the new bucket does not exist");
    check((await client.listBuckets()).some((b) => b.name === name), "the new bucket is not listed");
    await client.removeBucket(name);
    check(!(await client.bucketExists(name)), "the deleted bucket exists");
  },
  "put-small": () => roundTrip("put/small", 1000),
  "put-empty": () => roundTrip("put/empty", 0),
  "put-large": () => roundTrip("put/large", 4 << 20),
  multipart: () => roundTrip("multipart", 2 * PART + 1000),
  async abort() {
    const id = await client.initiateNewMultipartUpload(bucket, "abort", {});
    check(id, "no upload id");
    const left = () => collect(client.listIncompleteUploads(bucket, "abort", true));
    equal((await left()).length, 1);
    await client.removeIncompleteUpload(bucket, "abort");
    equal(await left(), []);
  },
  async get() {
    await put("get", blob(100_000));
    same(await read("get"), blob(100_000));
    await refused(read("get-nothing"), "NoSuchKey");
  },
  async ranges() {
    const data = blob(40_000);
    await put("ranges", data);
    same(await part("ranges", 0, 10), data.subarray(0, 10));
    same(await part("ranges", 16380, 11), data.subarray(16380, 16391));
    same(await part("ranges", 39990), data.subarray(39990));
    await refused(part("ranges", 40_000), "InvalidRange");
  },
  async head() {
    const { etag } = await put("head", blob(70_000));
    const stat = await client.statObject(bucket, "head");
    equal([stat.size, stat.etag], [70_000, etag]);
    await refused(client.statObject(bucket, "head-nothing"), "NotFound", "NoSuchKey");
  },
  async list() {
    for (const [n, key] of ODD_KEYS.entries()) await put(key, blob(10 + n));
    const expected = ODD_KEYS.map((key, n) => [key, 10 + n]).sort();
    for (const list of [client.listObjectsV2(bucket, "odd/", true), client.listObjects(bucket, "odd/", true)]) {
      equal((await collect(list)).map((o) => [o.name, o.size]).sort(), expected);
    }
    const folders = (await collect(client.listObjectsV2(bucket, "odd/"))).filter((o) => o.prefix).map((o) => o.prefix);
    equal(folders.sort(), ["odd/sub/", "odd/ü/"]);
  },
  async copy() {
    await put("copy source", blob(50_000), { colour: "blue", "Content-Type": "text/x-copy" });
    await client.copyObject(bucket, "copied", `/${bucket}/copy source`);
    same(await read("copied"), blob(50_000));
    const stat = await client.statObject(bucket, "copied");
    equal([stat.metaData["content-type"], stat.metaData.colour], ["text/x-copy", "blue"]);
  },
  async "copy-multipart"() {
    await put("compose/one", blob(PART));
    await put("compose/two", blob(70_000));
    const sources = ["compose/one", "compose/two"].map((Object) => new minio.CopySourceOptions({ Bucket: bucket, Object }));
    await client.composeObject(new minio.CopyDestinationOptions({ Bucket: bucket, Object: "composed" }), sources);
    same(await read("composed"), Buffer.concat([blob(PART), blob(70_000)]));
  },
  async "delete-many"() {
    const keys = [...Array(10).keys()].map((n) => `many/${n}`);
    for (const key of keys) await put(key, blob(1));
    await client.removeObjects(bucket, [...keys, "many/nothing"]);
    equal(await collect(client.listObjectsV2(bucket, "many/", true)), []);
  },
  async metadata() {
    const sent = { colour: "blue", "a-longer-name": "with spaces", "Content-Type": "text/x-test", "Cache-Control": "max-age=60" };
    await put("metadata", blob(1), sent);
    const { metaData: got } = await client.statObject(bucket, "metadata");
    equal([got.colour, got["a-longer-name"], got["content-type"], got["cache-control"]], Object.values(sent));
  },
  async tagging() {
    const tags = async () => (await client.getObjectTagging(bucket, "tagging")).map((t) => [t.Key, t.Value]).sort();
    await put("tagging", blob(1));
    await client.setObjectTagging(bucket, "tagging", { team: "blue", cost: "a b" });
    equal(await tags(), [["cost", "a b"], ["team", "blue"]]);
    await client.removeObjectTagging(bucket, "tagging");
    equal(await tags(), []);
  },
  async "presign-get"() {
    await put("presign get", blob(2000));
    same(await httpGet(await client.presignedGetObject(bucket, "presign get", 60)), blob(2000));
  },
  async "presign-put"() {
    await httpPut(await client.presignedPutObject(bucket, "presign put", 60), blob(2000));
    same(await read("presign put"), blob(2000));
    const policy = client.newPostPolicy();
    policy.setBucket(bucket);
    policy.setKey("presign post");
    policy.setExpires(new Date(Date.now() + 60_000));
    const { postURL, formData } = await client.presignedPostPolicy(policy);
    const form = new FormData();
    for (const [name, value] of Object.entries(formData)) form.append(name, value);
    form.append("file", new Blob([blob(3000)]));
    const answer = await fetch(postURL, { method: "POST", body: form });
    check(answer.ok, `POST form: ${answer.status} ${await answer.text()}`);
    same(await read("presign post"), blob(3000));
  },
  async versioning() {
    const name = `${bucket}-versions`;
    await client.makeBucket(name);
    await client.setBucketVersioning(name, { Status: "Enabled" });
    equal((await client.getBucketVersioning(name)).Status, "Enabled");
    const ids = [];
    for (const n of [1, 2]) ids.push((await client.putObject(name, "v", blob(20_000 + n))).versionId);
    const list = () => collect(client.listObjects(name, "", true, { IncludeVersion: true }));
    equal((await list()).map((o) => [o.versionId, o.size]), [[ids[1], 20_002], [ids[0], 20_001]]);
    same(Buffer.concat(await collect(client.getObject(name, "v", { versionId: ids[0] }))), blob(20_001));
    await client.removeObject(name, "v");
    await refused(client.statObject(name, "v"), "NotFound", "NoSuchKey");
    for (const { versionId } of await list()) await client.removeObject(name, "v", { versionId });
    await client.removeBucket(name);
  },
});
