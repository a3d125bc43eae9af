"""Tests of the shorter prompt after a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import Message, Role
from workers.answering.spending import longest_answer
from workers.answering.windows import Shorter, shorter
from workers.providers.base import Prompt
from workers.providers.quirks import describe
from workers.providers.tokens import TOKENS_PER_MESSAGE, size_of
from workers.providers.windows import Stated, WindowExceeded, output_limit


def talk(*sizes: int) -> tuple[Message, ...]:
    """Return alternating questions and answers with these estimated tokens."""
    roles: list[Role] = ["user", "assistant"]
    return tuple(Message.of_text(roles[n % 2], "漢" * (size - TOKENS_PER_MESSAGE)) for n, size in enumerate(sizes))


def refused(
    messages: tuple[Message, ...], *, window: int | None = None, prompt_tokens: int | None = None, **more: Any
) -> Shorter | None:
    error = WindowExceeded()
    error.stated = Stated(window, prompt_tokens)
    return shorter(messages, Prompt(model="openai/m", messages=messages, **more), error)


def test_refusal_with_figures_cuts_to_the_window() -> None:
    messages = talk(*[500] * 11)
    found = refused(messages, window=4096, prompt_tokens=5600)
    assert found is not None
    assert found.facts == {"window": 4096, "token_ratio": 1.02}
    assert found.prompt.messages == messages[found.prompt.left_out :]
    assert size_of(found.prompt) < 4096
    assert describe(found.facts) == [
        "the window has 4096 tokens",
        "the server counts 1.02 tokens for each that Naru estimates",
    ]


def test_other_tokenizer_makes_the_window_smaller() -> None:
    messages = talk(*[500] * 11)
    same, twice = (refused(messages, window=4096, prompt_tokens=size_of(Prompt("m", messages)) * n) for n in (1, 2))
    assert same is not None
    assert twice is not None
    assert twice.facts["token_ratio"] == 1.7, "one person's text does not decide for everybody"
    assert size_of(twice.prompt) < 4096 / 2 < size_of(same.prompt) * 2


@pytest.mark.parametrize(("prompt_tokens", "ratio"), [(22_000, 1.7), (6_600, 1.2), (5_000, 1.0)])
def test_smaller_ratio_corrects_a_larger_one(prompt_tokens: int, ratio: float) -> None:
    found = refused(talk(*[500] * 11), window=4096, prompt_tokens=prompt_tokens)
    assert found is not None
    assert found.facts["token_ratio"] == ratio
    assert len(describe(found.facts)) == (2 if ratio > 1 else 1)


def test_refusal_of_what_should_fit_teaches_a_ratio() -> None:
    messages = talk(*[300] * 5)
    found = refused(messages, window=1800)
    assert found is not None
    assert found.facts == {"window": 1800, "token_ratio": 1.2}
    assert size_of(found.prompt) < 1500 / 2


def test_refusal_without_a_number_halves_the_prompt() -> None:
    messages = talk(*[500] * 11)
    found = refused(messages)
    assert found is not None
    assert found.facts == {"window": 5500}
    assert size_of(found.prompt) <= 5500 / 2


def test_short_prompt_teaches_no_window() -> None:
    found = refused(talk(100, 100, 100))
    assert found is not None
    assert found.facts == {}


@pytest.mark.parametrize("window", [None, 2048])
def test_question_alone_cannot_be_cut(window: int | None) -> None:
    assert refused(talk(5000), window=window) is None


def test_question_beyond_the_window_is_not_sent_again() -> None:
    assert refused(talk(100, 100, 5000), window=2048) is None


def test_limit_of_the_answer_shrinks_with_the_window() -> None:
    found = refused(talk(100), window=2048, max_output_tokens=4096)
    assert found is not None
    assert found.prompt.max_output_tokens == 1024
    assert output_limit(None, 2048) is None
    assert output_limit(100, None) == 100


@pytest.mark.parametrize(
    ("limit", "setting", "window", "most"),
    [(None, 0, None, 16_384), (None, 0, 8192, 4096), (None, 1000, 8192, 1000), (2000, 4000, 8192, 2000)],
)
def test_reserved_answer_fits_the_window(limit: int | None, setting: int, window: int | None, most: int) -> None:
    prompt = Prompt(model="openai/m", messages=talk(100), max_output_tokens=limit, window=window)
    assert longest_answer(prompt, setting) == most


def test_guessed_window_teaches_nothing() -> None:
    messages = talk(*[500] * 11)
    error = WindowExceeded()
    error.stated = Stated(4096, 5500, is_guess=True)
    found = shorter(messages, Prompt(model="ollama/m", messages=messages), error)
    assert found is not None
    assert found.facts == {}


def test_shorter_prompt_knows_the_window() -> None:
    found = refused(talk(*[500] * 11), window=4096)
    assert found is not None
    assert found.prompt.window == 4096


@given(
    sizes=st.lists(st.integers(5, 3000), min_size=1, max_size=15).map(
        lambda found: found[: len(found) - 1 + len(found) % 2]
    ),
    window=st.none() | st.integers(256, 10_000),
    prompt_tokens=st.none() | st.integers(1, 100_000),
)
def test_shorter_prompt_is_shorter_and_keeps_the_question(
    sizes: list[int], window: int | None, prompt_tokens: int | None
) -> None:
    messages = talk(*sizes)
    found = refused(messages, window=window, prompt_tokens=prompt_tokens)
    if found is None:
        return
    assert len(found.prompt.messages) < len(messages)
    assert found.prompt.messages[-1] is messages[-1]
    assert found.prompt.messages[0].role == "user"
    assert found.prompt.messages == messages[found.prompt.left_out :]
