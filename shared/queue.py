"""The queues: Celery's settings, the name of its only task, and the dispatcher that sends hints.

A Celery message is a hint, "lane L may have work". Each lane has a queue. Hints may be lost, duplicated or reordered
without harm, because the row in Postgres is the request. `workers/` acts on hints; `reconciler.py` counts those that
are missing.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from celery import Celery

from shared import metrics
from shared.celery_message import HintMessage, keep_unacknowledged_in_memory
from shared.live.events import PREFIX
from shared.redis import asking_options, make_client, takes_writes
from shared.sentinels import sentinels_of
from shared.settings import VISIBILITY_TIMEOUT_SECONDS, Settings

log = logging.getLogger(__name__)

TASK = "naru.answer"
#: The queue of the previous version, whose hints name a request. Workers empty it; a tick replaces its hints.
OLD_QUEUE = "chat"
#: Longest queue of unsent hints in one process. Further hints are dropped; the reconciler sends them again.
WAITING_HINTS = 10_000
#: Most hints in one command.
HINTS_AT_ONCE = 100
#: Celery's limits of one command and of one connect.
BROKER_SECONDS, BROKER_CONNECT_SECONDS = 5, 2
#: The pauses between two probes of a Redis that fails; each is drawn from one to two times the back-off.
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 0.5, 15.0


def queue_of(lane: str) -> str:
    """Return the name of a lane's queue."""
    return f"{OLD_QUEUE}.{lane}"


def make_celery(settings: Settings) -> Celery:
    """Return the Celery app of worker, web and Flower. The comments give the measured reason for each setting."""
    keep_unacknowledged_in_memory()
    app = Celery("naru", set_as_current=False)
    sentinels, of_sentinels = sentinels_of(settings.redis_url), {}
    if sentinels is not None:
        asking = asking_options(sentinels, BROKER_CONNECT_SECONDS)
        of_sentinels = {"master_name": sentinels.master_name, "sentinel_kwargs": asking}
    app.conf.update(
        broker_url=settings.redis_url if sentinels is None else sentinels.broker_url,
        # The row holds the result. A backend would cost a quarter of the task rate and leak channels.
        result_backend=None,
        task_ignore_result=True,
        # Early ack: with late ack the worker exits when Redis restarts (5 of 5), and a reset starts the task twice.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # The threads wait on one event loop: Celery counts the slots, the loop carries the streams.
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        # A busy worker takes no message that another one could serve (Redis only).
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        # A request waits by its row's `available_at`; ETA messages would sit in a worker's memory.
        worker_eta_task_limit=100,
        # JSON, and ids only: the broker holds no personal data, and no message can run code.
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=OLD_QUEUE,
        # The reconciler retries instead.
        task_publish_retry=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Treat a refusal of Redis (full disk, no memory, no replicas) as an outage: by default the worker exits.
        broker_channel_error_retry=True,
        broker_pool_acquire_timeout=2,
        broker_heartbeat=0,
        # Flower needs these events; docs/performance.md measures with them.
        worker_send_task_events=True,
        task_send_sent_event=False,
        event_queue_prefix=f"{PREFIX}events",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            # Without these limits a frozen Redis would block a publish forever.
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_CONNECT_SECONDS,
            "socket_keepalive": True,
            # A half-open connection is noticed after two intervals; the default interval is 25 s.
            "health_check_interval": 10,
            "queue_order_strategy": "round_robin",
            "global_keyprefix": PREFIX,
            **of_sentinels,
        },
    )
    return app


@dataclass(frozen=True, slots=True)
class _Hint:
    """One hint for a lane; or, with `wanted`, as many as it takes until that many wait."""

    lane: str
    wanted: int = 0


