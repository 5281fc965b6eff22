"""Buckets and listings."""

import itertools
import xml.etree.ElementTree as ET

import pytest

from harness import checksums
from harness.data import CHUNK, PART, blob
from harness.expect import listed, multipart, read, refused

NAMES = [
    "a",
    "a/1",
    "a/2",
    "a/b/3",
    "a/b/4",
    "a-",
    "a0",
    "b/",
    "b/x y",
    "b/x+y",
    "c//d",
    "c//e",
    "ü/1",
    "ü/2",
    "z%20",
    "z&<>",
    "zz",
]
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@pytest.fixture(scope="module")
def tree(s3, bucket, place):
    # SeaweedFS, a file system underneath, cannot hold both `a` and `a/1`, nor data at `b/`, and lists
    # `a/` before `a-`; the gateway gives the store's order.
    left_out = () if place.store == "fs" else ("a", "a-", "a0", "b/", "c//d", "c//e")
    names = [n for n in NAMES if n not in left_out]
    for size, name in enumerate(names):
        s3.put_object(Bucket=bucket, Key=f"tree/{name}", Body=blob(size * 1000))
    return {f"tree/{name}": size * 1000 for size, name in enumerate(names)}


def model(keys, prefix, delimiter, after=""):
    """What S3 says a listing holds: (keys, common prefixes), both in byte order."""
    found, prefixes = [], []
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            common = prefix + rest.split(delimiter)[0] + delimiter
            if common not in prefixes:
                prefixes.append(common)
        else:
            found.append(key)
    return found, prefixes


def walk_v2(s3, bucket, **options):
    """All pages by continuation token; checks each page's own promises."""
    keys, prefixes, token = [], [], None
    for _ in range(200):
        more = {"ContinuationToken": token} if token else {}
        page = s3.list_objects_v2(Bucket=bucket, **options, **more)
        got = page.get("Contents", []), page.get("CommonPrefixes", [])
        assert page["KeyCount"] == len(got[0]) + len(got[1]) <= options.get("MaxKeys", 1000)
        keys += [o["Key"] for o in got[0]]
        prefixes += [p["Prefix"] for p in got[1]]
        if not page["IsTruncated"]:
            return keys, prefixes
        token = page["NextContinuationToken"]
    raise AssertionError("the listing does not end")


def walk_v1(s3, bucket, **options):
    keys, prefixes, marker = [], [], ""
    for _ in range(200):
        page = s3.list_objects(Bucket=bucket, Marker=marker, **options)
        keys += [o["Key"] for o in page.get("Contents", [])]
        prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            return keys, prefixes
        marker = page.get("NextMarker") or keys[-1]
    raise AssertionError("the listing does not end")


@pytest.mark.gateway
@pytest.mark.parametrize("delimiter", ["", "/", "b", "//"])
@pytest.mark.parametrize("under", ["", "a", "a/", "a/b", "c/", "ü", "nothing"])
def test_any_page_size_gives_the_same_listing(s3, place, bucket, tree, under, delimiter):
    if delimiter in ("b", "//") and place.store == "seaweed":
        return  # SeaweedFS itself never ends such a listing: its token goes back
    expected = model(tree, f"tree/{under}", delimiter)
    for size in (1, 2, 3, 5, 1000):
        options = {"Prefix": f"tree/{under}", "Delimiter": delimiter, "MaxKeys": size}
        assert walk_v2(s3, bucket, **options) == expected, f"version 2, pages of {size}"
        assert walk_v1(s3, bucket, **options) == expected, f"version 1, pages of {size}"


def test_listing_sizes_and_fields(s3, bucket, tree):
    page = s3.list_objects_v2(Bucket=bucket, Prefix="tree/", FetchOwner=True)
    assert {o["Key"]: o["Size"] for o in page["Contents"]} == tree
    assert page["Name"] == bucket and page["Prefix"] == "tree/" and page["KeyCount"] == len(tree)
    for entry in page["Contents"]:
        assert entry["StorageClass"] == "STANDARD" and entry["LastModified"] and entry["ETag"].startswith('"')


def test_start_after(s3, bucket, tree):
    for after in ("tree/a/1", "tree/a/b/3", "tree/m", "tree/zzz"):
        page = s3.list_objects_v2(Bucket=bucket, Prefix="tree/", StartAfter=after)
        assert [o["Key"] for o in page.get("Contents", [])] == model(tree, "tree/", "", after)[0]
        assert page.get("StartAfter") == after


