"""Tests of the publisher on two shards: each stream is on its own, and one that hangs delays no other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
import redis

from shared.errors import SettingsError
from shared.live.shards import live_urls, shard_of, url_for
from shared.settings import load_settings
from tests.more_redis import more_redis
from tests.shared.publishing import publishing, run, settings_for, until
from tests.shared.redis_reading import read
from tests.stack import Stack


def request_on(shard: int) -> UUID:
    """Return a request id of this shard of two."""
    return next(each for _ in range(1000) if shard_of(each := uuid4(), 2) == shard)


def test_requests_spread_evenly_over_the_shards() -> None:
    for shards in (1, 2, 3, 4):
        counted = Counter(shard_of(uuid4(), shards) for _ in range(6000))
        assert set(counted) == set(range(shards))
        assert min(counted.values()) > 0.8 * 6000 / shards


def test_one_address_carries_every_stream() -> None:
    settings = load_settings({"REDIS_URL": "redis://a"})
    assert live_urls(settings) == ("redis://a",)
    two = replace(settings, live_redis_urls="redis://b/0,redis://c/0")
    assert {url_for(two, request_on(shard)) for shard in (0, 1)} == {"redis://b/0", "redis://c/0"}


@pytest.mark.parametrize(
    "text", ["redis://a,redis://a", "redis://:x@a:6379/0 redis://a/1", "redis://b, redis://A,redis://a/3"]
)
def test_settings_refuse_a_server_named_twice(text: str) -> None:
    with pytest.raises(SettingsError, match=r"NARU_LIVE_REDIS_URLS names the server a:6379 twice\. Remove one of them"):
        load_settings({"NARU_LIVE_REDIS_URLS": text})


def test_hanging_shard_delays_no_other(own_stack: Stack) -> None:
    server, process = more_redis(own_stack.servers, "redis-2")
    settings = settings_for(own_stack.redis_url, live_redis_urls=f"{own_stack.redis_url},{server.url}")

    async def work() -> None:
        async with publishing(settings) as publisher:
            with own_stack.redis_client() as first, redis.Redis.from_url(server.url, decode_responses=True) as second:
                free, stuck = (publisher.open(request_on(shard), 1) for shard in (0, 1))
                for live, client in ((free, first), (stuck, second)):
                    live.add("begun, ")
                    await until(lambda of=live, at=client: read(at, of.request_id).text == of.text())  # type: ignore[misc]
                process.freeze()
                stuck.add("held back, ")
                await until(lambda: not publisher.healthy)
                for number in range(20):
                    free.add(f"{number} ")
                    stuck.add(f"{number} ")
                    await until(lambda: read(first, free.request_id).text == free.text())
                    assert not publisher.healthy
                process.thaw()
                await until(lambda: read(second, stuck.request_id).text == stuck.text())
                await until(lambda: publisher.healthy)

    try:
        run(work)
    finally:
        process.kill()
