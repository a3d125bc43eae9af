"""The Celery app of the workers: its one task, and the signals and the bootstep that tie a `Worker` to Celery.

`celery -A workers.app:app …` finds the app here; `python -m workers` runs a worker with the right options. Flower uses
the same app, and so the same broker settings. The task calls `workers/answering/answer.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps, signals

from shared import logs
from shared.errors import NaruError
from shared.queue import OLD_QUEUE, TASK, make_celery, queue_of
from shared.settings import load_settings
from workers.worker import Worker

log = logging.getLogger(__name__)

settings = load_settings()
settings.need("redis_url")
app: Celery = make_celery(settings)

#: Events for Flower are sent this often, in one message: a message for each event would cost more than the hint.
EVENTS_SECONDS = 0.5
MAX_BUFFERED_EVENTS = 10_000
#: Interval at which the consumer reports that its hub runs.
REPORT_SECONDS = 1.0
#: Longest wait for the first lanes before the consumer starts.
LANES_SECONDS = 1.0
#: The hub runs again this long after a task has ended: Celery counts a task as active a little longer than it runs.
SETTLE_SECONDS = (0.002, 0.02)

_worker: Worker | None = None


@app.task(name=TASK, ignore_result=True)
def answer_request(lane: str) -> None:
    """Handle a hint: answer a request of the lane, if there is one. Logs every exception instead of raising it.

    The previous version's hints name a request instead of a lane. They find nothing, and a tick replaces them.
    """
    worker = _worker
    if worker is None:
        log.error("a hint arrived in a process that is not a worker")
        return
    try:
        worker.answer(lane)
    except Exception:
        log.exception("a hint failed", extra={"lane": lane})


class ConsumerWatch(bootsteps.StartStopStep):
    """A step of Celery's consumer that reports whether the consumer runs, and wakes it when a slot becomes free.

    A full worker reads no message. By itself it would notice a free slot only in the next round of its hub, 343 ms
    later at the median (decision 0005).
    """

    requires = ("celery.worker.consumer.tasks:Tasks", "celery.worker.consumer.events:Events")

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._timers: list[Any] = []
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        """Attach to the hub, once for each connection to the broker."""
        hub = consumer.hub
        if hub is not None:
            _wake_up.attach(hub, lambda: self._consume_lanes(consumer))
            events = consumer.event_dispatcher
            # By default Celery flushes each event by itself, and every 25th in the thread of an answer.
            events.on_send_buffered, events.buffer_limit = None, MAX_BUFFERED_EVENTS
            self._consume_lanes(consumer)
            self._timers = [
                hub.call_repeatedly(REPORT_SECONDS, self._report, consumer),
                hub.call_repeatedly(EVENTS_SECONDS, events.flush),
            ]
            _consumed()

    def _report(self, consumer: Any) -> None:
        """Report that the hub runs and still reads our queues. (kombu itself notices a Redis that does not answer.)"""
        self._consume_lanes(consumer)
        if consumer.task_consumer.consuming_from(OLD_QUEUE):
            _consumed()

    def _consume_lanes(self, consumer: Any) -> None:
        """Read the queues of the lanes that this worker serves now, and no other lane's."""
        wanted = {queue_of(lane) for lane in _worker.lanes} if _worker is not None else set()
        reading = {each.name for each in consumer.task_consumer.queues} - {OLD_QUEUE}
        for name in sorted(wanted - reading):
            consumer.add_task_queue(name)
        for name in sorted(reading - wanted):
            consumer.cancel_task_queue(name)

    def stop(self, consumer: Any) -> None:
        """Detach from the hub: the connection is gone, or the worker ends."""
        for timer in self._timers:
            timer.cancel()
        if consumer.hub is not None:
            _wake_up.detach(consumer.hub)


class WakeUpPipe:
    """A pipe that the hub watches, so that any thread can make the hub run a round."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def attach(self, hub: Any, on_wake: Callable[[], None]) -> None:
        """Have `hub` watch the pipe and call `on_wake` in each round that the pipe causes."""
        hub.add_reader(self._read, self._on_byte, hub, on_wake)

    def detach(self, hub: Any) -> None:
        """Remove the pipe from `hub`."""
        hub.remove(self._read)

    def wake(self) -> None:
        """Make the hub run a round."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the hub already
            os.write(self._write, b"x")

    def _on_byte(self, hub: Any, on_wake: Callable[[], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        on_wake()
        for seconds in SETTLE_SECONDS:
            hub.call_later(seconds, _do_nothing)


_wake_up = WakeUpPipe()


def _do_nothing() -> None:
    """Do nothing. The hub runs a round in order to call this."""


def _consumed() -> None:
    if _worker is not None:
        _worker.consumed()


app.steps["consumer"].add(ConsumerWatch)


@signals.task_postrun.connect(weak=False)
def _freed(**_: Any) -> None:
    _wake_up.wake()


@signals.setup_logging.connect(weak=False)
def _logging(**_: Any) -> None:
    logs.configure(settings.log_level, part="worker")
    for name in ("celery.worker.strategy", "celery.app.trace"):
        # "Task received" and "Task succeeded" repeat our own lines, which have the ids.
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect(weak=False)
def _start(**_: Any) -> None:
    """Start the worker before Celery connects: it works without Redis too."""
    global _worker  # noqa: PLW0603 - Celery's signals cannot carry it
    try:
        _worker = Worker(settings, lanes_changed=_wake_up.wake, drain_requested=_end_as_on_signal)
        _worker.start()
        # A lane that is added later has to wait for the read under way.
        _worker.wait_for_lanes(seconds=LANES_SECONDS)
    except NaruError as error:
        # Celery would log the exception of a signal's receiver and go on without a worker.
        sys.stderr.write(f"worker: {error}\n")
        raise SystemExit(1) from None


def _end_as_on_signal() -> None:
    """Drain and end this process, as its supervisor does. The supervisor may start a new one."""
    os.kill(os.getpid(), signal.SIGTERM)


@signals.worker_shutting_down.connect(weak=False)
def _drain(**_: Any) -> None:
    """Begin to drain. Called within a signal handler, so it must not wait."""
    if _worker is not None:
        _worker.drain()


@signals.worker_shutdown.connect(weak=False)
def _close(**_: Any) -> None:
    if _worker is not None:
        _worker.close()
