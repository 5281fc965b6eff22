"""Checksums of the stored bytes that go to the store: object lock as AWS has it, and bytes that change on the way."""

import datetime
import json
import re
import subprocess

import pytest

from harness import binary, gateway as gw, weed as wd
from harness.checksums import encoded
from harness.data import blob
from harness.expect import missing, multipart, read, refused, same
from harness.liar import Exchange, Liar

pytestmark = pytest.mark.gateway

BUCKET = "e2e-sums"
PART = 5 << 20
# One block, and several.
SIZES = (0, 5, 100_000, 1_300_000)


@pytest.fixture(scope="module")
def liar(weed):
    liar = Liar(weed.port)
    for bucket in (BUCKET, f"clear-{BUCKET}"):
        weed.client().create_bucket(Bucket=bucket)
    yield liar
    liar.close()


@pytest.fixture(autouse=True)
def honest(liar):
    liar.honest()


def backend(liar, options: str) -> str:
    return gw.s3_backend(liar.endpoint, wd.ACCESS, wd.SECRET, options)


@pytest.fixture(scope="module")
def before(liar, tmp_path_factory):
    """Gateways before the store, by the options of their backend; all with one key."""
    started = {}
    folder = tmp_path_factory.mktemp("sums")

    def start(options: str = 'preset = "aws"'):
        if options not in started:
            ring = next(iter(started.values())).ring if started else None
            started[options] = gw.Gateway(folder / str(len(started)), backend(liar, options), ring=ring, cores=1)
        return started[options]

    yield start
    for gateway in started.values():
        gateway.stop(5)


def writes(liar) -> list[Exchange]:
    """PutObjects and UploadParts that reached the store."""
    return [e for e in liar.seen if e.method == "PUT" and "x-amz-copy-source" not in e.headers]


def payload(exchange: Exchange) -> tuple[bytes, dict[str, str]]:
    """What was sent without its framing, and the trailers."""
    if "x-amz-decoded-content-length" not in exchange.headers:
        return exchange.body, {}
    body, at = b"", 0
    while True:
        line, _, _ = exchange.body[at:].partition(b"\r\n")
        length = int(line.split(b";")[0], 16)
        at += len(line) + 2
        if length == 0:
            break
        body += exchange.body[at : at + length]
        at += length
        assert exchange.body[at : at + 2] == b"\r\n"
        at += 2
    lines = exchange.body[at:].decode().split("\r\n")
    assert lines[-2:] == ["", ""]
    return body, dict(line.split(":", 1) for line in lines[:-2])


def has_checksum(exchange: Exchange, algorithm: str) -> bool:
    name = f"x-amz-checksum-{algorithm.lower()}"
    body, trailers = payload(exchange)
    value = exchange.headers.get(name) or (trailers.get(name) if exchange.headers.get("x-amz-trailer") == name else None)
    return value == encoded(algorithm, body)


def as_aws(liar, consecutive: bool = False) -> None:
    """AWS, of a bucket with a default retention: no write without a checksum, of parts only as the upload announced it,
    listed with them, and a Complete that names it of every part."""
    announced, of_parts = set(), {}

    def habits(exchange: Exchange) -> None:
        headers = exchange.headers
        sums = [n for n in headers if re.fullmatch("x-amz-checksum-(crc.*|sha.*)", n)] or (
            [headers["x-amz-trailer"]] if "x-amz-trailer" in headers else []
        )
        if exchange.method == "POST" and "uploads=" in exchange.path:
            if headers.get("x-amz-checksum-type") == "FULL_OBJECT":
                announced.add(exchange.path.split("?")[0])
        elif exchange.method == "POST" and "uploadId=" in exchange.path:
            numbers = [int(n) for n in re.findall(rb"<PartNumber>(\d+)<", exchange.body)]
            if consecutive and numbers != list(range(1, len(numbers) + 1)):
                exchange.refuse(400, "InvalidPartOrder")
            elif exchange.body.count(b"<ChecksumCRC") != len(numbers):
                exchange.refuse(400, "InvalidRequest")
        elif exchange.method == "PUT" and "x-amz-copy-source" not in headers:
            part = "partNumber=" in exchange.path
            if not sums and "content-md5" not in headers or part and exchange.path.split("?")[0] not in announced:
                exchange.refuse(400, "InvalidRequest")

    def lists(exchange: Exchange) -> None:
        if exchange.status != 200 or "?" not in exchange.path:
            return
        if exchange.method == "PUT" and "partNumber=" in exchange.path:
            name = "x-amz-checksum-crc64nvme"
            value = exchange.headers.get(name) or payload(exchange)[1][name]
            of_parts[dict(exchange.answer_headers)["ETag"].strip('"')] = value
        elif exchange.method == "GET" and "uploadId=" in exchange.path:

            def listed(found: re.Match) -> bytes:
                value = of_parts[re.search(rb"[0-9a-f]{32}", found[0])[0].decode()]
                return found[0] + f"<ChecksumCRC64NVME>{value}</ChecksumCRC64NVME>".encode()

            exchange.answer = re.sub(rb"<ETag>[^<]*</ETag>", listed, exchange.answer)

    liar.before, liar.after = habits, lists


