package certify;

import static certify.Main.BUCKET;
import static certify.Main.ODD_KEYS;
import static certify.Main.PART;
import static certify.Main.PRESIGNER;
import static certify.Main.S3;
import static certify.Main.blob;
import static certify.Main.check;
import static certify.Main.equal;
import static certify.Main.httpGet;
import static certify.Main.httpPut;
import static certify.Main.refused;
import static certify.Main.same;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.model.BucketVersioningStatus;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
import software.amazon.awssdk.services.s3.model.ChecksumMode;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.MetadataDirective;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.PutObjectResponse;
import software.amazon.awssdk.services.s3.model.Tag;

/** One method per case. */
final class Cases {
    Map<String, Main.Case> all() {
        var all = new HashMap<String, Main.Case>();
        all.put("bucket", this::bucket);
        all.put("put-small", () -> roundTrip("put/small", 1000));
        all.put("put-empty", () -> roundTrip("put/empty", 0));
        all.put("put-large", () -> roundTrip("put/large", 12 << 20));
        all.put("multipart", this::multipart);
        all.put("abort", this::abort);
        all.put("get", this::get);
        all.put("ranges", this::ranges);
        all.put("head", this::head);
        all.put("list", this::list);
        all.put("copy", this::copy);
        all.put("copy-multipart", this::copyMultipart);
        all.put("delete-many", this::deleteMany);
        all.put("metadata", this::metadata);
        all.put("tagging", this::tagging);
        all.put("presign-get", this::presignGet);
        all.put("presign-put", this::presignPut);
        all.put("conditional", this::conditional);
        all.put("checksums", this::checksums);
        all.put("versioning", this::versioning);
        return all;
    }

    private PutObjectResponse put(String key, byte[] data) {
        return S3.putObject(r -> r.bucket(BUCKET).key(key), RequestBody.fromBytes(data));
    }

    private byte[] read(String key) {
        return S3.getObjectAsBytes(r -> r.bucket(BUCKET).key(key)).asByteArray();
    }

    private byte[] range(String key, String range) {
        return S3.getObjectAsBytes(r -> r.bucket(BUCKET).key(key).range(range)).asByteArray();
    }

    private void bucket() throws Exception {
        String name = BUCKET + "-new";
        S3.createBucket(r -> r.bucket(name));
        S3.headBucket(r -> r.bucket(name));
        check(S3.listBuckets().buckets().stream().anyMatch(b -> b.name().equals(name)), "the new bucket is not listed");
        S3.deleteBucket(r -> r.bucket(name));
        refused(() -> S3.headBucket(r -> r.bucket(name)), "NoSuchBucket", 404);
    }

    private void roundTrip(String key, int size) {
        check(put(key, blob(size, 1)).eTag() != null, "PutObject answered without an ETag");
        same(read(key), blob(size, 1));
    }

    private void multipart() {
        var id = S3.createMultipartUpload(r -> r.bucket(BUCKET).key("multipart")).uploadId();
        var parts = List.of(blob(PART, 1), blob(1000, 2));
        var done = new ArrayList<CompletedPart>();
        for (int n = 1; n <= 2; n++) {
            int number = n;
            var sent = S3.uploadPart(
                    r -> r.bucket(BUCKET).key("multipart").uploadId(id).partNumber(number),
                    RequestBody.fromBytes(parts.get(n - 1)));
            done.add(CompletedPart.builder().partNumber(n).eTag(sent.eTag()).checksumCRC32(sent.checksumCRC32()).build());
        }
        var answer = S3.completeMultipartUpload(
                r -> r.bucket(BUCKET).key("multipart").uploadId(id).multipartUpload(m -> m.parts(done)));
        check(answer.eTag() != null && !answer.eTag().isEmpty(), "Complete answered without an ETag");
        byte[] whole = new byte[PART + 1000];
        System.arraycopy(parts.get(0), 0, whole, 0, PART);
        System.arraycopy(parts.get(1), 0, whole, PART, 1000);
        same(read("multipart"), whole);
    }

