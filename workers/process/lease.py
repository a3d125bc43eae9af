"""The lease thread: keeps this process's right to its answers, over its own connection.

It renews the lease, receives stops, writes checkpoints, and announces that the worker drains. It does not renew while
the event loop is stalled: a process that cannot stream must lose its answers to one that can. If the worker was
marked lost, it drops the process's streams and registers again.

Its waits for Postgres are shorter than those of other threads, so that it is back soon after an outage. Where Postgres
refuses it a connection, it renews over an idle one of the process's pool.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from shared import fleet, lifecycle
from shared.errors import NaruError
from shared.fleet import LEASE_PATIENCE_SECONDS, LEASE_RETRY_SECONDS, Member
from shared.lifecycle import lanes
from shared.lifecycle.rates import Rate
from shared.postgres import capacity, connections, notify
from shared.postgres.database import is_outage, make_listening_engine, statement
from workers.process import membership
from workers.process.checkpoints import Checkpoints
from workers.process.context import Context
from workers.process.running import Interruption

log = logging.getLogger(__name__)


class LeaseThread:
    """The lease thread.

    `on_request` is called for each notification of a queued request; `on_lanes` when the lanes of this process change;
    `on_drain` once, when an administrator asks this worker to drain.
    """

    def __init__(
        self,
        context: Context,
        *,
        on_request: Callable[[], None],
        on_lanes: Callable[[], None] = lambda: None,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._context, self._on_request, self._on_lanes, self._on_drain = context, on_request, on_lanes, on_drain
        self._engine: Engine = make_listening_engine(context.settings, name="naru-worker-lease")
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._checkpoints = Checkpoints(context)
        #: The running rows without an answer here, and when a round first missed them, on the monotonic clock.
        self._missing_since: dict[tuple[UUID, int], float] = {}
        #: The answers here without a running row, likewise.
        self._taken_since: dict[tuple[UUID, int], float] = {}
        self._hears_requests = False
        self._is_on_pool = False
        self._has_checked_capacity = False
        #: The providers and limits of which this process has set the lanes.
        self._registered: tuple[tuple[str, ...], Mapping[str, int], Mapping[str, Rate]] | None = None
        #: When this process set the lanes, until it has moved the requests that were stored meanwhile.
        self._registered_at: float | None = None

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
        connections.limit_waits_of_this_thread(LEASE_PATIENCE_SECONDS)
        while not self._closing.is_set():
            try:
                self._keep()
            except Exception as error:
                if not (is_outage(error) or isinstance(error, NaruError)):
                    log.exception("lease: a round failed")
                elif not vitals.is_postgres_away:
                    log.warning("lease: Postgres does not answer", extra=_described(error))
                vitals.is_postgres_away = True
            vitals.lease_turned_at = time.monotonic()
            self._closing.wait(LEASE_RETRY_SECONDS)

    def _keep(self) -> None:
        """Keep the lease until the connection breaks; without a connection, for one round."""
        try:
            connection = self.connect()
        except OperationalError as error:
            if isinstance(error.orig, connections.ServerSilent):
                raise  # the pool's connections would be silent, too
            self._keep_over_pool(error)
            return
        self._is_on_pool = False
        with connection:
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

    def _keep_over_pool(self, refusal: OperationalError) -> None:
        """Do one round over an idle connection of the pool. Raise `refusal` if the pool has none.

        Postgres may refuse a connection because all are taken, while this process's pool holds some that it needs less.
        """
        engine = self._context.engine
        if not isinstance(engine.pool, QueuePool) or not engine.pool.checkedin():
            raise refusal
        if self._context.member is None:
            self._register(engine)
        with statement(engine) as connection:
            self.renew(connection, can_listen=False)
            member = self._context.member
            if member is not None and time.monotonic() >= self._checkpoints.due_at:
                self._checkpoints.write(connection, member.worker_id)
        if not self._is_on_pool:
            log.warning("lease: Postgres refuses a connection; the pool's are used", extra=_described(refusal))
            self._is_on_pool = True

    def renew(self, connection: Connection, *, can_listen: bool = True) -> None:
        """Do one round: register or renew, write changes, and compare the rows with the running answers."""
        context, began = self._context, time.monotonic()
        member = context.member or self._register(self._engine)
        stalled_seconds = context.loop.stalled_seconds()
        if stalled_seconds > context.settings.stall_seconds:
            log.error("the event loop stands still: the lease is not renewed")
            return
        consumed = time.monotonic() - context.vitals.consumed_at < context.settings.broker_silence_seconds
        # The lease counts from the loop's last tick: a stalled loop loses its answers as soon as a frozen process does.
        lease_seconds = context.settings.lease_seconds - stalled_seconds
        free = {} if context.draining.is_set() else context.running.room()
        asked_at = time.monotonic()
        renewal = fleet.renew(connection, member.worker_id, lease_seconds=lease_seconds, consumed=consumed, free=free)
        if renewal is None:
            self._become_lost()
            return
        if renewal.ticked_ago is not None:
            context.vitals.last_tick_at = asked_at - renewal.ticked_ago
        self._register_lanes(connection.engine)
        offering = membership.with_current_models(context, member)
        if offering is not member and context.member is member:
            fleet.offer(connection, offering)
            context.member = offering  # after the row: a model is claimed only once the row has it
        self._serve_lanes(offering, renewal.lanes)
        self._drain_if_asked(connection, member, is_asked=renewal.is_drain_requested)
        if can_listen:
            self._hear_requests(connection, wanted=context.is_redis_away())
        self._carry_out_stops(renewal.running)
        self._give_back_missing(renewal.running, member.worker_id, engine=connection.engine, now=began)
        self._drop_taken(renewal.running, now=began)
        if not context.publisher.healthy:
            self._checkpoints.hurry()
        if context.vitals.is_postgres_away:
            context.vitals.is_postgres_away = False
            log.info("lease: Postgres is back")
        if can_listen:
            self._move_late_requests(connection.engine)

    def _drain_if_asked(self, connection: Connection, member: Member, *, is_asked: bool) -> None:
        draining = self._context.draining
        if is_asked and not draining.is_set():
            log.info("an administrator asks this worker to drain")
            self._on_drain()
        if draining.is_set():
            fleet.start_draining(connection, member.worker_id)

    def _serve_lanes(self, member: Member, known: frozenset[str]) -> None:
        """Find the lanes of this worker's models: the limits of newer workers may have added some."""
        served = frozenset(lanes.lane_of(model.name, known) for model in member.models)
        if served != self._context.running.lanes:
            self._context.running.lanes = served
            self._on_lanes()
            self.wake()  # the next round tells how many answers of each lane this process can take

    def _move_late_requests(self, engine: Engine) -> None:
        """Move the questions that were being stored while this process set the lanes."""
        at = self._registered_at
        if at is not None and time.monotonic() - at >= self._context.settings.renew_seconds:
            lanes.move_requests(engine)
            self._registered_at = None

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

    def _carry_out_stops(self, rows: Mapping[tuple[UUID, int], bool]) -> None:
        """Stop the answers whose notice was missed."""
        for (request_id, _), stopped in rows.items():
            if stopped:
                self._context.running.stop(request_id)

    def _give_back_missing(
        self, rows: Mapping[tuple[UUID, int], bool], worker_id: UUID, *, engine: Engine, now: float
    ) -> None:
        """Give back each request whose row is `running`, but which two rounds did not find in this process.

        One round may fall between a claim's commit and the entry in `running`. `wake` may start the next one within
        milliseconds, so the two must be a full renewal apart.
        """
        here = {(each.claimed.request_id, each.claimed.attempt) for each in self._context.running.answers()}
        self._missing_since = {key: self._missing_since.get(key, now) for key in rows.keys() - here}
        for (request_id, attempt), since in list(self._missing_since.items()):
            if now - since < self._context.settings.renew_seconds:
                continue
            log.error(
                "request is marked running but not in this process; requeued", extra={"request_id": str(request_id)}
            )
            lifecycle.give_back(engine, request_id, attempt=attempt, worker_id=worker_id)
            del self._missing_since[request_id, attempt]

    def _drop_taken(self, rows: Mapping[tuple[UUID, int], bool], *, now: float) -> None:
        """End each answer that two rounds did not find among this worker's rows: an administrator took its request.

        One round may fall between the end of a request and that of its entry in `running`.
        """
        here = {(each.claimed.request_id, each.claimed.attempt): each for each in self._context.running.answers()}
        self._taken_since = {key: self._taken_since.get(key, now) for key in here.keys() - rows.keys()}
        for key, since in self._taken_since.items():
            if now - since >= self._context.settings.renew_seconds:
                here[key].interrupt(Interruption.LOST)

    def _register(self, engine: Engine) -> Member:
        member = membership.new_member(self._context)
        self._registered = None
        self._register_lanes(engine)
        fleet.register(engine, member, lease_seconds=self._context.settings.lease_seconds)
        self._context.member = member
        log.info("registered", extra={"worker_id": str(member.worker_id), "slots": member.slots})
        if not self._has_checked_capacity:
            self._has_checked_capacity = True
            capacity.warn_of_few_connections(self._context.engine, self._context.settings)
        return member

    def _register_lanes(self, engine: Engine) -> None:
        """Set the lanes at the start, and when providers.toml has changed the providers or their limits."""
        wanted = (self._context.registry.configured(), self._context.limits, self._context.registry.rates())
        if wanted == self._registered:
            return
        lanes.register(engine, *wanted)
        self._registered, self._registered_at = wanted, time.monotonic()

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


def _described(error: Exception) -> dict[str, str]:
    """Return the error for the log, with Postgres's words when it refused a connection: they hold no row."""
    words = str(error.orig).strip() if isinstance(error, OperationalError) and error.statement is None else ""
    return {"error": type(error).__name__, **({"reason": words} if words else {})}
