"""Tests of the publisher: every delta arrives, the first at once; a failing Redis blocks and loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
import redis

from shared.live.answer import LiveAnswer
from shared.live.events import Event, Kind, key_of, to_value
from shared.live.flusher import ENTRIES_PER_SNAPSHOT, RETRY_SECONDS
from shared.live.publisher import Publisher
from shared.live.thinking import CUT_MARK, LONGEST_REASONING, TELL_SECONDS, Thinking, Thought
from tests.patience import patient
from tests.shared.publishing import publishing, run, settings_for, until
from tests.shared.redis_reading import Reader, entries, read
from tests.stack import Stack

WORDS = ["나루 ", "is ", "a ", "landing \U0001f600 ", "é", "\n"]


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5)


def test_publisher_delivers_every_delta(client: redis.Redis, redis_url: str) -> None:
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
                assert 0 < client.ttl(key_of(live.request_id)) <= 120, "the stream is kept for a while after its end"
            assert publisher.healthy

    run(work)


def test_start_first_word_and_end_are_sent_at_once(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=30)) as publisher:
            live = publisher.open(uuid4(), 1)
            await until(lambda: entries(client, live.request_id), seconds=2)
            live.add("first")
            await until(lambda: read(client, live.request_id).text == "first", seconds=2)
            live.add(" second")
            live.add(" third")
            await asyncio.sleep(0.2)
            assert read(client, live.request_id).text == "first", "it waits for the next flush"
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


def thoughts_in(client: redis.Redis, live: LiveAnswer) -> list[Event]:
    return [event for event in entries(client, live.request_id) if event.kind is Kind.THOUGHT]


def test_thinking_is_told_without_its_words(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url)) as publisher:
            live = publisher.open(uuid4(), 1)
            began = time.monotonic()
            while time.monotonic() < began + 0.5:
                assert live.add(Thought("secret "))
                await asyncio.sleep(0.005)
            assert len(thoughts_in(client, live)) <= 1 + (time.monotonic() - began) / TELL_SECONDS
            live.add("text")
            await until(lambda: read(client, live.request_id).text == "text")
            live.add(Thought("again"))
            await until(lambda: thoughts_in(client, live)[-1].offset == 4)
            publisher.close(live, status="succeeded")
            await until(lambda: read(client, live.request_id).ended)
            told = [(event.offset, int(event.text)) for event in thoughts_in(client, live)]
            assert told == sorted(told)
            assert told[0][0] == 0
            assert "secret" not in str(entries(client, live.request_id))
            assert live.text() == "text"
            assert live.thinking is not None
            assert live.thinking.text().startswith("secret secret")
            assert live.thinking.seconds >= 0.5

    run(work)


def test_thought_never_hides_that_a_stream_lacks_text(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url)) as publisher:
            live = publisher.open(uuid4(), 1)
            live.add(Thought("hm"))
            live.add("some text")
            await until(lambda: read(client, live.request_id).text == "some text")
            client.delete(key_of(live.request_id))
            live.add(Thought("hm"))
            await until(lambda: read(client, live.request_id).text == "some text")
            first, second = entries(client, live.request_id)[:2]
            assert (first.kind, second.kind) == (Kind.SNAPSHOT, Kind.THOUGHT), "late readers learn of the thinking"
            live.add(" and on")
            await until(lambda: read(client, live.request_id).text == "some text and on")

    run(work)


def test_reasoning_is_bounded_and_marked() -> None:
    thinking = Thinking()
    for _ in range(6):
        thinking.add("x" * (LONGEST_REASONING // 4), offset=0)
    assert thinking.text() == "x" * LONGEST_REASONING + CUT_MARK
    short = Thinking()
    short.add("\n hm \n", offset=0)
    assert short.text() == "hm"


def test_abandoned_attempt_publishes_no_end(client: redis.Redis, redis_url: str) -> None:
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
def test_lost_redis_stream_is_restored_completely(client: redis.Redis, redis_url: str, lose: str) -> None:
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
            assert client.ttl(key_of(live.request_id)) > 0, "every stream expires"

    run(work)


def test_snapshots_bound_a_stream_and_leave_no_hole(client: redis.Redis, redis_url: str) -> None:
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
            while live.entries >= before:  # until a snapshot replaces them all
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


async def longest_pause(live: LiveAnswer, *, until: Callable[[], bool], word: str) -> float:
    """Keep adding `word`; return the longest time for which the event loop or an add was blocked."""
    longest, limit = 0.0, time.monotonic() + patient(8)
    while not until():
        assert time.monotonic() < limit, "the condition never became true"
        began = time.monotonic()
        live.add(word)
        await asyncio.sleep(0.002)
        longest = max(longest, time.monotonic() - began)
    return longest


def test_publisher_never_waits_for_redis_and_repairs_later(own_stack: Stack) -> None:
    timeout_seconds = patient(0.5)  # the loop would be blocked this long if anything waited for Redis
    settings = settings_for(own_stack.redis_url, redis_timeout_seconds=timeout_seconds)
    servers = own_stack.servers

    async def work() -> None:
        async with publishing(settings) as publisher:
            with own_stack.redis_client() as reading:
                live, silent = publisher.open(uuid4(), 1), publisher.open(uuid4(), 4)
                ending = publisher.open(uuid4(), 1)
                await until(lambda: entries(reading, silent.request_id))
                servers.redis.freeze()
                assert await longest_pause(live, until=lambda: not publisher.healthy, word="frozen ") < timeout_seconds
                servers.redis.thaw()
                await check_whole(publisher, reading, live)

                await asyncio.to_thread(servers.stop_redis)
                assert await longest_pause(live, until=lambda: not publisher.healthy, word="gone ") < timeout_seconds
                ending.add("the end")
                publisher.close(ending, status="succeeded")
                unheard = publisher.open(uuid4(), 1)
                await asyncio.sleep(2 * RETRY_SECONDS)  # sending them failed meanwhile
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
    await until(lambda: publisher.healthy)  # Redis has the text before its reply arrives
    assert read(reading, live.request_id).gaps == 0


def read_or_nothing(reading: redis.Redis, request_id: UUID) -> str:
    with suppress(redis.RedisError):
        return read(reading, request_id).text
    return ""


def test_drain_sends_pending_text(client: redis.Redis, redis_url: str) -> None:
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


def test_end_is_published_after_redis_lost_the_stream(client: redis.Redis, redis_url: str) -> None:
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


def test_stream_of_a_restarted_redis_gets_the_complete_text(own_stack: Stack) -> None:
    """Redis restarts between two flushes, with an older state from its file, so no flush fails."""

    async def work() -> None:
        async with publishing(settings_for(own_stack.redis_url)) as publisher:
            with own_stack.redis_client() as client:
                live, begun = publisher.open(uuid4(), 1), publisher.open(uuid4(), 1)
                live.add("what it knew, ")
                await until(lambda: read(client, live.request_id).text == live.text())
                old = entries(client, live.request_id)
                live.add("what it forgot, ")
                await until(lambda: read(client, live.request_id).text == live.text())
            await asyncio.to_thread(own_stack.servers.stop_redis)
            await asyncio.to_thread(own_stack.servers.start_redis)
            with own_stack.redis_client() as client:
                for event in old:
                    client.xadd(key_of(live.request_id), {event.kind.value: to_value(event)})
                live.add("and what is new")
                await until(lambda: read(client, live.request_id).text == live.text())
                begun.add("this one as well")
                await until(lambda: read(client, begun.request_id).text == begun.text())
                assert publisher.healthy

    run(work)


def test_live_text_is_not_written_to_the_disk_of_redis(own_stack: Stack) -> None:
    async def work() -> None:
        with own_stack.redis_client() as reading:
            reading.config_set("appendonly", "yes")
            await until(lambda: not reading.info("persistence")["aof_rewrite_in_progress"])
            async with publishing(settings_for(own_stack.redis_url, flush_seconds=0.001)) as publisher:
                live = publisher.open(uuid4(), 1)
                while live.entries < ENTRIES_PER_SNAPSHOT or not live.whole:
                    live.add("whispered ")
                    await asyncio.sleep(0.001)
                live.add("whispered ")
                publisher.close(live, status="succeeded")
                await until(lambda: read(reading, live.request_id).ended)
            reading.set("naru:said", "aloud")
            await until(lambda: b"aloud" in appended(own_stack))
            assert b"whispered" not in appended(own_stack)
            assert str(live.request_id).encode() not in appended(own_stack)

    run(work)


def appended(stack: Stack) -> bytes:
    """Return the contents of all files of Redis."""
    return b"".join(file.read_bytes() for file in (stack.servers.folder / "redis").rglob("*") if file.is_file())
