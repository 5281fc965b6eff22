"""The process: start, health, drivers, drain, crash, TLS, configuration errors, `dev`."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests

from harness import ROOT, binary, gateway as gw, keyring, weed as wd
from harness.data import CHUNK, MIB, PART, blob
from harness.expect import listed, multipart, read, same
from harness.ports import free_port
from harness.wire import Cut, S3Wire

pytestmark = pytest.mark.gateway


def driver_of(metrics: str) -> str:
    """The driver that /metrics names as the active one."""
    found = re.findall(r'^sealgate_\w*driver\w*\{[^}]*driver="([^"]+)"[^}]*\} 1(?:\.0)?$', metrics, re.M)
    assert len(found) == 1, f"no driver in the metrics:\n{metrics[:2000]}"
    return found[0]


def test_health_readiness_and_metrics(place, s3, bucket, prefix):
    admin = place.gateway.admin
    for path in ("/healthz", "/readyz"):
        assert requests.get(admin + path).status_code == 200
    s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"x")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key=f"{prefix}missing")
    answer = requests.get(f"{admin}/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-zA-Z_:][\w:]*(\{.*\})? \S+( \d+)?", line), line
    assert re.search(r'^sealgate_requests_total\{.*operation="PutObject".*\} [1-9]', text, re.M), text[:3000]
    assert "sealgate_" in text and "NoSuchKey" in text
    # The admin port serves no objects and the S3 port no metrics.
    assert requests.get(f"{admin}/{bucket}/{prefix}a").status_code == 404
    assert requests.get(f"{place.endpoint}/metrics").status_code == 403


def test_driver_is_the_one_asked_for(place):
    wanted = "epoll" if place.driver == "epoll" else "io_uring"
    import conftest

    assert driver_of(place.gateway.metrics()) == (wanted if conftest.IO_URING else "epoll")


def test_seccomp_falls_back_to_epoll(fs_gateway):
    """Container runtimes answer EPERM to io_uring's system calls: the gateway must work all the same."""
    wrapper = [sys.executable, str(Path(__file__).parent / "harness" / "seccomp.py")]
    gateway = fs_gateway(wrapper=wrapper)
    assert driver_of(gateway.metrics()) == "epoll"
    s3, data = gateway.client(), blob(PART + 99)
    s3.create_bucket(Bucket="seccomp")
    s3.put_object(Bucket="seccomp", Key="a", Body=data)
    same(read(s3, "seccomp", "a"), data)
    multipart(s3, "seccomp", "parts", {1: data, 2: b"end"})
    same(read(s3, "seccomp", "parts"), data + b"end")
    assert len(listed(s3, "seccomp")) == 2
    assert "epoll" in gateway.log.read_text()


