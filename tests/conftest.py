"""The fixtures of all tests, ten in number; the rig behind them is tests/stack.py.

servers        one embedded PostgreSQL and Redis for the run (per xdist process), with the migrated template
database_url   a new migrated database for this test
redis_url      an empty Redis database for this test
settings       Settings on both, calm (nobody is taken for lost)
engine         a SQLAlchemy engine on them
stack          starts web, worker and simulator processes on them; ends them after the test
module_stack   one for all tests of a module that leave nothing in each other's way: `stack` may be overridden by it
own_stack      the same on servers of this test's own, which may be stopped, killed, frozen and started again
module_own_stack  one such for a module whose tests leave the servers well
browser        Chromium; skipped where there is none, an error where NARU_TEST_STRICT=1
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
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
from tests.page.person import forget
from tests.patience import patient, patient_ms, slowness
from tests.stack import Servers, Stack

for name in set(os.environ) - set(scrub(os.environ)):  # before any test module can read them
    del os.environ[name]

STRICT = os.environ.get("NARU_TEST_STRICT") == "1"
TEMPLATE = "naru"
CHROMIUM_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
#: How long a page may take where a test says nothing else: the library's 5 s are short beside other work.
PAGE_SECONDS = 15
#: The files that take longest: begun last, each would run alone at the end.
LONGEST = frozenset(
    f"tests/{name}.py"
    for name in (
        *("page/test_axe", "page/test_walks", "page/test_composer", "page/test_first_visit", "web/test_wedge"),
        *("e2e/test_hostile", "e2e/test_outages", "launcher/test_bootstrap", "launcher/test_up"),
        *("crash/test_worker_lost", "faults/test_mixed", "bench/test_smoke"),
    )
)
numbers = itertools.count(1)
STACK = pytest.StashKey[Stack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`./naru test` says here which of its other checks failed, so that the end of the output shows it."""
    parser.addoption("--failed-checks", default="", help="named in the closing lines; set by ./naru test")


def pytest_report_header() -> str:
    """How slow this machine is; measured here, before any test runs beside the measurement."""
    return f"limits are stretched for a machine that is {slowness():.1f} times slower than ours"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files come first, and each test's own time limit is stretched, too."""
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in LONGEST)
    usual = float(config.getini("timeout"))
    for item in items:
        own = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(patient(own.args[0] if own else usual)), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The failed checks, just above pytest's own last line."""
    if failed := config.getoption("--failed-checks"):
        terminalreporter.section("checks that failed (their output is above the tests)", red=True)
        terminalreporter.line(failed, red=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the end of its processes' logs."""
    report = yield
    places = (item, *item.iter_parents())
    stack = next((place.stash[STACK] for place in places if STACK in place.stash), None)
    if report.failed and stack is not None:
        for process in stack.processes:
            report.sections.append((f"log of {process.log.stem}", process.log_text()[-4000:]))
    return report


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One embedded PostgreSQL and Redis; the migrated database `naru` is the template of all others."""
    made = Servers(tmp_path_factory.mktemp("servers"))
    try:
        migrate(made.postgres_server.url)
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def new_database(servers: Servers) -> Iterator[str]:
    """The address of a new migrated database."""
    database = f"test_{next(numbers)}"
    yield servers.create_database(database, template=TEMPLATE)
    servers.drop_database(database)


def empty_redis(servers: Servers) -> str:
    """The address of an empty Redis database."""
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
    """An empty Redis database. (Pub/sub channels are shared by all of them: name yours by an id.)"""
    return empty_redis(servers)


@pytest.fixture
def settings(stack: Stack) -> Settings:
    """What a process of this test's stack would read."""
    return stack.settings


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """A SQLAlchemy engine as the product makes it."""
    made = make_engine(settings, name="test")
    yield made
    made.dispose()


@pytest.fixture
def stack(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Stack]:
    """Starts processes on this test's own database and Redis database, and ends them."""
    database_url, redis_url = request.getfixturevalue("database_url"), request.getfixturevalue("redis_url")
    yield from _stack(request, tmp_path, servers=servers, database_url=database_url, redis_url=redis_url)


@pytest.fixture(scope="module")
def module_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, servers: Servers
) -> Iterator[Stack]:
    """The same for a whole module: starting a web and a worker for each of its tests would take most of their time."""
    with new_database(servers) as database_url:
        folder, redis_url = tmp_path_factory.mktemp("module"), empty_redis(servers)
        yield from _stack(request, folder, servers=servers, database_url=database_url, redis_url=redis_url)


@pytest.fixture
def own_stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A stack on servers of its own: `own_stack.servers` may be harmed."""
    yield from _own_stack(request, tmp_path)


@pytest.fixture(scope="module")
def module_own_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same for a whole module whose tests start again what they have stopped."""
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
    made = Stack(folder / "logs", database_url, redis_url, servers)
    request.node.stash[STACK] = made
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless. Mark such tests with `pytest.mark.browser`.

    Not for longer than a module: Playwright keeps an event loop running in this thread, in which no other test could
    start one.
    """
    found = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if found is None and sys.platform == "linux":
        (pytest.fail if STRICT else pytest.skip)("no Chromium here: apt install chromium fonts-nanum")
    expect.set_options(timeout=patient_ms(PAGE_SECONDS))
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS.split())
        yield launched
        forget(launched)
        launched.close()
