"""SDKs of other languages: our small programs under clients/, each of which runs its cases by itself."""

import json
import re

from ..cases import LIBRARY, Program
from ..install import CLIENTS

NO_OPERATION = "the crate has no such operation"


class Npm(Program):
    """A program of clients/js."""

    script = package = ""

    def prepare(self, install) -> None:
        self.node, self.folder = install.node("js")

    def argv(self) -> list[str]:
        return [self.node, f"{self.folder}/{self.script}"]

    def version(self) -> str:
        return json.loads((CLIENTS / "js" / "package.json").read_text())["dependencies"][self.package]


class AwsJs(Npm):
    name, title, script, package = "aws-js", "AWS SDK for JavaScript v3", "aws.mjs", "@aws-sdk/client-s3"
    absent = LIBRARY


class MinioJs(Npm):
    name, title, script, package = "minio-js", "minio-js", "minio.mjs", "minio"
    absent = {**LIBRARY, "conditional": "no call takes a condition for a write", "checksums": "none of its calls takes one"}


class AwsGo(Program):
    name, title, absent = "aws-go", "AWS SDK for Go v2", LIBRARY

    def prepare(self, install) -> None:
        self.path = install.go_client("go")

    def argv(self) -> list[str]:
        return [self.path]

    def version(self) -> str:
        return re.search(r"service/s3 v(\S+)", (CLIENTS / "go" / "go.mod").read_text())[1]


class AwsJava(Program):
    name, title, absent = "aws-java", "AWS SDK for Java v2", LIBRARY

    def prepare(self, install) -> None:
        self.java = install.java("java")

    def argv(self) -> list[str]:
        return [*self.java, "certify.Main"]

    def version(self) -> str:
        return re.search(r"<artifactId>s3</artifactId>\s*<version>(\S+)</version>", (CLIENTS / "java" / "pom.xml").read_text())[1]


class Crate(Program):
    """A program of clients/rust, pinned by its lock."""

    crate = package = ""

    def prepare(self, install) -> None:
        self.path = install.rust(self.crate)

    def argv(self) -> list[str]:
        return [self.path]

    def version(self) -> str:
        lock = (CLIENTS / "rust" / "Cargo.lock").read_text()
        return re.search(rf'name = "{self.package}"\nversion = "(\S+)"', lock)[1]


class AwsRust(Crate):
    name, title, crate, package = "aws-rust", "AWS SDK for Rust", "certify-aws", "aws-sdk-s3"
    absent = LIBRARY


class ObjectStore(Crate):
    name, title, crate, package = "object-store", "object_store", "certify-object-store", "object_store"
    absent = {**LIBRARY, **dict.fromkeys(("bucket", "copy-multipart", "tagging", "versioning"), NO_OPERATION)}


class Mountpoint(Crate):
    name, title, crate, package = "mountpoint", "mountpoint-s3-client", "certify-mountpoint", "mountpoint-s3-client"
    missing = ("bucket", "abort", "copy-multipart", "delete-many", "tagging", "presign-get", "presign-put", "versioning")
    absent = {**LIBRARY, **dict.fromkeys(missing, NO_OPERATION)}
