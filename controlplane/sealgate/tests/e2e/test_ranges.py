"""Ranged reads: every form of Range, over chunk edges and part edges, and partNumber reads."""

import random

import pytest

from harness.data import CHUNK, MIB, PART, blob
from harness.expect import multipart, read, refused, same

SIZE = 5 * CHUNK + 1234


@pytest.fixture(scope="module")
def single(s3, bucket):
    data = blob(SIZE, "ranges")
    s3.put_object(Bucket=bucket, Key="ranges/single", Body=data)
    return "ranges/single", data


@pytest.fixture(scope="module")
def parts(s3, bucket):
    pieces = {1: blob(PART, 1), 2: blob(PART + 777, 2), 3: blob(70_001, 3)}
    multipart(s3, bucket, "ranges/parts", pieces)
    return "ranges/parts", pieces


def check(s3, bucket, key, data, first, last):
    got = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
    expected = data[first : last + 1]
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
    assert got["ContentLength"] == len(expected)
    same(got["Body"].read(), expected)


EDGES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 5 * CHUNK - 1, 5 * CHUNK, SIZE - 2, SIZE - 1]


@pytest.mark.parametrize("first", EDGES)
def test_ranges_over_chunk_edges(s3, bucket, single, first):
    key, data = single
    for last in EDGES:
        if last >= first:
            check(s3, bucket, key, data, first, last)


def test_range_past_the_end_is_cut(s3, bucket, single):
    key, data = single
    check(s3, bucket, key, data, 10, SIZE + 100)
    check(s3, bucket, key, data, SIZE - 1, SIZE)


def test_open_and_suffix_ranges(s3, bucket, single):
    key, data = single
    for first in (0, 1, CHUNK, SIZE - 1):
        got = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-")
        assert got["ContentRange"] == f"bytes {first}-{SIZE - 1}/{SIZE}"
        same(got["Body"].read(), data[first:])
    for length in (1, 17, 1234, 1235, CHUNK, SIZE - 1, SIZE, SIZE + 5):
        got = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=-{length}")
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes {max(0, SIZE - length)}-{SIZE - 1}/{SIZE}"
        same(got["Body"].read(), data[-length:])


