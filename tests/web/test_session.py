"""Tests that a Streamlit session opens only for its owner, with Postgres up or away."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select
from streamlit.proto.WidgetStates_pb2 import WidgetState

from shared import lifecycle
from shared.lifecycle import Question
from shared.people import Owner
from shared.postgres.database import make_engine
from shared.tables import chat_request
from tests.stack import Process, Stack
from tests.web.clients import browser
from tests.web.socket import PageSocket
from web.asgi.identity import OWNER_HEADER

SECRET = "only-the-first-owner-reads-this"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among these tests."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


def ask_question(engine: Engine, owner: Owner) -> UUID:
    """Store a question of `owner`; return the id of its conversation."""
    question = Question(owner=owner, conversation_id=uuid4(), text=SECRET, idempotency_key=uuid4().hex)
    return lifecycle.submit(engine, question, deadline_seconds=3600, max_characters=1000).conversation_id


def stop_postgres(stack: Stack) -> None:
    """Kill Postgres; the page must notice by itself."""
    stack.servers.postgres.kill()


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "disconnected"])
def test_session_id_of_another_opens_a_new_session(
    stack: Stack, web: Process, engine: Engine, is_connected: bool
) -> None:
    (owner, cookie), (_, stranger) = browser(stack), browser(stack)
    conversation_id = ask_question(engine, owner)
    with ExitStack() as open_sockets:
        first = open_sockets.enter_context(PageSocket(web.url, cookie)).run(conversation_id)
        assert first.drew(SECRET)
        if not is_connected:
            open_sockets.close()
        for other in (stranger, ""):
            with PageSocket(web.url, other, session=first.session) as stolen:
                stolen.run(conversation_id)
                assert stolen.session not in {"", first.session}
                assert not stolen.drew(SECRET)
        if is_connected:
            first.frames.clear()
            assert first.run(conversation_id).drew(SECRET), "the owner's own socket was left alone"


def test_owner_resumes_the_same_session(stack: Stack, web: Process, engine: Engine) -> None:
    owner, cookie = browser(stack)
    conversation_id = ask_question(engine, owner)
    with PageSocket(web.url, cookie) as first:
        first.run(conversation_id)
    with PageSocket(web.url, cookie, session=first.session) as again:
        again.run(conversation_id)
        assert again.session == first.session


def test_stranger_sees_nothing_while_postgres_is_away(own_stack: Stack) -> None:
    (owner, cookie), (_, stranger) = browser(own_stack), browser(own_stack)
    engine = make_engine(own_stack.settings, name="test")
    conversation_id = ask_question(engine, owner)
    engine.dispose()
    web = own_stack.start_web()
    with PageSocket(web.url, cookie) as first:
        first.run(conversation_id)
        assert first.drew(SECRET)
    stop_postgres(own_stack)
    with PageSocket(web.url, stranger, session=first.session) as stolen:
        stolen.run(conversation_id)
        assert not stolen.drew(SECRET)
        assert stolen.drew("does not answer") or stolen.drew("database"), "the page says that Postgres is away"
    with PageSocket(web.url, cookie, session=first.session) as again:
        again.run(conversation_id)
        assert again.drew(SECRET), "the owner still sees what was read before"


def test_stranger_runs_no_callback_of_the_session(stack: Stack, web: Process, engine: Engine) -> None:
    (owner, cookie), (_, stranger) = browser(stack), browser(stack)
    conversation_id = uuid4()
    with PageSocket(web.url, cookie) as first:
        first.run(conversation_id)
        composer = next(
            frame.delta.new_element.chat_input.id
            for frame in first.frames
            if frame.delta.new_element.WhichOneof("type") == "chat_input"
        )
    typed = WidgetState(id=composer)
    typed.chat_input_value.data = "not mine"
    with PageSocket(web.url, stranger, session=first.session) as tab:
        tab.run(conversation_id, typed)
    with engine.connect() as connection:
        assert owner.key not in set(connection.execute(select(chat_request.c.owner_id)).scalars())
    with PageSocket(web.url, cookie, session=first.session) as tab:
        tab.run(conversation_id, typed)
    with engine.connect() as connection:
        assert owner.key in set(connection.execute(select(chat_request.c.owner_id)).scalars()), "the owner may run it"


def test_client_cannot_name_its_owner(stack: Stack, web: Process, engine: Engine) -> None:
    owner, _ = browser(stack)
    conversation_id = ask_question(engine, owner)
    with PageSocket(web.url, "", headers={OWNER_HEADER: owner.key}) as forged:
        forged.run(conversation_id)
        assert not forged.drew(SECRET)
        assert forged.drew("Allow cookies for this address")
