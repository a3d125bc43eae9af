"""The Redis clients that carry live text: redis-py's, with their commands packed in C.

redis-py packs with hiredis in its synchronous client only; its asyncio one joins every key and value in Python. A flush
has three values for each answer and a read two for each stream, so that was 13 % of a worker's CPU, and 5 % of web's,
with 300 answers under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection


class _Packing(Connection):
    def pack_command(self, *args: Any) -> list[bytes]:
        return [_packed(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join([_packed(tuple(command)) for command in commands])]


class _PackingSSL(_Packing, SSLConnection):
    pass


_PACKING: dict[type[AbstractConnection], type[AbstractConnection]] = {Connection: _Packing, SSLConnection: _PackingSSL}


def connect(url: str, **options: Any) -> Redis:
    """A client as `Redis.from_url` makes it; nothing is connected yet."""
    made: Redis = Redis.from_url(url, **options)
    pool = made.connection_pool
    pool.connection_class = _PACKING.get(pool.connection_class, pool.connection_class)
    return made


def _packed(words: tuple[Any, ...]) -> bytes:
    # A command's name may be two words, such as CLIENT ID: the server wants each by itself.
    name = words[0]
    first = (name.encode() if isinstance(name, str) else name).split()
    packed: bytes = hiredis.pack_command((*first, *words[1:]))
    return packed
