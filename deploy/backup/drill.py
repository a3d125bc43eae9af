"""The restore drill: load the newest backup away from Naru's data, prove it as a restore does, and drop it.

If the embedded PostgreSQL is installed, it starts a separate server and does not touch Naru's. Otherwise it uses a
separate database on the given server. With a bucket it tests the bucket's copy, which survives the loss of the machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.backup import swap, verify
from deploy.backup.locate import embedded
from deploy.backup.restore import Load, bring_up_to_date, loaded
from deploy.backup.server import Server
from deploy.backup.source import Source
from deploy.embedded import postgres


def has_own_server() -> bool:
    """Return whether the embedded PostgreSQL is installed."""
    try:
        postgres.programs()
    except postgres.PostgresProblem:
        return False
    return True


@contextmanager
def temporary_server(scratch: Path) -> Iterator[Server]:
    """Run a PostgreSQL with its data in `scratch` for the length of the block."""
    with embedded(scratch / "postgres", password=secrets.token_urlsafe(24), log=scratch, durable=False) as server:
        yield server


def drill(server: Server, source: Source, load: Load) -> int:
    """Restore into a separate database and prove it; return how many messages its newest conversation shows."""
    with swap.alone(server) as cursor:
        for left in swap.beside(cursor, server.database, "drill"):
            swap.drop(cursor, left)
        with loaded(server, cursor, source, load, kind="drill") as new:
            bring_up_to_date(server, new)
            return verify.check_reading(server, new)
