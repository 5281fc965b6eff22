"""minio-py, in this process."""

import io
from importlib.metadata import version

import requests

from ..cases import LIBRARY, ODD_KEYS, PART, Target, Tool, blob, check, equal, same


class MinioPy(Tool):
    name = title = "minio-py"
    absent = {
        **LIBRARY,
        "abort": "no public call",
        "conditional": "writes have no conditions, reads of other versions have",
        "checksums": "none of its calls takes one",
    }
    absent["conditional"] = "no call takes a condition for a write"

    def version(self) -> str:
        return version("minio")

    def client(self, t: Target):
        import minio

        return minio.Minio(t.endpoint.removeprefix("http://"), t.access, t.secret, secure=False, region="us-east-1")

    def put(self, t: Target, key: str, data: bytes, **more):
        return self.client(t).put_object(t.bucket, key, io.BytesIO(data), len(data), **more)

    def read(self, t: Target, key: str, **more) -> bytes:
        answer = self.client(t).get_object(t.bucket, key, **more)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def refused(self, call, *codes: str) -> None:
        import minio

        try:
            call()
        except minio.error.S3Error as e:
            check(e.code in codes, f"got {e.code}, expected {codes}")
        else:
            check(False, f"succeeded, expected {codes}")

    def bucket(self, t: Target) -> None:
        client, name = self.client(t), f"{t.bucket}-new"
        client.make_bucket(name)
        check(client.bucket_exists(name), "the new bucket does not exist")
        check(name in [b.name for b in client.list_buckets()], "the new bucket is not listed")
        client.remove_bucket(name)
        check(not client.bucket_exists(name), "the deleted bucket exists")

    def round_trip(self, t: Target, key: str, size: int, **more) -> None:
        check(self.put(t, key, blob(size), **more).etag, "no ETag")
        same(self.read(t, key), blob(size))

    def put_small(self, t: Target) -> None:
        self.round_trip(t, "put/small", 1000)

    def put_empty(self, t: Target) -> None:
        self.round_trip(t, "put/empty", 0)

    def put_large(self, t: Target) -> None:
        self.round_trip(t, "put/large", 12 << 20)

    def multipart(self, t: Target) -> None:
        self.round_trip(t, "multipart", 2 * PART + 1000, part_size=PART)

    def get(self, t: Target) -> None:
        self.put(t, "get", blob(100_000))
        self.client(t).fget_object(t.bucket, "get", str(t.folder / "out"))
        same((t.folder / "out").read_bytes(), blob(100_000))
        self.refused(lambda: self.read(t, "get-nothing"), "NoSuchKey")

    def ranges(self, t: Target) -> None:
        data = blob(40_000)
        self.put(t, "ranges", data)
        same(self.read(t, "ranges", length=10), data[:10])
        same(self.read(t, "ranges", offset=16380, length=11), data[16380:16391])
        same(self.read(t, "ranges", offset=39_990), data[39_990:])
        self.refused(lambda: self.read(t, "ranges", offset=40_000), "InvalidRange")

    def head(self, t: Target) -> None:
        etag = self.put(t, "head", blob(70_000)).etag
        stat = self.client(t).stat_object(t.bucket, "head")
        equal((stat.size, stat.etag), (70_000, etag))
        self.refused(lambda: self.client(t).stat_object(t.bucket, "head-nothing"), "NoSuchKey")

    def list(self, t: Target) -> None:
        for size, key in enumerate(ODD_KEYS, 10):
            self.put(t, key, blob(size))
        client = self.client(t)
        found = {o.object_name: o.size for o in client.list_objects(t.bucket, "odd/", recursive=True)}
        equal(found, dict(zip(ODD_KEYS, range(10, 20))))
        found = {o.object_name: o.size for o in client.list_objects(t.bucket, "odd/", recursive=True, use_api_v1=True)}
        equal(found, dict(zip(ODD_KEYS, range(10, 20))))
        folders = sorted(o.object_name for o in client.list_objects(t.bucket, "odd/") if o.is_dir)
        equal(folders, ["odd/sub/", "odd/ü/"])

    def copy(self, t: Target) -> None:
        from minio.commonconfig import REPLACE, CopySource

        self.put(t, "copy source", blob(50_000), metadata={"colour": "blue"}, content_type="text/x-copy")
        client, source = self.client(t), CopySource(t.bucket, "copy source")
        client.copy_object(t.bucket, "copied", source)
        same(self.read(t, "copied"), blob(50_000))
        stat = client.stat_object(t.bucket, "copied")
        equal((stat.content_type, stat.metadata["x-amz-meta-colour"]), ("text/x-copy", "blue"))
        client.copy_object(t.bucket, "copied", source, metadata={"colour": "red"}, metadata_directive=REPLACE)
        equal(client.stat_object(t.bucket, "copied").metadata["x-amz-meta-colour"], "red")

    def copy_multipart(self, t: Target) -> None:
        from minio.commonconfig import ComposeSource

        for name, size in (("one", PART), ("two", 70_000)):
            self.put(t, f"compose/{name}", blob(size))
        sources = [ComposeSource(t.bucket, "compose/one"), ComposeSource(t.bucket, "compose/two")]
        self.client(t).compose_object(t.bucket, "composed", sources)
        same(self.read(t, "composed"), blob(PART) + blob(70_000))

    def delete_many(self, t: Target) -> None:
        from minio.deleteobjects import DeleteObject

        for n in range(10):
            self.put(t, f"many/{n}", b"x")
        errors = list(self.client(t).remove_objects(t.bucket, [DeleteObject(f"many/{n}") for n in range(11)]))
        equal(errors, [])
        equal(t.keys("many/"), [])

    def metadata(self, t: Target) -> None:
        sent = {"colour": "blue", "a-longer-name": "with spaces", "Cache-Control": "max-age=60"}
        self.put(t, "metadata", b"x", metadata=sent, content_type="text/x-test")
        stat = self.client(t).stat_object(t.bucket, "metadata")
        found = {name: stat.metadata.get(name) for name in ("x-amz-meta-colour", "x-amz-meta-a-longer-name", "cache-control")}
        equal(list(found.values()), ["blue", "with spaces", "max-age=60"])
        equal(stat.content_type, "text/x-test")

    def tagging(self, t: Target) -> None:
        from minio.commonconfig import Tags

        tags = Tags.new_object_tags()
        tags["team"] = "blue"
        self.put(t, "tagging", b"x", tags=tags)
        client = self.client(t)
        equal(dict(client.get_object_tags(t.bucket, "tagging")), {"team": "blue"})
        tags["cost"] = "a b"
        client.set_object_tags(t.bucket, "tagging", tags)
        equal(dict(client.get_object_tags(t.bucket, "tagging")), {"team": "blue", "cost": "a b"})
        client.delete_object_tags(t.bucket, "tagging")
        equal(client.get_object_tags(t.bucket, "tagging"), None)

    def presign_get(self, t: Target) -> None:
        self.put(t, "presign get", blob(2000))
        answer = requests.get(self.client(t).presigned_get_object(t.bucket, "presign get"), timeout=30)
        check(answer.ok, answer.text)
        same(answer.content, blob(2000))

    def presign_put(self, t: Target) -> None:
        url = self.client(t).presigned_put_object(t.bucket, "presign put")
        answer = requests.put(url, data=blob(2000), timeout=30)
        check(answer.ok, answer.text)
        same(self.read(t, "presign put"), blob(2000))

    def versioning(self, t: Target) -> None:
        from minio.commonconfig import ENABLED
        from minio.versioningconfig import VersioningConfig

        client, bucket = self.client(t), f"{t.bucket}-versions"
        client.make_bucket(bucket)
        client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
        equal(client.get_bucket_versioning(bucket).status, ENABLED)
        ids = [client.put_object(bucket, "v", io.BytesIO(blob(20_000 + n)), 20_000 + n).version_id for n in (1, 2)]
        found = list(client.list_objects(bucket, include_version=True))
        equal([(o.version_id, o.size) for o in found], [(ids[1], 20_002), (ids[0], 20_001)])
        answer = client.get_object(bucket, "v", version_id=ids[0])
        same(answer.read(), blob(20_001))
        answer.release_conn()
        client.remove_object(bucket, "v")
        self.refused(lambda: client.stat_object(bucket, "v"), "NoSuchKey", "MethodNotAllowed")
        for one in client.list_objects(bucket, include_version=True):
            client.remove_object(bucket, "v", version_id=one.version_id)
        client.remove_bucket(bucket)
