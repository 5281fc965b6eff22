"""The store seen from behind: what a curious or malicious operator can read and change."""

import hashlib
import struct
import time
from dataclasses import dataclass
from pathlib import Path

META = "x-amz-meta-"


@dataclass
class RawObject:
    """A stored body, its user metadata (names without prefix) and system headers."""

    body: bytes
    metadata: dict[str, str]
    headers: dict[str, str]


class S3Raw:
    """An S3 store, addressed with the store's own credentials."""

    def __init__(self, client):
        self.client = client

    def get(self, bucket: str, key: str) -> RawObject:
        answer = self.client.get_object(Bucket=bucket, Key=key)
        return RawObject(answer["Body"].read(), answer["Metadata"], {"ContentType": answer["ContentType"]})

    def put(self, bucket: str, key: str, raw: RawObject) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=raw.body, Metadata=raw.metadata, **raw.headers)

    def keys(self, bucket: str) -> list[str]:
        """Every key, the hidden ones too."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]


class FsRaw:
    """A directory store, addressed by its files: body, record and footer in each (see the store's record.rs).

    Written from that description alone, so the tests notice when the layout of stored files changes.
    """

    FOOTER = struct.Struct("<8sHHIQ24s")

    def __init__(self, root: Path):
        self.root = root

    def path(self, bucket: str, key: str) -> Path:
        def escape(piece: str) -> str:
            assert len(piece.encode()) < 248, "long components are cut; not needed here"
            return "".join(f"%{ord(c):02X}" if ord(c) < 32 or c in "%\x7f" else c for c in piece)

        *directories, last = key.split("/")
        return self.root.joinpath(bucket, *(escape(d) + ".d" for d in directories), escape(last) + ".o")

    def get(self, bucket: str, key: str) -> RawObject:
        data = self.path(bucket, key).read_bytes()
        _, _, _, record_length, body_length, _ = self.FOOTER.unpack(data[-self.FOOTER.size :])
        record = data[body_length : body_length + record_length]
        at = 0

        def take(form: str) -> bytes:
            nonlocal at
            (length,) = struct.unpack_from(form, record, at)
            at += struct.calcsize(form)
            value = record[at : at + length]
            at += length
            return value

        take("<H")
        at += 8
        take("<H")
        (count,) = struct.unpack_from("<H", record, at)
        at += 2
        headers = {}
        for _ in range(count):
            name = take("<H").decode()
            headers[name] = take("<I").decode()
        assert at == len(record)
        metadata = {n.removeprefix(META): v for n, v in headers.items() if n.startswith(META)}
        return RawObject(data[:body_length], metadata, {n: v for n, v in headers.items() if not n.startswith(META)})

    def put(self, bucket: str, key: str, raw: RawObject) -> None:
        etag = hashlib.md5(raw.body).hexdigest().encode()
        headers = {**raw.headers, **{META + n: v for n, v in raw.metadata.items()}}
        headers = {"content-type" if n == "ContentType" else n: v for n, v in headers.items()}
        record = struct.pack("<H", len(etag)) + etag + struct.pack("<qH", int(time.time() * 1000), 0)
        record += struct.pack("<H", len(headers))
        for name, value in headers.items():
            record += struct.pack("<H", len(name)) + name.encode() + struct.pack("<I", len(value)) + value.encode()
        start = struct.pack("<8sHHIQ", b"SGATEOBJ", 1, 0, len(record), len(raw.body))
        data = raw.body + record + start + hashlib.sha256(record + start).digest()[:24]
        path = self.path(bucket, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + "-fresh")
        fresh.write_bytes(data)
        fresh.rename(path)

    def keys(self, bucket: str) -> list[str]:
        """Every key, by file names."""
        root = self.root / bucket
        found = []
        for path in root.rglob("*.o"):
            *directories, last = path.relative_to(root).parts
            found.append("/".join([d.removesuffix(".d") for d in directories] + [last.removesuffix(".o")]))
        return found
