"""Tests of a conversation's settings: stored with its first question, changed later, carried by each claim."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from shared import conversations, lifecycle
from shared.errors import NotFound
from shared.lifecycle import Answer, Question
from shared.tables import conversation
from shared.tuning import NO_TUNING, Tuning
from tests.shared.rig import MODEL, OWNER, STRANGER, RequestRig
from tests.shared.round_trips import counted_round_trips

KOREAN = Tuning(instructions='존댓말로 답하고 "예: 1"을 붙인다.\n100%', temperature=0.3, effort="high")


def ask(rig: RequestRig, tuning: Tuning, *, conversation_id: UUID | None = None) -> lifecycle.Submitted:
    question = Question(
        owner=OWNER,
        conversation_id=conversation_id or uuid4(),
        text="Why?",
        idempotency_key=str(uuid4()),
        model=MODEL,
        tuning=tuning,
    )
    return lifecycle.submit(rig.engine, question, deadline_seconds=60, max_characters=100)


def test_first_question_stores_the_settings(rig: RequestRig) -> None:
    submitted = ask(rig, KOREAN)
    opened = conversations.open_conversation(rig.engine, submitted.conversation_id, owner=OWNER)
    assert opened.tuning == KOREAN
    claimed = rig.claim(submitted.request_id, rig.worker())
    assert claimed.tuning == KOREAN
    assert "존댓말" not in repr(claimed), "its repr cannot leak text into a log"


def test_conversation_without_settings_stores_null(rig: RequestRig) -> None:
    submitted = ask(rig, NO_TUNING)
    assert [row["tuning"] for row in rig.rows(conversation)] == [None]
    assert rig.claim(submitted.request_id, rig.worker()).tuning == NO_TUNING


def test_settings_take_no_further_round_trip(rig: RequestRig) -> None:
    rig.ask("the connection prepares its statements")
    with counted_round_trips() as round_trips:
        ask(rig, KOREAN)
    assert len(round_trips) == 1


def test_later_question_keeps_the_stored_settings(rig: RequestRig) -> None:
    first = ask(rig, KOREAN)
    lifecycle.finish(rig.engine, rig.claim(first.request_id, rig.worker()), Answer(text="So."))
    second = ask(rig, Tuning(temperature=2.0), conversation_id=first.conversation_id)
    assert rig.claim(second.request_id, rig.worker()).tuning == KOREAN


def test_changed_settings_reach_the_next_claim(rig: RequestRig) -> None:
    submitted = ask(rig, KOREAN)
    conversations.tune(rig.engine, submitted.conversation_id, owner=OWNER, tuning=Tuning(effort="low"))
    assert rig.claim(submitted.request_id, rig.worker()).tuning == Tuning(effort="low")
    conversations.tune(rig.engine, submitted.conversation_id, owner=OWNER, tuning=NO_TUNING)
    assert [row["tuning"] for row in rig.rows(conversation)] == [None]


def test_stranger_cannot_change_the_settings(rig: RequestRig) -> None:
    submitted = ask(rig, KOREAN)
    with pytest.raises(NotFound):
        conversations.tune(rig.engine, submitted.conversation_id, owner=STRANGER, tuning=NO_TUNING)
    with pytest.raises(NotFound):
        conversations.tune(rig.engine, uuid4(), owner=OWNER, tuning=NO_TUNING)
    assert conversations.open_conversation(rig.engine, submitted.conversation_id, owner=OWNER).tuning == KOREAN


def test_export_carries_the_settings(rig: RequestRig) -> None:
    ask(rig, KOREAN)
    (exported,) = conversations.exported_conversations(rig.engine, owner=OWNER)
    assert Tuning.read(exported.tuning) == KOREAN


def test_unknown_settings_are_left_out(rig: RequestRig) -> None:
    submitted = ask(rig, NO_TUNING)
    with rig.begin() as connection:
        connection.execute(
            text("UPDATE conversation SET tuning = :tuning"),
            {"tuning": '{"effort": "utmost", "temperature": "warm", "instructions": null, "tone": 1}'},
        )
    assert rig.claim(submitted.request_id, rig.worker()).tuning == NO_TUNING


def test_own_settings_win_over_defaults() -> None:
    defaults = Tuning(instructions="Be kind.", temperature=0.7, effort="low")
    assert NO_TUNING.over(defaults) == defaults
    assert Tuning(temperature=0.0).over(defaults) == Tuning(instructions="Be kind.", temperature=0.0, effort="low")
    assert KOREAN.over(defaults) == KOREAN
    assert KOREAN.over(NO_TUNING) == KOREAN
