"""Mercy: when an expired lease proves nothing, so that no worker is marked lost, and when a loss charges nobody.

A lease proves something only while Postgres can be reached. So no worker is marked lost for a mercy time after a gap in
the ticks, after a restart of Postgres, and while the whole fleet is silent (docs/decisions/0034).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Float,
    Interval,
    Row,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.fleet import RECONNECT_SECONDS
from shared.postgres.prepared import prepared
from shared.tables import reconciler_tick, worker

log = logging.getLogger(__name__)

_NOW = func.clock_timestamp()
#: After a gap in all ticks, or a restart of Postgres, workers had no chance to renew. No worker is marked lost for the
#: mercy time that follows.
GAP_SECONDS = 2.0
#: Longest silence of a whole fleet that counts as an outage of the way to Postgres.
OUTAGE_SECONDS = 60.0

_SECOND = cast(literal("1 second"), Interval)
_MERCY = bindparam("mercy", type_=Float) * _SECOND
#: A living worker that reaches Postgres renews more than once in half a lease.
_HALF_LEASE = bindparam("half_lease", type_=Float) * _SECOND
_GAP = func.extract("epoch", _NOW - reconciler_tick.c.ticked_at)
_NEW_MERCY_UNTIL = _NOW + _MERCY
_RECORD_TICK = prepared(
    upsert(reconciler_tick)
    # The first tick finds a gap since 1970: every lost worker may still have requests.
    .values(id=1, lanes_ticked_at=_NOW, mercy_until=_NEW_MERCY_UNTIL, gap_seconds=func.extract("epoch", _NOW))
    .on_conflict_do_update(
        index_elements=[reconciler_tick.c.id],
        set_={
            "ticked_at": _NOW,
            "lanes_ticked_at": _NOW,
            "gap_seconds": _GAP,
            "mercy_until": case((_GAP > GAP_SECONDS, _NEW_MERCY_UNTIL), else_=reconciler_tick.c.mercy_until),
        },
    )
    .returning(
        or_(
            func.coalesce(reconciler_tick.c.mercy_until > _NOW, false()),
            _NOW - func.pg_postmaster_start_time() < _MERCY,
        ).label("in_mercy"),
        reconciler_tick.c.gap_seconds,
    )
)
# Two workers or more, each silent for half a lease, one for a whole lease.
_IS_FLEET_SILENT = (
    select(
        and_(
            func.count() > 1,
            func.max(worker.c.renewed_at) < _NOW - _HALF_LEASE,
            func.min(worker.c.lease_expires_at) < _NOW,
        )
    )
    .where(worker.c.lost_at.is_(None), worker.c.lease_expires_at > _NOW - timedelta(seconds=OUTAGE_SECONDS))
    .scalar_subquery()
)
_FORGIVE_SILENCE = (
    update(reconciler_tick).where(_IS_FLEET_SILENT).values(mercy_until=_NEW_MERCY_UNTIL).returning(reconciler_tick.c.id)
)
_lost, _other = worker.alias("lost"), worker.alias("other")
#: Lost workers that fell silent with another one, which may not be marked yet.
_LOST_WITH_OTHERS = select(_lost.c.id).where(
    exists().where(
        _other.c.id != _lost.c.id,
        or_(
            _other.c.lost_at.between(_lost.c.lost_at - _HALF_LEASE, _lost.c.lost_at + _HALF_LEASE),
            and_(_other.c.lost_at.is_(None), _other.c.renewed_at < _NOW - _HALF_LEASE),
        ),
    )
)


def mercy_seconds(lease_seconds: float) -> float:
    """Return how long no worker is marked lost after an outage.

    A living worker needs RECONNECT_SECONDS to renew. The lease is for workers that reach Postgres later than the
    process that ticks first.
    """
    return lease_seconds + RECONNECT_SECONDS


def record_tick(connection: Connection, lease_seconds: float) -> Row[Any]:
    """Record a tick; return whether it falls into a mercy time (`in_mercy`), and the `gap_seconds` before it."""
    return connection.execute(_RECORD_TICK, {"mercy": mercy_seconds(lease_seconds)}).one()


def forgives_silence(connection: Connection, lease_seconds: float, *, is_new: bool) -> bool:
    """Extend the mercy time while no worker of the fleet renews: something that they share has failed."""
    values = {"mercy": mercy_seconds(lease_seconds), "half_lease": lease_seconds / 2}
    is_silent = connection.execute(_FORGIVE_SILENCE, values).one_or_none() is not None
    if is_silent and is_new:
        log.warning("no worker renews its lease: none is marked lost for now")
    return is_silent


def lost_together(connection: Connection, lost: Collection[UUID], lease_seconds: float) -> set[UUID]:
    """Return those of the lost workers that fell silent with another one."""
    found = connection.execute(_LOST_WITH_OTHERS.where(_lost.c.id.in_(lost)), {"half_lease": lease_seconds / 2})
    return set(found.scalars())
