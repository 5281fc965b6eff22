"""Command-line tools that copy files: s5cmd, rclone, s3cmd, mc."""

import hashlib
import json
import re
import subprocess
import time
from urllib.parse import urlsplit

import requests
from harness import tool

from ..cases import NO_PROGRAM_MOUNT, ODD_KEYS, PART, Caveat, Target, Tool, blob, check, equal, same

LARGE = 12 << 20


def fetch(url: str, expected: bytes) -> None:
    answer = requests.get(url, timeout=30)
    check(answer.ok, answer.text)
    same(answer.content, expected)


def tree(t: Target, keys: list[str]) -> dict[str, bytes]:
    files = {key: blob(size) for size, key in enumerate(keys, 10)}
    for key, data in files.items():
        t.file(f"tree/{key}", data)
    return files


def back(t: Target, folder: str, files: dict[str, bytes]) -> None:
    root = t.folder / folder
    found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    equal(sorted(found), sorted(files))
    for name, data in files.items():
        same(found[name], data)


def said(program: str, *args: str) -> str:
    return subprocess.run([program, *args], capture_output=True, text=True, check=True).stdout


def unfinished(t: Target, key: str) -> None:
    """An upload that somebody left."""
    upload = t.s3.create_multipart_upload(Bucket=t.bucket, Key=key)["UploadId"]
    t.s3.upload_part(Bucket=t.bucket, Key=key, UploadId=upload, PartNumber=1, Body=blob(PART))


def gone(t: Target, key: str) -> None:
    left = t.s3.list_multipart_uploads(Bucket=t.bucket).get("Uploads", [])
    check(key not in [u["Key"] for u in left], "the aborted upload is still there")


class Copier(Tool):
    """Most cases of a tool that has `cp`, in terms of `send`, `fetch` and `remote`."""

    def prepare(self, install) -> None:
        self.program = tool(self.name)

    def cli(self, t: Target, *args: object, **options) -> str:
        raise NotImplementedError

    def remote(self, t: Target, key: str = "") -> str:
        return f"s3://{t.bucket}/{key}"

    def round_trip(self, t: Target, key: str, size: int) -> None:
        t.file("in", blob(size, "put"))
        self.cli(t, *self.copy_command, "in", self.remote(t, key))
        same(t.read(key), blob(size, "put"))
        (t.folder / "out").unlink(missing_ok=True)
        self.cli(t, *self.fetch_command, self.remote(t, key), "out")
        same((t.folder / "out").read_bytes(), blob(size, "put"))

    copy_command = fetch_command = ("cp",)

    def put_small(self, t: Target) -> None:
        self.round_trip(t, "put/small", 1000)

    def put_empty(self, t: Target) -> None:
        self.round_trip(t, "put/empty", 0)

    def put_large(self, t: Target) -> None:
        self.round_trip(t, "put/large", LARGE)

    def get(self, t: Target) -> None:
        t.put("get", blob(100_000))
        (t.folder / "out").unlink(missing_ok=True)
        self.cli(t, *self.fetch_command, self.remote(t, "get"), "out")
        same((t.folder / "out").read_bytes(), blob(100_000))
        self.missing(t)

    def missing(self, t: Target) -> None:
        self.cli(t, *self.fetch_command, self.remote(t, "get-nothing"), "out2", ok=False)


