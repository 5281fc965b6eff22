"""What concerns no object's bytes: sub-resources of buckets and objects, and headers that are the store's business.

Over a store that only records, everything that reached it is compared with what was sent; over SeaweedFS the gateway's
answer is compared with the store's own.
"""

import base64
import hashlib
import re
import urllib.parse

import pytest

from harness import ROOT, gateway as gw, weed as wd
from harness.data import PART, blob
from harness.expect import read, refused
from harness.gateway import q
from harness.stubstore import Canned, StubStore
from harness.wire import S3Wire

pytestmark = pytest.mark.gateway


def documented() -> list[tuple[str, str, str, str]]:
    """(operation, request, treatment, class) of every row of docs/s3-operations.md."""
    page = (ROOT / "docs/s3-operations.md").read_text()
    rows = re.findall(r"^\| (\w+) \| `([^`]+)` \| ([a-z ]+) \| `?(\w*)`? \|", page, re.M)
    assert len(rows) > 100, "the tables of docs/s3-operations.md have changed"
    return rows


PASSED = [(name, *request.split(" ", 1)) for name, request, how, _ in documented() if how == "passed through"]
REFUSED = [(name, *request.split(" ", 1)) for name, request, how, _ in documented() if how == "refused"]


def credential(name: str, actions: list[str], prefix: str = "") -> str:
    listed = ", ".join(q(a) for a in actions)
    allow = f'{{ bucket = "*", prefix = {q(prefix)}, actions = [{listed}] }}'
    return f"\n[[credentials]]\naccess_key = {q(name)}\nsecret_key = {q(name + '-secret-key')}\nallow = [{allow}]\n"


CREDENTIALS = gw.ROOT_CREDENTIAL + "".join(
    (
        credential("READER", ["read"]),
        credential("WRITER", ["write"]),
        credential("LISTER", ["list"], "some/"),
        credential("DELETER", ["delete"]),
        credential("ADMIN", ["admin"]),
        credential("LIFTER", ["delete", "BypassGovernanceRetention"]),
        credential("NAMED", ["GetBucketPolicy", "PutObjectTagging"]),
    )
)


@pytest.fixture(scope="module")
def stubbed(tmp_path_factory):
    """(stub, gateway before it)."""
    stub = StubStore()
    backend = gw.s3_backend(stub.endpoint, wd.ACCESS, wd.SECRET)
    gateway = gw.Gateway(tmp_path_factory.mktemp("stub") / "gateway", backend, credentials=CREDENTIALS)
    yield stub, gateway
    gateway.stop()
    stub.stop()


@pytest.fixture
def stub(stubbed):
    store = stubbed[0]
    store.says(200, ETag='"0123456789abcdef0123456789abcdef"')
    store.take()
    return store


@pytest.fixture
def behind(stubbed):
    """Signed requests to the gateway before the stub."""
    return stubbed[1].wire()


def as_user(stubbed, name: str) -> S3Wire:
    return stubbed[1].wire(name, f"{name}-secret-key")


def target(request: str) -> str:
    """A documented request with values: "/bucket/key?acl" on a version, "/bucket?inventory&id" of an id."""
    path, _, query = request.partition("?")
    extra = "versionId=3%2FL4kq%2B" if path == "/bucket/key" else "extra=a%20b%26c"
    query = query.replace("&id", "&id=one%20two")
    # No parameter that chooses another operation, but ones that S3 may add some day and that refine.
    return f"{path.replace('key', 'some%20key%2Bx//y')}?{query}&{extra if path != '/bucket' else 'x-id=Name'}"


