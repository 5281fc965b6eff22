"""docs/kms/runbooks.md: every command of it, as it stands there, while what it is for goes on."""

import configparser
import re
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from harness import gateway as gw, weed as wd
from harness.aws import environment
from harness.data import CHUNK, blob
from harness.expect import read, same
from harness.providers import RUNBOOKS, Bao, BaoToken, Desk, Kit
from harness.rawstore import FsRaw
from test_format import program

pytestmark = pytest.mark.gateway

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


OUTAGE, THROTTLE, LOST, DISABLED, ROTATION, RECOVERY = list(SCRIPTS)[1:]


def test_every_script_of_the_page_is_run_here():
    assert {chapter: len(fenced(chapter)) for chapter in SCRIPTS} == {c: len(m) for c, m in SCRIPTS.items()}
    assert RUNBOOKS.text.count("```sh\n") == sum(len(marks) for marks in SCRIPTS.values())
    for chapter, marks in SCRIPTS.items():
        assert all(script(chapter, mark) for mark in marks)


def fenced(chapter: str, language: str = "sh") -> list[str]:
    return RUNBOOKS.fenced(chapter, language)


def script(chapter: str, mark: str) -> str:
    return RUNBOOKS.script(chapter, mark)


def kits(*names: str):
    return pytest.mark.parametrize("kit", names, indirect=True)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, BUCKET=BUCKET, KEY=KEY)


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
    gateway = serve(kit.table)
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
    gateway = serve(kit.table, gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET))
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
    gateway = serve(kit.table + QUICK + QUICK_CACHE)
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
    if isinstance(kit, Bao):
        assert "Sealed" in desk.run(script(OUTAGE, "unseal"))
    else:
        kit.mend()
    eventually(lambda: is_ready(gateway))
    eventually(lambda: gateway.s3.put_object(Bucket=BUCKET, Key="after", Body=DATA))
    same(read(gateway.s3, BUCKET, "after"), DATA)


@kits("aws")
def test_throttling(kit, desk, serve):
    gateway = serve(kit.table + QUICK + QUICK_CACHE + "max_objects = 1\n")
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


@kits("vault token", "vault")
def test_a_lost_token(kit, desk, serve):
    by_token = isinstance(kit, BaoToken)
    gateway = serve(kit.table + QUICK + QUICK_CACHE)
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
    desk.run(script(LOST, "# a token" if by_token else "# a secret id"))
    eventually(lambda: is_ready(gateway), 30)
    same(read(gateway.s3, BUCKET, KEY), DATA)
    assert "unwraps yes" in look(desk)


@kits("aws")
def test_lost_access_keys(kit, desk):
    """The file is as a gateway needs it; that one takes it over, test_replaced_credentials_are_taken_over shows."""
    iam = kit.server.client("iam")
    iam.create_user(UserName="gateway")
    path = desk.folder / "credentials"
    path.touch(0o600)
    desk.variables |= {**kit.variables, "KMS_USER": "gateway", "KEY_FILE": str(path)}
    desk.run(script(LOST, "# AWS access keys"))
    (made,) = iam.list_access_keys(UserName="gateway")["AccessKeyMetadata"]
    found = configparser.ConfigParser()
    found.read(path)
    assert found["default"]["aws_access_key_id"] == made["AccessKeyId"]
    assert len(found["default"]["aws_secret_access_key"]) == 40
    assert path.stat().st_mode & 0o777 == 0o600


@kits("aws")
def test_a_disabled_key(kit, desk, serve):
    gateway = serve(kit.table + QUICK + QUICK_CACHE)
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
    gateway = serve(kit.table + QUICK + QUICK_CACHE)
    gateway.s3.put_object(Bucket=BUCKET, Key=KEY, Body=DATA)
    newest = kit.server.rotate()
    kit.server.call("POST", "transit/keys/sealgate/config", {"min_decryption_version": newest})
    gateway.restart()
    with pytest.raises(ClientError) as refusal:
        read(gateway.s3, BUCKET, KEY)
    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
    desk.run(script(DISABLED, "# Transit"))
    eventually(lambda: same(read(gateway.s3, BUCKET, KEY), DATA))
