"""The worker's side of the live stream: the new text of all answers, sent at each beat in one pipeline to each shard.

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
from shared.live.shards import live_urls, shard_of
from shared.settings import Settings


class Source(Protocol):
    """A stream of text."""

    def take(self) -> str:
        """Return the text that has arrived, without waiting; empty when there is none."""


class Publisher:
    """The publisher of one worker process, created and used in its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.beat = Beat(flush_seconds=settings.flush_seconds, on_beat=self._flush_beat)
        #: One for each shard.
        self._flushers = [Flusher(settings, url, beat=self.beat) for url in live_urls(settings)]

    @property
    def healthy(self) -> bool:
        """False while a shard fails: from a failed flush to the next one that succeeds."""
        return all(each.healthy for each in self._flushers)

    def open(self, request_id: UUID, attempt: int) -> LiveAnswer:
        """Begin the stream of an attempt."""
        flusher = self._flusher_of(request_id)
        live = LiveAnswer(request_id, attempt, wake=flusher.wake)
        flusher.open(live)
        flusher.flush_waiting()
        return live

    def close(self, live: LiveAnswer, *, status: str | None) -> None:
        """End the stream. With `status` None, tell the readers nothing: the attempt was given up, not the request."""
        self._flusher_of(live.request_id).close(live, status=status)

    async def carry(self, source: Source, live: LiveAnswer) -> None:
        """Send the text that arrives at `source` to `live`, and return at the first beat that finds none.

        Each beat takes the text that has arrived and sends it with its flush, without waking a task.
        """
        await self.beat.wait(lambda: live.add(source.take()))

    def _flush_beat(self, began_at: float) -> None:
        for flusher in self._flushers:
            flusher.flush_waiting(began_at)

    def _flusher_of(self, request_id: UUID) -> Flusher:
        return self._flushers[shard_of(request_id, len(self._flushers))]

    async def run(self) -> None:
        """Flush until cancelled. Each shard has its own task, so that one that hangs delays no other."""
        await asyncio.gather(*(each.run() for each in self._flushers))

    async def drain(self) -> None:
        """Send the waiting text once more, before the process ends."""
        await asyncio.gather(*(each.drain() for each in self._flushers))

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await asyncio.gather(*(each.aclose() for each in self._flushers))
