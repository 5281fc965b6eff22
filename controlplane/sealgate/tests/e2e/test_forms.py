"""Uploads by browsers' forms (PostObject): the policy, the file, the answer."""

import base64
import datetime
import hashlib
import hmac
import json

import pytest
import requests

from harness import gateway as gw
from harness.data import blob
from harness.expect import missing, read, same
from harness.gateway import q
from harness.sigv4 import Signer

pytestmark = pytest.mark.gateway

ANONYMOUS = """
[anonymous]
allow = [{ bucket = "drop", prefix = "in/", actions = ["write"] }]
"""
OLD = gw.ROOT_CREDENTIAL + f'\n[[credentials]]\naccess_key = "OLD"\nsecret_key = {q("old-secret-key")}\nsigv2 = true\n'


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    (folder / "objects").mkdir()
    gateway = gw.Gateway(
        folder / "gateway", gw.fs_backend(folder / "objects"), credentials=OLD, more=ANONYMOUS
    )
    for bucket in ("forms", "drop", "clear-forms"):
        gateway.client().create_bucket(Bucket=bucket)
    yield gateway
    gateway.stop()


def code(answer) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


def body(fields, data: bytes, boundary="xXx", after="", end="--\r\n", filename="f.bin") -> bytes:
    out = b""
    for name, value in dict(fields).items():
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    out += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode()
    return out + data + after.encode() + f"\r\n--{boundary}{end}".encode()


def send(gate, bucket, fields, data=b"x", **options):
    headers = {"Content-Type": "multipart/form-data; boundary=xXx"}
    return requests.post(f"{gate.endpoint}/{bucket}", data=body(fields, data, **options), headers=headers)


