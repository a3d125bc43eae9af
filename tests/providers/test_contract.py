"""Tests of every adapter's successful answers: one suite for both wire formats."""

from __future__ import annotations

import asyncio

import pytest

from shared.messages import Message
from tests.patience import patient
from tests.providers.asking import Answer, AnyProvider, Wire, ask
from workers.providers.base import Finish
from workers.simulator import text_for, tokens_for
from workers.simulator.text import split


@pytest.mark.parametrize(
    "message",
    [
        "Why is the sky blue?",
        "하늘은 왜 파란가요?",
        "[[sim: tokens=900]] long",
        '[[sim: text="a\\n\\n😀 é 한"]]',
        "[[sim: echo]] me",
    ],
)
def test_provider_yields_the_complete_text(wire: Wire, message: str) -> None:
    answer = wire.ask(message)
    assert answer.text == text_for(message)
    assert all(answer.deltas), "no empty delta"
    assert answer.done is not None
    assert answer.done.finish is Finish.STOP
    assert answer.done.provider_request_id is not None
    assert answer.done.provider_request_id.startswith("req_sim_")


def test_provider_yields_text_as_it_arrives(wire: Wire) -> None:
    # A quarter of a second apart: a machine that runs the full suite sometimes stalls for half of that.
    message = "[[sim: tokens=6 pace=4]] slowly"
    assert wire.ask(message).deltas == tokens_for(message)


def test_parser_joins_events_that_arrive_in_pieces(wire: Wire) -> None:
    message = "[[sim: fault=drip]] 조각난 글 😀"
    answer = wire.ask(message)
    assert answer.text == text_for(message)
    assert answer.done is not None


def test_usage_counts_all_input_once(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=17]] count", system="Be brief.")
    assert answer.done is not None
    usage = answer.done.usage
    assert usage is not None
    assert usage.output_tokens == 17
    assert usage.cached_input_tokens == usage.input_tokens // 2 > 0


def test_missing_usage_is_unknown(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=3 usage=no]]")
    assert answer.done is not None
    if wire.name == "openai":
        assert answer.done.usage is None


@pytest.mark.parametrize(
    ("asked", "openai", "anthropic"),
    [
        ("length", Finish.LENGTH, Finish.LENGTH),
        ("content_filter", Finish.CONTENT_FILTER, Finish.REFUSAL),
        ("refusal", Finish.REFUSAL, Finish.REFUSAL),
        ("tool", Finish.OTHER, Finish.OTHER),
    ],
)
def test_provider_reports_the_finish_reason(wire: Wire, asked: str, openai: Finish, anthropic: Finish) -> None:
    answer = wire.ask(f"[[sim: tokens=4 finish={asked}]]")
    assert answer.done is not None
    assert answer.done.finish is (openai if wire.name == "openai" else anthropic)


def test_stream_may_end_right_after_its_finish_mark(wire: Wire) -> None:
    message = "[[sim: tokens=4 done=no]]"
    answer = wire.ask(message)
    assert answer.done is not None
    assert answer.text == text_for(message)


def test_server_hanging_after_the_finish_keeps_the_answer(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=4 fault=tail]]", idle_seconds=patient(20), total_seconds=patient(40))
    assert answer.done is not None
    assert answer.seconds < patient(4)


def test_empty_answer_completes(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=0]]")
    assert answer.deltas == []
    assert answer.done is not None


def test_our_request_id_reaches_the_provider(wire: Wire) -> None:
    answer = wire.ask("[[sim: tokens=2]]")
    assert [event["event"] for event in wire.simulator.events(answer.trace)] == ["start", "first", "end"]


def test_prompt_has_the_complete_conversation(wire: Wire) -> None:
    messages = (
        Message.of_text("user", "first"),
        Message.of_text("assistant", "second"),
        Message.of_text("user", "[[sim: echo]] third"),
    )
    answer = wire.ask("", messages=messages, system="system", max_output_tokens=50)
    assert answer.text == "third"
    assert answer.done is not None
    assert answer.done.usage is not None
    counted = (*(message.text for message in messages), "system")
    assert answer.done.usage.input_tokens == sum(len(split(text)) for text in counted)


def test_hundred_concurrent_streams_do_not_mix(wire: Wire) -> None:
    messages = [f"[[sim: tokens={60 + number} pace=400]] question {number} 질문" for number in range(100)]

    async def all_at_once(provider: AnyProvider) -> list[Answer]:
        return await asyncio.gather(*(ask(provider, message) for message in messages))

    for message, answer in zip(messages, wire.run(all_at_once), strict=True):
        assert answer.text == text_for(message)
        assert answer.done is not None


def test_provider_answers_successive_calls(wire: Wire) -> None:
    async def three(provider: AnyProvider) -> list[Answer]:
        return [await ask(provider, f"[[sim: tokens=3]] {number}") for number in range(3)]

    assert all(answer.done for answer in wire.run(three))


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
@pytest.mark.parametrize("parameter", ["stream_options", "max_tokens"])
def test_compatible_server_may_reject_a_parameter(wire: Wire, parameter: str) -> None:
    async def twice(provider: AnyProvider) -> list[Answer]:
        message = f"[[sim: tokens=3 strict={parameter}]]"
        return [await ask(provider, message, max_output_tokens=9) for _ in range(2)]

    first, second = wire.run(twice)
    assert first.done is not None
    assert len(wire.simulator.events(first.trace)) > len(wire.simulator.events(second.trace)), "it is remembered"
