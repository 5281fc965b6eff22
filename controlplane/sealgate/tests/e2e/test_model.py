"""Random sequences of operations, sent to the gateway and to a small S3 in memory; every answer is compared.

A failure prints the shortest sequence found that shows it, and the seed. SEALGATE_MODEL_SEED takes another seed
("random" for a new one each time), SEALGATE_MODEL_EXAMPLES another number of sequences.
"""

import base64
import datetime
import itertools
import os
import random
import re
import urllib.parse
import xml.etree.ElementTree as ET
import zlib
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, Phase, seed, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test

from harness import DIRECT, checksums
from harness.data import CHUNK, MIB, blob, digest
from harness.model import Model, Read, Refusal
from harness.sigv4 import key_path, query_string

SEED = os.environ.get("SEALGATE_MODEL_SEED", "20261123")
EXAMPLES = int(os.environ.get("SEALGATE_MODEL_EXAMPLES", "8"))

# SeaweedFS holds no `a` beside `a/b`, no empty or dotted path components, and no metadata under `a/` (docs/s3-operations.md).
KEYS = {
    "seaweed": ["a", "b+c d%2F", "dir/x", "dir/sub/ü", "dir/sub/z~", "zebra"],
    "fs": ["a", "a/b", "a//b", "b+c d%2F", "dir/x", "dir/sub/ü", "dir/./y", "dir/", "dir/sub/", "dir-", "zebra\n"],
}
DELIMITERS = {"seaweed": ["", "/"], "fs": ["", "/", "b", "sub/"]}
WRONG_ETAG = '"0123456789abcdef0123456789abcdef"'

SIZES = st.sampled_from([0, 1, 700, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, MIB + 7])
PART_SIZES = st.sampled_from([0, 1, CHUNK, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 5 * MIB + CHUNK + 9])
HEADERS = st.fixed_dictionaries(
    {"content-type": st.sampled_from(["text/plain", "application/x-thing; charset=utf-8"])},
    optional={
        "cache-control": st.just("no-store, max-age=0"),
        "content-disposition": st.just('attachment; filename="a b.txt"'),
        "content-language": st.just("de-CH"),
        "content-encoding": st.just("gzip"),
        "expires": st.just("Wed, 21 Oct 2015 07:28:00 GMT"),
        "x-amz-meta-one": st.text("abc XYZ019-_=+/.;:,", min_size=1, max_size=40).map(str.strip).filter(bool),
        "x-amz-meta-two-2": st.just("2"),
    },
)
RANGES = st.sampled_from(
    ["bytes=0-0", "bytes=0-", "bytes=1-", "bytes=-1", "bytes=-16390", "bytes=-0", "bytes=16383-16384", "bytes=700-99999999"]
    + ["bytes=99999999-", "bytes=5-2", "bytes=0-1,3-4", "nonsense"]
)
OVERRIDES = st.sampled_from(
    [{}, {}, {}, {"content-type": "text/override"}, {"cache-control": "no-cache", "content-disposition": "inline"}]
)
# What a condition compares with: the object's own ETag, one that it had before, one that no object has, any.
WHOSE = st.sampled_from(["own", "old", "wrong", "*"])
INDEX = st.integers(0, 30)
READ_CONDITIONS = ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"]
TAGS = st.dictionaries(st.sampled_from(["team", "a b+c/=@"]), st.sampled_from(["", "x y", "1:2-3_4"]), max_size=2)
EPOCH, DAY = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(days=1)


