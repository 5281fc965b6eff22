"""`sealgate rewrap`, `sealgate keys` and `sealgate key rotate`: key rotation from end to end."""

import json
import random
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import binary, gateway as gw, keyring
from harness.data import CHUNK, MIB, PART, blob
from harness.expect import listed, multipart, read, same

pytestmark = pytest.mark.gateway

SECOND = '[keys.second]\nprovider = "file"\npath = {path}\n'
HEADERS = {
    "ContentType": "text/x-kept",
    "CacheControl": "max-age=7",
    "ContentDisposition": 'attachment; filename="x"',
    "ContentEncoding": "x-own",
    "ContentLanguage": "gsw",
    "Metadata": {"color": "grün%20".encode().hex(), "number": "7"},
}


def sealgate(*argv, ok=True):
    """Runs the program; its answer as JSON where it is such, and what it said beside that as `said`."""
    done = subprocess.run([binary(), *map(str, argv)], capture_output=True, text=True, timeout=110)
    assert (done.returncode == 0) == ok, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    try:
        answer = json.loads(done.stdout)
        return {**answer, "said": done.stderr} if isinstance(answer, dict) else answer
    except json.JSONDecodeError:
        return done.stdout + done.stderr


def rewrap(gateway, bucket, *more, ok=True):
    return sealgate("rewrap", "--config", gateway.config, "--bucket", bucket, "--json", *more, ok=ok)


def in_use(gateway, bucket, *more):
    """Objects by key and version, and everything opens."""
    report = sealgate("keys", "verify", "--config", gateway.config, "--bucket", bucket, "--json", *more)
    assert report["failed"] == 0 and report["finished"]
    return {(u["key"], u["version"]): u["objects"] for u in report["in_use"]}


def forget_version_one(ring):
    """Takes the first version out of a ring: what still needs it does not open any more."""
    text = ring.read_text()
    without = re.sub(r"\[\[version\]\]\nid = 1\n.*?(?=\[\[version\]\])", "", text, flags=re.S)
    assert without != text
    ring.write_text(without)


class Site:
    """A gateway with a ring of its own and a second key, and a bucket of this test's own."""

    def __init__(self, place, gateways, tmp_path, bucket, **options):
        self.ring, self.second = tmp_path / "main.ring", tmp_path / "second.ring"
        keyring.create(self.second)
        self.start = lambda **more: gateways(**{"ring": self.ring, **options, **more})
        self.gateway = self.start(more=SECOND.format(path=gw.q(self.second)))
        self.s3 = self.gateway.client()
        self.bucket = bucket
        self.s3.create_bucket(Bucket=bucket)
        self.methods = {"copy"} if place.store == "fs" else {"put"}

    def restart(self, change):
        """With another configuration."""
        self.gateway.stop()
        text = change(self.gateway.text)
        assert text != self.gateway.text
        self.gateway.text = text
        self.gateway.write_config(text)
        self.gateway.start()


_serial = iter(range(10**6))


def remove(s3, bucket):
    """Gives a bucket's room back: SeaweedFS sets whole volumes aside for each. What is locked stays."""
    for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    page = s3.list_object_versions(Bucket=bucket)
    for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
        s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    s3.delete_bucket(Bucket=bucket)


@pytest.fixture
def make_site(place, gateways, tmp_path):
    made = []

    def make(bucket):
        made.append(Site(place, gateways, tmp_path, bucket))
        return made[-1]

    yield make
    if place.store != "fs":
        for site in made:
            remove(place.weed.client(), site.bucket)


@pytest.fixture
def site(make_site):
    return make_site(f"rewrap-{next(_serial)}")


def fill(s3, bucket):
    """Objects of every layout; their bytes by key."""
    objects = {
        "empty": b"",
        "one byte": b"1",
        "deep/er/ü+%.txt": blob(1000, "deep"),
        "chunk": blob(CHUNK, "chunk"),
        "chunks": blob(7 * CHUNK + 3, "chunks"),
        "megabytes": blob(3 * MIB + 11, "megabytes"),
    }
    for key, data in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data, **HEADERS)
    pieces = {1: blob(PART, 1), 2: blob(PART + 9, 2), 3: b"end"}
    multipart(s3, bucket, "parts", pieces, **HEADERS)
    objects["parts"] = b"".join(pieces.values())
    return objects


