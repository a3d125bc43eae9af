"""The window that a call asks Ollama for. Pure."""

from __future__ import annotations

from typing import Any

#: Ollama loads a model afresh for another window, which takes seconds and memory: so the steps are few.
FIRST_STEP = 4096
#: The largest window to ask for where the server does not tell the model's own.
UNKNOWN_WINDOW = 32_768
#: Room for an answer whose length is not limited.
ANSWER_TOKENS = 4096
#: The estimate of a prompt may be too low by this share.
MARGIN = 0.1
LEAST_ANSWER_TOKENS = 256


def num_ctx_for(prompt_tokens: int, output_tokens: int | None, window: int) -> int:
    """Return the first step, doubled until it holds prompt and answer, but at most the model's window."""
    needed = prompt_tokens * (1 + MARGIN) + _room(output_tokens, window)
    step = FIRST_STEP
    while step < needed:
        step *= 2
    return min(step, window)


def exceeds(prompt_tokens: int, messages: int, output_tokens: int | None, window: int) -> bool:
    """Return whether the window is too small. A question alone may leave less room for its answer."""
    room = _room(output_tokens, window) if messages > 1 else LEAST_ANSWER_TOKENS
    return prompt_tokens + room > window


def window_in(shown: Any) -> int | None:
    """Return the window in a reply of `/api/show`, which names it after the model's architecture."""
    info = shown.get("model_info") if isinstance(shown, dict) else None
    if not isinstance(info, dict):
        return None
    found = (value for name, value in info.items() if name.endswith(".context_length"))
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _room(output_tokens: int | None, window: int) -> int:
    return min(output_tokens or ANSWER_TOKENS, window // 2)
