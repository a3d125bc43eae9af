"""What real servers have shown (`./naru test servers`), scripted, so that it holds where none of them is installed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from shared.messages import Message
from shared.vendors import ANTHROPIC, OPENAI, Vendor
from tests.providers.asking import Answer, AnyProvider, ask
from tests.providers.ollama_server import OllamaServer, line, lines, said
from tests.providers.wild import DONE, Reply, WildServer, event, json_reply, sse, text_chunk
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.instances import Instance
from workers.providers.listing import ListingFailed, Problem, fetch
from workers.providers.ollama.adapter import OllamaProvider
from workers.providers.openai.adapter import OpenAIProvider

#: LiteLLM without a database, to any key but its master key.
NO_DATABASE = {"error": {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}}
STOP = text_chunk("", finish_reason="stop")
#: aimock's counts.
UNCOUNTED = {
    "openai": sse(text_chunk("Hi"), STOP, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}, DONE),
    "anthropic": sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ),
}
#: llama.cpp's refusal of two questions in a row, for a template in the way of Mistral's.
TEMPLATE = (
    "Unable to generate parser for this template. Automatic parser generation failed: \n------------\n"
    "While executing CallExpression at line 1, column 125 in source:\n"
    "...{ raise_exception('Conversation roles must alternate user...\n   ^\n"
    "Error: Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."
)
#: The time in which the close of a connection arrives, while the event loop is busy.
CLOSE_SECONDS = 0.1


@pytest.mark.parametrize(
    ("kind", "server"),
    [
        (OpenAIProvider, WildServer(Reply([event(text_chunk("Hi")), event(STOP), DONE], closes=True))),
        (OllamaProvider, OllamaServer(Reply([said("Hi"), line({"done": True, "done_reason": "stop"})], closes=True))),
    ],
    ids=["openai", "ollama"],
)
def test_question_survives_a_close_after_the_last_answer(
    kind: type[OpenAIProvider | OllamaProvider], server: WildServer
) -> None:
    async def ask_in_a_row(provider: AnyProvider | OllamaProvider) -> list[str]:
        texts = []
        for _ in range(3):
            answer = await ask(provider, "Hello?")
            texts.append(f"{answer.text}{answer.error or ''}")
            time.sleep(CLOSE_SECONDS)  # noqa: ASYNC251 - the loop must not notice the close before the next question
        await provider.close()
        return texts

    with server:
        base = f"{server.url}/v1" if kind is OpenAIProvider else server.url
        texts = asyncio.run(ask_in_a_row(kind(base_url=base)))
    assert texts == ["Hi"] * 3
    assert len(server.calls) == 3


@pytest.mark.parametrize("vendor", [OPENAI, ANTHROPIC], ids=lambda each: each.name)
def test_litellm_without_database_refuses_the_key(vendor: Vendor) -> None:
    refusal = json_reply(NO_DATABASE, status=400)
    with WildServer(refusal) as server:
        server.listing = refusal
        answer = asyncio.run(asked(provider_of(vendor, server)))
        with pytest.raises(ListingFailed) as failed:
            fetch(Instance(name="lite", vendor=vendor, title="", api_key="sk-wrong", address=base_of(vendor, server)))
    assert answer.error is not None
    assert (answer.error.code, failed.value.problem) == ("auth_failed", Problem.KEY_REFUSED)
    assert len(server.calls) == 1


def test_list_refused_for_another_reason_is_not_the_keys_fault() -> None:
    with WildServer(sse(DONE)) as server:
        server.listing = json_reply({"error": {"message": "No such route", "code": "400"}}, status=400)
        with pytest.raises(ListingFailed) as failed:
            fetch(Instance(name="lite", vendor=OPENAI, title="", address=server.url))
    assert failed.value.problem is Problem.NO_LIST


@pytest.mark.parametrize("vendor", [OPENAI, ANTHROPIC], ids=lambda each: each.name)
def test_counts_of_nothing_are_no_usage(vendor: Vendor) -> None:
    with WildServer(UNCOUNTED[vendor.name]) as server:
        answer = asyncio.run(asked(provider_of(vendor, server)))
    assert answer.text == "Hi"
    assert answer.done is not None
    assert answer.done.usage is None


def test_ollamas_counts_of_nothing_are_no_usage() -> None:
    end = {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 0, "eval_count": 0}
    with OllamaServer(lines(said("Hi"), line(end))) as server:
        answer = asyncio.run(asked(OllamaProvider(base_url=server.url)))
    assert answer.text == "Hi"
    assert answer.done is not None
    assert answer.done.usage is None


def test_llama_cpps_template_teaches_alternation() -> None:
    refusal = json_reply({"error": {"code": 400, "message": TEMPLATE, "type": "invalid_request_error"}}, status=400)
    with WildServer(refusal, sse(text_chunk("Hi"), STOP, DONE)) as server:
        two = (Message.of_text("user", "First."), Message.of_text("user", "Second."))
        answer = asyncio.run(asked(provider_of(OPENAI, server), messages=two))
    assert answer.text == "Hi"
    assert [[each["content"] for each in call.body["messages"]] for call in server.calls] == [
        ["First.", "Second."],
        ["First.\n\nSecond."],
    ]


async def asked(provider: AnyProvider | OllamaProvider, **options: Any) -> Answer:
    try:
        return await ask(provider, "Hello?", **options)
    finally:
        await provider.close()


def base_of(vendor: Vendor, server: WildServer) -> str:
    return f"{server.url}/v1" if vendor is OPENAI else server.url


def provider_of(vendor: Vendor, server: WildServer) -> AnyProvider:
    kind = OpenAIProvider if vendor is OPENAI else AnthropicProvider
    return kind(api_key="sk-wrong", base_url=base_of(vendor, server))
