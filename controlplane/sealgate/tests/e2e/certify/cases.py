"""The cases of the matrix, and what every tool is."""

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

MIB = 1 << 20
PART = 5 * MIB

# What each case holds. Every tool runs those that it can express; the rest is n/a for the reason that its class gives.
CASES = {
    "bucket": "create, find, list and delete a bucket",
    "put-small": "1,000 bytes, read back",
    "put-empty": "an empty object, read back",
    "put-large": "12 MiB in the tool's own way, read back",
    "multipart": "an upload in parts, read back",
    "abort": "a multipart upload given up; nothing is left",
    "get": "an object's bytes; the right error for a missing one",
    "ranges": "ranges at the start, across a chunk's border, at the end; past the end is an error",
    "head": "plaintext size and ETag; the right error for a missing object",
    "list": "keys with spaces, `+`, `%`, `&`, quotes and Cyrillic letters, in small pages and with a delimiter",
    "copy": "a server-side copy that keeps its metadata",
    "copy-multipart": "a server-side copy in parts",
    "delete-many": "ten keys at once",
    "metadata": "the client's own metadata, Content-Type and the like, given back as sent",
    "tagging": "tags on upload, read, changed, removed",
    "presign-get": "a presigned URL read by a plain HTTP client",
    "presign-put": "a presigned URL written by a plain HTTP client",
    "conditional": "a write only where nothing is, a write only over a known version, reads with conditions",
    "checksums": "the tool's checksums verified, given back, and a wrong one refused",
    "versioning": "two versions listed with their sizes, the older one read, delete markers",
    "mount": "files written, read in part, listed, renamed and removed through a FUSE mount",
    "backup": "a tree backed up twice, checked and restored",
}

ODD_KEYS = ["odd/a b", "odd/a+b", "odd/a%20b", "odd/ü/ключ", "odd/&<>'\"", "odd/sub/one", "odd/=?#"]


class Failed(AssertionError):
    """A case that did not hold; the text says what was wrong."""


class Caveat(Exception):
    """A case that holds with a reservation; the text says which."""


def blob(size: int, seed: object = 0) -> bytes:
    return random.Random(f"certify:{seed}:{size}").randbytes(size)


def check(holds: object, what: object) -> None:
    if not holds:
        raise Failed(str(what))


def equal(got: object, expected: object, what: str = "") -> None:
    check(got == expected, f"{what + ': ' if what else ''}got {got!r}, expected {expected!r}")


def same(got: bytes, expected: bytes) -> None:
    def short(data: bytes) -> str:
        return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}"

    equal(short(got), short(expected))


class Target:
    """What a tool talks to: a gateway before a store, or a store itself."""

    def __init__(self, endpoint: str, access: str, secret: str, bucket: str, folder: Path, s3):
        self.endpoint, self.access, self.secret, self.bucket, self.folder = endpoint, access, secret, bucket, folder
        # A boto3 client of the same endpoint, for the other side of what a command-line tool did.
        self.s3 = s3
        folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        """A home of its own and the usual variables."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CERTIFY_ENDPOINT": self.endpoint,
            "CERTIFY_ACCESS": self.access,
            "CERTIFY_SECRET": self.secret,
            "CERTIFY_BUCKET": self.bucket,
        }

    def run(self, argv: list[object], ok: bool = True, seconds: float = 120, binary: bool = False, stdin: bytes = b"", **env: str):
        """Runs a program in the target's folder and gives its output; with `ok=False` it must fail."""
        argv = [str(a) for a in argv]
        try:
            done = subprocess.run(
                argv,
                cwd=self.folder,
                env={**self.environment(), **env},
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if binary else subprocess.STDOUT,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"`{' '.join(argv)}` was not done after {seconds} s") from None
        text = (done.stdout + (done.stderr or b"")).decode("utf-8", "replace")
        if (done.returncode == 0) != ok:
            raise Failed(f"`{' '.join(argv)}` ended with {done.returncode}: {' '.join(text[-1500:].split())}")
        return done.stdout if binary else text

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def put(self, key: str, data: bytes, **more) -> dict:
        """The other side's write."""
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **more)

    def read(self, key: str, **more) -> bytes:
        """The other side's read."""
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)["Body"].read()

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]


class Tool:
    """One client. A case `put-small` is the method `put_small(target)`; `absent` says why the others are not there."""

    name = ""
    title = ""
    absent: dict[str, str] = {}

    def prepare(self, install) -> None:
        """Finds or installs the program; fails with what to do."""

    def version(self) -> str:
        raise NotImplementedError

    def cases(self) -> list[str]:
        """Those this tool has. That every case is either here or explained is checked before any run."""
        mine = [case for case in CASES if self.has(case)]
        silent = [case for case in CASES if case not in mine and case not in self.absent]
        double = [case for case in mine if case in self.absent]
        assert not silent and not double, f"{self.name}: neither run nor explained: {silent}; both: {double}"
        return mine

    def has(self, case: str) -> bool:
        return hasattr(self, case.replace("-", "_"))

    def run(self, target: Target, cases: list[str]):
        """Yields (case, None or an exception)."""
        for case in cases:
            try:
                getattr(self, case.replace("-", "_"))(target)
            except Exception as e:  # noqa: BLE001: whatever a client raises is the case's failure
                yield case, e
            else:
                yield case, None


class Program(Tool):
    """A client of ours in another language: one process runs all its cases and prints a line of JSON for each."""

    def argv(self) -> list[str]:
        raise NotImplementedError

    def has(self, case: str) -> bool:
        return case not in self.absent

    def run(self, target: Target, cases: list[str]):
        try:
            text, rest = target.run([*self.argv(), *cases], seconds=300), ""
        except Failed as e:
            # It prints a case as soon as it is done, but a crash takes the lines with it: run them one by one.
            if len(cases) > 1:
                for case in cases:
                    yield from self.run(target, [case])
                return
            text, rest = "", str(e)
        lines = {}
        for line in text.splitlines():
            if line.startswith('{"case"'):
                answer = json.loads(line)
                lines[answer["case"]] = None if answer["ok"] else Failed(answer["error"])
        for case in cases:
            yield case, lines[case] if case in lines else Failed(f"no answer: {rest or text[-500:]}")


# Reasons that many tools share.
LIBRARY = {"mount": "a library", "backup": "a library"}
MOUNT_ONLY = {case: "a mount: there is no other way to use it" for case in CASES if case != "mount"}
BACKUP_ONLY = {case: "a backup program: uses these operations, does not offer them" for case in CASES if case != "backup"}
NO_PROGRAM_MOUNT = {"mount": "has no mount", "backup": "copies files; not a backup program"}
