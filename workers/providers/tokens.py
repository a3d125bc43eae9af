"""Estimates the tokens of a text without a tokenizer. Pure.

A tokenizer belongs to a model, takes 50 to 100 MB, and has to be fetched. The weights below were fitted to the counts
of o200k_base for English and Korean prose and for code. tests/providers/token_texts/ holds the texts of the test, which
are others, with their counts. Older tokenizers need up to 1.7 times as many tokens for Korean: a model that refuses a
prompt tells its count, and `windows.py` learns the ratio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.providers.base import Prompt

#: The tokens of a message beside its text: its role and its limits.
TOKENS_PER_MESSAGE = 4


def _bytes(*ranges: tuple[int, int]) -> bytes:
    return bytes(each for first, last in ranges for each in range(first, last + 1))


_UPPER = _bytes((0x41, 0x5A))
_LETTERS = _UPPER + _bytes((0x61, 0x7A))
_DIGITS = _bytes((0x30, 0x39))
_SIGNS = _bytes((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E))
#: The first bytes of characters in UTF-8.
_HANGUL = _bytes((0xEA, 0xED))
_PLANES = _bytes((0xF0, 0xF4))
_SHORT = _bytes((0xC2, 0xDF))
_OTHERS = _bytes((0xE0, 0xE9), (0xEE, 0xEF))

#: Tokens per byte of a class.
_WEIGHTS: tuple[tuple[bytes, float], ...] = (
    (_LETTERS, 0.15),
    (_UPPER, 0.09),
    (_DIGITS, 0.93),
    (_SIGNS, 0.67),
    (b"\n", 0.67),
    (b"\t", 0.3),
    (_HANGUL, 0.7),
    (_SHORT, 0.5),
    (_OTHERS, 1.0),
    (_PLANES, 2.0),
)
#: Per space that stands alone: a run of spaces is one token or part of one.
_SPACE = 0.42
#: Letters in a row that words have at most. Keys, hashes and encoded files have more, and cost more.
_WORD = 12
_UNBROKEN = 0.5


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a message, erring rather high than low. Takes about 1 ms for 100,000 characters."""
    data = text.encode("utf-8", "replace")
    counts = [len(data) - len(data.translate(None, each)) for each, _ in _WEIGHTS]
    tokens = sum(count * weight for count, (_, weight) in zip(counts, _WEIGHTS, strict=True))
    spaces = data.count(b" ")
    tokens += _SPACE * max(0, spaces - 2 * data.count(b"  "))
    letters, signs, lines = counts[0], counts[3], counts[4]
    tokens += _UNBROKEN * max(0, letters - _WORD * (1 + spaces + signs + lines))
    return round(tokens) + TOKENS_PER_MESSAGE


def size_of(prompt: Prompt) -> int:
    """Estimate the tokens of a prompt."""
    texts = [prompt.system or "", *(each.text for each in prompt.messages)]
    return sum(estimate_tokens(text) for text in texts if text)
