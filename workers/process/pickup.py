"""The pickup: takes due requests from Postgres when their hints do not come.

Hints do not come while Redis, or Celery's connection to it, is away or hangs. The pickup looks for requests in two
cases, and only while this process has free slots:

- Redis has taken no write for the silence time. The pickup then looks often, and at every notification.
- A request has been due for the silence time and no worker has claimed it.

It then claims from the lane until a claim finds nothing, with the slots, the claim and the code that a hint uses.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

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

_DUE = prepared(
    text(
        """
        SELECT lane
        FROM unnest(CAST(:lanes AS text[])) AS lane
        WHERE EXISTS (
            SELECT 1 FROM chat_request
            WHERE status = 'queued' AND chat_request.lane = lane.lane
              AND available_at <= statement_timestamp() - make_interval(secs => :patience)
        )
        """
    )
)


class Pickup:
    """Two threads: one probes Redis, one reads due requests from Postgres.

    `answer` is called with a lane, in a thread of a pool, and calls its second argument once it has claimed a request.
    `redis_changed` is called when Redis goes away or comes back.
    """

    def __init__(
        self,
        context: Context,
        *,
        answer: Callable[[str, Callable[[], None]], None],
        redis_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._context, self._answer, self._redis_changed = context, answer, redis_changed
        self._closing, self._look_now = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=context.running.slots, thread_name_prefix="pickup")
        #: The lanes from which it is claiming.
        self._claiming: set[str] = set()
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
            if self._context.draining.is_set() or self._context.member is None:
                continue
            try:
                self._take()
            except NaruError:
                log.debug("pickup: Postgres does not answer")
            except Exception:
                log.exception("pickup: a round failed")

    def _take(self) -> None:
        room = [lane for lane, room in self._context.running.room().items() if room > 0 and lane not in self._claiming]
        if not room:
            return
        patience = 0.0 if self._context.is_redis_away() else self._context.settings.broker_silence_seconds
        with statement(self._context.engine) as connection:
            due = lanes_with_due_requests(connection, room, patience_seconds=patience)
        for lane in due:
            self._claim_next(lane)

    def _claim_next(self, lane: str) -> None:
        """Claim one request after the other: the first claim that finds nothing ends the round for the lane."""
        self._claiming.add(lane)
        try:
            self._pool.submit(self._take_one, lane)
        except RuntimeError:  # the pool is closed
            self._claiming.discard(lane)

    def _take_one(self, lane: str) -> None:
        has_claimed = False

        def claimed() -> None:
            nonlocal has_claimed
            has_claimed = True
            self._claim_next(lane)

        try:
            self._answer(lane, claimed)
        except Exception:
            log.exception("pickup: an answer failed")
        finally:
            if not has_claimed:
                self._claiming.discard(lane)


def lanes_with_due_requests(connection: Connection, lanes: Sequence[str], *, patience_seconds: float) -> Sequence[str]:
    """Return those of `lanes` in which a request has been due for `patience_seconds`."""
    return connection.execute(_DUE, {"lanes": list(lanes), "patience": patience_seconds}).scalars().all()
