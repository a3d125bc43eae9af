"""The Celery app of the workers: the one task, and what happens when Celery starts, turns and ends.

`celery -A workers.app:app …` finds it here; `python -m workers` runs a worker with the right options. Flower uses the
same app, so that its broker settings are the same. What the task does is `workers/answering/answer.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any
from uuid import UUID

from celery import Celery, bootsteps, signals

from shared import logs
from shared.errors import NaruError
from shared.queue import QUEUE, TASK, make_celery
from shared.settings import load_settings
from workers.worker import Worker

log = logging.getLogger(__name__)

settings = load_settings()
settings.need("redis_url")
app: Celery = make_celery(settings)

#: Events for Flower are sent this often, all in one message: one for each event would cost a task more than its hint.
EVENTS_SECONDS = 0.5
WAITING_EVENTS = 10_000
#: How often the consumer says that it turns; a freed slot is noticed this long after its task has ended.
TURN_SECONDS = 1.0
SETTLE_SECONDS = (0.002, 0.02)

_worker: Worker | None = None


@app.task(name=TASK, ignore_result=True, bind=True)
def answer_request(task: Any, request_id: str) -> None:
    """The hint arrived: answer the request if there is anything to answer. Never raises into Celery."""
    worker = _worker
    if worker is None:
        log.error("a hint arrived in a process that is not a worker")
        return
    came_by = task.request.get(logs.HTTP_REQUEST_ID)
    with logs.bound(**{logs.HTTP_REQUEST_ID: came_by} if came_by else {}):
        try:
            worker.answer(UUID(request_id))
        except Exception:
            log.exception("a hint failed", extra={"request_id": request_id})


class Consuming(bootsteps.StartStopStep):
    """Within Celery's consumer: says that it turns, and lets it notice freed slots at once.

    A full worker reads no message; without a wake-up it would notice a freed slot only when its hub turns by itself,
    343 ms later at the median (measured). A task that ends writes a byte into a pipe that the hub watches.
    """

    requires = ("celery.worker.consumer.tasks:Tasks", "celery.worker.consumer.events:Events")

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._timers: list[Any] = []
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        """Once per connection to the broker."""
        hub = consumer.hub
        if hub is not None:
            _bell.hang_in(hub)
            events = consumer.event_dispatcher
            # Otherwise each event is flushed by itself, and the 25th in the thread of an answer.
            events.on_send_buffered, events.buffer_limit = None, WAITING_EVENTS
            self._timers = [
                hub.call_repeatedly(TURN_SECONDS, self._turned, consumer.task_consumer),
                hub.call_repeatedly(EVENTS_SECONDS, events.flush),
            ]
            _consumed()

    def _turned(self, task_consumer: Any) -> None:
        """The hub turns, and our queue is still asked. (A question that Redis does not answer kombu notices itself.)"""
        if task_consumer.consuming_from(QUEUE):
            _consumed()

    def stop(self, consumer: Any) -> None:
        """The connection is gone or the worker ends."""
        for timer in self._timers:
            timer.cancel()
        if consumer.hub is not None:
            _bell.take_from(consumer.hub)


class Bell:
    """A pipe that the hub watches: ringing it, from any thread, makes the hub turn."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def hang_in(self, hub: Any) -> None:
        """Have `hub` turn when it rings."""
        hub.add_reader(self._read, self._heard, hub)

    def take_from(self, hub: Any) -> None:
        """The hub listens no more."""
        hub.remove(self._read)

    def ring(self) -> None:
        """A slot is free. A full pipe rings already."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"x")

    def _heard(self, hub: Any) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        # The task is counted as active until shortly after its end: so the hub turns once more, and again.
        for seconds in SETTLE_SECONDS:
            hub.call_later(seconds, _turn)


_bell = Bell()


def _turn() -> None:
    """Nothing: for it to be called the hub has turned."""


def _consumed() -> None:
    if _worker is not None:
        _worker.consumed()


app.steps["consumer"].add(Consuming)


@signals.task_postrun.connect(weak=False)
def _freed(**_: Any) -> None:
    _bell.ring()


@signals.setup_logging.connect(weak=False)
def _logging(**_: Any) -> None:
    logs.configure(settings.log_level, part="worker")
    for name in ("celery.worker.strategy", "celery.app.trace"):
        # "Task received", "Task succeeded": what happens to a request is in our own lines, with its ids.
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect(weak=False)
def _start(**_: Any) -> None:
    """Before Celery connects: a worker works with Redis absent too."""
    global _worker  # noqa: PLW0603 - Celery's signals have nothing else to carry it
    try:
        _worker = Worker(settings)
        _worker.start()
    except NaruError as error:
        # Celery logs what a signal's receiver raises, and goes on: a worker that is none.
        sys.stderr.write(f"worker: {error}\n")
        raise SystemExit(1) from None


@signals.worker_shutting_down.connect(weak=False)
def _drain(**_: Any) -> None:
    """Called within a signal handler: nothing here may wait."""
    if _worker is not None:
        _worker.drain()


@signals.worker_shutdown.connect(weak=False)
def _close(**_: Any) -> None:
    if _worker is not None:
        _worker.close()
