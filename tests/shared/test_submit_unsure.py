"""Tests of submit when its reply is lost: it finds out whether the question was stored, or raises Unsure."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select

from shared import lifecycle
from shared.errors import Unavailable, Unsure
from shared.lifecycle import Question, Submitted, asking
from shared.postgres.database import make_engine
from shared.settings import load_settings
from shared.tables import chat_request, conversation, message
from tests.faults.proxy import STORES, Lines, Proxy, Trap
from tests.shared.rig import OWNER, RequestRig


@pytest.fixture
def line(rig: RequestRig) -> Iterator[Proxy]:
    """Yield a proxy in front of Postgres that can be cut."""
    lines = Lines()
    made = lines.proxy(rig.engine.url.port or 0)
    yield made
    made.close()
    lines.close()


@pytest.fixture
def far(rig: RequestRig, line: Proxy) -> Iterator[Engine]:
    """Yield an engine that connects through the proxy."""
    url = rig.engine.url.set(port=line.port).render_as_string(hide_password=False)
    made = make_engine(load_settings({"DATABASE_URL": url}), name="far")
    yield made
    made.dispose()


def submit(engine: Engine, *, conversation_id: UUID | None = None, key: str = "k") -> Submitted:
    question = Question(owner=OWNER, conversation_id=conversation_id or uuid4(), text="Why?", idempotency_key=key)
    return lifecycle.submit(engine, question, deadline_seconds=600, max_characters=1000)


@pytest.mark.parametrize("arrives", [True, False])
def test_key_finds_a_lost_commit(rig: RequestRig, line: Proxy, far: Engine, *, arrives: bool) -> None:
    trap = Trap(STORES, forward=arrives)
    line.set(trap=trap)
    submitted = submit(far)
    assert trap.sprung.is_set()
    assert submitted.is_new
    assert rig.row(submitted.request_id)["status"] == "queued"
    assert (rig.count(chat_request), rig.count(message)) == (1, 1)


def test_submit_raises_unsure_when_the_outcome_is_unknown(
    rig: RequestRig, line: Proxy, far: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.5)
    line.set(trap=Trap(STORES, action=lambda: setattr(line, "refuses", True)))
    conversation_id = uuid4()
    with pytest.raises(Unsure):
        submit(far, conversation_id=conversation_id)
    line.pass_all()
    again = submit(far, conversation_id=conversation_id)
    assert not again.is_new
    assert rig.count(chat_request) == 1


def test_unsent_question_is_refused_and_not_stored(rig: RequestRig, line: Proxy, far: Engine) -> None:
    line.set(refuses=True)
    with pytest.raises(Unavailable) as refused:
        submit(far)
    assert not isinstance(refused.value, Unsure)
    assert rig.count(chat_request) == 0


def test_lock_timeout_is_a_refusal(rig: RequestRig, far: Engine) -> None:
    """The submit cannot lock the conversation and raises Unavailable: the outcome is known."""
    conversation_id = submit(far).conversation_id
    with rig.engine.begin() as connection:
        connection.execute(select(conversation).where(conversation.c.id == conversation_id).with_for_update())
        with pytest.raises(Unavailable) as refused:
            submit(far, conversation_id=conversation_id, key="another")
    assert not isinstance(refused.value, Unsure)
    assert rig.count(chat_request) == 1
