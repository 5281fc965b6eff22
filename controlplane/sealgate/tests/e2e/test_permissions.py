"""Who may do what: `allow` by bucket, prefix and action, and store identities of their own."""

import pytest
from botocore.exceptions import ClientError

from harness import gateway as gw, weed as wd
from harness.data import blob
from harness.expect import read, refused
from harness.gateway import q

pytestmark = pytest.mark.gateway


def credential(name: str, allow: str, more: str = "") -> str:
    return f"\n[[credentials]]\naccess_key = {q(name)}\nsecret_key = {q(name + '-secret-key')}\nallow = [{allow}]\n{more}\n"


CREDENTIALS = gw.ROOT_CREDENTIAL + "".join(
    (
        credential("NOBODY", ""),
        credential("READER", '{ bucket = "one", actions = ["read", "list"] }'),
        credential("WRITER", '{ bucket = "one", prefix = "in/", actions = ["write"] }'),
        credential("LISTER", '{ bucket = "one", prefix = "in/", actions = ["list"] }'),
        credential("DELETER", '{ bucket = "one", prefix = "in/", actions = ["delete"] }'),
        credential("GETTER", '{ bucket = "*", actions = ["GetObject"] }'),
        credential("PREFIX", '{ bucket = "one", prefix = "in/", actions = ["read", "write", "list"] }'),
        credential("BULK", '{ bucket = "one", prefix = "in/", actions = ["DeleteObjects"] }'),
        credential("GLOB", '{ bucket = "tw*", actions = ["*"] }'),
        credential("TWICE", '{ bucket = "one", prefix = "a/", actions = ["*"] }, { bucket = "two", actions = ["read"] }'),
    )
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("permissions")
    (folder / "objects").mkdir()
    gateway = gw.Gateway(folder / "gateway", gw.fs_backend(folder / "objects"), credentials=CREDENTIALS)
    root = gateway.client()
    for bucket in ("one", "two"):
        root.create_bucket(Bucket=bucket)
        for key in ("in/x", "a/x", "top"):
            root.put_object(Bucket=bucket, Key=key, Body=f"{bucket} {key}".encode())
    yield gateway
    gateway.stop()


@pytest.fixture
def as_user(guarded):
    return lambda name: guarded.client(name, f"{name}-secret-key")


def denied():
    return refused("AccessDenied", "403", status=403)


def test_nobody_may_do_nothing(as_user):
    s3 = as_user("NOBODY")
    for call in (
        lambda: s3.get_object(Bucket="one", Key="top"),
        lambda: s3.head_object(Bucket="one", Key="top"),
        lambda: s3.put_object(Bucket="one", Key="top", Body=b"x"),
        lambda: s3.delete_object(Bucket="one", Key="top"),
        lambda: s3.list_objects_v2(Bucket="one"),
        lambda: s3.create_bucket(Bucket="three"),
        lambda: s3.delete_bucket(Bucket="one"),
        lambda: s3.create_multipart_upload(Bucket="one", Key="x"),
        lambda: s3.copy_object(Bucket="one", Key="x", CopySource={"Bucket": "one", "Key": "top"}),
    ):
        with denied():
            call()


def test_reader(as_user, guarded):
    s3 = as_user("READER")
    assert read(s3, "one", "top") == b"one top"
    assert s3.list_objects_v2(Bucket="one")["KeyCount"] == 3
    for call in (
        lambda: s3.get_object(Bucket="two", Key="top"),
        lambda: s3.list_objects_v2(Bucket="two"),
        lambda: s3.put_object(Bucket="one", Key="top", Body=b"x"),
        lambda: s3.delete_object(Bucket="one", Key="top"),
        lambda: s3.copy_object(Bucket="one", Key="x", CopySource={"Bucket": "one", "Key": "top"}),
    ):
        with denied():
            call()
    assert read(guarded.client(), "one", "top") == b"one top"


def test_writer_under_a_prefix(as_user, guarded):
    s3 = as_user("WRITER")
    s3.put_object(Bucket="one", Key="in/new", Body=b"x")
    upload = s3.create_multipart_upload(Bucket="one", Key="in/parts")["UploadId"]
    etag = s3.upload_part(Bucket="one", Key="in/parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    s3.complete_multipart_upload(
        Bucket="one", Key="in/parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    for call in (
        lambda: s3.put_object(Bucket="one", Key="out", Body=b"x"),
        lambda: s3.put_object(Bucket="one", Key="in", Body=b"x"),
        lambda: s3.put_object(Bucket="two", Key="in/x", Body=b"x"),
        lambda: s3.get_object(Bucket="one", Key="in/x"),
        lambda: s3.create_multipart_upload(Bucket="one", Key="out"),
    ):
        with denied():
            call()
    root = guarded.client()
    assert read(root, "one", "in/parts") == b"part"
    root.delete_object(Bucket="one", Key="in/new")
    root.delete_object(Bucket="one", Key="in/parts")


def test_copy_needs_both_sides(as_user):
    """Writing is not enough: the source must be readable for this user."""
    s3 = as_user("WRITER")
    with denied():
        s3.copy_object(Bucket="one", Key="in/copy", CopySource={"Bucket": "two", "Key": "top"})
    s3 = as_user("TWICE")
    s3.copy_object(Bucket="one", Key="a/copy", CopySource={"Bucket": "two", "Key": "top"})
    assert read(s3, "one", "a/copy") == b"two top"
    with denied():
        s3.copy_object(Bucket="two", Key="a/copy", CopySource={"Bucket": "one", "Key": "a/x"})
    s3.delete_object(Bucket="one", Key="a/copy")


def test_lister_sees_only_the_prefix(as_user):
    s3 = as_user("LISTER")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="one", Prefix="in/")["Contents"]] == ["in/x"]
    for prefix in ("", "a/", "i"):
        with denied():
            s3.list_objects_v2(Bucket="one", Prefix=prefix)


