#!/usr/bin/env python3
"""Writes botocore.json: requests as botocore signs them, with odd keys, queries and headers.

Run it with any recent boto3; the clock and the credentials are fixed, nothing is sent. The test `botocore.rs` verifies
every request and expects what `expect` says.
"""

import datetime
import io
import json
import pathlib

import boto3
import botocore
import botocore.auth
import botocore.awsrequest
from botocore.client import Config
from urllib.parse import urlsplit

NOW = datetime.datetime(2026, 3, 1, 12, 30, 45, tzinfo=datetime.timezone.utc)
ACCESS_KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

KEYS = [
    "plain.txt",
    "a b",
    "a+b",
    "a%20b%2Fc",
    "100%",
    "//double//slashes//",
    "a/../b/./c",
    "../up",
    "./here",
    "trailing/",
    "/leading",
    "ünï/çødé/日本語/🗝",
    "q?x=1&y=2#frag",
    "!$&'()*,;=:@~-._",
    "back\\slash|pipe^caret`tick{brace}[bracket]<lt>\"quote\"",
    "tab\tnew\nline\rreturn",
    "\x01\x1f\x7f",
    "k" * 1024,
]


class Captured(Exception):
    """Carries a request out of botocore in place of sending it."""

    def __init__(self, request):
        super().__init__("captured")
        self.request = request


def capture(request, **_):
    raise Captured(request)


def client(endpoint, style="path", token=None, **config):
    session = boto3.session.Session(
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
        region_name="eu-central-1",
    )
    options = Config(signature_version="s3v4", retries={"max_attempts": 0}, s3={"addressing_style": style}, **config)
    made = session.client("s3", endpoint_url=endpoint, config=options)
    made.meta.events.register("before-send.s3", capture)
    return made


def text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


def body_of(request):
    body = request.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    return body.read()


def vector(name, method, url, headers, body, **expect):
    parts = urlsplit(url)
    target = parts.path + ("?" + parts.query if parts.query else "")
    # urlsplit drops control characters that a URL may not hold; botocore never writes any.
    assert target.isascii() and url.endswith(target), url
    have = {text(k).lower() for k, _ in headers}
    # Not signed, and different on every machine or run.
    volatile = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}
    listed = [[text(k), text(v)] for k, v in headers if text(k).lower() not in volatile]
    if "host" not in have:
        listed.append(["Host", parts.netloc])
    return {
        "name": name,
        "method": method,
        "target": target,
        "headers": listed,
        "body": body.hex(),
        "expect": expect,
    }


def call(made, name, function, params, **expect):
    try:
        getattr(made, function)(**params)
    except Captured as c:
        request = c.request
        return vector(name, request.method, request.url, request.headers.items(), body_of(request), **expect)
    raise AssertionError(f"{name} was not sent")


def presigned(made, name, function, method, params, expires=3600, **expect):
    url = made.generate_presigned_url(function, Params=params, ExpiresIn=expires)
    return vector(name, method, url, [], b"", **expect)


