"""The publisher: every delta arrives, the first at once; and while Redis fails nothing waits and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
import redis
from redis.asyncio import Redis

from shared.live.events import Event, Kind, key_of
from shared.live.publisher import ENTRIES_PER_SNAPSHOT, WOKEN_AT_ONCE, LiveAnswer, Publisher
from shared.settings import Settings, load_settings
from tests.shared.redis_reading import Reader, entries, read
from tests.stack import Stack

WORDS = ["나루 ", "is ", "a ", "landing \U0001f600 ", "é", "\n"]


def settings_for(redis_url: str, **values: object) -> Settings:
    environ = {f"NARU_{name.upper()}": str(value) for name, value in values.items()}
    return load_settings({"REDIS_URL": redis_url, "NARU_FLUSH_SECONDS": "0.005", **environ})


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5)


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[Publisher]:
    """A publisher with its flusher, as a worker process has it."""
    timeout = settings.redis_timeout_seconds
    connection: Redis = Redis.from_url(
        settings.redis_url, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout
    )
    publisher = Publisher(connection, settings)
    flusher = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        assert not flusher.done(), "the flusher never ends by itself"
        while not flusher.done():  # redis-py swallows a cancellation now and then
            flusher.cancel()
            await asyncio.wait([flusher], timeout=0.1)
        await connection.aclose()


async def until(condition: Callable[[], object], *, seconds: float = 8.0) -> None:
    limit = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < limit, "not in time"
        await asyncio.sleep(0.01)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_every_delta_of_every_answer_arrives(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url)) as publisher:
            lives = [publisher.open(uuid4(), attempt) for attempt in (1, 1, 3)]
            for number in range(200):
                for live in lives:
                    live.add(WORDS[number % len(WORDS)])
                await asyncio.sleep(0.001)
            for live in lives:
                publisher.close(live, status="succeeded")
            for live in lives:
                await until(lambda of=live: read(client, of.request_id).ended)  # type: ignore[misc]
                seen = read(client, live.request_id)
                assert (seen.attempt, seen.text, seen.ended) == (live.attempt, live.text(), "succeeded")
                assert seen.gaps == 0
                assert live.length == len(live.text())
                assert 0 < client.ttl(key_of(live.request_id)) <= 120, "it is kept for a while after its end"
            assert publisher.healthy

    run(work)


def test_a_start_a_first_word_and_an_end_go_out_at_once_the_rest_together(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=30)) as publisher:
            live = publisher.open(uuid4(), 1)
            await until(lambda: entries(client, live.request_id), seconds=2)
            live.add("first")
            await until(lambda: read(client, live.request_id).text == "first", seconds=2)
            live.add(" second")
            live.add(" third")
            await asyncio.sleep(0.2)
            assert read(client, live.request_id).text == "first", "it waits for the others"
            assert client.ttl(key_of(live.request_id)) > 120
            publisher.close(live, status="failed")
            await until(lambda: read(client, live.request_id).ended == "failed", seconds=2)
            assert [event.text for event in entries(client, live.request_id)] == [
                "",
                "first",
                " second third",
                "failed",
            ]

    run(work)


def test_who_keeps_step_is_sent_with_the_same_flush(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.2)) as publisher:
            lives = [publisher.open(uuid4(), 1) for _ in range(20)]
            for live in lives:
                live.add("first ")

            async def keep_step(live: LiveAnswer) -> None:
                for word in ("second ", "third "):
                    await publisher.beat()
                    live.add(word)

            await asyncio.gather(*map(keep_step, lives))
            await until(lambda: all(read(client, live.request_id).text == live.text() for live in lives))
            for live in lives:
                texts = [event.text for event in entries(client, live.request_id)]
                assert texts == ["", "first ", "second ", "third "], "one entry for each beat"

    run(work)


def test_beats_that_take_long_come_more_rarely_and_not_for_good(redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.02)) as publisher:
            lives = [publisher.open(uuid4(), 1) for _ in range(10)]

            async def keep_step(live: LiveAnswer, *, work_seconds: float, until: float) -> None:
                while publisher.interval_seconds != until:
                    await publisher.beat()
                    time.sleep(work_seconds)  # noqa: ASYNC251 - the loop is to be busy
                    live.add("word ")

            assert publisher.interval_seconds == 0.02
            async with asyncio.timeout(10):
                await asyncio.gather(*(keep_step(live, work_seconds=0.002, until=0.03) for live in lives))
                await keep_step(lives[0], work_seconds=0.0, until=0.02)

    run(work)


def test_a_beat_that_had_nothing_to_send_makes_the_next_ones_no_rarer(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.05)) as publisher:
            await publisher.beat()
            await asyncio.sleep(0.5)  # a model that thinks: whatever is sent next is not that beat's
            live = publisher.open(uuid4(), 1)
            live.add("first")
            await until(lambda: read(client, live.request_id).text == "first")
            assert publisher.interval_seconds == 0.05

    run(work)


def test_between_the_readers_of_a_beat_others_have_their_turn(redis_url: str) -> None:
    number = 5 * WOKEN_AT_ONCE + 1

    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.05)) as publisher:
            awake: list[int] = []

            async def reader(name: int) -> None:
                await publisher.beat()
                awake.append(name)

            readers = [asyncio.create_task(reader(name)) for name in range(number)]
            seen = [0]
            while seen[-1] < number:
                await asyncio.sleep(0)
                seen.append(len(awake))
            await asyncio.gather(*readers)
            assert max(after - before for before, after in pairwise(seen)) <= WOKEN_AT_ONCE

    run(work)


def test_the_beat_goes_on_when_redis_hangs_and_when_a_waiter_is_cancelled(own_stack: Stack, redis_url: str) -> None:
    async def work() -> None:
        settings = settings_for(own_stack.settings.redis_url, flush_seconds=0.02, redis_timeout_seconds=2)
        async with publishing(settings) as publisher:
            live = publisher.open(uuid4(), 1)
            own_stack.servers.redis.freeze()
            try:
                live.add("first ")
                cancelled = asyncio.create_task(publisher.beat())
                kept = asyncio.create_task(publisher.beat())
                await asyncio.sleep(0)
                cancelled.cancel()
                began = time.monotonic()
                await kept
                for _ in range(5):
                    await publisher.beat()
                assert time.monotonic() - began < 1, "reading from a provider does not wait for Redis"
            finally:
                own_stack.servers.redis.thaw()

    run(work)


def test_an_attempt_that_was_given_up_says_no_end(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url)) as publisher:
            request_id = uuid4()
            first = publisher.open(request_id, 1)
            first.add("old words")
            await until(lambda: read(client, request_id).text == "old words")
            publisher.close(first, status=None)
            second = publisher.open(request_id, 2)
            await until(lambda: read(client, request_id).attempt == 2)
            assert (read(client, request_id).text, read(client, request_id).ended) == ("", "")
            first.add(" too late")
            second.add("new")
            publisher.close(second, status="succeeded")
            await until(lambda: read(client, request_id).ended)
            assert read(client, request_id).text == "new", "attempts are never spliced"

    run(work)


@pytest.mark.parametrize("lose", ["this stream", "everything"])
def test_a_stream_that_redis_has_lost_comes_back_whole(client: redis.Redis, redis_url: str, lose: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url)) as publisher:
            live = publisher.open(uuid4(), 2)
            for word in WORDS:
                live.add(word)
            await until(lambda: read(client, live.request_id).text == live.text())
            client.delete(key_of(live.request_id)) if lose == "this stream" else client.flushdb()
            assert read(client, live.request_id).text == ""
            live.add("and on")
            await until(lambda: read(client, live.request_id).text == live.text())
            first = entries(client, live.request_id)[0]
            assert (first.kind, first.attempt) == (Kind.SNAPSHOT, 2)
            assert client.ttl(key_of(live.request_id)) > 0, "no stream is kept for ever"

    run(work)


def test_a_stream_never_grows_beyond_its_snapshots_and_is_a_beginning_at_every_moment(
    client: redis.Redis, redis_url: str
) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.001)) as publisher:
            live = publisher.open(uuid4(), 1)
            longest, seen = 0, set()

            def look() -> None:
                nonlocal longest
                found = entries(client, live.request_id)
                longest = max(longest, len(found))
                seen.add(fold(found))

            async def watch() -> None:
                while True:
                    await asyncio.to_thread(look)
                    await asyncio.sleep(0.02)

            watching = asyncio.create_task(watch())
            before = 0
            while live.entries >= before:  # until a snapshot stands for all of them
                before = live.entries
                live.add("word ")
                await asyncio.sleep(0.001)
            for _ in range(30):
                live.add("more ")
                await asyncio.sleep(0.001)
            watching.cancel()
            await until(lambda: read(client, live.request_id).text == live.text())
            assert before == ENTRIES_PER_SNAPSHOT
            assert longest <= ENTRIES_PER_SNAPSHOT
            assert entries(client, live.request_id)[0].kind is Kind.SNAPSHOT
            assert len(seen) > 20
            assert all(live.text().startswith(text) and gaps == 0 for text, gaps in seen)

    run(work)


def fold(found: list[Event]) -> tuple[str, int]:
    reader = Reader()
    for event in found:
        reader.fold(event)
    return reader.text, reader.gaps


async def longest_pause(live: LiveAnswer, *, seconds: float, word: str) -> float:
    """Keep adding, and measure how long the event loop or an add ever stood still."""
    longest, limit = 0.0, time.monotonic() + seconds
    while time.monotonic() < limit:
        began = time.monotonic()
        live.add(word)
        await asyncio.sleep(0.002)
        longest = max(longest, time.monotonic() - began)
    return longest


def test_with_redis_frozen_and_gone_nothing_waits_and_afterwards_all_is_there(own_stack: Stack) -> None:
    settings = settings_for(own_stack.redis_url, redis_timeout_seconds=0.2)
    servers = own_stack.servers

    async def work() -> None:
        async with publishing(settings) as publisher:
            with own_stack.redis_client() as reading:
                live, silent = publisher.open(uuid4(), 1), publisher.open(uuid4(), 4)
                ending = publisher.open(uuid4(), 1)
                await until(lambda: entries(reading, silent.request_id))
                servers.redis.freeze()
                assert await longest_pause(live, seconds=0.7, word="frozen ") < 0.25
                assert not publisher.healthy
                servers.redis.thaw()
                await check_whole(publisher, reading, live)

                await asyncio.to_thread(servers.stop_redis)
                assert await longest_pause(live, seconds=0.7, word="gone ") < 0.25
                ending.add("the end")
                publisher.close(ending, status="succeeded")
                unheard = publisher.open(uuid4(), 1)
                assert not publisher.healthy
                await asyncio.to_thread(servers.start_redis)
                await check_whole(publisher, reading, live)
                await until(lambda: read(reading, silent.request_id).attempt == 4)
                await until(lambda: read(reading, unheard.request_id).attempt == 1)
                await until(lambda: read(reading, ending.request_id).ended == "succeeded")
                assert read(reading, ending.request_id).text == "the end"

    run(work)


async def check_whole(publisher: Publisher, reading: redis.Redis, live: LiveAnswer) -> None:
    await until(lambda: read_or_nothing(reading, live.request_id) == live.text())
    await until(lambda: publisher.healthy)  # Redis has the text before its reply is here
    assert read(reading, live.request_id).gaps == 0


def read_or_nothing(reading: redis.Redis, request_id: UUID) -> str:
    with suppress(redis.RedisError):
        return read(reading, request_id).text
    return ""


def test_what_still_waits_is_sent_before_the_end(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=30)) as publisher:
            live = publisher.open(uuid4(), 1)
            live.add("first")
            await until(lambda: read(client, live.request_id).text == "first")
            live.add(" last")
            await publisher.drain()
            assert read(client, live.request_id).text == "first last"
            await publisher.drain()

    run(work)


def test_an_end_right_after_redis_lost_the_stream_is_heard(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.05)) as publisher:
            live = publisher.open(uuid4(), 1)
            live.add("most of it")
            await until(lambda: read(client, live.request_id).text == "most of it")
            client.delete(key_of(live.request_id))
            live.add(", and the rest")
            publisher.close(live, status="succeeded")
            await until(lambda: read(client, live.request_id).text == live.text())
            await until(lambda: read(client, live.request_id).ended == "succeeded", seconds=2)
            assert client.ttl(key_of(live.request_id)) <= 120

    run(work)
