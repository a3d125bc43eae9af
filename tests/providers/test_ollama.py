"""Tests of the adapter for Ollama, against a small real server that speaks Ollama's API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from itertools import pairwise
from threading import Event
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.messages import Message
from tests.patience import patient
from tests.providers.asking import Answer, ask, prompt
from tests.providers.ollama_server import DONE_LINE, LINES, WINDOW, OllamaServer, line, lines, said
from tests.providers.wild import Reply, json_reply
from workers.providers.base import Finish, Prompt, Usage
from workers.providers.ollama.adapter import OllamaProvider
from workers.providers.ollama.lines import Lines
from workers.providers.ollama.window import FIRST_STEP, UNKNOWN_WINDOW, exceeds, num_ctx_for, window_in
from workers.providers.windows import WindowExceeded

T = TypeVar("T")


def run(server: OllamaServer, act: Callable[[OllamaProvider], Awaitable[T]]) -> T:
    async def all_of_it() -> T:
        provider = OllamaProvider(base_url=server.url)
        await provider.warm()
        try:
            return await act(provider)
        finally:
            await provider.close()

    return asyncio.run(all_of_it())


def ask_once(server: OllamaServer, message: str = "Hi", **options: Any) -> Answer:
    with server:
        return run(server, lambda provider: ask(provider, message, **options))


def test_answer_has_text_usage_and_finish() -> None:
    server = OllamaServer(lines(said("하늘은 "), said("파랗습니다 😀"), DONE_LINE))
    answer = ask_once(server, "왜?", system="Be kind.", max_output_tokens=50)
    assert answer.text == "하늘은 파랗습니다 😀"
    assert answer.done is not None
    assert (answer.done.finish, answer.done.usage) == (Finish.STOP, Usage(26, 9))
    assert server.calls[0].body == {
        "model": "any",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "왜?"}],
        "stream": True,
        "options": {"num_ctx": FIRST_STEP, "num_predict": 50},
    }


@pytest.mark.parametrize(
    ("refusals", "sent"),
    [
        ([], ["low", "low"]),
        (['think value "low" is not supported for this model'], ["low", True, True]),
        (['"m" does not support thinking'] * 2, ["low", True, None, None]),
    ],
)
def test_effort_takes_the_form_that_the_model_knows(refusals: list[str], sent: list[object]) -> None:
    async def two(provider: OllamaProvider) -> list[Answer]:
        return [await ask(provider, "Hi", effort="low") for _ in range(2)]

    replies = [json_reply({"error": said}, status=400) for said in refusals]
    with OllamaServer(*replies, lines(said("Yes."), DONE_LINE)) as server:
        assert [each.text for each in run(server, two)] == ["Yes.", "Yes."]
    assert [call.body.get("think") for call in server.calls] == sent


def test_refusal_of_something_else_is_no_matter_of_effort() -> None:
    server = OllamaServer(json_reply({"error": "invalid options"}, status=400))
    assert isinstance(ask_once(server, effort="low").error, errors.BadRequest)
    assert len(server.calls) == 1


@given(cuts=st.lists(st.integers(1, 400), max_size=12))
def test_lines_may_be_cut_anywhere(cuts: list[int]) -> None:
    whole = said("한국어 ") + b"\r\n" + said("\U0001f600 ok") + DONE_LINE.rstrip()
    found, decoder = "", Lines()
    places = [0, *sorted(min(each, len(whole)) for each in cuts), len(whole)]
    for first, last in pairwise(places):
        found += decoder.decode(whole[first:last])
    found += decoder.end()
    decoder.check()
    assert (found, decoder.finish) == ("한국어 \U0001f600 ok", Finish.STOP)


def test_thinking_is_not_part_of_the_text() -> None:
    for thought in (said("", thinking="hm"), said("<thi") + said("nk>hm</think>")):
        answer = ask_once(OllamaServer(lines(thought, said("Yes."), DONE_LINE)))
        assert (answer.reasoning, answer.text) == ("hm", "Yes.")
        assert answer.done is not None


def test_window_is_asked_for_once_per_model() -> None:
    async def three(provider: OllamaProvider) -> list[Answer]:
        return [await ask(provider, "Hi", model=model) for model in ("a", "a", "b")]

    with OllamaServer(lines(said("Yes."), DONE_LINE)) as server:
        assert all(each.done for each in run(server, three))
    assert server.shown == ["a", "b"]


def test_long_prompt_gets_a_larger_window() -> None:
    server = OllamaServer(lines(said("Yes."), DONE_LINE))
    assert ask_once(server, "한" * 9000).done is not None
    assert server.calls[0].body["options"]["num_ctx"] == WINDOW


@pytest.mark.parametrize("window", [WINDOW, None])
def test_prompt_beyond_the_window_is_not_sent(window: int | None) -> None:
    server = OllamaServer(lines(said("Yes."), DONE_LINE), window=window)
    answer = ask_once(server, "한" * 60_000)
    assert isinstance(answer.error, WindowExceeded)
    assert answer.error.stated.window == (window or UNKNOWN_WINDOW)
    assert answer.error.stated.is_guess is (window is None)
    assert server.calls == []


def test_broken_description_is_no_unknown_window() -> None:
    server = OllamaServer(lines(said("Yes."), DONE_LINE))
    server.description = Reply([b'{"model_info"'], cut=True)
    with server:
        assert isinstance(run(server, lambda provider: ask(provider, "Hi")).error, errors.ConnectFailed)
        server.description = None
        assert run(server, lambda provider: ask(provider, "Hi")).text == "Yes."
    assert len(server.calls) == 1


def test_slow_description_is_no_unknown_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.providers.ollama.adapter.SHOW_SECONDS", 0.2)
    server = OllamaServer(lines(said("Yes."), DONE_LINE))
    server.description = Reply([patient(2.0), b"{}"])
    assert isinstance(ask_once(server, "한" * 60_000).error, errors.ConnectFailed)
    assert server.calls == []


@given(
    size=st.integers(1, 200_000),
    messages=st.integers(1, 9),
    limit=st.none() | st.integers(1, 9000),
    window=st.integers(2048, 262_144),
)
def test_window_holds_prompt_and_answer(size: int, messages: int, limit: int | None, window: int) -> None:
    num_ctx = num_ctx_for(size, limit, window)
    assert num_ctx <= window
    assert num_ctx == window or (num_ctx % FIRST_STEP == 0 and num_ctx > size)
    if not exceeds(size, messages, limit, window):
        assert size < num_ctx


@pytest.mark.parametrize(
    "shown", [None, [], {}, {"model_info": None}, {"model_info": {"x.context_length": "8"}}, {"model_info": {"a": 1}}]
)
def test_unusable_description_leaves_the_window_unknown(shown: object) -> None:
    assert window_in(shown) is None


def test_error_after_text_keeps_the_text() -> None:
    answer = ask_once(OllamaServer(lines(said("Half"), line({"error": "the runner process has terminated"}))))
    assert answer.text == "Half"
    assert isinstance(answer.error, errors.ServerFailed)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (json_reply({"error": "model 'x' not found"}, status=404), errors.ModelNotFound),
        (json_reply({"error": "the input length exceeds the context length"}, status=400), errors.ContextTooLong),
        (Reply([b"<html>"], status=502), errors.ServerFailed),
        (Reply([], status=302, headers={"Location": "http://127.0.0.1:9/"}), errors.WrongAddress),
        (json_reply({"error": "server busy"}, status=503), errors.Overloaded),
        (lines(said("Half")), errors.StreamBroken),
        (lines(said("Half"), cut=True), errors.StreamBroken),
        (lines(b"<html>\n<p>Sign in\n"), errors.WrongAddress),
        (lines(b"<html>"), errors.WrongAddress),
        (lines(said("") + b"<html>\n"), errors.BadStream),
        (lines(b"[]\n"), errors.BadStream),
    ],
)
def test_failure_becomes_one_of_our_errors(reply: Reply, kind: type[errors.ProviderError]) -> None:
    server = OllamaServer(reply)
    assert type(ask_once(server).error) is kind
    assert len(server.calls) == 1, "the adapter does not retry"


def test_server_that_is_away_fails_to_connect() -> None:
    server = OllamaServer(lines(DONE_LINE))
    with server:
        pass
    assert isinstance(run(server, lambda provider: ask(provider, "Hi")).error, errors.ConnectFailed)


def test_silent_server_meets_the_first_token_limit() -> None:
    server = OllamaServer(lines(patient(2.0), said("late"), DONE_LINE))
    assert isinstance(ask_once(server, first_token_seconds=patient(0.3)).error, errors.FirstTokenTimeout)


class Endless:
    """The pieces of an answer that never ends; knows when the server stopped sending them."""

    def __init__(self) -> None:
        self.has_stopped = Event()

    def __iter__(self) -> Iterator[bytes | float]:
        try:
            while True:
                yield said("word ")
                yield 0.01
        finally:
            self.has_stopped.set()


def test_stop_closes_the_connection_at_once() -> None:
    endless = Endless()

    async def stop_after_two(provider: OllamaProvider) -> None:
        async with aclosing(provider.stream(prompt("Hi"))) as stream:
            async for _ in stream:
                break
            await asyncio.sleep(patient(0.1))
            assert stream.take()
        assert await asyncio.to_thread(endless.has_stopped.wait, patient(5))

    with OllamaServer(Reply(cast("Any", endless), headers=LINES)) as server:
        run(server, stop_after_two)


def test_provider_answers_successive_calls() -> None:
    async def twice(provider: OllamaProvider) -> None:
        for _ in range(2):
            asked: Prompt = prompt("", messages=(Message.of_text("user", "Hi"),))
            async with aclosing(provider.stream(asked)) as stream:
                assert [item async for item in stream][:-1] == ["Yes."]

    with OllamaServer(lines(said("Yes."), DONE_LINE)) as server:
        run(server, twice)
    assert len(server.calls) == 2
