"""The audit log: each use of a key leaves its line, and no loss is silent (docs/audit-log.md)."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from harness import ROOT, binary, gateway as gw
from harness.data import PART, blob
from harness.expect import multipart, read

pytestmark = pytest.mark.gateway

OBJECT_EVENTS = ("dek_wrap", "dek_unwrap")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def numbers(found: list[dict]) -> int:
    """The lines of each run are numbered without a gap, losses counted; returns how many were lost."""
    following: dict[str, int] = {}
    lost = 0
    for line in found:
        assert line["seq"] == following.get(line["run"], 1), line
        following[line["run"]] = line["seq"] + line.get("count", 1)
        lost += line.get("count", 0)
    return lost


def settled(path: Path, enough, seconds: float = 5.0) -> list[dict]:
    """The lines, once they are what is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        found = lines(path)
        if enough(found):
            return found
        assert time.monotonic() < deadline, found[-5:]
        time.sleep(0.05)


def metric(gateway, name: str) -> int:
    return int(re.search(rf"^{name} (\d+)$", gateway.metrics(), re.M)[1])


@pytest.fixture
def audited(fs_gateway, tmp_path):
    """A gateway with an audit file, and the file."""
    path = tmp_path / "audit.log"
    return fs_gateway(more=f"[log]\naudit = {gw.q(path)}\n"), path


def test_each_operation_leaves_its_lines(audited):
    gateway, path = audited
    s3 = gateway.client()
    s3.create_bucket(Bucket="audit")
    s3.create_bucket(Bucket="clear-audit")

    def done(action) -> list[tuple]:
        before = len([x for x in lines(path) if x["event"] in OBJECT_EVENTS])
        action()
        time.sleep(0.4)
        events = [x for x in lines(path) if x["event"] in OBJECT_EVENTS][before:]
        for event in events:
            assert event["access_key"] == gw.ACCESS and re.fullmatch(r"[0-9A-Z]{8,}", event["request_id"]), event
            assert event["key"] == "main" and event["key_version"] == "1" and len(event["kek"]) == 16, event
        return [(e["event"], e["operation"], e["bucket"], e["object"], e["outcome"]) for e in events]

    put = lambda key, body=b"body", bucket="audit": s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert done(lambda: put("a")) == [("dek_wrap", "PutObject", "audit", "a", "ok")]
    assert done(lambda: read(s3, "audit", "a")) == [("dek_unwrap", "GetObject", "audit", "a", "ok")]
    assert done(lambda: s3.head_object(Bucket="audit", Key="a")) == [("dek_unwrap", "HeadObject", "audit", "a", "ok")]
    assert done(lambda: s3.copy_object(Bucket="audit", Key="b", CopySource="audit/a")) == [
        ("dek_unwrap", "CopyObject", "audit", "a", "ok"),
        ("dek_wrap", "CopyObject", "audit", "b", "ok"),
    ]
    # Into a bucket that is not sealed, and back: the bytes go through the gateway.
    assert done(lambda: s3.copy_object(Bucket="clear-audit", Key="c", CopySource="audit/a")) == [
        ("dek_unwrap", "CopyObject", "audit", "a", "ok")
    ]
    assert done(lambda: s3.copy_object(Bucket="audit", Key="d", CopySource="clear-audit/c")) == [
        ("dek_wrap", "CopyObject", "audit", "d", "ok")
    ]
    assert done(lambda: put("plain", bucket="clear-audit")) == [], "nothing is sealed there"
    assert done(lambda: s3.list_objects_v2(Bucket="audit")) == [], "a listing opens no object"
    assert done(lambda: s3.delete_object(Bucket="audit", Key="d")) == [], "nor does a deletion"
    parts = done(lambda: multipart(s3, "audit", "parts", {1: blob(PART), 2: b"end"}))
    assert [(e, o) for e, o, *_ in parts] == [
        ("dek_wrap", "CreateMultipartUpload"),
        ("dek_unwrap", "UploadPart"),
        ("dek_unwrap", "UploadPart"),
        ("dek_unwrap", "CompleteMultipartUpload"),
    ], "an upload id holds the data key, sealed"
    assert all(p[2:] == ("audit", "parts", "ok") for p in parts)
    odd = 'line\nbreak "quote" ключ'
    assert done(lambda: put(odd)) == [("dek_wrap", "PutObject", "audit", odd, "ok")]

    # An object that was moved by the store does not open, and the attempt is on record.
    root = Path(re.search(r'path = "([^"]+objects)"', gateway.text)[1])
    stored = next(p for p in (root / "audit").rglob("a.o"))
    stored.with_name("moved.o").write_bytes(stored.read_bytes())

    def refused():
        with pytest.raises(ClientError):
            read(s3, "audit", "moved")

    moved = done(refused)
    assert moved and set(moved) == {("dek_unwrap", "GetObject", "audit", "moved", "tampered")}

    with pytest.raises(ClientError):
        read(s3, "audit", "not there")
    gateway.stop()
    found = lines(path)
    assert numbers(found) == 0
    assert found[0]["event"] == "start" and found[-1]["event"] == "end"
    assert all(line["level"] == "audit" and line["run"] == found[0]["run"] for line in found)
    assert path.stat().st_mode & 0o777 == 0o600


