"""Token limits of known models.

Pure data, checked 2026-11-23 against the vendors' SDKs and a public price list. An unlisted model works too; its sizes
are unknown (None). The default models are in shared/vendors.py, the prices in prices.py.
"""

from __future__ import annotations

from typing import NamedTuple

#: The output limit of Messages calls, which require one, if no setting gives it. Every Claude since 4.5 allows more.
CLAUDE_OUTPUT_TOKENS = 32_000


class Size(NamedTuple):
    """Token limits of a model: question, history and answer together, and the answer alone."""

    context_tokens: int | None
    max_output_tokens: int | None


_UNKNOWN = Size(None, None)

#: By the prefix of a model's name; the longest match wins.
_SIZES: dict[str, Size] = {
    "gpt-6": Size(1_050_000, 128_000),
    "gpt-5.6": Size(1_050_000, 128_000),
    "gpt-5.5": Size(1_000_000, 128_000),
    "gpt-5.4": Size(1_050_000, 128_000),
    "gpt-5.4-mini": Size(400_000, 128_000),
    "gpt-5.4-nano": Size(400_000, 128_000),
    "gpt-5.3-chat": Size(128_000, 16_384),
    "gpt-5": Size(400_000, 128_000),
    "gpt-4.1": Size(1_000_000, 32_768),
    "gpt-4o": Size(128_000, 16_384),
    "o3": Size(200_000, 100_000),
    "o4-mini": Size(200_000, 100_000),
    "claude-fable-5": Size(1_000_000, 64_000),
    "claude-mythos-5": Size(1_000_000, 64_000),
    "claude-opus-5": Size(1_000_000, 64_000),
    "claude-sonnet-5": Size(1_000_000, 64_000),
    "claude-haiku-5": Size(1_000_000, 64_000),
    "claude-opus-4-8": Size(1_000_000, 64_000),
    "claude-opus-4-7": Size(1_000_000, 64_000),
    "claude-opus-4-6": Size(1_000_000, 64_000),
    "claude-sonnet-4-6": Size(1_000_000, 64_000),
    "claude-opus-4-5": Size(200_000, 64_000),
    "claude-haiku-4-5": Size(200_000, 64_000),
    "simulator": Size(128_000, None),
}


def size_of(model: str) -> Size:
    """Return the size of `model` in the table, ignoring a gateway's prefix (`vendor/model`)."""
    bare = model.rsplit("/", 1)[-1]
    fitting = [prefix for prefix in _SIZES if bare.startswith(prefix)]
    return _SIZES[max(fitting, key=len)] if fitting else _UNKNOWN
