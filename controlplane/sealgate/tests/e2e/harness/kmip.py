"""KMIP servers with certificates of their own: PyKMIP behind `kmip://`, a small one that speaks JSON behind `https://`."""

import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import ROOT
from .daemon import Daemon
from .gateway import q
from .ports import free_port

SCRIPT = ROOT / "controlplane/kms/tests/data/pykmip_server.py"
RECORDED = ROOT / "controlplane/kms/tests/data/cosmian"


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: str, issuer: str, key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))


def certificates(folder: Path) -> None:
    """ca.pem; server.pem and owner.pem with their keys."""
    authority, issuer = ec.generate_private_key(ec.SECP256R1()), f"ca {os.urandom(4).hex()}"
    ca = _builder(issuer, issuer, authority).add_extension(x509.BasicConstraints(True, None), True)
    (folder / "ca.pem").write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    for name, usage in [("server", ExtendedKeyUsageOID.SERVER_AUTH), ("owner", ExtendedKeyUsageOID.CLIENT_AUTH)]:
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = _builder(name, issuer, key).add_extension(address, False)
        certificate = builder.add_extension(x509.ExtendedKeyUsage([usage]), False).sign(authority, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class PyKmip:
    """The server; `create` and `revoke` act as the key's owner."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        certificates(folder)
        self.folder, self.port = folder, free_port()
        self.daemon: Daemon | None = None
        self.start()

    def start(self) -> None:
        self.daemon = Daemon(self._script("serve"), self.folder / "output.log", cwd=self.folder, preexec=os.setsid)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.daemon.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"PyKMIP did not listen:\n{self.daemon.tail()}")

    def kill(self) -> None:
        """Ends the whole group: PyKMIP has child processes that outlive it."""
        os.killpg(self.daemon.pid, signal.SIGKILL)
        self.daemon.kill()

    def _script(self, what: str, *more: str) -> list[str]:
        return [sys.executable, str(SCRIPT), what, str(self.port), str(self.folder), *more]

    def owner(self, what: str, *more: str) -> str:
        done = subprocess.run(self._script(what, *more), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def key_table(self, uid: str, old: tuple[str, ...] = ()) -> str:
        f = self.folder
        return (
            f'provider = "kmip"\nendpoints = ["kmip://127.0.0.1:{self.port}"]\nuid = {q(uid)}\n'
            f"old_uids = [{', '.join(q(u) for u in old)}]\nca_file = {q(f / 'ca.pem')}\n"
            f"client_cert = {q(f / 'owner.pem')}\nclient_key = {q(f / 'owner.key')}\n"
        )


class JsonKmip:
    """KMIP in JSON over HTTPS, with a bearer token and client certificates, answering as was recorded of Cosmian KMS."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        certificates(folder)
        self.folder, self.uid, self.key = folder, "a-key", AESGCM.generate_key(256)
        self.token = folder / "token"
        self.token.write_text(os.urandom(16).hex())
        self.token.chmod(0o600)
        self.operations: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                # Here, not at accept: a client that fails the handshake holds up nobody else.
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                allowed = self.headers["authorization"] == f"Bearer {outer.token.read_text()}"
                known = self.path == "/kmip/2_1" and self.headers["content-type"] == "application/json"
                status = 404 if not known else 200 if allowed else 401
                text = (outer.answer(json.loads(body)) if status == 200 else "refused").encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # Failed handshakes are what some tests are about.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, message: dict) -> str:
        item = _fields(_fields(message)["BatchItem"])
        asked, operation = _fields(item["RequestPayload"]), item["Operation"]["value"]
        self.operations.append(operation)
        if asked["UniqueIdentifier"]["value"] != self.uid:
            return (RECORDED / "decrypt_unknown.json").read_text()
        made = {"{{uid}}": self.uid}
        name = {"GetAttributes": "attributes", "Encrypt": "encrypt", "Decrypt": "decrypt"}[operation]
        if operation != "GetAttributes":
            given = {tag: bytes.fromhex(asked[tag]["value"]) for tag in asked if asked[tag].get("type") == "ByteString"}
            nonce, aad = given["IVCounterNonce"], given["AuthenticatedEncryptionAdditionalData"]
            if operation == "Encrypt":
                sealed = AESGCM(self.key).encrypt(nonce, given["Data"], aad)
                made |= {"{{data}}": sealed[:-16].hex().upper(), "{{tag}}": sealed[-16:].hex().upper()}
            else:
                try:
                    sealed = given["Data"] + given["AuthenticatedEncryptionTag"]
                    made["{{data}}"] = AESGCM(self.key).decrypt(nonce, sealed, aad).hex().upper()
                except InvalidTag:
                    name = "decrypt_forged"
        text = (RECORDED / f"{name}.json").read_text()
        for hole, value in made.items():
            text = text.replace(hole, value)
        return text

    def key_table(self, ca: str = "ca.pem", client: str | None = "owner", token: Path | None = None) -> str:
        f = self.folder
        certificate = f"client_cert = {q(f / f'{client}.pem')}\nclient_key = {q(f / f'{client}.key')}\n" if client else ""
        return (
            f'provider = "kmip"\nendpoints = [{q(self.endpoint)}]\nuid = {q(self.uid)}\nca_file = {q(f / ca)}\n'
            f"token_file = {q(token or self.token)}\n{certificate}"
        )


def _fields(item: dict) -> dict:
    return {field["tag"]: field for field in item["value"]}