def test_keys_of_the_service_are_on_record_with_their_provider(audited):
    gateway, path = audited
    s3 = gateway.client()
    s3.create_bucket(Bucket="audit")
    s3.put_object(Bucket="audit", Key="a", Body=b"x")
    # A fresh process has no KEK and has to unwrap it.
    gateway.restart()
    assert read(s3, "audit", "a") == b"x"
    found = settled(path, lambda all: any(x["event"] == "kek_unwrap" for x in all))
    made = [x for x in found if x["event"] == "kek_generate"]
    unwrapped = [x for x in found if x["event"] == "kek_unwrap"]
    assert made and unwrapped
    for line in made + unwrapped:
        assert line["outcome"] == "ok" and line["key"] == "main" and line["key_version"] == "1", line
        assert "request_id" not in line and "object" not in line, line
    asked = [x for x in made + unwrapped if x["source"] not in ("cache", "offline_grace")]
    assert asked and all(x["source"] == "file" and x["endpoint"] == "local" and x["duration_us"] >= 0 for x in asked)
    wrap = next(x for x in found if x["event"] == "dek_wrap")
    assert wrap["kek"] in {x["kek"] for x in made}, "the object's line names the KEK of the key's line"
    assert wrap["kek"] in {x["kek"] for x in unwrapped}


def test_rotation_loses_and_repeats_nothing(audited, tmp_path):
    gateway, path = audited
    s3 = gateway.client()
    s3.create_bucket(Bucket="audit")
    files, stop = [path], threading.Event()

    def rotate():
        for n in range(5):
            time.sleep(0.3)
            old = tmp_path / f"audit.log.{n}"
            path.rename(old)
            gateway.reload()
            files.insert(-1, old)
        stop.set()

    thread = threading.Thread(target=rotate)
    thread.start()
    written = []

    def write(worker):
        n = 0
        while not stop.is_set():
            s3.put_object(Bucket="audit", Key=f"{worker}-{n}", Body=b"x")
            written.append(f"{worker}-{n}")
            n += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    thread.join()
    gateway.stop()
    found = [line for file in files for line in lines(file)]
    assert all(f.exists() for f in files) and len(files) == 6
    assert numbers(found) == 0
    recorded = [x["object"] for x in found if x["event"] == "dek_wrap"]
    assert sorted(recorded) == sorted(written) and len(written) > 50


