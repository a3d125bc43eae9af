"""Tests of the repair of live streams: 300 long answers come back over a slow link, and no text is sent for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import redis

from shared.live.answer import LiveAnswer
from shared.live.events import Kind
from shared.live.flusher import SLICE_CHARACTERS
from shared.live.publisher import Publisher
from tests.faults.proxy import Lines, Proxy
from tests.patience import patient
from tests.shared.publishing import publishing, run, settings_for, until
from tests.shared.redis_reading import entries, read
from tests.stack import Stack

ANSWERS = 300
WORD = "나루 landing "
WORDS = 60_000 // len(WORD)
#: All texts together take three times the limit of a flush, however far it is stretched.
SECONDS_FOR_ALL = 3


@contextmanager
def behind_proxy(stack: Stack) -> Iterator[tuple[Proxy, str]]:
    """Yield a proxy in front of the stack's Redis, and the address through it."""
    lines = Lines()
    port = stack.servers.redis_server.port
    proxy = lines.proxy(port)
    try:
        yield proxy, stack.redis_url.replace(f":{port}/", f":{proxy.port}/")
    finally:
        lines.close()


async def fill(publisher: Publisher, client: redis.Redis) -> list[LiveAnswer]:
    """Begin the answers, and wait until Redis has the long text of each."""
    lives = [publisher.open(uuid4(), 1) for _ in range(ANSWERS)]
    for live in lives:
        for _ in range(WORDS):
            live.add(WORD)
        await asyncio.sleep(0)
    await show(client, lives)
    return lives


async def show(client: redis.Redis, lives: list[LiveAnswer], *, seconds: float = 20.0) -> None:
    """Wait until Redis has the whole text of each answer, without a gap."""
    for live in lives:
        await until(lambda of=live: read(client, of.request_id).text == of.text(), seconds=seconds)  # type: ignore[misc]
        assert read(client, live.request_id).gaps == 0


def slow(proxy: Proxy, lives: list[LiveAnswer]) -> None:
    """Let all texts together take SECONDS_FOR_ALL times as long as one flush may."""
    proxy.set(bytes_per_second=sum(len(live.text().encode()) for live in lives) / patient(SECONDS_FOR_ALL))


def test_live_text_returns_after_one_broken_connection(own_stack: Stack) -> None:
    async def work() -> None:
        with behind_proxy(own_stack) as (proxy, url), own_stack.redis_client() as client:
            async with publishing(settings_for(url, redis_timeout_seconds=patient(1))) as publisher:
                lives = await fill(publisher, client)
                slow(proxy, lives)
                for live in lives:
                    live.add("cut off, ")
                assert await asyncio.to_thread(proxy.reset)
                for live in lives:
                    live.add("and on")
                await show(client, lives)
                await until(lambda: publisher.healthy)
                kinds = {event.kind for live in lives for event in entries(client, live.request_id)}
                assert kinds == {Kind.START, Kind.DELTA}, "Redis still has every stream, so none is sent again"

    run(work)


def test_live_text_returns_after_a_restart_of_redis(own_stack: Stack) -> None:
    async def work() -> None:
        with behind_proxy(own_stack) as (proxy, url), own_stack.redis_client() as client:
            async with publishing(settings_for(url, redis_timeout_seconds=patient(1))) as publisher:
                lives = await fill(publisher, client)
                slow(proxy, lives)
                await asyncio.to_thread(own_stack.servers.stop_redis)
                await asyncio.to_thread(own_stack.servers.start_redis)
                lives[0].add("and on")
                await show(client, lives, seconds=10 * SECONDS_FOR_ALL)
                await until(lambda: publisher.healthy)
                ended = lives[1]
                publisher.close(ended, status="succeeded")
                await until(lambda: read(client, ended.request_id).ended == "succeeded")
                assert read(client, ended.request_id).text == ended.text()

    run(work)


def test_text_longer_than_a_slice_is_sent_in_parts(own_stack: Stack) -> None:
    async def work() -> None:
        async with publishing(settings_for(own_stack.redis_url)) as publisher:
            with own_stack.redis_client() as client:
                live = publisher.open(uuid4(), 1)
                while live.length < 3 * SLICE_CHARACTERS:
                    live.add(WORD)
                publisher.close(live, status="succeeded")
                await until(lambda: read(client, live.request_id).ended == "succeeded")
                *text, end = entries(client, live.request_id)
                assert end.kind is Kind.END, "the end follows the whole text"
                assert max(len(event.text) for event in text) <= SLICE_CHARACTERS
                assert (read(client, live.request_id).text, read(client, live.request_id).gaps) == (live.text(), 0)

    run(work)
