"""The processes of a run, and operations on them: kill, freeze, disconnect, restart, wait.

The servers are durable, as `up` starts them, and the settings are the product's defaults. web also has the routes of
`fault_routes.py`. The rig counts and restarts processes that exit by themselves, as a supervisor does. Use it only in
the main thread, because children die with the thread that started them.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from deploy.embedded import parts, processes, silence
from shared.migrations.__main__ import migrate
from shared.postgres.urls import driver_url
from shared.settings import Settings
from tests.bench.stacks import DurableServers
from tests.faults import evidence, identities
from tests.faults.crowd import Crowd
from tests.faults.history import History
from tests.faults.proxy import Lines, Proxy, Trap
from tests.patience import patient
from tests.stack import CALM, NO_PROXY, WIDE_LIMITS, Process, Servers, Stack

T = TypeVar("T")


class CannotInject(Exception):
    """The fault cannot be injected on this machine; the message says why."""


#: Pause between checks for ended processes.
TEND_SECONDS = 0.02
#: The request deadline: longer than any outage in the catalogue, short enough to wait for.
DEADLINE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The processes to start, and the connections that go through a proxy: `worker.postgres`, `web.redis`, …"""

    workers: int = 2
    webs: int = 1
    proxied: tuple[str, ...] = ()
    settings: dict[str, object] = field(default_factory=dict)
    worker_module: str = "workers"
    #: Size of a tmpfs for all data, which a fault can fill; 0: use the ordinary disk.
    disk_megabytes: int = 0


@dataclass
class Watched:
    """A process that should keep running. If it exits by itself, the rig counts that and starts another."""

    kind: str
    process: Process
    extra: dict[str, object]
    #: The suite ended this process, so nothing starts it again.
    dismissed: bool = False


