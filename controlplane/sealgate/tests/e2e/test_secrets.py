"""Secrets in the memory of a running gateway: where they may be, and that they are gone afterwards.

docs/security/secrets.md makes the promises. The searches read /proc/PID/mem, so they need root.
"""

import base64
import importlib.util
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from harness import ROOT, binary, gateway as gw, keyring
from harness.aws import environment
from harness.daemon import Daemon
from harness.data import MIB, PART, blob
from harness.expect import multipart, read, same
from harness.kmip import certificates
from harness.memory import describe, regions, search
from harness.providers import Aws
from harness.rawstore import FsRaw

pytestmark = pytest.mark.gateway

SECRET = "memory-test-secret-of-a-client-0123456789"


def opener():
    """docs/tools/sealgate_open.py, which knows the format without the gateway."""
    spec = importlib.util.spec_from_file_location("sealgate_open", ROOT / "docs/tools/sealgate_open.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ring_keys(path: Path) -> dict[str, bytes]:
    found = re.findall(r'id = (\d+)\ncreated = \S+\nkey = "([^"]+)"', path.read_text())
    return {version: base64.b64decode(key) for version, key in found}


def credential(secret: str = SECRET, access: str = "MEMORY") -> str:
    return f'[[credentials]]\naccess_key = "{access}"\nsecret_key = "{secret}"\nallow = [{{ bucket = "*", actions = ["*"] }}]\n'


def hmac(key: bytes, data: str) -> bytes:
    mac = HMAC(key, SHA256())
    mac.update(data.encode())
    return mac.finalize()


def signing_keys(secret: str) -> dict[str, bytes]:
    """The steps of SigV4's key derivation for today."""
    day = time.strftime("%Y%m%d", time.gmtime())
    date = hmac(b"AWS4" + secret.encode(), day)
    region = hmac(date, "us-east-1")
    service = hmac(region, "s3")
    return {"date key": date, "region key": region, "service key": service, "signing key": hmac(service, "aws4_request")}


def keys_of(raw, tool, ring: Path, bucket: str, key: str) -> dict[str, bytes]:
    """KEK, DEK and all keys derived from it of a stored object."""
    stored = raw.get(bucket, key)
    envelope = tool.parse_envelope(stored.metadata["sealgate"])
    kek = keyring.unwrap_kek(ring, envelope["key_name"], envelope["key_version"], envelope["wrapped_kek"])
    dek = tool.unwrap_dek(envelope, kek, bucket, key)
    found = {"KEK": kek, "DEK": dek}
    for label in ("trailer", "metadata", "upload id"):
        info = f"sealgate/v1 {label}\0".encode() + envelope["object_id"]
        found[f"{label} key"] = HKDFExpand(SHA512(), 32, info).derive(dek)
    return found


def gone(pid: int, needles: dict[str, bytes], seconds: float = 3.0) -> None:
    """None of the needles is anywhere. A moment is given: threads end their work on their own time."""
    deadline = time.monotonic() + seconds
    while True:
        found = {name: places for name, places in search(pid, needles).items() if places}
        if not found:
            return
        if time.monotonic() > deadline:
            pytest.fail("\n".join(f"{name}: {describe(places)}" for name, places in found.items()))
        time.sleep(0.3)


@pytest.fixture
def running(tmp_path):
    """Starts gateways over one directory, each with a credential of its own, signed in requests only."""
    started = []

    def start(name="memory", **options):
        root = tmp_path / "objects"
        root.mkdir(exist_ok=True)
        options.setdefault("credentials", credential())
        gateway = gw.Gateway(tmp_path / name, gw.fs_backend(root), **options)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.stop(5)


def use(gateway, raw_root: Path) -> None:
    """Every kind of request that has a data key."""
    s3 = gateway.client("MEMORY", SECRET)
    s3.create_bucket(Bucket="memory")
    small, large = blob(1000), blob(MIB + 5)
    for round in range(3):
        s3.put_object(Bucket="memory", Key=f"small-{round}", Body=small, Metadata={"note": "sealed"})
        s3.put_object(Bucket="memory", Key=f"large-{round}", Body=large)
        same(read(s3, "memory", f"small-{round}"), small)
        same(read(s3, "memory", f"large-{round}"), large)
    s3.head_object(Bucket="memory", Key="small-0")
    assert s3.get_object(Bucket="memory", Key="large-0", Range="bytes=20000-40000")["Body"].read() == large[20000:40001]
    s3.copy_object(Bucket="memory", Key="copied", CopySource="memory/small-0")
    multipart(s3, "memory", "parts", {1: blob(PART), 2: b"end"})
    same(read(s3, "memory", "parts"), blob(PART) + b"end")
    s3.close()


OBJECTS = ["small-0", "small-1", "small-2", "large-0", "large-1", "large-2", "copied", "parts"]


@pytest.mark.parametrize("library", ["ring", "aws-lc"])
def test_keys_are_in_protected_memory_only_and_data_keys_nowhere(running, tmp_path, library):
    gateway = running(runtime=f'aead = "{library}"')
    use(gateway, tmp_path)
    pid, tool, raw = gateway.daemon.pid, opener(), FsRaw(tmp_path / "objects")
    # Requests are over; what is known of them may be gone.
    data_keys, keks = {}, {}
    for key in OBJECTS:
        for name, value in keys_of(raw, tool, gateway.ring, "memory", key).items():
            (keks if name == "KEK" else data_keys)[f"{name} of {key}"] = value
    gone(pid, data_keys)
    text = gateway.ring.read_text()
    gone(pid, {f"base64 of version {v}": base64.b64encode(key) for v, key in ring_keys(gateway.ring).items()})
    assert "current = 1" in text
    # The ring is in use, so it is there: that the search finds it shows that the search works.
    ring = search(pid, {f"ring version {v}": key for v, key in ring_keys(gateway.ring).items()})
    for name, places in ring.items():
        assert places, f"{name} was not found: the search shows nothing"
        for place in places:
            assert place[1].protected, f"{name} outside of key memory: {describe([place])}"
    # KEKs are cached as expanded keys, whose first bytes are the key.
    for name, places in search(pid, keks).items():
        assert places, f"{name} was not found: the search shows nothing"
        for place in places:
            # AWS-LC keeps expanded keys in its own heap, and wipes them when they are freed.
            allowed = place[1].protected or (library == "aws-lc" and "rw" in place[1].permissions)
            assert allowed, f"{name} outside of key memory: {describe([place])}"
            assert "stack" not in place[1].name, f"{name} on the stack: {describe([place])}"


def test_key_memory_is_counted(running):
    gateway = running()
    metrics = gateway.metrics()
    mapped = int(re.search(r"^sealgate_key_memory_bytes (\d+)$", metrics, re.M)[1])
    unlocked = int(re.search(r"^sealgate_key_memory_unlocked_bytes (\d+)$", metrics, re.M)[1])
    protected = sum(r.end - r.start for r in regions(gateway.daemon.pid) if {"dd", "dc"} <= r.flags and "rw" in r.permissions)
    locked = sum(r.end - r.start for r in regions(gateway.daemon.pid) if r.protected)
    assert mapped == protected > 0
    assert unlocked == mapped - locked == 0


def test_without_leave_to_lock_it_works_and_says_so(running, tmp_path):
    """RLIMIT_MEMLOCK 0 and no CAP_IPC_LOCK, as in a strict container."""
    nobody = 65534
    for path in [tmp_path, *tmp_path.parents]:
        if path == Path("/tmp"):
            break
        path.chmod(path.stat().st_mode | 0o711)
    root = tmp_path / "objects"
    root.mkdir()
    gateway = gw.Gateway(tmp_path / "strict", gw.fs_backend(root), credentials=credential(), start=False)
    for path in [root, gateway.folder, gateway.config, gateway.ring]:
        os.chown(path, nobody, nobody)
    program = tmp_path / "sealgate"
    program.write_bytes(Path(binary()).read_bytes())
    program.chmod(0o755)
    script = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        f"os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})\n"
        f"os.execv({str(program)!r}, [{str(program)!r}, *sys.argv[2:]])\n"
    )
    gateway.wrapper = [sys.executable, "-c", script]
    gateway.start()
    try:
        s3 = gateway.client("MEMORY", SECRET)
        s3.create_bucket(Bucket="memory")
        s3.put_object(Bucket="memory", Key="a", Body=b"works")
        assert read(s3, "memory", "a") == b"works"
        metrics = gateway.metrics()
        mapped = int(re.search(r"^sealgate_key_memory_bytes (\d+)$", metrics, re.M)[1])
        assert f"sealgate_key_memory_unlocked_bytes {mapped}\n" in metrics and mapped > 0
        assert gateway.wait_for_log("the kernel refuses to lock memory for keys")
        time.sleep(0.6)
        assert gateway.log.read_text().count("refuses to lock") == 1, "said once"
        # Another process of the same user sees nothing of this one's memory.
        pid = gateway.daemon.pid
        assert Path(f"/proc/{pid}/mem").stat().st_uid == 0, "a process that may be dumped belongs to its user"
        peek = (
            "import os, sys\n"
            f"os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})\n"
            "try:\n    open(f'/proc/{sys.argv[1]}/mem', 'rb')\nexcept PermissionError:\n    print('refused')\n"
        )
        done = subprocess.run([sys.executable, "-c", peek, str(pid)], capture_output=True, text=True, timeout=20)
        assert done.stdout == "refused\n", done
    finally:
        gateway.stop(5)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_crash_leaves_a_core_only_where_it_may(running, tmp_path, allowed):
    """A real crash, where the system's limits allow a core. A core that may be has no key memory in it."""
    unlimited = ["bash", "-c", 'ulimit -c unlimited && exec "$@"', "core"]
    gateway = running(runtime=f'aead = "ring"\ncore_dumps = {str(allowed).lower()}', wrapper=unlimited)
    use(gateway, tmp_path)
    pid = gateway.daemon.pid
    soft = re.search(r"^Max core file size\s+(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.M)[1]
    assert soft == ("unlimited" if allowed else "0")
    # Only root may look at a process that must not be dumped.
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
    keys = {f"ring version {v}": key for v, key in ring_keys(gateway.ring).items()}
    keys |= {f"KEK of {k}": keys_of(FsRaw(tmp_path / "objects"), opener(), gateway.ring, "memory", k)["KEK"] for k in OBJECTS}
    assert all(search(pid, keys).values()), "they are in memory"
    os.kill(pid, signal.SIGABRT)
    _, status = os.waitpid(pid, 0)
    gateway.daemon.process.returncode = -signal.SIGABRT
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT
    assert os.WCOREDUMP(status) == allowed, Path("/proc/sys/kernel/core_pattern").read_text()
    cores = list(gateway.folder.glob("core*"))
    if not allowed:
        assert not cores
        return
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        return  # It went elsewhere; the kernel says that it was made.
    (core,) = cores
    try:
        dump = core.read_bytes()
        assert SECRET.encode() in dump, "it is this process's memory"
        for name, key in keys.items():
            assert key not in dump, f"{name} is in the core"
    finally:
        core.unlink()


def test_replaced_secrets_are_gone_after_a_reload(running, tmp_path):
    gateway = running(runtime='aead = "ring"')
    use(gateway, tmp_path)
    pid = gateway.daemon.pid
    old = ring_keys(gateway.ring)
    derived = signing_keys(SECRET)
    needles = {
        **{f"ring version {v}": key for v, key in old.items()},
        "secret key": SECRET.encode(),
        **derived,
    }
    before = search(pid, needles)
    assert before["ring version 1"] and before["secret key"], "the search finds what is in use"
    other = gateway.folder / "other.ring"
    keyring.create(other)
    text = gateway.text.replace(str(gateway.ring), str(other)).replace(SECRET, "another-secret-of-a-client")
    gateway.write_config(text)
    gateway.reload()
    assert gateway.wait_for_log("the configuration was reloaded")
    gone(pid, needles)
    # New objects are sealed under the new ring at once, not under what was cached of the old one.
    s3 = gateway.client("MEMORY", "another-secret-of-a-client")
    s3.put_object(Bucket="memory", Key="after", Body=b"new")
    raw = FsRaw(tmp_path / "objects")
    assert keys_of(raw, opener(), other, "memory", "after")["KEK"]


def test_a_reload_that_fails_leaves_no_copy_of_its_text(running, tmp_path):
    gateway = running()
    pid = gateway.daemon.pid
    bad = "secret-in-a-file-that-is-not-valid-0123456789"
    for wrong in ("[listen\n", "[listen]\nnobody_knows = 1\n", '[listen]\ns3 = "x\\q"\n'):
        gateway.write_config(wrong + gateway.text.split("\n", 1)[1].replace(SECRET, bad))
        seen = gateway.daemon.log_size()
        gateway.reload()
        deadline = time.monotonic() + 5
        while "was not reloaded" not in gateway.daemon.tail(seen) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "was not reloaded" in gateway.daemon.tail(seen)
        assert bad not in gateway.log.read_text()
    gone(pid, {"secret of a refused file": bad.encode()})


def test_text_that_needs_unescaping_is_wiped_too(running):
    """A TOML string with escapes cannot be used in place: the parser makes a copy of its own."""
    secret = 'quoted "secret" of a client 0123456789'
    escaped = secret.replace('"', '\\"')
    gateway = running(credentials=credential(escaped))
    s3 = gateway.client("MEMORY", secret)
    s3.create_bucket(Bucket="memory")
    pid = gateway.daemon.pid
    found = search(pid, {"secret": secret.encode(), "as written": escaped.encode()})
    assert not found["as written"], describe(found["as written"])
    assert found["secret"], "it is in use"
    gateway.write_config(gateway.text.replace(escaped, "something-else-entirely"))
    gateway.reload()
    assert gateway.wait_for_log("the configuration was reloaded")
    gone(pid, {"secret": secret.encode()})


def test_no_secret_and_no_key_id_in_the_log_at_info(running, tmp_path):
    gateway = running(more='[log]\nlevel = "info"\n')
    use(gateway, tmp_path)
    gateway.reload()
    assert gateway.wait_for_log("the configuration was reloaded")
    gateway.stop()
    log = gateway.log.read_text()
    tool, raw = opener(), FsRaw(tmp_path / "objects")
    forbidden = {"secret key": SECRET, **{k: v.hex() for k, v in signing_keys(SECRET).items()}}
    for version, key in ring_keys(gateway.ring).items():
        forbidden[f"ring {version}"] = base64.b64encode(key).decode()
        forbidden[f"ring {version}, hexadecimal"] = key.hex()
    for key in OBJECTS:
        envelope = tool.parse_envelope(raw.get("memory", key).metadata["sealgate"])
        # The key check, which names the key of a ring, and the wrapped KEK.
        forbidden[f"key id of {key}"] = envelope["wrapped_kek"][1:9].hex()
        forbidden[f"wrapped KEK of {key}"] = base64.b64encode(envelope["wrapped_kek"]).decode()[:40]
    for name, text in forbidden.items():
        assert text not in log, f"{name} is in the log"
    assert "arn:" not in log
    assert '"serving"' in log or "serving" in log, "the log is the one that was meant"


PROVIDERS = pytest.mark.parametrize("kit", ["vault", "vault token", "aws", "pkcs11", "kmip"], indirect=True)
# Health checks, outages and their ends come soon.
QUICK = 'health_interval = "1s"\nbreaker = { failures = 5, open_for = "500ms" }\nattempt_timeout = "1s"\n'


def environment_of(kit, folder: Path) -> list[str]:
    """The gateway gets its AWS keys from a file: its environment would keep them."""
    variables = {k: v for k, v in kit.variables.items() if k.startswith(("AWS_", "SOFTHSM2_"))}
    secret = variables.pop("AWS_SECRET_ACCESS_KEY", None)
    if secret:
        (folder / "credentials").write_text(
            f"[default]\naws_access_key_id = {variables.pop('AWS_ACCESS_KEY_ID')}\naws_secret_access_key = {secret}\n"
        )
    return environment(folder, **variables)


@PROVIDERS
def test_no_secret_of_a_provider_is_ever_logged_and_no_key_id_at_info(running, kit, tmp_path):
    """With every line that there is; through a reload, and through an outage where there can be one."""
    gateway = running(
        keys=kit.table + QUICK,
        wrapper=environment_of(kit, tmp_path),
        more=f'[log]\nlevel = "trace"\naudit = {gw.q(tmp_path / "audit.log")}\n',
    )
    use(gateway, tmp_path)
    gateway.reload()
    assert gateway.wait_for_log("the configuration was reloaded")
    gateway.client("MEMORY", SECRET).put_object(Bucket="memory", Key="again", Body=b"x")
    if kit.breaks:
        kit.break_down()
        assert gateway.wait_for_log("the key provider is unavailable", 15), gateway.log.read_text()[-2000:]
        kit.mend()
    gateway.stop()
    log = gateway.log.read_text()
    lines = log.splitlines()
    told = [line for line in lines if " INFO " in line or " WARN " in line or '"level":"INFO"' in line or '"level":"WARN"' in line]
    assert len(told) >= 2 and any("the configuration was reloaded" in line for line in told), log[:2000]
    info = [line for line in told if "WARN" not in line]
    tool, raw = opener(), FsRaw(tmp_path / "objects")
    secrets = {**kit.secrets(), "secret key": SECRET}
    for key in OBJECTS:
        envelope = tool.parse_envelope(raw.get("memory", key).metadata["sealgate"])
        secrets[f"KEK of {key}"] = kit.kek_of(envelope)
    audit = (tmp_path / "audit.log").read_text()
    assert '"dek_wrap"' in audit
    for name, secret in secrets.items():
        forms = [secret] if isinstance(secret, str) else [secret.hex(), base64.b64encode(secret).decode()]
        for form in forms:
            assert form not in log, f"{name} is in the log"
            assert form not in audit, f"{name} is in the audit log"
    assert not re.search(r"\b(hv)?s\.[A-Za-z0-9]{24}", log), "a token of a vault"
    for name, text in kit.key_ids().items():
        found = [line for line in info if text in line]
        assert not found, f"{name}: {found[0]}"


@pytest.mark.parametrize("kit", ["vault token", "aws", "pkcs11", "kmip"], indirect=True)
def test_secrets_of_a_provider_are_gone_after_a_reload(running, kit, tmp_path):
    """The provider is replaced by a key ring: nothing of it stays in memory."""
    # KEKs for reading outlive a reload, by these times and until the next sweep (15 s).
    cache = 'cache = { ttl = "2s", core_ttl = "1s" }\n'
    table = kit.table + QUICK + cache
    gateway = running(keys=table, wrapper=environment_of(kit, tmp_path))
    use(gateway, tmp_path)
    tool, raw, pid = opener(), FsRaw(tmp_path / "objects"), gateway.daemon.pid
    secrets = {n: s.encode() if isinstance(s, str) else s for n, s in kit.secrets().items()}
    if isinstance(kit, Aws):
        # One provider shows it for all.
        for key in OBJECTS:
            secrets[f"KEK of {key}"] = kit.kek_of(tool.parse_envelope(raw.get("memory", key).metadata["sealgate"]))
    before = search(pid, secrets)
    for name in kit.held:
        assert before[name], f"{name} was not found while it is used: the search shows nothing"
    ring = tmp_path / "other.ring"
    keyring.create(ring)
    gateway.write_config(gateway.text.replace(table, f'[keys.main]\nprovider = "file"\npath = {gw.q(ring)}\n{cache}'))
    gateway.reload()
    assert gateway.wait_for_log("the configuration was reloaded")
    # The AWS SDK's idle connections, with answers in their buffers, are closed after five seconds.
    gone(pid, secrets, 25)


def test_a_bearer_token_of_kmip_is_neither_logged_nor_kept(running, tmp_path):
    """Its server refuses everything, and says why."""
    token, seen = "kmip-bearer-token-0123456789abcdef", []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["Authorization"])
            body = b"not this identity"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    certificates(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(token + "\n")
    table = (
        f'[keys.main]\nprovider = "kmip"\nendpoints = ["https://127.0.0.1:{server.server_address[1]}"]\nuid = "the-uid"\n'
        f"ca_file = {gw.q(tmp_path / 'ca.pem')}\ntoken_file = {gw.q(file)}\n"
    )
    gateway = running(keys=table + QUICK, more='[log]\nlevel = "trace"\n', start=False)
    argv = [binary(), "serve", "--config", str(gateway.config)]
    gateway.daemon = Daemon(argv, gateway.log, cwd=gateway.folder)
    try:
        gateway.daemon.wait_ready(f"{gateway.admin}/healthz", 20)
        assert gateway.wait_for_log("the key provider refuses", 10)
        assert seen and set(seen) == {f"Bearer {token}"}
        pid = gateway.daemon.pid
        assert search(pid, {"token": token.encode()})["token"], "it is in use"
        ring = tmp_path / "other.ring"
        keyring.create(ring)
        gateway.write_config(gateway.text.replace(table + QUICK, f'[keys.main]\nprovider = "file"\npath = {gw.q(ring)}\n'))
        gateway.reload()
        assert gateway.wait_for_log("the configuration was reloaded")
        gone(pid, {"token": token.encode()}, 12)
        assert token not in gateway.log.read_text()
    finally:
        server.shutdown()
        server.server_close()


def test_environment_and_arguments_hold_no_copies(tmp_path):
    """A secret from the environment is in the process's environment block, which the kernel keeps, and nowhere else."""
    root = tmp_path / "objects"
    root.mkdir()
    secret = "secret-from-the-environment-0123456789"
    text = credential().replace(f'secret_key = "{SECRET}"', 'secret_key_env = "MEMORY_SECRET"')
    gateway = gw.Gateway(tmp_path / "env", gw.fs_backend(root), credentials=text, start=False)
    os.environ["MEMORY_SECRET"] = secret
    try:
        gateway.start()
    finally:
        del os.environ["MEMORY_SECRET"]
    try:
        gateway.client("MEMORY", secret).create_bucket(Bucket="memory")
        gateway.write_config(gateway.text.replace('secret_key_env = "MEMORY_SECRET"', 'secret_key = "something-else"'))
        gateway.reload()
        assert gateway.wait_for_log("the configuration was reloaded")
        time.sleep(1.5)
        places = search(gateway.daemon.pid, {"secret": secret.encode()})["secret"]
        assert places and all(r.name == "[stack]" for _, r in places), describe(places)
        assert len(places) == 1, f"one copy, in the environment block: {describe(places)}"
        assert secret.encode() in Path(f"/proc/{gateway.daemon.pid}/environ").read_bytes()
        assert secret.encode() not in Path(f"/proc/{gateway.daemon.pid}/cmdline").read_bytes()
    finally:
        gateway.stop(5)
