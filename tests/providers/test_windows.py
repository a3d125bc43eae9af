"""Tests that the window is read from the refusals of real servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.windows import Stated, stated_in

REFUSALS = {
    "openai": (
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 10240 tokens. "
            "Please reduce the length of the messages."
        ),
        Stated(8192, 10240),
    ),
    "vllm": (
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the "
            "messages, 1000 in the completion). Please reduce the length of the messages or completion."
        ),
        Stated(4096, 4000),
    ),
    "vllm, newer": (
        (
            "You passed 4097 input tokens and requested 1000 output tokens. However, the model's context length is "
            "only 4096 tokens, resulting in a maximum input length of 3096 tokens."
        ),
        Stated(4096, 4097),
    ),
    "vllm, limit of the answer": (
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 "
            "tokens and your request has 3000 input tokens (5000 > 4096 - 3000)."
        ),
        Stated(4096, 3000),
    ),
    "vllm, embedded prompt": (
        "The decoder prompt (length 7000) is longer than the maximum model length of 4096.",
        Stated(4096, 7000),
    ),
    "llama.cpp": (
        "request (5021 tokens) exceeds the available context size (2048 tokens), try increasing it",
        Stated(2048, 5021),
    ),
    "llama.cpp, older": (
        "the request exceeds the available context size (2048 tokens), try increasing it",
        Stated(2048),
    ),
    "llama.cpp, without a number": ("the request exceeds the available context size. try increasing it", Stated()),
    "ollama": ("the input length exceeds the context length", Stated()),
    "ollama, excess only": ("prompt too long; exceeded max context length by 1234 tokens", Stated()),
    "litellm": (
        (
            "litellm.BadRequestError: litellm.ContextWindowExceededError: ContextWindowExceededError: OpenAIException "
            "- This model's maximum context length is 16,385 tokens. However, your messages resulted in 20,002 tokens."
        ),
        Stated(16385, 20002),
    ),
    "anthropic": ("prompt is too long: 208310 tokens > 200000 maximum", Stated(200000, 208310)),
    "anthropic, with the answer": (
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or "
            "`max_tokens` and try again"
        ),
        Stated(200000, 188240),
    ),
    "openrouter": (
        (
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 140010 tokens "
            "(139000 of text input, 1010 in the output). Please reduce the length of either one."
        ),
        Stated(131072, 139000),
    ),
    "gemini": (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        Stated(1048576, 1200000),
    ),
    "tgi": (
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens "
            "and 100 `max_new_tokens`"
        ),
        Stated(4096, 5000),
    ),
    "sglang": ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", Stated(4096, 5000)),
    "xai": (
        "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        Stated(131072, 140000),
    ),
    "mistral": (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        Stated(32768, 40000),
    ),
    "openai, per minute": (
        "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 45000.",
        Stated(),
    ),
    "a page": ("<html><head><title>413 Request Entity Too Large</title></head></html>", Stated()),
    "empty": ("", Stated()),
    "absurd": ("maximum context length is 3 tokens", Stated()),
}


@pytest.mark.parametrize("server", REFUSALS)
def test_refusal_names_the_window(server: str) -> None:
    text, stated = REFUSALS[server]
    assert stated_in(text) == stated


@given(text=st.text() | st.text(alphabet="maximum context length is 0123456789, tokens (>)"))
def test_reading_a_refusal_never_fails(text: str) -> None:
    found = stated_in(text)
    assert found.window is None or found.window >= 256
