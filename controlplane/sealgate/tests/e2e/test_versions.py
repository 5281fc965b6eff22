"""Versions: ids on every operation on objects, delete markers, listings of versions (S3-TRAPS 28)."""

import xml.etree.ElementTree as ET

import pytest

from harness import DIRECT
from harness.data import CHUNK, PART, blob
from harness.expect import listed, multipart, read, refused, same

from test_listing import NS, model


@pytest.fixture(scope="module")
def vault(s3, place):
    """A bucket that keeps versions; a directory has none."""
    if place.store == "fs":
        pytest.skip("a directory keeps no versions")
    bucket = place.bucket("e2e-versions")
    # At the store itself: this is about what the gateway does with versions, not about how they are switched on.
    place.weed.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def put(s3, bucket, key, *bodies, **options):
    """Writes versions, oldest first: their ids."""
    return [s3.put_object(Bucket=bucket, Key=key, Body=body, **options)["VersionId"] for body in bodies]


def row(s3, bucket, key):
    """The versions of a key, newest first: (id, size, ETag, whether it is the latest)."""
    page = s3.list_object_versions(Bucket=bucket, Prefix=key)
    assert not page["IsTruncated"]
    return [(v["VersionId"], v["Size"], v["ETag"], v["IsLatest"]) for v in page.get("Versions", [])]


def test_every_version_stays_readable(s3, vault, prefix):
    key = f"{prefix}k"
    bodies = [blob(n, str(n)) for n in (0, 1, CHUNK, 3 * CHUNK + 5)]
    ids = put(s3, vault, key, *bodies, Metadata={"who": "me"})
    assert len(set(ids)) == len(ids)
    for version, body in zip(ids, bodies):
        head = s3.head_object(Bucket=vault, Key=key, VersionId=version)
        got = s3.get_object(Bucket=vault, Key=key, VersionId=version)
        same(got["Body"].read(), body)
        for answer in (head, got):
            assert (answer["VersionId"], answer["ContentLength"]) == (version, len(body))
            assert answer["Metadata"] == {"who": "me"}
        same(read(s3, vault, key, VersionId=version, IfMatch=head["ETag"]), body)
        with refused("304", status=304):
            s3.get_object(Bucket=vault, Key=key, VersionId=version, IfNoneMatch=head["ETag"])
    same(read(s3, vault, key, VersionId=ids[3], Range="bytes=16380-32790"), bodies[3][16380:32791])
    same(read(s3, vault, key, VersionId=ids[3], Range="bytes=-7"), bodies[3][-7:])
    with refused("InvalidRange", status=416):
        read(s3, vault, key, VersionId=ids[1], Range="bytes=1-")
    newest = s3.get_object(Bucket=vault, Key=key)
    assert newest["VersionId"] == ids[3]
    with refused("PreconditionFailed", status=412):
        read(s3, vault, key, VersionId=ids[0], IfMatch=newest["ETag"])


def test_an_unknown_version_is_no_other_version(s3, wire, bucket, prefix, place, request):
    key = f"{prefix}k"
    buckets = [bucket] if place.store == "fs" else [bucket, request.getfixturevalue("vault")]
    for there in buckets:
        s3.put_object(Bucket=there, Key=key, Body=b"newest")
        if DIRECT and there == bucket:
            # SeaweedFS takes no notice of version ids in a bucket that never had versions.
            continue
        with refused("NoSuchVersion", status=404):
            read(s3, there, key, VersionId="6715736a027deb7f5957918650357e89")
        with refused("404", status=404):
            s3.head_object(Bucket=there, Key=key, VersionId="6715736a027deb7f5957918650357e89")
        with refused("NoSuchVersion", "NoSuchKey", status=404):
            source = {"Bucket": there, "Key": key, "VersionId": "6715736a027deb7f5957918650357e89"}
            s3.copy_object(Bucket=there, Key=f"{prefix}copy", CopySource=source)
    answer = wire.request("GET", f"/{bucket}/{key}?versionId=")
    assert DIRECT or (answer.status, answer.code) == (400, "InvalidArgument")