def test_max_keys_zero(s3, bucket, tree):
    page = s3.list_objects_v2(Bucket=bucket, Prefix="tree/", MaxKeys=0)
    assert page["KeyCount"] == 0 and not page["IsTruncated"] and "Contents" not in page


@pytest.mark.gateway
def test_max_keys_beyond_the_limit(s3, bucket, tree):
    page = s3.list_objects_v2(Bucket=bucket, Prefix="tree/", MaxKeys=5000)
    assert page["MaxKeys"] == 1000 and len(page["Contents"]) == len(tree)


@pytest.mark.gateway
def test_bad_listing_arguments(wire, bucket):
    for query in ("list-type=2&max-keys=-1", "list-type=2&max-keys=x", "list-type=2&encoding-type=bad"):
        answer = wire.request("GET", f"/{bucket}?{query}")
        assert (answer.status, answer.code) == (400, "InvalidArgument"), f"{query}: {answer}"


@pytest.mark.gateway
def test_encoding_type_on_the_wire(wire, bucket, tree, place):
    """With encoding-type=url the keys are escaped, without it they are plain XML text."""
    for version in ("", "list-type=2&"):
        answer = wire.request("GET", f"/{bucket}?{version}encoding-type=url&prefix=tree%2Fz")
        root = ET.fromstring(answer.body)
        assert root.findtext(f"{NS}EncodingType") == "url"
        keys = [k.text for k in root.iter(f"{NS}Key")]
        assert keys == ["tree/z%2520", "tree/z%26%3C%3E", "tree/zz"], keys
        answer = wire.request("GET", f"/{bucket}?{version}prefix=tree%2Fz")
        root = ET.fromstring(answer.body)
        assert root.findtext(f"{NS}EncodingType") is None
        assert [k.text for k in root.iter(f"{NS}Key")] == ["tree/z%20", "tree/z&<>", "tree/zz"]
        assert root.findtext(f"{NS}Prefix") == "tree/z"


def test_thousand_keys_and_one(s3, place, bucket, prefix):
    from concurrent.futures import ThreadPoolExecutor

    names = [f"{prefix}{n:04d}" for n in range(1001)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket=bucket, Key=n, Body=b"x"), names))
    page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    assert page["IsTruncated"] and page["KeyCount"] == 1000
    assert walk_v2(s3, bucket, Prefix=prefix)[0] == names
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": n} for n in names[:1000]], "Quiet": True})
    assert "Deleted" not in answer and "Errors" not in answer
    assert [o["Key"] for o in listed(s3, bucket, prefix)] == names[1000:]


@pytest.mark.gateway
def test_staged_parts_are_never_listed(s3, place, bucket, prefix):
    """A part too small for the store waits under a hidden prefix: no listing shows it, no page breaks over it."""
    key = f"{prefix}object"
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=blob(PART))
    s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=2, Body=b"small")
    for name in "abc":
        s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=b"x")
    everything = listed(s3, bucket)
    assert not [o["Key"] for o in everything if "sealgate" in o["Key"]]
    keys, prefixes = walk_v2(s3, bucket, Delimiter="/")
    assert not [p for p in keys + prefixes if "sealgate" in p]
    assert sorted(walk_v2(s3, bucket, MaxKeys=7)[0]) == sorted(o["Key"] for o in everything)
    s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


@pytest.mark.gateway
@pytest.mark.parametrize("size", [0, 5, CHUNK, PART + 1])
def test_listing_verify(s3, place, prefix, size):
    """listing = "verify" asks each object: in a bucket being migrated, foreign objects keep their sizes."""
    bucket = place.bucket("verify-listing")
    s3.put_object(Bucket=bucket, Key=f"{prefix}ours", Body=blob(size))
    multipart(s3, bucket, f"{prefix}parts", {1: blob(PART), 2: blob(size + 1)})
    sizes = {o["Key"]: o["Size"] for o in listed(s3, bucket, prefix)}
    assert sizes == {f"{prefix}ours": size, f"{prefix}parts": PART + size + 1}


