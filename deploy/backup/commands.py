"""`./naru backup`, `./naru restore` and `./naru restore-drill`: their output and exit codes.

Each prints its progress to stdout. On failure, it prints to stderr one sentence that says what to do. The work is in
take.py, restore.py and drill.py.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import psycopg2
from sqlalchemy.exc import SQLAlchemyError

from deploy import terminal
from deploy.backup import bucket_copy, drill, noting, restore
from deploy.backup import manifest as manifests
from deploy.backup.key import Key, key_from, make_key
from deploy.backup.locate import server_at
from deploy.backup.manifest import Manifest
from deploy.backup.metric import Figures, backup_figures, drill_figures
from deploy.backup.problem import BackupProblem, Unsure
from deploy.backup.restore import Load
from deploy.backup.retention import Keep
from deploy.backup.s3 import Bucket, bucket_of
from deploy.backup.schedule import Moment, first_run, run_at
from deploy.backup.server import Server, reason_of
from deploy.backup.shelf import Shelf, shelf_of
from deploy.backup.source import Places, Source, find, find_for_drill
from deploy.backup.take import Work, take
from deploy.embedded.data import DataProblem
from deploy.embedded.locate import check_options
from shared.audit import Kind
from shared.errors import NaruError
from shared.settings import Settings, load_settings

TERMINATED = 143
#: A new installation has no backup yet, so the first drill waits for the first backup.
FIRST_DRILL_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The settings and folders of one command."""

    data: Path
    settings: Settings
    shelf: Shelf

    @property
    def figures_folder(self) -> Path:
        """The folder of the metric files."""
        return Path(self.settings.backup_metrics_dir) if self.settings.backup_metrics_dir else self.shelf.folder

    @property
    def keep(self) -> Keep:
        """The retention rule of the settings."""
        s = self.settings
        return Keep(daily=s.backup_keep_daily, weekly=s.backup_keep_weekly, monthly=s.backup_keep_monthly)

    def places(self) -> Places:
        """Return the backups' places and key. Raises BackupProblem if the key or a bucket setting is missing."""
        key, bucket = key_from(self.settings.backup_key), bucket_of(self.settings)
        return Places(shelf=self.shelf, bucket=bucket, key=key, say=say)


def context_of(data: Path) -> Context:
    """Read the settings. Raises SettingsError."""
    settings = load_settings()
    check_options(settings)
    return Context(data=data, settings=settings, shelf=shelf_of(settings, data))


def backup(data: Path, *, at: Moment | None) -> int:
    """Make one backup now, or one at each `at`."""
    return _command(
        "backup", lambda: _run_once_or_at(at, context_of(data), backup_figures, lambda context: _backup(context, at))
    )


def restore_drill(data: Path, *, at: Moment | None, here: bool) -> int:
    """Test-restore the newest backup now, or at each `at`."""
    return _command(
        "restore-drill",
        lambda: _run_once_or_at(
            at,
            context_of(data),
            drill_figures,
            lambda context: _drill(context, here=here),
            pause_seconds=FIRST_DRILL_SECONDS,
        ),
    )


def new_key(path: Path) -> int:
    """Make a key file for the backups."""

    def make() -> int:
        key = make_key(path)
        say(f"The key is in {path} (key id {key.id}). Set NARU_BACKUP_KEY_FILE={path.absolute()}")
        say("Copy it now to a place away from the backups. Without it, nobody can read any backup.")
        return 0

    return _command("backup", make)


def show(data: Path) -> int:
    """List the backups, here and in the bucket."""

    def listed() -> int:
        context = context_of(data)
        here = context.shelf.all()
        bucket = bucket_of(context.settings)
        there = set(bucket_copy.names(bucket)) if bucket else set()
        for each in here:
            where = "here, bucket" if each.name in there else "here"
            rows = sum(each.tables.values())
            say(f"  {each.name}  {each.size / 1e6:9.1f} MB  {rows:>9} rows  key {each.key_id}  {where}")
        for name in sorted(there - {each.name for each in here}, reverse=True):
            say(f"  {name}  bucket only; ./naru restore fetches it")
        for name in context.shelf.damaged():
            say(f"  {name}  DAMAGED: its file is truncated, missing or unreadable")
        number = "1 backup" if len(here) == 1 else f"{len(here)} backups"
        say(f"{number} in {context.shelf.folder}" + (f", {len(there)} in the bucket {bucket.name}" if bucket else ""))
        return 0

    return _command("backup", listed)


