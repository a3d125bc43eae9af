"""Replies of servers in the wild through the whole product: their cost, and how long a busy server is asked."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, text

from tests.crash.person import Person
from tests.providers.wild import DONE, EVENT_STREAM, Reply, WildServer, json_reply, sse, text_chunk
from tests.stack import Stack

MODEL = "openai/wild"
WHOLE = {"choices": [{"index": 0, "message": {"content": "Whole."}, "finish_reason": "stop"}]}
BUSY_SECONDS = 12.0


def serve(stack: Stack, server: WildServer) -> None:
    """Start a worker whose only provider is `server`."""
    stack.configure(openai_api_key="sk-test", openai_base_url=f"{server.url}/v1", models=MODEL)
    stack.start_worker()


def error_code(engine: Engine) -> str | None:
    with engine.connect() as connection:
        code: str | None = connection.execute(text("SELECT error_code FROM chat_request")).scalar_one()
    return code


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (json_reply(WHOLE), None),
        (sse(text_chunk("No reason."), DONE), None),
        (sse(DONE), "bad_stream"),
        (Reply([b"<html>"], headers={**EVENT_STREAM, "Content-Type": "text/html"}), "wrong_address"),
    ],
)
def test_reply_of_any_shape_costs_one_call(stack: Stack, engine: Engine, reply: Reply, code: str | None) -> None:
    with WildServer(reply) as server, Person(stack, engine) as alice:
        serve(stack, server)
        alice.wait_end(alice.ask("Hi", model=MODEL), seconds=60)
        assert (error_code(engine), len(server.calls)) == (code, 1)


@pytest.mark.timeout(240)
def test_busy_server_is_asked_until_it_is_well(stack: Stack, engine: Engine) -> None:
    """The question waits in the queue, and the waits between its calls grow."""
    busy = json_reply({"error": {"message": "loading model"}}, status=503)
    with WildServer(busy) as server, Person(stack, engine) as alice:
        serve(stack, server)
        asked = alice.ask("Hi", model=MODEL)
        time.sleep(BUSY_SECONDS)
        refused = len(server.calls)
        server.replies = [json_reply(WHOLE)]
        alice.wait_end(asked, seconds=90)
        assert error_code(engine) is None
        assert 2 <= refused <= 8
        assert len(server.calls) <= refused + 2