def check_all(s3, bucket, objects):
    """Bytes, sizes, ranges, headers and metadata are what they were; the ETags by key."""
    assert {o["Key"]: o["Size"] for o in listed(s3, bucket)} == {k: len(d) for k, d in objects.items()}
    etags = {o["Key"]: o["ETag"] for o in listed(s3, bucket)}
    for key, data in objects.items():
        got = s3.get_object(Bucket=bucket, Key=key)
        same(got["Body"].read(), data)
        for name, value in HEADERS.items():
            assert got[name] == value, (key, name)
        assert got["ETag"] == etags[key]
        if len(data) > 10:
            middle = len(data) // 2
            same(read(s3, bucket, key, Range=f"bytes={middle}-{middle + 9}"), data[middle : middle + 10])
    return etags


def test_rewrap_after_rotation(site):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    objects = fill(s3, bucket)
    etags = check_all(s3, bucket, objects)
    assert in_use(gateway, bucket) == {("main", "1"): len(objects)}
    sealgate("key", "rotate", site.ring)
    gateway.reload()
    # Both versions are read; what is written now is under the new one.
    deadline = time.monotonic() + 5
    while True:
        s3.put_object(Bucket=bucket, Key="new", Body=b"new", **HEADERS)
        if in_use(gateway, bucket) == {("main", "1"): len(objects), ("main", "2"): 1}:
            break
        assert time.monotonic() < deadline
    objects["new"] = b"new"
    check_all(s3, bucket, objects)

    before = rewrap(gateway, bucket, "--dry-run")
    assert (before["examined"], before["rewrapped"], before["already_new"]) == (8, 7, 1)
    assert in_use(gateway, bucket)[("main", "1")] == 7

    report = rewrap(gateway, bucket)
    assert report["finished"] and report["method"] in site.methods
    assert (report["examined"], report["rewrapped"], report["already_new"]) == (8, 7, 1)
    assert not report["failed"] and not report["skipped"] and not report["problems"]
    stored = sum(len(objects[k]) for k in objects if k != "new")
    assert stored < report["bytes_moved" if report["method"] == "put" else "bytes_not_moved"] < stored + 100_000
    assert 0 == report["bytes_not_moved" if report["method"] == "put" else "bytes_moved"]
    # The newest version, a new KEK, and each old KEK once (few: the gateway's cores made them); health checks besides.
    assert 3 <= report["key_calls"] <= 14
    assert in_use(gateway, bucket) == {("main", "2"): 8}

    forget_version_one(site.ring)
    gateway.restart()
    now = check_all(s3, bucket, objects)
    changed = [k for k in etags if etags[k] != now[k]]
    assert len(changed) == report["etags_changed"]

    again = rewrap(gateway, bucket)
    assert (again["examined"], again["rewrapped"], again["already_new"]) == (8, 0, 8)
    assert again["key_calls"] < report["key_calls"]


@pytest.mark.parametrize("policy", ["plainmeta", "bound", "unbound"])
def test_rewrap_keeps_the_binding_and_the_form_of_metadata(place, make_site, policy):
    site = make_site(f"{policy}-rewrap{next(_serial)}")
    objects = fill(site.s3, site.bucket)
    sealgate("key", "rotate", site.ring)
    assert rewrap(site.gateway, site.bucket)["rewrapped"] == len(objects)
    forget_version_one(site.ring)
    site.gateway.restart()
    check_all(site.s3, site.bucket, objects)
    stored = place.raw().get(site.bucket, "chunk").metadata
    assert ("color" in stored) == (policy == "plainmeta")


def test_rewrap_to_another_key_and_remove_the_old(site):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    objects = fill(s3, bucket)
    report = rewrap(gateway, bucket, "--to", "second")
    assert report["rewrapped"] == len(objects)
    assert "still seals new objects" in report["notes"][0]
    assert in_use(gateway, bucket) == {("second", "1"): len(objects)}
    site.ring.rename(site.ring.with_suffix(".gone"))

    def only_second(text):
        text = re.sub(r'\[keys.main\]\nprovider = "file"\npath = [^\n]*\n', "", text)
        return text.replace('key = "main"', 'key = "second"')

    site.restart(only_second)
    check_all(s3, bucket, objects)
    assert rewrap(gateway, bucket)["already_new"] == len(objects)


