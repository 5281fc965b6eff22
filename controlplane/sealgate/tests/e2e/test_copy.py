"""CopyObject by re-wrapping, UploadPartCopy by transcoding."""

import pytest

from harness import DIRECT
from harness.data import CHUNK, MIB, PART, blob
from harness.expect import listed, missing, multipart, read, refused, same

SOURCE_HEADERS = {"ContentType": "text/x-source", "CacheControl": "max-age=1", "Metadata": {"origin": "source"}}


@pytest.fixture
def source(s3, bucket, prefix):
    key, data = f"{prefix}source key+ü%", blob(3 * CHUNK + 5, "copy")
    s3.put_object(Bucket=bucket, Key=key, Body=data, **SOURCE_HEADERS)
    return key, data


def test_copy_keeps_metadata(s3, bucket, prefix, source):
    key, data = source
    done = s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": key})
    got = s3.get_object(Bucket=bucket, Key=f"{prefix}copy")
    same(got["Body"].read(), data)
    assert got["Metadata"] == {"origin": "source"}
    assert got["ContentType"] == "text/x-source" and got["CacheControl"] == "max-age=1"
    # (SeaweedFS itself leaves the quotes out of its answer to a copy.)
    etag = done["CopyObjectResult"]["ETag"] if not DIRECT else got["ETag"]
    assert got["ETag"] == etag == listed(s3, bucket, f"{prefix}copy")[0]["ETag"]


def test_copy_replaces_metadata(s3, bucket, prefix, source):
    key, data = source
    s3.copy_object(
        Bucket=bucket,
        Key=f"{prefix}copy",
        CopySource={"Bucket": bucket, "Key": key},
        MetadataDirective="REPLACE",
        Metadata={"new": "value"},
        ContentType="text/x-new",
    )
    got = s3.get_object(Bucket=bucket, Key=f"{prefix}copy")
    same(got["Body"].read(), data)
    assert got["Metadata"] == {"new": "value"}
    assert got["ContentType"] == "text/x-new" and "CacheControl" not in got


def test_metadata_of_a_copy_request_is_ignored_without_replace(s3, bucket, prefix, source):
    key, _ = source
    s3.copy_object(
        Bucket=bucket,
        Key=f"{prefix}copy",
        CopySource={"Bucket": bucket, "Key": key},
        MetadataDirective="COPY",
        Metadata={"new": "value"},
    )
    assert s3.head_object(Bucket=bucket, Key=f"{prefix}copy")["Metadata"] == {"origin": "source"}


def test_self_copy_with_replace(s3, bucket, source):
    key, data = source
    s3.copy_object(
        Bucket=bucket,
        Key=key,
        CopySource={"Bucket": bucket, "Key": key},
        MetadataDirective="REPLACE",
        Metadata={"round": "2"},
        ContentType="text/x-again",
    )
    got = s3.get_object(Bucket=bucket, Key=key)
    same(got["Body"].read(), data)
    assert got["Metadata"] == {"round": "2"} and got["ContentType"] == "text/x-again"
    head, (entry,) = s3.head_object(Bucket=bucket, Key=key), listed(s3, bucket, key)
    assert head["ETag"] == entry["ETag"] == got["ETag"] and entry["Size"] == len(data)


def test_self_copy_without_change_is_refused(s3, bucket, source):
    with refused("InvalidRequest", status=400):
        s3.copy_object(Bucket=bucket, Key=source[0], CopySource={"Bucket": bucket, "Key": source[0]})


