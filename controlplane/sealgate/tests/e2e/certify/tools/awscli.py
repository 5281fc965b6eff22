"""awscli 1 and 2: `aws s3` where it has the operation, `aws s3api` otherwise."""

import json
import subprocess

import requests
from harness import tool

from ..cases import NO_PROGRAM_MOUNT, ODD_KEYS, PART, Target, Tool, blob, check, equal, same

CONFIG = """[default]
s3 =
  signature_version = s3v4
  multipart_threshold = 5MB
  multipart_chunksize = 5MB
  addressing_style = path
"""


class Cli(Tool):
    absent = {**NO_PROGRAM_MOUNT, "presign-put": "`aws s3 presign` makes GET URLs only"}
    program = ""

    def aws(self, t: Target, *args: object, **options) -> str:
        t.file(".aws/config", CONFIG.encode())
        return t.run([self.program, "--endpoint-url", t.endpoint, *args], **options)

    def api(self, t: Target, *args: object, **options) -> dict:
        text = self.aws(t, "--output", "json", "s3api", *args, **options)
        return json.loads(text) if text.strip().startswith("{") else {"text": text}

    def refused(self, t: Target, code: str, *args: object) -> None:
        text = self.aws(t, *args, ok=False)
        check(code in text, f"expected {code}, got {text}")

    def bucket(self, t: Target) -> None:
        name = f"{t.bucket}-new"
        self.aws(t, "s3", "mb", f"s3://{name}")
        check(name in self.aws(t, "s3", "ls"), "the new bucket is not listed")
        self.aws(t, "s3", "rb", f"s3://{name}")
        self.refused(t, "404", "s3api", "head-bucket", "--bucket", name)

    def round_trip(self, t: Target, size: int) -> None:
        t.file("in", blob(size, "put"))
        self.aws(t, "s3", "cp", "in", f"s3://{t.bucket}/put/{size}")
        self.aws(t, "s3", "cp", f"s3://{t.bucket}/put/{size}", "out")
        same((t.folder / "out").read_bytes(), blob(size, "put"))

    def put_small(self, t: Target) -> None:
        self.round_trip(t, 1000)

    def put_empty(self, t: Target) -> None:
        self.round_trip(t, 0)

    def put_large(self, t: Target) -> None:
        self.round_trip(t, 12 << 20)

    def multipart(self, t: Target) -> None:
        which = ["--bucket", t.bucket, "--key", "multipart"]
        which += ["--upload-id", self.api(t, "create-multipart-upload", *which)["UploadId"]]
        done = []
        for number, data in enumerate((blob(PART, 1), blob(1000, 2)), 1):
            t.file("part", data)
            sent = self.api(t, "upload-part", *which, "--part-number", number, "--body", "part")
            done.append({"PartNumber": number, "ETag": sent["ETag"]})
        self.api(t, "complete-multipart-upload", *which, "--multipart-upload", json.dumps({"Parts": done}))
        same(t.read("multipart"), blob(PART, 1) + blob(1000, 2))

    def abort(self, t: Target) -> None:
        which = ["--bucket", t.bucket, "--key", "abort"]
        which += ["--upload-id", self.api(t, "create-multipart-upload", *which)["UploadId"]]
        t.file("part", blob(1000))
        self.api(t, "upload-part", *which, "--part-number", 1, "--body", "part")
        self.api(t, "abort-multipart-upload", *which)
        left = self.aws(t, "s3api", "list-multipart-uploads", "--bucket", t.bucket)
        check('"abort"' not in left, f"the aborted upload is still listed: {left}")

    def get(self, t: Target) -> None:
        t.put("get", blob(100_000))
        self.api(t, "get-object", "--bucket", t.bucket, "--key", "get", "out")
        same((t.folder / "out").read_bytes(), blob(100_000))
        self.refused(t, "NoSuchKey", "s3api", "get-object", "--bucket", t.bucket, "--key", "get-nothing", "out")

    def ranges(self, t: Target) -> None:
        data = blob(40_000)
        t.put("ranges", data)
        get = ["get-object", "--bucket", t.bucket, "--key", "ranges", "out", "--range"]
        for text, piece in (("bytes=0-9", data[:10]), ("bytes=16380-16390", data[16380:16391]), ("bytes=-5", data[-5:])):
            self.api(t, *get, text)
            same((t.folder / "out").read_bytes(), piece)
        self.refused(t, "InvalidRange", "s3api", *get, "bytes=40000-")

    def head(self, t: Target) -> None:
        etag = t.put("head", blob(70_000))["ETag"]
        head = self.api(t, "head-object", "--bucket", t.bucket, "--key", "head")
        equal((head["ContentLength"], head["ETag"]), (70_000, etag))
        self.refused(t, "404", "s3api", "head-object", "--bucket", t.bucket, "--key", "head-nothing")

    def list(self, t: Target) -> None:
        for size, key in enumerate(ODD_KEYS, 10):
            t.file(f"tree/{key}", blob(size))
        self.aws(t, "s3", "sync", "tree", f"s3://{t.bucket}")
        found = self.api(t, "list-objects-v2", "--bucket", t.bucket, "--prefix", "odd/", "--page-size", "2")["Contents"]
        equal({o["Key"]: o["Size"] for o in found}, dict(zip(ODD_KEYS, range(10, 20))))
        self.aws(t, "s3", "sync", f"s3://{t.bucket}/odd", "back/odd")
        for size, key in enumerate(ODD_KEYS, 10):
            same((t.folder / "back" / key).read_bytes(), blob(size))
        check("PRE sub/" in self.aws(t, "s3", "ls", f"s3://{t.bucket}/odd/"), "no folder in `aws s3 ls`")
        check("upload" not in self.aws(t, "s3", "sync", "--size-only", "tree", f"s3://{t.bucket}"), "synced twice")

    def copy(self, t: Target) -> None:
        t.put("copy source", blob(50_000), Metadata={"colour": "blue"}, ContentType="text/x-copy")
        self.aws(t, "s3", "cp", f"s3://{t.bucket}/copy source", f"s3://{t.bucket}/copied")
        same(t.read("copied"), blob(50_000))
        head = t.s3.head_object(Bucket=t.bucket, Key="copied")
        equal((head["ContentType"], head["Metadata"]), ("text/x-copy", {"colour": "blue"}))
        self.aws(t, "s3", "mv", f"s3://{t.bucket}/copied", f"s3://{t.bucket}/moved")
        equal(t.keys("copied"), [])

    def copy_multipart(self, t: Target) -> None:
        data = blob(12 << 20, "parts")
        t.put("copy parts", data, Metadata={"colour": "blue"})
        # The tool wants tags of what it copies in parts, unless told that only metadata matters.
        more = ["--copy-props", "metadata-directive"] if self.name == "awscli2" else []
        self.aws(t, "s3", "cp", f"s3://{t.bucket}/copy parts", f"s3://{t.bucket}/copied parts", *more)
        same(t.read("copied parts"), data)

    def delete_many(self, t: Target) -> None:
        for n in range(10):
            t.put(f"many/{n}", b"x")
        objects = json.dumps({"Objects": [{"Key": f"many/{n}"} for n in range(5)]})
        answer = self.api(t, "delete-objects", "--bucket", t.bucket, "--delete", objects)
        equal(len(answer["Deleted"]), 5)
        self.aws(t, "s3", "rm", "--recursive", f"s3://{t.bucket}/many/")
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        t.file("in", b"x")
        options = ["--metadata", "colour=blue,a-longer-name=with spaces", "--content-type", "text/x-test"]
        options += ["--cache-control", "max-age=60", "--content-language", "de"]
        self.aws(t, "s3", "cp", "in", f"s3://{t.bucket}/metadata", *options)
        head = self.api(t, "head-object", "--bucket", t.bucket, "--key", "metadata")
        equal(head["Metadata"], {"colour": "blue", "a-longer-name": "with spaces"})
        equal((head["ContentType"], head["CacheControl"], head["ContentLanguage"]), ("text/x-test", "max-age=60", "de"))

    def tagging(self, t: Target) -> None:
        which = ["--bucket", t.bucket, "--key", "tagging"]

        def tags() -> dict:
            return {x["Key"]: x["Value"] for x in self.api(t, "get-object-tagging", *which)["TagSet"]}

        t.file("in", b"x")
        self.api(t, "put-object", *which, "--body", "in", "--tagging", "team=blue&cost=a%20b")
        equal(tags(), {"team": "blue", "cost": "a b"})
        self.api(t, "put-object-tagging", *which, "--tagging", "TagSet=[{Key=only,Value=one}]")
        equal(tags(), {"only": "one"})
        self.api(t, "delete-object-tagging", *which)
        equal(tags(), {})

    def presign_get(self, t: Target) -> None:
        t.put("presign get", blob(2000))
        url = self.aws(t, "s3", "presign", f"s3://{t.bucket}/presign get").strip()
        answer = requests.get(url, timeout=30)
        check(answer.ok, answer.text)
        same(answer.content, blob(2000))

    def conditional(self, t: Target) -> None:
        which = ["--bucket", t.bucket, "--key", "conditional"]
        etag = t.put("conditional", b"x")["ETag"]
        self.api(t, "get-object", *which, "--if-match", etag, "out")
        self.refused(t, "PreconditionFailed", "s3api", "get-object", *which, "--if-match", '"other"', "out")
        self.refused(t, "304", "s3api", "get-object", *which, "--if-none-match", etag, "out")
        if self.writes_conditionally:
            t.file("in", b"y")
            put = ["put-object", *which, "--body", "in"]
            self.refused(t, "PreconditionFailed", "s3api", *put, "--if-none-match", "*")
            self.api(t, *put, "--if-match", etag)

    def checksums(self, t: Target) -> None:
        which = ["--bucket", t.bucket, "--key", "checksums"]
        t.file("in", blob(30_000))
        for name in ("CRC32C", "SHA256"):
            self.api(t, "put-object", *which, "--body", "in", "--checksum-algorithm", name)
            head = self.api(t, "get-object", *which, "--checksum-mode", "ENABLED", "out")
            check(head.get(f"Checksum{name}"), f"{name} is not given back")
            same((t.folder / "out").read_bytes(), blob(30_000))
        wrong = ["--checksum-crc32-c", "AAAAAA=="]
        self.refused(t, "BadDigest", "s3api", "put-object", *which, "--body", "in", *wrong)

    def versioning(self, t: Target) -> None:
        bucket = f"{t.bucket}-versions"
        which = ["--bucket", bucket, "--key", "v"]
        self.api(t, "create-bucket", "--bucket", bucket)
        self.api(t, "put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")
        equal(self.api(t, "get-bucket-versioning", "--bucket", bucket).get("Status"), "Enabled")
        ids = []
        for n in (1, 2):
            t.file("in", blob(20_000 + n))
            ids.append(self.api(t, "put-object", *which, "--body", "in")["VersionId"])
        found = self.api(t, "list-object-versions", "--bucket", bucket)["Versions"]
        equal([(v["VersionId"], v["Size"]) for v in found], [(ids[1], 20_002), (ids[0], 20_001)])
        self.api(t, "get-object", *which, "--version-id", ids[0], "out")
        same((t.folder / "out").read_bytes(), blob(20_001))
        ids.append(self.api(t, "delete-object", *which)["VersionId"])
        for version in ids:
            self.api(t, "delete-object", *which, "--version-id", version)
        self.api(t, "delete-bucket", "--bucket", bucket)


class Awscli1(Cli):
    name, title, writes_conditionally = "awscli1", "awscli 1", True

    def prepare(self, install) -> None:
        self.program = tool("aws")

    def version(self) -> str:
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[0].removeprefix("aws-cli/")


class Awscli2(Awscli1):
    # Debian's; version 2 is in no other registry. 2.9 is older than conditional writes.
    name, title, writes_conditionally = "awscli2", "awscli 2", False

    def prepare(self, install) -> None:
        self.program = install.debian("awscli", "/usr/bin/aws")
        check(self.version().startswith("2."), f"{self.program} is awscli {self.version()}")
