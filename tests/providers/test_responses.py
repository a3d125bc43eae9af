"""Tests of the adapter for OpenAI Responses, against a small real server that runs them in background."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import openai
import pytest

from shared import errors
from tests.providers.asking import Answer, ask
from tests.providers.responding import LONG, LONG_TEXT, TEXT, ask_once, read, reading, run
from tests.providers.responses_server import USAGE, Responses, ResponsesServer, Script, wait_for
from workers.providers.base import Call, Finish, Thought, Usage
from workers.providers.openai import responses as adapter
from workers.providers.openai.response_events import ResponseReader
from workers.providers.openai.responses import ResponsesProvider


def test_answer_has_text_reasoning_usage_and_finish() -> None:
    memory = Responses([Script(thoughts=("First ", "the ferryman."))])
    answer = ask_once(memory, "왜?", system="Be kind.", max_output_tokens=50, temperature=0.5, effort="low")
    assert (answer.text, answer.reasoning) == (TEXT, "First the ferryman.")
    assert isinstance(answer.deltas[0], Thought)
    assert answer.done is not None
    assert (answer.done.finish, answer.done.usage) == (Finish.STOP, Usage(20, 30, 8, 12))
    assert memory.created[0].body == {
        "model": "any",
        "input": [{"role": "user", "content": "왜?"}],
        "instructions": "Be kind.",
        "stream": True,
        "background": True,
        "store": True,
        "max_output_tokens": 50,
        "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
    }


def test_call_tells_its_id_once_and_its_end() -> None:
    call, told = Call(), list[str]()
    call.on_begin = told.append
    memory = Responses()
    with ResponsesServer(memory) as server:
        run(server, lambda provider: read(provider, call))
    assert told == [memory.created[0].id]
    assert call.id is None


def test_taken_up_call_begins_with_its_first_word() -> None:
    memory, call = Responses([LONG]), Call()
    with ResponsesServer(memory) as server:
        first = run(server, lambda provider: read(provider, call, until="word3 "))
        assert call.id == memory.created[0].id
        second = run(server, lambda provider: read(provider, Call(call.id)))
    assert first.done is None
    assert second.text == LONG_TEXT
    assert second.done is not None
    assert len(memory.created) == 1


@pytest.mark.parametrize("is_late", [False, True])
def test_finished_call_is_read_again(*, is_late: bool) -> None:
    memory = Responses([Script(thoughts=("Hm. ",), refusal=("No.",))], is_late=is_late)
    with ResponsesServer(memory) as server:
        made = memory.create({})
        wait_for(lambda: made.is_over)
        answer = run(server, lambda provider: read(provider, Call(made.id)))
    assert (answer.text, answer.reasoning.strip()) == (TEXT + "No.", "Hm.")
    assert answer.done is not None
    assert (answer.done.finish, answer.done.usage) == (Finish.REFUSAL, Usage(20, 30, 8, 12))
    assert len(memory.created) == 1


@pytest.mark.parametrize("is_late", [False, True])
def test_broken_connection_is_followed_by_another(monkeypatch: pytest.MonkeyPatch, *, is_late: bool) -> None:
    monkeypatch.setattr(adapter, "LOOK_SECONDS", 0.1)
    memory = Responses([LONG])
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> Answer:
            async with reading(provider, Call()) as task:
                for deltas in (5, 10, 15):
                    await asyncio.to_thread(wait_for, lambda least=deltas: memory.created[0].deltas > least)
                    memory.is_late = is_late
                    server.break_connections()
            return task.result()

        answer = run(server, act)
    assert answer.error is None
    assert answer.text == LONG_TEXT
    assert len(memory.created) == 1
    assert any("starting_after" in look for look in memory.looks)


def test_restarted_server_is_waited_for() -> None:
    memory = Responses([LONG])
    first = ResponsesServer(memory)

    async def act(provider: ResponsesProvider) -> Answer:
        async with reading(provider, Call()) as task:
            await asyncio.to_thread(wait_for, lambda: memory.created[0].deltas > 3)
            await asyncio.to_thread(first.__exit__)
            await asyncio.sleep(1)
            with ResponsesServer(memory, port=first.port):
                await task
        return task.result()

    first.__enter__()
    answer = run(first, act)
    assert answer.text == LONG_TEXT
    assert len(memory.created) == 1


def test_forgotten_call_is_made_once_more() -> None:
    memory, call = Responses(), Call("resp_gone")
    with ResponsesServer(memory) as server:
        answer = run(server, lambda provider: read(provider, call))
    assert answer.text == TEXT
    assert len(memory.created) == 1
    assert call.id is None


def test_call_forgotten_after_text_is_no_longer_taken_up() -> None:
    """The text of another response must not follow the text of this one."""
    memory, call = Responses([LONG]), Call()
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> Answer:
            async with reading(provider, call) as task:
                await asyncio.to_thread(wait_for, lambda: memory.created[0].deltas > 5)
                memory.forget()
                server.break_connections()
            return task.result()

        answer = run(server, act)
    assert isinstance(answer.error, errors.StreamBroken)
    assert LONG_TEXT.startswith(answer.text)
    assert call.id is None
    assert len(memory.created) == 1


def test_cancelled_call_writes_no_more() -> None:
    memory, call = Responses([LONG]), Call()
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> None:
            await read(provider, call, until="word3 ")
            assert call.id is not None
            await provider.cancel(call.id)
            await provider.cancel(call.id)
            await provider.cancel("resp_gone")

        run(server, act)
        (made,) = memory.created
        assert made.status == "cancelled"
        assert made.deltas < len(LONG.text)


def test_official_sdk_takes_the_same_path() -> None:
    """The SDK's own methods, and ours that read the raw bytes, ask the server for the same."""
    memory = Responses()
    with ResponsesServer(memory) as server:
        made = memory.create({})
        wait_for(lambda: made.is_over)
        with openai.OpenAI(api_key="sk-test", base_url=server.url) as client:
            typed = list(client.responses.retrieve(made.id, stream=True, starting_after=2))
            client.responses.cancel(made.id)

        async def act(provider: ResponsesProvider) -> bytes:
            response = await provider.follow(made.id, 2)
            await provider.cancel(made.id)
            return await response.aread()

        raw = run(server, act)
    theirs, ours = memory.looks
    assert sorted(urlsplit(theirs).query.split("&")) == sorted(urlsplit(ours).query.split("&"))
    assert urlsplit(theirs).path == urlsplit(ours).path
    assert memory.cancelled == [made.id, made.id]
    assert [each.type for each in typed] == re.findall("event: (.*)", raw.decode())


