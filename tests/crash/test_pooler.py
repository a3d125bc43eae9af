"""Web and workers behind a real PgBouncer in transaction mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shared.postgres.database import make_engine
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.pgbouncer import running_pgbouncer
from tests.stack import SHORT_LEASES, Stack, get

LONG = "[[sim: tokens=120 pace=40 first=0.1]]"


@pytest.fixture
def pooled(stack: Stack) -> Iterator[Stack]:
    """A stack whose processes reach Postgres through PgBouncer, and LISTEN at Postgres itself."""
    with running_pgbouncer(stack.servers.folder / f"bouncer-{stack.folder.parent.name}", stack.servers) as bouncer:
        stack.configure(
            database_url=bouncer.address_of(stack.database_url), listen_database_url=stack.database_url, **SHORT_LEASES
        )
        stack.start_simulator()
        yield stack
        stack.close()


@pytest.fixture
def pooled_engine(pooled: Stack) -> Iterator[Engine]:
    """An engine with the settings of the processes."""
    made = make_engine(pooled.settings, name="person")
    yield made
    made.dispose()


def test_whole_life_of_answers_behind_a_pooler(pooled: Stack, pooled_engine: Engine) -> None:
    first, second = pooled.start_worker(), pooled.start_worker()
    web = pooled.start_web()
    with Person(pooled, pooled_engine) as alice:
        short = [alice.ask("[[sim: tokens=5]]") for _ in range(20)]
        for request in short:
            assert alice.wait_end(request).status == Status.SUCCEEDED
            assert alice.answers(request) == [full_text("[[sim: tokens=5]]")]
        stopped, survivor = alice.ask(LONG), alice.ask(LONG)
        for request in (stopped, survivor):
            alice.wait_text(request)
        assert alice.stop(stopped) == Status.RUNNING
        assert alice.wait_end(stopped).status == Status.CANCELLED
        victim = first if alice.worker_pid(survivor) == first.pid else second
        victim.kill()
        row = alice.wait_end(survivor)
        assert (row.status, row.attempt, row.losses) == (Status.SUCCEEDED, 2, 1)
        assert alice.answers(survivor) == [full_text(LONG)]
    assert get(web.url + "/readyz")[0] == 200
