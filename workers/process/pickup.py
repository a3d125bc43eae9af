"""The pickup: takes due requests from Postgres itself when their hints do not come.

Hints fail to come when Redis is away or hangs, or when Celery's connection does. Two signs, either of them enough, and
both only while this process has free slots, so never merely because it is busy: Redis has not answered a ping for the
silence time (then it looks at once, and at every notification), or a request has been due for that long and nobody
took it. It uses the same slots, claim and code as a hint does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection, text

from shared import metrics
from shared.errors import NaruError
from shared.postgres.database import statement
from shared.postgres.prepared import prepared
from shared.redis import answers, make_client

if TYPE_CHECKING:
    from workers.worker import Process

log = logging.getLogger(__name__)

PING_SECONDS = 1.0
LOOK_SECONDS = 1.0
DEGRADED_LOOK_SECONDS = 0.3
#: What cannot be claimed here (another worker's model, a second suspect) must not stand in the way of the rest.
BESIDES = 100
TRIED_SECONDS = 5.0

_DUE = prepared(
    text(
        """
        SELECT id FROM chat_request
        WHERE status = 'queued' AND available_at <= clock_timestamp() - make_interval(secs => :patience)
        ORDER BY available_at
        LIMIT :most
        """
    )
)


class Pickup:
    """Two threads: one pings Redis, one looks at Postgres. `answer` is called in a thread of its own per request."""

    def __init__(self, process: Process, answer: Callable[[UUID], None]) -> None:
        self._process, self._answer = process, answer
        self._closing, self._look_now = threading.Event(), threading.Event()
        self._answered_at = time.monotonic()
        self._pool = ThreadPoolExecutor(max_workers=process.running.slots, thread_name_prefix="pickup")
        self._taking: set[UUID] = set()
        self._tried: dict[UUID, float] = {}
        self._threads = [
            threading.Thread(target=self._ping, name="broker-ping", daemon=True),
            threading.Thread(target=self._look, name="pickup", daemon=True),
        ]

    def start(self) -> None:
        """Begin to watch."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End; what it took goes on in its own threads and is drained with everything else."""
        self._closing.set()
        self._look_now.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def broker_is_away(self) -> bool:
        """Whether Redis has been silent for the silence time."""
        return time.monotonic() - self._answered_at > self._process.settings.broker_silence_seconds

    def heard_of_request(self) -> None:
        """A notification said that a request is queued; of interest only while hints do not come."""
        if self.broker_is_away():
            self._look_now.set()

    def _ping(self) -> None:
        settings = self._process.settings
        redis = make_client(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
        away = False
        while not self._closing.wait(PING_SECONDS):
            if answers(redis):
                self._answered_at = time.monotonic()
            else:
                log.debug("Redis does not answer a ping")
            if self.broker_is_away() != away:
                away = not away
                metrics.BROKER_AWAY.set(away)
                log.warning("Redis is away: requests are taken from Postgres" if away else "Redis is back")
                self._process.broker_changed()

    def _look(self) -> None:
        while not self._closing.is_set():
            pause = DEGRADED_LOOK_SECONDS if self.broker_is_away() else LOOK_SECONDS
            self._look_now.wait(pause)
            self._look_now.clear()
            # What is being taken has a slot soon.
            free = self._process.running.slots - max(self._process.running.taken(), len(self._taking))
            if free <= 0 or self._process.draining.is_set() or self._process.member is None:
                continue
            try:
                self._take(free)
            except NaruError:
                log.debug("pickup: Postgres does not answer")
            except Exception:
                log.exception("pickup: a look failed")

    def _take(self, free: int) -> None:
        patience = 0.0 if self.broker_is_away() else self._process.settings.broker_silence_seconds
        with statement(self._process.engine) as connection:
            due = due_requests(connection, patience_seconds=patience, limit=free + BESIDES)
            waiting = [request_id for request_id in due if request_id not in self._taking]
        now = time.monotonic()
        self._tried = {each: at for each, at in self._tried.items() if now - at < TRIED_SECONDS}
        for request_id in [each for each in waiting if each not in self._tried][:free]:
            self._tried[request_id] = now
            self._taking.add(request_id)
            self._pool.submit(self._take_one, request_id)

    def _take_one(self, request_id: UUID) -> None:
        try:
            self._answer(request_id)
        except Exception:
            log.exception("pickup: an answer failed")
        finally:
            self._taking.discard(request_id)


def due_requests(connection: Connection, *, patience_seconds: float, limit: int) -> Sequence[UUID]:
    """The requests that have been due for that long, the one that waits longest first."""
    return connection.execute(_DUE, {"patience": patience_seconds, "most": limit}).scalars().all()