def restore_from(data: Path, name: str, *, grants: bool) -> int:
    """Replace Naru's data with a backup. `grants` restores the rights of other roles too."""

    def put() -> int:
        try:
            source, kept = _restore(context_of(data), name, grants=grants)
        except Unsure:
            raise
        except BackupProblem as error:
            raise BackupProblem(f"{error}\n      Nothing was changed: Naru's data is as it was.") from None
        say(f"Restored {source.found.name}, the data of {source.found.moment:%Y-%m-%d %H:%M:%S} UTC.")
        if kept:
            say(f"The data it replaced is kept as {kept}. To go back:  ./naru restore --undo {kept}")
            say(f"When you no longer need it:  ./naru restore --forget {kept}")
        return 0

    return _command("restore", put)


def undo(data: Path, name: str) -> int:
    """Put back the database `name`, or the newest one that a restore replaced."""

    def swap_back() -> int:
        with server_at(data, load_settings()) as server:
            found, becomes = restore.go_back(server, name)
        say(f"{found} is Naru's database again. The restored data is kept as {becomes}.")
        return 0

    return _command("restore", swap_back)


def forget(data: Path, name: str) -> int:
    """Drop a database that a restore has kept."""

    def drop() -> int:
        with server_at(data, load_settings()) as server:
            restore.forget(server, name)
        say(f"Dropped {name}.")
        return 0

    return _command("restore", drop)


def _backup(context: Context, at: Moment | None) -> int:
    began = time.monotonic()
    key, bucket = key_from(context.settings.backup_key), bucket_of(context.settings)
    whole = None if at is None else _intact_backup(context, key, since=at.before(datetime.now(UTC)))
    made = whole or _new_backup(context, key)
    figures = backup_figures(context.figures_folder)
    with context.shelf.held():
        # Prune before the upload: a bucket that refuses for days must not let the disk fill up.
        for name in context.shelf.prune(context.keep):
            say(f"  removed {name}: newer ones cover it")
        values = {
            "size_bytes": float(made.size),
            "data_timestamp_seconds": made.moment.timestamp(),
            "kept": float(len(context.shelf.all())),
        }
        figures.noted(**values)
        if bucket is None and context.shelf.folder.is_relative_to(context.data):
            say("  It is on the same disk as the data. Set another folder (NARU_BACKUP_DIR) or a bucket.")
        if bucket is not None:
            values["bucket_data_timestamp_seconds"] = _copy_to_bucket(context, bucket, key, made).timestamp()
    if whole is not None:
        # A later upload does not make the data newer: the next run is due by the age of the data.
        values["last_success_timestamp_seconds"] = datetime.fromisoformat(whole.ended_at).timestamp()
    figures.succeeded(**values, duration_seconds=time.monotonic() - began)
    return 0


def _intact_backup(context: Context, key: Key, *, since: datetime) -> Manifest | None:
    """Find an intact backup that an earlier run made after `since`, before its later steps failed."""
    now = datetime.now(UTC)  # ignores backups from the future, made while a clock was wrong
    newest = next((each for each in context.shelf.all() if each.moment <= now), None)
    if newest is None or newest.moment < since:
        return None
    try:
        newest.check_seal(key)
        manifests.check_file(newest, context.shelf.path(newest))
    except BackupProblem as error:
        say(f"  making another one: {error}")
        return None
    say(f"{newest.name} is intact and recent enough: not making another one")
    return newest


def _new_backup(context: Context, key: Key) -> Manifest:
    with server_at(context.data, context.settings) as server:
        context.shelf.make()
        with context.shelf.held():
            work = Work(server=server, shelf=context.shelf, key=key, seconds=context.settings.backup_seconds, say=say)
            try:
                made = take(work)
            except BackupProblem as error:
                raise BackupProblem(
                    f"{error}\n      No part of it was kept. The older backups are unchanged."
                ) from None
        _note(server, made)
    say(f"{made.name}: {made.size / 1e6:.1f} MB, encrypted and checked, in {context.shelf.folder}")
    return made


def _note(server: Server, made: Manifest) -> None:
    try:
        noting.note(server.url, Kind.BACKUP_MADE, made.name)
    except (SQLAlchemyError, NaruError) as error:
        say(f"  the record of events does not have this backup ({type(error).__name__})")


