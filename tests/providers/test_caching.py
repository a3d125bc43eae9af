"""Tests of the marks for Anthropic's prompt cache, on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.messages import Message
from tests.providers.asking import KEY, ask
from tests.providers.wild import Reply, WildServer, json_reply, sse
from workers.providers.anthropic.adapter import AnthropicProvider

ANSWER = sse(
    {"type": "message_start", "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 2000}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)
MARK = {"type": "ephemeral"}
LONG = "The garden behind the library needs a new fence. " * 150


def bodies(*prompts: dict[str, Any], replies: tuple[Reply, ...] = (ANSWER,)) -> list[dict[str, Any]]:
    """Ask once per prompt with one provider, and return the bodies that the server got."""

    async def all_of_them(url: str) -> None:
        provider = AnthropicProvider(api_key=KEY, base_url=url)
        try:
            for each in prompts:
                answer = await ask(provider, "", **each)
                assert answer.error is None
                assert answer.done is not None
                assert answer.done.usage is not None
                assert answer.done.usage.cached_input_tokens == 2000
        finally:
            await provider.close()

    with WildServer(*replies) as server:
        asyncio.run(all_of_them(server.url))
    return [call.body for call in server.calls]


def turns(*texts: str) -> tuple[Message, ...]:
    return tuple(Message.of_text("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))


def test_short_prompt_has_no_mark() -> None:
    (body,) = bodies({"messages": turns("Hi"), "system": "Be kind."})
    assert "cache_control" not in str(body)


def test_newest_question_has_the_mark() -> None:
    (body,) = bodies({"messages": turns(LONG, "Yes.", "Why?"), "system": "Be kind."})
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "Why?", "cache_control": MARK}]
    assert body["messages"][0]["content"] == LONG
    assert body["system"] == "Be kind."
    assert "cache_control" not in body


def test_long_system_prompt_has_its_own_mark() -> None:
    (body,) = bodies({"messages": turns("Hi"), "system": LONG})
    assert body["system"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert str(body).count("cache_control") == 2


def test_server_that_refuses_the_mark_is_asked_without_it() -> None:
    refusal = json_reply(
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "messages.0.content.0.text.cache_control: Extra inputs are not permitted",
            },
        },
        status=400,
    )
    marked, bare, again = bodies({"messages": turns(LONG)}, {"messages": turns(LONG)}, replies=(refusal, ANSWER))
    assert "cache_control" in str(marked)
    assert "cache_control" not in str(bare) + str(again), "it is remembered"
