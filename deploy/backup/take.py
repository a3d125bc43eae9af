"""Make one backup, top-down: snapshot, dump, encrypt, check and keep it.

Older backups stay until the new one is complete and checked; a failure leaves the folder as it was. Unencrypted data
never reaches a disk: it flows from pg_dump through openssl into the file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psycopg2

from deploy.backup.chain import Chain
from deploy.backup.key import Key
from deploy.backup.manifest import DUMP_SUFFIX, FORM, Manifest
from deploy.backup.problem import BackupProblem, of_disk
from deploy.backup.programs import CIPHER, Tools, cipher_program, postgres_program, tools_for
from deploy.backup.server import Inventory, Server, inventory, reason_of
from deploy.backup.shelf import Shelf

BLOCK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The inputs of one backup."""

    server: Server
    shelf: Shelf
    key: Key
    seconds: float
    say: Callable[[str], None]


def take(work: Work) -> Manifest:
    """Make one backup; the caller holds the folder's lock. Raises BackupProblem and leaves the folder as it was."""
    began, name = _free_name(work.shelf)
    partial = work.shelf.partial(name + DUMP_SUFFIX)
    try:
        return _take(work, name, began, partial)
    except psycopg2.Error as error:
        raise BackupProblem(f"Postgres failed during the backup: {reason_of(error)}") from None
    except OSError as error:
        raise of_disk(error, where=work.shelf.folder) from None
    finally:
        partial.unlink(missing_ok=True)


def _free_name(shelf: Shelf) -> tuple[datetime, str]:
    """Return the backup's start time and name; wait up to a second if a backup of this second exists."""
    while True:
        began = datetime.now(UTC)
        name = f"naru-{began:%Y%m%dT%H%M%SZ}"
        if shelf.find(name) is None:
            return began, name
        time.sleep(1.0 - began.microsecond / 1e6)


def _take(work: Work, name: str, began: datetime, partial: Path) -> Manifest:
    limit = time.monotonic() + work.seconds
    with inventory(work.server) as moment:
        tools = tools_for(moment.postgres_major)
        work.say(f"  {sum(moment.tables.values())} rows of {len(moment.tables)} tables, PostgreSQL {moment.postgres}")
        size, digest = _write(work, moment, tools, partial, limit)
    _check(work, moment, tools, partial, limit)
    made = Manifest(
        form=FORM,
        name=name,
        naru=_version(),
        schema=moment.schema,
        postgres=moment.postgres,
        pg_dump=tools.major,
        tables=moment.tables,
        size=size,
        sha256=digest,
        cipher="openssl " + " ".join(word for word in CIPHER if not word.startswith(("-pass", "fd:"))),
        key_id=work.key.id,
        began_at=began.isoformat(timespec="seconds"),
        ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
    ).sealed(work.key)
    work.shelf.keep(partial)
    work.shelf.write_manifest(made)
    return made


def _write(work: Work, moment: Inventory, tools: Tools, partial: Path, limit: float) -> tuple[int, str]:
    """Write pg_dump's output through openssl to the file; return its size and SHA-256."""
    words = ("--format=custom", "--no-owner", "--no-password", "--lock-wait-timeout=30s", f"--snapshot={moment.id}")
    dump = postgres_program(tools, "pg_dump", *words, url=work.server.url)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        Chain(dump, cipher_program(work.key, decrypt=False), seconds=limit - time.monotonic()) as chain,
    ):
        while block := chain.out.read(BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
        chain.finish()
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _check(work: Work, moment: Inventory, tools: Tools, partial: Path, limit: float) -> None:
    """Read the file back: it must decrypt, list the data of every table, and unpack to its last byte."""
    for words, needed in ((("--list",), moment.tables), (("--file=/dev/null",), {})):
        load = postgres_program(tools, "pg_restore", *words)
        with partial.open("rb") as file:
            reading = Chain(
                cipher_program(work.key, decrypt=True), load, source=file, seconds=max(1.0, limit - time.monotonic())
            )
            with reading as chain:
                listed = chain.out.read().decode(errors="replace")
                chain.finish(early_end=bool(needed))
        missing = [table for table in needed if f" TABLE DATA public {table} " not in listed]
        if missing:
            raise BackupProblem(
                f"the dump lacks the table {missing[0]}, so it is not kept. Check the rights of the database user."
            )


def _version() -> str:
    try:
        return version("naru")
    except PackageNotFoundError:
        return "source"
