"""Tests that packing Redis commands in C gives the same bytes as redis-py."""

from __future__ import annotations

import pytest
from redis.asyncio import Connection, SSLConnection

from shared.redis import make_async_client

COMMANDS = [
    ("XREAD", "COUNT", 500, "BLOCK", 400, b"STREAMS", "naru:live:1", "0-0"),
    ("CLIENT ID",),
    (b"CLIENT UNBLOCK", 7),
    ("EVAL", "return 1", 1, "key", 3, 12, "나루 🛶 \r\n$5\r\n\x00", 0.5, ""),
    ("XADD", "key", "*", "text", "x" * 100_000),
]


@pytest.mark.parametrize(("scheme", "plain"), [("redis", Connection), ("rediss", SSLConnection)])
def test_commands_are_packed_as_the_library_packs_them(scheme: str, plain: type[Connection]) -> None:
    url = f"{scheme}://127.0.0.1:1/0"
    pool = make_async_client(url, timeout_seconds=1, connect_timeout_seconds=1).connection_pool
    connection = pool.make_connection()  # type: ignore[no-untyped-call]
    assert isinstance(connection, plain)
    assert type(connection).pack_command is not plain.pack_command
    theirs = plain(host="127.0.0.1", port=1)
    for command in COMMANDS:
        assert b"".join(connection.pack_command(*command)) == b"".join(theirs.pack_command(*command)), command
    assert b"".join(connection.pack_commands(COMMANDS)) == b"".join(theirs.pack_commands(COMMANDS))