def test_bulk_delete_is_checked_key_by_key(as_user, guarded):
    guarded.client().put_object(Bucket="one", Key="in/gone", Body=b"x")
    answer = as_user("DELETER").delete_objects(
        Bucket="one", Delete={"Objects": [{"Key": "in/gone"}, {"Key": "top"}, {"Key": "a/x"}]}
    )
    assert [d["Key"] for d in answer["Deleted"]] == ["in/gone"]
    assert {(e["Key"], e["Code"]) for e in answer["Errors"]} == {("top", "AccessDenied"), ("a/x", "AccessDenied")}
    assert read(guarded.client(), "one", "top") == b"one top"


def test_one_operation_by_name(as_user):
    s3 = as_user("GETTER")
    assert read(s3, "two", "top") == b"two top"
    with denied():
        s3.list_objects_v2(Bucket="two")
    with denied():
        s3.put_object(Bucket="two", Key="x", Body=b"x")


def test_bucket_glob(as_user):
    s3 = as_user("GLOB")
    s3.put_object(Bucket="two", Key="glob", Body=b"x")
    s3.delete_object(Bucket="two", Key="glob")
    with denied():
        s3.get_object(Bucket="one", Key="top")


def test_presigned_urls_have_their_makers_rights(as_user):
    import requests

    url = as_user("READER").generate_presigned_url("get_object", Params={"Bucket": "two", "Key": "top"})
    assert requests.get(url).status_code == 403
    url = as_user("READER").generate_presigned_url("get_object", Params={"Bucket": "one", "Key": "top"})
    assert requests.get(url).content == b"one top"


def test_missing_and_forbidden_look_alike_without_rights(as_user):
    """Without the right to look, one cannot find out which buckets there are."""
    s3 = as_user("NOBODY")
    with denied():
        s3.head_bucket(Bucket="one")
    with denied():
        s3.head_bucket(Bucket="no-such-bucket")


