"""A malicious store: whatever it changes, a read is an error or a cut connection, never a clean wrong answer."""

import pytest

from harness.data import CHUNK, PART, blob, cipher_len
from harness.expect import missing, multipart, read, refused, same
from harness.rawstore import RawObject
from harness.wire import Cut

pytestmark = pytest.mark.gateway

SIZE = 3 * CHUNK + 100


def never_clean(place, bucket, key, *, ranges=()):
    """No read of the key ends cleanly with a success: each is an error status or a cut connection."""
    for value in (None, *ranges):
        headers = {"Range": value} if value else {}
        try:
            answer = place.wire().request("GET", f"/{bucket}/{key}", headers)
        except Cut:
            continue
        assert answer.status >= 400, f"clean answer to a tampered object, Range {value}: {answer.status}"


def flip(raw: RawObject, at: int, mask: int = 1) -> RawObject:
    at %= len(raw.body)
    body = raw.body[:at] + bytes([raw.body[at] ^ mask]) + raw.body[at + 1 :]
    return RawObject(body, raw.metadata, raw.headers)


@pytest.fixture(params=["single", "multipart"])
def victim(request, s3, place, bucket, prefix):
    """(key, data, raw) of an object in each layout."""
    key = f"{prefix}victim"
    if request.param == "single":
        data = blob(SIZE, "victim")
        s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"a": "b"})
    else:
        pieces = {1: blob(PART, 1), 2: blob(PART + 5, 2), 3: blob(SIZE, 3)}
        data = b"".join(pieces.values())
        multipart(s3, bucket, key, pieces, Metadata={"a": "b"})
    return key, data, place.raw().get(bucket, key)


def test_store_can_put_an_object_back(s3, place, bucket, victim):
    """The ground of this file: what is put back unchanged reads well."""
    key, data, raw = victim
    assert len(raw.body) == cipher_len(len(data))
    place.raw().put(bucket, key, raw)
    same(read(s3, bucket, key), data)


