"""Whole objects: sizes, ETags, metadata, deletion, and that the store sees ciphertext only."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest

from harness.data import CHUNK, MIB, PART, blob, cipher_len
from harness.expect import listed, missing, multipart, read, refused, same

SIZES = sorted(
    {0, 1, 15, 16, 17}
    | {n * CHUNK + d for n in (1, 2, 3, 15, 16, 17, 63, 64, 65) for d in (-1, 0, 1)}
    | {MIB - 1, MIB, MIB + 1, PART - 1, PART, PART + 1}
)


@pytest.mark.parametrize("size", SIZES)
def test_put_get_head_list_agree(s3, bucket, prefix, size):
    key, data = f"{prefix}object", blob(size)
    put = s3.put_object(Bucket=bucket, Key=key, Body=data)
    got = s3.get_object(Bucket=bucket, Key=key)
    same(got["Body"].read(), data)
    head = s3.head_object(Bucket=bucket, Key=key)
    (entry,) = listed(s3, bucket, prefix)
    assert got["ContentLength"] == head["ContentLength"] == entry["Size"] == size
    assert put["ETag"] == got["ETag"] == head["ETag"] == entry["ETag"]
    assert abs((head["LastModified"] - datetime.now(timezone.utc)).total_seconds()) < 60


def test_hundred_mib(s3, bucket, prefix):
    key, data = f"{prefix}large", blob(100 * MIB)
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(data)
    same(read(s3, bucket, key), data)


def test_overwrite_replaces(s3, bucket, prefix):
    key = f"{prefix}object"
    for size in (100_000, 10, 0, 70_000):
        s3.put_object(Bucket=bucket, Key=key, Body=blob(size, "overwrite"), Metadata={"size": str(size)})
        got = s3.get_object(Bucket=bucket, Key=key)
        same(got["Body"].read(), blob(size, "overwrite"))
        assert got["Metadata"] == {"size": str(size)}


@pytest.mark.gateway
@pytest.mark.parametrize("size", [0, 1, CHUNK, PART + 1])
def test_etag_is_one_value_and_never_md5_shaped(s3, bucket, prefix, size):
    key = f"{prefix}object"
    put = s3.put_object(Bucket=bucket, Key=key, Body=blob(size))["ETag"]
    assert not re.fullmatch(r'"?[0-9a-fA-F]{32}"?', put), put
    assert put.startswith('"') and put.endswith('"')
    copy = s3.copy_object(Bucket=bucket, Key=f"{key}-copy", CopySource={"Bucket": bucket, "Key": key})
    assert copy["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=bucket, Key=f"{key}-copy")["ETag"]
    done = multipart(s3, bucket, f"{key}-parts", {1: blob(PART), 2: blob(size)})
    etags = {
        done["ETag"],
        s3.head_object(Bucket=bucket, Key=f"{key}-parts")["ETag"],
        s3.get_object(Bucket=bucket, Key=f"{key}-parts")["ETag"],
        listed(s3, bucket, f"{key}-parts")[0]["ETag"],
        s3.list_objects(Bucket=bucket, Prefix=f"{key}-parts")["Contents"][0]["ETag"],
    }
    assert len(etags) == 1 and re.search(r"-\d+", etags.pop())


@pytest.mark.gateway
def test_answers_say_sse_kms(s3, bucket, prefix):
    """S3's own way to say that the ETag is no MD5."""
    key = f"{prefix}object"
    assert s3.put_object(Bucket=bucket, Key=key, Body=b"x")["ServerSideEncryption"] == "aws:kms"
    assert s3.get_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    assert s3.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    created = s3.create_multipart_upload(Bucket=bucket, Key=key)
    assert created["ServerSideEncryption"] == "aws:kms"
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=created["UploadId"], PartNumber=1, Body=b"x")
    assert part["ServerSideEncryption"] == "aws:kms"
    s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=created["UploadId"])


SYSTEM = {
    "CacheControl": "max-age=60, private",
    "ContentDisposition": 'attachment; filename="a b.txt"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de, en",
    "ContentType": "application/x-test; charset=utf-8",
}


