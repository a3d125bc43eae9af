"""Limits of tokens and money with real workers: they hold over all processes, and every ending is settled."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.postgres.database import make_engine, transaction
from shared.spending.limits import allowances_of
from shared.spending.refusals import MoneyOfMonthUsed, TokensOfDayUsed
from shared.tables import Status
from tests.crash.person import OWNER, Person
from tests.stack import SHORT_LEASES, Stack, wait_until

ONE_TOKEN_IS_A_CENT = "openai/one=10000/10000"
#: A prompt of about 20 tokens and ten tokens of answer.
SHORT = "[[sim: tokens=10 pace=0 first=0]] Tell me."
LONG = "[[sim: tokens=400 pace=20 first=0]] Tell me."


def use_priced_openai(stack: Stack, **settings: Any) -> None:
    """Let the simulator be OpenAI, whose only model costs a cent per token."""
    simulator = stack.start_simulator()
    stack.configure(
        **SHORT_LEASES,
        openai_api_key="sk-test",
        openai_base_url=f"{simulator.url}/v1",
        models="openai/one",
        prices=ONE_TOKEN_IS_A_CENT,
        max_output_tokens=20,
        **settings,
    )


def settled(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sums of the ended attempts, and those of `spending`."""
    columns = ", ".join(
        f"coalesce(sum({name}), 0)" for name in ("input_tokens", "output_tokens", "cached_input_tokens", "cost")
    )
    with transaction(engine) as connection:
        attempts = connection.execute(text(f"SELECT {columns} FROM request_attempt WHERE input_tokens > 0")).one()
        sums = connection.execute(text(f"SELECT {columns} FROM spending")).one()
    return attempts._asdict(), sums._asdict()


def attempts(engine: Engine, request_id: object) -> list[Any]:
    with transaction(engine) as connection:
        found = text("SELECT * FROM request_attempt WHERE request_id = :id ORDER BY attempt")
        return list(connection.execute(found, {"id": request_id}))


@pytest.mark.timeout(400)
def test_money_of_a_month_holds_over_all_workers(own_stack: Stack) -> None:
    """Six workers, twelve questions at once, a dollar: an answer costs about 20 cents."""
    use_priced_openai(own_stack, money_per_month=1, owner_running_questions=0)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        own_stack.workers(6)
        asked = [alice.ask(SHORT) for _ in range(12)]
        ends = [alice.wait_end(request_id, seconds=120) for request_id in asked]
        with transaction(engine) as connection:
            (own,) = allowances_of(connection, OWNER, own_stack.settings)
        dearest = max(each.cost or Decimal(0) for request_id in asked for each in attempts(engine, request_id))
    reasons = Counter(row.error_code for row in ends)
    assert set(reasons) == {None, MoneyOfMonthUsed.code}
    assert 1 <= own.used.money_this_month <= 1 + dearest
    assert own.used.running == 0
    assert settled(engine)[0] == settled(engine)[1]
    engine.dispose()


@pytest.mark.timeout(400)
def test_each_ending_is_settled(own_stack: Stack) -> None:
    """Done, stopped, cut off, refused, and a worker killed in the middle of an answer."""
    use_priced_openai(own_stack, tokens_per_day=100_000, retry_seconds=1)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        worker = own_stack.start_worker()
        done = alice.ask(SHORT)
        cut = alice.ask("[[sim: tokens=10 fault=cut at=5]] Tell me.")
        refused = alice.ask("[[sim: fault=401]] Tell me.")
        stopped = alice.ask(LONG)
        alice.wait_text(stopped)
        alice.stop(stopped)
        for request_id in (done, cut, refused, stopped):
            alice.wait_end(request_id, seconds=60)
        killed = alice.ask(LONG.replace("400", "200"))
        alice.wait_text(killed)
        wait_until(lambda: attempts(engine, killed)[0].checkpoint, what="a checkpoint")
        worker.kill()
        own_stack.start_worker()
        assert alice.wait_end(killed, seconds=60).status == Status.SUCCEEDED
    (of_done,) = attempts(engine, done)
    assert (of_done.output_tokens, of_done.is_estimated) == (10, False)
    assert of_done.cost == (of_done.input_tokens + of_done.output_tokens) * Decimal("0.01")
    assert [(each.is_estimated, each.output_tokens > 0) for each in attempts(engine, cut)] == [(True, True)] * 2
    assert [each.input_tokens for each in attempts(engine, refused)] == [0]
    (of_stopped,) = attempts(engine, stopped)
    assert of_stopped.is_estimated
    assert of_stopped.cost > 0
    first, second = attempts(engine, killed)
    assert (first.outcome, first.is_estimated, second.is_estimated) == ("lost", True, False)
    assert first.output_tokens > 0
    assert settled(engine)[0] == settled(engine)[1]
    engine.dispose()


@pytest.mark.timeout(200)
def test_waiting_question_ends_when_the_limit_is_used_up(own_stack: Stack) -> None:
    use_priced_openai(own_stack, tokens_per_day=35)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        own_stack.start_worker()
        first, second, third = (alice.ask(SHORT) for _ in range(3))
        ends = [alice.wait_end(each, seconds=60) for each in (first, second, third)]
        assert Counter(row.error_code for row in ends) == {None: 2, TokensOfDayUsed.code: 1}
        assert sum(len(alice.calls(each)) for each in (first, second, third)) == 2
    engine.dispose()
