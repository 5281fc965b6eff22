"""A store that cuts, resets, refuses and comes back: the client sees a whole object or a clear error."""

import threading

import pytest

from harness import gateway as gw, weed as wd
from harness.data import MIB, PART, blob
from harness.expect import listed, read, same
from harness.proxy import Proxy
from harness.wire import Cut

pytestmark = pytest.mark.gateway

BUCKET = "e2e-faults"
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 92\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>     "
)


@pytest.fixture(scope="module", params=["auto", "epoll"])
def faulty(request, weed, tmp_path_factory):
    """(proxy, gateway behind which it is)."""
    folder = tmp_path_factory.mktemp("faults")
    proxy = Proxy(weed.port)
    backend = gw.s3_backend(f"http://127.0.0.1:{proxy.port}", wd.ACCESS, wd.SECRET)
    gateway = gw.Gateway(folder / "gateway", backend, driver=request.param)
    client = gateway.client()
    if BUCKET not in [b["Name"] for b in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    yield proxy, gateway
    gateway.stop()
    proxy.close()


@pytest.fixture
def proxy(faulty):
    return faulty[0]


@pytest.fixture
def client(faulty):
    return faulty[1].client()


@pytest.mark.parametrize("after", [1000, 100_000, 3 * MIB, 8 * MIB])
def test_cut_reads_are_resumed(proxy, client, prefix, after):
    """The store ends in the middle of a body; the client notices nothing."""
    data = blob(8 * MIB + 77)
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=data)
    faults = proxy.faults
    # Whatever connection is pooled has passed bytes already: begin with a new one, so that `after` counts from here.
    proxy.drop_all()
    proxy.cut_answer = (after, None)
    same(read(client, BUCKET, f"{prefix}a"), data)
    assert proxy.faults == faults + 1, "the fault did not happen"


def test_resumed_reads_never_mix_two_objects(proxy, faulty, client, weed, prefix):
    """The object is replaced between the cut and the resumption: the read must not go on with the new one."""
    first, second = blob(8 * MIB, "first"), blob(8 * MIB, "second")
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=first)
    client.put_object(Bucket=BUCKET, Key=f"{prefix}b", Body=second)

    def replace():
        # By the store's own copy, so that no further request passes the proxy.
        raw = wd.client(weed.endpoint, wd.ACCESS, wd.SECRET)
        raw.copy_object(Bucket=BUCKET, Key=f"{prefix}a", CopySource={"Bucket": BUCKET, "Key": f"{prefix}b"})

    proxy.drop_all()
    proxy.cut_answer = (4 * MIB, replace)
    faults, wire = proxy.faults, faulty[1].wire()
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", f"/{BUCKET}/{prefix}a")
        connection.send(connection.head("GET", f"/{BUCKET}/{prefix}a", signed.headers))
        status, headers = connection.read_head()
        assert status == 200
        try:
            same(connection._exactly(int(headers["content-length"])), first)
        except Cut as cut:
            assert first.startswith(cut.got), "bytes of another object"
    assert proxy.faults == faults + 1, "the fault did not happen"


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_idle_connections_that_the_store_closed(proxy, client, prefix, reset):
    """A pooled connection that has died is not the client's trouble, whatever it asks next."""
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=b"value")
    calls = {
        "get": lambda: read(client, BUCKET, f"{prefix}a"),
        "head": lambda: client.head_object(Bucket=BUCKET, Key=f"{prefix}a"),
        "list": lambda: listed(client, BUCKET, prefix),
        "put": lambda: client.put_object(Bucket=BUCKET, Key=f"{prefix}b", Body=blob(200_000)),
        "copy": lambda: client.copy_object(
            Bucket=BUCKET, Key=f"{prefix}c", CopySource={"Bucket": BUCKET, "Key": f"{prefix}a"}
        ),
        "delete": lambda: client.delete_object(Bucket=BUCKET, Key=f"{prefix}c"),
    }
    for name, call in calls.items():
        for _ in range(3):
            proxy.drop_all(reset)
            call()


@pytest.mark.parametrize("after", [1, 100_000, 4 * MIB])
def test_cut_uploads_are_whole_or_an_error(proxy, client, prefix, after):
    data = blob(6 * MIB)
    proxy.drop_all()
    proxy.cut_request = after
    try:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=data)
    except client.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 502, 503, 504), error
        assert not listed(client, BUCKET, prefix)
    else:
        same(read(client, BUCKET, f"{prefix}a"), data)
    # An upload that ended before the fault was due leaves it armed.
    proxy.cut_request = None
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=data)
    same(read(client, BUCKET, f"{prefix}a"), data)


def test_cut_parts_are_whole_or_an_error(proxy, client, prefix):
    at = {"Bucket": BUCKET, "Key": f"{prefix}a"}
    upload = client.create_multipart_upload(**at)["UploadId"]
    parts = []
    for number in (1, 2):
        proxy.drop_all()
        proxy.cut_request = 2 * MIB
        for attempt in range(3):
            try:
                etag = client.upload_part(**at, UploadId=upload, PartNumber=number, Body=blob(PART, number))["ETag"]
                break
            except client.exceptions.ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500, error
        parts.append({"PartNumber": number, "ETag": etag})
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    same(read(client, BUCKET, at["Key"]), blob(PART, 1) + blob(PART, 2))


def test_one_slow_down_is_not_passed_on_for_reads(proxy, client, prefix):
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=b"value")
    for call in (
        lambda: read(client, BUCKET, f"{prefix}a"),
        lambda: client.head_object(Bucket=BUCKET, Key=f"{prefix}a"),
        lambda: listed(client, BUCKET, prefix),
    ):
        proxy.canned = [SLOW_DOWN]
        call()
        assert not proxy.canned, "the fault did not happen"


def test_a_store_that_only_slows_down_is_a_503(proxy, client, prefix):
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=b"value")
    proxy.canned = [SLOW_DOWN] * 50
    try:
        with pytest.raises(client.exceptions.ClientError) as caught:
            client.get_object(Bucket=BUCKET, Key=f"{prefix}a")
        answer = caught.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503 and answer["Error"]["Code"] in (
            "SlowDown",
            "ServiceUnavailable",
        )
    finally:
        proxy.canned = []
    assert read(client, BUCKET, f"{prefix}a") == b"value"


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<ListBucketResult>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot < xml",
        b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"v" * 200_000 + b"\r\n\r\n",
    ],
    ids=["no-http", "two-lengths", "cut", "no-xml", "endless-head"],
)
def test_nonsense_from_the_store_is_an_error(proxy, faulty, client, prefix, answer):
    """Never a crash, never an empty success."""
    client.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=b"value")
    proxy.canned = [answer] * 20
    # A body that is cut short: whoever waits for the rest sees the store go away.
    over = threading.Event()

    def go_away() -> None:
        while not over.wait(0.3):
            proxy.drop_all()

    leaving = threading.Thread(target=go_away)
    if answer.endswith(b"<ListBucketResult>"):
        leaving.start()
    try:
        with pytest.raises(client.exceptions.ClientError) as caught:
            client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 502, 503, 504)
    finally:
        proxy.canned = []
        over.set()
        if leaving.ident:
            leaving.join()
        proxy.drop_all()
    assert faulty[1].daemon.process.poll() is None
    assert read(client, BUCKET, f"{prefix}a") == b"value"
