"""Conditional reads and writes."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from harness.data import PART, blob
from harness.expect import missing, multipart, read, refused

OTHER = '"0123456789abcdef0123456789abcdef"'


@pytest.fixture
def stored(s3, bucket, prefix):
    key = f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=key, Body=b"first")
    return key, s3.head_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize("verb", ["get_object", "head_object"])
def test_read_conditions(s3, bucket, stored, verb):
    key, head = stored
    call = getattr(s3, verb)
    etag, modified = head["ETag"], head["LastModified"]
    failed = ("PreconditionFailed", "412")
    call(Bucket=bucket, Key=key, IfMatch=etag)
    call(Bucket=bucket, Key=key, IfNoneMatch=OTHER)
    call(Bucket=bucket, Key=key, IfModifiedSince=modified - timedelta(hours=1))
    call(Bucket=bucket, Key=key, IfUnmodifiedSince=modified + timedelta(hours=1))
    with refused(*failed, status=412):
        call(Bucket=bucket, Key=key, IfMatch=OTHER)
    with refused("304", "NotModified", status=304):
        call(Bucket=bucket, Key=key, IfNoneMatch=etag)
    with refused("304", "NotModified", status=304):
        call(Bucket=bucket, Key=key, IfModifiedSince=modified + timedelta(seconds=1) - timedelta(seconds=1))
    with refused(*failed, status=412):
        call(Bucket=bucket, Key=key, IfUnmodifiedSince=modified - timedelta(hours=1))
    # If-Match decides over If-Unmodified-Since, If-None-Match over If-Modified-Since (RFC 9110).
    call(Bucket=bucket, Key=key, IfMatch=etag, IfUnmodifiedSince=modified - timedelta(hours=1))
    with refused("304", "NotModified", status=304):
        call(Bucket=bucket, Key=key, IfNoneMatch=etag, IfModifiedSince=modified - timedelta(hours=1))


def test_etag_list_and_star_on_read(wire, s3, bucket, stored):
    key, head = stored
    etag = head["ETag"]
    assert wire.request("GET", f"/{bucket}/{key}", {"If-Match": "*"}).status == 200
    assert wire.request("GET", f"/{bucket}/{key}", {"If-None-Match": "*"}).status == 304
    assert wire.request("GET", f"/{bucket}/{key}", {"If-Match": etag.strip('"')}).status == 200


@pytest.mark.gateway
def test_etag_list_on_read(wire, bucket, stored):
    key, head = stored
    etag = head["ETag"]
    assert wire.request("GET", f"/{bucket}/{key}", {"If-Match": f'"x", {etag}'}).status == 200
    assert wire.request("GET", f"/{bucket}/{key}", {"If-None-Match": f"{OTHER}, {etag}"}).status == 304


def test_not_modified_has_no_body_and_keeps_the_connection(wire, bucket, stored):
    key, head = stored
    with wire.connect() as connection:
        for _ in range(2):
            signed = wire.signed(connection, "GET", f"/{bucket}/{key}", {"If-None-Match": head["ETag"]})
            connection.send(connection.head("GET", f"/{bucket}/{key}", signed.headers))
            answer = connection.answer()
            assert answer.status == 304 and answer.headers["etag"] == head["ETag"]
        signed = wire.signed(connection, "GET", f"/{bucket}/{key}")
        connection.send(connection.head("GET", f"/{bucket}/{key}", signed.headers))
        assert connection.answer().body == b"first"


def test_put_if_none_match_star(s3, bucket, prefix, stored):
    key, _ = stored
    s3.put_object(Bucket=bucket, Key=f"{prefix}new", Body=b"new", IfNoneMatch="*")
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key=key, Body=b"second", IfNoneMatch="*")
    assert read(s3, bucket, key) == b"first"


def test_put_if_match(s3, bucket, prefix, stored):
    key, head = stored
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key=key, Body=b"second", IfMatch=OTHER)
    s3.put_object(Bucket=bucket, Key=key, Body=b"second", IfMatch=head["ETag"])
    assert read(s3, bucket, key) == b"second"
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=bucket, Key=key, Body=b"third", IfMatch=head["ETag"])
    with refused("NoSuchKey", "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key=f"{prefix}none", Body=b"x", IfMatch=head["ETag"])


def test_one_of_many_conditional_creators_wins(place, bucket, prefix):
    def work(number: int) -> bool:
        try:
            place.client().put_object(Bucket=bucket, Key=f"{prefix}lock", Body=b"%d" % number, IfNoneMatch="*")
            return True
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412), error
            return False

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(work, range(16)))
    assert sum(won) == 1
    assert read(place.s3, bucket, f"{prefix}lock") == b"%d" % won.index(True)


def test_complete_if_none_match_star(s3, bucket, prefix):
    key = f"{prefix}object"

    def complete(**options):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        etag = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
        s3.complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]},
            **options,
        )

    complete(IfNoneMatch="*")
    with refused("PreconditionFailed", status=412):
        complete(IfNoneMatch="*")
    assert read(s3, bucket, key) == b"part"


@pytest.mark.gateway
def test_complete_if_match(s3, bucket, prefix):
    key = f"{prefix}object"
    first = s3.put_object(Bucket=bucket, Key=key, Body=b"first")["ETag"]
    for etag, wins in ((OTHER, False), (first, True)):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"second")["ETag"]
        request = dict(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]},
            IfMatch=etag,
        )
        if wins:
            s3.complete_multipart_upload(**request)
        else:
            with refused("PreconditionFailed", status=412):
                s3.complete_multipart_upload(**request)
        assert read(s3, bucket, key) == (b"second" if wins else b"first")


def test_copy_source_conditions(s3, bucket, prefix, stored):
    key, head = stored
    source, etag, modified = {"Bucket": bucket, "Key": key}, head["ETag"], head["LastModified"]
    hour = timedelta(hours=1)
    for options in (
        {"CopySourceIfMatch": etag},
        {"CopySourceIfNoneMatch": OTHER},
        {"CopySourceIfModifiedSince": modified - hour},
        {"CopySourceIfUnmodifiedSince": modified + hour},
    ):
        s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource=source, **options)
    for number, options in enumerate(
        (
            {"CopySourceIfMatch": OTHER},
            {"CopySourceIfNoneMatch": etag},
            {"CopySourceIfUnmodifiedSince": modified - hour},
        )
    ):
        with refused("PreconditionFailed", status=412):
            s3.copy_object(Bucket=bucket, Key=f"{prefix}never{number}", CopySource=source, **options)
        missing(s3, bucket, f"{prefix}never{number}")


def test_conditions_on_multipart_objects(s3, bucket, prefix):
    key = f"{prefix}parts"
    etag = multipart(s3, bucket, key, {1: blob(PART), 2: b"end"})["ETag"]
    assert len(read(s3, bucket, key, IfMatch=etag)) == PART + 3
    with refused("304", status=304):
        s3.get_object(Bucket=bucket, Key=key, IfNoneMatch=etag)
    with refused("PreconditionFailed", status=412):
        s3.get_object(Bucket=bucket, Key=key, IfMatch=re.sub(r"-\d+\"$", '-0"', etag))


@pytest.mark.gateway
def test_delete_if_match(s3, bucket, stored):
    key, head = stored
    with refused("PreconditionFailed", status=412):
        s3.delete_object(Bucket=bucket, Key=key, IfMatch=OTHER)
    assert read(s3, bucket, key) == b"first"
    s3.delete_object(Bucket=bucket, Key=key, IfMatch=head["ETag"])
    missing(s3, bucket, key)
