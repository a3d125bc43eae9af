"""Tests of the beat: readers take text right before each flush and never wait for Redis."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from uuid import uuid4

import pytest
import redis

from shared.live.answer import LiveAnswer
from shared.live.beat import READERS_IN_A_ROW
from tests.patience import patient
from tests.shared.publishing import publishing, run, settings_for, until
from tests.shared.redis_reading import entries, read
from tests.stack import Stack


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5)


def test_text_read_at_a_beat_goes_out_with_its_flush(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.2)) as publisher:
            lives = [publisher.open(uuid4(), 1) for _ in range(20)]
            for live in lives:
                live.add("first ")

            async def read_on(live: LiveAnswer) -> None:
                for word in ("second ", "third "):
                    await publisher.beat.wait()
                    live.add(word)

            await asyncio.gather(*map(read_on, lives))
            await until(lambda: all(read(client, live.request_id).text == live.text() for live in lives))
            for live in lives:
                texts = [event.text for event in entries(client, live.request_id)]
                assert texts == ["", "first ", "second ", "third "], "one entry for each beat"

    run(work)


def test_text_taken_at_a_beat_goes_out_with_its_flush(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.1)) as publisher:
            lives = [publisher.open(uuid4(), 1) for _ in range(2 * READERS_IN_A_ROW + 1)]

            async def take(live: LiveAnswer) -> None:
                words = iter(("second ", "third ", ""))
                live.add("first ")
                await publisher.beat.wait(lambda: live.add(next(words)))
                assert next(words, None) is None, "`take` is not called again"

            await asyncio.gather(*map(take, lives))
            for live in lives:
                await until(lambda of=live: read(client, of.request_id).text == "first second third ")  # type: ignore[misc]
                texts = [event.text for event in entries(client, live.request_id)]
                assert texts == ["", "first ", "second ", "third "], "one entry for each beat"

    run(work)


def test_error_while_taking_reaches_its_own_reader_only(redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.02)) as publisher:
            left = iter(range(3))
            well = asyncio.create_task(publisher.beat.wait(lambda: next(left, None) is not None))
            with pytest.raises(ZeroDivisionError):
                await publisher.beat.wait(lambda: bool(1 / 0))
            assert not well.done()
            await well

    run(work)


def test_cancelled_reader_takes_nothing(redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.02)) as publisher:
            calls: list[int] = []

            def count() -> bool:
                calls.append(1)
                return True

            waiting = asyncio.create_task(publisher.beat.wait(count))
            await until(lambda: len(calls) > 2)
            waiting.cancel()
            seen = len(calls)
            for _ in range(3):
                await publisher.beat.wait()
            assert len(calls) == seen

    run(work)


def test_long_beats_slow_the_pace_until_they_are_short_again(redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.02)) as publisher:
            lives = [publisher.open(uuid4(), 1) for _ in range(10)]

            async def read_on(live: LiveAnswer, *, work_seconds: float, until: float) -> None:
                while publisher.beat.interval_seconds != until:
                    await publisher.beat.wait()
                    time.sleep(work_seconds)  # noqa: ASYNC251 - keeps the loop busy
                    live.add("word ")

            assert publisher.beat.interval_seconds == 0.02
            async with asyncio.timeout(patient(10)):
                await asyncio.gather(*(read_on(live, work_seconds=0.002, until=0.03) for live in lives))
                await read_on(lives[0], work_seconds=0.0, until=0.02)

    run(work)


def test_empty_beat_does_not_slow_the_next_ones(client: redis.Redis, redis_url: str) -> None:
    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.05)) as publisher:
            await publisher.beat.wait()
            await asyncio.sleep(0.5)  # the model thinks: the next text does not belong to that beat
            live = publisher.open(uuid4(), 1)
            live.add("first")
            await until(lambda: read(client, live.request_id).text == "first")
            assert publisher.beat.interval_seconds == 0.05

    run(work)


def test_loop_runs_other_tasks_between_the_readers_of_a_beat(redis_url: str) -> None:
    number = 5 * READERS_IN_A_ROW + 1

    async def work() -> None:
        async with publishing(settings_for(redis_url, flush_seconds=0.05)) as publisher:
            awake: list[int] = []

            async def reader(name: int) -> None:
                await publisher.beat.wait()
                awake.append(name)

            readers = [asyncio.create_task(reader(name)) for name in range(number)]
            seen = [0]
            while seen[-1] < number:
                await asyncio.sleep(0)
                seen.append(len(awake))
            await asyncio.gather(*readers)
            assert max(after - before for before, after in pairwise(seen)) <= READERS_IN_A_ROW

    run(work)


def test_beat_survives_a_hung_redis_and_a_cancelled_waiter(own_stack: Stack, redis_url: str) -> None:
    async def work() -> None:
        timeout_seconds = patient(1)
        settings = settings_for(own_stack.settings.redis_url, flush_seconds=0.02, redis_timeout_seconds=timeout_seconds)
        async with publishing(settings) as publisher:
            live = publisher.open(uuid4(), 1)
            own_stack.servers.redis.freeze()
            try:
                live.add("first ")
                cancelled = asyncio.create_task(publisher.beat.wait())
                kept = asyncio.create_task(publisher.beat.wait())
                await asyncio.sleep(0)
                cancelled.cancel()
                began = time.monotonic()
                await kept
                for _ in range(5):
                    await publisher.beat.wait()
                assert time.monotonic() - began < timeout_seconds, "reading from a provider does not wait for Redis"
            finally:
                own_stack.servers.redis.thaw()

    run(work)
