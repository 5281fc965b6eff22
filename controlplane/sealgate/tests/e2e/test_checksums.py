"""Checksums over the plaintext: five algorithms, as headers and as trailers, and Content-MD5."""

import itertools

import pytest

from harness import checksums, sigv4
from harness.data import CHUNK, MIB, PART, blob
from harness.expect import missing, multipart, read, refused, same

ALGORITHMS = list(checksums.ALL)
DATA = blob(2 * CHUNK + 77, "checksum")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_header_checksum(wire, s3, bucket, prefix, algorithm):
    key, name = f"{prefix}object", checksums.header(algorithm)
    answer = wire.request("PUT", f"/{bucket}/{key}", {name: checksums.encoded(algorithm, DATA)}, DATA)
    assert answer.status == 200, answer
    same(read(s3, bucket, key), DATA)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_wrong_header_checksum_stores_nothing(wire, s3, bucket, prefix, algorithm):
    key, name = f"{prefix}object", checksums.header(algorithm)
    wrong = checksums.encoded(algorithm, DATA[:-1] + b"!")
    answer = wire.request("PUT", f"/{bucket}/{key}", {name: wrong}, DATA)
    assert (answer.status, answer.code) == (400, "BadDigest"), answer
    missing(s3, bucket, key)


@pytest.mark.gateway
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksum_is_given_back_only_when_asked_and_only_for_the_whole(wire, bucket, prefix, algorithm):
    target, name = f"/{bucket}/{prefix}object", checksums.header(algorithm)
    value = checksums.encoded(algorithm, DATA)
    put = wire.request("PUT", target, {name: value}, DATA)
    assert (put.headers.get(name), put.headers.get("x-amz-checksum-type")) == (value, "FULL_OBJECT"), put
    for method in ("GET", "HEAD"):
        answer = wire.request(method, target, {"x-amz-checksum-mode": "ENABLED"})
        assert answer.headers.get(name) == value, f"{method}: {answer.headers}"
        assert answer.headers.get("x-amz-checksum-type") == "FULL_OBJECT", answer.headers
        assert name not in wire.request(method, target).headers
    part = wire.request("GET", target, {"x-amz-checksum-mode": "ENABLED", "Range": "bytes=0-99"})
    assert part.status == 206 and not [h for h in part.headers if h.startswith("x-amz-checksum")]


@pytest.mark.gateway
def test_the_stores_own_checksum_never_leaks(wire, bucket, prefix):
    """It covers ciphertext; a client that checks it would fail."""
    target = f"/{bucket}/{prefix}object"
    wire.request("PUT", target, {}, DATA)
    for method in ("GET", "HEAD"):
        answer = wire.request(method, target, {"x-amz-checksum-mode": "ENABLED"})
        for name, value in answer.headers.items():
            if name.startswith("x-amz-checksum-") and name != "x-amz-checksum-type":
                algorithm = name.removeprefix("x-amz-checksum-").upper()
                assert value == checksums.encoded(algorithm, DATA), f"{name} is not of the plaintext"


