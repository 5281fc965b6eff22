"""Assertions that several files share."""

from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError

from .data import digest


@contextmanager
def refused(*codes: str, status: int | None = None):
    """The block must end in an S3 error with one of these codes (HEAD has only the status as code)."""
    with pytest.raises(ClientError) as caught:
        yield caught
    error = caught.value.response
    assert error["Error"]["Code"] in codes, f"expected {codes}, got {error}"
    if status is not None:
        assert error["ResponseMetadata"]["HTTPStatusCode"] == status, error


def same(got: bytes, expected: bytes) -> None:
    """Equality of data, without printing it."""
    assert digest(got) == digest(expected)


def read(s3, bucket: str, key: str, **options) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def listed(s3, bucket: str, prefix: str = "", **options) -> list[dict]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **options)
    return [o for page in pages for o in page.get("Contents", [])]


def missing(s3, bucket: str, key: str) -> None:
    """The key holds nothing, by HEAD and by listing."""
    with refused("404", status=404):
        s3.head_object(Bucket=bucket, Key=key)
    assert not [o for o in listed(s3, bucket, key) if o["Key"] == key]


def multipart(s3, bucket: str, key: str, parts: dict[int, bytes], order=None, **create) -> dict:
    """A whole multipart upload; `order` is the order of sending, by part number."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **create)["UploadId"]
    etags = {}
    for number in order or sorted(parts):
        etags[number] = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=parts[number]
        )["ETag"]
    return s3.complete_multipart_upload(
        Bucket=bucket,
        Key=key,
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etags[n]} for n in sorted(parts)]},
    )