    private void abort() throws Exception {
        var id = S3.createMultipartUpload(r -> r.bucket(BUCKET).key("abort")).uploadId();
        S3.uploadPart(
                r -> r.bucket(BUCKET).key("abort").uploadId(id).partNumber(1), RequestBody.fromBytes(blob(PART, 3)));
        S3.abortMultipartUpload(r -> r.bucket(BUCKET).key("abort").uploadId(id));
        var left = S3.listMultipartUploads(r -> r.bucket(BUCKET)).uploads();
        check(left.stream().noneMatch(u -> u.key().equals("abort")), "the aborted upload is still listed");
        refused(() -> read("abort"), "NoSuchKey", 404);
    }

    private void get() throws Exception {
        var sent = put("get", blob(100_000, 4));
        var got = S3.getObjectAsBytes(r -> r.bucket(BUCKET).key("get"));
        equal(got.response().eTag(), sent.eTag());
        same(got.asByteArray(), blob(100_000, 4));
        refused(() -> read("get-nothing"), "NoSuchKey", 404);
    }

    private void ranges() throws Exception {
        byte[] data = blob(40_000, 5);
        put("ranges", data);
        same(range("ranges", "bytes=0-9"), java.util.Arrays.copyOfRange(data, 0, 10));
        same(range("ranges", "bytes=16380-16390"), java.util.Arrays.copyOfRange(data, 16380, 16391));
        same(range("ranges", "bytes=39990-"), java.util.Arrays.copyOfRange(data, 39990, 40_000));
        same(range("ranges", "bytes=-5"), java.util.Arrays.copyOfRange(data, 39995, 40_000));
        refused(() -> range("ranges", "bytes=40000-"), "InvalidRange", 416);
    }

    private void head() throws Exception {
        var sent = put("head", blob(70_000, 6));
        var got = S3.headObject(r -> r.bucket(BUCKET).key("head"));
        equal(got.contentLength(), 70_000L);
        equal(got.eTag(), sent.eTag());
        refused(() -> S3.headObject(r -> r.bucket(BUCKET).key("head-nothing")), "NoSuchKey", 404);
    }

    private void list() {
        var expected = new HashMap<String, Long>();
        for (String key : ODD_KEYS) {
            put(key, blob(10 + expected.size(), 7));
            expected.put(key, 10L + expected.size());
        }
        var found = new HashMap<String, Long>();
        var pages = S3.listObjectsV2Paginator(r -> r.bucket(BUCKET).prefix("odd/").maxKeys(2));
        pages.contents().forEach(o -> found.put(o.key(), o.size()));
        equal(found, expected);
        var page = S3.listObjectsV2(r -> r.bucket(BUCKET).prefix("odd/").delimiter("/"));
        equal(page.commonPrefixes().stream().map(p -> p.prefix()).sorted().toList(), List.of("odd/sub/", "odd/ü/"));
        equal(page.keyCount(), 7);
    }

    private void copy() {
        S3.putObject(
                r -> r.bucket(BUCKET).key("copy source").metadata(Map.of("colour", "blue")).contentType("text/x-copy"),
                RequestBody.fromBytes(blob(50_000, 8)));
        S3.copyObject(r -> r.sourceBucket(BUCKET).sourceKey("copy source").destinationBucket(BUCKET).destinationKey("copied"));
        same(read("copied"), blob(50_000, 8));
        var got = S3.headObject(r -> r.bucket(BUCKET).key("copied"));
        equal(got.contentType(), "text/x-copy");
        equal(got.metadata(), Map.of("colour", "blue"));
        S3.copyObject(r -> r.sourceBucket(BUCKET).sourceKey("copy source").destinationBucket(BUCKET).destinationKey("copied")
                .metadataDirective(MetadataDirective.REPLACE).metadata(Map.of("colour", "red")));
        equal(S3.headObject(r -> r.bucket(BUCKET).key("copied")).metadata(), Map.of("colour", "red"));
    }