def test_unsatisfiable_ranges(wire, bucket, single):
    key, _ = single
    for value in (f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=999999999999-"):
        answer = wire.request("GET", f"/{bucket}/{key}", {"Range": value})
        assert (answer.status, answer.code) == (416, "InvalidRange"), f"{value}: {answer}"
        assert answer.headers["content-range"] == f"bytes */{SIZE}", answer


@pytest.mark.gateway
def test_zero_suffix_is_unsatisfiable(wire, bucket, single):
    answer = wire.request("GET", f"/{bucket}/{single[0]}", {"Range": "bytes=-0"})
    assert answer.status == 416, answer


def test_unsatisfiable_on_an_empty_object(wire, s3, bucket, prefix):
    s3.put_object(Bucket=bucket, Key=f"{prefix}empty", Body=b"")
    answer = wire.request("GET", f"/{bucket}/{prefix}empty", {"Range": "bytes=0-0"})
    assert answer.status == 416, answer


@pytest.mark.gateway
def test_ranges_that_are_no_ranges_give_the_whole(wire, bucket, single):
    """Multi-range and malformed values: S3 answers 200 with the whole object."""
    key, data = single
    for value in ("bytes=0-1,4-5", "bytes=5-2", "bytes=a-b", "chunks=0-5", "bytes 0-5", "bytes=", "bytes=-"):
        answer = wire.request("GET", f"/{bucket}/{key}", {"Range": value})
        assert answer.status == 200, f"{value}: {answer.status} {answer.headers}"
        same(answer.body, data)


@pytest.mark.gateway
def test_head_with_range(wire, bucket, single):
    key, _ = single
    answer = wire.request("HEAD", f"/{bucket}/{key}", {"Range": f"bytes={CHUNK - 2}-{CHUNK + 1}"})
    assert answer.status == 206, answer
    assert answer.headers["content-length"] == "4"
    assert answer.headers["content-range"] == f"bytes {CHUNK - 2}-{CHUNK + 1}/{SIZE}"


@pytest.mark.gateway
def test_if_range(wire, s3, bucket, single):
    key, data = single
    etag = s3.head_object(Bucket=bucket, Key=key)["ETag"]
    answer = wire.request("GET", f"/{bucket}/{key}", {"Range": "bytes=0-4", "If-Range": etag})
    assert (answer.status, answer.body) == (206, data[:5])
    answer = wire.request("GET", f"/{bucket}/{key}", {"Range": "bytes=0-4", "If-Range": '"other-0"'})
    assert answer.status == 200
    same(answer.body, data)


def test_range_with_if_match(s3, bucket, single):
    """What transfer managers do: HEAD, then ranges pinned to that ETag."""
    key, data = single
    etag = s3.head_object(Bucket=bucket, Key=key)["ETag"]
    got = s3.get_object(Bucket=bucket, Key=key, Range="bytes=100-199", IfMatch=etag)
    same(got["Body"].read(), data[100:200])
    with refused("PreconditionFailed", status=412):
        s3.get_object(Bucket=bucket, Key=key, Range="bytes=100-199", IfMatch='"0123456789abcdef0123456789abcdef"')


def test_ranges_of_multipart_objects(s3, bucket, parts):
    key, pieces = parts
    data = b"".join(pieces.values())
    edges = sorted(
        {0, PART - 1, PART, PART + 1, PART + CHUNK, 2 * PART + 776, 2 * PART + 777, 2 * PART + 778, len(data) - 1}
    )
    for first in edges:
        for last in edges:
            if first <= last and (last - first < 100_000 or first == 0):
                check(s3, bucket, key, data, first, last)
    got = s3.get_object(Bucket=bucket, Key=key, Range="bytes=-70002")
    same(got["Body"].read(), data[-70002:])


def test_random_ranges(s3, bucket, single, parts):
    dice = random.Random(7)
    for key, data in ((single[0], single[1]), (parts[0], b"".join(parts[1].values()))):
        for _ in range(25):
            first = dice.randrange(len(data))
            last = min(len(data) - 1, first + dice.choice((0, 1, 100, CHUNK, 3 * CHUNK, MIB)))
            check(s3, bucket, key, data, first, last)


@pytest.mark.gateway
def test_part_number_reads(s3, bucket, parts):
    key, pieces = parts
    total = sum(map(len, pieces.values()))
    offset = 0
    for number, piece in pieces.items():
        got = s3.get_object(Bucket=bucket, Key=key, PartNumber=number)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["PartsCount"] == 3
        assert got["ContentRange"] == f"bytes {offset}-{offset + len(piece) - 1}/{total}"
        same(got["Body"].read(), piece)
        head = s3.head_object(Bucket=bucket, Key=key, PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"]) == (len(piece), 3)
        offset += len(piece)


@pytest.mark.gateway
def test_part_number_out_of_range(s3, bucket, single, parts):
    for number in (4, 10000):
        with refused("InvalidPartNumber", "416", status=416):
            s3.get_object(Bucket=bucket, Key=parts[0], PartNumber=number)
    with refused("InvalidPartNumber", "416", status=416):
        s3.get_object(Bucket=bucket, Key=single[0], PartNumber=2)


@pytest.mark.gateway
@pytest.mark.parametrize("verb", ["get_object", "head_object"])
def test_empty_parts_have_no_content_range(s3, bucket, prefix, verb):
    s3.put_object(Bucket=bucket, Key=f"{prefix}empty", Body=b"")
    multipart(s3, bucket, f"{prefix}parts", {1: blob(PART), 2: b""})
    for key, number, count in (("empty", 1, None), ("parts", 2, 2)):
        got = getattr(s3, verb)(Bucket=bucket, Key=f"{prefix}{key}", PartNumber=number)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 200 and "ContentRange" not in got
        assert (got["ContentLength"], got.get("PartsCount")) == (0, count)


def test_part_number_one_of_a_single_put(s3, bucket, single):
    same(read(s3, bucket, single[0], PartNumber=1), single[1])


def test_part_number_one_of_an_empty_object(wire, s3, bucket, prefix):
    """No range describes nothing: the answer is the whole empty object, without Content-Range."""
    s3.put_object(Bucket=bucket, Key=f"{prefix}empty", Body=b"")
    for method in ("GET", "HEAD"):
        answer = wire.request(method, f"/{bucket}/{prefix}empty?partNumber=1")
        assert (answer.status, answer.headers["content-length"]) == (200, "0"), answer
        assert "content-range" not in answer.headers, answer


@pytest.mark.gateway
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_bad_part_numbers_are_refused_before_anything_is_looked_for(wire, bucket, prefix, method):
    for number in ("0", "10001"):
        answer = wire.request(method, f"/{bucket}/{prefix}nothing?partNumber={number}")
        assert answer.status == 400, answer


@pytest.mark.gateway
def test_part_number_with_range_is_refused(wire, bucket, parts):
    answer = wire.request("GET", f"/{bucket}/{parts[0]}?partNumber=1", {"Range": "bytes=0-1"})
    assert answer.status == 400, answer
