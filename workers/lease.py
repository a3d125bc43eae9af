"""The lease thread: one thread with its own connection that keeps this process's right to its answers.

It renews the lease, hears of stops, writes checkpoints, and says that the worker drains. It does not renew when the
event loop stands still: a process that cannot stream must lose its answers to one that can. When the row was marked
lost, the process drops its streams and registers anew.
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

from shared import fleet, lifecycle, notify
from shared.database import is_outage, make_listening_engine
from shared.errors import NaruError
from shared.fleet import Member

if TYPE_CHECKING:
    from workers.process import Process

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
        self._next_checkpoint = 0.0
        self._missing: set[tuple[UUID, int]] = set()
        self._away = False
        self._written: dict[tuple[UUID, int], int] = {}

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
                elif not self._away:
                    log.warning("lease: Postgres does not answer", extra={"error": type(error).__name__})
                self._away = True
                self._closing.wait(RETRY_SECONDS)

    def _keep(self) -> None:
        """One connection's life. Autocommit: a statement that fails takes nothing with it."""
        with self._engine.connect() as connection:
            for channel in (notify.STOP, notify.REQUEST):
                connection.execute(text(f"LISTEN {channel}"))
            while not self._closing.is_set():
                began = time.monotonic()
                self._round(connection)
                self._listen(connection, until=began + self._process.settings.renew_seconds)

    def _round(self, connection: Connection) -> None:
        process = self._process
        member = process.member or self._register()
        if process.loop.stalled_seconds() > process.settings.stall_seconds:
            log.error("the event loop stands still: the lease is not renewed")
            return
        consumed = time.monotonic() - process.consumed_at < process.settings.broker_silence_seconds
        if not fleet.renew(
            connection, member.worker_id, lease_seconds=process.settings.lease_seconds, consumed=consumed
        ):
            process.became_lost()
            return
        if process.draining.is_set():
            fleet.start_draining(connection, member.worker_id)
        self._compare(fleet.running_of(connection, member.worker_id), member.worker_id)
        self._checkpoint(connection, member.worker_id)
        if self._away:
            self._away = False
            log.info("lease: Postgres is back")

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

    def _checkpoint(self, connection: Connection, worker_id: UUID) -> None:
        """Write the texts that grew since the last time; more often while Redis does not take them."""
        settings, now = self._process.settings, time.monotonic()
        if now < self._next_checkpoint:
            return
        healthy = self._process.publisher.healthy
        pause = settings.checkpoint_seconds if healthy else settings.degraded_checkpoint_seconds
        self._next_checkpoint = now + pause
        lengths, texts = {}, {}
        for answer in self._process.running.answers():
            if answer.live is not None and answer.claimed.worker_id == worker_id:
                key = (answer.claimed.request_id, answer.claimed.attempt)
                lengths[key] = answer.live.length
                if answer.live.length != self._written.get(key, 0):
                    texts[key] = answer.live.text()
        fleet.checkpoint(connection, worker_id, texts)
        self._written = lengths

    def _listen(self, connection: Connection, *, until: float) -> None:
        """Wait for notifications, and hand them on, until the next round is due."""
        raw: Any = connection.connection.driver_connection
        while True:
            # Before waiting too: what came with the round's own replies lies here, and the socket says nothing of it.
            while raw.notifies:
                self._hand_on(raw.notifies.pop(0))
            left = until - time.monotonic()
            if self._closing.is_set() or left <= 0 or self._checkpoint_is_due():
                return
            ready, _, _ = select.select([raw.fileno(), self._wake_read], [], [], left)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                return
            if ready:
                raw.poll()

    def _checkpoint_is_due(self) -> bool:
        """While Redis fails, checkpoints are what people see: they may be due before the next renewal."""
        return not self._process.publisher.healthy and time.monotonic() >= self._next_checkpoint

    def _hand_on(self, raw: Any) -> None:
        notice = notify.parse(raw.channel, raw.payload)
        if notice is None:
            return
        if notice.channel == notify.STOP:
            self._process.running.stop(notice.request_id)
        else:
            self._process.heard_of_request()