@pytest.mark.parametrize("sizes", [[PART, PART + 9, 17], [PART], [3]], ids=str)
def test_copy_of_a_multipart_object(s3, bucket, prefix, sizes):
    pieces = {n: blob(size, n) for n, size in enumerate(sizes, 1)}
    data = b"".join(pieces.values())
    multipart(s3, bucket, f"{prefix}parts", pieces, Metadata={"a": "b"})
    s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": f"{prefix}parts"})
    got = s3.get_object(Bucket=bucket, Key=f"{prefix}copy")
    same(got["Body"].read(), data)
    assert got["Metadata"] == {"a": "b"}
    assert listed(s3, bucket, f"{prefix}copy")[0]["Size"] == len(data)
    middle = s3.get_object(Bucket=bucket, Key=f"{prefix}copy", Range=f"bytes={len(data) // 2}-")["Body"].read()
    same(middle, data[len(data) // 2 :])


def test_chain_of_copies(s3, bucket, prefix, source):
    key, data = source
    for step in range(4):
        s3.copy_object(Bucket=bucket, Key=f"{prefix}step{step}", CopySource={"Bucket": bucket, "Key": key})
        s3.delete_object(Bucket=bucket, Key=key)
        key = f"{prefix}step{step}"
    same(read(s3, bucket, key), data)


def test_copy_between_buckets(s3, place, bucket, prefix, source):
    other = place.bucket("e2e-other")
    s3.copy_object(Bucket=other, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": source[0]})
    same(read(s3, other, f"{prefix}copy"), source[1])


@pytest.mark.parametrize("pieces", [{}, {1: b""}, {1: blob(PART), 2: b""}], ids=["single", "parts", "end"])
def test_empty_objects_and_empty_ends_can_be_copied_and_become_parts(s3, place, bucket, prefix, pieces):
    key, data = f"{prefix}source", b"".join(pieces.values())
    if pieces:
        multipart(s3, bucket, key, pieces)
    else:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    source, target = {"Bucket": bucket, "Key": key}, {"Bucket": bucket, "Key": f"{prefix}part"}
    upload = s3.create_multipart_upload(**target)["UploadId"]
    part = s3.upload_part_copy(**target, UploadId=upload, PartNumber=1, CopySource=source)["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(
        **target, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}
    )
    same(read(s3, **{"bucket": bucket, "key": target["Key"]}), data)
    other = place.bucket("clear-copy")
    s3.copy_object(Bucket=other, Key=f"{prefix}copy", CopySource=source)
    same(read(s3, other, f"{prefix}copy"), data)


@pytest.mark.gateway
@pytest.mark.parametrize("target", ["bound-copy", "unbound-copy", "plainmeta-copy", "clear-copy"])
def test_copy_between_policies(s3, place, bucket, prefix, source, target):
    """The copy follows the policy of where it goes."""
    other = place.bucket(target)
    s3.copy_object(Bucket=other, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": source[0]})
    got = s3.get_object(Bucket=other, Key=f"{prefix}copy")
    same(got["Body"].read(), source[1])
    assert got["Metadata"] == {"origin": "source"}
    assert listed(s3, other, prefix)[0]["Size"] == len(source[1])
    raw = place.raw().get(other, f"{prefix}copy")
    assert (raw.body == source[1]) == (target == "clear-copy")
    # And back again.
    s3.copy_object(Bucket=bucket, Key=f"{prefix}back", CopySource={"Bucket": other, "Key": f"{prefix}copy"})
    same(read(s3, bucket, f"{prefix}back"), source[1])
    assert place.raw().get(bucket, f"{prefix}back").body != source[1]


def test_copy_of_nothing(s3, bucket, prefix):
    with refused("NoSuchKey", status=404):
        s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": f"{prefix}nothing"})
    missing(s3, bucket, f"{prefix}copy")


@pytest.mark.gateway
def test_bad_copy_sources(wire, bucket, prefix):
    for value in ("", "/", "nobucketkey", "/b", "%zz/x", f"{bucket}/"):
        answer = wire.request("PUT", f"/{bucket}/{prefix}copy", {"x-amz-copy-source": value})
        assert answer.status in (400, 404), f"{value!r}: {answer}"
    answer = wire.request(
        "PUT", f"/{bucket}/{prefix}copy", {"x-amz-copy-source": f"{bucket}/x", "x-amz-metadata-directive": "BOTH"}
    )
    assert (answer.status, answer.code) == (400, "InvalidArgument"), answer


@pytest.mark.parametrize("from_parts", [False, True], ids=["single", "multipart"])
def test_upload_part_copy_with_ranges(s3, bucket, prefix, from_parts):
    data = blob(13 * MIB + 77, "part copy")
    if from_parts:
        multipart(s3, bucket, f"{prefix}src", {1: data[: 6 * MIB], 2: data[6 * MIB :]})
    else:
        s3.put_object(Bucket=bucket, Key=f"{prefix}src", Body=data)
    source, at = {"Bucket": bucket, "Key": f"{prefix}src"}, {"Bucket": bucket, "Key": f"{prefix}dst"}
    upload = s3.create_multipart_upload(**at)["UploadId"]
    parts = []

    def copy(number, **options):
        answer = s3.upload_part_copy(**at, UploadId=upload, PartNumber=number, CopySource=source, **options)
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})

    copy(1)
    copy(2, CopySourceRange=f"bytes=3-{3 + PART}")
    etag = s3.upload_part(**at, UploadId=upload, PartNumber=3, Body=blob(PART, "own"))["ETag"]
    parts.append({"PartNumber": 3, "ETag": etag})
    copy(4, CopySourceRange=f"bytes={len(data) - 5}-{len(data) - 1}")
    listed_sizes = [p["Size"] for p in s3.list_parts(**at, UploadId=upload)["Parts"]]
    assert listed_sizes == [len(data), PART + 1, PART, 5]
    s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    same(read(s3, bucket, f"{prefix}dst"), data + data[3 : 4 + PART] + blob(PART, "own") + data[-5:])


@pytest.mark.gateway
def test_upload_part_copy_refusals(s3, bucket, prefix, source):
    at = {"Bucket": bucket, "Key": f"{prefix}dst"}
    upload = s3.create_multipart_upload(**at)["UploadId"]
    common = {**at, "UploadId": upload, "PartNumber": 1}
    here = {"Bucket": bucket, "Key": source[0]}
    with refused("InvalidRange", "InvalidArgument", "InvalidRequest"):
        s3.upload_part_copy(**common, CopySource=here, CopySourceRange=f"bytes=0-{len(source[1])}")
    with refused("InvalidArgument", "InvalidRange", "InvalidRequest", status=400):
        s3.upload_part_copy(**common, CopySource=here, CopySourceRange="bytes=5-")
    with refused("NoSuchKey", status=404):
        s3.upload_part_copy(**common, CopySource={"Bucket": bucket, "Key": f"{prefix}nothing"})
    with refused("PreconditionFailed", status=412):
        s3.upload_part_copy(**common, CopySource=here, CopySourceIfMatch='"other"')
    assert not s3.list_parts(**at, UploadId=upload).get("Parts")
    s3.abort_multipart_upload(**at, UploadId=upload)
