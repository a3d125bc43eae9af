"""The worker's side of the live stream: one flusher per process sends the new text of all answers in one pipeline.

Text is sent at each beat, and at once on a start, a first delta and an end. A provider's reader follows the beat
(`carry`, `shared/live/beat.py`). A failure to publish is counted and never raised, and no answer waits for it: the text
stays in its `LiveAnswer`, and a snapshot repairs the stream when Redis is back. Runs in the worker's event loop; other
threads may call only `LiveAnswer.text()`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from redis import RedisError
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection

from shared import metrics
from shared.live import scripts
from shared.live.beat import Beat
from shared.live.events import Event, Kind, key_of, to_value
from shared.redis import make_async_client
from shared.settings import Settings

log = logging.getLogger(__name__)

#: A snapshot this often limits how much a new reader has to read and Redis has to keep.
ENTRIES_PER_SNAPSHOT = 500
#: Pause between two attempts to flush while Redis fails; each attempt takes at most the Redis timeout.
RETRY_SECONDS = 0.5


class Source(Protocol):
    """A stream of text."""

    def take(self) -> str:
        """Return the text that has arrived, without waiting; empty when there is none."""


class LiveAnswer:
    """The growing text of one attempt, and the position up to which the stream has it."""

    __slots__ = (
        "_length",
        "_parts",
        "_publisher",
        "_sent",
        "_sent_parts",
        "attempt",
        "entries",
        "key",
        "request_id",
        "whole",
    )

    def __init__(self, publisher: Publisher, request_id: UUID, attempt: int) -> None:
        self.request_id, self.attempt = request_id, attempt
        self.key = key_of(request_id)
        self._publisher = publisher
        self._parts: list[str] = []
        self._length = 0
        self._sent, self._sent_parts = 0, 0
        #: Number of entries in the stream since its last snapshot.
        self.entries = 0
        #: False when the stream lacks text that was sent: a snapshot is due.
        self.whole = True

    def add(self, text: str) -> bool:
        """Append a delta, and return False if it is empty. The first one is sent at once."""
        if not text:
            return False
        self._parts.append(text)
        self._length += len(text)
        self._publisher.wake(self, urgent=self._length == len(text))
        return True

    def text(self) -> str:
        """Return the whole text so far. Any thread may call this."""
        return "".join(self._parts)

    @property
    def length(self) -> int:
        """The length of the text in code points."""
        return self._length

    def unsent(self) -> Event | None:
        """Return the text that the stream lacks as one delta, and count it as sent. None if there is none."""
        if self._sent_parts == len(self._parts):
            return None
        event = Event(Kind.DELTA, self.attempt, self._sent, "".join(self._parts[self._sent_parts :]))
        self.mark_sent()
        return event

    def mark_sent(self) -> None:
        """Count the whole text as sent."""
        self._sent, self._sent_parts = self._length, len(self._parts)


@dataclass(frozen=True, slots=True)
class _Deltas:
    """The deltas of one flush: the position of their command in the pipeline, and their answers in its order."""

    position: int
    lives: list[LiveAnswer]

    def __bool__(self) -> bool:
        return bool(self.lives)


class Publisher:
    """The publisher of one worker process, created and used in its event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = make_async_client(
            settings.redis_url,
            timeout_seconds=settings.redis_timeout_seconds,
            decode_responses=True,
            redis_connect_func=self._connected,
        )
        self._was_connected = self._has_reconnected = False
        self.beat = Beat(flush_seconds=settings.flush_seconds, on_beat=self._flush_beat)
        self._open: set[LiveAnswer] = set()
        #: Answers with text to send, and the starts and ends to send.
        self._dirty: set[LiveAnswer] = set()
        self._extra: list[tuple[LiveAnswer, Event]] = []
        #: Set when a flush is due.
        self._due = asyncio.Event()
        #: Start time of the beat whose flush is due.
        self._beat_began_at: float | None = None
        #: False from a failed flush to the next one that succeeds.
        self.healthy = True

    def open(self, request_id: UUID, attempt: int) -> LiveAnswer:
        """Begin the stream of an attempt."""
        live = LiveAnswer(self, request_id, attempt)
        self._open.add(live)
        self._extra.append((live, Event(Kind.START, attempt)))
        self._due.set()
        return live

    def close(self, live: LiveAnswer, *, status: str | None) -> None:
        """End the stream. With `status` None, tell the readers nothing: the attempt was given up, not the request."""
        if status is not None:
            self._extra.append((live, Event(Kind.END, live.attempt, text=status)))
            self.wake(live, urgent=True)
        self._open.discard(live)

    def wake(self, live: LiveAnswer, *, urgent: bool) -> None:
        """Schedule the sending of this answer's text: now if `urgent`, else with the next beat."""
        self._dirty.add(live)
        if urgent:
            self._due.set()
        else:
            self.beat.schedule()

    async def carry(self, source: Source, live: LiveAnswer) -> None:
        """Send the text that arrives at `source` to `live`, and return at the first beat that finds none.

        Each beat takes the text that has arrived and sends it with its flush, without waking a task.
        """
        await self.beat.wait(lambda: live.add(source.take()))

    def _flush_beat(self, began_at: float) -> None:
        self._flush_waiting()
        if self._due.is_set():
            self._beat_began_at = began_at

    def _flush_waiting(self) -> None:
        if self._dirty or self._extra:
            self._due.set()

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await self._due.wait()
            try:
                await self._flush()
            except Exception as error:
                # Log and go on: a flusher that stopped would leave every answer unsent.
                log.exception("a flush failed: internal error")
                await self._failed(error, [])

    async def drain(self) -> None:
        """Send the waiting text once more, before the process ends."""
        if self._dirty or self._extra:
            await self._flush()

    async def aclose(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()

    async def _flush(self) -> None:
        self._due.clear()
        began_at, self._beat_began_at = self._beat_began_at, None
        dirty, self._dirty = self._dirty, set()
        extra, self._extra = self._extra, []
        pipeline = self._redis.pipeline(transaction=False)
        deltas = self._fill(pipeline, dirty, extra)
        try:
            async with asyncio.timeout(self._settings.redis_timeout_seconds):
                replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            await self._failed(error, extra)
            return
        if any(isinstance(reply, Exception) for reply in replies):
            await self._failed(next(reply for reply in replies if isinstance(reply, Exception)), extra)
            return
        self.healthy = True
        self._repair_after_connecting()
        if began_at is not None:
            self.beat.record(time.monotonic() - began_at)
        if deltas:
            for number in replies[deltas.position]:
                live = deltas.lives[number - 1]
                self._repair(live)
                # The snapshot will be the first entry of the new stream, so the end has to follow it once more.
                self._extra += [each for each in extra if each[0] is live and each[1].kind is Kind.END]

    def _fill(self, pipeline: Pipeline, dirty: set[LiveAnswer], extra: list[tuple[LiveAnswer, Event]]) -> _Deltas:
        """Put the starts, then the text, then the ends into the pipeline."""
        lives: list[LiveAnswer] = []
        keys: list[str] = []
        values: list[str] = []
        ends = []
        for live, given in extra:
            if given.kind is Kind.END:
                ends.append((live, given))
            else:
                self._add(pipeline, live, given)
        for live in dirty:
            if not live.whole or live.entries >= ENTRIES_PER_SNAPSHOT:
                self._add_snapshot(pipeline, live)
            elif (event := live.unsent()) is not None:
                lives.append(live)
                keys.append(live.key)
                values.append(to_value(event))
                live.entries += 1
        deltas = _Deltas(len(pipeline), lives)
        if deltas:
            pipeline.eval(scripts.APPEND, len(keys), *keys, *values)
        for live, given in ends:
            self._add(pipeline, live, given)
        return deltas

    def _add(self, pipeline: Pipeline, live: LiveAnswer, event: Event) -> None:
        kept = self._settings.ended_stream_seconds if event.kind is Kind.END else self._settings.stream_seconds
        pipeline.eval(scripts.PUT, 1, live.key, event.kind.value, to_value(event), kept)
        live.entries += 1

    def _add_snapshot(self, pipeline: Pipeline, live: LiveAnswer) -> None:
        self._add(pipeline, live, Event(Kind.SNAPSHOT, live.attempt, text=live.text()))
        live.mark_sent()
        live.whole, live.entries = True, 1

    async def _connected(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        self._was_connected, self._has_reconnected = True, self._was_connected

    def _repair_after_connecting(self) -> None:
        """Repair the streams after a reconnect, which redis-py does silently.

        A restarted Redis may have old versions of the streams, and an append to one would leave a hole. A stream with a
        single entry, its start or a snapshot, is complete.
        """
        if self._has_reconnected:
            self._has_reconnected = False
            for live in self._open:
                if live.entries > 1:
                    self._repair(live)

    def _repair(self, live: LiveAnswer) -> None:
        """Replace the stream by a snapshot with the next flush."""
        live.whole = False
        self.wake(live, urgent=True)

    async def _failed(self, error: BaseException, extra: list[tuple[LiveAnswer, Event]]) -> None:
        if self.healthy:
            log.warning("live text is not published: Redis fails", extra={"error": type(error).__name__})
        self.healthy = False
        metrics.PUBLISH_FAILURES.labels("live").inc()
        ends = [(live, event) for live, event in extra if event.kind is Kind.END][-ENTRIES_PER_SNAPSHOT:]
        await asyncio.sleep(RETRY_SECONDS)
        # Repeat the ends but not the starts: a snapshot names the attempt too.
        self._extra = ends + self._extra
        # Every stream may be gone, not only those of this flush. The last text of the ended answers was in it, too.
        lacking = self._open | {live for live, _ in ends}
        for live in lacking:
            live.whole = False
        self._dirty |= lacking
        self._flush_waiting()