@pytest.mark.parametrize("mode", ["when_supported", "when_required"])
@pytest.mark.parametrize("algorithm", [None, *ALGORITHMS])
def test_boto3_checksums(place, bucket, prefix, algorithm, mode):
    """What the SDK sends and checks by itself."""
    s3 = place.client(config={"request_checksum_calculation": mode, "response_checksum_validation": mode})
    options = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    for size in (0, 5, len(DATA)):
        s3.put_object(Bucket=bucket, Key=f"{prefix}{size}", Body=DATA[:size], **options)
        same(read(s3, bucket, f"{prefix}{size}", ChecksumMode="ENABLED"), DATA[:size])


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA256"])
def test_boto3_checksums_of_parts(s3, bucket, prefix, algorithm):
    at = {"Bucket": bucket, "Key": f"{prefix}object"}
    created = s3.create_multipart_upload(**at, ChecksumAlgorithm=algorithm)
    pieces, parts = {1: blob(PART, 1), 2: blob(99, 2)}, []
    for number, data in pieces.items():
        answer = s3.upload_part(
            **at, UploadId=created["UploadId"], PartNumber=number, Body=data, ChecksumAlgorithm=algorithm
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        name = f"Checksum{algorithm}"
        if name in answer:
            parts[-1][name] = answer[name]
    s3.complete_multipart_upload(**at, UploadId=created["UploadId"], MultipartUpload={"Parts": parts})
    same(read(s3, bucket, at["Key"], ChecksumMode="ENABLED"), b"".join(pieces.values()))


def test_content_md5(wire, s3, bucket, prefix):
    target = f"/{bucket}/{prefix}object"
    assert wire.request("PUT", target, {"Content-MD5": checksums.md5(DATA)}, DATA).status == 200
    same(read(s3, bucket, f"{prefix}object"), DATA)


def test_wrong_content_md5_keeps_the_old_object(wire, s3, bucket, prefix):
    target = f"/{bucket}/{prefix}object"
    s3.put_object(Bucket=bucket, Key=f"{prefix}object", Body=b"old")
    answer = wire.request("PUT", target, {"Content-MD5": checksums.md5(b"other")}, DATA)
    assert (answer.status, answer.code) == (400, "BadDigest"), answer
    assert read(s3, bucket, f"{prefix}object") == b"old"


@pytest.mark.gateway
def test_malformed_content_md5(wire, s3, bucket, prefix):
    for value in ("not base64!", "AAAA", ""):
        answer = wire.request("PUT", f"/{bucket}/{prefix}object", {"Content-MD5": value}, DATA)
        assert (answer.status, answer.code) == (400, "InvalidDigest"), f"{value!r}: {answer}"
    missing(s3, bucket, f"{prefix}object")


@pytest.mark.gateway
def test_malformed_checksum_headers(wire, s3, bucket, prefix):
    for headers in (
        {"x-amz-checksum-crc32": "not base64!"},
        {"x-amz-checksum-crc32": "AAAAAAAA"},
        {"x-amz-checksum-sha256": "AAAA"},
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "AAAA"},
    ):
        answer = wire.request("PUT", f"/{bucket}/{prefix}object", headers, DATA)
        assert answer.status == 400 and answer.code == "InvalidRequest", f"{headers}: {answer}"
    missing(s3, bucket, f"{prefix}object")


@pytest.mark.gateway
@pytest.mark.parametrize("kind", ["single", "part"])
def test_concrete_payload_hash(wire, s3, bucket, prefix, kind):
    """A concrete x-amz-content-sha256 is compared, on PutObject and on UploadPart."""
    import hashlib

    target, at = f"/{bucket}/{prefix}object", {"Bucket": bucket, "Key": f"{prefix}object"}
    if kind == "part":
        upload = s3.create_multipart_upload(**at)["UploadId"]
        target += f"?partNumber=1&uploadId={upload}"
    right = hashlib.sha256(DATA).hexdigest()
    wrong = hashlib.sha256(b"other").hexdigest()
    answer = wire.request("PUT", target, {}, DATA, payload_hash=wrong)
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch"), answer
    missing(s3, bucket, at["Key"])
    if kind == "part":
        assert not s3.list_parts(**at, UploadId=upload).get("Parts")
    assert wire.request("PUT", target, {}, DATA, payload_hash=right).status == 200
    if kind == "part":
        s3.abort_multipart_upload(**at, UploadId=upload)


@pytest.mark.gateway
def test_malformed_payload_hash(wire, bucket, prefix):
    for value in ("abc", "Z" * 64, "STREAMING-NONSENSE"):
        answer = wire.request("PUT", f"/{bucket}/{prefix}object", {}, DATA, payload_hash=value)
        assert answer.status in (400, 501), f"{value}: {answer}"


# ---- aws-chunked, all three forms ----------------------------------------------------------------

FORMS = {
    "signed": (sigv4.STREAMING, False),
    "signed-trailer": (sigv4.STREAMING_TRAILER, True),
    "unsigned-trailer": (sigv4.STREAMING_UNSIGNED_TRAILER, True),
}


def send_chunked(
    wire,
    target,
    data,
    form,
    algorithm="CRC32C",
    chunk=65536,
    headers=None,
    decoded=None,
    trailers=None,
    spoil=None,
    announce=True,
    **corrupt,
):
    """PUTs `data` in one of the forms; `spoil` edits the framed body before it is sent."""
    payload, has_trailer = FORMS[form]
    with wire.connect() as connection:
        if has_trailer and trailers is None:
            trailers = [(checksums.header(algorithm), checksums.encoded(algorithm, data))]
        base = {
            "Content-Encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(len(data) if decoded is None else decoded),
            **(headers or {}),
        }
        if has_trailer and announce:
            base["x-amz-trailer"] = checksums.header(algorithm)
        # The length is not signed here, so it can be filled in once the signed chunks are made.
        signed = wire.signed(connection, "PUT", target, base, payload)
        body = sigv4.chunked(
            signed if form.startswith("signed") else None, data, chunk, trailers if has_trailer else None, **corrupt
        )
        if spoil:
            body = spoil(body)
        signed.headers["Content-Length"] = str(len(body))
        connection.send_quietly(connection.head("PUT", target, signed.headers) + body)
        return connection.answer()


