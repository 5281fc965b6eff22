"""Checksums that an upload is created for, and those that a copy asks for."""

import pytest

from harness import checksums
from harness.data import CHUNK, PART, blob
from harness.expect import refused

pytestmark = pytest.mark.gateway


def head(s3, bucket, key):
    return s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC64NVME"])
def test_an_upload_has_the_checksum_that_it_was_created_for(place, s3, bucket, prefix, algorithm):
    """Its parts need not bring any: the gateway makes them, of a copied part too."""
    plain = place.client(config={"request_checksum_calculation": "when_required"})
    source, whole, field = blob(CHUNK + 3, "source"), blob(PART, "first"), f"Checksum{algorithm}"
    s3.put_object(Bucket=bucket, Key=f"{prefix}source", Body=source)
    at = {"Bucket": bucket, "Key": f"{prefix}object"}
    made = plain.create_multipart_upload(**at, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    assert (made["ChecksumAlgorithm"], made["ChecksumType"]) == (algorithm, "FULL_OBJECT")
    part = {**at, "UploadId": made["UploadId"]}
    first = plain.upload_part(**part, PartNumber=1, Body=whole)
    assert first[field] == checksums.encoded(algorithm, whole)
    copied = plain.upload_part_copy(**part, PartNumber=2, CopySource={"Bucket": bucket, "Key": f"{prefix}source"})
    copied = copied["CopyPartResult"]
    assert copied[field] == checksums.encoded(algorithm, source)
    parts = [{"PartNumber": n, "ETag": p["ETag"]} for n, p in ((1, first), (2, copied))]
    plain.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    got = head(s3, **{k.lower(): v for k, v in at.items()})
    assert (got["ChecksumType"], got[field]) == ("FULL_OBJECT", checksums.encoded(algorithm, whole + source))


def test_parts_of_another_checksum_are_refused(s3, bucket, prefix):
    at = {"Bucket": bucket, "Key": f"{prefix}object"}
    upload = s3.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")["UploadId"]
    with refused("InvalidRequest", status=400):
        s3.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32C")
    s3.abort_multipart_upload(**at, UploadId=upload)


@pytest.mark.parametrize(
    "asked",
    [
        {"x-amz-checksum-algorithm": "CRC7"},
        {"x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"},
    ],
)
def test_uploads_for_no_possible_checksum(wire, bucket, prefix, asked):
    answer = wire.request("POST", f"/{bucket}/{prefix}object?uploads=", asked)
    assert (answer.status, answer.code) == (400, "InvalidRequest"), answer


def test_a_copy_makes_the_checksum_that_it_is_asked_for(s3, bucket, prefix):
    key, data = f"{prefix}object", blob(2 * CHUNK + 9, "copied")
    s3.put_object(Bucket=bucket, Key=key, Body=data, ChecksumAlgorithm="CRC32", Tagging="a=b", Metadata={"m": "1"})
    # Onto itself too: that is a change.
    for target in (f"{prefix}copy", key):
        asked = {"Bucket": bucket, "Key": target, "CopySource": {"Bucket": bucket, "Key": key}}
        result = s3.copy_object(**asked, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
        got = head(s3, bucket, target)
        assert result["ChecksumSHA256"] == got["ChecksumSHA256"] == checksums.encoded("SHA256", data)
        assert got["Metadata"] == {"m": "1"} and "ChecksumCRC32" not in got
        assert s3.get_object_tagging(Bucket=bucket, Key=target)["TagSet"] == [{"Key": "a", "Value": "b"}]
    # And one that is not asked for another keeps its own.
    s3.copy_object(Bucket=bucket, Key=f"{prefix}again", CopySource={"Bucket": bucket, "Key": f"{prefix}copy"})
    assert head(s3, bucket, f"{prefix}again")["ChecksumSHA256"] == checksums.encoded("SHA256", data)


def test_a_copy_to_no_possible_checksum(wire, bucket, prefix):
    wire.request("PUT", f"/{bucket}/{prefix}object", {}, b"x")
    asked = {"x-amz-copy-source": f"/{bucket}/{prefix}object", "x-amz-checksum-algorithm": "CRC7"}
    answer = wire.request("PUT", f"/{bucket}/{prefix}copy", asked)
    assert (answer.status, answer.code) == (400, "InvalidRequest"), answer
