"""The lease thread: keeps this process's right to its answers, over its own connection.

It renews the lease, receives stops, writes checkpoints, and announces that the worker drains. It does not renew while
the event loop is stalled: a process that cannot stream must lose its answers to one that can. If the worker was
marked lost, it drops the process's streams and registers again.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from shared import fleet, lifecycle
from shared.errors import NaruError
from shared.fleet import Member
from shared.lifecycle import lanes
from shared.postgres import notify
from shared.postgres.database import is_outage, make_listening_engine
from workers.process import membership
from workers.process.checkpoints import Checkpoints
from workers.process.context import Context
from workers.process.running import Interruption

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class LeaseThread:
    """The lease thread.

    `on_request` is called for each notification of a queued request; `on_lanes` when the lanes of this process change.
    """

    def __init__(
        self, context: Context, *, on_request: Callable[[], None], on_lanes: Callable[[], None] = lambda: None
    ) -> None:
        self._context, self._on_request, self._on_lanes = context, on_request, on_lanes
        self._engine: Engine = make_listening_engine(context.settings, name="naru-worker-lease")
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._checkpoints = Checkpoints(context)
        self._missing: set[tuple[UUID, int]] = set()
        self._hears_requests = False

    def start(self) -> None:
        """Start the thread; it registers as soon as Postgres answers."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next round now, because something in this process changed."""
        os.write(self._wake_write, b"x")

    def close(self) -> None:
        """Stop the thread; the lease is not released but expires."""
        self._closing.set()
        self.wake()
        self._thread.join(timeout=5)
        self._engine.dispose()

    def _run(self) -> None:
        vitals = self._context.vitals
        while not self._closing.is_set():
            try:
                self._keep()
            except Exception as error:
                if not (is_outage(error) or isinstance(error, NaruError)):
                    log.exception("lease: a round failed")
                elif not vitals.is_postgres_away:
                    log.warning("lease: Postgres does not answer", extra={"error": type(error).__name__})
                vitals.is_postgres_away = True
                vitals.lease_turned_at = time.monotonic()
                self._closing.wait(RETRY_SECONDS)

    def _keep(self) -> None:
        with self.connect() as connection:
            connection.execute(text(f"LISTEN {notify.STOP}"))
            self._hears_requests = False
            round_at = 0.0
            while not self._closing.is_set():
                now = self._context.vitals.lease_turned_at = time.monotonic()
                if now >= round_at:
                    round_at = now + self._context.settings.renew_seconds
                    self.renew(connection)
                member = self._context.member
                if member is not None and now >= self._checkpoints.due_at:
                    self._checkpoints.write(connection, member.worker_id)
                if self.listen(connection, until=min(round_at, self._checkpoints.due_at)):
                    round_at = 0.0

    def connect(self) -> Connection:
        """Return a connection for `renew` and `listen`, in autocommit: a failed statement rolls back no other."""
        return self._engine.connect()

    def renew(self, connection: Connection) -> None:
        """Do one round: register or renew, write changes, and compare the rows with the running answers."""
        context = self._context
        member = context.member or self._register()
        stalled_seconds = context.loop.stalled_seconds()
        if stalled_seconds > context.settings.stall_seconds:
            log.error("the event loop stands still: the lease is not renewed")
            return
        consumed = time.monotonic() - context.vitals.consumed_at < context.settings.broker_silence_seconds
        # The lease counts from the loop's last tick: a stalled loop loses its answers as soon as a frozen process does.
        lease_seconds = context.settings.lease_seconds - stalled_seconds
        self._serve_lanes(connection, member)
        free = {} if context.draining.is_set() else context.running.room()
        if not fleet.renew(connection, member.worker_id, lease_seconds=lease_seconds, consumed=consumed, free=free):
            self._become_lost()
            return
        offering = membership.with_current_models(context, member)
        if offering is not member and context.member is member:
            fleet.offer(connection, offering)
            context.member = offering  # after the row: a model is claimed only once the row has it
        if context.draining.is_set():
            fleet.start_draining(connection, member.worker_id)
        self._hear_requests(connection, wanted=context.is_redis_away())
        self._compare(fleet.running_of(connection, member.worker_id), member.worker_id)
        if not context.publisher.healthy:
            self._checkpoints.hurry()
        if context.vitals.is_postgres_away:
            context.vitals.is_postgres_away = False
            log.info("lease: Postgres is back")

    def _serve_lanes(self, connection: Connection, member: Member) -> None:
        """Find the lanes of this worker's models: the limits of newer workers may have added some."""
        known = lanes.names(connection)
        served = frozenset(lanes.lane_of(model.name, known) for model in member.models)
        if served != self._context.running.lanes:
            self._context.running.lanes = served
            self._on_lanes()

    def _become_lost(self) -> None:
        """Interrupt every answer, so that it writes nothing more. The next round registers again."""
        answers = len(self._context.running.answers())
        log.warning("this worker was marked lost: its answers are taken over", extra={"answers": answers})
        self._context.member = None
        self._context.running.interrupt_all(Interruption.LOST)

    def _hear_requests(self, connection: Connection, *, wanted: bool) -> None:
        """Listen for new requests only while Redis is away.

        Otherwise each request would wake the lease thread of every worker and its connection in Postgres, just when the
        hint is on its way.
        """
        if wanted != self._hears_requests:
            connection.execute(text(f"{'LISTEN' if wanted else 'UNLISTEN'} {notify.REQUEST}"))
            self._hears_requests = wanted

    def _compare(self, rows: dict[tuple[UUID, int], bool], worker_id: UUID) -> None:
        """Carry out missed stops. Give back a request whose row is `running` if it has not run here for two rounds.

        A single round may fall between a claim's commit and the entry in `running`.
        """
        for (request_id, _), stopped in rows.items():
            if stopped:
                self._context.running.stop(request_id)
        here = {(each.claimed.request_id, each.claimed.attempt) for each in self._context.running.answers()}
        missing = rows.keys() - here
        for request_id, attempt in missing & self._missing:
            log.error(
                "request is marked running but not in this process; requeued", extra={"request_id": str(request_id)}
            )
            lifecycle.give_back(self._engine, request_id, attempt=attempt, worker_id=worker_id)
        self._missing = missing - self._missing

    def _register(self) -> Member:
        member = membership.new_member(self._context)
        lanes.register(self._engine, self._context.registry.configured(), self._context.limits)
        fleet.register(self._engine, member, lease_seconds=self._context.settings.lease_seconds)
        self._context.member = member
        log.info("registered", extra={"worker_id": str(member.worker_id), "slots": member.slots})
        return member

    def listen(self, connection: Connection, *, until: float) -> bool:
        """Handle notifications until `until`, on the monotonic clock. Return True when `wake` was called."""
        raw: Any = connection.connection.driver_connection
        while True:
            # Check before the first poll too: a notification may have come with the round's replies.
            while raw.notifies:
                self._handle(raw.notifies.pop(0))
            left = until - time.monotonic()
            if self._closing.is_set() or left <= 0:
                return False
            poller = select.poll()
            poller.register(raw.fileno(), select.POLLIN)
            poller.register(self._wake_read, select.POLLIN)
            ready = [descriptor for descriptor, _ in poller.poll(left * 1000)]
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                return True
            if ready:
                raw.poll()

    def _handle(self, raw: Any) -> None:
        notice = notify.parse(raw.channel, raw.payload)
        if notice is None:
            return
        if notice.channel == notify.STOP:
            self._context.running.stop(notice.request_id)
        else:
            self._on_request()