@pytest.fixture(params=["single", "part"])
def goal(request, s3, bucket, prefix):
    """(target, stored) for PutObject and for UploadPart; `stored()` gives the bytes, or None."""
    at = {"Bucket": bucket, "Key": f"{prefix}object"}
    if request.param == "single":

        def stored():
            try:
                return read(s3, **{"bucket": bucket, "key": at["Key"]})
            except s3.exceptions.NoSuchKey:
                return None

        yield f"/{bucket}/{at['Key']}", stored
        return
    upload = s3.create_multipart_upload(**at)["UploadId"]

    def stored():
        parts = s3.list_parts(**at, UploadId=upload).get("Parts", [])
        if not parts:
            return None
        chosen = [{"PartNumber": 1, "ETag": parts[0]["ETag"]}]
        s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": chosen})
        return read(s3, bucket, at["Key"])

    yield f"/{bucket}/{at['Key']}?partNumber=1&uploadId={upload}", stored


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 200_001])
def test_streaming_forms(wire, goal, form, size):
    target, stored = goal
    data = blob(size, form)
    answer = send_chunked(wire, target, data, form)
    assert answer.status == 200, answer
    same(stored(), data)


@pytest.mark.gateway
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [8192, CHUNK, 131072, 1000])
def test_streaming_chunk_sizes(wire, s3, bucket, prefix, form, chunk):
    data = blob(150_000, "chunks")
    answer = send_chunked(wire, f"/{bucket}/{prefix}object", data, form, chunk=chunk)
    assert answer.status == 200, answer
    same(read(s3, bucket, f"{prefix}object"), data)


@pytest.mark.parametrize("form", ["signed-trailer", "unsigned-trailer"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trailer_checksums(wire, s3, bucket, prefix, form, algorithm):
    answer = send_chunked(wire, f"/{bucket}/{prefix}object", DATA, form, algorithm)
    assert answer.status == 200, answer
    same(read(s3, bucket, f"{prefix}object"), DATA)


@pytest.mark.gateway
@pytest.mark.parametrize("form", ["signed-trailer", "unsigned-trailer"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_wrong_trailer_checksum(wire, goal, form, algorithm):
    target, stored = goal
    trailers = [(checksums.header(algorithm), checksums.encoded(algorithm, b"other"))]
    answer = send_chunked(wire, target, DATA, form, algorithm, trailers=trailers)
    assert (answer.status, answer.code) == (400, "BadDigest"), answer
    assert stored() is None


@pytest.mark.gateway
@pytest.mark.parametrize("form", ["signed", "signed-trailer"])
@pytest.mark.parametrize("chunk", [0, 1, 2, 3])
def test_corrupt_chunk_signature(wire, goal, form, chunk):
    """Also that of the final, empty chunk (number 3 here)."""
    target, stored = goal
    answer = send_chunked(wire, target, blob(3 * 65536), form, corrupt_chunk=chunk)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), answer
    assert stored() is None


@pytest.mark.gateway
def test_corrupt_trailer_signature(wire, goal):
    target, stored = goal
    answer = send_chunked(wire, target, DATA, "signed-trailer", corrupt_trailer=True)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), answer
    assert stored() is None


@pytest.mark.gateway
def test_changed_payload_in_a_signed_chunk(wire, goal):
    target, stored = goal
    data = blob(100_000)

    def flip(body: bytes) -> bytes:
        at = body.index(data[50_000:50_020])
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    answer = send_chunked(wire, target, data, "signed", spoil=flip)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), answer
    assert stored() is None


@pytest.mark.gateway
@pytest.mark.parametrize("form", ["signed-trailer", "unsigned-trailer"])
def test_absent_and_malformed_trailers(wire, goal, form):
    target, stored = goal
    for trailers in ([], [("x-amz-checksum-crc32c", "not base64")], [("no-such-trailer", "x")]):
        answer = send_chunked(wire, target, DATA, form, trailers=trailers)
        assert answer.status == 400, f"{trailers}: {answer}"
        assert answer.code in ("MalformedTrailerError", "InvalidRequest", "BadDigest"), f"{trailers}: {answer}"
    assert stored() is None


@pytest.mark.gateway
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b.replace(b"\r\n", b"\n", 1),
        lambda b: b"+" + b,
        lambda b: b"0x" + b,
        lambda b: b"zz" + b[2:],
        lambda b: b"fffffffffffffffff" + b,
        lambda b: b[:-2],
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b + b"extra",
    ],
    ids=["bare-lf", "plus", "hex-prefix", "no-number", "overflow", "no-end", "half", "nothing", "extra"],
)
def test_broken_framing(wire, s3, bucket, prefix, form, spoil):
    key = f"{prefix}object"
    answer = send_chunked(wire, f"/{bucket}/{key}", DATA, form, spoil=spoil)
    assert answer.status in (400, 403), answer
    missing(s3, bucket, key)


