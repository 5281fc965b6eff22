"""Test bytes: random-looking, repeatable, and recognisable in a store's raw files."""

import hashlib
import random

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 16384
PART = 5 * MIB


def blob(size: int, seed: object = 0) -> bytes:
    """`size` repeatable bytes that differ for each seed."""
    return random.Random(f"{seed}:{size}").randbytes(size)


def cipher_len(plain: int) -> int:
    """The size law: how long the stored object of `plain` bytes is, whatever way it was uploaded."""
    return plain + 16 * (plain // CHUNK) + 80 * min(10000, plain // PART + 1) + 128


def digest(data: bytes) -> str:
    """A short form of long data, so that a failed comparison does not print megabytes."""
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
