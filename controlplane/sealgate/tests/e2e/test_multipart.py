"""Multipart uploads: every order, size and mistake a client can come with."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from harness.data import CHUNK, MIB, PART, blob
from harness.expect import listed, missing, multipart, read, refused, same


class Upload:
    """One upload, step by step."""

    def __init__(self, s3, bucket, key, **options):
        self.s3, self.at = s3, {"Bucket": bucket, "Key": key}
        self.id = s3.create_multipart_upload(**self.at, **options)["UploadId"]
        self.etags: dict[int, str] = {}

    def part(self, number, data, s3=None, **options):
        answer = (s3 or self.s3).upload_part(**self.at, UploadId=self.id, PartNumber=number, Body=data, **options)
        self.etags[number] = answer["ETag"]
        return answer["ETag"]

    def complete(self, numbers=None, s3=None, etags=None, **options):
        parts = [{"PartNumber": n, "ETag": (etags or self.etags)[n]} for n in numbers or sorted(self.etags)]
        return (s3 or self.s3).complete_multipart_upload(
            **self.at, UploadId=self.id, MultipartUpload={"Parts": parts}, **options
        )

    def listed_etags(self):
        """As ListParts has them: without what the ETag of a part's own answer carries behind a dot."""
        return {number: '"' + etag.strip('"').partition(".")[0] + '"' for number, etag in self.etags.items()}

    def abort(self):
        self.s3.abort_multipart_upload(**self.at, UploadId=self.id)

    def read(self):
        return self.s3.get_object(**self.at)["Body"].read()


@pytest.fixture
def upload(s3, bucket, prefix):
    return Upload(s3, bucket, f"{prefix}object")


@pytest.mark.parametrize(
    "sizes",
    [
        [0],
        [1],
        [CHUNK],
        [PART - 1],
        [PART],
        [PART, 0],
        [PART, 1],
        [PART, CHUNK - 1],
        [PART + 1, PART + CHUNK + 5, 17],
        [PART, PART],
        [PART, PART, PART - 1],
        [6 * MIB, 8 * MIB, 7 * MIB + 13, 5 * MIB, 100],
    ],
    ids=str,
)
def test_parts_make_the_object(s3, bucket, prefix, sizes):
    key = f"{prefix}object"
    pieces = {n: blob(size, n) for n, size in enumerate(sizes, 1)}
    done = multipart(s3, bucket, key, pieces)
    data = b"".join(pieces.values())
    got = s3.get_object(Bucket=bucket, Key=key)
    same(got["Body"].read(), data)
    (entry,) = listed(s3, bucket, key)
    head = s3.head_object(Bucket=bucket, Key=key)
    assert entry["Size"] == head["ContentLength"] == got["ContentLength"] == len(data)
    assert done["ETag"] == head["ETag"] == entry["ETag"] == got["ETag"]
    assert done["Bucket"] == bucket and done["Key"] == key


def test_parts_out_of_order_and_in_parallel(place, s3, bucket, prefix):
    key = f"{prefix}object"
    pieces = {n: blob(PART + n, n) for n in (1, 2, 3, 4)}
    multipart(s3, bucket, key, pieces, order=[4, 2, 1, 3])
    same(read(s3, bucket, key), b"".join(pieces[n] for n in sorted(pieces)))
    upload = Upload(s3, bucket, f"{key}-parallel")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: upload.part(n, pieces[n], s3=place.client()), pieces))
    upload.complete()
    same(upload.read(), b"".join(pieces[n] for n in sorted(pieces)))


def test_gaps_and_the_highest_part_number(upload):
    pieces = {3: blob(PART, 3), 77: blob(PART + 9, 77), 10000: b"the last part"}
    for number, data in pieces.items():
        upload.part(number, data)
    upload.complete()
    same(upload.read(), b"".join(pieces.values()))


@pytest.mark.gateway
def test_part_ten_thousand_of_full_size(upload):
    pieces = {1: blob(PART, 1), 10000: blob(PART + 333, 2)}
    for number, data in pieces.items():
        upload.part(number, data)
    upload.complete()
    same(upload.read(), b"".join(pieces.values()))


@pytest.mark.gateway
def test_part_numbers_out_of_range(wire, bucket, upload):
    for number in (0, 10001, -1, "x"):
        target = f"/{bucket}/{upload.at['Key']}?partNumber={number}&uploadId={upload.id}"
        answer = wire.request("PUT", target, {}, b"x")
        assert answer.status == 400, f"{number}: {answer}"
    upload.abort()


