"""docs/kms/runbooks.md: every command of it, as it stands there, while what it is for goes on."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from harness import ROOT, binary, gateway as gw, keyring, weed as wd
from harness.aws import HERE, Front, Moto, environment, key_table
from harness.data import CHUNK, blob
from harness.expect import read, same
from harness.kmip import PyKmip
from harness.openbao import OpenBao
from harness.rawstore import FsRaw
from test_format import PROGRAM, program
from test_kms_others import documented, token  # noqa: F401 (a fixture)

pytestmark = pytest.mark.gateway

PAGE = (ROOT / "docs/kms/runbooks.md").read_text()
BUCKET, KEY, DATA = "runbook", "folder/precious", blob(3 * CHUNK + 7)
# An outage and its end are noticed soon.
QUICK = 'health_interval = "1s"\nbreaker = { failures = 5, open_for = "500ms" }\nattempt_timeout = "1s"\ndeadline = "2s"\n'
QUICK_CACHE = 'cache = { ttl = "1m", core_ttl = "1s", negative_ttl = "500ms", error_ttl = "200ms" }\n'

# The scripts of each chapter, told apart by what they have in them.
SCRIPTS = {
    "Runbooks for keys": ["keys status"],
    "The key service is away": ["kek_expiry", "unseal", "kill -HUP"],
    "The key service throttles": ["throttled"],
    "The token or credential is lost": ["# a token", "# a secret id", "# AWS access keys"],
    "The key is disabled, or about to be deleted": ["# AWS KMS", "# Transit"],
    "Rotation": ["# file", "# OpenBao", "# AWS KMS", "# PKCS#11", "# for each bucket"],
    "Disaster recovery: opening objects without Sealgate": ["# S3", "# directory", "# which key", "# with its KEK"],
}


def fenced(chapter: str, language: str = "sh") -> list[str]:
    found = re.split(r"^##? ", PAGE, flags=re.M)
    (text,) = [t for t in found if t.startswith(chapter + "\n")]
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.M | re.S)
    return [textwrap.dedent(block) for _, block in blocks]


def script(chapter: str, mark: str) -> str:
    (found,) = [block for block in fenced(chapter) if mark in block]
    return found


OUTAGE, THROTTLE, LOST, DISABLED, ROTATION, RECOVERY = list(SCRIPTS)[1:]


def test_every_script_of_the_page_is_run_here():
    assert {chapter: len(fenced(chapter)) for chapter in SCRIPTS} == {c: len(m) for c, m in SCRIPTS.items()}
    assert PAGE.count("```sh\n") == sum(len(marks) for marks in SCRIPTS.values())
    for chapter, marks in SCRIPTS.items():
        assert all(script(chapter, mark) for mark in marks)


class Desk:
    """An operator's shell: the page's variables, and the programs that it names."""

    def __init__(self, folder: Path, **variables: str):
        self.folder, self.bin = folder / "desk", folder / "desk" / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "sealgate").symlink_to(binary())
        (self.bin / "bao").symlink_to(OpenBao.program())
        shutil.copy(PROGRAM, self.folder)
        self.variables = {"BUCKET": BUCKET, "KEY": KEY, **variables}

    def at(self, gateway: gw.Gateway) -> None:
        """At the machine of this gateway: no other process is called sealgate there."""
        pidof = self.bin / "pidof"
        pidof.write_text(f'#!/bin/sh\n[ "$1" = sealgate ] && echo {gateway.daemon.pid}\n')
        pidof.chmod(0o755)
        self.variables |= {"CONFIG": str(gateway.config), "ADMIN": gateway.admin.removeprefix("http://")}

    def run(self, text: str, ok: bool = True) -> str:
        path = f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        argv = environment(self.folder, PATH=path, **self.variables)
        # What is only looked at may find something broken.
        options = "-euo" if ok else "-uo"
        done = subprocess.run(
            [*argv, "bash", options, "pipefail", "-c", text], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        if ok:
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


class Kit:
    """A provider with a key `main`; `variables` are what its tools, and the gateway, want in the environment."""

    variables: dict[str, str] = {}
    rotation = ""

    def __init__(self, folder: Path):
        self.folder = folder

    def close(self) -> None:
        pass

    def rotate(self, desk: Desk, gateway: gw.Gateway) -> None:
        desk.run(script(ROTATION, self.rotation))


class File(Kit):
    rotation = "# file"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.ring = folder / "main.keys"
        keyring.create(self.ring)
        self.variables = {"RING": str(self.ring)}

    def table(self) -> str:
        return f'[keys.main]\nprovider = "file"\npath = {gw.q(self.ring)}\n'

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        code = "kek = unwrap_kek(a[0], 'main', a[1], bytes.fromhex(a[2]))"
        return documented("file.md", code, str(self.ring), envelope["key_version"], envelope["wrapped_kek"].hex())


class Bao(Kit):
    rotation = "# OpenBao"

    def __init__(self, folder: Path, server: OpenBao):
        super().__init__(folder)
        self.server = server
        self.variables = {
            "BAO_ADDR": self.server.endpoint,
            "BAO_TOKEN": self.server.token,
            "UNSEAL_KEY": self.server.unseal_key,
            "TOKEN_FILE": str(folder / "token"),
            "SECRET_ID_FILE": str(folder / "secret-id"),
        }

    def table(self) -> str:
        """With an AppRole."""
        role_id, secret_id = self.server.approle("sealgate")
        self.write("secret-id", secret_id)
        return self.main(f'auth = "approle"\nrole_id = {gw.q(role_id)}\nsecret_id_file = {gw.q(self.folder / "secret-id")}\n')

    def with_token(self) -> str:
        made = self.server.call("POST", "auth/token/create", {"policies": ["sealgate"], "period": "24h"})
        self.write("token", made["auth"]["client_token"])
        return self.main(f'auth = "token"\ntoken_file = {gw.q(self.folder / "token")}\n')

    def main(self, login: str) -> str:
        return f'[keys.main]\nprovider = "vault"\nendpoints = [{gw.q(self.server.endpoint)}]\nkey = "sealgate"\n{login}'

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)

    def break_down(self) -> None:
        self.server.seal()

    def mend(self, desk: Desk) -> None:
        assert "Sealed" in desk.run(script(OUTAGE, "unseal"))

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        page = (ROOT / "docs/kms/vault.md").read_text()
        by_hand = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)[-1]
        desk.run(by_hand.split("python3 sealgate_open.py")[0] + 'printf %s "$KEK" | base64 -d > kek\n')
        return (desk.folder / "kek").read_bytes()


class Aws(Kit):
    rotation = "# AWS KMS"

    def __init__(self, folder: Path, server: Moto):
        super().__init__(folder)
        self.server, self.front, self.key_id = server, Front(server), server.key()
        kms = server.client("kms")
        if any(alias["AliasName"] == "alias/sealgate-main" for alias in kms.list_aliases()["Aliases"]):
            kms.delete_alias(AliasName="alias/sealgate-main")
        kms.create_alias(AliasName="alias/sealgate-main", TargetKeyId=self.key_id)
        self.variables = {
            "AWS_ACCESS_KEY_ID": "AKIDOPERATOR",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": HERE,
            "AWS_ENDPOINT_URL": self.server.url,
            "KEY_ID": self.key_id,
        }

    def table(self) -> str:
        return key_table("main", "alias/sealgate-main", [self.front])

    def break_down(self) -> None:
        self.front.error = (500, "KMSInternalException")

    def mend(self, desk: Desk) -> None:
        self.front.error = None

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        page = (ROOT / "docs/kms/aws-kms.md").read_text()
        by_hand = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)[-1]
        desk.run(by_hand.split("python3 sealgate_open.py")[0])
        return (desk.folder / "kek").read_bytes()

    def close(self) -> None:
        self.front.close()


class Token(Kit):
    """The arguments of the fixture of the same name."""

    rotation = "# PKCS#11"

    def __init__(self, folder: Path, arguments: list[str]):
        super().__init__(folder)
        self.arguments = arguments
        module, _, pin, _ = arguments
        self.variables = {"MODULE": module, "PIN": pin, "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"]}

    def table(self) -> str:
        module, label, pin, key_label = map(gw.q, self.arguments)
        return (
            f'[keys.main]\nprovider = "pkcs11"\nmodule = {module}\ntoken_label = {label}\npin = {pin}\nkey_label = {key_label}\n'
        )

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        code = "kek = unwrap_kek(*a[:4], 'main', a[4], bytes.fromhex(a[5]))"
        return documented("pkcs11.md", code, *self.arguments, envelope["key_version"], envelope["wrapped_kek"].hex())


class Kmip(Kit):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.server = PyKmip(folder / "kmip")
        self.uid = self.server.owner("create")

    def table(self) -> str:
        return "[keys.main]\n" + self.server.key_table(self.uid)

    def rotate(self, desk: Desk, gateway: gw.Gateway) -> None:
        """As its page says of a server without ReKey."""
        old, self.uid = self.uid, self.server.owner("create")
        text = gateway.text.replace(f'uid = "{old}"', f'uid = "{self.uid}"')
        gateway.text = text.replace("old_uids = []", f'old_uids = ["{old}"]')
        gateway.write_config(gateway.text)

    def break_down(self) -> None:
        self.server.kill()

    def mend(self, desk: Desk) -> None:
        self.server.start()

    def kek(self, desk: Desk, envelope: dict) -> bytes:
        code = (
            "import pathlib, pykmip_server\n"
            "with pykmip_server.owner(int(a[0]), pathlib.Path(a[1])) as client:\n"
            "    kek = unwrap_kek_binary(client, 'main', a[2], bytes.fromhex(a[3]))"
        )
        where = (str(self.server.port), str(self.server.folder))
        return documented("kmip.md", code, *where, envelope["key_version"], envelope["wrapped_kek"].hex())

    def close(self) -> None:
        self.server.kill()


KITS = {"file": File, "vault": Bao, "aws": Aws, "pkcs11": Token, "kmip": Kmip}


# What a kit stands on, where that is one server for all tests.
SERVERS = {"vault": "bao", "aws": "moto", "pkcs11": "token"}


@pytest.fixture(scope="module")
def bao(tmp_path_factory):
    server = OpenBao(tmp_path_factory.mktemp("bao"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    server = Moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def kit(request, tmp_path):
    name = request.param
    kit = KITS[name](tmp_path, *[request.getfixturevalue(SERVERS[n]) for n in [name] if n in SERVERS])
    yield kit
    kit.close()


def kits(*names: str):
    return pytest.mark.parametrize("kit", names, indirect=True)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def serve(kit, desk, tmp_path):
    """Starts the gateway of this test, over a directory unless told otherwise, and sits down at its machine."""
    started = []

    def start(table: str, backend: str = "") -> gw.Gateway:
        root = tmp_path / "objects"
        root.mkdir()
        desk.variables |= kit.variables
        wrapper = environment(desk.folder, **{k: v for k, v in desk.variables.items() if k.startswith(("AWS_", "SOFTHSM2_"))})
        one = gw.Gateway(tmp_path / "gw", backend or gw.fs_backend(root), keys=table, wrapper=wrapper, start=False)
        one.start()
        started.append(one)
        one.root, one.s3 = root, one.client()
        one.s3.create_bucket(Bucket=BUCKET)
        desk.at(one)
        return one

    yield start
    for one in started:
        one.stop(5)


def envelope(gateway: gw.Gateway, key: str) -> dict:
    return program().parse_envelope(FsRaw(gateway.root).get(BUCKET, key).metadata["sealgate"])


def eventually(what, seconds: float = 20.0):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return what()
        except (ClientError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def readiness(gateway: gw.Gateway) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{gateway.admin}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def is_ready(gateway: gw.Gateway) -> None:
    status, text = readiness(gateway)
    assert status == 200 and "degraded" not in text, text


def look(desk: Desk, ok: bool = True) -> str:
    """What is done first, always."""
    return desk.run(script("Runbooks for keys", "keys status"), ok)


def reload(desk: Desk, gateway: gw.Gateway) -> None:
    seen = gateway.daemon.log_size()
    desk.run(script(OUTAGE, "kill -HUP"))

    def told() -> None:
        assert "the configuration was reloaded" in gateway.daemon.tail(seen)

    eventually(told)


@kits("file", "vault", "aws", "pkcs11", "kmip")
def test_rotation_and_disaster_recovery(kit, desk, serve):
    gateway = serve(kit.table())
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA, Metadata={"note": "kept"})
    gateway.s3.put_object(Bucket=BUCKET, Key="other", Body=b"other")
    eventually(lambda: is_ready(gateway))
    seen = look(desk)
    assert "wraps yes, unwraps yes" in seen and 'sealgate_key_health{key="main"' in seen, seen
    old = envelope(gateway, KEY)["key_version"]

    kit.rotate(desk, gateway)
    reload(desk, gateway)

    def newest() -> None:
        gateway.s3.put_object(Bucket=BUCKET, Key="new", Body=b"new")
        assert envelope(gateway, "new")["key_version"] != old

    eventually(newest)
    new = envelope(gateway, "new")["key_version"]
    same(read(gateway.s3, BUCKET, KEY), DATA)
    seen = desk.run(script(ROTATION, "# for each bucket"))
    assert f'main version "{new}": 3 objects' in seen and f'version "{old}"' not in seen, seen
    assert envelope(gateway, KEY)["key_version"] == new
    same(read(gateway.s3, BUCKET, KEY), DATA)

    # All that is left is the store, the key, and the opener.
    gateway.stop()
    desk.variables |= {"FILE": str(FsRaw(gateway.root).path(BUCKET, KEY))}
    desk.run(script(RECOVERY, "# directory"))
    recover(kit, desk, new)


def recover(kit: Kit, desk: Desk, version: str) -> None:
    found = program().parse_envelope(program().read_metadata(str(desk.folder / "metadata.json"))["sealgate"])
    said = desk.run(script(RECOVERY, "# which key"))
    assert "'main'" in said and repr(version) in said and found["wrapped_kek"].hex() in said, said
    kek = kit.kek(desk, found)
    (desk.folder / "kek.hex").write_text(kek.hex() + "\n")
    desk.run(script(RECOVERY, "# with its KEK"))
    same((desk.folder / "plaintext").read_bytes(), DATA)


@kits("file")
def test_disaster_recovery_from_a_store(kit, desk, serve, weed):
    gateway = serve(kit.table(), gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET))
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA, Metadata={"note": "kept"})
    gateway.stop()
    desk.variables |= {
        "AWS_ENDPOINT_URL": weed.endpoint,
        "AWS_ACCESS_KEY_ID": wd.ACCESS,
        "AWS_SECRET_ACCESS_KEY": wd.SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    desk.run(script(RECOVERY, "# S3"))
    recover(kit, desk, "1")


@kits("vault", "aws", "kmip")
def test_an_outage(kit, desk, serve):
    gateway = serve(kit.table() + QUICK + QUICK_CACHE)
    for n in range(8):
        gateway.s3.put_object(Bucket=BUCKET, Key=f"{KEY}{n}", Body=DATA)
    eventually(lambda: is_ready(gateway))
    kit.break_down()

    def noticed() -> str:
        text = look(desk, ok=False)
        assert "key main: read degraded: the key provider is unavailable" in text, text
        return text

    text = eventually(noticed)
    assert 'sealgate_key_health{key="main"' in text and "unwraps NO" in text, text
    (_, seconds) = desk.run(script(OUTAGE, "kek_expiry")).splitlines()[0].rsplit(" ", 1)
    assert 0 < float(seconds) <= 3600
    same(read(gateway.s3, BUCKET, f"{KEY}3"), DATA)
    # Grace, as on the page.
    (grace,) = fenced(OUTAGE, "toml")
    gateway.write_config(gateway.text + "\n" + grace)
    reload(desk, gateway)
    same(read(gateway.s3, BUCKET, f"{KEY}3"), DATA)
    kit.mend(desk)
    eventually(lambda: is_ready(gateway))
    eventually(lambda: gateway.s3.put_object(Bucket=BUCKET, Key="after", Body=DATA))
    same(read(gateway.s3, BUCKET, "after"), DATA)


@kits("aws")
def test_throttling(kit, desk, serve):
    gateway = serve(kit.table() + QUICK + QUICK_CACHE + "max_objects = 1\n")
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA)
    kit.front.error = (400, "ThrottlingException")
    impatient = gateway.client()
    impatient.meta.events.unregister("needs-retry.s3.PutObject")

    def throttled() -> None:
        with pytest.raises(ClientError) as refusal:
            for _ in range(8):
                impatient.put_object(Bucket=BUCKET, Key="more", Body=b"x")
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        found = desk.run(script(THROTTLE, "throttled"))
        assert re.search(r'operation="generate".* [1-9]', found), found

    eventually(throttled)
    assert gateway.wait_for_log("the key provider is asked too often")
    kit.front.error = None
    eventually(lambda: gateway.s3.put_object(Bucket=BUCKET, Key="more", Body=b"x"))


def refused(gateway: gw.Gateway) -> None:
    status, text = readiness(gateway)
    assert status == 503 and "the key provider refuses" in text, text


@kits("vault")
@pytest.mark.parametrize("what", ["# a token", "# a secret id"])
def test_a_lost_token(kit, desk, serve, what):
    by_token = what == "# a token"
    gateway = serve((kit.with_token() if by_token else kit.table()) + QUICK + QUICK_CACHE)
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA)
    eventually(lambda: is_ready(gateway))
    if by_token:
        kit.server.call("POST", "auth/token/revoke", {"token": (kit.folder / "token").read_text()})
    else:
        # The secret id, and every token that came of it.
        secret_id = (kit.folder / "secret-id").read_text()
        kit.server.call("POST", "auth/approle/role/sealgate/secret-id/destroy", {"secret_id": secret_id})
        kit.server.call("PUT", "sys/leases/revoke-prefix/auth/approle/login", {})
    eventually(lambda: refused(gateway))
    assert "NO" in look(desk, ok=False)
    desk.run(script(LOST, what))
    eventually(lambda: is_ready(gateway), 30)
    same(read(gateway.s3, BUCKET, KEY), DATA)
    assert "unwraps yes" in look(desk)


@kits("aws")
def test_lost_access_keys(kit, desk, serve):
    iam = kit.server.client("iam")
    iam.create_user(UserName="gateway")
    path = desk.folder / "credentials"
    path.write_text("[default]\naws_access_key_id = AKIDLOST\naws_secret_access_key = lost\n")
    path.chmod(0o600)
    # The gateway finds its keys in the file; the operator's are in the environment.
    operator = {k: kit.variables.pop(k) for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    kit.variables |= {"KMS_USER": "gateway", "KEY_FILE": str(path)}
    gateway = serve(kit.table() + QUICK + QUICK_CACHE)
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA)
    eventually(lambda: is_ready(gateway))
    kit.front.error = (400, "UnrecognizedClientException")
    eventually(lambda: refused(gateway))
    desk.variables |= operator
    desk.run(script(LOST, "# AWS access keys"))
    (made,) = iam.list_access_keys(UserName="gateway")["AccessKeyMetadata"]

    def asked_anew() -> None:
        assert kit.front.calls[-1][1] == made["AccessKeyId"]

    eventually(asked_anew, 30)
    kit.front.error = None
    eventually(lambda: is_ready(gateway), 30)
    assert path.stat().st_mode & 0o777 == 0o600


@kits("aws")
def test_a_disabled_key(kit, desk, serve):
    gateway = serve(kit.table() + QUICK + QUICK_CACHE)
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA)
    eventually(lambda: is_ready(gateway))
    kit.server.client("kms").disable_key(KeyId=kit.key_id)
    kit.front.error = (400, "DisabledException")  # moto goes on using it.
    eventually(lambda: refused(gateway))
    desk.run(script(DISABLED, "# AWS KMS"))
    assert kit.server.client("kms").describe_key(KeyId=kit.key_id)["KeyMetadata"]["Enabled"]
    kit.front.error = None
    eventually(lambda: is_ready(gateway))
    # And one whose deletion is scheduled.
    kit.server.client("kms").schedule_key_deletion(KeyId=kit.key_id)
    desk.run(script(DISABLED, "# AWS KMS"))
    assert kit.server.client("kms").describe_key(KeyId=kit.key_id)["KeyMetadata"]["KeyState"] == "Enabled"
    same(read(gateway.s3, BUCKET, KEY), DATA)


@kits("vault")
def test_versions_that_were_retired_too_early(kit, desk, serve):
    gateway = serve(kit.table() + QUICK + QUICK_CACHE)
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA)
    newest = kit.server.rotate()
    kit.server.call("POST", "transit/keys/sealgate/config", {"min_decryption_version": newest})
    gateway.restart()
    with pytest.raises(ClientError) as refusal:
        read(gateway.s3, BUCKET, KEY)
    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
    desk.run(script(DISABLED, "# Transit"))
    eventually(lambda: same(read(gateway.s3, BUCKET, KEY), DATA))
