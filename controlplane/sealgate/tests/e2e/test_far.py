"""A store far away: long objects go by several requests at a time, and are the same objects as by one."""

import base64
import hashlib
import re
import time
from contextlib import contextmanager

import pytest

from harness import gateway as gw, weed as wd
from harness.data import KIB, MIB, blob, cipher_len
from harness.expect import listed, missing, multipart, read, refused, same
from harness.far import Far
from harness.wire import Cut

pytestmark = pytest.mark.gateway

BUCKET = "e2e-far"
LONG = blob(34 * MIB + 12_345, "long")
OTHER = blob(len(LONG), "other")
KEY = f"/{BUCKET}/"
SIZES = [0, 1, 8 * MIB, 8 * MIB + 200_000, 8_519_680, 8_519_681, 17 * MIB]
# Where the end of an object of one of these sizes is looked for.
ENDS = {cipher_len(size) - 1024 for size in [*SIZES, len(LONG)]}


def store(port: int, preset: str = "aws", more: str = "", far: str = "4ms") -> str:
    # SeaweedFS keeps conditions on completions, as long as nobody races; so this preset is good enough for a test.
    return gw.s3_backend(f"http://127.0.0.1:{port}", wd.ACCESS, wd.SECRET, f'preset = "{preset}"\n{more}', far)


class Place:
    """A gateway that is far from its store."""

    def __init__(self, folder, weed, driver: str, **options):
        self.weed, self.far = weed, Far(weed.port)
        backend = options.pop("backend", store)(self.far.port)
        self.gateway = gw.Gateway(folder, backend, driver=driver, cores=1, **options)
        self.client = self.gateway.client()
        self.raw = weed.client()
        if BUCKET not in [b["Name"] for b in self.client.list_buckets()["Buckets"]]:
            self.client.create_bucket(Bucket=BUCKET)

    def afresh(self) -> None:
        """A process that has asked its store nothing yet."""
        self.gateway.restart()
        self.client = self.gateway.client()
        self.far.reset()

    def count(self, name: str) -> int:
        # The cores report twice a second.
        time.sleep(0.6)
        return int(re.search(rf"^sealgate_store_parallel_{name} (\d+)$", self.gateway.metrics(), re.M)[1])

    def uploads(self) -> list:
        return self.raw.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])

    def close(self) -> None:
        self.gateway.stop(5)
        self.far.close()


@pytest.fixture(scope="module", params=["auto", "epoll"])
def there(request, weed, tmp_path_factory):
    there = Place(tmp_path_factory.mktemp("far") / "gateway", weed, request.param)
    there.client.put_object(Bucket=BUCKET, Key="long", Body=LONG)
    yield there
    there.close()


# Where the driver makes no difference.
ONCE = pytest.mark.parametrize("there", ["auto"], indirect=True)


@pytest.fixture
def far(there):
    there.far.reset()
    yield there.far
    there.far.reset()


def ranges(far, part: str = "") -> list:
    """Where reads of a body began: not those of an object's end, for the checksum that a client asks for."""
    starts = [seen.start or 0 for seen in far.passed("GET", part)]
    return [start for start in starts if start not in ENDS]


def lines(far, part: str) -> list:
    """Requests about a key, but reads of an object's end."""
    return [(s.method, s.start) for s in list(far.seen) if part in s.target and s.start not in ENDS]


