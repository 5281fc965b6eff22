"""A gateway whose key is in AWS KMS: `provider = "aws-kms"`, on moto."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from botocore.exceptions import ClientError

from harness import ROOT, binary, gateway as gw, tool
from harness.aws import HERE, THERE, Front, Moto, environment, key_table
from harness.data import CHUNK, PART, blob
from harness.expect import multipart, read, same
from harness.memory import describe, search
from harness.rawstore import FsRaw
from test_format import PROGRAM, program

pytestmark = pytest.mark.gateway

BUCKET = "kms"
STATIC = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    server = Moto(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture
def front(moto):
    front = Front(moto)
    yield front
    front.close()


@pytest.fixture
def gateway(tmp_path):
    """Starts gateways over one directory."""
    started = []

    def start(keys: str, buckets: str = gw.BUCKETS, variables: dict = STATIC, wait: bool = True) -> gw.Gateway:
        root = tmp_path / "objects"
        root.mkdir(exist_ok=True)
        one = gw.Gateway(
            tmp_path / f"gw{len(started)}",
            gw.fs_backend(root),
            keys=keys,
            buckets=buckets,
            wrapper=environment(tmp_path, **variables),
            start=False,
        )
        started.append(one)
        one.start()
        one.s3, one.raw = one.client(), FsRaw(root)
        if not (root / BUCKET).exists():
            one.s3.create_bucket(Bucket=BUCKET)
        return one

    yield start
    for one in started:
        one.stop(5)


def envelope(gateway, key):
    return program().parse_envelope(gateway.raw.get(BUCKET, key).metadata["sealgate"])


def context_of(name):
    """As docs/kms/aws-kms.md derives it."""
    return hashlib.sha256(b"sealgate/kek/v1\0" + name.encode()).hexdigest()


def eventually(what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return what()
        except (ClientError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_objects_are_sealed_with_few_calls(moto, front, gateway):
    """Once a KEK is there, objects cost no call: KMS is asked for each core's first KEK, and by health checks."""
    key = moto.key()
    one = gateway(key_table("main", key, [front]))
    for n in range(16):
        one.s3.put_object(Bucket=BUCKET, Key=f"warm{n}", Body=b"x")
    before = len(front.calls)
    data = {f"object{n}": blob(size) for n, size in enumerate([0, 1, CHUNK, CHUNK + 1] * 5)}
    for name, body in data.items():
        one.s3.put_object(Bucket=BUCKET, Key=name, Body=body)
    pieces = {1: blob(PART, 1), 2: blob(17, 2)}
    multipart(one.s3, BUCKET, "multipart", pieces)
    for name, body in data.items():
        same(read(one.s3, BUCKET, name), body)
    same(read(one.s3, BUCKET, "multipart"), b"".join(pieces.values()))
    # 40 objects and their reads: at most one check of the key's health falls into this time.
    assert len(front.calls) - before <= 2, front.calls[before:]

    found = envelope(one, "object3")
    assert (found["key_name"], found["key_version"]) == ("main", key)
    for operation, access, body in front.calls:
        context = body.get("EncryptionContext") or body["SourceEncryptionContext"]
        assert context == {"sealgate-key": context_of("main")}
        assert access == "AKIDENV" and operation in ("GenerateDataKey", "Decrypt")
    # Key ids and ARNs are for people who ask, not for logs and metrics.
    said = one.log.read_text() + one.metrics()
    assert key not in said and "arn:aws" not in said and context_of("main") not in said

    # Another process, which has no KEK yet, reads all of it.
    two = gateway(key_table("main", key, [front]))
    same(read(two.s3, BUCKET, "object3"), data["object3"])
    same(read(two.s3, BUCKET, "multipart"), b"".join(pieces.values()))


def test_reload_adds_a_key(moto, front, gateway):
    first, second = moto.key(), moto.key()
    tables = key_table("main", first, [front])
    one = gateway(tables)
    one.s3.put_object(Bucket=BUCKET, Key="old", Body=b"old")
    rule = '\n[[buckets]]\nmatch = "kms/new*"\nkey = "second"\n'
    text = one.text.replace(tables, tables + key_table("second", second, [front]))
    at = text.index("\n[[buckets]]")
    one.write_config(text[:at] + rule + text[at:])
    one.reload()

    def sealed_with_second():
        one.s3.put_object(Bucket=BUCKET, Key="new", Body=b"new")
        assert envelope(one, "new")["key_name"] == "second"

    eventually(sealed_with_second)
    assert envelope(one, "new")["key_version"] == second
    assert read(one.s3, BUCKET, "old") == b"old" and read(one.s3, BUCKET, "new") == b"new"
    contexts = {body["KeyId"]: body["EncryptionContext"]["sealgate-key"] for _, _, body in front.seen("GenerateDataKey")}
    assert contexts == {first: context_of("main"), second: context_of("second")}


