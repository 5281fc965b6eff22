"""Who may do what: `allow` by bucket, prefix and action, and store identities of their own."""

import pytest

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


def test_store_identity_per_credential(weed, tmp_path):
    """A user's requests are signed to the store as that store user, so the store's own rules hold."""
    store = f"backend_access_key = {q(wd.LIMITED_ACCESS)}\nbackend_secret_key = {q(wd.LIMITED_SECRET)}\n"
    gateway = gw.Gateway(
        tmp_path / "gateway",
        gw.s3_backend(weed.endpoint, wd.ACCESS, wd.SECRET),
        credentials=gw.ROOT_CREDENTIAL + credential("LIMITED", '{ bucket = "*", actions = ["*"] }', store),
    )
    try:
        root, limited = gateway.client(), gateway.client("LIMITED", "LIMITED-secret-key")
        root.create_bucket(Bucket=wd.LIMITED_BUCKET)
        root.create_bucket(Bucket="e2e-unreachable")
        data = blob(50_000)
        for bucket in (wd.LIMITED_BUCKET, "e2e-unreachable"):
            root.put_object(Bucket=bucket, Key="object", Body=data)
        assert read(limited, wd.LIMITED_BUCKET, "object") == data
        assert limited.list_objects_v2(Bucket=wd.LIMITED_BUCKET)["KeyCount"] == 1
        # The gateway allows all; it is the store that refuses.
        for call in (
            lambda: limited.get_object(Bucket="e2e-unreachable", Key="object"),
            lambda: limited.put_object(Bucket=wd.LIMITED_BUCKET, Key="new", Body=b"x"),
            lambda: limited.delete_object(Bucket=wd.LIMITED_BUCKET, Key="object"),
        ):
            with denied():
                call()
        assert read(root, wd.LIMITED_BUCKET, "object") == data
    finally:
        gateway.stop()


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