class Rig:
    """The servers, processes, proxies and people of one run. Make it with `Rig.running(...)`."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.shape = shape
        self.folder = folder
        #: The data folder of both servers.
        self.disk = folder / "disk"
        self.disk.mkdir()
        if shape.disk_megabytes:
            small_disk(self.disk, megabytes=shape.disk_megabytes)
        self.servers: Servers = DurableServers(self.disk)
        migrate(self.servers.postgres_server.url)
        evidence.install_witness(self.servers.postgres_server.url)
        self.stack = Stack(
            folder / "logs", self.servers.postgres_server.url, self.servers.redis_server.url_of(0), self.servers
        )
        defaults = Settings()
        settings: dict[str, object] = {name: getattr(defaults, name) for name in CALM}
        settings |= {**WIDE_LIMITS, "auth": identities.auth()}
        settings |= {"deadline_seconds": DEADLINE_SECONDS, "total_seconds": DEADLINE_SECONDS, **shape.settings}
        self.stack.configure(**settings)
        self.lines = Lines()
        self.proxies: dict[str, Proxy] = {}
        self.watched: list[Watched] = []
        self.exits: Counter[str] = Counter()
        self.history = History(folder / "history.jsonl")
        self.calls = evidence.Calls(self.stack.calls_log)
        self.engine: Engine = create_engine(driver_url(self.servers.postgres_server.url), poolclass=NullPool)
        made = identities.Identities(self.engine, self.stack.settings.secret_key)
        self.crowd = Crowd(new_cookie=made.new_cookie, urls=self.urls, history=self.history)

    @classmethod
    @contextmanager
    def running(cls, folder: Path, shape: Shape) -> Iterator[Rig]:
        """Start everything and wait until it is ready; stop it afterwards, even after an error."""
        folder.mkdir(parents=True)
        rig: Rig | None = None
        try:
            rig = cls(folder, shape)
            rig.start()
            yield rig
        finally:
            if rig is not None:
                rig.close()

    def start(self) -> None:
        """Start simulator, proxies, workers and web, and ask the first questions."""
        simulator = self.stack.start_simulator()
        ports = {
            "postgres": self.servers.postgres_server.port,
            "redis": self.servers.redis_server.port,
            "provider": urlsplit(simulator.url).port or 0,
        }
        self.proxies = {name: self.lines.proxy(ports[name.split(".")[1]]) for name in self.shape.proxied}
        for _ in range(self.shape.workers):
            self.start_worker(ready=False)
        for _ in range(self.shape.webs):
            self.start_web()
        for worker in self.workers:
            self.wait_for_worker(worker)
        self.crowd.do(self._warm())
        self.history.take()

    async def _warm(self) -> None:
        for _ in range(2 * max(self.shape.workers, self.shape.webs)):
            page = await self.crowd.page()
            asked = await page.ask("[[sim: emit=call tokens=5 first=0.05]] warm")
            assert asked is not None
            await page.see_end(asked.request)
        await self.crowd.leave()

    def close(self) -> None:
        """Thaw and end everything."""
        self.crowd.close()
        self.lines.close()
        self.engine.dispose()
        for each in self.watched:
            if each.process.running:
                each.process.thaw()
        self.servers.redis.thaw() if self.servers.redis.running else None
        self.stack.close()
        self.servers.close()
        self.history.close()
        if self.shape.disk_megabytes:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=False)

    # Processes

    @property
    def workers(self) -> list[Process]:
        """The workers that should run now."""
        return [each.process for each in self.watched if each.kind == "worker" and not each.dismissed]

    @property
    def webs(self) -> list[Process]:
        """The web processes that should run now."""
        return [each.process for each in self.watched if each.kind == "web" and not each.dismissed]

    def urls(self) -> list[str]:
        """Return the addresses of the running web processes, as a load balancer would know them."""
        return [each.process.url for each in self.watched if each.kind == "web" and each.process.running]

    def _settings_of(self, kind: str) -> dict[str, object]:
        made: dict[str, object] = {}
        for name, proxy in self.proxies.items():
            whose, what = name.split(".")
            if whose != kind:
                continue
            if what == "postgres":
                made["database_url"] = at_port(self.stack.database_url, proxy.port)
            elif what == "redis":
                made["redis_url"] = at_port(self.stack.redis_url, proxy.port)
            else:
                made["simulator_url"] = f"http://127.0.0.1:{proxy.port}"
        return made

    def start_worker(
        self, *, ready: bool = True, module: str = "", environ: dict[str, str] | None = None, **extra: object
    ) -> Process:
        """Start one more worker."""
        values = {**self._settings_of("worker"), **extra}
        with self._environment(environ):
            process = self.stack.run("worker", "-m", module or self.shape.worker_module, **values)
        self.watched.append(Watched("worker", process, {"module": module, "environ": environ, **extra}))
        if ready:
            self.wait_for_worker(process)
        return process

    def start_web(self, *, ready: bool = True, environ: dict[str, str] | None = None) -> Process:
        """Start one more web process, with the fault routes."""
        values = {"host": "127.0.0.1", "port": "{port}", **self._settings_of("web")}
        with self._environment(environ):
            process = self.stack._listening("web", "tests.faults.fault_routes", ready=False, **values)
        self.watched.append(Watched("web", process, {"environ": environ}))
        threading.Thread(target=self._end_when_silent, args=[process], name="silence", daemon=True).start()
        if ready:
            self.wait(lambda: self.stack._answers(process, process.url + "/readyz"), seconds=60, what="web is ready")
        return process

    def _end_when_silent(self, web: Process) -> None:
        """Kill a web process that accepts connections but does not answer, as `up` does."""
        limit_seconds = parts.silent_seconds_of(self.stack.settings)
        url = web.url + "/healthz"
        if silence.outlasts(url, web.pid, limit_seconds=limit_seconds, is_over=lambda: not web.running):
            processes.send_to_group(web.pid, signal.SIGKILL)

    @contextmanager
    def _environment(self, environ: dict[str, str] | None) -> Iterator[None]:
        """Set extra environment variables while one process starts."""
        self.stack.values |= environ or {}
        try:
            yield
        finally:
            for name in environ or ():
                del self.stack.values[name]

    @contextmanager
    def version(self, tree: Path) -> Iterator[None]:
        """Start processes from another source tree meanwhile."""
        ours, self.stack.tree = self.stack.tree, tree
        try:
            yield
        finally:
            self.stack.tree = ours

    def wait_for_worker(self, worker: Process, *, consuming: bool = True, seconds: float = 60) -> None:
        """Wait until the worker has a lease and, with `consuming`, takes hints."""
        self.wait(
            lambda: self.stack._registered(worker.pid, consuming=consuming), seconds=seconds, what="the worker is ready"
        )

    def _is_ready(self, worker: Process) -> bool:
        return self.stack._registered(worker.pid, consuming=True)

    def dismiss(self, process: Process) -> None:
        """Do not restart this process when it exits."""
        next(each for each in self.watched if each.process is process).dismissed = True

    def let_go(self, process: Process) -> None:
        """Tell a process to end, as a deploy does, and do not restart it."""
        self.dismiss(process)
        process.terminate()

    def wait_gone(self, process: Process, *, seconds: float = 60) -> None:
        """Wait until the process has ended."""
        self.wait(lambda: not process.running, seconds=seconds, what="the old process has gone")

    def kill(self, process: Process, *, replace: bool = True) -> None:
        """Kill with SIGKILL; with `replace`, start another process at once."""
        self.dismiss(process)
        process.kill()
        if replace:
            self._start_again(process)

    def kill_by(self, trap: Trap, proxy: Proxy, process: Process, *, struck: Callable[[], object]) -> None:
        """Kill with SIGKILL when the trap's words pass the proxy, then start another process."""

        def kill() -> None:
            struck()
            processes.send_to_group(process.pid, signal.SIGKILL)

        self.dismiss(process)
        trap.action = kill
        proxy.set(trap=trap)
        self.wait(trap.sprung.is_set, seconds=60, what="the trap springs")
        process.wait()
        self._start_again(process)

    def _start_again(self, process: Process) -> None:
        watched = next(each for each in self.watched if each.process is process)
        extra: dict[str, Any] = dict(watched.extra)
        if watched.kind == "web":
            self.start_web(ready=False, **extra)
        else:
            self.start_worker(ready=False, **extra)

    def tend(self) -> None:
        """Count and restart the processes that ended by themselves."""
        for each in list(self.watched):
            if not each.dismissed and not each.process.running:
                self.exits[each.kind] += 1
                each.dismissed = True
                self._start_again(each.process)

    def whole_again(self) -> None:
        """Restore the initial number of workers and web processes, open every connection and thaw everything."""
        for proxy in self.proxies.values():
            proxy.pass_all()
        for each in self.watched:
            if each.process.running:
                each.process.thaw()
        if not self.servers.postgres.running:
            self.servers.start_postgres()
        if not self.servers.redis.running:
            self.servers.start_redis()
        self.servers.redis.thaw()
        self.servers.postgres.thaw()
        while len(self.workers) < self.shape.workers:
            self.start_worker(ready=False)
        while len(self.webs) < self.shape.webs:
            self.start_web(ready=False)
        # Read the lists each time, because a process that exits meanwhile is replaced.
        self.wait(lambda: all(self._is_ready(worker) for worker in self.workers), seconds=90, what="workers are ready")
        self.wait(lambda: all(ready(web.url) for web in self.webs), seconds=90, what="web is ready")

    # Time

    def sleep(self, seconds: float) -> None:
        """Sleep, and tend the processes meanwhile."""
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(TEND_SECONDS, left))

    def do(self, work: Coroutine[Any, Any, T], *, seconds: float = 120.0) -> T:
        """Run a coroutine of the crowd, and tend the processes until it is done."""
        doing = self.crowd.start(work)
        self.wait(doing.done, seconds=seconds, what="the crowd is done")
        return doing.result()

    def wait(self, condition: Callable[[], T], *, seconds: float = 60.0, what: str = "") -> T:
        """Call `condition` until it is true, and tend meanwhile. Raises AssertionError after the limit."""
        limit = time.monotonic() + patient(seconds)
        while not (found := condition()):
            if time.monotonic() > limit:
                raise AssertionError(f"not within {patient(seconds):g} s: {what or condition}")
            self.tend()
            time.sleep(TEND_SECONDS)
        return found

    # Rows

    def ask_rows(self, statement: str, **values: object) -> list[Any]:
        """Query Postgres directly, without a proxy."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), values))

    def runner_of(self, request: str, *, seconds: float = 30) -> Process:
        """Wait until a worker runs the request, and return that worker."""
        found = self.wait(lambda: self._runner_of(request), seconds=seconds, what="a worker runs it")
        assert found is not None
        return found

    def _runner_of(self, request: str) -> Process | None:
        found = self.ask_rows(
            "SELECT pid FROM worker JOIN chat_request r ON r.worker_id = worker.id WHERE r.id = cast(:id AS uuid)",
            id=request,
        )
        return next((worker for worker in self.workers if found and worker.pid == found[0].pid), None)


def small_disk(folder: Path, *, megabytes: int) -> None:
    """Mount a tmpfs on the folder. Raises CannotInject."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise CannotInject(f"no small disk: {done.stderr.strip()} (needs root)")


def at_port(url: str, port: int) -> str:
    """Return the URL with another port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


def ready(url: str) -> bool:
    """Return whether web reports that it is ready."""
    try:
        with NO_PROXY.open(url + "/readyz", timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
