"""A gateway whose key is in a real OpenBao: `provider = "vault"`."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from harness import ROOT, binary, gateway as gw
from harness.data import CHUNK, MIB, blob
from harness.expect import multipart, read, refused, same
from harness.kmip import certificates
from harness.openbao import POLICY, OpenBao
from harness.ports import free_port
from harness.rawstore import FsRaw
from test_format import PROGRAM, program

pytestmark = pytest.mark.gateway

BUCKET = "kms"


@pytest.fixture(scope="module")
def bao(tmp_path_factory):
    server = OpenBao(tmp_path_factory.mktemp("bao"))
    yield server
    server.kill()


class Sealed:
    """A gateway over a directory, with its key in OpenBao."""

    def __init__(self, folder, bao: OpenBao, max_age: str = "1h", more_keys: str = "", **options):
        root = folder / "objects"
        root.mkdir(exist_ok=True)
        keys = f"[keys.main]\n{bao.key_table()}max_age = {gw.q(max_age)}\n{more_keys}"
        self.bao, self.raw = bao, FsRaw(root)
        self.gateway = gw.Gateway(folder / f"gw-{os.urandom(3).hex()}", gw.fs_backend(root), keys=keys, **options)
        self.s3 = self.gateway.client()
        try:
            self.s3.create_bucket(Bucket=BUCKET)
        except ClientError:
            pass

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    def read(self, key: str) -> bytes:
        return read(self.s3, BUCKET, key)

    def envelope(self, key: str) -> dict:
        return program().parse_envelope(self.raw.get(BUCKET, key).metadata["sealgate"])


@pytest.fixture
def sealed(tmp_path, bao):
    started = []

    def start(server: OpenBao = bao, **options) -> Sealed:
        started.append(Sealed(tmp_path, server, **options))
        return started[-1]

    yield start
    for one in started:
        one.gateway.stop(5)


def eventually(what, seconds: float = 20.0):
    """Runs it until it raises nothing."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return what()
        except (ClientError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def unavailable(call) -> None:
    """503 with a Retry-After that a client can honour, and not in an hour."""
    with refused("SlowDown", "ServiceUnavailable", "InternalError", status=503) as caught:
        call()
    headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert 1 <= int(headers["retry-after"]) <= 60, headers


def test_objects_of_every_kind(sealed, bao):
    one = sealed()
    for size in (0, 1, CHUNK, 3 * MIB + 1):
        one.put(f"put-{size}", blob(size))
        same(one.read(f"put-{size}"), blob(size))
    parts = {1: blob(5 * MIB, 1), 2: blob(77, 2)}
    multipart(one.s3, BUCKET, "parts", parts)
    same(one.read("parts"), parts[1] + parts[2])
    one.s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "parts"})
    same(one.read("copy"), parts[1] + parts[2])
    got = one.s3.get_object(Bucket=BUCKET, Key="put-3145729", Range="bytes=70000-70009")["Body"].read()
    assert got == blob(3 * MIB + 1)[70000:70010]
    envelope = one.envelope("put-1")
    assert (envelope["key_name"], envelope["key_version"], len(envelope["wrapped_kek"])) == ("main", "1", 61)


def test_rotation_keeps_old_objects_and_seals_new_ones_with_the_new_version(sealed, bao):
    one = sealed(max_age="1s")
    one.put("old", b"of the old version")
    before = one.envelope("old")["key_version"]
    after = str(bao.rotate())
    assert int(after) == int(before) + 1

    def new():
        one.put("new", b"of the new version")
        assert one.envelope("new")["key_version"] == after

    eventually(new)
    # A gateway that has cached nothing.
    other = sealed()
    assert other.read("old") == b"of the old version"
    assert other.read("new") == b"of the new version"
    # Copied, an object goes to the newest version.
    other.s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "old"})
    assert other.envelope("copy")["key_version"] == after
    assert other.read("copy") == b"of the old version"


def test_rewrapped_objects_need_no_old_version(sealed, tmp_path):
    """`sealgate rewrap`, and then Transit forgets the old version: what the page says about retiring it."""
    server = OpenBao(tmp_path / "own-bao")
    try:
        one = sealed(server)
        data = {f"o{n}": blob(n * 1000, n) for n in range(6)}
        for key, body in data.items():
            one.put(key, body)
        multipart(one.s3, BUCKET, "parts", {1: blob(5 * MIB, 1), 2: blob(5, 2)})
        data["parts"] = blob(5 * MIB, 1) + blob(5, 2)
        server.rotate()
        one.gateway.stop()
        config = ["--config", str(one.gateway.config)]
        for command in (["keys", "status", *config], ["rewrap", *config, "--bucket", BUCKET]):
            done = subprocess.run([binary(), *command], capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stdout + done.stderr
        assert {one.envelope(key)["key_version"] for key in data} == {"2"}
        server.call("POST", f"transit/keys/{server.key}/config", {"min_decryption_version": 2})
        one.gateway.start()
        for key, body in data.items():
            same(one.read(key), body)
    finally:
        server.kill()


def test_the_next_server_is_asked_when_the_first_is_down(tmp_path, bao):
    root = tmp_path / "objects"
    root.mkdir()
    servers = f"endpoints = [{gw.q(f'http://127.0.0.1:{free_port()}')}, {gw.q(bao.endpoint)}]"
    table = re.sub(r"endpoints = .*", servers, bao.key_table())
    gateway = gw.Gateway(tmp_path / "gw", gw.fs_backend(root), keys=f"[keys.main]\n{table}")
    try:
        s3 = gateway.client()
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="x", Body=b"by the second server")
        assert read(s3, BUCKET, "x") == b"by the second server"
    finally:
        gateway.stop(5)