@pytest.mark.parametrize("payload_option", ["unsigned", "signed"])
@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32C"])
def test_what_is_stored_has_its_checksum(before, liar, prefix, algorithm, payload_option):
    s3 = before(f'preset = "seaweedfs"\nchecksum = "{algorithm.lower()}"\npayload = "{payload_option}"').client()
    for size in SIZES:
        key, data = f"{prefix}{size}", blob(size)
        liar.seen.clear()
        answer = s3.put_object(Bucket=BUCKET, Key=key, Body=data, ContentEncoding="gzip", ChecksumAlgorithm="SHA256")
        (put,) = writes(liar)
        assert has_checksum(put, algorithm) and put.answer_headers
        # The client's own is another thing.
        assert answer["ChecksumSHA256"] == encoded("SHA256", data) and f"Checksum{algorithm}" not in answer
        head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert head["ContentEncoding"] == "gzip"
        assert head["ChecksumSHA256"] == encoded("SHA256", data) and f"Checksum{algorithm}" not in head
        same(read(s3, BUCKET, key), data)


def test_no_checksum_without_the_option(before, liar, prefix):
    s3 = before('preset = "seaweedfs"').client()
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}object", Body=blob(3 << 20))
    multipart(s3, BUCKET, f"{prefix}parts", {1: blob(PART), 2: b"end"})
    for exchange in liar.seen:
        assert not [n for n in exchange.headers if "checksum" in n or n == "x-amz-trailer"], exchange.path
        assert b"<Checksum" not in exchange.body


@pytest.mark.parametrize("consecutive", [False, True])
def test_object_lock_of_a_store_that_asks_for_checksums(before, liar, weed, prefix, consecutive):
    bucket = f"e2e-sums-lock-{consecutive}".lower()
    retention = {"Mode": "GOVERNANCE", "Days": 1}
    weed.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3, key = before().client(), f"{prefix}object"
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
    as_aws(liar, consecutive)
    for size in (0, 100, 3 << 20):
        s3.put_object(Bucket=bucket, Key=key, Body=blob(size))
        same(read(s3, bucket, key), blob(size))
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    locked = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    s3.put_object(Bucket=bucket, Key=key, Body=b"held", **locked)
    # Long and short last parts, one sent again and one that is a copy.
    for last in (b"end", blob(PART, "end")):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{key}-parts", **locked)["UploadId"]
        at = {"Bucket": bucket, "Key": f"{key}-parts", "UploadId": upload}
        s3.upload_part(**at, PartNumber=1, Body=blob(PART, "other"))
        parts = [s3.upload_part(**at, PartNumber=1, Body=blob(PART))["ETag"], s3.upload_part(**at, PartNumber=2, Body=last)["ETag"]]
        shown = s3.list_parts(**at)
        assert not [p for p in [shown, *shown["Parts"]] if "ChecksumCRC64NVME" in p]
        done = s3.complete_multipart_upload(
            **at, MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in enumerate(parts, 1)]}
        )
        assert "ChecksumCRC64NVME" not in done
        same(read(s3, bucket, f"{key}-parts"), blob(PART) + last)
        assert s3.get_object(Bucket=bucket, Key=f"{key}-parts", PartNumber=2)["ContentLength"] == len(last)
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    at = {"Bucket": bucket, "Key": key, "UploadId": upload}
    copied = s3.upload_part_copy(**at, PartNumber=1, CopySource={"Bucket": bucket, "Key": f"{key}-parts"})["CopyPartResult"]
    assert "ChecksumCRC64NVME" not in copied
    s3.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]})
    same(read(s3, bucket, key), blob(PART) + blob(PART, "end"))
    # Without them that store refuses, so that it does ask.
    with refused("InvalidRequest", status=400):
        before('preset = "seaweedfs"').client().put_object(Bucket=bucket, Key=key, Body=b"x")


