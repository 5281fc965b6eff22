"""AWS as far as key management needs it: moto's KMS and STS, and a counting, failing front before them."""

import http.client
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3

from . import ROOT, tool
from .daemon import Daemon
from .gateway import q
from .ports import free_port

SERVER = ROOT / "controlplane" / "kms" / "tests" / "moto" / "server.py"
HERE, THERE = "eu-west-1", "us-east-1"


class Moto:
    """One server: all regions, all services."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        argv = [tool("python3"), str(SERVER), "-H", "127.0.0.1", "-p", str(self.port)]
        self.daemon = Daemon(argv, folder / "moto.log")
        try:
            self.daemon.wait_ready(f"{self.url}/moto-api/data.json", 60)
        except BaseException:
            self.daemon.kill()
            raise

    def client(self, service: str, region: str = HERE):
        return boto3.client(
            service, region, endpoint_url=self.url, aws_access_key_id="OPERATOR", aws_secret_access_key="x"
        )

    def key(self, multi_region: bool = False, region: str = HERE) -> str:
        """A new key's id."""
        return self.client("kms", region).create_key(MultiRegion=multi_region)["KeyMetadata"]["KeyId"]

    def stop(self) -> None:
        self.daemon.stop()


class Front:
    """An HTTP server before moto. It notes every call of KMS, and can answer in its place or not at all.

    It also hands out credentials as a container's agent (/container), instance metadata (IMDSv2) and IAM Identity Center do.
    """

    def __init__(self, moto: Moto):
        front = self
        self.calls: list[tuple[str, str, dict]] = []
        self.sources: list[str] = []
        # KEKs that went by, in base64.
        self.plaintexts: set[str] = set()
        # (status, code) to answer with.
        self.error: tuple[int, str] | None = None

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status: int, body: bytes, kind: str = "application/x-amz-json-1.1") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("x-amzn-RequestId", "00000000-0000-4000-8000-000000000000")
                self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(body)

            def credentials(self, name: str, **more) -> None:
                front.sources.append(name)
                body = {
                    "AccessKeyId": name,
                    "SecretAccessKey": "secret",
                    "Token": "token",
                    "Expiration": "2099-01-01T00:00:00Z",
                    **more,
                }
                self.answer(200, json.dumps(body).encode(), "application/json")

            def do_PUT(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer(200, b"imds-token", "text/plain")

            def do_GET(self):
                if self.path == "/container":
                    self.credentials("AKIDCONTAINER")
                elif self.path.rstrip("/").endswith("/security-credentials"):
                    self.answer(200, b"role", "text/plain")
                elif self.path.endswith("/security-credentials/role"):
                    self.credentials("AKIDINSTANCE", Code="Success", Type="AWS-HMAC", LastUpdated="2020-01-01T00:00:00Z")
                elif self.path.startswith("/federation/credentials?") and self.headers["x-amz-sso_bearer_token"] == "portal":
                    front.sources.append("AKIDSSO")
                    role = {"accessKeyId": "AKIDSSO", "secretAccessKey": "s", "sessionToken": "t", "expiration": 4070908800000}
                    self.answer(200, json.dumps({"roleCredentials": role}).encode(), "application/json")
                else:
                    self.answer(404, b"", "text/plain")

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.headers.get("X-Amz-Target", "")
                if target.startswith("TrentService."):
                    access = re.search(r"Credential=([^/]+)/", self.headers["Authorization"])[1]
                    front.calls.append((target[len("TrentService.") :], access, json.loads(body)))
                    if front.error:
                        status, code = front.error
                        self.answer(status, json.dumps({"__type": code, "message": "as told"}).encode())
                        return
                else:
                    front.sources.append(dict(p.split(b"=", 1) for p in body.split(b"&"))[b"Action"].decode())
                upstream = http.client.HTTPConnection("127.0.0.1", moto.port, timeout=30)
                upstream.request("POST", self.path, body, dict(self.headers))
                reply = upstream.getresponse()
                answer = reply.read()
                if target:
                    front.plaintexts |= {json.loads(answer).get("Plaintext", "")} - {""}
                self.answer(reply.status, answer, reply.headers.get("Content-Type", ""))
                upstream.close()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def seen(self, *operations: str) -> list[tuple[str, str, dict]]:
        return [call for call in self.calls if call[0] in operations or not operations]

    def close(self) -> None:
        """Nobody listens any more."""
        self.server.shutdown()
        self.server.server_close()


def key_table(name: str, key_id: str, fronts: list[Front], more: str = "") -> str:
    """[keys.<name>], one front for each of the regions."""
    regions = [HERE, THERE][: len(fronts)]
    return (
        f'[keys.{name}]\nprovider = "aws-kms"\nkey_id = {q(key_id)}\nregions = {json.dumps(regions)}\n'
        f"endpoints = {json.dumps([front.url for front in fronts])}\n{more}\n"
    )


def environment(home: Path, **variables: str) -> list[str]:
    """A wrapper that runs a program with these AWS settings and no others."""
    mine = {
        "HOME": str(home),
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }
    drop = [name for name in os.environ if name.startswith("AWS_") and name not in mine]
    return ["env", *(f"--unset={name}" for name in drop), *(f"{name}={value}" for name, value in mine.items())]
