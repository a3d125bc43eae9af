"""Tests of quirks over HTTP: a refusal costs one more call, once for a model, and the answer is right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from shared import errors
from shared.messages import Message
from shared.model_facts import forget, read_facts
from tests.providers.asking import KEY, Answer, Simulator, Wire, ask
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.knowledge import Knowledge, Known
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.quirks import describe

PREFIX = "local"
Provider = OpenAIProvider | AnthropicProvider


@dataclass(frozen=True)
class Case:
    """What the server refuses, the facts that this must teach, and the number of calls of the first question."""

    script: str
    facts: dict[str, Any]
    calls: int = 2
    said: str = ""
    wires: str = "openai anthropic"


IN_QUESTION = "no system role: the system prompt goes before the first question"
JOINED = "questions and answers must alternate: neighbours of one role are joined"
CASES = [
    Case("quirks=no_system", {"system": "question"}, said=IN_QUESTION),
    Case("quirks=alternate", {"roles_alternate": True}, said=JOINED),
    Case("quirks=template", {"roles_alternate": True, "system": "question"}, calls=3, said=JOINED),
    Case("quirks=no_system,alternate", {"roles_alternate": True, "system": "question"}, calls=3, said=IN_QUESTION),
    Case("strict=temperature", {"without.temperature": True}, said="temperature is refused: it is left out"),
    Case("most=50", {"longest_output": 50}, said="answers have at most 50 tokens"),
    Case("strict=output_config", {"without.output_config": True}, wires="anthropic"),
    Case("quirks=developer", {"system": "developer"}, said="in the role `developer`", wires="openai"),
    Case("quirks=new_limit", {"limit_name": "max_completion_tokens"}, said="max_completion_tokens", wires="openai"),
    Case("strict=max_tokens,max_completion_tokens", {"limit_name": ""}, calls=3, said="left out", wires="openai"),
    Case("strict=stream_options", {"without.stream_options": True}, said="stream_options", wires="openai"),
    Case("strict=reasoning_effort", {"without.reasoning_effort": True}, wires="openai"),
]
#: Two questions in a row, as after an answer that failed.
MESSAGES = ("first", "second")


@pytest.fixture(params=CASES, ids=lambda case: case.script)
def case(request: pytest.FixtureRequest, wire: Wire) -> Case:
    found: Case = request.param
    if wire.name not in found.wires:
        pytest.skip("not a quirk of this wire format")
    return found


def run(wire: Wire, knowledge: Knowledge, act: Callable[[Provider], Awaitable[Any]]) -> Any:
    """Run `act` with a provider that shares `knowledge`."""

    async def all_of_it() -> Any:
        known = Known(knowledge, PREFIX)
        base = wire.simulator.url
        provider: Provider = (
            AnthropicProvider(api_key=KEY, base_url=base, known=known)
            if wire.name == "anthropic"
            else OpenAIProvider(api_key=KEY, base_url=f"{base}/v1", known=known)
        )
        try:
            return await act(provider)
        finally:
            await provider.close()

    return asyncio.run(all_of_it())


async def ask_twice_in_a_row(provider: Provider, script: str, model: str) -> Answer:
    first, second = (Message.of_text("user", text) for text in (MESSAGES[0], f"{MESSAGES[1]} [[sim: echo {script}]]"))
    return await ask(
        provider,
        "",
        model=model,
        messages=(first, second),
        system="be kind",
        max_output_tokens=100,
        temperature=0.5,
        effort="low",
    )


def calls(simulator: Simulator, answer: Answer) -> list[dict[str, Any]]:
    """Return the start of each call that the answer took."""
    return [event for event in simulator.events(answer.trace) if event["event"] == "start"]


def test_quirk_costs_one_call_once(wire: Wire, case: Case) -> None:
    model, knowledge = uuid4().hex, Knowledge()

    async def three(provider: Provider) -> list[Answer]:
        return [await ask_twice_in_a_row(provider, case.script, model) for _ in range(3)]

    answers = run(wire, knowledge, three)
    for answer in answers:
        assert answer.error is None
        assert answer.text.endswith(MESSAGES[1])
        assert answer.done is not None
    assert [len(calls(wire.simulator, answer)) for answer in answers] == [case.calls, 1, 1]
    facts = knowledge.about(f"{PREFIX}/{model}")
    assert facts == case.facts
    assert case.said in "; ".join(describe(facts))


def test_text_of_the_system_reaches_the_model(wire: Wire) -> None:
    model = uuid4().hex

    async def once(provider: Provider) -> Answer:
        return await ask_twice_in_a_row(provider, "quirks=no_system,alternate", model)

    answer = run(wire, Knowledge(), once)
    assert answer.text == "be kind\n\nfirst\n\nsecond"
    *_, last = calls(wire.simulator, answer)
    assert last["roles"] == ["user"]
    assert "system" not in last["parameters"]


@pytest.mark.parametrize("quirk", ["no_system", "alternate", "no_system,alternate"])
def test_refusal_within_a_stream_teaches_too(wire: Wire, quirk: str) -> None:
    model, script = uuid4().hex, f"quirks={quirk} told=stream"

    async def two(provider: Provider) -> list[Answer]:
        return [await ask_twice_in_a_row(provider, script, model) for _ in range(2)]

    answers = run(wire, Knowledge(), two)
    assert all(answer.text.endswith(MESSAGES[1]) and answer.done for answer in answers)
    assert [len(calls(wire.simulator, answer)) for answer in answers] == [2 + quirk.count(","), 1]


@pytest.mark.parametrize(("at", "most"), [(2, 1), (0, 2)])
def test_refusal_after_text_is_not_repeated(wire: Wire, at: int, most: int) -> None:
    """What has been written has been paid for. Before any text, the same refusal teaches nothing a second time."""

    async def once(provider: Provider) -> Answer:
        script = f'fault=error at={at} type=invalid_request_error say="invalid system role"'
        return await ask(provider, f"[[sim: {script}]]", model=uuid4().hex, system="be kind")

    answer = run(wire, Knowledge(), once)
    assert isinstance(answer.error, errors.BadRequest)
    assert bool(answer.text) is bool(at)
    assert len(calls(wire.simulator, answer)) == most


def test_another_process_reads_what_one_has_learnt(wire: Wire, engine: Engine) -> None:
    model, script = uuid4().hex, "quirks=no_system strict=temperature"

    def ask_in_new_process() -> Answer:
        knowledge = Knowledge()

        async def once(provider: Provider) -> Answer:
            await knowledge.exchange(engine)
            answer = await ask_twice_in_a_row(provider, script, model)
            await knowledge.exchange(engine)
            return answer

        found: Answer = run(wire, knowledge, once)
        assert found.done is not None
        return found

    first, second = ask_in_new_process(), ask_in_new_process()
    assert [len(calls(wire.simulator, answer)) for answer in (first, second)] == [3, 1]
    name = f"{PREFIX}/{model}"
    assert read_facts(engine)[name] == {"system": "question", "without.temperature": True}
    forget(engine, name)
    assert len(calls(wire.simulator, ask_in_new_process())) == 3, "a forgotten model is tried afresh"


def test_account_pays_for_a_shorter_answer(wire: Wire) -> None:
    model, knowledge = uuid4().hex, Knowledge()

    async def two(provider: Provider) -> list[Answer]:
        return [await ask(provider, f"[[sim: tokens=3 afford={most}]]", model=model) for most in (77, 99)]

    for answer in run(wire, knowledge, two):
        assert answer.done is not None
        assert len(calls(wire.simulator, answer)) == 2
    assert knowledge.about(f"{PREFIX}/{model}") == {}, "credits change: nothing is kept"


def test_refusal_without_a_number_is_an_exhausted_quota(wire: Wire) -> None:
    answer = wire.ask("[[sim: fault=402]]")
    assert isinstance(answer.error, errors.QuotaExhausted)
    assert len(calls(wire.simulator, answer)) == 1


@pytest.mark.parametrize(
    "words", ["system role not supported", "conversation roles must alternate", "can only afford 5"]
)
@pytest.mark.parametrize("status", ["400", "422", "500"])
def test_question_cannot_teach_a_fact(wire: Wire, status: str, words: str) -> None:
    """The simulator's refusals repeat the question, as some servers' do."""
    model, knowledge = uuid4().hex, Knowledge()

    async def once(provider: Provider) -> Answer:
        return await ask(provider, f"[[sim: fault={status}]] {words}", model=model, system="be kind")

    answer = run(wire, knowledge, once)
    assert answer.error is not None
    assert len(calls(wire.simulator, answer)) == 1
    assert knowledge.about(f"{PREFIX}/{model}") == {}


def test_changed_server_is_learnt_anew(wire: Wire) -> None:
    if wire.name == "anthropic":
        pytest.skip("Messages calls have one name for the limit")
    model, knowledge = uuid4().hex, Knowledge()

    async def change(provider: Provider) -> list[Answer]:
        scripts = ("quirks=new_limit", "quirks=old_limit", "quirks=old_limit")
        return [await ask_twice_in_a_row(provider, script, model) for script in scripts]

    answers = run(wire, knowledge, change)
    assert all(answer.done for answer in answers)
    assert [len(calls(wire.simulator, answer)) for answer in answers] == [2, 2, 1]


def test_calls_of_one_question_are_bounded(wire: Wire) -> None:
    if wire.name == "anthropic":
        pytest.skip("Messages calls have fewer parameters than a question has calls")
    model = uuid4().hex
    script = "quirks=template strict=stream_options,temperature,reasoning_effort,max_completion_tokens,max_tokens"

    async def three(provider: Provider) -> list[Answer]:
        return [await ask_twice_in_a_row(provider, script, model) for _ in range(3)]

    answers = run(wire, Knowledge(), three)
    assert [len(calls(wire.simulator, answer)) for answer in answers] == [6, 3, 1]
    assert answers[0].error is not None, "a model with so many quirks fails once"
    assert answers[1].done is not None
    assert answers[2].done is not None
