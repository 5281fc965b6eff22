"""Who may ask: signatures in headers and in URLs, clocks, unknown keys, virtual hosts."""

import datetime
import urllib.parse

import pytest
import requests

from harness import sigv4
from harness.data import PART, blob
from harness.expect import missing, read, refused
from harness.wire import S3Wire

MINUTE = datetime.timedelta(minutes=1)


def test_wrong_secret_and_unknown_key(place, bucket, prefix):
    wire = S3Wire(place.endpoint, place.access, place.secret + "x")
    answer = wire.request("PUT", f"/{bucket}/{prefix}object", {}, b"x")
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), answer
    wire = S3Wire(place.endpoint, "NOSUCHKEY", place.secret)
    answer = wire.request("PUT", f"/{bucket}/{prefix}object", {}, b"x")
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId"), answer
    missing(place.s3, bucket, f"{prefix}object")


def test_anonymous(place, bucket, prefix):
    place.s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=b"x")
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        answer = requests.request(method, f"{place.endpoint}/{bucket}/{prefix}object", data=b"y")
        assert answer.status_code == 403, f"{method}: {answer.status_code}"
    answer = requests.get(f"{place.endpoint}/{bucket}/{prefix}object")
    assert "<Code>AccessDenied</Code>" in answer.text
    assert read(place.s3, bucket, f"{prefix}object") == b"x"


@pytest.mark.parametrize("skew", [-14, 14])
def test_small_clock_skew_is_fine(wire, bucket, prefix, skew):
    wire.signer.skew = skew * MINUTE
    assert wire.request("PUT", f"/{bucket}/{prefix}object", {}, b"x").status == 200


@pytest.mark.parametrize("skew", [-16, 16, -60 * 24])
def test_skewed_clock(wire, s3, bucket, prefix, skew):
    wire.signer.skew = skew * MINUTE
    answer = wire.request("PUT", f"/{bucket}/{prefix}object", {}, b"x")
    assert answer.status == 403 and answer.code in ("RequestTimeTooSkewed", "SignatureDoesNotMatch"), answer
    missing(s3, bucket, f"{prefix}object")


@pytest.mark.gateway
def test_skew_has_its_own_error_code(wire, bucket, prefix):
    wire.signer.skew = 20 * MINUTE
    assert wire.request("GET", f"/{bucket}/{prefix}x").code == "RequestTimeTooSkewed"


@pytest.mark.gateway
def test_wrong_scope(wire, bucket):
    wire.signer.service = "ec2"
    answer = wire.request("GET", f"/{bucket}")
    assert answer.status in (400, 403), answer


def test_changed_request_parts_break_the_signature(wire, s3, bucket, prefix):
    """Method, path, query, signed header: each is covered."""
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"x")
    target = f"/{bucket}/{prefix}a?response-content-type=text%2Fplain"
    changes = {
        "method": ("PUT", target, {}),
        "path": ("GET", target.replace(f"{prefix}a", f"{prefix}b"), {}),
        "query": ("GET", target.replace("plain", "html"), {}),
        "dropped query": ("GET", target.split("?")[0], {}),
        "header": ("GET", target, {"x-amz-meta-a": "other"}),
        "host": ("GET", target, {"Host": "evil.example"}),
    }
    for name, (method, sent, headers) in changes.items():
        with wire.connect() as connection:
            signed = wire.signed(connection, "GET", target, {"x-amz-meta-a": "value"})
            connection.send(connection.head(method, sent, {**signed.headers, **headers}))
            answer = connection.answer()
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), f"{name}: {answer}"
    missing(s3, bucket, f"{prefix}b")


@pytest.mark.gateway
def test_unsigned_amz_headers_are_refused(wire, s3, bucket, prefix):
    """An x-amz-* header that is present but not signed could have been added on the way."""
    target = f"/{bucket}/{prefix}object"
    with wire.connect() as connection:
        signed = wire.signed(
            connection, "PUT", target, {"Content-Length": "1", "x-amz-meta-a": "1"}, leave_unsigned=("x-amz-meta-a",)
        )
        connection.send(connection.head("PUT", target, signed.headers) + b"x")
        answer = connection.answer()
    assert answer.status == 403, answer
    missing(s3, bucket, f"{prefix}object")


@pytest.mark.gateway
def test_host_must_be_signed(wire, bucket):
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", f"/{bucket}", leave_unsigned=("host",))
        connection.send(connection.head("GET", f"/{bucket}", signed.headers))
        answer = connection.answer()
    assert answer.status in (400, 403), answer


