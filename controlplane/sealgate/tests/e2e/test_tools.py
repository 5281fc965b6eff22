"""The clients people really use: awscli, s5cmd, rclone, restic."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness import tool
from harness.data import CHUNK, PART, blob
from harness.expect import listed

pytestmark = pytest.mark.timeout(300)

FILES = {
    "empty": b"",
    "one byte": b"1",
    "chunk": blob(CHUNK, "file"),
    "sub dir/plus+sign.txt": blob(CHUNK + 1, "file"),
    "sub dir/ünïcödé ключ.bin": blob(100_003, "file"),
    "percent %20.dat": blob(3, "file"),
    "deep/er/and/deeper/file": blob(40_000, "file"),
    "multi part": blob(2 * PART + 17, "file"),
}


def run(argv: list[str], cwd: Path, **env: str) -> str:
    """Runs a client with a home of its own; its output is in the error when it fails."""
    base = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        argv, cwd=cwd, env={**base, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}:\n{output[-6000:]}"
    return output


def write_tree(folder: Path, files=FILES) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        # An hour old: some stores keep whole seconds, so a file of this second may look newer than its upload.
        an_hour_ago = time.time() - 3600
        os.utime(path, (an_hour_ago, an_hour_ago))
    return folder


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def keys(place):
    return {
        "AWS_ACCESS_KEY_ID": place.access,
        "AWS_SECRET_ACCESS_KEY": place.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }


def test_awscli(place, bucket, prefix, tmp_path, keys):
    config = tmp_path / ".aws" / "config"
    config.parent.mkdir()
    config.write_text("[default]\ns3 =\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n")
    aws = [tool("aws"), "--endpoint-url", place.endpoint, "s3"]
    source, url = write_tree(tmp_path / "source"), f"s3://{bucket}/{prefix}"
    run([*aws, "sync", str(source), f"{url}sync"], tmp_path, **keys)
    run([*aws, "sync", f"{url}sync", str(tmp_path / "back")], tmp_path, **keys)
    assert read_tree(tmp_path / "back") == FILES
    # Nothing has changed, so a second sync has nothing to do: sizes are plaintext.
    assert "upload:" not in run([*aws, "sync", str(source), f"{url}sync"], tmp_path, **keys)
    run([*aws, "cp", str(source / "multi part"), f"{url}copy/multi part"], tmp_path, **keys)
    run([*aws, "cp", f"{url}copy/multi part", str(tmp_path / "one")], tmp_path, **keys)
    assert (tmp_path / "one").read_bytes() == FILES["multi part"]
    run([*aws, "cp", f"{url}sync/multi part", f"{url}server side"], tmp_path, **keys)
    run([*aws, "mv", f"{url}server side", f"{url}moved"], tmp_path, **keys)
    listing = run([*aws, "ls", "--recursive", "--summarize", f"{url}sync"], tmp_path, **keys)
    assert f"Total Objects: {len(FILES)}" in listing
    assert f"Total Size: {sum(map(len, FILES.values()))}" in listing
    run([*aws, "rm", "--recursive", f"{url}"], tmp_path, **keys)
    assert not listed(place.s3, bucket, prefix)


def test_awscli_presign_and_stdin(place, bucket, prefix, tmp_path, keys):
    import requests

    # Without this setting awscli 1 presigns with signature version 2, which is refused.
    config = tmp_path / ".aws" / "config"
    config.parent.mkdir()
    config.write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    aws = [tool("aws"), "--endpoint-url", place.endpoint, "s3"]
    (tmp_path / "file").write_bytes(b"presigned by the command line")
    run([*aws, "cp", "file", f"s3://{bucket}/{prefix}file"], tmp_path, **keys)
    url = run([*aws, "presign", f"s3://{bucket}/{prefix}file"], tmp_path, **keys).strip()
    assert requests.get(url).content == b"presigned by the command line"


def test_s5cmd(place, bucket, prefix, tmp_path, keys):
    s5 = [tool("s5cmd"), "--endpoint-url", place.endpoint]
    # s5cmd splits its arguments at spaces in no way, but its wildcards are its own: keep names simple.
    files = {n.replace(" ", "_").replace("%", ""): d for n, d in FILES.items()}
    source = write_tree(tmp_path / "source", files)
    run([*s5, "cp", "--part-size", "5", "--concurrency", "4", f"{source}/", f"s3://{bucket}/{prefix}"], tmp_path, **keys)
    run([*s5, "cp", f"s3://{bucket}/{prefix}*", str(tmp_path / "back") + "/"], tmp_path, **keys)
    assert read_tree(tmp_path / "back") == files
    listing = run([*s5, "--json", "ls", f"s3://{bucket}/{prefix}*"], tmp_path, **keys)
    sizes = {}
    for line in listing.splitlines():
        entry = json.loads(line)
        sizes[entry["key"].split(prefix, 1)[1]] = entry.get("size", 0)
    assert sizes == {n: len(d) for n, d in files.items()}
    assert "cp " not in run([*s5, "sync", "--size-only", f"{source}/", f"s3://{bucket}/{prefix}"], tmp_path, **keys)
    run([*s5, "rm", f"s3://{bucket}/{prefix}*"], tmp_path, **keys)
    assert not listed(place.s3, bucket, prefix)


def rclone_env(place) -> dict[str, str]:
    return {
        "RCLONE_CONFIG_GATE_TYPE": "s3",
        "RCLONE_CONFIG_GATE_PROVIDER": "Other",
        "RCLONE_CONFIG_GATE_ENDPOINT": place.endpoint,
        "RCLONE_CONFIG_GATE_ACCESS_KEY_ID": place.access,
        "RCLONE_CONFIG_GATE_SECRET_ACCESS_KEY": place.secret,
        "RCLONE_CONFIG_GATE_REGION": "us-east-1",
        "RCLONE_CONFIG_GATE_FORCE_PATH_STYLE": "true",
        "RCLONE_S3_UPLOAD_CUTOFF": "5Mi",
        "RCLONE_S3_CHUNK_SIZE": "5Mi",
        "RCLONE_RETRIES": "1",
        "RCLONE_LOW_LEVEL_RETRIES": "1",
    }


def test_rclone(place, bucket, prefix, tmp_path):
    env, rclone = rclone_env(place), tool("rclone")
    source, remote = write_tree(tmp_path / "source"), f"gate:{bucket}/{prefix}tree"
    run([rclone, "sync", str(source), remote], tmp_path, **env)
    run([rclone, "check", "--download", str(source), remote], tmp_path, **env)
    size = json.loads(run([rclone, "size", "--json", remote], tmp_path, **env).splitlines()[-1])
    assert (size["count"], size["bytes"]) == (len(FILES), sum(map(len, FILES.values())))
    run([rclone, "sync", remote, str(tmp_path / "back")], tmp_path, **env)
    assert read_tree(tmp_path / "back") == FILES
    # rclone keeps modification times in metadata: nothing is copied twice.
    again = run([rclone, "sync", "-v", str(source), remote], tmp_path, **env)
    assert "Copied" not in again, again
    (source / "one byte").unlink()
    run([rclone, "sync", str(source), remote], tmp_path, **env)
    assert f"{prefix}tree/one byte" not in [o["Key"] for o in listed(place.s3, bucket, prefix)]
    run([rclone, "copyto", f"{remote}/multi part", f"gate:{bucket}/{prefix}server side"], tmp_path, **env)
    run([rclone, "purge", remote], tmp_path, **env)


def restic_program() -> str:
    path = shutil.which("restic")
    assert path, "restic is missing: `apt-get install restic` (or https://restic.net), then run ./test again"
    return path


def test_restic(place, bucket, prefix, tmp_path, keys):
    env = {
        **keys,
        "RESTIC_REPOSITORY": f"s3:{place.endpoint}/{bucket}/{prefix}repo",
        "RESTIC_PASSWORD": "correct horse",
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    restic, source = restic_program(), write_tree(tmp_path / "source")
    run([restic, "init"], tmp_path, **env)
    run([restic, "backup", "source"], tmp_path, **env)
    (source / "added later").write_bytes(blob(300_000, "later"))
    (source / "empty").write_bytes(b"no longer")
    run([restic, "backup", "source"], tmp_path, **env)
    snapshots = json.loads(run([restic, "snapshots", "--json"], tmp_path, **env))
    assert len(snapshots) == 2
    diff = run([restic, "diff", snapshots[0]["short_id"], snapshots[1]["short_id"]], tmp_path, **env)
    assert "+    /source/added later" in diff and "M    /source/empty" in diff, diff
    assert "no errors were found" in run([restic, "check", "--read-data"], tmp_path, **env)
    for number, snapshot in enumerate(snapshots):
        run([restic, "restore", snapshot["short_id"], "--target", f"restored{number}"], tmp_path, **env)
    assert read_tree(tmp_path / "restored0" / "source") == FILES
    assert read_tree(tmp_path / "restored1" / "source") == read_tree(source)
    run([restic, "forget", "--keep-last", "1", "--prune"], tmp_path, **env)
    assert "no errors were found" in run([restic, "check", "--read-data"], tmp_path, **env)
