"""`./naru up`, top-down: lock the data folder, clean up, start everything in order, print the addresses, wait, stop.

parts.py defines the parts, supervisor.py keeps them running, and data.py has the contents of the folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy import terminal
from deploy.cli.provider_checks import absent_lines, has_provider
from deploy.cli.servers import check_servers
from deploy.embedded import parts, postgres, privileges, processes, redis_server
from deploy.embedded.data import DataFolder, DataProblem, Running, Secrets
from deploy.embedded.locate import check_options, with_providers_file
from deploy.embedded.ports import PortTaken, check_port, free_port
from deploy.embedded.silence import DIRECT
from deploy.embedded.supervisor import PartFailed, Supervisor
from shared import audit
from shared.audit.acting import TERMINAL
from shared.errors import SettingsError
from shared.hosts import ALL_ADDRESSES, refuse_open_guests
from shared.logs import JsonFormatter
from shared.people import accounts, links
from shared.people.accounts import Role
from shared.postgres.database import make_plain_engine
from shared.settings import Settings, environment, load_settings
from shared.vendors import KEY_VARIABLES, OLLAMA

PATIENCE_SECONDS = 90.0  # for another `up` that is starting or stopping on the same folder


PROBLEMS = (
    DataProblem,
    PartFailed,
    PortTaken,
    SettingsError,
    postgres.PostgresProblem,
    redis_server.RedisProblem,
    privileges.NoOrdinaryUser,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command line. None means the value of the settings."""

    data: Path
    host: str | None = None
    port: int | None = None
    workers: int = 1
    flower_port: int = 0


@dataclass(slots=True)
class Plan:
    """The state of this launch, filled in as the servers start."""

    options: Options
    folder: DataFolder
    secrets: Secrets
    new_secrets: bool
    settings: Settings  # from the user's environment
    environ: dict[str, str]  # for all children; each gets only the variables that it reads (environment.py)
    host: str
    port: int
    has_provider: bool  # that the user configured
    workers: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of the page on this machine."""
        shown = "127.0.0.1" if self.host in ALL_ADDRESSES else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"


def up(options: Options) -> int:
    """Start everything and wait for the stop; return the exit code."""
    os.umask(0o077)  # for all children too: only the owner can read the files that they write
    try:
        folder = DataFolder(options.data)
        if (running := take_or_find(folder)) is not None:
            say("Naru is already running on this data folder.")
            announce(running)
            return 0
        for line in folder.close_to_others():
            say(line)
        log_to(folder.logs / "up.log")
        for name in processes.end_left_over(folder.pids):
            say(f"  ended a {name} that an earlier, killed run left behind")
        folder.set_running(None)
        return asyncio.run(run(plan(options, folder)))
    except PartFailed as error:
        sys.stderr.write(f"naru: {terminal.visible(str(error))}\n")  # includes the end of the part's log
    except PROBLEMS as error:
        sys.stderr.write(f"naru: {terminal.line(str(error))}\n")
    return 1


def take_or_find(folder: DataFolder) -> Running | None:
    """Lock the folder and return None, or return the Naru that runs on it. Waits for one that starts or stops."""
    limit = time.monotonic() + PATIENCE_SECONDS
    has_said_so = False
    while not folder.lock():
        if (running := folder.running()) is not None:
            return running
        if time.monotonic() > limit:
            raise DataProblem(f"another Naru is using {folder.path} and has not become ready. See {folder.logs}.")
        if not has_said_so:
            say("Another naru is starting or stopping on this data folder; waiting for it …")
            has_said_so = True
        time.sleep(0.1)
    return None


def plan(options: Options, folder: DataFolder) -> Plan:
    """Check the settings and the port, and collect what is known before anything starts."""
    environ = with_providers_file(environment(), options.data)
    settings = load_settings(environ)
    check_options(settings)
    is_provided = has_provider(settings)
    secrets, are_new = folder.secrets()
    host = options.host or settings.host
    port = settings.port if options.port is None else options.port
    port = free_port() if port == 0 else port
    check_port(host, port)
    refuse_open_guests(settings, listens_on=host)
    settings.need_openid()
    environ |= {"NARU_HOST": host, "NARU_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    check_servers(settings, environ | {"PYTHONPATH": str(processes.ROOT)})
    if not settings.secret_key:
        environ["NARU_SECRET_KEY"] = secrets.secret_key
    return Plan(
        options=options,
        folder=folder,
        secrets=secrets,
        new_secrets=are_new,
        settings=settings,
        environ=environ,
        host=host,
        port=port,
        has_provider=is_provided,
    )


async def run(plan: Plan) -> int:
    """Start all parts, wait for a signal or a failure, then stop them. Returns the exit code."""
    supervisor = Supervisor(logs=plan.folder.logs, pids=plan.folder.pids, say=say)
    stop = watch_signals(supervisor)
    starting = asyncio.create_task(start_all(plan, supervisor))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # raises the error, if any
            plan.folder.set_running(ready_lines(plan))  # before the last line, which scripts wait for
            announce(ready_lines(plan), first=await supervisor.blocking(lambda: first_steps(plan)))
            tending = asyncio.create_task(supervisor.tend_logs())
            await stopping
            tending.cancel()
        say("Stopping …  (Ctrl-C again stops at once)")
        if line := await supervisor.blocking(lambda: waiting_line(plan.environ)):
            say(line)
    finally:
        plan.folder.set_running(None)
        starting.cancel()
        await supervisor.stop([["web"], plan.workers, ["flower"], ["simulator"], ["migrate", "redis"], ["postgres"]])
    say("Naru has stopped. Its data is kept in " + str(plan.folder.path))
    return 0


def waiting_line(environ: Mapping[str, str]) -> str:
    """Return a line about the answers that a stop waits for; empty if there are none."""
    settings = load_settings(environ)
    row = parts.ask(settings.database_url, "SELECT count(*) FROM chat_request WHERE status = 'running'")
    if row is None or not row[0] or not settings.grace_seconds:
        return ""
    answers = "1 answer" if row[0] == 1 else f"{row[0]} answers"
    return f"  waiting up to {settings.grace_seconds:g} s for {answers} to finish; Ctrl-C again ends at once"


def watch_signals(supervisor: Supervisor) -> asyncio.Event:
    """Return an event that the first INT, TERM or HUP sets. The second one kills everything."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
            say("Stopped at once. No stored data is lost.")
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


