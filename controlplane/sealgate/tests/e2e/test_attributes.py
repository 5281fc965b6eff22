"""GetObjectAttributes, checksums of multipart objects, part numbers where objects are not encrypted, and reads of
plaintext objects in encrypted buckets."""

import base64
import functools
import hashlib
import zlib

import pytest

from harness import DIRECT, checksums
from harness.data import CHUNK, PART, blob
from harness.expect import multipart, read, refused, same
from harness.gateway import BUCKETS

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def composite(parts: list[bytes]) -> str:
    joined = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    return f"{crc32(joined)}-{len(parts)}"


@functools.cache
def encoded(algorithm: str, data: bytes) -> str:
    # Plain Python takes a second for a part.
    return checksums.encoded(algorithm, data)


def attributes(s3, bucket, key, wanted=None, **options):
    return s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=wanted or ALL, **options)


def test_attributes_of_a_single_put(s3, bucket, prefix):
    key, body = f"{prefix}k", blob(CHUNK + 5)
    put = s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="CRC32")
    got = attributes(s3, bucket, key)
    assert (got["ObjectSize"], got["StorageClass"]) == (len(body), "STANDARD")
    # Without quotes: so S3 has it, here alone.
    assert got["ETag"] == put["ETag"].strip('"')
    assert "ObjectParts" not in got
    assert got["LastModified"] == s3.head_object(Bucket=bucket, Key=key)["LastModified"]
    if not DIRECT:
        assert got["Checksum"] == {"ChecksumCRC32": crc32(body), "ChecksumType": "FULL_OBJECT"}
    only = attributes(s3, bucket, key, ["ObjectSize"])
    assert only["ObjectSize"] == len(body) and not {"ETag", "StorageClass", "Checksum"} & set(only)


def test_attributes_of_parts_are_paged(s3, bucket, prefix):
    key = f"{prefix}k"
    parts = [blob(PART, "1"), blob(PART + CHUNK + 1, "2"), blob(77, "3")]
    multipart(s3, bucket, key, dict(enumerate(parts, 1)))
    got = attributes(s3, bucket, key)
    assert got["ObjectSize"] == sum(map(len, parts))
    assert got["ObjectParts"]["TotalPartsCount"] == 3
    sizes = [(p["PartNumber"], p["Size"]) for p in got["ObjectParts"]["Parts"]]
    assert sizes == [(n, len(part)) for n, part in enumerate(parts, 1)]
    found, marker = [], 0
    while True:
        page = attributes(s3, bucket, key, ["ObjectParts"], MaxParts=2, PartNumberMarker=marker)["ObjectParts"]
        assert page["MaxParts"] == 2 and page["PartNumberMarker"] == marker
        found += [(p["PartNumber"], p["Size"]) for p in page["Parts"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
        assert marker == found[-1][0]
    assert found == sizes


@pytest.mark.gateway
def test_attributes_have_to_be_named(s3, wire, bucket, prefix):
    key = f"{prefix}k"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for headers, code in (({}, "InvalidRequest"), ({"x-amz-object-attributes": "ETag,Colour"}, "InvalidArgument")):
        answer = wire.request("GET", f"/{bucket}/{key}?attributes", headers=headers)
        assert (answer.status, answer.code) == (400, code)
    with refused("NoSuchKey", status=404):
        attributes(s3, bucket, f"{key}2")


def test_attributes_of_objects_that_are_not_encrypted(s3, place, prefix):
    bucket, key = place.bucket("clear-attributes"), f"{prefix}k"
    etag = s3.put_object(Bucket=bucket, Key=key, Body=b"clear")["ETag"]
    got = attributes(s3, bucket, key)
    assert (got["ObjectSize"], got["ETag"]) == (5, etag.strip('"'))


# Checksums of multipart objects.


def upload(s3, bucket, key, parts, algorithm="CRC32", create=None, **complete):
    """An upload whose parts have checksums, completed with them as SDKs do."""
    create = {"ChecksumAlgorithm": algorithm} if create is None else create
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **create)["UploadId"]
    name = f"Checksum{algorithm}"
    done = []
    for number, part in enumerate(parts, 1):
        value = {name: encoded(algorithm, part)}
        sent = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=part, **value)
        assert DIRECT or sent[name] == value[name]
        done.append({"PartNumber": number, "ETag": sent["ETag"], **value})
    change = complete.pop("change", lambda parts: parts)
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": change(done)}, **complete
    )


PARTS = [blob(PART, "one"), blob(CHUNK + 3, "two")]


def test_checksums_of_parts_make_the_objects(s3, bucket, prefix):
    key = f"{prefix}k"
    done = upload(s3, bucket, key, PARTS)
    expected = composite(PARTS)
    assert DIRECT or (done["ChecksumCRC32"], done["ChecksumType"]) == (expected, "COMPOSITE")
    same(read(s3, bucket, key), b"".join(PARTS))
    for answer in (
        s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED"),
        s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED"),
        *([] if DIRECT else [attributes(s3, bucket, key)["Checksum"]]),
    ):
        assert DIRECT or (answer["ChecksumCRC32"], answer["ChecksumType"]) == (expected, "COMPOSITE")


