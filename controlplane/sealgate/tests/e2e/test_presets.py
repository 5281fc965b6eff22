"""What stores differ in, and what the gateway does about it (S3-TRAPS 30 to 33): one store, with the habits of others."""

import pytest
from botocore.exceptions import ClientError

from harness import gateway as gw, weed as wd
from harness.data import blob
from harness.expect import missing, multipart, read, refused
from harness.liar import Liar

pytestmark = pytest.mark.gateway

BUCKET = "e2e-presets"
OTHER = '"0123456789abcdef0123456789abcdef"'
LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"

# What each store keeps, written down once more: see docs/stores.md.
PUT_ABSENT, PUT_MATCH, COMPLETE_ABSENT, COMPLETE_MATCH = "put *", "put match", "complete *", "complete match"
COPY_ABSENT, COPY_MATCH, DELETE_MATCH, TAG, DATE = "copy *", "copy match", "delete match", "put tag", "put date"
ALL = {PUT_ABSENT, PUT_MATCH, COMPLETE_ABSENT, COMPLETE_MATCH, COPY_ABSENT, COPY_MATCH, DELETE_MATCH, TAG, DATE}
KEPT = {
    "aws": ALL - {TAG, DATE},
    "ceph": {PUT_ABSENT, PUT_MATCH},
    "seaweedfs": ALL,
    "minio": {PUT_ABSENT, PUT_MATCH, COMPLETE_ABSENT, COMPLETE_MATCH, TAG},
    "garage": set(),
    "versitygw": {PUT_ABSENT, PUT_MATCH, COMPLETE_ABSENT, COMPLETE_MATCH, DELETE_MATCH},
    "generic": ALL,
}


@pytest.fixture(scope="module")
def liar(weed):
    liar = Liar(weed.port)
    weed.client().create_bucket(Bucket=BUCKET)
    yield liar
    liar.close()


@pytest.fixture(autouse=True)
def honest(liar):
    liar.honest()


@pytest.fixture(scope="module")
def before(liar, tmp_path_factory):
    """Gateways before the store, by preset and option; all with one key."""
    started = {}
    folder = tmp_path_factory.mktemp("presets")

    def start(preset: str, emulate: bool = False):
        name = f"{preset}-{emulate}"
        if name not in started:
            more = f'preset = "{preset}"\nemulate_conditions = {str(emulate).lower()}'
            backend = gw.s3_backend(liar.endpoint, wd.ACCESS, wd.SECRET, more)
            ring = next(iter(started.values())).ring if started else None
            started[name] = gw.Gateway(folder / name, backend, ring=ring, cores=1)
        return started[name]

    yield start
    for gateway in started.values():
        gateway.stop(5)


def writes(gateway, key: str) -> dict:
    """One write for each condition that does not hold; the object at `key` is there."""
    s3, wire = gateway.client(), gateway.wire()
    there = s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
    source = {"Bucket": BUCKET, "Key": key}

    def complete(**condition):
        return multipart_with(s3, key, **condition)

    def by_wire(headers):
        answer = wire.request("PUT", f"/{BUCKET}/{key}", headers, b"second")
        if answer.status >= 300:
            code = answer.body.decode().partition("<Code>")[2].partition("</Code>")[0]
            response = {"Error": {"Code": code, "Message": answer.body.decode()}}
            raise ClientError({**response, "ResponseMetadata": {"HTTPStatusCode": answer.status}}, "PutObject")

    return {
        PUT_ABSENT: lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfNoneMatch="*"),
        PUT_MATCH: lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfMatch=OTHER),
        COMPLETE_ABSENT: lambda: complete(IfNoneMatch="*"),
        COMPLETE_MATCH: lambda: complete(IfMatch=OTHER),
        COPY_ABSENT: lambda: s3.copy_object(Bucket=BUCKET, Key=key, CopySource={**source, "Key": f"{key}-from"}, IfNoneMatch="*"),
        COPY_MATCH: lambda: s3.copy_object(Bucket=BUCKET, Key=key, CopySource={**source, "Key": f"{key}-from"}, IfMatch=OTHER),
        DELETE_MATCH: lambda: s3.delete_object(Bucket=BUCKET, Key=key, IfMatch=OTHER),
        TAG: lambda: by_wire({"If-None-Match": there}),
        DATE: lambda: by_wire({"If-Unmodified-Since": LONG_AGO}),
    }


def multipart_with(s3, key: str, **condition):
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    etag = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"second")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    try:
        return s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=parts, **condition)
    except ClientError:
        s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
        raise