def test_objects_that_are_not_encrypted_have_checksums_too(before, liar, prefix):
    bucket, s3 = f"clear-{BUCKET}", before().client()
    as_aws(liar)
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=blob(3 << 20))
    same(read(s3, bucket, f"{prefix}object"), blob(3 << 20))
    parts = {1: blob(PART), 2: b"end"}
    multipart(s3, bucket, f"{prefix}parts", parts)
    same(read(s3, bucket, f"{prefix}parts"), parts[1] + parts[2])


def bends(liar, times: int) -> list[Exchange]:
    """Changes one byte in the middle of the next bodies."""
    bent = []

    def bend(exchange: Exchange) -> None:
        if exchange.method == "PUT" and len(bent) < times:
            bent.append(exchange)
            middle = len(exchange.body) // 2
            exchange.body = exchange.body[:middle] + bytes([exchange.body[middle] ^ 1]) + exchange.body[middle + 1 :]

    liar.before = bend
    return bent


@pytest.mark.parametrize("options", ['preset = "aws"', 'preset = "aws"\npayload = "signed"'])
def test_bytes_that_change_on_the_way_are_not_stored(before, liar, weed, prefix, options):
    gateway, key = before(options), f"{prefix}object"
    s3 = gateway.client()
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"old")
    # One block: sent again, and nobody notices.
    bent = bends(liar, 1)
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"new" * 100)
    assert [e.status for e in bent] == [400]
    same(read(s3, BUCKET, key), b"new" * 100)
    # Always: given up in a way that clients try again.
    bent = bends(liar, 1000)
    with refused("SlowDown", status=503):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"newer" * 100)
    assert len(bent) == 4
    liar.honest()
    same(read(s3, BUCKET, key), b"new" * 100)
    # Several blocks: the client's to send again.
    bent = bends(liar, 1)
    with refused("SlowDown", status=503):
        s3.put_object(Bucket=BUCKET, Key=f"{key}-long", Body=blob(3 << 20))
    assert len(bent) == 1
    missing(weed.client(), BUCKET, f"{key}-long")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=f"{key}-parts")["UploadId"]
    at = {"Bucket": BUCKET, "Key": f"{key}-parts", "UploadId": upload}
    bent = bends(liar, 1)
    with refused("SlowDown", status=503):
        s3.upload_part(**at, PartNumber=1, Body=blob(PART))
    assert len(bent) == 1
    etag = s3.upload_part(**at, PartNumber=1, Body=blob(PART))["ETag"]
    s3.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    same(read(s3, BUCKET, f"{key}-parts"), blob(PART))
    assert "a body was damaged on its way to the store" in gateway.log.read_text()


def test_the_check_tries_the_checksums(liar, tmp_path):
    def check(options: str):
        config = gw.Gateway(tmp_path / "gateway", backend(liar, options), start=False).config
        argv = [binary(), "check", "--config", str(config), "--store", "--bucket", BUCKET, "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        found = {f["tried"]: (f["store"], f["stands"]) for f in json.loads(done.stdout)["findings"]}
        return done, {what: found[what] for what in found if what.startswith("CRC")}

    ways = ["CRC64NVME of PutObject as a header", "CRC64NVME of PutObject as a trailer", "CRC64NVME of a part that leaves numbers out"]
    done, found = check('preset = "seaweedfs"')
    assert (done.returncode, found) == (0, {})
    options = 'preset = "seaweedfs"\nchecksum = "crc64nvme"'
    done, found = check(options)
    assert done.returncode == 0, done.stderr
    assert found == dict(zip(ways, [("compared", "same"), ("compared", "same"), ("taken", "same")]))

    def refuses(exchange: Exchange) -> None:
        if "x-amz-checksum-crc64nvme" in exchange.headers or "x-amz-checksum-algorithm" in exchange.headers:
            exchange.refuse(501, "NotImplemented")

    liar.before = refuses
    done, found = check(options)
    assert done.returncode == 1 and found[ways[0]] == ("refused: 501 NotImplemented", "broken")
    assert ways[0] in done.stderr and 'set checksum = "none"' in done.stderr and "preset" not in done.stderr


def test_a_store_that_cannot_is_a_configuration_error(tmp_path):
    for preset in ("ceph", "garage"):
        more = f'preset = "{preset}"\nchecksum = "crc64nvme"'
        config = gw.Gateway(tmp_path / preset, gw.s3_backend("http://127.0.0.1:1", "a", "b", more), start=False).config
        done = subprocess.run([binary(), "check", "--config", str(config)], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "backend.checksum" in done.stderr and preset in done.stderr and 'write "none"' in done.stderr
