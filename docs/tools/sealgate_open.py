#!/usr/bin/env python3
"""Opens an object that Sealgate stored, without Sealgate: see docs/format.md.

    sealgate_open.py BODY METADATA -o PLAINTEXT --kek HEX --bucket B --key K

BODY is the stored object, as the store returns it. METADATA is the value of its x-amz-meta-sealgate, or a JSON
file: `{"sealgate": "…"}`, or what `aws s3api head-object` prints. The key is the unwrapped KEK (--kek) or the
object's DEK (--dek), as 64 hexadecimal digits or @FILE that holds them, or holds 32 raw bytes; or the gateway's key
ring file (--key-ring). Everything is verified, and PLAINTEXT appears only when all of it was genuine.
Needs Python >= 3.9 (with --key-ring 3.11) and `cryptography` >= 50.
"""
import argparse
import base64
import hashlib
import json
import os
import struct
import sys

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MIB = 1 << 20
LAYOUTS = ("single", "multipart", "empty")
CHECKSUMS = {1: ("CRC32", 4), 2: ("CRC32C", 4), 3: ("CRC64NVME", 8), 4: ("SHA1", 20), 5: ("SHA256", 32), 6: ("MD5", 16)}


class NotGenuine(Exception):
    """The object, its metadata, its place or the key is not the one that was sealed."""


def require(condition, message):
    if not condition:
        raise NotGenuine(message)