    private void copyMultipart() {
        byte[] data = blob(PART + 70_000, 9);
        put("copy parts", data);
        var id = S3.createMultipartUpload(r -> r.bucket(BUCKET).key("copied parts")).uploadId();
        var ranges = List.of("bytes=0-" + (PART - 1), "bytes=" + PART + "-" + (data.length - 1));
        var done = new ArrayList<CompletedPart>();
        for (int n = 1; n <= 2; n++) {
            int number = n;
            var copied = S3.uploadPartCopy(r -> r.sourceBucket(BUCKET).sourceKey("copy parts")
                    .destinationBucket(BUCKET).destinationKey("copied parts").uploadId(id)
                    .copySourceRange(ranges.get(number - 1)).partNumber(number));
            done.add(CompletedPart.builder().partNumber(n).eTag(copied.copyPartResult().eTag()).build());
        }
        S3.completeMultipartUpload(
                r -> r.bucket(BUCKET).key("copied parts").uploadId(id).multipartUpload(m -> m.parts(done)));
        same(read("copied parts"), data);
    }

    private void deleteMany() {
        var many = new ArrayList<ObjectIdentifier>();
        for (int n = 0; n < 10; n++) {
            String key = "many/" + n;
            if (n > 0) {
                put(key, blob(1, 0));
            }
            many.add(ObjectIdentifier.builder().key(key).build());
        }
        equal(S3.deleteObjects(r -> r.bucket(BUCKET).delete(d -> d.objects(many))).deleted().size(), 10);
        equal(S3.listObjectsV2(r -> r.bucket(BUCKET).prefix("many/")).keyCount(), 0);
    }

    private void metadata() {
        var sent = Map.of("colour", "blue", "a-longer-name", "with spaces, and =signs");
        S3.putObject(
                r -> r.bucket(BUCKET).key("metadata").metadata(sent).contentType("text/x-test; charset=utf-8")
                        .cacheControl("max-age=60").contentLanguage("de")
                        .contentDisposition("attachment; filename=\"x.txt\""),
                RequestBody.fromBytes(blob(10, 10)));
        var got = S3.headObject(r -> r.bucket(BUCKET).key("metadata"));
        equal(got.metadata(), sent);
        equal(got.contentType(), "text/x-test; charset=utf-8");
        equal(got.cacheControl(), "max-age=60");
        equal(got.contentLanguage(), "de");
        equal(got.contentDisposition(), "attachment; filename=\"x.txt\"");
    }

    private Map<String, String> tags() {
        var tags = new HashMap<String, String>();
        S3.getObjectTagging(r -> r.bucket(BUCKET).key("tagging")).tagSet().forEach(t -> tags.put(t.key(), t.value()));
        return tags;
    }

    private void tagging() {
        S3.putObject(
                r -> r.bucket(BUCKET).key("tagging").tagging("team=blue&cost=a%20b"),
                RequestBody.fromBytes(blob(10, 11)));
        equal(tags(), Map.of("team", "blue", "cost", "a b"));
        S3.putObjectTagging(r -> r.bucket(BUCKET).key("tagging")
                .tagging(t -> t.tagSet(Tag.builder().key("only").value("one").build())));
        equal(tags(), Map.of("only", "one"));
        same(read("tagging"), blob(10, 11));
        S3.deleteObjectTagging(r -> r.bucket(BUCKET).key("tagging"));
        equal(tags(), Map.of());
    }

    private void presignGet() throws Exception {
        put("presign get", blob(2000, 12));
        var signed = PRESIGNER.presignGetObject(r -> r.signatureDuration(Duration.ofMinutes(1))
                .getObjectRequest(g -> g.bucket(BUCKET).key("presign get")));
        same(httpGet(signed.url()), blob(2000, 12));
    }

    private void presignPut() throws Exception {
        var signed = PRESIGNER.presignPutObject(r -> r.signatureDuration(Duration.ofMinutes(1))
                .putObjectRequest(g -> g.bucket(BUCKET).key("presign put")));
        httpPut(signed.url(), blob(2000, 13));
        same(read("presign put"), blob(2000, 13));
    }