class S5cmd(Copier):
    name = title = "s5cmd"
    absent = {
        **NO_PROGRAM_MOUNT,
        "abort": "cannot give up an upload of others",
        "copy-multipart": "copies with CopyObject only",
        "tagging": "no tags",
        "presign-put": "presigns GET only",
        "conditional": "`--no-clobber` looks first; no conditional requests",
        "checksums": "no checksum options",
    }

    def version(self) -> str:
        return said(self.program, "version").split("-")[0].strip().removeprefix("v")

    def cli(self, t: Target, *args: object, **options) -> str:
        return t.run([self.program, "--endpoint-url", t.endpoint, *args], **options)

    def bucket(self, t: Target) -> None:
        self.cli(t, "mb", f"s3://{t.bucket}-new")
        check(f"{t.bucket}-new" in self.cli(t, "ls"), "the new bucket is not listed")
        self.cli(t, "rb", f"s3://{t.bucket}-new")
        check(f"{t.bucket}-new" not in self.cli(t, "ls"), "the deleted bucket is listed")

    def multipart(self, t: Target) -> None:
        t.file("in", blob(LARGE, "m"))
        self.cli(t, "cp", "--part-size", 5, "--concurrency", 3, "in", self.remote(t, "multipart"))
        check("-" in t.s3.head_object(Bucket=t.bucket, Key="multipart")["ETag"], "was not multipart")
        same(t.read("multipart"), blob(LARGE, "m"))

    def ranges(self, t: Target) -> None:
        # It reads in concurrent ranges of a part's size.
        t.put("ranges", blob(LARGE + 1))
        self.cli(t, "cp", "--part-size", 5, "--concurrency", 3, self.remote(t, "ranges"), "out")
        same((t.folder / "out").read_bytes(), blob(LARGE + 1))

    def head(self, t: Target) -> None:
        etag = t.put("head", blob(70_000))["ETag"]
        head = json.loads(self.cli(t, "head", self.remote(t, "head")))
        equal((head["size"], head["etag"]), (70_000, etag.strip('"')))
        self.cli(t, "head", self.remote(t, "head-nothing"), ok=False)

    def list(self, t: Target) -> None:
        # `?` and `*` are its wildcards.
        files = tree(t, [k for k in ODD_KEYS if "?" not in k])
        self.cli(t, "sync", "tree/", self.remote(t))
        found = [json.loads(line) for line in self.cli(t, "--json", "ls", self.remote(t, "odd/*")).splitlines()]
        equal({f["key"].split("/", 3)[3]: f["size"] for f in found if f["type"] == "file"}, {k: len(d) for k, d in files.items()})
        self.cli(t, "cp", self.remote(t, "odd/*"), "back/odd/")
        back(t, "back", files)
        equal(self.cli(t, "sync", "--size-only", "tree/", self.remote(t)), "", "a second sync")

    def copy(self, t: Target) -> None:
        # It sends the source's name as it is, so one with a space is not found on any store.
        t.put("copy-source", blob(50_000), Metadata={"colour": "blue"}, ContentType="text/x-copy")
        # Unless told, it replaces the metadata of a copy.
        self.cli(t, "cp", "--metadata-directive", "COPY", self.remote(t, "copy-source"), self.remote(t, "copied"))
        same(t.read("copied"), blob(50_000))
        head = t.s3.head_object(Bucket=t.bucket, Key="copied")
        equal((head["ContentType"], head["Metadata"]), ("text/x-copy", {"colour": "blue"}))
        self.cli(t, "mv", self.remote(t, "copied"), self.remote(t, "moved"))
        equal(t.keys("copied"), [])

    def delete_many(self, t: Target) -> None:
        for n in range(10):
            t.put(f"many/{n}", b"x")
        self.cli(t, "rm", self.remote(t, "many/*"))
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        t.file("in", b"x")
        options = ["--metadata", "colour=blue", "--metadata", "a-longer-name=with spaces", "--content-type", "text/x-test"]
        self.cli(t, "cp", *options, "--cache-control", "max-age=60", "in", self.remote(t, "metadata"))
        head = t.s3.head_object(Bucket=t.bucket, Key="metadata")
        equal(head["Metadata"], {"colour": "blue", "a-longer-name": "with spaces"})
        equal((head["ContentType"], head["CacheControl"]), ("text/x-test", "max-age=60"))

    def presign_get(self, t: Target) -> None:
        t.put("presign get", blob(2000))
        fetch(self.cli(t, "presign", self.remote(t, "presign get")).strip(), blob(2000))

    def versioning(self, t: Target) -> None:
        url = f"s3://{t.bucket}-versions"
        self.cli(t, "mb", url)
        self.cli(t, "bucket-version", "--set", "Enabled", url)
        for n in (1, 2):
            t.file("in", blob(20_000 + n))
            self.cli(t, "cp", "in", f"{url}/v")
        found = [line.split() for line in self.cli(t, "ls", "--all-versions", f"{url}/v").splitlines()]
        equal(sorted(line[2] for line in found), ["20001", "20002"])
        old = next(line[4] for line in found if line[2] == "20001")
        self.cli(t, "cp", "--version-id", old, f"{url}/v", "out")
        same((t.folder / "out").read_bytes(), blob(20_001))
        self.cli(t, "rm", f"{url}/v")
        self.cli(t, "rm", "--all-versions", f"{url}/*")
        self.cli(t, "rb", url)


