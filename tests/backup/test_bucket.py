"""The bucket, over HTTP, on a small S3 server that verifies signatures (s3rver): up, list, down, throw away, fail."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.backup import bucket_copy
from deploy.backup.problem import BackupProblem
from deploy.backup.retention import Keep
from deploy.backup.s3 import Bucket, bucket_of
from deploy.backup.shelf import Shelf
from deploy.backup.signing import Credentials
from shared.settings import load_settings
from tests.backup.yard import Yard, naru
from tests.conftest import STRICT
from tests.stack import Stack, free_port, get, wait_until

#: s3rver's own: the only pair that it takes.
WHO = Credentials(access_key="S3RVER", secret_key="S3RVER", region="us-east-1")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address; it has a bucket `kept`."""
    program = shutil.which("s3rver")
    if program is None:
        (pytest.fail if STRICT else pytest.skip)("no s3rver here: npm install --global s3rver@3.7.1")
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    command = [program, "--directory", str(folder), "--address", "127.0.0.1", "--port", str(port), "--silent"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--configure-bucket", "kept"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: get(url)[0] > 0 or server.poll() is not None, seconds=20)
        assert server.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> Bucket:
    """The bucket, with a prefix of this test's own; parts as small as S3 allows."""
    return Bucket(endpoint=endpoint, name="kept", prefix=f"{request.node.name}/", credentials=WHO, part_bytes=5 << 20)


@pytest.mark.parametrize("size", [0, 17, (5 << 20), (11 << 20) + 3])
def test_what_goes_up_comes_down_in_one_piece_or_in_parts(bucket: Bucket, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "up").write_bytes(content)
    bucket.put("a name+with (signs).enc", tmp_path / "up")
    bucket.get("a name+with (signs).enc", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content
    assert bucket.list() == ["a name+with (signs).enc"]
    bucket.delete("a name+with (signs).enc")
    bucket.delete("a name+with (signs).enc")
    assert bucket.list() == []


def test_a_list_longer_than_a_page_is_whole(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    names = [f"{number:04} & more" for number in range(7)]
    for name in names:
        bucket.put(name, tmp_path / "empty")
    assert dataclasses.replace(bucket, page=3).list() == names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"credentials": dataclasses.replace(WHO, secret_key="wrong")}, "SignatureDoesNotMatch"),
        ({"credentials": dataclasses.replace(WHO, access_key="nobody")}, "InvalidAccessKeyId"),
        ({"name": "nowhere"}, "NoSuchBucket"),
    ],
)
def test_a_refusal_is_told_with_the_servers_own_word(bucket: Bucket, change: dict[str, object], words: str) -> None:
    with pytest.raises(BackupProblem, match=words) as told:
        dataclasses.replace(bucket, **change).list()  # type: ignore[arg-type] # one of its fields each time
    assert "wrong" not in str(told.value)


def test_a_backup_is_copied_fetched_elsewhere_restored_and_thrown_away(
    yard: Yard, bucket: Bucket, tmp_path: Path
) -> None:
    made = yard.take()
    assert bucket_copy.upload_missing(bucket, yard.shelf) == [made.name]
    assert bucket_copy.upload_missing(bucket, yard.shelf) == []
    shutil.rmtree(yard.shelf.folder)  # the machine is gone
    assert bucket_copy.fetch(bucket, "newest", yard.shelf) == made
    yard.execute("TRUNCATE conversation CASCADE")
    yard.restore(made)
    assert yard.counts() == made.tables
    with pytest.raises(BackupProblem, match="--list"):
        bucket_copy.fetch(bucket, "naru-20200101T000000Z", yard.shelf)
    assert bucket_copy.prune(bucket, Keep(daily=0, weekly=0, monthly=0)) == []
    assert bucket_copy.names(bucket) == [made.name]


def test_half_a_backup_in_the_bucket_is_none(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for name in (
        "naru-20260101T000000Z.dump.enc",
        "naru-20260102T000000Z.json",
        "naru-20260103T000000Z.dump.enc",
        "naru-20260103T000000Z.json",
        "naru-evil.json",
        "naru-evil.dump.enc",
    ):
        bucket.put(name, tmp_path / "x")
    assert bucket_copy.names(bucket) == ["naru-20260103T000000Z"]
    with pytest.raises(BackupProblem, match="no manifest"):
        bucket_copy.fetch(bucket, "newest", Shelf(tmp_path))


def test_settings_that_are_not_whole_are_named() -> None:
    assert bucket_of(load_settings({})) is None
    with pytest.raises(BackupProblem, match="NARU_BACKUP_S3_BUCKET is not set"):
        bucket_of(load_settings({"NARU_BACKUP_S3_ENDPOINT": "http://a.b"}))


def test_the_command_copies_and_says_when_it_could_not(stack: Stack, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("S3RVER")
    stack.configure(
        backup_key="k" * 64,
        backup_dir=tmp_path / "shelf",
        backup_s3_endpoint=endpoint,
        backup_s3_bucket="kept",
        backup_s3_prefix="command/",
        backup_s3_access_key="S3RVER",
    )
    stack.values["NARU_BACKUP_S3_SECRET_KEY_FILE"] = str(tmp_path / "secret")
    refused = naru(stack, "backup", backup_s3_bucket="nowhere")
    assert refused.returncode == 1
    assert "NoSuchBucket" in refused.stderr
    assert "naru_backup_failed 1" in (tmp_path / "shelf" / "naru_backup.prom").read_text()
    done = naru(stack, "backup")
    assert done.stdout.count("copied") == 2, "also what the failed run had not copied"
    assert "naru_backup_failed 0" in (tmp_path / "shelf" / "naru_backup.prom").read_text()
    drilled = naru(stack, "restore-drill")
    assert "from the bucket kept" in drilled.stdout
    assert "can be restored" in drilled.stdout
    assert "S3RVER" not in done.stdout + done.stderr + refused.stderr
