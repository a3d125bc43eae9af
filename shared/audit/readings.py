"""Tell people that an administrator has read their chats, until they acknowledge it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Engine, cast, func, select

from shared.audit.kinds import Kind
from shared.audit.record import record
from shared.postgres.database import transaction
from shared.tables import audit_event

#: The newest readings that a page lists.
MOST = 20
_E = audit_event.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of a person's chats, with the administrator's reason. `is_new` until the person acknowledges it."""

    seq: int
    at: datetime
    reason: str
    is_new: bool


def readings_of(engine: Engine, owner_key: str) -> list[Reading]:
    """Return the newest readings of this owner's chats, the newest first."""
    seen = select(func.max(cast(_E.details["event"].astext, BigInteger))).where(
        _E.subject == owner_key, _E.kind == Kind.READING_ACKNOWLEDGED.value
    )
    is_new = (_E.seq > func.coalesce(seen.scalar_subquery(), 0)).label("is_new")
    found = select(_E.seq, _E.at, _E.details["reason"].astext.label("reason"), is_new)
    theirs = (_E.subject == owner_key, _E.kind == Kind.CHATS_READ.value)
    with transaction(engine) as connection:
        rows = connection.execute(found.where(*theirs).order_by(_E.seq.desc()).limit(MOST)).all()
    return [Reading(seq=row.seq, at=row.at, reason=row.reason, is_new=row.is_new) for row in rows]


def acknowledge(engine: Engine, owner_key: str, *, shown: int) -> None:
    """Record that the owner has seen the readings up to the event `shown`; nothing if all are old."""
    new = [each.seq for each in readings_of(engine, owner_key) if each.is_new and each.seq <= shown]
    if new:
        with transaction(engine) as connection:
            record(connection, Kind.READING_ACKNOWLEDGED, subject=owner_key, event=max(new))
