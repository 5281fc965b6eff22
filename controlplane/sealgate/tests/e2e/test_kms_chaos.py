"""A key service that is killed, frozen, slow, cut off, failing, throttling or refusing, under load.

What holds through all of it: an answer is right or a clean error; nothing is stored in plaintext; and what was answered
with 200 is readable afterwards.
"""

import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from harness import binary, gateway as gw
from harness.aws import HERE, Moto, environment
from harness.daemon import Daemon
from harness.data import KIB, blob
from harness.kmsproxy import KmsProxy
from harness.openbao import OpenBao

pytestmark = pytest.mark.gateway

BUCKET = "e2e-chaos"
CLIENTS = 64
# In every object, and so never in the store.
MARKER = b"this text is nobody's business but the client's "

# Short times, so that keys run out while a fault lasts.
QUICK = """
max_age = "2s"
attempt_timeout = "500ms"
deadline = "2s"
health_interval = "1s"
breaker = { failures = 5, open_for = "500ms" }
cache = { ttl = "2s", core_ttl = "1s", negative_ttl = "500ms", error_ttl = "200ms" }
"""


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
def proxy(bao):
    proxy = KmsProxy(bao.port)
    yield proxy
    proxy.close()


@pytest.fixture
def start(bao, proxy, tmp_path):
    """Starts a gateway whose key is behind the proxy."""
    started = []

    def start(more: str = QUICK, ready: bool = True, keys: str = "") -> gw.Gateway:
        root = tmp_path / "objects"
        root.mkdir(exist_ok=True)
        keys = keys or f"[keys.main]\n{bao.key_table(proxy.endpoint)}{more}\n"
        gateway = gw.Gateway(tmp_path / f"gateway{len(started)}", gw.fs_backend(root), keys=keys, start=False)
        gateway.root = root
        wrapper = environment(tmp_path, AWS_ACCESS_KEY_ID="AKIDCHAOS", AWS_SECRET_ACCESS_KEY="secret")
        argv = [*wrapper, binary(), "serve", "--config", str(gateway.config)]
        gateway.daemon = Daemon(argv, gateway.log, env={"RUST_BACKTRACE": "1"}, cwd=gateway.folder)
        started.append(gateway)
        gateway.daemon.wait_ready(f"{gateway.admin}/{'readyz' if ready else 'healthz'}", 20)
        return gateway

    yield start
    for gateway in started:
        gateway.stop(5)


def probe(gateway: gw.Gateway, mode: str = "") -> tuple[int, str]:
    """What readiness says; it never keeps one waiting."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"{gateway.admin}/readyz{mode}", timeout=5) as answer:
            found = answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        found = e.code, e.read().decode()
    assert time.monotonic() - began < 1.0
    return found


def wait_probe(gateway: gw.Gateway, wanted: int, mode: str = "", seconds: float = 30) -> str:
    deadline = time.monotonic() + seconds
    while (found := probe(gateway, mode))[0] != wanted:
        assert time.monotonic() < deadline, f"readyz{mode} is {found}, not {wanted}"
        time.sleep(0.1)
    return found[1]


def numbers(gateway: gw.Gateway, name: str) -> float:
    """The sum of a metric's samples."""
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", gateway.metrics(), re.M))


def is_clean(answer, refusing: bool) -> bool:
    """A 503 that says when to come back; or, when the key service refuses, S3's own answer to that."""
    if answer.status == 503 and int(answer.headers.get("retry-after", 0)) >= 1:
        return True
    return refusing and answer.status == 403 and answer.code == "AccessDenied"


