"""The reconciler: repairs that every web and worker process runs every half second.

It only repairs; it does not schedule. A tick marks workers lost whose lease ran out, takes back their requests, ends
requests past their deadline, carries out stops that no worker answered, and lists the requests whose hint is due again.

A lease proves something only while Postgres can be reached. So no worker is marked lost for a mercy time after a gap in
the ticks, after a restart of Postgres, and while the whole fleet is silent (docs/decisions/0034).

One tick is one short transaction under an advisory lock that ends with it. A session lock would outlive the tick in a
frozen process and block all others. The process that ticked last ticks on and the others skip theirs, so a large fleet
does not tick more often than a small one. A tick costs what is due, not what waits or runs. The verbs are in
`lifecycle/`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Engine,
    Float,
    Interval,
    Subquery,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import lifecycle, metrics
from shared.errors import Unavailable
from shared.fleet import RECONNECT_SECONDS
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from shared.tables import Status, chat_request, reconciler_tick, worker

log = logging.getLogger(__name__)

#: For what a tick writes.
_NOW = func.clock_timestamp()
#: For what a tick compares: Postgres's clock when the statement arrived, once for all rows. `clock_timestamp()` may
#: change from row to row, so that no index can find the rows that are due. It is never later than the clock, so no
#: lease ends early.
_AS_OF = func.statement_timestamp()
_R = chat_request.c
#: The advisory lock of the tick: "naru" on a phone keypad, then 1.
ADVISORY_LOCK = 62781
#: After a gap in all ticks, or a restart of Postgres, workers had no chance to renew. No worker is marked lost for the
#: mercy time that follows.
GAP_SECONDS = 2.0
#: Longest silence of a whole fleet that counts as an outage of the way to Postgres.
OUTAGE_SECONDS = 60.0
#: The process that ticked last ticks on. Another takes over when it has not ticked for this many tick intervals.
TAKE_OVER = 2.0
#: A worker that was lost this long before the last tick has no request left: the last claims have committed, and a
#: tick has taken them back.
SETTLED_SECONDS = 60.0
BATCH = 500
#: The pauses before a hint is sent again; the last one repeats.
RESEND_SECONDS = (5, 10, 20, 40, 60)


@dataclass(slots=True)
class Repairs:
    """The result of one tick.

    `resend` lists the requests whose hint is due; `unanswered` lists the (request, attempt) of stops to carry out.
    """

    lost_workers: int = 0
    taken_back: int = 0
    expired: int = 0
    resend: list[UUID] = field(default_factory=list)
    unanswered: list[tuple[UUID, int]] = field(default_factory=list)


def _is(status: Status) -> ColumnElement[bool]:
    return _R.status == bindparam(None, status.value, literal_execute=True)


_SECOND = cast(literal("1 second"), Interval)
_MERCY = bindparam("mercy", type_=Float) * _SECOND
#: A living worker that reaches Postgres renews more than once in half a lease.
_HALF_LEASE = bindparam("half_lease", type_=Float) * _SECOND
_PATIENCE = bindparam("patience", type_=Float) * _SECOND
#: The condition of each repair. `_FIND_REPAIRS` tests them in one round trip: most ticks find nothing. Each has an
#: index that leads to the rows that are due (tests/shared/test_standing_still.py), whatever else waits or runs.
_LEASE_EXPIRED = (worker.c.lost_at.is_(None), worker.c.lease_expires_at < _AS_OF)
# Workers that were lost since shortly before the last tick: earlier ones have no request left. The array makes
# Postgres look up their requests instead of their workers.
_LOST_LATELY = select(worker.c.id).where(
    worker.c.lost_at > _AS_OF - bindparam("lost_within", type_=Float) * _SECOND,
)
_ON_LOST_WORKER = (_is(Status.RUNNING), _R.worker_id == func.any(func.array(_LOST_LATELY.scalar_subquery())))
_PAST_DEADLINE = (or_(_is(Status.QUEUED), _is(Status.RUNNING)), _R.deadline_at <= _AS_OF)
_STOP_UNANSWERED = (_is(Status.RUNNING), _R.stop_requested_at < _AS_OF - _PATIENCE)
_UNANSWERED_STOPS = select(_R.id, _R.attempt).where(*_STOP_UNANSWERED).order_by(_R.stop_requested_at).limit(BATCH)


def _hints_due() -> Subquery:
    """Select the queued requests without a hint, and those whose last one may be lost: after 5·2ⁿ s, at most 60.

    Each pause has a part of its own, because an index finds one pause's requests at a time.
    """
    waits = (_is(Status.QUEUED), _R.available_at <= _AS_OF)
    found = select(_R.id, _R.available_at)
    unsent = found.where(*waits, _R.dispatched_at.is_(None)).order_by(_R.available_at).limit(BATCH)
    sent = [
        found.where(
            *waits,
            func.least(_R.dispatches, literal_column(str(len(RESEND_SECONDS) - 1))) == literal_column(str(times)),
            _R.dispatched_at < _AS_OF - literal_column(f"interval '{seconds} seconds'", Interval),
        )
        .order_by(_R.dispatched_at)
        .limit(BATCH)
        for times, seconds in enumerate(RESEND_SECONDS)
    ]
    return union_all(*(select(part.subquery()) for part in (unsent, *sent))).subquery()


def _is_any(conditions: tuple[ColumnElement[bool], ...], *, by: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a row meets the conditions. Looks along the index of `by`.

    EXISTS would read the table where Postgres expects to meet such a row soon, and there is mostly none.
    """
    return select(by).where(*conditions).order_by(by).limit(1).scalar_subquery().is_not(None)


