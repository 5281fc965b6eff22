"""Folder markers: empty objects whose keys end with `/`. Stores that keep objects as files keep no body under such a key.

Three stores: a directory; an S3 store that keeps a marker's metadata, as most do (moto); and SeaweedFS, which keeps no
more than its name.
"""

import base64
import hashlib
import importlib.util
import io
import json
import subprocess
from types import SimpleNamespace

import pytest
import requests

from harness import ROOT, binary, gateway as gw, keyring, weed as wd
from harness.aws import Moto
from harness.data import MIB, blob
from harness.expect import listed, missing, multipart, read, refused
from harness.rawstore import FsRaw, RawObject, S3Raw
from harness.sigv4 import key_path

pytestmark = pytest.mark.gateway

BUCKET = "e2e-markers"
KEPT = {"ContentType": "application/x-directory", "Metadata": {"mode": "16877", "uid": "1000"}}
NOTHING = base64.b64encode(hashlib.sha256(b"").digest()).decode()
SPEC = importlib.util.spec_from_file_location("sealgate_open", ROOT / "docs" / "tools" / "sealgate_open.py")
OPENER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(OPENER)


def start(folder, backend, raw):
    gateway = gw.Gateway(folder / "gateway", backend, cores=1)
    s3 = gateway.client()
    s3.create_bucket(Bucket=BUCKET)
    return SimpleNamespace(gateway=gateway, s3=s3, wire=gateway.wire(), raw=raw)


