"""Read the live streams of all watched requests on one shard, and fold their events into text.

The reader runs in uvicorn's loop and reports changes through `on_change`. Each stream is read from its beginning.
Streams without text have a connection of their own, so that a first word does not queue behind the text of hundreds
of other answers. While Redis fails, the reader retries with back-off and reports that through `on_health`; the sweep
carries the text meanwhile. A new connection reads every stream from its beginning again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import metrics
from shared.addresses import server_of
from shared.live.events import Event, Kind, from_fields, key_of
from shared.redis import make_async_client
from shared.settings import Settings
from web.watch.viewer import LiveStream

log = logging.getLogger(__name__)

#: A read waits this long for news. A stream that is followed meanwhile is part of the next read.
BLOCK_SECONDS = 0.05
#: Entries of one stream per read. A long answer that somebody opens late takes several reads.
ENTRIES = 500
#: After a read in which most streams had no news, pause this long for each stream, so that the next read finds more.
PAUSE_PER_STREAM_SECONDS = 0.0002
LONGEST_PAUSE_SECONDS = 0.02
#: After connecting, read this many streams at a time from their beginning: a reply with the texts of thousands would
#: take longer than a read may.
READ_AGAIN_AT_ONCE = 16
#: The last entries of a stream that tell how far it has come: an end and the text before it.
LAST_ENTRIES = 2
#: Process this many streams before yielding to the loop.
FOLDED_AT_ONCE = 8
FIRST_BACK_OFF_SECONDS = 0.1
CANCEL_AGAIN_SECONDS = 0.1
LONGEST_BACK_OFF_SECONDS = 1.0
FAILURES = (RedisError, OSError, asyncio.TimeoutError)

OnChange = Callable[[list[LiveStream], list[LiveStream]], None]
#: XREAD's reply: the entries of each key that has new ones, each an id and its fields.
News = list[tuple[str, list[tuple[str, dict[str, str]]]]]


class Reader:
    """Follows the live streams of one shard. For the event loop's thread only."""

    def __init__(self, settings: Settings, url: str, *, on_change: OnChange, on_health: Callable[[bool], None]) -> None:
        self._on_change = on_change
        self._on_health = on_health
        self._was_failing = False
        self._name = server_of(url)
        metrics.LIVE_REDIS_AWAY.labels(self._name).set(0)
        #: Looks for streams of other shards.
        self._control = _client(settings, url)
        report = self._health_changed
        self._without_text = _Lane(settings, url, on_change=self._got_first_text, on_health=report, pauses=False)
        self._with_text = _Lane(settings, url, on_change=on_change, on_health=report, pauses=True)

    @property
    def is_failing(self) -> bool:
        """Whether a read has failed and none has succeeded since."""
        return self._without_text.is_failing or self._with_text.is_failing

    def follow(self, stream: LiveStream) -> None:
        """Begin to read this stream, from its beginning."""
        self._without_text.follow(stream)

    def drop(self, stream: LiveStream) -> None:
        """Stop reading this stream."""
        self._without_text.drop(stream)
        self._with_text.drop(stream)

    async def last_of(self, streams: Sequence[LiveStream]) -> list[tuple[int, int]]:
        """Return the attempt and the length of text that the shard has of each stream; (0, 0) if it has none.

        A shard that does not answer is waited for once, however many streams there are.
        """
        found: list[tuple[int, int]] = []
        with suppress(*FAILURES):
            for at in range(0, len(streams), READ_AGAIN_AT_ONCE):
                pipeline = self._control.pipeline(transaction=False)
                for stream in streams[at : at + READ_AGAIN_AT_ONCE]:
                    pipeline.xrevrange(key_of(stream.request_id), count=LAST_ENTRIES)
                found += map(_last, await pipeline.execute(raise_on_error=False))
        return found + [(0, 0)] * (len(streams) - len(found))

    async def run(self) -> None:
        """Read until cancelled."""
        lanes = [asyncio.create_task(lane.run()) for lane in (self._without_text, self._with_text)]
        try:
            await asyncio.gather(*lanes)
        finally:
            # Repeatedly, because redis-py sometimes swallows a cancellation.
            while not all(lane.done() for lane in lanes):
                for lane in lanes:
                    lane.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait(lanes, timeout=CANCEL_AGAIN_SECONDS)
            with suppress(*FAILURES):
                await self._control.aclose()

    def _got_first_text(self, changed: list[LiveStream], ended: list[LiveStream]) -> None:
        self._on_change(changed, ended)
        for stream in changed:
            if stream.text.length:
                self._without_text.drop(stream)
                self._with_text.follow(stream)

    def _health_changed(self, fault: str) -> None:
        """Report a change once for both lanes, since they read the same Redis."""
        if self.is_failing == self._was_failing:
            return
        self._was_failing = self.is_failing
        metrics.LIVE_REDIS_AWAY.labels(self._name).set(self.is_failing)
        if self.is_failing:
            log.warning("live streams cannot be read: %s", fault, extra={"server": self._name})
        else:
            log.info("live streams are read again", extra={"server": self._name})
        self._on_health(not self.is_failing)


