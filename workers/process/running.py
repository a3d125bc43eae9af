"""The slots of this process, its running answers, and how a running answer is interrupted.

Called from Celery's threads, the lease thread and the event loop. Uses neither Postgres nor the providers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from uuid import UUID

from shared import metrics
from shared.lifecycle import Claimed
from shared.live.answer import LiveAnswer
from workers.process.loop import LoopThread
from workers.providers.base import Call

#: Remember this many stops whose claim has not returned yet.
REMEMBERED_STOPS = 1000


class Interruption(StrEnum):
    """The reason for interrupting a running answer."""

    #: The person stopped it.
    STOP = "stop"
    #: This worker drains and its grace time is over.
    DRAIN = "drain"
    #: This worker was marked lost and must not write any more.
    LOST = "lost"


class RunningAnswer:
    """A claimed request that this process is answering."""

    def __init__(self, claimed: Claimed, loop: LoopThread) -> None:
        self.claimed = claimed
        self.live: LiveAnswer | None = None
        #: The call at the provider, if that goes on without this process.
        self.call = Call(claimed.call_id)
        #: The id of an earlier attempt's call that this process cannot reach (calls.py). Another worker may.
        self.unreachable_call_id: str | None = None
        #: The calls of this attempt that are known to have run, with one that it took up. All but the last were
        #: forgotten by the provider.
        self.known_calls = int(claimed.call_id is not None)
        self.interruption: Interruption | None = None
        self.interrupted_at = 0.0
        self._loop = loop
        self._task: asyncio.Task[object] | None = None

    @property
    def is_replay(self) -> bool:
        """Whether the stream repeats a call of an earlier attempt, so that its pace is not the model's."""
        return self.claimed.call_id is not None and self.known_calls == 1

    def interrupt(self, why: Interruption) -> None:
        """Cancel the stream, in any phase, from any thread. The first reason counts, except that LOST replaces any."""
        if self.interruption is None or why is Interruption.LOST:
            self.interruption = why
            self.interrupted_at = time.monotonic()
            self._loop.call(self._cancel)

    def begin(self) -> None:
        """Make the current task the one that `interrupt` cancels. Raises CancelledError after an early interrupt."""
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
    """The slots and the running answers of one process."""

    def __init__(self, *, slots: int, loop: LoopThread) -> None:
        self.slots = slots
        self._loop = loop
        self._free = threading.BoundedSemaphore(slots)
        self._suspect = threading.Lock()
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        #: The lanes that this process serves (lease.py).
        self.lanes: frozenset[str] = frozenset()
        self._answers: dict[UUID, RunningAnswer] = {}
        self._early_stops: deque[UUID] = deque(maxlen=REMEMBERED_STOPS)

    @contextmanager
    def slot(self, lane: str, *, timeout_seconds: float) -> Iterator[bool]:
        """Take a slot for the block. Yields False if none became free within the timeout, or none for this lane."""
        if not self._free.acquire(timeout=timeout_seconds):
            yield False
            return
        with self._lock:
            has_room = self._room_of(lane) > 0
            self._taken[lane] += has_room
        try:
            yield has_room
        finally:
            with self._lock:
                self._taken[lane] -= has_room
            self._free.release()

    def room(self) -> dict[str, int]:
        """Return how many more answers each lane may have here."""
        with self._lock:
            return {lane: self._room_of(lane) for lane in self.lanes}

    def _room_of(self, lane: str) -> int:
        """Return the free slots without those that are kept for other lanes.

        Half of the slots are kept, in equal parts, so that a lane whose provider hangs leaves room for the others.
        """
        others = self.lanes - {lane}
        kept = self.slots // (2 * (len(others) + 1)) if others else 0
        reserved = sum(max(0, kept - self._taken[other]) for other in others)
        return max(0, self.slots - self._taken.total() - reserved)

    @contextmanager
    def suspect_slot(self) -> Iterator[bool]:
        """Take the only slot for a request that may kill the process. Yields False while another such request runs."""
        if not self._suspect.acquire(blocking=False):
            yield False
            return
        try:
            yield True
        finally:
            self._suspect.release()

    @contextmanager
    def register(self, claimed: Claimed) -> Iterator[RunningAnswer]:
        """Register an answer for the block, so that `stop` and `interrupt_all` reach it."""
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
                # After a loss, the next attempt may run here before this one has ended: keep its entry.
                if self._answers.get(claimed.request_id) is answer:
                    del self._answers[claimed.request_id]

    def stop(self, request_id: UUID) -> None:
        """Stop the answer of this request. A stop that comes before its claim has returned is remembered."""
        with self._lock:
            answer = self._answers.get(request_id)
            if answer is None:
                self._early_stops.append(request_id)
        if answer is not None and answer.interruption is None:
            answer.interrupt(Interruption.STOP)

    def interrupt_all(self, why: Interruption) -> None:
        """Interrupt all running answers."""
        for answer in self.answers():
            answer.interrupt(why)

    def answers(self) -> list[RunningAnswer]:
        """Return the running answers."""
        with self._lock:
            return list(self._answers.values())

    def slots_taken(self) -> int:
        """Return the number of slots taken by running answers and by claims under way."""
        return self._taken.total()