@pytest.fixture(scope="module", params=["directory", "objects"])
def keeping(request, tmp_path_factory):
    """A gateway before a store that keeps what it is told of a marker. Moto can neither list parts nor say of versions."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "directory":
        (folder / "objects").mkdir()
        made = start(folder, gw.fs_backend(folder / "objects"), FsRaw(folder / "objects"))
        yield made
        made.gateway.stop(5)
        return
    moto = Moto(folder / "moto")
    try:
        made = start(folder, gw.s3_backend(moto.url, "OPERATOR", "x"), S3Raw(moto.client("s3", "us-east-1")))
        yield made
        made.gateway.stop(5)
    finally:
        moto.stop()


@pytest.fixture(scope="module")
def bare(weed, tmp_path_factory):
    """A gateway before SeaweedFS."""
    backend = gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET, 'preset = "seaweedfs"')
    made = start(tmp_path_factory.mktemp("bare"), backend, S3Raw(weed.client()))
    yield made
    made.gateway.stop(5)


def described(answer: dict) -> tuple:
    return answer["ContentLength"], answer["ContentType"], answer["Metadata"]


def is_marker(place, key: str) -> bool:
    """How it lies in the store: without a body, under an envelope that says so."""
    raw = place.raw.get(BUCKET, key)
    layout = OPENER.parse_envelope(raw.metadata["sealgate"])["layout"]
    assert (layout == "empty") == (raw.body == b"")
    return layout == "empty"


def test_a_marker_is_an_empty_object_to_clients(keeping):
    s3, key = keeping.s3, "tree/ü folder/"
    made = s3.put_object(Bucket=BUCKET, Key=key, Body=b"", ChecksumSHA256=NOTHING, **KEPT)
    assert made["ChecksumSHA256"] == NOTHING and made["ServerSideEncryption"] == "aws:kms"
    s3.put_object(Bucket=BUCKET, Key=f"{key}inside", Body=b"123")
    for ask in (s3.head_object, s3.get_object):
        answer = ask(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert described(answer) == (0, KEPT["ContentType"], KEPT["Metadata"])
        assert (answer["ETag"], answer["ChecksumSHA256"], answer["ChecksumType"]) == (made["ETag"], NOTHING, "FULL_OBJECT")
    assert read(s3, BUCKET, key) == b""
    expected = [(key, 0, made["ETag"]), (f"{key}inside", 3, s3.head_object(Bucket=BUCKET, Key=f"{key}inside")["ETag"])]
    for name, ask in [("Contents", s3.list_objects), ("Contents", s3.list_objects_v2), ("Versions", s3.list_object_versions)]:
        assert [(o["Key"], o["Size"], o["ETag"]) for o in ask(Bucket=BUCKET, Prefix="tree/")[name]] == expected
    attributes = s3.get_object_attributes(Bucket=BUCKET, Key=key, ObjectAttributes=["ETag", "Checksum", "ObjectSize", "ObjectParts"])
    assert (attributes["ObjectSize"], attributes["Checksum"]["ChecksumSHA256"]) == (0, NOTHING)
    assert "ObjectParts" not in attributes
    assert is_marker(keeping, key)
    stored = keeping.raw.get(BUCKET, key)
    assert "16877" not in str(stored.metadata)
    s3.delete_object(Bucket=BUCKET, Key=key)
    missing(s3, BUCKET, key)
    assert read(s3, BUCKET, f"{key}inside") == b"123"


def test_verified_listings_show_markers_too(keeping):
    s3, bucket = keeping.s3, "verify-markers"
    s3.create_bucket(Bucket=bucket)
    etag = s3.put_object(Bucket=bucket, Key="a/", Body=b"")["ETag"]
    assert [(o["Key"], o["Size"], o["ETag"]) for o in listed(s3, bucket)] == [("a/", 0, etag)]


def test_what_is_asked_of_an_empty_object(keeping):
    s3, key = keeping.s3, "asked/"
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=b"")["ETag"]
    for range_ in ("bytes=0-0", "bytes=0-", "bytes=5-9", "bytes=-5"):
        with refused("InvalidRange", status=416):
            s3.get_object(Bucket=BUCKET, Key=key, Range=range_)
    assert s3.get_object(Bucket=BUCKET, Key=key, PartNumber=1)["ResponseMetadata"]["HTTPStatusCode"] == 200
    with refused("InvalidPartNumber", status=416):
        s3.get_object(Bucket=BUCKET, Key=key, PartNumber=2)
    with refused("304"):
        s3.get_object(Bucket=BUCKET, Key=key, IfNoneMatch=etag)
    with refused("PreconditionFailed"):
        s3.get_object(Bucket=BUCKET, Key=key, IfMatch='"other"')
    assert s3.get_object(Bucket=BUCKET, Key=key, IfMatch=etag)["ContentLength"] == 0
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"", IfNoneMatch="*")


@pytest.mark.parametrize("headers", [{"x-amz-checksum-crc32": "AAAAAQ=="}, {"content-md5": base64.b64encode(bytes(16)).decode()}])
def test_a_wrong_checksum_makes_no_marker(keeping, headers):
    answer = keeping.wire.request("PUT", key_path(BUCKET, "wrong/"), headers, b"")
    assert (answer.status, answer.code) == (400, "BadDigest")
    missing(keeping.s3, BUCKET, "wrong/")


def test_forms_and_chunked_bodies_make_markers(keeping):
    form = keeping.s3.generate_presigned_post(BUCKET, "of a form/", Fields={"x-amz-meta-a": "1"}, Conditions=[{"x-amz-meta-a": "1"}])
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("f", b"")})
    assert answer.status_code == 204, answer.text
    keeping.s3.put_object(Bucket=BUCKET, Key="of chunks/", Body=io.BytesIO(), ChecksumAlgorithm="CRC64NVME", Metadata={"a": "1"})
    for key in ("of a form/", "of chunks/"):
        answer = keeping.s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert (answer["ContentLength"], answer["Metadata"]) == (0, {"a": "1"}) and is_marker(keeping, key)
    assert answer["ChecksumCRC64NVME"] == "AAAAAAAAAAA="


def test_copies_from_and_to_markers(keeping):
    s3 = keeping.s3
    s3.put_object(Bucket=BUCKET, Key="from/", Body=b"", ChecksumSHA256=NOTHING, **KEPT)
    s3.put_object(Bucket=BUCKET, Key="empty", Body=b"", ChecksumSHA256=NOTHING, **KEPT)
    for source, target in [("from/", "to/"), ("from/", "a key"), ("empty", "onto/")]:
        made = s3.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": source})["CopyObjectResult"]
        answer = s3.get_object(Bucket=BUCKET, Key=target, ChecksumMode="ENABLED")
        assert described(answer) == (0, KEPT["ContentType"], KEPT["Metadata"]), target
        assert answer["ETag"] == made["ETag"]
        assert answer["ChecksumSHA256"] == NOTHING
        assert is_marker(keeping, target) == target.endswith("/")
    new = {"ContentType": "text/x-new", "Metadata": {"mode": "0"}, "MetadataDirective": "REPLACE"}
    s3.copy_object(Bucket=BUCKET, Key="from/", CopySource={"Bucket": BUCKET, "Key": "from/"}, **new)
    assert described(s3.head_object(Bucket=BUCKET, Key="from/")) == (0, "text/x-new", {"mode": "0"})
    with refused("InvalidRequest"):
        s3.copy_object(Bucket=BUCKET, Key="from/", CopySource={"Bucket": BUCKET, "Key": "from/"})
    with refused("PreconditionFailed"):
        s3.copy_object(Bucket=BUCKET, Key="not/", CopySource={"Bucket": BUCKET, "Key": "from/"}, CopySourceIfMatch='"other"')


def test_copies_between_sealed_and_clear_buckets(keeping):
    s3, clear = keeping.s3, "clear-markers"
    s3.create_bucket(Bucket=clear)
    s3.put_object(Bucket=clear, Key="a/", Body=b"", **KEPT)
    s3.copy_object(Bucket=BUCKET, Key="of clear/", CopySource={"Bucket": clear, "Key": "a/"})
    assert is_marker(keeping, "of clear/")
    s3.copy_object(Bucket=clear, Key="back/", CopySource={"Bucket": BUCKET, "Key": "of clear/"})
    for bucket, key in [(clear, "a/"), (BUCKET, "of clear/"), (clear, "back/")]:
        assert described(s3.head_object(Bucket=bucket, Key=key)) == (0, KEPT["ContentType"], KEPT["Metadata"])
    assert "sealgate" not in keeping.raw.get(clear, "back/").metadata


def test_data_under_such_a_key(keeping):
    s3, data = keeping.s3, blob(1000)
    s3.put_object(Bucket=BUCKET, Key="data/", Body=data)
    s3.copy_object(Bucket=BUCKET, Key="copied/", CopySource={"Bucket": BUCKET, "Key": "data/"})
    assert read(s3, BUCKET, "data/") == read(s3, BUCKET, "copied/") == data
    s3.put_object(Bucket=BUCKET, Key="data/", Body=b"")
    assert read(s3, BUCKET, "data/") == b"" and is_marker(keeping, "data/")


@pytest.mark.parametrize("keeping", ["directory"], indirect=True)
def test_uploads_in_parts_make_no_markers_and_may_be_of_them(keeping):
    s3, data = keeping.s3, blob(1000)
    multipart(s3, BUCKET, "parts/", {1: blob(5 * MIB), 2: data})
    assert read(s3, BUCKET, "parts/")[5 * MIB :] == data
    multipart(s3, BUCKET, "empty parts/", {1: b""})
    assert read(s3, BUCKET, "empty parts/") == b"" and not is_marker(keeping, "empty parts/")
    s3.copy_object(Bucket=BUCKET, Key="copied parts/", CopySource={"Bucket": BUCKET, "Key": "empty parts/"})
    assert read(s3, BUCKET, "copied parts/") == b"" and is_marker(keeping, "copied parts/")
    s3.put_object(Bucket=BUCKET, Key="source/", Body=b"")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="of a marker")["UploadId"]
    where = {"Bucket": BUCKET, "Key": "of a marker", "UploadId": upload}
    part = s3.upload_part_copy(**where, PartNumber=1, CopySource={"Bucket": BUCKET, "Key": "source/"})["CopyPartResult"]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert read(s3, BUCKET, "of a marker") == b""


def test_a_store_makes_no_marker_of_an_object_and_no_object_of_a_marker(keeping):
    s3, raw = keeping.s3, keeping.raw
    s3.put_object(Bucket=BUCKET, Key="genuine/", Body=b"")
    s3.put_object(Bucket=BUCKET, Key="full/", Body=b"secret")
    s3.put_object(Bucket=BUCKET, Key="plain", Body=b"")
    genuine, full, plain = (raw.get(BUCKET, key) for key in ("genuine/", "full/", "plain"))
    # The envelope of a single PUT ends with length, stream header and wrapped key; a marker's with a byte and that key.
    single = OPENER.from_text(full.metadata["sealgate"])
    edited = base64.urlsafe_b64encode(b"\1\2" + single[2:-124] + b"\0" + single[-60:]).decode().rstrip("=")
    assert OPENER.parse_envelope(edited)["layout"] == "empty"
    cases = [
        ("genuine/", genuine.metadata, b"x"),
        ("genuine/", genuine.metadata, plain.body),
        ("full/", full.metadata, b""),
        ("full/", {"sealgate": edited}, b""),
    ]
    for key, metadata, body in cases:
        raw.put(BUCKET, key, RawObject(body, metadata, genuine.headers))
        for ask in (s3.get_object, s3.head_object):
            with refused("ObjectAuthenticationFailed", "500", status=500):
                ask(Bucket=BUCKET, Key=key)
        with refused("ObjectAuthenticationFailed", status=500):
            s3.copy_object(Bucket=BUCKET, Key="copy/", CopySource={"Bucket": BUCKET, "Key": key})
    # Another key's marker, and an empty object that nobody sealed.
    raw.put(BUCKET, "elsewhere/", genuine)
    with refused("ObjectAuthenticationFailed", status=500):
        s3.get_object(Bucket=BUCKET, Key="elsewhere/")
    genuine.metadata = {}
    raw.put(BUCKET, "unsealed/", genuine)
    with refused("InvalidObjectState"):
        s3.get_object(Bucket=BUCKET, Key="unsealed/")


@pytest.mark.parametrize("keeping", ["directory"], indirect=True)
def test_markers_are_rewrapped_and_verified(keeping):
    s3, bucket = keeping.s3, "rewrap-markers"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/", Body=b"", ChecksumSHA256=NOTHING, **KEPT)

    def sealgate(*argv):
        argv = [binary(), *argv, "--config", keeping.gateway.config, "--bucket", bucket, "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    before = keeping.raw.get(bucket, "a/").metadata["sealgate"]
    report = sealgate("rewrap", "--all", "--no-writers")
    assert report["rewrapped"] == 1, report
    assert keeping.raw.get(bucket, "a/").metadata["sealgate"] != before
    report = sealgate("keys", "verify")
    assert (report["objects"], report["not_sealed"], report["failed"]) == (1, 0, 0)
    answer = s3.head_object(Bucket=bucket, Key="a/", ChecksumMode="ENABLED")
    assert described(answer) == (0, KEPT["ContentType"], KEPT["Metadata"])
    assert answer["ChecksumSHA256"] == NOTHING


def test_opened_without_the_gateway(keeping, tmp_path):
    keeping.s3.put_object(Bucket=BUCKET, Key="opened/", Body=b"", ChecksumSHA256=NOTHING, **KEPT)
    raw = keeping.raw.get(BUCKET, "opened/")
    envelope = OPENER.parse_envelope(raw.metadata["sealgate"])
    names = envelope["key_name"], envelope["key_version"], envelope["wrapped_kek"]
    dek = OPENER.unwrap_dek(envelope, keyring.unwrap_kek(keeping.gateway.ring, *names), BUCKET, "opened/")
    assert OPENER.open_metadata(dek, envelope["object_id"], raw.metadata["sealgate-m"]) == KEPT["Metadata"]
    assert OPENER.checksums_of_nothing(envelope["checksum"]) == {"SHA256": NOTHING}


def test_a_store_of_bare_folders_keeps_them_as_it_would_alone(bare):
    s3 = bare.s3
    etag = s3.put_object(Bucket=BUCKET, Key="bare/", Body=b"", **KEPT)["ETag"]
    for ask in (s3.head_object, s3.get_object):
        answer = ask(Bucket=BUCKET, Key="bare/")
        assert described(answer) == (0, KEPT["ContentType"], {})
        assert answer["ETag"] == etag
    assert [(o["Key"], o["Size"], o["ETag"]) for o in listed(s3, BUCKET, "bare/")] == [("bare/", 0, etag)]
    with refused("PreconditionFailed"):
        s3.put_object(Bucket=BUCKET, Key="bare/", Body=b"", IfNoneMatch="*")
    with refused("InvalidRange"):
        s3.get_object(Bucket=BUCKET, Key="bare/", Range="bytes=0-0")
    new = {"ContentType": "text/x-new", "MetadataDirective": "REPLACE"}
    s3.copy_object(Bucket=BUCKET, Key="bare/", CopySource={"Bucket": BUCKET, "Key": "bare/"}, **new)
    assert s3.head_object(Bucket=BUCKET, Key="bare/")["ContentType"] == "text/x-new"
    s3.copy_object(Bucket=BUCKET, Key="renamed/", CopySource={"Bucket": BUCKET, "Key": "bare/"})
    s3.copy_object(Bucket=BUCKET, Key="a plain key", CopySource={"Bucket": BUCKET, "Key": "bare/"})
    assert read(s3, BUCKET, "renamed/") == read(s3, BUCKET, "a plain key") == b""
    s3.delete_object(Bucket=BUCKET, Key="bare/")
    missing(s3, BUCKET, "bare/")
    argv = [binary(), "keys", "verify", "--config", bare.gateway.config, "--bucket", BUCKET, "--json"]
    report = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert (report["not_sealed"], report["failed"]) == (1, 0), report
    # There, what has keys in it is a folder.
    s3.put_object(Bucket=BUCKET, Key="implied/key", Body=b"1")
    assert s3.head_object(Bucket=BUCKET, Key="implied/")["ContentLength"] == 0
    s3.copy_object(Bucket=BUCKET, Key="implied/", CopySource={"Bucket": BUCKET, "Key": "implied/"}, **new)
    assert [o["Key"] for o in listed(s3, BUCKET, "implied/")] == ["implied/", "implied/key"]


def test_data_that_a_store_would_lose_is_refused(bare):
    s3, data = bare.s3, b"data"
    s3.put_object(Bucket=BUCKET, Key="data", Body=data)
    with refused("NotImplemented", status=501):
        s3.put_object(Bucket=BUCKET, Key="lost/", Body=data)
    with refused("NotImplemented", status=501):
        s3.create_multipart_upload(Bucket=BUCKET, Key="lost/")
    with refused("NotImplemented", status=501):
        s3.copy_object(Bucket=BUCKET, Key="lost/", CopySource={"Bucket": BUCKET, "Key": "data"})
    missing(s3, BUCKET, "lost/")
