"""The reconciler: repairs that every web and worker process runs every half second.

It only repairs; it does not schedule. A tick marks workers lost whose lease ran out, takes back their requests, ends
requests past their deadline, carries out stops that no worker answered, and counts the hints that each lane needs.

A lease proves something only while Postgres can be reached: `mercy.py` says when none is marked lost.

One tick is one short transaction under an advisory lock that ends with it. A session lock would outlive the tick in a
frozen process and block all others. The process that ticked last ticks on and the others skip theirs, so a large fleet
does not tick more often than a small one. A tick costs what is due, not what waits or runs; of the requests that wait
it looks at a few of each lane (`lifecycle/overlooked.py`), and counts them up to NARU_QUEUE_QUESTIONS. The verbs are in
`lifecycle/`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Engine,
    Float,
    Interval,
    Select,
    bindparam,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)

from shared import lifecycle, mercy, metrics
from shared.errors import Unavailable
from shared.lifecycle import overlooked
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from shared.tables import Outcome, Status, chat_request, lane, reconciler_tick, request_attempt, worker

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
#: The process that ticked last ticks on. Another takes over when it has not ticked for this many tick intervals.
TAKE_OVER = 2.0
#: A worker that was lost this long before the last tick has no request left: the last claims have committed, and a
#: tick has taken them back.
SETTLED_SECONDS = 60.0
BATCH = 500


@dataclass(slots=True)
class Repairs:
    """The result of one tick.

    `hints` is the number of hints that should wait for each lane; `unanswered` lists the (request, attempt) of stops to
    carry out.
    """

    lost_workers: int = 0
    taken_back: int = 0
    expired: int = 0
    unserved: int = 0
    hints: dict[str, int] = field(default_factory=dict)
    unanswered: list[tuple[UUID, int]] = field(default_factory=list)


def _is(status: Status) -> ColumnElement[bool]:
    return _R.status == bindparam(None, status.value, literal_execute=True)


_SECOND = cast(literal("1 second"), Interval)
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
# In the text: an index begins with the lane.
_WITHOUT_LANE = _R.lane == literal_column("''")
_OVERLOOKED_SECONDS = cast(literal(f"{overlooked.OVERLOOKED_SECONDS} s"), Interval)
_OVERLOOKED = (_is(Status.QUEUED), _R.available_at <= _AS_OF - _OVERLOOKED_SECONDS)
_LONG_OVERLOOKED = (_is(Status.QUEUED), _R.available_at <= _AS_OF - bindparam("unserved", type_=Float) * _SECOND)


def _is_any(conditions: tuple[ColumnElement[bool], ...], *, by: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a row meets the conditions. Looks along the index of `by`.

    EXISTS would read the table where Postgres expects to meet such a row soon, and there is mostly none.
    """
    found: Select[Any] = select(literal_column("1")).where(*conditions).order_by(by).limit(1)
    return found.scalar_subquery().is_not(None)