def blocked_stdout(gateway, overflow: str) -> int:
    """Starts the gateway with the audit log on a pipe that nobody reads; returns the pipe's reading end."""
    gateway.write_config(gateway.text + f'[log]\naccess = "off"\naudit = "stdout"\naudit_on_overflow = "{overflow}"\n')
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = open(gateway.log, "ab")
    argv = [binary(), "serve", "--config", str(gateway.config)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=writer, stderr=log, cwd=gateway.folder)
    os.close(writer)
    log.close()
    gateway.process = process
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            gateway.metrics()
            return reader
        except OSError:
            assert process.poll() is None, gateway.log.read_text()
            time.sleep(0.05)
    raise AssertionError("not ready")


def fill(gateway, s3, until) -> int:
    """Opens one object over and over, until there is reason to stop; returns how often it was refused."""
    target = urlsplit(s3.generate_presigned_url("head_object", Params={"Bucket": "audit", "Key": "a"}))
    request = f"HEAD {target.path}?{target.query} HTTP/1.1\r\nhost: {target.netloc}\r\n\r\n".encode()
    refused, batch = 0, 256
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as wire:
        for _ in range(400):
            wire.sendall(request * batch)
            answers = b""
            while answers.count(b"\r\n\r\n") < batch:
                more = wire.recv(1 << 16)
                assert more, answers[-500:]
                answers += more
            good, bad = answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 503 ")
            assert good + bad == batch, answers[:500]
            refused += bad
            if until():
                return refused
    raise AssertionError("the queue did not fill")


@pytest.mark.parametrize("overflow", ["drop", "fail"])
def test_a_blocked_pipe_loses_nothing_silently(tmp_path, overflow):
    """Nobody reads the log: the queue fills. Then somebody does, and the lines account for everything."""
    root = tmp_path / "objects"
    root.mkdir()
    gateway = gw.Gateway(tmp_path / "blocked", gw.fs_backend(root), start=False)
    reader = blocked_stdout(gateway, overflow)
    pipe = os.fdopen(reader, "rb")
    try:
        s3 = gateway.client()
        s3.create_bucket(Bucket="audit")
        s3.put_object(Bucket="audit", Key="a", Body=b"x")
        refused = fill(gateway, s3, lambda: metric(gateway, "sealgate_audit_lost_total") > 0)
        lost = metric(gateway, "sealgate_audit_lost_total")
        assert (refused > 0) == (overflow == "fail")
        # Everything else goes on.
        assert s3.list_objects_v2(Bucket="audit")["KeyCount"] == 1
        found = []
        thread = threading.Thread(target=lambda: found.extend(json.loads(line) for line in pipe))
        thread.start()
        deadline = time.monotonic() + 30
        while metric(gateway, "sealgate_audit_written_total") < 16_384 and time.monotonic() < deadline:
            time.sleep(0.1)
        s3.head_object(Bucket="audit", Key="a")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
        thread.join(20)
        assert numbers(found) == lost, "the log says itself what it lacks"
        assert found[-1]["event"] == "end"
        assert [x["event"] for x in found].count("lost") >= 1
        last = [x for x in found if x["event"] == "dek_unwrap"][-1]
        assert last["seq"] > next(x["seq"] for x in found if x["event"] == "lost"), "it goes on after a loss"
    finally:
        if gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait(10)
        pipe.close()


def test_an_audit_file_that_cannot_be_opened_is_a_clear_error(tmp_path):
    gateway = gw.Gateway(
        tmp_path / "g", gw.fs_backend(tmp_path), more='[log]\naudit = "/nowhere/audit.log"\n', start=False
    )
    argv = [binary(), "serve", "--config", str(gateway.config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "the audit log /nowhere/audit.log: " in done.stderr, done


def test_the_documentation_names_every_field(audited):
    gateway, path = audited
    s3 = gateway.client()
    s3.create_bucket(Bucket="audit")
    s3.put_object(Bucket="audit", Key="a", Body=b"x")
    gateway.restart()
    read(s3, "audit", "a")
    gateway.stop()
    page = (ROOT / "docs/audit-log.md").read_text()
    for line in lines(path):
        assert f"`{line['event']}`" in page, line
        for field in line:
            assert f"| `{field}` |" in page, field
