"""The settings of a conversation with a real worker: they reach the provider, and so does their absence."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine

from shared.tables import Status
from shared.tuning import NO_TUNING, Tuning
from tests.crash.person import Person
from tests.stack import Stack

QUESTION = "[[sim: tokens=3 pace=0 first=0]] Tell me."


@pytest.mark.timeout(300)
def test_settings_of_a_chat_reach_the_provider(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.start_worker()
    with Person(stack, engine) as person:
        for tuning in (Tuning(instructions="Be brief.", temperature=0.3, effort="high"), NO_TUNING):
            request_id = person.ask(QUESTION, tuning=tuning)
            assert person.wait_end(request_id).status == Status.SUCCEEDED
    lines = [json.loads(line) for line in stack.calls_log.read_text("utf-8").splitlines()]
    tuned, plain = [line for line in lines if line["event"] == "start"]
    assert tuned["roles"] == ["system", "user"]
    assert {"temperature", "reasoning_effort"} <= set(tuned["parameters"])
    assert plain["roles"] == ["user"]
    assert not {"temperature", "reasoning_effort"} & set(plain["parameters"])