@pytest.mark.gateway
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_full_checksums_of_multipart_objects(s3, bucket, prefix, algorithm):
    key = f"{prefix}k"
    whole = encoded(algorithm, b"".join(PARTS))
    name = f"Checksum{algorithm}"
    full = {"create": {"ChecksumAlgorithm": algorithm, "ChecksumType": "FULL_OBJECT"}, "ChecksumType": "FULL_OBJECT"}
    done = upload(s3, bucket, key, PARTS, algorithm, **full, **{name: whole})
    assert (done[name], done["ChecksumType"]) == (whole, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (whole, "FULL_OBJECT")
    # boto3 verifies it on the way.
    same(read(s3, bucket, key, ChecksumMode="ENABLED"), b"".join(PARTS))
    with refused("BadDigest", status=400):
        wrong = encoded(algorithm, b"other")
        upload(s3, bucket, f"{key}2", PARTS, algorithm, **full, **{name: wrong})


@pytest.mark.gateway
def test_no_checksum_of_a_part_is_believed(s3, bucket, prefix):
    key = f"{prefix}k"

    def swapped(parts):
        return [{**parts[0], "ChecksumCRC32": parts[1]["ChecksumCRC32"]}, parts[1]]

    def unproved(parts):
        # As ListParts shows it: the ETag that proves the checksum is the one of the upload's answer.
        return [{**p, "ETag": '"' + p["ETag"].strip('"').rpartition(".")[0] + '"'} for p in parts]

    def forged(parts):
        return [{**parts[0], "ETag": parts[0]["ETag"][:-3] + 'AA"'}, parts[1]]

    def bare(parts):
        return [{"PartNumber": p["PartNumber"], "ETag": e["ETag"]} for p, e in zip(parts, unproved(parts))]

    for change, code in ((swapped, "InvalidPart"), (unproved, "InvalidRequest"), (forged, "InvalidPart")):
        with refused(code, status=400):
            upload(s3, bucket, key, PARTS, change=change)
    with refused("InvalidRequest", status=400):
        upload(s3, bucket, key, PARTS, change=bare, ChecksumCRC32=crc32(b"".join(PARTS)))
    with refused("InvalidRequest", status=400):
        upload(s3, bucket, key, PARTS, MpuObjectSize=7)
    with refused("404", status=404):
        s3.head_object(Bucket=bucket, Key=key)
    # Without a claim there is nothing to check, and no checksum.
    done = upload(s3, bucket, key, PARTS, change=bare, MpuObjectSize=sum(map(len, PARTS)))
    assert "ChecksumCRC32" not in done
    same(read(s3, bucket, key), b"".join(PARTS))


@pytest.mark.gateway
def test_transfers_of_boto3_have_checksums(s3, bucket, prefix, tmp_path):
    from boto3.s3.transfer import TransferConfig

    key, body = f"{prefix}k", blob(2 * PART + 9)
    (tmp_path / "up").write_bytes(body)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    s3.upload_file(str(tmp_path / "up"), bucket, key, Config=config)
    head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == composite([body[:PART], body[PART : 2 * PART], body[2 * PART :]])
    s3.download_file(bucket, key, str(tmp_path / "down"), Config=config)
    assert hashlib.sha256((tmp_path / "down").read_bytes()).digest() == hashlib.sha256(body).digest()


# Part numbers where objects are not encrypted.


def test_part_numbers_of_objects_that_are_not_encrypted(s3, place, prefix):
    bucket, key = place.bucket("clear-parts"), f"{prefix}k"
    s3.put_object(Bucket=bucket, Key=key, Body=b"single")
    got = s3.get_object(Bucket=bucket, Key=key, PartNumber=1)
    assert (got["Body"].read(), got["ContentLength"]) == (b"single", 6)
    with refused("InvalidPartNumber", status=416):
        s3.get_object(Bucket=bucket, Key=key, PartNumber=2)
    multipart(s3, bucket, f"{key}m", dict(enumerate(PARTS, 1)))
    if place.store == "fs":
        with refused("NotImplemented", status=501):
            s3.get_object(Bucket=bucket, Key=f"{key}m", PartNumber=2)
        return
    for number, part in enumerate(PARTS, 1):
        got = s3.get_object(Bucket=bucket, Key=f"{key}m", PartNumber=number)
        same(got["Body"].read(), part)
        head = s3.head_object(Bucket=bucket, Key=f"{key}m", PartNumber=number)
        for answer in (got, head):
            assert (answer["PartsCount"], answer["ContentLength"]) == (2, len(part))
    assert got["ContentRange"] == f"bytes {PART}-{PART + len(PARTS[1]) - 1}/{PART + len(PARTS[1])}"


# Plaintext in encrypted buckets.


MIXED = '[[buckets]]\nmatch = "mixed-*"\nkey = "main"\nlisting = "verify"\nplaintext_reads = true\n'


@pytest.fixture(scope="module")
def mixed(place):
    """A client of a gateway that reads plaintext where it finds it."""
    gateway = place.start_gateway("mixed", buckets=MIXED + BUCKETS)
    yield gateway.client()
    gateway.stop(5)


@pytest.mark.gateway
class TestPlaintext:
    @pytest.fixture
    def plain(self, place, prefix):
        """An object from before the gateway: (bucket, key, bytes)."""
        bucket, key, body = place.bucket("mixed-bucket"), f"{prefix}k", blob(CHUNK + 100, "plain")
        place.bucket("clear-source")
        # Through a rule that does not encrypt, and then by the store's own hands to where objects are.
        place.s3.put_object(
            Bucket="clear-source", Key=key, Body=body, ContentType="text/x", Metadata={"who": "before"}
        )
        raw = place.raw()
        raw.put(bucket, key, raw.get("clear-source", key))
        return bucket, key, body

    def test_it_is_refused_without_leave(self, s3, plain):
        bucket, key, _ = plain
        for read_it in (
            lambda: s3.get_object(Bucket=bucket, Key=key),
            lambda: s3.copy_object(Bucket=bucket, Key=f"{key}2", CopySource={"Bucket": bucket, "Key": key}),
            lambda: attributes(s3, bucket, key),
        ):
            with refused("InvalidObjectState", status=403):
                read_it()

    def test_it_is_read_as_it_is(self, mixed, plain):
        bucket, key, body = plain
        got = mixed.get_object(Bucket=bucket, Key=key)
        same(got["Body"].read(), body)
        assert (got["ContentType"], got["Metadata"]) == ("text/x", {"who": "before"})
        assert "ServerSideEncryption" not in got
        head = mixed.head_object(Bucket=bucket, Key=key, IfMatch=got["ETag"])
        for answer in (got, head):
            assert answer["ResponseMetadata"]["HTTPHeaders"]["x-sealgate-plaintext"] == "true"
        assert head["ContentLength"] == len(body)
        same(read(mixed, bucket, key, Range="bytes=5-16390"), body[5:16391])
        same(read(mixed, bucket, key, Range="bytes=-9"), body[-9:])
        with refused("InvalidRange", status=416):
            read(mixed, bucket, key, Range=f"bytes={len(body)}-")
        with refused("PreconditionFailed", status=412):
            read(mixed, bucket, key, IfMatch='"other"')
        with refused("304", status=304):
            read(mixed, bucket, key, IfNoneMatch=got["ETag"])
        (listed,) = mixed.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
        assert (listed["Size"], listed["ETag"]) == (len(body), got["ETag"])
        got = attributes(mixed, bucket, key)
        assert (got["ObjectSize"], got["ETag"]) == (len(body), listed["ETag"].strip('"'))

    def test_sealed_objects_are_read_as_ever(self, mixed, plain):
        bucket, key, body = plain
        etag = mixed.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
        got = mixed.get_object(Bucket=bucket, Key=key, IfMatch=etag)
        same(got["Body"].read(), body)
        assert got["ServerSideEncryption"] == "aws:kms"
        assert "x-sealgate-plaintext" not in got["ResponseMetadata"]["HTTPHeaders"]
        for condition, code in (({"IfMatch": '"other"'}, "PreconditionFailed"), ({"IfNoneMatch": etag}, "304")):
            with refused(code):
                mixed.get_object(Bucket=bucket, Key=key, **condition)

    def test_copies_seal_it(self, mixed, s3, place, plain):
        bucket, key, body = plain
        source = {"Bucket": bucket, "Key": key}
        mixed.copy_object(Bucket=bucket, Key=f"{key}2", CopySource=source)
        got = s3.get_object(Bucket=bucket, Key=f"{key}2")
        same(got["Body"].read(), body)
        assert (got["ContentType"], got["Metadata"]) == ("text/x", {"who": "before"})
        # Onto itself: that changes how it is encrypted, so S3 allows it too.
        mixed.copy_object(Bucket=bucket, Key=key, CopySource=source)
        same(read(s3, bucket, key), body)
        assert body[:32] not in place.raw().get(bucket, key).body
        with refused("InvalidRequest", status=400):
            mixed.copy_object(Bucket=bucket, Key=key, CopySource=source)

    def test_parts_out_of_it(self, mixed, s3, plain):
        bucket, key, body = plain
        upload_id = mixed.create_multipart_upload(Bucket=bucket, Key=f"{key}3")["UploadId"]
        copied = mixed.upload_part_copy(
            Bucket=bucket,
            Key=f"{key}3",
            UploadId=upload_id,
            PartNumber=1,
            CopySource={"Bucket": bucket, "Key": key},
            CopySourceRange="bytes=7-16400",
        )
        part = {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}
        mixed.complete_multipart_upload(
            Bucket=bucket, Key=f"{key}3", UploadId=upload_id, MultipartUpload={"Parts": [part]}
        )
        same(read(s3, bucket, f"{key}3"), body[7:16401])