def test_an_alias_may_move(moto, front, gateway):
    first, second = moto.key(), moto.key()
    kms, name = moto.client("kms"), f"alias/{os.urandom(4).hex()}"
    kms.create_alias(AliasName=name, TargetKeyId=first)
    one = gateway(key_table("main", name, [front]))
    one.s3.put_object(Bucket=BUCKET, Key="old", Body=b"old")
    assert envelope(one, "old")["key_version"] == first
    one.stop()
    kms.update_alias(AliasName=name, TargetKeyId=second)
    two = gateway(key_table("main", name, [front]))
    two.s3.put_object(Bucket=BUCKET, Key="new", Body=b"new")
    assert envelope(two, "new")["key_version"] == second
    assert read(two.s3, BUCKET, "old") == b"old"
    two.stop()
    # Narrowed to keys that do not include the first one, and then with it.
    other = moto.key()
    for listed, opens in [(other, False), (first, True)]:
        three = gateway(key_table("main", name, [front], f'previous_key_ids = ["{listed}"]'))
        if opens:
            assert read(three.s3, BUCKET, "old") == b"old"
        else:
            with pytest.raises(ClientError) as refusal:
                read(three.s3, BUCKET, "old")
            assert refusal.value.response["Error"]["Code"] == "AccessDenied"
        assert read(three.s3, BUCKET, "new") == b"new"
        three.stop()


