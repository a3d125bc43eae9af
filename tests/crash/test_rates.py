"""Requests and tokens per minute with real workers, also without Redis: the provider sees no more than the limit."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from sqlalchemy import Engine, text

from shared.postgres.database import make_engine, transaction
from shared.tables import Status
from tests.crash.person import Person
from tests.crash.test_responses import LONG, end_of, noted, use_responses, whole
from tests.crash.test_responses import MODEL as THINKER
from tests.providers.responses_server import Responses, ResponsesServer
from tests.stack import SHORT_LEASES, Stack, wait_until

SHORT = "[[sim: tokens=5 pace=0 first=0]] Tell me."
MODEL = "one/simulator"


def write_file(stack: Stack, limits: str) -> None:
    """Offer the simulator under limits."""
    path, key = stack.folder / "providers.toml", stack.folder / "a.key"
    key.write_text("sk-a\n")
    key.chmod(0o600)
    path.write_text(
        f'[providers.one]\nkind = "openai"\naddress = "{stack.settings.simulator_url}/v1"\nkey_file = "a.key"\n'
        f'models = ["simulator"]\n{limits}\n'
    )
    stack.configure(**SHORT_LEASES, providers_file=path, simulator_url="")


def starts(stack: Stack) -> list[float]:
    """Return the times at which calls came to the provider."""
    lines = [json.loads(line) for line in stack.calls_log.read_text("utf-8").splitlines()]
    return sorted(line["at"] for line in lines if line["event"] == "start")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("has_redis", [True, False])
def test_workers_together_keep_requests_per_minute(own_stack: Stack, has_redis: bool) -> None:
    own_stack.start_simulator()
    write_file(own_stack, "requests_per_minute = 19")
    for _ in range(3):
        own_stack.start_worker()
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        if not has_redis:
            own_stack.servers.stop_redis()
        asked = [alice.ask(SHORT, model=MODEL) for _ in range(5)]
        assert {Status(alice.wait_end(each, seconds=90).status) for each in asked} == {Status.SUCCEEDED}
    engine.dispose()
    begun = starts(own_stack)
    assert len(begun) == len(asked)
    # One begins at once, and then one every 60 / 19 s. A call comes a little later than its claim.
    assert all(after - before > 2 for before, after in pairwise(begun))


def reserved_for(engine: Engine) -> float:
    """Return for how many seconds the lane's tokens are used up."""
    with engine.connect() as connection:
        found = text("SELECT extract(epoch FROM tokens_at - clock_timestamp()) FROM lane WHERE name = 'one'")
        return float(connection.execute(found).scalar_one() or 0.0)


@pytest.mark.timeout(240)
def test_tokens_are_reserved_and_then_settled(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    write_file(stack, "tokens_per_minute = 2000")
    stack.start_worker()
    with Person(stack, engine) as alice:
        running = alice.ask("[[sim: tokens=300 pace=50 first=0]] Tell me.", model=MODEL)
        alice.wait_text(running)
        # A thousand tokens for the answer are more than the tenth that may begin at once.
        assert reserved_for(engine) > 5
        second = alice.ask(SHORT, model=MODEL)
        assert alice.wait_end(running).status == Status.SUCCEEDED
        wait_until(lambda: reserved_for(engine) < 10, seconds=20, what="the use replaces the reservation")
        assert alice.wait_end(second, seconds=60).status == Status.SUCCEEDED
        assert alice.row(second).tries == 0
    assert len(starts(stack)) == 2


@pytest.mark.timeout(240)
def test_answer_without_a_call_uses_no_request(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    write_file(stack, "requests_per_minute = 2")
    stack.start_worker(answer_cache_seconds=3600)
    with Person(stack, engine) as alice:
        alice.wait_end(alice.ask(SHORT, model=MODEL))
        with engine.begin() as connection:
            connection.execute(text("UPDATE lane SET requests_at = NULL WHERE name = 'one'"))
        again = alice.wait_end(alice.ask(SHORT, model=MODEL))
        assert again.earlier_answer_at is not None
        used = text("SELECT extract(epoch FROM requests_at - :claimed_at) FROM lane WHERE name = 'one'")

        def is_given_back() -> bool:
            with engine.connect() as connection:
                # A request that counts moves this time on by 30 s.
                return bool(connection.execute(used, {"claimed_at": again.started_at}).scalar_one() < 10)

        wait_until(is_given_back, seconds=10, what="the request is given back")
    assert len(starts(stack)) == 1


@pytest.mark.timeout(240)
def test_lane_rests_when_headers_say_that_nothing_is_left(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    write_file(stack, "")
    stack.start_worker()
    with Person(stack, engine) as alice:
        first = alice.ask("[[sim: tokens=5 left=0 reset=6]] Tell me.", model=MODEL)
        assert alice.wait_end(first).status == Status.SUCCEEDED
        second = alice.ask(SHORT, model=MODEL)
        assert alice.wait_end(second).status == Status.SUCCEEDED
    before, after = starts(stack)
    assert after - before > 5


@pytest.mark.timeout(300)
def test_call_that_is_taken_up_needs_no_second_share_of_a_minute(own_stack: Stack) -> None:
    """The first attempt's reservation uses the minute up, and stays when its worker dies."""
    memory = Responses([LONG])
    with ResponsesServer(memory) as server:
        use_responses(own_stack, server.port, "tokens_per_minute = 1000")
        worker = own_stack.start_worker()
        engine = make_engine(own_stack.settings, name="test")
        with Person(own_stack, engine) as alice:
            request = alice.ask("Tell me.", model=THINKER)
            wait_until(lambda: noted(alice, request), what="the id of the call is stored")
            worker.kill()
            # Without a minute that is over, the claim would wait for it.
            with transaction(engine) as connection:
                connection.execute(text("UPDATE lane SET tokens_at = clock_timestamp()"))
            own_stack.start_worker()
            alice.wait_running(request, attempt=2)
            with transaction(engine) as connection:
                found = text("SELECT tokens_at <= clock_timestamp() FROM lane WHERE name = 'deep'")
                assert connection.execute(found).scalar_one()
            assert end_of(alice, request, memory) == whole(attempt=2)
        engine.dispose()