async def start_all(plan: Plan, supervisor: Supervisor) -> None:
    """Start the servers in parallel, migrate, then start everything else in parallel."""
    say(f"Starting Naru; data and logs in {plan.folder.path}")
    await together(start_database(plan, supervisor), start_broker(plan, supervisor), start_simulator(plan, supervisor))
    settings = load_settings(plan.environ)
    workers = [
        parts.worker(plan.environ, number=number, settings=settings) for number in range(1, plan.options.workers + 1)
    ]
    plan.workers = [part.name for part in workers]
    await together(
        supervisor.start(parts.web(plan.environ, url=plan.url)),
        *(supervisor.start(part) for part in workers),
        start_flower(plan, supervisor),
    )


async def together(*steps: Coroutine[None, None, None]) -> None:
    """Run the steps in parallel. The first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def start_database(plan: Plan, supervisor: Supervisor) -> None:
    """Start the embedded PostgreSQL unless DATABASE_URL is set, then migrate."""
    if not plan.settings.database_url:
        data = plan.folder.path / "postgres"
        server = postgres.Postgres(
            data=data,
            port=free_port(),
            password=plan.secrets.postgres_password,
            run_as=await supervisor.blocking(lambda: postgres.run_as(data)),
            connections=60 + 15 * plan.options.workers,
        )
        was_there = data.exists()
        await supervisor.blocking(lambda: postgres.prepare(server, plan.environ))
        if plan.new_secrets and was_there:
            await supervisor.blocking(lambda: postgres.set_password(server, plan.environ))
        await supervisor.start(parts.database(server, plan.environ))
        plan.environ["DATABASE_URL"] = server.url
    database_url = load_settings(plan.environ).database_url
    if await supervisor.blocking(lambda: parts.is_migrated(database_url)):
        return
    began = time.monotonic()
    await supervisor.run_once(parts.migration(plan.environ))
    say(f"  {'tables':<10} ready  {time.monotonic() - began:4.1f} s")


async def start_broker(plan: Plan, supervisor: Supervisor) -> None:
    """Start the embedded Redis unless REDIS_URL is set."""
    if plan.settings.redis_url:
        return
    server = redis_server.RedisServer(
        data=plan.folder.path / "redis", port=free_port(), password=plan.secrets.redis_password
    )
    await supervisor.start(parts.broker(server, plan.environ))
    plan.environ["REDIS_URL"] = server.url


async def start_simulator(plan: Plan, supervisor: Supervisor) -> None:
    """Start the demo simulator, unless a vendor is set or an Ollama answers."""
    settings = plan.settings
    if settings.simulator_url or plan.has_provider:
        return
    if await supervisor.blocking(lambda: ollama_answers(OLLAMA.address_in(settings))):
        return
    port = free_port()
    await supervisor.start(parts.simulator(plan.environ, port=port))
    plan.environ["NARU_SIMULATOR_URL"] = f"http://127.0.0.1:{port}"


async def start_flower(plan: Plan, supervisor: Supervisor) -> None:
    """Start Flower on its own port."""
    port = plan.options.flower_port or free_port()
    password = plan.secrets.flower_password
    await supervisor.start(parts.flower(plan.environ, port=port, password=password, data=plan.folder.path))
    plan.environ["FLOWER_PORT"] = str(port)


def ollama_answers(address: str) -> bool:
    """Return whether an Ollama at this address has at least one model."""
    if not address:
        return False
    try:
        with DIRECT.open(f"{address}{OLLAMA.models_path}", timeout=OLLAMA.listing_seconds) as answer:
            return bool(json.load(answer).get("models"))
    except (OSError, ValueError, AttributeError):
        return False


def ready_lines(plan: Plan) -> Running:
    """Return the lines to print when everything is ready, also for a second `up`."""
    lines = [
        f"  Page     {plan.url}",
        f"  Flower   http://127.0.0.1:{plan.environ['FLOWER_PORT']}  (./naru urls shows its password)",
        f"  Metrics  {plan.url}/metrics",
        f"  Logs     {plan.folder.logs}",
    ]
    if "NARU_SIMULATOR_URL" in plan.environ and not plan.settings.simulator_url:
        lines.append(f"  No model is connected: the demo simulator answers. Set {KEY_VARIABLES}.")
    reached = load_settings(plan.environ)
    lines += absent_lines(reached.database_url)
    environ = {"DATABASE_URL": reached.database_url, "REDIS_URL": reached.redis_url}
    return Running(url=plan.url, lines=lines, environ=environ)


def first_steps(plan: Plan) -> list[str]:
    """Return the lines that lead to the first account, where accounts are needed and there is none."""
    if not plan.settings.has_passwords:
        return []
    engine = make_plain_engine(plan.environ["DATABASE_URL"])
    if accounts.has_people(engine):
        return []
    with audit.acting(TERMINAL):
        token = links.invite(engine, Role.USER, days=plan.settings.invitation_days)
    return [f"  There is no account yet. Make the first one, an administrator's: {plan.url}/sign-up?invitation={token}"]


def announce(running: Running, *, first: Sequence[str] = ()) -> None:
    """Print the addresses and the first steps, and the last line, which scripts wait for."""
    for line in (*running.lines, *first):
        say(line)
    say(f"Naru is ready at {running.url}")


def log_to(path: Path) -> None:
    """Write the launcher's log to a file beside those of the parts."""
    handler = logging.FileHandler(path)
    handler.setFormatter(JsonFormatter(part="up"))
    logging.getLogger("naru").addHandler(handler)
    logging.getLogger("naru").setLevel(logging.INFO)


def say(line: str) -> None:
    """Print a line to the terminal."""
    print(line, flush=True)
