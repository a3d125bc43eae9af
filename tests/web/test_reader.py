"""Tests of the reader's two lanes on a real Redis: which lane reads a stream, from where, and how lanes fail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared.live.events import Event, Kind, key_of, to_value
from shared.settings import load_settings
from tests.patience import patient
from tests.web.fake_worker import deltas
from web.watch.reader import ENTRIES, LONGEST_PAUSE_SECONDS, PAUSE_PER_STREAM_SECONDS, Reader
from web.watch.viewer import Conversation, LiveStream

Work = Callable[[], Awaitable[None]]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yield a client that writes streams as a worker does, and inspects the server."""
    with redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5) as made:
        yield made


def write(client: redis.Redis, request_id: UUID, *events: Event) -> list[str]:
    """Append entries to a live stream; return their ids."""
    with client.pipeline(transaction=False) as pipeline:
        for event in events:
            pipeline.xadd(key_of(request_id), {event.kind.value: to_value(event)})
        return pipeline.execute()


def stream_of(request_id: UUID) -> LiveStream:
    """Return a live stream that somebody watches."""
    return LiveStream(request_id, Conversation(uuid4()), now=0.0)


class Watching:
    """A reader, and the health that it reported."""

    def __init__(self, redis_url: str, *, on_change: Callable[[], None] = lambda: None) -> None:
        self.health: list[bool] = []
        self.reader = Reader(
            load_settings({"REDIS_URL": redis_url}),
            redis_url,
            on_change=lambda *_: on_change(),
            on_health=self.health.append,
        )

    async def follow(self, client: redis.Redis, *events: Event) -> LiveStream:
        """Write a new stream with these events, follow it and wait until it is read."""
        request_id = uuid4()
        *_, last_id = write(client, request_id, *events)
        stream = stream_of(request_id)
        self.reader.follow(stream)
        await until(lambda: stream.last_id == last_id)
        return stream

    @property
    def lanes(self) -> tuple[list[LiveStream], list[LiveStream]]:
        """The streams of the lane without text, and of the lane with text."""
        first, rest = (list(lane._streams.values()) for lane in (self.reader._without_text, self.reader._with_text))
        return first, rest


@asynccontextmanager
async def watching(redis_url: str, *, on_change: Callable[[], None] = lambda: None) -> AsyncIterator[Watching]:
    """Run a reader."""
    made = Watching(redis_url, on_change=on_change)
    running = asyncio.create_task(made.reader.run())
    try:
        yield made
        assert not running.done(), "the reader must not end by itself"
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=patient(5))
        assert running.done()


async def until(condition: Callable[[], object], *, seconds: float = 8.0) -> None:
    limit = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < limit, "not in time"
        await asyncio.sleep(0.005)


async def connection_of(lane: Any) -> str:
    """Return the server's id of the lane's connection."""
    await until(lambda: lane._client)
    return str(await lane._client.client_id())


