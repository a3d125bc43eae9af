"""The queue's one door: Celery's settings, the name of the one task, and the sender of hints.

A Celery message is a hint, "request X may be runnable", and may be lost, doubled or reordered without harm: the row in
Postgres is the request. What a worker does with a hint is `workers/`; when hints are sent again is `reconciler.py`.
"""

from __future__ import annotations

import base64
import json
import logging
import queue
import threading
import time
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from kombu.connection import Connection
from kombu.transport import redis as broker
from kombu.transport.virtual import QoS
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, update

from shared import logs, metrics
from shared.errors import NaruError
from shared.live.events import PREFIX
from shared.postgres.database import transaction
from shared.settings import VISIBILITY_TIMEOUT_SECONDS, Settings
from shared.tables import Status, chat_request

log = logging.getLogger(__name__)

TASK = "naru.answer"
QUEUE = "chat"
#: Hints that wait for Redis in one process; beyond it they are dropped, and the reconciler sends them again.
WAITING_HINTS = 10_000
#: Hints that are sent in one command.
HINTS_AT_ONCE = 100
PROBE_SECONDS = 0.5


class HintQoS(broker.QoS):
    """Hints under way are remembered in the process only: kombu would write each into Redis and take it out again.

    What it writes down there it gives to somebody else after the visibility timeout, which is longer than a request may
    live: no use to us, four commands for each hint, and each a way for a worker to end (Celery 5.7 exits when Redis
    refuses one of them, and when it cannot give them back as its connection is lost). A hint may be lost.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """A hint was received."""
        QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        """It was taken up."""
        QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: ARG002 - kombu's
        """It was not: the reconciler sends another."""
        QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ARG002 - kombu's
        """The connection ends: what is here is forgotten."""
        self._delivered.clear()


broker.Channel.QoS = HintQoS


def make_celery(settings: Settings) -> Celery:
    """The Celery app, the same for worker, web and Flower. Each setting with its reason; measured unless it says so."""
    app = Celery("naru", set_as_current=False)
    app.conf.update(
        broker_url=settings.redis_url,
        # The row is the result; a backend would cost a quarter of the task rate and leak channels.
        result_backend=None,
        task_ignore_result=True,
        # Early ack: with late ack a Redis restart makes the worker exit (5 of 5), a reset starts the task twice.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Threads that wait on one event loop: Celery counts the slots, the loop carries the streams.
        worker_pool="threads",
        worker_concurrency=settings.concurrency,
        # A busy worker takes no message that another one could serve (Redis only).
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        # Waiting is the row's `available_at`: ETA messages would sit in a worker's memory.
        worker_eta_task_limit=100,
        # Ids only, in JSON only: nothing of a person is in the broker, and nothing from it is executed.
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        # The reconciler is the retry of a publish.
        task_publish_retry=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that refuses (a full disk, no memory, no replicas) is one that is away: else the worker ends by it.
        broker_channel_error_retry=True,
        broker_pool_acquire_timeout=2,
        broker_heartbeat=0,
        # Flower lives on these events; our figures are measured with them.
        worker_send_task_events=True,
        task_send_sent_event=False,
        event_queue_prefix=f"{PREFIX}events",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            # Every wait has a limit: with neither, a frozen Redis holds a publish for ever.
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            # A half-open connection is noticed after two of these instead of after two of 25 s.
            "health_check_interval": 10,
            "queue_order_strategy": "round_robin",
            "global_keyprefix": PREFIX,
        },
    )
    return app


class HintMessage:
    """The message of a hint as Celery makes it, made once: each hint is a copy with its own ids (decision 0023).

    Making each with `send_task` takes 0.5 ms of CPU, and 1.3 ms when the process had rested; Redis takes 0.04 of them.
    """

    _TASK_ID, _REQUEST_ID, _HTTP_ID, _BODY = "naru-task-id", "naru-request-id", "naru-http-id", "naru-body"

    def __init__(self, app: Celery) -> None:
        made = app.amqp.create_task_message(self._TASK_ID, TASK, [self._REQUEST_ID], {}, ignore_result=None)
        # By way of kombu's transport in memory: so the envelope is kombu's too.
        with Connection("memory://") as connection, connection.channel() as channel:  # type: ignore[no-untyped-call]
            producer = app.amqp.Producer(channel, auto_declare=False)
            headers = {logs.HTTP_REQUEST_ID: self._HTTP_ID}
            app.amqp.send_task_message(producer, TASK, made, queue=QUEUE, headers=headers)
            message = channel._get(QUEUE)  # noqa: SLF001 - nothing public gives it as it is stored
        self._body = base64.b64decode(message["body"]).decode()
        message["body"] = self._BODY
        message["properties"]["delivery_tag"] = self._TASK_ID
        self._message = json.dumps(message)

    def of(self, request_id: UUID, http_request_id: str) -> str:
        """The hint for this request; with the id of the HTTP request by which it came ("" for none)."""
        body = self._body.replace(self._REQUEST_ID, str(request_id))
        return (
            self._message.replace(self._TASK_ID, str(uuid4()))
            .replace(self._REQUEST_ID, str(request_id))
            .replace(self._BODY, base64.b64encode(body.encode()).decode())
            # Last: it may come from outside. Its form (`web/asgi/http_id.py`) fits into JSON as it is.
            .replace(self._HTTP_ID, http_request_id)
        )


class Dispatcher:
    """Sends hints in the background, so that nobody waits for Redis.

    One thread per process. While Redis fails, hints are dropped and Redis is probed; when it answers again, every
    queued request is marked for a new hint, because what Redis held may be gone.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        timeout = settings.redis_timeout_seconds
        self._redis = Redis.from_url(
            settings.redis_url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # By default redis-py tries ten times more: a probe would take 11 timeouts.
            retry=Retry(NoBackoff(), 0),
        )
        #: Each with the id of the HTTP request by which it came, for the worker's log.
        self._waiting: queue.Queue[tuple[UUID, str] | None] = queue.Queue(WAITING_HINTS)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        #: False from a failed send until Redis answers again.
        self.healthy = True
        self._thread.start()

    def send(self, request_id: UUID) -> None:
        """Send a hint soon; never blocks, never raises. While Redis fails it is dropped: see the recovery."""
        if not self.healthy:
            return
        try:
            self._waiting.put_nowait((request_id, logs.bound_id(logs.HTTP_REQUEST_ID)))
        except queue.Full:
            metrics.PUBLISH_FAILURES.labels("hint").inc()

    def close(self) -> None:
        """Stop after what waits has been tried, or after 2 s."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            self._waiting.queue.clear()
            self._waiting.put_nowait(None)
        self._thread.join(timeout=2)

    def _run(self) -> None:
        message = HintMessage(make_celery(self._settings))
        self._answers()  # connected before the first hint
        while hints := self._next():
            try:
                # In the order in which they came: workers take from the other end.
                self._redis.lpush(f"{PREFIX}{QUEUE}", *(message.of(*hint) for hint in hints))
            except Exception as error:  # noqa: BLE001 - a thread that ends would send no hint ever again
                metrics.PUBLISH_FAILURES.labels("hint").inc()
                log.warning("hint not sent: Redis fails", extra={"error": type(error).__name__})
                self.healthy = False
                self._await_redis()

    def _next(self) -> list[tuple[UUID, str]]:
        """The hints that wait, as soon as there are some; none at the end."""
        hints: list[tuple[UUID, str]] = []
        while not self._is_over and len(hints) < HINTS_AT_ONCE and not (hints and self._waiting.empty()):
            waiting = self._waiting.get()
            if waiting is None:
                self._is_over = True
            else:
                hints.append(waiting)
        return hints

    def _await_redis(self) -> None:
        while not self._answers():
            time.sleep(PROBE_SECONDS)
            self._discard_waiting()
            if self._is_over:
                return
        self.healthy = True
        self._hint_all_again()

    def _answers(self) -> bool:
        try:
            return bool(self._redis.ping())
        except (RedisError, OSError):
            return False

    def _discard_waiting(self) -> None:
        """Drop what waits: it will be hinted again."""
        while not self._waiting.empty():
            if self._waiting.get_nowait() is None:
                self._is_over = True

    def _hint_all_again(self) -> None:
        try:
            with transaction(self._engine) as connection:
                connection.execute(
                    update(chat_request)
                    .where(chat_request.c.status == Status.QUEUED)
                    .values(dispatched_at=None, dispatches=0)
                )
        except NaruError:
            log.info("hints wait for Postgres")
