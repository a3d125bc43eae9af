"""The processes that a figure measures, with durable servers as `up` starts them and the product's default settings.

`Bench.running()` returns one simulator, worker and web process that figures share; `Bench.own()` starts a set that one
figure may harm. Only one set runs at a time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import uvloop

from deploy.cli.checks import scrub
from deploy.embedded import postgres, redis_server
from deploy.embedded.processes import ROOT
from shared.migrations.__main__ import migrate
from shared.settings import GUEST, Settings, variable_of
from tests.bench import noise
from tests.bench.asking import Asker
from tests.bench.event_stream import EventReader
from tests.bench.figure import Numbers, Size
from tests.bench.journal import Journal
from tests.bench.noise import Quiet
from tests.bench.processes import accounted
from tests.more_redis import more_redis
from tests.stack import CALM, WIDE_LIMITS, Process, Servers, Stack, wait_until

TEMPLATE = "naru"
WARMING_QUESTIONS = 3


class DurableServers(Servers):
    """Servers that write everything to disk, as with `up`."""

    def _postgres_at(self, port: int) -> postgres.Postgres:
        return dataclasses.replace(super()._postgres_at(port), durable=True)

    def _redis_at(self, port: int) -> redis_server.RedisServer:
        return dataclasses.replace(super()._redis_at(port), durable=True, databases=16)


@dataclass
class Running:
    """A set of processes, ready and warm."""

    stack: Stack
    simulator: Process
    journal: Journal
    workers: list[Process] = field(default_factory=list)
    webs: list[Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the URL of the first web process."""
        return self.webs[0].url

    def start_worker(self) -> Process:
        """Start one more worker, without waiting for it."""
        self.workers.append(self.stack.start_worker(ready=False))
        return self.workers[-1]

    def wait_for_worker(self, worker: Process) -> None:
        """Wait until the worker consumes."""
        wait_until(lambda: self.stack._registered(worker.pid, consuming=True), seconds=60, what="the worker is ready")

    def others(self) -> list[int]:
        """Return the process ids of everything except the workers."""
        servers = self.stack.servers
        return [each.pid for each in (*self.webs, self.simulator, servers.postgres, servers.redis)]

    def warm(self) -> None:
        """Run some answers, so that no measured one pays for an import or a first connection."""
        uvloop.run(self._warm())

    async def _warm(self) -> None:
        with Asker(self.stack.settings) as asker:
            for web in self.webs * WARMING_QUESTIONS:
                page = asker.page()
                reader = await EventReader.open(web.url, page)
                request_id = await asker.ask(page, "[[sim: tokens=20 first=0.05]] warm")
                await reader.until(lambda reading, asked=request_id: reading.ended(asked))  # type: ignore[misc]
                reader.close()


