"""Buckets as such: pages of ListBuckets, their owner; and what public suites ask of answers about objects."""

import pytest

from harness import DIRECT
from harness.expect import multipart, refused


@pytest.fixture(scope="module")
def names(place):
    return [place.bucket(f"paged-{n}") for n in "abcd"]


@pytest.mark.gateway
def test_pages_of_buckets(s3, names):
    seen, more = [], {}
    for _ in range(9):
        page = s3.list_buckets(MaxBuckets=3, Prefix="paged-", **more)
        assert len(page["Buckets"]) <= 3 and page["Prefix"] == "paged-"
        seen += [b["Name"] for b in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        more = {"ContinuationToken": page["ContinuationToken"]}
    assert seen == names
    whole = s3.list_buckets()
    assert set(names) <= {b["Name"] for b in whole["Buckets"]} and "ContinuationToken" not in whole


@pytest.mark.gateway
@pytest.mark.parametrize("options", [{"MaxBuckets": 10_001}, {"ContinuationToken": "?"}])
def test_a_wrong_page_of_buckets(s3, options):
    with refused("InvalidArgument", status=400):
        s3.list_buckets(**options)


@pytest.mark.gateway
def test_the_owner_of_buckets_is_the_stores(place, s3, names):
    """A client puts it into the ACLs that it writes."""
    owner = s3.list_buckets()["Owner"]
    assert owner["ID"] == (place.weed.client().list_buckets()["Owner"]["ID"] if place.weed else "sealgate")


@pytest.mark.gateway
def test_a_completed_upload_says_where_it_is(place, s3, bucket, prefix):
    told = multipart(s3, bucket, f"{prefix}a b", {1: b"one"})
    assert told["Location"] == f"{place.endpoint}/{bucket}/{prefix}a%20b"


def test_a_copy_from_a_bucket_that_is_not_there(s3, bucket, prefix):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{prefix}to")["UploadId"]
    # (SeaweedFS itself names the key.)
    codes = ["NoSuchBucket", "NoSuchKey"] if DIRECT else ["NoSuchBucket"]
    with refused(*codes, status=404):
        s3.copy_object(Bucket=bucket, Key=f"{prefix}to", CopySource="no-such-bucket-here/key")
    with refused(*codes, status=404):
        s3.upload_part_copy(
            Bucket=bucket, Key=f"{prefix}to", UploadId=upload, PartNumber=1, CopySource="no-such-bucket-here/key"
        )
    s3.abort_multipart_upload(Bucket=bucket, Key=f"{prefix}to", UploadId=upload)