def until(condition, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


@contextmanager
def body_of(there, key: str):
    """A GET whose body is still to be read: the connection, and the body's length."""
    wire = there.gateway.wire()
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", KEY + key)
        connection.send(connection.head("GET", KEY + key, signed.headers))
        status, headers = connection.read_head()
        assert status == 200
        yield connection, int(headers["content-length"])


def test_a_long_object_is_written_in_parts_and_is_one_object(there, far, prefix):
    key = f"{prefix}a"
    digest = base64.b64encode(hashlib.sha256(LONG).digest()).decode()
    before = there.count("parts_total")
    put = there.client.put_object(
        Bucket=BUCKET,
        Key=key,
        Body=LONG,
        ChecksumSHA256=digest,
        Metadata={"colour": "blue"},
        CacheControl="max-age=7",
        Tagging="a=b",
    )
    assert there.count("parts_total") - before >= 4
    assert there.count("writes") == 0
    assert len(far.passed("POST", key)) == 2 and far.most > 2, far.seen
    head = there.client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert head["ETag"] == put["ETag"] == listed(there.client, BUCKET, prefix)[0]["ETag"]
    assert head["ContentLength"] == len(LONG) and head["ChecksumSHA256"] == digest == put["ChecksumSHA256"]
    assert (head["Metadata"], head["CacheControl"]) == ({"colour": "blue"}, "max-age=7")
    assert there.client.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert there.raw.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == cipher_len(len(LONG))
    same(read(there.client, BUCKET, key), LONG)
    assert not there.uploads()


def test_the_very_first_request_is_a_long_object(there, far, prefix):
    there.afresh()
    there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG)
    # Four answers are enough to be sure, and nothing was asked before.
    assert [seen.target for seen in far.seen[:4]] == [f"/{BUCKET}"] * 4 == [s.target for s in far.passed("HEAD")], far.seen
    assert len(far.passed("POST", prefix)) == 2 and far.most > 2, far.seen
    there.afresh()
    same(read(there.client, BUCKET, f"{prefix}a"), LONG)
    assert not far.passed("HEAD") and far.most > 1, far.seen
    starts = ranges(far, prefix)
    # That of everything has not been read to its end.
    assert lines(far, prefix)[0] == ("GET", None) and len(starts) >= 4 and starts == sorted(set(starts)), far.seen


def test_a_long_object_is_read_in_ranges(there, far):
    before = there.count("ranges_total")
    same(read(there.client, BUCKET, "long"), LONG)
    assert there.count("ranges_total") - before >= 4
    assert there.count("reads") == 0
    starts = ranges(far, "long")
    assert starts == sorted(set(starts)) and starts[0] == 0 and len(starts) >= 4 and far.most > 1, far.seen
    total = len(LONG)
    for first, last in [(0, total - 1), (5, 9 * MIB), (8 * MIB - 1, 8 * MIB), (MIB + 3, total - 3), (33 * MIB, total - 1)]:
        got = read(there.client, BUCKET, "long", Range=f"bytes={first}-{last}")
        same(got, LONG[first : last + 1])
    same(read(there.client, BUCKET, "long", Range=f"bytes=-{20 * MIB}"), LONG[-20 * MIB :])
    same(read(there.client, BUCKET, "long", Range="bytes=7-"), LONG[7:])
    with refused("InvalidRange", status=416):
        read(there.client, BUCKET, "long", Range=f"bytes={total}-")


@ONCE
@pytest.mark.parametrize("size", SIZES)
def test_objects_about_the_length_of_a_window(there, far, prefix, size):
    data = LONG[:size]
    there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=data)
    far.reset()
    same(read(there.client, BUCKET, f"{prefix}a"), data)
    if KIB < size <= 8 * MIB:
        assert len(ranges(far)) == 1, far.seen


@ONCE
@pytest.mark.parametrize("part", [5, 8, 17])
def test_objects_that_clients_uploaded_in_parts(there, far, prefix, part):
    parts = {n + 1: LONG[at : at + part * MIB] for n, at in enumerate(range(0, len(LONG), part * MIB))}
    multipart(there.client, BUCKET, f"{prefix}a", parts)
    far.reset()
    same(read(there.client, BUCKET, f"{prefix}a"), LONG)
    assert len(ranges(far, prefix)) >= 4, far.seen
    same(read(there.client, BUCKET, f"{prefix}a", Range=f"bytes={MIB}-{33 * MIB}"), LONG[MIB : 33 * MIB + 1])


