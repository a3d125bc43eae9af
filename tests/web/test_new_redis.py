"""Tests that the reader reads every stream again on a new connection, which may lead to another server."""

from __future__ import annotations

import asyncio

from shared.live.events import Event, Kind, key_of, to_value
from tests.stack import Stack
from tests.web.fake_worker import deltas
from tests.web.test_reader import run, until, watching, write
from web.watch.reader import ENTRIES, READ_AGAIN_AT_ONCE


def test_new_redis_is_read_from_the_beginning(own_stack: Stack) -> None:
    """The clock of the new server is behind, so its ids are smaller than those that were read."""

    async def work() -> None:
        async with watching(own_stack.redis_url) as here:
            with own_stack.redis_client() as client:
                many = [
                    await here.follow(client, Event(Kind.DELTA, 1, 0, "one "))
                    for _ in range(2 * READ_AGAIN_AT_ONCE + 1)
                ]
                silent = await here.follow(client, Event(Kind.START, 1))
                await until(lambda: here.lanes == ([silent], many))
            await asyncio.to_thread(own_stack.servers.stop_redis)
            await until(lambda: here.health == [False])
            await asyncio.to_thread(own_stack.servers.start_redis)
            with own_stack.redis_client() as client:
                for number, each in enumerate(many):
                    events = [Event(Kind.SNAPSHOT, 1, 0, f"one two {number}"), Event(Kind.DELTA, 1, 4, "two")]
                    for serial, event in enumerate(events, 1):
                        client.xadd(key_of(each.request_id), {event.kind.value: to_value(event)}, id=f"{serial}-1")
                start = Event(Kind.SNAPSHOT, 1, 0, "first")
                client.xadd(key_of(silent.request_id), {start.kind.value: to_value(start)}, id="1-1")
                for number, each in enumerate(many):
                    await until(lambda of=each, n=number: of.text.since(0) == f"one two {n}")  # type: ignore[misc]
                await until(lambda: silent.text.since(0) == "first")
                await until(lambda: not here.reader.is_failing)
                assert here.health == [False, True]

    run(work)


def test_broken_connection_repeats_and_omits_nothing(own_stack: Stack) -> None:
    text = "가나다라" * ENTRIES

    async def work() -> None:
        with own_stack.redis_client() as client:
            async with watching(own_stack.redis_url) as here:
                long = await here.follow(client, *deltas(1, text, size=2))
                await until(lambda: long.text.since(0) == text)
                client.client_kill_filter(_type="normal", skipme=True)
                await until(lambda: here.health)
                write(client, long.request_id, Event(Kind.DELTA, 1, len(text), "!"))
                await until(lambda: long.text.length > len(text))
                assert long.text.since(0) == text + "!"

    run(work)
