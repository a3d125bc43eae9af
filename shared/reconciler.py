"""The reconciler: what every web and worker process does each half second to repair what was lost.

It repairs, it does not schedule: marks workers whose lease ran out and takes back their requests, ends what is past its
deadline, carries out stops that no worker answered, and names the requests whose hint should be sent again. One tick is
one short transaction under a transaction-long advisory lock: a lock of a whole session would survive in a frozen
process and stop everything. The verbs themselves are in `lifecycle/`.
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

from sqlalchemy import Connection, Engine, case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import lifecycle, metrics
from shared.database import transaction
from shared.errors import Unavailable
from shared.settings import Settings
from shared.tables import ACTIVE, Status, chat_request, reconciler_tick, worker

log = logging.getLogger(__name__)

_NOW = func.clock_timestamp()
_R = chat_request.c
#: "naru" on a telephone's keys and 1: the tick's own advisory lock.
ADVISORY_LOCK = 62781
#: A gap between anyone's ticks, or a restart of Postgres, proves that leases could not be renewed: nobody is marked
#: lost for the mercy time after it.
GAP_SECONDS = 2.0
MERCY_SECONDS = 3.0
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


def tick(engine: Engine, *, stop_patience_seconds: float) -> Repairs | None:
    """One tick; None when another process is at it. Raises Unavailable."""
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '2s'"))
        if not connection.execute(select(func.pg_try_advisory_xact_lock(ADVISORY_LOCK))).scalar_one():
            return None
        repairs = Repairs()
        if not _in_mercy(connection):
            repairs.lost_workers = _mark_lost(connection)
        repairs.taken_back = _take_back(connection)
        repairs.expired = _expire(connection)
        repairs.unanswered = _unanswered_stops(connection, stop_patience_seconds)
        repairs.resend = _due_hints(connection)
        return repairs


def _in_mercy(connection: Connection) -> bool:
    """Note this tick; whether leases prove nothing at present."""
    t = reconciler_tick.c
    gap = func.extract("epoch", _NOW - t.ticked_at)
    forgiven = _NOW + timedelta(seconds=MERCY_SECONDS)
    statement = upsert(reconciler_tick).values(id=1, mercy_until=forgiven)
    row = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[t.id],
            set_={
                "ticked_at": _NOW,
                "gap_seconds": gap,
                "mercy_until": case((gap > GAP_SECONDS, forgiven), else_=t.mercy_until),
            },
        ).returning(t.mercy_until > _NOW, _NOW - func.pg_postmaster_start_time() < timedelta(seconds=MERCY_SECONDS))
    ).one()
    return bool(row[0] or row[1])


def _mark_lost(connection: Connection) -> int:
    w = worker.c
    marked = connection.execute(
        update(worker)
        .where(w.lost_at.is_(None), w.lease_expires_at < _NOW)
        .values(lost_at=_NOW)
        .returning(w.id, w.host)
    ).all()
    for row in marked:
        log.warning("worker lost", extra={"worker_id": str(row.id), "worker_host": row.host})
    return len(marked)


def _take_back(connection: Connection) -> int:
    """Of every lost worker, not only of those marked just now: a claim may have committed beside the marking.

    All at once: who is charged with the loss is found by comparing all that a worker ran.
    """
    lost = connection.execute(
        select(_R.id, _R.worker_id, _R.losses, _R.stop_requested_at)
        .where(_R.status == Status.RUNNING, _R.worker_id.in_(select(worker.c.id).where(worker.c.lost_at.is_not(None))))
        .with_for_update(skip_locked=True)
    ).all()
    return lifecycle.take_back(connection, lost) if lost else 0


def _expire(connection: Connection) -> int:
    due = connection.execute(
        select(_R.id)
        .where(_R.status.in_(ACTIVE), _R.deadline_at <= _NOW)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).scalars()
    return sum(lifecycle.expire(connection, request_id) for request_id in due)


def _unanswered_stops(connection: Connection, patience_seconds: float) -> list[tuple[UUID, int]]:
    rows = connection.execute(
        select(_R.id, _R.attempt)
        .where(_R.status == Status.RUNNING, _R.stop_requested_at < _NOW - timedelta(seconds=patience_seconds))
        .limit(BATCH)
    )
    return [(row.id, row.attempt) for row in rows]


def _due_hints(connection: Connection) -> list[UUID]:
    """Queued requests whose hint was never sent, or sent so long ago that it may be lost: 5·2ⁿ s, at most 60."""
    waited = func.least(LAST_RESEND_SECONDS, FIRST_RESEND_SECONDS * func.power(2, func.least(_R.dispatches, 6)))
    overdue = _R.dispatched_at < _NOW - waited * timedelta(seconds=1)
    due = (
        select(_R.id)
        .where(_R.status == Status.QUEUED, _R.available_at <= _NOW, or_(_R.dispatched_at.is_(None), overdue))
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