def conditional(liar) -> list[str]:
    """Conditions of writes that reached the store."""
    return [f"{e.method} {n}" for e in liar.seen if e.method not in ("GET", "HEAD") for n in e.headers if n.startswith("if-")]


@pytest.mark.parametrize("preset", KEPT)
def test_conditions_that_a_store_does_not_keep_are_refused(before, liar, prefix, preset):
    gateway, key = before(preset), f"{prefix}object"
    s3 = gateway.client()
    for name in (key, f"{key}-from"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"first")
    for name, write in writes(gateway, key).items():
        liar.seen.clear()
        if name in KEPT[preset]:
            with refused("PreconditionFailed", status=412):
                write()
            assert conditional(liar), f"{name}: the condition did not reach the store"
        else:
            with refused("NotImplemented", status=501) as caught:
                write()
            message = caught.value.response["Error"]["Message"]
            assert preset in message and ("If-Match" in message or "If-None-Match" in message or "If-Unmodified" in message)
            assert not conditional(liar)
        assert read(s3, BUCKET, key) == b"first", name


@pytest.mark.parametrize("preset", ["ceph", "garage", "generic"])
def test_conditions_are_emulated_by_option_only(before, liar, prefix, preset):
    gateway, key = before(preset, emulate=True), f"{prefix}object"
    s3 = gateway.client()
    for name in (key, f"{key}-from"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"first")
    for name, write in writes(gateway, key).items():
        liar.seen.clear()
        with refused("PreconditionFailed", status=412):
            write()
        if name not in KEPT[preset]:
            assert not conditional(liar), f"{name}: the store was told what it does not keep"
        assert read(s3, BUCKET, key) == b"first", name
    # What holds is done.
    etag = s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfMatch=etag)["ETag"]
    multipart_with(s3, f"{key}-new", IfNoneMatch="*")
    assert read(s3, BUCKET, f"{key}-new") == b"second"
    s3.delete_object(Bucket=BUCKET, Key=key, IfMatch=etag)
    missing(s3, BUCKET, key)
    # An object that is not there meets no If-Match: 404 from the gateway, and what it likes from a store that keeps it.
    with refused("NoSuchKey", "PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"third", IfMatch=etag)
    missing(s3, BUCKET, key)


def test_rgw_gets_etags_without_quotes(before, liar, prefix):
    s3, key = before("ceph").client(), f"{prefix}object"
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")["ETag"]
    liar.seen.clear()
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"second", IfMatch=etag)
    assert [e.headers["if-match"] for e in liar.seen if "if-match" in e.headers] == [etag.strip('"').removesuffix("-0")]
    # Several it would compare as one.
    answer = before("ceph").wire().request("PUT", f"/{BUCKET}/{key}", {"If-Match": f"{etag}, {OTHER}"}, b"x")
    assert answer.status == 501


@pytest.mark.parametrize("preset", ["ceph", "garage", "minio", "versitygw"])
def test_reads_and_sources_are_checked_by_the_gateway(before, liar, prefix, preset):
    """Also where the store would not look: its preset says nothing of reads."""

    def ignores(exchange):
        if exchange.method in ("GET", "HEAD"):
            for name in [n for n in exchange.headers if n.startswith("if-")]:
                del exchange.headers[name]

    s3, key = before(preset).client(), f"{prefix}object"
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")["ETag"]
    liar.before = ignores
    for verb in (s3.get_object, s3.head_object):
        with refused("PreconditionFailed", "412", status=412):
            verb(Bucket=BUCKET, Key=key, IfMatch=OTHER)
        with refused("304", "NotModified", status=304):
            verb(Bucket=BUCKET, Key=key, IfNoneMatch=etag)
    source = {"Bucket": BUCKET, "Key": key}
    for condition in ({"CopySourceIfMatch": OTHER}, {"CopySourceIfNoneMatch": etag}):
        with refused("PreconditionFailed", status=412):
            s3.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource=source, **condition)
    missing(s3, BUCKET, f"{key}-copy")
    s3.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource=source, CopySourceIfMatch=etag)
    assert read(s3, BUCKET, f"{key}-copy") == b"first"


