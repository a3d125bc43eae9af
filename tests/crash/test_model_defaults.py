"""Defaults of models with a real worker: what their server receives, through the SDK, and when they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine

from shared.fleet import fleet
from shared.postgres.database import make_engine
from shared.tables import Status
from shared.tuning import NO_TUNING, Tuning
from tests.crash.person import Person
from tests.providers.wild import DONE, Reply, WildServer, json_reply, sse, text_chunk
from tests.stack import CALM, Stack, wait_until

HELLO = sse(text_chunk("Hello.", finish_reason="stop"), DONE)
AWAY = json_reply({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, status=401)
HOT = json_reply(
    {
        "error": {
            "message": "Unsupported parameter: 'temperature' is not supported with this model.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "unsupported_parameter",
        }
    },
    status=400,
)


@dataclass(frozen=True)
class House:
    """Two providers, `one` and `two`, each with a scripted server, a worker and somebody who asks."""

    stack: Stack
    engine: Engine
    alice: Person
    servers: tuple[WildServer, WildServer]

    def write(self, lines: str) -> None:
        """Write providers.toml with these lines below the providers."""
        tables = [
            f'[providers.{name}]\nkind = "openai"\naddress = "{server.url}/v1"\nkey = "k"\nmodels = ["wild"]\n'
            for name, server in zip(("one", "two"), self.servers, strict=True)
        ]
        self.stack.folder.mkdir(exist_ok=True)
        new = self.stack.folder / "providers.new"
        new.touch(0o600)
        new.write_text("\n".join([*tables, lines]))
        new.replace(self.stack.folder / "providers.toml")

    def start(self, lines: str, *first: Reply, **settings: Any) -> None:
        """Start the worker. `first` are the replies of the first provider."""
        self.servers[0].replies[:0] = first
        self.write(lines)
        path = self.stack.folder / "providers.toml"
        self.stack.start_worker(providers_file=path, simulator_url="", **settings)

    def answered(self, words: str = "Why?", tuning: Tuning = NO_TUNING) -> Any:
        """Ask the first model, and return the ended request."""
        row = self.alice.wait_end(self.alice.ask(words, model="one/wild", tuning=tuning), seconds=60)
        assert row.status == Status.SUCCEEDED
        return row


@pytest.fixture
def house(own_stack: Stack) -> Iterator[House]:
    """The stack and the servers; no worker yet."""
    own_stack.configure(**CALM)
    engine = make_engine(own_stack.settings, name="test")
    with ExitStack() as open_until_the_end:
        servers = (WildServer(HELLO), WildServer(HELLO))
        for each in servers:
            open_until_the_end.enter_context(each)
        alice = open_until_the_end.enter_context(Person(own_stack, engine))
        yield House(own_stack, engine, alice, servers)
    engine.dispose()


def sent(server: WildServer, call: int = -1) -> tuple[object, object, str]:
    """Return the temperature, the effort and the system text of a call."""
    body = server.calls[call].body
    system = [each["content"] for each in body["messages"] if each["role"] == "system"]
    return body.get("temperature"), body.get("reasoning_effort"), "".join(system)


ALL = '[defaults."one/*"]\ntemperature = 0.2\neffort = "low"\ninstructions = "Answer in Korean."\n'


def test_defaults_reach_the_server_unless_a_person_sets_more(house: House) -> None:
    house.start(ALL, system_prompt="You are Naru.")
    house.answered()
    assert sent(house.servers[0]) == (0.2, "low", "You are Naru.\n\nAnswer in Korean.")
    house.answered(tuning=Tuning(temperature=0.0))
    assert sent(house.servers[0]) == (0.0, "low", "You are Naru.\n\nAnswer in Korean.")
    house.answered(tuning=Tuning(instructions="Answer in rhymes.", effort="high"))
    assert sent(house.servers[0]) == (0.2, "high", "You are Naru.\n\nAnswer in rhymes.")


def test_changed_defaults_hold_without_a_restart(house: House) -> None:
    house.start(ALL, answer_cache_seconds=3600)
    house.answered()
    assert house.answered().earlier_answer_at is not None, "nothing changed"
    house.write('[defaults."one/wild"]\ntemperature = 1.5\n')
    new = Tuning(temperature=1.5)
    wait_until(lambda: fleet(house.engine).models[0].defaults == new, seconds=20, what="the new defaults")
    assert house.answered().earlier_answer_at is None, "an answer with other defaults is not given again"
    assert sent(house.servers[0]) == (1.5, None, "")
    assert len(house.servers[0].calls) == 2


def test_fallback_has_the_defaults_of_its_own_model(house: House) -> None:
    chain = '[fallback]\n"one/wild" = ["two/wild"]\n[defaults."two/wild"]\neffort = "high"\n'
    house.start(ALL + chain, AWAY)
    assert house.answered().model == "two/wild"
    assert sent(house.servers[0]) == (0.2, "low", "Answer in Korean.")
    assert sent(house.servers[1]) == (None, "high", "")


def test_refused_default_is_left_out(house: House) -> None:
    house.start(ALL, HOT)
    house.answered()
    house.answered()
    calls = range(len(house.servers[0].calls))
    assert [sent(house.servers[0], call)[0] for call in calls] == [0.2, None, None]
    assert sent(house.servers[0]) == (None, "low", "Answer in Korean.")