class Fields:
    """Takes big-endian fields off the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        require(self.at + size <= len(self.data), "a field is cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def more(self):
        return self.at < len(self.data)


def from_text(text):
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    require(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, "not the one base64 text of its bytes")
    return data


def parse_envelope(text):
    fields = Fields(from_text(text))
    require(fields.number(1) == 1, "unknown version of the envelope")
    layout, binding = fields.number(1), fields.number(1)
    require(layout < len(LAYOUTS) and binding in (0, 1, 2), "unknown layout or binding")
    envelope = {"layout": LAYOUTS[layout], "binding": binding, "object_id": fields.take(16)}
    envelope["key_name"] = fields.take(fields.number(1)).decode()
    envelope["key_version"] = fields.take(fields.number(1)).decode()
    envelope["wrapped_kek"] = fields.take(fields.number(2))
    if layout == 0:
        envelope["plain_len"], envelope["header"] = fields.number(8), fields.take(56)
    elif layout == 2:
        envelope["checksum"] = fields.number(1)
        require(envelope["checksum"] in (0, *CHECKSUMS), "unknown checksum")
    envelope["bound"] = fields.data[:fields.at]
    envelope["dek_nonce"], envelope["wrapped_dek"] = fields.take(12), fields.take(48)
    require(not fields.more(), "bytes follow the envelope")
    return envelope


def unwrap_kek(envelope, args):
    """The KEK: given by hand, or unwrapped with a key ring file. Other key services would plug in here."""
    if args.kek is not None or args.key_ring is None:
        require(args.kek, f"the KEK is needed that key {envelope['key_name']!r}, version {envelope['key_version']!r}, "
                f"wrapped as {envelope['wrapped_kek'].hex()}")
        return args.kek
    import tomllib  # Python >= 3.11
    with open(args.key_ring, "rb") as file:
        versions = {str(version["id"]): version["key"] for version in tomllib.load(file)["version"]}
    require(envelope["key_version"] in versions, f"the key ring has no version {envelope['key_version']!r}")
    key, wrapped = base64.b64decode(versions[envelope["key_version"]]), Fields(envelope["wrapped_kek"])
    require(wrapped.number(1) == 1 and wrapped.take(8), "a KEK that no key ring wrapped")
    aad = f"sealgate/kek/v1\0{envelope['key_name']}\0{envelope['key_version']}".encode()
    return AESGCM(key).decrypt(wrapped.take(12), wrapped.take(48), aad)


def unwrap_dek(envelope, kek, bucket, key):
    bucket, key = os.fsencode(bucket), os.fsencode(key)
    location = [b"", key, struct.pack(">H", len(bucket)) + bucket + key][envelope["binding"]]
    aad = b"sealgate/v1 dek\0" + envelope["bound"] + location
    return AESGCM(kek).decrypt(envelope["dek_nonce"], envelope["wrapped_dek"], aad)


def open_sealed(dek, label, object_id, nonce, sealed, more_aad=b""):
    key = HKDFExpand(SHA512(), 32, label + b"\0" + object_id).derive(dek)
    return AESGCM(key).decrypt(nonce, sealed, label + b"\0" + object_id + more_aad)


def open_metadata(dek, object_id, text):
    data = from_text(text)
    require(data[:1] == b"\x01", "unknown version of the sealed metadata")
    fields, pairs = Fields(open_sealed(dek, b"sealgate/v1 metadata", object_id, data[1:13], data[13:])), {}
    while fields.more():
        name = fields.take(fields.number(2)).decode()
        pairs[name] = fields.take(fields.number(2)).decode()
    return pairs


def stored_len(plain_len):
    return plain_len + 16 * (plain_len // 16384) + 80 * min(10000, plain_len // (5 * MIB) + 1) + 128


def open_trailer(body, size, dek, object_id):
    """Returns plaintext length, [(part number, length)] (number 0 for a single PUT), and checksums."""
    require(size >= 208, "shorter than any object")
    body.seek(size - 8)
    tail = body.read(8)
    require(tail[:4] == b"SGT\x01", "no trailer at the end")
    sealed_len = int.from_bytes(tail[4:], "big")
    require(38 <= sealed_len <= 128 + 8 * 10000 - 8 and sealed_len + 8 <= size, "the trailer has an impossible length")
    body.seek(size - 8 - sealed_len)
    sealed = body.read(sealed_len)
    fields = Fields(open_sealed(dek, b"sealgate/v1 trailer", object_id, sealed[:12], sealed[12:], tail))
    layout, plain_len, checksums, parts = fields.number(1), fields.number(8), {}, []
    for _ in range(fields.number(1)):
        code = fields.number(1)
        require(code & 0x7F in CHECKSUMS, "unknown checksum")
        name, length = CHECKSUMS[code & 0x7F]
        checksums[name + (" of parts" if code & 0x80 else "")] = base64.b64encode(fields.take(length)).decode()
    while fields.more():
        number, length = fields.number(2), fields.number(6)
        count = fields.number(2) if number & 0x8000 else 1
        parts += [((number & 0x7FFF) + i, length) for i in range(count)]
    require(layout in (0, 1) and (layout == 1) == bool(parts), "parts that do not go with the layout")
    require(stored_len(plain_len) == size, "the object has not the length that its trailer says")
    parts = parts or [(0, plain_len)]
    require(sum(length for _, length in parts) == plain_len, "the parts do not add up")
    streams = sum(72 + length + 16 * (length // 16384) for _, length in parts)
    body.seek(streams)
    padding = size - 8 - sealed_len - streams
    require(padding >= 0 and body.read(padding) == bytes(padding), "the padding is not zero")
    return plain_len, parts, checksums


def checksums_of_nothing(code):
    """What a folder marker carries: CRCs of no bytes are zero."""
    if code == 0:
        return {}
    name, length = CHECKSUMS[code]
    value = bytes(length) if name.startswith("CRC") else hashlib.new(name.lower(), usedforsecurity=False).digest()
    return {name: base64.b64encode(value).decode()}


def open_object(body, size, envelope, dek, out):
    """Writes the plaintext to `out`, and returns the checksums that the object carries."""
    if envelope["layout"] == "empty":
        require(size == 0, "a folder marker with a body")
        return checksums_of_nothing(envelope["checksum"])
    plain_len, parts, checksums = open_trailer(body, size, dek, envelope["object_id"])
    require((envelope["layout"] == "single") == (parts[0][0] == 0), "another layout than the envelope says")
    body.seek(0)
    if envelope["layout"] == "single":
        require(envelope["plain_len"] == plain_len, "another length than the envelope says")
        require(body.read(56) == envelope["header"], "another stream than the envelope says")
        body.seek(0)
    for number, length in parts:
        context = b"sealgate/v1\0" + envelope["object_id"] + struct.pack(">H", number)
        decryptor, left = Cobblestone256Decryptor(dek, context), 72 + length + 16 * (length // 16384)
        while left:
            piece = body.read(min(left, MIB))
            require(piece, "the object is cut short")
            left -= len(piece)
            out.write(decryptor.update(piece))
        out.write(decryptor.finalize())
    return checksums


def hex_key(text):
    data = open(text[1:], "rb").read() if text.startswith("@") else text.encode()
    key = data if len(data) == 32 else bytes.fromhex(data.decode())
    if len(key) != 32:
        raise argparse.ArgumentTypeError("a key has 32 bytes")
    return key


def read_metadata(argument):
    if not os.path.exists(argument):
        return {"sealgate": argument}
    with open(argument, encoding="utf-8") as file:
        metadata = json.load(file)
    metadata = {name.lower(): value for name, value in metadata.get("Metadata", metadata).items()}
    return {name.removeprefix("x-amz-meta-"): value for name, value in metadata.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("body")
    parser.add_argument("metadata")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--bucket", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--kek", type=hex_key)
    parser.add_argument("--dek", type=hex_key)
    parser.add_argument("--key-ring", metavar="FILE")
    args = parser.parse_args()
    part = args.output + ".part"
    try:
        metadata = read_metadata(args.metadata)
        envelope = parse_envelope(metadata["sealgate"])
        dek = args.dek or unwrap_dek(envelope, unwrap_kek(envelope, args), args.bucket, args.key)
        sealed = metadata.get("sealgate-m")
        pairs = open_metadata(dek, envelope["object_id"], sealed) if sealed else {}
        with open(args.body, "rb") as body, open(part, "wb") as out:
            checksums = open_object(body, os.path.getsize(args.body), envelope, dek, out)
        os.replace(part, args.output)
    except (NotGenuine, InvalidTag, ValueError, KeyError) as error:
        if os.path.exists(part):
            os.remove(part)
        sys.exit(f"not genuine: {error or type(error).__name__}")
    report = {"key_name": envelope["key_name"], "metadata": pairs, "checksums": checksums}
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