class Load:
    """64 clients that write, read what was written, and upload in parts, until told to end."""

    def __init__(self, gateway: gw.Gateway, refusing: bool = False):
        self.gateway, self.refusing = gateway, refusing
        self.written: dict[str, int] = {}
        self.wrong: list[str] = []
        self.right = self.errors = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a client still waits for an answer"

    def body(self, key: str, size: int) -> bytes:
        return (MARKER * 4 + blob(size, key))[:size]

    def client(self, number: int) -> None:
        wire = self.gateway.wire()
        connection, turn = wire.connect(), 0

        def ask(method: str, target: str, body: bytes = b""):
            nonlocal connection
            headers = {} if method == "GET" else {"Content-Length": str(len(body))}
            signed = wire.signed(connection, method, target, headers)
            connection.send_quietly(connection.head(method, target, signed.headers) + body)
            answer = connection.answer(method)
            if answer.headers.get("connection", "").lower() == "close":
                connection.close()
                connection = wire.connect()
            return answer

        try:
            while not self.over.is_set():
                turn += 1
                self.step(ask, number, turn)
                time.sleep(0.02)
        except Exception as e:  # noqa: BLE001: whatever it is, it is the test's to show.
            with self.lock:
                self.wrong.append(f"client {number}, turn {turn}: {e!r}")
        finally:
            connection.close()

    def note(self, what: str, answer, good: bool) -> bool:
        with self.lock:
            if answer.status == 200 and good:
                self.right += 1
            elif answer.status != 200 and is_clean(answer, self.refusing):
                self.errors += 1
            else:
                self.wrong.append(f"{what}: {answer}")
        return answer.status == 200

    def step(self, ask, number: int, turn: int) -> None:
        key = f"c{number:02}/{turn:05}"
        target = f"/{BUCKET}/{key}"
        if turn % 16 == 7:
            begun = ask("POST", f"{target}?uploads=")
            if not self.note("CreateMultipartUpload", begun, True):
                return
            upload = re.search(rb"<UploadId>(.*?)</UploadId>", begun.body)[1].decode()
            part = ask("PUT", f"{target}?partNumber=1&uploadId={upload}", self.body(key, 40 * KIB))
            if not self.note("UploadPart", part, True):
                return
            listed = f'<Part><PartNumber>1</PartNumber><ETag>{part.headers["etag"]}</ETag></Part>'
            whole = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
            done = ask("POST", f"{target}?uploadId={upload}", whole)
            good = b"<Error>" not in done.body
            if self.note("CompleteMultipartUpload", done, good) and good:
                with self.lock:
                    self.written[key] = 40 * KIB
        elif turn % 2:
            size = (turn * 977 + number * 131) % (24 * KIB) + 200
            if self.note("PutObject", ask("PUT", target, self.body(key, size)), True):
                with self.lock:
                    self.written[key] = size
        else:
            with self.lock:
                known = list(self.written)
            if known:
                old = known[(turn * 7919 + number) % len(known)]
                answer = ask("GET", f"/{BUCKET}/{old}")
                self.note("GetObject", answer, answer.body == self.body(old, self.written[old]))


def all_readable(gateway: gw.Gateway, load: Load) -> None:
    """Everything that was answered with 200 opens to what was sent."""
    wire = gateway.wire()
    with wire.connect() as connection:
        for key, size in load.written.items():
            target = f"/{BUCKET}/{key}"
            signed = wire.signed(connection, "GET", target)
            connection.send(connection.head("GET", target, signed.headers))
            answer = connection.answer()
            assert answer.status == 200 and answer.body == load.body(key, size), f"{key}: {answer}"


