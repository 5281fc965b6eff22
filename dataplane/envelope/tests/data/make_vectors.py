#!/usr/bin/env python3
"""Makes objects.json: objects of the Sealgate format, written from docs/format.md with PyPI `cryptography`.

It shares no code with the gateway. Needs `cryptography` >= 50. Every run makes other vectors, since
Cobblestone draws its own salts; all random choices are recorded in the vectors.

    python3 make_vectors.py > objects.json
"""
import base64
import hashlib
import hmac
import json
import os
import struct
import sys
import zlib

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MIB = 1 << 20
CHECKSUMS = {  # name: (code, plaintext -> value); "composite" ones only record given bytes
    "crc32": (1, lambda plain: struct.pack(">I", zlib.crc32(plain))),
    "sha1": (4, lambda plain: hashlib.sha1(plain).digest()),
    "sha256": (5, lambda plain: hashlib.sha256(plain).digest()),
    "md5": (6, lambda plain: hashlib.md5(plain).digest()),
}


def pattern(start, length):
    """Byte i of every plaintext is i mod 251."""
    cycle = bytes(range(251))
    first = start % 251
    return (cycle * (length // 251 + 2))[first:first + length]


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def derive(dek, label, object_id):
    return HKDFExpand(SHA512(), 32, label + b"\0" + object_id).derive(dek)


def stream(dek, object_id, number, plain):
    encryptor = Cobblestone256Encryptor(dek, b"sealgate/v1\0" + object_id + struct.pack(">H", number))
    return encryptor.update(plain) + encryptor.finalize()


def stored_len(plain_len):
    return plain_len + 16 * (plain_len // 16384) + 80 * min(10000, plain_len // (5 * MIB) + 1) + 128


def part_list(parts):
    """Runs of (number, length), consecutive numbers of equal length."""
    runs = []
    for number, length in parts:
        if runs and runs[-1][0] + runs[-1][2] == number and runs[-1][1] == length:
            runs[-1][2] += 1
        else:
            runs.append([number, length, 1])
    out = b""
    for number, length, count in runs:
        out += struct.pack(">H", number | (0x8000 if count > 1 else 0)) + length.to_bytes(6, "big")
        out += struct.pack(">H", count) if count > 1 else b""
    return out


def trailer(dek, object_id, nonce, parts, plain_len, checksums, streams_len):
    listed = struct.pack(">BQB", 1 if parts else 0, plain_len, len(checksums))
    for code, value in sorted(checksums):
        listed += bytes([code]) + value
    listed += part_list(parts)
    tail = b"SGT\x01" + struct.pack(">I", 12 + len(listed) + 16)
    label = b"sealgate/v1 trailer"
    sealed = AESGCM(derive(dek, label, object_id)).encrypt(nonce, listed, label + b"\0" + object_id + tail)
    end = nonce + sealed + tail
    return bytes(stored_len(plain_len) - streams_len - len(end)) + end


def make(name, lengths, binding, wrapped_len, numbers=None, checksums=(), metadata=()):
    """`numbers` None is a single PUT of the one length, or, where there is none, a folder marker."""
    kek, dek, object_id = os.urandom(32), os.urandom(32), os.urandom(16)
    bucket, key = "photos", "2024/Zürich ü+%2F.jpg" if lengths else "2024/Zürich ü+%2F/"
    layout = "multipart" if numbers else "single" if lengths else "empty"
    vector = {"name": name, "kek": kek.hex(), "dek": dek.hex(), "object_id": object_id.hex(), "bucket": bucket,
              "key": key, "binding": binding, "key_name": "main", "key_version": "v7"}
    body, parts, start = b"", [], 0
    for number, length in zip(numbers or [0], lengths):  # none in a marker
        part = stream(dek, object_id, number, pattern(start, length))
        parts.append({"number": number, "len": length, "salt": part[:24].hex()})
        body, start = body + part, start + length
    plain = pattern(0, start)
    values = []
    for algorithm in checksums:
        code, compute = CHECKSUMS[algorithm.removesuffix("/composite")]
        composite = algorithm.endswith("/composite")
        values.append((code | (0x80 if composite else 0), compute(plain)))
    header, trailer_nonce = body[:56], os.urandom(12)
    listed = [(part["number"], part["len"]) for part in parts] if numbers else []
    if layout != "empty":
        body += trailer(dek, object_id, trailer_nonce, listed, start, values, len(body))
        assert len(body) == stored_len(start)

    wrapped_kek, dek_nonce = os.urandom(wrapped_len), os.urandom(12)
    codes = {"none": 0, "key": 1, "bucket+key": 2}
    fields = bytes([1, ["single", "multipart", "empty"].index(layout), codes[binding]]) + object_id
    for field in (vector["key_name"].encode(), vector["key_version"].encode()):
        fields += bytes([len(field)]) + field
    fields += struct.pack(">H", len(wrapped_kek)) + wrapped_kek
    if layout == "single":
        fields += struct.pack(">Q", start) + header
    elif layout == "empty":
        fields += bytes([values[0][0] if values else 0])
    location = {"none": b"", "key": key.encode(),
                "bucket+key": struct.pack(">H", len(bucket)) + bucket.encode() + key.encode()}[binding]
    wrapped_dek = AESGCM(kek).encrypt(dek_nonce, dek, b"sealgate/v1 dek\0" + fields + location)
    envelope = fields + dek_nonce + wrapped_dek
    assert len(text(envelope)) <= 600
    vector.update(wrapped_kek=wrapped_kek.hex(), dek_nonce=dek_nonce.hex(), envelope=text(envelope),
                  layout=layout, parts=parts, plain_len=start,
                  trailer_nonce=trailer_nonce.hex(), checksums=[[code, value.hex()] for code, value in values],
                  body_sha256=hashlib.sha256(body).hexdigest(),
                  body=base64.b64encode(body).decode() if len(body) <= 40000 else None)

    metadata_nonce, label = os.urandom(12), b"sealgate/v1 metadata"
    listed = b""
    for field in (field.encode() for pair in metadata for field in pair):
        listed += struct.pack(">H", len(field)) + field
    sealed = AESGCM(derive(dek, label, object_id)).encrypt(metadata_nonce, listed, label + b"\0" + object_id)
    vector.update(metadata_nonce=metadata_nonce.hex(), metadata=metadata,
                  sealed_metadata=text(b"\x01" + metadata_nonce + sealed))

    if numbers:
        backend_id = "2~" + text(os.urandom(60))
        signed = struct.pack(">H", len(backend_id)) + backend_id.encode() + envelope
        mac_key = derive(dek, b"sealgate/v1 upload id", object_id)
        mac = hmac.new(mac_key, signed, hashlib.sha512).digest()[:32]
        vector.update(backend_id=backend_id, upload_id="sg1-" + text(signed + mac))
    return vector


def main():
    everything = ["crc32", "sha1", "sha256", "md5"]
    named = [["color", "blue"], ["Ünïcode", "naïve ✓"], ["empty", ""]]
    objects = [make(f"single, {n} bytes", [n], "key", 60, checksums=["sha256"] if n % 2 else [], metadata=named)
               for n in (0, 1, 15, 16, 16383, 16384, 16385, 32768)]
    objects.append(make("single, bound to nothing, every checksum", [100], "none", 184, checksums=everything))
    objects.append(make("single, bound to bucket and key, 300 bytes of wrap less names", [7], "bucket+key", 290))
    objects.append(make("single, 5 MiB - 1", [5 * MIB - 1], "key", 89))
    objects.append(make("single, 5 MiB", [5 * MIB], "key", 89))
    objects.append(make("single, 11 MiB", [11 * MIB], "key", 89, metadata=named))
    objects.append(make("one small part", [3], "key", 60, numbers=[1], metadata=named))
    objects.append(make("one empty part", [0], "key", 60, numbers=[10000]))
    objects.append(make("three parts, two of them equal", [5 * MIB, 5 * MIB, 70000], "key", 184, numbers=[1, 2, 3],
                        checksums=["crc32", "sha256/composite"], metadata=named))
    objects.append(make("gaps and an empty last part", [5 * MIB + 1, 6 * MIB, 0], "bucket+key", 184,
                        numbers=[2, 5, 9999]))
    objects.append(make("folder marker", [], "key", 60, metadata=named))
    objects.append(make("folder marker with a checksum, bound to bucket and key", [], "bucket+key", 184,
                        checksums=["sha256"], metadata=named))
    json.dump({"objects": objects}, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
