"""The flusher: sends the new text of many answers to one Redis, one pipeline for each flush.

A flush carries at most SLICE_CHARACTERS of text. So the text that piled up in an outage, and the repair of the streams
after it, go out slice by slice: each fits into the time limit of a flush, over a slow link too.

The flusher sends again whatever a flush did not deliver. A delta whose reply is missing is repeated, because the stream
is still there; readers cut what they get twice. A snapshot repairs a stream only where it is known to lack text: Redis
has no such stream, or it is another Redis than before, or its snapshot did not arrive.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import RedisError, ResponseError
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection

from shared import metrics
from shared.addresses import server_of
from shared.live import scripts
from shared.live.answer import LiveAnswer
from shared.live.beat import Beat
from shared.live.events import Event, Kind, to_value
from shared.redis import make_async_client
from shared.settings import Settings

log = logging.getLogger(__name__)

#: A snapshot this often limits how much a new reader has to read and Redis has to keep.
ENTRIES_PER_SNAPSHOT = 500
#: Most text of one flush in code points: at most 256 KB, 20 ms at 100 Mbit/s.
SLICE_CHARACTERS = 64 * 1024
#: Pause between two attempts to flush while Redis fails; each attempt takes at most the Redis timeout.
RETRY_SECONDS = 0.5
#: Most starts and ends that wait for Redis.
MOST_ENDS = 500
_RUN_ID = re.compile(r"run_id:(\w+)")


@dataclass(frozen=True, slots=True)
class _Command:
    """One command of a flush: one event of one answer, or the deltas of several (`event` is None)."""

    lives: Sequence[LiveAnswer]
    event: Event | None = None


class Flusher:
    """The connection of one worker process to one Redis. Created and used in the worker's event loop."""

    def __init__(self, settings: Settings, url: str, *, beat: Beat) -> None:
        self._settings, self._beat, self._name = settings, beat, server_of(url)
        metrics.LIVE_REDIS_AWAY.labels(self._name).set(0)
        self._redis = make_async_client(
            url,
            timeout_seconds=settings.redis_timeout_seconds,
            decode_responses=True,
            redis_connect_func=self._connected,
        )
        #: The run id of the server of the last connection; None before the first one.
        self._server: str | None = None
        self._has_moved = False
        self._open: set[LiveAnswer] = set()
        #: Answers with text to send, and the starts and ends to send.
        self._dirty: set[LiveAnswer] = set()
        self._extra: list[tuple[LiveAnswer, Event]] = []
        #: Set when a flush is due.
        self._due = asyncio.Event()
        #: Start time of the beat whose flush is due.
        self._beat_began_at: float | None = None
        #: How much more text this flush may carry.
        self._room = SLICE_CHARACTERS
        #: False from a failed flush to the next one that succeeds.
        self.healthy = True

    def open(self, live: LiveAnswer) -> None:
        """Begin the stream of an attempt; its start goes out with the next flush."""
        self._open.add(live)
        self._extra.append((live, Event(Kind.START, live.attempt)))

    def close(self, live: LiveAnswer, *, status: str | None) -> None:
        """End the stream. With `status` None, tell the readers nothing: the attempt was given up, not the request."""
        if status is not None:
            self._extra.append((live, Event(Kind.END, live.attempt, text=status)))
            self.wake(live, urgent=True)
        self._open.discard(live)

    def wake(self, live: LiveAnswer, urgent: bool) -> None:
        """Schedule the sending of this answer's text: now if `urgent`, else with the next beat."""
        self._dirty.add(live)
        if urgent:
            self._due.set()
        else:
            self._beat.schedule()

    def flush_waiting(self, began_at: float | None = None) -> None:
        """Flush now if anything waits. `began_at` is the beginning of the beat that this flush ends."""
        if self._dirty or self._extra:
            self._due.set()
        if began_at is not None and self._due.is_set():
            self._beat_began_at = began_at

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await self._due.wait()
            try:
                await self._flush()
            except Exception as error:
                # Log and go on: a flusher that stopped would leave every answer unsent.
                log.exception("a flush failed: internal error")
                self._repair_all()
                await self._failed(error)

    async def drain(self) -> None:
        """Send the waiting text once more, before the process ends."""
        while self._dirty or self._extra:
            await self._flush()
            if not self.healthy:
                return

    async def aclose(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()

    async def _flush(self) -> None:
        self._due.clear()
        began_at, self._beat_began_at = self._beat_began_at, None
        pipeline = self._redis.pipeline(transaction=False)
        commands = self._fill(pipeline)
        if not commands:
            return
        has_more = bool(self._dirty or self._extra)
        replies: Sequence[Any]
        try:
            async with asyncio.timeout(self._settings.redis_timeout_seconds):
                replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as failure:
            replies = [failure] * len(commands)
        error = self._settle(commands, replies)
        if error is not None:
            await self._failed(error)
            return
        if self._has_moved:
            self._has_moved = False
            self._repair_all()
        if not self.healthy:
            self.healthy = True
            metrics.LIVE_REDIS_AWAY.labels(self._name).set(0)
            log.info("live text is published again", extra={"server": self._name})
        if has_more:  # the next slice; text that came meanwhile waits for its beat
            self._due.set()
        if began_at is not None:
            self._beat.record(time.monotonic() - began_at)

    def _fill(self, pipeline: Pipeline) -> list[_Command]:
        """Put the starts, then a slice of the text, then the ends into the pipeline."""
        dirty, self._dirty = self._dirty, set()
        extra, self._extra = self._extra, []
        commands: list[_Command] = []
        for live, event in extra:
            if event.kind is Kind.START:
                self._put(pipeline, commands, live, event)
        lacking = self._fill_deltas(pipeline, commands, dirty)
        self._fill_snapshots(pipeline, commands, lacking)
        for live, event in extra:
            if event.kind is Kind.END:
                if live in self._dirty:  # its text is not complete yet
                    self._extra.append((live, event))
                else:
                    self._put(pipeline, commands, live, event)
        return commands

    def _fill_deltas(self, pipeline: Pipeline, commands: list[_Command], dirty: set[LiveAnswer]) -> list[LiveAnswer]:
        """Add the deltas as one command. Return the answers that need a snapshot."""
        lives: list[LiveAnswer] = []
        keys: list[str] = []
        values: list[str] = []
        lacking: list[LiveAnswer] = []
        room = SLICE_CHARACTERS
        for live in dirty:
            if live.has_thought_news:
                self._put_thought(pipeline, commands, live)
            if not live.whole or live.entries >= ENTRIES_PER_SNAPSHOT:
                lacking.append(live)
            elif room <= 0:
                self._dirty.add(live)
            elif (event := live.delta(room)) is not None:
                lives.append(live)
                keys.append(live.key)
                values.append(to_value(event))
                live.entries += 1
                room -= len(event.text)
                if live.unsent_length:
                    self._dirty.add(live)
        if lives:
            pipeline.eval(scripts.APPEND, len(keys), *keys, *values)
            commands.append(_Command(lives))
        self._room = room
        return lacking

    def _fill_snapshots(self, pipeline: Pipeline, commands: list[_Command], lacking: list[LiveAnswer]) -> None:
        """Add as many snapshots as the slice has room for, but at least one where it has no other text."""
        for live in lacking:
            if self._room < SLICE_CHARACTERS and live.length > self._room:
                self._dirty.add(live)
                continue
            event = live.snapshot(self._room)
            live.entries = 0
            self._put(pipeline, commands, live, event)
            self._put_thought(pipeline, commands, live)  # the snapshot has trimmed the earlier one
            self._room -= len(event.text)
            if live.unsent_length:
                self._dirty.add(live)

    def _put_thought(self, pipeline: Pipeline, commands: list[_Command], live: LiveAnswer) -> None:
        if (event := live.thought()) is not None:
            self._put(pipeline, commands, live, event)

    def _put(self, pipeline: Pipeline, commands: list[_Command], live: LiveAnswer, event: Event) -> None:
        kept = self._settings.ended_stream_seconds if event.kind is Kind.END else self._settings.stream_seconds
        pipeline.eval(scripts.PUT, 1, live.key, event.kind.value, to_value(event), kept)
        live.entries += 1
        commands.append(_Command((live,), event))

    def _settle(self, commands: list[_Command], replies: Sequence[Any]) -> BaseException | None:
        """Take in the replies: prepare to send again what did not arrive. Return the first error."""
        first: BaseException | None = None
        ends: list[tuple[LiveAnswer, Event]] = []
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, BaseException):
                first = first or reply
                self._take_back(command)
            elif command.event is None:
                for number in reply:
                    self._repair(command.lives[number - 1])
            elif command.event.kind is Kind.END:
                ends.append((command.lives[0], command.event))
            elif reply and command.event.kind is Kind.THOUGHT:
                self._repair(command.lives[0])
        # The snapshot that repairs an ended answer will be the first entry of a new stream: the end follows once more.
        self._extra += [each for each in ends if not each[0].whole]
        return first

    def _take_back(self, command: _Command) -> None:
        if command.event is None:
            for live in command.lives:
                live.take_back()
        elif command.event.kind is Kind.END:
            self._extra.append((command.lives[0], command.event))
        else:  # a start is not repeated: a snapshot names the attempt too
            command.lives[0].whole = False
        self._dirty.update(command.lives)

    def _repair(self, live: LiveAnswer) -> None:
        """Replace the stream by a snapshot."""
        live.whole = False
        self.wake(live, urgent=True)

    def _repair_all(self) -> None:
        """Repair every stream. Another Redis has none, or old versions, in which an append would leave a hole."""
        for live in self._open | {live for live, _ in self._extra}:
            self._repair(live)

    async def _connected(self, connection: AbstractConnection) -> None:
        """Notice another server behind the address: a restart, or a failover. redis-py connects again silently."""
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        try:
            found = _RUN_ID.search(str(await connection.read_response()))
        except ResponseError:
            found = None  # INFO is not allowed: any reconnect may lead to another server
        server = found[1] if found else ""
        self._has_moved = self._has_moved or (self._server is not None and (not server or server != self._server))
        self._server = server

    async def _failed(self, error: BaseException) -> None:
        if self.healthy:
            log.warning(
                "live text is not published: Redis fails", extra={"error": type(error).__name__, "server": self._name}
            )
        self.healthy = False
        metrics.LIVE_REDIS_AWAY.labels(self._name).set(1)
        metrics.PUBLISH_FAILURES.labels("live").inc()
        # However long Redis is away, this process keeps the text of few answers that have ended.
        self._extra = self._extra[-MOST_ENDS:]
        self._dirty &= self._open | {live for live, _ in self._extra}
        await asyncio.sleep(RETRY_SECONDS)
        self.flush_waiting()
