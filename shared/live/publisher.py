"""The worker's side of the live stream: the new text of all answers, sent at each beat in one pipeline.

Text is sent at each beat, and at once on a start, a first delta and an end. A provider's reader follows the beat
(`carry`, `shared/live/beat.py`). A failure to publish is counted and never raised, and no answer waits for it: the text
stays in its `LiveAnswer`, and goes out when Redis is back (`shared/live/flusher.py`). Runs in the worker's event loop.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from uuid import UUID

from shared.live.answer import LiveAnswer
from shared.live.beat import Beat
from shared.live.flusher import Flusher
from shared.settings import Settings

#: The start of an attempt is sent this long after `open`, so that the provider is called first.
START_SECONDS = 0.005


class Source(Protocol):
    """A stream of text."""

    def take(self) -> str:
        """Return the text that has arrived, without waiting; empty when there is none."""


class Publisher:
    """The publisher of one worker process, created and used in its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.beat = Beat(flush_seconds=settings.flush_seconds, on_beat=self._flush_beat)
        self._flusher = Flusher(settings, settings.redis_url, beat=self.beat)

    @property
    def healthy(self) -> bool:
        """False from a failed flush to the next one that succeeds."""
        return self._flusher.healthy

    def open(self, request_id: UUID, attempt: int) -> LiveAnswer:
        """Begin the stream of an attempt."""
        flusher = self._flusher
        live = LiveAnswer(request_id, attempt, wake=flusher.wake)
        flusher.open(live)
        asyncio.get_running_loop().call_later(START_SECONDS, flusher.flush_waiting)
        return live

    def close(self, live: LiveAnswer, *, status: str | None) -> None:
        """End the stream. With `status` None, tell the readers nothing: the attempt was given up, not the request."""
        self._flusher.close(live, status=status)

    async def carry(self, source: Source, live: LiveAnswer) -> None:
        """Send the text that arrives at `source` to `live`, and return at the first beat that finds none.

        Each beat takes the text that has arrived and sends it with its flush, without waking a task.
        """
        await self.beat.wait(lambda: live.add(source.take()))

    def _flush_beat(self, began_at: float) -> None:
        self._flusher.flush_waiting(began_at)

    async def run(self) -> None:
        """Flush until cancelled."""
        await self._flusher.run()

    async def drain(self) -> None:
        """Send the waiting text once more, before the process ends."""
        await self._flusher.drain()

    async def aclose(self) -> None:
        """Close the connection to Redis."""
        await self._flusher.aclose()