def test_keep_keks(site):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    objects = fill(s3, bucket)
    verify = ("keys", "verify", "--config", gateway.config, "--bucket", bucket, "--json")
    keks = sealgate(*verify)["in_use"][0]["keks"]
    sealgate("key", "rotate", site.ring)
    assert rewrap(gateway, bucket, "--keep-keks")["rewrapped"] == len(objects)
    (use,) = sealgate(*verify)["in_use"]
    assert (use["version"], use["objects"], use["keks"]) == ("2", len(objects), keks)
    refused = rewrap(gateway, bucket, "--keep-keks", "--to", "second", ok=False)
    assert refused["failed"] == {"other_key": len(objects)} and refused["rewrapped"] == 0
    forget_version_one(site.ring)
    gateway.restart()
    check_all(s3, bucket, objects)


def test_only_the_prefix(site):
    objects = fill(site.s3, site.bucket)
    report = rewrap(site.gateway, site.bucket, "--to", "second", "--prefix", "chunk")
    assert (report["examined"], report["rewrapped"]) == (2, 2)
    assert in_use(site.gateway, site.bucket) == {("main", "1"): len(objects) - 2, ("second", "1"): 2}


def test_tampered_objects_are_reported_and_left_as_they_are(site, place):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    objects = {f"object{n}": blob(100, n) for n in range(6)}
    for key, data in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"a": "b"})
    raw = place.raw()

    def change(key, alter):
        stored = raw.get(bucket, key)
        alter(stored)
        raw.put(bucket, key, stored)
        return raw.get(bucket, key)

    def flip(name):
        def alter(stored):
            value = stored.metadata[name]
            stored.metadata[name] = value[:-9] + ("A" if value[-9] != "A" else "B") + value[-8:]

        return alter

    left = {
        "object0": change("object0", flip("sealgate")),
        "object1": change("object1", flip("sealgate-m")),
        "object2": change("object2", lambda o: setattr(o, "body", o.body + b"x")),
        # One object's envelope on another.
        "object3": change("object3", lambda o: o.metadata.update(raw.get(bucket, "object4").metadata)),
    }
    raw.put(bucket, "stranger", type(left["object0"])(b"not sealed", {}, {"ContentType": "a/b"}))
    report = rewrap(gateway, bucket, "--to", "second", ok=False)
    assert report["failed"] == {"tampered": 4} and report["skipped"] == {"not_sealed": 1}
    assert report["rewrapped"] == 2 and report["finished"]
    assert sorted(p["key"] for p in report["problems"]) == sorted(left)
    for key, stored in left.items():
        assert raw.get(bucket, key) == stored
    for key in ("object4", "object5"):
        assert read(s3, bucket, key) == objects[key]
    found = sealgate("keys", "verify", "--config", gateway.config, "--bucket", bucket, "--json", ok=False)
    assert found["failed"] == 4 and found["not_sealed"] == 1
    assert sorted(p["key"] for p in found["problems"]) == sorted(left)


