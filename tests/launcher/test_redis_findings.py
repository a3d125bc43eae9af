"""Tests of what `./naru doctor` finds on the Redis servers: each one is checked, whichever fails."""

from __future__ import annotations

import redis

from deploy.cli.findings import Level
from deploy.cli.redis_servers import redis_servers
from deploy.cli.servers import try_shards
from shared.settings import Settings
from tests.more_redis import more_redis
from tests.stack import Servers, free_port


def found(settings: Settings) -> list[tuple[Level, str]]:
    return [(each.level, each.what) for each in redis_servers(settings)]


def test_doctor_checks_each_redis(servers: Servers) -> None:
    server, process = more_redis(servers, "redis-doctor")
    away = f"127.0.0.1:{free_port()}"
    urls = (servers.redis_server.url, server.url, f"redis://{away}/0")
    settings = Settings(redis_url=urls[0], live_redis_urls=",".join(urls))
    try:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
        wrong = [what for level, what in found(settings) if level is Level.WRONG]
        assert [what for what in wrong if "refuses a write" in what] == [
            next(what for what in wrong if what.startswith(f"live redis 127.0.0.1:{server.port}: refuses a write: "))
        ]
        assert [what for what in wrong if what.startswith(f"live redis {away}: ")]
        assert not [what for what in wrong if what.startswith("redis: ")]
        (sentence,) = try_shards(settings)
        assert sentence.startswith(f"NARU_LIVE_REDIS_URLS ({away}) cannot be used: nothing listens there.")
    finally:
        process.kill()


def test_doctor_names_two_addresses_of_one_server(servers: Servers) -> None:
    url = servers.redis_server.url
    twins = Settings(redis_url=url, live_redis_urls=f"{url} {url.replace('127.0.0.1', 'localhost')}")
    port = servers.redis_server.port
    what = f"live redis: 127.0.0.1:{port} and localhost:{port} are the same server"
    assert (Level.WRONG, what) in found(twins)
    assert found(Settings(redis_url=url)) != []
    assert try_shards(twins)[0].startswith("NARU_LIVE_REDIS_URLS names the same server twice")
