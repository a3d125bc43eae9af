"""Reads the window of a model from the refusal of a prompt that was too long. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import ContextTooLong

#: The name of the fact in `shared.model_facts`: the model's window in tokens.
WINDOW = "window"
#: The name of the fact with the tokens that a server counts for each one that `estimate_tokens` estimates.
RATIO = "token_ratio"
#: Outside of this range a number is not a window.
_SMALLEST, _LARGEST = 256, 100_000_000

_N = r"[^\d\n]{0,40}?(\d+)"
#: How servers name the window. The first match counts.
_WINDOWS = tuple(
    re.compile(pattern)
    for pattern in (
        r"available context size \((\d+)",  # llama.cpp
        r"\"?n_ctx\"?\D{1,4}(\d+)",
        r"(?:maximum|max|model's|total|available) (?:model |input |prompt )?(?:context|prompt|input|sequence)"
        r" (?:length|window|size|limit)(?: is| of| \(|:)" + _N,  # OpenAI, vLLM, LiteLLM, OpenRouter, SGLang
        r"context (?:length|window|size)(?: is only| is| of| \(|:)" + _N,
        r"context limit: [\d ]+(?:\+ *\d+ *)?> *(\d+)",  # Anthropic, with the answer
        r"prompt is too long: \d+ tokens > (\d+)",  # Anthropic
        r"maximum number of (?:input )?tokens allowed \((\d+)",  # Gemini
        r"maximum model length of (\d+)",
        r"must be <= (\d+)",  # Text Generation Inference
        r"with (\d+) maximum context length",  # Mistral
        r"maximum (?:of |input |allowed )?(?:length of )?(\d+) (?:input )?tokens",
    )
)
#: How they name the tokens of the prompt.
_PROMPTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\"?n_prompt_tokens\"?\D{1,4}(\d+)",
        r"prompt is too long: (\d+) tokens",
        r"context limit: (\d+)",
        r"\((\d+) (?:tokens )?(?:in|of|from) (?:the )?(?:messages|text input|input|prompt)",
        r"messages resulted in (\d+) tokens",
        r"(?:request|input|prompt) \((\d+) tokens\)",
        r"(?:passed|has|contains|requested) (?:about )?(\d+) (?:input |prompt )?tokens",
        r"prompt \(length (\d+)\)",
        r"input token count \((\d+)\)",
        r"given: (\d+) `inputs` tokens",
    )
)
#: The signs that separate thousands in a number.
THOUSANDS = re.compile(r"(?<=\d)[,_](?=\d{3}\b)")


@dataclass(frozen=True, slots=True)
class Stated:
    """The figures in a refusal, in the server's own tokens. None where it does not name one."""

    window: int | None = None
    prompt_tokens: int | None = None
    #: Whether the window is only assumed, because the server did not tell it.
    is_guess: bool = False


class WindowExceeded(ContextTooLong):
    """The chat is longer than the model can read."""

    stated = Stated()


def output_limit(limit: int | None, window: int | None) -> int | None:
    """Return the limit of an answer, which may take at most half of the window; None if none is set."""
    return min(limit, window // 2) if limit and window else limit


def stated_in(text: str) -> Stated:
    """Return the figures in the text of a refusal."""
    plain = THOUSANDS.sub("", text.lower())
    return Stated(_first(_WINDOWS, plain), _first(_PROMPTS, plain))


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    for pattern in patterns:
        if (match := pattern.search(text)) and _SMALLEST <= int(match[1]) <= _LARGEST:
            return int(match[1])
    return None
