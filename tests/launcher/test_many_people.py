"""Listings and files with 100,000 people: every line is there, and the memory does not grow with them."""

from __future__ import annotations

import csv
import io
import threading
import time
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import Engine, text

from shared.operating.people import MOST_PEOPLE, people_with
from shared.people import accounts
from shared.postgres.database import make_engine, transaction
from tests.launcher.test_ask import naru
from tests.patience import patient
from tests.stack import Process, Stack
from tests.web.visitors import Visitor

PEOPLE = 100_000
#: Holding them all would take more than this: a person is about a kilobyte in Python.
MOST_GROWTH_KB = 60_000

_PEOPLE = text(
    "INSERT INTO person (id, email, role) SELECT gen_random_uuid(), 'p' || n || '@example.org', 'user'"
    " FROM generate_series(1, :people) AS n"
)
_SPENT = text(
    "INSERT INTO spending (owner_id, hour, model, attempts, input_tokens, output_tokens, cached_input_tokens, cost,"
    " unpriced, estimated) SELECT 'person:' || id, date_trunc('hour', now()), 'openai/one', 1, 10, 5, 0, 0.01, 0, 0"
    " FROM person WHERE email LIKE 'p%'"
)


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database, which has very many people."""
    engine = make_engine(stack.settings, name="test")
    with transaction(engine) as connection:
        connection.execute(_PEOPLE, {"people": PEOPLE})
        connection.execute(_SPENT)
    with transaction(engine) as connection:
        connection.execute(text("ANALYZE person, spending"))
    return engine


@pytest.fixture(scope="module")
def web(stack: Stack, engine: Engine) -> Process:
    """A page that needs accounts."""
    return stack.start_web(auth="local")


@pytest.fixture(scope="module")
def admin(web: Process, engine: Engine) -> Visitor:
    """An administrator, signed in."""
    visitor = Visitor(web.url)
    assert visitor.sign_up(engine, "admin@example.org", role="admin").status == 303
    return visitor


class Watched:
    """The most memory that a process has while the block runs."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self.before = self.most = self._resident()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            self.most = max(self.most, self._resident())
            time.sleep(0.02)

    def _resident(self) -> int:
        """Return the process's memory in kB."""
        lines = self._status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("kind", ["csv", "page"])
def test_everyones_use_takes_bounded_memory(web: Process, admin: Visitor, engine: Engine, kind: str) -> None:
    month = time.strftime("%Y-%m", time.gmtime())
    path = f"/usage/everyone{'.csv' if kind == 'csv' else ''}?month={month}"
    admin.ask("/usage/everyone?month=2020-01")  # loads what the page needs
    with Watched(web.pid) as memory:
        begun = time.monotonic()
        answer = admin.ask(path)
        seconds = time.monotonic() - begun
    assert answer.status == 200
    if kind == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.body.removeprefix("\ufeff"))))
        assert len({row["email"] for row in rows}) == len(rows) == PEOPLE
    else:
        assert "The CSV file has all." in answer.body
    assert memory.most - memory.before < MOST_GROWTH_KB
    assert seconds < patient(60)


def test_list_of_the_terminal_is_streamed(stack: Stack, engine: Engine) -> None:
    seen = sum(1 for _ in accounts.streamed(engine))
    assert seen >= PEOPLE
    found = naru(stack, "people", "list", auth="local")
    assert len(found.stdout.splitlines()) >= PEOPLE


def test_search_of_the_administrators_page_stays_quick(engine: Engine) -> None:
    begun = time.monotonic()
    assert len(people_with(engine, "p99")) == MOST_PEOPLE
    assert time.monotonic() - begun < patient(10)
