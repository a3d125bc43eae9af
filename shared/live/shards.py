"""The shards: the Redis servers that carry the live streams, each stream on one of them.

A request's stream lives on shard number (id mod N), for every process with the same list of addresses. While processes
have different lists, `web/watch/readers.py` looks for a stream on all shards that it knows; without any luck the
checkpoints in Postgres carry the text (docs/decisions/0035).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from redis import RedisError

from shared.addresses import addresses_in, server_of
from shared.errors import SettingsError
from shared.redis import make_client
from shared.settings import Settings


def shard_of(request_id: UUID, shards: int) -> int:
    """Return the number of the request's shard, from 0."""
    return request_id.int % shards


def live_urls(settings: Settings) -> tuple[str, ...]:
    """Return the addresses of the shards, in their order."""
    return addresses_in(settings.live_redis_urls) or (settings.redis_url,)


def url_for(settings: Settings, request_id: UUID) -> str:
    """Return the address of the Redis that has the request's stream."""
    urls = live_urls(settings)
    return urls[shard_of(request_id, len(urls))]


def refuse_twins(settings: Settings) -> None:
    """Raise SettingsError if two addresses of NARU_LIVE_REDIS_URLS lead to the same server.

    A server that does not answer is not compared: Naru starts without Redis too.
    """
    urls = live_urls(settings)
    if twins := twins_among(urls, timeout_seconds=settings.redis_timeout_seconds):
        first, second = (server_of(url) for url in twins)
        raise SettingsError(
            f"NARU_LIVE_REDIS_URLS names the same server twice, as {first} and {second}. Remove one of them: a second "
            "address of one server carries no more."
        )


def twins_among(urls: Sequence[str], *, timeout_seconds: float) -> tuple[str, str] | None:
    """Return two of the addresses that lead to the same server; None if there are none."""
    if len(urls) < 2:
        return None
    with ThreadPoolExecutor(len(urls)) as threads:
        servers = list(threads.map(lambda url: run_id_of(url, timeout_seconds=timeout_seconds), urls))
    found: dict[str, str] = {}
    for url, server in zip(urls, servers, strict=True):
        if server and server in found:
            return found[server], url
        found[server] = url
    return None


def run_id_of(url: str, *, timeout_seconds: float) -> str:
    """Return the id that the server drew at its start; empty if it does not say."""
    try:
        with make_client(url, timeout_seconds=timeout_seconds) as client:
            return str(dict(client.info("server")).get("run_id", ""))
    except (RedisError, OSError):
        return ""
