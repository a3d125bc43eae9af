"""The restore drill: the newest backup is loaded where it harms nobody, proved as a restore proves it, and thrown away.

On a PostgreSQL of its own where one is in the environment (the embedded one: Naru's server is not even asked), else in
a database of its own on the given server. With a bucket it is the bucket's copy that is tried: the one that is left
when the machine is not.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.backup import swap, verify
from deploy.backup.place import embedded
from deploy.backup.restore import Load, bring_up_to_date, loaded
from deploy.backup.server import Server
from deploy.backup.source import Source
from deploy.embedded import postgres


def has_own_server() -> bool:
    """Whether a PostgreSQL for this is in the environment."""
    try:
        postgres.programs()
    except postgres.PostgresProblem:
        return False
    return True


@contextmanager
def throw_away(scratch: Path) -> Iterator[Server]:
    """A PostgreSQL whose data is in `scratch` for as long as the block lasts."""
    with embedded(scratch / "postgres", password=secrets.token_urlsafe(24), log=scratch, durable=False) as server:
        yield server


def drill(server: Server, source: Source, load: Load) -> int:
    """Restore into a database of its own and prove it; how many messages its newest conversation shows."""
    with swap.alone(server) as cursor:
        for left in swap.beside(cursor, server.database, "drill"):
            swap.drop(cursor, left)
        with loaded(server, cursor, source, load, kind="drill") as new:
            bring_up_to_date(server, new)
            return verify.check_reading(server, new)
