"""The reconciler: repairs that every web and worker process runs every half second.

It only repairs; it does not schedule. A tick marks workers lost whose lease ran out, takes back their requests, ends
requests past their deadline, carries out stops that no worker answered, and counts the hints that each lane needs.

One tick is one short transaction under an advisory lock that ends with it. A session lock would outlive the tick in a
frozen process and block all others. A worker skips its tick when any process has just ticked, so a large fleet
does not tick more often than a small one. The verbs are in `lifecycle/`.
"""

from __future__ import annotations

import logging
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
    Engine,
    Float,
    Interval,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import lifecycle, metrics
from shared.errors import Unavailable
from shared.lifecycle import overlooked
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from shared.tables import Status, chat_request, lane, reconciler_tick, worker

log = logging.getLogger(__name__)

_NOW = func.clock_timestamp()
_R = chat_request.c
#: The advisory lock of the tick: "naru" on a phone keypad, then 1.
ADVISORY_LOCK = 62781
#: After a gap in all ticks, or a restart of Postgres, workers had no chance to renew. No worker is marked lost for the
#: mercy time that follows.
GAP_SECONDS = 2.0
MERCY_SECONDS = 3.0
#: A tick counts as recent for this share of the tick interval.
JUST_NOW = 0.9
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
#: The condition of each repair. `_FIND_REPAIRS` tests them in one round trip: most ticks find nothing.
_LEASE_EXPIRED = (worker.c.lost_at.is_(None), worker.c.lease_expires_at < _NOW)
_ON_LOST_WORKER = (_is(Status.RUNNING), _R.worker_id.in_(select(worker.c.id).where(worker.c.lost_at.is_not(None))))
_PAST_DEADLINE = (or_(_is(Status.QUEUED), _is(Status.RUNNING)), _R.deadline_at <= _NOW)
_STOP_UNANSWERED = (_is(Status.RUNNING), _R.stop_requested_at < _NOW - bindparam("patience", type_=Float) * _SECOND)
_WITHOUT_LANE = (or_(_is(Status.QUEUED), _is(Status.RUNNING)), _R.lane == "")
_BEGAN = func.statement_timestamp()
_OVERLOOKED = (
    _is(Status.QUEUED),
    _R.available_at <= _BEGAN - cast(literal(f"{overlooked.OVERLOOKED_SECONDS} s"), Interval),
)
_LONG_OVERLOOKED = (_is(Status.QUEUED), _R.available_at <= _BEGAN - bindparam("unserved", type_=Float) * _SECOND)
_FIND_REPAIRS = prepared(
    select(
        exists().where(*_LEASE_EXPIRED).label("lease_expired"),
        exists().where(*_ON_LOST_WORKER).label("on_lost_worker"),
        exists().where(*_PAST_DEADLINE).label("past_deadline"),
        exists().where(*_STOP_UNANSWERED).label("stop_unanswered"),
        exists().where(*_WITHOUT_LANE).label("without_lane"),
        exists().where(*_OVERLOOKED).label("overlooked"),
        exists().where(lane.c.is_full).label("full"),
        exists().where(*_LONG_OVERLOOKED).label("long_overlooked"),
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
_NEW_MERCY_UNTIL = _NOW + timedelta(seconds=MERCY_SECONDS)
_RECORD_TICK = prepared(
    upsert(reconciler_tick)
    .values(id=1, mercy_until=_NEW_MERCY_UNTIL)
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
            _NOW - func.pg_postmaster_start_time() < timedelta(seconds=MERCY_SECONDS),
        ).label("in_mercy")
    )
)
_JUST_TICKED = prepared(
    select(exists().where(reconciler_tick.c.ticked_at > _NOW - bindparam("seconds", type_=Float) * _SECOND))
)


def just_ticked(engine: Engine, *, seconds: float) -> bool:
    """Whether any process has ticked within this time. Raises Unavailable."""
    with statement(engine) as connection:
        return bool(connection.execute(_JUST_TICKED, {"seconds": seconds}).scalar_one())


