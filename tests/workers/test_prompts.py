"""Tests of prompts: which messages of a conversation are sent to a model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import Message, RequestEnd, Role
from shared.tables import Status
from workers.answering.prompts import CUT_TO, MARGIN, Chosen, chosen, fitted, instructions, sendable
from workers.providers.tokens import TOKENS_PER_MESSAGE, estimate_tokens


def ended(status: Status, text: str) -> Message:
    return Message.of_text("assistant", text, end=RequestEnd(status=status))


def test_prompt_omits_turns_without_an_answer() -> None:
    first, second, third, fourth, fifth, newest = (Message.of_text("user", f"q{n}") for n in range(6))
    whole, half = ended(Status.SUCCEEDED, "a"), ended(Status.CANCELLED, "half")
    empty, failed, blank = ended(Status.CANCELLED, ""), ended(Status.FAILED, "half"), ended(Status.SUCCEEDED, " \n")
    branch = [first, whole, second, failed, third, half, fourth, empty, fifth, blank, newest]
    assert sendable(branch) == [first, whole, third, half, newest]


def test_refused_question_leaves_the_next_prompt() -> None:
    long, short = Message.of_text("user", "가" * 5000), Message.of_text("user", "short")
    found = chosen([long, ended(Status.FAILED, ""), short], context_tokens=2048, output_tokens=None)
    assert found == Chosen((short,), left_out=0)


def test_newest_question_stays_where_its_answer_failed() -> None:
    question = Message.of_text("user", "again?")
    assert sendable([question, ended(Status.FAILED, "")]) == [question]
    assert sendable([]) == []


MESSAGES = st.lists(
    st.one_of(
        st.builds(lambda text: Message.of_text("user", text), st.text(max_size=3)),
        st.builds(ended, st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]), st.text(max_size=3)),
    ),
    max_size=30,
)


@given(branch=MESSAGES, context_tokens=st.none() | st.integers(10, 200))
def test_roles_alternate_and_the_newest_question_stays(branch: list[Message], context_tokens: int | None) -> None:
    newest = Message.of_text("user", "the newest")
    found = chosen([*branch, newest], context_tokens=context_tokens, output_tokens=10)
    roles = [each.role for each in found.messages]
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    assert found.messages[-1] is newest
    assert all(each.end is None or each.end.status is not Status.FAILED for each in found.messages)
    assert all(each.text.strip() for each in found.messages)
    assert 0 <= found.left_out <= len(branch)
    assert context_tokens is not None or not found.left_out


def test_left_out_counts_the_messages_before_the_prompt() -> None:
    messages = [*talk(100), ended(Status.FAILED, ""), *talk(*[100] * 11)]
    found = chosen(messages, context_tokens=1000, output_tokens=100)
    assert found.messages[0] is messages[found.left_out]
    assert len(messages) - found.left_out == len(found.messages)


def test_persons_instructions_follow_the_operators() -> None:
    assert instructions("Be kind.\n", " Be brief. ") == "Be kind.\n\nBe brief."
    assert (instructions("Be kind.", " "), instructions("", "Be brief."), instructions("", "")) == (
        "Be kind.",
        "Be brief.",
        "",
    )


def talk(*lengths: int) -> list[Message]:
    """Return alternating questions and answers with these token counts; the last is a question."""
    roles: list[Role] = ["user", "assistant"] * len(lengths)
    assert len(lengths) % 2
    return [Message.of_text(roles[n], "漢" * (length - TOKENS_PER_MESSAGE)) for n, length in enumerate(lengths)]


def room(context_tokens: int, output_tokens: int) -> int:
    return int(context_tokens * (1 - MARGIN)) - output_tokens


def test_fitted_keeps_a_prompt_that_fits() -> None:
    messages = talk(135, 135, 135)
    assert fitted(messages, context_tokens=None, output_tokens=None) == tuple(messages)
    assert room(900, 450) == 405
    assert fitted(messages, context_tokens=900, output_tokens=450) == tuple(messages), "exactly"
    longer = talk(135, 135, 136)
    assert fitted(longer, context_tokens=900, output_tokens=450) == (longer[-1],)


def test_fitted_prompt_drops_the_oldest_and_starts_with_user() -> None:
    messages = talk(*[100] * 11)
    kept = fitted(messages, context_tokens=1000, output_tokens=100)  # room for 850
    assert kept == tuple(messages[-len(kept) :])
    assert kept[0].role == "user"
    assert 3 <= len(kept) <= 8


@pytest.mark.parametrize("context_tokens", [10, 100, 1000])
def test_prompt_keeps_the_complete_last_question(context_tokens: int) -> None:
    messages = talk(50, 50, 5000)
    assert fitted(messages, context_tokens=context_tokens, output_tokens=None) == (messages[-1],)


def test_answer_may_take_at_most_half_the_window() -> None:
    messages = talk(200, 200, 40)
    assert fitted(messages, context_tokens=1000, output_tokens=100_000) == tuple(messages)
    assert fitted(messages, context_tokens=1000, output_tokens=None) == tuple(messages), "4096 by default"


LENGTHS = st.lists(st.integers(5, 400), min_size=1, max_size=40).map(
    lambda found: found[: len(found) - 1 + len(found) % 2]
)


@given(lengths=LENGTHS, context_tokens=st.integers(50, 4000), output_tokens=st.integers(1, 300))
def test_fitted_prompt_fits_or_is_the_question_alone(
    lengths: list[int], context_tokens: int, output_tokens: int
) -> None:
    messages = talk(*lengths)
    kept = fitted(messages, context_tokens=context_tokens, output_tokens=output_tokens)
    assert kept == tuple(messages[-len(kept) :])
    assert kept[0].role == "user"
    allowed = room(context_tokens, min(output_tokens, context_tokens // 2))
    assert len(kept) == 1 or sum(estimate_tokens(each.text) for each in kept) <= allowed


def test_long_conversation_keeps_its_start_as_it_grows() -> None:
    """A provider's cache hits when a prompt begins like the previous one; a sliding prompt never hits."""
    chance = random.Random(7)
    lengths = [chance.randrange(60, 140) for _ in range(401)]
    messages, same, cuts = talk(*lengths), 0, 0
    before: tuple[Message, ...] = ()
    for end in range(1, len(messages) + 1, 2):
        kept = fitted(messages[:end], context_tokens=4000, output_tokens=500)
        if kept[: len(before)] == before:
            same += 1
        else:
            cuts += 1
            size = sum(estimate_tokens(each.text) for each in kept)
            assert size > room(4000, 500) * CUT_TO - 300, "no more is cut than necessary"
        before = kept
    assert cuts > 5
    assert same > 4 * cuts


def test_system_prompt_takes_part_of_the_room() -> None:
    messages = talk(135, 135, 135)
    assert len(fitted(messages, context_tokens=900, output_tokens=450, system="s" * 400)) < 3
