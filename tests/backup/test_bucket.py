"""The bucket on an S3 server that verifies signatures (moto): upload, list, download, delete, fail."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest

from deploy.backup import bucket_copy, commands
from deploy.backup.key import Key
from deploy.backup.manifest import DUMP_SUFFIX, SUFFIX
from deploy.backup.metric import backup_figures
from deploy.backup.problem import BackupProblem
from deploy.backup.retention import Keep, kept
from deploy.backup.s3 import Bucket, bucket_of
from deploy.backup.schedule import Moment
from deploy.backup.shelf import Shelf
from deploy.backup.signing import Credentials
from shared.settings import load_settings
from tests.backup.site import KEY, NOON, BackupSite, kept_signal, manifest, put
from tests.conftest import STRICT
from tests.patience import patient
from tests.stack import NO_PROXY, Stack, free_port, get, wait_until

#: moto computes the signature over the unescaped address, so no name here needs escaping. test_signing.py compares
#: signatures of escaped names with the vendor's examples.
CASES = itertools.count(1)
#: moto accepts this many unsigned actions: they make the user, its key, its rights and the bucket.
FREE_ACTIONS = 4
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
NONE = Keep(daily=0, weekly=0, monthly=0)


@dataclasses.dataclass(frozen=True)
class Store:
    """The server: its address, and the credentials for its bucket `kept`."""

    url: str
    who: Credentials


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Yield moto's server, set up and from then on checking every signature and right."""
    program = shutil.which("moto_server")
    if program is None:
        (pytest.fail if STRICT else pytest.skip)("no moto_server here: pip install 'moto[server]==5.2.5', on PATH")
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    environ = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(FREE_ACTIONS)}
    environ.pop("PYTHONPATH", None)
    with (folder / "log").open("wb") as log:
        command = [program, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=folder)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: get(f"{url}/moto-api/data.json")[0] == 200 or server.poll() is not None, seconds=40)
        assert server.poll() is None, (folder / "log").read_text()
        yield Store(url, made_ready(url))
    finally:
        server.kill()
        server.wait()


def made_ready(url: str) -> Credentials:
    """Make the bucket and a user with rights to S3; return the user's credentials."""
    say = {"Version": "2010-05-08", "UserName": "naru"}
    unsigned(url, "iam", "POST", {**say, "Action": "CreateUser"})
    key = unsigned(url, "iam", "POST", {**say, "Action": "CreateAccessKey"})
    policy = {"PolicyName": "all", "PolicyDocument": POLICY}
    unsigned(url, "iam", "POST", {**say, "Action": "PutUserPolicy", **policy})
    unsigned(f"{url}/kept", "s3", "PUT", {})
    words = [re.search(rf"<{name}>(.*)</{name}>", key) for name in ("AccessKeyId", "SecretAccessKey")]
    access_key, secret_key = (unescape(word[1]) for word in words if word)
    return Credentials(access_key=access_key, secret_key=secret_key, region="us-east-1")


def unsigned(url: str, service: str, method: str, form: dict[str, str]) -> str:
    """Call one of the unsigned actions; the header only names the service."""
    request = urllib.request.Request(url, method=method, data=urlencode(form).encode())
    request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request")
    with NO_PROXY.open(request, timeout=patient(20)) as answer:
        return str(answer.read().decode())


@pytest.fixture
def bucket(store: Store) -> Bucket:
    """Return the bucket with a prefix for this test and parts as small as S3 allows."""
    return Bucket(
        endpoint=store.url,
        name="kept",
        prefix=f"case{next(CASES)}-",
        credentials=store.who,
        part_bytes=5 << 20,
    )


@pytest.mark.parametrize("size", [0, 17, (5 << 20), (11 << 20) + 3])
def test_bucket_returns_uploaded_content(bucket: Bucket, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "up").write_bytes(content)
    bucket.put("a-name.enc", tmp_path / "up")
    bucket.get("a-name.enc", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content
    assert bucket.list() == {"a-name.enc": size}
    bucket.delete("a-name.enc")
    bucket.delete("a-name.enc")
    assert bucket.list() == {}


def test_bucket_lists_more_names_than_a_page_holds(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    names = [f"{number:04}" for number in range(7)]
    for name in names:
        bucket.put(name, tmp_path / "empty")
    assert list(dataclasses.replace(bucket, page=3).list()) == names


def test_bucket_copy_ignores_names_without_a_date(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for name in ("naru-99999999T999999Z", "naru-20261125T120000Z"):
        for suffix in (".json", ".dump.enc"):
            bucket.put(name + suffix, tmp_path / "empty")
    assert bucket_copy.names(bucket) == ["naru-20261125T120000Z"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"access_key": "nobody"}, "InvalidAccessKeyId"),
        ({}, "NoSuchBucket"),
    ],
)
def test_refusal_quotes_the_server(bucket: Bucket, change: dict[str, str], words: str) -> None:
    other = dataclasses.replace(bucket, credentials=dataclasses.replace(bucket.credentials, **change))
    with pytest.raises(BackupProblem, match=words) as told:
        (other if change else dataclasses.replace(bucket, name="nowhere")).list()
    assert "wrong" not in str(told.value)