@pytest.mark.gateway
@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer abc",
        "AWS AKID:signature",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=xyz",
        "AWS4-HMAC-SHA256 Credential=E2EROOT/20200101/us-east-1/s3/aws4_request, SignedHeaders=, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 " + "," * 2000,
    ],
)
def test_malformed_authorization(wire, bucket, value):
    with wire.connect() as connection:
        signed = wire.signed(connection, "GET", f"/{bucket}")
        connection.send(connection.head("GET", f"/{bucket}", {**signed.headers, "Authorization": value}))
        answer = connection.answer()
    assert answer.status in (400, 403), answer


@pytest.mark.gateway
def test_two_kinds_of_authentication_at_once(wire, bucket):
    with wire.connect() as connection:
        target = wire.signer.presign("GET", f"/{bucket}", connection.host, 60)
        signed = wire.signed(connection, "GET", target)
        connection.send(connection.head("GET", target, signed.headers))
        answer = connection.answer()
    assert (answer.status, answer.code) == (400, "InvalidArgument"), answer


# ---- presigned URLs ------------------------------------------------------------------------------


def test_presigned_get_and_put(place, bucket, prefix):
    s3, key = place.s3, f"{prefix}pre signed+ü"
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
    assert requests.put(url, data=b"presigned").status_code == 200
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
    answer = requests.get(url)
    assert (answer.status_code, answer.content) == (200, b"presigned")
    answer = requests.get(url, headers={"Range": "bytes=3-5"})
    assert (answer.status_code, answer.content) == (206, b"sig")
    assert requests.head(url).status_code == 403
    assert requests.put(url, data=b"no").status_code == 403


def test_presigned_with_overrides(place, bucket, prefix):
    s3, key = place.s3, f"{prefix}object"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    params = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": 'attachment; filename="ü.txt"'}
    answer = requests.get(s3.generate_presigned_url("get_object", Params=params))
    assert answer.status_code == 200 and answer.headers["content-disposition"].startswith("attachment")


def test_presigned_multipart(place, bucket, prefix):
    s3, at = place.s3, {"Bucket": bucket, "Key": f"{prefix}object"}
    upload = s3.create_multipart_upload(**at)["UploadId"]
    parts = []
    for number, data in ((1, blob(PART)), (2, b"end")):
        params = {**at, "UploadId": upload, "PartNumber": number}
        answer = requests.put(s3.generate_presigned_url("upload_part", Params=params), data=data)
        assert answer.status_code == 200, answer.text
        parts.append({"PartNumber": number, "ETag": answer.headers["ETag"]})
    s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    assert read(s3, bucket, at["Key"]) == blob(PART) + b"end"


def test_presigned_head_delete_and_multipart(place, bucket, prefix):
    """Every step of an upload and its end, by URLs alone; each is good for its own method and parameters."""
    s3, at = place.s3, {"Bucket": bucket, "Key": f"{prefix}object"}

    def url(operation, **params):
        return s3.generate_presigned_url(operation, Params={**at, **params})

    answer = requests.post(url("create_multipart_upload", Metadata={"a": "1"}), headers={"x-amz-meta-a": "1"})
    assert answer.status_code == 200, answer.text
    upload = answer.text.partition("<UploadId>")[2].partition("</UploadId>")[0]
    answer = requests.put(url("upload_part", UploadId=upload, PartNumber=1), data=b"part")
    assert answer.status_code == 200, answer.text
    listed = requests.get(url("list_parts", UploadId=upload))
    assert listed.status_code == 200 and "<Size>4</Size>" in listed.text, listed.text
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{answer.headers['ETag']}</ETag></Part></CompleteMultipartUpload>"
    )
    complete = url("complete_multipart_upload", UploadId=upload)
    changed = requests.post(complete.replace(upload, upload + "0"), data=document)
    assert changed.status_code == 403, changed.text
    assert requests.post(complete, data=document).status_code == 200
    assert read(s3, bucket, at["Key"]) == b"part"
    head = url("head_object")
    answer = requests.head(head)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "4")
    assert answer.headers["x-amz-meta-a"] == "1"
    for method in ("GET", "PUT", "DELETE"):
        assert requests.request(method, head).status_code == 403, method
    assert requests.delete(url("delete_object")).status_code == 204
    missing(s3, bucket, at["Key"])
    aborted = s3.create_multipart_upload(**at)["UploadId"]
    assert requests.delete(url("abort_multipart_upload", UploadId=aborted)).status_code == 204