@pytest.mark.gateway
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("difference", [-1, 1, -1000, 1000])
def test_decoded_length_must_be_true(wire, s3, bucket, prefix, form, difference):
    key = f"{prefix}object"
    answer = send_chunked(wire, f"/{bucket}/{key}", DATA, form, decoded=len(DATA) + difference)
    assert answer.status in (400, 403), answer
    missing(s3, bucket, key)


@pytest.mark.gateway
@pytest.mark.parametrize("value", [None, "", "x", "-5", "99999999999999999999"])
def test_decoded_length_must_be_there(wire, s3, bucket, prefix, value):
    target = f"/{bucket}/{prefix}object"
    with wire.connect() as connection:
        headers = {"Content-Encoding": "aws-chunked"}
        if value is not None:
            headers["x-amz-decoded-content-length"] = value
        signed = wire.signed(connection, "PUT", target, headers, sigv4.STREAMING)
        body = sigv4.chunked(signed, DATA)
        signed.headers["Content-Length"] = str(len(body))
        connection.send_quietly(connection.head("PUT", target, signed.headers) + body)
        answer = connection.answer()
    assert answer.status in (400, 411), answer
    missing(s3, bucket, f"{prefix}object")


@pytest.mark.gateway
@pytest.mark.parametrize(
    "sent, kept",
    [("aws-chunked", None), ("gzip,aws-chunked", "gzip"), ("aws-chunked, gzip", "gzip"), ("gzip", "gzip")],
)
def test_aws_chunked_is_stripped_from_content_encoding(wire, bucket, prefix, sent, kept):
    target = f"/{bucket}/{prefix}object"
    assert send_chunked(wire, target, DATA, "signed", headers={"Content-Encoding": sent}).status == 200
    assert wire.request("HEAD", target).headers.get("content-encoding") == kept


@pytest.mark.gateway
def test_streaming_over_transfer_encoding_chunked(wire, s3, bucket, prefix):
    """An aws-chunked body may itself come in HTTP chunks: two framings, one inside the other."""
    target = f"/{bucket}/{prefix}object"
    with wire.connect() as connection:
        headers = {"x-amz-decoded-content-length": str(len(DATA)), "Content-Encoding": "aws-chunked"}
        signed = wire.signed(connection, "PUT", target, headers, sigv4.STREAMING)
        body = sigv4.chunked(signed, DATA, 8192)
        signed.headers["Transfer-Encoding"] = "chunked"
        connection.send(connection.head("PUT", target, signed.headers))
        for start in range(0, len(body), 5000):
            piece = body[start : start + 5000]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        answer = connection.answer()
    assert answer.status == 200, answer
    same(read(s3, bucket, f"{prefix}object"), DATA)


@pytest.mark.gateway
def test_streaming_in_small_writes(wire, s3, bucket, prefix):
    """Framing split at every place by the network."""
    data, target = blob(3000, "drip"), f"/{bucket}/{prefix}object"
    with wire.connect() as connection:
        headers = {"x-amz-decoded-content-length": str(len(data)), "x-amz-trailer": "x-amz-checksum-crc32"}
        signed = wire.signed(connection, "PUT", target, headers, sigv4.STREAMING_TRAILER)
        trailers = [("x-amz-checksum-crc32", checksums.encoded("CRC32", data))]
        body = sigv4.chunked(signed, data, 500, trailers)
        signed.headers["Content-Length"] = str(len(body))
        connection.send(connection.head("PUT", target, signed.headers))
        sizes = itertools.cycle((1, 2, 3, 7, 50))
        while body:
            step = next(sizes)
            connection.send(body[:step])
            body = body[step:]
        answer = connection.answer()
    assert answer.status == 200, answer
    same(read(s3, bucket, f"{prefix}object"), data)


@pytest.mark.gateway
def test_part_checksums_in_complete(s3, bucket, prefix):
    """Complete may name each part's checksum: a wrong one is refused."""
    at = {"Bucket": bucket, "Key": f"{prefix}object"}
    upload = s3.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")["UploadId"]
    data = blob(MIB)
    part = s3.upload_part(**at, UploadId=upload, PartNumber=1, Body=data, ChecksumAlgorithm="SHA256")
    assert part.get("ChecksumSHA256") == checksums.encoded("SHA256", data)
    chosen = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
    s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": [chosen]})
    same(read(s3, bucket, at["Key"]), data)