    private PutObjectResponse write(String ifMatch, String ifNoneMatch) {
        return S3.putObject(
                r -> r.bucket(BUCKET).key("conditional").ifMatch(ifMatch).ifNoneMatch(ifNoneMatch),
                RequestBody.fromBytes(blob(10, 14)));
    }

    private void conditional() throws Exception {
        S3.deleteObject(r -> r.bucket(BUCKET).key("conditional"));
        String etag = write(null, "*").eTag();
        refused(() -> write(null, "*"), "PreconditionFailed", 412);
        refused(() -> write("\"00000000000000000000000000000000\"", null), "PreconditionFailed", 412);
        S3.getObjectAsBytes(r -> r.bucket(BUCKET).key("conditional").ifMatch(etag));
        refused(() -> S3.getObjectAsBytes(r -> r.bucket(BUCKET).key("conditional").ifNoneMatch(etag)), "NotModified", 304);
        refused(() -> S3.getObjectAsBytes(r -> r.bucket(BUCKET).key("conditional").ifMatch("\"other\"")), "PreconditionFailed", 412);
        write(etag, null);
    }

    private void checksums() throws Exception {
        for (var algorithm : List.of(ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32_C, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256)) {
            S3.putObject(
                    r -> r.bucket(BUCKET).key("checksums").checksumAlgorithm(algorithm),
                    RequestBody.fromBytes(blob(30_000, 15)));
            var got = S3.getObjectAsBytes(r -> r.bucket(BUCKET).key("checksums").checksumMode(ChecksumMode.ENABLED));
            var said = got.response();
            var value = switch (algorithm) {
                case CRC32 -> said.checksumCRC32();
                case CRC32_C -> said.checksumCRC32C();
                case SHA1 -> said.checksumSHA1();
                default -> said.checksumSHA256();
            };
            check(value != null, algorithm + " is not given back");
            same(got.asByteArray(), blob(30_000, 15));
        }
        refused(
                () -> S3.putObject(
                        r -> r.bucket(BUCKET).key("checksums").checksumCRC32C("AAAAAA=="),
                        RequestBody.fromBytes(blob(9, 0))),
                "BadDigest", -1);
        same(read("checksums"), blob(30_000, 15));
    }

    private void versioning() throws Exception {
        String bucket = BUCKET + "-versions";
        S3.createBucket(r -> r.bucket(bucket));
        S3.putBucketVersioning(
                r -> r.bucket(bucket).versioningConfiguration(v -> v.status(BucketVersioningStatus.ENABLED)));
        equal(S3.getBucketVersioning(r -> r.bucket(bucket)).status(), BucketVersioningStatus.ENABLED);
        var ids = new ArrayList<String>();
        for (int n = 1; n <= 2; n++) {
            var body = RequestBody.fromBytes(blob(20_000 + n, n));
            ids.add(S3.putObject(r -> r.bucket(bucket).key("v"), body).versionId());
        }
        var found = S3.listObjectVersions(r -> r.bucket(bucket)).versions();
        equal(found.stream().map(v -> v.versionId()).toList(), List.of(ids.get(1), ids.get(0)));
        equal(found.stream().map(v -> v.size()).toList(), List.of(20_002L, 20_001L));
        same(S3.getObjectAsBytes(r -> r.bucket(bucket).key("v").versionId(ids.get(0))).asByteArray(), blob(20_001, 1));
        var gone = S3.deleteObject(r -> r.bucket(bucket).key("v"));
        equal(gone.deleteMarker(), true);
        refused(() -> S3.getObjectAsBytes(r -> r.bucket(bucket).key("v")), "NoSuchKey", 404);
        ids.add(gone.versionId());
        for (String id : ids) {
            S3.deleteObject(r -> r.bucket(bucket).key("v").versionId(id));
        }
        S3.deleteBucket(r -> r.bucket(bucket));
    }
}