def start_rewrap(gateway, bucket, *more):
    argv = [binary(), "rewrap", "--config", str(gateway.config), "--bucket", bucket, "--json", *map(str, more)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", ["kill", "term", "int"])
def test_interrupted_and_resumed(site, tmp_path, end):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    count, state = 120, tmp_path / "state"
    keys = [f"k{n:03d}" for n in range(count)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda k: s3.put_object(Bucket=bucket, Key=k, Body=k.encode()), keys))
    options = ("--to", "second", "--state", state)
    running = start_rewrap(gateway, bucket, *options, "--rate", 40)
    deadline = time.monotonic() + 20
    while not (state.exists() and json.loads(state.read_text())["after"]):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    running.send_signal({"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}[end])
    out, err = running.communicate(timeout=20)
    saved = json.loads(state.read_text())
    done = in_use(gateway, bucket).get(("second", "1"), 0)
    assert 0 < done < count and saved["report"]["examined"] <= done
    assert saved["after"] == keys[saved["report"]["examined"] - 1]
    if end == "kill":
        assert running.returncode == -signal.SIGKILL
    else:
        # Ended between two objects, and nothing that was done is forgotten.
        assert running.returncode == 1 and "interrupted" in err
        assert saved["report"]["examined"] == done == json.loads(out)["examined"]
    other = rewrap(gateway, bucket, "--to", "main", "--state", state, ok=False)
    assert "another run (--to differs)" in other
    report = rewrap(gateway, bucket, *options)
    assert report["finished"] and report["examined"] == count and not state.exists()
    # What was done after the last save was found done.
    assert report["rewrapped"] + report["already_new"] == count
    assert report["already_new"] == done - saved["report"]["examined"]
    assert in_use(gateway, bucket) == {("second", "1"): count}
    for key in keys:
        assert read(s3, bucket, key) == key.encode()


def test_the_rate_is_kept(site):
    for n in range(30):
        site.s3.put_object(Bucket=site.bucket, Key=f"k{n}", Body=b"x")
    start = time.monotonic()
    assert rewrap(site.gateway, site.bucket, "--to", "second", "--rate", 15)["rewrapped"] == 30
    assert 1.8 < time.monotonic() - start < 15


@pytest.mark.timeout(240)
def test_no_write_is_lost_while_objects_are_rewrapped(site):
    """64 clients overwrite, and each reads what it wrote last, whatever rewrap does to its object meanwhile."""
    gateway, bucket = site.gateway, site.bucket
    s3 = gateway.client(config={"max_pool_connections": 80})
    ended, wrong, writes = threading.Event(), [], []

    def client(number):
        key, chance, turn = f"k{number:02d}", random.Random(number), 0
        while not ended.is_set():
            turn += 1
            data = b"%d-%d " % (number, turn) * chance.randrange(1, 3000)
            s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"turn": str(turn)})
            for _ in range(2):
                time.sleep(chance.random() * 0.2)
                got = s3.get_object(Bucket=bucket, Key=key)
                if got["Body"].read() != data or got["Metadata"] != {"turn": str(turn)}:
                    wrong.append((key, turn, got["Metadata"]))
            writes.append(number)

    reports = []
    with ThreadPoolExecutor(64) as pool:
        clients = [pool.submit(client, n) for n in range(64)]
        try:
            time.sleep(1)
            # Clients write under `main`: there is always something to do.
            for round_ in range(8):
                reports.append(rewrap(gateway, bucket, "--to", "second", "--concurrency", 32))
        finally:
            ended.set()
        for done in clients:
            done.result()
    assert not wrong, wrong[:5]
    assert all(r["finished"] for r in reports)
    done = {n: sum(r[n] for r in reports) for n in ("examined", "rewrapped", "already_new", "overtaken")}
    print(f"{len(writes)} writes; {done}")
    assert done["examined"] == 8 * 64 and done["rewrapped"] > 100 and len(set(writes)) == 64
    last = rewrap(gateway, bucket, "--to", "second")
    assert last["finished"] and in_use(gateway, bucket) == {("second", "1"): 64}


def test_a_store_that_keeps_no_conditions_in_versioned_buckets_needs_a_promise(site, place):
    if place.store == "fs":
        site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"x")
        assert rewrap(site.gateway, site.bucket, "--to", "second")["rewrapped"] == 1
        return
    place.weed.client().put_bucket_versioning(Bucket=site.bucket, VersioningConfiguration={"Status": "Enabled"})
    site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"x")
    refused = rewrap(site.gateway, site.bucket, "--to", "second", ok=False)
    assert refused["rewrapped"] == 0 and not refused["finished"] and "--no-writers" in refused["said"]
    assert in_use(site.gateway, site.bucket) == {("main", "1"): 1}


@pytest.fixture
def weed_site(place, make_site):
    """Over the S3 store: a directory has no versions, locks, tags or limits on copies."""
    if place.store == "fs":
        pytest.skip("a directory has no versions, locks, tags, nor a limit on copies")
    return make_site(f"rewrap-{next(_serial)}")