def test_bucket_copy_restores_on_another_machine_and_is_pruned(
    site: BackupSite, bucket: Bucket, tmp_path: Path
) -> None:
    made = site.take()
    assert copied(bucket, site.shelf, site.key) == [made.name]
    assert copied(bucket, site.shelf, site.key) == []
    shutil.rmtree(site.shelf.folder)  # the machine is gone
    assert bucket_copy.fetch(bucket, "newest", site.shelf) == made
    site.execute("TRUNCATE conversation CASCADE")
    site.restore(made)
    assert site.counts() == made.tables
    with pytest.raises(BackupProblem, match="--list"):
        bucket_copy.fetch(bucket, "naru-20200101T000000Z", site.shelf)
    assert bucket_copy.prune(bucket, bucket_copy.copies(bucket, site.key), NONE) == []
    assert bucket_copy.names(bucket) == [made.name]


def copied(bucket: Bucket, shelf: Shelf, key: Key = KEY) -> list[str]:
    """Upload the missing backups and return their names, newest first."""
    return list(bucket_copy.upload_missing(bucket, shelf, bucket_copy.copies(bucket, key)))


def strange(bucket: Bucket, shelf: Shelf, name: str, paper: str, content: bytes = b"cipher") -> str:
    """Upload files that are named like a backup but are not ours; return the backup's name."""
    (shelf.folder / "strange").write_bytes(content)
    bucket.put(name + DUMP_SUFFIX, shelf.folder / "strange")
    (shelf.folder / "strange").write_text(paper)
    bucket.put(name + SUFFIX, shelf.folder / "strange")
    return name


