"""Derives the phase that a person sees from a request's row and its live text. Pure: no clock, no I/O.

`shared/words/` has the sentence for each phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.errors import OTHERS_FIRST, PACED, WORKER_LOST, Overloaded, RateLimited
from shared.following.place import EXACT_PLACES
from shared.following.sweep import Row
from shared.following.text import LiveText

#: Shortest wait that gets a countdown.
SHORTEST_COUNTDOWN_SECONDS = 0.3
_BUSY = {RateLimited.code, Overloaded.code, PACED}


class Phase(StrEnum):
    """The progress of a request, as a person sees it."""

    #: No request waits or runs.
    IDLE = "idle"
    #: Other requests are ahead: `position` and `expected_seconds` say how many and how long. Beyond EXACT_PLACES,
    #: neither is known.
    QUEUED = "queued"
    #: A worker will take it at any moment.
    NEXT = "next"
    #: No worker is live.
    NO_WORKER = "no_worker"
    #: Workers are live, but none offers its model.
    UNSERVED = "unserved"
    #: Other answers of the same owner have reserved what is left of a limit.
    HELD = "held"
    #: The provider asked us to wait: `retry_in_seconds`.
    WAITING = "waiting"
    #: The provider does not answer; the next try is in `retry_in_seconds`.
    AWAY = "away"
    #: A worker has it, and no text has arrived yet; or the model thinks between two pieces of text.
    THINKING = "thinking"
    #: Text is arriving.
    STREAMING = "streaming"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A phase and its details. States that differ only in their seconds count as equal."""

    request_id: UUID | None
    phase: Phase
    attempt: int = 0
    position: int | None = None
    #: The lane in which it waits, as people know it: the model, or the provider of all models in the lane.
    lane: str | None = None
    expected_seconds: int | None = None
    #: Where another model stands in: its name, and that of the chosen one.
    model: str | None = None
    asked_model: str | None = None
    code: str | None = None
    slow: bool = False
    #: How long the model has thought, once it writes; None while it thinks, and if it did not.
    thought_seconds: int | None = None
    #: Times on this process's monotonic clock; `data` converts them to the seconds since and until them.
    began_at: float | None = None
    retry_at: float | None = None
    #: While the model thinks: now without the time for which it has thought.
    thinks_since: float | None = None

    @property
    def is_beyond(self) -> bool:
        """Whether it waits behind the last place that is counted, EXACT_PLACES."""
        return self.position is not None and self.position > EXACT_PLACES

    def is_news(self, shown: State | None) -> bool:
        """Whether a browser that shows `shown` needs an update."""
        return shown is None or self.news != shown.news or self._countdown_moved(shown)

    @property
    def news(self) -> tuple[object, ...]:
        """The fields that a person can tell apart."""
        return (
            self.request_id,
            self.phase,
            self.attempt,
            self.position,
            self.lane,
            self.expected_seconds,
            self.model,
            self.asked_model,
            self.code,
            self.slow,
            self.thought_seconds,
            self.thinks_since is not None,
        )

    def _countdown_moved(self, shown: State) -> bool:
        if self.retry_at is None or shown.retry_at is None:
            return self.retry_at is not shown.retry_at
        return abs(self.retry_at - shown.retry_at) > 1.0

    def data(self, now: float) -> dict[str, Any]:
        """Return the event's data, with seconds relative to `now`."""
        return {
            "request_id": None if self.request_id is None else str(self.request_id),
            "phase": self.phase.value,
            "attempt": self.attempt,
            "position": None if self.position is None else min(self.position, EXACT_PLACES),
            "beyond": self.is_beyond,
            "lane": self.lane,
            "expected_seconds": self.expected_seconds,
            "retry_in_seconds": None if self.retry_at is None else round(max(0.0, self.retry_at - now), 1),
            "since_seconds": None if self.began_at is None else round(max(0.0, now - self.began_at), 1),
            "model": self.model,
            "asked_model": self.asked_model,
            "code": self.code,
            "slow": self.slow,
            "thought_seconds": self.thought_seconds
            if self.thinks_since is None
            else round(max(0.0, now - self.thinks_since), 1),
        }


def state_of(row: Row | None, live: LiveText | None, *, read_at: float, slow: bool, heard_at: float = 0.0) -> State:
    """Return the state to show.

    `read_at` and `heard_at` are the monotonic times at which the row was read and the stream last had news.
    """
    if row is None or row.is_ended:
        return State(request_id=None, phase=Phase.IDLE, slow=slow)
    phase = _phase_of(row, live)
    waits = phase is Phase.QUEUED
    is_told_when = phase in {Phase.WAITING, Phase.AWAY}
    expected = row.expected_seconds if waits else None
    thought = live.thought_seconds if live and live.attempt >= row.attempt else None
    thinks = thought is not None and phase is Phase.THINKING
    model, asked = told_apart(row.model, row.asked_model) if row.asked_model else (None, None)
    return State(
        request_id=row.request_id,
        phase=phase,
        thought_seconds=None if thought is None or thinks else int(thought),
        thinks_since=heard_at - thought if thought is not None and thinks else None,
        # The stream may begin an attempt before the next sweep reads the row.
        attempt=max(row.attempt, live.attempt if live else 0),
        position=row.position if waits else None,
        lane=row.lane.partition("/")[2] or row.lane or None if waits else None,
        expected_seconds=None if expected is None else max(1, round(expected)),
        model=model,
        asked_model=asked,
        code=row.code,
        slow=slow,
        began_at=read_at - row.since_seconds,
        retry_at=read_at + max(row.retry_in_seconds, row.closed_seconds or 0.0) if is_told_when else None,
    )


def told_apart(model: str, asked: str) -> tuple[str, str]:
    """Return what a sentence calls these two models: without their providers, unless they then had the same name."""
    short = [each.partition("/")[2] or each for each in (model, asked)]
    return (model, asked) if short[0] == short[1] else (short[0], short[1])


def _phase_of(row: Row, live: LiveText | None) -> Phase:
    attempt = live.attempt if live else 0
    if row.status == "running" or attempt > row.attempt:
        writes = live and live.length and attempt >= row.attempt and not live.is_thinking
        return Phase.STREAMING if writes else Phase.THINKING
    if row.closed_code is not None and row.workers:
        return Phase.WAITING if row.closed_code in _BUSY else Phase.AWAY
    return _phase_of_waiting(row)


def _phase_of_waiting(row: Row) -> Phase:
    if row.code == OTHERS_FIRST:
        return Phase.HELD
    asked_to_wait = row.code is not None and row.code != WORKER_LOST
    if asked_to_wait and row.retry_in_seconds > SHORTEST_COUNTDOWN_SECONDS:
        return Phase.WAITING if row.code in _BUSY else Phase.AWAY
    if row.workers == 0:
        return Phase.NO_WORKER
    if not row.is_served:
        return Phase.UNSERVED
    return Phase.QUEUED if row.position is not None and row.position > row.free_slots else Phase.NEXT
