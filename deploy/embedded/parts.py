"""The processes that make up Naru on one machine: how to start each, and how to tell that it is ready.

up.py sets their order, supervisor.py keeps them running; postgres.py and redis_server.py have the servers' details.
"""

from __future__ import annotations

import socket
import sys
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from deploy.embedded import postgres, redis_server
from deploy.embedded.environment import environment_of
from deploy.embedded.processes import ROOT, Command
from deploy.embedded.silence import DIRECT
from deploy.embedded.supervisor import Part
from shared.postgres.urls import libpq_url
from shared.settings import CLOSE_SECONDS, Settings, load_settings

HEAD_START_SECONDS = 5.0
WORKER_AT_WORK = (
    "SELECT 1 FROM worker WHERE pid = %s AND host = %s AND lost_at IS NULL AND lease_expires_at > clock_timestamp()"
)
WORKER_READY = (
    f"{WORKER_AT_WORK} AND consumed_at IS NOT NULL"  # the broker delivers to it: required at the first start only
)


def database(server: postgres.Postgres, environ: Mapping[str, str]) -> Part:
    """Describe the embedded PostgreSQL."""
    return Part(command=server.command(environ), is_ready=lambda _: postgres.answers(server))


def broker(server: redis_server.RedisServer, environ: Mapping[str, str]) -> Part:
    """Describe the embedded Redis."""
    return Part(command=server.command(environ), is_ready=lambda _: redis_server.answers(server))


def migration(environ: Mapping[str, str]) -> Command:
    """Describe the migrations, which run to their end and so are not a part."""
    return module("migrate", "shared.migrations", environ=environment_of("migrate", environ))


def is_migrated(database_url: str) -> bool:
    """Return whether the database has the newest migration. Saves the second that Alembic takes to load."""
    newest = max(path.stem for path in (ROOT / "shared" / "migrations" / "versions").glob("*.py"))
    # Check this first: querying a missing table would log an error in the server at each first start.
    if ask(database_url, "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL") is None:
        return False
    row = ask(database_url, "SELECT version_num FROM alembic_version")
    return row is not None and row[0] == newest.partition("_")[0]


def web(environ: Mapping[str, str], *, url: str) -> Part:
    """Describe web: the page and its routes."""
    return Part(
        command=module("web", "web", environ=environment_of("web", environ)),
        is_ready=lambda _: is_ok(f"{url}/_stcore/health") and is_ok(f"{url}/readyz"),
        is_at_work=lambda _: is_ok(f"{url}/_stcore/health"),  # without Postgres it keeps running and says so
        answers_at=f"{url}/healthz",
        silent_seconds=silent_seconds_of(load_settings(environ)),
    )


def silent_seconds_of(settings: Settings) -> float:
    """Return how long web may be silent. It is longer than web's own limit, because only web can log its stacks."""
    return settings.web_wedged_seconds and settings.web_wedged_seconds + HEAD_START_SECONDS


def worker(environ: Mapping[str, str], *, number: int, settings: Settings) -> Part:
    """Describe one worker process. At a stop it has its grace time to finish its answers."""
    name = "worker" if number == 1 else f"worker-{number}"
    return Part(
        command=module(
            name,
            "workers",
            environ=environment_of("worker", environ),
            grace_seconds=settings.grace_seconds + CLOSE_SECONDS + 2,
        ),
        is_ready=lambda pid: is_registered(settings.database_url, pid, by=WORKER_READY),
        is_at_work=lambda pid: is_at_work(settings.database_url, pid),
    )


def simulator(environ: Mapping[str, str], *, port: int) -> Part:
    """Describe the demo model."""
    words = ("--host", "127.0.0.1", "--port", str(port))
    return Part(
        command=module("simulator", "workers.simulator", *words, environ=environment_of("simulator", environ)),
        is_ready=lambda _: listens(port),
    )


def flower(environ: Mapping[str, str], *, port: int, password: str, data: Path) -> Part:
    """Describe Flower, bound to loopback. Its options are variables, so the password shows in no process list."""
    options = {
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(port),
        "FLOWER_BASIC_AUTH": f"naru:{password}",
        "FLOWER_DB": str(data / "flower" / "state"),
        "FLOWER_PERSISTENT": "true",
        "FLOWER_STATE_SAVE_INTERVAL": "60000",
        "FLOWER_MAX_TASKS": "5000",
        "FLOWER_PURGE_OFFLINE_WORKERS": "300",
        "FLOWER_INSPECT_TIMEOUT": "3000",
        "FLOWER_READ_ONLY": "true",  # the page and the supervisor stop things
    }
    return Part(
        command=module("flower", "workers.flower", environ=environment_of("flower", environ) | options),
        is_ready=lambda _: is_ok(f"http://127.0.0.1:{port}/healthcheck"),
    )


def module(name: str, module_name: str, *words: str, environ: Mapping[str, str], grace_seconds: float = 5.0) -> Command:
    """Make the command `python -m module_name words…` with this environment's Python."""
    argv = (sys.executable, "-m", module_name, *words)
    return Command(name=name, argv=argv, environ=environ, grace_seconds=grace_seconds)


def is_ok(url: str) -> bool:
    """Return whether a GET is answered with 200."""
    try:
        with DIRECT.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def listens(port: int) -> bool:
    """Return whether a loopback port accepts a connection."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_registered(database_url: str, pid: int, *, by: str = WORKER_AT_WORK) -> bool:
    """Return whether the worker with this pid has a lease (with WORKER_READY: and has heard from the broker)."""
    return ask(database_url, by, pid, socket.gethostname()) is not None


def is_at_work(database_url: str, pid: int) -> bool:
    """Return whether the worker has a lease, or cannot have one because Postgres is away."""
    return is_registered(database_url, pid) or ask(database_url, "SELECT 1") is None


def ask(database_url: str, question: str, *values: object) -> tuple[Any, ...] | None:
    """Return the first row of a query; None if there is no row, no server or no such table yet."""
    try:
        # Without shared.postgres.database: SQLAlchemy would add 20 MB to the launcher.
        connection = psycopg2.connect(libpq_url(database_url), connect_timeout=2)
    except psycopg2.OperationalError:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute(question, values)
            return cursor.fetchone()
    except psycopg2.Error:
        return None
    finally:
        connection.close()