def test_copies_of_parts_need_their_source(as_user, guarded):
    """UploadPartCopy reads: outside of what the user may read, it is refused before anything is read."""
    s3, root = as_user("PREFIX"), guarded.client()
    upload = s3.create_multipart_upload(Bucket="one", Key="in/parts")["UploadId"]
    part = {"Bucket": "one", "Key": "in/parts", "UploadId": upload, "PartNumber": 1}
    for source in ({"Bucket": "one", "Key": "a/x"}, {"Bucket": "one", "Key": "top"}, {"Bucket": "two", "Key": "in/x"}):
        with denied():
            s3.upload_part_copy(**part, CopySource=source)
        with denied():
            s3.copy_object(Bucket="one", Key="in/copy", CopySource=source)
    etag = s3.upload_part_copy(**part, CopySource={"Bucket": "one", "Key": "in/x"})["CopyPartResult"]["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket="one", Key="in/parts", UploadId=upload, MultipartUpload=parts)
    assert read(root, "one", "in/parts") == b"one in/x"
    root.delete_object(Bucket="one", Key="in/parts")


def test_every_multipart_operation_keeps_to_the_prefix(as_user, guarded):
    """An upload that somebody else began under another prefix is out of reach, with its id or without."""
    s3, root = as_user("PREFIX"), guarded.client()
    upload = root.create_multipart_upload(Bucket="one", Key="a/parts")["UploadId"]
    etag = root.upload_part(Bucket="one", Key="a/parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    named = {"Bucket": "one", "Key": "a/parts", "UploadId": upload}
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    for call in (
        lambda: s3.create_multipart_upload(Bucket="one", Key="a/other"),
        lambda: s3.upload_part(**named, PartNumber=2, Body=b"x"),
        lambda: s3.upload_part_copy(**named, PartNumber=2, CopySource={"Bucket": "one", "Key": "in/x"}),
        lambda: s3.list_parts(**named),
        lambda: s3.complete_multipart_upload(**named, MultipartUpload=parts),
        lambda: s3.abort_multipart_upload(**named),
    ):
        with denied():
            call()
    # The id under a key that the user may write is nobody's upload.
    for call in (
        lambda: s3.upload_part(**{**named, "Key": "in/parts"}, PartNumber=2, Body=b"x"),
        lambda: s3.complete_multipart_upload(**{**named, "Key": "in/parts"}, MultipartUpload=parts),
    ):
        with refused("NoSuchUpload", status=404):
            call()
    assert [p["PartNumber"] for p in root.list_parts(**named)["Parts"]] == [1]
    root.abort_multipart_upload(**named)


def test_listings_keep_to_the_prefix(as_user):
    """Of keys in both versions, of uploads, and through a delimiter or a start that points elsewhere."""
    s3 = as_user("PREFIX")
    for call in (s3.list_objects, s3.list_objects_v2, s3.list_multipart_uploads):
        call(Bucket="one", Prefix="in/")
        call(Bucket="one", Prefix="in/x")
        for prefix in ("", "i", "in", "a/", "top"):
            with denied():
                call(Bucket="one", Prefix=prefix)
        with denied():
            call(Bucket="two", Prefix="in/")
    found = s3.list_objects_v2(Bucket="one", Prefix="in/", StartAfter="a/", Delimiter="/")
    assert [o["Key"] for o in found.get("Contents", [])] == ["in/x"] and "CommonPrefixes" not in found


def test_bulk_delete_by_its_own_name(as_user, guarded):
    """`DeleteObjects` allows bulk deletes, key by key, and no single ones."""
    root, s3 = guarded.client(), as_user("BULK")
    for key in ("in/one", "in/two"):
        root.put_object(Bucket="one", Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket="one", Delete={"Objects": [{"Key": "in/one"}, {"Key": "in"}, {"Key": "a/x"}]})
    assert [d["Key"] for d in answer["Deleted"]] == ["in/one"]
    assert {(e["Key"], e["Code"]) for e in answer["Errors"]} == {("in", "AccessDenied"), ("a/x", "AccessDenied")}
    with denied():
        s3.delete_object(Bucket="one", Key="in/two")
    answer = s3.delete_objects(Bucket="one", Delete={"Objects": [{"Key": "in/two"}, {"Key": "top"}], "Quiet": True})
    assert "Deleted" not in answer and [e["Key"] for e in answer["Errors"]] == ["top"]
    for user in ("NOBODY", "READER"):
        answer = as_user(user)
        with denied():
            outcome = answer.delete_objects(Bucket="one", Delete={"Objects": [{"Key": "in/x"}]})
            # Refused as a whole, or each key for itself: nothing may be deleted.
            code = outcome["Errors"][0]["Code"]
            raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "DeleteObjects")
    assert read(root, "one", "in/x") == b"one in/x"


STORE_USERS = (
    (wd.LIMITED_ACCESS, wd.LIMITED_SECRET),
    (wd.OWNER_ACCESS, wd.OWNER_SECRET),
)


@pytest.fixture(scope="module")
def with_users(weed, tmp_path_factory):
    """A gateway whose credentials stand for users of the store; the gateway itself allows them all."""
    grants = "".join(
        credential(
            f"AS-{access}",
            '{ bucket = "*", actions = ["*"] }',
            f"backend_access_key = {q(access)}\nbackend_secret_key = {q(secret)}\n",
        )
        for access, secret in STORE_USERS
    )
    gateway = gw.Gateway(
        tmp_path_factory.mktemp("users") / "gateway",
        gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET),
        credentials=gw.ROOT_CREDENTIAL + grants,
    )
    root = gateway.client()
    for bucket in (wd.LIMITED_BUCKET, wd.OWNED_BUCKET, "e2e-unreachable"):
        root.create_bucket(Bucket=bucket)
        root.put_object(Bucket=bucket, Key="object", Body=blob(50_000))
    yield gateway
    gateway.stop()


