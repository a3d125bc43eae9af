"""A real PgBouncer in transaction mode, in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from deploy.cli.checks import scrub
from deploy.embedded import privileges, processes
from shared.postgres.urls import hosts_of
from tests.stack import Process, Servers, free_port, start, wait_until

MISSING = "no PgBouncer here: apt install pgbouncer"


def program() -> str | None:
    """Return the path of the program; None where it is not installed."""
    return shutil.which("pgbouncer", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def need_pgbouncer() -> None:
    """Skip the test where PgBouncer is not installed; fail it where NARU_TEST_STRICT=1."""
    if program() is None:
        (pytest.fail if os.environ.get("NARU_TEST_STRICT") == "1" else pytest.skip)(MISSING)


class PgBouncer:
    """A running PgBouncer. It lends each transaction the server connection that has rested longest."""

    def __init__(self, folder: Path, servers: Servers, **options: str) -> None:
        self._servers, self.port = servers, free_port()
        folder.mkdir()
        server = servers.postgres_server
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"naru" "{server.password}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(users),
            "pool_mode": "transaction",
            "default_pool_size": "4",
            # So that the next transaction nearly always runs on another server connection.
            "server_round_robin": "1",
            "min_pool_size": "4",
            "max_client_conn": "300",
            **options,
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        configuration.write_text(f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n{text}")
        privileges.change_owner(folder, owner=servers.run_as.owner)
        argv = (*servers.run_as.prefix, str(program()), "-q", str(configuration))
        command = processes.Command(name="pgbouncer", argv=argv, environ=scrub(os.environ))
        self.process: Process = start(command, log=folder.parent / f"{folder.name}.log")
        wait_until(self._answers, what="PgBouncer answers")

    def address_of(self, url: str) -> str:
        """Return the address of the same database through the pooler."""
        return url.replace(hosts_of(url), f"127.0.0.1:{self.port}")

    def _answers(self) -> bool:
        if not self.process.running:
            raise AssertionError(f"PgBouncer ended:\n{self.process.log_text()[-2000:]}")
        try:
            # Not the tests' template: a pooled connection to it would keep it from being copied.
            psycopg2.connect(self.address_of(self._servers.postgres_server.url_of("postgres"))).close()
        except psycopg2.OperationalError:
            return False
        return True

    def close(self) -> None:
        """Kill it."""
        self.process.kill()


@contextmanager
def running_pgbouncer(folder: Path, servers: Servers, **options: str) -> Iterator[PgBouncer]:
    """Run a PgBouncer for the length of the block; `options` are lines of its configuration."""
    need_pgbouncer()
    made = PgBouncer(folder, servers, **options)
    try:
        yield made
    finally:
        made.close()
