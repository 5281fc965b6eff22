"""Browsers' questions: preflights before authentication, and what answers say to scripts of other origins."""

import pytest
import requests

from harness import gateway as gw
from harness.expect import read

pytestmark = pytest.mark.gateway

RULES = """
[[cors]]
match = "web-*"
origins = ["https://app.example", "https://*.example.net"]
methods = ["GET", "PUT", "POST"]
headers = ["content-type", "x-amz-*", "authorization"]
expose = ["ETag", "x-amz-request-id"]
max_age = "10m"

[[cors]]
match = "open"
origins = ["*"]
methods = ["GET", "HEAD"]

[anonymous]
allow = [{ bucket = "open", actions = ["read"] }]
"""
APP = {"Origin": "https://app.example"}


def code(answer) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


def preflight(endpoint, path, method="PUT", headers="", origin="https://app.example"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return requests.options(endpoint + path, headers=asked)


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cors")
    (folder / "objects").mkdir()
    gateway = gw.Gateway(folder / "gateway", gw.fs_backend(folder / "objects"), more=RULES)
    root = gateway.client()
    for bucket in ("web-one", "open", "closed"):
        root.create_bucket(Bucket=bucket)
        root.put_object(Bucket=bucket, Key="a", Body=b"data")
    yield gateway
    gateway.stop()


def test_preflight_by_the_configurations_rules(gate):
    answer = preflight(gate.endpoint, "/web-one/a", "PUT", "Content-Type, x-amz-date")
    assert answer.status_code == 200 and answer.content == b"", answer.text
    headers = answer.headers
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert headers["Access-Control-Allow-Methods"] == "GET, PUT, POST"
    assert headers["Access-Control-Allow-Headers"] == "content-type, x-amz-date"
    assert headers["Access-Control-Expose-Headers"] == "ETag, x-amz-request-id"
    assert headers["Access-Control-Max-Age"] == "600"
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers["Vary"].startswith("Origin")
    assert preflight(gate.endpoint, "/web-one", "POST", origin="https://x.example.net").status_code == 200


@pytest.mark.parametrize(
    "path, method, headers, origin",
    [
        ("/web-one/a", "DELETE", "", "https://app.example"),
        ("/web-one/a", "PUT", "x-other", "https://app.example"),
        ("/web-one/a", "PUT", "", "https://app.example.org"),
        ("/web-one/a", "PUT", "", "http://app.example"),
        ("/open/a", "PUT", "", "https://app.example"),
        ("/closed/a", "GET", "", "https://app.example"),
        ("/no-such-bucket/a", "GET", "", "https://app.example"),
    ],
)
def test_preflight_refused(gate, path, method, headers, origin):
    answer = preflight(gate.endpoint, path, method, headers, origin)
    assert (answer.status_code, code(answer)) == (403, "AccessForbidden"), answer.text
    assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_options_that_are_no_preflight(gate):
    for headers in ({}, APP, {**APP, "Access-Control-Request-Method": "PATCH"}):
        answer = requests.options(f"{gate.endpoint}/web-one/a", headers=headers)
        assert (answer.status_code, code(answer)) == (400, "BadRequest"), answer.text


def test_answers_to_scripts(gate):
    """Signed or not, good or bad, streamed or whole."""
    url = gate.client().generate_presigned_url("get_object", Params={"Bucket": "web-one", "Key": "a"})
    answer = requests.get(url, headers=APP)
    assert (answer.status_code, answer.content) == (200, b"data")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert answer.headers["Access-Control-Expose-Headers"] == "ETag, x-amz-request-id"
    assert answer.headers["Vary"].startswith("Origin")
    answer = requests.get(f"{gate.endpoint}/web-one/a", headers=APP)
    assert answer.status_code == 403 and answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    answer = requests.get(f"{gate.endpoint}/open/a", headers=APP)
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    for headers in ({}, {"Origin": "https://evil.example"}):
        answer = requests.get(url, headers=headers)
        assert answer.status_code == 200, answer.text
        assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_one_connection_mixes_no_origins(gate):
    """What one request was told does not stick to the connection."""
    with requests.Session() as session:
        assert "Access-Control-Allow-Origin" in session.get(f"{gate.endpoint}/open/a", headers=APP).headers
        assert "Access-Control-Allow-Origin" not in session.get(f"{gate.endpoint}/open/a").headers


def test_the_buckets_own_rules(weed, tmp_path):
    """Kept in the store, put and deleted through the gateway; on all cores at once."""
    gateway = gw.Gateway(tmp_path / "gateway", gw.s3_backend(weed.endpoint, "STOREADMIN", "store-admin-secret"))
    try:
        s3, bucket = gateway.client(), "cors-own"
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="a", Body=b"x")
        assert {preflight(gateway.endpoint, f"/{bucket}/a").status_code for _ in range(8)} == {403}
        rule = {"AllowedOrigins": ["https://app.example"], "AllowedMethods": ["PUT", "GET"], "AllowedHeaders": ["*"]}
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
        answers = [preflight(gateway.endpoint, f"/{bucket}/a", "PUT", "x-anything") for _ in range(8)]
        assert {a.status_code for a in answers} == {200}, answers[0].text
        assert answers[0].headers["Access-Control-Allow-Headers"] == "x-anything"
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
        assert requests.get(url, headers=APP).headers["Access-Control-Allow-Origin"] == "https://app.example"
        s3.delete_bucket_cors(Bucket=bucket)
        assert {preflight(gateway.endpoint, f"/{bucket}/a").status_code for _ in range(8)} == {403}
        assert read(s3, bucket, "a") == b"x"
    finally:
        gateway.stop()
