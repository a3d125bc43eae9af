"""Tests of refusals that the adapters avoid or learn from, with the real SDKs and scripted replies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.providers.asking import KEY, Answer, ask
from tests.providers.wild import DONE, Call, Reply, WildServer, json_reply, sse, text_chunk
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.knowledge import Known
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.windows import WindowExceeded

MESSAGE = json_reply({"type": "message", "content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn"})
CHUNKS = sse(text_chunk("Yes.", finish_reason="stop"), DONE)


def refusal(said: str) -> Reply:
    """Return a refusal with status 400."""
    return json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, status=400)


def refusal_within(said: str) -> Reply:
    """Return a stream that begins and then refuses."""
    return sse({"error": {"message": said, "type": "invalid_request_error"}})


def ask_chat(server: WildServer, known: Known, message: str = "Hi", *, times: int = 1, **options: Any) -> list[Answer]:
    """Ask over Chat Completions, some times in a row."""

    async def all_of_it() -> list[Answer]:
        provider = OpenAIProvider(api_key=KEY, base_url=f"{server.url}/v1", known=known)
        try:
            return [await ask(provider, message, **options) for _ in range(times)]
        finally:
            await provider.close()

    return asyncio.run(all_of_it())


def ask_messages(server: WildServer, message: str = "Hi", *, known: Known | None = None, **options: Any) -> Answer:
    """Ask over Messages, once. `known` takes what the refusals teach."""

    async def once() -> Answer:
        provider = AnthropicProvider(api_key=KEY, base_url=server.url, known=known)
        try:
            return await ask(provider, message, **options)
        finally:
            await provider.close()

    return asyncio.run(once())


@pytest.mark.parametrize(("set_to", "sent"), [(0.0, 0.0), (0.7, 0.7), (1.0, 1.0), (1.5, 1.0), (2.0, 1.0)])
def test_messages_get_a_temperature_of_at_most_one(set_to: float, sent: float) -> None:
    server = WildServer(MESSAGE)
    with server:
        assert ask_messages(server, temperature=set_to).text == "Yes."
    assert [call.body["temperature"] for call in server.calls] == [sent]


@pytest.mark.parametrize("said", ["temperature: range: 0..1", "temperature: Input should be less than or equal to 1"])
def test_refused_temperature_is_left_out_once(said: str) -> None:
    server = WildServer(refusal(said), MESSAGE)
    with server:
        assert ask_messages(server, temperature=1.0).text == "Yes."
    assert ["temperature" in call.body for call in server.calls] == [True, False]


@pytest.mark.parametrize(
    ("model", "window", "most"),
    [
        ("local-7b", None, 32_000),
        ("local-7b", 8192, 4096),
        ("claude-haiku-4-5", 200_000, 64_000),
        ("claude-haiku-4-5", 32_768, 16_384),
    ],
)
def test_messages_ask_for_at_most_half_the_window(model: str, window: int | None, most: int) -> None:
    with WildServer(MESSAGE) as server:
        assert ask_messages(server, model=model, window=window).text == "Yes."
    assert [call.body["max_tokens"] for call in server.calls] == [most]


def test_full_window_asks_for_a_shorter_prompt() -> None:
    said = "input length and `max_tokens` exceed context limit: 8100 + 32000 > 8192, decrease input length"
    with WildServer(refusal(said), MESSAGE) as server:
        answer = ask_messages(server, model="local-7b")
    assert isinstance(answer.error, WindowExceeded)
    assert (answer.error.stated.window, answer.error.stated.prompt_tokens) == (8192, 8100)
    assert len(server.calls) == 1


def test_refused_limit_teaches_the_window() -> None:
    known = Known()
    said = "input length and `max_tokens` exceed context limit: 1000 + 32000 > 8192, decrease input length"
    with WildServer(refusal(said), MESSAGE) as server:
        assert ask_messages(server, model="local-7b", known=known).text == "Yes."
    assert [call.body["max_tokens"] for call in server.calls] == [32_000, 7192]
    assert known.about("local-7b") == {"window": 8192}


def test_server_without_a_limit_is_learnt_within_streams() -> None:
    """It refuses both names of the limit, one after the other."""

    class Unlimited(WildServer):
        def reply_to(self, call: Call) -> Reply:
            found = super().reply_to(call)
            name = next((each for each in call.body if each.startswith("max_")), None)
            return refusal_within(f"Unsupported parameter: {name}") if name else found

    known = Known()
    with Unlimited(CHUNKS) as server:
        answers = ask_chat(server, known, times=2, max_output_tokens=100)
    assert [answer.text for answer in answers] == ["Yes.", "Yes."]
    limits = [[name for name in call.body if name.startswith("max_")] for call in server.calls]
    assert limits == [["max_tokens"], ["max_completion_tokens"], [], []]
    assert known.about("any") == {"limit_name": ""}


def test_lesson_within_a_stream_is_kept_once_there_is_text() -> None:
    known, said = Known(), "System role not supported"
    with WildServer(refusal_within(said), refusal_within("The model has crashed")) as server:
        (answer,) = ask_chat(server, known, system="be kind")
    assert answer.error is not None
    assert len(server.calls) == 2
    assert known.about("any") == {}
    with WildServer(refusal_within(said), CHUNKS) as server:
        (answer,) = ask_chat(server, known, system="be kind")
    assert answer.text == "Yes."
    assert known.about("any") == {"system": "question"}
