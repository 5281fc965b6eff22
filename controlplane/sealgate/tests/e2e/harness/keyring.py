"""Key ring files of `provider = "file"`, and opening a wrapped KEK with one, independently of the gateway."""

import base64
import os
import re
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def create(path: Path) -> None:
    """A new ring with one random key, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = base64.b64encode(os.urandom(32)).decode()
    text = f'format = "sealgate-keyring/1"\ncurrent = 1\n\n[[version]]\nid = 1\ncreated = 2026-01-01\nkey = "{key}"\n'
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def rotate(path: Path) -> None:
    """Adds a second version and makes it the one that seals."""
    key = base64.b64encode(os.urandom(32)).decode()
    text = path.read_text().replace("current = 1", "current = 2")
    path.write_text(text + f'\n[[version]]\nid = 2\ncreated = 2026-02-02\nkey = "{key}"\n')


def unwrap_kek(path: Path, key_name: str, version: str, wrapped: bytes) -> bytes:
    """The KEK: format byte, key check (8), nonce (12), ciphertext and tag (48)."""
    keys = dict(re.findall(r'id = (\d+)\ncreated = \S+\nkey = "([^"]+)"', path.read_text()))
    assert len(wrapped) == 69 and wrapped[0] == 1, wrapped.hex()
    aad = b"sealgate/kek/v1\0" + key_name.encode() + b"\0" + version.encode()
    return AESGCM(base64.b64decode(keys[version])).decrypt(wrapped[9:21], wrapped[21:], aad)
