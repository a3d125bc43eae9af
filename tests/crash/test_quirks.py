"""Quirks with real workers: one refused call for the whole fleet, and answers for everybody."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from shared.model_facts import read_facts
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
