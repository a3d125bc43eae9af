"""Tests that reasoning is told apart from text in every form in which servers send it, and that it counts as life."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from shared.errors import IdleTimeout, ThinkingTimeout
from tests.patience import patient
from tests.providers.asking import AnyProvider, Wire, prompt
from tests.providers.test_take import read, timed
from workers.providers.base import Done, Thought
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.sdk.decoding import Decoder
from workers.providers.timeouts import WithTimeouts

THOUGHT = "First the boat 나루, then the ferryman."
SHAPES = ("reasoning_content", "reasoning", "think", "thinking")


def shape_for(wire: Wire, shape: str) -> str:
    """Return the shape in the wire format's own words: Messages have blocks of thinking only."""
    return "thinking" if wire.name == "anthropic" else shape


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Return one event of Chat Completions."""
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


def decoded(pieces: Iterable[bytes]) -> tuple[str, str]:
    """Return the reasoning and the text that the decoder finds in the pieces."""
    decoder = Decoder(OpenAIProvider().reader())
    items: list[str] = []
    for piece in (*pieces, chunk({}, "stop")):
        item = decoder.decode(piece)
        while item:
            items.append(item)
            item = decoder.decode(b"")
        decoder.check()
    thoughts = [each for each in items if isinstance(each, Thought)]
    return "".join(thoughts), "".join(each for each in items if not isinstance(each, Thought))


def contents(*texts: str) -> list[bytes]:
    return [chunk({"content": text}) for text in texts]


@pytest.mark.parametrize("shape", SHAPES)
def test_provider_separates_reasoning_from_text(wire: Wire, shape: str) -> None:
    answer = wire.ask(f'[[sim: shape={shape_for(wire, shape)} thought="{THOUGHT}" text="Take the **boat**."]]')
    assert (answer.reasoning.strip(), answer.text) == (THOUGHT * 3, "Take the **boat**.")
    assert answer.done is not None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", ["", "fault=drip"])
def test_stream_takes_reasoning_and_text_in_bulk(wire: Wire, shape: str, fault: str) -> None:
    message = f'[[sim: shape={shape_for(wire, shape)} thought="{THOUGHT}" text="Take the boat." pace=200 {fault}]]'

    async def asked(provider: AnyProvider) -> Any:
        return await read(timed(provider.stream(prompt(message))), every_seconds=0.03)

    answer, _ = wire.run(asked)
    assert (answer.reasoning.strip(), answer.text) == (THOUGHT * 3, "Take the boat.")


@pytest.mark.parametrize("tag", ["think", "thinking"])
def test_tags_are_found_however_they_are_cut(tag: str) -> None:
    whole = f"\n<{tag}>\nplan <b>\n</{tag}>\n\nThe </think> answer"
    for first in range(len(whole) + 1):
        for second in range(first, len(whole) + 1):
            pieces = contents(whole[:first], whole[first:second], whole[second:])
            thought, text = decoded(pieces)
            assert (thought.strip(), text) == ("plan <b>", "The </think> answer"), pieces
    assert decoded(contents(*whole))[1] == "The </think> answer"


@pytest.mark.parametrize(
    "text",
    [
        "<",
        "<thi",
        "<thin air",
        "<table>",
        " \n",
        "Use <think> tags</think>.",
        "`<think>`x</think>",
        "\n\n  code",
        "a<think>b",
    ],
)
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert decoded(contents(text)) == ("", text)
    assert decoded(contents(*text)) == ("", text)


def test_unclosed_tag_is_reasoning_to_the_end() -> None:
    assert decoded(contents("<think>", "no end </thi")) == ("no end </thi", "")


def test_empty_tags_are_no_reasoning() -> None:
    thought, text = decoded(contents("<think>\n\n</think>\n\nYes."))
    assert (thought.strip(), text) == ("", "Yes.")


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([{"reasoning_content": "hm "}, {"content": "Yes."}], ("hm ", "Yes.")),
        ([{"reasoning": "hm "}, {"content": "Yes."}], ("hm ", "Yes.")),
        ([{"reasoning": "hm ", "reasoning_content": "hm "}, {"content": "Yes."}], ("hm ", "Yes.")),
        ([{"reasoning_content": "hm ", "content": "Yes."}], ("hm ", "Yes.")),
        (
            [{"reasoning_content": "hm ", "content": ""}, {"reasoning_content": None, "content": "Yes."}],
            ("hm ", "Yes."),
        ),
        ([{"reasoning": {"effort": "low"}, "content": "Yes."}], ("", "Yes.")),
        ([{"content": [{"type": "thinking", "thinking": "hm "}, {"type": "text", "text": "Yes."}]}], ("hm ", "Yes.")),
        ([{"content": [{"type": "text", "text": "Y"}]}, {"content": "es."}], ("", "Yes.")),
        ([{"reasoning_content": "\ud83d"}, {"reasoning_content": "\ude00"}, {"content": "Yes."}], ("😀", "Yes.")),
        ([{"content": "Y"}, {"reasoning_content": "hm"}, {"content": "es."}], ("hm", "Yes.")),
    ],
)
def test_decoder_reads_every_form_of_reasoning(deltas: list[dict[str, Any]], expected: tuple[str, str]) -> None:
    assert decoded([chunk(each) for each in deltas]) == expected
    assert decoded([b"".join(chunk(each) for each in deltas)]) == expected


def test_usage_counts_reasoning_as_part_of_the_output() -> None:
    reader = OpenAIProvider().reader()
    usage = {"prompt_tokens": 5, "completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 70}}
    reader.read({"choices": [], "usage": usage})
    assert reader.usage is not None
    assert (reader.usage.output_tokens, reader.usage.reasoning_tokens) == (90, 70)


@pytest.mark.parametrize("shape", SHAPES)
def test_thinking_outlasts_the_limit_of_the_first_token(wire: Wire, shape: str) -> None:
    limit = patient(0.5)
    message = f'[[sim: shape={shape_for(wire, shape)} thoughts={round(60 * limit)} pace=20 text="Yes."]]'
    answer = wire.ask(message, first_token_seconds=limit, idle_seconds=limit)
    assert (answer.error, answer.text) == (None, "Yes.")
    assert answer.seconds > 2 * limit


def test_thinking_model_that_falls_silent_times_out(wire: Wire) -> None:
    answer = wire.ask("[[sim: shape=thinking thoughts=5 fault=hang at=5]]", idle_seconds=0.3)
    assert type(answer.error) is IdleTimeout
    wire.simulator.wait_for("closed", answer.trace)


@pytest.mark.parametrize("limits", [{"thinking_seconds": 0.5}, {"total_seconds": 0.5}])
def test_thinking_without_text_has_its_own_limit(wire: Wire, limits: dict[str, float]) -> None:
    answer = wire.ask("[[sim: shape=thinking thoughts=5000 pace=50]]", **limits)
    assert type(answer.error) is ThinkingTimeout
    assert (bool(answer.reasoning), answer.text) == (True, "")
    wire.simulator.wait_for("closed", answer.trace)


def test_thinking_limit_holds_while_a_reader_takes(wire: Wire) -> None:
    async def asked(provider: AnyProvider) -> Any:
        stream = provider.stream(prompt("[[sim: shape=thinking thoughts=5000 pace=200]]"))
        limited = WithTimeouts(
            stream, first_token_seconds=9, idle_seconds=9, total_seconds=patient(20), thinking_seconds=0.5
        )
        return await read(limited, every_seconds=0.03)

    answer, taken = wire.run(asked)
    assert type(answer.error) is ThinkingTimeout
    assert taken > 0


def test_text_ends_the_limit_of_thinking(wire: Wire) -> None:
    limit = patient(0.5)
    answer = wire.ask(f"[[sim: shape=thinking thoughts=2 tokens={round(60 * limit)} pace=20]]", thinking_seconds=limit)
    assert isinstance(answer.done, Done)
    assert answer.seconds > 2 * limit
