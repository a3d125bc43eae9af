"""LISTEN: other processes say "look now". Best effort: what is missed here, the next sweep of a second finds.

One thread with a connection of its own, straight to Postgres (a transaction pooler cannot LISTEN).
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

from shared.postgres import notify
from shared.postgres.urls import libpq_url
from shared.settings import Settings

log = logging.getLogger(__name__)

CHANNELS = (notify.REQUEST, notify.STOP, notify.ENDED)
RETRY_SECONDS = 1.0
#: A connection whose other side is gone without a word is found by asking it this often.
PROBE_SECONDS = 15.0


class Listener:
    """The listening thread. `on_notice` is called in it and must not block."""

    def __init__(self, settings: Settings, on_notice: Callable[[notify.Notice], None]) -> None:
        self._url = libpq_url(settings.listen_database_url or settings.database_url)
        self._on_notice = on_notice
        self._stopping = threading.Event()
        self._bell, self._ear = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stopping.set()
        self._bell.send(b".")
        self._thread.join(timeout=2)
        self._bell.close()

    def _run(self) -> None:
        with closing(self._ear):
            while not self._stopping.is_set():
                try:
                    self._listen()
                except (psycopg2.Error, OSError) as error:
                    log.info("listener: connection lost", extra={"error": type(error).__name__})
                    self._stopping.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        link = psycopg2.connect(
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
            while not self._stopping.is_set():
                self._wait(link)

    def _wait(self, link: connection) -> None:
        # Not select(): it knows no descriptor above 1023, and a process with hundreds of viewers has those.
        poller = select.poll()
        for ear in (link, self._ear):
            poller.register(ear.fileno(), select.POLLIN)
        if not poller.poll(PROBE_SECONDS * 1000):
            with link.cursor() as cursor:
                cursor.execute("SELECT 1")
        link.poll()
        while link.notifies:
            told = link.notifies.pop(0)
            notice = notify.parse(told.channel, told.payload)
            if notice is not None:
                # The loop is closed between the end of the server and the end of this thread.
                with suppress(RuntimeError):
                    self._on_notice(notice)
