#!/usr/bin/env python3
"""Key-wrap vectors by an independent implementation, PyPI cryptography.

    kek_vectors.py make   > kek_vectors.txt
    kek_vectors.py check    the committed vectors are these, and the program in docs/kms/file.md opens them
"""
import base64
import pathlib
import re
import sys
import tempfile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HERE = pathlib.Path(__file__).resolve().parent
DOC = HERE.parents[3] / "docs" / "kms" / "file.md"

# key name, version, ring key, nonce, KEK
CASES = [
    ("main", 1, bytes(range(32)), bytes(range(100, 112)), bytes(range(200, 232))),
    ("archive-2025.eu", 2**32 - 1, bytes([0xA5] * 32), bytes(12), bytes([0x5A] * 32)),
]


def wrap(name, version, key, nonce, kek):
    check = HKDFExpand(SHA512(), 8, b"sealgate/kek-check/v1").derive(key)
    aad = b"sealgate/kek/v1\0" + name.encode() + b"\0" + str(version).encode()
    return b"\x01" + check + nonce + AESGCM(key).encrypt(nonce, kek, aad)


def lines():
    yield "# key name, version, ring key (base64), KEK (hex), wrapped KEK (hex); made by kek_vectors.py"
    for name, version, key, nonce, kek in CASES:
        wrapped = wrap(name, version, key, nonce, kek)
        yield f"{name} {version} {base64.b64encode(key).decode()} {kek.hex()} {wrapped.hex()}"


def check():
    committed = (HERE / "kek_vectors.txt").read_text()
    assert committed == "\n".join(lines()) + "\n", "kek_vectors.txt differs: run `make`"
    program = re.search(r"```python\n(.*?)```", DOC.read_text(), re.S).group(1)
    scope = {}
    exec(compile(program, str(DOC), "exec"), scope)
    for name, version, key, nonce, kek in CASES:
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as ring:
            encoded = base64.b64encode(key).decode()
            ring.write(f'format = "sealgate-keyring/1"\ncurrent = {version}\n[[version]]\nid = {version}\n'
                       f'key = "{encoded}"\n')
            ring.flush()
            opened = scope["unwrap_kek"](ring.name, name, str(version), wrap(name, version, key, nonce, kek))
            assert opened == kek, name
    print(f"{len(CASES)} vectors open with the program in {DOC.name}")


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        print("\n".join(lines()))
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        sys.exit(__doc__)
