"""Read events: page by page with the newest first, or the whole record with the oldest first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, or_, select

from shared.postgres.database import transaction
from shared.tables import audit_event

#: Events that are read at once.
BATCH = 1000
_E = audit_event.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event."""

    seq: int
    at: datetime
    kind: str
    actor: str
    subject: str
    address: str
    http_id: str
    details: Mapping[str, Any]
    hash: bytes

    def json_line(self) -> str:
        """Return the event as one line of JSON, without its end."""
        values = {
            "type": "naru.audit",
            "seq": self.seq,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "kind": self.kind,
            "actor": self.actor,
            "subject": self.subject,
            "address": self.address,
            "http_request_id": self.http_id,
            "details": self.details,
            "hash": self.hash.hex(),
        }
        return json.dumps(values, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events to read. `person` is the key of an owner who acted or whom an event concerns."""

    kind: str = ""
    person: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a row must meet."""
        found: list[ColumnElement[bool]] = []
        if self.kind:
            found.append(_E.kind == self.kind)
        if self.person:
            found.append(or_(_E.actor == self.person, _E.subject == self.person))
        if self.since is not None:
            found.append(_E.at >= self.since)
        if self.until is not None:
            found.append(_E.at < self.until)
        return found


def newest(engine: Engine, chosen: Filter, *, most: int, before: int | None = None) -> list[Event]:
    """Return up to `most` events below the number `before`, the newest first."""
    below = () if before is None else (_E.seq < before,)
    found = select(audit_event).where(*chosen.conditions(), *below).order_by(_E.seq.desc()).limit(most)
    with transaction(engine) as connection:
        return [_event_of(row) for row in connection.execute(found)]


def everything(engine: Engine, chosen: Filter, *, behind: int = 0, most: int | None = None) -> Iterator[Event]:
    """Yield the events above the number `behind`, the oldest first, BATCH at a time; at most `most`."""
    left = most
    while left is None or left > 0:
        size = BATCH if left is None else min(BATCH, left)
        found = select(audit_event).where(*chosen.conditions(), _E.seq > behind).order_by(_E.seq).limit(size)
        with transaction(engine) as connection:
            events = [_event_of(row) for row in connection.execute(found)]
        yield from events
        if len(events) < size:
            return
        behind = events[-1].seq
        left = None if left is None else left - size


def _event_of(row: Any) -> Event:
    return Event(**row._mapping)  # noqa: SLF001 - SQLAlchemy names it so
