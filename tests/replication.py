"""A streaming standby of the tests' PostgreSQL, which can be promoted."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing

import psycopg2
from psycopg2 import sql

from deploy.cli.checks import scrub
from deploy.embedded import postgres, privileges
from shared.postgres.urls import hosts_of
from tests.patience import patient
from tests.stack import Process, Servers, free_port, start, wait_until


class Standby:
    """A standby that has what the primary has committed: the primary waits for it (synchronous replication)."""

    def __init__(self, servers: Servers) -> None:
        self._primary = servers.postgres_server
        self.server = postgres.Postgres(
            data=servers.folder / "standby",
            port=free_port(),
            password=servers.password,
            run_as=servers.run_as,
            durable=False,
            connections=200,
        )
        self._copy(servers)
        command = self.server.command(servers.environ)
        self.process: Process = start(command, log=servers.folder / "standby.log")
        self._wait_for_it()

    def _copy(self, servers: Servers) -> None:
        folder = self.server.data
        folder.mkdir(mode=0o700)
        privileges.change_owner(folder, owner=servers.run_as.owner)
        words = ("--host=127.0.0.1", f"--port={self._primary.port}", f"--username={postgres.USER}", "--no-password")
        how = ("--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync", f"--pgdata={folder}")
        argv = [*servers.run_as.prefix, str(postgres.programs() / "pg_basebackup"), *words, *how]
        environ = {**scrub(os.environ), "PGPASSWORD": servers.password}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=patient(120))
        assert done.returncode == 0, done.stderr

    def _wait_for_it(self) -> None:
        """Make the primary wait for the standby at each commit."""
        database = sql.Identifier(postgres.DATABASE)
        with closing(psycopg2.connect(self._primary.url)) as link, link.cursor() as cursor:
            link.autocommit = True
            # Not before the copy: the standby would inherit it, and wait for a standby once it is promoted.
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            cursor.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = 'on'").format(database))
            cursor.execute("SELECT pg_reload_conf()")

            def is_synchronous() -> bool:
                cursor.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'")
                return cursor.fetchone() is not None

            wait_until(is_synchronous, seconds=30, what="the standby is synchronous")

    @property
    def url(self) -> str:
        """The address with both hosts, the primary first."""
        own = hosts_of(self._primary.url)
        both = f"{own},{hosts_of(self.server.url)}"
        return self._primary.url.replace(own, both) + "?target_session_attrs=read-write"

    def promote(self) -> None:
        """Make it the primary."""
        with closing(psycopg2.connect(self.server.url_of("postgres"))) as link, link.cursor() as cursor:
            cursor.execute("SELECT pg_promote(wait => true)")

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
