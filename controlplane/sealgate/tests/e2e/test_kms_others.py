"""Gateways whose keys are in an environment variable, in a PKCS#11 token (SoftHSM2), and at KMIP servers (PyKMIP; JSON over HTTPS)."""

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from harness import gateway as gw
from harness.data import MIB, blob
from harness.expect import read
from harness.kmip import JsonKmip, PyKmip, certificates
from harness.providers import documented, make_key
from harness.rawstore import FsRaw
from test_format import PROGRAM, program

pytestmark = pytest.mark.gateway

BUCKET = "kms"
DATA = blob(MIB + 1)


class Sealed:
    """A gateway over a directory; `keys` are the lines of [keys.main]."""

    def __init__(self, folder: Path, keys: str, **options):
        self.folder = folder
        self.root = folder / "objects"
        self.root.mkdir(exist_ok=True)
        self.raw = FsRaw(self.root)
        self.gateway = gw.Gateway(folder / f"gw-{os.urandom(3).hex()}", gw.fs_backend(self.root), keys=f"[keys.main]\n{keys}", **options)
        self.s3 = self.gateway.client()
        try:
            self.s3.create_bucket(Bucket=BUCKET)
        except ClientError:
            pass

    def put(self, key: str, data: bytes = DATA) -> dict:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        return program().parse_envelope(self.raw.get(BUCKET, key).metadata["sealgate"])

    def read(self, key: str) -> bytes:
        return read(self.s3, BUCKET, key)

    def open_without(self, key: str, *how: str) -> bytes:
        """The object by docs/tools/sealgate_open.py."""
        raw = self.raw.get(BUCKET, key)
        (self.folder / "body").write_bytes(raw.body)
        (self.folder / "metadata.json").write_text(json.dumps(dict(raw.metadata)))
        out = self.folder / "plaintext"
        out.unlink(missing_ok=True)
        argv = [sys.executable, str(PROGRAM), str(self.folder / "body"), str(self.folder / "metadata.json"), "-o", str(out)]
        done = subprocess.run([*argv, "--bucket", BUCKET, "--key", key, *how], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return out.read_bytes()


@pytest.fixture
def sealed(tmp_path):
    started = []

    def start(keys: str, **options) -> Sealed:
        for earlier in started:
            earlier.gateway.stop()
        started.append(Sealed(tmp_path, keys, **options))
        return started[-1]

    yield start
    for one in started:
        one.gateway.stop()


def test_a_key_in_the_environment(sealed, tmp_path, monkeypatch):
    one, two = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    keys = 'provider = "env"\nvariable = "E2E_MAIN_KEY"\n'
    monkeypatch.setenv("E2E_MAIN_KEY", one)
    first = sealed(keys)
    envelope = first.put("first")
    assert (envelope["key_name"], envelope["key_version"]) == ("main", "1")
    assert first.read("first") == DATA

    # The same key as version 1 of a ring, in the variable and then in a file.
    versions = "".join(f'[[version]]\nid = {n}\nkey = "{key}"\n' for n, key in [(1, one), (2, two)])
    ring = f'format = "sealgate-keyring/1"\ncurrent = 2\n{versions}'
    monkeypatch.setenv("E2E_MAIN_KEY", ring)
    second = sealed(keys)
    assert second.put("second")["key_version"] == "2"
    path = tmp_path / "main.keys"
    path.touch(0o600)
    path.write_text(ring)
    third = sealed(f'provider = "file"\npath = {gw.q(path)}\n')
    for name in ("first", "second"):
        assert second.raw.get(BUCKET, name).body != DATA
        assert third.read(name) == DATA
        assert third.open_without(name, "--key-ring", str(path)) == DATA

    monkeypatch.setenv("E2E_MAIN_KEY", one[:-4])
    with pytest.raises(RuntimeError, match="E2E_MAIN_KEY.*44 characters") as refused:
        sealed(keys)
    assert one[:12] not in str(refused.value)


def test_a_key_in_a_token(sealed, token):
    module, label, pin, key_label = token
    keys = (
        f'provider = "pkcs11"\nmodule = {gw.q(module)}\ntoken_label = {gw.q(label)}\npin = {gw.q(pin)}\n'
        f'key_label = {gw.q(key_label)}\nmax_age = "1s"\n'
    )
    gateway = sealed(keys)
    first = gateway.put("first")
    assert first["key_version"] == "1" and gateway.read("first") == DATA
    # A rotation, seen by a gateway that runs.
    make_key(token, 2)
    deadline = time.monotonic() + 20
    while (newest := gateway.put("second")["key_version"]) != "2":
        assert time.monotonic() < deadline, newest
        time.sleep(0.3)
    gateway = sealed(keys)
    for name in ("first", "second"):
        assert gateway.read(name) == DATA
        envelope = program().parse_envelope(gateway.raw.get(BUCKET, name).metadata["sealgate"])
        code = "kek = unwrap_kek(*a[:4], 'main', a[4], bytes.fromhex(a[5]))"
        kek = documented("pkcs11.md", code, *token, envelope["key_version"], envelope["wrapped_kek"].hex())
        assert gateway.open_without(name, "--kek", kek.hex()) == DATA


def test_a_key_at_a_kmip_server(sealed, tmp_path):
    server = PyKmip(tmp_path / "kmip")
    try:
        old, new = server.owner("create"), server.owner("create")
        gateway = sealed(server.key_table(old))
        first = gateway.put("first")
        assert first["key_version"] == old and gateway.read("first") == DATA
        gateway = sealed(server.key_table(new, (old,)))
        assert gateway.read("first") == DATA
        assert gateway.put("second")["key_version"] == new and gateway.read("second") == DATA

        code = (
            "import pathlib, pykmip_server\n"
            "with pykmip_server.owner(int(a[0]), pathlib.Path(a[1])) as client:\n"
            "    kek = unwrap_kek_binary(client, 'main', a[2], bytes.fromhex(a[3]))"
        )
        for name in ("first", "second"):
            envelope = program().parse_envelope(gateway.raw.get(BUCKET, name).metadata["sealgate"])
            where = (str(server.port), str(server.folder))
            kek = documented("kmip.md", code, *where, envelope["key_version"], envelope["wrapped_kek"].hex())
            assert gateway.open_without(name, "--kek", kek.hex()) == DATA
    finally:
        server.kill()


def trouble(gateway: gw.Gateway) -> str:
    """What /readyz says once the first check has failed."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{gateway.admin}/readyz", timeout=5).close()
        except urllib.error.HTTPError as e:
            if "the key provider" in (text := e.read().decode()):
                return text
        time.sleep(0.1)
    raise AssertionError("it is ready, or does not say why not")


def test_a_key_at_a_kmip_server_over_https(sealed, tmp_path):
    """JSON over HTTPS: an authority of its own, a bearer token and a client certificate, each needed, each said."""
    server = JsonKmip(tmp_path / "kmip")
    try:
        gateway = sealed(server.key_table())
        envelope = gateway.put("first")
        assert envelope["key_version"] == server.uid and len(envelope["wrapped_kek"]) == 61
        assert gateway.read("first") == DATA and gateway.raw.get(BUCKET, "first").body != DATA
        assert set(server.operations) == {"GetAttributes", "Encrypt", "Decrypt"}
        log = gateway.gateway.log.read_text()
        assert server.token.read_text() not in log

        strangers = tmp_path / "kmip" / "strangers"
        strangers.mkdir()
        certificates(strangers)
        other = tmp_path / "token"
        other.write_text("another")
        other.chmod(0o600)
        cases = [
            (server.key_table(ca="strangers/ca.pem"), "503", "UnknownIssuer.*`ca_file`"),
            (server.key_table(client=None), "503", "CertificateRequired.*`client_cert`"),
            (server.key_table(client="strangers/owner"), "503", "UnknownCA.*`client_cert`|alert: DecryptError"),
            (server.key_table(token=other), "AccessDenied", "HTTP 401.*`token`"),
        ]
        for keys, code, said in cases:
            # Each attempt counts: there is nothing to wait for.
            failing = sealed(f"{keys}retries = 0\n", ready=False)
            with pytest.raises(ClientError) as refused:
                failing.put("second")
            error = refused.value.response
            assert code in (error["Error"]["Code"], str(error["ResponseMetadata"]["HTTPStatusCode"])), error
            assert re.search(said, text := trouble(failing.gateway)), text
        # What was written is there, and nothing else.
        again = sealed(server.key_table())
        assert again.read("first") == DATA
        assert [o["Key"] for o in again.s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["first"]
    finally:
        server.stop()