@pytest.mark.parametrize(("name", "method", "request_"), PASSED, ids=[p[0] for p in PASSED])
def test_passed_through_as_it_came(stub, behind, name, method, request_):
    document = b"<Some xmlns='x'><Thing>&lt;\xc3\xbc</Thing></Some>" if method in ("PUT", "POST") else b""
    answer_body = b"" if method == "DELETE" else b"<?xml version='1.0'?><Answer><Odd  spacing='1'/>\n</Answer>"
    status = 204 if method == "DELETE" else 202 if name == "RestoreObject" else 200
    stub.says(
        status,
        answer_body,
        Content_Type="application/xml; charset=x",
        x_amz_version_id="v7",
        x_amz_request_id="OF-THE-STORE",
        x_amz_transition_default_minimum_object_size="varies_by_storage_class",
        Server="the store's",
    )
    headers = {
        "Content-Type": "text/xml; charset=UTF-8",
        "Accept": "application/xml",
        "Content-MD5": base64.b64encode(hashlib.md5(document).digest()).decode(),
        "x-amz-acl": "public-read",
        "x-amz-grant-read": 'id="abc", uri="http://acs.amazonaws.com/groups/global/AllUsers"',
        "x-amz-mfa": "serial 123456",
        "x-amz-bypass-governance-retention": "true",
        "x-amz-expected-bucket-owner": "111122223333",
        "x-amz-request-payer": "requester",
        "x-amz-something-new": "kept  as is",
        "x-amz-checksum-crc32": base64.b64encode(__import__("zlib").crc32(document).to_bytes(4, "big")).decode(),
        "Accept-Encoding": "gzip",
        "Cookie": "no business of the store's",
    }
    sent = target(request_)
    answer = behind.request(method, sent, headers, document)

    (seen,) = stub.take()
    path, _, query = sent.partition("?")
    assert (seen.method, urllib.parse.unquote(seen.path)) == (method, urllib.parse.unquote(path)), seen
    assert sorted(seen.query) == sorted(urllib.parse.parse_qsl(query, keep_blank_values=True)), seen
    assert seen.body == document
    for header in ("Content-Type", "Accept", *(h for h in headers if h.startswith("x-amz-") and "checksum" not in h)):
        assert seen.headers.get(header.lower()) == headers[header], f"{header}: {seen}"
    if document:
        assert seen.headers["content-md5"] == headers["Content-MD5"]
    assert "cookie" not in seen.headers and "accept-encoding" not in seen.headers, seen
    assert f"Credential={wd.ACCESS}/" in seen.headers["authorization"], "not signed by the gateway"

    assert (answer.status, answer.body) == (status, answer_body), answer
    assert answer.headers["x-amz-version-id"] == "v7"
    assert answer.headers["x-amz-transition-default-minimum-object-size"] == "varies_by_storage_class"
    assert answer.headers["content-type"] == "application/xml; charset=x"
    assert answer.headers["x-amz-request-id"] != "OF-THE-STORE" and "server" not in answer.headers, answer


ERRORS = [
    (404, "NoSuchBucketPolicy", "The bucket policy does not exist"),
    (409, "InvalidBucketState", "A Conflicting state"),
    # A status that is not the one S3 has for the code, a code that S3 does not have, a 500 of the operation's own.
    (403, "MalformedXML", "Not so"),
    (400, "XMinioAdminThing", "a store's own code"),
    (500, "InternalError", "cannot do that"),
    (501, "NotImplemented", "A header you provided implies functionality that is not implemented"),
]


@pytest.mark.parametrize(("status", "code", "message"), ERRORS)
def test_the_stores_errors_are_the_clients(stub, behind, status, code, message):
    document = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message><BucketName>bucket</BucketName>"
        f"<RequestId>OF-THE-STORE</RequestId><HostId>h</HostId></Error>"
    )
    stub.says(status, document.encode(), Content_Type="application/xml")
    answer = behind.request("PUT", "/bucket?policy", {}, b"{}")
    assert (answer.status, answer.code) == (status, code), answer
    body = answer.body.decode()
    assert f"<Message>{message}</Message>" in body and "<BucketName>bucket</BucketName>" in body
    assert f"<RequestId>{answer.headers['x-amz-request-id']}</RequestId>" in body and "OF-THE-STORE" not in body