def test_cancel_tells_when_the_server_is_away() -> None:
    with ResponsesServer(Responses()) as server:
        pass

    async def act(provider: ResponsesProvider) -> None:
        with pytest.raises(errors.ConnectFailed):
            await provider.cancel("resp_1")

    run(server, act)


@pytest.mark.parametrize(
    ("script", "finish"),
    [
        (Script(status="incomplete", reason="max_output_tokens"), Finish.LENGTH),
        (Script(status="incomplete", reason="content_filter"), Finish.CONTENT_FILTER),
        (Script(status="incomplete", reason="new_reason"), Finish.OTHER),
        (Script(text=(), refusal=("배가 ", "있다. ")), Finish.REFUSAL),
    ],
)
def test_end_says_why_the_model_stopped(script: Script, finish: Finish) -> None:
    answer = ask_once(Responses([script]))
    assert answer.done is not None
    assert answer.done.finish is finish
    assert answer.text == "".join((*script.text, *script.refusal))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", errors.RateLimited),
        ("server_error", errors.ServerFailed),
        ("invalid_prompt", errors.ContentFiltered),
        ("bio_policy", errors.ContentFiltered),
    ],
)
def test_failed_response_raises_its_error(code: str, kind: type[errors.ProviderError]) -> None:
    memory, call = Responses([Script(status="failed", error={"code": code, "message": "secret words"})]), Call()
    with ResponsesServer(memory) as server:
        answer = run(server, lambda provider: read(provider, call))
    assert type(answer.error) is kind
    assert "secret" not in str(answer.error)
    assert answer.text == TEXT
    assert call.id is None
    assert len(memory.created) == 1


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_response_without_its_last_event_is_looked_at(status: str) -> None:
    error = {"code": "rate_limit_exceeded", "message": "slowly"}
    memory, call = Responses([Script(is_silent=True, status=status, error=error)]), Call()
    with ResponsesServer(memory) as server:
        answer = run(server, lambda provider: read(provider, call))
    assert answer.text == TEXT
    assert isinstance(answer.error, errors.RateLimited) == (status == "failed")
    assert call.id is None
    assert len(memory.created) == 1


def test_response_that_somebody_cancelled_has_failed() -> None:
    memory = Responses([LONG])
    with ResponsesServer(memory) as server:
        made = memory.create({})
        made.cancel()
        call = Call(made.id)
        answer = run(server, lambda provider: read(provider, call))
    assert isinstance(answer.error, errors.ServerFailed)
    assert call.id is None


def test_error_event_that_ends_nothing_is_followed_by_the_answer() -> None:
    memory = Responses([Script(error_event={"code": "server_error", "message": "a hiccup"}, pace=0.1)])
    answer = ask_once(memory)
    assert answer.text == TEXT
    assert len(memory.created) == 1


def test_refused_parameters_are_learnt_for_the_next_question() -> None:
    refused = {
        "temperature": "Unsupported parameter: 'temperature' is not supported with this model.",
        "reasoning": "Your organization must be verified to generate reasoning summaries.",
    }
    memory = Responses(refused=refused)
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> list[Answer]:
            return [await ask(provider, "Hi", temperature=0.5) for _ in range(2)]

        answers = run(server, act)
    assert [each.text for each in answers] == [TEXT, TEXT]
    assert memory.refusals == 2
    assert [sorted(each.body) for each in memory.created] == [["background", "input", "model", "store", "stream"]] * 2


def test_event_is_read_once() -> None:
    reader = ResponseReader(Call())
    delta = {"type": "response.output_text.delta", "sequence_number": 4, "delta": "a"}
    assert [reader.read(delta), reader.read(delta), reader.read({**delta, "sequence_number": 3})] == ["a", None, None]


def test_parts_of_a_summary_are_paragraphs() -> None:
    reader = ResponseReader(Call())
    for number, thought in enumerate(("One.", "Two.")):
        reader.read({"type": "response.reasoning_summary_part.added", "sequence_number": 2 * number})
        reader.read(
            {"type": "response.reasoning_summary_text.delta", "sequence_number": 2 * number + 1, "delta": thought}
        )
    assert "".join(reader.noted) == "One.\n\nTwo."


def test_usage_that_is_no_usage_is_none() -> None:
    reader = ResponseReader(Call())
    response = {"object": "response", "status": "completed", "output": [], "usage": {**USAGE, "input_tokens": "many"}}
    reader.read(response)
    assert (reader.finish, reader.usage) == (Finish.STOP, None)
