"""`sealgate check --store`: what a store does, beside what its preset says."""

import json
import subprocess

import pytest

from harness import binary, gateway as gw, weed as wd
from harness.expect import listed
from harness.liar import Liar, ignores_conditions

pytestmark = pytest.mark.gateway

BUCKET = "e2e-check"


@pytest.fixture(scope="module")
def raw(weed):
    client = weed.client()
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def liar(weed):
    liar = Liar(weed.port)
    yield liar
    liar.close()


@pytest.fixture
def check(tmp_path):
    """Runs the command; gives its status, what it printed (JSON where asked) and what it said of errors."""

    def run(backend: str, *arguments: str, bucket: str = BUCKET):
        config = gw.Gateway(tmp_path / "gateway", backend, start=False).config
        argv = [binary(), "check", "--config", str(config), "--store", "--bucket", bucket, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        text = json.loads(done.stdout) if "--json" in arguments and done.stdout else done.stdout
        return done.returncode, text, done.stderr

    return run


def seaweed(endpoint: str, preset: str) -> str:
    return gw.s3_backend(endpoint, wd.ACCESS, wd.SECRET, f'preset = "{preset}"')


def keeps_folders(exchange) -> None:
    """As every store but this one does."""
    if exchange.method == "HEAD" and exchange.path.endswith("/folder/"):
        exchange.answer_headers.append(("x-amz-meta-m", "kept"))


def nothing_left(raw) -> None:
    assert listed(raw, BUCKET, ".sealgate-check-") == []
    assert raw.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def found(report: dict) -> dict[str, dict]:
    return {f["tried"]: f for f in report["findings"]}


def test_a_store_that_is_as_its_preset_says(check, raw, weed):
    status, report, errors = check(seaweed(weed.endpoint, "seaweedfs"), "--json")
    assert (status, report["kept"], report["finished"]) == (0, True, True), errors
    assert report["fitting"][0] == "seaweedfs"
    assert not [f for f in report["findings"] if f["stands"] in ("broken", "other")]
    by_name = found(report)
    assert by_name["If-None-Match: * on PutObject"]["store"] == "kept"
    assert by_name["GetObject ?partNumber=2"]["store"] == "the part"
    assert by_name["ETag of a PutObject"]["store"] == "the MD5"
    assert by_name['metadata of an empty object "folder/"']["store"] == "not kept"
    nothing_left(raw)


def test_in_a_bucket_with_versions_none_is_left(check, weed):
    client, bucket = weed.client(), "e2e-check-versions"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="another", Body=b"x")
    status, report, errors = check(seaweed(weed.endpoint, "seaweedfs"), "--json", bucket=bucket)
    assert report["finished"], errors
    assert found(report)["versions"]["store"] == "on in this bucket"
    left = client.list_object_versions(Bucket=bucket)
    assert [v["Key"] for v in left.get("Versions", []) + left.get("DeleteMarkers", [])] == ["another"]


def test_a_directory_keeps_what_it_promises(check, tmp_path):
    (tmp_path / "objects" / BUCKET).mkdir(parents=True)
    status, report, errors = check(gw.fs_backend(tmp_path / "objects"), "--json")
    assert (status, report["kept"], report["preset"]) == (0, True, "fs"), (report, errors)
    conditions = [f for f in report["findings"] if " on " in f["tried"] and f["preset"] == "kept"]
    assert len(conditions) == 10 and {f["store"] for f in conditions} == {"kept"}
    odd = [f for f in report["findings"] if f["tried"].startswith("the key ")]
    assert odd and {f["store"] for f in odd} == {"as it is"}, odd
    assert found(report)["order of listings"]["store"] == "bytewise"
    assert not list((tmp_path / "objects" / BUCKET).rglob("*.o"))


@pytest.mark.parametrize("preset", ["generic", "seaweedfs", "minio"])
def test_a_store_that_ignores_conditions_is_found(check, raw, liar, preset):
    """It answers 200 to every conditional write: no preset that promises them may pass."""
    liar.before = ignores_conditions
    status, report, errors = check(seaweed(liar.endpoint, preset), "--json")
    assert status == 1 and report["finished"] and not report["kept"]
    by_name = found(report)
    for what in ("If-None-Match: * on PutObject", "If-Match on PutObject", "If-Match on CompleteMultipartUpload"):
        assert by_name[what]["store"] == "ignored" and by_name[what]["stands"] == "broken"
        assert what in errors
    assert preset not in report["fitting"]
    assert f"preset {preset}" in errors
    nothing_left(raw)


def test_the_table_for_people(check, raw, liar):
    liar.before, liar.after = ignores_conditions, keeps_folders
    status, text, errors = check(seaweed(liar.endpoint, "seaweedfs"))
    assert status == 1
    line = next(line for line in text.splitlines() if line.startswith("If-Match on PutObject"))
    assert line.split("  ")[0] == "If-Match on PutObject" and line.endswith("BROKEN")
    assert "preset that fits" in text and "set preset = " in errors
    assert wd.SECRET not in text + errors


def test_a_store_that_fails_in_the_middle_is_left_clean(check, raw, liar):
    def fails(exchange):
        if exchange.method == "PUT" and "/order/" in exchange.path:
            exchange.refuse(400, "InvalidRequest")

    liar.before = fails
    status, report, errors = check(seaweed(liar.endpoint, "seaweedfs"), "--json")
    assert status == 1 and not report["finished"] and not report["kept"]
    assert "PutObject: 400 InvalidRequest" in errors
    assert found(report)["If-Match on PutObject"]["store"] == "kept", "what was found before is lost"
    nothing_left(raw)


def test_an_etag_that_must_not_be_quoted(check, raw, liar):
    """Ceph RGW 16 compares the header of a PUT with the ETag as it stands, quotes and all."""

    def compares_quotes(exchange):
        if exchange.method == "PUT" and exchange.headers.get("if-match", "").startswith('"'):
            exchange.refuse(412, "PreconditionFailed")

    liar.before, liar.after = compares_quotes, keeps_folders
    status, report, errors = check(seaweed(liar.endpoint, "seaweedfs"), "--json")
    finding = found(report)["If-Match on PutObject"]
    assert status == 1 and finding["stands"] == "broken"
    assert finding["store"] == "kept for ETags without quotes"
    status, report, errors = check(seaweed(liar.endpoint, "ceph"), "--json")
    assert found(report)["If-Match on PutObject"]["stands"] == "same" and status == 0, errors


def test_what_it_cannot_begin_with(check, raw, weed, tmp_path):
    status, _, errors = check(seaweed(weed.endpoint, "generic"), bucket="e2e-no-such-bucket")
    assert status == 1 and "the bucket e2e-no-such-bucket cannot be used" in errors
    config = str(tmp_path / "gateway" / "sealgate.toml")
    for arguments in (["--store"], ["--bucket", BUCKET], ["--json"]):
        done = subprocess.run([binary(), "check", "--config", config, *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and "required" in done.stderr, done.stderr
