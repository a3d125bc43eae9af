"""Selects the messages of a branch that are sent to a model. Pure: no database, no SDK.

Failed answers are left out, stopped ones are kept. The oldest messages are dropped if they do not fit the model's
window, in blocks: the prefix stays the same for several questions, so that a provider's prompt cache can work.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.messages import Message
from shared.tables import Status

#: Share of the window that is kept free, because `estimate_tokens` only estimates.
MARGIN = 0.05
#: A prompt that is too long is cut to this share of the room, not just until it fits.
CUT_TO = 0.7
TOKENS_PER_MESSAGE = 4
DEFAULT_OUTPUT_TOKENS = 4096


def sendable(branch: Sequence[Message]) -> list[Message]:
    """Return the messages of a branch that a model may see: neither empty ones nor failed answers."""
    return [each for each in branch if each.text and not (each.end and each.end.status is Status.FAILED)]


def instructions(operators: str, persons: str) -> str:
    """Return the system text: the operator's instructions, then the person's, which may narrow but follow them."""
    return "\n\n".join(text for text in (operators.strip(), persons.strip()) if text)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a message, erring high: one per 4 ASCII characters, one for any other character.

    Counting exactly needs a tokenizer per model (tiktoken: 115 MB, fetched from the network at first use).
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    return ascii_characters // 4 + (len(text) - ascii_characters) + TOKENS_PER_MESSAGE


def fitted(
    messages: Sequence[Message], *, context_tokens: int | None, output_tokens: int | None, system: str = ""
) -> tuple[Message, ...]:
    """Return the newest messages that fit the window, beginning with a question. The last question is never cut."""
    if context_tokens is None:
        return tuple(messages)
    room = int(context_tokens * (1 - MARGIN)) - min(output_tokens or DEFAULT_OUTPUT_TOKENS, context_tokens // 2)
    room -= estimate_tokens(system) if system else 0
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