def test_flipped_bits_of_the_body(place, bucket, victim):
    key, data, raw = victim
    length = len(raw.body)
    places = [0, 23, 24, 55, 56, 57, CHUNK, CHUNK + 72, length // 2, length - 1, length - 2, length - 100, length - 128]
    for at in places:
        place.raw().put(bucket, key, flip(raw, at))
        never_clean(place, bucket, key)
    place.raw().put(bucket, key, raw)
    same(read(place.s3, bucket, key), data)


def test_flips_show_in_the_range_that_has_them(place, bucket, prefix, s3):
    key, data = f"{prefix}object", blob(6 * CHUNK, "range")
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    raw = place.raw().get(bucket, key)
    place.raw().put(bucket, key, flip(raw, 56 + 2 * (CHUNK + 16) + 5))
    # Chunk 2 is bad: ranges that need it fail, also where the bad byte itself is not asked for.
    never_clean(place, bucket, key, ranges=[f"bytes={2 * CHUNK + 5}-{2 * CHUNK + 5}", f"bytes={3 * CHUNK - 1}-{3 * CHUNK}"])
    answer = place.wire().request("GET", f"/{bucket}/{key}", {"Range": "bytes=0-99"})
    assert answer.status >= 400 or answer.body == data[:100]


def test_only_verified_bytes_are_released(place, bucket, prefix, s3):
    """Of a large object with a bad chunk in the middle, the client gets at most what stands before it."""
    key, data = f"{prefix}object", blob(4 * 1024 * 1024, "release")
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    raw = place.raw().get(bucket, key)
    bad = 100
    place.raw().put(bucket, key, flip(raw, 56 + bad * (CHUNK + 16)))
    with place.wire().connect() as connection:
        signed = place.wire().signed(connection, "GET", f"/{bucket}/{key}")
        connection.send(connection.head("GET", f"/{bucket}/{key}", signed.headers))
        try:
            status, headers = connection.read_head()
        except Cut:
            return
        if status >= 400:
            return
        with pytest.raises(Cut) as cut:
            connection._exactly(int(headers["content-length"]))
        assert len(cut.value.got) <= bad * CHUNK
        assert data.startswith(cut.value.got)


@pytest.mark.parametrize("keep", [0, 1, 55, 56, 72, CHUNK, CHUNK + 72, -1, -16, -128, -208])
def test_cut_objects(place, bucket, victim, keep):
    key, data, raw = victim
    place.raw().put(bucket, key, RawObject(raw.body[:keep], raw.metadata, raw.headers))
    never_clean(place, bucket, key, ranges=["bytes=0-0", "bytes=-1"])


@pytest.mark.parametrize("chunks", [1, 2])
def test_cut_to_a_length_of_the_size_law(place, bucket, victim, chunks):
    """Whole chunks taken out, so that the length alone looks right."""
    key, data, raw = victim
    gone = chunks * (CHUNK + 16)
    place.raw().put(bucket, key, RawObject(raw.body[:56] + raw.body[56 + gone :], raw.metadata, raw.headers))
    never_clean(place, bucket, key)
    place.raw().put(bucket, key, RawObject(raw.body[: -128 - gone] + raw.body[-128:], raw.metadata, raw.headers))
    never_clean(place, bucket, key)


def test_longer_objects(place, bucket, victim):
    key, data, raw = victim
    for extra in (b"\0", b"\0" * 16, bytes(CHUNK + 16)):
        place.raw().put(bucket, key, RawObject(raw.body + extra, raw.metadata, raw.headers))
        never_clean(place, bucket, key)


def test_dropped_repeated_and_reordered_parts(place, s3, bucket, prefix):
    key = f"{prefix}parts"
    pieces = [blob(PART, n) for n in range(3)]
    multipart(s3, bucket, key, dict(enumerate(pieces, 1)))
    raw = place.raw().get(bucket, key)
    one = 72 + PART + 16 * (PART // CHUNK)
    streams, trailer = [raw.body[n * one : (n + 1) * one] for n in range(3)], raw.body[3 * one :]
    a, b, c = streams
    for name, order in {
        "dropped last": [a, b],
        "dropped first": [b, c],
        "dropped middle": [a, c],
        "repeated": [a, b, c, c],
        "repeated instead": [a, b, b],
        "reordered": [b, a, c],
        "nothing but the trailer": [],
    }.items():
        place.raw().put(bucket, key, RawObject(b"".join(order) + trailer, raw.metadata, raw.headers))
        never_clean(place, bucket, key)
    place.raw().put(bucket, key, raw)
    same(read(s3, bucket, key), b"".join(pieces))


def test_reordered_chunks(place, s3, bucket, prefix):
    key, slot = f"{prefix}object", CHUNK + 16
    s3.put_object(Bucket=bucket, Key=key, Body=blob(4 * CHUNK, "reorder"))
    raw = place.raw().get(bucket, key)
    body = raw.body[:56] + raw.body[56 + slot : 56 + 2 * slot] + raw.body[56 : 56 + slot] + raw.body[56 + 2 * slot :]
    place.raw().put(bucket, key, RawObject(body, raw.metadata, raw.headers))
    never_clean(place, bucket, key, ranges=["bytes=0-5", f"bytes={CHUNK}-{CHUNK + 5}"])


def test_swapped_keys(place, s3, bucket, prefix):
    """Two authentic objects, each under the other's name: the default binding is the key."""
    for name in "ab":
        s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=blob(1000, name))
    a, b = (place.raw().get(bucket, f"{prefix}{n}") for n in "ab")
    place.raw().put(bucket, f"{prefix}a", b)
    place.raw().put(bucket, f"{prefix}b", a)
    never_clean(place, bucket, f"{prefix}a", ranges=["bytes=0-9"])
    never_clean(place, bucket, f"{prefix}b")


def test_swapped_bodies(place, s3, bucket, prefix):
    """The metadata of one with the body of the other."""
    for name in "ab":
        s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=blob(1000, name))
    a, b = (place.raw().get(bucket, f"{prefix}{n}") for n in "ab")
    place.raw().put(bucket, f"{prefix}a", RawObject(b.body, a.metadata, a.headers))
    never_clean(place, bucket, f"{prefix}a", ranges=["bytes=0-9"])


def test_bindings(place, s3, prefix):
    """key: moves to another bucket are fine. bucket+key: they are not. none: anything may move."""
    raw = place.raw()
    normal, bound, unbound = (place.bucket(n) for n in ("e2e-binding", "bound-binding", "unbound-binding"))
    other_bound, other_unbound = place.bucket("bound-binding2"), place.bucket("unbound-binding2")
    for bucket in (normal, bound, unbound):
        s3.put_object(Bucket=bucket, Key=f"{prefix}a", Body=b"where am I")
    raw.put(place.bucket("e2e-binding2"), f"{prefix}a", raw.get(normal, f"{prefix}a"))
    assert read(s3, "e2e-binding2", f"{prefix}a") == b"where am I"
    raw.put(other_bound, f"{prefix}a", raw.get(bound, f"{prefix}a"))
    never_clean(place, other_bound, f"{prefix}a")
    raw.put(other_unbound, f"{prefix}b", raw.get(unbound, f"{prefix}a"))
    assert read(s3, other_unbound, f"{prefix}b") == b"where am I"