@ONCE
def test_conditions_hold_for_the_whole(there, far, prefix):
    at = {"Bucket": BUCKET, "Key": f"{prefix}a"}
    etag = there.client.put_object(**at, Body=LONG, IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", status=412):
        there.client.put_object(**at, Body=OTHER, IfNoneMatch="*")
    assert len(far.passed("POST", prefix)) >= 3, "the second one did not go in parts"
    assert until(lambda: not there.uploads())
    assert there.client.head_object(**at)["ETag"] == etag
    with refused("PreconditionFailed", status=412):
        read(there.client, BUCKET, f"{prefix}a", IfMatch='"other-1"')
    with refused("304", status=304):
        read(there.client, BUCKET, f"{prefix}a", IfNoneMatch=etag)
    same(read(there.client, BUCKET, f"{prefix}a", IfMatch=etag), LONG)


@ONCE
def test_what_does_not_verify_is_not_kept(there, far, prefix):
    for wrong in ({"ContentMD5": base64.b64encode(bytes(16)).decode()}, {"ChecksumCRC32": "AAAAAA=="}):
        with refused("BadDigest", status=400):
            there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG, **wrong)
    assert len(far.passed("POST", "uploads")) == 2, far.seen
    missing(there.client, BUCKET, f"{prefix}a")
    assert until(lambda: not there.uploads())


def test_a_writer_that_hangs_up_leaves_nothing(there, far, prefix):
    wire = there.gateway.wire()
    with wire.connect() as connection:
        signed = wire.signed(connection, "PUT", f"{KEY}{prefix}a")
        head = {**signed.headers, "Content-Length": str(len(LONG))}
        connection.send(connection.head("PUT", f"{KEY}{prefix}a", head))
        connection.send(LONG[: 20 * MIB])
        assert until(lambda: far.passed("PUT", "partNumber=1")), far.seen
    assert until(lambda: far.passed("DELETE", "uploadId")), far.seen
    assert until(lambda: not there.uploads())
    missing(there.client, BUCKET, f"{prefix}a")
    assert there.count("writes") == 0


def test_a_reader_that_hangs_up_ends_all_reads(there, far):
    with body_of(there, "long") as (connection, _):
        same(connection._exactly(MIB), LONG[:MIB])
    assert until(lambda: there.count("reads") == 0)
    assert len(far.passed("GET", "long")) >= 2


@ONCE
def test_a_slow_reader_gets_the_whole(there, far):
    with body_of(there, "long") as (connection, length):
        got = b""
        while len(got) < length:
            got += connection._exactly(min(4 * MIB, length - len(got)))
            time.sleep(0.05)
    same(got, LONG)


def test_a_store_that_cuts_a_range_is_asked_again(there, far):
    cut = []

    def once(seen):
        if seen.start and not cut:
            cut.append(seen)
            seen.cut_after = 3 * MIB

    far.on_request = once
    same(read(there.client, BUCKET, "long"), LONG)
    assert cut


def test_a_store_that_dies_in_a_range_cuts_the_answer(there, far):
    """What came before is the object's; the rest does not come at all."""

    def always(seen):
        if seen.start:
            seen.cut_after = 100

    far.on_request = always
    with body_of(there, "long") as (connection, length), pytest.raises(Cut) as cut:
        connection._exactly(length)
    got = cut.value.got
    assert 0 < len(got) < len(LONG) and LONG.startswith(got)
    far.reset()
    assert until(lambda: there.count("reads") == 0)
    same(read(there.client, BUCKET, "long"), LONG)


@ONCE
def test_a_replaced_object_is_never_mixed(there, far, prefix):
    for name, data in (("a", LONG), ("b", OTHER)):
        there.client.put_object(Bucket=BUCKET, Key=prefix + name, Body=data)
    far.reset()
    replaced = []

    def replace(seen):
        if seen.start and not replaced:
            replaced.append(seen)
            there.raw.copy_object(Bucket=BUCKET, Key=f"{prefix}a", CopySource={"Bucket": BUCKET, "Key": f"{prefix}b"})

    far.on_request = replace
    with body_of(there, f"{prefix}a") as (connection, length), pytest.raises(Cut) as cut:
        connection._exactly(length)
    assert replaced and LONG.startswith(cut.value.got), "bytes of another object"


