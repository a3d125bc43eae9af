"""The worker's side of the live stream: one flusher per process sends what waits of all answers in one pipeline.

Text is sent every flush interval, and at once on a start, a first delta and an end. A provider's reader keeps step
(`beat`): what comes between two flushes is taken, decoded and sent in one go. Publishing that fails is counted, never
raised and never waited for: the text stays in the `LiveAnswer`, and a snapshot repairs the stream when Redis is back.
Runs in the worker's event loop; only `LiveAnswer.text()` may be called from other threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from redis import RedisError
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection

from shared import metrics
from shared.live.events import FLUSHES, Event, Kind, key_of, to_value
from shared.redis import make_async_client
from shared.settings import Settings

log = logging.getLogger(__name__)

#: A snapshot this often bounds what a new reader has to read and what Redis has to keep.
ENTRIES_PER_SNAPSHOT = 500
#: What is written stays out of Redis's append-only file, and is not replicated: see decision 0024. Where that cannot be
#: asked for it is written as everything is.
_PASSING = "pcall(redis.set_repl, redis.REPL_NONE)\n"
#: Appends each delta to its stream, if that is there (one that Redis has lost gets a snapshot instead); returns the
#: numbers of those that were not. One command for all of them: a command and a reply for each took a third of what a
#: token costs in a worker (decision 0013).
_APPEND = (
    _PASSING
    + """
local missing = {}
for i = 1, #KEYS do
  if not redis.call('XADD', KEYS[i], 'NOMKSTREAM', '*', 'd', ARGV[i]) then
    missing[#missing + 1] = i
  end
end
return missing
"""
)
#: Appends any other entry; a snapshot replaces everything before it: the stream is trimmed to it.
_PUT = (
    _PASSING
    + """
if ARGV[1] == 'n' then
  redis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', ARGV[1], ARGV[2])
else
  redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
)
#: Says that a flush was sent.
_RING = _PASSING + "redis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', 'f', '')"
#: A start is sent this long after it was made.
START_SECONDS = 0.005
#: With a beat so many readers are woken in a row; then whatever else is ready has its turn, such as a new answer.
WOKEN_AT_ONCE = 8
#: Between two beats lies so many times what one takes with its flush, the mean of about ten: the busier the machine,
#: the more goes into each, here, in Redis and in web. With 300 answers on two cores, 30 instead of 20 ms took 0.17 of
#: a core off them all, and a quarter off a new question's way (docs/performance.md).
BEAT_TIMES = 4.0
BEAT_WEIGHT = 0.1
#: But at most so many flush intervals.
LONGEST_TIMES = 1.5
#: While Redis fails it is tried this often; each try costs at most the Redis timeout.
RETRY_SECONDS = 0.5


class Source(Protocol):
    """A stream of text."""

    def take(self) -> str:
        """Return the text that has arrived, without waiting; empty when there is none."""


class LiveAnswer:
    """The text of one attempt as it grows, and how much of it the stream has."""

    __slots__ = (
        *("_length", "_parts", "_publisher", "_sent", "_sent_parts"),
        *("attempt", "entries", "key", "request_id", "whole"),
    )

    def __init__(self, publisher: Publisher, request_id: UUID, attempt: int) -> None:
        self.request_id, self.attempt = request_id, attempt
        self.key = key_of(request_id)
        self._publisher = publisher
        self._parts: list[str] = []
        self._length = 0
        self._sent, self._sent_parts = 0, 0
        self.entries = 0
        #: False when the stream lacks something that was sent: a snapshot is due.
        self.whole = True

    def add(self, text: str) -> bool:
        """Append a delta; False when there is nothing in it. The first one is sent at once."""
        if not text:
            return False
        self._parts.append(text)
        self._length += len(text)
        self._publisher.wake(self, urgent=self._length == len(text))
        return True

    def text(self) -> str:
        """All of it so far; may be called from any thread."""
        return "".join(self._parts)

    @property
    def length(self) -> int:
        """Its length in code points."""
        return self._length

    def unsent(self) -> Event | None:
        """What the stream does not have yet, as one delta; it then counts as sent."""
        if self._sent_parts == len(self._parts):
            return None
        event = Event(Kind.DELTA, self.attempt, self._sent, "".join(self._parts[self._sent_parts :]))
        self.mark_sent()
        return event

    def mark_sent(self) -> None:
        """All that is here has been put into a pipeline."""
        self._sent, self._sent_parts = self._length, len(self._parts)


