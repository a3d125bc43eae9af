"""What runs in this process now: its slots, its answers, and the ways in which one of them is interrupted.

Used from Celery's threads, the lease thread and the event loop. Nothing here knows Postgres or a provider.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from uuid import UUID

from shared import metrics
from shared.lifecycle import Claimed
from shared.live.publisher import LiveAnswer
from workers.process.loop import LoopThread

#: Notices of stops that came before the claim they are about had returned.
REMEMBERED_NOTICES = 1000


class Interruption(StrEnum):
    """Why an answer under way is ended from outside."""

    #: The person stopped it.
    STOP = "stop"
    #: This worker is told to stop and its grace time is over.
    DRAIN = "drain"
    #: This worker was marked lost: it has no right to write any more.
    LOST = "lost"


class RunningAnswer:
    """One answer under way. Interrupting it cancels its stream, in whichever phase it is."""

    def __init__(self, claimed: Claimed, loop: LoopThread) -> None:
        self.claimed = claimed
        self.live: LiveAnswer | None = None
        self.interruption: Interruption | None = None
        self.interrupted_at = 0.0
        self._loop = loop
        self._task: asyncio.Task[object] | None = None

    def interrupt(self, why: Interruption) -> None:
        """From any thread; the first reason stays, but losing the right outranks all."""
        if self.interruption is None or why is Interruption.LOST:
            self.interruption = why
            self.interrupted_at = time.monotonic()
            self._loop.call(self._cancel)

    def begin(self) -> None:
        """The stream's task says that it is the one to cancel. Raises CancelledError when that came first."""
        self._task = asyncio.current_task()
        if self.interruption is not None:
            raise asyncio.CancelledError

    @property
    def has_begun(self) -> bool:
        """Whether the stream's task has called `begin`."""
        return self._task is not None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class Running:
    """The answers of this process and its slots."""

    def __init__(self, *, slots: int, loop: LoopThread) -> None:
        self.slots = slots
        self._loop = loop
        self._free = threading.BoundedSemaphore(slots)
        self._suspect = threading.Lock()
        self._lock = threading.Lock()
        self._taken = 0
        self._answers: dict[UUID, RunningAnswer] = {}
        self._early_stops: deque[UUID] = deque(maxlen=REMEMBERED_NOTICES)

    @contextmanager
    def slot(self, *, timeout_seconds: float) -> Iterator[bool]:
        """One of the process's slots, whoever asks: Celery's thread or the pickup. False when none got free."""
        if not self._free.acquire(timeout=timeout_seconds):
            yield False
            return
        with self._lock:
            self._taken += 1
        try:
            yield True
        finally:
            with self._lock:
                self._taken -= 1
            self._free.release()

    @contextmanager
    def suspicion(self) -> Iterator[bool]:
        """The right to run the one request of this process that may kill it; False when another one runs."""
        if not self._suspect.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._suspect.release()

    @contextmanager
    def answering(self, claimed: Claimed) -> Iterator[RunningAnswer]:
        """Enter an answer, so that stops and losses find it."""
        answer = RunningAnswer(claimed, self._loop)
        with self._lock:
            self._answers[claimed.request_id] = answer
            stopped_early = claimed.request_id in self._early_stops
        metrics.RUNNING_HERE.inc()
        if stopped_early:
            answer.interrupt(Interruption.STOP)
        try:
            yield answer
        finally:
            metrics.RUNNING_HERE.dec()
            with self._lock:
                # Not another attempt's: after a loss the same request may run here again before this one has ended.
                if self._answers.get(claimed.request_id) is answer:
                    del self._answers[claimed.request_id]

    def stop(self, request_id: UUID) -> None:
        """A stop was asked for; a notice that comes before its claim is remembered."""
        with self._lock:
            answer = self._answers.get(request_id)
            if answer is None:
                self._early_stops.append(request_id)
        if answer is not None and answer.interruption is None:
            answer.interrupt(Interruption.STOP)

    def interrupt_all(self, why: Interruption) -> None:
        """End everything that runs here."""
        for answer in self.answers():
            answer.interrupt(why)

    def answers(self) -> list[RunningAnswer]:
        """What runs now."""
        with self._lock:
            return list(self._answers.values())

    def taken(self) -> int:
        """How many slots are taken: by what runs, and by what is just being claimed."""
        return self._taken