_FIND_REPAIRS = prepared(
    select(
        _is_any(_LEASE_EXPIRED, by=worker.c.lease_expires_at).label("lease_expired"),
        _is_any(_ON_LOST_WORKER, by=_R.worker_id).label("on_lost_worker"),
        _is_any(_PAST_DEADLINE, by=_R.deadline_at).label("past_deadline"),
        _is_any(_STOP_UNANSWERED, by=_R.stop_requested_at).label("stop_unanswered"),
        or_(
            _is_any((_is(Status.QUEUED), _WITHOUT_LANE), by=_R.fair_at),
            _is_any((_is(Status.RUNNING), _WITHOUT_LANE), by=_R.lane),
        ).label("without_lane"),
        _is_any(_OVERLOOKED, by=_R.available_at).label("overlooked"),
        _is_any(_LONG_OVERLOOKED, by=_R.available_at).label("long_overlooked"),
        exists().where(lane.c.is_full).label("full"),
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
_TICKED = select(
    select(func.extract("epoch", _NOW - reconciler_tick.c.lanes_ticked_at).cast(Double)).scalar_subquery().label("ago")
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


def tick(
    engine: Engine,
    *,
    stop_patience_seconds: float,
    lease_seconds: float,
    owner_running: int = 0,
    queue_questions: int = 0,
    unserved_seconds: float = 600.0,
) -> Repairs | None:
    """Run one tick; return None if another process holds the lock. Raises Unavailable.

    `owner_running` is the most answers of one owner at once, `queue_questions` the most questions that wait in a lane;
    0 means no limit.
    """
    with transaction(engine) as connection:
        if not connection.execute(_TAKE_LOCK).one().is_locked:
            return None
        # Recorded even when nothing is due. In the mercy time no worker is marked lost.
        ticked = mercy.record_tick(connection, lease_seconds)
        values = {
            "patience": stop_patience_seconds,
            "lost_within": ticked.gap_seconds + SETTLED_SECONDS,
            "unserved": unserved_seconds,
        }
        repairs, due = Repairs(), connection.execute(_FIND_REPAIRS, values).one()
        in_mercy = ticked.in_mercy
        # Lost workers first: each of the following repairs is one statement, however much is due.
        if due.lease_expired and not mercy.forgives_silence(connection, lease_seconds, is_new=not in_mercy):
            repairs.lost_workers = 0 if in_mercy else _mark_lost(connection)
        if due.on_lost_worker or repairs.lost_workers:
            repairs.taken_back = _take_back(connection, values, lease_seconds)
        if due.past_deadline:
            repairs.expired = _expire(connection)
        if due.stop_unanswered:
            found = connection.execute(_UNANSWERED_STOPS, values)
            repairs.unanswered = [(row.id, row.attempt) for row in found]
        if due.long_overlooked:
            repairs.unserved = overlooked.fail_unserved(connection, unserved_seconds)
        if due.without_lane:
            overlooked.adopt(connection)
        if due.overlooked or due.full:
            overlooked.note_full_queues(connection, most=queue_questions)
        if due.overlooked or repairs.taken_back:
            repairs.hints = overlooked.hints(connection, owner_running)
        return repairs


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
    together mostly have a common cause outside them, so their requests are not charged at first.
    """
    a = request_attempt.c
    lost_before = select(func.count()).where(a.request_id == _R.id, a.outcome == Outcome.LOST).scalar_subquery()
    lost = connection.execute(
        select(_R.id, _R.worker_id, _R.losses, _R.stop_requested_at, lost_before.label("lost_before"))
        .where(*_ON_LOST_WORKER)
        .with_for_update(skip_locked=True),
        values,
    ).all()
    if not lost:
        return 0
    uncharged = mercy.lost_together(connection, {row.worker_id for row in lost}, lease_seconds)
    return lifecycle.take_back(connection, lost, uncharged=uncharged)


def _expire(connection: Connection) -> int:
    overdue = select(_R.id).where(*_PAST_DEADLINE).limit(BATCH).with_for_update(skip_locked=True)
    return lifecycle.expire(connection, connection.execute(overdue).scalars().all())


class Ticker:
    """The thread that ticks in one process.

    `resend` gets a lane and the number of hints that should wait for it; it must not block. `best_text` gets the
    (request, attempt) of a stop that no worker answered; it returns the longest partial text that this process finds,
    or None for the checkpoint. A process without `best_text` (a worker) leaves such stops to web. `last_tick` returns
    the time of the last tick, by anyone, that this process has seen, on the monotonic clock and not too late.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        resend: Callable[[str, int], Any],
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
                owner_running=settings.owner_running_questions,
                queue_questions=settings.queue_questions,
                unserved_seconds=settings.unserved_seconds,
            )
        if repairs is None:
            return
        if not is_another_ticking:
            self._own_tick_at = time.monotonic()
        metrics.EXPIRED_LEASES.inc(repairs.lost_workers)
        metrics.TAKEN_BACK.inc(repairs.taken_back)
        for name, hints in repairs.hints.items():
            self._resend(name, hints)
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