def _copy_to_bucket(context: Context, bucket: Bucket, key: Key, made: Manifest) -> datetime:
    """Upload what the bucket lacks, check it and prune; return the moment of the newest copy's data."""
    try:
        for name in bucket_copy.upload_missing(bucket, context.shelf, bucket_copy.copies(bucket, key)):
            say(f"  copied {name} to the bucket {bucket.name}")
        there = bucket_copy.copies(bucket, key)
        if made.name not in there.good:
            why = there.doubtful.get(made.name, "it is not there")
            raise BackupProblem(f"the bucket {bucket.name} has no good copy of {made.name}: {why}.")
        for line in bucket_copy.prune(bucket, there, context.keep):
            say(f"  {line}")
    except BackupProblem as error:
        where = f"{made.name} is complete, in {context.shelf.folder}"
        raise BackupProblem(f"{error}\n      {where}. The next run uploads what the bucket lacks.") from None
    return made.moment


def _drill(context: Context, *, here: bool) -> int:
    began = time.monotonic()
    places = context.places()
    context.shelf.make()
    with ExitStack() as stack:
        scratch = stack.enter_context(context.shelf.scratch())
        source = find_for_drill(places, scratch)
        if here or not drill.has_own_server():
            server = stack.enter_context(server_at(context.data, context.settings))
        else:
            server = stack.enter_context(drill.temporary_server(scratch))
        # Its own server has no other roles, so grants cannot be restored there.
        shown = drill.drill(server, source, Load(seconds=context.settings.backup_seconds, grants=False, say=say))
    rows, seconds = sum(source.found.tables.values()), time.monotonic() - began
    drill_figures(context.figures_folder).succeeded(
        duration_seconds=seconds, data_timestamp_seconds=source.found.moment.timestamp(), rows=float(rows)
    )
    say(f"{source.found.name} can be restored: {rows} rows counted, {shown} messages read, in {seconds:.1f} s.")
    return 0


def _restore(context: Context, name: str, *, grants: bool) -> tuple[Source, str]:
    source = find(context.places(), name)  # also verifies it, before a stopped Naru's server is started
    with server_at(context.data, context.settings, make=True) as server:
        load = Load(seconds=context.settings.backup_seconds, grants=grants, say=say)
        return source, restore.restore(server, source, load)


def _run_once_or_at(
    at: Moment | None,
    context: Context,
    figures: Callable[[Path], Figures],
    run: Callable[[Context], int],
    *,
    pause_seconds: float = 0.0,
) -> int:
    """Run once, or on a schedule. A failure shows in the metrics either way."""
    kept = figures(context.figures_folder)
    if at is None:
        return _recorded(kept, lambda: run(context))
    name = kept.prefix.removeprefix("naru_").replace("_", "-")
    last = kept.read().get("last_success_timestamp_seconds", 0.0)
    due = first_run(at, datetime.now(UTC), last, pause_seconds=pause_seconds)
    run_at(at, lambda: _scheduled(name, lambda: _recorded(kept, lambda: run(context))), due=due, say=say)
    return 0


def _scheduled(name: str, run: Callable[[], int]) -> int:
    """Run and return the exit code. A bug must not end the schedule: each restart would begin with a run at once."""
    try:
        return _command(name, run)
    except Exception as error:  # noqa: BLE001 - any error is a failed run, which the metrics show
        sys.stderr.write(f"naru {name}: failed because of a bug in Naru ({type(error).__name__})\n")
        sys.stderr.flush()
        return 1


def _recorded(figures: Figures, run: Callable[[], int]) -> int:
    try:
        return run()
    except BaseException:
        if figures.folder.exists():
            with suppress(BackupProblem):  # the first error is the one to report
                figures.failed()
        raise


def _command(name: str, run: Callable[[], int]) -> int:
    """Run a command; on a known error, print one sentence and return 1. TERM and Ctrl-C end it cleanly."""
    signal.signal(signal.SIGTERM, _on_term)
    try:
        return run()
    except (BackupProblem, DataProblem, NaruError, psycopg2.Error) as error:
        lines = (
            [f"Postgres failed: {reason_of(error)}"] if isinstance(error, psycopg2.Error) else str(error).split("\n")
        )
        sys.stderr.write(f"naru {name}: " + "\n".join(terminal.line(line) for line in lines) + "\n")
        sys.stderr.flush()
        return 1


def _on_term(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def say(line: str) -> None:
    """Print a line to the terminal or the container's log."""
    print(line, flush=True)
