"""Checks that a restored database matches its manifest and that the product's own queries can read it."""

from __future__ import annotations

from typing import Any

import psycopg2
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from deploy.backup.manifest import Manifest
from deploy.backup.problem import BackupProblem
from deploy.backup.server import Server, counts, one, schema_of
from deploy.embedded.processes import ROOT
from shared.conversations import list_conversations, open_conversation
from shared.fleet import fleet
from shared.people import Owner
from shared.postgres.database import make_plain_engine

_NEWEST = """
    SELECT id, owner_id FROM conversation WHERE deleted_at IS NULL AND leaf_id IS NOT NULL
     ORDER BY updated_at DESC LIMIT 1
"""
_UNCHECKED = "SELECT conname FROM pg_constraint WHERE NOT convalidated LIMIT 1"


def check_schema(found: Manifest) -> None:
    """Raise BackupProblem if the backup comes from a newer Naru than this one."""
    known = {path.stem.partition("_")[0] for path in (ROOT / "shared" / "migrations" / "versions").glob("*.py")}
    if found.schema not in known:
        raise BackupProblem(
            f"{found.name} has the tables of a newer Naru (migration {found.schema}; this one knows {max(known)}). "
            "Install that version, then restore."
        )


def check_counts(server: Server, database: str, found: Manifest) -> None:
    """Raise BackupProblem unless every table has the number of rows in the manifest."""
    with server.connected(database) as connection, connection.cursor() as cursor:
        there = counts(cursor)
        if there != found.tables:
            name = min(name for name in {*there, *found.tables} if there.get(name) != found.tables.get(name))
            has, should = there.get(name, "no"), found.tables.get(name, "no")
            raise BackupProblem(f"the table {name} has {has} rows, but the manifest says {should}. Use another backup.")
        if schema_of(cursor) != found.schema or one(cursor, _UNCHECKED) is not None:
            raise BackupProblem("the restored tables do not match the manifest. Use another backup.")


def check_reading(server: Server, database: str) -> int:
    """Read the newest conversation with the product's own queries; return how many messages its page shows."""
    engine = make_plain_engine(server.url_of(database))
    try:
        fleet(engine)
        with engine.connect() as connection:
            newest: Any = connection.execute(text(_NEWEST)).one_or_none()
        if newest is None:
            return 0
        owner = Owner.from_key(newest.owner_id)
        listed = list_conversations(engine, owner=owner)
        opened = open_conversation(engine, newest.id, owner=owner)
        if newest.id not in {row.id for row in listed} or not opened.messages:
            raise BackupProblem("the newest conversation cannot be read from the restored tables. Use another backup.")
        return len(opened.messages)
    except (SQLAlchemyError, psycopg2.Error) as error:
        raise BackupProblem(f"the restored tables cannot be read ({type(error).__name__}).") from None
    finally:
        engine.dispose()
