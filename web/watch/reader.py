"""The one reader of live streams of this process: an XREAD over all that have text, and one over those without.

It reads and folds, in uvicorn's own loop; what changed it hands to `on_change`. Streams are read from their beginning,
never from `$`. Where many have text, it is read with each flush of a worker, which says so in a stream of its own.
A newly watched stream does not wait for a blocked read: the read is unblocked. And a first word does
not wait for its turn among the words of hundreds: those without text are few, and are read by themselves. When Redis
fails the reader backs off, says so through `on_health`, and goes on by itself when it is back; the sweep carries the
text meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.live.events import FLUSHES, Kind, from_entry, key_of
from shared.redis import make_async_client
from shared.settings import Settings
from web.watch.viewer import Stream

log = logging.getLogger(__name__)

#: Below the timeout of the connection, so that silence and a frozen server are two things.
BLOCK_SECONDS = 0.4
#: Where CLIENT UNBLOCK is not allowed, a new stream waits for the blocked read no longer than this.
SHORT_BLOCK_SECONDS = 0.02
#: Entries of one stream per read: a long answer that is looked at late comes in a few reads.
ENTRIES = 500
#: Redis's wait for many streams costs it more than to read them: above so many a lane waits for the next flush of any
#: worker instead, and then reads.
WAITED_FOR_EACH = 32
#: A read asks for every stream that has text. One that brought news of most was worth it, and the next begins at
#: once; one that brought little of many (several workers flush by turns) waits for more, the longer the more there are.
#: So does one that brought nothing: the flush was of answers that nobody watches here.
PAUSE_PER_STREAM_SECONDS = 0.0002
LONGEST_PAUSE_SECONDS = 0.02
#: Of so many streams the news are taken in and sent in a row; then whatever else is ready has its turn.
FOLDED_AT_ONCE = 8
FIRST_BACK_OFF_SECONDS = 0.1
CANCEL_AGAIN_SECONDS = 0.1
LONGEST_BACK_OFF_SECONDS = 1.0
FAILURES = (RedisError, OSError, asyncio.TimeoutError)


OnChange = Callable[[list[Stream], list[Stream]], None]
#: What XREAD answers: of each key that has news its entries, each an id and its fields' names and values in turn.
News = Sequence[tuple[str, list[tuple[str, list[str]]]]]


class Reader:
    """Follows the live streams of the requests it is given. Lives in one event loop."""

    def __init__(self, settings: Settings, *, on_change: OnChange, on_health: Callable[[bool], None]) -> None:
        self._on_change = on_change
        self._on_health = on_health
        self._was_failing = False
        #: Ends the waits of both lanes.
        self._control = _client(settings)
        self._first = self._lane(settings, on_change=self._first_changed, pauses=False)
        self._rest = self._lane(settings, on_change=on_change, pauses=True)

    @property
    def is_failing(self) -> bool:
        """Whether Redis cannot be read."""
        return self._first.is_failing or self._rest.is_failing

    def follow(self, stream: Stream) -> None:
        """Read this stream too, from now and from its beginning."""
        self._first.follow(stream)

    def drop(self, stream: Stream) -> None:
        """Nobody looks at it any more."""
        self._first.drop(stream)
        self._rest.drop(stream)

    async def run(self) -> None:
        """Read until cancelled."""
        lanes = [asyncio.create_task(lane.run()) for lane in (self._first, self._rest)]
        try:
            await asyncio.gather(*lanes)
        finally:
            # More than once: redis-py swallows a cancellation now and then, and a lane that goes on is waited for.
            while not all(lane.done() for lane in lanes):
                for lane in lanes:
                    lane.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait(lanes, timeout=CANCEL_AGAIN_SECONDS)
            with suppress(*FAILURES):
                await self._control.aclose()

    def _lane(self, settings: Settings, *, on_change: OnChange, pauses: bool) -> _Lane:
        return _Lane(settings, self._control, on_change=on_change, on_health=self._health_changed, pauses=pauses)

    def _first_changed(self, changed: list[Stream], ended: list[Stream]) -> None:
        self._on_change(changed, ended)
        for stream in changed:
            if stream.text.length:
                self._first.drop(stream)
                self._rest.follow(stream)

    def _health_changed(self, fault: str) -> None:
        """A lane cannot read, or can again: said once for both, who read the same Redis."""
        if self.is_failing == self._was_failing:
            return
        self._was_failing = self.is_failing
        if self.is_failing:
            log.warning("live streams cannot be read: %s", fault)
        else:
            log.info("live streams are read again")
        self._on_health(not self.is_failing)


class _Lane:
    """One connection that waits for news of some streams; `control` ends its wait."""

    def __init__(
        self, settings: Settings, control: Redis, *, on_change: OnChange, on_health: Callable[[str], None], pauses: bool
    ) -> None:
        self._settings = settings
        self._control = control
        self._pauses = pauses
        self._on_change = on_change
        #: Called with the name of what has failed, and with none when it is well again.
        self._on_health = on_health
        self._streams: dict[str, Stream] = {}
        self._wanted = asyncio.Event()
        #: Raised with each new stream; `_taken` is the number that the read under way knows of.
        self._asked = 0
        self._taken = 0
        self._client: Redis | None = None
        self._client_id = 0
        #: The last flush that was heard of.
        self._flush_id = "0-0"
        self._block_seconds = BLOCK_SECONDS
        self._unblocking: asyncio.Task[None] | None = None
        self.is_failing = False

    def follow(self, stream: Stream) -> None:
        """Read this stream too, from where it was read to."""
        self._streams[key_of(stream.request_id)] = stream
        self._asked += 1
        self._wanted.set()
        if self._unblocking is None or self._unblocking.done():
            self._unblocking = asyncio.get_running_loop().create_task(self._unblock())

    def drop(self, stream: Stream) -> None:
        """Nobody looks at it any more."""
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
                        # Nothing is known to come here; text that nobody reads any more would be worse than a line.
                        log.exception("reading live streams failed by our own fault")
                    await self._fail(error)
                    await asyncio.sleep(back_off)
                    back_off = min(LONGEST_BACK_OFF_SECONDS, 2 * back_off)
                else:
                    back_off = FIRST_BACK_OFF_SECONDS
        finally:
            self._taken, self._client_id = -1, 0
            if self._unblocking is not None:
                self._unblocking.cancel()
            if self._client is not None:
                with suppress(*FAILURES):
                    await self._client.aclose()

    async def _read_once(self) -> None:
        if not self._streams and not self.is_failing:
            self._wanted.clear()
            await self._wanted.wait()
            await self._look_after_rest()
        if self._client is None:
            self._client = _client(self._settings, single_connection_client=True)
            # As it comes: a dictionary for each entry, made by the client, would be read once and thrown away.
            self._client.set_response_callback("XREAD", _as_it_comes)
            self._client_id = await self._client.client_id()
            self._flush_id = "0-0"  # another server may count from a smaller number
        self._taken = self._asked
        if not self._streams:
            await self._client.ping()
            self._taken = -1
            self._recover()
            return  # and wait until there is something to read
        many = self._pauses and len(self._streams) > WAITED_FOR_EACH
        if many:
            await self._await_flush(self._client)
        asked = dict(self._streams)
        answer = await self._news_of(self._client, asked, waits=not many) if asked else []
        self._taken = -1
        self._recover()
        grown = await self._fold(answer, asked)
        without_news = len(asked) - grown
        if self._pauses and without_news > grown and (grown or many):
            await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, without_news * PAUSE_PER_STREAM_SECONDS))

    async def _news_of(self, client: Redis, asked: dict[str, Stream], *, waits: bool) -> News:
        ids: dict[Any, Any] = {key: stream.last_id for key, stream in asked.items()}
        news: Any = await client.xread(ids, count=ENTRIES, block=self._block_milliseconds if waits else None)
        return news  # type: ignore[no-any-return]

    async def _await_flush(self, client: Redis) -> None:
        """Return when a worker has flushed since the last time, or after a while."""
        flushes: Any = await client.xread({FLUSHES: self._flush_id}, block=self._block_milliseconds)
        if flushes:
            self._flush_id = flushes[0][1][-1][0]
        self._taken = -1  # what is read now are all streams there are now

    @property
    def _block_milliseconds(self) -> int:
        return int(self._block_seconds * 1000)

    async def _look_after_rest(self) -> None:
        """A connection that Redis has closed meanwhile is no failure: the next read makes another."""
        if self._client is None:
            return
        try:
            await self._client.ping()
        except FAILURES:
            client, self._client, self._client_id = self._client, None, 0
            with suppress(*FAILURES):
                await client.aclose()

    async def _fold(self, answer: News, asked: dict[str, Stream]) -> int:
        """Fold what was read into the texts; returns of how many streams there was news."""
        grown = 0
        for at in range(0, len(answer), FOLDED_AT_ONCE):
            grown += self._fold_some(answer[at : at + FOLDED_AT_ONCE], asked)
            await asyncio.sleep(0)
        return grown

    def _fold_some(self, answer: News, asked: dict[str, Stream]) -> int:
        now = asyncio.get_running_loop().time()
        changed: list[Stream] = []
        ended: list[Stream] = []
        grown = 0
        for key, entries in answer:
            stream = asked[key]
            # One that was dropped and is followed anew is another object, read to another place: this is not its news.
            if stream is not self._streams.get(key) or not entries:
                continue
            grown += 1
            stream.last_id, stream.heard_at = entries[-1][0], now
            is_changed = is_ended = False
            for _, words in entries:
                event = from_entry(words)
                if event is not None:
                    is_changed = stream.text.fold(event) or is_changed
                    is_ended = is_ended or event.kind is Kind.END
            if is_changed:
                changed.append(stream)
            if is_ended:
                ended.append(stream)
        if changed or ended:
            self._on_change(changed, ended)
        return grown

    async def _unblock(self) -> None:
        """Make the blocked read return, until one has begun that knows of every stream."""
        while self._taken not in (-1, self._asked) and not self.is_failing and self._client_id:
            try:
                await self._control.client_unblock(self._client_id)
            except ResponseError:
                self._block_seconds = SHORT_BLOCK_SECONDS
                return
            except FAILURES:
                return
            await asyncio.sleep(0.001)

    async def _fail(self, error: BaseException) -> None:
        client, self._client, self._client_id = self._client, None, 0
        self._taken = -1
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


def _as_it_comes(response: Any, **_: Any) -> Any:
    return response or []


def _client(settings: Settings, *, single_connection_client: bool = False) -> Redis:
    timeout = settings.redis_timeout_seconds
    return make_async_client(
        settings.redis_url,
        timeout_seconds=max(timeout, 2 * BLOCK_SECONDS),
        connect_timeout_seconds=timeout,
        decode_responses=True,
        # An entry that is not UTF-8 must not stop the reading of all others.
        encoding_errors="replace",
        protocol=2,
        single_connection_client=single_connection_client,
    )
