"""Selects the messages of a branch that are sent to a model. Pure: no database, no SDK.

A question goes with its answer: where that failed, or was stopped before its first word, both are left out, so that
roles alternate and a question that a model refuses does not end the conversation. The oldest messages are dropped if
they do not fit the model's window, in blocks: the prefix stays the same for several questions, so that a provider's
prompt cache can work.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from shared.messages import Message
from shared.tables import Status
from workers.providers.tokens import estimate_tokens

#: Share of the window that is kept free, because `estimate_tokens` only estimates.
MARGIN = 0.05
#: A prompt that is too long is cut to this share of the room, not just until it fits.
CUT_TO = 0.7
DEFAULT_OUTPUT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Chosen:
    """The messages for a model. `left_out` is the number of messages before them that did not fit."""

    messages: tuple[Message, ...]
    left_out: int


def chosen(
    branch: Sequence[Message], *, context_tokens: int | None, output_tokens: int | None, system: str = ""
) -> Chosen:
    """Return the messages of a branch for a model with this window; None means that the window is unknown."""
    whole = sendable(branch)
    kept = fitted(whole, context_tokens=context_tokens, output_tokens=output_tokens, system=system)
    return Chosen(kept, place_of(kept[0], branch) if len(kept) < len(whole) else 0)


def place_of(message: Message, branch: Sequence[Message]) -> int:
    """Return how many messages of the branch come before `message`, which is one of them."""
    return next(place for place, each in enumerate(branch) if each is message)


def instructions(general: str, of_chat: str) -> str:
    """Return the system text: the instructions for every model, then those of the chat."""
    return "\n\n".join(text for text in (general.strip(), of_chat.strip()) if text)


def sendable(branch: Sequence[Message]) -> list[Message]:
    """Return the answered questions of a branch, each with its answer, and the newest question.

    Questions and answers alternate, and the first is a question. Empty if the branch has no question.
    """
    newest = max((place for place, each in enumerate(branch) if each.role == "user"), default=-1)
    pairs = itertools.pairwise(branch[:newest])
    kept = [each for question, answer in pairs if _is_turn(question, answer) for each in (question, answer)]
    return [*kept, branch[newest]] if newest >= 0 else []


def _is_turn(question: Message, answer: Message) -> bool:
    has_failed = answer.end is not None and answer.end.status is Status.FAILED
    roles = (question.role, answer.role)
    return roles == ("user", "assistant") and not has_failed and bool(question.text.strip() and answer.text.strip())


def fitted(
    messages: Sequence[Message], *, context_tokens: int | None, output_tokens: int | None, system: str = ""
) -> tuple[Message, ...]:
    """Return the newest messages that fit the window, beginning with a question. The last question is never cut."""
    if context_tokens is None:
        return tuple(messages)
    room = int(context_tokens * (1 - MARGIN)) - min(output_tokens or DEFAULT_OUTPUT_TOKENS, context_tokens // 2)
    return newest_within(room - (estimate_tokens(system) if system else 0), messages)


def newest_within(room: int, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the newest messages of at most `room` tokens, beginning with a question; the last one in any case."""
    sizes = [estimate_tokens(each.text) for each in messages]
    # Repeat the cuts from the beginning, as the conversation grew: a later message never changes an earlier cut.
    first, used = 0, 0
    for last, size in enumerate(sizes):
        used += size
        if used > room:
            while first < last and (used > room * CUT_TO or messages[first].role != "user"):
                used -= sizes[first]
                first += 1
    while first < len(messages) - 1 and messages[first].role != "user":
        first += 1
    return tuple(messages[first:])
