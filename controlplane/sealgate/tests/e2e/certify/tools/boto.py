"""boto3, in this process."""

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from ..cases import LIBRARY, ODD_KEYS, PART, Target, Tool, blob, check, equal, same

MULTI = [blob(PART, "m1"), blob(1000, "m2")]


def refused(call, code: str, **options) -> None:
    try:
        call(**options)
    except ClientError as e:
        equal(e.response["Error"]["Code"], code)
    else:
        check(False, f"succeeded, expected {code}")


def client(endpoint: str, access: str, secret: str, **config):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            retries={"total_max_attempts": 2},
            connect_timeout=5,
            read_timeout=60,
            **config,
        ),
    )


class Boto3(Tool):
    name, title, absent = "boto3", "boto3", LIBRARY

    def version(self) -> str:
        return boto3.__version__

    def bucket(self, t: Target) -> None:
        name = f"{t.bucket}-new"
        t.s3.create_bucket(Bucket=name)
        t.s3.head_bucket(Bucket=name)
        check(name in [b["Name"] for b in t.s3.list_buckets()["Buckets"]], "the new bucket is not listed")
        t.s3.delete_bucket(Bucket=name)
        refused(t.s3.head_bucket, "404", Bucket=name)

    def round_trip(self, t: Target, size: int) -> None:
        key = f"put/{size}"
        answer = t.put(key, blob(size, "put"))
        check(answer.get("ETag"), "PutObject answered without an ETag")
        same(t.read(key), blob(size, "put"))

    def put_small(self, t: Target) -> None:
        self.round_trip(t, 1000)

    def put_empty(self, t: Target) -> None:
        self.round_trip(t, 0)

    def put_large(self, t: Target) -> None:
        self.round_trip(t, 12 << 20)
        # The transfer manager, which makes parts of its own and reads ranges of its own.
        t.file("large", blob(20 << 20, "large"))
        t.s3.upload_file(str(t.folder / "large"), t.bucket, "put/managed")
        t.s3.download_file(t.bucket, "put/managed", str(t.folder / "back"))
        same((t.folder / "back").read_bytes(), blob(20 << 20, "large"))

    def multipart(self, t: Target) -> None:
        upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="multipart")["UploadId"]
        which = {"Bucket": t.bucket, "Key": "multipart", "UploadId": upload}
        done = []
        for number, data in enumerate(MULTI, 1):
            sent = t.s3.upload_part(PartNumber=number, Body=data, **which)
            done.append({"PartNumber": number, "ETag": sent["ETag"]})
        equal([p["Size"] for p in t.s3.list_parts(**which)["Parts"]], [len(d) for d in MULTI])
        answer = t.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **which)
        check(answer.get("ETag"), "Complete answered without an ETag")
        same(t.read("multipart"), b"".join(MULTI))

    def abort(self, t: Target) -> None:
        upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="abort")["UploadId"]
        which = {"Bucket": t.bucket, "Key": "abort", "UploadId": upload}
        t.s3.upload_part(PartNumber=1, Body=MULTI[0], **which)
        t.s3.abort_multipart_upload(**which)
        left = t.s3.list_multipart_uploads(Bucket=t.bucket).get("Uploads", [])
        check("abort" not in [u["Key"] for u in left], "the aborted upload is still listed")
        refused(t.s3.get_object, "NoSuchKey", Bucket=t.bucket, Key="abort")

    def get(self, t: Target) -> None:
        etag = t.put("get", blob(100_000, "get"))["ETag"]
        got = t.s3.get_object(Bucket=t.bucket, Key="get")
        equal((got["ETag"], got["ContentLength"]), (etag, 100_000))
        same(got["Body"].read(), blob(100_000, "get"))
        refused(t.s3.get_object, "NoSuchKey", Bucket=t.bucket, Key="get-nothing")

    def ranges(self, t: Target) -> None:
        data = blob(40_000, "ranges")
        t.put("ranges", data)
        for text, piece in (
            ("bytes=0-9", data[:10]),
            ("bytes=16380-16390", data[16380:16391]),
            ("bytes=39990-", data[39990:]),
            ("bytes=-5", data[-5:]),
        ):
            got = t.s3.get_object(Bucket=t.bucket, Key="ranges", Range=text)
            equal(got["ContentRange"].split("/")[1], "40000")
            same(got["Body"].read(), piece)
        refused(t.s3.get_object, "InvalidRange", Bucket=t.bucket, Key="ranges", Range="bytes=40000-")

    def head(self, t: Target) -> None:
        etag = t.put("head", blob(70_000, "head"))["ETag"]
        head = t.s3.head_object(Bucket=t.bucket, Key="head")
        equal((head["ETag"], head["ContentLength"]), (etag, 70_000))
        refused(t.s3.head_object, "404", Bucket=t.bucket, Key="head-nothing")

    def list(self, t: Target) -> None:
        expected = {}
        for size, key in enumerate(ODD_KEYS, 10):
            t.put(key, blob(size))
            expected[key] = size
        for version in ("list_objects_v2", "list_objects"):
            pages = t.s3.get_paginator(version).paginate(Bucket=t.bucket, Prefix="odd/", PaginationConfig={"PageSize": 2})
            found = [(o["Key"], o["Size"]) for page in pages for o in page.get("Contents", [])]
            equal(dict(found), expected, version)
            equal(len(found), len(expected), version)
        page = t.s3.list_objects_v2(Bucket=t.bucket, Prefix="odd/", Delimiter="/")
        equal(sorted(p["Prefix"] for p in page["CommonPrefixes"]), ["odd/sub/", "odd/ü/"])
        equal(page["KeyCount"], 7)

    def copy(self, t: Target) -> None:
        t.put("copy source", blob(50_000, "copy"), Metadata={"colour": "blue"}, ContentType="text/x-copy")
        source = {"Bucket": t.bucket, "Key": "copy source"}
        t.s3.copy_object(Bucket=t.bucket, Key="copied", CopySource=source)
        same(t.read("copied"), blob(50_000, "copy"))
        head = t.s3.head_object(Bucket=t.bucket, Key="copied")
        equal((head["ContentType"], head["Metadata"]), ("text/x-copy", {"colour": "blue"}))
        t.s3.copy_object(
            Bucket=t.bucket, Key="copied", CopySource=source, MetadataDirective="REPLACE", Metadata={"colour": "red"}
        )
        equal(t.s3.head_object(Bucket=t.bucket, Key="copied")["Metadata"], {"colour": "red"})

    def copy_multipart(self, t: Target) -> None:
        data = blob(PART + 70_000, "parts")
        t.put("copy parts", data)
        upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key="copied parts")["UploadId"]
        which = {"Bucket": t.bucket, "Key": "copied parts", "UploadId": upload}
        done = []
        for number, (start, end) in enumerate([(0, PART), (PART, len(data))], 1):
            part = t.s3.upload_part_copy(
                PartNumber=number,
                CopySource={"Bucket": t.bucket, "Key": "copy parts"},
                CopySourceRange=f"bytes={start}-{end - 1}",
                **which,
            )
            done.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
        t.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **which)
        same(t.read("copied parts"), data)

    def delete_many(self, t: Target) -> None:
        keys = [f"many/{n} &" for n in range(10)]
        for key in keys[1:]:
            t.put(key, b"x")
        answer = t.s3.delete_objects(Bucket=t.bucket, Delete={"Objects": [{"Key": k} for k in keys]})
        equal(sorted(d["Key"] for d in answer["Deleted"]), keys)
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        sent = {
            "Metadata": {"colour": "blue", "a-longer-name": "with spaces, and =signs"},
            "ContentType": "text/x-test; charset=utf-8",
            "CacheControl": "max-age=60",
            "ContentLanguage": "de",
            "ContentDisposition": 'attachment; filename="x.txt"',
        }
        t.put("metadata", blob(10), **sent)
        head = t.s3.head_object(Bucket=t.bucket, Key="metadata")
        equal({name: head.get(name) for name in sent}, sent)

    def tagging(self, t: Target) -> None:
        def tags():
            return {x["Key"]: x["Value"] for x in t.s3.get_object_tagging(Bucket=t.bucket, Key="tagging")["TagSet"]}

        t.put("tagging", blob(10), Tagging="team=blue&cost=a%20b")
        equal(tags(), {"team": "blue", "cost": "a b"})
        t.s3.put_object_tagging(Bucket=t.bucket, Key="tagging", Tagging={"TagSet": [{"Key": "only", "Value": "one"}]})
        equal(tags(), {"only": "one"})
        same(t.read("tagging"), blob(10))
        t.s3.delete_object_tagging(Bucket=t.bucket, Key="tagging")
        equal(tags(), {})

    def presign_get(self, t: Target) -> None:
        t.put("presign get", blob(2000))
        url = t.s3.generate_presigned_url("get_object", Params={"Bucket": t.bucket, "Key": "presign get"})
        answer = requests.get(url, timeout=30)
        check(answer.ok, answer.text)
        same(answer.content, blob(2000))

    def presign_put(self, t: Target) -> None:
        url = t.s3.generate_presigned_url("put_object", Params={"Bucket": t.bucket, "Key": "presign put"})
        answer = requests.put(url, data=blob(2000), timeout=30)
        check(answer.ok, answer.text)
        same(t.read("presign put"), blob(2000))

    def conditional(self, t: Target) -> None:
        which = {"Bucket": t.bucket, "Key": "conditional"}
        t.s3.delete_object(**which)
        etag = t.s3.put_object(Body=b"1", IfNoneMatch="*", **which)["ETag"]
        refused(t.s3.put_object, "PreconditionFailed", Body=b"2", IfNoneMatch="*", **which)
        refused(t.s3.put_object, "PreconditionFailed", Body=b"2", IfMatch=f'"{"0" * 32}"', **which)
        t.s3.get_object(IfMatch=etag, **which)
        refused(t.s3.get_object, "304", IfNoneMatch=etag, **which)
        refused(t.s3.get_object, "PreconditionFailed", IfMatch='"other"', **which)
        t.s3.put_object(Body=b"3", IfMatch=etag, **which)
        equal(t.read("conditional"), b"3")

    def checksums(self, t: Target) -> None:
        which = {"Bucket": t.bucket, "Key": "checksums"}
        for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
            put = t.s3.put_object(Body=blob(30_000), ChecksumAlgorithm=algorithm, **which)
            got = t.s3.get_object(ChecksumMode="ENABLED", **which)
            check(got.get(f"Checksum{algorithm}"), f"{algorithm} is not given back")
            equal(got.get(f"Checksum{algorithm}"), put.get(f"Checksum{algorithm}"))
            same(got["Body"].read(), blob(30_000))
        refused(t.s3.put_object, "BadDigest", Body=blob(9), ChecksumCRC32C="AAAAAA==", **which)
        refused(t.s3.put_object, "BadDigest", Body=blob(9), ContentMD5="A" * 22 + "==", **which)
        same(t.read("checksums"), blob(30_000))

    def versioning(self, t: Target) -> None:
        bucket = f"{t.bucket}-versions"
        t.s3.create_bucket(Bucket=bucket)
        t.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        equal(t.s3.get_bucket_versioning(Bucket=bucket).get("Status"), "Enabled")
        which = {"Bucket": bucket, "Key": "v"}
        ids = [t.s3.put_object(Body=blob(20_000 + n), **which)["VersionId"] for n in (1, 2)]
        found = t.s3.list_object_versions(Bucket=bucket)
        equal([(v["VersionId"], v["Size"]) for v in found["Versions"]], [(ids[1], 20_002), (ids[0], 20_001)])
        same(t.s3.get_object(VersionId=ids[0], **which)["Body"].read(), blob(20_001))
        equal(t.s3.head_object(VersionId=ids[0], **which)["ContentLength"], 20_001)
        gone = t.s3.delete_object(**which)
        equal(gone.get("DeleteMarker"), True)
        refused(t.s3.get_object, "NoSuchKey", **which)
        for number in [*ids, gone["VersionId"]]:
            t.s3.delete_object(VersionId=number, **which)
        same_again = t.s3.list_object_versions(Bucket=bucket)
        check("Versions" not in same_again and "DeleteMarkers" not in same_again, "versions are left")
        t.s3.delete_bucket(Bucket=bucket)