def main():
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW.replace(tzinfo=None) if remove_tzinfo else NOW
    http = client("http://127.0.0.1:9000")
    https = client("https://gateway.test")
    out = []

    for i, key in enumerate(KEYS):
        at = {"Bucket": "bucket", "Key": key}
        seen = {"bucket": "bucket", "key": key}
        out.append(call(http, f"get {i}", "get_object", at, operation="GetObject", **seen))
        out.append(
            call(http, f"put {i}", "put_object", {**at, "Body": b"payload"}, operation="PutObject", payload="payload", **seen)
        )
        out.append(presigned(http, f"presigned {i}", "get_object", "GET", at, operation="GetObject", **seen))
        source = {"CopySource": {"Bucket": "source", "Key": key}}
        out.append(
            call(http, f"copy {i}", "copy_object", {**at, **source}, operation="CopyObject", source=["source", key], **seen)
        )

    virtual = client("http://gateway.test:8080", style="virtual")
    seen = {"bucket": "my.bucket", "key": "a/b c"}
    out.append(call(virtual, "virtual host", "get_object", {"Bucket": "my.bucket", "Key": "a/b c"}, operation="GetObject", **seen))
    out.append(presigned(virtual, "virtual presigned", "put_object", "PUT", {"Bucket": "my.bucket", "Key": "a/b c"}, operation="PutObject", **seen))

    odd = {"Bucket": "bucket", "Prefix": "a b+c%2F/ü&=?#\n", "Delimiter": "/", "StartAfter": "*'()~!", "MaxKeys": 7}
    out.append(call(http, "list v2", "list_objects_v2", odd, operation="ListObjectsV2", bucket="bucket", query={"prefix": odd["Prefix"], "start-after": "*'()~!", "encoding-type": "url"}))
    out.append(call(http, "list v1", "list_objects", {"Bucket": "bucket", "Marker": "+ +"}, operation="ListObjects", bucket="bucket", query={"marker": "+ +"}))
    out.append(call(http, "list buckets", "list_buckets", {}, operation="ListBuckets"))
    out.append(call(http, "head bucket", "head_bucket", {"Bucket": "bucket"}, operation="HeadBucket", bucket="bucket"))
    out.append(call(http, "create bucket", "create_bucket", {"Bucket": "bucket", "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}, operation="CreateBucket", bucket="bucket"))
    out.append(call(http, "location", "get_bucket_location", {"Bucket": "bucket"}, operation="GetBucketLocation", bucket="bucket"))
    out.append(call(http, "versions", "list_object_versions", {"Bucket": "bucket"}, operation="ListObjectVersions", bucket="bucket"))
    out.append(call(http, "delete many", "delete_objects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": k} for k in KEYS]}}, operation="DeleteObjects", bucket="bucket", delete=KEYS))
    out.append(call(http, "uploads", "list_multipart_uploads", {"Bucket": "bucket"}, operation="ListMultipartUploads", bucket="bucket"))
    at = {"Bucket": "bucket", "Key": "k"}
    seen = {"bucket": "bucket", "key": "k"}
    out.append(call(http, "create upload", "create_multipart_upload", {**at, "Metadata": {"A-b": "two  spaces "}}, operation="CreateMultipartUpload", **seen))
    upload = {**at, "UploadId": "id/+=~._-"}
    out.append(call(http, "upload part", "upload_part", {**upload, "PartNumber": 7, "Body": b"part"}, operation="UploadPart", payload="part", query={"uploadId": "id/+=~._-", "partNumber": "7"}, **seen))
    out.append(call(http, "part copy", "upload_part_copy", {**upload, "PartNumber": 7, "CopySource": "source/a b?versionId=v", "CopySourceRange": "bytes=0-9"}, operation="UploadPartCopy", source=["source", "a b"], **seen))
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"a"'}, {"PartNumber": 3, "ETag": "b"}]}
    out.append(call(http, "complete", "complete_multipart_upload", {**upload, "MultipartUpload": parts}, operation="CompleteMultipartUpload", complete=[[1, "a"], [3, "b"]], **seen))
    out.append(call(http, "abort", "abort_multipart_upload", upload, operation="AbortMultipartUpload", **seen))
    out.append(call(http, "parts", "list_parts", upload, operation="ListParts", **seen))
    out.append(call(http, "head", "head_object", {**at, "VersionId": "v+/", "PartNumber": 2}, operation="HeadObject", query={"versionId": "v+/"}, **seen))
    out.append(call(http, "delete", "delete_object", at, operation="DeleteObject", **seen))
    out.append(call(http, "tagging", "get_object_tagging", at, operation="GetObjectTagging", **seen))
    out.append(call(http, "conditions", "get_object", {**at, "IfMatch": '"e"', "Range": "bytes=-5"}, operation="GetObject", **seen))
    out.append(call(http, "metadata", "put_object", {**at, "Body": b"x", "Metadata": {"Space": "  a   b  ", "comma": "a,b"}, "ContentType": "text/plain; charset=utf-8", "CacheControl": "no-cache,  private", "Tagging": "a=b&c=d%20e"}, operation="PutObject", payload="x", **seen))
    out.append(call(http, "empty body", "put_object", at, operation="PutObject", payload="", **seen))

    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        params = {**at, "Body": io.BytesIO(b"stream " * 300), "ChecksumAlgorithm": algorithm}
        out.append(call(https, f"trailer {algorithm}", "put_object", params, operation="PutObject", payload="stream " * 300, **seen))
        params = {**at, "Body": b"plain", "ChecksumAlgorithm": algorithm}
        out.append(call(http, f"header {algorithm}", "put_object", params, operation="PutObject", payload="plain", **seen))
    out.append(call(https, "trailer part", "upload_part", {**upload, "PartNumber": 1, "Body": io.BytesIO(b"part")}, operation="UploadPart", payload="part", **seen))
    out.append(call(https, "trailer empty", "put_object", {**at, "Body": io.BytesIO(b"")}, operation="PutObject", payload="", **seen))
    unsigned = client("http://127.0.0.1:9000", request_checksum_calculation="when_required")
    unsigned_https = client("https://127.0.0.1:9000", request_checksum_calculation="when_required")
    out.append(call(unsigned, "signed payload", "put_object", {**at, "Body": b"signed"}, operation="PutObject", payload="signed", **seen))
    out.append(call(unsigned_https, "unsigned payload", "put_object", {**at, "Body": b"unsigned"}, operation="PutObject", payload="unsigned", **seen))

    session = client("http://127.0.0.1:9000", token="session/token+=")
    out.append(call(session, "token", "get_object", at, operation="GetObject", token="session/token+=", **seen))
    out.append(presigned(session, "token presigned", "get_object", "GET", at, operation="GetObject", token="session/token+=", **seen))
    out.append(presigned(http, "presigned response", "get_object", "GET", {**at, "ResponseContentDisposition": 'attachment; filename="a b+c.txt"', "VersionId": "v"}, operation="GetObject", query={"response-content-disposition": 'attachment; filename="a b+c.txt"'}, **seen))
    out.append(presigned(http, "presigned put", "put_object", "PUT", at, expires=604800, operation="PutObject", **seen))
    out.append(presigned(http, "presigned part", "upload_part", "PUT", {**upload, "PartNumber": 2}, expires=1, operation="UploadPart", **seen))

    document = {"botocore": botocore.__version__, "now": int(NOW.timestamp()), "requests": out}
    path = pathlib.Path(__file__).with_name("botocore.json")
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{len(out)} requests in {path.name}")


if __name__ == "__main__":
    main()