def test_without_versions_everything_is_version_null(s3, bucket, prefix):
    key = f"{prefix}k"
    s3.put_object(Bucket=bucket, Key=key, Body=b"data")
    assert read(s3, bucket, key, VersionId="null") == b"data"
    etag = s3.head_object(Bucket=bucket, Key=key)["ETag"]
    assert row(s3, bucket, key) == [("null", 4, etag, True)]
    s3.copy_object(Bucket=bucket, Key=f"{key}2", CopySource={"Bucket": bucket, "Key": key, "VersionId": "null"})
    assert read(s3, bucket, f"{key}2") == b"data"
    s3.delete_object(Bucket=bucket, Key=key, VersionId="null")
    gone = {"Objects": [{"Key": f"{key}2", "VersionId": "null"}]}
    done = s3.delete_objects(Bucket=bucket, Delete=gone)["Deleted"]
    assert DIRECT or done == [{"Key": f"{key}2", "VersionId": "null"}]
    assert row(s3, bucket, prefix) == []


def test_delete_markers(s3, vault, prefix):
    key, body = f"{prefix}k", blob(CHUNK + 1)
    (version,) = put(s3, vault, key, body)
    gone = s3.delete_object(Bucket=vault, Key=key)
    assert gone["DeleteMarker"] is True and gone["VersionId"] != version
    with refused("NoSuchKey", status=404):
        read(s3, vault, key)
    with refused("404", status=404):
        s3.head_object(Bucket=vault, Key=key)
    # (SeaweedFS has 404 where S3 has 405.)
    with refused("MethodNotAllowed", "NoSuchKey"):
        read(s3, vault, key, VersionId=gone["VersionId"])
    with refused("NoSuchKey", status=404):
        s3.copy_object(Bucket=vault, Key=f"{key}2", CopySource={"Bucket": vault, "Key": key})
    assert listed(s3, vault, key) == []
    page = s3.list_object_versions(Bucket=vault, Prefix=key)
    assert [(v["VersionId"], v["IsLatest"], v["Size"]) for v in page["Versions"]] == [(version, False, len(body))]
    assert [(m["VersionId"], m["IsLatest"]) for m in page["DeleteMarkers"]] == [(gone["VersionId"], True)]
    same(read(s3, vault, key, VersionId=version), body)
    # Without its marker the object is there again.
    back = s3.delete_object(Bucket=vault, Key=key, VersionId=gone["VersionId"])
    assert (back["DeleteMarker"], back["VersionId"]) == (True, gone["VersionId"])
    same(read(s3, vault, key), body)
    gone = s3.delete_object(Bucket=vault, Key=key, VersionId=version)
    assert gone["VersionId"] == version and "DeleteMarker" not in gone
    assert row(s3, vault, key) == []


def test_bulk_deletion_of_versions(s3, vault, prefix):
    key = f"{prefix}k"
    first, second, third = put(s3, vault, key, b"1", b"22", b"333")
    done = s3.delete_objects(
        Bucket=vault,
        Delete={"Objects": [{"Key": key, "VersionId": first}, {"Key": key, "VersionId": third}, {"Key": f"{key}/x"}]},
    )
    assert "Errors" not in done
    deleted = {(d["Key"], d.get("VersionId")): d for d in done["Deleted"]}
    assert set(deleted) == {(key, first), (key, third), (f"{key}/x", None)}
    assert "DeleteMarker" not in deleted[key, first]
    marker = deleted[f"{key}/x", None]
    assert marker["DeleteMarker"] is True
    assert [v[0] for v in row(s3, vault, key)] == [second]
    assert read(s3, vault, key) == b"22"
    done = s3.delete_objects(
        Bucket=vault, Delete={"Objects": [{"Key": f"{key}/x", "VersionId": marker["DeleteMarkerVersionId"]}]}
    )
    (one,) = done["Deleted"]
    assert one["DeleteMarker"] is True
    assert DIRECT or one["DeleteMarkerVersionId"] == one["VersionId"] == marker["DeleteMarkerVersionId"]