def local(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def fields(element: ET.Element) -> dict[str, str]:
    return {local(child): child.text or "" for child in element}


class Session(RuleBasedStateMachine):
    """One sequence, under a key prefix of its own."""

    uploads = Bundle("uploads")
    serial = itertools.count()

    def __init__(self, place, bucket):
        super().__init__()
        self.bucket, self.wire = bucket, place.wire()
        self.store = "seaweed" if DIRECT else place.store
        self.keys, self.delimiters = KEYS[self.store], DELIMITERS[self.store]
        self.prefix = f"model{next(Session.serial):04d}/"
        self.model = Model()
        self.old_etags: dict[str, str] = {}

    # -- requests and comparisons

    def key(self, index: int) -> str:
        return self.prefix + self.keys[index % len(self.keys)]

    def send(self, method: str, key: str | None, query=(), headers=None, body: bytes = b""):
        path = f"/{self.bucket}" if key is None else key_path(self.bucket, key)
        target = f"{path}?{query_string(list(query))}" if query else path
        return self.wire.request(method, target, dict(headers or {}), body)

    def refused(self, answer, expected) -> bool:
        """Whether a refusal was due; then it was one of those due."""
        if not isinstance(expected, Refusal):
            assert answer.status < 300 or answer.status == 304, f"unexpected refusal: {answer}"
            return False
        statuses = {status for _, status in expected.faults}
        assert answer.status in statuses, f"expected {expected.faults}, got {answer}"
        if answer.body:
            assert (answer.code, answer.status) in expected.faults, f"expected {expected.faults}, got {answer}"
            assert answer.headers["content-type"] == "application/xml"
        return True

    def condition(self, kind: str | None, whose: str, key: str, stem: str = "") -> dict[str, str]:
        if kind is None:
            return {}
        own = self.model.objects.get(key)
        if kind.endswith("Since"):
            # Its own second, or the day before it.
            if own and not own.modified:
                self.look("HEAD", key)
            date = parsedate_to_datetime(own.modified) if own else EPOCH
            return {f"{stem}{kind}": format_datetime(date if whose == "own" else date - DAY, usegmt=True)}
        etag = {
            "own": own.etag if own else WRONG_ETAG,
            "old": self.old_etags.get(key, WRONG_ETAG),
            "wrong": WRONG_ETAG,
            "*": "*",
        }[whose]
        return {f"{stem}{kind}": etag}

    def write_condition(self, kind: str | None, whose: str, key: str) -> dict[str, str]:
        """A write knows If-None-Match: * and If-Match: an ETag."""
        if kind == "If-None-Match":
            return {kind: "*"}
        return self.condition(kind, "own" if whose == "*" else whose, key)

    def learn(self, key: str, etag: str) -> None:
        """An object has been written: its ETag is quoted, no MD5, and that of no other content under this key."""
        found = self.model.objects[key]
        assert re.fullmatch(r'"[^"]+"', etag), f"ETag {etag}"
        if not DIRECT:
            assert not re.fullmatch(r'"[0-9a-f]{32}"', etag), f"ETag {etag} looks like an MD5"
        if key in self.old_etags and self.old_etags[key] == etag:
            # Only the same bytes may have the same tag, and sealed anew they are not the same.
            assert DIRECT or found.data == b"" or found.parts is None, f"ETag {etag} twice"
        found.etag = self.old_etags[key] = etag

    # -- objects

    @rule(
        index=INDEX,
        size=SIZES,
        headers=HEADERS,
        kind=st.sampled_from([None, None, None, "If-None-Match", "If-Match"]),
        whose=WHOSE,
        checksum=st.sampled_from([None, "right", "wrong"]),
        salt=st.integers(0, 3),
        tags=st.one_of(st.none(), st.none(), TAGS),
    )
    def put(self, index, size, headers, kind, whose, checksum, salt, tags):
        key = self.key(index)
        if key.endswith("/") and salt % 2:
            size = 0  # A folder marker.
        data = blob(size, salt)
        condition, sent, kept = self.write_condition(kind, whose, key), dict(headers), None
        if checksum:
            value = base64.b64encode(zlib.crc32(data + (b"!" if checksum == "wrong" else b"")).to_bytes(4, "big")).decode()
            sent["x-amz-checksum-crc32"] = value
            kept = ("x-amz-checksum-crc32", value)
        if tags:
            sent["x-amz-tagging"] = urllib.parse.urlencode(tags)
        answer = self.send("PUT", key, headers=sent | condition, body=data)
        if checksum == "wrong":
            faults = self.model._write_faults(key, condition) | {("BadDigest", 400)}
            assert self.refused(answer, Refusal(faults))
            return
        expected = self.model.put(key, data, headers, condition, kept, tags)
        if not self.refused(answer, expected):
            self.learn(key, answer.headers["etag"])

    @rule(
        method=st.sampled_from(["GET", "HEAD"]),
        index=INDEX,
        kind=st.sampled_from([None, None, None, *READ_CONDITIONS]),
        whose=WHOSE,
        what=st.one_of(st.none(), RANGES, st.integers(1, 4)),
        overrides=OVERRIDES,
    )
    def read(self, method, index, kind, whose, what, overrides):
        self.look(method, self.key(index), kind, whose, what, overrides)

    def look(self, method, key, kind=None, whose="own", what=None, overrides={}):
        condition = self.condition(kind, whose, key)
        found = self.model.objects.get(key)
        part = what if isinstance(what, int) else None
        if part and found and (found.parts is None or DIRECT):
            part = what = None  # A store may forget the parts of what it copies.
        range_ = what if isinstance(what, str) else None
        query = [(f"response-{name}", value) for name, value in overrides.items()]
        query += [("partNumber", str(part))] if part else []
        sent = condition | ({"Range": range_} if range_ else {})
        sent["x-amz-checksum-mode"] = "ENABLED"
        answer = self.send(method, key, query, sent)
        expected = self.model.read(key, condition, range_, part, overrides)
        if self.refused(answer, expected):
            return
        assert isinstance(expected, Read)
        assert answer.status == expected.status, f"expected {expected.status}, got {answer.status} {answer.headers}"
        if found and not found.modified and "last-modified" in answer.headers:
            found.modified = answer.headers["last-modified"]
        got = {name: answer.headers.get(name) for name in expected.headers}
        assert got == expected.headers
        metadata = {n: v for n, v in answer.headers.items() if n.startswith("x-amz-meta-")}
        if answer.status != 304:
            assert metadata == {n: v for n, v in found.headers.items() if n.startswith("x-amz-meta-")}
            assert answer.headers["last-modified"] == found.modified
        if method == "GET":
            assert digest(answer.body) == digest(expected.body)

    @rule(index=INDEX)
    def delete(self, index):
        key = self.key(index)
        assert self.send("DELETE", key).status == 204
        self.model.delete(key)

    @rule(indexes=st.lists(INDEX, min_size=1, max_size=4), quiet=st.booleans())
    def delete_many(self, indexes, quiet):
        keys = [self.key(i) for i in indexes]
        root = ET.Element("Delete")
        ET.SubElement(root, "Quiet").text = str(quiet).lower()
        for key in keys:
            ET.SubElement(ET.SubElement(root, "Object"), "Key").text = key
        body = ET.tostring(root)
        checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        answer = self.send("POST", None, [("delete", "")], {"x-amz-checksum-crc32": checksum}, body)
        assert answer.status == 200, answer
        told = [fields(e)["Key"] for e in ET.fromstring(answer.body) if local(e) == "Deleted"]
        assert sorted(set(told)) == ([] if quiet else sorted(set(keys)))
        assert b"<Error>" not in answer.body, answer
        for key in keys:
            self.model.delete(key)

    @rule(
        source=INDEX,
        index=INDEX,
        replace=st.one_of(st.none(), HEADERS),
        kind=st.sampled_from([None, None, None, *READ_CONDITIONS]),
        whose=st.sampled_from(["own", "old", "wrong"]),
        tags=st.one_of(st.none(), TAGS),
        algorithm=st.sampled_from([None, None, None, "CRC32", "SHA256"]),
    )
    def copy(self, source, index, replace, kind, whose, tags, algorithm):
        source, key = self.key(source), self.key(index)
        condition = self.condition(kind, whose, source, "x-amz-copy-source-")
        sent = {"x-amz-copy-source": urllib.parse.quote(f"{self.bucket}/{source}"), **condition}
        if replace is not None:
            sent |= {"x-amz-metadata-directive": "REPLACE", **replace}
        if tags is not None:
            sent |= {"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": urllib.parse.urlencode(tags)}
        if algorithm:
            sent["x-amz-checksum-algorithm"] = algorithm

        sum_of = algorithm and (lambda data: (checksums.header(algorithm), checksums.encoded(algorithm, data)))
        answer = self.send("PUT", key, headers=sent)
        expected = self.model.copy(source, key, replace, condition, tags, sum_of)
        if not self.refused(answer, expected):
            told = fields(ET.fromstring(answer.body))
            self.learn(key, told["ETag"])
            if algorithm and not DIRECT:
                assert told[f"Checksum{algorithm}"] == expected.checksum[1]

    @rule(index=INDEX, change=st.one_of(st.none(), st.just("DELETE"), TAGS))
    def tags(self, index, change):
        """Reads an object's tags, or changes them."""
        key = self.key(index)
        found, query = self.model.objects.get(key), [("tagging", "")]
        if isinstance(change, dict):
            root = ET.Element("Tagging")
            tag_set = ET.SubElement(root, "TagSet")
            for name, value in change.items():
                tag = ET.SubElement(tag_set, "Tag")
                ET.SubElement(tag, "Key").text, ET.SubElement(tag, "Value").text = name, value
            body = ET.tostring(root)
            sum_ = {"x-amz-checksum-crc32": checksums.encoded("CRC32", body)}
            answer = self.send("PUT", key, query, sum_, body)
        else:
            answer = self.send(change or "GET", key, query)
        if self.refused(answer, found or Refusal({("NoSuchKey", 404)})):
            return
        if isinstance(change, dict):
            found.tags = change
        elif change:
            found.tags = {}
        else:
            told = [fields(e) for e in ET.fromstring(answer.body).iter() if local(e) == "Tag"]
            assert {t["Key"]: t["Value"] for t in told} == found.tags

    # -- multipart uploads

    @rule(target=uploads, index=INDEX, headers=HEADERS)
    def create_upload(self, index, headers):
        key = self.key(index)
        answer = self.send("POST", key, [("uploads", "")], headers)
        assert answer.status == 200, answer
        told = fields(ET.fromstring(answer.body))
        assert (told["Bucket"], told["Key"]) == (self.bucket, key)
        self.model.create(told["UploadId"], key, headers)
        return told["UploadId"]

    @rule(upload=uploads, number=st.integers(1, 3), size=PART_SIZES, salt=st.integers(0, 2))
    def upload_part(self, upload, number, size, salt):
        data = blob(size, f"part{salt}")
        query = [("partNumber", str(number)), ("uploadId", upload)]
        answer = self.send("PUT", self.model.uploads[upload].key, query, body=data)
        expected = self.model.part_data(upload, data)
        if not self.refused(answer, expected):
            self.model.uploads[upload].parts[number] = (data, answer.headers["etag"])

    @rule(
        upload=uploads,
        number=st.integers(1, 3),
        source=INDEX,
        range_=st.sampled_from([None, None, (0, 0), (5, 16390), (0, 5 * MIB), (1, 99_999_999)]),
    )
    def upload_part_copy(self, upload, number, source, range_):
        source = self.key(source)
        sent = {"x-amz-copy-source": urllib.parse.quote(f"{self.bucket}/{source}")}
        if range_:
            sent["x-amz-copy-source-range"] = f"bytes={range_[0]}-{range_[1]}"
        query = [("partNumber", str(number)), ("uploadId", upload)]
        answer = self.send("PUT", self.model.uploads[upload].key, query, sent)
        expected = self.model.copied_part(upload, source, range_)
        if not self.refused(answer, expected):
            etag = fields(ET.fromstring(answer.body))["ETag"]
            self.model.uploads[upload].parts[number] = (expected, etag)

    @rule(
        upload=uploads,
        fault=st.sampled_from([None, None, None, None, "wrong", "absent", "order", "subset", "unquoted"]),
        kind=st.sampled_from([None, None, None, "If-None-Match", "If-Match"]),
        whose=WHOSE,
    )
    def complete(self, upload, fault, kind, whose):
        state = self.model.uploads[upload]
        chosen = [(n, etag) for n, (_, etag) in sorted(state.parts.items())]
        if state.done:
            chosen, fault = [(n, state.parts[n][1]) for n in state.done[1]], None
        if fault == "wrong" and chosen:
            chosen[-1] = (chosen[-1][0], WRONG_ETAG)
        elif fault == "absent":
            chosen.append((9, WRONG_ETAG))
        elif fault == "order":
            chosen.reverse()
        elif fault == "subset" and len(chosen) > 1:
            del chosen[0]
        if not chosen:
            return
        root = ET.Element("CompleteMultipartUpload")
        for number, etag in chosen:
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = etag.strip('"') if fault == "unquoted" else etag
        condition = self.write_condition(kind, whose, state.key)
        answer = self.send("POST", state.key, [("uploadId", upload)], condition, ET.tostring(root))
        again = state.done
        expected = self.model.complete(upload, chosen, condition)
        if self.refused(answer, expected):
            return
        assert not answer.body.rstrip().endswith(b"</Error>"), answer
        told = fields(ET.fromstring(answer.body))
        assert (told["Bucket"], told["Key"]) == (self.bucket, state.key)
        if again:
            assert told["ETag"] == again[0]
        else:
            self.learn(state.key, told["ETag"])
            state.done = (told["ETag"], state.done[1])

    @rule(upload=uploads)
    def abort(self, upload):
        state = self.model.uploads[upload]
        answer = self.send("DELETE", state.key, [("uploadId", upload)])
        if state.aborted or state.done:
            # S3 itself answers either way, by how long ago the upload ended.
            assert answer.status in (204, 404), answer
            return
        assert answer.status == 204, answer
        self.model.abort(upload)

    @rule(upload=uploads, max_parts=st.sampled_from([1, 2, 1000]))
    def list_parts(self, upload, max_parts):
        state, marker, seen = self.model.uploads[upload], "0", []
        expected = self.model.parts(upload)
        for _ in range(5):
            query = [("uploadId", upload), ("max-parts", str(max_parts)), ("part-number-marker", marker)]
            answer = self.send("GET", state.key, query)
            if self.refused(answer, expected):
                return
            root = ET.fromstring(answer.body)
            parts = [fields(e) for e in root if local(e) == "Part"]
            assert len(parts) <= max_parts
            seen += [(int(p["PartNumber"]), int(p["Size"]), p["ETag"]) for p in parts]
            if fields(root)["IsTruncated"] == "false":
                break
            marker = fields(root)["NextPartNumberMarker"]
        assert seen == expected

    @rule()
    def list_uploads(self):
        answer = self.send("GET", None, [("uploads", ""), ("prefix", self.prefix)])
        assert answer.status == 200, answer
        found = [fields(e)["Key"] for e in ET.fromstring(answer.body) if local(e) == "Upload"]
        assert sorted(found) == self.model.unfinished(self.prefix)

    # -- listings

    @rule(
        version=st.sampled_from([1, 2]),
        index=INDEX,
        cut=st.sampled_from([0, 0, 1, 4]),
        delimiter=INDEX,
        max_keys=st.sampled_from([1, 2, 3, 1000]),
        after=st.one_of(st.none(), INDEX),
    )
    def list_objects(self, version, index, cut, delimiter, max_keys, after):
        delimiter = self.delimiters[delimiter % len(self.delimiters)]
        # Inside a common prefix stores differ in whether it is rolled up again.
        after = None if delimiter or after is None else self.key(after)
        self.walk(version, self.prefix + self.keys[index % len(self.keys)][:cut], delimiter, max_keys, after)

    def walk(self, version, prefix, delimiter, max_keys, after):
        base = [("prefix", prefix), ("delimiter", delimiter), ("max-keys", str(max_keys)), ("encoding-type", "url")]
        base += [("list-type", "2")] if version == 2 else []
        more, seen = [("start-after" if version == 2 else "marker", after)] if after else [], []
        for _ in range(40):
            answer = self.send("GET", None, base + more)
            assert answer.status == 200, answer
            root = ET.fromstring(answer.body)
            top, page = fields(root), []
            for element in root:
                if local(element) == "Contents":
                    one = fields(element)
                    page.append((urllib.parse.unquote_plus(one["Key"]), int(one["Size"]), one["ETag"]))
                elif local(element) == "CommonPrefixes":
                    page.append((urllib.parse.unquote_plus(fields(element)["Prefix"]),))
            assert len(page) <= max_keys and int(top["MaxKeys"]) == max_keys
            assert urllib.parse.unquote_plus(top["Prefix"]) == prefix
            if version == 2:
                assert int(top["KeyCount"]) == len(page)
            page.sort(key=lambda entry: entry[0].encode())
            seen += page
            if top["IsTruncated"] == "false":
                break
            assert page, "a truncated page with nothing in it"
            if version == 2:
                more = [("continuation-token", top["NextContinuationToken"])]
            else:
                marker = urllib.parse.unquote_plus(top["NextMarker"]) if "NextMarker" in top else page[-1][0]
                more = [("marker", marker)]
        expected = self.model.listing(prefix, delimiter, after or "")
        if self.store == "seaweed":
            # It lists folders, as prefixes or as objects, for some time after their last object is gone.
            seen = [e for e in seen if e in expected or not (e[0].endswith("/") and self.had(e[0]))]
        assert seen == expected

    def had(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.old_etags)

    def teardown(self):
        """At the end every key says what the model says; nothing is left behind."""
        if self.model.objects or self.model.uploads:
            for index in range(len(self.keys)):
                self.look("GET", self.key(index))
            self.walk(2, self.prefix, "", 1000, None)
        for upload, state in self.model.uploads.items():
            if not state.aborted and not state.done:
                self.send("DELETE", state.key, [("uploadId", upload)])
        for key in self.model.objects:
            self.send("DELETE", key)


@pytest.mark.timeout(900)
def test_random_sequences_answer_as_the_model_does(place):
    number = random.randrange(1 << 32) if SEED == "random" else int(SEED)
    print(f"SEALGATE_MODEL_SEED={number}")
    bucket = place.bucket("e2e-model")

    def session():
        return Session(place, bucket)

    run_state_machine_as_test(
        seed(number)(session),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            print_blob=True,
        ),
    )
