"""The pickup: takes due requests from Postgres when their hints do not come.

Hints do not come while Redis, or Celery's connection to it, is away or hangs. The pickup looks for requests in two
cases, and only while this process has free slots:

- Redis has taken no write for the silence time. The pickup then looks often, and at every notification.
- A request has been due for the silence time and no worker has claimed it.

A request that is picked up uses the same slots, claim and code as one that came by a hint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import Connection, text

from shared import metrics
from shared.errors import NaruError
from shared.postgres.database import statement
from shared.postgres.prepared import prepared
from shared.redis import make_client, takes_writes
from workers.process.context import Context

log = logging.getLogger(__name__)

PING_SECONDS = 1.0
LOOK_SECONDS = 1.5
DEGRADED_LOOK_SECONDS = 0.3
#: Read this many requests more than there are free slots: some cannot be claimed here (a model of another worker, a
#: second suspect) and must not block the rest.
SPARE = 100
#: Pause before a request is tried again.
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
    """Two threads: one probes Redis, one reads due requests from Postgres.

    `answer` is called for each request found, in a thread of a pool; `redis_changed` is called when Redis goes away or
    comes back.
    """

    def __init__(
        self, context: Context, *, answer: Callable[[UUID], None], redis_changed: Callable[[], None] = lambda: None
    ) -> None:
        self._context, self._answer, self._redis_changed = context, answer, redis_changed
        self._closing, self._look_now = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=context.running.slots, thread_name_prefix="pickup")
        self._taking: set[UUID] = set()
        self._tried: dict[UUID, float] = {}
        self._threads = [
            threading.Thread(target=self._ping, name="broker-ping", daemon=True),
            threading.Thread(target=self._look, name="pickup", daemon=True),
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop both threads. Answers that were picked up keep running and drain like all others."""
        self._closing.set()
        self._look_now.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def hear_of_request(self) -> None:
        """Handle the notification of a queued request: while Redis is away, look at once."""
        if self._context.is_redis_away():
            self._look_now.set()

    def _ping(self) -> None:
        settings = self._context.settings
        redis = make_client(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
        away = False
        while not self._closing.wait(PING_SECONDS):
            if takes_writes(redis):
                self._context.vitals.redis_answered_at = time.monotonic()
            else:
                log.debug("Redis takes no write")
            if self._context.is_redis_away() != away:
                away = not away
                metrics.BROKER_AWAY.set(away)
                log.warning("Redis is away: requests are taken from Postgres" if away else "Redis is back")
                self._redis_changed()

    def _look(self) -> None:
        while not self._closing.is_set():
            pause = DEGRADED_LOOK_SECONDS if self._context.is_redis_away() else LOOK_SECONDS
            self._look_now.wait(pause)
            self._look_now.clear()
            # Requests already handed to the pool count as taken.
            free = self._context.running.slots - max(self._context.running.slots_taken(), len(self._taking))
            if free <= 0 or self._context.draining.is_set() or self._context.member is None:
                continue
            try:
                self._take(free)
            except NaruError:
                log.debug("pickup: Postgres does not answer")
            except Exception:
                log.exception("pickup: a round failed")

    def _take(self, free: int) -> None:
        patience = 0.0 if self._context.is_redis_away() else self._context.settings.broker_silence_seconds
        with statement(self._context.engine) as connection:
            due = due_requests(connection, patience_seconds=patience, limit=free + SPARE)
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
    """Return at most `limit` requests that have been due for `patience_seconds`, the longest wait first."""
    return connection.execute(_DUE, {"patience": patience_seconds, "most": limit}).scalars().all()