def run(work: Work) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def asked_until(monitor: Any, key: str, last_id: str) -> list[list[str]]:
    """Return the ids that each connection read the stream from, a list for each, once one read from `last_id`."""
    asked: dict[str, list[str]] = {}
    while last_id not in (each[-1] for each in asked.values()):
        seen = monitor.next_command()
        words = seen["command"].split()
        if words[0] != "XREAD" or key not in words:
            continue
        streams = words[words.index("STREAMS") + 1 :]
        from_id = streams[streams.index(key) + len(streams) // 2]
        ids = asked.setdefault(seen["client_port"], [])
        if from_id not in ids[-1:]:
            ids.append(from_id)
    return list(asked.values())


def test_first_text_moves_a_stream_to_the_other_lane(client: redis.Redis, redis_url: str) -> None:
    watched: Any = client  # redis-py does not type its monitor

    async def work() -> None:
        async with watching(redis_url) as here:
            with watched.monitor() as monitor:
                stream = await here.follow(client, Event(Kind.START, 1))
                started = stream.last_id
                assert here.lanes == ([stream], [])
                (first,) = write(client, stream.request_id, Event(Kind.DELTA, 1, 0, "one "))
                await until(lambda: here.lanes == ([], [stream]))
                assert stream.last_id == first
                (second,) = write(client, stream.request_id, Event(Kind.DELTA, 1, 4, "two"))
                await until(lambda: stream.text.since(0) == "one two")
                asked = await asyncio.to_thread(asked_until, monitor, key_of(stream.request_id), second)
            assert asked == [["0-0", started], [first, second]]

    run(work)


def test_stream_dropped_after_changing_lanes_is_not_read(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with watching(redis_url) as here:
            dropped, other = [await here.follow(client, Event(Kind.DELTA, 1, 0, "one ")) for _ in range(2)]
            await until(lambda: here.lanes == ([], [dropped, other]))
            here.reader.drop(dropped)
            assert here.lanes == ([], [other])
            last_id = dropped.last_id
            for each in (dropped, other):
                write(client, each.request_id, Event(Kind.DELTA, 1, 4, "two"))
            await until(lambda: other.text.since(0) == "one two")
            assert (dropped.last_id, dropped.text.since(0)) == (last_id, "one ")

    run(work)


def test_late_drop_keeps_the_new_stream(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with watching(redis_url) as here:
            old = await here.follow(client, Event(Kind.START, 1))
            new = stream_of(old.request_id)
            here.reader.follow(new)
            here.reader.drop(old)
            write(client, new.request_id, Event(Kind.DELTA, 1, 0, "one"))
            await until(lambda: new.text.since(0))
            assert new.text.since(0) == "one"

    run(work)


def test_late_read_of_the_old_stream_makes_no_hole(client: redis.Redis, redis_url: str) -> None:
    """The new stream starts over, and moves to the lane whose read still waits after the old stream's last id."""
    text = "가나다라" * ENTRIES
    request_id, late = uuid4(), Event(Kind.DELTA, 1, len(text), "!")
    new: list[LiveStream] = []
    sent: list[str] = []

    def news_come_before_the_lane_is_changed() -> None:
        if new and new[0].text.length and not sent:
            sent.extend(write(client, request_id, late))

    async def work() -> None:
        async with watching(redis_url, on_change=news_come_before_the_lane_is_changed) as here:
            write(client, request_id, *deltas(1, text, size=2))
            old = stream_of(request_id)
            here.reader.follow(old)
            await until(lambda: old.text.since(0) == text)
            await asyncio.sleep(0.05)  # the lane with text waits in its next read
            here.reader.drop(old)
            new.append(stream_of(request_id))
            here.reader.follow(new[0])
            await until(lambda: new[0].text.since(0) == text + "!", seconds=3)
            assert old.text.since(0) == text

    run(work)


@pytest.mark.parametrize("lanes", [("_without_text",), ("_with_text",), ("_without_text", "_with_text")])
def test_lane_failure_is_logged_once_and_both_lanes_resume(
    lanes: tuple[str, ...], client: redis.Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="web.watch.reader")

    async def work() -> None:
        async with watching(redis_url) as here:
            speaks = await here.follow(client, Event(Kind.DELTA, 1, 0, "one "))
            silent = await here.follow(client, Event(Kind.START, 1))
            await until(lambda: here.lanes == ([silent], [speaks]))
            connections = [await connection_of(getattr(here.reader, lane)) for lane in lanes]
            with client.pipeline(transaction=False) as pipeline:
                for connection in connections:
                    pipeline.client_kill_filter(_id=connection)
                assert pipeline.execute() == [1] * len(lanes)
            await until(lambda: here.health)
            write(client, speaks.request_id, Event(Kind.DELTA, 1, 4, "two"))
            write(client, silent.request_id, Event(Kind.DELTA, 1, 0, "first"))
            await until(lambda: (speaks.text.since(0), silent.text.since(0)) == ("one two", "first"))
            await until(lambda: not here.reader.is_failing)
            assert here.health == [False, True]

    run(work)
    said = [record.getMessage().split(":")[0] for record in caplog.records if record.name == "web.watch.reader"]
    assert said == ["live streams cannot be read", "live streams are read again"]


def test_reader_recovers_with_no_stream_left_to_read(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with watching(redis_url) as here:
            dropped = await here.follow(client, Event(Kind.START, 1))
            client.client_kill_filter(_id=await connection_of(here.reader._without_text))
            await until(lambda: here.health)
            here.reader.drop(dropped)
            await until(lambda: here.health == [False, True])
            stream = await here.follow(client, Event(Kind.DELTA, 1, 0, "one"))
            await until(lambda: stream.text.length == 3)
            assert stream.text.since(0) == "one"

    run(work)


def test_reader_stops_despite_a_swallowed_cancellation(redis_url: str) -> None:
    async def work() -> None:
        reader = Watching(redis_url, on_change=lambda: None).reader
        swallowed = asyncio.Event()

        async def stubborn() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.set()
            await asyncio.sleep(60)

        reader._with_text.run = stubborn  # type: ignore[method-assign]
        running = asyncio.create_task(reader.run())
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running], timeout=patient(5))
        assert running.cancelled()
        assert swallowed.is_set()

    run(work)


def test_reader_pauses_after_reads_with_little_news(client: redis.Redis, redis_url: str) -> None:
    """So workers that flush at different times do not keep the reader busy."""
    number = 1 + round(LONGEST_PAUSE_SECONDS / PAUSE_PER_STREAM_SECONDS)

    async def work() -> None:
        async with watching(redis_url) as here:
            many = [await here.follow(client, Event(Kind.DELTA, 1, 0, "x")) for _ in range(number)]
            await until(lambda: len(here.lanes[1]) == number)
            reads = count_calls(here.reader._with_text, "_news_of")
            began, written = time.monotonic(), 0
            while time.monotonic() - began < 0.5:
                written += 1
                write(client, many[0].request_id, Event(Kind.DELTA, 1, written, "x"))
                await asyncio.sleep(0.001)
            pauses = (time.monotonic() - began) / LONGEST_PAUSE_SECONDS
            assert 0 < len(reads) <= pauses + 1

    run(work)


def count_calls(of: Any, name: str) -> list[None]:
    """Wrap the method; return a list that grows with each call."""
    calls: list[None] = []
    method = getattr(of, name)

    def counted(*args: object, **options: object) -> object:
        calls.append(None)
        return method(*args, **options)

    setattr(of, name, counted)
    return calls
