"""Quirks with real workers: one refused call for the whole fleet, and answers for everybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from shared.model_facts import read_facts
from shared.postgres.database import make_engine
from shared.tables import Status
from tests.crash.person import Person
from tests.stack import SHORT_LEASES, Stack, wait_until

QUESTION = "[[sim: tokens=3 pace=0 first=0]] Tell me."


@pytest.mark.timeout(300)
def test_new_worker_knows_what_another_has_learnt(stack: Stack, engine: Engine) -> None:
    stack.start_simulator("--script", "quirks=no_system,alternate")
    stack.configure(**SHORT_LEASES, system_prompt="Be kind.")

    def calls_of_one_question(person: Person) -> int:
        request_id = person.ask(QUESTION)
        ended: Any = person.wait_end(request_id, seconds=30)
        assert ended.status == Status.SUCCEEDED
        return len(person.calls(request_id))

    with Person(stack, engine) as person:
        worker = stack.start_worker()
        assert calls_of_one_question(person) == 2
        assert calls_of_one_question(person) == 1
        stored = wait_until(lambda: read_facts(engine), seconds=10, what="the fact is stored")
        assert stored == {"demo/simulator": {"system": "question"}}
        worker.terminate()
        worker.wait()
        stack.start_worker()
        assert calls_of_one_question(person) == 1


@pytest.mark.timeout(300)
def test_no_limit_is_sent_unless_one_is_set(stack: Stack, engine: Engine) -> None:
    """The catalogue knows the longest answer of this model. A gateway or a small account would refuse to give it."""
    simulator = stack.start_simulator()
    stack.configure(openai_api_key="sk-test", openai_base_url=f"{simulator.url}/v1", models="openai/gpt-6-luna")
    with Person(stack, engine) as person:
        for limit in (0, 500):
            worker = stack.start_worker(max_output_tokens=limit)
            request_id = person.ask(QUESTION)
            assert person.wait_end(request_id).status == Status.SUCCEEDED
            worker.terminate()
            worker.wait()
    lines = [json.loads(line) for line in stack.calls_log.read_text("utf-8").splitlines()]
    without, limited = [line["parameters"] for line in lines if line["event"] == "start"]
    assert without == ["messages", "model", "stream", "stream_options"]
    assert limited == ["max_tokens", *without]


@pytest.mark.timeout(300)
def test_worker_that_starts_without_postgres_learns_later(own_stack: Stack) -> None:
    own_stack.start_simulator("--script", "quirks=no_system")
    own_stack.configure(**SHORT_LEASES, system_prompt="Be kind.")
    own_stack.servers.stop_postgres()
    own_stack.start_worker(ready=False)
    own_stack.servers.start_postgres()
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as person:
        request_id = person.ask(QUESTION)
        assert person.wait_end(request_id, seconds=60).status == Status.SUCCEEDED
        assert len(person.calls(request_id)) == 2
        wait_until(lambda: read_facts(engine), seconds=10, what="the fact is stored")
    engine.dispose()