def test_a_source_that_changes_while_it_is_copied(before, liar, weed, prefix):
    """At a store that does not look, the copy could be of another state than the envelope: it must not stay."""
    s3, key = before("ceph").client(), f"{prefix}object"
    other = before("seaweedfs").client()
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")

    def replaced(exchange):
        if "x-amz-copy-source" in exchange.headers:
            liar.after = lambda exchange: None
            other.put_object(Bucket=BUCKET, Key=key, Body=b"second")

    liar.after = replaced
    with refused("SlowDown", status=503):
        s3.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource={"Bucket": BUCKET, "Key": key})
    missing(s3, BUCKET, f"{key}-copy")
    s3.copy_object(Bucket=BUCKET, Key=f"{key}-copy", CopySource={"Bucket": BUCKET, "Key": key})
    assert read(s3, BUCKET, f"{key}-copy") == b"second"


@pytest.mark.parametrize("preset", ["ceph", "seaweedfs"])
def test_a_copy_onto_itself_loses_no_write(before, liar, prefix, preset):
    """Where a store's copies are not one step, the bytes come through the gateway, under If-Match."""
    s3, key = before(preset).client(), f"{prefix}object"
    parts = {1: blob(5 << 20), 2: b"the end"}
    for number, data in enumerate([b"short", parts[1] + parts[2]]):
        name = f"{key}{number}"
        if number == 0:
            s3.put_object(Bucket=BUCKET, Key=name, Body=data, Tagging="kind=kept")
        else:
            multipart(s3, BUCKET, name, parts, Tagging="kind=kept")
        liar.honest()
        copy = dict(Bucket=BUCKET, Key=name, CopySource={"Bucket": BUCKET, "Key": name})
        s3.copy_object(**copy, Metadata={"color": "blue"}, MetadataDirective="REPLACE", ContentType="text/x-new")
        assert not [e for e in liar.seen if "x-amz-copy-source" in e.headers]
        put = next(e for e in liar.seen if e.method == "PUT" and "if-match" in e.headers)
        assert put.headers.get("x-amz-tagging") == "kind=kept"
        head = s3.head_object(Bucket=BUCKET, Key=name)
        assert head["Metadata"] == {"color": "blue"} and head["ContentType"] == "text/x-new"
        assert read(s3, BUCKET, name) == data

        def replaced(exchange):
            if exchange.method == "GET" and exchange.path.split("?")[0].endswith(name):
                liar.after = lambda exchange: None
                before("minio").client().put_object(Bucket=BUCKET, Key=name, Body=b"newer")

        liar.after = replaced
        with refused("PreconditionFailed", status=412):
            s3.copy_object(**copy, Metadata={"color": "red"}, MetadataDirective="REPLACE")
        assert read(s3, BUCKET, name) == b"newer"


@pytest.mark.parametrize("preset", ["aws", "minio", "generic"])
def test_a_store_whose_copies_are_one_step_copies_itself(before, liar, prefix, preset):
    s3, key = before(preset).client(), f"{prefix}object"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")
    liar.seen.clear()
    copy = {"CopySource": {"Bucket": BUCKET, "Key": key}, "Metadata": {"a": "b"}, "MetadataDirective": "REPLACE"}
    s3.copy_object(Bucket=BUCKET, Key=key, **copy)
    assert [e.method for e in liar.seen if "x-amz-copy-source" in e.headers] == ["PUT"]
    assert not [e for e in liar.seen if e.method == "GET"]
    assert read(s3, BUCKET, key) == b"first"


def test_the_etag_after_a_copy_onto_itself_is_the_stores(before, liar, prefix):
    """Stores differ in what a copied multipart object's ETag is; the client sees a function of it (S3-TRAPS 30)."""
    s3, key = before("generic").client(), f"{prefix}object"
    data = {1: blob(5 << 20), 2: b"x"}
    multipart(s3, BUCKET, key, data)
    etag, _, number = s3.head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"').rpartition("-")
    assert int(number) >= 2
    copy = {"CopySource": {"Bucket": BUCKET, "Key": key}, "Metadata": {}, "MetadataDirective": "REPLACE"}
    # As SeaweedFS and RGW: it stays.
    assert s3.copy_object(Bucket=BUCKET, Key=key, **copy)["CopyObjectResult"]["ETag"].strip('"') == f"{etag}-{number}"

    long, short = f"{etag}-{number}", etag
    copied = []

    def plain(exchange):
        copied.extend([1] if "x-amz-copy-source" in exchange.headers else [])
        if not copied:
            return
        exchange.answer = exchange.answer.replace(long.encode(), short.encode())
        exchange.answer_headers = [(name, value.replace(long, short)) for name, value in exchange.answer_headers]

    def known(exchange):
        if "if-match" in exchange.headers and copied:
            exchange.headers["if-match"] = exchange.headers["if-match"].replace(short, long)

    # As MinIO and AWS: it becomes one without a number.
    liar.before, liar.after = known, plain
    assert s3.copy_object(Bucket=BUCKET, Key=key, **copy)["CopyObjectResult"]["ETag"].strip('"') == f"{etag}-0"
    assert s3.head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"') == f"{etag}-0"
    assert read(s3, BUCKET, key) == data[1] + data[2]
    part = s3.get_object(Bucket=BUCKET, Key=key, PartNumber=2)
    assert (part["Body"].read(), part["PartsCount"]) == (b"x", 2)


