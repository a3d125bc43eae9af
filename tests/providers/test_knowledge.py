"""Tests of what a process knows about its models, and how it shares that with the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from shared.model_facts import learn, read_facts
from shared.postgres.database import make_engine
from shared.settings import Settings
from tests.patience import patient
from tests.stack import free_port
from workers.providers.knowledge import Knowledge


@pytest.fixture
def model() -> str:
    return f"local/{uuid4().hex}"


@contextmanager
def engine_without_server() -> Iterator[Engine]:
    url = f"postgresql://nobody:x@127.0.0.1:{free_port()}/nowhere"
    engine = make_engine(Settings(database_url=url), name="test")
    yield engine
    engine.dispose()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(patient(10)):
        while not condition():  # noqa: ASYNC110 - a row in Postgres sets no event
            await asyncio.sleep(0.02)


def test_learnt_fact_is_stored_without_being_waited_for(engine: Engine, model: str) -> None:
    async def learn_one() -> None:
        knowledge = Knowledge()
        task = asyncio.create_task(knowledge.keep_exchanging(engine))
        await asyncio.sleep(0)
        knowledge.note(model, {"system": "question"})
        assert knowledge.about(model) == {"system": "question"}, "it holds at once"
        await until(lambda: model in read_facts(engine))
        task.cancel()

    asyncio.run(learn_one())
    assert read_facts(engine)[model] == {"system": "question"}


def test_fact_outlasts_an_absence_of_postgres(engine: Engine, model: str) -> None:
    async def learn_one() -> None:
        knowledge = Knowledge()
        knowledge.note(model, {"system": "question"})
        with engine_without_server() as nowhere:
            await knowledge.exchange(nowhere)
        assert knowledge.about(model) == {"system": "question"}
        await knowledge.exchange(engine)

    asyncio.run(learn_one())
    assert read_facts(engine)[model] == {"system": "question"}


def test_absence_of_postgres_forgets_nothing(engine: Engine, model: str) -> None:
    learn(engine, model, "longest_output", 300)

    async def read() -> None:
        knowledge = Knowledge()
        await knowledge.exchange(engine)
        with engine_without_server() as nowhere:
            await knowledge.exchange(nowhere)
        assert knowledge.about(model) == {"longest_output": 300}

    asyncio.run(read())


def test_fact_learnt_during_an_exchange_is_kept(engine: Engine, model: str) -> None:
    async def learn_two() -> None:
        knowledge = Knowledge()
        knowledge.note(model, {"system": "question"})
        exchange = asyncio.create_task(knowledge.exchange(engine))
        await asyncio.sleep(0)
        knowledge.note(model, {"system": "developer", "roles_alternate": True})
        await exchange
        assert knowledge.about(model) == {"system": "developer", "roles_alternate": True}
        await knowledge.exchange(engine)

    asyncio.run(learn_two())
    assert read_facts(engine)[model] == {"system": "developer", "roles_alternate": True}
