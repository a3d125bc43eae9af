"""Redis clients, and the probe that tells whether Redis works.

Every client of the product is made here (tests/house enforces this); Celery makes its own for the broker. The callers
choose the timeouts, because a reader that blocks for a reply waits longer than a probe may.
"""

from __future__ import annotations

from typing import Any

from redis import Redis, RedisError, ResponseError, sentinel
from redis import asyncio as aioredis
from redis.asyncio import retry as asyncio_retry
from redis.asyncio import sentinel as async_sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.sentinels import Sentinels, sentinels_of


def make_client(url: str, *, timeout_seconds: float, **options: Any) -> Redis:
    """Return a client for threads; it connects with its first command.

    `timeout_seconds` limits connecting, each read and each write. A failed command is not tried again: a caller that
    waits for a dead server would wait for each try. `options` go to redis-py. An address of Sentinels (`sentinels.py`)
    leads to their primary: each new connection asks for it.
    """
    options |= {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    options["retry"] = Retry(NoBackoff(), 0)
    if (found := sentinels_of(url)) is None:
        return Redis.from_url(url, **options)
    manager = sentinel.Sentinel(found.places, sentinel_kwargs=asking_options(found, timeout_seconds))
    client = Redis(connection_pool=_PrimaryPool(found.master_name, manager, **found.of_redis, **options))  # type: ignore[no-untyped-call]
    client.auto_close_connection_pool = True
    return client


def make_async_client(url: str, *, timeout_seconds: float, **options: Any) -> aioredis.Redis:
    """Return a client for an event loop, otherwise as `make_client`."""
    options |= {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    options["retry"] = asyncio_retry.Retry(NoBackoff(), 0)
    if (found := sentinels_of(url)) is None:
        return aioredis.Redis.from_url(url, **options)
    is_single = options.pop("single_connection_client", False)
    asking = asking_options(found, timeout_seconds) | {"retry": asyncio_retry.Retry(NoBackoff(), 0)}
    manager = async_sentinel.Sentinel(found.places, sentinel_kwargs=asking)
    pool = _AsyncPrimaryPool(found.master_name, manager, **found.of_redis, **options)  # type: ignore[no-untyped-call]
    client: aioredis.Redis = aioredis.Redis(connection_pool=pool, single_connection_client=is_single)
    client.auto_close_connection_pool = True
    return client


def asking_options(found: Sentinels, timeout_seconds: float) -> dict[str, Any]:
    """Return redis-py's options for the connections to the Sentinels: a dead one is left at once for the next."""
    limits = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    return {**limits, "retry": Retry(NoBackoff(), 0), **found.of_sentinels}


def primary_known_to(found: Sentinels, place: tuple[str, int], *, timeout_seconds: float) -> str:
    """Ask one Sentinel for the primary: its host and port, or "" for none that can be used. Raises RedisError."""
    with sentinel.Sentinel([place], sentinel_kwargs=asking_options(found, timeout_seconds)) as manager:
        manager.sentinels[0].ping()
        try:
            return "{}:{}".format(*manager.discover_master(found.master_name))
        except sentinel.MasterNotFoundError:
            return ""


class _PrimaryPool(sentinel.SentinelConnectionPool):
    """redis-py's pool of connections to the primary; it also closes the connections to the Sentinels."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


class _AsyncPrimaryPool(async_sentinel.SentinelConnectionPool):
    """The same for an event loop."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


#: What a probe writes: one key, which expires. A server that is full, a replica, or one that cannot save answers a PING
#: and refuses every write that Naru needs.
_PROBE = ("naru:probe", "1")
_PROBE_SECONDS = 60


def takes_writes(client: Redis) -> bool:
    """Whether the server takes a write within the client's timeout."""
    try:
        return bool(client.set(*_PROBE, ex=_PROBE_SECONDS))
    except (RedisError, OSError):
        return False


def refusal_of(client: Redis) -> str:
    """Return why the server refuses a write; empty when it takes one. Raises RedisError or OSError if it is away."""
    try:
        client.set(*_PROBE, ex=_PROBE_SECONDS)
    except ResponseError as error:
        return str(error)
    return ""


async def try_write(url: str, *, timeout_seconds: float) -> None:
    """Write one key over a new connection. Raises RedisError or OSError unless the server takes it in time."""
    # RESP 2 needs no HELLO: one round trip less on a connection that serves once.
    async with make_async_client(url, timeout_seconds=timeout_seconds, protocol=2) as client:
        await client.set(*_PROBE, ex=_PROBE_SECONDS)