class Rclone(Copier):
    name = title = "rclone"
    copy_command = fetch_command = ("copyto",)
    absent = {
        **NO_PROGRAM_MOUNT,
        "mount": "the row `rclone mount`",
        "presign-put": "`rclone link` makes GET URLs only",
        "conditional": "compares before it copies; no conditional requests",
    }

    def version(self) -> str:
        return said(self.program, "version").split()[1].removeprefix("v")

    @staticmethod
    def environment(t: Target) -> dict[str, str]:
        config = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": t.endpoint,
            "ACCESS_KEY_ID": t.access,
            "SECRET_ACCESS_KEY": t.secret,
            "REGION": "us-east-1",
            "FORCE_PATH_STYLE": "true",
        }
        env = {f"RCLONE_CONFIG_GATE_{name}": value for name, value in config.items()}
        # Small parts, so that parts are there; one try, so that nothing is hidden.
        return {**env, "RCLONE_S3_UPLOAD_CUTOFF": "5Mi", "RCLONE_S3_CHUNK_SIZE": "5Mi", "RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "1"}

    def cli(self, t: Target, *args: object, **options) -> str:
        return t.run([self.program, "-q", *args], **options, **self.environment(t))

    def remote(self, t: Target, key: str = "") -> str:
        return f"gate:{t.bucket}/{key}"

    def missing(self, t: Target) -> None:
        # To it, a name that holds nothing is an empty folder.
        self.cli(t, "copyto", self.remote(t, "get-nothing"), "out2")
        check(not (t.folder / "out2").exists(), "a file came from nothing")

    def bucket(self, t: Target) -> None:
        self.cli(t, "mkdir", f"gate:{t.bucket}-new")
        check(f"{t.bucket}-new/" in self.cli(t, "lsf", "gate:").split(), "the new bucket is not listed")
        self.cli(t, "rmdir", f"gate:{t.bucket}-new")
        check(f"{t.bucket}-new/" not in self.cli(t, "lsf", "gate:").split(), "the deleted bucket is listed")

    def multipart(self, t: Target) -> None:
        # From a pipe, where it knows no size.
        self.cli(t, "rcat", self.remote(t, "multipart"), stdin=blob(LARGE, "m"))
        check("-" in t.s3.head_object(Bucket=t.bucket, Key="multipart")["ETag"], "was not multipart")
        same(t.read("multipart"), blob(LARGE, "m"))

    def abort(self, t: Target) -> None:
        unfinished(t, "abort")
        time.sleep(1.1)
        self.cli(t, "backend", "cleanup", "-o", "max-age=1s", self.remote(t).rstrip("/"))
        gone(t, "abort")

    def ranges(self, t: Target) -> None:
        data = blob(40_000)
        t.put("ranges", data)
        for options, piece in (
            (["--count", 10], data[:10]),
            (["--offset", 16380, "--count", 11], data[16380:16391]),
            (["--offset", -5], data[-5:]),
        ):
            same(self.cli(t, "cat", *options, self.remote(t, "ranges"), binary=True), piece)

    def head(self, t: Target) -> None:
        t.put("head", blob(70_000))
        equal(json.loads(self.cli(t, "lsjson", "--stat", self.remote(t, "head")))["Size"], 70_000)
        check(json.loads(self.cli(t, "lsjson", "--stat", self.remote(t, "head-nothing")))["IsDir"], "something is there")

    def list(self, t: Target) -> None:
        files = tree(t, ODD_KEYS)
        self.cli(t, "sync", "tree", self.remote(t, "tree"))
        found = json.loads(self.cli(t, "lsjson", "-R", "--files-only", "--s3-list-chunk", 2, self.remote(t, "tree")))
        equal({f["Path"]: f["Size"] for f in found}, {k: len(d) for k, d in files.items()})
        self.cli(t, "check", "--download", "tree", self.remote(t, "tree"))
        equal(sorted(self.cli(t, "lsf", "--dirs-only", self.remote(t, "tree/odd")).split()), ["sub/", "ü/"])
        again = t.run([self.program, "sync", "-v", "tree", self.remote(t, "tree")], **self.environment(t))
        check("Copied" not in again, f"a second sync copies: {again}")

    def copy(self, t: Target) -> None:
        t.put("copy source", blob(50_000), Metadata={"colour": "blue"}, ContentType="text/x-copy")
        self.cli(t, "copyto", "--server-side-across-configs", self.remote(t, "copy source"), self.remote(t, "copied"))
        same(t.read("copied"), blob(50_000))
        head = t.s3.head_object(Bucket=t.bucket, Key="copied")
        equal((head["ContentType"], head["Metadata"].get("colour")), ("text/x-copy", "blue"))
        self.cli(t, "moveto", self.remote(t, "copied"), self.remote(t, "moved"))
        equal(t.keys("copied"), [])

    def copy_multipart(self, t: Target) -> None:
        t.put("copy parts", blob(LARGE, "parts"))
        self.cli(t, "copyto", "--s3-copy-cutoff", "5Mi", self.remote(t, "copy parts"), self.remote(t, "copied parts"))
        same(t.read("copied parts"), blob(LARGE, "parts"))

    def delete_many(self, t: Target) -> None:
        for n in range(10):
            t.put(f"many/{n}", b"x")
        self.cli(t, "delete", self.remote(t, "many"))
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        t.file("in", b"x")
        options = ["--metadata", "--metadata-set", "colour=blue", "--metadata-set", "content-type=text/x-test"]
        self.cli(t, "copyto", *options, "--header-upload", "Cache-Control: max-age=60", "in", self.remote(t, "metadata"))
        head = t.s3.head_object(Bucket=t.bucket, Key="metadata")
        equal((head["Metadata"].get("colour"), head["ContentType"], head["CacheControl"]), ("blue", "text/x-test", "max-age=60"))
        info = json.loads(self.cli(t, "lsjson", "--metadata", "--stat", self.remote(t, "metadata")))
        equal(info["Metadata"]["colour"], "blue")

    def tagging(self, t: Target) -> None:
        t.file("in", b"x")
        self.cli(t, "copyto", "--header-upload", "x-amz-tagging: team=blue", "in", self.remote(t, "tagging"))
        equal(t.s3.get_object_tagging(Bucket=t.bucket, Key="tagging")["TagSet"], [{"Key": "team", "Value": "blue"}])

    def presign_get(self, t: Target) -> None:
        t.put("presign get", blob(2000))
        fetch(self.cli(t, "link", "--expire", "1m", self.remote(t, "presign get")).strip(), blob(2000))

    def checksums(self, t: Target) -> None:
        t.file("sums/small", blob(30_000))
        t.file("sums/large", blob(LARGE))
        self.cli(t, "copy", "sums", self.remote(t, "sums"))
        self.cli(t, "check", "--download", "sums", self.remote(t, "sums"))
        # Of what it uploads in parts it keeps the MD5 in metadata; else it would take the ETag, which is none here.
        equal(self.cli(t, "hashsum", "md5", self.remote(t, "sums/large")).split()[0], hashlib.md5(blob(LARGE)).hexdigest())
        if not self.cli(t, "hashsum", "md5", self.remote(t, "sums/small")).startswith(hashlib.md5(blob(30_000)).hexdigest()):
            raise Caveat("ETags are no MD5 sums, so `rclone check` compares sizes of whole uploads; `--download` compares bytes")

    def versioning(self, t: Target) -> None:
        remote = f"gate:{t.bucket}-versions"
        self.cli(t, "mkdir", remote)
        # Not quietly: it says what was refused in a notice.
        t.run([self.program, "backend", "versioning", remote, "Enabled"], **self.environment(t))
        for n in (1, 2):
            t.file("in", blob(20_000 + n))
            self.cli(t, "copyto", "in", f"{remote}/v")
            # Its names of versions hold milliseconds; some stores keep seconds.
            time.sleep(1.1)
        found = json.loads(self.cli(t, "lsjson", "--s3-versions", remote))
        equal(sorted(f["Size"] for f in found), [20_001, 20_002])
        old = next(f["Name"] for f in found if f["Size"] == 20_001)
        same(self.cli(t, "cat", "--s3-versions", f"{remote}/{old}", binary=True), blob(20_001))
        self.cli(t, "deletefile", f"{remote}/v")
        equal(json.loads(self.cli(t, "lsjson", remote)), [])
        # (No rmdir after it: versitygw may keep one of several versions that are deleted at once.)
        self.cli(t, "backend", "cleanup-hidden", remote)


class S3cmd(Copier):
    name = title = "s3cmd"
    copy_command, fetch_command = ("put",), ("get", "--force")
    absent = {
        **NO_PROGRAM_MOUNT,
        "copy-multipart": "above 5 GiB only",
        "ranges": "reads whole objects, or continues a file",
        "presign-put": "`signurl` makes GET URLs only",
        "conditional": "no conditional requests",
        "versioning": "switches versioning on, cannot name a version",
    }

    def version(self) -> str:
        return said(self.program, "--version").split()[-1]

    def cli(self, t: Target, *args: object, **options) -> str:
        host = urlsplit(t.endpoint).netloc
        config = f"[default]\naccess_key = {t.access}\nsecret_key = {t.secret}\nhost_base = {host}\nhost_bucket = {host}\nuse_https = False\nmultipart_chunk_size_mb = 5\nmax_retries = 1\n"
        t.file(".s3cfg", config.encode())
        return t.run([self.program, "--no-progress", *args], **options)

    def bucket(self, t: Target) -> None:
        self.cli(t, "mb", f"s3://{t.bucket}-new")
        check(f"{t.bucket}-new" in self.cli(t, "ls"), "the new bucket is not listed")
        self.cli(t, "rb", f"s3://{t.bucket}-new")
        check(f"{t.bucket}-new" not in self.cli(t, "ls"), "the deleted bucket is listed")

    def multipart(self, t: Target) -> None:
        self.round_trip(t, "multipart", LARGE)
        check("-" in t.s3.head_object(Bucket=t.bucket, Key="multipart")["ETag"], "was not multipart")

    def abort(self, t: Target) -> None:
        unfinished(t, "abort")
        lines = [line.split("\t") for line in self.cli(t, "multipart", f"s3://{t.bucket}").splitlines()]
        uploads = [line[2] for line in lines if len(line) == 3 and line[1].endswith("/abort")]
        equal(len(uploads), 1, "uploads listed")
        self.cli(t, "abortmp", self.remote(t, "abort"), uploads[0])
        gone(t, "abort")

    def head(self, t: Target) -> None:
        t.put("head", blob(70_000))
        check(re.search(r"File size:\s+70000\b", self.cli(t, "info", self.remote(t, "head"))), "not the plaintext size")
        self.cli(t, "info", self.remote(t, "head-nothing"), ok=False)

    def list(self, t: Target) -> None:
        files = tree(t, ODD_KEYS)
        self.cli(t, "sync", "tree/", self.remote(t))
        lines = self.cli(t, "ls", "--recursive", self.remote(t, "odd/")).splitlines()
        found = {line.split("s3://", 1)[1].split("/", 1)[1]: int(line.split()[2]) for line in lines}
        equal(found, {k: len(d) for k, d in files.items()})
        (t.folder / "back").mkdir(exist_ok=True)
        self.cli(t, "sync", self.remote(t, "odd"), "back/")
        back(t, "back", files)
        # It compares MD5 sums: from its own metadata where the ETag is none.
        again = self.cli(t, "sync", "--no-check-md5", "tree/", self.remote(t))
        check("upload" not in again, f"a second sync sends: {again}")

    def copy(self, t: Target) -> None:
        t.put("copy source", blob(50_000), Metadata={"colour": "blue"}, ContentType="text/x-copy")
        self.cli(t, "cp", self.remote(t, "copy source"), self.remote(t, "copied"))
        same(t.read("copied"), blob(50_000))
        head = t.s3.head_object(Bucket=t.bucket, Key="copied")
        equal((head["ContentType"], head["Metadata"]), ("text/x-copy", {"colour": "blue"}))
        self.cli(t, "mv", self.remote(t, "copied"), self.remote(t, "moved"))
        equal(t.keys("copied"), [])

    def delete_many(self, t: Target) -> None:
        for n in range(10):
            t.put(f"many/{n}", b"x")
        self.cli(t, "del", "--recursive", "--force", self.remote(t, "many/"))
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        t.file("in", b"x")
        options = ["--add-header", "x-amz-meta-colour: blue", "--add-header", "Cache-Control: max-age=60", "--mime-type", "text/x-test"]
        self.cli(t, "put", *options, "in", self.remote(t, "metadata"))
        head = t.s3.head_object(Bucket=t.bucket, Key="metadata")
        equal((head["Metadata"]["colour"], head["ContentType"], head["CacheControl"]), ("blue", "text/x-test", "max-age=60"))
        self.cli(t, "modify", "--add-header", "x-amz-meta-size: large", self.remote(t, "metadata"))
        head = t.s3.head_object(Bucket=t.bucket, Key="metadata")
        equal((head["Metadata"]["colour"], head["Metadata"]["size"]), ("blue", "large"))

    def tagging(self, t: Target) -> None:
        t.put("tagging", b"x")
        self.cli(t, "settagging", self.remote(t, "tagging"), "team=blue")
        check("blue" in self.cli(t, "gettagging", self.remote(t, "tagging")), "the tag is not given back")
        self.cli(t, "deltagging", self.remote(t, "tagging"))
        equal(t.s3.get_object_tagging(Bucket=t.bucket, Key="tagging")["TagSet"], [])

    def presign_get(self, t: Target) -> None:
        t.put("presign-get", blob(2000))
        url = self.cli(t, "signurl", self.remote(t, "presign-get"), "+60").strip()
        if "AWSAccessKeyId=" in url:
            answer = requests.get(url, timeout=30)
            check(not answer.ok, "a version 2 signature is accepted, though no credential allows it")
            raise Caveat("`s3cmd signurl` makes version 2 signatures, which are refused unless the credential allows them")
        fetch(url, blob(2000))

    def checksums(self, t: Target) -> None:
        # It sends Content-MD5 and compares after a read.
        t.file("in", blob(30_000))
        self.cli(t, "put", "in", self.remote(t, "checksums"))
        self.cli(t, "get", "--force", self.remote(t, "checksums"), "out")
        same((t.folder / "out").read_bytes(), blob(30_000))
        self.cli(t, "put", "--add-header", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", "in", self.remote(t, "checksums2"), ok=False)
        equal(t.keys("checksums2"), [])


class Mc(Copier):
    name = title = "mc"
    release = "v0.0.0-20250313080218-cf909e1063a9"
    absent = {**NO_PROGRAM_MOUNT, "copy-multipart": "above 5 GiB only", "conditional": "no conditional requests"}

    def prepare(self, install) -> None:
        self.program = install.go("mc", "github.com/minio/mc", self.release)

    def version(self) -> str:
        return self.release

    def cli(self, t: Target, *args: object, **options) -> str:
        host = urlsplit(t.endpoint).netloc
        config = {"MC_HOST_gate": f"http://{t.access}:{t.secret}@{host}", "MC_CONFIG_DIR": str(t.folder / ".mc")}
        return t.run([self.program, "--quiet", "--no-color", "--disable-pager", *args], **options, **config)

    def json(self, t: Target, *args: object, **options) -> list[dict]:
        return [json.loads(line) for line in self.cli(t, "--json", *args, **options).splitlines() if line.startswith("{")]

    def remote(self, t: Target, key: str = "") -> str:
        return f"gate/{t.bucket}/{key}"

    def bucket(self, t: Target) -> None:
        self.cli(t, "mb", f"gate/{t.bucket}-new")
        check(f"{t.bucket}-new/" in self.cli(t, "ls", "gate"), "the new bucket is not listed")
        self.cli(t, "rb", f"gate/{t.bucket}-new")
        check(f"{t.bucket}-new/" not in self.cli(t, "ls", "gate"), "the deleted bucket is listed")

    def multipart(self, t: Target) -> None:
        # Its parts are 16 MiB.
        data = blob(17 << 20, "m")
        t.file("in", data)
        self.cli(t, "cp", "in", self.remote(t, "multipart"))
        check("-" in t.s3.head_object(Bucket=t.bucket, Key="multipart")["ETag"], "was not multipart")
        same(t.read("multipart"), data)

    def abort(self, t: Target) -> None:
        unfinished(t, "abort")
        self.cli(t, "rm", "--incomplete", "--recursive", "--force", f"gate/{t.bucket}/")
        gone(t, "abort")

    def ranges(self, t: Target) -> None:
        data = blob(40_000)
        t.put("ranges", data)
        same(self.cli(t, "cat", "--offset", 16380, self.remote(t, "ranges"), binary=True), data[16380:])
        same(self.cli(t, "cat", "--tail", 5, self.remote(t, "ranges"), binary=True), data[-5:])

    def head(self, t: Target) -> None:
        etag = t.put("head", blob(70_000))["ETag"]
        stat = self.json(t, "stat", self.remote(t, "head"))[0]
        equal((stat["size"], stat["etag"]), (70_000, etag.strip('"')))
        self.cli(t, "stat", self.remote(t, "head-nothing"), ok=False)

    def list(self, t: Target) -> None:
        files = tree(t, ODD_KEYS)
        self.cli(t, "mirror", "tree", self.remote(t, "tree"))
        found = {f["key"]: f["size"] for f in self.json(t, "ls", "--recursive", self.remote(t, "tree/"))}
        equal(found, {k: len(d) for k, d in files.items()})
        self.cli(t, "mirror", self.remote(t, "tree"), "back")
        back(t, "back", files)
        again = self.json(t, "mirror", "tree", self.remote(t, "tree"))
        check(all(line.get("totalCount", 0) == line.get("total", 0) == 0 for line in again), f"a second mirror sends: {again}")

    def copy(self, t: Target) -> None:
        t.put("copy source", blob(50_000), Metadata={"colour": "blue"}, ContentType="text/x-copy")
        self.cli(t, "cp", self.remote(t, "copy source"), self.remote(t, "copied"))
        same(t.read("copied"), blob(50_000))
        head = t.s3.head_object(Bucket=t.bucket, Key="copied")
        equal((head["ContentType"], head["Metadata"].get("colour")), ("text/x-copy", "blue"))
        self.cli(t, "mv", self.remote(t, "copied"), self.remote(t, "moved"))
        equal(t.keys("copied"), [])

    def delete_many(self, t: Target) -> None:
        for n in range(10):
            t.put(f"many/{n}", b"x")
        self.cli(t, "rm", "--recursive", "--force", self.remote(t, "many/"))
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        t.file("in", b"x")
        attributes = "Cache-Control=max-age=60;Content-Type=text/x-test;colour=blue"
        self.cli(t, "cp", "--attr", attributes, "in", self.remote(t, "metadata"))
        head = t.s3.head_object(Bucket=t.bucket, Key="metadata")
        equal((head["Metadata"].get("colour"), head["ContentType"], head["CacheControl"]), ("blue", "text/x-test", "max-age=60"))
        stat = self.json(t, "stat", self.remote(t, "metadata"))[0]["metadata"]
        equal({k.lower(): v for k, v in stat.items()}.get("x-amz-meta-colour"), "blue")

    def tagging(self, t: Target) -> None:
        t.file("in", b"x")
        self.cli(t, "cp", "--tags", "team=blue&cost=low", "in", self.remote(t, "tagging"))
        equal(self.json(t, "tag", "list", self.remote(t, "tagging"))[0]["tagset"], {"team": "blue", "cost": "low"})
        self.cli(t, "tag", "set", self.remote(t, "tagging"), "only=one")
        equal(self.json(t, "tag", "list", self.remote(t, "tagging"))[0]["tagset"], {"only": "one"})
        self.cli(t, "tag", "remove", self.remote(t, "tagging"))
        equal(t.s3.get_object_tagging(Bucket=t.bucket, Key="tagging")["TagSet"], [])

    def presign_get(self, t: Target) -> None:
        t.put("presign get", blob(2000))
        fetch(self.json(t, "share", "download", "--expire", "1m", self.remote(t, "presign get"))[0]["share"], blob(2000))

    def presign_put(self, t: Target) -> None:
        # Its shared uploads are POST forms.
        shared = self.json(t, "share", "upload", "--expire", "1m", self.remote(t, "presign put"))[0]["share"]
        url = shared.split()[1]
        fields = dict(re.findall(r"-F ([^=]+)=(\S+)", shared))
        fields.pop("file", None)
        fields["key"] = "presign put"
        answer = requests.post(url, data=fields, files={"file": blob(2000)}, timeout=30)
        check(answer.ok, f"{answer.status_code} {answer.text}")
        same(t.read("presign put"), blob(2000))

    def checksums(self, t: Target) -> None:
        t.file("in", blob(30_000))
        for name in ("CRC32C", "SHA256", "CRC64NVME"):
            self.cli(t, "cp", "--checksum", name, "in", self.remote(t, "checksums"))
            head = t.s3.head_object(Bucket=t.bucket, Key="checksums", ChecksumMode="ENABLED")
            check(head.get(f"Checksum{name}"), f"{name} is not given back")

    def versioning(self, t: Target) -> None:
        bucket = f"gate/{t.bucket}-versions"
        self.cli(t, "mb", bucket)
        self.cli(t, "version", "enable", bucket)
        for n in (1, 2):
            t.file("in", blob(20_000 + n))
            self.cli(t, "cp", "in", f"{bucket}/v")
        found = self.json(t, "ls", "--versions", f"{bucket}/v")
        equal([f["size"] for f in found], [20_002, 20_001])
        same(self.cli(t, "cat", "--version-id", found[1]["versionId"], f"{bucket}/v", binary=True), blob(20_001))
        self.cli(t, "rm", f"{bucket}/v")
        self.cli(t, "rm", "--recursive", "--versions", "--force", f"{bucket}/")
        self.cli(t, "rb", bucket)