class Bench:
    """The servers, processes and baselines that all figures of a run share. Close it at the end."""

    def __init__(self, folder: Path, *, size: Size, auth: str = GUEST) -> None:
        """`auth` is NARU_AUTH of all processes; with accounts, every browser is signed in."""
        self.folder = folder
        self.size = size
        self.auth = auth
        self._numbers = count(1)
        self._servers: Servers | None = None
        self._shared: Running | None = None
        self._known: dict[str, tuple[Numbers, Quiet]] = {}
        #: The noise during the measurements that this figure took from `once`.
        self.borrowed: list[Quiet] = []

    def once(self, name: str, measure: Callable[[], Numbers]) -> Numbers:
        """Return numbers that several figures of a run share; the first call measures them."""
        if name not in self._known:
            before = noise.look()
            self._known[name] = measure(), noise.between(before, noise.look())
        numbers, quiet = self._known[name]
        self.borrowed.append(quiet)
        return numbers

    def pick(self, *, full: int, quick: int, smoke: int) -> int:
        """Return the number of repetitions for the size of this run."""
        return {Size.FULL: full, Size.QUICK: quick, Size.SMOKE: smoke}[self.size]

    def running(self) -> Running:
        """Return the processes that the figures share; start them if needed."""
        if self._shared is None:
            self._shared = self._start(self._common_servers(), workers=1, webs=1, settings={})
        return self._shared

    @contextmanager
    def own(
        self, *, workers: int = 1, webs: int = 1, own_servers: bool = False, **settings: object
    ) -> Iterator[Running]:
        """Yield a separate set of processes; with `own_servers`, its Redis and PostgreSQL may be stopped, too."""
        self._end_shared()
        servers = self._new_servers() if own_servers else self._common_servers()
        running: Running | None = None
        try:
            running = self._start(servers, workers=workers, webs=webs, settings=settings)
            yield running
        finally:
            with accounted():
                if running is not None:
                    running.stack.close()
                if own_servers:
                    servers.close()

    @contextmanager
    def database(self, name: str) -> Iterator[Settings]:
        """Yield a new migrated database on the common server, without processes."""
        servers = self._common_servers()
        database = f"bench_{name}_{next(self._numbers)}"
        url = servers.create_database(database, template=TEMPLATE)
        try:
            yield Settings(database_url=url)
        finally:
            servers.drop_database(database)

    @contextmanager
    def more_redis(self, number: int) -> Iterator[list[tuple[redis_server.RedisServer, Process]]]:
        """Yield this many empty Redis servers, which write nothing to disk."""
        servers, run = self._common_servers(), next(self._numbers)
        started: list[tuple[redis_server.RedisServer, Process]] = []
        try:
            started.extend(more_redis(servers, f"redis-{run}-{each}") for each in range(number))
            yield started
        finally:
            with accounted():
                for _, process in started:
                    process.kill()

    def environ(self, **settings: object) -> dict[str, str]:
        """Return the environment of a process with these settings only."""
        values = {variable_of(name): str(value) for name, value in settings.items()}
        return {**scrub(os.environ), **values, "PYTHONPATH": str(ROOT)}

    def rest(self) -> None:
        """End the shared processes; the next call of `running` starts new ones."""
        self._end_shared()

    def close(self) -> None:
        """End all servers and processes."""
        self._end_shared()
        if self._servers is not None:
            self._servers.close()

    def _end_shared(self) -> None:
        if self._shared is not None:
            self._shared.stack.close()
            self._shared = None

    def _common_servers(self) -> Servers:
        if self._servers is None:
            self._servers = self._new_servers()
        return self._servers

    def _new_servers(self) -> Servers:
        folder = self.folder / f"servers-{next(self._numbers)}"
        folder.mkdir(parents=True)
        made = DurableServers(folder)
        migrate(made.postgres_server.url)
        return made

    def _start(self, servers: Servers, *, workers: int, webs: int, settings: dict[str, object]) -> Running:
        number = next(self._numbers)
        stack = Stack(
            self.folder / f"logs-{number}",
            servers.create_database(f"bench_{number}", template=TEMPLATE),
            servers.redis_server.url_of(number % servers.redis_server.databases),
            servers,
        )
        with stack.redis_client() as client:
            client.flushdb()
        defaults = Settings()
        calm = {name: getattr(defaults, name) for name in CALM}
        stack.configure(**{**calm, **WIDE_LIMITS, "auth": self.auth, **settings})
        log = self.folder / f"calls-{number}.jsonl"
        words = ("--host", "127.0.0.1", "--port", "{port}", "--log", str(log))
        simulator = stack._listening("simulator", "workers.simulator", *words)
        stack.configure(simulator_url=simulator.url)
        running = Running(stack, simulator, Journal(log))
        try:
            for _ in range(workers):
                running.start_worker()
            running.webs = [stack.start_web(ready=False) for _ in range(webs)]
            for web in running.webs:
                wait_until(partial(stack._answers, web, f"{web.url}/readyz"), seconds=60, what="web is ready")
            for worker in running.workers:
                running.wait_for_worker(worker)
            running.warm()
        except BaseException:
            stack.close()
            raise
        return running
