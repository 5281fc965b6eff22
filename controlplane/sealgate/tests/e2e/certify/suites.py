"""`./test suites`: public S3 test suites, on a store itself and through a gateway before it.

    ./test suites                                   every suite over every store that its list is for
    ./test suites --store minio --suite object_store

A test that passes on the store must pass through the gateway, unless suites.toml lists it with its reason. One that is
listed and passes is an error too.

Not here: MinIO's mint is published as a container only, and Ceph's s3-tests as a repository; no registry of packages has
either from its makers.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from harness import ROOT

from .cases import Failed, Target
from .install import Install, Missing
from .runner import Bench
from .stores import STORES

LIST = Path(__file__).parent / "suites.toml"
# A test's result: nothing for a pass, or what it said.
Outcomes = dict[str, str | None]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Suite:
    name = ""
    title = ""
    # The stores that its list is for; every one when empty.
    stores: tuple[str, ...] = ()

    def prepare(self, install) -> None:
        raise NotImplementedError

    def run(self, target: Target, wanted: list[str] | None) -> Outcomes:
        """Runs the tests; `wanted` are those whose result is of interest, where the suite can choose."""
        raise NotImplementedError


def empty(s3, prefix: str) -> None:
    """Removes the buckets that a test left, as far as they can be."""
    for bucket in (b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].startswith(prefix)):
        try:
            for object_ in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=object_["Key"])
            s3.delete_bucket(Bucket=bucket)
        except s3.exceptions.ClientError:
            pass


class ObjectStoreSuite(Suite):
    """The integration tests that the object_store crate publishes."""

    name = "object_store"

    def prepare(self, install) -> None:
        self.program = install.rust("certify-object-store")

    def run(self, target: Target, wanted: list[str] | None) -> Outcomes:
        answers = [json.loads(x) for x in target.run([self.program, "suite"], seconds=600).splitlines() if x.startswith("{")]
        return {a["case"]: None if a["ok"] else a["error"] for a in answers}


class VersitySuite(Suite):
    """The integration tests inside the versitygw program. Those of its own users and admin API do not count."""

    name = "versitygw"
    # On other stores much of it fails directly: it tests that program.
    stores = ("versitygw",)
    release = "v1.8.0"
    # Its users come from its admin API, its messages are compared word for word in these groups.
    foreign = re.compile(r"IAM|AccessControl|^(Get|Put|Delete)Bucket(Policy|Acl|OwnershipControls)|PutObjectAcl|ListBuckets_as|_as_user")

    def prepare(self, install) -> None:
        self.program = install.go("versitygw", "github.com/versity/versitygw/cmd/versitygw", self.release)

    def call(self, target: Target, test: str, seconds: float) -> str:
        argv = [self.program, "test", "--access", target.access, "--secret", target.secret, "--endpoint", target.endpoint, test]
        env = {"PATH": os.environ["PATH"], "HOME": str(target.folder)}
        try:
            done = subprocess.run(argv, cwd=target.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
            return plain(done.stdout.decode("utf-8", "replace"))
        except subprocess.TimeoutExpired as e:
            return plain((e.stdout or b"").decode("utf-8", "replace")) + f"\nnot done after {seconds:.0f} s"

    @staticmethod
    def read(text: str) -> Outcomes:
        found: Outcomes = {}
        for line in text.splitlines():
            if match := re.match(r"(RUN|PASS|FAIL)\s+(\w+)(?::\s*(.*))?$", line.strip()):
                state, name, said = match.groups()
                if state == "PASS":
                    found[name] = None
                elif state == "FAIL":
                    found[name] = said or "failed"
                else:
                    found.setdefault(name, "did not end")
        return found

    def run(self, target: Target, wanted: list[str] | None) -> Outcomes:
        if wanted is None:
            found = self.read(self.call(target, "full-flow", 900))
        else:
            # A test of it that meets an answer it did not think of panics, and ends its run: so each has one of its own.
            found, is_clean = {}, False
            for name in wanted:
                if not is_clean:
                    # Each run counts its buckets' names from one.
                    empty(target.s3, "test-bucket-")
                said = self.read(self.call(target, name, 60)) or {name: "did not start"}
                is_clean = not any(said.values())
                found.update(said)
        return {name: said for name, said in found.items() if not self.foreign.search(name)}


SUITES: list[type[Suite]] = [ObjectStoreSuite, VersitySuite]


class Listed:
    """suites.toml: what fails through the gateway alone, and why."""

    def __init__(self):
        self.entries = tomllib.loads(LIST.read_text()).get("known", []) if LIST.exists() else []
        for entry in self.entries:
            assert entry["reason"], entry

    def reason(self, store: str, suite: str, test: str) -> str | None:
        for entry in self.entries:
            stores = entry.get("stores", ["*"])
            if entry["suite"] == suite and test in entry["tests"] and ("*" in stores or store in stores):
                return entry["reason"]
        return None


def compare(store, suite: Suite, folder: Path, listed: Listed) -> tuple[int, list[str]]:
    """How many pass both ways, and what is unexpected."""
    # The same keys both ways: tests compare owners with the access key that they sign with.
    bench = Bench(store, folder, (store.access, store.secret))
    try:
        if store.endpoint:
            direct = suite.run(bench.target(f"{suite.name.replace('_', '-')}", direct=True), None)
        else:
            direct = {}
        through = suite.run(bench.target(suite.name.replace("_", "-")), sorted(t for t, said in direct.items() if said is None))
    finally:
        bench.stop()
    both, wrong = 0, []
    # Over a directory there is nothing to compare with: what passes there is all that is asked for.
    for test in sorted(direct or through):
        if direct and direct[test] is not None:
            continue
        said, reason = through.get(test, "did not run"), listed.reason(store.name, suite.name, test)
        if said is None and reason is None:
            both += 1
        elif said is None:
            wrong.append(f"{test} passes, though listed: {reason}")
        elif reason is None:
            wrong.append(f"{test}: {said}")
        else:
            print(f"known  {store.name:10} {suite.name:12} {test}: {reason}")
    return both, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="./test suites", description=__doc__.split("\n")[0])
    parser.add_argument("--store", action="append", choices=[s.name for s in STORES])
    parser.add_argument("--suite", action="append", choices=[s.name for s in SUITES])
    options = parser.parse_args()
    install, listed = Install(Path(os.environ.get("SEALGATE_CACHE") or ROOT / ".cache")), Listed()
    passed, unexpected = 0, []
    try:
        for suite in (s() for s in SUITES if not options.suite or s.name in options.suite):
            suite.prepare(install)
            for kind in STORES:
                if options.store and kind.name not in options.store:
                    continue
                if suite.stores and kind.name not in suite.stores:
                    continue
                store = kind()
                store.prepare(install)
                with tempfile.TemporaryDirectory(prefix="suites-", ignore_cleanup_errors=True) as folder:
                    both, wrong = compare(store, suite, Path(folder), listed)
                print(f"{suite.name} over {store.name}: {both} pass, {len(wrong)} unexpected", flush=True)
                passed += both
                for line in wrong:
                    print(f"UNEXPECTED {store.name} {suite.name} {line}", flush=True)
                    unexpected.append(line)
    except (Missing, Failed) as e:
        print(f"suites: {e}", file=sys.stderr)
        return 2
    print(f"{passed} passed, {len(unexpected)} failed")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