def test_ranges_of_large_objects_and_copies(weed_site):
    """Above the limit of one copy the store copies ranges; below, the object onto itself. Nothing moves."""
    gateway, s3, bucket = weed_site.gateway, weed_site.s3, weed_site.bucket
    objects = fill(s3, bucket)
    objects["large"] = blob(23 * MIB + 5, "large")
    s3.put_object(Bucket=bucket, Key="large", Body=objects["large"], **HEADERS)
    etags = check_all(s3, bucket, objects)
    report = rewrap(gateway, bucket, "--to", "second", "--no-writers", "--max-copy", 6 * MIB)
    assert (report["method"], report["bytes_moved"], report["by_ranges"]) == ("copy", 0, 2)
    assert report["rewrapped"] == len(objects)
    now = check_all(s3, bucket, objects)
    assert [k for k in etags if etags[k] != now[k]] == ["large", "parts"] and report["etags_changed"] == 2
    assert now["large"].endswith('-4"')
    assert in_use(gateway, bucket) == {("second", "1"): len(objects)}
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")


@pytest.mark.parametrize("how", [["--method", "put"], ["--no-writers"], ["--no-writers", "--max-copy", str(6 * MIB)]])
def test_tags_and_storage_class_stay(weed_site, place, how):
    s3, bucket, store = weed_site.s3, weed_site.bucket, place.weed.client()
    data = blob(7 * MIB, "tags")
    s3.put_object(Bucket=bucket, Key="k", Body=data, Tagging="a=1%2F2&b=c%20d", StorageClass="STANDARD_IA")
    tags = store.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert len(tags) == 2
    before = store.head_object(Bucket=bucket, Key="k").get("StorageClass")
    assert rewrap(weed_site.gateway, bucket, "--to", "second", *how)["rewrapped"] == 1
    by_key = lambda t: t["Key"]
    assert sorted(store.get_object_tagging(Bucket=bucket, Key="k")["TagSet"], key=by_key) == sorted(tags, key=by_key)
    assert store.head_object(Bucket=bucket, Key="k").get("StorageClass") == before
    same(read(s3, bucket, "k"), data)


def test_versions_stay_as_they_are_and_are_counted(weed_site, place):
    gateway, s3, bucket = weed_site.gateway, weed_site.s3, weed_site.bucket
    store = place.weed.client()
    store.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for turn in range(12):
        s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % turn)
    s3.put_object(Bucket=bucket, Key="gone", Body=b"deleted")
    store.delete_object(Bucket=bucket, Key="gone")
    report = rewrap(gateway, bucket, "--to", "second", "--no-writers")
    assert (report["examined"], report["rewrapped"], report["versioned"]) == (1, 1, True)
    # Twelve of `k`, the deleted one.
    assert report["older_versions"] == 13
    assert read(s3, bucket, "k") == b"11"
    assert in_use(gateway, bucket) == {("second", "1"): 1}
    for concurrency in ("1", "5"):
        found = in_use(gateway, bucket, "--versions", "--concurrency", concurrency)
        assert found == {("main", "1"): 13, ("second", "1"): 1}


def test_object_lock_is_reported_or_kept(place, make_site):
    if place.store == "fs":
        pytest.skip("a directory has no object lock")
    site = make_site(f"rewrap-{next(_serial)}")
    bucket, store = f"locked-{next(_serial)}", place.weed.client()
    store.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    until = time.gmtime(time.time() + 86400)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", until)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    site.s3.put_object(Bucket=bucket, Key="retained", Body=b"retained", **lock)
    site.s3.put_object(Bucket=bucket, Key="held", Body=b"held", ObjectLockLegalHoldStatus="ON")
    site.s3.put_object(Bucket=bucket, Key="free", Body=b"free")
    report = rewrap(site.gateway, bucket, "--to", "second", "--no-writers")
    assert report["rewrapped"] == 1 and report["skipped"] == {"locked": 2}
    assert sorted(p["key"] for p in report["problems"]) == ["held", "retained"]
    assert in_use(site.gateway, bucket) == {("main", "1"): 2, ("second", "1"): 1}
    report = rewrap(site.gateway, bucket, "--to", "second", "--no-writers", "--copy-locked")
    assert report["rewrapped"] == 2 and report["already_new"] == 1
    retained = store.head_object(Bucket=bucket, Key="retained")
    assert retained["ObjectLockMode"] == "GOVERNANCE"
    assert retained["ObjectLockRetainUntilDate"].strftime("%Y-%m-%dT%H:%M:%SZ") == until
    assert store.get_object_legal_hold(Bucket=bucket, Key="held")["LegalHold"]["Status"] == "ON"
    for key in ("retained", "held", "free"):
        assert read(site.s3, bucket, key) == key.encode()


