"""The readers of this process, one for each shard, and the reader of each stream.

A stream is followed on the shard that this process computes for it. A worker with another list of shards, while
addresses are added or removed, writes it elsewhere. The sweep notices that Postgres has text that the stream did not
bring (`look_elsewhere`), and the stream is followed where its newest text is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from shared.live.shards import live_urls, shard_of
from shared.settings import Settings
from web.watch.reader import OnChange, Reader
from web.watch.viewer import LiveStream

log = logging.getLogger(__name__)


class Readers:
    """Follows the live streams of the requests it is given. For the event loop's thread only."""

    def __init__(self, settings: Settings, *, on_change: OnChange, on_health: Callable[[bool], None]) -> None:
        self._readers = [Reader(settings, url, on_change=on_change, on_health=on_health) for url in live_urls(settings)]
        #: The reader of each followed stream.
        self._at: dict[LiveStream, Reader] = {}
        #: The streams that wait for the next round of the search, and the search.
        self._sought: set[LiveStream] = set()
        self._search: asyncio.Task[None] | None = None

    def is_failing(self, stream: LiveStream | None) -> bool:
        """Whether the shard of this stream cannot be read."""
        reader = None if stream is None else self._at.get(stream)
        return reader is not None and reader.is_failing

    def follow(self, stream: LiveStream) -> None:
        """Begin to read this stream, from its beginning."""
        reader = self._readers[shard_of(stream.request_id, len(self._readers))]
        self._at[stream] = reader
        reader.follow(stream)

    def drop(self, stream: LiveStream) -> None:
        """Stop reading this stream."""
        reader = self._at.pop(stream, None)
        if reader is not None:
            reader.drop(stream)

    def look_elsewhere(self, stream: LiveStream) -> None:
        """Follow the stream on another shard if that one has newer text. A shard that fails is waited for.

        One search at a time serves all streams, so a shard that hangs delays each round once.
        """
        if len(self._readers) > 1 and not self.is_failing(stream):
            self._sought.add(stream)
            if self._search is None or self._search.done():
                self._search = asyncio.get_running_loop().create_task(self._search_all())

    async def _search_all(self) -> None:
        while self._sought:
            streams = list(self._sought)
            self._sought.clear()
            by_shard = await asyncio.gather(*(each.last_of(streams) for each in self._readers))
            for stream, found in zip(streams, zip(*by_shard, strict=True), strict=True):
                self._follow_newest(stream, found)

    def _follow_newest(self, stream: LiveStream, found: Sequence[tuple[int, int]]) -> None:
        """Follow the stream on another shard if that one has come further; `found` has the reach on each."""
        here = self._at.get(stream)
        if here is None:  # dropped meanwhile
            return
        best = max(range(len(found)), key=lambda number: found[number])
        if found[best] > found[self._readers.index(here)]:
            log.info("a live stream is on another shard", extra={"request_id": str(stream.request_id)})
            here.drop(stream)
            stream.last_id = "0-0"
            self._at[stream] = self._readers[best]
            self._readers[best].follow(stream)

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            await asyncio.gather(*(each.run() for each in self._readers))
        finally:
            if self._search is not None:
                self._search.cancel()
