"""A real Redis primary, its replica and three Sentinels, from the embedded Valkey."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from deploy.cli.checks import scrub
from deploy.embedded import processes, redis_server
from tests.patience import slowness
from tests.stack import Process, free_port, start, wait_until

NAME = "naru-primary"
PASSWORD = "s3cret/redis"
SENTINEL_PASSWORD = "s3cret;sentinel"


class Watched:
    """Two servers and three Sentinels. `primary` and `replica` are as they were at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = [free_port() for _ in range(5)]
        folder.mkdir()
        self.primary = self._start(0, _server_lines())
        wait_until(lambda: self._role(0) == "master", what="the primary answers")
        self.replica = self._start(1, [*_server_lines(), f"replicaof 127.0.0.1 {self.ports[0]}"])
        wait_until(self._is_synchronized, what="the replica follows")
        self.sentinels = [self._start(number, self._sentinel_lines(), "--sentinel") for number in (2, 3, 4)]
        wait_until(lambda: all(self._knows_all(number) for number in (2, 3, 4)), seconds=30, what="Sentinels agree")

    @property
    def url(self) -> str:
        """The address for Naru; the first Sentinel of the list is not there."""
        ports = (free_port(), *self.ports[2:])
        parts = (f"sentinel://:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{port}/0" for port in ports)
        options = f"?master_name={NAME}&sentinel_password={SENTINEL_PASSWORD.replace(';', '%3B')}"
        return ";".join(parts) + options

    def client(self, number: int) -> redis.Redis:
        """Return a client of one of the servers, by its number."""
        password = PASSWORD if number < 2 else SENTINEL_PASSWORD
        return redis.Redis(port=self.ports[number], password=password, socket_timeout=5, decode_responses=True)

    def _start(self, number: int, lines: list[str], *words: str) -> Process:
        own = self._folder / str(number)
        own.mkdir()
        configuration = own / "server.conf"
        head = [f"port {self.ports[number]}", "bind 127.0.0.1", f'dir "{own}"']
        configuration.write_text("\n".join((*head, *lines)) + "\n")
        argv = (str(redis_server.program()), str(configuration), *words)
        command = processes.Command(name=f"redis-{number}", argv=argv, environ=scrub(os.environ))
        return start(command, log=self._folder / f"{number}.log")

    def _sentinel_lines(self) -> list[str]:
        return [
            f'requirepass "{SENTINEL_PASSWORD}"',
            f"sentinel monitor {NAME} 127.0.0.1 {self.ports[0]} 2",
            f'sentinel auth-pass {NAME} "{PASSWORD}"',
            f'sentinel sentinel-pass "{SENTINEL_PASSWORD}"',
            f"sentinel down-after-milliseconds {NAME} {int(1000 * slowness())}",
            f"sentinel failover-timeout {NAME} 10000",
        ]

    def _role(self, number: int) -> str:
        with suppress(redis.RedisError, OSError), self.client(number) as client:
            return str(client.info("replication")["role"])
        return ""

    def _is_synchronized(self) -> bool:
        with suppress(redis.RedisError, OSError), self.client(1) as client:
            return bool(client.info("replication").get("master_link_status") == "up")
        return False

    def _knows_all(self, number: int) -> bool:
        with suppress(redis.RedisError, OSError), self.client(number) as client:
            state = client.sentinel_master(NAME)
            return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)
        return False

    def wait_for_failover(self) -> None:
        """Wait until the old replica is the primary."""
        wait_until(lambda: self._role(1) == "master", seconds=40, what="the Sentinels promote the replica")

    def close(self) -> None:
        """Kill all servers."""
        for each in (*self.sentinels, self.replica, self.primary):
            each.kill()


def _server_lines() -> list[str]:
    login = [f'requirepass "{PASSWORD}"', f'masterauth "{PASSWORD}"']
    return [*login, "appendonly no", 'save ""', "maxmemory-policy noeviction", "repl-diskless-sync-delay 0"]


@contextmanager
def running_sentinels(folder: Path) -> Iterator[Watched]:
    """Run two servers and three Sentinels for the length of the block."""
    made = Watched(folder)
    try:
        yield made
    finally:
        made.close()
