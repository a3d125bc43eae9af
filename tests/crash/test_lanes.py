"""Lanes with real workers: limits that nothing exceeds, fleets with different models, and providers that hang or fail.

The simulator plays two providers: `demo`, and `openai` by its address.
"""

from __future__ import annotations

import time

import psycopg2
import pytest
from sqlalchemy import Engine, text

from shared.errors import FirstTokenTimeout
from shared.lifecycle.lanes import PROBE_SECONDS
from shared.postgres.database import make_engine
from shared.settings import Settings
from shared.tables import Status
from tests.crash.person import Person
from tests.stack import CALM, SHORT_LEASES, Process, Stack, wait_until

SHORT = "[[sim: tokens=10 pace=20 first=0]] Tell me."
HANGING = "[[sim: fault=silent]] Tell me."
FAILING = "[[sim: fault=500]] Tell me."
AWAY_SECONDS = 12.0
WAITING = 500
MOST_TRANSACTIONS_PER_SECOND = 20
MODELS = ("openai/one", "openai/two")


def with_openai(stack: Stack) -> Process:
    """Start the simulator as both providers."""
    simulator = stack.start_simulator()
    stack.configure(openai_api_key="sk-test", openai_base_url=f"{simulator.url}/v1")
    return simulator


def running(engine: Engine, lane: str) -> int:
    with engine.connect() as connection:
        found = text("SELECT count(*) FROM chat_request WHERE status = 'running' AND lane = :lane")
        return int(connection.execute(found, {"lane": lane}).scalar_one())


def failures(engine: Engine, lane: str) -> int:
    with engine.connect() as connection:
        return int(
            connection.execute(text("SELECT failures FROM lane WHERE name = :lane"), {"lane": lane}).scalar_one()
        )


def statuses(person: Person) -> list[Status]:
    return [Status(person.wait_end(each, seconds=60).status) for each in person.asked]


@pytest.mark.timeout(400)
def test_twenty_workers_never_exceed_a_limit(own_stack: Stack) -> None:
    """Twenty start at once, two are killed, and then Redis goes away: never more than three calls, and none is lost."""
    own_stack.start_simulator()
    own_stack.configure(**SHORT_LEASES, lanes="demo=3", concurrency=2, database_pool=2)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        asked = [alice.ask(SHORT) for _ in range(24)]
        workers = [own_stack.start_worker(ready=False) for _ in range(20)]
        for request in asked[:2]:
            alice.wait_running(request, seconds=90)
            pid = alice.worker_pid(request)
            for each in [each for each in workers if each.pid == pid]:
                each.kill()
        for request in asked:
            assert alice.wait_end(request, seconds=90).status == Status.SUCCEEDED
        own_stack.servers.stop_redis()
        for _ in range(12):
            alice.ask(SHORT)
        assert set(statuses(alice)) == {Status.SUCCEEDED}
        assert alice.most_calls_at_once() == 3
    engine.dispose()


@pytest.mark.timeout(240)
def test_rolling_restart_of_a_models_only_worker(stack: Stack, engine: Engine) -> None:
    """F2: another worker of the same provider must not fail what this one hands over."""
    with_openai(stack)
    stack.configure(concurrency=8, grace_seconds=1)
    one, two = (stack.start_worker(models=model) for model in MODELS)
    with Person(stack, engine) as alice:
        for _ in range(95):
            alice.ask(SHORT, model=MODELS[1])
        for _ in range(5):
            alice.ask(SHORT, model=MODELS[0])
        wait_until(lambda: running(engine, "openai") >= 8, seconds=30, what="both work")
        two.terminate()
        two.wait(seconds=30)
        assert one.running
        stack.start_worker(models=MODELS[1])
        assert set(statuses(alice)) == {Status.SUCCEEDED}