def presigned(wire, method, target, expires=60, extra=None, body=b"", headers=None):
    with wire.connect() as connection:
        target = wire.signer.presign(method, target, connection.host, expires, extra)
        headers = {"Host": connection.host, **(headers or {})}
        if method == "PUT":
            headers["Content-Length"] = str(len(body))
        connection.send(connection.head(method, target, headers) + body)
        return connection.answer(method)


def test_presigned_expiry(wire, s3, bucket, prefix):
    """A presigned URL lives from its date to its expiry; the 15-minute rule is not for it."""
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=b"x")
    target = f"/{bucket}/{prefix}object"
    wire.signer.skew = -60 * MINUTE
    assert presigned(wire, "GET", target, 3 * 3600).status == 200
    answer = presigned(wire, "GET", target, 1800)
    assert (answer.status, answer.code) == (403, "AccessDenied"), answer


@pytest.mark.gateway
@pytest.mark.parametrize("expires", [-1, 0, 604801, 10**12])
def test_presigned_expiry_bounds(wire, bucket, expires):
    answer = presigned(wire, "GET", f"/{bucket}", expires)
    assert answer.status in (400, 403), answer


@pytest.mark.gateway
def test_presigned_from_the_future(wire, bucket):
    wire.signer.skew = 60 * MINUTE
    assert presigned(wire, "GET", f"/{bucket}", 604800).status == 403


@pytest.mark.gateway
def test_presigned_signed_headers_are_needed(wire, s3, bucket, prefix):
    target = f"/{bucket}/{prefix}object"
    extra = {"x-amz-meta-a": "1"}
    answer = presigned(wire, "PUT", target, extra=extra, body=b"x", headers=extra)
    assert answer.status == 200, answer
    assert s3.head_object(Bucket=bucket, Key=f"{prefix}object")["Metadata"] == {"a": "1"}
    answer = presigned(wire, "PUT", target, extra=extra, body=b"x", headers={"x-amz-meta-a": "2"})
    assert answer.status == 403, answer
    answer = presigned(wire, "PUT", target, extra=extra, body=b"x")
    assert answer.status == 403, answer


@pytest.mark.gateway
def test_presigned_tampered(wire, bucket, prefix):
    with wire.connect() as connection:
        target = wire.signer.presign("GET", f"/{bucket}/{prefix}a", connection.host, 60)
    for change in (
        lambda t: t.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
        lambda t: t + "0",
        lambda t: t + "&versionId=x",
        lambda t: t.replace(f"{prefix}a", f"{prefix}b"),
        lambda t: t.replace("&X-Amz-Signature", "&X-Amz-Signature=00&X-Amz-Signature"),
    ):
        with wire.connect() as connection:
            changed = change(target)
            # The URL was made for another connection's host, which is the same server.
            connection.send(connection.head("GET", changed, {"Host": connection.host}))
            answer = connection.answer()
            assert answer.status in (400, 403), f"{changed}: {answer}"


@pytest.mark.gateway
def test_secrets_never_reach_the_log(place, wire, bucket, prefix):
    with wire.connect() as connection:
        target = wire.signer.presign("GET", f"/{bucket}/{prefix}logged", connection.host, 60)
        connection.send(connection.head("GET", target, {"Host": connection.host}))
        connection.answer()
        signed = wire.signed(connection, "GET", f"/{bucket}/{prefix}logged", {"x-amz-security-token": "tokentoken"})
        connection.send(connection.head("GET", f"/{bucket}/{prefix}logged", signed.headers))
        connection.answer()
    signature = urllib.parse.parse_qs(target)["X-Amz-Signature"][0]
    assert place.gateway.wait_for_log("logged")
    log = place.gateway.log.read_text("utf-8", "replace")
    for secret in (signature, signed.seed, "tokentoken", place.secret):
        assert secret not in log
    assert signature not in place.gateway.metrics()


# ---- addressing ----------------------------------------------------------------------------------


@pytest.mark.gateway
def test_virtual_host_style(place, wire, s3, bucket, prefix):
    key = f"{prefix}virtual host+ü"
    path = "/" + urllib.parse.quote(key, safe="-_.~/")
    port = place.gateway.port
    for host in (f"{bucket}.s3.localhost:{port}", f"{bucket}.S3.LocalHost:{port}", f"{bucket}.s3.localhost"):
        with wire.connect() as connection:
            signed = wire.signer.sign("PUT", path, {"Host": host, "Content-Length": str(len(host))})
            connection.send(connection.head("PUT", path, signed.headers) + host.encode())
            assert (answer := connection.answer()).status == 200, answer
            signed = wire.signer.sign("GET", "/?list-type=2&prefix=" + sigv4.quote(key), {"Host": host})
            connection.send(connection.head("GET", "/?list-type=2&prefix=" + sigv4.quote(key), signed.headers))
            answer = connection.answer()
            assert answer.status == 200 and b"<KeyCount>1</KeyCount>" in answer.body, answer
        assert read(s3, bucket, key) == host.encode()