def test_rewrap_follows_an_alias(moto, front, gateway, tmp_path):
    """After the alias moved, `sealgate rewrap` brings the objects under its new key; the old key is not needed then."""
    first, second = moto.key(), moto.key()
    kms, name = moto.client("kms"), f"alias/{os.urandom(4).hex()}"
    kms.create_alias(AliasName=name, TargetKeyId=first)
    table = key_table("main", name, [front])
    one = gateway(table)
    objects = {f"o{n}": blob(n) for n in range(5)}
    for key, body in objects.items():
        one.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    kms.update_alias(AliasName=name, TargetKeyId=second)

    def sealgate(*arguments):
        argv = [*environment(tmp_path, **STATIC), binary(), *arguments, "--config", str(one.config), "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    status = json.dumps(sealgate("keys", "status"))
    assert second in status and first not in status and HERE in status
    for more, asked in [(["--keep-keks"], "ReEncrypt"), ([], "GenerateDataKey")]:
        before = len(front.calls)
        report = sealgate("rewrap", "--bucket", BUCKET, *more)
        assert report["examined"] == 5 and asked in {call[0] for call in front.calls[before:]}
        assert report["rewrapped"] == (5 if more else 0)
        assert {envelope(one, key)["key_version"] for key in objects} == {second}
    one.stop()
    two = gateway(key_table("main", second, [front]))
    for key, body in objects.items():
        same(read(two.s3, BUCKET, key), body)


def test_answers_do_not_stay_in_memory(moto, front, gateway):
    """The KEK of an answer is in base64 in buffers that others own. They are wiped with the connection, which does not
    stay idle for long."""
    one = gateway(key_table("main", moto.key(), [front]))
    one.s3.put_object(Bucket=BUCKET, Key="a", Body=b"a")
    two = gateway(key_table("main", moto.key(), [front]))
    two.s3.put_object(Bucket=BUCKET, Key="b", Body=b"b")
    assert read(two.s3, BUCKET, "b") == b"b"
    front.error = (500, "KMSInternalException")  # No more answers with keys.
    needles = {f"KEK {n}": text.encode() for n, text in enumerate(sorted(front.plaintexts))}
    assert len(needles) >= 2

    def gone():
        for process in (one, two):
            found = search(process.daemon.pid, {"control": front.url.encode(), **needles})
            assert found.pop("control"), "what must be there is not found"
            assert not any(found.values()), {name: describe(places) for name, places in found.items()}

    eventually(gone, 40)


def test_throttling_and_outages_pass(moto, front, gateway):
    """Objects of a KEK that nobody has yet are 503 meanwhile, never wrong, and come back by themselves."""
    key = moto.key()
    gateway(key_table("main", key, [front])).s3.put_object(Bucket=BUCKET, Key="a", Body=b"a")
    two = gateway(key_table("main", key, [front]))
    impatient = two.client()
    impatient.meta.events.unregister("needs-retry.s3.GetObject")
    for error in [(400, "ThrottlingException"), (500, "KMSInternalException"), (400, "ExpiredTokenException")]:
        front.error = error
        with pytest.raises(ClientError) as refusal:
            impatient.get_object(Bucket=BUCKET, Key="a")
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert "retry-after" in refusal.value.response["ResponseMetadata"]["HTTPHeaders"]
    front.error = None
    eventually(lambda: same(read(two.s3, BUCKET, "a"), b"a"))


def test_the_second_region_serves_when_the_first_does_not(moto, gateway):
    fronts = [Front(moto), Front(moto)]
    key = moto.key(multi_region=True)
    moto.client("kms", HERE).replicate_key(KeyId=key, ReplicaRegion=THERE)
    table = key_table("main", key, fronts)
    one = gateway(table)
    one.s3.put_object(Bucket=BUCKET, Key="both", Body=b"both")
    assert fronts[0].seen("GenerateDataKey")
    one.stop()
    fronts[0].close()
    two = gateway(table)
    same(eventually(lambda: read(two.s3, BUCKET, "both")), b"both")
    eventually(lambda: two.s3.put_object(Bucket=BUCKET, Key="second", Body=b"second"))
    same(read(two.s3, BUCKET, "second"), b"second")
    operations = {operation for operation, _, _ in fronts[1].calls}
    assert operations == {"GenerateDataKey", "Decrypt"}
    assert envelope(two, "second")["key_version"] == key
    fronts[1].close()


PORTAL = "https://example.awsapps.com/start"


def write_files(home, front, process=None):
    (home / "credentials").write_text("[static]\naws_access_key_id = AKIDSTATIC\naws_secret_access_key = secret\n")
    (home / "config").write_text(
        f"[profile process]\ncredential_process = {process}\n"
        "[profile assumed]\nrole_arn = arn:aws:iam::123456789012:role/gateway\nsource_profile = static\n"
        f"[profile sso]\nsso_start_url = {PORTAL}\nsso_region = eu-west-1\nsso_account_id = 123456789012\n"
        "sso_role_name = gateway\n"
    )
    # What `aws sso login` leaves behind.
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    login = {"startUrl": PORTAL, "region": "eu-west-1", "accessToken": "portal", "expiresAt": "2099-01-01T00:00:00Z"}
    (cache / f"{hashlib.sha1(PORTAL.encode()).hexdigest()}.json").write_text(json.dumps(login))
    (home / "token").write_text("a.web.token")


# How credentials are found: (key of the table, environment, what asks where, access key that KMS sees).
SOURCES = {
    "environment": ("", STATIC, None, "AKIDENV"),
    "profile": ('profile = "static"', {}, None, "AKIDSTATIC"),
    "profile of the environment": ("", {"AWS_PROFILE": "static"}, None, "AKIDSTATIC"),
    "process": ('profile = "process"', {}, None, "AKIDPROCESS"),
    "assumed role": ('profile = "assumed"', {"AWS_ENDPOINT_URL_STS": "FRONT"}, "AssumeRole", "ASIA"),
    "sso": ('profile = "sso"', {"AWS_ENDPOINT_URL_SSO": "FRONT"}, "AKIDSSO", "AKIDSSO"),
    "web identity": (
        "",
        {
            "AWS_ENDPOINT_URL_STS": "FRONT",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/gateway",
            "AWS_ROLE_SESSION_NAME": "e2e",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "HOME/token",
        },
        "AssumeRoleWithWebIdentity",
        "ASIA",
    ),
    "container": ("", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "FRONT/container"}, "AKIDCONTAINER", "AKIDCONTAINER"),
    "instance": (
        "",
        {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "FRONT"},
        "AKIDINSTANCE",
        "AKIDINSTANCE",
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_credentials_are_found_where_aws_tools_find_them(moto, front, gateway, tmp_path, source):
    more, variables, asked, access_key = SOURCES[source]
    script = tmp_path / "process.py"
    found = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": "secret"}
    script.write_text(f"print({json.dumps(json.dumps(found))})\n")
    write_files(tmp_path, front, f"{sys.executable} {script}")
    variables = {n: v.replace("FRONT", front.url).replace("HOME", str(tmp_path)) for n, v in variables.items()}
    one = gateway(key_table("main", moto.key(), [front], more), variables=variables)
    one.s3.put_object(Bucket=BUCKET, Key="a", Body=b"a")
    assert read(one.s3, BUCKET, "a") == b"a"
    assert {access[: len(access_key)] for _, access, _ in front.calls} == {access_key}
    assert asked is None or asked in front.sources, front.sources


def test_replaced_credentials_are_taken_over(moto, front, gateway, tmp_path):
    """KMS says that those in the file are expired; an operator writes new ones; nobody restarts anything."""
    write_files(tmp_path, front)
    one = gateway(key_table("main", moto.key(), [front], 'profile = "static"\nmax_age = "1s"'), variables={})
    one.s3.put_object(Bucket=BUCKET, Key="a", Body=b"a")
    front.error = (400, "ExpiredTokenException")
    text = (tmp_path / "credentials").read_text()
    (tmp_path / "credentials").write_text(text.replace("AKIDSTATIC", "AKIDFRESH"))

    def asked_with_fresh():
        try:
            one.s3.put_object(Bucket=BUCKET, Key="b", Body=b"b")
        except ClientError:
            pass
        assert front.calls[-1][1] == "AKIDFRESH"

    eventually(asked_with_fresh, 60)
    front.error = None
    eventually(lambda: one.s3.put_object(Bucket=BUCKET, Key="b", Body=b"b"))
    assert read(one.s3, BUCKET, "b") == b"b"


MISTAKES = {
    "key_id = \"alias/aws/s3\"\nregion = \"eu-west-1\"": "AWS keeps for its own services",
    "key_id = \"main\"\nregion = \"eu-west-1\"": "names no key of AWS KMS",
    "key_id = \"alias/a\"": "keys.main.region",
    "key_id = \"alias/a\"\nregion = \"eu-west-1\"\ntoken = \"x\"": "keys.main.token",
    "key_id = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\nregions = [\"eu-west-1\", \"us-east-1\"]": "single-Region key",
    "key_id = \"alias/a\"\nregion = \"eu-west-1\"\nca_file = \"none.pem\"": "none.pem",
}


@pytest.mark.parametrize("table", MISTAKES)
def test_check_names_mistakes(tmp_path, table):
    keys = f'[keys.main]\nprovider = "aws-kms"\n{table}\n'
    one = gw.Gateway(tmp_path, gw.fs_backend(tmp_path / "objects"), keys=keys, start=False)
    argv = [*environment(tmp_path), binary(), "check", "--config", str(one.config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and MISTAKES[table] in done.stderr + done.stdout, done


def blocks(heading: str) -> list[str]:
    """The commands of a section of docs/kms/aws-kms.md."""
    page = (ROOT / "docs" / "kms" / "aws-kms.md").read_text()
    section = page[page.index(f"## {heading}\n") :].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.S)


def run(moto, folder, script, **variables):
    """Runs commands with the AWS CLI against moto."""
    path = f"{os.path.dirname(tool('aws'))}:{os.environ['PATH']}"
    argv = environment(folder, **STATIC, PATH=path, AWS_ENDPOINT_URL=moto.url, AWS_DEFAULT_REGION=HERE, **variables)
    done = subprocess.run(
        [*argv, "bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done
    return done.stdout


def test_setting_it_up_and_disaster_recovery_as_documented(moto, front, gateway, tmp_path):
    """The documented commands make a key that the gateway uses, and open an object with the AWS CLI and the program of
    docs/tools alone."""
    moto.client("iam").create_role(RoleName="gateway", AssumeRolePolicyDocument="{}")
    setup = blocks("Setting it up")
    assert len(setup) == 2
    run(moto, tmp_path, "".join(setup), ROLE="gateway")
    policy = moto.client("iam").get_role_policy(RoleName="gateway", PolicyName="sealgate-keks")["PolicyDocument"]
    condition = policy["Statement"][0]["Condition"]["StringEquals"]
    assert condition == {"kms:EncryptionContext:sealgate-key": context_of("main")}

    one = gateway(key_table("main", "alias/sealgate-main", [front]))
    data = blob(CHUNK + 1)
    one.s3.put_object(Bucket=BUCKET, Key="object", Body=data)
    assert envelope(one, "object")["key_version"] in policy["Statement"][0]["Resource"][0]
    used = {f"kms:{operation}" for operation, _, _ in front.calls}
    assert used <= set(policy["Statement"][0]["Action"])

    raw = one.raw.get(BUCKET, "object")
    (tmp_path / "body").write_bytes(raw.body)
    (tmp_path / "metadata.json").write_text(json.dumps(raw.metadata))
    shutil.copy(PROGRAM, tmp_path)
    (by_hand,) = blocks("Disaster recovery")
    run(moto, tmp_path, by_hand, BUCKET=BUCKET, KEY="object")
    same((tmp_path / "plaintext").read_bytes(), data)
    assert not (tmp_path / "kek").exists()
