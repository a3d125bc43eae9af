"""Tests that the adapters read the replies of real servers, in all their shapes, with one call each.

Each case is a reply that a server or a gateway was seen to send. `wild` plays it to the real SDKs.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any, NamedTuple

import pytest

from shared import errors
from tests.patience import patient
from tests.providers.asking import Answer, ask
from tests.providers.wild import DONE, EVENT_STREAM, Reply, WildServer, event, json_reply, sse, text_chunk
from workers.providers.anthropic.adapter import AnthropicProvider
from workers.providers.base import Finish, Usage
from workers.providers.openai.adapter import OpenAIProvider
from workers.providers.timeouts import LIFE_FACTOR, StillWaiting

BOM = b"\xef\xbb\xbf"
TEXT = "안녕 hello"
HELLO = text_chunk(TEXT)
STOP = text_chunk("", finish_reason="stop")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
COUNTED = Usage(7, 3)
WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 3},
}
PAGE = b"<!doctype html><title>Sign in</title>"
LIMIT_SECONDS = 0.5


class Shape(NamedTuple):
    """A reply that is an answer."""

    name: str
    reply: Reply
    finish: Finish = Finish.STOP
    usage: Usage | None = None
    text: str = TEXT


def choice(**parts: object) -> dict[str, object]:
    """Return a chunk with one choice of these parts."""
    return {"choices": [{"index": 0, **parts}]}


def zipped(*pieces: bytes, kind: str = "text/event-stream") -> Reply:
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    return Reply([gzip.compress(b"".join(pieces))], headers=headers)


def finished(reason: object) -> Reply:
    return sse(HELLO, choice(delta={}, finish_reason=reason), DONE)


def parts(*content: object) -> dict[str, object]:
    return choice(delta={"content": list(content)})


def byte_by_byte(*values: object) -> Reply:
    whole = b"".join(value if isinstance(value, bytes) else event(value) for value in values)
    return Reply([whole[at : at + 1] for at in range(len(whole))])


SHAPES = [
    Shape("no finish_reason", sse(HELLO, DONE)),
    Shape("no finish_reason, in one piece", Reply([event(HELLO) + DONE])),
    Shape("no DONE", sse(HELLO, STOP)),
    *(
        Shape(f"finish_reason {reason!r}", finished(reason), finish)
        for reason, finish in [
            ("STOP", Finish.STOP),
            ("eos", Finish.STOP),
            ("end_turn", Finish.STOP),
            ("MAX_TOKENS", Finish.LENGTH),
            ("Length", Finish.LENGTH),
            ("content-filter", Finish.CONTENT_FILTER),
            ("SAFETY", Finish.CONTENT_FILTER),
            ("refusal", Finish.REFUSAL),
            ("never heard of", Finish.OTHER),
            ({"type": "stop"}, Finish.OTHER),
            (1, Finish.OTHER),
        ]
    ),
    Shape(
        "finish_reason null as text", sse(text_chunk("안녕 ", finish_reason="null"), text_chunk("hello"), STOP, DONE)
    ),
    Shape("byte order mark", sse(BOM, HELLO, STOP, DONE)),
    Shape("byte order mark in one piece", Reply([BOM + event(HELLO) + event(STOP) + DONE])),
    Shape("byte order mark cut anywhere", byte_by_byte(BOM, HELLO, STOP, DONE)),
    Shape("byte order mark before CRLF", Reply([(BOM + event(HELLO) + event(STOP)).replace(b"\n", b"\r\n") + DONE])),
    Shape("byte order mark before JSON", Reply([BOM, json.dumps(WHOLE).encode()]), usage=COUNTED),
    Shape("empty lines first", sse(b"\n\n", b"\r\n", HELLO, STOP, DONE)),
    Shape(
        "content as parts",
        sse(
            parts({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}),
            parts({"type": "text", "text": "안녕 "}, {"type": "reference", "reference_ids": [1]}),
            parts({"text": "hel"}, "lo"),
            STOP,
        ),
    ),
    Shape("content as one part", sse(choice(delta={"content": {"type": "text", "text": TEXT}}), STOP)),
    Shape("delta null and a message", sse(choice(delta=None, message={"content": TEXT}), STOP, DONE)),
    Shape("message after deltas", sse(HELLO, choice(delta=None, message={"content": TEXT}, finish_reason="stop"))),
    Shape("text of Completions", sse(choice(text="안녕 "), choice(text="hello", finish_reason="stop"), DONE)),
    Shape("nulls everywhere", sse(choice(delta={"role": None, "content": None}, finish_reason=None), HELLO, STOP)),
    Shape("other choices", sse({"choices": [{"index": 1, "delta": {"content": "no"}}]}, HELLO, STOP)),
    Shape(
        "other choices first",
        sse({"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": TEXT}}]}, STOP),
    ),
    Shape("other choice finishes", sse({"choices": [{"index": 1, "finish_reason": "length"}]}, HELLO, STOP)),
    Shape("usage last", sse(HELLO, STOP, {"choices": [], "usage": USAGE}, DONE), usage=COUNTED),
    Shape("usage without choices", sse(HELLO, STOP, {"usage": USAGE}, DONE), usage=COUNTED),
    Shape("usage in each chunk", sse({**HELLO, "usage": USAGE}, {**STOP, "usage": USAGE}, DONE), usage=COUNTED),
    *(
        Shape(f"usage {broken!r}", sse(HELLO, {**STOP, "usage": broken}, DONE))
        for broken in (
            {"prompt_tokens": "n/a", "completion_tokens": {}},
            {},
            "n/a",
            [1],
            {"prompt_tokens": -1},
            {"prompt_tokens": 10**30},
        )
    ),
    Shape("bad usage after good", sse({**HELLO, "usage": USAGE}, {**STOP, "usage": "n/a"}, DONE), usage=COUNTED),
    Shape("bad details of usage", sse(HELLO, {**STOP, "usage": {**USAGE, "prompt_tokens_details": 1}}), usage=COUNTED),
    Shape("comments and pings", sse(b": hi\n\n", b"event: ping\ndata: {}\n\n", HELLO, b":\n\n", STOP, DONE)),
    Shape("whole completion", json_reply(WHOLE), usage=COUNTED),
    Shape("whole completion, named a stream", Reply([json.dumps(WHOLE).encode()]), usage=COUNTED),
    Shape(
        "whole completion in pieces",
        Reply([b" \n", json.dumps(WHOLE)[:20].encode(), json.dumps(WHOLE)[20:].encode()]),
        usage=COUNTED,
    ),
    Shape("whole completion, no finish_reason", json_reply(choice(message={"content": TEXT}))),
    Shape("whole completion of parts", json_reply(choice(message={"content": [{"type": "text", "text": TEXT}]}))),
    Shape("stream named JSON", Reply([event(HELLO), event(STOP)], headers={"Content-Type": "application/json"})),
    Shape("gzip", zipped(event(HELLO), event(STOP), DONE)),
    Shape("gzip of a whole completion", zipped(json.dumps(WHOLE).encode(), kind="application/json"), usage=COUNTED),
    Shape("filter after text", sse(HELLO, choice(finish_reason="content_filter")), Finish.CONTENT_FILTER),
    Shape("refusal", sse(choice(delta={"refusal": TEXT}), STOP, DONE), Finish.REFUSAL),
    Shape(
        "whole refusal",
        json_reply(choice(message={"content": None, "refusal": TEXT}, finish_reason="stop")),
        Finish.REFUSAL,
    ),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_answer_of_any_shape_is_read_in_one_call(shape: Shape) -> None:
    answer, calls = asked(shape.reply)
    assert answer.error is None
    assert answer.text == shape.text
    assert answer.done is not None
    assert (answer.done.finish, answer.done.usage) == (shape.finish, shape.usage)
    assert calls == 1


def named(kind: str, **more: object) -> dict[str, object]:
    return {"type": kind, **more}


MESSAGES = [
    Shape("whole message", json_reply(MESSAGE), usage=COUNTED),
    Shape(
        "stream after a byte order mark",
        sse(
            BOM,
            named("message_start", message={"usage": {"input_tokens": 7}}),
            named("content_block_delta", delta={"type": "text_delta", "text": TEXT}),
            named("message_delta", delta={"stop_reason": "END_TURN"}, usage={"output_tokens": 3}),
            named("message_stop"),
        ),
        usage=COUNTED,
    ),
    Shape(
        "broken usage",
        sse(
            named("message_start", message={"usage": "n/a"}),
            named("content_block_delta", delta={"type": "text_delta", "text": TEXT}),
            named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": {}}),
        ),
    ),
]


@pytest.mark.parametrize("shape", MESSAGES, ids=lambda shape: shape.name)
def test_message_of_any_shape_is_read_in_one_call(shape: Shape) -> None:
    answer, calls = asked(shape.reply, anthropic=True)
    assert answer.error is None
    assert answer.text == shape.text
    assert answer.done is not None
    assert (answer.done.finish, answer.done.usage) == (shape.finish, shape.usage)
    assert calls == 1


TOO_LONG = "This model's maximum context length is 2048 tokens"
FAILURES: list[tuple[str, Reply, type[errors.ProviderError]]] = [
    ("error object", sse({"object": "error", "message": TOO_LONG, "code": 400}), errors.ContextTooLong),
    ("event error", sse(event({"code": 400, "details": TOO_LONG}, "error")), errors.ContextTooLong),
    ("error in text", sse({"error": TOO_LONG, "code": 400}), errors.ContextTooLong),
    ("nested error", sse({"error": {"error": {"code": 429, "message": "slow down"}}}), errors.RateLimited),
    ("status in words", sse({"error": {"status": "RESOURCE_EXHAUSTED", "message": "no"}}), errors.RateLimited),
    ("detail as a list", json_reply({"detail": [{"msg": TOO_LONG}]}), errors.ContextTooLong),
    ("errors as a list", json_reply({"success": False, "errors": [{"code": 401}]}), errors.AuthFailed),
    ("list of an error", json_reply([{"error": {"code": 429, "message": "no"}}]), errors.RateLimited),
    ("JSON error in a 200", json_reply({"error": {"code": "context_length_exceeded"}}), errors.ContextTooLong),
    ("error of a choice", sse(choice(error={"code": 429}, finish_reason="error")), errors.RateLimited),
    ("filter as an error", sse({"error": {"code": "content_filter"}}), errors.ContentFiltered),
    (
        "unknown model",
        json_reply({"error": "Invalid model name passed in model=gone"}, status=400),
        errors.ModelNotFound,
    ),
    ("web page", Reply([PAGE], headers={"Content-Type": "text/html"}), errors.WrongAddress),
    ("web page named a stream", Reply([PAGE]), errors.WrongAddress),
    ("redirect", Reply(status=307, headers={"Location": "http://127.0.0.1:9/v1"}), errors.WrongAddress),
    ("JSON that is no answer", json_reply({"id": "x", "choices": []}), errors.BadStream),
    ("half a document", Reply([b'{"choices": [']), errors.BadStream),
    ("only an end", sse(DONE), errors.BadStream),
    ("plain text", Reply([b"upstream failed"], headers={"Content-Type": "text/plain"}), errors.BadStream),
    ("empty reply", Reply(headers={"Content-Type": "text/plain"}), errors.BadStream),
    ("content that is a number", sse(choice(delta={"content": 7})), errors.BadStream),
]


@pytest.mark.parametrize(("reply", "kind"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_failure_of_any_shape_has_its_cause(reply: Reply, kind: type[errors.ProviderError]) -> None:
    answer, calls = asked(reply)
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == (kind.code, kind.retryable)
    assert (answer.text, calls) == ("", 1)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (sse(event({"code": 400, "details": TOO_LONG}, "error")), errors.ContextTooLong),
        (sse({"error": {"message": TOO_LONG, "code": 400}}), errors.ContextTooLong),
        (json_reply({"error": {"type": "authentication_error"}}), errors.AuthFailed),
        (sse({"foo": 1}), errors.BadStream),
        (Reply([PAGE]), errors.WrongAddress),
    ],
)
def test_messages_failure_has_its_cause(reply: Reply, kind: type[errors.ProviderError]) -> None:
    answer, calls = asked(reply, anthropic=True)
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == (kind.code, kind.retryable)
    assert calls == 1


@pytest.mark.parametrize("code", ["content_filter", "server_error"])
def test_error_after_text_keeps_the_text(code: str) -> None:
    answer, calls = asked(sse(HELLO, {"error": {"code": code, "message": "no"}}))
    assert (answer.text, calls) == (TEXT, 1)
    assert type(answer.error) is (errors.ContentFiltered if code == "content_filter" else errors.ServerFailed)


def test_comments_keep_a_stream_alive() -> None:
    limit = patient(LIMIT_SECONDS)
    comments = [piece for _ in range(8) for piece in (b": processing\n\n", limit / 4)]
    answer, calls = asked(sse(*comments, HELLO, STOP, DONE), first_token_seconds=limit)
    assert answer.error is None
    assert (answer.text, calls) == (TEXT, 1)


def test_comments_keep_a_stream_alive_after_text() -> None:
    limit = patient(LIMIT_SECONDS)
    comments = [piece for _ in range(8) for piece in (b": processing\n\n", limit / 4)]
    answer, _ = asked(sse(text_chunk("안녕 "), *comments, text_chunk("hello"), STOP), idle_seconds=limit)
    assert answer.error is None
    assert answer.text == TEXT


def test_endless_comments_reach_a_limit() -> None:
    limit = patient(LIMIT_SECONDS) / 2
    comments = [piece for _ in range(200) for piece in (b": processing\n\n", limit / 4)]
    answer, _ = asked(sse(*comments), first_token_seconds=limit)
    assert type(answer.error) is StillWaiting
    assert not answer.error.retryable, "a second call would be billed too"
    assert answer.seconds >= limit * LIFE_FACTOR


def test_silence_after_a_comment_is_a_first_token_timeout() -> None:
    answer, _ = asked(sse(b": hello\n\n", patient(20.0)), first_token_seconds=LIMIT_SECONDS)
    assert type(answer.error) is errors.FirstTokenTimeout


@pytest.mark.parametrize("anthropic", [False, True])
def test_unsendable_characters_are_replaced(*, anthropic: bool) -> None:
    reply = json_reply(MESSAGE if anthropic else WHOLE)
    with WildServer(reply) as server:
        answer = asyncio.run(ask_once(server, "a\ud83d b\0c 😀", anthropic=anthropic, system="s\udc00"))
        sent = server.calls[0].body
    assert answer.text == TEXT
    assert sent["messages"][-1]["content"] == "a\ufffd b\ufffdc 😀"
    assert (sent["system"] if anthropic else sent["messages"][0]["content"]) == "s\ufffd"


def test_redirect_is_not_followed() -> None:
    with WildServer(json_reply(WHOLE)) as other:
        moved = Reply(status=308, headers={**EVENT_STREAM, "Location": other.url + "/v1/chat/completions"})
        answer, _ = asked(moved)
        assert not other.calls, "the prompt and the key would go to another host"
    assert type(answer.error) is errors.WrongAddress


def asked(reply: Reply, *, anthropic: bool = False, **limits: float) -> tuple[Answer, int]:
    """Ask a server that gives `reply`; return the answer and the number of calls."""
    with WildServer(reply) as server:
        answer = asyncio.run(ask_once(server, "hi", anthropic=anthropic, **limits))
        return answer, len(server.calls)


async def ask_once(server: WildServer, question: str, *, anthropic: bool, **options: Any) -> Answer:
    provider = (
        AnthropicProvider(api_key="none", base_url=server.url)
        if anthropic
        else OpenAIProvider(base_url=f"{server.url}/v1")
    )
    await provider.warm()
    try:
        return await ask(provider, question, **options)
    finally:
        await provider.close()
