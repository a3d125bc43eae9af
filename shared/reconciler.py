"""The reconciler: what every web and worker process does each half second to repair what was lost.

It repairs, it does not schedule: marks workers whose lease ran out and takes back their requests, ends what is past its
deadline, carries out stops that no worker answered, and names the requests whose hint should be sent again. One tick is
one short transaction under a transaction-long advisory lock: a lock of a whole session would survive in a frozen
process and stop everything. A worker leaves its tick out when anybody has just ticked, so a large fleet does not tick
more than a small one. The verbs themselves are in `lifecycle/`.
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
from shared.postgres.database import statement, transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from shared.tables import Status, chat_request, reconciler_tick, worker

log = logging.getLogger(__name__)

_NOW = func.clock_timestamp()
_R = chat_request.c
#: "naru" on a telephone's keys and 1: the tick's own advisory lock.
ADVISORY_LOCK = 62781
#: A gap between anyone's ticks, or a restart of Postgres, proves that leases could not be renewed: nobody is marked
#: lost for the mercy time after it.
GAP_SECONDS = 2.0
MERCY_SECONDS = 3.0
#: A tick counts as just done for this share of the time between two.
JUST_NOW = 0.9
BATCH = 500
FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS = 5.0, 60.0


@dataclass(slots=True)
class Repairs:
    """What one tick did. `resend` are the requests whose hint is to be sent now."""

    lost_workers: int = 0
    taken_back: int = 0
    expired: int = 0
    resend: list[UUID] = field(default_factory=list)
    unanswered: list[tuple[UUID, int]] = field(default_factory=list)


def _is(status: Status) -> ColumnElement[bool]:
    return _R.status == bindparam(None, status.value, literal_execute=True)


_SECOND = cast(literal("1 second"), Interval)
#: What each repair is for. `_LOOK` asks of all of them in one round trip: mostly there is nothing to repair.
_RAN_OUT = (worker.c.lost_at.is_(None), worker.c.lease_expires_at < _NOW)
_OF_THE_LOST = (_is(Status.RUNNING), _R.worker_id.in_(select(worker.c.id).where(worker.c.lost_at.is_not(None))))
_EXPIRED = (or_(_is(Status.QUEUED), _is(Status.RUNNING)), _R.deadline_at <= _NOW)
_UNANSWERED = (_is(Status.RUNNING), _R.stop_requested_at < _NOW - bindparam("patience", type_=Float) * _SECOND)
# A hint that was never sent, or so long ago that it may be lost: 5·2ⁿ s, at most 60.
_WAITED = func.least(LAST_RESEND_SECONDS, FIRST_RESEND_SECONDS * func.power(2, func.least(_R.dispatches, 6)))
_UNHINTED = (
    _is(Status.QUEUED),
    _R.available_at <= _NOW,
    or_(_R.dispatched_at.is_(None), _R.dispatched_at < _NOW - _WAITED * _SECOND),
)
_LOOK = prepared(
    select(
        exists().where(*_RAN_OUT).label("ran_out"),
        exists().where(*_OF_THE_LOST).label("of_the_lost"),
        exists().where(*_EXPIRED).label("expired"),
        exists().where(*_UNANSWERED).label("unanswered"),
        exists().where(*_UNHINTED).label("unhinted"),
    )
)

# A tick that is lost with Postgres is made again, and what was built on it was committed after it, and keeps it.
_ALONE = prepared(
    text(
        f"""
        SELECT set_config('idle_in_transaction_session_timeout', '2s', true),
               set_config('synchronous_commit', 'off', true),
               pg_try_advisory_xact_lock({ADVISORY_LOCK}) AS alone
        """
    )
)
_GAP = func.extract("epoch", _NOW - reconciler_tick.c.ticked_at)
_FORGIVEN = _NOW + timedelta(seconds=MERCY_SECONDS)
_NOTE = prepared(
    upsert(reconciler_tick)
    .values(id=1, mercy_until=_FORGIVEN)
    .on_conflict_do_update(
        index_elements=[reconciler_tick.c.id],
        set_={
            "ticked_at": _NOW,
            "gap_seconds": _GAP,
            "mercy_until": case((_GAP > GAP_SECONDS, _FORGIVEN), else_=reconciler_tick.c.mercy_until),
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
    """Whether anybody has ticked within this time. Raises Unavailable."""
    with statement(engine) as connection:
        return bool(connection.execute(_JUST_TICKED, {"seconds": seconds}).scalar_one())


def tick(engine: Engine, *, stop_patience_seconds: float) -> Repairs | None:
    """One tick; None when another process is at it. Raises Unavailable."""
    with transaction(engine) as connection:
        if not connection.execute(_ALONE).one().alone:
            return None
        repairs, patience = Repairs(), {"patience": stop_patience_seconds}
        # Noted in any case; while leases prove nothing nobody is marked lost.
        in_mercy = connection.execute(_NOTE).scalar_one()
        due = connection.execute(_LOOK, patience).one()
        if due.ran_out and not in_mercy:
            repairs.lost_workers = _mark_lost(connection)
        if due.of_the_lost or repairs.lost_workers:
            repairs.taken_back = _take_back(connection)
        if due.expired:
            repairs.expired = _expire(connection)
        if due.unanswered:
            repairs.unanswered = _unanswered_stops(connection, patience)
        if due.unhinted or repairs.taken_back:
            repairs.resend = _due_hints(connection)
        return repairs


def _mark_lost(connection: Connection) -> int:
    w = worker.c
    marked = connection.execute(update(worker).where(*_RAN_OUT).values(lost_at=_NOW).returning(w.id, w.host)).all()
    for row in marked:
        log.warning("worker lost", extra={"worker_id": str(row.id), "worker_host": row.host})
    return len(marked)


def _take_back(connection: Connection) -> int:
    """Of every lost worker, not only of those marked just now: a claim may have committed beside the marking.

    All at once: who is charged with the loss is found by comparing all that a worker ran.
    """
    lost = connection.execute(
        select(_R.id, _R.worker_id, _R.losses, _R.stop_requested_at)
        .where(*_OF_THE_LOST)
        .with_for_update(skip_locked=True)
    ).all()
    return lifecycle.take_back(connection, lost) if lost else 0


def _expire(connection: Connection) -> int:
    due = connection.execute(select(_R.id).where(*_EXPIRED).limit(BATCH).with_for_update(skip_locked=True)).scalars()
    return sum(lifecycle.expire(connection, request_id) for request_id in due)


def _unanswered_stops(connection: Connection, patience: dict[str, float]) -> list[tuple[UUID, int]]:
    rows = connection.execute(select(_R.id, _R.attempt).where(*_UNANSWERED).limit(BATCH), patience)
    return [(row.id, row.attempt) for row in rows]


def _due_hints(connection: Connection) -> list[UUID]:
    due = (
        select(_R.id)
        .where(*_UNHINTED)
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

    `resend` is given each request whose hint is due (it must not block); `best_text` the (request, attempt) of a stop
    that no worker answered, and returns the best partial text that this process can find, or None for the checkpoint;
    a process without it (a worker) leaves such stops to web.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        resend: Callable[[UUID], Any],
        best_text: Callable[[UUID, int], str | None] | None,
    ) -> None:
        self._engine, self._settings = engine, settings
        self._resend, self._best_text = resend, best_text
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def close(self) -> None:
        """Stop ticking; waits for the tick under way."""
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
        # Web does not leave it to others: only its own ticks tell it of the stops that no worker answered.
        if self._best_text is None and just_ticked(self._engine, seconds=JUST_NOW * self._settings.tick_seconds):
            return
        repairs = tick(self._engine, stop_patience_seconds=self._settings.stop_patience_seconds)
        if repairs is None:
            return
        metrics.EXPIRED_LEASES.inc(repairs.lost_workers)
        metrics.TAKEN_BACK.inc(repairs.taken_back)
        for request_id in repairs.resend:
            self._resend(request_id)
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
