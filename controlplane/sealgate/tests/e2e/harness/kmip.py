"""A PyKMIP server with certificates of its own: the real server behind `kmip://` endpoints."""

import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import ROOT
from .daemon import Daemon
from .gateway import q
from .ports import free_port

SCRIPT = ROOT / "controlplane/kms/tests/data/pykmip_server.py"


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: str, issuer: str, key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))


def certificates(folder: Path) -> None:
    """ca.pem; server.pem and owner.pem with their keys."""
    authority = ec.generate_private_key(ec.SECP256R1())
    ca = _builder("ca", "ca", authority).add_extension(x509.BasicConstraints(True, None), True)
    (folder / "ca.pem").write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    for name, usage in [("server", ExtendedKeyUsageOID.SERVER_AUTH), ("owner", ExtendedKeyUsageOID.CLIENT_AUTH)]:
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = _builder(name, "ca", key).add_extension(address, False)
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