def test_no_calls_while_the_key_is_cached(sealed, bao):
    one = sealed()
    # Each core gets a key of its own.
    for n in range(40):
        one.put(f"warm-{n}", b"w")
        one.read(f"warm-{n}")
    since = bao.audit_size()
    for n in range(200):
        one.put(f"hot-{n}", b"h")
        one.read(f"hot-{n}")
    assert bao.audited("transit/encrypt", since) == []
    # The service's own check of the key's health, every half a minute, may fall into this time.
    assert len(bao.audited("transit/decrypt", since)) <= 1


def test_sealed_reads_go_on_and_the_rest_is_503_until_it_is_unsealed(sealed, tmp_path):
    server = OpenBao(tmp_path / "own-bao")
    try:
        one = sealed(server, max_age="3s")
        one.put("early", blob(100_000))
        time.sleep(3.5)
        one.put("late", blob(1000))
        assert one.envelope("early")["wrapped_kek"] != one.envelope("late")["wrapped_kek"]
        # A second gateway that has read only one of them.
        cold = sealed(server)
        same(cold.read("late"), blob(1000))
        server.seal()
        for _ in range(20):
            same(one.read("early"), blob(100_000))
            same(one.read("late"), blob(1000))
            same(cold.read("late"), blob(1000))
        unavailable(lambda: cold.read("early"))
        time.sleep(3.5)
        # The writer's key has reached its age.
        unavailable(lambda: one.put("during", b"x"))
        with refused("404", status=404):
            one.s3.head_object(Bucket=BUCKET, Key="during")
        same(one.read("early"), blob(100_000))
        server.unseal()
        eventually(lambda: one.put("after", b"again"))
        eventually(lambda: same(cold.read("early"), blob(100_000)))
        assert cold.read("after") == b"again"
        # Killed and started again.
        server.restart()
        same(one.read("early"), blob(100_000))
        server.unseal()
        time.sleep(3.5)
        eventually(lambda: one.put("restarted", b"and again"))
        assert cold.read("restarted") == b"and again"
    finally:
        server.kill()


def test_a_reload_takes_another_login_and_leaves_no_token_behind(sealed, bao):
    one = sealed()
    one.put("before", b"b")
    since = bao.audit_size()
    one.gateway.reload()

    def revoked():
        assert len(bao.audited("auth/token/revoke-self", since)) == 1

    eventually(revoked)
    assert len(bao.audited("auth/approle/login", since)) == 1
    assert one.read("before") == b"b"


def test_nothing_secret_is_logged(sealed, bao):
    one = sealed(more='[log]\nlevel = "debug"\n')
    one.put("x", b"x")
    log = one.gateway.log.read_text()
    secrets = [path.read_text() for path in bao.folder.glob("secret-id-*")]
    assert secrets
    for secret in [*secrets, bao.token]:
        assert secret not in log
    assert not re.search(r"\b(hv)?s\.[A-Za-z0-9]{24}", log), "a token"