def test_metadata_and_system_headers_round_trip(s3, bucket, prefix):
    key = f"{prefix}object"
    metadata = {"plain": "value", "with-dash": "x=1; y=2", "numeric": "0017", "spaced": "a  b"}
    expires = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    s3.put_object(Bucket=bucket, Key=key, Body=b"data", Metadata=metadata, Expires=expires, **SYSTEM)
    for answer in (s3.head_object(Bucket=bucket, Key=key), s3.get_object(Bucket=bucket, Key=key)):
        assert answer["Metadata"] == metadata
        assert {name: answer.get(name) for name in SYSTEM} == SYSTEM
        assert "ExpiresString" in answer and "03 Feb 2031 04:05:06" in answer["ExpiresString"]


def test_metadata_of_multipart_objects(s3, bucket, prefix):
    key = f"{prefix}object"
    multipart(s3, bucket, key, {1: blob(PART), 2: b"end"}, Metadata={"a": "b"}, **SYSTEM)
    head = s3.head_object(Bucket=bucket, Key=key)
    assert head["Metadata"] == {"a": "b"}
    assert {name: head.get(name) for name in SYSTEM} == SYSTEM


def test_metadata_names_are_lower_cased(wire, s3, bucket, prefix):
    key = f"{prefix}object"
    answer = wire.request("PUT", f"/{bucket}/{key}", {"X-Amz-Meta-MixedCase": "KeptCase"}, b"x")
    assert answer.status == 200, answer
    assert s3.head_object(Bucket=bucket, Key=key)["Metadata"] == {"mixedcase": "KeptCase"}


@pytest.mark.gateway
def test_empty_metadata_value(s3, bucket, prefix):
    key = f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={"empty": ""})
    assert s3.head_object(Bucket=bucket, Key=key)["Metadata"] == {"empty": ""}


@pytest.mark.gateway
def test_metadata_too_large_is_refused_before_the_body(s3, bucket, prefix):
    key = f"{prefix}object"
    with refused("MetadataTooLarge", status=400):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={"long": "v" * 3000})
    missing(s3, bucket, key)


@pytest.mark.gateway
def test_reserved_metadata_of_clients_is_never_believed(s3, bucket, prefix):
    """A client cannot plant an envelope: the name is refused, or sealed like any other metadata."""
    key = f"{prefix}object"
    for name in ("sealgate", "sealgate-m"):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=b"data", Metadata={name: "forged"})
        except s3.exceptions.ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error
            continue
        assert read(s3, bucket, key) == b"data"


@pytest.mark.gateway
def test_clients_do_not_see_the_envelope(s3, bucket, prefix, wire):
    key = f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=key, Body=b"data", Metadata={"mine": "1"})
    answer = wire.request("GET", f"/{bucket}/{key}")
    names = [n for n in answer.headers if n.startswith("x-amz-meta-")]
    assert names == ["x-amz-meta-mine"], answer.headers


def test_response_overrides(s3, bucket, prefix):
    key = f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=key, Body=b"data", ContentType="text/plain")
    got = s3.get_object(
        Bucket=bucket,
        Key=key,
        ResponseContentType="application/json",
        ResponseCacheControl="no-store",
        ResponseContentDisposition="inline",
        ResponseContentEncoding="identity",
        ResponseContentLanguage="fr",
    )
    assert got["ContentType"] == "application/json"
    assert got["CacheControl"] == "no-store"
    assert got["ContentDisposition"] == "inline"
    assert got["ContentEncoding"] == "identity"
    assert got["ContentLanguage"] == "fr"


@pytest.mark.gateway
def test_default_content_type(wire, s3, bucket, prefix):
    wire.request("PUT", f"/{bucket}/{prefix}object", {}, b"x")
    assert s3.head_object(Bucket=bucket, Key=f"{prefix}object")["ContentType"] in (
        "binary/octet-stream",
        "application/octet-stream",
    )


