"""Tests of what a process knows about its models, and how it shares that with the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from shared.model_facts import learn, read_facts
from shared.postgres.database import make_engine
from shared.settings import Settings
from shared.vendors import OPENAI
from tests.patience import patient
from tests.providers.asking import Simulator, ask
from tests.stack import free_port
from workers.providers import registry as module
from workers.providers.instances import Instance
from workers.providers.knowledge import Knowledge, Known
from workers.providers.registry import Registry


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


def write(path: Path, name: str, *addresses: str) -> None:
    """Write a providers.toml with one provider."""
    path.write_text(f'[providers.{name}]\nkind = "openai"\nmodels = ["m"]\naddresses = {list(addresses)}\n')


async def change(registry: Registry, path: Path, name: str, *addresses: str) -> Instance:
    """Write the file and wait until the registry has taken it."""
    before = registry.instances()[name]
    write(path, name, *addresses)
    await until(lambda: registry.instances()[name] != before)
    return registry.instances()[name]


def test_moved_provider_is_tried_afresh(
    engine: Engine, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    path, name = tmp_path / "providers.toml", f"p{uuid4().hex[:12]}"
    here = f"{simulator.url}/v1"
    there = here.replace("127.0.0.1", "localhost")
    question = "[[sim: tokens=3 strict=temperature]] Tell me."

    async def calls_of_one_question(registry: Registry) -> int:
        provider, model = registry.provider_for(f"{name}/m")
        found = await ask(provider, question, model=model, temperature=0.5)
        assert found.error is None
        await registry.knowledge.exchange(engine)
        return len([event for event in simulator.events(found.trace) if event["event"] == "start"])

    async def move() -> list[int]:
        write(path, name, here)
        registry = Registry(Settings(ollama_url="off", providers_file=str(path)))
        looking = asyncio.create_task(registry.keep_discovering(lambda: None))
        counts = [await calls_of_one_question(registry) for _ in range(2)]
        await change(registry, path, name, there)
        counts += [await calls_of_one_question(registry) for _ in range(2)]
        looking.cancel()
        await registry.close()
        return counts

    assert asyncio.run(move()) == [2, 1, 2, 1]


def test_pool_knows_while_it_keeps_a_server(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    path, name = tmp_path / "providers.toml", f"p{uuid4().hex[:12]}"
    a, b, c = (f"http://{each}.invalid/v1" for each in "abc")
    fact = {"system": "question"}

    async def change_pool() -> None:
        write(path, name, a, b)
        registry = Registry(Settings(ollama_url="off", providers_file=str(path)))
        looking, knowledge = asyncio.create_task(registry.keep_discovering(lambda: None)), registry.knowledge
        first = registry.instances()[name]
        Known(knowledge, name, first.servers).note("m", fact)
        await knowledge.exchange(engine)
        assert (await change(registry, path, name, b, a)).servers == first.servers
        assert knowledge.about(f"{name}/m") == fact
        for addresses, known in (((c, b), fact), ((c,), {}), ((a,), fact)):
            await change(registry, path, name, *addresses)
            await knowledge.exchange(engine)
            assert knowledge.about(f"{name}/m") == known
        await change(registry, path, name, c)
        Known(knowledge, name, first.servers).note("m", {"system": "developer"})
        assert knowledge.about(f"{name}/m") == {}, "an answer under way at the old address"
        looking.cancel()
        await registry.close()

    asyncio.run(change_pool())
    assert read_facts(engine)[f"{name}/m"] == fact


def test_address_without_its_password_is_the_server() -> None:
    def servers(address: str) -> frozenset[str]:
        return Instance(name="a", vendor=OPENAI, title="A", address=address).servers

    assert servers("http://me:secret@Gateway.example:80/v1") == servers("http://you@gateway.example:80/v1")
    assert servers("http://gateway.example/a").isdisjoint(servers("http://gateway.example/b"))