def test_changed_envelope_and_metadata(place, bucket, victim):
    key, data, raw = victim
    assert "sealgate" in raw.metadata, raw.metadata
    for name in ("sealgate", "sealgate-m"):
        if name not in raw.metadata:
            continue
        value = raw.metadata[name]
        for at in (0, 1, 5, len(value) // 2, len(value) - 2, len(value) - 1):
            other = "A" if value[at] != "A" else "B"
            changed = {**raw.metadata, name: value[:at] + other + value[at + 1 :]}
            place.raw().put(bucket, key, RawObject(raw.body, changed, raw.headers))
            if name == "sealgate":
                never_clean(place, bucket, key)
            answer = place.wire().request("HEAD", f"/{bucket}/{key}")
            # (The last character of base64 may hold bits that mean nothing; strict decoders refuse them.)
            assert answer.status >= 400, f"HEAD believes a changed {name} at {at}: {answer}"


def test_removed_envelope(place, bucket, victim):
    """Ciphertext without its envelope is an error, not an object of random bytes."""
    key, data, raw = victim
    metadata = {k: v for k, v in raw.metadata.items() if not k.startswith("sealgate")}
    place.raw().put(bucket, key, RawObject(raw.body, metadata, raw.headers))
    never_clean(place, bucket, key)
    assert place.wire().request("HEAD", f"/{bucket}/{key}").status >= 400


def test_planted_plaintext(place, bucket, prefix):
    """An object that never passed the gateway is refused in an encrypting bucket."""
    place.raw().put(bucket, f"{prefix}planted", RawObject(b"planted", {}, {"ContentType": "text/plain"}))
    never_clean(place, bucket, f"{prefix}planted")


def test_copy_of_a_tampered_object_is_no_way_in(place, s3, bucket, prefix, victim):
    key, data, raw = victim
    changed = {**raw.metadata, "sealgate": raw.metadata["sealgate"][:-4] + "AAAA"}
    place.raw().put(bucket, key, RawObject(raw.body, changed, raw.headers))
    with pytest.raises(s3.exceptions.ClientError):
        s3.copy_object(Bucket=bucket, Key=f"{prefix}copy", CopySource={"Bucket": bucket, "Key": key})
    missing(s3, bucket, f"{prefix}copy")


def test_wrong_key_file(place, gateways, s3, bucket, prefix):
    """Another key of the same name opens nothing, and a broken gateway spoils nothing."""
    data = blob(1000)
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=data)
    other = gateways(ring=place.folder / f"other-{prefix.strip('/')}.ring")
    assert other.ring != place.gateway.ring
    client = other.client()
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.get_object(Bucket=bucket, Key=f"{prefix}object")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 400
    with pytest.raises(client.exceptions.ClientError):
        client.head_object(Bucket=bucket, Key=f"{prefix}object")
    assert read(s3, bucket, f"{prefix}object") == data
    # What the other one writes is its own.
    client.put_object(Bucket=bucket, Key=f"{prefix}theirs", Body=b"x")
    with pytest.raises(s3.exceptions.ClientError):
        s3.get_object(Bucket=bucket, Key=f"{prefix}theirs")


def test_clear_buckets_pass_through(place, s3, prefix):
    """encrypt = false: the bytes and metadata go through as they are."""
    bucket = place.bucket("clear-data")
    data = blob(100_000)
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=data, Metadata={"a": "b"}, ContentType="text/x")
    got = s3.get_object(Bucket=bucket, Key=f"{prefix}object", Range="bytes=5-9")
    assert got["Body"].read() == data[5:10] and got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/x"
    raw = place.raw().get(bucket, f"{prefix}object")
    assert raw.body == data and raw.metadata.get("a") == "b"
    assert s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"][0]["Size"] == len(data)
    multipart(s3, bucket, f"{prefix}parts", {1: blob(PART), 2: b"end"})
    same(read(s3, bucket, f"{prefix}parts"), blob(PART) + b"end")


def test_plain_metadata_policy(place, s3, prefix):
    """metadata = "plain": readable in the store, the body sealed all the same."""
    bucket = place.bucket("plainmeta-data")
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=blob(1000), Metadata={"visible": "yes"})
    raw = place.raw().get(bucket, f"{prefix}object")
    assert raw.metadata["visible"] == "yes" and blob(1000)[:16] not in raw.body
    got = s3.get_object(Bucket=bucket, Key=f"{prefix}object")
    assert got["Metadata"] == {"visible": "yes"} and got["Body"].read() == blob(1000)


def test_sealed_metadata_policy(place, s3, bucket, prefix):
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=b"x", Metadata={"visible": "no-77-no"})
    raw = place.raw().get(bucket, f"{prefix}object")
    assert "visible" not in raw.metadata and "no-77-no" not in str(raw.metadata)
    with refused("304"):
        s3.head_object(Bucket=bucket, Key=f"{prefix}object", IfNoneMatch="*")
