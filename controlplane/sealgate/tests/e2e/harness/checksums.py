"""The S3 checksums in plain Python, independent of the gateway's and of boto3's."""

import base64
import hashlib
import zlib


def _table(polynomial: int) -> list[int]:
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ polynomial if i & 1 else i >> 1
        table.append(i)
    return table


_CRC32C = _table(0x82F63B78)
_CRC64NVME = _table(0x9A6C9329AC4BC9B5)


def crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def crc32c(data: bytes) -> bytes:
    c = 0xFFFFFFFF
    for byte in data:
        c = (c >> 8) ^ _CRC32C[(c ^ byte) & 0xFF]
    return (c ^ 0xFFFFFFFF).to_bytes(4, "big")


def crc64nvme(data: bytes) -> bytes:
    mask = 0xFFFFFFFFFFFFFFFF
    c = mask
    for byte in data:
        c = (c >> 8) ^ _CRC64NVME[(c ^ byte) & 0xFF]
    return (c ^ mask).to_bytes(8, "big")


# Algorithm as in x-amz-sdk-checksum-algorithm, and its function.
ALL = {
    "CRC32": crc32,
    "CRC32C": crc32c,
    "CRC64NVME": crc64nvme,
    "SHA1": lambda d: hashlib.sha1(d).digest(),
    "SHA256": lambda d: hashlib.sha256(d).digest(),
}


def encoded(algorithm: str, data: bytes) -> str:
    """The header or trailer value."""
    return base64.b64encode(ALL[algorithm](data)).decode()


def header(algorithm: str) -> str:
    return f"x-amz-checksum-{algorithm.lower()}"


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()
