"""A SeaweedFS server: the real S3 store that most tests put behind the gateway."""

import json
from pathlib import Path

import boto3
from botocore.config import Config

from . import tool
from .daemon import Daemon
from .ports import free_port

ACCESS, SECRET = "STOREADMIN", "store-admin-secret"
# A second store user that may read and list one bucket, for per-credential store identities.
LIMITED_ACCESS, LIMITED_SECRET, LIMITED_BUCKET = "STORELIMITED", "store-limited-secret", "e2e-limited"
# A third one that may do all in a bucket of its own.
OWNER_ACCESS, OWNER_SECRET, OWNED_BUCKET = "STOREOWNER", "store-owner-secret", "e2e-owned"


class Weed:
    """One `weed mini` (master, volume, filer and S3 in one process) with its own folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "data"
        data.mkdir(exist_ok=True)
        identities = {
            "identities": [
                {
                    "name": "admin",
                    "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                },
                {
                    "name": "limited",
                    "credentials": [{"accessKey": LIMITED_ACCESS, "secretKey": LIMITED_SECRET}],
                    "actions": [f"Read:{LIMITED_BUCKET}", f"List:{LIMITED_BUCKET}"],
                },
                {
                    "name": "owner",
                    "credentials": [{"accessKey": OWNER_ACCESS, "secretKey": OWNER_SECRET}],
                    "actions": [f"{action}:{OWNED_BUCKET}" for action in ("Read", "Write", "List", "Tagging")],
                },
            ]
        }
        (folder / "s3.json").write_text(json.dumps(identities))
        self.data = data
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        argv = [tool("weed"), "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}"]
        for name in ("master.port", "volume.port", "filer.port", "admin.port"):
            argv.append(f"-{name}={free_port()}")
        argv += [
            f"-s3.port={self.port}",
            f"-s3.port.grpc={self.port + 10000}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
        ]
        # HOME: the server keeps state of its own there.
        self.daemon = Daemon(argv, folder / "weed.log", env={"HOME": str(folder)}, cwd=folder)
        try:
            self.daemon.wait_ready(f"{self.endpoint}/healthz")
        except BaseException:
            self.daemon.kill()
            raise

    def client(self, access: str = ACCESS, secret: str = SECRET):
        return client(self.endpoint, access, secret)

    def stop(self) -> None:
        # Its data is thrown away: a graceful end would only wait for idle connections.
        self.daemon.kill()


def client(endpoint: str, access: str, secret: str, **options):
    """A boto3 client that never retries, so that a test sees the first answer."""
    s3 = {"addressing_style": options.pop("addressing", "path"), **options.pop("s3", {})}
    config = {
        "s3": s3,
        "signature_version": "s3v4",
        "retries": {"total_max_attempts": 1},
        "connect_timeout": 5,
        "read_timeout": 90,
        "max_pool_connections": 80,
        **options.pop("config", {}),
    }
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(**config),
        **options,
    )
