"""Real servers and processes for tests. conftest.py has the fixtures that provide them.

`Servers` is an embedded PostgreSQL and Redis; `Stack` runs web, worker and simulator processes on one database and one
Redis. Everything listens on free loopback ports, writes below the test's own folder, and dies with the test process.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
import redis
from psycopg2 import sql

from deploy.cli.checks import scrub
from deploy.embedded import postgres, processes, redis_server
from deploy.embedded.processes import ROOT
from shared.settings import Settings, load_settings, variable_of
from tests.forks import MODULES, Forks
from tests.patience import patient, slowness

#: For tests in which no worker may be marked lost, however slow the machine is.
CALM: Mapping[str, float] = {
    "lease_seconds": 60,
    "renew_seconds": 0.5,
    "stall_seconds": 30,
    "tick_seconds": 0.25,
    "grace_seconds": 3,
}
#: For crash tests: call `stack.configure(**SHORT_LEASES)` before you start a process.
SHORT_LEASES: Mapping[str, float] = {
    "lease_seconds": 2.4 * slowness(),
    "renew_seconds": 0.4,
    "stall_seconds": 2 * slowness(),
    "tick_seconds": 0.2,
}
#: For many users behind one address. Not 0, so that Naru still counts requests, at the usual cost.
WIDE_LIMITS: Mapping[str, Any] = dict.fromkeys(
    (
        *("owner_running_questions", "owner_active_questions", "owner_questions_per_minute", "queue_questions"),
        *("address_questions_per_minute", "address_newcomers_per_minute"),
        *("streams_per_owner", "streams_per_address", "streams"),
    ),
    1_000_000,
)

T = TypeVar("T")
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], T], *, seconds: float = 15.0, what: str = "") -> T:
    """Call `condition` until it returns a true value, and return that value.

    Raises AssertionError after `seconds`, stretched for a slow machine (tests/patience.py).
    """
    limit = time.monotonic() + patient(seconds)
    while True:
        if found := condition():
            return found
        if time.monotonic() > limit:
            raise AssertionError(f"not within {patient(seconds):g} s: {what or condition}")
        time.sleep(0.02)


def get(url: str, *, seconds: float = 5.0) -> tuple[int, str]:
    """Return the status and body of a GET, whatever the status; (0, "") without a reply."""
    try:
        with NO_PROXY.open(url, timeout=patient(seconds)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""


@dataclass
class Process:
    """A child process and its log file."""

    command: processes.Command
    log: Path
    child: processes.Child
    url: str = ""

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def terminate(self) -> None:
        """Send the stop signal, as a deploy does; return at once."""
        processes.send(self.pid, self.command.stop_signal)

    def wait(self, *, seconds: float = 20.0) -> int:
        """Return the exit code. Raises TimeoutExpired after the (stretched) limit."""
        return self.child.wait(patient(seconds))

    def kill(self) -> None:
        """Send SIGKILL and wait until it exits."""
        processes.send_to_group(self.pid, signal.SIGKILL)
        self.child.wait()

    def freeze(self) -> None:
        processes.send(self.pid, signal.SIGSTOP)  # first, so that it starts no more children
        for pid in self._children():
            processes.send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it and its children (SIGCONT)."""
        for pid in (*self._children(), self.pid):
            processes.send(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        """Return the children's ids. PostgreSQL has a child for each connection, each in its own session."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


def start(command: processes.Command, *, log: Path, forks: Forks | None = None) -> Process:
    """Start a child that appends its output to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        _, flag, module, *words = (*command.argv, "", "")
        if forks is not None and flag == "-m" and module in MODULES:
            child = forks.fork(module, tuple(filter(None, words)), environ=command.environ, log=output)
            return Process(command, log, child)
        return Process(command, log, processes.spawn(command, log=output))


#: By superuser: a data folder from initdb and its password. Copying it takes a tenth of initdb's time.
_made: dict[str, tuple[Path, str]] = {}


class Servers:
    """An embedded PostgreSQL (no fsync) and Redis (no files). Both can be stopped, killed, frozen and restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = scrub(os.environ)
        template, self.password = _made.get(postgres.USER, (folder / "made", secrets.token_urlsafe(12)))
        self.run_as = postgres.run_as(folder / "postgres")
        self.postgres_server = self._postgres_at(free_port())
        self.redis_server = self._redis_at(free_port())
        is_made = template.exists()
        if is_made:
            shutil.copytree(template, folder / "postgres")
        postgres.prepare(self.postgres_server, self.environ)
        if not is_made:
            shutil.copytree(folder / "postgres", template)
            _made[postgres.USER] = (template, self.password)
        self.postgres = self.start_postgres(new_port=True)
        self.redis = self.start_redis(new_port=True)

    def _postgres_at(self, port: int) -> postgres.Postgres:
        return postgres.Postgres(
            data=self.folder / "postgres",
            port=port,
            password=self.password,
            run_as=self.run_as,
            durable=False,
            connections=200,
        )

    def _redis_at(self, port: int) -> redis_server.RedisServer:
        data = self.folder / "redis"
        return redis_server.RedisServer(data=data, port=port, password=self.password, durable=False, databases=512)

    def start_postgres(self, *, new_port: bool = False) -> Process:
        """Start PostgreSQL, by default on its previous port, which the processes know."""
        log = self.folder / "postgres.log"
        for _ in range(5):
            self.postgres = start(self.postgres_server.command(self.environ), log=log)
            if postgres.wait(self.postgres_server, self.postgres.child):
                return self.postgres
            self.postgres.kill()
            if new_port:
                self.postgres_server = self._postgres_at(free_port())
        raise AssertionError(f"PostgreSQL does not start:\n{log.read_text()[-2000:]}")

    def start_redis(self, *, new_port: bool = False) -> Process:
        """Start an empty Redis, by default on its previous port."""
        log = self.folder / "redis.log"
        for _ in range(5):
            self.redis = start(self.redis_server.command(self.environ), log=log)
            if redis_server.wait(self.redis_server, self.redis.child):
                return self.redis
            self.redis.kill()
            if new_port:
                self.redis_server = self._redis_at(free_port())
        raise AssertionError(f"Redis does not start:\n{log.read_text()[-2000:]}")

    def stop_postgres(self) -> None:
        """Shut PostgreSQL down in fast mode; connections break."""
        self.postgres.terminate()
        self.postgres.wait()

    def stop_redis(self) -> None:
        """Shut Redis down cleanly; its data is gone."""
        self.redis.terminate()
        self.redis.wait()

    def execute(self, statement: sql.Composable) -> None:
        """Run one statement as the owner, outside any transaction."""
        connection = psycopg2.connect(self.postgres_server.url_of("postgres"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def create_database(self, name: str, *, template: str) -> str:
        """Copy the database `template`; return the URL of the copy."""
        new, old = sql.Identifier(name), sql.Identifier(template)
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(new, old))
        return self.postgres_server.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, even while clients are connected."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Stop both immediately, without saving."""
        if self.postgres.running:
            self.postgres.thaw()
            processes.send(self.postgres.pid, signal.SIGQUIT)
            self.postgres.wait()
        self.redis.kill()


@dataclass
class Stack:
    """Naru's processes on one database and one Redis; `close()` ends them all."""

    folder: Path
    database_url: str
    redis_url: str
    servers: Servers
    values: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    #: Starts processes by fork; None starts them as an operator does.
    forks: Forks | None = None
    #: The source tree that processes run from now on.
    tree: Path = ROOT

    def __post_init__(self) -> None:
        self.configure(
            database_url=self.database_url,
            redis_url=self.redis_url,
            secret_key="test-" + "s" * 32,
            ollama_url="off",
            owner_running_questions=0,  # one person asks all questions of most tests
            owner_questions_per_minute=30,
            **CALM,
        )

    def configure(self, **settings: object) -> None:
        """Set settings, by their names in shared/settings, for processes that start from now on."""
        self.values |= {variable_of(name): str(value) for name, value in settings.items()}

    def environ(self, **settings: object) -> dict[str, str]:
        """Return a child's environment: the scrubbed one, this stack's settings, then `settings`."""
        own = {variable_of(name): str(value) for name, value in settings.items()}
        return {**scrub(os.environ), **self.values, **own, "PYTHONPATH": str(self.tree)}

    @property
    def settings(self) -> Settings:
        """The settings as a child would read them now."""
        return load_settings(self.environ())

    def redis_client(self) -> redis.Redis:
        """Return a client on this stack's Redis database."""
        return redis.Redis.from_url(self.redis_url, decode_responses=True, socket_timeout=5)

    def run(self, name: str, *argv: str, **settings: object) -> Process:
        """Start `python argv…` in the root of the repository. Call it from the test's main thread."""
        environ = self.environ(**settings)
        command = processes.Command(name=name, argv=(sys.executable, *argv), environ=environ, cwd=self.tree)
        process = start(command, log=self.folder / f"{name}-{len(self.processes)}.log", forks=self.forks)
        self.processes.append(process)
        return process

    def start_simulator(self, *options: str) -> Process:
        """Start the simulator, and set NARU_SIMULATOR_URL for later processes. It logs into `calls_log`."""
        process = self._listening(
            "simulator",
            "workers.simulator",
            *("--host", "127.0.0.1", "--port", "{port}", "--log", str(self.calls_log), *options),
        )
        self.configure(simulator_url=process.url)
        return process

    @property
    def calls_log(self) -> Path:
        """The simulator's log, with a JSON line per event of a call."""
        return self.folder / "calls.jsonl"

    def start_worker(self, *, ready: bool = True, consuming: bool = True, **settings: object) -> Process:
        """Start a worker; wait until its row has a lease, and with `consuming` until it consumes."""
        process = self.run("worker", "-m", "workers", **settings)
        if ready:
            wait_until(
                lambda: self._checked(process) and self._registered(process.pid, consuming=consuming),
                seconds=30,
                what="the worker is ready",
            )
        return process

    def start_web(self, *, ready: bool = True, **settings: object) -> Process:
        """Start a web process on a free port; its `url` has no trailing slash."""
        process = self._listening("web", "web", ready=ready, port="{port}", **{"host": "127.0.0.1", **settings})
        if ready:
            for path in ("/readyz", "/_stcore/health"):
                url = process.url + path
                wait_until(partial(self._answers, process, url), seconds=30, what=url)
        return process

    def workers(self, number: int, **settings: Any) -> list[Process]:
        """Return exactly `number` running workers: kill the oldest ones, or start new ones."""
        running = [each for each in self.processes if each.command.name == "worker" and each.running]
        for each in running[: len(running) - number]:
            each.kill()
        running = running[max(0, len(running) - number) :]
        return running + [self.start_worker(**settings) for _ in range(number - len(running))]

    def _listening(self, name: str, module: str, *words: str, ready: bool = True, **settings: object) -> Process:
        """Start a module on a free port; try another port if that one is taken."""
        for _ in range(3):
            port = str(free_port())
            argv = [word.replace("{port}", port) for word in words]
            values = {key: port if value == "{port}" else value for key, value in settings.items()}
            process = self.run(name, "-m", module, *argv, **values)
            process.url = f"http://127.0.0.1:{port}"
            if not ready or self._listens(process, int(port)):
                return process
            if "in use" not in process.log_text():
                raise AssertionError(f"{name} does not listen:\n{process.log_text()[-3000:]}")
        raise AssertionError(f"{name}: no free port in three tries")

    def _listens(self, process: Process, port: int) -> bool:
        limit = time.monotonic() + patient(30)
        while process.running and time.monotonic() < limit:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.02)
        return False

    def _answers(self, process: Process, url: str) -> bool:
        return self._checked(process) and get(url)[0] == 200

    def _checked(self, process: Process) -> bool:
        if not process.running:
            raise AssertionError(f"{process.command.name} ended:\n{process.log_text()[-3000:]}")
        return True

    def _registered(self, pid: int, *, consuming: bool) -> bool:
        question = (
            "SELECT consumed_at IS NOT NULL FROM worker "
            "WHERE pid = %s AND lost_at IS NULL AND lease_expires_at > clock_timestamp()"
        )
        connection = psycopg2.connect(self.database_url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(question, (pid,))
                row = cursor.fetchone()
        finally:
            connection.close()
        return row is not None and (bool(row[0]) or not consuming)

    def close(self) -> None:
        """Kill the processes that are still running."""
        for process in self.processes:
            process.kill()