@pytest.mark.gateway
def test_listing_verify_with_foreign_objects(s3, place, prefix):
    if place.store == "fs":
        return  # nobody but the gateway writes there; the S3 places hold this
    bucket = place.bucket("verify-foreign")
    place.weed.client().put_object(Bucket=bucket, Key=f"{prefix}foreign", Body=blob(208 + 77))
    s3.put_object(Bucket=bucket, Key=f"{prefix}ours", Body=blob(77))
    sizes = {o["Key"]: o["Size"] for o in listed(s3, bucket, prefix)}
    assert sizes == {f"{prefix}foreign": 285, f"{prefix}ours": 77}


def test_bucket_life(s3, place):
    name = "e2e-life"
    s3.create_bucket(Bucket=name)
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] in (None, "us-east-1")
    assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 0
    with refused("BucketAlreadyOwnedByYou", "BucketAlreadyExists", status=409):
        s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="x", Body=b"x")
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="x")
    s3.delete_bucket(Bucket=name)
    with refused("404", status=404):
        s3.head_bucket(Bucket=name)
    with refused("NoSuchBucket", status=404):
        s3.delete_bucket(Bucket=name)
    with refused("NoSuchBucket", status=404):
        s3.list_objects_v2(Bucket=name)


@pytest.mark.gateway
def test_bad_bucket_names(wire):
    for name in ("ab", "UPPER", "under_score", "a..b", "-dash", "x" * 64, "192.168.1.1"):
        answer = wire.request("PUT", f"/{name}")
        assert (answer.status, answer.code) == (400, "InvalidBucketName"), f"{name}: {answer}"


def delete_body(keys, quiet=False):
    inner = "".join(f"<Object><Key>{k}</Key></Object>" for k in keys)
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{inner}</Delete>".encode()


def test_delete_objects(wire, s3, bucket, prefix):
    for name in "abc":
        s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=b"x")
    body = delete_body([f"{prefix}a", f"{prefix}missing"])
    answer = wire.request("POST", f"/{bucket}?delete", {"Content-MD5": checksums.md5(body)}, body)
    assert answer.status == 200, answer
    assert {k.text for k in ET.fromstring(answer.body).iter() if k.tag.endswith("Key")} == {
        f"{prefix}a",
        f"{prefix}missing",
    }
    body = delete_body([f"{prefix}b"], quiet=True)
    answer = wire.request("POST", f"/{bucket}?delete", {"Content-MD5": checksums.md5(body)}, body)
    assert answer.status == 200 and b"<Deleted>" not in answer.body
    assert [o["Key"] for o in listed(s3, bucket, prefix)] == [f"{prefix}c"]


@pytest.mark.gateway
def test_delete_objects_needs_a_checksum(wire, s3, bucket, prefix):
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"x")
    body = delete_body([f"{prefix}a"])
    answer = wire.request("POST", f"/{bucket}?delete", {}, body)
    assert answer.status == 400 and answer.code in ("InvalidRequest", "MissingContentMD5"), answer
    answer = wire.request("POST", f"/{bucket}?delete", {"Content-MD5": checksums.md5(b"other")}, body)
    assert (answer.status, answer.code) == (400, "BadDigest"), answer
    assert read(s3, bucket, f"{prefix}a") == b"x"
    answer = wire.request(
        "POST", f"/{bucket}?delete", {"x-amz-checksum-sha256": checksums.encoded("SHA256", body)}, body
    )
    assert answer.status == 200, answer


@pytest.mark.gateway
def test_delete_objects_limits(wire, bucket, prefix):
    body = delete_body([f"{prefix}{n}" for n in range(1001)])
    answer = wire.request("POST", f"/{bucket}?delete", {"Content-MD5": checksums.md5(body)}, body)
    assert (answer.status, answer.code) == (400, "MalformedXML"), answer
    for body in (b"", b"<Delete>", b"<Delete></Delete>", b"not xml", b"<Other/>"):
        answer = wire.request("POST", f"/{bucket}?delete", {"Content-MD5": checksums.md5(body)}, body)
        assert (answer.status, answer.code) in ((400, "MalformedXML"), (400, "MissingRequestBodyError")), (
            f"{body}: {answer}"
        )


@pytest.mark.gateway
def test_xml_bombs_are_refused(wire, bucket):
    body = (
        b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        b"<Delete><Object><Key>&b;</Key></Object></Delete>"
    )
    answer = wire.request("POST", f"/{bucket}?delete", {"Content-MD5": checksums.md5(body)}, body)
    assert (answer.status, answer.code) == (400, "MalformedXML"), answer
