"""When the backups forget what was erased: the retention rule, played forward with one more backup each day."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from deploy.backup import bucket_copy, swap
from deploy.backup.problem import BackupProblem
from deploy.backup.retention import Keep, kept
from deploy.backup.s3 import bucket_of
from deploy.backup.server import Server, one
from deploy.backup.shelf import Shelf
from shared.settings import Settings

#: Retention that reaches further is called "more than ten years".
LONGEST_DAYS = 3660
#: Sessions that dump the database: Naru's, or somebody's pg_dump. Everybody may see the name of a session.
_DUMPS = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name IN ('naru-backup', 'pg_dump')
"""


def last_day(moments: Iterable[datetime], keep: Keep, *, now: datetime) -> datetime | None:
    """Return when retention deletes the last of these backups; None if that takes more than ten years.

    It assumes a backup each day from now on. Without later backups the newest one is never deleted.
    """
    known = set(moments)
    later = [now + timedelta(days=day) for day in range(1, LONGEST_DAYS + 1)]

    def is_forgotten(number: int) -> bool:
        return not kept({*known, *later[:number]}, keep) & known

    number = bisect_left(range(LONGEST_DAYS + 1), True, key=is_forgotten)  # once forgotten, always forgotten
    return later[number - 1] if number <= LONGEST_DAYS else None


def sentences(settings: Settings, shelf: Shelf, server: Server, keep: Keep) -> list[str]:
    """Return sentences about everything of ours that still holds erased rows, and for how long."""
    # First of all, so that a dump that ends meanwhile is found on the shelf.
    unfinished = shelf.has_unfinished()
    with server.connected() as connection, connection.cursor() as cursor:
        unfinished = unfinished or bool(one(cursor, _DUMPS))
    return [*_of_backups(settings, shelf, keep, is_dumping=unfinished), *_of_server(server)]


def _of_backups(settings: Settings, shelf: Shelf, keep: Keep, *, is_dumping: bool) -> list[str]:
    now = datetime.now(UTC)
    said = []
    if damaged := shelf.damaged():
        said.append(
            "Damaged backups may have these rows too, and retention never deletes them. Delete them by hand: "
            f"{', '.join(damaged)}."
        )
    moments = {each.moment for each in shelf.all()} if shelf.folder.is_dir() else set()
    try:
        bucket = bucket_of(settings)
        if bucket is not None:
            moments |= {bucket_copy.moment_of(name) for name in bucket_copy.names(bucket)}
    except BackupProblem as error:
        bucket = None
        said.append(f"The bucket could not be read, so its copies are left out: {error}")
    if is_dumping:
        said.append("A backup is being made, or was cut off: it may have these rows, so it is counted here as well.")
        moments.add(now)
    if not moments:
        if damaged:
            return said
        where = "" if bucket is None else f" or in the bucket {bucket.name}"
        said.append(
            f"No backup is known here: there is none in {shelf.folder}{where}. If you back up Postgres in another way, "
            "those backups still have these rows, for as long as you keep them."
        )
        return said
    day = last_day(moments, keep, now=now)
    number = "1 backup still has" if len(moments) == 1 else f"{len(moments)} backups still have"
    until = "not within ten years, by NARU_BACKUP_KEEP_…" if day is None else f"by {day:%Y-%m-%d}"
    said.append(
        f"{number} these rows, encrypted. With a backup a day, retention deletes the last of them {until}. After a "
        "restore of an earlier one, erase this owner again."
    )
    return said


def _of_server(server: Server) -> list[str]:
    said = []
    with server.connected() as connection, connection.cursor() as cursor:
        archives = one(cursor, "SHOW archive_mode") != "off"
        beside = swap.beside(cursor, server.database, "before", "undone")
    said += [f"A restore kept the database {name}. Drop it: ./naru restore --forget {name}" for name in beside]
    if archives:
        said.append(
            "The server archives its WAL for point-in-time recovery. The archive has these rows until its segments and "
            "base backups are deleted: docs/operations/backup.md"
        )
    return said