def test_bulk_deletion_of_a_version_and_its_marker(s3, vault, prefix):
    """One key twice in a request; SeaweedFS does not repeat the version of a marker."""
    key = f"{prefix}k"
    (version,) = put(s3, vault, key, b"1")
    marker = s3.delete_object(Bucket=vault, Key=key)["VersionId"]
    both = [{"Key": key, "VersionId": version}, {"Key": key, "VersionId": marker}]
    done = s3.delete_objects(Bucket=vault, Delete={"Objects": both})
    assert "Errors" not in done, done
    assert len(done["Deleted"]) == 2
    assert row(s3, vault, key) == []


def test_bulk_deletion_on_a_condition(s3, bucket, prefix):
    keys = [f"{prefix}{n}" for n in "abc"]
    etags = {key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode())["ETag"] for key in keys}
    done = s3.delete_objects(
        Bucket=bucket,
        Delete={
            "Objects": [
                {"Key": keys[0], "ETag": etags[keys[0]]},
                {"Key": keys[1], "ETag": etags[keys[0]]},
                {"Key": keys[2]},
            ]
        },
    )
    assert {d["Key"] for d in done["Deleted"]} == {keys[0], keys[2]}
    assert [(e["Key"], e["Code"]) for e in done["Errors"]] == [(keys[1], "PreconditionFailed")]
    assert read(s3, bucket, keys[1]) == keys[1].encode()


@pytest.mark.gateway
def test_conditions_that_no_store_can_check_are_refused(s3, wire, bucket, prefix):
    key = f"{prefix}k"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "Size": 1}]})
    assert [(e["Key"], e["Code"]) for e in done["Errors"]] == [(key, "NotImplemented")]
    answer = wire.request("DELETE", f"/{bucket}/{key}", headers={"x-amz-if-match-size": "2"})
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert read(s3, bucket, key) == b"x"


def test_versions_of_multipart_objects(s3, vault, prefix):
    key, parts = f"{prefix}k", {1: blob(PART, "one"), 2: blob(CHUNK + 7, "two")}
    old = multipart(s3, vault, key, parts)["VersionId"]
    put(s3, vault, key, b"newer")
    whole = parts[1] + parts[2]
    same(read(s3, vault, key, VersionId=old), whole)
    same(read(s3, vault, key, VersionId=old, Range=f"bytes={PART - 5}-{PART + 5}"), whole[PART - 5 : PART + 6])
    same(read(s3, vault, key, VersionId=old, Range="bytes=-9"), whole[-9:])
    for number, part in parts.items():
        got = s3.get_object(Bucket=vault, Key=key, VersionId=old, PartNumber=number)
        same(got["Body"].read(), part)
        assert (got["PartsCount"], got["VersionId"]) == (2, old)
        head = s3.head_object(Bucket=vault, Key=key, VersionId=old, PartNumber=number)
        assert (head["PartsCount"], head["ContentLength"]) == (2, len(part))
    assert [(v[0], v[1]) for v in row(s3, vault, key)][1] == (old, len(whole))


@pytest.mark.gateway
def test_staged_parts_leave_no_versions_behind(s3, vault, prefix, place):
    store = place.weed.client()
    before = store.list_object_versions(Bucket=vault, Prefix=".sealgate-staging/")
    assert not before.get("Versions") and not before.get("DeleteMarkers")
    multipart(s3, vault, f"{prefix}k", {1: blob(PART), 2: b"end"})
    upload = s3.create_multipart_upload(Bucket=vault, Key=f"{prefix}aborted")["UploadId"]
    for body in (b"first", b"again"):
        s3.upload_part(Bucket=vault, Key=f"{prefix}aborted", UploadId=upload, PartNumber=1, Body=body)
    s3.abort_multipart_upload(Bucket=vault, Key=f"{prefix}aborted", UploadId=upload)
    after = store.list_object_versions(Bucket=vault, Prefix=".sealgate-staging/")
    assert not after.get("Versions") and not after.get("DeleteMarkers")