def test_a_busy_store_is_asked_again_and_then_the_client_is_told_when(stub, behind):
    stub.says(503, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>", Retry_After="7")
    answer = behind.request("GET", "/bucket?policy")
    assert (answer.status, answer.code, answer.headers.get("retry-after")) == (503, "SlowDown", "7"), answer
    assert len(stub.take()) > 1


def test_a_document_is_verified_before_it_is_passed_on(stub, behind):
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for headers, body, hash_, code in (
        ({"Content-MD5": wrong}, b"<x/>", None, "BadDigest"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, b"<x/>", None, "BadDigest"),
        ({}, b"<x/>", hashlib.sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
        ({}, bytes((2 << 20) + 1), None, "MaxMessageLengthExceeded"),
    ):
        options = {"payload_hash": hash_} if hash_ else {}
        answer = behind.request("PUT", "/bucket?lifecycle", headers, body, **options)
        assert answer.status == 400 and answer.code == code, answer
    assert stub.take() == []
    most = bytes(2 << 20)
    assert behind.request("PUT", "/bucket?replication", {}, most).status == 200
    assert stub.take()[0].body == most


def test_the_answer_of_a_store_is_bounded(stub, behind):
    stub.says(200, b"<x>" + bytes(5 << 20) + b"</x>")
    assert behind.request("GET", "/bucket?policy").status == 500
    stub.says(200, b"x" * (3 << 20))
    assert len(behind.request("GET", "/bucket?policy").body) == 3 << 20


def test_staged_parts_have_no_sub_resources(stub, behind):
    for method, query in (("GET", "acl"), ("PUT", "tagging"), ("PUT", "retention"), ("POST", "restore")):
        answer = behind.request(method, f"/bucket/.sealgate-staging/x?{query}")
        assert (answer.status, answer.code) == (403, "AccessDenied"), answer
    assert stub.take() == []


def test_presigned_sub_resources(stub, behind):
    with behind.connect() as wire:
        query = "tagging&versionId=v1"
        wire.send(wire.head("GET", behind.signer.presign("GET", f"/bucket/key?{query}", wire.host, 60), {"Host": wire.host}))
        assert wire.answer().status == 200
        signed = behind.signer.presign("PUT", "/bucket/key?acl&x-amz-acl=private", wire.host, 60)
        wire.send(wire.head("PUT", signed, {"Host": wire.host, "Content-Length": "0"}))
        assert wire.answer().status == 200
    got, put = stub.take()
    assert sorted(got.query) == [("tagging", ""), ("versionId", "v1")], got
    assert put.query == [("acl", "")] and put.headers["x-amz-acl"] == "private", put


@pytest.mark.parametrize(("name", "method", "request_"), REFUSED, ids=[p[0] for p in REFUSED])
def test_refused_with_a_reason(stub, behind, name, method, request_):
    answer = behind.request(method, request_, {}, b"<x/>" if method in ("PUT", "POST") else b"")
    assert (answer.status, answer.code) == (501, "NotImplemented"), answer
    assert f"{name} is not supported: " in answer.body.decode()
    assert stub.take() == []


# ---- who may ------------------------------------------------------------------------------------


def test_classes_of_actions(stubbed, stub):
    """Each documented class allows its operations and no others."""
    users = {"read": "READER", "write": "WRITER", "delete": "DELETER", "admin": "ADMIN"}
    wires = {name: as_user(stubbed, name) for name in (*users.values(), "LISTER", "NAMED")}
    for name, request, how, class_ in documented():
        if how != "passed through":
            continue
        method, sent = request.split(" ", 1)
        may = {users[class_]} if class_ in users else {"LISTER"}
        if name in ("GetBucketPolicy", "PutObjectTagging"):
            may.add("NAMED")
        # One that may and one that may not: the product of all would take long.
        others = sorted(set(wires) - may)
        for user in (*may, others[len(name) % len(others)]):
            answer = wires[user].request(method, sent, {}, b"<x/>" if method in ("PUT", "POST") else b"")
            assert (answer.status == 403) == (user not in may), f"{user} {name}: {answer}"


def test_lifting_governance_takes_a_right_of_its_own(stubbed, stub):
    lift = {"x-amz-bypass-governance-retention": "true"}
    stub.says(204)
    for user, allowed in (("DELETER", False), ("LIFTER", True)):
        answer = as_user(stubbed, user).request("DELETE", "/bucket/key", lift)
        assert answer.status == (204 if allowed else 403), answer
    assert [s.headers.get("x-amz-bypass-governance-retention") for s in stub.take()] == ["true"]
    assert as_user(stubbed, "DELETER").request("DELETE", "/bucket/key").status == 204
    answer = as_user(stubbed, "WRITER").request("PUT", "/bucket/key?retention", lift, b"<Retention/>")
    assert answer.code == "AccessDenied", answer


# ---- headers --------------------------------------------------------------------------------------

LISTING = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
CREATED = (
    b"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>up</UploadId></InitiateMultipartUploadResult>"
)
COPIED = (
    b"<CopyObjectResult><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>"
    b"<LastModified>2026-01-01T00:00:00.000Z</LastModified></CopyObjectResult>"
)


def plausible(seen) -> Canned:
    """What a store might answer, with headers that concern the client."""
    kept = {
        "ETag": '"0123456789abcdef0123456789abcdef"',
        "x-amz-request-charged": "requester",
        "x-amz-version-id": "v9",
        "x-amz-expiration": 'expiry-date="Fri, 21 Dec 2035 00:00:00 GMT", rule-id="r"',
        "x-amz-abort-date": "Fri, 21 Dec 2035 00:00:00 GMT",
        "x-amz-abort-rule-id": "r",
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    }
    names = dict(seen.query)
    if "uploads" in names and seen.method == "POST":
        return Canned(200, CREATED, kept)
    if seen.method == "GET" and seen.path.count("/") == 1:
        return Canned(200, LISTING, kept)
    if "x-amz-copy-source" in seen.headers:
        return Canned(200, COPIED, {**kept, "x-amz-copy-source-version-id": "v1"})
    if seen.method == "DELETE":
        return Canned(204, b"", kept)
    if seen.method == "HEAD":
        return Canned(200, b"", {**kept, "Content-Length": "5"})
    return Canned(200, b"bytes" if seen.method == "GET" else b"", kept)


WRITE_HEADERS = {
    "x-amz-acl": "bucket-owner-full-control",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-tagging": "a=1&b=%20",
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-retain-until-date": "2035-01-01T00:00:00Z",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-website-redirect-location": "/other",
}


@pytest.mark.parametrize("bucket", ["bucket", "clear-bucket"])
def test_headers_of_writes_reach_the_store(stub, behind, bucket):
    stub.answer = plausible
    grants = {k: v for k, v in WRITE_HEADERS.items() if k != "x-amz-acl"} | {"x-amz-grant-full-control": 'id="abc"'}
    for headers in (WRITE_HEADERS, grants):
        for method, sent, body in (("PUT", f"/{bucket}/key", b"data"), ("POST", f"/{bucket}/key?uploads", b"")):
            answer = behind.request(method, sent, headers, body)
            assert answer.status == 200, answer
            (seen,) = stub.take()
            assert {k: seen.headers.get(k) for k in headers} == headers, seen


def test_headers_of_copies_reach_the_store(stub, behind):
    """From an unsealed bucket, so that the stub's objects are good enough."""
    stub.answer = plausible
    headers = {
        **WRITE_HEADERS,
        "x-amz-copy-source": "clear-a/some%20key",
        "x-amz-tagging-directive": "REPLACE",
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-expected-bucket-owner": "111111111111",
        "x-amz-source-expected-bucket-owner": "222222222222",
        "x-amz-request-payer": "requester",
    }
    answer = behind.request("PUT", "/clear-b/key", headers)
    assert answer.status == 200 and answer.headers["x-amz-copy-source-version-id"] == "v1", answer
    looked, copied = stub.take()
    assert (looked.method, looked.path) == ("HEAD", "/clear-a/some%20key")
    assert looked.headers["x-amz-expected-bucket-owner"] == "222222222222", "the source has an owner of its own"
    assert looked.headers["x-amz-request-payer"] == "requester"
    assert {k: copied.headers.get(k) for k in headers} == headers, copied
    # Without an owner for the source, the target's is not asked of it.
    del headers["x-amz-source-expected-bucket-owner"]
    behind.request("PUT", "/clear-b/key", headers)
    looked, copied = stub.take()
    assert "x-amz-expected-bucket-owner" not in looked.headers, looked
    assert copied.headers["x-amz-expected-bucket-owner"] == "111111111111", copied


EVERYWHERE = [
    ("GET", "/bucket/key", b""),
    ("HEAD", "/bucket/key", b""),
    ("GET", "/clear-bucket/key", b""),
    ("HEAD", "/clear-bucket/key", b""),
    ("PUT", "/bucket/key", b"data"),
    ("PUT", "/clear-bucket/key", b"data"),
    ("DELETE", "/bucket/key", b""),
    ("GET", "/bucket", b""),
    ("GET", "/bucket?list-type=2", b""),
    ("GET", "/bucket?uploads", b""),
    ("HEAD", "/bucket", b""),
    ("GET", "/bucket?location", b""),
    ("DELETE", "/bucket", b""),
    ("POST", "/bucket/key?uploads", b""),
    ("PUT", "/clear-bucket/key?partNumber=1&uploadId=u", b"data"),
    ("GET", "/clear-bucket/key?uploadId=u", b""),
    ("DELETE", "/clear-bucket/key?uploadId=u", b""),
    (
        "POST",
        "/clear-bucket/key?uploadId=u",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    ),
    ("POST", "/bucket?delete", b"<Delete><Object><Key>a</Key></Object></Delete>"),
    ("GET", "/bucket/key?tagging", b""),
]


def test_owner_and_payer_go_with_every_request(stub, behind):
    stub.answer = plausible
    headers = {"x-amz-expected-bucket-owner": "111122223333", "x-amz-request-payer": "requester"}
    for method, sent, body in EVERYWHERE:
        md5 = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
        behind.request(method, sent, headers | md5, body)
        seen = stub.take()
        assert seen, f"{method} {sent} did not reach the store"
        for one in seen:
            assert {k: one.headers.get(k) for k in headers} == headers, f"{method} {sent}: {one}"
        # And none without being asked.
        behind.request(method, sent, md5, body)
        assert not any(set(headers) & set(one.headers) for one in stub.take())


def test_deletions_carry_mfa_and_bypass(stub, behind):
    stub.answer = plausible
    headers = {"x-amz-mfa": "serial 123456", "x-amz-bypass-governance-retention": "true"}
    document = b"<Delete><Object><Key>a</Key></Object></Delete>"
    md5 = {"Content-MD5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    for method, sent, more, body in (("DELETE", "/bucket/key", {}, b""), ("POST", "/bucket?delete", md5, document)):
        behind.request(method, sent, headers | more, body)
        (seen,) = stub.take()
        assert {k: seen.headers.get(k) for k in headers} == headers, seen


def test_headers_of_answers_reach_the_client(stub, behind):
    stub.answer = plausible
    for method, sent, body, wanted in (
        ("PUT", "/bucket/key", b"data", {"x-amz-version-id", "x-amz-expiration"}),
        ("PUT", "/clear-bucket/key", b"data", {"x-amz-version-id", "x-amz-expiration"}),
        ("DELETE", "/bucket/key", b"", {"x-amz-version-id"}),
        ("POST", "/bucket/key?uploads", b"", {"x-amz-abort-date", "x-amz-abort-rule-id"}),
        ("GET", "/bucket?list-type=2", b"", set()),
        ("GET", "/clear-bucket/key", b"", {"x-amz-version-id", "x-amz-expiration"}),
        ("HEAD", "/clear-bucket/key", b"", {"x-amz-version-id", "x-amz-expiration"}),
        ("GET", "/bucket/key?acl", b"", {"x-amz-version-id"}),
    ):
        answer = behind.request(method, sent, {"x-amz-request-payer": "requester"}, body)
        assert answer.status in (200, 204), answer
        for name in wanted | {"x-amz-request-charged"}:
            assert name in answer.headers, f"{method} {sent}: no {name} in {answer}"


def test_create_bucket_with_everything(stub, behind):
    document = (
        b'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
    )
    headers = {
        "x-amz-acl": "private",
        "x-amz-grant-read": 'id="abc"',
        "x-amz-object-ownership": "BucketOwnerPreferred",
        "x-amz-bucket-object-lock-enabled": "true",
    }
    assert behind.request("PUT", "/a-new-bucket", headers, document).status == 200
    (seen,) = stub.take()
    assert {k: seen.headers.get(k) for k in headers} == headers and seen.body == document, seen


def test_customer_keys_are_refused_everywhere(stub, behind):
    key = base64.b64encode(bytes(32)).decode()
    for prefix in ("x-amz-server-side-encryption-customer", "x-amz-copy-source-server-side-encryption-customer"):
        headers = {f"{prefix}-algorithm": "AES256", f"{prefix}-key": key}
        for method, sent, body in EVERYWHERE:
            answer = behind.request(method, sent, headers, body)
            assert answer.status == 501, f"{method} {sent}: {answer}"
    assert stub.take() == []


# ---- over a real store ----------------------------------------------------------------------------

BUCKET = "e2e-sub-resources"


@pytest.fixture(scope="module")
def both(weed, tmp_path_factory):
    """(boto3 clients, wires) of a gateway before SeaweedFS and of SeaweedFS itself."""
    gateway = gw.Gateway(tmp_path_factory.mktemp("both") / "gateway", gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET))
    through, direct = gateway.client(), weed.client()
    through.create_bucket(Bucket=BUCKET)
    through.put_object(Bucket=BUCKET, Key="key", Body=b"value")
    yield (through, direct), (gateway.wire(), S3Wire(weed.endpoint, wd.ACCESS, wd.SECRET))
    gateway.stop()


def stable(body: bytes) -> bytes:
    """A document without what differs from request to request."""
    return re.sub(rb"<(RequestId|HostId|Resource)>[^<]*</\1>", b"", body)


DOCUMENTS = {
    "GetBucketVersioning": ("PutBucketVersioning", b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"),
    "GetBucketCors": (
        "PutBucketCors",
        b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
        b"</CORSConfiguration>",
    ),
    "GetBucketLifecycleConfiguration": (
        "PutBucketLifecycleConfiguration",
        b"<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>"
        b"<Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>",
    ),
    "GetBucketTagging": ("PutBucketTagging", b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"),
    "GetObjectTagging": ("PutObjectTagging", b"<Tagging><TagSet><Tag><Key>b</Key><Value>2</Value></Tag></TagSet></Tagging>"),
    "GetBucketEncryption": (
        "PutBucketEncryption",
        b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
        b"</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    ),
    "GetBucketPolicy": (
        "PutBucketPolicy",
        b'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
        b'"Resource":"arn:aws:s3:::' + BUCKET.encode() + b'/public/*"}]}',
    ),
    "GetBucketOwnershipControls": (
        "PutBucketOwnershipControls",
        b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>",
    ),
}


def test_answers_are_the_stores_own(both):
    """Each question before and after the gateway wrote its document; the store's own answer beside it."""
    requests = {name: (method, sent) for name, method, sent in PASSED}
    wires = both[1]
    changed = 0
    for name, (method, sent) in requests.items():
        if method != "GET":
            continue
        sent = sent.replace("bucket/key", f"{BUCKET}/key").replace("/bucket", f"/{BUCKET}").replace("&id", "&id=one")
        before = None
        for turn in range(2 if name in DOCUMENTS else 1):
            if turn:
                put, document = DOCUMENTS[name]
                sum_ = {"Content-MD5": base64.b64encode(hashlib.md5(document).digest()).decode()}
                written = wires[0].request("PUT", sent, sum_, document)
                again = wires[1].request("PUT", sent, sum_, document)
                assert (written.status, written.code) == (again.status, again.code), f"{put}: {written} {again}"
            got, own = (wire.request("GET", sent) for wire in wires)
            assert (got.status, got.code, stable(got.body)) == (own.status, own.code, stable(own.body)) or (
                own.status >= 400 and (got.status, got.code) == (own.status, own.code)
            ), f"{name}: {got}\n{own}"
            changed += turn and before != stable(got.body)
            before = stable(got.body)
    assert changed >= 5, "SeaweedFS kept too few of the documents for this to say anything"


@pytest.fixture(params=["seaweed", "fs"])
def tagged(request):
    """(client of a gateway, client that shows what the store knows)."""
    if request.param == "fs":
        through = request.getfixturevalue("directory").client()
        through.create_bucket(Bucket=BUCKET)
        return through, through
    return request.getfixturevalue("both")[0]


def test_tags_follow_an_object(tagged):
    s3, direct = tagged
    tags = [{"Key": "colour", "Value": "blue & green/ü"}]
    tagging = urllib.parse.urlencode({"colour": "blue & green/ü"})

    def of(client, bucket, key):
        return client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]

    s3.put_object(Bucket=BUCKET, Key="tagged", Body=b"x", Tagging=tagging)
    assert of(s3, BUCKET, "tagged") == of(direct, BUCKET, "tagged") == tags
    assert s3.head_object(Bucket=BUCKET, Key="tagged")["TagCount"] == 1
    source = {"Bucket": BUCKET, "Key": "tagged"}
    s3.copy_object(Bucket=BUCKET, Key="copied", CopySource=source)
    assert of(s3, BUCKET, "copied") == tags
    s3.copy_object(Bucket=BUCKET, Key="replaced", CopySource=source, TaggingDirective="REPLACE", Tagging="n=1")
    assert of(s3, BUCKET, "replaced") == [{"Key": "n", "Value": "1"}]
    # Into a bucket that is not sealed the bytes go through the gateway, and the tags with them.
    s3.create_bucket(Bucket="clear-sub-resources")
    s3.copy_object(Bucket="clear-sub-resources", Key="opened", CopySource=source)
    assert of(s3, "clear-sub-resources", "opened") == tags
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts", Tagging=tagging)["UploadId"]
    part = s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=1, Body=blob(PART))
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload=parts)
    assert of(s3, BUCKET, "parts") == of(direct, BUCKET, "parts") == tags
    s3.delete_object_tagging(Bucket=BUCKET, Key="parts")
    assert of(direct, BUCKET, "parts") == []
    before = s3.head_object(Bucket=BUCKET, Key="parts")
    many = [{"Key": f"k{i}", "Value": f"v {i}"} for i in range(10)]
    s3.put_object_tagging(Bucket=BUCKET, Key="parts", Tagging={"TagSet": many})
    assert sorted(of(s3, BUCKET, "parts"), key=lambda t: t["Key"]) == many
    after = s3.head_object(Bucket=BUCKET, Key="parts")
    assert (after["ETag"], after["LastModified"], after["TagCount"]) == (before["ETag"], before["LastModified"], 10)
    assert read(s3, BUCKET, "parts") == blob(PART)
    with refused("NoSuchKey"):
        of(s3, BUCKET, "nothing")


def test_object_lock_holds(both):
    """A locked object is not deleted, by the store's word, until the lock is lifted."""
    (s3, direct), _ = both
    s3.create_bucket(Bucket="e2e-locked", ObjectLockEnabledForBucket=True)
    assert direct.get_object_lock_configuration(Bucket="e2e-locked")["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert s3.get_bucket_versioning(Bucket="e2e-locked")["Status"] == "Enabled"
    put = s3.put_object(Bucket="e2e-locked", Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")
    version = put["VersionId"]
    assert s3.get_object_legal_hold(Bucket="e2e-locked", Key="k")["LegalHold"]["Status"] == "ON"
    s3.put_object_legal_hold(Bucket="e2e-locked", Key="k", LegalHold={"Status": "OFF"})
    assert direct.get_object_legal_hold(Bucket="e2e-locked", Key="k", VersionId=version)["LegalHold"]["Status"] == "OFF"


# ---- over a directory -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directory")
    (folder / "objects").mkdir()
    gateway = gw.Gateway(folder / "gateway", gw.fs_backend(folder / "objects"))
    gateway.client().create_bucket(Bucket="bucket")
    gateway.client().put_object(Bucket="bucket", Key="key", Body=b"value")
    yield gateway
    gateway.stop()


def test_a_directory_answers_what_is_true_of_it(directory):
    s3 = directory.client()
    at, on = {"Bucket": "bucket", "Key": "key"}, {"Bucket": "bucket"}
    owner = {"ID": "sealgate", "DisplayName": "sealgate"}
    for acl in (s3.get_bucket_acl(**on), s3.get_object_acl(**at)):
        assert acl["Owner"] == owner
        assert acl["Grants"] == [{"Grantee": {**owner, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}]
    s3.put_object_acl(**at, ACL="private")
    assert "Status" not in s3.get_bucket_versioning(**on)
    assert s3.get_object_tagging(**at)["TagSet"] == []
    tags = [{"Key": "team", "Value": "a & b"}]
    s3.put_bucket_tagging(**on, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(**on)["TagSet"] == tags
    s3.delete_bucket_tagging(**on)
    assert s3.get_bucket_request_payment(**on)["Payer"] == "BucketOwner"
    assert "LoggingEnabled" not in s3.get_bucket_logging(**on)
    assert s3.list_bucket_metrics_configurations(**on)["IsTruncated"] is False
    for call, code in (
        (lambda: s3.get_bucket_policy(**on), "NoSuchBucketPolicy"),
        (lambda: s3.get_bucket_tagging(**on), "NoSuchTagSet"),
        (lambda: s3.get_bucket_lifecycle_configuration(**on), "NoSuchLifecycleConfiguration"),
        (lambda: s3.get_bucket_cors(**on), "NoSuchCORSConfiguration"),
        (lambda: s3.get_bucket_website(**on), "NoSuchWebsiteConfiguration"),
        (lambda: s3.get_bucket_encryption(**on), "ServerSideEncryptionConfigurationNotFoundError"),
        (lambda: s3.get_object_lock_configuration(**on), "ObjectLockConfigurationNotFoundError"),
        (lambda: s3.get_public_access_block(**on), "NoSuchPublicAccessBlockConfiguration"),
        (lambda: s3.get_bucket_policy(Bucket="no-such-bucket"), "NoSuchBucket"),
        (lambda: s3.get_object_acl(Bucket="bucket", Key="nothing"), "NoSuchKey"),
        (lambda: s3.get_object_acl(**at, VersionId="v1"), "NoSuchVersion"),
    ):
        with refused(code):
            call()


def test_a_directory_never_forgets_what_it_was_told(directory):
    """It refuses instead; and there is an answer of either kind to every operation."""
    wire = directory.wire()
    for name, method, sent in PASSED:
        body = b"<x/>" if method in ("PUT", "POST") else b""
        answer = wire.request(method, sent, {}, body)
        if name in ("PutBucketTagging", "PutObjectTagging"):
            assert (answer.status, answer.code) == (400, "MalformedXML"), answer
        elif method in ("PUT", "POST"):
            assert (answer.status, answer.code) == (501, "NotImplemented"), f"{name}: {answer}"
            assert "needs an S3 store" in answer.body.decode()
        else:
            # By its own code where S3 has one for "there is none", and never by a listing.
            assert answer.status in (200, 204, 400, 404, 501) and b"ListBucketResult" not in answer.body, f"{name}: {answer}"
    for headers in ({"x-amz-bucket-object-lock-enabled": "true"}, {"x-amz-acl": "public-read"}, {"x-amz-grant-read": "id=x"}):
        answer = wire.request("PUT", "/another-bucket", headers)
        assert (answer.status, answer.code) == (501, "NotImplemented"), answer
    assert wire.request("PUT", "/another-bucket", {"x-amz-acl": "private"}).status == 200


def test_a_directory_keeps_only_tags_that_s3_has(directory):
    wire = directory.wire()
    for tagging, code in (("a=1&a=2", "InvalidTag"), ("a=%zz", "InvalidArgument"), (f"{'k' * 129}=1", "InvalidTag")):
        for method, sent, body in (("PUT", "/bucket/wrong", b"x"), ("POST", "/bucket/wrong?uploads", b"")):
            answer = wire.request(method, sent, {"x-amz-tagging": tagging}, body)
            assert (answer.status, answer.code) == (400, code), answer
    twice = b"<Tagging><TagSet>" + b"<Tag><Key>a</Key><Value>1</Value></Tag>" * 2 + b"</TagSet></Tagging>"
    assert wire.request("PUT", "/bucket/key?tagging", {}, twice).code == "InvalidTag"
    assert wire.request("HEAD", "/bucket/wrong").status == 404


def test_a_directory_has_one_owner(directory):
    for owner, status in (("sealgate", 200), ("111122223333", 403)):
        answer = directory.wire().request("GET", "/bucket/key", {"x-amz-expected-bucket-owner": owner})
        assert answer.status == status, answer
