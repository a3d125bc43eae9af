"""Windows with real workers: a server that refuses long prompts, and conversations that go on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from shared.model_facts import read_facts
from shared.tables import Status
from tests.crash.person import Person
from tests.providers.ollama_server import DONE_LINE, OllamaServer, lines, said
from tests.providers.wild import DONE, Call, Reply, WildServer, json_reply, sse, text_chunk
from tests.stack import SHORT_LEASES, Stack, wait_until

WINDOW = 2048
MODEL = "openai/wild"


class SmallServer(WildServer):
    """A server with a window of 2,048 tokens that counts each character as one. It answers with 300 characters."""

    def reply_to(self, call: Call) -> Reply:
        """Refuse what is too long, in the words of llama.cpp."""
        found = super().reply_to(call)
        size = sum(len(each["content"]) for each in call.body["messages"]) if call.method == "POST" else 0
        if size <= WINDOW:
            return found
        text = f"request ({size} tokens) exceeds the available context size ({WINDOW} tokens), try increasing it"
        return json_reply({"error": {"code": 400, "message": text, "type": "exceed_context_size_error"}}, status=400)


def small_server() -> SmallServer:
    return SmallServer(sse(text_chunk("답" * 300, finish_reason="stop"), DONE))


def configure(stack: Stack, server: SmallServer) -> None:
    stack.configure(**SHORT_LEASES, openai_base_url=f"{server.url}/v1", models=MODEL)


@pytest.mark.timeout(300)
def test_refused_question_does_not_end_the_conversation(stack: Stack, engine: Engine) -> None:
    with small_server() as server:
        configure(stack, server)
        with Person(stack, engine) as person:
            stack.start_worker()
            chat = uuid4()
            refused: Any = person.wait_end(person.ask("가" * 5000, conversation=chat, model=MODEL))
            assert (refused.status, refused.error_code) == (Status.FAILED, "context_too_long")
            assert len(server.calls) == 1, "nothing could be cut"
            short: Any = person.wait_end(person.ask("짧게", conversation=chat, model=MODEL))
            assert short.status == Status.SUCCEEDED
        assert server.calls[-1].body["messages"] == [{"role": "user", "content": "짧게"}]


@pytest.mark.timeout(300)
def test_window_is_learnt_by_one_refused_call(stack: Stack, engine: Engine) -> None:
    with small_server() as server:
        configure(stack, server)
        with Person(stack, engine) as person:
            worker = stack.start_worker()
            chat, calls, left_out = uuid4(), [], []

            def turn(number: int) -> None:
                before = len(server.calls)
                row: Any = person.wait_end(person.ask(f"{number}" + "물" * 350, conversation=chat, model=MODEL))
                assert row.status == Status.SUCCEEDED
                calls.append(len(server.calls) - before)
                left_out.append(row.left_out)

            for number in range(5):
                turn(number)
            assert calls == [1, 1, 1, 2, 1], "the fourth prompt was too long"
            prompts = [call.body["messages"] for call in server.calls[:4]]
            for shorter, longer in pairwise(prompts):
                assert longer[: len(shorter)] == shorter, "a provider's cache needs the same beginning"
            stored = wait_until(lambda: read_facts(engine), seconds=10, what="the fact is stored")
            assert stored[MODEL]["window"] == WINDOW
            worker.terminate()
            worker.wait()
            stack.start_worker()
            turn(5)
            assert calls[-1] == 1, "another worker knows the window"
            assert left_out[:3] == [None] * 3
            assert all(left_out[3:])


@pytest.mark.timeout(300)
def test_long_chat_with_ollama_is_cut_before_the_call(stack: Stack, engine: Engine) -> None:
    with OllamaServer(lines(said("답" * 300), DONE_LINE), window=4096) as server:
        stack.configure(**SHORT_LEASES, ollama_url=server.url, models="ollama/m")
        with Person(stack, engine) as person:
            stack.start_worker()
            chat, left_out = uuid4(), []
            for number in range(6):
                row: Any = person.wait_end(
                    person.ask(f"{number}" + "물" * 500, conversation=chat, model="ollama/m"), seconds=30
                )
                assert row.status == Status.SUCCEEDED
                left_out.append(row.left_out)
            assert left_out[0] is None
            assert left_out[-1], "the person learns that the beginning is no longer read"
            assert len(server.calls) == 6
            assert {call.body["options"]["num_ctx"] for call in server.calls} == {4096}
            stored = wait_until(lambda: read_facts(engine), seconds=10, what="the fact is stored")
            assert stored["ollama/m"]["window"] == 4096