def test_seccomp_with_io_uring_demanded_is_a_clear_error(tmp_path):
    gateway = gw.Gateway(tmp_path / "g", gw.fs_backend(tmp_path), driver="io_uring", start=False)
    wrapper = [sys.executable, str(Path(__file__).parent / "harness" / "seccomp.py")]
    done = subprocess.run(
        [*wrapper, binary(), "serve", "--config", str(gateway.config)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert "io_uring" in done.stderr + done.stdout


# ---- stopping ------------------------------------------------------------------------------------


def slow_put(gateway, bucket, key, data, started: threading.Event, go: threading.Event):
    """Sends half of a PUT, waits for `go`, sends the rest."""
    wire = gateway.wire()
    with wire.connect(30) as connection:
        signed = wire.signed(connection, "PUT", f"/{bucket}/{key}", {"Content-Length": str(len(data))})
        connection.send(connection.head("PUT", f"/{bucket}/{key}", signed.headers) + data[: len(data) // 2])
        started.set()
        go.wait(20)
        connection.send(data[len(data) // 2 :])
        return connection.answer()


def test_sigterm_drains(fs_gateway):
    """An upload in flight ends well, nothing new is let in, the process ends with 0."""
    gateway = fs_gateway()
    s3, data = gateway.client(), blob(300_000)
    s3.create_bucket(Bucket="drain")
    idle = gateway.wire().connect()
    started, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(slow_put, gateway, "drain", "a", data, started, go)
        assert started.wait(10)
        time.sleep(0.3)
        gateway.daemon.signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", gateway.port), timeout=1).close()
            except ConnectionRefusedError:
                break
            except ConnectionResetError:
                pass  # It stood in the listener's queue as that closed; the next one is refused.
            time.sleep(0.05)
        else:
            pytest.fail("new connections are still accepted 5 s after SIGTERM")
        assert gateway.daemon.process.poll() is None, "the process ended before the upload did"
        assert idle.closed_by_peer(3), "an idle connection stays open while draining"
        go.set()
        assert upload.result(20).status == 200
    assert gateway.daemon.process.wait(10) == 0
    gateway.start()
    same(read(gateway.client(), "drain", "a"), data)


def test_readiness_ends_before_the_process(fs_gateway):
    """While draining, /readyz says no (or the port is closed), so that a balancer stops sending."""
    gateway = fs_gateway()
    gateway.client().create_bucket(Bucket="ready")
    started, go = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(slow_put, gateway, "ready", "a", blob(1000), started, go)
        started.wait(10)
        time.sleep(0.2)
        gateway.daemon.signal(signal.SIGTERM)
        time.sleep(0.5)
        try:
            assert requests.get(f"{gateway.admin}/readyz", timeout=2).status_code == 503
        except requests.ConnectionError:
            pass
        go.set()
        assert upload.result(20).status == 200
    assert gateway.daemon.process.wait(10) == 0


def test_second_sigterm_or_grace_ends_it(fs_gateway):
    """A client that never ends its upload cannot keep the process for ever."""
    gateway = fs_gateway()
    gateway.client().create_bucket(Bucket="stuck")
    wire = gateway.wire()
    with wire.connect() as connection:
        signed = wire.signed(connection, "PUT", "/stuck/a", {"Content-Length": "1000000"})
        connection.send(connection.head("PUT", "/stuck/a", signed.headers) + b"x" * 1000)
        time.sleep(0.2)
        gateway.daemon.signal(signal.SIGTERM)
        time.sleep(0.3)
        gateway.daemon.signal(signal.SIGTERM)
        gateway.daemon.process.wait(40)


@pytest.mark.timeout(180)
def test_kill_loses_no_acknowledged_object(fs_gateway):
    """kill -9 at any moment: every acknowledged object is there and whole, none is partial."""
    gateway = fs_gateway()
    gateway.client().create_bucket(Bucket="crash")
    acknowledged: dict[str, bytes] = {}
    overwritten: list[bytes] = [b""]
    lock = threading.Lock()

    def write(worker: int, rounds: threading.Event) -> None:
        s3, number = gateway.client(), 0
        while not rounds.is_set():
            number += 1
            key, data = f"{worker}/{len(acknowledged)}-{number}", blob(1000 + 7919 * (number % 40), (worker, number))
            try:
                s3.put_object(Bucket="crash", Key=key, Body=data)
            except Exception:
                return
            with lock:
                acknowledged[key] = data

    def overwrite(rounds: threading.Event) -> None:
        s3 = gateway.client()
        while not rounds.is_set():
            data = blob(60_000 + len(overwritten), "over")
            overwritten.append(data)
            try:
                s3.put_object(Bucket="crash", Key="over", Body=data)
            except Exception:
                return

    for round in range(4):
        rounds = threading.Event()
        with ThreadPoolExecutor(7) as pool:
            for worker in range(6):
                pool.submit(write, worker + 10 * round, rounds)
            pool.submit(overwrite, rounds)
            time.sleep(0.5 + 0.13 * round)
            gateway.kill()
            rounds.set()
        gateway.start()
        s3 = gateway.client()
        found = {o["Key"]: o["Size"] for o in listed(s3, "crash")}
        for key, data in acknowledged.items():
            assert found.get(key) == len(data), f"{key} is lost or of another size after kill {round}"
        for key in found:
            got = read(s3, "crash", key)
            if key == "over":
                assert got in overwritten
            elif key in acknowledged:
                same(got, acknowledged[key])
    assert len(acknowledged) > 40, "too few writes to say anything"


def test_kill_in_the_middle_of_an_upload_shows_nothing(fs_gateway, tmp_path):
    gateway = fs_gateway()
    s3 = gateway.client()
    s3.create_bucket(Bucket="half")
    wire = gateway.wire()
    with wire.connect() as connection:
        signed = wire.signed(connection, "PUT", "/half/a", {"Content-Length": str(4 * MIB)})
        connection.send(connection.head("PUT", "/half/a", signed.headers) + blob(3 * MIB))
        time.sleep(0.3)
        gateway.kill()
    gateway.start()
    assert not listed(s3, "half")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="half", Key="a")
    s3.delete_bucket(Bucket="half")
    left = [p for p in (tmp_path / "objects").rglob("*") if p.is_file() and p.stat().st_size > 100_000]
    assert not left, f"the crash left {left}"


def test_store_that_is_down_and_comes_back(tmp_path):
    """Errors while the store is away, with the right code; no restart needed afterwards."""
    weed = wd.Weed(tmp_path / "weed")
    gateway = gw.Gateway(tmp_path / "gateway", gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET))
    try:
        s3 = gateway.client()
        s3.create_bucket(Bucket="away")
        s3.put_object(Bucket="away", Key="a", Body=b"x" * 100_000)
        weed.daemon.signal(signal.SIGSTOP)
        weed.daemon.signal(signal.SIGCONT)
        assert read(s3, "away", "a") == b"x" * 100_000
        weed.daemon.kill()
        started = time.monotonic()
        for call in (
            lambda: s3.get_object(Bucket="away", Key="a"),
            lambda: s3.put_object(Bucket="away", Key="b", Body=b"y"),
        ):
            with pytest.raises(s3.exceptions.ClientError) as caught:
                call()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 502, 503, 504)
        assert time.monotonic() - started < 30
        assert gateway.daemon.process.poll() is None
    finally:
        gateway.stop()
        weed.daemon.kill()


# ---- TLS -----------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, authority=None):
    """Writes name.crt and name.key for 127.0.0.1 and localhost, signed by `authority` or by itself."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    issuer, signer = (subject, key) if authority is None else (authority[0].subject, authority[1])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path = folder / f"{name}.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    return made, key


def served_certificate(port: int, ca: Path) -> int:
    """The serial number of the certificate that the server shows."""
    import ssl

    from cryptography import x509

    context = ssl.create_default_context(cafile=str(ca))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number


@pytest.mark.parametrize("driver", ["auto", "epoll"])
def test_tls(fs_gateway, tmp_path, driver):
    ca = certificate(tmp_path, "ca")
    first, _ = certificate(tmp_path, "server", ca)
    listen = f"tls.cert = {gw.q(tmp_path / 'server.crt')}\ntls.key = {gw.q(tmp_path / 'server.key')}\n"
    gateway = fs_gateway(listen=listen, scheme="https", driver=driver)
    s3 = gateway.client(verify=str(tmp_path / "ca.crt"))
    s3.create_bucket(Bucket="tls-test")
    # Over TLS boto3 sends unsigned payloads with trailers.
    for size in (0, 1, CHUNK, PART + 1):
        data = blob(size)
        s3.put_object(Bucket="tls-test", Key=f"{size}", Body=data)
        same(read(s3, "tls-test", f"{size}"), data)
    multipart(s3, "tls-test", "parts", {1: blob(PART), 2: b"end"})
    same(read(s3, "tls-test", "parts"), blob(PART) + b"end")
    with ThreadPoolExecutor(16) as pool:
        for outcome in [pool.submit(read, s3, "tls-test", f"{PART + 1}") for _ in range(16)]:
            assert len(outcome.result()) == PART + 1
    # Plain HTTP on the TLS port does no harm.
    with S3Wire(f"http://127.0.0.1:{gateway.port}", gw.ACCESS, gw.SECRET).connect(5) as plain:
        plain.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            plain.answer()
        except (Cut, ValueError, IndexError, TimeoutError):
            pass
    # A new certificate takes effect by SIGHUP; an open connection lives on.
    with gateway.wire(ca=str(tmp_path / "ca.crt")).connect() as old:
        assert served_certificate(gateway.port, tmp_path / "ca.crt") == first.serial_number
        second, _ = certificate(tmp_path, "server", ca)
        gateway.reload()
        deadline = time.monotonic() + 10
        while served_certificate(gateway.port, tmp_path / "ca.crt") != second.serial_number:
            assert time.monotonic() < deadline, "the new certificate is not served 10 s after SIGHUP"
            time.sleep(0.1)
        wire = gateway.wire(ca=str(tmp_path / "ca.crt"))
        signed = wire.signed(old, "GET", "/tls-test/1")
        old.send(old.head("GET", "/tls-test/1", signed.headers))
        assert old.answer().body == blob(1)
    # A broken certificate is refused, and the good one stays.
    (tmp_path / "server.crt").write_text("broken")
    gateway.reload()
    time.sleep(0.5)
    assert served_certificate(gateway.port, tmp_path / "ca.crt") == second.serial_number


# ---- configuration -------------------------------------------------------------------------------


def check(path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([binary(), "check", "--config", str(path)], capture_output=True, text=True, timeout=20)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "objects").mkdir()
    return gw.Gateway(tmp_path / "g", gw.fs_backend(tmp_path / "objects"), start=False)


def test_check_accepts_a_good_file(config):
    done = check(config.config)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('driver = "auto"', 'driver = "fast"', ["driver", "fast", "epoll", "io_uring"]),
        ('driver = "auto"', 'drivr = "auto"', ["drivr"]),
        ('type = "fs"', 'type = "ftp"', ["ftp", "fs", "s3"]),
        ('provider = "file"', 'provider = "paper"', ["paper", "file"]),
        ('key = "main"', 'key = "mian"', ["mian"]),
        ("cores = 2", 'cores = "two"', ["cores"]),
        ('actions = ["*"]', 'actions = ["fly"]', ["fly"]),
        ("[backend]", "[backend", ["line"]),
        ('binding = "none"', 'binding = "loose"', ["loose", "none", "key"]),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_check_names_place_and_remedy(config, old, new, words):
    """The message has the file, the line, the key and what would be accepted."""
    assert old in config.text
    text = config.text.replace(old, new, 1)
    config.write_config(text)
    done = check(config.config)
    message = done.stderr + done.stdout
    assert done.returncode != 0, message
    line = text[: text.index(new)].count("\n") + 1
    assert "sealgate.toml" in message and re.search(rf"\b{line}\b", message), f"line {line} is not in:\n{message}"
    for word in words:
        assert word in message, f"{word!r} is not in:\n{message}"
    assert gw.SECRET not in message


def test_check_reports_all_errors_at_once(config):
    config.write_config(config.text.replace('driver = "auto"', 'driver = "x1"').replace('binding = "none"', 'binding = "x2"'))
    message = check(config.config).stderr
    assert "x1" in message and "x2" in message


def test_the_readmes_configuration_is_valid(config, tmp_path, monkeypatch):
    """With its paths made to exist."""
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    ca = certificate(tmp_path, "ca")
    certificate(tmp_path, "tls", ca)
    (tmp_path / "backup.secret").write_text("a-secret-of-some-length")
    (tmp_path / "backup.secret").chmod(0o600)
    keyring.create(tmp_path / "main.keys")
    monkeypatch.setenv("STORE_SECRET_KEY", "another-secret-of-some-length")
    config.write_config(example.replace("/etc/sealgate", str(tmp_path)))
    done = check(config.config)
    assert done.returncode == 0, done.stderr + done.stdout


def test_check_finds_missing_and_exposed_key_files(config):
    config.ring.chmod(0o644)
    done = check(config.config)
    assert done.returncode != 0 and str(config.ring) in done.stderr + done.stdout
    config.ring.unlink()
    done = check(config.config)
    assert done.returncode != 0 and str(config.ring) in done.stderr + done.stdout


def test_serve_refuses_what_check_refuses(config):
    config.write_config(config.text.replace('driver = "auto"', 'driver = "fast"'))
    done = subprocess.run(
        [binary(), "serve", "--config", str(config.config)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0 and "fast" in done.stderr + done.stdout


def test_port_in_use_is_a_clear_error(config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", config.port))
        taken.listen()
        done = subprocess.run(
            [binary(), "serve", "--config", str(config.config)], capture_output=True, text=True, timeout=20
        )
    assert done.returncode != 0 and str(config.port) in done.stderr + done.stdout


def test_missing_config_file(tmp_path):
    done = check(tmp_path / "nothing.toml")
    assert done.returncode != 0 and "nothing.toml" in done.stderr + done.stdout


def test_reload_of_credentials(fs_gateway):
    """SIGHUP takes a new configuration without a restart; a broken one is refused and the old one stays."""
    gateway = fs_gateway()
    gateway.client().create_bucket(Bucket="reload")
    new = gateway.client("LATER", "later-secret-key")
    with pytest.raises(new.exceptions.ClientError):
        new.list_buckets()
    later = '\n[[credentials]]\naccess_key = "LATER"\nsecret_key = "later-secret-key"\nallow = [{ bucket = "*", actions = ["*"] }]\n'
    gateway.write_config(gateway.text + later)
    gateway.reload()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert new.list_buckets()["Buckets"][0]["Name"] == "reload"
            break
        except new.exceptions.ClientError:
            assert time.monotonic() < deadline, "the new credential does not work 10 s after SIGHUP"
            time.sleep(0.1)
    gateway.write_config("broken [")
    gateway.reload()
    time.sleep(0.5)
    assert new.list_buckets()["Buckets"] and gateway.client().list_buckets()["Buckets"]


def test_dev_needs_no_configuration(tmp_path):
    """`sealgate dev` in an empty folder: a store, a key file of mode 0600, credentials, and how to use them."""
    from harness.daemon import Daemon

    port, admin = free_port(), free_port()
    argv = [binary(), "dev"]
    text = subprocess.run([binary(), "dev", "--help"], capture_output=True, text=True).stdout
    for option, value in (("--listen", f"127.0.0.1:{port}"), ("--admin", f"127.0.0.1:{admin}")):
        assert option in text, f"`sealgate dev` has no {option}:\n{text}"
        argv += [option, value]
    daemon = Daemon(argv, tmp_path / "dev.log", cwd=tmp_path)
    try:
        daemon.wait_ready(f"http://127.0.0.1:{admin}/readyz", 20)
        shown = daemon.tail()
        access = re.search(r"AWS_ACCESS_KEY_ID=(\S+)", shown)
        secret = re.search(r"AWS_SECRET_ACCESS_KEY=(\S+)", shown)
        assert access and secret and f"127.0.0.1:{port}" in shown, shown
        s3 = wd.client(f"http://127.0.0.1:{port}", access.group(1), secret.group(1))
        s3.create_bucket(Bucket="first-bucket")
        s3.put_object(Bucket="first-bucket", Key="hello", Body=b"hello, newcomer, this is your text")
        assert read(s3, "first-bucket", "hello") == b"hello, newcomer, this is your text"
        files = [p for p in tmp_path.rglob("*") if p.is_file() and p != tmp_path / "dev.log"]
        assert files and not [p for p in files if b"newcomer" in p.read_bytes()]
        rings = [p for p in files if b"sealgate-keyring" in p.read_bytes()]
        assert rings and all(p.stat().st_mode & 0o777 == 0o600 for p in rings)
    finally:
        assert daemon.stop() == 0
    # A second start finds the same keys and credentials.
    daemon = Daemon(argv, tmp_path / "dev.log", cwd=tmp_path)
    try:
        daemon.wait_ready(f"http://127.0.0.1:{admin}/readyz", 20)
        assert read(s3, "first-bucket", "hello") == b"hello, newcomer, this is your text"
    finally:
        daemon.stop()


def test_version_and_help():
    for argument in ("--version", "--help"):
        done = subprocess.run([binary(), argument], capture_output=True, text=True, timeout=10)
        assert done.returncode == 0 and "sealgate" in done.stdout.lower()


# ---- size and memory -----------------------------------------------------------------------------


def stream_put(wire: S3Wire, target: str, size: int, pattern: bytes) -> None:
    with wire.connect(300) as connection:
        signed = wire.signed(connection, "PUT", target, {"Content-Length": str(size)})
        connection.send(connection.head("PUT", target, signed.headers))
        left = size
        while left:
            step = min(left, len(pattern))
            connection.send(pattern[:step])
            left -= step
        answer = connection.answer()
        assert answer.status == 200, answer


def stream_get(wire: S3Wire, target: str, size: int, pattern: bytes) -> None:
    with wire.connect(300) as connection:
        signed = wire.signed(connection, "GET", target)
        connection.send(connection.head("GET", target, signed.headers))
        status, headers = connection.read_head()
        assert status == 200 and int(headers["content-length"]) == size
        left = size
        while left:
            step = min(left, len(pattern))
            assert connection._exactly(step) == pattern[:step]
            left -= step


def check_memory(place, bucket, prefix, clients, size):
    pattern = blob(4 * MIB, "memory")
    peak, done = [place.gateway.rss_bytes()], threading.Event()

    def watch():
        while not done.wait(0.05):
            peak.append(place.gateway.rss_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for work in (stream_put, stream_get):
            with ThreadPoolExecutor(clients) as pool:
                runs = [pool.submit(work, place.wire(), f"/{bucket}/{prefix}{n}", size, pattern) for n in range(clients)]
                for outcome in runs:
                    outcome.result()
    finally:
        done.set()
        watcher.join()
        for n in range(clients):
            place.s3.delete_object(Bucket=bucket, Key=f"{prefix}{n}")
    bound = 64 * MIB + clients * 2.25 * MIB
    assert max(peak) < bound, f"{max(peak) / MIB:.0f} MiB of resident memory, more than {bound / MIB:.0f} MiB"


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_objects(place, bucket, prefix):
    """32 MiB objects in and out by 24 clients at once; the full measure is the huge test and the bench."""
    check_memory(place, bucket, prefix, 24, 32 * MIB)


@pytest.mark.huge
@pytest.mark.timeout(3600)
def test_memory_with_sixty_four_gibibytes(place, bucket, prefix):
    """64 uploads of 1 GiB at once, then 64 downloads."""
    check_memory(place, bucket, prefix, 64, 1024 * MIB)


def multipart_stream(place, bucket, key, parts, part_size):
    """A large object by parts of pseudo-random bytes, read back in ranges and once whole."""
    s3, at = place.s3, {"Bucket": bucket, "Key": key}
    upload = s3.create_multipart_upload(**at)["UploadId"]

    def send(number):
        data = blob(part_size, number % 7)
        return {
            "PartNumber": number,
            "ETag": s3.upload_part(**at, UploadId=upload, PartNumber=number, Body=data)["ETag"],
        }

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(send, range(1, parts + 1)))
    s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": done})
    assert s3.head_object(**at)["ContentLength"] == parts * part_size
    body = s3.get_object(**at)["Body"]
    for number in range(1, parts + 1):
        same(body.read(part_size), blob(part_size, number % 7))
    assert body.read(1) == b""
    s3.delete_object(**at)


@pytest.mark.timeout(300)
def test_large_multipart_object(place, bucket, prefix):
    """300 MiB; the 20 GiB one is the same with the marker `huge`."""
    multipart_stream(place, bucket, f"{prefix}large", 30, 10 * MIB)


@pytest.mark.huge
@pytest.mark.timeout(7200)
def test_twenty_gibibytes(place, bucket, prefix):
    multipart_stream(place, bucket, f"{prefix}huge", 320, 64 * MIB)
