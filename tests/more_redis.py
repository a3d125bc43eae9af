"""One more Redis beside the servers of a stack, for live streams on several of them."""

from __future__ import annotations

from dataclasses import replace

from deploy.embedded import redis_server
from tests.stack import Process, Servers, free_port, start


def more_redis(servers: Servers, name: str) -> tuple[redis_server.RedisServer, Process]:
    """Start one more, empty Redis with the servers' password. The caller kills it."""
    server = replace(servers.redis_server, data=servers.folder / name, port=free_port(), durable=False)
    process = start(server.command(servers.environ), log=servers.folder / f"{name}.log")
    assert redis_server.wait(server, process.child), process.log_text()
    return server, process
