"""Tests of what the workers learn about models."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, update

from shared.model_facts import FACT_DAYS, forget, learn, read_facts
from shared.tables import model_fact
from tests.shared.rig import RequestRig


@pytest.fixture
def model() -> str:
    return f"local/{uuid4().hex}"


def test_fact_is_read_by_everybody(rig: RequestRig, model: str) -> None:
    learn(rig.engine, model, "window", 8192)
    learn(rig.engine, model, "system", "refused")
    learn(rig.engine, f"{model}-mini", "window", None)
    found = read_facts(rig.engine)
    assert found[model] == {"window": 8192, "system": "refused"}
    assert found[f"{model}-mini"] == {"window": None}


def test_newer_fact_replaces_older_one(rig: RequestRig, model: str) -> None:
    learn(rig.engine, model, "window", 8192)
    learn(rig.engine, model, "window", 4096)
    assert read_facts(rig.engine)[model] == {"window": 4096}


def test_fact_of_another_server_is_not_read(rig: RequestRig, model: str) -> None:
    learn(rig.engine, model, "window", 8192, ["b", "a"])
    learn(rig.engine, model, "system", "refused")
    both = {"window": 8192, "system": "refused"}
    for servers in ({}, {"other": ["z"]}, {"local": ["a"]}, {"local": ["b", "c"]}):
        assert read_facts(rig.engine, servers)[model] == both
    assert read_facts(rig.engine, {"local": ["c"]})[model] == {"system": "refused"}, "of before the column"
    learn(rig.engine, model, "window", 4096, ["c"])
    assert read_facts(rig.engine, {"local": ["c"]})[model] == {"window": 4096, "system": "refused"}
    assert read_facts(rig.engine, {"local": ["a"]})[model] == {"system": "refused"}


def test_forgotten_model_keeps_no_fact(rig: RequestRig, model: str) -> None:
    learn(rig.engine, model, "window", 8192)
    learn(rig.engine, f"{model}-mini", "window", 8192)
    assert (forget(rig.engine, model), forget(rig.engine, model)) == (True, False)
    found = read_facts(rig.engine)
    assert model not in found
    assert found[f"{model}-mini"] == {"window": 8192}


def test_old_fact_is_not_read_until_it_is_learnt_again(rig: RequestRig, model: str) -> None:
    learn(rig.engine, model, "system", "question")
    older = func.clock_timestamp() - timedelta(days=FACT_DAYS, minutes=1)
    with rig.engine.begin() as connection:
        connection.execute(update(model_fact).where(model_fact.c.model == model).values(learnt_at=older))
    assert model not in read_facts(rig.engine)
    learn(rig.engine, model, "system", "question")
    assert read_facts(rig.engine)[model] == {"system": "question"}