def policy(conditions, seconds=600, access=gw.ACCESS, secret=gw.SECRET) -> dict:
    """The fields of a version 4 signature over these conditions."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    extra = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{access}/{stamp[:8]}/us-east-1/s3/aws4_request",
        "x-amz-date": stamp,
    }
    end = (now + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    document = {"expiration": end, "conditions": conditions + [{k: v} for k, v in extra.items()]}
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    key = Signer(access, secret)._key(stamp[:8])
    return {**extra, "policy": encoded, "x-amz-signature": hmac.new(key, encoded.encode(), hashlib.sha256).hexdigest()}


BASE = [{"bucket": "forms"}, ["starts-with", "$key", "in/"]]


@pytest.mark.parametrize("size", [0, 1, 100_000, 900_000, 1_100_000, 3_000_000])
def test_boto3s_presigned_post(place, bucket, prefix, size):
    """Over every store, with a real client on either side."""
    data = blob(size)
    form = place.s3.generate_presigned_post(
        bucket,
        prefix + "${filename}",
        Fields={"Content-Type": "image/png", "x-amz-meta-a": "ü", "success_action_status": "201"},
        Conditions=[
            {"Content-Type": "image/png"},
            {"x-amz-meta-a": "ü"},
            {"success_action_status": "201"},
            ["content-length-range", size, size],
        ],
    )
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("C:\\dir\\my file.png", data)})
    assert answer.status_code == 201, answer.text
    key = f"{prefix}my file.png"
    assert f"<Key>{key}</Key>" in answer.text and f"<Bucket>{bucket}</Bucket>" in answer.text
    same(read(place.s3, bucket, key), data)
    head = place.s3.head_object(Bucket=bucket, Key=key)
    assert head["ContentType"] == "image/png" and answer.headers["etag"] == head["ETag"]
    assert head["Metadata"]["a"] in ("ü", "\u00c3\u00bc"), head["Metadata"]
    if size > 1000:
        assert data[:64] not in place.raw().get(bucket, key).body


def test_policy_violations_store_nothing(gate):
    s3 = gate.client()
    good = {"key": "in/never", **policy(BASE)}
    cases = {
        "key": {**good, "key": "out/never"},
        "extra field": {**good, "acl": "public-read"},
        "expired": {"key": "in/never", **policy(BASE, seconds=-1)},
        "other bucket": {"key": "in/never", **policy([{"bucket": "other"}, *BASE[1:]])},
        "no bucket": {"key": "in/never", **policy(BASE[1:])},
        "missing field": {"key": "in/never", **policy([*BASE, {"acl": "private"}])},
        "wrong secret": {"key": "in/never", **policy(BASE, secret="wrong")},
        "unknown key": {"key": "in/never", **policy(BASE, access="NOSUCH")},
        "no policy": {"key": "in/never"},
    }
    for name, fields in cases.items():
        answer = send(gate, "forms", fields)
        assert answer.status_code == 403, f"{name}: {answer.status_code} {answer.text}"
    assert "Extra input fields: acl" in send(gate, "forms", cases["extra field"]).text
    assert "Policy expired" in send(gate, "forms", cases["expired"]).text
    signature = dict(good)
    del signature["x-amz-signature"]
    nokey = {**good}
    del nokey["key"]
    for fields in (signature, nokey, {**good, "KEY": "in/twice"}):
        answer = send(gate, "forms", fields)
        assert (answer.status_code, code(answer)) == (400, "InvalidArgument"), answer.text
    answer = send(gate, "forms", {**good, "policy": base64.b64encode(b"{").decode()})
    assert answer.status_code == 403, answer.text
    missing(s3, "forms", "in/never")
    missing(s3, "forms", "out/never")


@pytest.mark.parametrize("size", [9, 21, 1_200_000])
def test_content_length_range(gate, size):
    limits = policy([*BASE, ["content-length-range", 10, 20]])
    answer = send(gate, "forms", {"key": "in/size", **limits}, blob(size))
    want = "EntityTooSmall" if size < 10 else "EntityTooLarge"
    assert (answer.status_code, code(answer)) == (400, want), answer.text
    missing(gate.client(), "forms", "in/size")


def test_success_actions(gate):
    conditions = [*BASE, ["starts-with", "$success_action_redirect", ""], ["starts-with", "$success_action_status", ""]]
    fields = {"key": "in/k ü", **policy(conditions), "success_action_status": "200"}
    answer = requests.post(
        f"{gate.endpoint}/forms",
        data=body({**fields, "success_action_redirect": "http://app.example/done?a=1"}, b"x"),
        headers={"Content-Type": 'multipart/form-data; boundary="xXx"'},
        allow_redirects=False,
    )
    assert answer.status_code == 303, answer.text
    assert answer.headers["Location"].startswith("http://app.example/done?a=1&bucket=forms&key=in%2Fk%20%C3%BC&etag=%22")
    answer = send(gate, "forms", {**fields, "success_action_redirect": "javascript:alert(1)"})
    assert answer.status_code == 200, answer.text
    answer = send(gate, "forms", {**fields, "success_action_redirect": "", "success_action_status": "404"})
    assert answer.status_code == 204 and answer.headers["Location"].endswith("/forms/in/k%20%C3%BC"), answer.headers


def test_fields_behind_the_file(gate):
    """Ignored, as S3 does: a submit button is usually there. A large form cannot have any."""
    after = '\r\n--xXx\r\nContent-Disposition: form-data; name="submit"\r\n\r\nUpload'
    fields = {"key": "in/after", **policy(BASE)}
    for end in ("--\r\n", "--"):
        answer = send(gate, "forms", fields, blob(5000), after=after, end=end)
        assert answer.status_code == 204, answer.text
        same(read(gate.client(), "forms", "in/after"), blob(5000))
    fields["key"] = "in/large"
    for options in ({"after": after}, {"end": "--"}, {"end": "--\r\nmore"}, {"end": "\r\n"}):
        answer = send(gate, "forms", fields, blob(2_000_000), **options)
        assert (answer.status_code, code(answer)) == (400, "MalformedPOSTRequest"), answer.text
    missing(gate.client(), "forms", "in/large")


def test_malformed_forms(gate):
    url = f"{gate.endpoint}/forms"
    whole = body({"key": "in/x", **policy(BASE)}, b"x")
    cases = [
        (whole, "multipart/form-data", "MalformedPOSTRequest"),
        (whole, "multipart/form-data; boundary=other", "MalformedPOSTRequest"),
        (whole, "text/plain", "RequestIsNotMultiPartContent"),
        (whole[:-8], "multipart/form-data; boundary=xXx", "MalformedPOSTRequest"),
        (whole.split(b"--xXx\r\nContent-Disposition: form-data; name=\"file\"")[0] + b"--xXx--\r\n",
         "multipart/form-data; boundary=xXx", "InvalidArgument"),
        (body({"key": "k" * 30_000}, b"x"), "multipart/form-data; boundary=xXx", "MaxPostPreDataLengthExceededError"),
    ]
    for data, kind, want in cases:
        answer = requests.post(url, data=data, headers={"Content-Type": kind})
        assert code(answer) == want and answer.status_code < 500, f"{want}: {answer.text}"
    answer = requests.post(url, data=iter([whole]), headers={"Content-Type": "multipart/form-data; boundary=xXx"})
    assert answer.status_code == 411, answer.text
    missing(gate.client(), "forms", "in/x")


def test_checksums_and_headers_of_a_form(gate):
    data = b"some data"
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
    names = ["Content-MD5", "x-amz-checksum-sha256", "Cache-Control"]
    signed = policy([*BASE, *(["starts-with", f"${n}", ""] for n in names)])
    fields = {"key": "in/sum", **signed, "Content-MD5": md5, "x-amz-checksum-sha256": sha, "Cache-Control": "no-cache"}
    assert send(gate, "forms", fields, data).status_code == 204
    head = gate.client().head_object(Bucket="forms", Key="in/sum", ChecksumMode="ENABLED")
    assert (head["ChecksumSHA256"], head["CacheControl"]) == (sha, "no-cache")
    for size in (10, 1_500_000):
        answer = send(gate, "forms", {**fields, "key": "in/bad"}, blob(size))
        assert answer.status_code == 400 and "Digest" in code(answer), answer.text
    missing(gate.client(), "forms", "in/bad")


def test_anonymous_and_old_forms(gate):
    assert send(gate, "drop", {"key": "in/a"}, b"dropped").status_code == 204
    assert read(gate.client(), "drop", "in/a") == b"dropped"
    for target, key in (("drop", "out/a"), ("forms", "in/a")):
        answer = send(gate, target, {"key": key})
        assert (answer.status_code, code(answer)) == (403, "AccessDenied"), answer.text

    def old(access, secret):
        document = {"expiration": "2099-01-01T00:00:00Z", "conditions": BASE}
        encoded = base64.b64encode(json.dumps(document).encode())
        signature = base64.b64encode(hmac.new(secret.encode(), encoded, hashlib.sha1).digest()).decode()
        fields = {"key": "in/old", "AWSAccessKeyId": access, "policy": encoded.decode(), "signature": signature}
        return send(gate, "forms", fields, b"old")

    assert old("OLD", "old-secret-key").status_code == 204
    assert code(old("OLD", "wrong")) == "SignatureDoesNotMatch"
    assert code(old(gw.ACCESS, gw.SECRET)) == "InvalidRequest"
    assert read(gate.client(), "forms", "in/old") == b"old"


def test_a_form_into_a_bucket_that_is_not_sealed(gate):
    for size in (1000, 1_500_000):
        fields = {"key": f"in/{size}", **policy([{"bucket": "clear-forms"}, BASE[1]])}
        assert send(gate, "clear-forms", fields, blob(size)).status_code == 204
        same(read(gate.client(), "clear-forms", f"in/{size}"), blob(size))
