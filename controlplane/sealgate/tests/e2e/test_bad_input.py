"""Requests that are wrong or hostile: the right error or a closed connection, nothing stored, and the
next request works."""

import socket
import time

import pytest

from harness.data import CHUNK, PART, blob
from harness.expect import missing, read, refused
from harness.wire import Cut, S3Wire

pytestmark = pytest.mark.gateway


@pytest.fixture(autouse=True)
def next_request_works(s3, bucket, prefix):
    yield
    s3.put_object(Bucket=bucket, Key=f"{prefix}next", Body=b"still fine")
    assert read(s3, bucket, f"{prefix}next") == b"still fine"


# ---- bodies that end early -----------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 1, CHUNK, 100_000, 999_999])
@pytest.mark.parametrize("how", ["shutdown", "close", "reset"])
def test_truncated_body_stores_nothing(wire, s3, place, bucket, prefix, sent, how):
    data, key = blob(1_000_000), f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=f"{key}-old", Body=b"old")
    for name in (key, f"{key}-old"):
        with wire.connect() as connection:
            target = f"/{bucket}/{name}"
            signed = wire.signed(connection, "PUT", target, {"Content-Length": str(len(data))})
            connection.send(connection.head("PUT", target, signed.headers) + data[:sent])
            if how == "shutdown":
                connection.socket.shutdown(socket.SHUT_WR)
                try:
                    answer = connection.answer()
                    assert answer.status in (400, 408), answer
                except Cut:
                    pass
            elif how == "reset":
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    time.sleep(0.1)
    missing(s3, bucket, key)
    assert read(s3, bucket, f"{key}-old") == b"old"


def test_truncated_part_is_no_part(wire, s3, bucket, prefix):
    at = {"Bucket": bucket, "Key": f"{prefix}object"}
    upload = s3.create_multipart_upload(**at)["UploadId"]
    with wire.connect() as connection:
        target = f"/{bucket}/{at['Key']}?partNumber=1&uploadId={upload}"
        signed = wire.signed(connection, "PUT", target, {"Content-Length": str(PART)})
        connection.send(connection.head("PUT", target, signed.headers) + blob(PART - 1))
    time.sleep(0.2)
    assert not s3.list_parts(**at, UploadId=upload).get("Parts")
    s3.abort_multipart_upload(**at, UploadId=upload)


def test_put_needs_a_length(wire, s3, bucket, prefix):
    answer = wire.request("PUT", f"/{bucket}/{prefix}object", {"Transfer-Encoding": "chunked"}, b"1\r\nx\r\n0\r\n\r\n", length=False)
    assert (answer.status, answer.code) == (411, "MissingContentLength"), answer
    missing(s3, bucket, f"{prefix}object")


@pytest.mark.parametrize("length", [5 * 1024**3 + 1, 2**63, 2**64, 10**30])
def test_too_large_is_refused_at_once(wire, bucket, prefix, length):
    with wire.connect(10) as connection:
        target = f"/{bucket}/{prefix}object"
        signed = wire.signed(connection, "PUT", target, {"Content-Length": str(length)})
        connection.send(connection.head("PUT", target, signed.headers))
        answer = connection.answer()
    assert answer.status == 400, answer
    assert length > 2**63 or answer.code == "EntityTooLarge", answer


# ---- heads ---------------------------------------------------------------------------------------


def test_oversize_header(wire, bucket):
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", f"/{bucket}", {"x-long": "v" * 100_000})
        connection.send_quietly(connection.head("GET", f"/{bucket}", signed.headers))
        try:
            assert connection.answer().status in (400, 431)
        except Cut as cut:
            assert cut.got == b""


def test_too_many_headers(wire, bucket):
    with wire.connect() as connection:
        headers = {f"x-h{n}": "v" for n in range(2000)}
        signed = wire.signed(connection, "GET", f"/{bucket}", headers)
        connection.send_quietly(connection.head("GET", f"/{bucket}", signed.headers))
        try:
            assert connection.answer().status in (400, 431)
        except Cut as cut:
            assert cut.got == b""


def test_oversize_request_line(wire, bucket):
    with wire.connect() as connection:
        connection.send_quietly(f"GET /{bucket}/{'k' * 100_000} HTTP/1.1\r\nHost: {connection.host}\r\n\r\n".encode())
        try:
            assert connection.answer().status in (400, 414, 431)
        except Cut as cut:
            assert cut.got == b""