def tick(
    engine: Engine,
    *,
    stop_patience_seconds: float,
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
        repairs, patience = Repairs(), {"patience": stop_patience_seconds, "unserved": unserved_seconds}
        # Recorded even when nothing is due. In the mercy time no worker is marked lost.
        in_mercy = connection.execute(_RECORD_TICK).scalar_one()
        due = connection.execute(_FIND_REPAIRS, patience).one()
        if due.lease_expired and not in_mercy:
            repairs.lost_workers = _mark_lost(connection)
        if due.on_lost_worker or repairs.lost_workers:
            repairs.taken_back = _take_back(connection)
        if due.past_deadline:
            repairs.expired = _expire(connection)
        if due.stop_unanswered:
            repairs.unanswered = _unanswered_stops(connection, patience)
        if due.long_overlooked:
            repairs.unserved = overlooked.fail_unserved(connection, unserved_seconds)
        if due.without_lane:
            overlooked.adopt(connection)
        if due.overlooked or due.full:
            overlooked.note_full_queues(connection, most=queue_questions)
        if due.overlooked:
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


def _take_back(connection: Connection) -> int:
    """Take back the requests of all lost workers, because a claim may commit after its worker was marked.

    They are taken back together: the loss is charged by comparing all requests of one worker.
    """
    lost = connection.execute(
        select(_R.id, _R.worker_id, _R.losses, _R.stop_requested_at)
        .where(*_ON_LOST_WORKER)
        .with_for_update(skip_locked=True)
    ).all()
    return lifecycle.take_back(connection, lost) if lost else 0


def _expire(connection: Connection) -> int:
    due = connection.execute(
        select(_R.id).where(*_PAST_DEADLINE).limit(BATCH).with_for_update(skip_locked=True)
    ).scalars()
    return sum(lifecycle.expire(connection, request_id) for request_id in due)


def _unanswered_stops(connection: Connection, patience: dict[str, float]) -> list[tuple[UUID, int]]:
    rows = connection.execute(select(_R.id, _R.attempt).where(*_STOP_UNANSWERED).limit(BATCH), patience)
    return [(row.id, row.attempt) for row in rows]


class Ticker:
    """The thread that ticks in one process.

    `resend` gets a lane and the number of hints that should wait for it; it must not block. `best_text` gets the
    (request, attempt) of a stop that no worker answered; it returns the longest partial text that this process finds,
    or None for the checkpoint. A process without `best_text` (a worker) leaves such stops to web.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        resend: Callable[[str, int], Any],
        best_text: Callable[[UUID, int], str | None] | None,
    ) -> None:
        self._engine, self._settings = engine, settings
        self._resend, self._best_text = resend, best_text
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
        # Web never skips: it learns of unanswered stops from its own ticks only.
        if self._best_text is None and just_ticked(self._engine, seconds=JUST_NOW * self._settings.tick_seconds):
            return
        repairs = tick(
            self._engine,
            stop_patience_seconds=self._settings.stop_patience_seconds,
            owner_running=self._settings.owner_running_questions,
            queue_questions=self._settings.queue_questions,
            unserved_seconds=self._settings.unserved_seconds,
        )
        if repairs is None:
            return
        metrics.EXPIRED_LEASES.inc(repairs.lost_workers)
        metrics.TAKEN_BACK.inc(repairs.taken_back)
        for name, hints in repairs.hints.items():
            self._resend(name, hints)
        if self._best_text is not None:
            for request_id, attempt in repairs.unanswered:
                self._carry_out_stop(request_id, attempt, self._best_text(request_id, attempt))

    def _carry_out_stop(self, request_id: UUID, attempt: int, text: str | None) -> None:
        lifecycle.cancel_unanswered(
            self._engine,
            request_id,
            attempt=attempt,
            patience_seconds=self._settings.stop_patience_seconds,
            text=text,
        )
