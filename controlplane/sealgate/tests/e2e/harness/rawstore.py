"""The store seen from behind: what a curious or malicious operator can read and change."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class RawObject:
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
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def uploads(self, bucket: str) -> int:
        return len(self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


class FsRaw:
    """A directory store, addressed by its files."""

    def __init__(self, root: Path):
        self.root = root
