"""Fixtures for all tests. tests/stack.py has the servers and processes that they start.

servers        one embedded PostgreSQL and Redis for the run (per xdist process), with the migrated template
database_url   a new migrated database for this test
redis_url      an empty Redis database for this test
settings       Settings on both, calm (no worker is marked lost)
engine         a SQLAlchemy engine on them
stack          starts web, worker and simulator processes on them, and ends them after the test
module_stack   one stack for all tests of a module that do not disturb each other; a module may override `stack` with it
own_stack      a stack on its own servers, which the test may stop, kill, freeze and restart
module_own_stack  one such stack for a module whose tests leave the servers running
browser        Chromium; without one the test is skipped, or fails where NARU_TEST_STRICT=1
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, expect, sync_playwright
from sqlalchemy import Engine

from deploy.cli.checks import scrub
from shared.migrations.__main__ import migrate
from shared.postgres.database import make_engine
from shared.settings import Settings
from tests.forks import Forks
from tests.page import chromium
from tests.page.person import forget
from tests.patience import patient, patient_ms, slowness
from tests.stack import Servers, Stack

for name in set(os.environ) - set(scrub(os.environ)):  # before any test module can read them
    del os.environ[name]

STRICT = os.environ.get("NARU_TEST_STRICT") == "1"
TEMPLATE = "naru"
#: Default limit for what a page should show. Playwright's 5 s are too short on a busy machine.
PAGE_SECONDS = 15
#: The files that take longest. They start first, so that none of them runs alone at the end.
LONGEST = frozenset(
    f"tests/{name}.py"
    for name in (
        *("page/test_axe", "page/test_walks", "page/test_composer", "page/test_first_visit", "web/test_wedge"),
        *("e2e/test_hostile", "e2e/test_outages", "launcher/test_bootstrap", "launcher/test_up", "launcher/test_ask"),
        *("crash/test_worker_lost", "faults/test_mixed", "bench/test_smoke", "workers/test_wedge", "crash/test_lanes"),
        *("page/people/test_administration", "web/people/test_callbacks", "shared/test_pooler", "crash/test_failover"),
        *("crash/test_postgres_dark", "crash/test_drain", "crash/test_responses", "crash/test_fallback"),
    )
)
numbers = itertools.count(1)
#: Linux only: elsewhere a process cannot be told when its child's parent dies.
FORKS = Forks() if sys.platform == "linux" else None
STACK = pytest.StashKey[Stack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which `./naru test` names its failed checks, and the one that puts rigs behind a pooler."""
    parser.addoption("--failed-checks", default="", help="checks to name in the summary; set by ./naru test")
    parser.addoption("--pooled", action="store_true", help="put every rig behind PgBouncer")


def pytest_report_header() -> str:
    """Report how slow this machine is, measured when tests/stack.py is imported."""
    return f"limits are stretched: this machine is {slowness():.1f} times slower than ours"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, and stretch each test's time limit."""
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in LONGEST)
    usual = float(config.getini("timeout"))
    for item in items:
        own = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(patient(own.args[0] if own else usual)), append=False)


def pytest_unconfigure() -> None:
    """End the fork server."""
    if FORKS is not None:
        FORKS.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the failed checks just above pytest's last line."""
    if failed := config.getoption("--failed-checks"):
        terminalreporter.section("checks that failed (their output is above the tests)", red=True)
        terminalreporter.line(failed, red=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the processes' logs for a failed test."""
    report = yield
    places = (item, *item.iter_parents())
    stack = next((place.stash[STACK] for place in places if STACK in place.stash), None)
    if report.failed and stack is not None:
        for process in stack.processes:
            report.sections.append((f"log of {process.log.stem}", process.log_text()[-4000:]))
    return report


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One embedded PostgreSQL and Redis. The migrated database `naru` is the template for all others."""
    made = Servers(tmp_path_factory.mktemp("servers"))
    try:
        migrate(made.postgres_server.url)
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def new_database(servers: Servers) -> Iterator[str]:
    """Yield the address of a new migrated database."""
    database = f"test_{next(numbers)}"
    yield servers.create_database(database, template=TEMPLATE)
    servers.drop_database(database)


def empty_redis(servers: Servers) -> str:
    """Return the address of an empty Redis database."""
    url = servers.redis_server.url_of(next(numbers) % servers.redis_server.databases)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A new migrated database."""
    with new_database(servers) as url:
        yield url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis database. All databases share the pub/sub channels, so use an id in a channel's name."""
    return empty_redis(servers)


@pytest.fixture
def settings(stack: Stack) -> Settings:
    """The settings that a process of this test's stack would read."""
    return stack.settings


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """A SQLAlchemy engine, made by the product's own function."""
    made = make_engine(settings, name="test")
    yield made
    made.dispose()


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Stack]:
    """A stack on this test's own database and Redis database."""
    database_url, redis_url = request.getfixturevalue("database_url"), request.getfixturevalue("redis_url")
    yield from _stack(request, tmp_path, servers=servers, database_url=database_url, redis_url=redis_url)


@pytest.fixture(scope="module")
def module_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, servers: Servers
) -> Iterator[Stack]:
    """One stack for a module in which starting processes for each test would take most of the time."""
    with new_database(servers) as database_url:
        folder, redis_url = tmp_path_factory.mktemp("module"), empty_redis(servers)
        yield from _stack(request, folder, servers=servers, database_url=database_url, redis_url=redis_url)


@pytest.fixture
def own_stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A stack on its own servers; the test may stop, kill or freeze `own_stack.servers`."""
    yield from _own_stack(request, tmp_path)


@pytest.fixture(scope="module")
def module_own_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A module's stack on its own servers; a test restarts any server that it stops."""
    yield from _own_stack(request, tmp_path_factory.mktemp("own"))


def _own_stack(request: pytest.FixtureRequest, folder: Path) -> Iterator[Stack]:
    servers = Servers(folder)
    database_url, redis_url = servers.postgres_server.url, servers.redis_server.url
    try:
        migrate(database_url)
        yield from _stack(request, folder, servers=servers, database_url=database_url, redis_url=redis_url)
    finally:
        servers.close()


def _stack(
    request: pytest.FixtureRequest, folder: Path, *, servers: Servers, database_url: str, redis_url: str
) -> Iterator[Stack]:
    made = Stack(folder / "logs", database_url, redis_url, servers, forks=FORKS)
    request.node.stash[STACK] = made
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless. Mark such tests with `pytest.mark.browser`.

    Its scope is the module: Playwright's event loop runs in this thread, where no later test could start its own.
    """
    if chromium.find() is None and sys.platform == "linux":
        (pytest.fail if STRICT else pytest.skip)("no Chromium here: apt install chromium-headless-shell fonts-nanum")
    expect.set_options(timeout=patient_ms(PAGE_SECONDS))
    with sync_playwright() as playwright:
        launched = chromium.launch(playwright)
        yield launched
        forget(launched)
        launched.close()
