"""Keys of any legal bytes, by boto3 and on the wire."""

import pytest
from botocore.exceptions import ClientError, HTTPClientError

from harness import DIRECT, sigv4
from harness.data import blob
from harness.expect import listed, missing, multipart, read, refused

KEYS = [
    "plain",
    "with space",
    " leading and trailing ",
    "plus+sign",
    "percent%20sign%",
    "double//slash",
    "trailing/slash/",
    "ünïcödé/ключ/键/🔑",
    "quote'\"<>&;",
    "star*question?hash#",
    "equals=and&amp",
    "back\\slash",
    "~tilde-_.!()",
    "brackets[]{}|^`",
    "colon:at@comma,dollar$",
    "a" * 200,
    "/".join(["deep"] * 40),
    ".hidden",
    "..hidden",
    "dots...",
    "%2F%2e%2e",
    "e\u0301 combining",
    "\u00e9 precomposed",
]
# A file system has no such names as they stand; the store must keep them apart all the same.
HARD_KEYS = [
    "dot/./dot",
    "dotdot/../dotdot",
    "./starts",
    "../starts",
    "ends/.",
    "ends/..",
    "/leading",
    "//two",
    "n" * 1000,
    ("k" * 255 + "/") * 3 + "end",
    "tab\there",
    "newline\nhere",
    "control\x01here",
]
# SeaweedFS, a file system underneath, changes or refuses these: there, no wrong answer is all one can ask.
SEAWEEDFS_CHANGES = {*HARD_KEYS, "trailing/slash/", "back\\slash"}


def never_wrong(s3, bucket, key, data):
    """The store may refuse the key; what is read under it is the data or an error."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=data)
        assert read(s3, bucket, key) in ((data, b"") if DIRECT else (data,))
    except (ClientError, HTTPClientError):
        pass


@pytest.mark.parametrize("name", KEYS + HARD_KEYS, ids=lambda n: repr(n)[1:30])
def test_key_round_trip(s3, place, prefix, bucket, name):
    key = name if name.startswith(("/", "../", "./", " ")) or len(name) >= 1000 else prefix + name
    data = blob(100, name)
    if place.store != "fs" and name in SEAWEEDFS_CHANGES:
        never_wrong(s3, bucket, key, data)
        return
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    assert read(s3, bucket, key) == data
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == 100
    found = [o["Key"] for o in listed(s3, bucket, key)]
    assert key in found
    s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": key})
    assert read(s3, bucket, f"{prefix}copy") == data
    if "\x01" in name:
        # XML 1.0 cannot say this character, not even escaped: bulk deletes cannot name such a key.
        s3.delete_object(Bucket=bucket, Key=key)
    else:
        assert s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})["Deleted"][0]["Key"] == key
    missing(s3, bucket, key)


@pytest.mark.parametrize("name", ["with space+plus%25", "ünï/ключ", "a//b"])
def test_multipart_with_odd_keys(s3, bucket, prefix, name):
    multipart(s3, bucket, prefix + name, {1: b"tiny"})
    assert read(s3, bucket, prefix + name) == b"tiny"


def test_similar_keys_stay_apart(s3, bucket, prefix):
    names = ["a b", "a+b", "a%20b", "a%2Bb", "A b", "a  b"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=prefix + name, Body=name.encode())
    for name in names:
        assert read(s3, bucket, prefix + name) == name.encode()
    assert sorted(o["Key"] for o in listed(s3, bucket, prefix)) == sorted(prefix + n for n in names)


def test_prefix_and_object_of_one_name(s3, bucket, prefix):
    """In S3 `a` and `a/b` are two keys; a directory must hold both."""
    if not DIRECT:
        s3.put_object(Bucket=bucket, Key=f"{prefix}a/b", Body=b"inner")
        s3.put_object(Bucket=bucket, Key=f"{prefix}a/b/c", Body=b"innermost")
        s3.put_object(Bucket=bucket, Key=f"{prefix}a/", Body=b"")
        assert read(s3, bucket, f"{prefix}a/b/c") == b"innermost"
    s3.put_object(Bucket=bucket, Key=f"{prefix}x/y", Body=b"inner")
    assert read(s3, bucket, f"{prefix}x/y") == b"inner"


@pytest.mark.gateway
def test_lower_case_escapes_and_unescaped_bytes_are_one_key(wire, s3, bucket, prefix):
    """A client may escape more than needed: the key is the decoded bytes."""
    for target in (f"/{bucket}/{prefix}%61%2db%c3%bc",):
        signed_target = f"/{bucket}/{prefix}a-b%C3%BC"
        with wire.connect() as connection:
            # The canonical path is the decoded path, encoded again.
            signed = wire.signed(connection, "PUT", signed_target, {"Content-Length": "1"})
            connection.send(connection.head("PUT", target, signed.headers) + b"x")
            assert connection.answer().status == 200
    assert read(s3, bucket, f"{prefix}a-bü") == b"x"


def test_key_of_1024_bytes_and_one_more(s3, place, bucket):
    key = ("x" * 100 + "/") * 10 + "y" * 14
    assert len(key) == 1024
    s3.put_object(Bucket=bucket, Key=key, Body=b"longest")
    assert read(s3, bucket, key) == b"longest"
    s3.delete_object(Bucket=bucket, Key=key)
    with refused("KeyTooLongError", status=400):
        s3.put_object(Bucket=bucket, Key=key + "z", Body=b"too long")


@pytest.mark.gateway
def test_invalid_utf8_and_nul_are_refused(wire, bucket):
    for target in (f"/{bucket}/bad%FF", f"/{bucket}/%C3%28", f"/{bucket}/half%C3"):
        answer = wire.request("PUT", target, {}, b"x")
        assert answer.status == 400, f"{target}: {answer}"


@pytest.mark.gateway
def test_broken_escapes_are_refused(wire, bucket):
    for target in (f"/{bucket}/bad%", f"/{bucket}/bad%2", f"/{bucket}/bad%zz"):
        with wire.connect() as connection:
            signed = wire.signed(connection, "GET", target)
            connection.send(connection.head("GET", target, signed.headers))
            answer = connection.answer()
        assert answer.status in (400, 403), f"{target}: {answer}"


def test_copy_source_forms(wire, s3, bucket, prefix):
    """With and without the leading slash, escaped or not."""
    key = f"{prefix}src key+ü"
    s3.put_object(Bucket=bucket, Key=key, Body=b"source")
    escaped = sigv4.quote(f"{bucket}/{key}").replace("%2F", "/")
    for number, source in enumerate((escaped, "/" + escaped, escaped.replace("/", "%2F"))):
        target = f"/{bucket}/{prefix}copy{number}"
        answer = wire.request("PUT", target, {"x-amz-copy-source": source})
        assert answer.status == 200, f"{source}: {answer}"
        assert read(s3, bucket, f"{prefix}copy{number}") == b"source"