def test_bucket_ignores_files_without_a_valid_seal(bucket: Bucket, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    good = [manifest(NOON - timedelta(days=n)) for n in (10, 20, 30)]
    for made in good:
        put(shelf, made)
    assert copied(bucket, shelf) == [made.name for made in good]
    newer = [manifest(NOON - timedelta(days=n)) for n in range(5)]
    foreign = manifest(NOON - timedelta(days=6), key=Key("1" * 64))
    left = {
        strange(bucket, shelf, newer[0].name, dataclasses.replace(newer[0], tables={}).as_json()): "sealed",
        strange(bucket, shelf, newer[1].name, newer[1].as_json(), b"cut"): "3 of 6 bytes",
        strange(bucket, shelf, newer[2].name, good[0].as_json()): f"belongs to {good[0].name}",
        strange(bucket, shelf, newer[3].name, ""): "not valid",
        strange(bucket, shelf, newer[4].name, newer[4].as_json() + " " * (1 << 20)): "too large",
        strange(bucket, shelf, foreign.name, foreign.as_json()): "sealed with this key",
    }
    there = bucket_copy.copies(bucket, KEY)
    assert set(there.good) == {made.name for made in good}
    lines = bucket_copy.prune(bucket, there, NONE)
    assert bucket_copy.names(bucket) == [*left, good[0].name], "the last good one stays, whatever seems newer"
    for name, why in left.items():
        assert any(f"left {name} alone" in line and why in line for line in lines), name


def test_bucket_replaces_a_damaged_copy_but_not_another_keys(bucket: Bucket, tmp_path: Path) -> None:
    shelf, made = Shelf(tmp_path), manifest()
    put(shelf, made)
    for paper, content in ((made.as_json(), b"cut"), ("{}", b"cipher")):
        strange(bucket, shelf, made.name, paper, content)
        assert copied(bucket, shelf) == [made.name]
        assert set(bucket_copy.copies(bucket, KEY).good) == {made.name}
    assert copied(bucket, shelf, Key("1" * 64)) == []


def test_bucket_ignores_incomplete_backups(bucket: Bucket, tmp_path: Path) -> None:
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
    with pytest.raises(BackupProblem, match="not the manifest"):
        bucket_copy.fetch(bucket, "newest", Shelf(tmp_path))


def test_settings_error_names_incomplete_groups() -> None:
    assert bucket_of(load_settings({})) is None
    with pytest.raises(BackupProblem, match="NARU_BACKUP_S3_BUCKET is not set"):
        bucket_of(load_settings({"NARU_BACKUP_S3_ENDPOINT": "http://a.b"}))


@pytest.fixture
def commanded(stack: Stack, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the shelf of commands that run in this process; their bucket does not exist."""
    (tmp_path / "secret").write_text(store.who.secret_key)
    stack.configure(
        backup_key="k" * 64,
        backup_dir=tmp_path / "shelf",
        backup_s3_endpoint=store.url,
        backup_s3_bucket="nowhere",
        backup_s3_prefix=f"command{next(CASES)}-",
        backup_s3_access_key=store.who.access_key,
    )
    for name, value in {**stack.values, "NARU_BACKUP_S3_SECRET_KEY_FILE": str(tmp_path / "secret")}.items():
        monkeypatch.setenv(name, value)
    with kept_signal():
        yield tmp_path / "shelf"


def scheduled(shelf: Path, at: Moment) -> int:
    """Run `naru backup --at` once."""
    found = commands.context_of(shelf.parent)
    figures = backup_figures(shelf)
    return commands._scheduled("backup", lambda: commands._recorded(figures, lambda: commands._backup(found, at)))


def by_hand(shelf: Path) -> int:
    """Run `naru backup` once, but not in the same second as the last one."""
    newest = Shelf(shelf).find("newest")
    wait_until(lambda: newest is None or datetime.now(UTC) - newest.moment > timedelta(seconds=1.1), seconds=5)
    return commands.backup(shelf.parent, at=None)


def test_copy_command_reports_its_failures(
    commanded: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert by_hand(commanded) == 1
    refused = capsys.readouterr()
    assert "NoSuchBucket" in refused.err
    assert "naru_backup_failed 1" in (commanded / "naru_backup.prom").read_text()
    monkeypatch.setenv("NARU_BACKUP_S3_BUCKET", "kept")
    assert by_hand(commanded) == 0
    done = capsys.readouterr()
    assert done.out.count("copied") == 2, "including what the failed run did not copy"
    assert "naru_backup_failed 0" in (commanded / "naru_backup.prom").read_text()
    assert commands.restore_drill(commanded.parent, at=None, here=True) == 0
    drilled = capsys.readouterr()
    assert "from the bucket kept" in drilled.out
    assert "can be restored" in drilled.out
    assert store.who.secret_key not in refused.out + refused.err + done.out + done.err + drilled.out


def test_schedule_retries_the_copy_and_not_the_backup(
    commanded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, figures = datetime.now(UTC), backup_figures(commanded)
    at = Moment(None, now.hour, now.minute)
    for _ in range(3):
        assert scheduled(commanded, at) == 1
        assert "is complete" in capsys.readouterr().err
    (made,) = Shelf(commanded).all()
    refused = figures.read()
    assert refused["failed"] == 1
    assert refused["data_timestamp_seconds"] == made.moment.timestamp(), "there is a backup of today"
    assert "bucket_data_timestamp_seconds" not in refused, "and no copy of it"
    assert "last_success_timestamp_seconds" not in refused

    monkeypatch.setenv("NARU_BACKUP_S3_BUCKET", "kept")
    assert scheduled(commanded, at) == 0
    assert f"copied {made.name} to the bucket kept" in capsys.readouterr().out
    copied = figures.read()
    assert copied["failed"] == 0
    assert copied["bucket_data_timestamp_seconds"] == copied["data_timestamp_seconds"] == made.moment.timestamp()
    assert copied["last_success_timestamp_seconds"] == datetime.fromisoformat(made.ended_at).timestamp()

    assert by_hand(commanded) == 0, "a run by hand always makes one"
    assert len(Shelf(commanded).all()) == 2


def test_retention_holds_while_the_bucket_refuses(
    commanded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf, today = Shelf(commanded), datetime.now(UTC).replace(microsecond=0)
    shelf.make()
    older = [manifest(today - timedelta(days=n), key=Key("k" * 64)) for n in range(1, 60)]
    for made in older:
        put(shelf, made)
    shelf.path(older[0]).write_bytes(b"cut")
    assert by_hand(commanded) == 1
    newest, *left = shelf.all()
    assert newest.name not in {made.name for made in older}
    rule = Keep(daily=7, weekly=4, monthly=12)
    assert {each.moment for each in left} == kept([newest.moment, *(each.moment for each in older[1:])], rule) - {
        newest.moment
    }, "as with a working bucket; the truncated one does not count"
    assert shelf.damaged() == [older[0].name], "and is not deleted"

    monkeypatch.setenv("NARU_BACKUP_S3_BUCKET", "kept")
    assert scheduled(commanded, Moment(None, today.hour, today.minute)) == 0
    bucket = bucket_of(load_settings())
    assert bucket is not None
    assert bucket_copy.names(bucket) == [newest.name, *(each.name for each in left)]
    uploads = re.findall(r"copied (\S+)", capsys.readouterr().out)
    assert uploads == [newest.name, *(each.name for each in left)], "newest first"