class _Lane:
    """One connection that reads a set of streams."""

    def __init__(
        self, settings: Settings, url: str, *, on_change: OnChange, on_health: Callable[[str], None], pauses: bool
    ) -> None:
        """`pauses`: after a read in which most streams had no news, wait for more news."""
        self._settings, self._url = settings, url
        self._pauses = pauses
        self._on_change = on_change
        #: Called with the error's type when reading fails, and with "" when it works again.
        self._on_health = on_health
        self._streams: dict[str, LiveStream] = {}
        self._wanted = asyncio.Event()
        self._client: Redis | None = None
        #: Whether an earlier connection has read streams, and the keys that this one has not read yet.
        self._has_read = False
        self._unread: list[str] = []
        self.is_failing = False

    def follow(self, stream: LiveStream) -> None:
        """Begin to read this stream, from where it was last read."""
        self._streams[key_of(stream.request_id)] = stream
        self._wanted.set()

    def drop(self, stream: LiveStream) -> None:
        """Stop reading this stream."""
        key = key_of(stream.request_id)
        if self._streams.get(key) is stream:
            del self._streams[key]

    async def run(self) -> None:
        """Read until cancelled."""
        back_off = FIRST_BACK_OFF_SECONDS
        try:
            while True:
                try:
                    await self._read_once()
                except Exception as error:
                    if not isinstance(error, FAILURES):
                        # Log and go on: a reader that stopped would leave every page without text.
                        log.exception("reading live streams failed: internal error")
                    await self._fail(error)
                    await asyncio.sleep(back_off)
                    back_off = min(LONGEST_BACK_OFF_SECONDS, 2 * back_off)
                else:
                    back_off = FIRST_BACK_OFF_SECONDS
        finally:
            if self._client is not None:
                with suppress(*FAILURES):
                    await self._client.aclose()

    async def _read_once(self) -> None:
        if not self._streams and not self.is_failing:
            self._wanted.clear()
            await self._wanted.wait()
            await self._replace_closed_connection()
        if self._client is None:
            self._client = _client(self._settings, self._url)
            self._begin_again()
        if not self._streams:
            await self._client.ping()
            self._recover()
            return
        if self._unread:
            await self._read_again(self._client)
            return
        asked = dict(self._streams)
        news = await self._news_of(self._client, asked)
        self._recover()
        with_news = await self._fold(news, asked)
        if self._pauses and with_news:
            await _pause(with_news=with_news, without_news=len(asked) - with_news)

    def _begin_again(self) -> None:
        """Read every stream from its beginning: the address may lead to another server, whose ids may be smaller.

        The text cuts what it gets twice.
        """
        if not self._has_read:
            self._has_read = True
            return
        self._unread = list(self._streams)
        for stream in self._streams.values():
            stream.last_id = "0-0"

    async def _read_again(self, client: Redis) -> None:
        keys, self._unread = self._unread[:READ_AGAIN_AT_ONCE], self._unread[READ_AGAIN_AT_ONCE:]
        asked = {key: self._streams[key] for key in keys if key in self._streams}
        news = await self._news_of(client, asked, waits=False) if asked else []
        self._recover()
        await self._fold(news, asked)

    async def _news_of(self, client: Redis, asked: dict[str, LiveStream], *, waits: bool = True) -> News:
        ids: dict[Any, Any] = {key: stream.last_id for key, stream in asked.items()}
        block = int(BLOCK_SECONDS * 1000) if waits else None
        return cast("News", await client.xread(ids, count=ENTRIES, block=block))

    async def _replace_closed_connection(self) -> None:
        """Drop a connection that Redis closed while nothing was read. That is not a failure."""
        if self._client is None:
            return
        try:
            await self._client.ping()
        except FAILURES:
            client, self._client = self._client, None
            with suppress(*FAILURES):
                await client.aclose()

    async def _fold(self, news: News, asked: dict[str, LiveStream]) -> int:
        """Fold the reply into the streams' texts. Return how many streams had news."""
        with_news = 0
        for at in range(0, len(news), FOLDED_AT_ONCE):
            with_news += self._fold_some(news[at : at + FOLDED_AT_ONCE], asked)
            await asyncio.sleep(0)
        return with_news

    def _fold_some(self, news: News, asked: dict[str, LiveStream]) -> int:
        now = asyncio.get_running_loop().time()
        changed: list[LiveStream] = []
        ended: list[LiveStream] = []
        with_news = 0
        for key, entries in news:
            stream = asked[key]
            # A stream that was dropped and followed again is a new object with its own position.
            if stream is not self._streams.get(key) or not entries:
                continue
            with_news += 1
            stream.last_id, stream.heard_at = entries[-1][0], now
            is_changed = is_ended = False
            for _, fields in entries:
                event = from_fields(fields)
                if event is not None:
                    is_changed = stream.text.fold(event) or is_changed
                    is_ended = is_ended or event.kind is Kind.END
            if is_changed:
                changed.append(stream)
            if is_ended:
                ended.append(stream)
        if changed or ended:
            self._on_change(changed, ended)
        return with_news

    async def _fail(self, error: BaseException) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(*FAILURES):
                await client.aclose()
        if not self.is_failing:
            self.is_failing = True
            self._on_health(type(error).__name__)

    def _recover(self) -> None:
        if self.is_failing:
            self.is_failing = False
            self._on_health("")


def _last(entries: Any) -> tuple[int, int]:
    """Return the attempt and the length of text in the last entries of a stream, or in the error in their place."""
    if isinstance(entries, Exception):
        return 0, 0
    found = [event for _, fields in entries if (event := from_fields(fields)) is not None]
    return max(((each.attempt, _reach(each)) for each in found), default=(0, 0))


def _reach(event: Event) -> int:
    """Return how far into the text the event reaches."""
    return event.offset + len(event.text) if event.kind in (Kind.DELTA, Kind.SNAPSHOT) else event.offset


async def _pause(*, with_news: int, without_news: int) -> None:
    """Let more text arrive after a read that brought little, since workers flush at different times."""
    if without_news > with_news:
        await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, without_news * PAUSE_PER_STREAM_SECONDS))


def _client(settings: Settings, url: str) -> Redis:
    return make_async_client(
        url,
        timeout_seconds=max(settings.redis_timeout_seconds, 2 * BLOCK_SECONDS),
        decode_responses=True,
        # One entry that is not UTF-8 must not stop the others.
        encoding_errors="replace",
        protocol=2,
        single_connection_client=True,
    )
