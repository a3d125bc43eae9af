"""The command `./naru erase`: it asks first, removes one person, and says what still remembers them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine

from deploy.backup.shelf import Shelf
from deploy.embedded.processes import ROOT
from tests.backup.site import manifest, put
from tests.patience import patient
from tests.shared.rig import OWNER, STRANGER, RequestRig
from tests.stack import Stack


@pytest.fixture
def rig(engine: Engine) -> RequestRig:
    """Return a rig on the stack's database, with two conversations of one owner and one of another."""
    made = RequestRig(engine)
    made.answered()
    made.ask()
    made.ask(owner=STRANGER)
    return made


def naru(stack: Stack, *words: str, typed: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command with this standard input."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli.main", *words],
        env=stack.environ(**settings),
        cwd=ROOT,
        input=typed,
        capture_output=True,
        text=True,
        timeout=patient(90),
        check=False,
    )


def test_erase_removes_one_owner_and_reports_it(stack: Stack, rig: RequestRig, tmp_path: Path) -> None:
    done = naru(stack, "erase", OWNER.key, "--yes", "--data", str(tmp_path), redis_url="")
    assert done.returncode == 0, done.stderr
    assert "browser:alice has 2 conversations with 3 messages and 2 requests (1 of them active)." in done.stdout
    assert "Erased from the database: 2 conversations, 4 messages, 2 requests, 1 attempt." in done.stdout
    assert "within 15 min" in done.stdout
    assert f"No backup is known here: there is none in {tmp_path / 'backups'}." in done.stdout
    assert rig.stored() == (1, 1, 1)


def test_erase_asks_and_takes_only_yes_for_yes(stack: Stack, rig: RequestRig, tmp_path: Path) -> None:
    for typed in ("", "no\n", "y\n"):
        done = naru(stack, "erase", OWNER.key, "--data", str(tmp_path), typed=typed)
        assert (done.returncode, "Nothing was erased." in done.stdout) == (1, True), typed
    assert rig.stored() == (3, 4, 3)
    done = naru(stack, "erase", OWNER.key, "--data", str(tmp_path), typed="yes\n")
    assert done.returncode == 0, done.stderr
    assert rig.stored() == (1, 1, 1)


@pytest.mark.parametrize("owner", ["browser:nobody", "", "\x1b[31malice"])
def test_erase_refuses_an_unknown_owner(stack: Stack, rig: RequestRig, tmp_path: Path, owner: str) -> None:
    done = naru(stack, "erase", "--yes", "--data", str(tmp_path), "--", owner)
    assert done.returncode == 1
    assert done.stderr.startswith("naru erase: there is no owner ")
    assert "SELECT owner_id" in done.stderr
    assert "\x1b" not in done.stderr
    assert rig.stored() == (3, 4, 3)


def test_erase_says_when_the_last_backup_forgets(stack: Stack, rig: RequestRig, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.make()
    now = datetime.now(UTC).replace(microsecond=0)
    for days in (1, 2):
        put(shelf, manifest(now - timedelta(days=days)))
    stack.configure(backup_dir=shelf.folder, backup_keep_daily=7, backup_keep_weekly=0, backup_keep_monthly=0)
    done = naru(stack, "erase", OWNER.key, "--yes", "--data", str(tmp_path))
    assert done.returncode == 0, done.stderr
    forgotten = now + timedelta(days=7)
    assert "2 backups still have these rows, encrypted." in done.stdout
    assert f"retention deletes the last of them by {forgotten:%Y-%m-%d}" in done.stdout


def test_erase_names_damaged_backups_without_a_good_one(stack: Stack, rig: RequestRig, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "backups")
    shelf.make()
    damaged = manifest(datetime.now(UTC) - timedelta(days=1))
    put(shelf, damaged)
    shelf.path(damaged).write_bytes(b"cut")
    done = naru(stack, "erase", OWNER.key, "--yes", "--data", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"Delete them by hand: {damaged.name}." in done.stdout
    assert "No backup is known here" not in done.stdout


@pytest.mark.parametrize("where", ["shelf", "naru-backup", "pg_dump"])
def test_erase_counts_a_dump_under_way(stack: Stack, rig: RequestRig, tmp_path: Path, where: str) -> None:
    """One that is being written to the shelf, and one that reads the database and is written elsewhere."""
    shelf = Shelf(tmp_path / "backups")
    shelf.make()
    now = datetime.now(UTC).replace(microsecond=0)
    put(shelf, manifest(now - timedelta(days=3)))
    stack.configure(backup_keep_daily=7, backup_keep_weekly=0, backup_keep_monthly=0)
    with closing(psycopg2.connect(stack.database_url, application_name=where)):
        if where == "shelf":
            shelf.partial("naru-20261128T120000Z.dump.enc").touch()
        done = naru(stack, "erase", OWNER.key, "--yes", "--data", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "A backup is being made, or was cut off" in done.stdout
    assert "2 backups still have these rows, encrypted." in done.stdout
    # Seven daily backups later, not seven minus the days of the older one.
    assert f"retention deletes the last of them by {now + timedelta(days=7):%Y-%m-%d}" in done.stdout


def test_erase_names_what_a_restore_kept(stack: Stack, rig: RequestRig, tmp_path: Path) -> None:
    database = stack.settings.database_url.rpartition("/")[2]
    kept = f"{database}_before_20261128T120000000Z"
    stack.servers.create_database(kept, template="template1")
    try:
        done = naru(stack, "erase", OWNER.key, "--yes", "--data", str(tmp_path))
        assert f"./naru restore --forget {kept}" in done.stdout
    finally:
        stack.servers.drop_database(kept)


def test_erase_without_a_server_says_what_to_do(stack: Stack, tmp_path: Path) -> None:
    done = naru(stack, "erase", OWNER.key, "--data", str(tmp_path), database_url="")
    assert done.returncode == 1
    assert "./naru up" in done.stderr