@pytest.mark.timeout(180)
def test_waiting_requests_cost_an_idle_worker_nothing(own_stack: Stack) -> None:
    """F8: hints of a busy model's requests went to and fro between web, Redis and the worker of another model."""
    with_openai(own_stack)
    defaults = Settings()
    own_stack.configure(concurrency=4, **{name: getattr(defaults, name) for name in CALM})
    engine = make_engine(own_stack.settings, name="test")
    busy, _ = (own_stack.start_worker(models=model) for model in MODELS)
    own_stack.start_web()
    with Person(own_stack, engine) as alice:
        for _ in range(WAITING):
            alice.ask(HANGING, model=MODELS[0])
        wait_until(lambda: running(engine, "openai") == 4, seconds=30, what="the busy worker is full")
        # An idle session reports its transactions after 10 s, and those of the questions count, too.
        wait_until(lambda: rate(own_stack) <= MOST_TRANSACTIONS_PER_SECOND, seconds=60, what="nothing goes to and fro")
        assert busy.running
    engine.dispose()


def rate(stack: Stack) -> float:
    """Return the transactions per second of the stack's database during the next 5 s."""
    before, began = transactions(stack), time.monotonic()
    time.sleep(5)
    return (transactions(stack) - before) / (time.monotonic() - began)


