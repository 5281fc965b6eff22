"""What the gateway wrote opens without the gateway: the stand-alone program of docs/tools, and the key ring."""

import importlib.util
import json
import subprocess
import sys

import pytest

from harness import ROOT, keyring
from harness.data import CHUNK, PART, blob
from harness.expect import multipart, same

pytestmark = pytest.mark.gateway

PROGRAM = ROOT / "docs" / "tools" / "sealgate_open.py"


def program():
    spec = importlib.util.spec_from_file_location("sealgate_open", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def open_object(place, bucket, key, folder, change=lambda body: body, bound_key=None):
    """Runs the program on the raw object; (process, plaintext or None)."""
    raw = place.raw().get(bucket, key)
    (folder / "body").write_bytes(change(raw.body))
    (folder / "metadata.json").write_text(json.dumps({n: v for n, v in raw.metadata.items()}))
    envelope = program().parse_envelope(raw.metadata["sealgate"])
    kek = keyring.unwrap_kek(
        place.gateway.ring, envelope["key_name"], str(envelope["key_version"]), envelope["wrapped_kek"]
    )
    out = folder / "plaintext"
    out.unlink(missing_ok=True)
    argv = [sys.executable, str(PROGRAM), str(folder / "body"), str(folder / "metadata.json"), "-o", str(out)]
    argv += ["--kek", kek.hex(), "--bucket", bucket, "--key", bound_key or key]
    done = subprocess.run(argv, capture_output=True, text=True)
    return done, out.read_bytes() if out.exists() else None


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, PART + 1])
def test_single_put(s3, place, bucket, prefix, tmp_path, size):
    key, data = f"{prefix}object ü+", blob(size)
    s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"origin": "test"})
    done, got = open_object(place, bucket, key, tmp_path)
    assert done.returncode == 0, done.stderr
    same(got, data)
    assert json.loads(done.stdout)["metadata"] == {"origin": "test"}


@pytest.mark.parametrize("sizes", [[3], [PART, 17], [PART, PART + CHUNK, PART + 1]], ids=str)
def test_multipart_object(s3, place, bucket, prefix, tmp_path, sizes):
    pieces = {n: blob(size, n) for n, size in enumerate(sizes, 1)}
    multipart(s3, bucket, f"{prefix}object", pieces, Metadata={"origin": "parts"})
    done, got = open_object(place, bucket, f"{prefix}object", tmp_path)
    assert done.returncode == 0, done.stderr
    same(got, b"".join(pieces.values()))


def test_copied_object(s3, place, bucket, prefix, tmp_path):
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=blob(40_000))
    s3.copy_object(Bucket=bucket, Key=f"{prefix}b", CopySource={"Bucket": bucket, "Key": f"{prefix}a"})
    done, got = open_object(place, bucket, f"{prefix}b", tmp_path)
    assert done.returncode == 0, done.stderr
    same(got, blob(40_000))


@pytest.mark.parametrize("bucket_name", ["bound-format", "unbound-format", "plainmeta-format"])
def test_every_policy(s3, place, prefix, tmp_path, bucket_name):
    place.bucket(bucket_name)
    s3.put_object(Bucket=bucket_name, Key=f"{prefix}a", Body=blob(40_000), Metadata={"m": "v"})
    done, got = open_object(place, bucket_name, f"{prefix}a", tmp_path)
    assert done.returncode == 0, done.stderr
    same(got, blob(40_000))


def test_refuses_what_is_not_genuine(s3, place, bucket, prefix, tmp_path):
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=blob(40_000))
    for change in (
        lambda b: b[:-1],
        lambda b: b + b"\0",
        lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:],
        lambda b: b[:-200] + bytes([b[-200] ^ 1]) + b[-199:],
    ):
        done, got = open_object(place, bucket, f"{prefix}a", tmp_path, change)
        assert done.returncode != 0 and got is None
    done, got = open_object(place, bucket, f"{prefix}a", tmp_path, bound_key=f"{prefix}other")
    assert done.returncode != 0 and got is None


def test_key_rotation_keeps_old_objects_readable(fs_gateway):
    gateway = fs_gateway()
    s3 = gateway.client()
    s3.create_bucket(Bucket="rotation")
    s3.put_object(Bucket="rotation", Key="old", Body=b"sealed with version 1")
    gateway.stop()
    keyring.rotate(gateway.ring)
    gateway.start()
    s3.put_object(Bucket="rotation", Key="new", Body=b"sealed with version 2")
    assert s3.get_object(Bucket="rotation", Key="old")["Body"].read() == b"sealed with version 1"
    assert s3.get_object(Bucket="rotation", Key="new")["Body"].read() == b"sealed with version 2"
