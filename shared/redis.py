"""Redis clients, and the probe that tells whether Redis works.

Every client of the product is made here (tests/house enforces this); Celery makes its own for the broker. The callers
choose the timeouts, because a reader that blocks for a reply waits longer than a probe may.
"""

from __future__ import annotations

from typing import Any

from redis import Redis, RedisError, ResponseError
from redis import asyncio as aioredis
from redis.asyncio import retry as asyncio_retry
from redis.backoff import NoBackoff
from redis.retry import Retry


def make_client(url: str, *, timeout_seconds: float, **options: Any) -> Redis:
    """Return a client for threads; it connects with its first command.

    `timeout_seconds` limits connecting, each read and each write. A failed command is not tried again: a caller that
    waits for a dead server would wait for each try. `options` go to redis-py.
    """
    options["retry"] = Retry(NoBackoff(), 0)
    return Redis.from_url(url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, **options)


def make_async_client(url: str, *, timeout_seconds: float, **options: Any) -> aioredis.Redis:
    """Return a client for an event loop, otherwise as `make_client`."""
    options["retry"] = asyncio_retry.Retry(NoBackoff(), 0)
    return aioredis.Redis.from_url(
        url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, **options
    )


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