def test_missing_keys_and_buckets(s3, bucket, prefix):
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=bucket, Key=f"{prefix}nothing")
    with refused("404", status=404):
        s3.head_object(Bucket=bucket, Key=f"{prefix}nothing")
    with refused("NoSuchBucket", status=404):
        s3.get_object(Bucket="no-such-bucket-here", Key="x")
    with refused("NoSuchBucket", status=404):
        s3.put_object(Bucket="no-such-bucket-here", Key="x", Body=b"x")
    with refused("404", status=404):
        s3.head_bucket(Bucket="no-such-bucket-here")


def test_delete_is_idempotent(s3, bucket, prefix):
    key = f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for _ in range(2):
        assert s3.delete_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPStatusCode"] == 204
    missing(s3, bucket, key)


@pytest.mark.gateway
def test_store_size_follows_the_size_law(s3, place, bucket, prefix):
    for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, PART + 3):
        s3.put_object(Bucket=bucket, Key=f"{prefix}{size}", Body=blob(size))
        assert len(place.raw().get(bucket, f"{prefix}{size}").body) == cipher_len(size)
    multipart(s3, bucket, f"{prefix}parts", {1: blob(PART), 2: blob(PART + 7), 3: blob(9)})
    assert len(place.raw().get(bucket, f"{prefix}parts").body) == cipher_len(2 * PART + 16)


@pytest.mark.gateway
def test_no_plaintext_in_the_store(s3, place, bucket, prefix):
    """No 16-byte block of the object, nor its metadata, is in any file of the store."""
    data = blob(200_000, "needle")
    s3.put_object(Bucket=bucket, Key=f"{prefix}single", Body=data, Metadata={"secret-name": "secret-value-7731"})
    multipart(s3, bucket, f"{prefix}parts", {1: data * 30, 2: data}, Metadata={"other": "secret-value-7731"})
    s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": f"{prefix}single"})
    # Every aligned block of the data, looked up at every offset of a file would be slow; instead every
    # distinct 16-byte block at a coarse step, and the store's files are searched whole.
    needles = [data[i : i + 16] for i in range(0, len(data) - 16, 8191)] + [b"secret-value-7731", b"secret-name"]
    seen = 0
    for path in place.raw_folder().rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        seen += len(content)
        for needle in needles:
            assert needle not in content, f"{needle!r} is readable in {path}"
    assert seen > 6_000_000, f"only {seen} bytes in {place.raw_folder()}: the search saw no object"


def test_sixty_four_parallel_clients(place, bucket, prefix):
    def work(number: int) -> None:
        client = place.client()
        for round in range(3):
            key, data = f"{prefix}{number:02d}-{round}", blob(CHUNK * (number % 20) + number, number)
            put = client.put_object(Bucket=bucket, Key=key, Body=data)
            got = client.get_object(Bucket=bucket, Key=key)
            same(got["Body"].read(), data)
            assert got["ETag"] == put["ETag"]
        client.delete_object(Bucket=bucket, Key=f"{prefix}{number:02d}-1")

    with ThreadPoolExecutor(64) as pool:
        for outcome in [pool.submit(work, n) for n in range(64)]:
            outcome.result()
    keys = {o["Key"] for o in listed(place.s3, bucket, prefix)}
    assert keys == {f"{prefix}{n:02d}-{r}" for n in range(64) for r in (0, 2)}


def test_parallel_writers_of_one_key(place, bucket, prefix):
    """The last writer wins, and a reader sees one of the objects whole."""
    key = f"{prefix}contended"
    versions = [blob(50_000 + n, "contended") for n in range(12)]

    def work(data: bytes) -> None:
        client = place.client()
        for _ in range(3):
            client.put_object(Bucket=bucket, Key=key, Body=data)
            assert read(client, bucket, key) in versions

    with ThreadPoolExecutor(12) as pool:
        for outcome in [pool.submit(work, v) for v in versions]:
            outcome.result()
    assert read(place.s3, bucket, key) in versions