class Dispatcher:
    """Sends hints from a background thread, so that no caller waits for Redis.

    While Redis fails, the thread drops hints and probes with a write. Ticks replace the hints that Redis may have lost.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = make_client(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
        self._messages: dict[str, HintMessage] = {}
        #: None ends the thread.
        self._waiting: queue.Queue[_Hint | None] = queue.Queue(WAITING_HINTS)
        self._is_over, self._closing = False, threading.Event()
        self._back_off, self._recovered_at = FIRST_BACK_OFF_SECONDS, -math.inf
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        #: False from a failed send until Redis takes writes again.
        self.healthy = True
        self._thread.start()

    def send(self, lane: str) -> None:
        """Queue a hint; never blocks, never raises. While Redis fails, the hint is dropped."""
        self._put(_Hint(lane))

    def ensure(self, lane: str, wanted: int) -> None:
        """Have at least `wanted` hints wait for the lane. Otherwise as `send`."""
        self._put(_Hint(lane, wanted=wanted))

    def _put(self, hint: _Hint) -> None:
        if not self.healthy or not hint.lane:
            return
        try:
            self._waiting.put_nowait(hint)
        except queue.Full:
            metrics.PUBLISH_FAILURES.labels("hint").inc()

    def close(self) -> None:
        """Send the queued hints and stop; gives up after 2 s."""
        self._closing.set()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            self._waiting.queue.clear()
            self._waiting.put_nowait(None)
        self._thread.join(timeout=2)

    def _run(self) -> None:
        self._app = make_celery(self._settings)
        takes_writes(self._redis)  # connects before the first hint
        while hints := self._next():
            try:
                self._send(hints)
            except Exception as error:  # noqa: BLE001 - the thread must go on
                metrics.PUBLISH_FAILURES.labels("hint").inc()
                log.warning("hint not sent: Redis fails", extra={"error": type(error).__name__})
                self.healthy = False
                self._await_redis()

    def _send(self, hints: list[_Hint]) -> None:
        by_lane: dict[str, list[str]] = {}
        for hint in hints:
            message, unsent = self._message_of(hint.lane), by_lane.setdefault(hint.lane, [])
            missing = hint.wanted - self._waiting_for(hint.lane) - len(unsent) if hint.wanted else 1
            unsent.extend(message.copy() for _ in range(missing))
        with self._redis.pipeline(transaction=False) as pipeline:
            for lane, messages in by_lane.items():
                if messages:
                    # Workers take from the other end, so the order is kept.
                    pipeline.lpush(_key_of(lane), *messages)
            pipeline.execute()

    def _waiting_for(self, lane: str) -> int:
        length: Any = self._redis.llen(_key_of(lane))
        return int(length)

    def _message_of(self, lane: str) -> HintMessage:
        if lane not in self._messages:
            self._messages[lane] = HintMessage(self._app, task=TASK, queue=queue_of(lane), lane=lane)
        return self._messages[lane]

    def _next(self) -> list[_Hint]:
        """Wait for hints and return at most HINTS_AT_ONCE; an empty list ends the thread."""
        hints: list[_Hint] = []
        while not self._is_over and len(hints) < HINTS_AT_ONCE and not (hints and self._waiting.empty()):
            waiting = self._waiting.get()
            if waiting is None:
                self._is_over = True
            else:
                hints.append(waiting)
        return hints

    def _await_redis(self) -> None:
        """Probe with a write, less and less often, until Redis takes one or the dispatcher is closed."""
        if time.monotonic() - self._recovered_at > 2 * LONGEST_BACK_OFF_SECONDS:
            self._back_off = FIRST_BACK_OFF_SECONDS
        while not self._closing.wait(self._back_off * random.uniform(1, 2)):
            self._back_off = min(2 * self._back_off, LONGEST_BACK_OFF_SECONDS)
            self._discard_waiting()
            if takes_writes(self._redis):
                self._recovered_at, self.healthy = time.monotonic(), True
                return
        self._is_over = True

    def _discard_waiting(self) -> None:
        """Drop the queued hints; ticks replace them."""
        while not self._waiting.empty():
            if self._waiting.get_nowait() is None:
                self._is_over = True


def _key_of(lane: str) -> str:
    return f"{PREFIX}{queue_of(lane)}"
