"""Tests without a server: retention, schedule, manifest seal, key file, metric file and program chain."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.backup import commands
from deploy.backup import manifest as manifests
from deploy.backup.chain import Chain, Program
from deploy.backup.forgetting import last_day
from deploy.backup.key import Key, key_from, make_key
from deploy.backup.metric import backup_figures
from deploy.backup.problem import BackupProblem
from deploy.backup.programs import tools_for
from deploy.backup.retention import RECENT, Keep, kept
from deploy.backup.schedule import first_run, moment_of
from deploy.backup.shelf import Shelf
from deploy.backup.swap import is_ours, name_of
from shared.settings import load_settings
from tests.backup.site import KEY, NOON, manifest, put
from tests.patience import patient


def test_year_of_backups_leaves_days_weeks_and_months() -> None:
    nights = [NOON - timedelta(days=n) for n in range(400)]
    left = sorted(kept(nights, Keep(daily=7, weekly=4, monthly=12)), reverse=True)
    assert left[:7] == nights[:7]
    assert len({moment.isocalendar()[:2] for moment in left[:10]}) >= 4
    assert len({(moment.year, moment.month) for moment in left}) == 12
    assert len(left) <= 7 + 4 + 12


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1), *(st.integers(0, 5) for _ in range(3)))
def test_pruning_keeps_the_newest_and_is_stable(moments: list[datetime], daily: int, weekly: int, monthly: int) -> None:
    keep = Keep(daily=daily, weekly=weekly, monthly=monthly)
    left = kept(moments, keep)
    assert max(moments) in left
    assert {moment for moment in moments if max(moments) - moment < RECENT} <= left
    assert kept(left, keep) == left, "pruning again removes nothing"


def test_last_day_is_when_retention_deletes_the_last_backup() -> None:
    nights = [NOON - timedelta(days=n) for n in range(400)]
    keep = Keep(daily=7, weekly=4, monthly=12)
    known = set(nights)
    day = last_day(nights, keep, now=NOON)
    assert day is not None
    assert timedelta(days=300) < day - NOON <= timedelta(days=366)
    left = set(nights)
    night = NOON
    while left & known:
        night += timedelta(days=1)
        left = kept({*left, night}, keep)
    assert night == day, "as the nightly backup prunes"


def test_last_day_without_rules_is_two_days_later() -> None:
    assert last_day([NOON], Keep(daily=0, weekly=0, monthly=0), now=NOON) == NOON + timedelta(days=2)
    assert last_day([NOON], Keep(daily=5000, weekly=0, monthly=0), now=NOON) is None


def test_pruning_counts_and_deletes_good_backups_only(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    nights = [manifest(NOON - timedelta(days=n)) for n in range(0, 40, 4)]
    for made in nights:
        put(shelf, made)
    shelf.path(nights[0]).write_bytes(b"cut")  # the newest is damaged, so the one before is the last good one
    removed = shelf.prune(Keep(daily=0, weekly=0, monthly=0))
    assert [made.name for made in shelf.all()] == [nights[1].name]
    assert shelf.damaged() == [nights[0].name]
    assert nights[0].name not in removed
    assert len(removed) == 8
    assert shelf.path(nights[0]).exists()


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("03:15", "2026-11-25 03:14:59", "2026-11-25 03:15"),
        ("03:15", "2026-11-25 03:15:00", "2026-11-26 03:15"),
        ("sun 04:30", "2026-11-25 12:00:00", "2026-11-29 04:30"),
        ("sun 04:30", "2026-11-29 04:30:00", "2026-12-06 04:30"),
    ],
)
def test_schedule_computes_the_next_run(text: str, now: str, expected: str) -> None:
    found = moment_of(text).after(datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert f"{found:%Y-%m-%d %H:%M}" == expected


def test_schedule_makes_up_a_missed_run_only() -> None:
    nightly = moment_of("03:15")
    assert first_run(nightly, NOON, (NOON - timedelta(hours=30)).timestamp()) == NOON
    assert first_run(nightly, NOON, (NOON - timedelta(hours=9)).timestamp()) == nightly.after(NOON)


@pytest.mark.parametrize(
    ("age", "content", "sealed_with", "is_whole"),
    [
        (timedelta(hours=1), b"cipher", KEY, True),
        (timedelta(hours=2), b"cipher", KEY, True),
        (timedelta(hours=2, seconds=1), b"cipher", KEY, False),  # from the previous period
        (timedelta(hours=-1), b"cipher", KEY, False),  # a clock was wrong
        (timedelta(hours=1), b"cut", KEY, False),
        (timedelta(hours=1), b"CIPHER", KEY, False),
        (timedelta(hours=1), b"cipher", Key("1" * 64), False),
    ],
)
def test_schedule_adopts_only_a_complete_backup(
    tmp_path: Path, age: timedelta, content: bytes, sealed_with: Key, is_whole: bool
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    made = manifest(now - age, key=sealed_with)
    put(Shelf(tmp_path), made, content)
    found = commands.Context(data=tmp_path, settings=load_settings({}), shelf=Shelf(tmp_path))
    assert (commands._intact_backup(found, KEY, since=now - timedelta(hours=2)) == made) is is_whole


def test_period_includes_its_first_moment() -> None:
    at = moment_of("03:15")
    for hour, minute, day in ((3, 14, 24), (3, 15, 25), (23, 59, 25)):
        now = datetime(2026, 11, 25, hour, minute, tzinfo=UTC)
        assert at.before(now) == datetime(2026, 11, day, 3, 15, tzinfo=UTC)


@pytest.mark.parametrize("text", ["3:15", "24:00", "someday 03:15", " "])
def test_moment_of_rejects_malformed_times(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        moment_of(text)


def test_changed_manifest_differs_from_a_wrong_key() -> None:
    made = manifests.parse(manifest().as_json(), where="x")
    made.check_seal(KEY)
    with pytest.raises(BackupProblem, match="another key"):
        made.check_seal(Key("1" * 64))
    with pytest.raises(BackupProblem, match="was changed"):
        dataclasses.replace(made, tables={"message": 2}).check_seal(KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda text: text.replace('"form": 1', '"form": 2'),
        lambda text: text.replace("naru-2026", "../naru-2026"),
        lambda text: text.replace('"size": 6', '"size": "6"'),
        lambda text: text.replace(' "schema": "0001",\n', ""),
    ],
)
def test_parse_rejects_foreign_manifests(change: Callable[[str], str]) -> None:
    with pytest.raises(BackupProblem, match="manifest"):
        manifests.parse(change(manifest().as_json()), where="the file")


def test_new_key_is_private_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_from(path.read_text().strip()) == made
    assert made.secret not in repr(made)
    assert make_key(tmp_path / "other").id != made.id
    with pytest.raises(BackupProblem, match="never overwrites"):
        make_key(path)
    for text in ("", "short"):
        with pytest.raises(BackupProblem, match="--new-key"):
            key_from(text)


def test_failed_run_keeps_the_last_good_figures(tmp_path: Path) -> None:
    figures = backup_figures(tmp_path)
    assert figures.read() == {}
    figures.succeeded(size_bytes=17.0, duration_seconds=1.5)
    good = figures.read()
    figures.failed()
    after = figures.read()
    assert (good["failed"], after["failed"]) == (0, 1)
    assert after["last_success_timestamp_seconds"] == good["last_success_timestamp_seconds"] > time.time() - 60
    assert after["size_bytes"] == 17
    lines = figures.path.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"#"} | {f"naru_backup_{name}" for name in after}
    assert stat.S_IMODE(figures.path.stat().st_mode) == 0o644


def test_backup_refuses_a_pg_dump_older_than_the_server() -> None:
    with pytest.raises(BackupProblem, match="postgresql-client-99"):
        tools_for(99)


def program(script: str, *, secret: str = "") -> Program:
    """Return a program that runs in this Python."""
    argv = [sys.executable, "-c", script, "{secret}"]
    return Program(name="a program", argv=argv, environ=dict(os.environ), secret=secret)


def test_chain_names_the_failed_program_and_quotes_one_line() -> None:
    failing = program("import sys; sys.stderr.write('ERROR: no\\nCONTEXT: a row with a secret\\n'); sys.exit(3)")
    reading = program("import sys; sys.stdin.read()")
    with Chain(failing, reading, seconds=20) as chain:
        chain.out.read()
        with pytest.raises(BackupProblem) as told:
            chain.finish()
    assert str(told.value) == "a program: ERROR: no"


def test_chain_ends_in_time_and_leaves_no_process() -> None:
    began = time.monotonic()
    with Chain(program("import time; time.sleep(600)"), program("input()"), seconds=0.3) as chain:
        chain.out.read()
        with pytest.raises(BackupProblem, match="NARU_BACKUP_SECONDS"):
            chain.finish()
        pids = [child.pid for child in chain._children]
    assert time.monotonic() - began < patient(10)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_secret_stays_out_of_the_command_line() -> None:
    script = "import os, sys; sys.stdout.write(os.fdopen(int(sys.argv[1])).readline()); print(sys.argv)"
    with Chain(program(script, secret="s3cret"), seconds=20) as chain:
        lines = chain.out.read().decode().splitlines()
        chain.finish()
    assert lines[0] == "s3cret"
    assert "s3cret" not in lines[1]


def test_two_narus_on_one_server_keep_their_own_databases() -> None:
    assert is_ours(name_of("naru", "before"), "naru", "before", "undone")
    assert not is_ours(name_of("naru_staging", "before"), "naru", "before")
    assert not is_ours(name_of("naru", "before"), "naru", "restoring")
    long = "n" * 63
    assert len(name_of(long, "restoring")) == 63
    assert is_ours(name_of(long, "restoring"), long, "restoring")


def test_schedule_survives_an_internal_error(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> int:
        raise KeyError("etag")

    assert commands._scheduled("backup", broken) == 1
    assert "KeyError" in capsys.readouterr().err
