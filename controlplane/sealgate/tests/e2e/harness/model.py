"""A small S3 in memory: what the gateway's answers are compared with.

Written from Amazon's API Reference, it knows nothing of encryption. What only a store can choose (ETags, upload ids,
dates) it learns from the first answer that tells, and holds every later answer to that.
"""

import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

MIN_PART = 5 << 20
PRECONDITION = ("PreconditionFailed", 412)


@dataclass
class Refusal:
    """The errors of which one has to come: (code, status), several where a request has several faults."""

    faults: set[tuple[str, int]]


@dataclass
class Object:
    data: bytes
    # Content-Type and its like, and x-amz-meta-*, names in lower case.
    headers: dict[str, str]
    etag: str
    # Sizes of the parts; None where the store may have forgotten them (a copy).
    parts: list[int] | None
    checksum: tuple[str, str] | None = None
    modified: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Upload:
    key: str
    headers: dict[str, str]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    # Once completed: the ETag and the list it was completed with.
    done: tuple[str, list[int]] | None = None
    aborted: bool = False


@dataclass
class Read:
    """What a successful GET or HEAD says."""

    status: int
    headers: dict[str, str]
    body: bytes


def parse_range(text: str, size: int) -> tuple[int, int] | None | str:
    """First byte and one past the last; None for what is no range, "bad" for one that cannot be satisfied."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", text)
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else "bad"
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        return "bad"
    return int(first), min(size, int(last) + 1) if last else size


class Model:
    """One bucket."""

    def __init__(self):
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}

    # -- conditions

    def _write_faults(self, key: str, condition: dict[str, str]) -> set:
        here = self.objects.get(key)
        if condition.get("If-None-Match") == "*" and here:
            return {PRECONDITION}
        wanted = condition.get("If-Match")
        if wanted and not here:
            # S3 says 404, many stores 412.
            return {("NoSuchKey", 404), PRECONDITION}
        if wanted and here.etag != wanted:
            return {PRECONDITION}
        return set()

    @staticmethod
    def _read_verdict(found: Object, condition: dict[str, str], stem: str = "") -> int:
        match, none_match = condition.get(f"{stem}If-Match"), condition.get(f"{stem}If-None-Match")
        since, until = condition.get(f"{stem}If-Modified-Since"), condition.get(f"{stem}If-Unmodified-Since")
        changed = parsedate_to_datetime(found.modified) if since or until else None
        if until and changed > parsedate_to_datetime(until):
            return 412
        if since and changed <= parsedate_to_datetime(since):
            return 412 if stem else 304
        if match and match not in ("*", found.etag):
            return 412
        if none_match and none_match in ("*", found.etag):
            return 412 if stem else 304
        return 200

    # -- objects

    def put(self, key: str, data: bytes, headers: dict, condition: dict, checksum=None, tags=None):
        if faults := self._write_faults(key, condition):
            return Refusal(faults)
        self.objects[key] = Object(data, headers, "", [], checksum, tags=tags or {})
        return self.objects[key]

    def read(self, key: str, condition: dict, range_: str | None, part: int | None, overrides: dict):
        found = self.objects.get(key)
        if not found:
            return Refusal({("NoSuchKey", 404)})
        verdict = self._read_verdict(found, condition)
        if verdict == 412:
            return Refusal({PRECONDITION})
        if verdict == 304:
            return Read(304, {"etag": found.etag}, b"")
        size, status, span = len(found.data), 200, (0, len(found.data))
        headers = {"etag": found.etag, "accept-ranges": "bytes", **found.headers}
        if part is not None:
            sizes = found.parts or [size]
            if part > len(sizes):
                return Refusal({("InvalidPartNumber", 416)})
            start = sum(sizes[: part - 1])
            # An empty part has no Content-Range, so it is no partial answer.
            span, status = (start, start + sizes[part - 1]), 206 if sizes[part - 1] else 200
            if found.parts:
                headers["x-amz-mp-parts-count"] = str(len(sizes))
        elif range_ is not None:
            wanted = parse_range(range_, size)
            if wanted == "bad":
                return Refusal({("InvalidRange", 416)})
            if wanted:
                span, status = wanted, 206
        if status == 206 and span[1] > span[0]:
            headers["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
        if found.checksum and status == 200:
            headers[found.checksum[0]] = found.checksum[1]
        headers |= overrides
        headers["content-length"] = str(span[1] - span[0])
        return Read(status, headers, found.data[span[0] : span[1]])

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def copy(self, source: str, key: str, replace: dict | None, source_condition: dict, tags=None, checksum=None):
        """`replace` holds the new headers under REPLACE, `tags` the new tags; `checksum` makes one anew."""
        found = self.objects.get(source)
        faults = set()
        if not found:
            faults.add(("NoSuchKey", 404))
        elif self._read_verdict(found, source_condition, "x-amz-copy-source-") != 200:
            faults.add(PRECONDITION)
        if source == key and replace is None and checksum is None:
            faults.add(("InvalidRequest", 400))
        if faults:
            return Refusal(faults)
        headers = found.headers if replace is None else replace
        kept = checksum(found.data) if checksum else found.checksum
        tags = dict(found.tags) if tags is None else tags
        self.objects[key] = Object(found.data, headers, "", None, kept, tags=tags)
        return self.objects[key]

    # -- multipart

    def create(self, upload_id: str, key: str, headers: dict) -> None:
        self.uploads[upload_id] = Upload(key, headers)

    def _open(self, upload_id: str) -> Upload | None:
        upload = self.uploads[upload_id]
        return None if upload.aborted or upload.done else upload

    def part_data(self, upload_id: str, data: bytes):
        """The bytes that would become a part, or why they would not."""
        return data if self._open(upload_id) else Refusal({("NoSuchUpload", 404)})

    def copied_part(self, upload_id: str, source: str, range_: tuple[int, int] | None):
        faults = set()
        if not self._open(upload_id):
            faults.add(("NoSuchUpload", 404))
        found = self.objects.get(source)
        if not found:
            faults.add(("NoSuchKey", 404))
        elif range_ and range_[1] >= len(found.data):
            faults |= {("InvalidArgument", 400), ("InvalidRange", 416), ("InvalidRequest", 400)}
        if faults:
            return Refusal(faults)
        return found.data[range_[0] : range_[1] + 1] if range_ else found.data

    def complete(self, upload_id: str, chosen: list[tuple[int, str]], condition: dict):
        upload = self.uploads[upload_id]
        numbers = [n for n, _ in chosen]
        if upload.done:
            here = self.objects.get(upload.key)
            # The answer to the first may have been lost: a repetition is that success, while the object is there.
            if here and here.etag == upload.done[0] and numbers == upload.done[1]:
                return here
            return Refusal({("NoSuchUpload", 404), *self._write_faults(upload.key, condition)})
        if upload.aborted:
            return Refusal({("NoSuchUpload", 404)})
        faults = self._write_faults(upload.key, condition)
        if numbers != sorted(set(numbers)):
            faults.add(("InvalidPartOrder", 400))
        for number, etag in chosen:
            if number not in upload.parts or upload.parts[number][1] != etag:
                faults.add(("InvalidPart", 400))
        if any(len(upload.parts[n][0]) < MIN_PART for n in numbers[:-1] if n in upload.parts):
            faults.add(("EntityTooSmall", 400))
        if faults:
            return Refusal(faults)
        sizes = [len(upload.parts[n][0]) for n in numbers]
        data = b"".join(upload.parts[n][0] for n in numbers)
        upload.done = ("", numbers)
        self.objects[upload.key] = Object(data, upload.headers, "", sizes)
        return self.objects[upload.key]

    def abort(self, upload_id: str) -> None:
        self.uploads[upload_id].aborted = True

    def parts(self, upload_id: str):
        upload = self._open(upload_id)
        if not upload:
            return Refusal({("NoSuchUpload", 404)})
        return [(n, len(data), etag) for n, (data, etag) in sorted(upload.parts.items())]

    def unfinished(self, prefix: str) -> list[str]:
        return sorted(
            u.key for u in self.uploads.values() if not u.aborted and not u.done and u.key.startswith(prefix)
        )

    # -- listings

    def listing(self, prefix: str, delimiter: str, after: str) -> list[tuple]:
        """("key", size, ETag) of each object and ("prefix/",) of each common prefix, in bytewise order."""
        entries: dict[str, tuple] = {}
        for key in sorted(self.objects, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= after.encode():
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                rolled = prefix + rest[: rest.index(delimiter) + len(delimiter)]
                entries.setdefault(rolled, (rolled,))
            else:
                entries[key] = (key, len(self.objects[key].data), self.objects[key].etag)
        return [entries[k] for k in sorted(entries, key=str.encode)]