def test_the_documented_commands_work(tmp_path):
    """docs/kms/vault.md, step by step: setting up, rotation, and opening an object without the gateway."""
    server = OpenBao(tmp_path / "bao")
    started = []
    try:
        # As the page finds it: without the engine.
        server.call("DELETE", "sys/mounts/transit")
        server.call("DELETE", "sys/auth/approle")
        folder = tmp_path / "admin"
        folder.mkdir()
        shutil.copy(PROGRAM, folder)
        (folder / "bao").symlink_to(OpenBao.program())
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -out clients-ca.pem -subj /CN=ca"
        subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
        shutil.copy(folder / "clients-ca.pem", folder / "cluster-ca.pem")
        environment = {
            **os.environ,
            "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "BAO_ADDR": server.endpoint,
            "BAO_TOKEN": server.token,
            "BUCKET": BUCKET,
            "KEY": "precious",
        }

        def run(command: str) -> None:
            done = subprocess.run(["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

        page = (ROOT / "docs" / "kms" / "vault.md").read_text()
        blocks = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
        *setup, by_hand = blocks
        assert len(setup) == 6 and "sealgate_open.py" in by_hand
        rotation = next(b for b in setup if "rotate" in b)
        for block in setup:
            if block is not rotation:
                run(block)
        root = tmp_path / "objects"
        root.mkdir()
        table = re.search(r"^```toml\n\[keys.main\]\n(.*?)^```", page, re.M | re.S).group(1)
        table = re.sub(r"endpoints = .*", f"endpoints = [{gw.q(server.endpoint)}]", table)
        table = table.replace('ca_file = "/etc/sealgate/bao-ca.pem"\n', "")
        table = table.replace("…", (folder / "role-id").read_text().strip())
        table = table.replace("/etc/sealgate/secret-id", str(folder / "secret-id"))
        gateway = gw.Gateway(tmp_path / "gw", gw.fs_backend(root), keys=f"[keys.main]\n{table}")
        started.append(gateway)
        s3 = gateway.client()
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="precious", Body=blob(100_000))
        run(rotation)
        # Without the gateway.
        gateway.stop()
        raw = FsRaw(root).get(BUCKET, "precious")
        (folder / "body").write_bytes(raw.body)
        (folder / "metadata.json").write_text(json.dumps({"Metadata": dict(raw.metadata)}))
        run(by_hand)
        same((folder / "plaintext").read_bytes(), blob(100_000))
    finally:
        for gateway in started:
            gateway.stop(5)
        server.kill()


def refuses(call) -> bool:
    """Whether it is answered 403, as when a key is disabled; anything else but success fails the test."""
    try:
        call()
    except ClientError as e:
        assert e.response["Error"]["Code"] == "AccessDenied", e
        return True
    return False


def test_a_policy_that_may_wrap_and_not_unwrap_seals_nothing(sealed, bao):
    one = sealed()
    one.put("before", b"x")
    one.gateway.stop()
    policy = POLICY.format(key=bao.key)
    bao.call("PUT", f"sys/policies/acl/{bao.key}", {"policy": re.sub(r".*transit/decrypt.*\n", "", policy)})
    try:
        two = sealed(ready=False)
        for _ in range(3):
            with refused("AccessDenied", status=403):
                two.put("never", b"x")
        assert [o["Key"] for o in two.s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["before"]
        log = two.gateway.log.read_text()
        assert "does not unwrap again" in log and f"transit/decrypt/{bao.key}" in log, log
    finally:
        bao.call("PUT", f"sys/policies/acl/{bao.key}", {"policy": policy})
    # It recovers by itself.
    eventually(lambda: two.put("after", b"y"))
    assert two.read("before") == b"x" and two.read("after") == b"y"


def test_a_key_that_is_denied_stops_writers_and_readers_within_the_check(sealed, bao):
    """Every core has a KEK for another hour, for writing and for reading; a canary that is refused ends both."""
    table = 'health_interval = "1s"\ncache = { core_ttl = "1s", negative_ttl = "200ms" }\n'
    one = sealed(more_keys=table)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: one.put(f"object-{n}", b"x"), range(32)))
    writes, reads = (lambda: one.put("late", b"x")), (lambda: one.read("object-0"))
    policy = POLICY.format(key=bao.key)
    bao.call("PUT", f"sys/policies/acl/{bao.key}", {"policy": 'path "sys/none" { capabilities = ["deny"] }'})
    try:
        began = time.monotonic()
        while not (refuses(writes) and refuses(reads)):
            assert time.monotonic() < began + 20
            time.sleep(0.1)
        took = time.monotonic() - began
        # Once refused, refused on every connection and so on every core.
        fresh = [one.gateway.client() for _ in range(8)]
        assert all(refuses(lambda: s3.put_object(Bucket=BUCKET, Key="late", Body=b"x")) for s3 in fresh)
        assert took < 10, "health_interval + core_ttl, on a busy machine"
    finally:
        bao.call("PUT", f"sys/policies/acl/{bao.key}", {"policy": policy})
    eventually(writes)
    # A core may still hold its refusal of this epoch for negative_ttl.
    assert eventually(lambda: one.read("object-31")) == b"x"


def test_over_mutual_tls_with_an_authority_of_its_own(tmp_path):
    folder = tmp_path / "certificates"
    strangers = folder / "strangers"
    strangers.mkdir(parents=True)
    certificates(folder)
    certificates(strangers)
    server = OpenBao(tmp_path / "bao", certificates=folder)
    root = tmp_path / "objects"
    root.mkdir()

    def start(name: str, ca: Path, client: Path | None, **options) -> gw.Gateway:
        files = {"ca_file": ca / "ca.pem"}
        if client:
            files |= {"client_cert": client / "owner.pem", "client_key": client / "owner.key"}
        table = server.key_table(server.tls_endpoint, **files)
        return gw.Gateway(tmp_path / name, gw.fs_backend(root), keys=f"[keys.main]\n{table}retries = 0\n", **options)

    started = []
    try:
        started.append(start("well", folder, folder))
        s3 = started[-1].client()
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
        assert read(s3, BUCKET, "a") == b"x"
        for name, ca, client, said in [
            ("ca", strangers, folder, r"UnknownIssuer.*`ca_file`"),
            ("none", folder, None, r"CertificateRequired.*`client_cert`"),
        ]:
            started.append(start(name, ca, client, ready=False))
            s3 = started[-1].client()
            unavailable(lambda: s3.put_object(Bucket=BUCKET, Key="b", Body=b"x"))
            assert re.search(said, log := started[-1].log.read_text()), log
    finally:
        for gateway in started:
            gateway.stop(5)
        server.kill()