def test_staged_parts_and_unfinished_uploads_are_left_alone(site):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    upload = s3.create_multipart_upload(Bucket=bucket, Key="up")["UploadId"]
    at = {"Bucket": bucket, "Key": "up", "UploadId": upload}
    etag = s3.upload_part(**at, PartNumber=1, Body=b"small")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    report = rewrap(gateway, bucket, "--to", "second")
    assert report["rewrapped"] == 1 and set(report["skipped"]) <= {"staged"}
    assert report["unfinished_uploads"] == 1
    s3.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert read(s3, bucket, "up") == b"small"
    assert in_use(gateway, bucket) == {("main", "1"): 1, ("second", "1"): 1}


def test_keys_status(site):
    gateway = site.gateway
    main, second = sealgate("keys", "status", "--config", gateway.config, "--json")
    assert (main["key"], main["seals"], second["key"], second["seals"]) == ("main", True, "second", False)
    (endpoint,) = main["endpoints"]
    assert endpoint["provider"] == "file" and endpoint["newest_version"] == "1"
    assert endpoint["wraps"] and endpoint["unwraps"] and not endpoint["troubles"]
    text = sealgate("keys", "status", "--config", gateway.config)
    assert "main: seals new objects" in text and "wraps yes, unwraps yes" in text


def test_an_object_whose_key_is_gone_fails_verification(site):
    gateway, s3, bucket = site.gateway, site.s3, site.bucket
    s3.put_object(Bucket=bucket, Key="old", Body=b"old")
    sealgate("key", "rotate", site.ring)
    forget_version_one(site.ring)
    report = sealgate("keys", "verify", "--config", gateway.config, "--bucket", bucket, "--json", ok=False)
    assert report["failed"] == 1 and report["in_use"][0]["failed"] == 1
    assert "version \"1\"" in report["problems"][0]["reason"]
    report = rewrap(gateway, bucket, ok=False)
    assert report["failed"] == {"denied": 1} and report["finished"]


def test_rotation_in_two_steps(site):
    ring = site.ring
    sealgate("key", "rotate", "--add-only", ring)
    status = lambda: sealgate("keys", "status", "--config", site.gateway.config, "--json")[0]["endpoints"][0]
    assert status()["newest_version"] == "1"
    sealgate("key", "use", ring, 2)
    assert status()["newest_version"] == "2"
    assert "there is no version 9" in sealgate("key", "use", ring, 9, ok=False)
    assert ring.stat().st_mode & 0o777 == 0o600


def test_no_use_of_a_key_goes_unrecorded(site, tmp_path):
    """The report is on the standard output, so the audit log cannot be."""
    gateway, bucket = site.gateway, site.bucket
    site.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    config = tmp_path / "audited.toml"
    config.touch(0o600)
    config.write_text(gateway.text + '[log]\naudit = "stdout"\n')
    for argv in (["rewrap", "--to", "second"], ["keys", "verify"]):
        argv = [*argv, "--config", config, "--bucket", bucket]
        assert "--audit FILE" in sealgate(*argv, ok=False)
        log = tmp_path / f"{argv[0]}.log"
        sealgate(*argv, "--audit", log)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        used = [(x["event"], x["operation"]) for x in lines if x.get("object") == "k"]
        assert used == {
            "rewrap": [("dek_unwrap", "Rewrap"), ("dek_wrap", "Rewrap")],
            "keys": [("dek_unwrap", "Verify")],
        }[argv[0]]
        assert lines[-1]["event"] == "end"


def test_wrong_arguments_are_explained(site):
    gateway, bucket = site.gateway, site.bucket
    assert "second" in rewrap(gateway, bucket, "--to", "nowhere", ok=False)
    assert "no [[buckets]] rule" in rewrap(gateway, "clear-bucket", ok=False)
    assert "no-such-bucket" in rewrap(gateway, "no-such-bucket", ok=False)["said"]
