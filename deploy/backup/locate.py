"""Finds Naru's database: at DATABASE_URL, in a running `./naru up`, or in a stopped one, whose server it starts.

It locks the data folder of a stopped Naru, as `up` does. An `up` that starts meanwhile waits.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.backup.problem import BackupProblem
from deploy.backup.server import Server
from deploy.embedded import postgres, privileges, processes
from deploy.embedded.data import DataFolder, running_on
from deploy.embedded.locate import NOT_FOUND
from deploy.embedded.ports import free_port
from shared.settings import Settings, environment

START_SECONDS = 60.0


@contextmanager
def server_at(data: Path, settings: Settings, *, make: bool = False) -> Iterator[Server]:
    """Reach the server for the length of the block. `make` creates the embedded server's data if there is none."""
    if settings.database_url:
        # A dump needs a dedicated session, which a transaction pooler does not provide.
        yield Server(settings.listen_database_url or settings.database_url)
        return
    if not make and running_on(data) is None and not (data / "postgres").exists():
        raise BackupProblem(NOT_FOUND)
    folder = DataFolder(data)
    try:
        if not folder.lock():
            running = running_on(data)
            if running is None:
                raise BackupProblem(f"the Naru on {data} is starting or stopping. Wait a moment, then try again.")
            yield Server(running.environ["DATABASE_URL"])
            return
        processes.end_left_over(folder.pids)
        secrets, are_new = folder.secrets()
        with embedded(
            data / "postgres",
            password=secrets.postgres_password,
            log=folder.logs,
            pids=folder.pids,
            set_password=are_new and (data / "postgres").exists(),
        ) as server:
            yield server
    finally:
        folder.close()


@contextmanager
def embedded(
    data: Path,
    *,
    password: str,
    log: Path,
    pids: Path | None = None,
    set_password: bool = False,
    durable: bool = True,
) -> Iterator[Server]:
    """Run an embedded PostgreSQL on `data` for the length of the block. Creates the data if there is none."""
    environ = environment()
    try:
        run_as = postgres.run_as(data)
        made = postgres.Postgres(data=data, port=free_port(), password=password, run_as=run_as, durable=durable)
        postgres.prepare(made, environ)
        if set_password:
            postgres.set_password(made, environ)
        with (log / "postgres.log").open("ab") as output:
            pid_file = None if pids is None else pids / "postgres.json"
            child = processes.spawn(made.command(environ), log=output, pid_file=pid_file)
    except (postgres.PostgresProblem, privileges.NoOrdinaryUser) as error:
        raise BackupProblem(str(error)) from None
    try:
        if not _is_up(made, child):
            raise BackupProblem(f"the embedded PostgreSQL does not start. See {log / 'postgres.log'}.")
        yield Server(made.url)
    finally:
        command = made.command(environ)
        processes.end(child, stop_signal=command.stop_signal, grace_seconds=command.grace_seconds)
        if pid_file is not None:
            with contextlib.suppress(OSError):
                pid_file.unlink(missing_ok=True)


def _is_up(made: postgres.Postgres, child: subprocess.Popen[bytes]) -> bool:
    try:
        return postgres.wait(made, child, seconds=START_SECONDS)
    except postgres.PostgresProblem as error:
        raise BackupProblem(str(error)) from None