_HINTS_DUE = _hints_due()
_FIND_REPAIRS = prepared(
    select(
        _is_any(_LEASE_EXPIRED, by=worker.c.lease_expires_at).label("lease_expired"),
        _is_any(_ON_LOST_WORKER, by=_R.worker_id).label("on_lost_worker"),
        _is_any(_PAST_DEADLINE, by=_R.deadline_at).label("past_deadline"),
        _is_any(_STOP_UNANSWERED, by=_R.stop_requested_at).label("stop_unanswered"),
        select(_HINTS_DUE.c.id).exists().label("hint_due"),
    )
)

# No synchronous commit: a crash of Postgres may lose a tick, and the next one repeats it. Whatever depends on the tick
# commits later, and its synchronous commit includes the tick.
_TAKE_LOCK = prepared(
    text(
        f"""
        SELECT set_config('idle_in_transaction_session_timeout', '2s', true),
               set_config('synchronous_commit', 'off', true),
               pg_try_advisory_xact_lock({ADVISORY_LOCK}) AS is_locked
        """
    )
)
_GAP = func.extract("epoch", _NOW - reconciler_tick.c.ticked_at)
_NEW_MERCY_UNTIL = _NOW + _MERCY
_RECORD_TICK = prepared(
    upsert(reconciler_tick)
    # The first tick finds a gap since 1970: every lost worker may still have requests.
    .values(id=1, mercy_until=_NEW_MERCY_UNTIL, gap_seconds=func.extract("epoch", _NOW))
    .on_conflict_do_update(
        index_elements=[reconciler_tick.c.id],
        set_={
            "ticked_at": _NOW,
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
# Two workers or more, each silent for half a lease, and one of them for a whole one.
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
_TICKED = select(
    select(func.extract("epoch", _NOW - reconciler_tick.c.ticked_at).cast(Double)).scalar_subquery().label("ago")
).subquery()
_STOPS = _UNANSWERED_STOPS.subquery()
_GLANCE = prepared(select(_TICKED.c.ago, _STOPS.c.id, _STOPS.c.attempt).select_from(_TICKED).outerjoin(_STOPS, true()))


@dataclass(frozen=True, slots=True)
class Glance:
    """Seconds since the last tick (None before the first), and the (request, attempt) of stops to carry out."""

    ticked_ago: float | None
    unanswered: list[tuple[UUID, int]]


def glance(engine: Engine, *, stop_patience_seconds: float) -> Glance:
    """Look whether another process ticks, and what its ticks leave to this one. Raises Unavailable."""
    with statement(engine) as connection:
        rows = connection.execute(_GLANCE, {"patience": stop_patience_seconds}).all()
    return Glance(rows[0].ago, [(row.id, row.attempt) for row in rows if row.id is not None])


def mercy_seconds(lease_seconds: float) -> float:
    """Return how long no worker is marked lost after an outage.

    A living worker needs RECONNECT_SECONDS to renew. The lease is for workers that reach Postgres later than the
    process that ticks first.
    """
    return lease_seconds + RECONNECT_SECONDS


def tick(engine: Engine, *, stop_patience_seconds: float, lease_seconds: float) -> Repairs | None:
    """Run one tick; return None if another process holds the lock. Raises Unavailable."""
    with transaction(engine) as connection:
        if not connection.execute(_TAKE_LOCK).one().is_locked:
            return None
        # Recorded even when nothing is due. In the mercy time no worker is marked lost.
        ticked = connection.execute(_RECORD_TICK, {"mercy": mercy_seconds(lease_seconds)}).one()
        values = {"patience": stop_patience_seconds, "lost_within": ticked.gap_seconds + SETTLED_SECONDS}
        repairs, due = Repairs(), connection.execute(_FIND_REPAIRS, values).one()
        in_mercy = ticked.in_mercy
        # Lost workers first: each of the following repairs is one statement, however much is due.
        if due.lease_expired and not _forgives_silence(connection, lease_seconds, is_new=not in_mercy) and not in_mercy:
            repairs.lost_workers = _mark_lost(connection)
        if due.on_lost_worker or repairs.lost_workers:
            repairs.taken_back = _take_back(connection, values, lease_seconds)
        if due.past_deadline:
            repairs.expired = _expire(connection)
        if due.stop_unanswered:
            found = connection.execute(_UNANSWERED_STOPS, values)
            repairs.unanswered = [(row.id, row.attempt) for row in found]
        if due.hint_due or repairs.taken_back:
            repairs.resend = _due_hints(connection)
        return repairs


def _forgives_silence(connection: Connection, lease_seconds: float, *, is_new: bool) -> bool:
    """Extend the mercy time while no worker of the fleet renews: what they share has failed, not each of them."""
    values = {"mercy": mercy_seconds(lease_seconds), "half_lease": lease_seconds / 2}
    is_silent = connection.execute(_FORGIVE_SILENCE, values).one_or_none() is not None
    if is_silent and is_new:
        log.warning("no worker renews its lease: none is marked lost for now")
    return is_silent


def _mark_lost(connection: Connection) -> int:
    w = worker.c
    marked = connection.execute(
        update(worker).where(*_LEASE_EXPIRED).values(lost_at=_NOW).returning(w.id, w.host)
    ).all()
    for row in marked:
        log.warning("worker lost", extra={"worker_id": str(row.id), "worker_host": row.host})
    return len(marked)


def _take_back(connection: Connection, values: dict[str, float], lease_seconds: float) -> int:
    """Take back the requests of all lost workers, because a claim may commit after its worker was marked.

    They are taken back together: the loss is charged by comparing all requests of one worker. Workers that are lost
    together have a common cause outside them, so none of their requests is charged.
    """
    lost = connection.execute(
        select(_R.id, _R.worker_id, _R.losses, _R.stop_requested_at)
        .where(*_ON_LOST_WORKER)
        .with_for_update(skip_locked=True),
        values,
    ).all()
    if not lost:
        return 0
    together = _LOST_WITH_OTHERS.where(_lost.c.id.in_({row.worker_id for row in lost}))
    uncharged = connection.execute(together, {"half_lease": lease_seconds / 2}).scalars()
    return lifecycle.take_back(connection, lost, uncharged=set(uncharged))


def _expire(connection: Connection) -> int:
    overdue = select(_R.id).where(*_PAST_DEADLINE).limit(BATCH).with_for_update(skip_locked=True)
    return lifecycle.expire(connection, connection.execute(overdue).scalars().all())


def _due_hints(connection: Connection) -> list[UUID]:
    due = (
        select(_R.id)
        .where(_R.id.in_(select(_HINTS_DUE.c.id)), _is(Status.QUEUED))
        .order_by(_R.available_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    sent = (
        update(chat_request)
        .where(_R.id == due.c.id)
        .values(dispatched_at=_NOW, dispatches=case((_R.dispatched_at.is_(None), 0), else_=_R.dispatches + 1))
        .returning(_R.id)
    )
    return list(connection.execute(sent).scalars())


class Ticker:
    """The thread that ticks in one process.

    `resend` gets each request whose hint is due; it must not block. `best_text` gets the (request, attempt) of a stop
    that no worker answered; it returns the longest partial text that this process finds, or None for the checkpoint. A
    process without `best_text` (a worker) leaves such stops to web. `last_tick` returns the time of the last tick, by
    anyone, that this process has seen, on the monotonic clock and not too late.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        resend: Callable[[UUID], Any],
        best_text: Callable[[UUID, int], str | None] | None,
        last_tick: Callable[[], float] = lambda: -math.inf,
    ) -> None:
        self._engine, self._settings = engine, settings
        self._resend, self._best_text, self._last_tick = resend, best_text, last_tick
        #: When this process's own last tick ended.
        self._own_tick_at = -math.inf
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; wait up to 5 s for the running tick."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        away = False
        while not self._stopping.wait(self._settings.tick_seconds):
            began = time.monotonic()
            try:
                self._tick()
                away = False
            except Unavailable:
                if not away:
                    log.warning("reconciler: Postgres does not answer")
                away = True
                self._stopping.wait(self._settings.tick_seconds)
            except Exception:
                log.exception("reconciler: a tick failed")
            metrics.TICK_SECONDS.observe(time.monotonic() - began)

    def _tick(self) -> None:
        settings, now = self._settings, time.monotonic()
        # A worker trusts its renewals: it asks nothing while they see another process tick.
        if (
            self._best_text is None
            and self._is_anothers(self._last_tick())
            and now < self._last_tick() + settings.renew_seconds
        ):
            return
        seen = glance(self._engine, stop_patience_seconds=settings.stop_patience_seconds)
        repairs: Repairs | None = Repairs(unanswered=seen.unanswered)
        is_another_ticking = (
            seen.ticked_ago is not None
            and seen.ticked_ago < TAKE_OVER * settings.tick_seconds
            and self._is_anothers(now - seen.ticked_ago)
        )
        if not is_another_ticking:
            repairs = tick(
                self._engine,
                stop_patience_seconds=settings.stop_patience_seconds,
                lease_seconds=settings.lease_seconds,
            )
        if repairs is None:
            return
        if not is_another_ticking:
            self._own_tick_at = time.monotonic()
        metrics.EXPIRED_LEASES.inc(repairs.lost_workers)
        metrics.TAKEN_BACK.inc(repairs.taken_back)
        for request_id in repairs.resend:
            self._resend(request_id)
        if self._best_text is not None:
            for request_id, attempt in repairs.unanswered:
                self._carry_out_stop(request_id, attempt, self._best_text(request_id, attempt))

    def _is_anothers(self, tick_at: float) -> bool:
        """Whether another process has ticked since this one; `tick_at` is not later than the last tick."""
        return tick_at > self._own_tick_at

    def _carry_out_stop(self, request_id: UUID, attempt: int, text: str | None) -> None:
        lifecycle.cancel_unanswered(
            self._engine,
            request_id,
            attempt=attempt,
            patience_seconds=self._settings.stop_patience_seconds,
            text=text,
        )
