"""Who has no version 4 signature: nobody in particular, and clients from before 2014."""

import subprocess
import time
import urllib.parse

import pytest
import requests

from harness import gateway as gw, tool
from harness.data import PART, blob
from harness.expect import multipart, read, refused, same
from harness.gateway import q
from harness.weed import client

pytestmark = pytest.mark.gateway

OLD, OLD_SECRET = "OLDTIMER", "old-timer-secret-key"
USERS = gw.ROOT_CREDENTIAL + f"""
[[credentials]]
access_key = {q(OLD)}
secret_key = {q(OLD_SECRET)}
allow = [{{ bucket = "old", actions = ["*"] }}]
sigv2 = true

[anonymous]
allow = [
    {{ bucket = "site", prefix = "public/", actions = ["read"] }},
    {{ bucket = "site", prefix = "list/", actions = ["list"] }},
    {{ bucket = "drop", prefix = "in/", actions = ["write"] }},
]
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    (folder / "objects").mkdir()
    gateway = gw.Gateway(folder / "gateway", gw.fs_backend(folder / "objects"), credentials=USERS)
    root = gateway.client()
    for bucket in ("site", "drop", "old"):
        root.create_bucket(Bucket=bucket)
    for key in ("public/a", "private/a", "list/a"):
        root.put_object(Bucket="site", Key=key, Body=key.encode(), ContentType="text/plain", Metadata={"m": "1"})
    yield gateway
    gateway.stop()


def code(answer) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


# ---- anonymous -------------------------------------------------------------------------------------


def test_anonymous_reads_where_it_is_allowed(gate):
    answer = requests.get(f"{gate.endpoint}/site/public/a")
    assert (answer.status_code, answer.content) == (200, b"public/a"), answer.text
    assert answer.headers["content-type"] == "text/plain" and answer.headers["x-amz-meta-m"] == "1"
    answer = requests.get(f"{gate.endpoint}/site/public/a", headers={"Range": "bytes=0-2"})
    assert (answer.status_code, answer.content) == (206, b"pub")
    assert requests.head(f"{gate.endpoint}/site/public/a").status_code == 200
    assert requests.get(f"{gate.endpoint}/site/public/missing").status_code == 404


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/site/private/a"),
        ("HEAD", "/site/private/a"),
        ("GET", "/site/list/a"),
        ("GET", "/site"),
        ("GET", "/site?list-type=2&prefix=public/"),
        ("GET", "/drop/in/a"),
        ("PUT", "/site/public/a"),
        ("DELETE", "/site/public/a"),
        ("POST", "/site?delete"),
        ("PUT", "/site"),
        ("GET", "/old"),
    ],
)
def test_anonymous_may_do_nothing_else(gate, method, path):
    answer = requests.request(method, gate.endpoint + path, data=b"")
    assert answer.status_code in (400, 403), f"{answer.status_code} {answer.text}"
    assert read(gate.client(), "site", "public/a") == b"public/a"


def test_anonymous_listings_and_writes(gate):
    answer = requests.get(f"{gate.endpoint}/site?list-type=2&prefix=list/")
    assert answer.status_code == 200 and "<Key>list/a</Key>" in answer.text and "private" not in answer.text
    assert requests.put(f"{gate.endpoint}/drop/in/x", data=b"dropped").status_code == 200
    assert read(gate.client(), "drop", "in/x") == b"dropped"
    stored = [p for p in (gate.folder.parent / "objects").rglob("*") if p.is_file()]
    assert not any(b"dropped" in p.read_bytes() for p in stored)


def test_anonymous_cannot_override_headers(gate):
    answer = requests.get(f"{gate.endpoint}/site/public/a?response-content-type=text/html")
    assert (answer.status_code, code(answer)) == (400, "InvalidRequest"), answer.text


def test_a_bad_signature_is_not_anonymous(gate):
    """A request that names a credential stands or falls with it."""
    for header in ("AWS4-HMAC-SHA256 x", "Bearer x", f"AWS {OLD}:AAAA"):
        answer = requests.get(f"{gate.endpoint}/site/public/a", headers={"Authorization": header})
        assert answer.status_code in (400, 403), answer.text
    answer = requests.get(f"{gate.endpoint}/site/public/a?X-Amz-Signature=00")
    assert answer.status_code in (400, 403), answer.text


# ---- session tokens --------------------------------------------------------------------------------


def test_session_tokens_are_refused(gate):
    s3 = client(gate.endpoint, gw.ACCESS, gw.SECRET, aws_session_token="a-token")
    with refused("InvalidToken", status=400):
        s3.get_object(Bucket="site", Key="public/a")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "site", "Key": "public/a"})
    answer = requests.get(url)
    assert (answer.status_code, code(answer)) == (400, "InvalidToken"), answer.text


# ---- signature version 2 ---------------------------------------------------------------------------


def old(gate, access=OLD, secret=OLD_SECRET, version="s3", **options):
    return client(gate.endpoint, access, secret, config={"signature_version": version}, **options)


def test_version_2_is_refused_unless_allowed(gate):
    with refused("InvalidRequest", status=400) as caught:
        old(gate, gw.ACCESS, gw.SECRET).get_object(Bucket="site", Key="public/a")
    assert "Please use AWS4-HMAC-SHA256" in str(caught.value)
    s3 = old(gate, gw.ACCESS, gw.SECRET, "s3-query")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "site", "Key": "public/a"})
    answer = requests.get(url)
    assert (answer.status_code, code(answer)) == (400, "InvalidRequest"), answer.text
    with refused("SignatureDoesNotMatch", status=403):
        old(gate, secret="wrong").list_objects_v2(Bucket="old")


def test_boto3_with_version_2(gate):
    s3 = old(gate)
    key, data = "path/a ü+%/b", blob(100_000)
    s3.put_object(Bucket="old", Key=key, Body=data, Metadata={"a": "1"}, ContentType="text/plain", ACL="private")
    same(read(s3, "old", key), data)
    assert s3.head_object(Bucket="old", Key=key)["Metadata"] == {"a": "1"}
    answer = s3.get_object(Bucket="old", Key=key, ResponseContentType="image/x y", Range="bytes=1-2")
    assert answer["ContentType"] == "image/x y" and answer["Body"].read() == data[1:3]
    multipart(s3, "old", "path/mp", {1: blob(PART), 2: b"end"})
    listed = [o["Key"] for o in s3.list_objects_v2(Bucket="old", Prefix="path/")["Contents"]]
    assert listed == sorted([key, "path/mp"])
    keys = [{"Key": k} for k in listed]
    assert len(s3.delete_objects(Bucket="old", Delete={"Objects": keys})["Deleted"]) == 2
    with refused("AccessDenied", "403", status=403):
        s3.head_object(Bucket="site", Key="public/a")


def test_version_2_presigned_urls(gate):
    s3 = old(gate, version="s3-query")
    at = {"Bucket": "old", "Key": "pre signed+ü"}
    params = {**at, "ContentType": "text/x-old", "Metadata": {"a": "1"}}
    url = s3.generate_presigned_url("put_object", Params=params)
    assert "AWSAccessKeyId=" in url
    assert requests.put(url, data=b"old", headers={"Content-Type": "text/x-old"}).status_code == 200
    assert requests.put(url, data=b"old", headers={"Content-Type": "text/html"}).status_code == 403
    head = gate.client().head_object(**at)
    assert (head["ContentType"], head["Metadata"]) == ("text/x-old", {"a": "1"})
    params = {**at, "ResponseContentDisposition": 'attachment; filename="ü"'}
    url = s3.generate_presigned_url("get_object", Params=params)
    answer = requests.get(url)
    assert answer.content == b"old" and answer.headers["content-disposition"].startswith("attachment")
    assert requests.get(url.replace("attachment", "inline")).status_code == 403
    assert requests.delete(url).status_code == 403
    expires = int(urllib.parse.parse_qs(url)["Expires"][0])
    assert expires > time.time()
    assert requests.get(url.replace(f"Expires={expires}", f"Expires={expires + 1}")).status_code == 403
    answer = requests.get(s3.generate_presigned_url("get_object", Params=at, ExpiresIn=-5))
    assert (answer.status_code, code(answer)) == (403, "AccessDenied"), answer.text


def test_s3cmd_with_version_2(gate, tmp_path):
    """The client that people still run so."""
    host = f"127.0.0.1:{gate.port}"

    def s3cmd(*args, access=OLD, secret=OLD_SECRET):
        common = ["--signature-v2", f"--access_key={access}", f"--secret_key={secret}", f"--host={host}"]
        common += [f"--host-bucket={host}", "--no-ssl", f"--config={tmp_path / 'none'}", "--no-progress"]
        return subprocess.run([tool("s3cmd"), *common, *args], capture_output=True, text=True, timeout=60)

    (tmp_path / "none").write_text("[default]\n")
    (tmp_path / "in").write_bytes(blob(200_000))
    for args in (
        ["put", "in", "s3://old/cmd/a b"],
        ["put", "--multipart-chunk-size-mb=5", "big", "s3://old/cmd/big"],
        ["get", "--force", "s3://old/cmd/a b", "out"],
        ["ls", "s3://old/cmd/"],
        ["del", "s3://old/cmd/a b"],
    ):
        (tmp_path / "big").write_bytes(blob(PART + 100))
        args = [str(tmp_path / a) if a in ("in", "out", "big") else a for a in args]
        done = s3cmd(*args)
        assert done.returncode == 0, f"{args}: {done.stdout} {done.stderr}"
    same((tmp_path / "out").read_bytes(), blob(200_000))
    same(read(gate.client(), "old", "cmd/big"), blob(PART + 100))
    wrong = s3cmd("ls", "s3://old/", secret="wrong")
    assert wrong.returncode != 0 and "signature" in wrong.stderr
