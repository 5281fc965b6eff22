"""Backup programs and FUSE mounts."""

import os
import shutil
import subprocess
import time

from harness import tool
from harness.daemon import Daemon

from ..cases import BACKUP_ONLY, MOUNT_ONLY, Target, Tool, blob, check, equal, same
from ..install import Missing
from .copiers import Rclone, said

TREE = {
    "empty": b"",
    "small": blob(1000),
    "sub dir/ünïcödé ключ": blob(100_003),
    "sub dir/plus+sign %20": blob(30_000),
    "large": blob(12 << 20),
}


def plant(t: Target) -> None:
    for name, data in TREE.items():
        t.file(f"source/{name}", data)


def restored(t: Target, folder: str, files: dict[str, bytes]) -> None:
    root = t.folder / folder
    found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    equal(sorted(found), sorted(files))
    for name, data in files.items():
        same(found[name], data)


class Restic(Tool):
    name = title = "restic"
    absent = BACKUP_ONLY

    def prepare(self, install) -> None:
        self.program = install.debian("restic", "restic")

    def version(self) -> str:
        return said(self.program, "version").split()[1]

    def backup(self, t: Target) -> None:
        env = {
            "RESTIC_REPOSITORY": f"s3:{t.endpoint}/{t.bucket}/restic",
            "RESTIC_PASSWORD": "correct horse",
            "RESTIC_CACHE_DIR": str(t.folder / "cache"),
        }
        plant(t)
        t.run([self.program, "init"], **env)
        t.run([self.program, "backup", "source"], **env)
        t.file("source/later", blob(300_000))
        t.run([self.program, "backup", "source"], **env)
        check("no errors were found" in t.run([self.program, "check", "--read-data"], **env), "restic check")
        t.run([self.program, "restore", "latest", "--target", "restored"], **env)
        restored(t, "restored/source", {**TREE, "later": blob(300_000)})
        t.run([self.program, "forget", "--keep-last", "1", "--prune"], **env)
        check("no errors were found" in t.run([self.program, "check", "--read-data"], **env), "restic check")


class Duplicity(Tool):
    name = title = "duplicity"
    absent = BACKUP_ONLY

    def prepare(self, install) -> None:
        self.program = install.debian("duplicity python3-boto3 gnupg", "duplicity")

    def version(self) -> str:
        return said(self.program, "--version").split()[1]

    def backup(self, t: Target) -> None:
        url = f"boto3+s3://{t.bucket}/duplicity"
        common = ["--s3-endpoint-url", t.endpoint, "--no-encryption", "--no-print-statistics", "--archive-dir", "archive", "--volsize", 5]
        plant(t)
        t.run([self.program, *common, "full", "source", url])
        t.file("source/later", blob(300_000))
        t.run([self.program, *common, "incremental", "source", url])
        t.run([self.program, *common, "verify", "--compare-data", url, "source"])
        shutil.rmtree(t.folder / "archive")
        t.run([self.program, *common, "restore", url, "restored"])
        restored(t, "restored", {**TREE, "later": blob(300_000)})
        t.run([self.program, *common, "remove-all-but-n-full", 1, "--force", url])


class Mount(Tool):
    """A file system in user space over a bucket."""

    absent = MOUNT_ONLY

    def needs_fuse(self, install) -> None:
        install.debian("fuse3", "fusermount3")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Missing("/dev/fuse is not there or not ours: mounts need a kernel with FUSE and the right to use it")

    def argv(self, t: Target, at: str) -> list[str]:
        raise NotImplementedError

    def mount(self, t: Target) -> None:
        at = t.folder / "mnt"
        at.mkdir(exist_ok=True)
        t.put("before", blob(40_000))
        daemon = Daemon(self.argv(t, str(at)), t.folder / "mount.log", env=t.environment() | self.more(t), cwd=t.folder)
        try:
            end = time.monotonic() + 30
            while not os.path.ismount(at):
                check(time.monotonic() < end and daemon.process.poll() is None, f"did not mount: {daemon.tail()}")
                time.sleep(0.1)
            self.work(t, at)
        finally:
            for _ in range(50):
                if subprocess.run(["fusermount3", "-u", str(at)], capture_output=True).returncode == 0 or not os.path.ismount(at):
                    break
                time.sleep(0.2)
            daemon.stop(20)

    def more(self, t: Target) -> dict[str, str]:
        return {}

    def work(self, t: Target, at) -> None:
        with open(at / "before", "rb") as file:
            file.seek(16380)
            same(file.read(11), blob(40_000)[16380:16391])
        (at / "folder").mkdir()
        (at / "folder" / "a + b ü").write_bytes(blob(30_000))
        (at / "large").write_bytes(blob(12 << 20))
        (at / "empty").write_bytes(b"")
        self.settle()
        equal(sorted(os.listdir(at)), ["before", "empty", "folder", "large"])
        equal(os.listdir(at / "folder"), ["a + b ü"])
        equal((at / "large").stat().st_size, 12 << 20)
        same(t.read("large"), blob(12 << 20))
        same(t.read("folder/a + b ü"), blob(30_000))
        os.rename(at / "folder" / "a + b ü", at / "renamed")
        self.settle()
        same((at / "renamed").read_bytes(), blob(30_000))
        os.remove(at / "large")
        self.settle()
        check("large" not in t.keys() and "renamed" in t.keys(), f"the bucket holds {t.keys()}")

    def settle(self) -> None:
        """Lets a mount that writes back in the background do so."""


class S3fs(Mount):
    name = title = "s3fs"

    def prepare(self, install) -> None:
        self.program = install.debian("s3fs", "s3fs")
        self.needs_fuse(install)

    def version(self) -> str:
        return said(self.program, "--version").split(" V", 1)[1].split()[0]

    def argv(self, t: Target, at: str) -> list[str]:
        t.file("passwd", f"{t.access}:{t.secret}".encode()).chmod(0o600)
        options = f"url={t.endpoint},use_path_request_style,passwd_file={t.folder / 'passwd'},multipart_size=5,retries=1"
        return [self.program, t.bucket, at, "-f", "-o", options]


class RcloneMount(Mount):
    name, title = "rclone-mount", "rclone mount"

    def prepare(self, install) -> None:
        self.program = tool("rclone")
        self.needs_fuse(install)

    version = Rclone.version

    def more(self, t: Target) -> dict[str, str]:
        return Rclone.environment(t)

    def argv(self, t: Target, at: str) -> list[str]:
        options = ["--vfs-cache-mode", "writes", "--vfs-write-back", "0s", "--dir-cache-time", "0s"]
        return [self.program, "mount", f"gate:{t.bucket}", at, *options, "--cache-dir", str(t.folder / "cache")]

    def settle(self) -> None:
        time.sleep(1.5)
