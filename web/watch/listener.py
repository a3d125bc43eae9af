"""LISTEN to Postgres: other processes announce changes.

Best effort: the next sweep finds a change whose notice was missed, within a second while an answer is under way, within
15 s in an idle conversation. One thread holds a direct connection to Postgres, because a transaction pooler cannot
LISTEN.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

from shared.postgres import hosts, notify
from shared.settings import Settings

log = logging.getLogger(__name__)

#: A question from another page or another web process, and an answer's end. Stops are for workers.
CHANNELS = (notify.REQUEST, notify.ENDED)
RETRY_SECONDS = 1.0
#: Probe a silent connection this often, to notice a server that vanished.
PROBE_SECONDS = 15.0


class Listener:
    """A thread that calls `on_notice` for each notice, and `on_gap` when it begins to listen, also after a break.

    Neither may block.
    """

    def __init__(
        self, settings: Settings, on_notice: Callable[[notify.Notice], None], *, on_gap: Callable[[], None]
    ) -> None:
        self._url = settings.listen_database_url or settings.database_url
        self._on_notice, self._on_gap = on_notice, on_gap
        self._stopping = threading.Event()
        self._waker, self._wake_socket = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and wait up to two seconds for it."""
        self._stopping.set()
        self._waker.send(b".")
        self._thread.join(timeout=2)
        self._waker.close()

    def _run(self) -> None:
        with closing(self._wake_socket):
            while not self._stopping.is_set():
                try:
                    self._listen()
                except (psycopg2.Error, OSError) as error:
                    log.info("listener: connection lost", extra={"error": type(error).__name__})
                    self._stopping.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        link = hosts.connect(
            self._url,
            connect_timeout=3,
            tcp_user_timeout=8000,
            keepalives_idle=10,
            application_name="naru-web-listen",
        )
        with closing(link):
            link.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with link.cursor() as cursor:
                for channel in CHANNELS:
                    cursor.execute(f"LISTEN {channel}")
            with suppress(RuntimeError):  # see below
                self._on_gap()
            while not self._stopping.is_set():
                self._wait(link)

    def _wait(self, link: connection) -> None:
        # select() fails for descriptors above 1023, which a process with hundreds of viewers has.
        poller = select.poll()
        for source in (link, self._wake_socket):
            poller.register(source.fileno(), select.POLLIN)
        if not poller.poll(PROBE_SECONDS * 1000):
            with link.cursor() as cursor:
                cursor.execute("SELECT 1")
        link.poll()
        while link.notifies:
            raw = link.notifies.pop(0)
            notice = notify.parse(raw.channel, raw.payload)
            if notice is not None:
                # At shutdown the event loop closes before this thread ends.
                with suppress(RuntimeError):
                    self._on_notice(notice)