@pytest.mark.gateway
def test_virtual_host_of_no_bucket(place, wire):
    with wire.connect() as connection:
        signed = wire.signer.sign("GET", "/", {"Host": f"s3.localhost:{place.gateway.port}"})
        connection.send(connection.head("GET", "/", signed.headers))
        answer = connection.answer()
    assert answer.status == 200 and b"ListAllMyBucketsResult" in answer.body, answer


@pytest.mark.gateway
def test_cors_preflight_is_answered_before_authentication(place, bucket):
    """Without CORS rules a preflight is refused as S3 does, not as a bad signature."""
    answer = requests.options(
        f"{place.endpoint}/{bucket}/x",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"},
    )
    assert answer.status_code in (200, 403)
    assert "SignatureDoesNotMatch" not in answer.text and "InvalidAccessKeyId" not in answer.text


# ---- Expect --------------------------------------------------------------------------------------


def expecting(wire, connection, target, body, access=None):
    signed = wire.signed(connection, "PUT", target, {"Content-Length": str(len(body)), "Expect": "100-continue"})
    connection.send(connection.head("PUT", target, signed.headers))


def test_expect_continue(wire, s3, bucket, prefix):
    data = blob(100_000)
    with wire.connect() as connection:
        expecting(wire, connection, f"/{bucket}/{prefix}object", data)
        status, _ = connection.read_head()
        assert status == 100
        connection.send(data)
        assert connection.answer().status == 200
    assert read(s3, bucket, f"{prefix}object") == data


@pytest.mark.gateway
def test_expect_continue_with_an_empty_body(wire, s3, bucket, prefix):
    """The 100 comes although nothing is left to continue with: botocore carries an early final status over to
    the next request on the connection, and hangs."""
    with wire.connect() as connection:
        for name in "ab":
            expecting(wire, connection, f"/{bucket}/{prefix}{name}", b"")
            status, _ = connection.read_head()
            assert status == 100
            assert connection.answer().status == 200
    assert read(s3, bucket, f"{prefix}b") == b""


@pytest.mark.gateway
def test_final_status_instead_of_continue_closes(place, bucket, prefix):
    """For the same client: it must not send its next request on this connection."""
    wire = S3Wire(place.endpoint, place.access, "wrong secret")
    for body in (b"", b"x" * 1000):
        with wire.connect(5) as connection:
            expecting(wire, connection, f"/{bucket}/{prefix}object", body)
            answer = connection.answer(skip_continue=False)
            assert answer.status == 403 and answer.headers.get("connection", "").lower() == "close", answer
            assert connection.closed_by_peer()


@pytest.mark.gateway
def test_expect_continue_is_refused_without_reading_the_body(place, bucket, prefix):
    wire = S3Wire(place.endpoint, place.access, "wrong secret")
    with wire.connect(5) as connection:
        expecting(wire, connection, f"/{bucket}/{prefix}object", b"x" * 1000)
        answer = connection.answer(skip_continue=False)
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), answer


@pytest.mark.gateway
def test_client_that_expects_but_does_not_wait(wire, s3, bucket, prefix):
    data = blob(50_000)
    with wire.connect() as connection:
        target = f"/{bucket}/{prefix}object"
        signed = wire.signed(connection, "PUT", target, {"Content-Length": str(len(data)), "Expect": "100-continue"})
        connection.send(connection.head("PUT", target, signed.headers) + data)
        assert connection.answer().status == 200
    assert read(s3, bucket, f"{prefix}object") == data


@pytest.mark.gateway
def test_unknown_expectation(wire, bucket, prefix):
    with wire.connect(5) as connection:
        target = f"/{bucket}/{prefix}object"
        signed = wire.signed(connection, "PUT", target, {"Content-Length": "1", "Expect": "magic"})
        connection.send(connection.head("PUT", target, signed.headers) + b"x")
        assert connection.answer().status in (200, 417)


def test_session_secret_must_match_session(place, bucket):
    with refused("SignatureDoesNotMatch", "AccessDenied", status=403):
        from harness.weed import client

        client(place.endpoint, place.access, "other").list_objects_v2(Bucket=bucket)
