"""Tests behind a real PgBouncer in transaction mode: limits, prepared statements, locks, and the refusal at start."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import Engine, Integer, bindparam, cast, literal_column, select, text

from deploy.cli.findings import Level
from deploy.cli.reaching import time_limits
from deploy.cli.servers import try_postgres
from deploy.embedded.processes import ROOT
from shared.errors import SettingsError, Unavailable
from shared.lifecycle import Question, submit
from shared.migrations.__main__ import migrate
from shared.people import Owner
from shared.postgres import pooler
from shared.postgres.database import LIMITS, make_engine, statement, transaction
from shared.postgres.prepared import prepared
from shared.settings import Settings
from tests.patience import patient
from tests.pgbouncer import PgBouncer, need_pgbouncer, running_pgbouncer
from tests.shared.rig import RequestRig
from tests.stack import Servers, Stack, free_port, wait_until

#: The life of a request: every verb, the reconciler, and the statements of the page.
CORE = (
    *("submit", "claim", "end", "stop", "take_back", "reconciler", "owner_limits", "conversations", "fleet"),
    *("machine", "migrations"),
)
OWN = [prepared(select(cast(bindparam("one"), Integer) + literal_column(f"{number}"))) for number in range(3)]


@pytest.fixture(scope="module")
def bouncer(servers: Servers) -> Iterator[PgBouncer]:
    """One PgBouncer for this module."""
    with running_pgbouncer(servers.folder / "pgbouncer", servers) as made:
        yield made


@pytest.fixture
def pooled(rig_settings: Settings, bouncer: PgBouncer) -> Settings:
    """Settings behind PgBouncer, with the direct address for LISTEN."""
    direct = rig_settings.listen_database_url or rig_settings.database_url
    return dataclasses.replace(rig_settings, database_url=bouncer.address_of(direct), listen_database_url=direct)


@pytest.fixture
def pooled_engine(pooled: Settings) -> Iterator[Engine]:
    """An engine behind PgBouncer."""
    made = make_engine(pooled, name="pooled", pool=3)
    yield made
    made.dispose()


def shown(engine: Engine, *, in_transaction: bool) -> dict[str, str]:
    """Return the limits in force, each read in a transaction of its own or all in one."""
    found = {}
    if in_transaction:
        with transaction(engine) as connection:
            return {name: str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in LIMITS}
    for name in LIMITS:
        with statement(engine) as connection:
            found[name] = str(connection.execute(text(f"SHOW {name}")).scalar_one())
    return found


@pytest.mark.parametrize("in_transaction", [True, False])
def test_time_limits_hold_behind_a_pooler(pooled_engine: Engine, *, in_transaction: bool) -> None:
    for _ in range(5):
        limits = shown(pooled_engine, in_transaction=in_transaction)
        assert limits == dict(zip(LIMITS, ("5s", "2s", "5s"), strict=True))


def test_time_limits_end_with_the_transaction(pooled: Settings, pooled_engine: Engine) -> None:
    shown(pooled_engine, in_transaction=True)
    with contextlib.closing(psycopg2.connect(pooled.database_url)) as other, other.cursor() as cursor:
        for _ in range(8):
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
            other.commit()


def test_statement_that_hangs_is_cancelled_behind_a_pooler(pooled_engine: Engine, rig: RequestRig) -> None:
    with pytest.raises(Unavailable), statement(pooled_engine) as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    rig.ask("Who holds the lock?")
    with rig.begin() as holder:
        holder.execute(text("LOCK TABLE chat_request"))
        with pytest.raises(Unavailable), transaction(pooled_engine) as connection:
            connection.execute(text("SELECT count(*) FROM chat_request"))


def test_pooler_is_recognized(rig_settings: Settings, bouncer: PgBouncer) -> None:
    direct = rig_settings.database_url
    assert pooler.leads_to_pooler(bouncer.address_of(direct))
    assert not pooler.leads_to_pooler(direct)
    assert not pooler.leads_to_pooler(f"postgresql://u@127.0.0.1:{free_port()}/d")


def test_undeclared_pooler_is_refused(pooled: Settings) -> None:
    undeclared = dataclasses.replace(pooled, listen_database_url="")
    with pytest.raises(SettingsError, match="Set NARU_LISTEN_DATABASE_URL to the address of Postgres itself"):
        pooler.refuse_pooled_listening(undeclared)
    assert "Set NARU_LISTEN_DATABASE_URL" in (try_postgres(undeclared) or "")
    pooler.refuse_pooled_listening(pooled)
    assert try_postgres(pooled) is None


@pytest.mark.parametrize("round_robin", ["0", "1"])
@pytest.mark.parametrize("ignored", ["", "options"])
def test_listening_through_a_transaction_pooler_is_refused(
    servers: Servers, pooled: Settings, tmp_path: Path, round_robin: str, ignored: str
) -> None:
    options = {"server_round_robin": round_robin, "ignore_startup_parameters": ignored}
    with running_pgbouncer(servers.folder / f"pooled-{tmp_path.name}", servers, **options) as transactions:
        wrong = dataclasses.replace(pooled, listen_database_url=transactions.address_of(pooled.listen_database_url))
        with pytest.raises(SettingsError, match="Set it to the address of Postgres itself: LISTEN receives nothing"):
            pooler.refuse_pooled_listening(wrong)
        assert try_postgres(wrong) == pooler.LISTENING_IS_POOLED


def test_listening_through_a_session_pooler_is_accepted(servers: Servers, pooled: Settings, tmp_path: Path) -> None:
    options = {"pool_mode": "session", "ignore_startup_parameters": "options"}
    with running_pgbouncer(servers.folder / f"session-{tmp_path.name}", servers, **options) as bouncer:
        address = bouncer.address_of(pooled.listen_database_url)
        assert pooler.leads_to_pooler(address)
        for _ in range(3):
            pooler.refuse_pooled_listening(dataclasses.replace(pooled, listen_database_url=address))


def test_full_session_pooler_is_given_the_benefit_of_the_doubt(
    servers: Servers, pooled: Settings, tmp_path: Path
) -> None:
    options = {"pool_mode": "session", "ignore_startup_parameters": "options"}
    options |= {"default_pool_size": "1", "min_pool_size": "0"}
    with running_pgbouncer(servers.folder / f"full-{tmp_path.name}", servers, **options) as bouncer:
        assert pooler.keeps_sessions(bouncer.address_of(pooled.listen_database_url))


def test_listening_where_nobody_answers_is_accepted(pooled: Settings) -> None:
    away = f"postgresql://u@127.0.0.1:{free_port()}/d"
    assert pooler.keeps_sessions(away)
    assert pooler.keeps_sessions(pooled.listen_database_url), "nor is Postgres itself refused"
    pooler.refuse_pooled_listening(dataclasses.replace(pooled, listen_database_url=away))
    pooler.refuse_pooled_listening(dataclasses.replace(pooled, database_url=away, listen_database_url=""))


@pytest.mark.parametrize("module", ["web", "workers"])
def test_process_refuses_a_pooled_address_for_listen(stack: Stack, bouncer: PgBouncer, module: str) -> None:
    address = bouncer.address_of(stack.database_url)
    process = stack.run(module, "-m", module, database_url=address, listen_database_url=address, port=free_port())
    wait_until(lambda: not process.running, seconds=30, what="it ends")
    assert process.wait() == 1
    assert "NARU_LISTEN_DATABASE_URL leads to a pooler" in process.log_text().strip().splitlines()[-1]


@pytest.mark.parametrize("module", ["web", "workers"])
def test_process_with_an_undeclared_pooler_does_not_start(stack: Stack, bouncer: PgBouncer, module: str) -> None:
    process = stack.run(module, "-m", module, database_url=bouncer.address_of(stack.database_url), port=free_port())
    wait_until(lambda: not process.running, seconds=30, what="it ends")
    assert process.wait() == 1
    assert "DATABASE_URL leads to a pooler" in process.log_text().strip().splitlines()[-1]


def test_doctor_says_that_the_limits_hold(pooled: Settings, rig_settings: Settings) -> None:
    limits = "each transaction has its time limits (statement_timeout 5s, lock_timeout 2s"
    (behind,) = time_limits(pooled)
    assert behind.level is Level.GOOD
    assert behind.what.startswith(f"postgres: behind a pooler, {limits}")
    (direct,) = time_limits(rig_settings)
    assert direct.what.startswith(f"postgres: {limits}")
    (undeclared,) = time_limits(dataclasses.replace(pooled, listen_database_url=""))
    assert undeclared.level is Level.WRONG
    twice, _ = time_limits(dataclasses.replace(pooled, listen_database_url=pooled.database_url))
    assert (twice.level, twice.what) == (Level.WRONG, f"pooler: {pooler.LISTENING_IS_POOLED}")
    none, _ = time_limits(dataclasses.replace(pooled, database_url=pooled.listen_database_url))
    assert none.what.startswith("pooler: there is none")


def test_migration_leaves_no_lock_in_a_pooler(servers: Servers, bouncer: PgBouncer) -> None:
    direct = servers.create_database("through_pooler", template="template1")
    for _ in range(2):
        migrate(bouncer.address_of(direct))
    with contextlib.closing(psycopg2.connect(direct)) as link, link.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("connections", [1, 4])
def test_pooler_that_appears_costs_no_question(
    rig: RequestRig, rig_settings: Settings, servers: Servers, connections: int
) -> None:
    """It ignores our options, so that nothing but the first error of a prepared statement reveals it."""
    options = {"ignore_startup_parameters": "options", "default_pool_size": f"{connections}", "min_pool_size": "1"}
    with running_pgbouncer(servers.folder / f"careless-{connections}", servers, **options) as careless:
        settings = dataclasses.replace(rig_settings, database_url=careless.address_of(rig_settings.database_url))
        engines = [make_engine(settings, name=f"process {number}", pool=2) for number in range(3)]
        stored = set()
        for number in range(60):
            engine = engines[number % 3]
            with statement(engine) as connection:  # each process prepares a statement of its own first
                assert connection.execute(OWN[number % 3], {"one": 4}).scalar_one() == 4 + number % 3
            question = Question(owner=Owner(f"o{number}"), conversation_id=uuid4(), text="?", idempotency_key="k")
            made = submit(engine, question, deadline_seconds=60, max_characters=100)
            assert made.is_new
            stored.add(made.request_id)
        for engine in engines:
            engine.dispose()
    with rig.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM message")).scalar_one() == len(stored) == 60


@pytest.mark.timeout(400)
def test_core_holds_behind_a_pooler() -> None:
    """The tests of a request's life run again, in a process whose rigs are behind PgBouncer."""
    need_pgbouncer()
    files = [str(ROOT / "tests" / "shared" / f"test_{name}.py") for name in CORE]
    argv = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--pooled", *files)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=patient(380))
    assert done.returncode == 0, done.stdout[-4000:]
