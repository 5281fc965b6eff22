"""A running gateway: its configuration, its process, and clients for it."""

import os
import signal
import time
import urllib.request
from pathlib import Path

from . import binary, keyring
from .daemon import Daemon
from .ports import free_port
from .weed import client
from .wire import S3Wire

ACCESS, SECRET = "E2EROOT", "e2e-root-secret-key"


def q(text: object) -> str:
    """A TOML basic string."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def fs_backend(root: Path) -> str:
    return f'[backend]\ntype = "fs"\npath = {q(root)}\n'


def s3_backend(endpoint: str, access: str, secret: str, more: str = "", far: str = "30s") -> str:
    """Near, however late a store of this machine answers while others use it: `far` is what test_far.py is about."""
    return (
        f'[backend]\ntype = "s3"\nendpoint = {q(endpoint)}\nregion = "us-east-1"\n'
        f"access_key = {q(access)}\nsecret_key = {q(secret)}\npath_style = true\nfar = {q(far)}\n{more}\n"
    )


# One policy per way to treat a bucket; the first part of a bucket's name chooses it.
BUCKETS = """
[[buckets]]
match = "clear-*"
encrypt = false

[[buckets]]
match = "verify-*"
key = "main"
listing = "verify"

[[buckets]]
match = "plainmeta-*"
key = "main"
metadata = "plain"

[[buckets]]
match = "bound-*"
key = "main"
binding = "bucket+key"

[[buckets]]
match = "unbound-*"
key = "main"
binding = "none"

[[buckets]]
match = "*"
key = "main"
"""

ROOT_CREDENTIAL = f"""
[[credentials]]
access_key = {q(ACCESS)}
secret_key = {q(SECRET)}
allow = [{{ bucket = "*", actions = ["*"] }}]
"""


class Gateway:
    """`sealgate serve` with a generated configuration on free loopback ports."""

    def __init__(
        self,
        folder: Path,
        backend: str,
        driver: str = "auto",
        ring: Path | None = None,
        keys: str | None = None,
        buckets: str = BUCKETS,
        credentials: str = ROOT_CREDENTIAL,
        listen: str = "",
        runtime: str = "",
        more: str = "",
        cores: int = 2,
        wrapper: list[str] | None = None,
        scheme: str = "http",
        start: bool = True,
        ready: bool = True,
    ):
        """`ready` off: it serves, but cannot be expected to be ready, since its key cannot be had."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.driver, self.ready = folder, driver, ready
        self.port, self.admin_port = free_port(), free_port()
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.ring = ring or folder / "keys.ring"
        if keys is None:
            # `keys` are [keys.<name>] tables in place of a key ring called main.
            if not self.ring.exists():
                keyring.create(self.ring)
            keys = f'[keys.main]\nprovider = "file"\npath = {q(self.ring)}\n'
        self.config = folder / "sealgate.toml"
        self.log = folder / "gateway.log"
        self.wrapper = wrapper or []
        self.text = (
            f"[listen]\ns3 = {q(f'127.0.0.1:{self.port}')}\nadmin = {q(f'127.0.0.1:{self.admin_port}')}\n"
            f'base_domains = ["s3.localhost"]\n{listen}\n'
            f"[runtime]\ncores = {cores}\ndriver = {q(driver)}\n{runtime}\n"
            f"{backend}\n{keys}{buckets}\n{credentials}\n{more}"
        )
        self.write_config(self.text)
        self.daemon: Daemon | None = None
        if start:
            self.start()

    def write_config(self, text: str) -> None:
        self.config.write_text(text)
        self.config.chmod(0o600)

    def start(self) -> None:
        argv = [*self.wrapper, binary(), "serve", "--config", str(self.config)]
        self.daemon = Daemon(argv, self.log, env={"RUST_BACKTRACE": "1"}, cwd=self.folder)
        try:
            self.daemon.wait_ready(f"{self.admin}/{'readyz' if self.ready else 'healthz'}", 20)
        except BaseException:
            self.daemon.kill()
            raise

    def stop(self, seconds: float = 30.0) -> int:
        return self.daemon.stop(seconds) if self.daemon else 0

    def kill(self) -> None:
        self.daemon.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        self.daemon.signal(signal.SIGHUP)

    def client(self, access: str = ACCESS, secret: str = SECRET, **options):
        return client(self.endpoint, access, secret, **options)

    def wire(self, access: str = ACCESS, secret: str = SECRET, ca: str | None = None) -> S3Wire:
        return S3Wire(self.endpoint, access, secret, ca)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.daemon.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def wait_for_log(self, text: str, seconds: float = 5.0) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if text in self.log.read_text("utf-8", "replace"):
                return True
            time.sleep(0.05)
        return False