def outcome(call) -> str:
    try:
        call()
    except ClientError as e:
        return f"{e.response['ResponseMetadata']['HTTPStatusCode']} {e.response['Error']['Code']}"
    return "done"


def as_one(s3, bucket: str) -> dict[str, str]:
    """What a user gets to hear in a bucket; all that is written is removed again where that is allowed."""

    def upload():
        made = s3.create_multipart_upload(Bucket=bucket, Key="parts")
        s3.abort_multipart_upload(Bucket=bucket, Key="parts", UploadId=made["UploadId"])

    one = {"Bucket": bucket, "Key": "object"}
    calls = {
        "get": lambda: s3.get_object(**one)["Body"].read(),
        "head": lambda: s3.head_object(**one),
        "list": lambda: s3.list_objects_v2(Bucket=bucket),
        "list uploads": lambda: s3.list_multipart_uploads(Bucket=bucket),
        "head bucket": lambda: s3.head_bucket(Bucket=bucket),
        "put": lambda: s3.put_object(Bucket=bucket, Key="new", Body=b"x"),
        "upload": upload,
        "copy here": lambda: s3.copy_object(Bucket=bucket, Key="copy", CopySource=one),
        "copy from elsewhere": lambda: s3.copy_object(
            Bucket=bucket, Key="copy", CopySource={"Bucket": "e2e-unreachable", "Key": "object"}
        ),
        "delete": lambda: s3.delete_object(Bucket=bucket, Key="new"),
        "missing": lambda: s3.get_object(Bucket=bucket, Key="no-such-key"),
    }
    return {name: outcome(call) for name, call in calls.items()}


@pytest.mark.parametrize("user", STORE_USERS, ids=lambda user: user[0])
@pytest.mark.parametrize("bucket", [wd.LIMITED_BUCKET, wd.OWNED_BUCKET, "e2e-unreachable"])
def test_store_users_hear_what_they_hear_directly(with_users, weed, user, bucket):
    """Each request is signed to the store as that user, so that the store's own rules hold as they do without us."""
    through = as_one(with_users.client(f"AS-{user[0]}", f"AS-{user[0]}-secret-key"), bucket)
    assert through == as_one(weed.client(*user), bucket)
    may_write = user[0] == wd.OWNER_ACCESS and bucket == wd.OWNED_BUCKET
    assert (through["put"] == "done") == may_write
    assert (through["get"] == "done") == (bucket == (wd.OWNED_BUCKET if user[0] == wd.OWNER_ACCESS else wd.LIMITED_BUCKET))


def test_store_users_do_not_mix_on_kept_connections(with_users):
    """Connections to the store are shared by its users, signatures are not."""
    root = with_users.client()
    users = [with_users.client(f"AS-{access}", f"AS-{access}-secret-key") for access, _ in STORE_USERS]
    for _ in range(5):
        for s3, own in zip(users, (wd.LIMITED_BUCKET, wd.OWNED_BUCKET)):
            assert read(s3, own, "object") == blob(50_000)
            with denied():
                s3.get_object(Bucket="e2e-unreachable", Key="object")
        assert read(root, "e2e-unreachable", "object") == blob(50_000)


def test_secrets_from_environment_and_files(fs_gateway, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("from-a-file-secret\n")
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setenv("E2E_SECRET", "from-the-environment-secret")
    credentials = gw.ROOT_CREDENTIAL + (
        f'\n[[credentials]]\naccess_key = "FILE"\nsecret_key_file = {q(tmp_path / "secret")}\n'
        'allow = [{ bucket = "*", actions = ["*"] }]\n'
        '\n[[credentials]]\naccess_key = "ENV"\nsecret_key_env = "E2E_SECRET"\n'
        'allow = [{ bucket = "*", actions = ["*"] }]\n'
    )
    gateway = fs_gateway(credentials=credentials)
    gateway.client("FILE", "from-a-file-secret").create_bucket(Bucket="from-file")
    assert gateway.client("ENV", "from-the-environment-secret").list_buckets()["Buckets"][0]["Name"] == "from-file"