@ONCE
def test_a_part_that_fails_is_sent_again(there, far, prefix):
    failed = []

    def once(seen):
        if "partNumber=2" in seen.target and not failed:
            failed.append(seen)
            seen.cut_after = 0

    far.on_request = once
    there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG)
    assert failed
    same(read(there.client, BUCKET, f"{prefix}a"), LONG)


@pytest.mark.parametrize("preset", ["generic", "seaweedfs", "ceph"])
def test_a_store_that_may_forget_conditions_gets_one_request(weed, tmp_path, prefix, preset):
    """A condition that may be lost on a completion goes with the PutObject; without one, parts do."""
    there = Place(tmp_path / "gateway", weed, "auto", backend=lambda port: store(port, preset))
    try:
        there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG, IfNoneMatch="*")
        assert not there.far.passed("POST", prefix)
        there.client.put_object(Bucket=BUCKET, Key=f"{prefix}b", Body=LONG)
        assert len(there.far.passed("POST", prefix)) == 2
    finally:
        there.close()


def test_little_memory_is_enough(weed, tmp_path, prefix):
    there = Place(tmp_path / "gateway", weed, "auto", runtime='buffer_budget = "16MiB"')
    try:
        there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG)
        assert not there.far.passed("POST", prefix), "parts take more than half of the budget"
        same(read(there.client, BUCKET, f"{prefix}a"), LONG)
    finally:
        there.close()


def test_what_is_near_is_configured(weed, tmp_path, prefix):
    """One request for each object, whatever a busy machine makes of the distance, in a fresh process too."""
    there = Place(tmp_path / "gateway", weed, "auto", backend=lambda port: store(port, far="20s"))
    try:
        there.afresh()
        there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG)
        assert [(seen.method, seen.target) for seen in there.far.seen] == [
            ("HEAD", f"/{BUCKET}"),
            ("PUT", f"{KEY}{prefix}a"),
        ]
        there.afresh()
        same(read(there.client, BUCKET, f"{prefix}a"), LONG)
        assert lines(there.far, "") == [("GET", None)]
    finally:
        there.close()


def test_a_store_that_turns_out_to_be_near_is_asked_for_the_rest(weed, tmp_path, prefix):
    """The first answer was late, the second one is quick: two windows, and one request for the rest."""
    there = Place(tmp_path / "gateway", weed, "auto", backend=lambda port: store(port, "aws", "parallel = 2", "300ms"))
    far, windows = there.far, []

    def come_near(seen):
        if seen.start and seen.start > MIB:
            windows.append(seen)
            # The first window lasts until that is known.
            far.latency, far.rate = 0.0, 20e6 if len(windows) == 1 else 1e9

    try:
        there.client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG)
        for wanted in ({}, {"Range": f"bytes=5-{len(LONG) - 1}"}):
            there.afresh()
            windows.clear()
            far.latency, far.rate, far.on_request = 0.4, 20e6, come_near
            same(read(there.client, BUCKET, f"{prefix}a", **wanted), LONG[5:] if wanted else LONG)
            starts = [seen.start for seen in windows if seen.start not in ENDS]
            assert len(starts) == 2 and starts[1] - starts[0] < 9 * MIB, far.seen
    finally:
        there.close()


def test_a_store_that_is_near_gets_one_request(weed, tmp_path, prefix):
    near = Far(weed.port, latency=0.0, rate=1e12)
    gateway = gw.Gateway(tmp_path / "gateway", store(near.port), cores=1)
    client = gateway.client()
    try:
        if BUCKET not in [b["Name"] for b in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        # On a machine that is busy itself, the least of many answers may still be late.
        for attempt in range(5):
            for _ in range(20):
                client.list_objects_v2(Bucket=BUCKET, Prefix=prefix, MaxKeys=1)
            near.reset()
            client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=LONG)
            same(read(client, BUCKET, f"{prefix}a"), LONG)
            reads = [s for s in near.passed("GET") if s.start not in ENDS]
            writes = near.passed("PUT") + near.passed("POST")
            if len(reads) + len(writes) == 2:
                break
        assert [len(reads), len(writes), reads[0].start] == [1, 1, None], near.seen
    finally:
        gateway.stop(5)
        near.close()
