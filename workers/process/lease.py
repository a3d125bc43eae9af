"""The lease thread: one thread with its own connection that keeps this process's right to its answers.

It renews the lease, hears of stops, has checkpoints written, and says that the worker drains. It does not renew when
the event loop stands still: a process that cannot stream must lose its answers to one that can. When the row was
marked lost, the process drops its streams and registers anew.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from shared import fleet, lifecycle
from shared.errors import NaruError
from shared.fleet import Member
from shared.postgres import notify
from shared.postgres.database import is_outage, make_listening_engine
from workers.process.checkpoints import Checkpoints

if TYPE_CHECKING:
    from workers.worker import Process

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class LeaseThread:
    """Renews, listens, checkpoints. `wake()` makes it look at once."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._engine: Engine = make_listening_engine(process.settings, name="naru-worker-lease")
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._checkpoints = Checkpoints(process)
        self._missing: set[tuple[UUID, int]] = set()
        self._hears_requests = False
        #: Postgres does not answer; the thread tries again and again.
        self.is_away = False

    def start(self) -> None:
        """Begin; registers as soon as Postgres answers."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once: something in this process changed."""
        os.write(self._wake_write, b"x")

    def close(self) -> None:
        """End; the lease is left as it is."""
        self._closing.set()
        self.wake()
        self._thread.join(timeout=5)
        self._engine.dispose()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._keep()
            except Exception as error:
                if not (is_outage(error) or isinstance(error, NaruError)):
                    log.exception("lease: a round failed")
                elif not self.is_away:
                    log.warning("lease: Postgres does not answer", extra={"error": type(error).__name__})
                self.is_away = True
                self._process.lease_turned_at = time.monotonic()
                self._closing.wait(RETRY_SECONDS)

    def _keep(self) -> None:
        """One connection's life. Autocommit: a statement that fails takes nothing with it."""
        with self._engine.connect() as connection:
            connection.execute(text(f"LISTEN {notify.STOP}"))
            self._hears_requests = False
            round_at = 0.0
            while not self._closing.is_set():
                now = self._process.lease_turned_at = time.monotonic()
                if now >= round_at:
                    round_at = now + self._process.settings.renew_seconds
                    self._round(connection)
                member = self._process.member
                if member is not None and now >= self._checkpoints.due_at:
                    self._checkpoints.write(connection, member.worker_id)
                if self._listen(connection, until=min(round_at, self._checkpoints.due_at)):
                    round_at = 0.0

    def _round(self, connection: Connection) -> None:
        process = self._process
        member = process.member or self._register()
        stalled_seconds = process.loop.stalled_seconds()
        if stalled_seconds > process.settings.stall_seconds:
            log.error("the event loop stands still: the lease is not renewed")
            return
        consumed = time.monotonic() - process.consumed_at < process.settings.broker_silence_seconds
        # From the loop's last sign of life: a loop that stands still loses its answers as soon as a frozen process.
        lease_seconds = process.settings.lease_seconds - stalled_seconds
        if not fleet.renew(connection, member.worker_id, lease_seconds=lease_seconds, consumed=consumed):
            process.became_lost()
            return
        offering = process.member_with_models(member)
        if offering is not member and process.member is member:
            fleet.offer(connection, offering)
            process.member = offering  # only now: what is claimed with the new models is served by the row's
        if process.draining.is_set():
            fleet.start_draining(connection, member.worker_id)
        self._hear_requests(connection, process.broker_is_away())
        self._compare(fleet.running_of(connection, member.worker_id), member.worker_id)
        if not process.publisher.healthy:
            self._checkpoints.hurry()
        if self.is_away:
            self.is_away = False
            log.info("lease: Postgres is back")

    def _hear_requests(self, connection: Connection, wanted: bool) -> None:
        """Listen for new requests only while hints do not come: else each one would wake every worker's thread, and
        Postgres would wake its connection first, in the very moment in which the hint is on its way."""
        if wanted != self._hears_requests:
            connection.execute(text(f"{'LISTEN' if wanted else 'UNLISTEN'} {notify.REQUEST}"))
            self._hears_requests = wanted

    def _compare(self, rows: dict[tuple[UUID, int], bool], worker_id: UUID) -> None:
        """Hear the stops whose notice was missed; give back what runs in its row only, two rounds in a row.

        One round is not enough: between a claim's commit and its entry here a round may look.
        """
        for (request_id, _), stopped in rows.items():
            if stopped:
                self._process.running.stop(request_id)
        here = {(each.claimed.request_id, each.claimed.attempt) for each in self._process.running.answers()}
        missing = rows.keys() - here
        for request_id, attempt in missing & self._missing:
            log.error("a request ran in its row only: it is given back", extra={"request_id": str(request_id)})
            lifecycle.give_back(self._engine, request_id, attempt=attempt, worker_id=worker_id)
        self._missing = missing - self._missing

    def _register(self) -> Member:
        member = self._process.new_member()
        fleet.register(self._engine, member, lease_seconds=self._process.settings.lease_seconds)
        self._process.member = member
        log.info("registered", extra={"worker_id": str(member.worker_id), "slots": member.slots})
        return member

    def _listen(self, connection: Connection, *, until: float) -> bool:
        """Wait for notifications, and hand them on, until the next work is due; True when `wake` was called."""
        raw: Any = connection.connection.driver_connection
        while True:
            # Before waiting too: what came with the round's own replies lies here, and the socket says nothing of it.
            while raw.notifies:
                self._hand_on(raw.notifies.pop(0))
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

    def _hand_on(self, raw: Any) -> None:
        notice = notify.parse(raw.channel, raw.payload)
        if notice is None:
            return
        if notice.channel == notify.STOP:
            self._process.running.stop(notice.request_id)
        else:
            self._process.heard_of_request()