def no_plaintext(gateway: gw.Gateway) -> None:
    files = [path for path in gateway.root.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert MARKER not in path.read_bytes(), f"plaintext in {path}"


ERROR = b'{"errors":["scripted"]}'
FAULTS = {
    "killed": (lambda bao, proxy: bao.kill(), lambda bao, proxy: (bao.start(), bao.unseal())),
    "sealed": (lambda bao, proxy: bao.seal(), lambda bao, proxy: bao.unseal()),
    "frozen": (
        lambda bao, proxy: bao.daemon.signal(signal.SIGSTOP),
        lambda bao, proxy: bao.daemon.signal(signal.SIGCONT),
    ),
    "slow": (lambda bao, proxy: (setattr(proxy, "delay", 0.3), setattr(proxy, "mode", "slow")), None),
    "too-slow": (lambda bao, proxy: (setattr(proxy, "delay", 1.0), setattr(proxy, "mode", "slow")), None),
    "silent": (lambda bao, proxy: setattr(proxy, "mode", "hang"), None),
    "resetting": (lambda bao, proxy: setattr(proxy, "mode", "reset"), None),
    "cutting": (lambda bao, proxy: setattr(proxy, "mode", "cut"), None),
    "failing": (lambda bao, proxy: setattr(proxy, "mode", (500, {}, ERROR)), None),
    "gateway-timeout": (lambda bao, proxy: setattr(proxy, "mode", (504, {}, b"<html>no json</html>")), None),
    "throttling": (lambda bao, proxy: setattr(proxy, "mode", (429, {"Retry-After": "1"}, ERROR)), None),
    "denying": (
        lambda bao, proxy: setattr(proxy, "mode", (403, {}, b'{"errors":["permission denied"]}')),
        None,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_load_through_a_fault(bao, proxy, start, fault, capsys):
    begin, end = FAULTS[fault]
    through(
        start(),
        lambda: begin(bao, proxy),
        lambda: (end and end(bao, proxy), setattr(proxy, "mode", "pass")),
        fault,
        capsys,
        refusing=fault == "denying",
        errors=fault != "slow",
    )


def refusal(code: str, message: str = "") -> tuple:
    body = json.dumps({"__type": code, "message": message}).encode()
    return 400, {"Content-Type": "application/x-amz-json-1.1"}, body


AWS_FAULTS = {
    "throttling": refusal("ThrottlingException", "Rate exceeded"),
    "failing": (500, {"Content-Type": "application/x-amz-json-1.1"}, b'{"__type":"KMSInternalException"}'),
    "disabled": refusal("DisabledException", "the key is disabled"),
    "clock-skewed": refusal(
        "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than 20260101T120000Z"
    ),
    "resetting": "reset",
}


@pytest.mark.parametrize("fault", [*AWS_FAULTS, "frozen"])
def test_load_through_a_fault_of_aws(moto, start, fault, capsys):
    proxy = KmsProxy(moto.port)
    keys = (
        f'[keys.main]\nprovider = "aws-kms"\nkey_id = {gw.q(moto.key())}\nregions = [{gw.q(HERE)}]\n'
        f"endpoints = [{gw.q(proxy.endpoint)}]\n{QUICK}"
    )

    def begin() -> None:
        if fault == "frozen":
            moto.daemon.signal(signal.SIGSTOP)
        else:
            proxy.mode = AWS_FAULTS[fault]

    def end() -> None:
        moto.daemon.signal(signal.SIGCONT)
        proxy.mode = "pass"

    try:
        gateway = start(keys=keys)
        through(gateway, begin, end, f"aws {fault}", capsys, refusing=fault in ("disabled", "clock-skewed"))
    finally:
        proxy.close()


@pytest.mark.parametrize("fault", ["silent", "resetting", "throttling", "too-slow"])
def test_a_second_endpoint_takes_over(bao, proxy, start, fault, capsys):
    """No client notices that the first endpoint has failed."""
    second = KmsProxy(bao.port)
    one, both = f"endpoints = [{gw.q(proxy.endpoint)}]", f"endpoints = {json.dumps([proxy.endpoint, second.endpoint])}"
    table = bao.key_table(proxy.endpoint)
    assert one in table
    keys = f"[keys.main]\n{table.replace(one, both)}hedge_after = \"100ms\"\n{QUICK}"
    try:
        gateway = start(keys=keys)
        through(
            gateway,
            lambda: FAULTS[fault][0](bao, proxy),
            lambda: setattr(proxy, "mode", "pass"),
            f"{fault}, and a second endpoint",
            capsys,
            errors=False,
        )
        assert second.calls > 0
    finally:
        second.close()


def through(gateway, begin, end, name, capsys, refusing=False, errors=True) -> None:
    """Load before, during and after a fault; whether it may be noticed."""
    gateway.client().create_bucket(Bucket=BUCKET)
    with Load(gateway, refusing) as load:
        time.sleep(2)
        before = load.right
        assert before > 0 and not load.errors, f"it works before the fault: {load.wrong[:3]}"
        begin()
        try:
            time.sleep(5)
            during = load.right - before, load.errors
        finally:
            end()
        wait_probe(gateway, 200)
        # Refusals and failures that are remembered, and pauses that were asked for, end first.
        time.sleep(2)
        late = load.errors
        time.sleep(2)
        after, late = load.right - before - during[0], load.errors - late
    assert not load.wrong, "\n".join(load.wrong[:20])
    assert gateway.daemon.process.poll() is None
    if errors:
        assert load.errors, "the fault did not happen"
    else:
        assert not load.errors, f"{load.errors} errors that should not be seen"
    assert after > 0 and not late, "it works again after the fault"
    all_readable(gateway, load)
    no_plaintext(gateway)
    hits, misses = (numbers(gateway, f"sealgate_key_cache_{what}_total") for what in ("hits", "misses"))
    kept, asked = (numbers(gateway, f"sealgate_kek_cache_{what}_total") for what in ("hits", "misses"))
    calls = numbers(gateway, "sealgate_kms_calls_total")
    with capsys.disabled():
        print(
            f"\n  {name}: {before} right before, {during[0]} right and {during[1]} clean errors during, {after} right after; "
            f"{len(load.written)} objects; cores: {hits:.0f} hits, {misses:.0f} misses ({hits / (hits + misses):.2%}); "
            f"service: {kept:.0f} hits, {asked:.0f} misses; {calls:.0f} calls of the provider"
        )
    # Requests that are refused miss as well; what counts is that the provider does not hear of them.
    assert calls < (hits + misses) / 20, "the provider is called for few requests"


def put(gateway: gw.Gateway, key: str, body: bytes = MARKER):
    return gateway.wire().request("PUT", f"/{BUCKET}/{key}", {}, body)


def get(gateway: gw.Gateway, key: str):
    return gateway.wire().request("GET", f"/{BUCKET}/{key}")


@pytest.mark.parametrize("fault", ["silent", "resetting", "failing"])
def test_start_without_a_key_service(bao, proxy, start, fault):
    """It starts, says that it is not ready, refuses cleanly, and is there when the key service is."""
    FAULTS[fault][0](bao, proxy)
    gateway = start(ready=False)
    status, text = probe(gateway)
    assert status == 503 and text.startswith("not ready"), text
    for mode in ("?mode=read", "?mode=write"):
        assert probe(gateway, mode)[0] == 503
    gateway.client().create_bucket(Bucket=BUCKET)
    answer = put(gateway, "early")
    assert is_clean(answer, False), answer
    proxy.mode = "pass"
    wait_probe(gateway, 200)
    assert put(gateway, "late").status == 200
    assert get(gateway, "late").body == MARKER
    assert get(gateway, "early").status == 404, "what was refused is not there"


def test_what_is_in_memory_serves_on_and_then_fails_closed(bao, proxy, start):
    gateway = start('max_age = "6s"\ncache = { ttl = "6s", core_ttl = "1s" }\nhealth_interval = "1s"\nattempt_timeout = "300ms"\n')
    gateway.client().create_bucket(Bucket=BUCKET)
    # Each core has a KEK of its own.
    for n in range(16):
        assert put(gateway, f"a{n}").status == 200
    proxy.mode = "reset"
    deadline = time.monotonic() + 5
    while "read: degraded" not in probe(gateway)[1]:
        assert time.monotonic() < deadline, "the health check does not notice"
        time.sleep(0.05)
    assert probe(gateway, "?mode=read")[0] == 200, "what is in memory serves on"
    assert put(gateway, "during").status == 200 and get(gateway, "a3").body == MARKER
    for mode in ("?mode=read", "?mode=write"):
        wait_probe(gateway, 503, mode)
    assert is_clean(put(gateway, "closed"), False) and is_clean(get(gateway, "a3"), False)
    assert numbers(gateway, "sealgate_kek_offline_reads_total") == 0
    proxy.mode = "pass"
    wait_probe(gateway, 200)
    assert get(gateway, "during").body == MARKER
    no_plaintext(gateway)


def test_grace_keeps_reading_and_writing_and_a_refusal_ends_it(bao, proxy, start):
    grace = 'offline_grace = { reads = "10m", writes = "10m" }\n'
    gateway = start(QUICK + grace)
    gateway.client().create_bucket(Bucket=BUCKET)
    for n in range(16):
        assert put(gateway, f"a{n}").status == 200
    proxy.mode = (503, {}, ERROR)
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        answer = put(gateway, "b")
        # A core that has not written yet has nothing to go on with.
        assert answer.status == 200 or is_clean(answer, False), answer
        assert get(gateway, "a3").body == MARKER
        time.sleep(0.1)
    assert put(gateway, "b").status == 200
    for name in ("reads", "writes"):
        assert numbers(gateway, f"sealgate_kek_offline_{name}_total") > 0
    assert probe(gateway)[0] == 200 and "degraded" in probe(gateway)[1]
    assert gateway.wait_for_log("offline_grace")
    FAULTS["denying"][0](bao, proxy)
    deadline = time.monotonic() + 15
    while get(gateway, "a3").status == 200:
        assert time.monotonic() < deadline, "a refused key is still read with"
        time.sleep(0.2)
    assert probe(gateway, "?mode=read")[0] == 503
    proxy.mode = "pass"
    wait_probe(gateway, 200)
    assert get(gateway, "b").body == MARKER


def test_reads_from_memory_need_no_key_service(bao, proxy, start):
    """Not one call while keys are cached."""
    gateway = start('health_interval = "1h"\n')
    gateway.client().create_bucket(Bucket=BUCKET)
    for n in range(64):
        assert put(gateway, f"a{n}").status == 200
    time.sleep(0.5)
    calls = proxy.calls
    for n in range(64):
        assert put(gateway, f"b{n}").status == 200 and get(gateway, f"a{n}").body == MARKER
    # The cores' own KEKs at most: one may not have written before.
    assert proxy.calls - calls <= 2
    calls = proxy.calls
    for n in range(256):
        assert get(gateway, f"a{n % 64}").status == 200
    assert proxy.calls == calls
