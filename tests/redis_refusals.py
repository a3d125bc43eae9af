"""A Redis that answers PING and refuses every write, in the three ways in which that happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.stack import free_port, wait_until

REFUSALS = ("full", "replica", "cannot save")


@contextmanager
def refusing(client: redis.Redis, data: Path, how: str) -> Iterator[None]:
    """Have Redis refuse writes until the end; `data` is its working directory."""
    ask: Callable[..., Any] = client.execute_command
    obstacle = data / "dump.rdb"
    try:
        if how == "full":
            ask("CONFIG", "SET", "maxmemory", "1")
        elif how == "replica":
            ask("REPLICAOF", "127.0.0.1", str(free_port()))
        else:
            obstacle.unlink(missing_ok=True)
            obstacle.mkdir()  # a snapshot cannot replace it
            ask("CONFIG", "SET", "save", "3600 1")
            ask("BGSAVE", "SCHEDULE")
            wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="it cannot save")
        yield
    finally:
        ask("CONFIG", "SET", "maxmemory", "0")
        ask("REPLICAOF", "NO", "ONE")
        ask("CONFIG", "SET", "save", "")
        if obstacle.is_dir():
            obstacle.rmdir()
