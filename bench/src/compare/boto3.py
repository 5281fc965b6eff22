"""One transfer: DIRECTION ENDPOINT SIZE PART-SIZE THREADS. Nothing touches a disk."""

import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

DIRECTION, ENDPOINT = sys.argv[1:3]
SIZE, PART, THREADS = map(int, sys.argv[3:])
BLOCK = bytes(range(256)) * 4096


class Source:
    """So many bytes of a repeated block, as a file."""

    def __init__(self):
        self.at = 0

    def read(self, n=-1):
        n = SIZE - self.at if n is None or n < 0 else min(n, SIZE - self.at)
        self.at += n
        whole, rest = divmod(n, len(BLOCK))
        return BLOCK * whole + BLOCK[:rest]

    def seekable(self):
        return False


class Sink:
    """Counts what is written."""

    def __init__(self):
        self.count = 0

    def write(self, data):
        self.count += len(data)
        return len(data)

    def seekable(self):
        return False


s3 = boto3.client(
    "s3",
    endpoint_url=ENDPOINT,
    region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, max_pool_connections=THREADS, retries={"max_attempts": 1}),
)
transfer = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=THREADS)
KEY = "kept-boto3"
if DIRECTION == "upload":
    try:
        s3.create_bucket(Bucket="bench")
    except ClientError as e:
        if e.response["ResponseMetadata"]["HTTPStatusCode"] != 409:
            raise
    s3.upload_fileobj(Source(), "bench", KEY, Config=transfer)
else:
    sink = Sink()
    s3.download_fileobj("bench", KEY, sink, Config=transfer)
    assert sink.count == SIZE, f"{sink.count} of {SIZE} bytes came"
