"""Postgres that workers cannot reach for a while, or that refuses them new connections, loses no living worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from psycopg2 import sql
from sqlalchemy import Engine, text

from shared.postgres.database import transaction
from shared.reconciler import Ticker
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.faults.proxy import Lines, Proxy
from tests.faults.rig import at_port
from tests.patience import patient
from tests.stack import SHORT_LEASES, Stack, wait_until

#: Answers that outlast each outage of these tests.
LONG = "[[sim: tokens=150 pace=12 first=0.1]]"
WORKERS = 2


@dataclass
class Site:
    """Workers that reach Postgres through one proxy each, and a person whose way is never cut."""

    stack: Stack
    engine: Engine
    alice: Person
    ways: list[Proxy]

    def ask(self, number: int) -> list[UUID]:
        """Ask this many questions, and wait for the first words of each answer."""
        asked = [self.alice.ask(LONG) for _ in range(number)]
        for each in asked:
            self.alice.wait_text(each)
        return asked

    def darken(self) -> None:
        """Drop every packet between the workers and Postgres: open connections stay half-open."""
        for way in self.ways:
            way.black_hole()
            way.forget()

    def lighten(self) -> None:
        """Let new connections through."""
        for way in self.ways:
            way.pass_all()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Tick in this process, as web does."""
        ticker = Ticker(self.engine, self.stack.settings, resend=lambda *_: None, best_text=lambda *_: None)
        ticker.start()
        try:
            yield
        finally:
            ticker.close()

    def attempts(self, asked: list[UUID]) -> list[int]:
        """Wait until each answer is stored, whole and without a loss; return the number of its attempts."""
        rows = [self.alice.wait_end(each, seconds=90) for each in asked]
        assert [(row.status, row.losses) for row in rows] == [(Status.SUCCEEDED, 0)] * len(rows)
        assert [self.alice.answers(each) for each in asked] == [[full_text(LONG)]] * len(rows)
        return [row.attempt for row in rows]

    def lost_workers(self) -> int:
        """Return how many workers were marked lost."""
        return self.count("SELECT count(*) FROM worker WHERE lost_at IS NOT NULL")

    def count(self, question: str) -> int:
        """Return the number that a query yields."""
        with transaction(self.engine) as connection:
            return int(connection.execute(text(question)).scalar_one())


@contextmanager
def site(stack: Stack, engine: Engine, *, workers: int) -> Iterator[Site]:
    stack.configure(**SHORT_LEASES)
    stack.start_simulator()
    with ExitStack() as closing:
        lines = Lines()
        closing.callback(lines.close)
        ways = [lines.proxy(engine.url.port or 0) for _ in range(workers)]
        for way in ways:
            stack.start_worker(database_url=at_port(stack.database_url, way.port))
        yield Site(stack, engine, closing.enter_context(Person(stack, engine)), ways)


def test_workers_outlive_an_outage_that_ticks_leave_first(stack: Stack, engine: Engine) -> None:
    with site(stack, engine, workers=1) as here:
        asked = here.ask(2)
        here.darken()
        time.sleep(stack.settings.lease_seconds + patient(0.5))
        with here.ticking():
            time.sleep(4)
            here.lighten()
            assert here.attempts(asked) == [1] * 2
            assert here.lost_workers() == 0


def test_workers_outlive_a_cut_while_others_tick(stack: Stack, engine: Engine) -> None:
    with site(stack, engine, workers=WORKERS) as here, here.ticking():
        asked = here.ask(4)
        here.darken()
        time.sleep(2 * stack.settings.lease_seconds)
        assert here.lost_workers() == 0, "no worker reaches Postgres, so no lease proves anything"
        here.lighten()
        assert here.attempts(asked) == [1] * 4
        assert here.lost_workers() == 0


def test_workers_killed_together_are_replaced_without_charge(stack: Stack, engine: Engine) -> None:
    with site(stack, engine, workers=WORKERS) as here:
        asked = here.ask(4)
        victims = list(stack.processes[-WORKERS:])
        living = stack.start_worker()
        for victim in victims:
            victim.kill()
        assert here.attempts(asked) == [2] * 4
        assert living.running
        assert here.lost_workers() == WORKERS


def test_worker_renews_over_its_pool_when_refused(stack: Stack, engine: Engine) -> None:
    """Postgres ends the lease's connection and accepts no new one, as when all of them are taken."""
    name = sql.Identifier(stack.database_url.rpartition("/")[2])
    own = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'naru-worker-lease'"
    with site(stack, engine, workers=1) as here, here.ticking():
        asked = here.ask(2)
        (worker,) = stack.processes[-1:]
        wait_until(lambda: here.count(f"SELECT count(*) {own}") == 1, what="the lease has its connection")
        stack.servers.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        here.count(f"SELECT count(pg_terminate_backend(pid)) {own}")
        time.sleep(2 * stack.settings.lease_seconds + patient(1))
        assert here.lost_workers() == 0
        assert "refuses a connection" in worker.log_text()
        stack.servers.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        wait_until(lambda: here.count(f"SELECT count(*) {own}") == 1, what="the lease has its own connection again")
        assert here.attempts(asked) == [1] * 2
        assert here.lost_workers() == 0


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """Return this test's engine with open connections, so that it needs no new one later."""
    with ExitStack() as opened:
        for _ in range(engine.pool.size()):  # type: ignore[attr-defined] # QueuePool
            opened.enter_context(engine.connect())
    return engine
