"""From a request's row and its live text to the one phase that a person is shown. Pure: no clock, no I/O.

The words for each phase are in the page's catalogue; here are only their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.errors import WORKER_LOST
from shared.following.sweep import Row
from shared.following.text import LiveText

#: A shorter wait than this is not worth a countdown.
SHORTEST_COUNTDOWN_SECONDS = 0.3


class Phase(StrEnum):
    """What a running or waiting request is doing, as far as a person cares."""

    #: Nothing runs here.
    IDLE = "idle"
    #: Others are ahead: `position` and `expected_seconds` say how many and how long.
    QUEUED = "queued"
    #: A worker will take it any moment.
    NEXT = "next"
    #: No worker is there at all.
    NO_WORKER = "no_worker"
    #: The provider asked us to wait: `retry_in_seconds`.
    WAITING = "waiting"
    #: A worker has it, no word has come yet.
    THINKING = "thinking"
    #: Words are coming.
    STREAMING = "streaming"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the page is told. States that differ in their seconds alone are the same news."""

    request_id: UUID | None
    phase: Phase
    attempt: int = 0
    position: int | None = None
    expected_seconds: int | None = None
    code: str | None = None
    slow: bool = False
    #: Moments on this process's monotonic clock; what is sent are the seconds since and until them.
    began_at: float | None = None
    retry_at: float | None = None

    def is_news(self, shown: State | None) -> bool:
        """Whether a browser that was sent `shown` needs to be told."""
        return shown is None or self.news != shown.news or self._countdown_moved(shown)

    @property
    def news(self) -> tuple[object, ...]:
        """What makes two states the same to a person."""
        return (
            self.request_id,
            self.phase,
            self.attempt,
            self.position,
            self.expected_seconds,
            self.code,
            self.slow,
        )

    def _countdown_moved(self, shown: State) -> bool:
        if self.retry_at is None or shown.retry_at is None:
            return self.retry_at is not shown.retry_at
        return abs(self.retry_at - shown.retry_at) > 1.0

    def data(self, now: float) -> dict[str, Any]:
        """The event's data, with the seconds as they are at `now`."""
        return {
            "request_id": None if self.request_id is None else str(self.request_id),
            "phase": self.phase.value,
            "attempt": self.attempt,
            "position": self.position,
            "expected_seconds": self.expected_seconds,
            "retry_in_seconds": None if self.retry_at is None else round(max(0.0, self.retry_at - now), 1),
            "since_seconds": None if self.began_at is None else round(max(0.0, now - self.began_at), 1),
            "code": self.code,
            "slow": self.slow,
        }


def state_of(row: Row | None, live: LiveText | None, *, read_at: float, slow: bool) -> State:
    """The state to show. `read_at` is when the row was read, on the monotonic clock."""
    if row is None or row.is_ended:
        return State(request_id=None, phase=Phase.IDLE, slow=slow)
    phase = _phase_of(row, live)
    waits = phase is Phase.QUEUED
    expected = row.expected_seconds if waits else None
    return State(
        request_id=row.request_id,
        phase=phase,
        # The stream may know of an attempt before the next look at the row does.
        attempt=max(row.attempt, live.attempt if live else 0),
        position=row.position if waits else None,
        expected_seconds=None if expected is None else max(1, round(expected)),
        code=row.code,
        slow=slow,
        began_at=read_at - row.since_seconds,
        retry_at=read_at + row.retry_in_seconds if phase is Phase.WAITING else None,
    )


def _phase_of(row: Row, live: LiveText | None) -> Phase:
    attempt = live.attempt if live else 0
    if row.status == "running" or attempt > row.attempt:
        return Phase.STREAMING if live and live.length and attempt >= row.attempt else Phase.THINKING
    asked_to_wait = row.code is not None and row.code != WORKER_LOST
    if asked_to_wait and row.retry_in_seconds > SHORTEST_COUNTDOWN_SECONDS:
        return Phase.WAITING
    if row.workers == 0:
        return Phase.NO_WORKER
    return Phase.QUEUED if row.position is not None and row.position > row.free_slots else Phase.NEXT
