"""The hash of an event, and the walk along the chain.

An event's hash is SHA-256 of the hash before it and of the event as a JSON array. The database computes it
(`audit_event_chain` in migration 0008); the walk computes it again, here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, Text, cast, select

from shared.postgres.database import transaction
from shared.tables import audit_event

#: Events that a walk reads at once.
BATCH = 5000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_E = audit_event.c


@dataclass(frozen=True, slots=True)
class Link:
    """The end of the chain so far: the number of an event, and its hash. The chain begins behind (0, b"")."""

    seq: int
    hash: bytes


class Broken(Exception):
    """The chain is broken; the message says where and how."""

    def __init__(self, seq: int, how: str) -> None:
        super().__init__(f"event {seq} {how}")
        self.seq = seq


def hash_of(row: Any, before: bytes) -> bytes:
    """Return the hash that this event must have after the hash `before`. `row.text` is its details as Postgres says."""
    micros = (row.at - _EPOCH) // timedelta(microseconds=1)
    parts = [row.seq, micros, row.kind, row.actor, row.subject, row.address, row.http_id, row.text]
    return sha256(before + json.dumps(parts, ensure_ascii=False).encode()).digest()


def walk(engine: Engine, behind: Link, *, batch: int = BATCH) -> Iterator[Link]:
    """Yield the end of the chain after each event, from the one behind `behind`. Raises Broken and Unavailable.

    Reads `batch` events at a time, each time in a transaction of its own.
    """
    columns = (*(each for each in _E if each is not _E.details), cast(_E.details, Text).label("text"))
    found = select(*columns).order_by(_E.seq).limit(batch)
    while True:
        with transaction(engine) as connection:
            rows = connection.execute(found.where(_E.seq > behind.seq)).all()
        for row in rows:
            if row.seq != behind.seq + 1:
                last = row.seq - 1
                raise Broken(behind.seq + 1, "is missing" if last == behind.seq + 1 else f"to {last} are missing")
            if row.hash != hash_of(row, behind.hash):
                raise Broken(row.seq, "does not fit: it or the one before it was changed, inserted or moved")
            behind = Link(row.seq, row.hash)
            yield behind
        if len(rows) < batch:
            return