def transactions(stack: Stack) -> int:
    """Return the transactions of the stack's database that its sessions have reported."""
    connection = psycopg2.connect(stack.database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
            (found,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    return int(found)


@pytest.mark.timeout(120)
def test_hanging_provider_takes_only_its_share(stack: Stack, engine: Engine) -> None:
    with_openai(stack)
    stack.configure(concurrency=8, models=f"demo/simulator,{MODELS[0]}")
    stack.start_worker()
    with Person(stack, engine) as alice:
        hanging = [alice.ask(HANGING, model=MODELS[0]) for _ in range(12)]
        wait_until(lambda: running(engine, "openai") >= 6, seconds=30, what="the hanging provider has its share")
        others = [alice.ask(SHORT, model="demo/simulator") for _ in range(6)]
        for request in others:
            assert alice.wait_end(request).status == Status.SUCCEEDED
        assert running(engine, "openai") == 6, "two of eight slots are kept for the other lane"
        assert {alice.status(each) for each in hanging} == {Status.RUNNING, Status.QUEUED}


@pytest.mark.timeout(240)
def test_provider_that_goes_away_fails_nothing(stack: Stack, engine: Engine) -> None:
    """F6: one call at a time asks whether it is back, and the others wait in the queue."""
    simulator = stack.start_simulator()
    stack.configure(concurrency=4)
    for _ in range(2):
        stack.start_worker()
    with Person(stack, engine) as alice:
        assert alice.wait_end(alice.ask(SHORT)).status == Status.SUCCEEDED
        simulator.kill()
        for _ in range(20):
            alice.ask(SHORT)
        time.sleep(AWAY_SECONDS)
        assert {alice.status(each) for each in alice.asked[1:]} == {Status.QUEUED}
        with engine.connect() as connection:
            calls = connection.execute(
                text("SELECT count(*) FROM request_attempt WHERE outcome = 'released'")
            ).scalar_one()
        # Those under way when it went away: at most the slots. Then probes after 1, 2, 4, 8 and each 16 to 20 s.
        assert calls <= 8 + 5 + AWAY_SECONDS / 16
        stack.run("simulator", *simulator.command.argv[1:])
        assert set(statuses(alice)) == {Status.SUCCEEDED}


@pytest.mark.timeout(120)
def test_model_is_not_starved_by_its_provider(stack: Stack, engine: Engine) -> None:
    """The hint of a limited model finds its provider full; the next free place has to wake its lane."""
    with_openai(stack)
    stack.configure(concurrency=4, models=",".join(MODELS), lanes=f"openai=1,{MODELS[1]}=1")
    stack.start_worker()
    with Person(stack, engine) as alice:
        backlog = [alice.ask(SHORT, model=MODELS[0]) for _ in range(12)]
        wait_until(lambda: running(engine, "openai") == 1, seconds=30, what="the provider is full")
        starved = alice.ask(SHORT, model=MODELS[1])
        ended_at = alice.wait_end(starved, seconds=60).ended_at
        assert set(statuses(alice)) == {Status.SUCCEEDED}
        assert sum(alice.row(each).ended_at > ended_at for each in backlog) >= 6, "it did not wait for all others"


@pytest.mark.timeout(120)
def test_stopped_probe_is_followed_at_once(stack: Stack, engine: Engine) -> None:
    """Stopping the one request that tries a failing provider must not keep its lane shut until a probe's limit."""
    stack.start_simulator()
    stack.configure(concurrency=4)
    stack.start_worker()
    with Person(stack, engine) as alice:
        alice.ask(FAILING)
        wait_until(lambda: failures(engine, "demo") >= 2, seconds=30, what="the breaker is open")
        probe = alice.ask(HANGING)
        alice.wait_running(probe)
        assert failures(engine, "demo") >= 2
        behind = alice.ask(SHORT)
        alice.stop(probe)
        stopped_at, row = alice.wait_end(probe).ended_at, alice.wait_end(behind, seconds=60)
        assert row.status == Status.SUCCEEDED
        assert (row.started_at - stopped_at).total_seconds() < PROBE_SECONDS / 2


@pytest.mark.timeout(120)
def test_failure_counts_once_however_long_storing_takes(stack: Stack, engine: Engine) -> None:
    """The end of an attempt is written again while its row is locked; the provider failed only once."""
    stack.start_simulator()
    stack.configure(first_token_seconds=3)
    stack.start_worker()
    rounds: set[object] = set()
    waiting = text(
        "SELECT query_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )

    def has_tried_often() -> bool:
        with engine.connect() as connection:
            rounds.update(connection.execute(waiting).scalars())
        return len(rounds) >= 3

    with Person(stack, engine) as alice:
        request = alice.ask(HANGING)
        alice.wait_running(request)
        with engine.begin() as someone:
            someone.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            someone.execute(text("SELECT FROM chat_request WHERE id = :id FOR UPDATE"), {"id": request})
            wait_until(has_tried_often, seconds=60, what="the worker tries to store the end again and again")
            assert failures(engine, "demo") == 1


@pytest.mark.timeout(120)
def test_overloaded_provider_with_a_pause_counts_as_failing(stack: Stack, engine: Engine) -> None:
    """Only a 429 asks one lane to slow down. Any other status with Retry-After means the provider."""
    stack.start_simulator()
    stack.start_worker()
    with Person(stack, engine) as alice:
        alice.ask("[[sim: fault=503 retry_after=1]] Tell me.")
        wait_until(lambda: failures(engine, "demo") >= 2, seconds=30, what="the breaker is open")
        with engine.connect() as connection:
            assert connection.execute(text("SELECT is_slowed FROM lane WHERE name = 'demo'")).scalar_one() is False


@pytest.mark.timeout(120)
def test_provider_that_only_pings_counts_as_failing(stack: Stack, engine: Engine) -> None:
    """Its questions are not asked again, which must not look like a provider that works."""
    stack.start_simulator()
    stack.configure(first_token_seconds=1)
    stack.start_worker()
    with Person(stack, engine) as alice:
        for counted in (1, 2):
            row = alice.wait_end(alice.ask("[[sim: fault=ping]] Tell me."), seconds=60)
            assert (row.status, row.error_code) == (Status.FAILED, FirstTokenTimeout.code)
            assert failures(engine, "demo") == counted


@pytest.mark.timeout(120)
@pytest.mark.parametrize("setting", ["openai=0", "opanai=3", "demo=-1", "demo=2,demo=3", "demo"])
def test_worker_refuses_a_bad_limit_at_start(stack: Stack, setting: str) -> None:
    worker = stack.start_worker(ready=False, lanes=setting)
    assert worker.wait(seconds=60) == 1
    last = worker.log_text().strip().splitlines()[-1]
    assert last.startswith("worker: NARU_LANES ")
    assert "Traceback" not in worker.log_text()