def test_a_part_sent_again_replaces_the_first(upload):
    upload.part(1, blob(PART, "old"))
    upload.part(2, b"old end")
    upload.part(1, blob(PART + 5, "new"))
    upload.part(2, b"new end, longer than the old one")
    upload.complete()
    same(upload.read(), blob(PART + 5, "new") + b"new end, longer than the old one")


@pytest.mark.gateway
def test_a_part_sent_again_is_never_the_same_ciphertext(upload):
    """The recurring break of this field: one key and nonce for two bodies. The ETags would be equal."""
    first = upload.part(1, blob(PART, "same"))
    assert upload.part(1, blob(PART, "same")) != first
    upload.abort()


def test_fewer_parts_than_were_sent(upload):
    pieces = {n: blob(PART + n, n) for n in (1, 2, 3, 4)}
    for number, data in pieces.items():
        upload.part(number, data)
    upload.complete([1, 3])
    same(upload.read(), pieces[1] + pieces[3])
    assert upload.s3.head_object(**upload.at)["ContentLength"] == len(pieces[1] + pieces[3])


@pytest.mark.gateway
def test_a_staged_part_left_out(s3, bucket, upload):
    upload.part(1, blob(PART, 1))
    upload.part(2, b"small, and not selected")
    upload.complete([1])
    same(upload.read(), blob(PART, 1))


def test_unquoted_etags(upload):
    upload.part(1, b"data")
    upload.complete(etags={1: upload.etags[1].strip('"')})
    assert upload.read() == b"data"


def test_wrong_etag_and_missing_part(upload):
    upload.part(1, blob(PART, 1))
    upload.part(2, b"end")
    wrong = '"0123456789abcdef0123456789abcdef"'
    with refused("InvalidPart", status=400):
        upload.complete(etags={1: wrong, 2: upload.etags[2]})
    with refused("InvalidPart", status=400):
        upload.complete([1, 3], etags={1: upload.etags[1], 3: upload.etags[2]})
    # The upload is still good.
    upload.complete()
    same(upload.read(), blob(PART, 1) + b"end")


@pytest.mark.gateway
def test_wrong_etag_of_a_staged_part(s3, bucket, upload):
    upload.part(1, blob(PART, 1))
    upload.part(2, b"first end")
    old = upload.etags[2]
    upload.part(2, b"second end")
    with refused("InvalidPart", status=400):
        upload.complete(etags={1: upload.etags[1], 2: old})
    upload.complete()
    same(upload.read(), blob(PART, 1) + b"second end")


def test_part_order_in_complete(upload):
    upload.part(1, blob(PART, 1))
    upload.part(2, blob(PART, 2))
    with refused("InvalidPartOrder", status=400):
        upload.complete([2, 1])
    upload.abort()


def test_small_part_before_the_last(s3, bucket, upload):
    upload.part(1, b"too small")
    upload.part(2, blob(PART, 2))
    with refused("EntityTooSmall", status=400):
        upload.complete()
    missing(s3, bucket, upload.at["Key"])
    upload.abort()


@pytest.mark.gateway
def test_two_small_parts(s3, bucket, upload):
    upload.part(1, b"small one")
    upload.part(2, b"small two")
    with refused("EntityTooSmall", status=400):
        upload.complete()
    missing(s3, bucket, upload.at["Key"])
    upload.abort()


@pytest.mark.gateway
def test_malformed_complete(wire, bucket, upload):
    upload.part(1, b"data")
    target = f"/{bucket}/{upload.at['Key']}?uploadId={upload.id}"
    etag = upload.etags[1]
    for body in (
        b"",
        b"<CompleteMultipartUpload/>",
        b"<CompleteMultipartUpload><Part></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>",
        f"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>".encode(),
        b"{}",
    ):
        answer = wire.request("POST", target, {}, body)
        assert answer.status == 400 and answer.code in ("MalformedXML", "InvalidRequest", "MissingRequestBodyError"), (
            f"{body}: {answer}"
        )
    upload.complete()
    assert upload.read() == b"data"


def test_unknown_upload(s3, bucket, prefix, upload):
    upload.part(1, b"x")
    upload.abort()
    for call in (
        lambda: upload.part(1, b"x"),
        upload.complete,
        lambda: s3.list_parts(**upload.at, UploadId=upload.id),
    ):
        with refused("NoSuchUpload", status=404):
            call()
    # A second Abort: AWS answers either way, depending on how long ago the first was.
    try:
        upload.abort()
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchUpload"


