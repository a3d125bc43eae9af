"""Reasoning on its way from the provider to Postgres, through stops, limits and a worker's death."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, text

from shared.conversations import exported_messages, open_conversation, reasoning_of
from shared.errors import NotFound
from shared.live.events import Kind, key_of
from shared.messages import Message
from shared.people import Owner
from shared.postgres.database import transaction
from shared.tables import Status, chat_request, reasoning
from tests.crash.person import OWNER, Person
from tests.patience import patient
from tests.stack import SHORT_LEASES, Stack, wait_until

THOUGHT = "First the boat 나루, then the ferryman. "


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Return the module's stack with a simulator. Each test reuses the workers of the previous one."""
    module_stack.configure(**SHORT_LEASES)
    module_stack.start_simulator()
    return module_stack


def stored(engine: Engine, request_id: UUID) -> Any:
    with transaction(engine) as connection:
        return connection.execute(select(reasoning).where(reasoning.c.request_id == request_id)).one_or_none()


def answer_of(engine: Engine, request_id: UUID) -> Message:
    """Return the answer as its owner's page reads it."""
    with transaction(engine) as connection:
        asked = select(chat_request.c.conversation_id).where(chat_request.c.id == request_id)
        conversation_id: UUID = connection.execute(asked).scalar_one()
    return open_conversation(engine, conversation_id, owner=OWNER).messages[-1]


def entries(stack: Stack, request_id: UUID) -> list[str]:
    """Return the kinds of the entries in the request's live stream."""
    found: Any = stack.redis_client().xrange(key_of(request_id))
    return [kind for _, fields in found for kind in fields]


@pytest.mark.parametrize("shape", ["reasoning_content", "think", "thinking"])
def test_reasoning_is_stored_beside_the_answer(stack: Stack, engine: Engine, shape: str) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask(f'[[sim: shape={shape} thoughts=9 thought="{THOUGHT}" text="Take the boat." pace=40]]')
        assert alice.wait_end(request).status == Status.SUCCEEDED
    row, answer = stored(engine, request), answer_of(engine, request)
    assert (row.content, row.attempt) == ((THOUGHT * 9).strip(), 1)
    assert 0 < row.seconds < patient(5)
    assert answer.text == "Take the boat."
    assert answer.end is not None
    assert answer.end.thought_seconds == row.seconds
    assert entries(stack, request).count(Kind.THOUGHT) <= 3


def test_answer_without_reasoning_has_no_row(stack: Stack, engine: Engine) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("[[sim: tokens=5]]")
        alice.wait_end(request)
    assert stored(engine, request) is None
    assert Kind.THOUGHT not in entries(stack, request)


def test_stop_while_it_thinks_keeps_the_reasoning(stack: Stack, engine: Engine) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask("[[sim: shape=reasoning thoughts=500 pace=50]]")
        wait_until(lambda: Kind.THOUGHT in entries(stack, request), what="readers know that it thinks")
        alice.stop(request)
        assert alice.wait_end(request, seconds=2).status == Status.CANCELLED
        assert alice.answers(request) == [""]
    assert stored(engine, request).content


def test_thinking_that_uses_the_budget_is_told_apart(stack: Stack, engine: Engine) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask('[[sim: shape=reasoning thoughts=30 text="" finish=length]]')
        assert alice.wait_end(request).status == Status.SUCCEEDED
    end = answer_of(engine, request).end
    assert end is not None
    assert (end.finish, end.thought_seconds is not None, bool(end.output_tokens)) == ("length", True, True)


def test_thinking_without_end_fails_with_its_reason(stack: Stack, engine: Engine) -> None:
    stack.workers(0)
    stack.start_worker(thinking_seconds=1, first_token_seconds=0.5)
    with Person(stack, engine) as alice:
        request = alice.ask("[[sim: shape=reasoning thoughts=5000 pace=50]]")
        row = alice.wait_end(request)
        assert (row.status, row.error_code, row.attempt) == (Status.FAILED, "thinking_timeout", 1)
        assert len(alice.calls(request)) == 1
    stack.workers(0)


def test_new_attempt_thinks_anew_after_a_crash(stack: Stack, engine: Engine) -> None:
    stack.workers(0)
    (worker,) = stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask(f'[[sim: shape=think thoughts=100 thought="{THOUGHT}" text="Take the boat." pace=40]]')
        wait_until(lambda: Kind.THOUGHT in entries(stack, request), what="readers know that it thinks")
        worker.kill()
        stack.workers(1)
        assert alice.wait_end(request, seconds=40).attempt == 2
        assert alice.answers(request) == ["Take the boat."]
    row = stored(engine, request)
    assert row.attempt == 2
    assert row.content.startswith(THOUGHT)


def test_only_its_owner_reads_and_exports_reasoning(stack: Stack, engine: Engine) -> None:
    stack.workers(1)
    with Person(stack, engine) as alice:
        request = alice.ask(f'[[sim: shape=reasoning thoughts=1 thought="{THOUGHT}" text="Yes."]]')
        conversation_id = alice.wait_end(request).conversation_id
    assert reasoning_of(engine, request, owner=OWNER) == THOUGHT.strip()
    with pytest.raises(NotFound):
        reasoning_of(engine, request, owner=Owner("browser", "bob"))
    answer = list(exported_messages(engine, conversation_id, owner=OWNER))[-1]
    assert (answer.content, answer.reasoning) == ("Yes.", THOUGHT.strip())
    with transaction(engine) as connection:
        connection.execute(text("UPDATE conversation SET deleted_at = now() WHERE id = :id"), {"id": conversation_id})
    with pytest.raises(NotFound):
        reasoning_of(engine, request, owner=OWNER)
    assert json.dumps(THOUGHT.strip(), ensure_ascii=False)[1:-1] not in stack.processes[-1].log_text()
