"""The rig of the backup tests: a database with rows to lose, a shelf, a key, and manifests without a real dump."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from deploy.backup import manifest as manifests
from deploy.backup.chain import Chain
from deploy.backup.key import Key
from deploy.backup.manifest import Manifest
from deploy.backup.programs import cipher_program
from deploy.backup.restore import Load, restore
from deploy.backup.server import Server, counts
from deploy.backup.shelf import Shelf
from deploy.backup.source import Source, prove
from deploy.backup.take import Work, take
from deploy.embedded.processes import ROOT
from tests.patience import patient
from tests.stack import Stack

#: Conversations with one question each, of {size} hexadecimal digits, which hardly compress.
FILL = """
    WITH made AS (
        INSERT INTO conversation (id, owner_id, title)
        SELECT gen_random_uuid(), 'alice', 'Landing ' || n FROM generate_series(1, {rows}) n RETURNING id
    ), said AS (
        INSERT INTO message (id, conversation_id, role, content)
        SELECT gen_random_uuid(), id, 'user',
               (SELECT string_agg(md5(random()::text || id || n), '') FROM generate_series(1, {size} / 32) n)
          FROM made RETURNING id, conversation_id
    )
    SELECT count(*) FROM said
"""
LEAVES = "UPDATE conversation SET leaf_id = message.id FROM message WHERE message.conversation_id = conversation.id"
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
KEY = Key("0" * 64)


@dataclass
class BackupSite:
    """One database of Naru, a folder for its backups, and the key that encrypts them."""

    url: str
    folder: Path
    key: Key = field(default_factory=lambda: Key("k" * 64))
    said: list[str] = field(default_factory=list)

    @property
    def server(self) -> Server:
        """Return its server."""
        return Server(self.url)

    @property
    def shelf(self) -> Shelf:
        """Return the shelf of its backups."""
        shelf = Shelf(self.folder / "shelf")
        shelf.make()
        return shelf

    def fill(self, *, rows: int = 20, size: int = 320) -> None:
        """Add conversations to lose."""
        self.execute(FILL.format(rows=rows, size=size))
        self.execute(LEAVES)

    def take(self, *, url: str = "", seconds: float = 60) -> Manifest:
        """Take a backup as the command does."""
        server = Server(url) if url else self.server
        with self.shelf.held():
            return take(Work(server=server, shelf=self.shelf, key=self.key, seconds=seconds, say=self.said.append))

    def source(self, made: Manifest, *, key: Key | None = None) -> Source:
        """Return a verified backup, as a restore uses it."""
        return prove(made, self.shelf.path(made), key or self.key)

    def restore(self, made: Manifest, *, key: Key | None = None, grants: bool = True, seconds: float = 60) -> str:
        """Restore a backup; return the name of the database that it replaced."""
        load = Load(seconds=seconds, grants=grants, say=self.said.append)
        return restore(self.server, self.source(made, key=key), load)

    def execute(self, statement: str, *values: object, database: str = "") -> None:
        """Execute a statement and commit."""
        with self.server.connected(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def rows(self, question: str, *, database: str = "") -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with self.server.connected(database) as connection, connection.cursor() as cursor:
            cursor.execute(question)
            return list(cursor.fetchall())

    def counts(self) -> dict[str, int]:
        """Return the number of rows in every table, without the events that restores recorded."""
        with self.server.connected() as connection, connection.cursor() as cursor:
            found = counts(cursor)
            cursor.execute("SELECT count(*) FROM audit_event WHERE kind = 'backup_restored'")
            return found | {"audit_event": found["audit_event"] - cursor.fetchone()[0]}

    def databases(self) -> set[str]:
        """Return the databases beside Naru's whose names begin with its name."""
        rows = self.rows("SELECT datname FROM pg_database", database="postgres")
        return {str(name) for (name,) in rows if str(name).startswith(f"{self.server.database}_")}

    def plain(self, made: Manifest) -> bytes:
        """Return the decrypted dump, as pg_dump wrote it."""
        with (
            self.shelf.path(made).open("rb") as file,
            Chain(cipher_program(self.key, decrypt=True), source=file, seconds=30) as chain,
        ):
            found = chain.out.read()
            chain.finish()
            return found


def manifest(moment: datetime = NOON, *, content: bytes = b"cipher", key: Key = KEY) -> Manifest:
    """Return a manifest of a file that holds `content`."""
    return Manifest(
        form=manifests.FORM,
        name=f"naru-{moment:%Y%m%dT%H%M%SZ}",
        naru="source",
        schema="0001",
        postgres="18.4",
        pg_dump=18,
        tables={"message": 3},
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        cipher="openssl enc",
        key_id=key.id,
        began_at=moment.isoformat(),
        ended_at=moment.isoformat(),
    ).sealed(key)


def put(shelf: Shelf, made: Manifest, content: bytes = b"cipher") -> None:
    """Put a backup on the shelf."""
    shelf.path(made).write_bytes(content)
    shelf.write_manifest(made)


def naru(stack: Stack, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-P", "-m", "deploy.cli.main", *words]
    return subprocess.run(
        command,
        env=stack.environ(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(90),
        check=False,
    )


def is_reached(url: str) -> bool:
    """Return whether the database accepts a connection."""
    try:
        psycopg2.connect(url, connect_timeout=3).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def kept_signal() -> Iterator[None]:
    """Restore the SIGTERM handler, which commands replace when tests run them in this process to save time."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