def test_endless_head_is_cut(wire):
    """A head that never ends is bounded in bytes."""
    with wire.connect() as connection:
        connection.send_quietly(b"GET / HTTP/1.1\r\n")
        for _ in range(2000):
            connection.send_quietly(b"x-filler: " + b"v" * 90 + b"\r\n")
        try:
            assert connection.answer().status in (400, 431)
        except Cut as cut:
            assert cut.got == b""


# ---- request smuggling ---------------------------------------------------------------------------

# Each is sent after a valid signature for these headers; all must be refused with 400 (or 501) and
# the connection closed, so that the rest is never read as a second request.
SMUGGLING = {
    "CL and TE": [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
    "TE and CL": [("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
    "two lengths": [("Content-Length", "5"), ("Content-Length", "6")],
    "two equal lengths": [("Content-Length", "5"), ("Content-Length", "5")],
    "list of lengths": [("Content-Length", "5, 5")],
    "plus": [("Content-Length", "+5")],
    "minus": [("Content-Length", "-5")],
    "hex": [("Content-Length", "0x5")],
    "space inside": [("Content-Length", "5 5")],
    "no number": [("Content-Length", "")],
    "unknown coding": [("Transfer-Encoding", "gzip, chunked")],
    "chunked twice": [("Transfer-Encoding", "chunked, chunked")],
    "chunked not last": [("Transfer-Encoding", "chunked, identity")],
    "space before colon": [("Content-Length ", "5")],
    "name with tab": [("Content\tLength", "5")],
    "TE with vertical tab": [("Transfer-Encoding", "\x0bchunked")],
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_smuggling_by_headers(wire, s3, bucket, prefix, name):
    target, inner = f"/{bucket}/{prefix}object", f"/{bucket}/{prefix}smuggled"
    with wire.connect() as connection:
        signed = wire.signed(connection, "PUT", target)
        lines = [*signed.headers.items(), *SMUGGLING[name]]
        second = wire.signed(connection, "PUT", inner, {"Content-Length": "1"})
        rest = b"0\r\n\r\n" + connection.head("PUT", inner, second.headers) + b"x"
        connection.send_quietly(connection.head("PUT", target, lines) + rest)
        try:
            answer = connection.answer()
            assert answer.status in (400, 501), f"{name}: {answer}"
            assert connection.closed_by_peer(), f"{name}: the connection stays open"
        except Cut as cut:
            assert cut.got == b""
    missing(s3, bucket, f"{prefix}object")
    missing(s3, bucket, f"{prefix}smuggled")


RAW_HEADS = {
    "bare LF": b"GET / HTTP/1.1\nHost: h\n\n",
    "bare LF in a header": b"GET / HTTP/1.1\r\nHost: h\r\nX-A: b\nX-C: d\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: h\r\nX-A: b\r\n continued\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: h\r\nX-A: b\rX-C: d\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: h\r\nX-A: b\0c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "header without name": b"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nHost: h\r\nnothing\r\n\r\n",
    "space first": b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "version 2": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "version 0.9": b"GET /\r\n\r\n",
    "no version": b"GET / \r\nHost: h\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"A" * 100 + b"\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", RAW_HEADS)
def test_malformed_heads(wire, name):
    with wire.connect() as connection:
        connection.send_quietly(RAW_HEADS[name] + b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
        try:
            answer = connection.answer()
            assert answer.status in (400, 505, 501), f"{name}: {answer}"
            assert connection.closed_by_peer(), f"{name}: the connection stays open"
        except Cut as cut:
            assert cut.got == b""


CHUNKS = {
    "plus": b"+1\r\nx\r\n0\r\n\r\n",
    "hex prefix": b"0x1\r\nx\r\n0\r\n\r\n",
    "too long": b"11111111111111111\r\nx\r\n0\r\n\r\n",
    "negative": b"-1\r\nx\r\n0\r\n\r\n",
    "bare LF": b"1\nx\n0\n\n",
    "no CRLF after data": b"1\r\nxy\r\n0\r\n\r\n",
    "endless extension": b"1;" + b"e" * 100_000,
    "extension with LF": b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "no size": b"\r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_malformed_chunks(wire, s3, bucket, prefix, name):
    """An aws-chunked body in broken HTTP chunks."""
    target = f"/{bucket}/{prefix}object"
    with wire.connect() as connection:
        headers = {"x-amz-decoded-content-length": "1", "Transfer-Encoding": "chunked"}
        signed = wire.signed(connection, "PUT", target, headers, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        connection.send_quietly(connection.head("PUT", target, signed.headers) + CHUNKS[name])
        try:
            answer = connection.answer()
            assert answer.status in (400, 403), f"{name}: {answer}"
        except Cut as cut:
            assert cut.got == b""
    missing(s3, bucket, f"{prefix}object")


def test_get_with_a_body_does_not_poison_the_connection(wire, s3, bucket, prefix):
    """The body of a GET is read past, or the connection is closed; it is never taken for a request."""
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"value")
    target = f"/{bucket}/{prefix}a"
    with wire.connect() as connection:
        inner = wire.signed(connection, "PUT", f"/{bucket}/{prefix}smuggled", {"Content-Length": "0"})
        body = connection.head("PUT", f"/{bucket}/{prefix}smuggled", inner.headers)
        signed = wire.signed(connection, "GET", target, {"Content-Length": str(len(body))})
        connection.send(connection.head("GET", target, signed.headers) + body)
        answer = connection.answer()
        assert answer.status in (200, 400), answer
    missing(s3, bucket, f"{prefix}smuggled")


# ---- pipelining and keep-alive -------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(wire, s3, bucket, prefix):
    for n in range(20):
        s3.put_object(Bucket=bucket, Key=f"{prefix}{n}", Body=b"body %d" % n)
    with wire.connect() as connection:
        out = b""
        for n in range(20):
            method = "HEAD" if n % 5 == 4 else "GET"
            signed = wire.signed(connection, method, f"/{bucket}/{prefix}{n}")
            out += connection.head(method, f"/{bucket}/{prefix}{n}", signed.headers)
        connection.send(out)
        for n in range(20):
            answer = connection.answer("HEAD" if n % 5 == 4 else "GET")
            assert answer.status == 200
            assert answer.body == (b"" if n % 5 == 4 else b"body %d" % n)


def test_errors_keep_the_connection_where_that_is_safe(wire, s3, bucket, prefix):
    with wire.connect() as connection:
        for _ in range(3):
            signed = wire.signed(connection, "GET", f"/{bucket}/{prefix}nothing")
            connection.send(connection.head("GET", f"/{bucket}/{prefix}nothing", signed.headers))
            assert connection.answer().code == "NoSuchKey"


def test_connection_close_is_obeyed(wire, bucket):
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", f"/{bucket}?location", {"Connection": "close"})
        connection.send(connection.head("GET", f"/{bucket}?location", signed.headers))
        answer = connection.answer()
        assert answer.status == 200 and answer.headers.get("connection", "").lower() == "close", answer
        assert connection.closed_by_peer()


def test_http_1_0(wire, s3, bucket, prefix):
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"value")
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", f"/{bucket}/{prefix}a")
        head = connection.head("GET", f"/{bucket}/{prefix}a", signed.headers).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        connection.send(head)
        answer = connection.answer()
        assert answer.status in (200, 505)
        if answer.status == 200:
            assert answer.body == b"value"
            assert connection.closed_by_peer()


# ---- operations that are not there ---------------------------------------------------------------


@pytest.mark.parametrize("query", ["acl2", "foo", "Acl", "website2", "versionId=1"])
def test_unknown_bucket_sub_resources(wire, bucket, query):
    """Never a listing by accident."""
    for method in ("GET", "PUT"):
        answer = wire.request(method, f"/{bucket}?{query}")
        known = (501, "NotImplemented"), (405, "MethodNotAllowed")
        assert (answer.status, answer.code) in known, f"{method} {query}: {answer}"


@pytest.mark.parametrize("query", ["torrent", "select&select-type=2", "foo", "Tagging", "policy"])
def test_unknown_object_sub_resources(wire, s3, bucket, prefix, query):
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"value")
    for method in ("GET", "PUT", "DELETE"):
        answer = wire.request(method, f"/{bucket}/{prefix}a?{query}")
        # A known sub-resource with a method that it never has is 405 in S3.
        known = (501, "NotImplemented"), (405, "MethodNotAllowed")
        assert (answer.status, answer.code) in known, f"{method} {query}: {answer}"
    assert read(s3, bucket, f"{prefix}a") == b"value"


def test_delete_of_a_bucket_sub_resource_is_no_delete_bucket(wire, s3, place):
    name = place.bucket("e2e-subresource")
    for query in ("lifecycle", "policy", "cors", "tagging", "foo"):
        answer = wire.request("DELETE", f"/{name}?{query}")
        # Stores differ in what they say when there is nothing to delete.
        assert answer.status in (204, 404, 501) and answer.code != "NoSuchBucket", f"{query}: {answer}"
        assert s3.head_bucket(Bucket=name)
    s3.delete_bucket(Bucket=name)


def test_unknown_methods(wire, bucket, prefix):
    for method in ("PATCH", "TRACE", "CONNECT", "PROPFIND", "get"):
        answer = wire.request(method, f"/{bucket}/{prefix}a")
        assert answer.status in (400, 405, 501), f"{method}: {answer}"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"x-amz-acl": "public-read"},
        {"x-amz-website-redirect-location": "/other"},
        {"x-amz-object-lock-mode": "GOVERNANCE"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-storage-class": "GLACIER"},
    ],
    ids=lambda h: next(iter(h)),
)
def test_headers_are_honoured_or_refused_never_dropped(place, wire, bucket, prefix, headers):
    """Each is passed to the store (and shows there), or refused with an error."""
    if place.store == "seaweed" and "x-amz-website-redirect-location" in headers:
        return  # SeaweedFS itself drops this one
    target = f"/{bucket}/{prefix}object"
    answer = wire.request("PUT", target, headers, b"x")
    if answer.status >= 400:
        assert answer.status in (400, 501), answer
        return
    name, value = next(iter(headers.items()))
    head = wire.request("HEAD", target)
    if name == "x-amz-storage-class":
        assert head.headers.get(name) == value, head
    elif name == "x-amz-tagging":
        assert head.headers.get("x-amz-tagging-count") == "1", head
    elif name != "x-amz-acl":
        assert head.headers.get(name) == value, head


def test_error_document(wire, bucket, prefix):
    import xml.etree.ElementTree as ET

    answer = wire.request("GET", f"/{bucket}/{prefix}no%26such%3Ckey")
    root = ET.fromstring(answer.body)
    assert root.tag == "Error" and root.findtext("Code") == "NoSuchKey" and root.findtext("Message")
    assert root.findtext("RequestId") == answer.headers["x-amz-request-id"]
    assert answer.headers["content-type"] == "application/xml"


def test_malformed_create_bucket(wire):
    for body in (b"<Create", b"<Wrong/>", b"\xff\xfe"):
        answer = wire.request("PUT", "/e2e-malformed", {}, body)
        assert (answer.status, answer.code) == (400, "MalformedXML"), f"{body}: {answer}"


# ---- slow peers ----------------------------------------------------------------------------------


def test_idle_and_half_open_connections_do_not_block_others(wire, s3, bucket, prefix):
    idle = [wire.connect() for _ in range(200)]
    try:
        for connection in idle[::2]:
            connection.send(b"GET / HTTP/1.1\r\nHo")
        s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"x")
        assert read(s3, bucket, f"{prefix}a") == b"x"
    finally:
        for connection in idle:
            connection.close()


def test_reader_that_stops_reading_does_not_block_others(wire, s3, bucket, prefix):
    data = blob(8 * 1024 * 1024)
    s3.put_object(Bucket=bucket, Key=f"{prefix}big", Body=data)
    stalled = []
    for _ in range(8):
        connection = wire.connect()
        signed = wire.signed(connection, "GET", f"/{bucket}/{prefix}big")
        connection.send(connection.head("GET", f"/{bucket}/{prefix}big", signed.headers))
        stalled.append(connection)
    time.sleep(0.2)
    assert read(s3, bucket, f"{prefix}big") == data
    answer = stalled[0].answer()
    assert answer.body == data
    for connection in stalled:
        connection.close()


def test_reader_that_leaves_early(wire, s3, bucket, prefix):
    s3.put_object(Bucket=bucket, Key=f"{prefix}big", Body=blob(8 * 1024 * 1024))
    for _ in range(5):
        with wire.connect() as connection:
            signed = wire.signed(connection, "GET", f"/{bucket}/{prefix}big")
            connection.send(connection.head("GET", f"/{bucket}/{prefix}big", signed.headers))
            connection.read_head()


def test_wrong_secret_over_a_large_body(place, s3, bucket, prefix):
    """A refusal comes without the gateway reading gigabytes first."""
    wire = S3Wire(place.endpoint, place.access, "wrong secret")
    with wire.connect(10) as connection:
        target = f"/{bucket}/{prefix}object"
        signed = wire.signed(connection, "PUT", target, {"Content-Length": str(1 << 30)})
        connection.send(connection.head("PUT", target, signed.headers))
        answer = connection.answer()
    assert answer.status == 403
    with refused("404"):
        s3.head_object(Bucket=bucket, Key=f"{prefix}object")