def test_copies_of_an_old_version(s3, vault, bucket, prefix):
    key, old_body = f"{prefix}k ü+", blob(2 * CHUNK, "old")
    old, _ = put(s3, vault, key, old_body, b"new", Metadata={"origin": "here"})
    source = {"Bucket": vault, "Key": key, "VersionId": old}
    for there, target in ((vault, f"{prefix}copy"), (bucket, f"{prefix}copy"), ("clear-versions", "copy")):
        if there.startswith("clear"):
            s3.create_bucket(Bucket=there)
        done = s3.copy_object(Bucket=there, Key=target, CopySource=source)
        assert DIRECT or done["CopySourceVersionId"] == old
        got = s3.get_object(Bucket=there, Key=target)
        same(got["Body"].read(), old_body)
        assert got["Metadata"] == {"origin": "here"}
    # Restored by a copy onto itself.
    done = s3.copy_object(Bucket=vault, Key=key, CopySource=source)
    same(read(s3, vault, key), old_body)
    assert done["VersionId"] == row(s3, vault, key)[0][0] != old
    etag = s3.head_object(Bucket=vault, Key=key, VersionId=old)["ETag"]
    with refused("PreconditionFailed", status=412):
        s3.copy_object(Bucket=vault, Key=key, CopySource=source, CopySourceIfNoneMatch=etag)