@dataclass(frozen=True, slots=True)
class _Deltas:
    """The deltas of one flush: where their command stands in the pipeline, and whose they are, in its order."""

    at: int
    lives: list[LiveAnswer]

    def __bool__(self) -> bool:
        return bool(self.lives)


#: Adds what has come since the last beat; whether there was any.
More = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits for a beat."""

    future: asyncio.Future[None]
    more: More | None

    def goes_on(self) -> bool:
        """At a beat: whether it waits for the next one too. Else it is woken."""
        if self.future.done():  # cancelled
            return False
        try:
            if self.more is not None and self.more():
                return True
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self.future.set_exception(error)
        else:
            self.future.set_result(None)
        return False


class Publisher:
    """One per worker process, made and used in its event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # No timeout per read (a twentieth of the worker's CPU): each flush has one as a whole.
        self._redis = make_async_client(
            settings.redis_url,
            timeout_seconds=None,
            connect_timeout_seconds=settings.redis_timeout_seconds,
            retry=True,
            decode_responses=True,
            redis_connect_func=self._connected,
        )
        self._was_connected = self._is_connected_anew = False
        self._open: set[LiveAnswer] = set()
        self._dirty: set[LiveAnswer] = set()
        self._extra: list[tuple[LiveAnswer, Event]] = []
        #: Set when a flush is due.
        self._due = asyncio.Event()
        self._waiting: list[Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        #: When the beat began whose flush is due, and what one takes with its flush of late, in s.
        self._beat_at: float | None = None
        self._beat_takes = 0.0
        #: False from a failed flush to the next one that succeeds.
        self.healthy = True

    def open(self, request_id: UUID, attempt: int) -> LiveAnswer:
        """Begin the stream of an attempt."""
        live = LiveAnswer(self, request_id, attempt)
        self._open.add(live)
        self._extra.append((live, Event(Kind.START, attempt)))
        # Behind the call of the provider, which is made in the same moment and must not wait for this.
        asyncio.get_running_loop().call_later(START_SECONDS, self._flush_waiting)
        return live

    def close(self, live: LiveAnswer, *, status: str | None) -> None:
        """End the stream; `status` None says nothing to the readers (the attempt was given up, not the request)."""
        if status is not None:
            self._extra.append((live, Event(Kind.END, live.attempt, text=status)))
            self.wake(live, urgent=True)
        self._open.discard(live)

    def wake(self, live: LiveAnswer, *, urgent: bool) -> None:
        """Have the flusher look at this answer: now, or with the next beat."""
        self._dirty.add(live)
        if urgent:
            self._due.set()
        else:
            self._plan()

    async def carry(self, source: Source, live: LiveAnswer) -> None:
        """Return when `source` has no text that can be taken without waiting; until then send it to `live`.

        Text that the provider sends between two flushes would wait for the next one anyway. It is taken with the
        flush, so no task is woken for it.
        """
        await self.beat(lambda: live.add(source.take()))

    async def beat(self, more: More | None = None) -> None:
        """Return shortly before the next flush, also when flushing fails; at most one interval.

        With `more`, return at the first beat at which that gives False: until then it is called with each, and what it
        adds goes out with that flush. To wake a task costs as much as all else that is done for a word.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(future, more))
        self._plan()
        await future

    def _plan(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.interval_seconds, self._beat)

    @property
    def interval_seconds(self) -> float:
        """From a beat to the next: the flush interval, and longer where beats take much of it."""
        shortest = self._settings.flush_seconds
        return min(max(shortest, BEAT_TIMES * self._beat_takes), LONGEST_TIMES * shortest)

    def _beat(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, []
        self._wake(waiting, time.monotonic())

    def _wake(self, waiting: list[Waiting], began: float) -> None:
        for each in waiting[:WOKEN_AT_ONCE]:
            if each.goes_on():
                self._waiting.append(each)
        del waiting[:WOKEN_AT_ONCE]
        if waiting:
            asyncio.get_running_loop().call_soon(self._wake, waiting, began)
        else:
            # Behind them: what they read now goes out with this flush.
            asyncio.get_running_loop().call_soon(self._flush_beat, began)
        if self._waiting:
            self._plan()

    def _flush_beat(self, began: float) -> None:
        self._flush_waiting()
        if self._due.is_set():
            self._beat_at = began

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
                # Nothing is known to come here; text that nobody sends any more would be worse than a line in the log.
                log.exception("a flush failed by our own fault")
                await self._failed(error, [])

    async def drain(self) -> None:
        """Send what still waits, once: the last thing before the process ends."""
        if self._dirty or self._extra:
            await self._flush()

    async def aclose(self) -> None:
        """Let the connection go."""
        await self._redis.aclose()

    async def _flush(self) -> None:
        self._due.clear()
        began, self._beat_at = self._beat_at, None
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
        if began is not None:
            self._beat_takes += BEAT_WEIGHT * (time.monotonic() - began - self._beat_takes)
        if deltas:
            for number in replies[deltas.at]:
                live = deltas.lives[number - 1]
                self._lost(live)
                # The snapshot that repairs it is the first entry of the stream: its end has to follow once more.
                self._extra += [each for each in extra if each[0] is live and each[1].kind is Kind.END]

    def _fill(self, pipeline: Pipeline, dirty: set[LiveAnswer], extra: list[tuple[LiveAnswer, Event]]) -> _Deltas:
        """Put all that waits into the pipeline."""
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
            pipeline.eval(_APPEND, len(keys), *keys, *values)
        for live, given in ends:
            self._add(pipeline, live, given)
        if len(pipeline):
            pipeline.eval(_RING, 1, FLUSHES)
        return deltas

    def _add(self, pipeline: Pipeline, live: LiveAnswer, event: Event) -> None:
        kept = self._settings.ended_stream_seconds if event.kind is Kind.END else self._settings.stream_seconds
        pipeline.eval(_PUT, 1, live.key, event.kind.value, to_value(event), kept)
        live.entries += 1

    def _add_snapshot(self, pipeline: Pipeline, live: LiveAnswer) -> None:
        self._add(pipeline, live, Event(Kind.SNAPSHOT, live.attempt, text=live.text()))
        live.mark_sent()
        live.whole, live.entries = True, 1

    async def _connected(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        self._was_connected, self._is_connected_anew = True, self._was_connected

    def _repair_after_connecting(self) -> None:
        """A Redis that was restarted may have the streams of long ago, in which an append would leave a hole: redis-py
        connects anew and says nothing. Those that just began, or just got a snapshot, are whole."""
        if self._is_connected_anew:
            self._is_connected_anew = False
            for live in self._open:
                if live.entries > 1:
                    self._lost(live)

    def _lost(self, live: LiveAnswer) -> None:
        live.whole = False
        self.wake(live, urgent=True)

    async def _failed(self, error: BaseException, extra: list[tuple[LiveAnswer, Event]]) -> None:
        if self.healthy:
            log.warning("live text is not published: Redis fails", extra={"error": type(error).__name__})
        self.healthy = False
        metrics.PUBLISH_FAILURES.labels("live").inc()
        ends = [(live, event) for live, event in extra if event.kind is Kind.END][-ENTRIES_PER_SNAPSHOT:]
        await asyncio.sleep(RETRY_SECONDS)
        # Every stream may be gone, not only those of this flush. An end is worth repeating, a start is not: the
        # snapshot says the attempt too.
        self._extra = ends + self._extra
        # Those that have ended too: their last words were in what failed.
        lacking = self._open | {live for live, _ in ends}
        for live in lacking:
            live.whole = False
        self._dirty |= lacking
        self._flush_waiting()