@pytest.mark.parametrize(
    ("preset", "most"), [("generic", 1000), ("aws", 1000), ("minio", 1000), ("ceph", 5500), ("seaweedfs", 11000)]
)
def test_the_metadata_budget_is_the_stores(before, liar, prefix, preset, most):
    s3, key = before(preset).client(), f"{prefix}object"
    value = "v" * most
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"first", Metadata={"m": value})
    assert s3.head_object(Bucket=BUCKET, Key=key)["Metadata"] == {"m": value}
    # Any gateway reads it, whatever it could write.
    assert before("generic").client().get_object(Bucket=BUCKET, Key=key)["Metadata"] == {"m": value}
    stored = next(e.headers for e in liar.seen if "x-amz-meta-sealgate-m" in e.headers)
    names = [n for n in stored if n.startswith("x-amz-meta-")]
    each = 0 if preset == "minio" else len("x-amz-meta-")
    used = sum(len(n) - each + len(stored[n]) for n in names)
    assert used <= {"ceph": 8192, "seaweedfs": 16384}.get(preset, 2048)
    liar.seen.clear()
    with refused("MetadataTooLarge", status=400):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"second", Metadata={"m": value + "v" * (most // 2)})
    assert not [e for e in liar.seen if e.method == "PUT"], "counted before anything is sent"


HABITS = {
    "RGW, once": (500, "InternalError"),
    "MinIO": (404, "NoSuchUpload"),
    "RGW 16": (404, "NoSuchKey"),
    "parts are gone": (400, "InvalidPart"),
    "its own condition": (412, "PreconditionFailed"),
    "cut": (0, ""),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_complete_whose_answer_was_lost(before, liar, prefix, habit):
    """The store has completed, and says something else; asked again, it says that once more."""
    s3, key = before("generic").client(), f"{prefix}object"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    etag = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    call = {"UploadId": upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}

    def forgets(exchange):
        is_complete = exchange.method == "POST" and "uploadId=" in exchange.path
        lists_parts = exchange.method == "GET" and "uploadId=" in exchange.path and completed
        if is_complete or lists_parts:
            if is_complete:
                completed.append(exchange.status)
            exchange.refuse(*HABITS[habit])

    completed: list[int] = []
    liar.after = forgets
    first = s3.complete_multipart_upload(Bucket=BUCKET, Key=key, **call)["ETag"]
    # A kept connection that closes without an answer is no answer: the request is sent again (S3-TRAPS 19).
    assert completed and set(completed) == {200}
    assert first == s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
    again = s3.complete_multipart_upload(Bucket=BUCKET, Key=key, **call)["ETag"]
    assert again == first
    assert read(s3, BUCKET, key) == b"part"


@pytest.mark.parametrize("habit", HABITS)
def test_a_complete_that_failed_is_no_success(before, liar, prefix, habit):
    """The same answers, but nothing was completed: an object that was there before is not taken for the new one."""
    s3, key = before("generic").client(), f"{prefix}object"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"first")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    etag = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}

    def fails(exchange):
        if exchange.method == "POST" and "uploadId=" in exchange.path:
            exchange.refuse(*HABITS[habit])
            # Status 0 is for `after`.
            exchange.status = exchange.status or 503

    liar.before = fails
    with pytest.raises(ClientError):
        s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=parts)
    liar.honest()
    assert read(s3, BUCKET, key) == b"first"
    s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def test_a_complete_without_an_etag(before, liar, prefix):
    """Ceph RGW 16 answers Complete with an empty ETag: the gateway asks for it."""
    s3, key = before("ceph").client(), f"{prefix}object"

    def empty(exchange):
        if exchange.method == "POST" and b"<ETag>" in exchange.answer:
            start, _, rest = exchange.answer.partition(b"<ETag>")
            exchange.answer = start + b"<ETag>" + b"</ETag>" + rest.partition(b"</ETag>")[2]
            emptied.append(exchange.path)

    emptied: list[str] = []
    liar.after = empty
    etag = multipart(s3, BUCKET, key, {1: b"part"})["ETag"]
    assert emptied and etag == s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