@pytest.mark.gateway
def test_forged_upload_ids(s3, bucket, upload):
    upload.part(1, b"x")
    swapped = upload.id[:-6] + ("A" if upload.id[-6] != "A" else "B") + upload.id[-5:]
    for bad in ("nonsense", swapped, upload.id + "A", upload.id[: len(upload.id) // 2]):
        with refused("NoSuchUpload", status=404):
            s3.upload_part(**upload.at, UploadId=bad, PartNumber=1, Body=b"y")
    with refused("NoSuchUpload", status=404):
        s3.upload_part(Bucket=bucket, Key=upload.at["Key"] + "-other", UploadId=upload.id, PartNumber=1, Body=b"y")
    upload.complete()
    assert upload.read() == b"x"


@pytest.mark.gateway
def test_upload_id_is_url_safe_and_short(upload):
    assert len(upload.id) <= 1024 and re.fullmatch(r"[A-Za-z0-9._~-]+", upload.id), upload.id
    upload.abort()


@pytest.mark.gateway
def test_abort_leaves_nothing(s3, place, bucket, prefix, upload):
    before = set(place.raw().keys(bucket))
    upload.part(1, blob(PART, 1))
    upload.part(2, b"staged")
    upload.part(10000, b"staged too")
    upload.abort()
    assert set(place.raw().keys(bucket)) == before
    assert upload.id not in [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
    missing(s3, bucket, upload.at["Key"])


@pytest.mark.gateway
def test_complete_leaves_only_the_object(s3, place, bucket, upload):
    before = set(place.raw().keys(bucket))
    upload.part(1, blob(PART, 1))
    upload.part(2, b"staged")
    upload.complete()
    assert set(place.raw().keys(bucket)) - before == {upload.at["Key"]}


def test_list_parts(s3, upload):
    sizes = {1: PART, 2: PART + 1, 5: 70_000}
    for number, size in sizes.items():
        upload.part(number, blob(size, number))
    answer = s3.list_parts(**upload.at, UploadId=upload.id)
    assert {p["PartNumber"]: p["Size"] for p in answer["Parts"]} == sizes
    assert {p["PartNumber"]: p["ETag"] for p in answer["Parts"]} == upload.listed_etags()
    assert answer["UploadId"] == upload.id and not answer["IsTruncated"]
    paged, marker = [], 0
    for _ in range(5):
        page = s3.list_parts(**upload.at, UploadId=upload.id, MaxParts=1, PartNumberMarker=marker)
        paged += [(p["PartNumber"], p["Size"]) for p in page.get("Parts", [])]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert paged == list(sizes.items())
    # Either form is good for completing.
    upload.etags = {**upload.listed_etags(), 5: upload.etags[5]}
    upload.complete()
    same(upload.read(), b"".join(blob(size, number) for number, size in sizes.items()))


def test_list_uploads(s3, place, bucket, prefix):
    names = ["a", "b+c d%2F", "b/c", "b/\u00fc"]
    uploads = [Upload(s3, bucket, f"{prefix}{name}") for name in names]
    found = s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix)["Uploads"]
    assert sorted(u["Key"] for u in found) == [f"{prefix}{name}" for name in names]
    for upload in uploads:
        upload.abort()
    assert not s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads")


@pytest.mark.gateway
def test_listed_upload_ids_can_abort_and_list(s3, bucket, prefix):
    """The store knows only its own ids; Abort and ListParts take what ListMultipartUploads gives."""
    upload = Upload(s3, bucket, f"{prefix}object")
    upload.part(1, blob(PART))
    (found,) = s3.list_multipart_uploads(Bucket=bucket, Prefix=f"{prefix}object")["Uploads"]
    parts = s3.list_parts(**upload.at, UploadId=found["UploadId"])["Parts"]
    assert [(p["PartNumber"], p["Size"]) for p in parts] == [(1, PART)]
    if found["UploadId"] != upload.id:
        with refused("InvalidRequest", "InvalidArgument", "NoSuchUpload"):
            s3.upload_part(**upload.at, UploadId=found["UploadId"], PartNumber=2, Body=b"x")
    s3.abort_multipart_upload(**upload.at, UploadId=found["UploadId"])
    with refused("NoSuchUpload", status=404):
        s3.list_parts(**upload.at, UploadId=upload.id)


@pytest.mark.gateway
def test_staged_parts_do_not_keep_a_bucket(s3, place):
    """What no client can see must not make a bucket look full; what they can see still does."""
    name = place.bucket(f"staged-{place.name}")
    upload = Upload(s3, name, "object")
    upload.part(1, b"small")
    upload.part(10000, b"last")
    s3.put_object(Bucket=name, Key="seen", Body=b"x")
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="seen")
    s3.delete_bucket(Bucket=name)
    assert name not in [b["Name"] for b in s3.list_buckets()["Buckets"]]


def test_a_refused_complete_changes_no_part(s3, bucket, prefix, upload):
    """The gateway writes the object's end before it knows whether the object may be: that is nobody's part."""
    s3.put_object(**upload.at, Body=b"there")
    upload.part(1, blob(PART, 1))
    upload.part(2, blob(PART, 2))
    upload.part(3, b"end")
    for numbers in ([1], [1, 2], [1, 2, 3]):
        with refused("PreconditionFailed", status=412):
            upload.complete(numbers, IfNoneMatch="*")
    for page in (1, 2, 1000):
        pages = s3.get_paginator("list_parts").paginate(**upload.at, UploadId=upload.id, PaginationConfig={"PageSize": page})
        listed_parts = [(p["PartNumber"], p["Size"], p["ETag"]) for answer in pages for p in answer["Parts"]]
        assert listed_parts == [(n, s, upload.listed_etags()[n]) for n, s in ((1, PART), (2, PART), (3, 3))]
    upload.complete()
    same(upload.read(), blob(PART, 1) + blob(PART, 2) + b"end")


@pytest.mark.gateway
def test_complete_twice_is_idempotent(s3, upload):
    upload.part(1, blob(PART))
    upload.part(2, b"end")
    first = upload.complete()
    second = upload.complete()
    assert first["ETag"] == second["ETag"]
    same(upload.read(), blob(PART) + b"end")


@pytest.mark.gateway
def test_complete_after_an_overwrite_is_no_success(s3, bucket, upload):
    """The repeated Complete must not claim an object that another client has since replaced."""
    upload.part(1, b"mine")
    upload.complete()
    s3.put_object(**upload.at, Body=b"theirs")
    with refused("NoSuchUpload", status=404):
        upload.complete()
    assert upload.read() == b"theirs"


@pytest.mark.gateway
def test_two_gateways_share_an_upload_and_one_restarts(place, gateways, s3, bucket, prefix):
    """Stateless: any replica serves any part, after any restart."""
    other = gateways()
    pieces = {1: blob(PART, 1), 2: blob(PART + CHUNK, 2), 3: b"staged by the first"}
    upload = Upload(s3, bucket, f"{prefix}object")
    upload.part(1, pieces[1])
    upload.part(2, pieces[2], s3=other.client())
    other.restart()
    upload.part(3, pieces[3])
    assert len(other.client().list_parts(**upload.at, UploadId=upload.id)["Parts"]) == 3
    upload.complete(s3=other.client())
    same(upload.read(), b"".join(pieces.values()))
    same(read(other.client(), bucket, upload.at["Key"]), b"".join(pieces.values()))


@pytest.mark.gateway
def test_object_is_invisible_until_complete(s3, bucket, upload):
    s3.put_object(**upload.at, Body=b"before")
    upload.part(1, b"after")
    assert upload.read() == b"before"
    upload.complete()
    assert upload.read() == b"after"


def test_many_parts(s3, bucket, prefix):
    """Forty parts through boto3's own transfer manager, in parallel, and back in ranges."""
    import io

    from boto3.s3.transfer import TransferConfig

    data = blob(40 * PART + 4321)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=8)
    s3.upload_fileobj(io.BytesIO(data), bucket, f"{prefix}object", Config=config)
    sink = io.BytesIO()
    s3.download_fileobj(bucket, f"{prefix}object", sink, Config=config)
    same(sink.getvalue(), data)


@pytest.mark.gateway
@pytest.mark.timeout(60)
def test_long_complete_keeps_the_client_waiting_politely(wire, upload):
    """However long Complete takes, the answer is one well-formed XML document."""
    for number in range(1, 4):
        upload.part(number, blob(PART, number))
    parts = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in sorted(upload.etags.items())
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    target = f"/{upload.at['Bucket']}/{upload.at['Key']}?uploadId={upload.id}"
    started = time.monotonic()
    answer = wire.request("POST", target, {}, body)
    assert answer.status == 200 and b"<CompleteMultipartUploadResult" in answer.body, answer
    assert time.monotonic() - started < 30