def test_parts_out_of_an_old_version(s3, vault, prefix):
    key, body = f"{prefix}k", blob(PART + CHUNK, "old")
    old, _ = put(s3, vault, key, body, b"new")
    source = {"Bucket": vault, "Key": key, "VersionId": old}
    target = f"{prefix}target"
    upload = s3.create_multipart_upload(Bucket=vault, Key=target)["UploadId"]
    parts = []
    for number, span in enumerate((f"bytes=0-{PART - 1}", f"bytes=100-{CHUNK + 99}"), 1):
        done = s3.upload_part_copy(
            Bucket=vault, Key=target, UploadId=upload, PartNumber=number, CopySource=source, CopySourceRange=span
        )
        assert DIRECT or done["CopySourceVersionId"] == old
        parts.append({"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]})
    s3.complete_multipart_upload(Bucket=vault, Key=target, UploadId=upload, MultipartUpload={"Parts": parts})
    same(read(s3, vault, target), body[:PART] + body[100 : CHUNK + 100])


# Listings of versions.

# (None that a file system lists in another order than S3, such as `b&` beside `b/x`: SeaweedFS loses it between pages.)
KEYS = ["a/1", "a/2", "b/x y", "b/x+y", "c&", "d", "ü/1", "zz"]


@pytest.fixture(scope="module")
def rows(s3, vault):
    """Keys with one to three versions each, some deleted: what each version holds, newest first."""
    expected = {}
    for n, name in enumerate(KEYS):
        key = f"rows/{name}"
        sizes = [100 * n + v for v in range(1 + n % 3)]
        ids = put(s3, vault, key, *(blob(size) for size in sizes))
        versions = [(version, size) for version, size in zip(ids, sizes)][::-1]
        if n % 4 == 1:
            versions.insert(0, (s3.delete_object(Bucket=vault, Key=key)["VersionId"], None))
        expected[key] = versions
    return expected


def pages(s3, bucket, **options):
    """Versions (key, id, size; None for a delete marker) and common prefixes of all pages; no row comes twice."""
    versions, prefixes, marker = [], [], {}
    for _ in range(100):
        page = s3.list_object_versions(Bucket=bucket, **options, **marker)
        found = [(v["Key"], v["VersionId"], v["Size"]) for v in page.get("Versions", [])]
        found += [(m["Key"], m["VersionId"], None) for m in page.get("DeleteMarkers", [])]
        rolled = [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert len(found) + len(rolled) <= options.get("MaxKeys", 1000)
        versions += found
        prefixes += rolled
        if not page["IsTruncated"]:
            assert len(set(versions)) == len(versions) and len(set(prefixes)) == len(prefixes)
            return sorted(versions, key=str), sorted(prefixes)
        marker = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextVersionIdMarker"):
            marker["VersionIdMarker"] = page["NextVersionIdMarker"]
    raise AssertionError("the listing does not end")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_any_page_size_gives_the_same_versions(s3, vault, rows, size):
    for prefix in ("rows/", "rows/b", "rows/a/"):
        for delimiter in ("", "/"):
            keys, prefixes = model(rows, prefix, delimiter)
            expected = sorted(((k, *v) for k in keys for v in rows[k]), key=str)
            options = {"Delimiter": delimiter} if delimiter else {}
            assert pages(s3, vault, Prefix=prefix, MaxKeys=size, **options) == (expected, sorted(prefixes))


@pytest.mark.gateway
def test_pages_of_versions_pass_over_staged_parts(s3, vault, rows, prefix):
    upload = s3.create_multipart_upload(Bucket=vault, Key=f"{prefix}k")["UploadId"]
    for number in range(1, 5):
        s3.upload_part(Bucket=vault, Key=f"{prefix}k", UploadId=upload, PartNumber=number, Body=b"small")
    try:
        everything = pages(s3, vault)
        assert not [v for v in everything[0] if v[0].startswith(".")]
        for size in (1, 3):
            assert pages(s3, vault, MaxKeys=size) == everything
        rolled = pages(s3, vault, Delimiter="/")
        assert pages(s3, vault, Delimiter="/", MaxKeys=1) == rolled
        assert ".sealgate-staging/" not in rolled[1]
    finally:
        s3.abort_multipart_upload(Bucket=vault, Key=f"{prefix}k", UploadId=upload)


@pytest.mark.gateway
def test_version_listing_is_s3s_document(wire, s3, bucket, prefix):
    key = f"{prefix}a b&c"
    etag = s3.put_object(Bucket=bucket, Key=key, Body=blob(CHUNK))["ETag"]
    s3.put_object(Bucket=bucket, Key=f"{key}2", Body=b"")
    query = f"encoding-type=url&max-keys=1&prefix={prefix.replace('/', '%2F')}&versions="
    answer = wire.request("GET", f"/{bucket}?{query}")
    root = ET.fromstring(answer.body)
    assert root.tag == f"{NS}ListVersionsResult"
    text = {e.tag.removeprefix(NS): e.text for e in root}
    assert (text["Name"], text["MaxKeys"], text["IsTruncated"]) == (bucket, "1", "true")
    assert text["NextVersionIdMarker"] == "null" and text["NextKeyMarker"].endswith("a%20b%26c")
    version = {e.tag.removeprefix(NS): e.text for e in root.find(f"{NS}Version")}
    assert (version["ETag"], version["Size"], version["IsLatest"]) == (etag, str(CHUNK), "true")
    answer = wire.request("GET", f"/{bucket}?version-id-marker=x&versions=")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.gateway
def test_verified_listing_of_versions_knows_objects_that_are_not_sealed(s3, place):
    if place.store == "fs":
        pytest.skip("a directory keeps no versions")
    bucket = place.bucket("verify-versions")
    store = place.weed.client()
    store.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    # 208 bytes are what an empty sealed object has: by arithmetic it would be taken for one.
    plain = store.put_object(Bucket=bucket, Key="k", Body=b"p" * 208)["VersionId"]
    sealed = s3.put_object(Bucket=bucket, Key="k", Body=b"sealed")["VersionId"]
    found = {v["VersionId"]: v["Size"] for v in s3.list_object_versions(Bucket=bucket)["Versions"]}
    assert found == {plain: 208, sealed: 6}
