"""Tests of responses that run while nobody reads them: their ids, looks at them, and interruptions of the reader."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from shared import errors
from tests.providers.asking import Answer
from tests.providers.responding import LONG, LONG_TEXT, TEXT, read, reading, run
from tests.providers.responses_server import Responses, ResponsesServer, Script, wait_for
from workers.providers.base import Call
from workers.providers.openai import responses as adapter
from workers.providers.openai.response_events import ResponseReader
from workers.providers.openai.responses import ResponsesProvider


def test_answer_stopped_before_the_reply_begins_is_cancelled() -> None:
    memory, call = Responses([replace(LONG, accept=0.5, pace=0.2)]), Call()
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> None:
            task = asyncio.create_task(read(provider, call))
            await asyncio.to_thread(wait_for, lambda: memory.created)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_for, lambda: memory.cancelled)

        run(server, act)
    assert call.id is None
    assert memory.created[0].status == "cancelled"


def test_answer_stopped_before_its_first_event_is_cancelled() -> None:
    memory, call = Responses([replace(LONG, announce=1.0, pace=0.2)]), Call()
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> None:
            task = asyncio.create_task(read(provider, call))
            await asyncio.to_thread(wait_for, lambda: memory.created)
            await asyncio.sleep(0.5)  # the head of the reply has come
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_for, lambda: memory.cancelled)

        run(server, act)
    assert call.id is None
    assert memory.created[0].status == "cancelled"


@pytest.mark.parametrize("script", [Script(LONG.text, accept=1.0, pace=0.2), Script(LONG.text, announce=1.0, pace=0.2)])
def test_provider_closes_after_its_last_cancellation(script: Script) -> None:
    memory = Responses([script])
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> None:
            task = asyncio.create_task(read(provider, Call()))
            await asyncio.to_thread(wait_for, lambda: memory.created)
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.wait([task])

        run(server, act)
        assert memory.cancelled == [memory.created[0].id]


def test_response_whose_end_was_not_delivered_is_taken_up() -> None:
    memory, call = Responses([Script(linger=1.5)]), Call()
    with ResponsesServer(memory) as server:

        async def stop(provider: ResponsesProvider) -> Answer:
            answer = Answer()
            task = asyncio.create_task(read(provider, call, answer=answer))
            await asyncio.to_thread(wait_for, lambda: memory.created and memory.created[0].is_done)
            await asyncio.to_thread(wait_for, lambda: answer.text == TEXT)
            await asyncio.sleep(0.3)  # the end has come, the body has not ended
            task.cancel()
            await asyncio.wait([task])
            return answer

        first = run(server, stop)
        assert (first.text, first.done) == (TEXT, None)
        assert call.id == memory.created[0].id
        next_call = Call(call.id)
        again = run(server, lambda provider: read(provider, next_call))
    assert again.text == TEXT
    assert again.done is not None
    assert next_call.id is None
    assert len(memory.created) == 1


def test_refused_look_is_repeated_when_the_server_says() -> None:
    memory = Responses([LONG], failing=[429], retry_after="1")
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> tuple[Answer, float]:
            async with reading(provider, Call()) as task:
                await asyncio.to_thread(wait_for, lambda: memory.created[0].deltas > 3)
                server.break_connections()
                await asyncio.to_thread(wait_for, lambda: memory.looks)
                began = time.monotonic()
                await asyncio.to_thread(wait_for, lambda: len(memory.looks) > 1)
                waited = time.monotonic() - began
            return task.result(), waited

        answer, waited = run(server, act)
    assert answer.error is None
    assert answer.text == LONG_TEXT
    assert waited > 0.8
    assert len(memory.created) == 1


def test_breaks_between_good_looks_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(adapter, "PAUSES", (0.02,) * 3)
    breaks = 6
    memory = Responses([replace(LONG, queue=2.0, pace=0.0)], is_late=True)
    with ResponsesServer(memory) as server:
        made = memory.create({})
        memory.failing = [None, *[None, 502] * breaks]
        answer = run(server, lambda provider: read(provider, Call(made.id)))
    assert memory.failing == []
    assert answer.error is None
    assert answer.text == LONG_TEXT


def test_looks_that_all_fail_end_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PAUSES", (0.02,) * 3)
    memory, call = Responses([LONG], failing=[502] * 10), Call("resp_1")
    with ResponsesServer(memory) as server:
        answer = run(server, lambda provider: read(provider, call))
    assert isinstance(answer.error, errors.ServerFailed)
    assert len(memory.failing) == 10 - 4
    assert call.id == "resp_1"


def test_long_wait_for_a_running_response_ends_only_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "LOOK_SECONDS", 0.05)
    memory = Responses([replace(LONG, queue=60.0)], is_late=True)
    with ResponsesServer(memory) as server:
        call = Call(memory.create({}).id)
        answer = run(server, lambda provider: read(provider, call, first_token_seconds=0.3))
    assert len(memory.looks) > 5
    assert isinstance(answer.error, errors.FirstTokenTimeout)
    assert answer.error.retryable
    assert call.id == memory.created[0].id


def test_model_without_background_answers_in_the_foreground() -> None:
    memory = Responses(refused={"background": "Unsupported parameter: 'background' is not supported with this model."})
    call, told = Call(), list[str]()
    call.on_begin = told.append
    with ResponsesServer(memory) as server:
        answer = run(server, lambda provider: read(provider, call))
    assert answer.text == TEXT
    assert memory.created[0].body.keys().isdisjoint({"background", "store"})
    assert told == []


def test_response_in_the_foreground_is_not_taken_up() -> None:
    """Servers that do not know `background` ignore it, and some say so."""
    call = Call()
    reader = ResponseReader(call)
    response = {"id": "resp_1", "status": "in_progress", "background": False}
    reader.read({"type": "response.created", "sequence_number": 0, "response": response})
    assert call.id is None
    assert not reader.lacks_id


@pytest.mark.parametrize("form", ["resp_{}=", "resp_{}/+%2F=", "resp_{}?a#b", "r" * 400 + "{}=="])
def test_id_of_a_gateway_is_taken_up_and_cancelled(form: str) -> None:
    memory, call = Responses([replace(LONG, id=form)]), Call()
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> None:
            await read(provider, call, until="word3 ")
            assert call.id is not None
            assert await provider.is_under_way(call.id)
            again = await read(provider, Call(call.id), until="word5 ")
            assert LONG_TEXT.startswith(again.text)
            await provider.cancel(call.id)

        run(server, act)
    assert memory.cancelled == [memory.created[0].id] == [call.id]
    assert len(memory.created) == 1


def test_id_that_is_no_id_is_not_noted() -> None:
    for strange in ("..", ".", "a b", "", None, 3, "x" * 1001, "나루"):
        call = Call()
        reader = ResponseReader(call)
        reader.read({"type": "response.created", "sequence_number": 0, "response": {"id": strange}})
        assert call.id is None
        assert reader.lacks_id


def test_useless_ids_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    memory = Responses([Script(id="no id {}")])
    with ResponsesServer(memory) as server:

        async def act(provider: ResponsesProvider) -> list[Answer]:
            return [await read(provider, Call()) for _ in range(2)]

        answers = run(server, act)
    assert [each.text for each in answers] == [TEXT, TEXT]
    assert [each.message for each in caplog.records if "no usable id" in each.message] == [
        "a response in background has no usable id: it can be neither taken up nor cancelled"
    ]
