"""Sends notices after the commit: a thread per engine, with a connection of its own.

NOTIFY takes one lock for the whole database and keeps it until its transaction has reached the disk. In the
transaction of a question or an answer, it lets one commit through at a time. Here, the notices of many transactions
share one transaction that waits for no disk (docs/decisions/0036).

A notice that is lost costs its receivers the time until their next poll: after a failed send, while Postgres is away,
and at the end of a process that does not dispose of its engine.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from psycopg2 import Error as DriverError
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from shared.postgres.notify import Notice

log = logging.getLogger(__name__)

#: The first notice waits this long for others: at most 200 transactions a second, however many notices there are.
GATHER_SECONDS = 0.005
#: Most notices in one transaction.
AT_ONCE = 500
#: Most waiting notices; further ones are dropped.
MOST_WAITING = 10_000
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0

# The setting counts for this transaction only. Postgres drops equal notices of one transaction.
_SEND = text(
    """
    SELECT set_config('synchronous_commit', 'off', true), pg_notify(notice.channel, notice.payload)
    FROM unnest(CAST(:channels AS text[]), CAST(:payloads AS text[])) AS notice (channel, payload)
    """
)

_senders: WeakKeyDictionary[Engine, NoticeSender] = WeakKeyDictionary()


def send_behind(engine: Engine, make_own: Callable[[], Engine]) -> None:
    """Make `send` work for this engine. `make_own` returns the engine of the connection that sends; see NoticeSender.

    Disposing of the engine sends the waiting notices and closes that connection.
    """
    sender = _senders[engine] = NoticeSender(make_own)
    event.listen(engine, "engine_disposed", lambda _: sender.close())


def send(engine: Engine, noted: Sequence[Notice]) -> None:
    """Send these notices soon; never blocks, never raises. An engine without `send_behind` drops them."""
    sender = _senders.get(engine)
    if noted and sender is not None:
        sender.send(noted)


class NoticeSender:
    """The thread that sends. It starts with the first notice, and again after `close`.

    `make_own` returns an engine without a pool that commits each statement.
    """

    def __init__(self, make_own: Callable[[], Engine]) -> None:
        self._make_own = make_own
        #: None ends the thread.
        self._waiting: queue.Queue[Notice | None] = queue.Queue(MOST_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._is_away = False

    def send(self, noted: Sequence[Notice]) -> None:
        """Queue these notices, or drop them if too many wait."""
        try:
            for notice in noted:
                self._waiting.put_nowait(notice)
        except queue.Full:
            return
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Send the waiting notices and close the connection; gives up after CLOSE_SECONDS."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        thread.join(timeout=CLOSE_SECONDS)

    def _run(self) -> None:
        own, is_over = self._make_own(), False
        while not is_over:
            batch, is_over = self._next()
            # Once more on a new connection: an idle one breaks unnoticed, for example when Postgres restarts.
            is_sent = not batch or self._sent(own, batch) or self._sent(own, batch)
            if not is_sent and not self._is_away:
                log.info("notices wait for Postgres")
            self._is_away = not is_sent
            if not is_sent and not is_over:
                time.sleep(RETRY_SECONDS)
        self._disconnect()
        own.dispose()

    def _next(self) -> tuple[list[Notice], bool]:
        """Wait for notices; return at most AT_ONCE, and whether they are the last."""
        batch: list[Notice] = []
        while len(batch) < AT_ONCE and not (batch and self._waiting.empty()):
            notice = self._waiting.get()
            if notice is None:
                return batch, True
            if not batch:
                time.sleep(GATHER_SECONDS)
            batch.append(notice)
        return batch, False

    def _sent(self, own: Engine, batch: Sequence[Notice]) -> bool:
        values = {
            "channels": [notice.channel for notice in batch],
            "payloads": [notice.payload for notice in batch],
        }
        try:
            if self._connection is None:
                self._connection = own.connect()
            self._connection.execute(_SEND, values)
        except (SQLAlchemyError, DriverError):
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
